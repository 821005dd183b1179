//! What is known of the two slots, and what each act makes of it. Nothing here does IO.

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

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The slot of this name; a slash at the end is what people type.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name.strip_suffix('/').unwrap_or(name) {
            "a" => Some(Self::A),
            "b" => Some(Self::B),
            _ => None,
        }
    }
}

/// How far the switch to a slot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// It runs for good.
    Confirmed,
    /// The next start starts it, on trial.
    Armed,
    /// It has been started and is not confirmed.
    Trial,
    /// It is to go at the next start.
    Back,
    /// The other one is back, and that has not been told yet.
    RolledBack,
}

const MARKS: [(Mark, &str); 5] = [
    (Mark::Confirmed, "confirmed"),
    (Mark::Armed, "armed"),
    (Mark::Trial, "trial"),
    (Mark::Back, "back"),
    (Mark::RolledBack, "rolled-back"),
];

/// What the file `state` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) mark: Mark,
    pub(super) side: Side,
    /// Starts on trial, counted before each.
    pub(super) starts: u8,
    /// During which run of the machine the last one was.
    pub(super) boot: String,
    /// The link was moved, and what was started from the old one runs perhaps still.
    pub(super) due: bool,
}

/// No boot id is longer.
const BOOT: usize = 64;

/// The id as it is kept.
pub(super) fn boot(id: &str) -> String {
    id.chars().filter(char::is_ascii_graphic).take(BOOT).collect()
}

impl State {
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

    /// `None` for what [`State::to_text`] never wrote.
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

    /// What runs while the link says `link`, and how the core calls that.
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

    /// Where the link must point while this holds; `None` while a person may move it.
    pub(super) fn link(&self) -> Option<Side> {
        match self.mark {
            Mark::Confirmed => None,
            Mark::Trial | Mark::Back => Some(self.side),
            Mark::Armed | Mark::RolledBack => Some(self.side.other()),
        }
    }

    /// What the action makes of it; `None` when it does not fit.
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
            // The restart may be due still.
            (SlotAction::ClearMark, Mark::RolledBack) => {
                Some(Self { mark: Mark::Confirmed, side: self.side.other(), ..self.clone() })
            }
            _ => None,
        }
    }

    /// What a start makes of it, when an image on trial may be started `most` times. It is `due`
    /// until somebody says that it was done.
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
