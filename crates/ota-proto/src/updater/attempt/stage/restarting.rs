//! The slot is switched, then the application is asked to restart.

use crate::code::Reason;
use crate::error::StorageError;
use crate::journal::Phase;
use crate::output::{Event, SlotAction};
use crate::time::Instant;
use crate::updater::Updater;
use crate::updater::attempt::Attempt;
use crate::updater::progress::ProgressReport;

use super::Stage;

/// The state of a switch and restart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Restarting {
    /// Since when `burning` waits for its acknowledgement.
    pub(in crate::updater) since: Instant,
    /// Whether the slot is switched durably.
    pub(in crate::updater) active: bool,
    /// When the application is asked again to restart; `None` before the first time.
    pub(in crate::updater) ask: Option<Instant>,
    /// Whether this device armed the slot, and not another program.
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
    /// Switches once the journal names both versions (O6).
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

    /// The slot is switched, or does not answer. In both cases the restart continues, and the boot
    /// table decides afterwards.
    pub(in crate::updater) fn activated(&mut self) {
        if let Some(Attempt { stage: Stage::Restarting(restarting), .. }) = &mut self.update {
            restarting.active = true;
        }
    }

    /// Asks for the restart once the slot is switched and `burning` acknowledged, or its time over
    /// (O7).
    pub(super) fn ask_restart(&mut self) {
        let timing = &self.cfg.timing;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Restarting(Restarting { since, active: true, ask: ask @ None, .. }) =
            &mut attempt.stage
        else {
            return;
        };
        let may_restart = attempt.progress.is_acknowledged(ProgressReport::Burning)
            || self.now >= *since + timing.burning;
        if may_restart {
            *ask = Some(self.now + timing.ask_again);
            self.events.push(Event::Restart);
        }
    }
}
