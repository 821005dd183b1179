//! The state of the two slots and its transitions. No IO.

use std::fmt::Write as _;

use ota_proto::{SlotAction, SlotState};

/// One of the two slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The slot `a`.
    A,
    /// The slot `b`.
    B,
}

impl Side {
    /// The name of its folder.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// The other slot.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The slot of this name; a trailing slash is accepted because people type it.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name.strip_suffix('/').unwrap_or(name) {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }
}

/// The phase of a switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The slot is confirmed.
    Confirmed,
    /// The next start uses it, on trial.
    Armed,
    /// It was started and is not confirmed.
    Trial,
    /// The next start leaves it.
    Back,
    /// The other slot is back, but that was not reported yet.
    RolledBack,
}

const MARKS: [(Mark, &str); 5] = [
    (Mark::Confirmed, "confirmed"),
    (Mark::Armed, "armed"),
    (Mark::Trial, "trial"),
    (Mark::Back, "back"),
    (Mark::RolledBack, "rolled-back"),
];

/// The content of the file `state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AbState {
    pub(super) mark: Mark,
    pub(super) side: Side,
    /// Starts on trial, each counted before it happens.
    pub(super) starts: u8,
    /// The run of the machine of the last one.
    pub(super) boot: String,
    /// The link was moved, but the program started from the old slot may still be running.
    pub(super) due: bool,
}

/// The longest boot id.
const BOOT: usize = 64;

/// The id as it is stored.
pub(super) fn boot(id: &str) -> String {
    id.chars().filter(char::is_ascii_graphic).take(BOOT).collect()
}

impl AbState {
    pub(super) const fn new(mark: Mark, side: Side) -> Self {
        Self { mark, side, starts: 0, boot: String::new(), due: false }
    }

    pub(super) fn to_text(&self) -> String {
        let mark = MARKS.iter().find(|(mark, _)| *mark == self.mark).map_or("", |(_, word)| word);
        let mut text =
            format!("ota-slots 1\n{mark} {}\nstarts {}\n", self.side.name(), self.starts);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "boot {}", self.boot);
        text.push_str(if self.due { "restart due\n" } else { "restart done\n" });
        text
    }

    /// `None` for a text that [`AbState::to_text`] never writes.
    pub(super) fn from_text(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != "ota-slots 1" {
            return None;
        }
        let (word, side) = lines.next()?.split_once(' ')?;
        let (mark, _) = MARKS.iter().find(|(_, known)| *known == word)?;
        let starts = lines.next()?.strip_prefix("starts ")?.parse().ok()?;
        let boot = lines.next()?.strip_prefix("boot ")?;
        let due = match lines.next()? {
            "restart due" => true,
            "restart done" => false,
            _ => return None,
        };
        if lines.next().is_some() || boot.len() > BOOT {
            return None;
        }
        Some(Self { mark: *mark, side: Side::from_name(side)?, starts, boot: boot.to_owned(), due })
    }

    /// The running slot and its state while the link points to `link`.
    pub(super) fn evidence(&self, link: Side) -> (Side, SlotState) {
        match self.mark {
            Mark::Confirmed => (link, SlotState::Confirmed),
            // The link follows at the start.
            Mark::Trial if link != self.side => (link, SlotState::Armed),
            Mark::Armed => (self.side.other(), SlotState::Armed),
            Mark::Trial | Mark::Back => (self.side, SlotState::Trial),
            Mark::RolledBack => (self.side.other(), SlotState::RolledBack),
        }
    }

    /// The required target of the link in this state; `None` if a person may move it.
    pub(super) fn link(&self) -> Option<Side> {
        match self.mark {
            Mark::Confirmed => None,
            Mark::Trial | Mark::Back => Some(self.side),
            Mark::Armed | Mark::RolledBack => Some(self.side.other()),
        }
    }

    /// The state after the action; `None` if it does not fit.
    pub(super) fn after(&self, action: SlotAction, link: Side) -> Option<Self> {
        match (action, self.mark) {
            (SlotAction::Activate, Mark::Confirmed) => Some(Self::new(Mark::Armed, link.other())),
            (SlotAction::Activate, Mark::Armed)
            | (SlotAction::Confirm, Mark::Confirmed)
            | (SlotAction::RollBack, Mark::Back | Mark::RolledBack)
            | (SlotAction::ClearMark, Mark::Confirmed) => Some(self.clone()),
            (SlotAction::Confirm, Mark::Trial) if link == self.side => {
                Some(Self::new(Mark::Confirmed, self.side))
            }
            // Its restart is another one.
            (SlotAction::RollBack, Mark::Trial) => {
                Some(Self { mark: Mark::Back, due: false, ..self.clone() })
            }
            // The restart may still be due.
            (SlotAction::ClearMark, Mark::RolledBack) => {
                Some(Self { mark: Mark::Confirmed, side: self.side.other(), ..self.clone() })
            }
            _ => None,
        }
    }

    /// The state after a start, if an image on trial may be started `most` times. The restart stays
    /// due until it is reported as done.
    pub(super) fn started(&self, most: u8, boot: &str, due: bool) -> Self {
        let boot = self::boot(boot);
        let (mark, starts) = match self.mark {
            Mark::Armed => (Mark::Trial, 1),
            Mark::Trial if self.starts < most => (Mark::Trial, self.starts.saturating_add(1)),
            Mark::Trial | Mark::Back | Mark::RolledBack => (Mark::RolledBack, 0),
            Mark::Confirmed => return self.clone(),
        };
        Self { mark, side: self.side, starts, boot, due }
    }
}
