//! The download: rules 8 and 9.

use super::book::Fact;
use super::steps::{Attempt, Job, Step, Url, Wait};
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
    /// Compressed, and its length is not told.
    Encoded,
    /// 401 or 403; 404; 410.
    Forbidden,
    Missing,
    Gone,
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
    /// No body is in progress.
    Stale,
    /// The device does not read.
    NotNow,
    /// More than the image has.
    TooLong,
    /// More than three times the image in all, and once more for a wrong digest.
    TooMany,
    /// So many are taken, and written here unless they are passed over.
    Take { taken: u64, at: Option<u64> },
}

/// How a transfer ends too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Network,
    /// TLS, or not HTTP: it stays so after a second.
    Lie,
}

/// A body on its way.
pub(crate) struct Body {
    /// What was stored before.
    begun: u64,
    /// Bytes of a whole image to pass over.
    skip: u64,
    /// The answer's length is known and right.
    known: bool,
    /// When the next byte must be there, when the rate is judged, and bytes since then.
    idle: u64,
    window: u64,
    bytes: u64,
    /// For how long it was not read by now.
    unread: u64,
    end: Option<Option<Broken>>,
}

impl Body {
    /// When it is surely judged by time.
    pub(super) fn latest(&self) -> u64 {
        self.idle.min(self.window)
    }

    /// When the connection is surely given up because nobody reads.
    pub(super) fn unread_latest(&self, now: u64) -> Option<u64> {
        self.end.is_none().then(|| now + (60 * S).saturating_sub(self.unread))
    }
}

/// A pause that ends between these moments.
pub(super) fn pause(earliest: u64, latest: u64, free: u64, ask: bool) -> Step {
    Step::Pause { earliest, latest, free, ask, over: None, held: 0 }
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

    /// Whether a fetch is in progress, or will be after a pause.
    pub(crate) fn is_fetching(&self) -> bool {
        let step = self.open.as_ref().map(|attempt| &attempt.step);
        matches!(step, Some(Step::Asked { .. } | Step::Body(_) | Step::Pause { .. }))
    }

    pub(crate) fn answer(&mut self, answer: Answer) {
        let Some(attempt) = &self.open else { return };
        let Step::Asked { hops, .. } = attempt.step else { return };
        let (from, etag) = (attempt.stored, attempt.etag);
        let plain = attempt.url.starts_with("http:");
        // Then the digest is to decide.
        let firm = self.book.count(|fact| *fact == Fact::Anew { digest: false }) >= 2;
        match answer {
            Answer::Part { etag: new } if firm => self.body(0, true, new),
            Answer::Whole { etag: new, told } if firm => self.body(from, told, new),
            Answer::Part { etag: new } if from == 0 || new == etag => self.body(0, true, new),
            Answer::Whole { etag: new, told } if from == 0 => self.body(0, told, new),
            Answer::Whole { etag: new, told: true } if new == etag => self.body(from, true, new),
            // A portal's page may tell no length: nothing is given up for it.
            Answer::Whole { etag: new, told: false } if plain => self.body(from, false, new),
            // What is stored is of another image, or may be: from zero, with this body if it can.
            Answer::Whole { etag: new, told } => {
                self.begin_anew(false);
                self.body(0, told, new);
            }
            Answer::Part { .. } | Answer::Range { right: true } if from > 0 && !firm => {
                self.begin_anew(false);
                self.step(Step::Due { hops: 0 });
            }
            Answer::Redirect { good: true } if hops < 5 => self.step(Step::Due { hops: hops + 1 }),
            // The refusal of a redirect's target does not concern the offer's URL.
            Answer::Forbidden if hops > 0 => self.fault((Why::Auth, "auth"), false, 0),
            Answer::Missing | Answer::Gone if hops > 0 => {
                self.fault((Why::NotFound, "gone"), false, 0);
            }
            Answer::Forbidden => self.ask_url(Url::Refused),
            Answer::Missing => self.ask_url(Url::Gone),
            Answer::Gone => self.fail(Why::NotFound),
            Answer::Encoded if !plain => self.fail(Why::Other),
            Answer::Busy { after } => self.fault((Why::Timeout, "busy"), false, after.min(3_600)),
            Answer::Redirect { .. } => self.fault((Why::Other, "redirect"), true, 0),
            Answer::OtherLength => self.fault((Why::Other, "length"), true, 0),
            _ => self.fault((Why::Other, "odd"), true, 0),
        }
        self.settle();
    }

    fn body(&mut self, skip: u64, known: bool, etag: u8) {
        let now = self.now;
        let Some(attempt) = &mut self.open else { return };
        if attempt.stored == 0 {
            attempt.etag = etag;
        }
        let (idle, window) = (now + 15 * S, now + 60 * S);
        attempt.step = Step::Body(Body {
            begun: attempt.stored,
            skip,
            known,
            idle,
            window,
            bytes: 0,
            unread: 0,
            end: None,
        });
    }

    /// What becomes of this many bytes that are offered now.
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
            taken if self.taken() + taken > self.passes() * image.size => Bytes::TooMany,
            taken => Bytes::Take { taken, at: (body.skip == 0).then_some(*stored) },
        }
    }

    /// That has happened.
    pub(crate) fn body_came(&mut self, bytes: Bytes) {
        let now = self.now;
        match bytes {
            Bytes::Stale | Bytes::NotNow => return,
            Bytes::TooLong => {
                if self.is_doubtful() {
                    self.drop_answer();
                }
                self.fault((Why::Other, "long"), true, 0);
            }
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

    /// How often the image may be transferred.
    fn passes(&self) -> u64 {
        let clean = self.book.count(|fact| *fact == Fact::Anew { digest: true });
        3 + u64::try_from(clean).unwrap()
    }

    fn taken(&self) -> u64 {
        self.book.attempt().iter().fold(0, |sum, (_, fact)| match fact {
            Fact::Took(bytes) => sum + bytes,
            Fact::Dropped(bytes) => sum - bytes,
            _ => sum,
        })
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
            Broken::Network => self.fault((Why::Timeout, "network"), false, 0),
            Broken::Lie => self.fault((Why::Other, "tls"), true, 0),
        }
    }

    /// The body in progress told no length, over plain http.
    fn is_doubtful(&self) -> bool {
        self.open.as_ref().is_some_and(|attempt| {
            attempt.url.starts_with("http:")
                && matches!(&attempt.step, Step::Body(body) if !body.known)
        })
    }

    /// It ended too early: a page, or a line that broke. A page is as long each time.
    fn ended_short(&mut self) {
        let Some(attempt) = &mut self.open else { return };
        let Step::Body(body) = &attempt.step else { return };
        let length = attempt.stored - body.skip;
        match attempt.page.replace(length) {
            Some(before) if before.abs_diff(length) >= 4_096 => {
                self.fault((Why::Timeout, "network"), false, 0);
            }
            _ => {
                self.drop_answer();
                self.fault((Why::Other, "short"), true, 0);
            }
        }
    }

    /// What it brought is not of the image.
    fn drop_answer(&mut self) {
        let Some(attempt) = &mut self.open else { return };
        let Step::Body(body) = &attempt.step else { return };
        let length = attempt.stored - body.skip;
        if body.begun < attempt.stored {
            attempt.stored = body.begun / ERASE * ERASE;
            self.note.offset = self.note.offset.min(attempt.stored);
            self.note.etag = if self.note.offset > 0 { self.note.etag } else { 0 };
            self.orphan();
        }
        self.fact(Fact::Dropped(length));
    }

    /// A body is judged when nothing of it is being written.
    pub(super) fn settle_body(&mut self) {
        let (idle, doubtful) = (self.job.is_none(), self.is_doubtful());
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
            Some(None) if doubtful => self.ended_short(),
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
        let gained = end - attempt.wait.base;
        if gained >= 4_096 {
            attempt.wait.base += gained / 4_096 * 4_096;
            attempt.wait.forget(self.now);
        }
        self.fact(Fact::News);
        if gained >= 4_096 {
            self.fact(Fact::Gain);
        }
    }

    /// A fetch failed: a pause, or the end.
    fn fault(&mut self, (why, kind): (Why, &'static str), violation: bool, after: u64) {
        let (now, up) = (self.now, self.up);
        let Some(attempt) = &mut self.open else { return };
        let plain = violation && attempt.url.starts_with("http:");
        let violation = violation && !plain;
        attempt.wait.stop(now);
        (attempt.replies, attempt.again) = (0, false);
        let Wait { spent, asked, .. } = attempt.wait;
        let free = after.min(3_600 - asked);
        // Over plain http a captive portal may answer, for ten minutes.
        let left = match plain {
            true => {
                (attempt.wait.odd.get_or_insert(spent).saturating_add(600 * S)).checked_sub(spent)
            }
            false => Some(u64::MAX),
        };
        let left = left.filter(|left| *left > 0);
        let since = self.book.since(|fact| matches!(fact, Fact::Began | Fact::Gain));
        let count = |like: fn(&Fact) -> bool| since.iter().filter(|(_, fact)| like(fact)).count();
        let before = u32::try_from(count(|fact| matches!(fact, Fact::Fault { .. }))).unwrap();
        let violations =
            count(|fact| matches!(fact, Fact::Fault { told: true, violation: true, .. }));
        // Over plain http most violations are reported alike.
        let alike = plain && !matches!(kind, "tls" | "redirect");
        self.fact(Fact::Fault {
            told: up,
            violation,
            cause: (why, if alike { "else" } else { kind }),
        });
        if violation && up && violations >= 2 {
            return self.fail(why);
        }
        if up && left.is_none() {
            return self.fail(Why::Other);
        }
        let mut most = if violation { 30 * S } else { (1_u64 << before.min(10)).min(300) * S };
        if let (true, Some(left)) = (up, left) {
            most = most.min(left);
        }
        let least = if violation { 30 * S } else { 0 };
        let (first, last) = (least.max(after * S), most.max(after * S));
        if let Some(attempt) = &mut self.open {
            attempt.wait.asked += free;
            attempt.step = pause(now + first, now + last, now + free * S, last >= 60 * S);
        }
    }

    /// From zero.
    pub(super) fn begin_anew(&mut self, digest: bool) {
        self.fact(Fact::Anew { digest });
        self.orphan();
        let Some(attempt) = &mut self.open else { return };
        (attempt.stored, attempt.etag) = (0, 0);
        (attempt.high, attempt.wait.base) = (0, 0);
        attempt.wait.forget(self.now);
        (self.note.offset, self.note.etag) = (0, 0);
    }

    /// The clock of patience runs while the cloud can be told and the server is waited for.
    pub(super) fn settle_wait(&mut self) {
        let (now, up, reading) = (self.now, self.up, self.reading);
        let Some(attempt) = &mut self.open else { return };
        let from = match &attempt.step {
            Step::Asked { .. } => Some(now),
            Step::Body(body) if body.end.is_none() && body.skip == 0 && reading => Some(now),
            Step::Pause { free, .. } => Some(now.max(*free)),
            _ => None,
        };
        match (from.filter(|_| up), attempt.wait.since) {
            (None, Some(_)) => attempt.wait.stop(now),
            (Some(from), None) => attempt.wait.since = Some(from),
            _ => {}
        }
    }

    /// Why it was waited for, if the reason was the same each time.
    pub(super) fn waited_for(&self) -> Why {
        let since = self.book.since(|fact| matches!(fact, Fact::Began | Fact::Gain));
        let mut causes = since.iter().filter_map(|(_, fact)| match fact {
            Fact::Fault { cause, .. } => Some(*cause),
            _ => None,
        });
        let first = causes.next().unwrap_or((Why::Timeout, "none"));
        if causes.all(|cause| cause == first) { first.0 } else { Why::Timeout }
    }

    /// Half an hour without progress is the end.
    pub(super) fn wait_over(&self) -> Option<u64> {
        let wait = self.open.as_ref()?.wait;
        wait.since.map(|since| since + (1_800 * S).saturating_sub(wait.spent))
    }

    /// Whether a cloud that answers now is asked again in five minutes.
    pub(super) fn waits(&self) -> bool {
        let faults = self.book.since(|fact| matches!(fact, Fact::Began | Fact::Gain));
        let failed = faults.iter().any(|(_, fact)| matches!(fact, Fact::Fault { .. }));
        match self.open.as_ref().map(|attempt| &attempt.step) {
            Some(Step::Pause { .. }) => true,
            Some(Step::Due { .. } | Step::Asked { .. } | Step::Body(_)) => failed,
            _ => false,
        }
    }

    /// At the end of a pause the version may be reported.
    pub(super) fn may_ask(&self) -> bool {
        let Some(attempt) = &self.open else { return false };
        let asks = |ask: bool| ask || attempt.replies > 0;
        matches!(attempt.step, Step::Pause { earliest, ask, .. } if asks(ask) && earliest <= self.now)
    }

    /// When the pause is surely over, and the wait for an answer behind it.
    pub(super) fn pause_over(&self, attempt: &Attempt) -> u64 {
        match attempt.step {
            Step::Pause { over: Some(over), held, .. } => over.max(held),
            Step::Pause { latest, ask, held, .. } if self.up && (ask || attempt.replies > 0) => {
                held.max(latest + 30 * S)
            }
            Step::Pause { latest, .. } => latest,
            _ => 0,
        }
    }

    /// The pause with jitter may have ended.
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
        if reading {
            body.unread = 0;
        } else {
            body.idle += stood;
            body.window += stood;
            body.unread += stood;
        }
    }

    /// Slot or journal have answered: they are not stuck.
    pub(super) fn body_moves(&mut self) {
        if let Some(Attempt { step: Step::Body(body), .. }) = &mut self.open {
            body.unread = 0;
        }
    }

    pub(super) fn tick_fetch(&mut self) {
        let (now, reading, up) = (self.now, self.reading, self.up);
        let Some(attempt) = &mut self.open else { return };
        match &mut attempt.step {
            Step::Asked { since, .. } if now >= *since + 20 * S => {
                self.fault((Why::Timeout, "network"), false, 0);
            }
            Step::Pause { over: Some(over), held, .. } if now >= (*over).max(*held) => {
                attempt.resume();
            }
            Step::Pause { latest, ask, over: over @ None, .. } if now >= *latest => {
                if up && (*ask || attempt.replies > 0) {
                    *over = Some(now + 30 * S);
                } else {
                    attempt.resume();
                }
            }
            Step::Body(body) if reading && body.end.is_none() => {
                let slow = now >= body.window && body.bytes < 60 * 256;
                if slow || now >= body.idle {
                    body.end = Some(Some(Broken::Network));
                } else if now >= body.window {
                    (body.window, body.bytes) = (now + 60 * S, 0);
                }
            }
            Step::Body(body) if !reading && body.end.is_none() && body.unread >= 60 * S => {
                body.end = Some(Some(Broken::Network));
            }
            _ => {}
        }
    }
}
