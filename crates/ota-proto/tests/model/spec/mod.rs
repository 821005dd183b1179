//! The messages that a device must send: docs/rules.md, implemented a second time.
//!
//! It observes the machine's inputs and outputs, and computes the due message at each time. It does
//! not know the jitter, and has an earliest and a latest time instead.

mod book;
mod boot;
mod fetch;
mod offers;
mod say;
mod slot;
mod steps;

use ota_proto::Version;
use ota_proto::journal::{Outcome, Owed, Record};

pub(crate) use book::Image;
use book::{Book, Fact, Line};
pub(crate) use fetch::{Answer, Broken, Bytes};
pub(crate) use offers::Offered;
pub(crate) use steps::Job;
use steps::{Attempt, Foreign, Step};

pub(crate) const S: u64 = 1_000_000;
pub(crate) const ERASE: u64 = 4_096;
pub(crate) const CAPACITY: u64 = 65_536;

/// Why an attempt failed, as far as the cloud and the guard can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Timeout,
    NotFound,
    Auth,
    Digest,
    /// The installer, the trial: the image's own fault.
    Image,
    Other,
}

impl Why {
    /// Rule 5.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Timeout => "-1",
            Self::NotFound => "-2",
            Self::Auth => "-3",
            Self::Digest => "-4",
            Self::Image | Self::Other => "-5",
        }
    }
}

pub(crate) type Ended = Result<(), Why>;

/// What the application and the configuration decide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) ask_consent: bool,
    pub(crate) ask_approval: bool,
    pub(crate) ask_install: bool,
    pub(crate) http: bool,
    pub(crate) no_downgrade: bool,
    pub(crate) needs_reply: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Nothing,
    Part,
    Install,
    Switch,
    Owed,
}

/// What must survive a reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) phase: Phase,
    pub(crate) image: Option<Image>,
    /// The version that ran when the attempt began.
    pub(crate) from: Option<&'static str>,
    /// Bytes of it that are surely in the slot, and the server's name for them.
    pub(crate) offset: u64,
    pub(crate) etag: u8,
    pub(crate) tries: u8,
    /// Attempts that counted when it was written.
    pub(crate) attempts: u64,
    /// Starts in a row that brought no checkpoint at its time.
    pub(crate) starts: u8,
    /// The result that is owed, or why a roll-back began.
    pub(crate) outcome: Option<Ended>,
    /// A copy of it may have left.
    pub(crate) sent: bool,
    /// Version and digest that failed here, and how often.
    pub(crate) guard: Option<(&'static str, u8, u8)>,
    /// The text with which the attempt in progress was accepted.
    pub(crate) accepted: Option<usize>,
}

/// A result on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owing {
    /// It must become durable before anything is said.
    Saving,
    /// It may be told once a mark says so in the journal.
    Saved,
    /// The cloud has it; the journal must forget it.
    Heard,
}

pub(crate) struct Spec {
    pub(crate) now: u64,
    policy: Policy,
    running: &'static str,
    up: bool,
    /// The cloud has answered the report of what runs.
    proved: bool,
    /// An image is on trial or armed: nothing else may be written.
    foreign: Option<Foreign>,
    book: Book,
    open: Option<Attempt>,
    owed: Option<Owing>,
    /// What should be durable, what is, what is being written, and what may be.
    note: Note,
    durable: Note,
    writing: Option<Note>,
    doubt: Option<Note>,
    /// Several different ones may be.
    doubts: bool,
    /// When the write, with all that failed before it, has taken too long.
    write_limit: Option<u64>,
    failures: u32,
    write_again: u64,
    /// How often in a row the slot could not be told to confirm or to roll back.
    cannot: u8,
    /// The slot's job in progress, whether the attempt still wants it, and until when it waits.
    job: Option<(Job, bool, u64)>,
    superseded: Option<u64>,
    /// When the attempts from before the boot count no more.
    before: u64,
    recall: Option<u64>,
    /// The machine wants body bytes.
    reading: bool,
}

/// What a session brings.
impl Spec {
    pub(crate) fn session(&mut self, up: bool) {
        self.fact(if up { Fact::Up } else { Fact::Down });
        self.up = up;
        self.url_session(up);
        self.settle();
    }

    /// `report_version_rsp`, for this version or without one.
    pub(crate) fn reply(&mut self, code: i64, version: Option<&str>) {
        if version.is_some_and(|version| version != self.running) {
            return;
        }
        if code == 0 {
            self.answered();
            self.url_reply();
        } else {
            self.fact(Fact::Denied);
        }
        self.settle();
    }

    fn answered(&mut self) {
        // What comes before the report has left says nothing of what runs (O8).
        self.proved |= self.up && matches!(self.version_due(), say::Due::Between(..));
        let waits = self.waits();
        self.fact(Fact::Answered { waits });
    }

    /// A publication was handed over or acknowledged.
    pub(crate) fn heard(&mut self, id: u32) {
        if self.owed == Some(Owing::Saved) && self.book.is_result(id) {
            self.owed = Some(Owing::Heard);
            let Note { image, offset, etag, tries, guard, outcome, from, attempts, starts, .. } =
                self.note;
            let keeps = matches!(outcome, Some(Err(Why::Timeout | Why::NotFound | Why::Auth)));
            self.note = if keeps && offset > 0 {
                let part = Note { phase: Phase::Part, image, from, ..Note::default() };
                Note { offset, etag, tries, guard, attempts, starts, ..part }
            } else {
                Note { guard, attempts, starts, ..Note::default() }
            };
        }
        self.fact(Fact::Heard { id });
        self.settle();
    }
}

/// The journal: what is written is what should have been durable when the write began.
impl Spec {
    pub(crate) fn persist(&mut self, record: &Record) {
        let code = |owed: Owed| match owed.result {
            Outcome::Done => "0".into(),
            Outcome::Failed(reason) => reason.code().number().to_string(),
        };
        let target = record.target.as_ref();
        let found = (
            target.map(|target| (target.version.as_str(), target.size, target.offset)),
            record.from.as_ref().map(Version::as_str),
            (record.tries, u64::from(record.attempts), record.starts),
            record.owed.map(|owed| (code(owed), owed.sent)),
            record.guard.map(|guard| guard.count),
            record.accepted.is_some(),
        );
        self.note.attempts = self.budget().saturating_sub(self.now).div_ceil(600 * S).min(8);
        let note = &self.note;
        let wanted = (
            note.image.map(|image| (image.version, image.size, note.offset)),
            note.from,
            (note.tries, note.attempts, note.starts),
            note.outcome
                .map(|outcome| (outcome.map_or_else(Why::code, |()| "0").into(), note.sent)),
            note.guard.map(|(.., count)| count),
            note.accepted.is_some(),
        );
        assert_eq!(found, wanted, "what is to survive a reset");
        assert!(self.writing.is_none(), "two journal writes at once");
        assert!(!self.is_durable(), "a journal write that changes nothing: {:?}", self.note);
        assert!(self.now >= self.write_again, "a failed journal write is tried too soon");
        self.writing = Some(self.note.clone());
        self.write_limit.get_or_insert(self.now + 1_800 * S);
    }

    pub(crate) fn persisted(&mut self, ok: bool) {
        let note = self.writing.take().expect("a write in progress");
        if ok {
            self.body_moves();
            (self.durable, self.doubt, self.doubts) = (note, None, false);
            self.write_limit = None;
            (self.failures, self.write_again) = (0, 0);
        } else {
            self.doubts |= self.doubt.as_ref().is_some_and(|doubt| *doubt != note);
            self.doubt = Some(note);
            let pause = (S << self.failures.min(20)).min(300 * S);
            (self.failures, self.write_again) = (self.failures + 1, self.now + pause);
        }
        self.settle();
    }

    fn is_durable(&self) -> bool {
        self.writing.is_none() && self.doubt.is_none() && self.durable == self.note
    }

    /// The result that is owed moves by itself as far as the journal lets it.
    fn settle_owed(&mut self) {
        if self.owed == Some(Owing::Saving) && self.is_durable() {
            self.owed = Some(Owing::Saved);
        }
        if self.owed == Some(Owing::Saved) && self.up && !self.note.sent {
            self.note.sent = true;
            self.owed = Some(Owing::Saving);
        }
        if self.owed == Some(Owing::Heard) && self.is_durable() {
            self.owed = None;
            self.fact(Fact::Asked);
        }
    }

    /// The attempt is over.
    fn finish(&mut self, image: Image, kept: (u64, u8), outcome: Ended) {
        self.drop_attempt();
        self.fact(Fact::Ended);
        if outcome.is_ok() {
            self.fact(Fact::Succeeded);
        }
        let Note { tries, guard, from, attempts, starts, .. } = self.note;
        let guard = match outcome {
            Ok(()) => guard.filter(|(version, md5, _)| !is(&image, version, *md5)),
            Err(Why::Digest | Why::Image) => {
                let same = guard.filter(|(version, md5, _)| is(&image, version, *md5));
                Some((image.version, image.md5, same.map_or(1, |(.., count)| count + 1)))
            }
            Err(_) => guard,
        };
        self.note = Note {
            phase: Phase::Owed,
            image: Some(image),
            from: from.or(Some(self.running)),
            offset: kept.0,
            etag: if kept.0 > 0 { kept.1 } else { 0 },
            tries,
            attempts,
            starts,
            outcome: Some(outcome),
            sent: self.up,
            guard,
            accepted: None,
        };
        self.owed = Some(Owing::Saving);
    }

    fn fail(&mut self, why: Why) {
        let Some(attempt) = &self.open else { return };
        // Only what the journal knows of is kept.
        let kept = if self.note.image == Some(attempt.image) { self.note.offset } else { 0 };
        let (image, etag) = (attempt.image, attempt.etag);
        if !matches!(why, Why::Digest | Why::Image) {
            self.fact(Fact::Failed(image));
        }
        self.finish(image, (kept, etag), Err(why));
    }

    /// A record that a reset may find beside the durable one.
    pub(crate) fn may_be_found(&self) -> Option<&Note> {
        self.writing.as_ref().or(self.doubt.as_ref())
    }

    pub(crate) fn durable(&self) -> &Note {
        &self.durable
    }
}

/// What follows by itself.
impl Spec {
    fn fact(&mut self, fact: Fact) {
        self.book.note(self.now, fact);
    }

    fn settle(&mut self) {
        self.settle_owed();
        self.adopt();
        self.refresh();
        self.settle_body();
        self.settle_ready();
        self.settle_wait();
    }

    /// Time has passed: everything whose moment has come.
    pub(crate) fn tick(&mut self, now: u64) {
        let stood = now - self.now;
        self.now = now;
        self.body_clock(stood);
        if self.recall.take_if(|at| *at <= now).is_some() {
            self.fact(Fact::Asked);
        }
        if self.wait_over().is_some_and(|at| at <= now) {
            self.fail(self.waited_for());
        } else if self.stuck_at().is_some_and(|at| at <= now) {
            self.give_up();
        } else {
            self.tick_url();
            self.tick_step();
        }
        self.settle();
        // A wait for the journal that begins now may already be over.
        if self.stuck_at().is_some_and(|at| at <= now) {
            self.give_up();
            self.settle();
        }
    }

    pub(crate) fn running(&self) -> &'static str {
        self.running
    }

    pub(crate) fn owes(&self) -> bool {
        matches!(self.owed, Some(Owing::Saving | Owing::Saved))
    }

    /// Bytes stored of the open attempt.
    pub(crate) fn stored(&self) -> Option<u64> {
        self.open.as_ref().map(|attempt| attempt.stored)
    }

    /// When a pause with jitter has certainly ended.
    pub(crate) fn vague_until(&self) -> u64 {
        match &self.open {
            Some(attempt @ Attempt { step: Step::Pause { .. }, .. }) => self.pause_over(attempt),
            _ => 0,
        }
    }
}

fn is(image: &Image, version: &str, md5: u8) -> bool {
    image.version == version && image.md5 == md5
}
