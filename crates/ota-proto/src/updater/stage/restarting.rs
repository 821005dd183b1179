//! The slot is switched, and the application is asked to restart.

use crate::code::Reason;
use crate::error::StorageError;
use crate::journal::Phase;
use crate::output::{Event, SlotAction};
use crate::time::Instant;
use crate::updater::Updater;
use crate::updater::attempt::Attempt;
use crate::updater::progress::ProgressReport;

use super::Stage;

/// The slot is switched, then a restart is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Restarting {
    /// Since when `burning` is to be acknowledged.
    pub(in crate::updater) since: Instant,
    /// The slot is switched, durably.
    pub(in crate::updater) active: bool,
    /// The application was asked to restart, and will be again at this moment.
    pub(in crate::updater) ask: Option<Instant>,
    /// It was not somebody else who armed the slot.
    pub(in crate::updater) ours: bool,
}

impl Restarting {
    pub(super) fn tick(&mut self, now: Instant, again: Instant) -> Option<Event> {
        let ask = self.ask.as_mut().filter(|ask| **ask <= now)?;
        *ask = again;
        Some(Event::Restart)
    }
}

impl Updater {
    /// The journal says from what to what: switch (O6).
    pub(super) fn next_of_restarting(&self, restarting: &Restarting) -> Option<SlotAction> {
        let journalled = self.ledger.durable().phase == Phase::Switching;
        (!restarting.active && journalled).then_some(SlotAction::Activate)
    }

    /// The slot's answer to [`SlotAction::Activate`].
    pub(in crate::updater) fn on_activated(&mut self, result: Result<(), StorageError>) {
        match result {
            Ok(()) => self.activated(),
            Err(_) => self.fail(Reason::Activate),
        }
    }

    /// The slot is switched, or never answers: what a restart decides by the evidence is left to
    /// the restart.
    pub(in crate::updater) fn activated(&mut self) {
        if let Some(Attempt { stage: Stage::Restarting(restarting), .. }) = &mut self.update {
            restarting.active = true;
        }
    }

    /// The slot is switched and `burning` acknowledged, or time is up: restart (O7).
    pub(super) fn ask_restart(&mut self) {
        let timing = &self.cfg.timing;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Restarting(Restarting { since, active: true, ask: ask @ None, .. }) =
            &mut attempt.stage
        else {
            return;
        };
        let acknowledged = attempt.progress.is_acknowledged(ProgressReport::Burning)
            || self.now >= *since + timing.burning;
        if acknowledged {
            *ask = Some(self.now + timing.ask_again);
            self.events.push(Event::Restart);
        }
    }
}
