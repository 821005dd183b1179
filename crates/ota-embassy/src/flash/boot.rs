//! embassy-boot as the switch.

use core::fmt;

use embassy_boot::{FirmwareState, State};
use embedded_storage_async::nor_flash::NorFlash;
use ota_proto::{SlotAction, SlotState, StorageError};

use super::{FlashError, Switch, failed};

/// embassy-boot's state partition. The slot is its DFU partition; the swap happens at the next
/// reset, in the boot loader, and an image that is not confirmed is swapped back at the one after.
pub struct BootSwitch<'d, F> {
    flash: F,
    /// As long as the larger of the write unit and the read unit.
    aligned: &'d mut [u8],
}

impl<'d, F: NorFlash> BootSwitch<'d, F> {
    /// Uses the state partition, with a buffer as long as the larger of its write unit and read
    /// unit.
    ///
    /// # Errors
    /// [`FlashError::Buffer`].
    pub fn new(flash: F, aligned: &'d mut [u8]) -> Result<Self, FlashError> {
        let needed = F::WRITE_SIZE.max(F::READ_SIZE);
        let aligned = aligned.get_mut(..needed).ok_or(FlashError::Buffer { needed })?;
        Ok(Self { flash, aligned })
    }

    fn loader(&mut self) -> FirmwareState<'_, &mut F> {
        FirmwareState::new(&mut self.flash, self.aligned)
    }

    /// The boot loader records its progress from the third write unit on. Some flash erases to
    /// zeros: the value of erased bytes is read at the partition's end, which is written last in a
    /// swap back, and no image starts before that is complete.
    async fn is_swapped(&mut self) -> Result<bool, StorageError> {
        let end = self.flash.capacity().saturating_sub(self.aligned.len());
        self.flash.read(end as u32, self.aligned).await.map_err(failed)?;
        let erased = self.aligned.last().copied();
        let at = 2 * F::WRITE_SIZE as u32;
        self.flash.read(at, self.aligned).await.map_err(failed)?;
        Ok(self.aligned.iter().any(|byte| Some(*byte) != erased))
    }
}

impl<F: NorFlash> Switch for BootSwitch<'_, F> {
    async fn state(&mut self) -> Result<SlotState, StorageError> {
        let state = self.loader().get_state().await.map_err(failed)?;
        Ok(match state {
            State::Swap if self.is_swapped().await? => SlotState::Trial,
            State::Swap => SlotState::Armed,
            // Power that fails while embassy-boot confirms can leave this mark without a swap. The
            // core then sees that the new version runs, and counts the update as done.
            State::Revert => SlotState::RolledBack,
            State::Boot | State::DfuDetach => SlotState::Confirmed,
        })
    }

    async fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        let mut loader = self.loader();
        match action {
            SlotAction::Activate => loader.mark_updated().await.map_err(failed),
            SlotAction::Confirm | SlotAction::ClearMark => {
                loader.mark_booted().await.map_err(failed)
            }
            // The loader swaps back at the next reset by itself, unless the image is confirmed.
            SlotAction::RollBack => match loader.get_state().await.map_err(failed)? {
                State::Swap => Ok(()),
                _ => Err(StorageError::Failed),
            },
            _ => Err(StorageError::Failed),
        }
    }
}

impl<F> fmt::Debug for BootSwitch<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BootSwitch(..)")
    }
}

/// A detached signature: Ed25519 over the SHA-512 digest of the image.
#[cfg(any(feature = "ed25519-dalek", feature = "ed25519-salty"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The signature.
    pub bytes: [u8; 64],
    /// The image's size in bytes, as `Install` has it.
    pub len: u32,
}

/// [`BootSwitch`] that activates only images whose signature embassy-boot accepts. With any other
/// signature the attempt fails, and the old version keeps running.
///
/// The application puts the signature into the cell before it approves the image, or before it
/// answers `Install`. The offer's `user_defined` text can carry it.
#[cfg(any(feature = "ed25519-dalek", feature = "ed25519-salty"))]
pub struct SignedSwitch<'d, D, F> {
    switch: BootSwitch<'d, F>,
    dfu: super::pieces::Pieces<D>,
    key: [u8; 32],
    signature: &'d core::cell::Cell<Option<Signature>>,
}

#[cfg(any(feature = "ed25519-dalek", feature = "ed25519-salty"))]
impl<'d, D: NorFlash, F: NorFlash> SignedSwitch<'d, D, F> {
    /// Takes the switch, the DFU partition (the slot's, a second time) and the public key.
    ///
    /// # Errors
    /// [`FlashError::Region`] if the partition's read unit does not divide 256 bytes.
    pub fn new(
        switch: BootSwitch<'d, F>,
        dfu: D,
        key: [u8; 32],
        signature: &'d core::cell::Cell<Option<Signature>>,
    ) -> Result<Self, FlashError> {
        let dfu = super::pieces::Pieces::new(dfu)?;
        Ok(Self { switch, dfu, key, signature })
    }

    async fn activate(&mut self) -> Result<(), StorageError> {
        if self.switch.loader().get_state().await.map_err(failed)? == State::Swap {
            // The signature was checked before and found right.
            return Ok(());
        }
        let signature = self.signature.get();
        let capacity = embedded_storage_async::nor_flash::ReadNorFlash::capacity(&self.dfu);
        let fits = |signature: &Signature| signature.len as usize <= capacity;
        // The slot may have been written since the last read.
        self.dfu.forget();
        let Signature { bytes, len } = signature.filter(fits).ok_or(StorageError::Failed)?;
        let BootSwitch { flash, aligned } = &mut self.switch;
        let config = embassy_boot::FirmwareUpdaterConfig { dfu: &mut self.dfu, state: flash };
        let mut updater = embassy_boot::FirmwareUpdater::new(config, aligned);
        updater.verify_and_mark_updated(&self.key, &bytes, len).await.map_err(failed)
    }
}

#[cfg(any(feature = "ed25519-dalek", feature = "ed25519-salty"))]
impl<D: NorFlash, F: NorFlash> Switch for SignedSwitch<'_, D, F> {
    async fn state(&mut self) -> Result<SlotState, StorageError> {
        self.switch.state().await
    }

    async fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        match action {
            SlotAction::Activate => self.activate().await,
            _ => self.switch.act(action).await,
        }
    }
}
