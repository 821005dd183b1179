//! The board of the demo.

use std::sync::{Arc, Mutex, PoisonError};

use ota_host::Switch;
use ota_proto::{SlotAction, SlotState, StorageError};

use super::{NEW, OLD};

/// The board's boot loader, with two places for an image.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<Banks>>);

#[derive(Clone, Copy, Debug, Default)]
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
        let mut banks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        banks.started = banks.new;
        if banks.new { NEW } else { OLD }
    }
}

impl Switch for Board {
    fn state(&mut self) -> SlotState {
        let banks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if banks.started && !banks.confirmed { SlotState::Trial } else { SlotState::Confirmed }
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        let mut banks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match action {
            SlotAction::Activate => banks.new = true,
            SlotAction::Confirm => banks.confirmed = true,
            SlotAction::RollBack => banks.new = false,
            _ => {}
        }
        Ok(())
    }
}
