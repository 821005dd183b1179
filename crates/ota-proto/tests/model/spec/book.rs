//! The diary of a device since it booted. The rules ask it "how often since" and "when last";
//! nothing is counted twice, and nothing has to be reset.

use super::Why;

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fact {
    /// A session came up, or went.
    Up,
    Down,
    /// This left; the id is the harness's.
    Said {
        id: u32,
        line: Line,
    },
    /// It was handed over, or acknowledged.
    Heard {
        id: u32,
    },
    /// The cloud answered a version report, while the server was waited for; or refused it.
    Answered {
        waits: bool,
    },
    Denied,
    /// Something asked for another version report.
    Asked,
    /// The offer of this image was refused without an attempt.
    Refused(Image),
    /// The running version was offered, and reported for that.
    ToldRunning,
    /// The application has forgiven an image.
    Forgiven,
    /// An attempt at an image began.
    Began,
    /// An offer was taken for it.
    Tried,
    /// The new version runs for good.
    Succeeded,
    /// It failed, and not by its image.
    Failed(Image),
    /// It ended: a result is owed.
    Ended,
    /// A fetch failed: while the cloud could be told; by a violation; why, as the cloud would hear it.
    Fault {
        told: bool,
        violation: bool,
        cause: (Why, &'static str),
    },
    /// Another 4 KiB beyond all before.
    Gain,
    /// A byte beyond all before.
    News,
    /// A fresh URL was asked for because this one was refused, or had no object.
    Round {
        gone: bool,
    },
    /// The download restarted from zero; `true`: for a wrong digest.
    Anew {
        digest: bool,
    },
    /// What the slot holds did not have the right digest.
    Mismatch,
    /// Body bytes were taken.
    Took(u64),
    /// This many of them did not belong to an image.
    Dropped(u64),
}

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Line {
    Version,
    Percent(u64),
    Burning,
    Result,
}

/// What makes two offers the same: the digest is a number here, 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) version: &'static str,
    pub(crate) md5: u8,
    pub(crate) size: u64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Book(Vec<(u64, Fact)>);

impl Book {
    pub(crate) fn note(&mut self, now: u64, fact: Fact) {
        self.0.push((now, fact));
    }

    pub(crate) fn all(&self) -> &[(u64, Fact)] {
        &self.0
    }

    /// Everything after the last fact of this kind; all when there is none.
    pub(crate) fn since(&self, mark: impl Fn(&Fact) -> bool) -> &[(u64, Fact)] {
        let at = self.0.iter().rposition(|(_, fact)| mark(fact)).map_or(0, |at| at + 1);
        &self.0[at..]
    }

    pub(crate) fn session(&self) -> &[(u64, Fact)] {
        self.since(|fact| matches!(fact, Fact::Up | Fact::Down))
    }

    pub(crate) fn attempt(&self) -> &[(u64, Fact)] {
        self.since(|fact| *fact == Fact::Began)
    }

    /// The copy of the result that is owed that left last, in this session.
    pub(crate) fn result(&self) -> Option<(u64, u32)> {
        let facts = self.since(|fact| matches!(fact, Fact::Ended | Fact::Up | Fact::Down));
        last_said(facts, |line| *line == Line::Result).map(|(at, id, _)| (at, id))
    }

    /// It is a copy of the result that is owed, and left in this session.
    pub(crate) fn is_result(&self, wanted: u32) -> bool {
        let facts = self.since(|fact| matches!(fact, Fact::Ended | Fact::Up | Fact::Down));
        facts
            .iter()
            .any(|(_, fact)| matches!(fact, Fact::Said { id, line: Line::Result } if *id == wanted))
    }

    /// How often in this attempt.
    pub(crate) fn count(&self, like: impl Fn(&Fact) -> bool) -> usize {
        self.attempt().iter().filter(|(_, fact)| like(fact)).count()
    }

    pub(crate) fn heard(&self, wanted: u32) -> bool {
        self.0.iter().any(|(_, fact)| *fact == Fact::Heard { id: wanted })
    }
}

/// The last message of this kind among these facts: when, which, and what it said.
pub(crate) fn last_said(
    facts: &[(u64, Fact)],
    like: impl Fn(&Line) -> bool,
) -> Option<(u64, u32, &Line)> {
    facts.iter().rev().find_map(|(at, fact)| match fact {
        Fact::Said { id, line } if like(line) => Some((*at, *id, line)),
        _ => None,
    })
}
