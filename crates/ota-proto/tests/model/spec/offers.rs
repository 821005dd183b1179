//! Offers: rules 2, 3 and 14, and the wait for one.

use super::book::{Fact, Image};
use super::fetch::pause;
use super::steps::{Attempt, Job, Step, Url, Wait, fits, is_past_return};
use super::{ERASE, Line, Phase, S, Spec, Why, is};

/// `update_firmware` as the harness wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) version: &'static str,
    /// A number that stands for the digest; none when the key is left out.
    pub(crate) md5: Option<u8>,
    pub(crate) size: Option<u64>,
    pub(crate) url: String,
    /// Bytes of `user_defined`.
    pub(crate) text: usize,
    /// The version is above what runs, for a device that takes no older one.
    pub(crate) newer: bool,
}

impl Offered {
    fn image(&self) -> Image {
        let (md5, size) = (self.md5.unwrap_or(0), self.size.unwrap_or(0));
        Image { version: self.version, md5, size }
    }
}

impl Spec {
    pub(crate) fn offer(&mut self, offer: &Offered) {
        // An offer is an answer, too.
        self.answered();
        if self.owed.is_none() {
            self.take_offer(offer);
        }
        self.settle();
    }

    fn take_offer(&mut self, offer: &Offered) {
        if offer.version == self.running {
            if !self.book.session().iter().any(|(_, fact)| *fact == Fact::ToldRunning) {
                self.fact(Fact::ToldRunning);
                self.fact(Fact::Asked);
            }
            return;
        }
        match &self.open {
            Some(attempt) if is_past_return(&attempt.step) => {}
            Some(attempt) if attempt.image == offer.image() => self.same_offer(offer),
            _ => self.other_offer(offer),
        }
    }

    fn same_offer(&mut self, offer: &Offered) {
        let usable = self.is_usable(offer);
        let now = self.now;
        let policy = self.policy;
        let Some(attempt) = &mut self.open else { return };
        // It is there, of use or not.
        (attempt.replies, attempt.again) = (0, false);
        let awaited = match attempt.step {
            Step::Url { why, .. } => Some(why),
            _ => None,
        };
        if !usable {
            // Without effect on a download; the end of an attempt that waits for it.
            if awaited.is_some() {
                self.fail(Why::Other);
            }
            return;
        }
        // The application looks at it, or has: at this text.
        let asks = match &attempt.step {
            Step::Url { why: Url::Boot | Url::Deferral, .. } => false,
            Step::Ready { .. } | Step::Later { .. } => {
                policy.ask_consent || policy.ask_approval || policy.ask_install
            }
            _ => policy.ask_consent,
        };
        let other_text = asks && attempt.text != Some(offer.text);
        if other_text {
            if let Some(at) = self.superseded.map(|at| at + 60 * S).filter(|at| *at > now) {
                self.recall = Some(at);
                return;
            }
            self.superseded = Some(now);
            if matches!(self.job, Some((Job::Digest { .. }, ..))) {
                self.orphan();
            }
            self.note.accepted = None;
        }
        let Some(attempt) = &mut self.open else { return };
        let known = attempt.url == offer.url;
        attempt.url.clone_from(&offer.url);
        attempt.text = Some(offer.text);
        attempt.offered = now;
        if other_text {
            return self.consent_or_start();
        }
        match awaited {
            None => {}
            Some(Url::Refused) if known => {
                let at = now + 60 * S;
                attempt.step = pause(at, at, now, false);
            }
            Some(Url::Refused | Url::Gone | Url::Stale) => attempt.resume(),
            // This very attempt was accepted, with this text, before the boot.
            Some(Url::Boot) if self.note.accepted == Some(offer.text) => self.start(),
            Some(Url::Boot | Url::Deferral) => self.consent_or_start(),
        }
    }

    fn other_offer(&mut self, offer: &Offered) {
        let image = offer.image();
        let usable = self.is_usable(offer);
        let elicited = self.book.all().iter().any(|(at, fact)| {
            matches!(fact, Fact::Said { line: Line::Version, .. }) && at + 30 * S >= self.now
        });
        let guard = self.note.guard;
        let banned = elicited
            && guard.is_some_and(|(version, md5, count)| is(&image, version, md5) && count >= 3);
        let refused = self.turned_down();
        let told = refused.contains(&image);
        let again = self.may_begin_again(image).filter(|_| elicited);
        let again = again.max(self.budget().checked_sub(4_200 * S)).filter(|at| *at > self.now);
        let silent = (elicited && told) || ((!usable || banned) && (told || refused.len() >= 8));
        if silent || !usable || banned || again.is_some() {
            // What cannot be taken replaces nothing.
            match self.open.as_ref().map(|attempt| &attempt.step) {
                None => {}
                Some(Step::Url { .. }) => {
                    self.recall = Some(self.now + 60 * S);
                    // Another one than the awaited one.
                    return self.url_reply();
                }
                Some(_) => return,
            }
        }
        if silent {
            return;
        }
        if !usable {
            return self.turn_down(image);
        }
        if let Some(at) = again {
            self.recall = Some(at);
            return;
        }
        if banned {
            return self.turn_down(image);
        }
        let open = self.open.as_ref().map(|attempt| &attempt.step);
        if !matches!(open, None | Some(Step::Url { why: Url::Boot, .. })) {
            if let Some(at) = self.superseded.map(|at| at + 60 * S).filter(|at| *at > self.now) {
                self.recall = Some(at);
                return;
            }
            self.superseded = Some(self.now);
        }
        self.fact(Fact::Tried);
        self.drop_attempt();
        let kept = if self.note.phase == Phase::Part && self.note.image == Some(image) {
            (resume_point(self.note.offset, image.size), self.note.etag)
        } else {
            (0, 0)
        };
        self.begin(image, offer.url.clone(), Step::Consent { ask: self.now }, kept);
        if let Some(attempt) = &mut self.open {
            attempt.text = Some(offer.text);
        }
        self.consent_or_start();
    }

    /// Not worth an attempt: a result all the same, once in a session.
    pub(super) fn turn_down(&mut self, image: Image) {
        if self.up {
            self.fact(Fact::Refused(image));
        }
        let image = Image { size: image.size.max(1), ..image };
        self.finish(image, (0, 0), Err(Why::Other));
    }

    /// Rule 14: a minute after an attempt failed, and twice as long after each further one.
    fn may_begin_again(&self, image: Image) -> Option<u64> {
        let forgiven = self.book.since(|fact| *fact == Fact::Forgiven);
        let failed = forgiven.iter().rev().filter_map(|(at, fact)| match fact {
            Fact::Failed(image) => Some((*at, *image)),
            _ => None,
        });
        let same: Vec<u64> =
            failed.take_while(|(_, failed)| *failed == image).map(|(at, _)| at).collect();
        let pause = (60 << same.len().saturating_sub(1).min(10)).min(3_600);
        Some(same.first()? + pause * S)
    }

    /// When all eight attempts may begin at once again: each one that began since the last success
    /// counts for ten minutes, one after the other.
    pub(super) fn budget(&self) -> u64 {
        let since = self.book.since(|fact| matches!(fact, Fact::Succeeded | Fact::Forgiven));
        let anew = since.len() < self.book.all().len();
        let mut empty = if anew { 0 } else { self.before };
        for (at, _) in since.iter().filter(|(_, fact)| *fact == Fact::Tried) {
            empty = empty.max(*at) + 600 * S;
        }
        empty
    }

    pub(super) fn turned_down(&self) -> Vec<Image> {
        let facts = self.book.since(|fact| matches!(fact, Fact::Up | Fact::Down | Fact::Forgiven));
        let mut refused = Vec::new();
        for (_, fact) in facts {
            match fact {
                Fact::Refused(image) if !refused.contains(image) => {
                    // Of more than eight the oldest is forgotten.
                    refused.drain(..refused.len().saturating_sub(7));
                    refused.push(*image);
                }
                _ => {}
            }
        }
        if !self.up {
            refused.clear();
        }
        refused
    }

    fn is_usable(&self, offer: &Offered) -> bool {
        let plain = offer.url.starts_with("http://");
        let link = (plain && self.policy.http) || offer.url.starts_with("https://");
        offer.md5.is_some()
            && offer.size.is_some_and(fits)
            && offer.text <= 1_536
            && offer.url.len() <= 1_024
            && link
            && (offer.newer || !self.policy.no_downgrade)
    }

    /// A new attempt, with what is kept of it in the slot.
    pub(super) fn begin(&mut self, image: Image, url: String, step: Step, kept: (u64, u8)) {
        let (stored, etag) = kept;
        let offered = self.now;
        self.fact(Fact::Began);
        let wait = Wait { base: stored, ..Wait::default() };
        self.open = Some(Attempt {
            image,
            url,
            text: None,
            offered,
            step,
            stored,
            high: stored,
            page: None,
            etag,
            found: false,
            short: 0,
            wait,
            replies: 0,
            reply_at: 0,
            again: false,
        });
    }

    fn consent_or_start(&mut self) {
        if self.policy.ask_consent {
            self.step(Step::Consent { ask: self.now + 60 * S });
        } else {
            self.start();
        }
    }

    /// The application, or nobody, has something against it.
    pub(super) fn start(&mut self) {
        let Some(attempt) = &mut self.open else { return };
        attempt.resume();
        self.note.accepted = if self.policy.ask_consent { attempt.text } else { None };
        let same = self.note.image == Some(attempt.image);
        let known = if same { resume_point(self.note.offset, attempt.image.size) } else { 0 };
        if !same {
            (self.note.tries, self.note.starts) = (0, 0);
        }
        // Rule 11: a start counts until a checkpoint shows that it was long enough.
        if std::mem::take(&mut attempt.found) && attempt.stored < attempt.image.size {
            attempt.short = self.note.starts;
            self.note.starts = (self.note.starts + 1).min(3);
        }
        self.note.phase = Phase::Part;
        self.note.image = Some(attempt.image);
        self.note.from = Some(self.running);
        // The journal learns of no byte by this.
        self.note.offset = known.min(attempt.stored);
        self.note.etag = if self.note.offset > 0 { attempt.etag } else { 0 };
        (self.note.outcome, self.note.sent) = (None, false);
    }
}

impl Attempt {
    /// On with the fetch, or with the digest when nothing is missing.
    pub(super) fn resume(&mut self) {
        self.step =
            if self.stored >= self.image.size { Step::Check } else { Step::Due { hops: 0 } };
    }
}

/// The block at the end may be torn.
pub(super) fn resume_point(offset: u64, size: u64) -> u64 {
    if offset >= size { size } else { offset / ERASE * ERASE }
}

/// The wait for an offer.
impl Spec {
    /// The cloud is asked for an offer, with a fresh URL.
    pub(super) fn ask_url(&mut self, why: Url) {
        if matches!(why, Url::Refused | Url::Gone) {
            let since = self.book.since(|fact| matches!(fact, Fact::Began | Fact::News));
            let round = Fact::Round { gone: why == Url::Gone };
            let rounds = since.iter().filter(|(_, fact)| *fact == round).count();
            let (most, end) = match why {
                Url::Gone => (2, Why::NotFound),
                _ => (3, Why::Auth),
            };
            if rounds >= most {
                return self.fail(end);
            }
            self.fact(round);
            if why == Url::Gone && rounds == 1 {
                let at = self.now + 60 * S;
                if let Some(attempt) = &mut self.open {
                    (attempt.replies, attempt.again) = (0, false);
                }
                return self.step(pause(at, at, self.now, true));
            }
        }
        if let Some(attempt) = &mut self.open {
            (attempt.replies, attempt.again) = (0, false);
        }
        self.wait_url(why);
        self.fact(Fact::Asked);
    }

    pub(super) fn wait_url(&mut self, why: Url) {
        let timed = self.up && matches!(why, Url::Refused | Url::Gone);
        let until = timed.then_some(self.now + 30 * S);
        self.step(Step::Url { why, until });
    }

    pub(super) fn url_session(&mut self, up: bool) {
        let now = self.now;
        let Some(attempt) = &mut self.open else { return };
        attempt.again = false;
        attempt.replies = if up { attempt.replies } else { 0 };
        match &mut attempt.step {
            Step::Url { why, until } => {
                *until = (up && matches!(why, Url::Refused | Url::Gone)).then_some(now + 30 * S);
            }
            // Without a session no fresh offer can come.
            Step::Pause { over, held, .. } => {
                *held = 0;
                *over = over.map(|_| now + if up { 30 * S } else { 0 });
            }
            _ => {}
        }
    }

    fn waits_for_offer(&self) -> bool {
        let step = self.open.as_ref().map(|attempt| &attempt.step);
        matches!(step, Some(Step::Url { .. } | Step::Pause { .. }))
    }

    /// A reply without the offer: two, 10 s apart, mean that there is none.
    pub(super) fn url_reply(&mut self) {
        let (now, waits) = (self.now, self.waits_for_offer());
        let Some(attempt) = self.open.as_mut().filter(|_| waits) else { return };
        let apart = now >= attempt.reply_at + 10 * S;
        if attempt.replies == 0 || (attempt.replies == 1 && apart) {
            (attempt.replies, attempt.reply_at) = (attempt.replies + 1, now);
            // There is time for the reply to a second report.
            if let Step::Pause { held, .. } = &mut attempt.step {
                *held = now + 20 * S;
            }
        }
    }

    pub(super) fn url_silence(&self) -> Option<u64> {
        let attempt = self.open.as_ref().filter(|_| self.waits_for_offer())?;
        match (attempt.replies, attempt.again) {
            (0, _) | (1, true) => None,
            _ => Some(attempt.reply_at + 10 * S),
        }
    }

    pub(super) fn tick_url(&mut self) {
        if self.url_silence().is_none_or(|at| at > self.now) {
            return;
        }
        let Some(attempt) = &mut self.open else { return };
        if attempt.replies >= 2 {
            // Withdrawn: no report, and the bytes stay.
            return self.drop_attempt();
        }
        attempt.again = true;
        self.fact(Fact::Asked);
    }

    /// An offer that is 23 h old is not used.
    pub(super) fn refresh(&mut self) {
        let Some(attempt) = &self.open else { return };
        let old = self.now >= attempt.offered + 82_800 * S;
        if old && matches!(attempt.step, Step::Due { hops: 0 }) {
            self.ask_url(Url::Stale);
        }
    }
}
