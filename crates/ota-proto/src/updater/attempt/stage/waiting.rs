//! A pause after a fault, or the wait for a fresh offer (rules 3, 8 and 9 of docs/rules.md).

use crate::code::Reason;
use crate::config::Timing;
use crate::output::{Event, State};
use crate::rng::Rng;
use crate::time::{Instant, Micros};
use crate::updater::Updater;
use crate::updater::attempt::Attempt;
use crate::updater::session::{Report, Session};

use super::{Net, Stage, Why};

/// The most protocol violations without progress, counted in a session: TLS, redirects,
/// contradictions.
const VIOLATIONS: u8 = 3;
/// The most requests for a fresh URL without a new byte, after a refused one.
const ROUNDS: u8 = 3;
/// The same for a missing object: a fresh URL at once, and one a minute later.
const GONE_ROUNDS: u8 = 2;
/// The shortest pause, except the first.
const LEAST_PAUSE: Micros = Micros::from_millis(1);

/// A pause after a failure, or after a URL that was offered again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Backoff {
    pub(in crate::updater) until: Instant,
    /// The end of the pause that the server asked for.
    pub(in crate::updater) free: Instant,
    /// Whether to request a fresh URL at its end.
    pub(in crate::updater) ask: bool,
}

/// The wait for a fresh offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Recall {
    pub(in crate::updater) why: Why,
    /// When the wait ends for [`Why::Refused`], [`Why::Gone`] and [`Why::Paused`]; runs only in a
    /// session.
    pub(in crate::updater) until: Option<Instant>,
}

/// Replies to version reports without the awaited offer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Silence {
    /// Their number, at most two, and the time of the last one that counts.
    pub(in crate::updater) replies: u8,
    pub(in crate::updater) reply_at: Instant,
    /// Whether the second report was requested.
    pub(in crate::updater) again: bool,
}

impl Silence {
    /// When the second report is due, or when the silence after it ends. After two replies without
    /// it the offer counts as withdrawn.
    pub(super) fn over_at(&self, timing: &Timing) -> Option<Instant> {
        let waiting = (self.replies == 1 && !self.again) || self.replies >= 2;
        waiting.then(|| self.reply_at + timing.withdrawn)
    }
}

impl Recall {
    /// A reply came without the offer. A wait after a long pause is extended for the second
    /// report's reply and the silence after it.
    pub(in crate::updater) fn replied(&mut self, now: Instant, timing: &Timing) {
        if let (Why::Paused, Some(until)) = (self.why, &mut self.until) {
            *until = (*until).max(now + timing.withdrawn + timing.reply);
        }
    }

    /// Begins a wait.
    pub(in crate::updater) fn new(why: Why, now: Instant, up: bool, timing: &Timing) -> Self {
        let mut recall = Self { why, until: None };
        recall.session_changed(now, up, timing);
        recall
    }

    /// Runs the time limit only in a session; a new session starts it again.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(in crate::updater) fn session_changed(&mut self, now: Instant, up: bool, timing: &Timing) {
        let timed = match self.why {
            Why::Refused | Why::Gone => up,
            // Without a session no fresh offer can come, so this wait ends at once.
            Why::Paused => true,
            Why::Stale | Why::Deferral | Why::Boot => false,
        };
        let wait = if up { timing.fresh_offer } else { Micros::ZERO };
        self.until = timed.then(|| now + wait);
    }

    /// Whether progress is reported during the wait: not for an attempt that is not accepted yet.
    pub(super) fn is_reported(&self) -> bool {
        !matches!(self.why, Why::Boot | Why::Deferral)
    }
}

impl Attempt {
    /// Whether the attempt waits for the server, now or after a pause.
    pub(in crate::updater) fn is_waiting(&self) -> bool {
        match self.stage {
            Stage::Fetching(_) => self.faults.streak > 0,
            Stage::Backoff(_) | Stage::Recall(Recall { why: Why::Paused, .. }) => true,
            _ => false,
        }
    }

    /// Since when only the server can bring progress; `None` if something else is missing.
    pub(in crate::updater) fn waits_from(&self, now: Instant) -> Option<Instant> {
        match &self.stage {
            Stage::Fetching(Net::Asked { .. }) | Stage::Recall(Recall { why: Why::Paused, .. }) => {
                Some(now)
            }
            // Skipped bytes are not progress, but the server does its part.
            Stage::Fetching(Net::Body(stream))
                if stream.paused.is_none() && stream.end.is_none() && stream.skip == 0 =>
            {
                Some(now)
            }
            Stage::Backoff(Backoff { free, .. }) => Some(now.max(*free)),
            _ => None,
        }
    }
}

impl Updater {
    /// Handles the end of a pause.
    pub(super) fn end_backoff(&mut self) {
        debug_assert!(self.is_in(State::Waiting), "the stage's own time");
        let Some(attempt) = &mut self.update else { return };
        let Stage::Backoff(Backoff { ask, .. }) = attempt.stage else { return };
        // After a reply without an offer the device asks again before it continues.
        if self.session.is_up() && (ask || attempt.silence.replies > 0) {
            self.ask_for_url(Why::Paused);
        } else {
            attempt.resume();
        }
    }

    /// Ends a failed fetch: pauses, or gives up.
    pub(in crate::updater) fn fetch_fault(&mut self, cause: Reason, after: Option<Micros>) {
        debug_assert!(self.is_in(State::Fetching), "only a fetch fails");
        self.cancel_fetch();
        let (now, up) = (self.now, self.session.is_up());
        let timing = &self.cfg.timing;
        let Some(attempt) = &mut self.update else { return };
        attempt.patience.run(now, None);
        attempt.silence = Silence::default();
        let spent = attempt.patience.spent(now);
        let plain = attempt.source.is_plain();
        // Over plain http a contradiction most likely comes from a captive portal or a proxy.
        let reported =
            if plain && cause.is_contradiction() { Reason::SomethingElse } else { cause };
        let exponent = attempt.faults.streak;
        let alone = exponent == 0 || attempt.faults.cause == Some(reported);
        attempt.faults.cause = alone.then_some(reported);
        attempt.faults.streak = exponent.saturating_add(1);
        let mut most = Rng::backoff_most(timing.retry_base, exponent, timing.retry_cap);
        let mut pause = self.rng.up_to(most);
        if exponent > 0 {
            // A pause of zero could repeat forever at the same time.
            (pause, most) = (pause.max(LEAST_PAUSE), most.max(LEAST_PAUSE));
        }
        if cause.is_violation() && plain {
            // A captive portal answers until a person has logged in.
            let first = *attempt.patience.first_violation.get_or_insert(spent);
            let left = first.plus(timing.portal).less(spent);
            if up && left.is_zero() {
                return self.fail(reported);
            }
            // The last try comes at the limit.
            (pause, most) = if up { (pause.min(left), most.min(left)) } else { (pause, most) };
        } else if cause.is_violation() {
            attempt.faults.violations = attempt.faults.violations.saturating_add(u8::from(up));
            // A server that compresses the body will do it again.
            if attempt.faults.violations >= VIOLATIONS || cause == Reason::Encoded {
                return self.fail(cause);
            }
            // A server that violates the protocol does not stop within a second.
            (pause, most) = (timing.violation, timing.violation);
        }
        let after = after.unwrap_or_default().min(timing.retry_after_cap);
        let free = after.min(timing.retry_after_cap.less(attempt.patience.asked));
        attempt.patience.asked = attempt.patience.asked.plus(free);
        attempt.stage = Stage::Backoff(Backoff {
            until: now + pause.max(after),
            free: now + free,
            ask: most.max(after) >= timing.same_url,
        });
        self.events.push(Event::Retry { cause });
        self.report_while_waiting();
    }

    /// The reason when patience ends: the common cause of all faults since the last progress, or
    /// the network.
    pub(in crate::updater) fn waited_for(&self) -> Reason {
        let faults = self.update.as_ref().map(|attempt| &attempt.faults);
        faults
            .and_then(|faults| faults.cause.filter(|_| faults.streak > 0))
            .unwrap_or(Reason::Network)
    }

    /// Reports the version more often while the attempt waits for the server: the cloud then
    /// repeats the offer with a fresh URL, or shows that the task is over.
    fn report_while_waiting(&mut self) {
        let soon = self.last_report.map_or(self.now, |asked| asked + self.cfg.timing.report_cap);
        if let Session::Up(up) = &mut self.session {
            if let Report::Answered(at) = &mut up.report {
                *at = soon.min(*at);
            }
            up.tick(self.now);
        }
    }

    /// Requests a fresh URL, or gives up after too many requests.
    pub(in crate::updater) fn ask_for_url(&mut self, why: Why) {
        debug_assert!(self.update.is_some(), "only an attempt needs a URL");
        self.cancel_fetch();
        let (now, timing) = (self.now, &self.cfg.timing);
        let Some(attempt) = &mut self.update else { return };
        if let Why::Refused | Why::Gone = why {
            // Refused and missing URLs have separate limits.
            let (count, most, reason) = match why {
                Why::Gone => (&mut attempt.faults.gone, GONE_ROUNDS, Reason::NotFound),
                _ => (&mut attempt.faults.rounds, ROUNDS, Reason::Unauthorized),
            };
            let before = *count;
            if before >= most {
                return self.fail(reason);
            }
            *count = before.saturating_add(1);
            attempt.silence = Silence::default();
            self.events.push(Event::Retry { cause: reason });
            if why == Why::Gone && before > 0 {
                // The object is missing there, too: perhaps it is not uploaded yet.
                let until = now + timing.same_url;
                attempt.stage = Stage::Backoff(Backoff { until, free: now, ask: true });
                return;
            }
        }
        let recall = Recall::new(why, now, self.session.is_up(), timing);
        if why != Why::Paused {
            attempt.silence = Silence::default();
        }
        attempt.stage = Stage::Recall(recall);
        self.session.report_now(now);
    }

    /// Counts a reply without an offer: a sign that the task is withdrawn.
    pub(in crate::updater) fn count_reply(&mut self) {
        let (now, timing) = (self.now, &self.cfg.timing);
        let Some(Attempt { stage, silence, .. }) = &mut self.update else { return };
        let recall = match stage {
            Stage::Recall(recall) => Some(recall),
            Stage::Backoff(_) => None,
            _ => return,
        };
        let apart = now.past(silence.reply_at) >= timing.withdrawn;
        if silence.replies == 0 || (silence.replies == 1 && apart) {
            silence.replies = silence.replies.saturating_add(1);
            silence.reply_at = now;
            if let Some(recall) = recall {
                recall.replied(now, timing);
            }
        }
    }

    /// When the awaited offer is requested again, or counts as withdrawn.
    pub(in crate::updater) fn silence_at(&self) -> Option<Instant> {
        let attempt = self.update.as_ref()?;
        let waits = matches!(attempt.stage, Stage::Backoff(_) | Stage::Recall(_));
        attempt.silence.over_at(&self.cfg.timing).filter(|_| waits)
    }

    /// Handles replies without the awaited offer: sends the second report, or ends the attempt.
    pub(in crate::updater) fn tick_silence(&mut self) {
        let now = self.now;
        if self.silence_at().is_none_or(|at| at > now) {
            return;
        }
        let Some(attempt) = &mut self.update else { return };
        if attempt.silence.replies >= 2 {
            // The bytes stay for a later offer.
            self.drop_attempt();
            self.events.push(Event::Withdrawn);
            return;
        }
        attempt.silence.again = true;
        self.session.report_now(now);
    }
}
