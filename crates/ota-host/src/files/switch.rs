//! The interface to a boot loader, or to an installer with two slots.
//!
//! For another kind of switch (two image files and a link, a boot loader's variables), implement
//! [`Switch`] and pass it to [`crate::Storage::new`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ota_proto::{SlotAction, SlotState, StorageError};

/// The switch between the old and the new image. Both calls may block.
pub trait Switch {
    /// Returns the state of the running image. Called once at the start.
    fn state(&mut self) -> SlotState;

    /// Reserves the room for the notes of an update. Called before the first byte of its image, so
    /// that a full disk cannot leave an installation without its record. The default needs no room.
    ///
    /// # Errors
    /// [`StorageError`]: the update is refused with it.
    fn reserve(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Performs the action durably: once this returns `Ok`, a power cut cannot undo it. The core
    /// may request the same action again, which must then succeed.
    ///
    /// # Errors
    /// [`StorageError`]: nothing changed, or the same action may be tried again. After an
    /// activation that fails twice, the core calls [`Switch::state`]. [`SlotState::Armed`] then
    /// counts as activated; any other state is reported to the cloud as a failure, and the image
    /// must not start later.
    fn act(&mut self, action: SlotAction) -> Result<(), StorageError>;
}

/// No boot loader: an installer command or a version file does everything. The state is
/// [`SlotState::Unknown`]; every action succeeds without effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NoSwitch;

impl Switch for NoSwitch {
    fn state(&mut self) -> SlotState {
        SlotState::Unknown
    }

    fn act(&mut self, _: SlotAction) -> Result<(), StorageError> {
        Ok(())
    }
}

/// Two banks in memory, for tests and demos: a boot loader that starts the new image once it is
/// activated, on trial until it is confirmed. Clones share the banks, so that a device that
/// restarts within one process finds them again. Nothing survives the process.
#[derive(Clone, Debug, Default)]
pub struct MemorySwitch(Arc<Mutex<Banks>>);

#[derive(Debug, Default)]
struct Banks {
    /// The next start uses the new image.
    new: bool,
    /// The new image has started.
    started: bool,
    confirmed: bool,
}

impl MemorySwitch {
    /// Starts the device. Returns whether the new image is running now.
    pub fn boot(&self) -> bool {
        let mut banks = self.banks();
        banks.started = banks.new;
        banks.started
    }

    fn banks(&self) -> MutexGuard<'_, Banks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Switch for MemorySwitch {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn banks_in_memory_switch_at_the_next_start_and_back() {
        let mut switch = MemorySwitch::default();
        let device = switch.clone();
        assert!(!device.boot());
        switch.act(SlotAction::Activate).unwrap();
        assert_eq!(switch.state(), SlotState::Confirmed);
        assert!(device.boot());
        assert_eq!(switch.state(), SlotState::Trial);
        switch.act(SlotAction::RollBack).unwrap();
        assert!(!device.boot());
        assert_eq!(switch.state(), SlotState::Confirmed);
        switch.act(SlotAction::Activate).unwrap();
        assert!(device.boot());
        switch.act(SlotAction::Confirm).unwrap();
        assert_eq!(switch.state(), SlotState::Confirmed);
    }
}
