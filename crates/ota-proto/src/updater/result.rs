//! The result machine: one result per attempt, owed until an acknowledgement in this session.

use crate::code::{Reason, ResultCode};
use crate::config::Timing;
use crate::journal::{Guard, Outcome, Owed, Phase, Record, Target};
use crate::output::{Event, PubId};
use crate::time::{Instant, Micros};
use crate::version::Version;

use super::Updater;
use super::image::Image;

/// The state of the result. The result itself is in the ledger's wanted record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Owing {
    #[default]
    None,
    /// Being written to the journal.
    Saving,
    /// Durable; waits for a session, and for the mark that it may have been sent.
    Owed,
    /// Published in this session, and again at each deadline. Nothing else is published until its
    /// PUBACK.
    InFlight { first: PubId, last: PubId, deadline: Instant },
    /// Acknowledged; being removed from the journal.
    Clearing,
}

impl Owing {
    /// Acknowledgements of an old session do not count.
    pub(super) fn session_changed(&mut self) {
        if matches!(self, Self::InFlight { .. }) {
            *self = Self::Owed;
        }
    }

    /// Whether this is one of the published copies: the acknowledgement of any copy counts.
    pub(super) fn is_in_flight(&self, id: PubId) -> bool {
        matches!(self, Self::InFlight { first, last, .. } if (*first..=*last).contains(&id))
    }

    /// Notes another published copy.
    pub(super) fn published(&mut self, id: PubId, deadline: Instant) {
        let first = match self {
            Self::InFlight { first, .. } => *first,
            _ => id,
        };
        *self = Self::InFlight { first, last: id, deadline };
    }
}

/// An image whose attempts failed for a reason outside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Failed {
    image: Image,
    /// When the next attempt may begin, if our own report drew the offer.
    until: Instant,
    pause: Micros,
}

impl Failed {
    /// Counts another failed attempt. The pause doubles while the image is the same.
    pub(super) fn after(before: Option<Self>, image: Image, now: Instant, timing: &Timing) -> Self {
        let same = before.filter(|failed| failed.image == image);
        let pause = same.map_or(timing.after_failure, |failed| failed.pause.times(2));
        let pause = pause.min(timing.retry_after_cap);
        Self { image, until: now + pause, pause }
    }

    /// When the next attempt of this image may begin; `None` if another image failed.
    pub(super) fn free_at(&self, image: &Image) -> Option<Instant> {
        (self.image == *image).then_some(self.until)
    }
}

impl Updater {
    /// Ends the attempt with a result that the cloud must get.
    pub(super) fn finish(&mut self, target: Target, outcome: Outcome) {
        let answer = match outcome {
            Outcome::Failed(reason) if reason.is_explained() => {
                self.update.as_ref().and_then(|attempt| attempt.answer)
            }
            _ => None,
        };
        self.drop_attempt();
        if outcome == Outcome::Done {
            self.budget = self.now;
        }
        let durable = self.ledger.wanted;
        self.ledger.wanted = Record {
            phase: Phase::Owed,
            target: Some(target),
            from: durable.from.or(Some(self.running)),
            owed: Some(Owed { result: outcome, sent: self.session.is_up(), answer }),
            guard: guard_after(durable.guard, &target, outcome),
            ..durable
        };
        self.owing = Owing::Saving;
        self.events.push(Event::Finished { version: target.version, outcome, answer });
    }

    /// Ends the open attempt with a failure.
    pub(super) fn fail(&mut self, reason: Reason) {
        let Some(attempt) = &self.update else { return };
        // Keeps the bytes of the last checkpoint: the others may be missing after a power cut.
        let kept = match &self.ledger.wanted.target {
            Some(target) if attempt.image.is(target) => target.offset,
            _ => 0,
        };
        let target = attempt.target(kept);
        if !is_image_fault(reason) {
            self.failed =
                Some(Failed::after(self.failed, attempt.image, self.now, &self.cfg.timing));
        }
        self.finish(target, Outcome::Failed(reason));
    }

    /// Handles the acknowledgement of the result.
    pub(super) fn acknowledge_result(&mut self) {
        let wanted = &mut self.ledger.wanted;
        let Some(owed) = wanted.owed.take() else { return };
        use ResultCode::{NotFound, Timeout, Unauthorized};
        let keep = matches!(owed.result, Outcome::Failed(reason)
            if matches!(reason.code(), Timeout | NotFound | Unauthorized));
        let kept = wanted.target.filter(|target| keep && target.offset > 0);
        wanted.phase = if kept.is_some() { Phase::Fetching } else { Phase::None };
        wanted.target = kept;
        if kept.is_none() {
            wanted.tries = 0;
            wanted.from = None;
        }
        self.owing = Owing::Clearing;
        self.events.push(Event::Reported { outcome: owed.result });
    }

    /// Advances the result machine as far as the durable record allows.
    pub(super) fn advance_result(&mut self) {
        match self.owing {
            Owing::Saving if self.ledger.settled() => self.owing = Owing::Owed,
            Owing::Clearing if self.ledger.settled() => {
                self.owing = Owing::None;
                // Offers were dropped while the result was owed: this report makes the cloud repeat
                // them.
                self.session.report_now(self.now);
            }
            _ => {}
        }
        if self.owing == Owing::Owed
            && self.session.is_up()
            && mark_sent(&mut self.ledger.wanted.owed)
        {
            // The journal gets the mark before the first copy is sent.
            self.owing = Owing::Saving;
        }
    }

    /// Whether to publish the result: it is durable and marked, a session is up, and it was not
    /// sent in it yet or its acknowledgement is late.
    pub(super) fn is_result_due(&self, now: Instant) -> bool {
        let due = match self.owing {
            Owing::InFlight { deadline, .. } => deadline <= now,
            owing => owing == Owing::Owed,
        };
        due && self.session.is_up()
    }

    /// The owed version and result.
    pub(super) fn owed_report(&self) -> Option<(Version, Owed)> {
        let wanted = &self.ledger.wanted;
        Some((wanted.target?.version, wanted.owed?))
    }
}

/// Marks the result as possibly sent; returns whether the mark is new.
fn mark_sent(owed: &mut Option<Owed>) -> bool {
    match owed {
        Some(owed) if !owed.sent => {
            owed.sent = true;
            true
        }
        _ => false,
    }
}

/// The guard after this outcome: only faults of the image count against it, and its success clears
/// them.
fn guard_after(guard: Option<Guard>, target: &Target, outcome: Outcome) -> Option<Guard> {
    let version = hash(target.version.as_str().as_bytes());
    let known = guard.filter(|guard| guard.md5 == target.md5 && guard.version == version);
    match outcome {
        Outcome::Done if known.is_some() => None,
        Outcome::Done => guard,
        Outcome::Failed(reason) if is_image_fault(reason) => {
            let count = known.map_or(0, |guard| guard.count).saturating_add(1);
            Some(Guard { md5: target.md5, version, count })
        }
        Outcome::Failed(_) => guard,
    }
}

/// Whether the image is at fault, not the network, the server or the application.
fn is_image_fault(reason: Reason) -> bool {
    reason.code() == ResultCode::Digest
        || matches!(
            reason,
            Reason::Install
                | Reason::InstallTimeout
                | Reason::InstallCut
                | Reason::NotConfirmed
                | Reason::RolledBack
                | Reason::BootFailed
                | Reason::WrongVersion
        )
}

/// FNV-1a, never 0. It distinguishes strings in the journal and protects nothing.
// Not inlined: each copy costs flash.
#[inline(never)]
pub(super) fn hash(bytes: &[u8]) -> u32 {
    let fold = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, fold).max(1)
}
