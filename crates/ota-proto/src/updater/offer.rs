//! The cloud's messages: replies and offers, and the decision about each offer.

use alloc::string::{String, ToString};
use core::cmp::Ordering;

use crate::code::Reason;
use crate::config::{Downgrade, Hold};
use crate::digest::Md5;
use crate::journal::{Outcome, Phase, Record, Target};
use crate::message::OfferMessage;
use crate::output::Event;
use crate::time::Instant;
use crate::url::SecretUrl;
use crate::version::Version;

use super::Updater;
use super::attempt::stage::{Backoff, Offered, Silence, Stage, Why};
use super::attempt::{Attempt, Source};
use super::image::Image;
use super::job::{SlotJob, SlotTask};
use super::result::{Owing, hash};
use super::session::{Report, Session};

/// The number of strikes that ban an image.
const STRIKES: u8 = 3;
/// The most refusals sent in one session, because each costs journal writes.
const REFUSALS: usize = 8;

/// The decision about an offer other than the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfferVerdict {
    /// Ignore it.
    Silent,
    /// Refuse it: a `fail` is owed.
    Refuse(Reason),
    /// Report the version at this time, so that the cloud repeats the offer.
    HoldBack(Instant),
    /// Refuse it, with an event for the application.
    Ban,
    /// Begin an attempt.
    Take,
}

impl Updater {
    /// Handles `report_version_rsp`.
    pub(super) fn on_reply(&mut self, code: i64, version: Option<&str>) {
        if version.is_some_and(|version| !version.is_empty() && version != self.running.as_str()) {
            // A late reply to a report from before a restart says nothing about the running
            // version.
            return;
        }
        if code == 0 {
            self.on_answer();
            self.events.push(Event::VersionAccepted);
            self.count_reply();
        } else {
            let again = self.now + self.cfg.timing.report_cap;
            if let Session::Up(up) = &mut self.session {
                up.report = Report::Due(again);
            }
            self.events.push(Event::VersionRefused { code });
        }
    }

    /// Handles `update_firmware`.
    pub(super) fn on_offer(&mut self, offer: &OfferMessage<'_>) {
        let version = Version::new(&offer.version);
        debug_assert!(version.is_ok(), "a decoded offer has a valid version");
        let Ok(version) = version else { return };
        // An offer before or instead of the reply counts as the reply.
        self.on_answer();
        if self.owing != Owing::None {
            return;
        }
        if version == self.running {
            self.on_offer_of_running();
            return;
        }
        let image = Image {
            version,
            md5: offer.md5sum.unwrap_or(Md5([0; 16])),
            size: offer.file_size.unwrap_or(0),
        };
        match &self.update {
            Some(attempt) if attempt.stage.is_past_return() => {}
            Some(attempt) if attempt.image == image => self.on_same_offer(offer),
            _ => self.on_new_offer(image, offer),
        }
    }

    /// Starts or continues the open attempt: the journal first, then the network.
    pub(super) fn start_attempt(&mut self) {
        let Some(attempt) = &mut self.update else { return };
        attempt.checkpoint_at = self.now;
        attempt.resume();
        let found = core::mem::take(&mut attempt.found) && attempt.stored < attempt.image.size;
        let (from, synced) = (attempt.stored, attempt.synced.min(attempt.stored));
        let claimed = if synced < attempt.image.size { self.round_down(synced) } else { synced };
        debug_assert!(self.update.is_some(), "nothing above ends the attempt");
        let Some(attempt) = &self.update else { return };
        // If the application was asked again, some stored bytes may not be durable yet (O1).
        let target = attempt.target(claimed);
        let known = self.ledger.wanted;
        let same = known.target.is_some_and(|old| attempt.image.is(&old));
        let starts = if same { known.starts } else { 0 };
        self.ledger.wanted = Record {
            phase: Phase::Fetching,
            tries: if same { known.tries } else { 0 },
            // Counted until a checkpoint shows that this start lasted long enough.
            starts: starts.saturating_add(u8::from(found)).min(Record::STARTS),
            target: Some(target),
            from: Some(self.running),
            owed: None,
            accepted: (self.cfg.consent == Hold::Ask).then(|| attempt.source.texts_digest()),
            ..known
        };
        if let (Some(attempt), true) = (&mut self.update, found) {
            attempt.short = starts;
        }
        self.events.push(Event::Started { from });
    }

    /// Notes that the cloud has the running version.
    fn on_answer(&mut self) {
        let next = self.next_idle_report();
        if let Session::Up(up) = &mut self.session {
            // A message that arrives before the report was sent does not answer it (O8).
            self.version_answered |= !matches!(up.report, Report::Due(_));
            up.answered(next);
        }
    }

    /// 24 h ± 10 %.
    fn next_idle_report(&mut self) -> Instant {
        if self.update.as_ref().is_some_and(Attempt::is_waiting) {
            return self.now + self.cfg.timing.report_cap;
        }
        let period = self.cfg.timing.idle_report;
        let tenth = period.part(10);
        let jitter = self.rng.up_to(tenth.times(2));
        self.now + period.less(tenth) + jitter
    }

    fn on_offer_of_running(&mut self) {
        if let Session::Up(up) = &mut self.session {
            if !up.reported_running {
                up.reported_running = true;
                up.report = Report::Due(self.now);
            }
        }
    }

    /// The current offer came again. Only a fresh URL has an effect.
    fn on_same_offer(&mut self, offer: &OfferMessage<'_>) {
        let usable = self.check_offer(offer);
        let source = self.source_of(offer);
        let Some(attempt) = &mut self.update else { return };
        attempt.silence = Silence::default();
        let recalled = match &attempt.stage {
            Stage::Recall(recall) => Some(recall.why),
            _ => None,
        };
        if let Err(reason) = usable {
            // An unusable fresh offer does not affect the running download.
            if recalled.is_some_and(|why| why != Why::Paused) {
                self.fail(reason);
            }
            return;
        }
        let looks = match &attempt.stage {
            Stage::Recall(recall) if matches!(recall.why, Why::Boot | Why::Deferral) => false,
            Stage::Ready(_) | Stage::Deferred(_) => {
                [self.cfg.consent, self.cfg.approval, self.cfg.install].contains(&Hold::Ask)
            }
            _ => self.cfg.consent == Hold::Ask,
        };
        if looks && !attempt.source.has_same_texts(&source) {
            return self.reopen(source);
        }
        let same_url = attempt.source.url == source.url;
        attempt.source = source;
        match recalled {
            None => {}
            Some(Why::Refused) if same_url => {
                let until = self.now + self.cfg.timing.same_url;
                attempt.stage = Stage::Backoff(Backoff { until, free: self.now, ask: false });
            }
            Some(Why::Refused | Why::Gone | Why::Stale | Why::Paused) => attempt.resume(),
            Some(Why::Boot) if self.is_accepted() => self.start_attempt(),
            Some(Why::Boot | Why::Deferral) => self.ask_or_start(),
        }
    }

    /// Whether the application accepted this attempt, with the same texts, before the device
    /// booted.
    fn is_accepted(&self) -> bool {
        let texts = self.update.as_ref().map(|attempt| attempt.source.texts_digest());
        texts.is_some() && self.ledger.wanted.accepted == texts
    }

    /// The image is the same but its texts changed: asks the application again and keeps the bytes.
    fn reopen(&mut self, source: Source) {
        if !self.may_supersede() {
            return;
        }
        self.cancel_fetch();
        for event in [Event::Offered, Event::Ready] {
            self.events.drop_kind(&event);
        }
        if matches!(&self.job, Some(SlotJob { task: SlotTask::Digest { .. }, .. })) {
            self.orphan_job();
        }
        if let Some(attempt) = &mut self.update {
            attempt.hashed = 0;
            attempt.source = source;
        }
        self.ledger.wanted.accepted = None;
        self.ask_or_start();
    }

    /// Handles an offer other than the current one.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    fn on_new_offer(&mut self, image: Image, offer: &OfferMessage<'_>) {
        let verdict = self.judge_offer(&image, offer);
        if verdict != OfferVerdict::Take {
            // This stage cannot be replaced. A version report makes the cloud repeat the offer
            // afterwards.
            match self.update.as_ref().map(|attempt| &attempt.stage) {
                None => {}
                Some(Stage::Recall(_)) => {
                    self.recall = Some(self.now + self.cfg.timing.supersede);
                    // It is not the awaited offer.
                    return self.count_reply();
                }
                Some(_) => return,
            }
        }
        match verdict {
            OfferVerdict::Silent => {}
            OfferVerdict::Refuse(reason) => self.refuse_image(image, reason),
            OfferVerdict::HoldBack(until) => {
                self.recall = Some(until);
                self.events.push(Event::HeldBack { until });
            }
            OfferVerdict::Ban => {
                self.events.push(Event::Banned);
                self.refuse_image(image, Reason::Banned);
            }
            OfferVerdict::Take => self.take_offer(image, offer),
        }
    }

    /// Rules 3 and 14 of docs/rules.md for such an offer: the first row that matches counts.
    fn judge_offer(&self, image: &Image, offer: &OfferMessage<'_>) -> OfferVerdict {
        // Our own report made the cloud send it, not an operator.
        let elicited =
            self.last_report.is_some_and(|asked| self.now.past(asked) <= self.cfg.timing.elicited);
        let usable = self.check_offer(offer);
        let banned = elicited && self.is_banned(image);
        let refused = usable.is_err() || banned;
        let silent = elicited && self.was_refused(image) || refused && self.refuses_no_more(image);
        let failed = self.failed.filter(|_| elicited);
        let free_at = failed.and_then(|failed| failed.free_at(image)).max(self.budget_at());
        let early = free_at.filter(|at| *at > self.now);
        match (silent, usable, early, banned) {
            // A session gets each refusal once, and only a limited number.
            (true, _, _, _) => OfferVerdict::Silent,
            // Only a different offer helps.
            (_, Err(reason), _, _) => OfferVerdict::Refuse(reason),
            // Each attempt wears journal and slot, and one that failed may fail again at once.
            (_, _, Some(until), _) => OfferVerdict::HoldBack(until),
            // The image has too many strikes.
            (_, _, _, true) => OfferVerdict::Ban,
            (false, Ok(()), None, false) => OfferVerdict::Take,
        }
    }

    /// Begins an attempt for this offer, if the current attempt can be replaced.
    fn take_offer(&mut self, image: Image, offer: &OfferMessage<'_>) {
        if !self.make_way() {
            return;
        }
        self.budget = self.budget.max(self.now) + self.cfg.timing.attempt;
        let (kept, etag) = self.kept(&image);
        let source = self.source_of(offer);
        let stage = Stage::Offered(Offered { ask: self.now });
        self.update = Some(Attempt::new(image, source, stage, kept, etag));
        self.ask_or_start();
    }

    /// The number of attempts that count now.
    pub(super) fn attempts(&self) -> u8 {
        let each = self.cfg.timing.attempt.as_micros().max(1);
        let left = self.budget.past(self.now).as_micros().div_ceil(each);
        u8::try_from(left).unwrap_or(Record::ATTEMPTS).min(Record::ATTEMPTS)
    }

    /// When the next attempt may begin; `None` if it may now.
    pub(super) fn budget_at(&self) -> Option<Instant> {
        let most = self.cfg.timing.attempt.times(u32::from(Record::ATTEMPTS).saturating_sub(1));
        let left = self.budget.past(self.now);
        (left >= most).then(|| self.now + left.less(most))
    }

    /// Starts the attempt, or asks the application for its consent.
    fn ask_or_start(&mut self) {
        if self.cfg.consent == Hold::Auto {
            return self.start_attempt();
        }
        if let Some(attempt) = &mut self.update {
            attempt.stage = Stage::Offered(Offered { ask: self.now + self.cfg.timing.ask_again });
            self.events.push(Event::Offered);
        }
    }

    /// Ends the current attempt for a different offer; `false` if the last replacement is too
    /// recent.
    fn make_way(&mut self) -> bool {
        let Some(attempt) = &self.update else { return true };
        let only_journalled =
            matches!(&attempt.stage, Stage::Recall(recall) if recall.why == Why::Boot);
        let free = only_journalled || self.may_supersede();
        if free {
            self.drop_attempt();
        }
        free
    }

    /// Notes that another offer replaces the current one; `false` if the last replacement is too
    /// recent.
    fn may_supersede(&mut self) -> bool {
        let free_at = self.superseded.map(|at| at + self.cfg.timing.supersede);
        if let Some(at) = free_at.filter(|at| *at > self.now) {
            // The later report makes the cloud send its current offer.
            self.recall = Some(at);
            return false;
        }
        self.superseded = Some(self.now);
        self.events.push(Event::Superseded);
        true
    }

    /// The durable bytes of this image, up to an erase boundary, and their ETag.
    fn kept(&self, image: &Image) -> (u64, u32) {
        let wanted = &self.ledger.wanted;
        match &wanted.target {
            Some(target) if wanted.phase == Phase::Fetching && image.is(target) => {
                (self.resume_point(target), target.etag)
            }
            _ => (0, 0),
        }
    }

    /// Where a recorded download continues: the last erase unit may be torn.
    pub(super) fn resume_point(&self, target: &Target) -> u64 {
        if target.offset >= target.size { target.size } else { self.round_down(target.offset) }
    }

    /// Rounds down to an erase unit.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(super) fn round_down(&self, offset: u64) -> u64 {
        let rest = offset.checked_rem(u64::from(self.storage.erase)).unwrap_or(0);
        offset.saturating_sub(rest)
    }

    /// Owes a `fail` for an offer without an attempt. Each is sent once per session, so that a
    /// cloud that repeats the offer does not get endless answers.
    pub(super) fn refuse_image(&mut self, image: Image, reason: Reason) {
        if let Session::Up(up) = &mut self.session {
            if !up.refused.contains(&image) {
                // Only the application can exceed the limit. Its oldest refusal is forgotten.
                if up.refused.len() >= REFUSALS {
                    up.refused.remove(0);
                }
                up.refused.push(image);
            }
        }
        let Image { version, md5, size } = image;
        let target = Target { version, md5, size: size.max(1), offset: 0, etag: 0 };
        self.finish(target, Outcome::Failed(reason));
    }

    /// Whether this offer was refused in this session.
    fn was_refused(&self, image: &Image) -> bool {
        matches!(&self.session, Session::Up(up) if up.refused.contains(image))
    }

    /// Whether no refusal may be sent for this offer: it was refused already, or the session's
    /// limit is reached.
    fn refuses_no_more(&self, image: &Image) -> bool {
        let many = matches!(&self.session, Session::Up(up) if up.refused.len() >= REFUSALS);
        many || self.was_refused(image)
    }

    fn is_banned(&self, image: &Image) -> bool {
        let version = hash(image.version.as_str().as_bytes());
        self.ledger.wanted.guard.is_some_and(|guard| {
            guard.md5 == image.md5 && guard.version == version && guard.count >= STRIKES
        })
    }

    fn source_of(&self, offer: &OfferMessage<'_>) -> Source {
        Source {
            url: SecretUrl(offer.url.to_string()),
            user_defined: offer.user_defined.as_ref().map(|text| String::from(text.as_ref())),
            fw_type: offer.fw_type.as_ref().map(|text| String::from(text.as_ref())),
            offered_at: self.now,
        }
    }

    /// Checks whether the offer is usable.
    fn check_offer(&self, offer: &OfferMessage<'_>) -> Result<(), Reason> {
        let limits = &self.cfg.limits;
        if offer.md5sum.is_none() {
            return Err(Reason::NoDigest);
        }
        let size = offer.file_size.filter(|size| *size > 0).ok_or(Reason::NoSize)?;
        if size > self.storage.capacity {
            return Err(Reason::TooLarge);
        }
        if offer.user_defined.as_ref().is_some_and(|text| text.len() > limits.user_defined) {
            return Err(Reason::UserDefined);
        }
        if offer.url.len() > limits.url {
            return Err(Reason::BadUrl);
        }
        let (url, _) = self.cfg.parse_url(&offer.url).map_err(|_| Reason::BadUrl)?;
        if !url.tls && !self.cfg.allow_http {
            return Err(Reason::PlainHttp);
        }
        if let Downgrade::Refuse(order) = &self.cfg.downgrade {
            let version = Version::new(&offer.version).map_err(|_| Reason::Downgrade)?;
            if order.compare(&version, &self.running) != Some(Ordering::Greater) {
                return Err(Reason::Downgrade);
            }
        }
        Ok(())
    }
}
