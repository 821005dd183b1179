//! What follows from the state by itself, after every input.

use crate::input::SlotState;

use super::Updater;
use super::result::Owing;
use super::storage::Task;

impl Updater {
    /// Moves every machine as far as it can go without a further input.
    pub(super) fn advance(&mut self) {
        self.advanced = self.now;
        self.advance_result();
        self.adopt_foreign();
        self.advance_stage();
        self.run_patience();
    }

    /// Drops the attempt with what it has under way.
    pub(super) fn drop_attempt(&mut self) {
        self.cancel_fetch();
        self.update = None;
        // Another attempt is accepted anew.
        self.ledger.wanted.accepted = None;
        self.orphan_job();
        self.events.drop_attempt();
    }

    /// Detaches the running operation from the attempt: its end only frees the slot (O3).
    pub(super) fn orphan_job(&mut self) {
        if let Some(job) = &mut self.job {
            job.orphan = !matches!(job.task, Task::Slot(crate::SlotAction::ClearMark));
        }
    }

    /// An image on trial, or about to start, that no attempt speaks of: the other slot is a way
    /// back, or what the next reset starts, and nothing may be written there.
    fn adopt_foreign(&mut self) {
        let foreign = matches!(self.slot, SlotState::Trial | SlotState::Armed);
        if foreign && self.update.is_none() && self.owing == Owing::None {
            self.open_foreign();
        }
    }
}
