//! The stages of an attempt: the states of docs/architecture.md.
//!
//! Each stage has a file with its data, its progress report, its deadline, the effect of time, its
//! next work and the answers to it. This module asks the current stage each of these questions, one
//! row per stage.

mod answers;
mod fetching;
mod installing;
mod judge;
mod offered;
mod ready;
mod restarting;
mod trial;
mod verifying;
mod waiting;

use crate::output::{SlotAction, State, Timer};
use crate::time::Instant;
use crate::updater::Updater;
use crate::updater::job::SlotTask;
use crate::updater::progress::ProgressReport;

pub(in crate::updater) use fetching::Net;
pub(in crate::updater) use installing::Installing;
pub(in crate::updater) use offered::{Deferred, Offered};
pub(in crate::updater) use ready::Ready;
pub(in crate::updater) use restarting::Restarting;
pub(in crate::updater) use trial::Trial;
pub(in crate::updater) use waiting::{Backoff, Recall, Silence};

/// The stage of the attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) enum Stage {
    /// Waits for the application's accept.
    Offered(Offered),
    /// Deferred by the application.
    Deferred(Deferred),
    /// The image is being downloaded.
    Fetching(Net),
    /// A pause after a failure, or after a URL that was offered again.
    Backoff(Backoff),
    /// Waits for a fresh offer.
    Recall(Recall),
    /// Sync, then hash.
    Verifying,
    /// Verified; waits for the application.
    Ready(Ready),
    /// The application installs, or will be asked to.
    Installing(Installing),
    /// The slot is switched, then the application restarts.
    Restarting(Restarting),
    /// The new image runs on trial.
    Trial(Trial),
}

/// Why a fresh offer is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) enum Why {
    /// The server answered 401 or 403.
    Refused,
    /// The server answered 404.
    Gone,
    /// After a long pause the task may have ended, or its URL may have expired.
    Paused,
    /// The offer is too old to use.
    Stale,
    /// The deferral is over; the application is asked again.
    Deferral,
    /// The device has booted with a part of the image.
    Boot,
}

impl Stage {
    /// The state that the application sees.
    pub(in crate::updater) fn state(&self) -> State {
        match self {
            Self::Offered(_) => State::Offered,
            Self::Deferred(_) => State::Deferred,
            Self::Fetching(_) => State::Fetching,
            Self::Backoff(_) | Self::Recall(_) => State::Waiting,
            Self::Verifying => State::Verifying,
            Self::Ready(_) => State::Ready,
            Self::Installing(_) => State::Installing,
            Self::Restarting(_) => State::Restarting,
            Self::Trial(_) => State::Trial,
        }
    }

    /// Whether the installer may have begun: from then on the attempt ends only with a result.
    pub(in crate::updater) fn is_past_return(&self) -> bool {
        matches!(self, Self::Installing(_) | Self::Restarting(_) | Self::Trial(_))
    }
}

impl Updater {
    /// Whether the attempt is in this stage, for assertions.
    fn is_in(&self, state: State) -> bool {
        self.state() == state
    }

    /// The progress report of the open attempt, if it has one.
    pub(in crate::updater) fn progress_report(&self) -> Option<ProgressReport> {
        let attempt = self.update.as_ref()?;
        let report = match &attempt.stage {
            Stage::Offered(_) | Stage::Deferred(_) => return None,
            Stage::Recall(recall) if !recall.is_reported() => return None,
            Stage::Fetching(_) | Stage::Backoff(_) | Stage::Recall(_) | Stage::Verifying => {
                ProgressReport::Downloading(attempt.percent())
            }
            Stage::Ready(_) => ProgressReport::Downloading(100),
            Stage::Restarting(restarting) if !restarting.ours => return None,
            Stage::Trial(trial) if !trial.is_ours() => return None,
            Stage::Installing(_) | Stage::Restarting(_) | Stage::Trial(_) => {
                ProgressReport::Burning
            }
        };
        Some(attempt.progress.monotonic(report))
    }

    /// The stage's deadline.
    pub(in crate::updater) fn stage_deadline(&self) -> Option<(Instant, Timer)> {
        let timing = &self.cfg.timing;
        // When the wait for sending or acknowledging `burning` ends. It has ended once `advance`
        // has seen that time, not when a poll comes late.
        let reported_by = |since: Instant| {
            Some((since + timing.burning, Timer::Burning)).filter(|(at, _)| *at > self.advanced)
        };
        match &self.update.as_ref()?.stage {
            Stage::Offered(Offered { ask }) => Some((*ask, Timer::Application)),
            Stage::Deferred(Deferred { until }) => Some((*until, Timer::Deferral)),
            Stage::Fetching(net) => net.deadline(timing).map(|at| (at, Timer::Fetch)),
            Stage::Backoff(Backoff { until, .. }) => Some((*until, Timer::Retry)),
            Stage::Recall(Recall { until, .. }) => until.map(|until| (until, Timer::Offer)),
            Stage::Verifying => None,
            Stage::Ready(ready) if ready.is_released() => reported_by(ready.since),
            Stage::Ready(Ready { ask, .. }) => Some((*ask, Timer::Application)),
            Stage::Installing(Installing { started: Some(started), .. }) => {
                Some((started.limit, Timer::Limit))
            }
            Stage::Restarting(Restarting { ask: Some(ask), .. }) => {
                Some((*ask, Timer::Application))
            }
            Stage::Installing(Installing { since, .. })
            | Stage::Restarting(Restarting { since, .. }) => reported_by(*since),
            Stage::Trial(trial) => trial.deadline(),
        }
    }

    /// The effect of passed time on the stage.
    pub(in crate::updater) fn tick_stage(&mut self) {
        let now = self.now;
        let again = now + self.cfg.timing.ask_again;
        let Some(attempt) = &mut self.update else { return };
        let event = match &mut attempt.stage {
            Stage::Offered(offered) => offered.tick(now, again),
            Stage::Deferred(Deferred { until }) if *until <= now => {
                return self.ask_for_url(Why::Deferral);
            }
            Stage::Fetching(_) => return self.tick_fetch(),
            Stage::Backoff(Backoff { until, .. }) if *until <= now => return self.end_backoff(),
            Stage::Recall(Recall { why, until: Some(until) }) if *until <= now => match *why {
                Why::Paused => return attempt.resume(),
                why => return self.ask_for_url(why),
            },
            Stage::Ready(ready) => ready.tick(now, again),
            Stage::Installing(installing) => installing.tick(now, again),
            Stage::Restarting(restarting) => restarting.tick(now, again),
            Stage::Trial(_) => return self.tick_trial(again),
            Stage::Deferred(_) | Stage::Backoff(_) | Stage::Recall(_) | Stage::Verifying => None,
        };
        if let Some(event) = event {
            self.events.push(event);
        }
    }

    /// The stage's steps that need no input, taken after every input.
    pub(in crate::updater) fn advance_stage(&mut self) {
        self.refresh_stale_offer();
        self.settle_stream();
        self.leave_ready();
        self.ask_install();
        self.ask_restart();
        self.pause_deadlines();
    }

    /// The stage's next work in the slot, except switching it.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(in crate::updater) fn next_storage(&self) -> Option<SlotTask> {
        let attempt = self.update.as_ref()?;
        match &attempt.stage {
            Stage::Fetching(_) | Stage::Backoff(_) => self.next_of_download(attempt),
            Stage::Recall(_) => {
                self.is_checkpoint_due(attempt).then_some(SlotTask::Sync { upto: attempt.stored })
            }
            Stage::Verifying => Some(attempt.next_of_verifying()),
            Stage::Offered(_) | Stage::Deferred(_) | Stage::Ready(_) => None,
            Stage::Installing(_) | Stage::Restarting(_) | Stage::Trial(_) => None,
        }
    }

    /// The stage's next switch of the slot.
    pub(in crate::updater) fn next_switch(&self) -> Option<SlotAction> {
        let attempt = self.update.as_ref().filter(|_| self.job_retry.is_none())?;
        match &attempt.stage {
            Stage::Restarting(restarting) => self.next_of_restarting(restarting),
            Stage::Trial(trial) => self.next_of_trial(trial),
            Stage::Offered(_) | Stage::Deferred(_) | Stage::Fetching(_) | Stage::Backoff(_) => None,
            Stage::Recall(_) | Stage::Verifying | Stage::Ready(_) | Stage::Installing(_) => None,
        }
    }

    /// When the stage gives up waiting for slot or journal.
    pub(in crate::updater) fn stuck_at(&self) -> Option<Instant> {
        let attempt = self.update.as_ref()?;
        let (slot, journal) = match &attempt.stage {
            Stage::Fetching(_)
            | Stage::Backoff(_)
            | Stage::Recall(Recall { why: Why::Paused, .. }) => (true, !self.may_write(attempt)),
            Stage::Verifying => (true, false),
            Stage::Installing(Installing { started: None, .. })
            | Stage::Restarting(Restarting { active: false, .. }) => (true, true),
            // The reason must be in the journal first (O11).
            Stage::Trial(Trial { back: Some(false), .. }) => (self.ledger.settled(), true),
            // These wait for the application or the cloud.
            Stage::Offered(_) | Stage::Deferred(_) | Stage::Recall(_) | Stage::Ready(_) => {
                return None;
            }
            Stage::Installing(_) | Stage::Restarting(_) | Stage::Trial(_) => return None,
        };
        let slot = self.job.as_ref().filter(|_| slot).map(|job| job.limit);
        let journal = self.ledger.limit().filter(|_| journal);
        slot.into_iter().chain(journal).min()
    }
}
