//! What a boot loader, or an installer with two places, can do for the core.
//!
//! Another kind of switch (two image files and a link, a boot loader's variables) is another
//! implementation of [`Switch`], given to [`crate::Storage::new`]; nothing else changes.

use ota_proto::{SlotAction, SlotState, StorageError};

/// The switch between the old and the new image. Both calls may block.
pub trait Switch {
    /// What is known of the image that runs, asked once at start.
    fn state(&mut self) -> SlotState;

    /// Does it, durably: when this returns `Ok`, a power cut cannot undo it. The core may ask for
    /// the same action again, which must then succeed.
    ///
    /// # Errors
    /// [`StorageError`]: nothing changed, or the same action may be tried again.
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
