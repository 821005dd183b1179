//! What follows from the state by itself, after every input.

use crate::input::SlotState;
use crate::journal::{Phase, Record};
use crate::output::Event;

use super::Updater;
use super::attempt::{Net, Stage, Started, Why};
use super::meter::Say;
use super::result::Owing;
use super::storage::Task;

impl Updater {
    /// Moves every machine as far as it can go without a further input.
    pub(super) fn advance(&mut self) {
        self.advanced = self.now;
        self.advance_result();
        self.adopt_foreign();
        self.refresh_stale_offer();
        self.settle_stream();
        self.leave_ready();
        self.ask_install();
        self.ask_restart();
        self.pause_deadlines();
        self.run_patience();
    }

    /// Drops the attempt with what it has under way.
    pub(super) fn drop_attempt(&mut self) {
        self.cancel_fetch();
        self.update = None;
        // Another attempt is accepted anew.
        self.ledger.wanted.accepted = None;
        self.orphan_job();
        self.news.drop_attempt();
    }

    /// The operation under way is none of the attempt's any more: its end only frees the slot (O3).
    pub(super) fn orphan_job(&mut self) {
        if let Some(job) = &mut self.job {
            job.orphan = !matches!(job.task, Task::Slot(crate::SlotAction::ClearMark));
        }
    }

    /// What the open attempt has to say to the cloud, if anything.
    pub(super) fn say(&self) -> Option<Say> {
        let attempt = self.update.as_ref()?;
        let say = match &attempt.stage {
            Stage::Offered { .. } | Stage::Deferred { .. } => return None,
            Stage::Recall(recall) if matches!(recall.why, Why::Boot | Why::Deferral) => {
                return None;
            }
            Stage::Fetching(_) | Stage::Backoff { .. } | Stage::Recall(_) | Stage::Verifying => {
                Say::Downloading(attempt.percent())
            }
            Stage::Ready { .. } => Say::Downloading(100),
            Stage::Trial(trial) if trial.limit.is_none() => return None,
            Stage::Restarting { ours: false, .. } => return None,
            Stage::Installing { .. } | Stage::Restarting { .. } | Stage::Trial(_) => Say::Burning,
        };
        Some(attempt.meter.floor(say))
    }

    /// An image on trial, or about to start, that no attempt speaks of: the other slot is a way
    /// back, or what the next reset starts, and nothing may be written there.
    fn adopt_foreign(&mut self) {
        let foreign = matches!(self.slot, SlotState::Trial | SlotState::Armed);
        if foreign && self.update.is_none() && self.owing == Owing::None {
            self.open_foreign();
        }
    }

    /// An offer that lived too long is refreshed before its URL is used.
    fn refresh_stale_offer(&mut self) {
        let Some(attempt) = &self.update else { return };
        let due = matches!(&attempt.stage, Stage::Fetching(Net::Due { hops: 0, .. }));
        if due && self.now.past(attempt.source.offered_at) >= self.cfg.timing.offer_life {
            self.ask_for_url(Why::Stale);
        }
    }

    /// Approved and let go, and the cloud has heard "100": the installation is journalled.
    fn leave_ready(&mut self) {
        let patience = self.cfg.timing.burning;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Ready { approved: true, go: true, since, .. } = attempt.stage else { return };
        let told = attempt.meter.has_said(Say::Downloading(100));
        if self.owing != Owing::None || !(told || self.now >= since + patience) {
            return;
        }
        attempt.stage = Stage::Installing { since: self.now, started: None };
        self.ledger.wanted.phase = Phase::Installing;
        let tries = self.ledger.wanted.tries.saturating_add(1);
        self.ledger.wanted.tries = tries.min(Record::TRIES);
    }

    /// The installation is counted durably and `burning` is handed over: install (O5).
    fn ask_install(&mut self) {
        let timing = &self.cfg.timing;
        let counted = self.ledger.durable().phase == Phase::Installing && self.ledger.settled();
        let Some(attempt) = &mut self.update else { return };
        let Stage::Installing { since, started } = &mut attempt.stage else { return };
        let told = attempt.meter.has_said(Say::Burning) || self.now >= *since + timing.burning;
        if started.is_some() || !counted || !told || self.job.is_some() {
            return;
        }
        *started = Some(Started { limit: self.now + timing.install, late: false });
        self.news.push(Event::Install { size: attempt.image.size });
    }

    /// The slot is switched and `burning` acknowledged, or time is up: restart (O7).
    fn ask_restart(&mut self) {
        let timing = &self.cfg.timing;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Restarting { since, active: true, ask: ask @ None, .. } = &mut attempt.stage
        else {
            return;
        };
        let told =
            attempt.meter.is_acknowledged(Say::Burning) || self.now >= *since + timing.burning;
        if told {
            *ask = Some(self.now + timing.ask_again);
            self.news.push(Event::Restart);
        }
    }

    /// Deadlines of the network stand still while we are the ones who do not read.
    fn pause_deadlines(&mut self) {
        if self.is_reading() {
            return self.resume_deadlines();
        }
        let now = self.now;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Fetching(Net::Body(stream)) = &mut attempt.stage else { return };
        stream.paused.get_or_insert(now);
    }

    /// We read, or slot or journal have answered: those who are slow are not stuck.
    pub(super) fn resume_deadlines(&mut self) {
        let now = self.now;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Fetching(Net::Body(stream)) = &mut attempt.stage else { return };
        if let Some(since) = stream.paused.take() {
            let stood = now.past(since);
            stream.idle = stream.idle + stood;
            stream.window = stream.window + stood;
        }
    }
}
