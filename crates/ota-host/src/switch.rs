//! What a boot loader, or an installer with two places, can do for the core.
//!
//! Another kind of switch (two image files and a link, a boot loader's variables) is another
//! implementation of [`Switch`], given to [`crate::Storage::new`]; nothing else changes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ota_proto::{SlotAction, SlotState, StorageError};

/// The switch between the old and the new image. Both calls may block.
pub trait Switch {
    /// What is known of the image that runs, asked once at start.
    fn state(&mut self) -> SlotState;

    /// Takes the room that the notes of an update will need, asked before the first byte of its
    /// image: later a full disk must not leave an installation without its record. The default
    /// needs none.
    ///
    /// # Errors
    /// [`StorageError`]: the update is refused with it.
    fn reserve(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    /// Does it, durably: when this returns `Ok`, a power cut cannot undo it. The core may ask for
    /// the same action again, which must then succeed.
    ///
    /// # Errors
    /// [`StorageError`]: nothing changed, or the same action may be tried again. After an
    /// activation that fails twice [`Switch::state`] is asked: what is [`SlotState::Armed`] counts
    /// as activated, anything else is told to the cloud as a failure, and must not start later.
    fn act(&mut self, action: SlotAction) -> Result<(), StorageError>;
}

/// There is nobody to ask: an installer command or a version file does all of it. The state is
/// [`SlotState::Unknown`]; every action succeeds and does nothing.
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

/// Two banks in memory, for tests and desks: a boot loader that starts the new image once it is
/// activated, on trial until it is confirmed. Clones are the same banks, so that a device which
/// restarts within one process finds them again. Nothing survives the process.
#[derive(Clone, Debug, Default)]
pub struct MemorySwitch(Arc<Mutex<Banks>>);

#[derive(Debug, Default)]
struct Banks {
    /// The next start takes the new image.
    new: bool,
    /// The new image has started.
    started: bool,
    confirmed: bool,
}

impl MemorySwitch {
    /// A start of the device. True when the new image runs now.
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
