//! The boot loader, in memory.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ota_host::Switch;
use ota_proto::{SlotAction, SlotState, StorageError};

use crate::Scenario;

/// A boot loader with two places for an image; it survives the device's restarts.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<Banks>>);

#[derive(Debug, Default)]
struct Banks {
    /// The next start takes the new image.
    new: bool,
    /// The new image has started.
    started: bool,
    confirmed: bool,
}

impl Board {
    /// Starts; says which version runs.
    pub(super) fn boot(&self) -> &'static str {
        let mut banks = self.banks();
        banks.started = banks.new;
        if banks.new { Scenario::TO } else { Scenario::FROM }
    }

    fn banks(&self) -> MutexGuard<'_, Banks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Switch for Board {
    fn state(&mut self) -> SlotState {
        let banks = self.banks();
        if banks.started && !banks.confirmed { SlotState::Trial } else { SlotState::Confirmed }
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        let mut banks = self.banks();
        match action {
            SlotAction::Activate => banks.new = true,
            SlotAction::Confirm => banks.confirmed = true,
            SlotAction::RollBack => banks.new = false,
            _ => {}
        }
        Ok(())
    }
}
