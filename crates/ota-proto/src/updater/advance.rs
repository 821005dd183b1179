//! Steps that need no input: they follow from the state, after every input.

use crate::input::SlotState;

use super::Updater;
use super::job::SlotTask;
use super::result::Owing;

impl Updater {
    /// Moves every machine as far as it gets without another input.
    pub(super) fn advance(&mut self) {
        self.advanced = self.now;
        self.advance_result();
        self.adopt_foreign();
        self.advance_stage();
        self.run_patience();
    }

    /// Drops the attempt, its fetch, its slot operation and its pending events.
    pub(super) fn drop_attempt(&mut self) {
        self.cancel_fetch();
        self.update = None;
        // The application must accept the next attempt separately.
        self.ledger.wanted.accepted = None;
        self.orphan_job();
        self.events.drop_attempt();
    }

    /// Detaches the running operation from the attempt: its end only frees the slot (O3).
    pub(super) fn orphan_job(&mut self) {
        if let Some(job) = &mut self.job {
            job.orphan = !matches!(job.task, SlotTask::Slot(crate::SlotAction::ClearMark));
        }
    }

    /// Opens an attempt for an image on trial, or armed, that no attempt knows. The other slot
    /// holds the way back or the image that the next reset starts, so nothing may be written there.
    fn adopt_foreign(&mut self) {
        let foreign = matches!(self.slot, SlotState::Trial | SlotState::Armed);
        if foreign && self.update.is_none() && self.owing == Owing::None {
            self.open_foreign();
        }
    }
}
