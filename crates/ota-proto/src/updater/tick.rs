//! The effect of passed time, and the next deadline.

use crate::output::Timer;
use crate::time::Instant;

use super::Updater;
use super::attempt::stage::Stage;
use super::result::Owing;
use super::session::Session;

/// The earliest deadline so far; of two at the same time, the first one.
struct First(Option<(Instant, Timer)>);

impl First {
    // Not inlined: each copy costs flash, and so would an array of all deadlines.
    #[inline(never)]
    fn of(&mut self, at: Option<Instant>, timer: Timer) {
        let Some(at) = at else { return };
        if self.0.is_none_or(|(first, _)| at < first) {
            self.0 = Some((at, timer));
        }
    }
}

impl Updater {
    /// Handles everything that is due.
    pub(super) fn tick(&mut self) {
        let now = self.now;
        self.job_retry.take_if(|at| *at <= now);
        if let Session::Up(up) = &mut self.session {
            up.tick(now);
        }
        if self.recall.take_if(|at| *at <= now).is_some() {
            self.session.report_now(now);
        }
        if self.patience_at().is_some_and(|at| at <= now) {
            return self.fail(self.waited_for());
        }
        if self.is_stuck() {
            return self.give_up_storage();
        }
        self.tick_silence();
        self.tick_stage();
    }

    /// The earliest deadline.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(super) fn deadline(&self) -> Option<(Instant, Timer)> {
        let owed = match self.owing {
            // A due copy waits for the gate.
            Owing::InFlight { deadline, .. } if deadline > self.now => Some(deadline),
            _ => None,
        };
        let report = self.session.deadline().filter(|(at, _)| {
            // A due report that the gate holds back needs no deadline: opening the gate is an
            // input.
            self.owing == Owing::None && (self.gate.publish || *at > self.now)
        });
        let busy = self.job.is_some() || self.owing == Owing::Saving;
        let mark = self.mark.map(|(_, at)| at).filter(|at| *at > self.now);
        let job = self.job_retry.into_iter().chain(mark).min().filter(|_| !busy);
        let mut first = First(None);
        first.of(owed, Timer::Puback);
        first.of(self.ledger.retry_at(), Timer::Storage);
        first.of(job, Timer::Storage);
        first.of(self.recall, Timer::Report);
        first.of(self.progress_at(), Timer::Progress);
        first.of(self.checkpoint_at(), Timer::Checkpoint);
        first.of(self.patience_at(), Timer::Retry);
        first.of(self.stuck_at(), Timer::Storage);
        first.of(self.silence_at(), Timer::Offer);
        for (at, timer) in [report, self.stage_deadline()].into_iter().flatten() {
            first.of(Some(at), timer);
        }
        first.0
    }

    /// When the next progress report is due.
    pub(super) fn progress_at(&self) -> Option<Instant> {
        if !self.session.is_up() || self.owing != Owing::None || !self.gate.publish {
            return None;
        }
        let report = self.progress_report()?;
        let attempt = self.update.as_ref()?;
        let timing = &self.cfg.timing;
        let waits = attempt.is_waiting() || matches!(attempt.stage, Stage::Recall(_));
        let repeat = if waits { timing.repeat_waiting } else { timing.repeat };
        Some(attempt.progress.due(report, timing.progress, repeat))
    }

    /// When the patience with the server ends.
    fn patience_at(&self) -> Option<Instant> {
        self.update.as_ref()?.patience.over_at(self.cfg.timing.patience)
    }
}
