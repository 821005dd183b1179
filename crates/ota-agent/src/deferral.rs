//! Keeps the end of a deferral over a restart of the agent. The state machine has no time of day,
//! so its own deadline ends with the process.

use std::time::Duration;

use ota_host::{DataDir, HostError, Note};
use ota_proto::Md5;

use super::awaited::DeferredBy;
use super::window::NEVER_SET;

/// The note in the data folder, and what the previous process wrote to it.
pub(super) struct Deferral {
    note: Note,
    before: Option<Kept>,
}

/// The content of the note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    /// The offer, with its texts.
    of: Md5,
    /// The Unix time of its end; `None` if the clock was not set.
    until: Option<u64>,
    /// The intended length in seconds. No clock can make it longer.
    length: u64,
    by: DeferredBy,
}

impl Deferral {
    pub(super) fn open(dir: &DataDir) -> Result<Self, HostError> {
        let note = Note::new(dir, "deferral");
        let before = note.read()?.and_then(|text| Kept::parse(&text));
        Ok(Self { note, before })
    }

    /// Records that this offer is deferred for this long.
    pub(super) fn keep(
        &mut self,
        of: Md5,
        wait: Duration,
        by: DeferredBy,
        unix: Option<u64>,
    ) -> Result<(), HostError> {
        self.before = None;
        let length = wait.as_secs();
        let until = set(unix).map(|unix| unix.saturating_add(length));
        let kept = Kept { of, until, length, by };
        self.note.write(&kept.to_text())
    }

    /// Removes the note: there was another decision, or the update has ended.
    pub(super) fn forget(&mut self) -> Result<(), HostError> {
        self.before = None;
        self.note.remove()
    }

    /// Returns how long the previous process deferred this offer from now on, and for whom. Answers
    /// only once: from then on the state machine keeps the time.
    pub(super) fn take(&mut self, of: Md5, unix: Option<u64>) -> Option<(Duration, DeferredBy)> {
        self.before.take_if(|kept| kept.of == of)?.left(unix)
    }
}

/// The time, if the clock is set.
fn set(unix: Option<u64>) -> Option<u64> {
    unix.filter(|unix| *unix >= NEVER_SET)
}

impl Kept {
    /// Without the time of day the full length starts again: too long is better than not at all.
    fn left(self, unix: Option<u64>) -> Option<(Duration, DeferredBy)> {
        let left = match (self.until, set(unix)) {
            (Some(until), Some(unix)) => until.saturating_sub(unix).min(self.length),
            _ => self.length,
        };
        (left > 0).then_some((Duration::from_secs(left), self.by))
    }

    fn to_text(self) -> String {
        let Self { of, until, length, by } = self;
        let until = until.unwrap_or(0);
        let by = if by == DeferredBy::Person { "person" } else { "command" };
        format!("ota-deferral 1 {of} {until} {length} {by}\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let head = (words.next()?, words.next()?);
        let (of, until, length) = (words.next()?, words.next()?, words.next()?);
        let by = match words.next()? {
            "person" => DeferredBy::Person,
            "command" => DeferredBy::Command,
            _ => return None,
        };
        let kept = Self {
            of: Md5::from_hex(of)?,
            until: Some(until.parse().ok()?).filter(|until| *until > 0),
            length: length.parse().ok()?,
            by,
        };
        (head == ("ota-deferral", "1") && words.next().is_none()).then_some(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 1_767_268_800;
    const OF: Md5 = Md5([0xab; 16]);

    fn again(dir: &DataDir, of: Md5, unix: Option<u64>) -> Option<u64> {
        let left = Deferral::open(dir).unwrap().take(of, unix);
        left.map(|(left, by)| {
            assert_eq!(by, DeferredBy::Person);
            left.as_secs()
        })
    }

    #[test]
    fn a_deferral_outlives_the_agent_and_not_its_offer_or_its_end() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path().join("data")).unwrap();
        let deferred_by = |unix| {
            let mut deferral = Deferral::open(&dir).unwrap();
            let wait = Duration::from_secs(3_600);
            deferral.keep(OF, wait, DeferredBy::Person, unix).unwrap();
            assert_eq!(deferral.take(OF, unix), None, "in this life the machine counts");
        };
        deferred_by(Some(NOON));
        assert_eq!(again(&dir, OF, Some(NOON + 600)), Some(3_000));
        assert_eq!(again(&dir, OF, Some(NOON + 600)), Some(3_000), "and the next restart");
        assert_eq!(again(&dir, OF, Some(NOON - 86_400)), Some(3_600), "never longer than meant");
        assert_eq!(again(&dir, OF, Some(NOON + 3_600)), None, "it is over");
        for unset in [None, Some(NEVER_SET - 1)] {
            assert_eq!(again(&dir, OF, unset), Some(3_600), "nobody knows the time");
        }
        assert_eq!(again(&dir, Md5([1; 16]), Some(NOON)), None, "another offer");
        let mut deferral = Deferral::open(&dir).unwrap();
        assert_eq!(deferral.take(OF, Some(NOON)).unwrap().0.as_secs(), 3_600);
        assert_eq!(deferral.take(OF, Some(NOON)), None, "once in a life");
        deferral.forget().unwrap();
        assert_eq!(again(&dir, OF, Some(NOON)), None);
        deferred_by(None);
        assert_eq!(again(&dir, OF, Some(NOON)), Some(3_600), "nobody knows its end");
    }

    #[test]
    fn what_is_no_note_says_nothing() {
        let whole =
            Kept { of: OF, until: Some(NOON), length: 60, by: DeferredBy::Command }.to_text();
        assert!(Kept::parse(&whole).is_some());
        for end in 0..whole.len() {
            assert_eq!(Kept::parse(&whole[..end]), None, "cut at {end}");
        }
        for text in [
            whole.replace("deferral 1", "deferral 2"),
            whole.replace("command", "nobody"),
            whole.replace(" 60 ", " -60 "),
            whole.replace('\n', " more\n"),
        ] {
            assert_eq!(Kept::parse(&text), None, "{text}");
        }
    }
}
