//! What time does, and when it wants to be asked.

use crate::code::Reason;
use crate::journal::{Outcome, Owed};
use crate::output::{Event, Timer};
use crate::time::Instant;

use super::Updater;
use super::attempt::{End, Net, Recall, Stage, Why};
use super::result::Owing;
use super::session::Session;

/// The earliest deadline so far; of two at one moment the first that was named.
struct First(Option<(Instant, Timer)>);

impl First {
    // Its copies would cost flash, and so would an array of all.
    #[inline(never)]
    fn of(&mut self, at: Option<Instant>, timer: Timer) {
        let Some(at) = at else { return };
        if self.0.is_none_or(|(first, _)| at < first) {
            self.0 = Some((at, timer));
        }
    }
}

impl Updater {
    /// Everything whose time has come.
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
            return self.give_storage_up();
        }
        self.tick_silence();
        self.tick_stage();
    }

    /// The earliest deadline that an input other than time cannot be waited for.
    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    pub(super) fn deadline(&self) -> Option<(Instant, Timer)> {
        let owed = match self.owing {
            // What is due waits for the gate.
            Owing::InFlight { deadline, .. } if deadline > self.now => Some(deadline),
            _ => None,
        };
        let report = self.session.deadline().filter(|(at, _)| {
            // What is due and held back by the gate is the gate's business, not the clock's.
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
        first.of(self.say_at(), Timer::Progress);
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
    pub(super) fn say_at(&self) -> Option<Instant> {
        if !self.session.is_up() || self.owing != Owing::None || !self.gate.publish {
            return None;
        }
        let say = self.say()?;
        let attempt = self.update.as_ref()?;
        let timing = &self.cfg.timing;
        let waits = attempt.is_waiting() || matches!(attempt.stage, Stage::Recall(_));
        let repeat = if waits { timing.repeat_waiting } else { timing.repeat };
        Some(attempt.meter.due(say, timing.progress, repeat))
    }

    /// When the attempt has waited long enough for its server.
    fn patience_at(&self) -> Option<Instant> {
        self.update.as_ref()?.patience.over_at(self.cfg.timing.patience)
    }

    /// When an offer that is waited for is asked for again, or taken as withdrawn.
    fn silence_at(&self) -> Option<Instant> {
        let attempt = self.update.as_ref()?;
        let waits = matches!(attempt.stage, Stage::Backoff { .. } | Stage::Recall(_));
        attempt.silence.over_at(&self.cfg.timing).filter(|_| waits)
    }

    /// When bytes that wait for a checkpoint are to be made durable.
    pub(super) fn checkpoint_at(&self) -> Option<Instant> {
        let attempt = self.update.as_ref()?;
        let fetching = matches!(attempt.stage, Stage::Fetching(_) | Stage::Backoff { .. });
        let ready = fetching && self.job.is_none() && self.gained(attempt) > 0;
        if !ready {
            return None;
        }
        let wait = self.cfg.timing.checkpoint.part(attempt.hurry());
        Some(attempt.checkpoint_at + wait)
    }

    fn tick_stage(&mut self) {
        let now = self.now;
        let again = now + self.cfg.timing.ask_again;
        let Some(attempt) = &mut self.update else { return };
        match &mut attempt.stage {
            Stage::Offered { ask } if *ask <= now => {
                *ask = again;
                self.news.push(Event::Offered);
            }
            Stage::Deferred { until } if *until <= now => self.ask_for_url(Why::Deferral),
            Stage::Fetching(_) => self.tick_fetch(),
            // Who heard a reply without an offer asks again before he fetches on.
            Stage::Backoff { until, ask, .. } if *until <= now => {
                if self.session.is_up() && (*ask || attempt.silence.replies > 0) {
                    self.ask_for_url(Why::Paused);
                } else {
                    attempt.resume();
                }
            }
            Stage::Recall(Recall { why, until: Some(until) }) if *until <= now => match *why {
                Why::Paused => attempt.resume(),
                why => self.ask_for_url(why),
            },
            Stage::Ready { approved, go, ask, .. } if *ask <= now && !(*approved && *go) => {
                *ask = again;
                self.news.push(Event::Ready);
            }
            Stage::Installing { started: Some(started), .. } if started.limit <= now => {
                started.late = true;
                started.limit = again;
                self.news.push(Event::StopInstall);
            }
            Stage::Restarting { ask: Some(ask), .. } if *ask <= now => {
                *ask = again;
                self.news.push(Event::Restart);
            }
            Stage::Trial(_) => self.tick_trial(again),
            _ => {}
        }
    }

    fn tick_fetch(&mut self) {
        let now = self.now;
        let timing = &self.cfg.timing;
        let Some(attempt) = &mut self.update else { return };
        match &mut attempt.stage {
            Stage::Fetching(Net::Body(stream))
                if stream.unread_until(timing).is_some_and(|at| at <= now) =>
            {
                self.cancel = Some(stream.op);
                stream.end = Some(End::Failed(Reason::Network));
            }
            Stage::Fetching(Net::Asked { deadline, .. }) if *deadline <= now => {
                self.fetch_fault(Reason::Network, None);
            }
            Stage::Fetching(Net::Body(stream))
                if stream.paused.is_none() && stream.end.is_none() =>
            {
                let least =
                    u64::from(timing.floor_rate).saturating_mul(timing.floor_window.as_secs());
                let slow = stream.window <= now && stream.bytes < least;
                if slow || stream.idle <= now {
                    self.cancel = Some(stream.op);
                    stream.end = Some(End::Failed(Reason::Network));
                } else if stream.window <= now {
                    stream.window = now + timing.floor_window;
                    stream.bytes = 0;
                }
            }
            _ => {}
        }
    }

    /// Replies without the offer that is waited for: the second report, or the end.
    fn tick_silence(&mut self) {
        let now = self.now;
        if self.silence_at().is_none_or(|at| at > now) {
            return;
        }
        let Some(attempt) = &mut self.update else { return };
        if attempt.silence.replies >= 2 {
            // The bytes stay, for an offer to come.
            self.drop_attempt();
            self.news.push(Event::Withdrawn);
            return;
        }
        attempt.silence.again = true;
        self.session.report_now(now);
    }

    fn tick_trial(&mut self, again: Instant) {
        let (now, waits) = (self.now, self.waits_for_word());
        let Some(trial) = self.trial() else { return };
        match trial.back {
            None if trial.limit.is_some_and(|limit| limit <= now) => {
                let why = match trial.confirmed {
                    false => trial.unable.map_or(Reason::NotConfirmed, Reason::from),
                    true if waits => Reason::NoAnswer,
                    // The application's word is there: it is the slot that does not take it.
                    true => Reason::Storage,
                };
                self.begin_roll_back(why);
            }
            None if trial.ask <= now && !trial.confirmed => {
                (trial.ask, trial.unable) = (again, None);
                self.news.push(Event::Trial);
            }
            Some(true) if trial.ask <= now => {
                trial.ask = again;
                self.news.push(Event::Restart);
            }
            _ => {}
        }
    }

    /// The cloud has not answered the version that runs, and must before it stays.
    pub(super) fn waits_for_word(&self) -> bool {
        self.cfg.confirm_needs_reply && !self.proved
    }

    /// The new image goes: first the reason (O11), then the slot, then the restart.
    pub(super) fn begin_roll_back(&mut self, reason: Reason) {
        self.job_faults = 0;
        let Some(trial) = self.trial() else { return };
        trial.back = Some(false);
        if trial.limit.is_some() {
            let result = Outcome::Failed(reason);
            self.ledger.wanted.owed = Some(Owed { result, sent: false, answer: None });
        }
        self.news.drop_kind(&Event::Trial);
    }

    pub(super) fn stage_deadline(&self) -> Option<(Instant, Timer)> {
        let timing = &self.cfg.timing;
        let attempt = self.update.as_ref()?;
        // Over when `advance` has seen it pass, and not when a poll merely came late.
        let told_by = |since: Instant| (since + timing.burning, Timer::Burning);
        match &attempt.stage {
            Stage::Offered { ask } => Some((*ask, Timer::Application)),
            Stage::Deferred { until } => Some((*until, Timer::Deferral)),
            Stage::Fetching(Net::Asked { deadline, .. }) => Some((*deadline, Timer::Fetch)),
            Stage::Fetching(Net::Body(stream)) if stream.end.is_none() => {
                let unread = stream.unread_until(timing);
                Some((unread.unwrap_or(stream.idle.min(stream.window)), Timer::Fetch))
            }
            Stage::Fetching(_) | Stage::Verifying => None,
            Stage::Backoff { until, .. } => Some((*until, Timer::Retry)),
            Stage::Recall(recall) => recall.until.map(|until| (until, Timer::Offer)),
            Stage::Ready { approved: true, go: true, since, .. } => {
                Some(told_by(*since)).filter(|(at, _)| *at > self.advanced)
            }
            Stage::Ready { ask, .. } => Some((*ask, Timer::Application)),
            Stage::Installing { started: Some(started), .. } => Some((started.limit, Timer::Limit)),
            Stage::Installing { since, .. } | Stage::Restarting { since, ask: None, .. } => {
                Some(told_by(*since)).filter(|(at, _)| *at > self.advanced)
            }
            Stage::Restarting { ask: Some(ask), .. } => Some((*ask, Timer::Application)),
            Stage::Trial(trial) => match trial.back {
                None => {
                    let ask = (!trial.confirmed).then_some((trial.ask, Timer::Application));
                    let limit = trial.limit.map(|limit| (limit, Timer::Limit));
                    ask.into_iter().chain(limit).min_by_key(|(at, _)| *at)
                }
                Some(true) => Some((trial.ask, Timer::Application)),
                Some(false) => None,
            },
        }
    }
}
