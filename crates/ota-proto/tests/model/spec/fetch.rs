//! The download: rules 8 and 9.

use super::book::Fact;
use super::steps::{Attempt, Job, Step, Url};
use super::{ERASE, S, Spec, Why};

/// The head of an answer, as the harness made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// 206 for what was asked, under this ETag.
    Part {
        etag: u8,
    },
    /// 206 for something else.
    OtherPart,
    /// 200 with the whole image; its length told or not.
    Whole {
        etag: u8,
        told: bool,
    },
    /// 200 with another length.
    OtherLength,
    /// Compressed.
    Encoded,
    /// 401 or 403; 404 or 410.
    Forbidden,
    Missing,
    /// 416, with the right total or another one.
    Range {
        right: bool,
    },
    /// 408, 429 or 5xx, with `Retry-After` in seconds.
    Busy {
        after: u64,
    },
    /// To a good place, or to one that must not be followed.
    Redirect {
        good: bool,
    },
    /// Any other status.
    Odd,
}

/// What becomes of bytes that are offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bytes {
    /// No body is under way.
    Stale,
    /// The device does not read.
    NotNow,
    /// More than the image has.
    TooLong,
    /// More than three times the image in all.
    TooMany,
    /// So many are taken, and written here unless they are passed over.
    Take { taken: u64, at: Option<u64> },
}

/// How a transfer ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Network,
    /// TLS, or no HTTP: it does not become true in a second.
    Lie,
}

/// A body on its way.
pub(crate) struct Body {
    /// Bytes of a whole image to pass over.
    skip: u64,
    /// The answer's length is known and right.
    known: bool,
    /// The most that was stored when it began.
    base: u64,
    /// When the next byte must be there, when the rate is judged, and bytes since then.
    idle: u64,
    window: u64,
    bytes: u64,
    end: Option<Option<Broken>>,
}

impl Body {
    /// When it is surely judged by time.
    pub(super) fn latest(&self) -> u64 {
        self.idle.min(self.window)
    }
}

impl Spec {
    /// The machine asks for the image from this byte on.
    pub(crate) fn fetch(&mut self, from: u64) {
        self.end_pause();
        let now = self.now;
        let Some(attempt) = &mut self.open else { panic!("a fetch without an attempt") };
        let Step::Due { hops } = attempt.step else { panic!("nothing asks for a fetch") };
        assert_eq!(from, attempt.stored, "a fetch from the wrong byte");
        attempt.step = Step::Asked { since: now, hops };
        self.settle();
    }

    /// Whether an answer is waited for.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(&self.open, Some(Attempt { step: Step::Asked { .. }, .. }))
    }

    /// Whether a fetch is under way, or will be after a pause.
    pub(crate) fn is_fetching(&self) -> bool {
        let step = self.open.as_ref().map(|attempt| &attempt.step);
        matches!(step, Some(Step::Asked { .. } | Step::Body(_) | Step::Pause { .. }))
    }

    pub(crate) fn answer(&mut self, answer: Answer) {
        let Some(attempt) = &self.open else { return };
        let Step::Asked { hops, .. } = attempt.step else { return };
        let (from, etag) = (attempt.stored, attempt.etag);
        match answer {
            Answer::Part { etag: new } if from == 0 || new == etag => self.body(0, true, new),
            Answer::Whole { etag: new, told } if from == 0 => self.body(0, told, new),
            Answer::Whole { etag: new, told: true } if new == etag => self.body(from, true, new),
            // What is stored is of another image, or may be: from zero, with this body if it can.
            Answer::Whole { etag: new, told } => {
                if self.begin_anew(false) {
                    self.body(0, told, new);
                }
            }
            Answer::Part { .. } | Answer::Range { right: true } if from > 0 => {
                if self.begin_anew(false) {
                    self.step(Step::Due { hops: 0 });
                }
            }
            Answer::Redirect { good: true } if hops < 5 => self.step(Step::Due { hops: hops + 1 }),
            // A target that refuses says nothing of the offer's URL.
            Answer::Forbidden if hops > 0 => self.fault(Why::Auth, false, 0),
            Answer::Missing if hops > 0 => self.fault(Why::NotFound, false, 0),
            Answer::Forbidden => self.ask_url(Url::Refused),
            Answer::Missing => self.ask_url(Url::Gone),
            Answer::Busy { after } => self.fault(Why::Timeout, false, after.min(3_600)),
            _ => self.fault(Why::Other, true, 0),
        }
        self.settle();
    }

    fn body(&mut self, skip: u64, known: bool, etag: u8) {
        let now = self.now;
        self.fact(Fact::Piece);
        let Some(attempt) = &mut self.open else { return };
        if attempt.stored == 0 {
            attempt.etag = etag;
        }
        let base = attempt.high;
        let (idle, window) = (now + 15 * S, now + 60 * S);
        attempt.step = Step::Body(Body { skip, known, base, idle, window, bytes: 0, end: None });
    }

    /// What becomes of so many bytes that are offered now.
    pub(crate) fn bytes(&self, offered: u64) -> Bytes {
        let Some(Attempt { step: Step::Body(body), stored, image, .. }) = &self.open else {
            return Bytes::Stale;
        };
        let missing = image.size - stored;
        let room = if body.skip > 0 { body.skip } else { missing.min(ERASE - stored % ERASE) };
        match offered.min(room) {
            _ if body.end.is_some() => Bytes::Stale,
            _ if !self.reading || offered == 0 => Bytes::NotNow,
            _ if room == 0 => Bytes::TooLong,
            taken if self.taken() + taken > 3 * image.size => Bytes::TooMany,
            taken => Bytes::Take { taken, at: (body.skip == 0).then_some(*stored) },
        }
    }

    /// That has happened.
    pub(crate) fn body_came(&mut self, bytes: Bytes) {
        let now = self.now;
        match bytes {
            Bytes::Stale | Bytes::NotNow => return,
            Bytes::TooLong => self.fault(Why::Other, true, 0),
            Bytes::TooMany => self.fail(Why::Timeout),
            Bytes::Take { taken, at } => {
                if let Some(Attempt { step: Step::Body(body), .. }) = &mut self.open {
                    body.bytes += taken;
                    body.idle = now + 15 * S;
                    body.skip -= if at.is_none() { taken } else { 0 };
                }
                self.fact(Fact::Took(taken));
                if let Some(at) = at {
                    self.job(Job::Write { end: at + taken });
                }
            }
        }
        self.settle();
    }

    fn taken(&self) -> u64 {
        let took = self.book.attempt().iter().map(|(_, fact)| match fact {
            Fact::Took(bytes) => *bytes,
            _ => 0,
        });
        took.sum()
    }

    /// The transfer ends: as it should, or not.
    pub(crate) fn body_ended(&mut self, broken: Option<Broken>) {
        let Some(attempt) = &mut self.open else { return };
        match &mut attempt.step {
            Step::Body(body) => {
                body.end.get_or_insert(broken);
            }
            Step::Asked { .. } => self.broke(broken.unwrap_or(Broken::Network)),
            _ => {}
        }
        self.settle();
    }

    fn broke(&mut self, broken: Broken) {
        match broken {
            Broken::Network => self.fault(Why::Timeout, false, 0),
            Broken::Lie => self.fault(Why::Other, true, 0),
        }
    }

    /// A body is judged when nothing of it is being written.
    pub(super) fn settle_body(&mut self) {
        let idle = self.job.is_none();
        let Some(attempt) = &mut self.open else { return };
        let Step::Body(body) = &attempt.step else { return };
        if !idle {
            return;
        }
        match body.end {
            _ if attempt.stored >= attempt.image.size && (body.known || body.end.is_some()) => {
                attempt.step = Step::Check;
            }
            None => {}
            Some(broken) => self.broke(broken.unwrap_or(Broken::Network)),
        }
    }

    pub(super) fn wrote(&mut self, end: u64) {
        let Some(attempt) = &mut self.open else { return };
        attempt.stored = end;
        if end <= attempt.high {
            return;
        }
        attempt.high = end;
        let gain = match &attempt.step {
            Step::Body(body) => end - body.base >= 4_096,
            _ => false,
        };
        self.fact(Fact::News);
        if gain {
            self.fact(Fact::Gain);
        }
    }

    /// A fetch failed: a pause, or the end.
    fn fault(&mut self, why: Why, lie: bool, after: u64) {
        let since = self.book.since(|fact| matches!(fact, Fact::Began | Fact::Gain));
        let faults = since.iter().filter(|(_, fact)| matches!(fact, Fact::Fault { .. }));
        let before = u32::try_from(faults.count()).unwrap();
        self.fact(Fact::Fault { told: self.up, lie });
        let count = |like: fn(&Fact) -> bool| {
            let since = self.book.since(|fact| matches!(fact, Fact::Began | Fact::Gain));
            since.iter().filter(|(_, fact)| like(fact)).count()
        };
        let told = count(|fact| matches!(fact, Fact::Fault { told: true, .. }));
        let lies = count(|fact| *fact == Fact::Fault { told: true, lie: true });
        if lies >= 3 {
            return self.fail(why);
        }
        if told >= 8 {
            return self.fail(Why::Timeout);
        }
        let most = if lie { 30 } else { (1_u64 << before.min(10)).min(30) };
        let least = if lie { 30 } else { 0 };
        let earliest = self.now + least.max(after) * S;
        self.step(Step::Pause { earliest, latest: self.now + most.max(after) * S });
    }

    /// From zero: twice in an attempt, no more.
    pub(super) fn begin_anew(&mut self, digest: bool) -> bool {
        if self.book.count(|fact| matches!(fact, Fact::Anew { .. })) >= 2 {
            self.fail(if digest { Why::Digest } else { Why::Other });
            return false;
        }
        self.fact(Fact::Anew { digest });
        self.orphan();
        let Some(attempt) = &mut self.open else { return false };
        (attempt.stored, attempt.etag, attempt.old_bytes) = (0, 0, false);
        (self.note.offset, self.note.etag) = (0, 0);
        true
    }

    /// Chance may have ended the pause.
    fn end_pause(&mut self) {
        let now = self.now;
        if let Some(attempt) = &mut self.open {
            if matches!(attempt.step, Step::Pause { earliest, .. } if now >= earliest) {
                attempt.resume();
            }
        }
    }

    /// The device does not read: the network's deadlines stand still.
    pub(super) fn body_clock(&mut self, stood: u64) {
        let reading = self.reading;
        let Some(Attempt { step: Step::Body(body), .. }) = &mut self.open else { return };
        if !reading {
            body.idle += stood;
            body.window += stood;
        }
    }

    pub(super) fn tick_fetch(&mut self) {
        let (now, reading) = (self.now, self.reading);
        let Some(attempt) = &mut self.open else { return };
        match &mut attempt.step {
            Step::Asked { since, .. } if now >= *since + 20 * S => {
                self.fault(Why::Timeout, false, 0);
            }
            Step::Pause { latest, .. } if now >= *latest => attempt.resume(),
            Step::Body(body) if reading && body.end.is_none() => {
                let slow = now >= body.window && body.bytes < 60 * 256;
                if slow || now >= body.idle {
                    body.end = Some(Some(Broken::Network));
                } else if now >= body.window {
                    (body.window, body.bytes) = (now + 60 * S, 0);
                }
            }
            _ => {}
        }
    }
}
