//! Slot, journal and switch on NOR flash.

#[cfg(feature = "boot")]
mod boot;
mod journal;
#[cfg(any(feature = "ed25519-dalek", feature = "ed25519-salty"))]
mod pieces;
mod slot;
mod storage;

use core::fmt;
use core::ops::Range;

use embedded_storage_async::nor_flash::NorFlash;
use ota_proto::{Journal, Md5, SlotAction, SlotInfo, SlotState, StorageError};

#[cfg(feature = "boot")]
pub use boot::BootSwitch;
#[cfg(any(feature = "ed25519-dalek", feature = "ed25519-salty"))]
pub use boot::{Signature, SignedSwitch};
pub use journal::FlashJournal;
pub use slot::FlashSlot;
pub use storage::{BootState, Storage};
pub(crate) use storage::{Buf, Workers};

/// The caller's fault: the flash does not fit its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FlashError {
    /// The region is too small, its length is not a multiple of its erase unit, or its read or
    /// write unit does not fit.
    Region,
    /// The buffer for a unit is too short.
    Buffer {
        /// The required number of bytes.
        needed: usize,
    },
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region => f.write_str("the flash region is too small, or its units do not fit"),
            Self::Buffer { needed } => write!(f, "the unit buffer needs {needed} bytes"),
        }
    }
}

impl core::error::Error for FlashError {}

/// The interface to a boot loader.
#[allow(async_fn_in_trait, reason = "an executor for microcontrollers has one thread")]
pub trait Switch {
    /// Returns the state of the running image. Called once at the start.
    ///
    /// # Errors
    /// [`StorageError`]: it cannot be read.
    async fn state(&mut self) -> Result<SlotState, StorageError>;

    /// Performs the action durably: once this returns `Ok`, a power cut cannot undo it. The core
    /// may request the same action again, which must then succeed.
    ///
    /// # Errors
    /// [`StorageError`]: nothing changed, or the same action may be tried again. After an
    /// activation that fails twice, the core calls [`Switch::state`]. [`SlotState::Armed`] then
    /// counts as activated; any other state is reported to the cloud as a failure, and the image
    /// must not start later.
    async fn act(&mut self, action: SlotAction) -> Result<(), StorageError>;
}

/// No boot loader: the application installs the image itself. The state is [`SlotState::Unknown`];
/// every action succeeds without effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NoSwitch;

impl Switch for NoSwitch {
    async fn state(&mut self) -> Result<SlotState, StorageError> {
        Ok(SlotState::Unknown)
    }

    async fn act(&mut self, _: SlotAction) -> Result<(), StorageError> {
        Ok(())
    }
}

/// [`Storage`] on NOR flash: a region for the slot, one for the journal, and a switch. `Partition`
/// of embassy-embedded-hal divides one chip into regions.
#[derive(Debug)]
pub struct FlashStorage<'d, S, J, B> {
    slot: FlashSlot<'d, S>,
    journal: FlashJournal<J>,
    switch: B,
}

impl<'d, S: NorFlash, J: NorFlash, B: Switch> FlashStorage<'d, S, J, B> {
    /// Joins them.
    pub fn new(slot: FlashSlot<'d, S>, journal: FlashJournal<J>, switch: B) -> Self {
        Self { slot, journal, switch }
    }
}

#[cfg(feature = "boot")]
impl<'d, S: NorFlash, J: NorFlash, B: NorFlash> FlashStorage<'d, S, J, BootSwitch<'d, B>> {
    /// Combines [`FlashSlot`], [`BootSwitch`] and [`FlashJournal`]: embassy-boot's DFU and state
    /// partitions, and one for the journal. `capacity` is the longest image, the length of the
    /// active partition. `units` is memory for a write unit of the DFU partition, and for the
    /// larger of the state partition's write unit and read unit.
    ///
    /// # Errors
    /// Those of each.
    pub fn with_boot(
        dfu: S,
        state: B,
        journal: J,
        capacity: usize,
        units: &'d mut [u8],
    ) -> Result<Self, FlashError> {
        let needed = S::WRITE_SIZE + B::WRITE_SIZE.max(B::READ_SIZE);
        if units.len() < needed {
            return Err(FlashError::Buffer { needed });
        }
        let (unit, aligned) = units.split_at_mut(S::WRITE_SIZE);
        let slot = FlashSlot::new(dfu, capacity, unit)?;
        let switch = BootSwitch::new(state, aligned)?;
        Ok(Self::new(slot, FlashJournal::new(journal)?, switch))
    }
}

impl<S: NorFlash, J: NorFlash, B: Switch> Storage for FlashStorage<'_, S, J, B> {
    fn info(&self) -> SlotInfo {
        self.slot.info()
    }

    async fn boot(&mut self) -> Result<BootState, StorageError> {
        let slot = self.switch.state().await?;
        Ok(BootState { slot, record: self.journal.boot().await })
    }

    async fn erase(&mut self, range: Range<u64>, size: u64) -> Result<(), StorageError> {
        self.slot.erase(range, size).await
    }

    async fn write(&mut self, at: u64, data: &[u8]) -> Result<(), StorageError> {
        self.slot.write(at, data).await
    }

    /// Nothing to do: written NOR flash is durable.
    async fn sync(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    async fn digest(&mut self, range: Range<u64>) -> Result<Md5, StorageError> {
        self.slot.digest(range).await
    }

    async fn persist(&mut self, record: &[u8; Journal::LEN]) -> Result<(), StorageError> {
        self.journal.persist(record).await
    }

    /// The core repeats every action except an activation. If the slot is armed after one that
    /// failed twice, the activation counts as done: the next start decides.
    async fn switch(&mut self, action: SlotAction) -> Result<(), StorageError> {
        let first = self.switch.act(action).await;
        if action != SlotAction::Activate || first.is_ok() {
            return first;
        }
        match self.switch.act(action).await {
            Err(_) if self.switch.state().await == Ok(SlotState::Armed) => Ok(()),
            second => second,
        }
    }
}

/// An error of the flash. The core does not need its cause.
fn failed<E>(_: E) -> StorageError {
    StorageError::Failed
}
