//! Flash made of the board's PSRAM that behaves like NOR flash: an erase sets a whole block to
//! ones, a write only clears bits. The host keeps the bytes in a file, so ending the emulator acts
//! like a power cut.

use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};
use core::{ptr, slice};

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};
use embedded_storage_async::nor_flash as asynch;

use crate::{bench, layout};

/// What may be erased and written.
const OPEN: Range<u32> = layout::JOURNAL.start..layout::END;

/// The flash. There is one.
pub struct Flash(());

/// Why the flash refuses an operation: the caller's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Not aligned to the unit of the operation.
    Unaligned,
    /// Out of bounds.
    OutOfBounds,
    /// A write would have to set a bit: the block was not erased.
    NotErased,
}

impl NorFlashError for Refused {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Unaligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::NotErased => NorFlashErrorKind::Other,
        }
    }
}

/// Whether an operation keeps to its unit and to what it may touch.
pub(crate) fn check(range: &Range<u32>, unit: usize, within: &Range<u32>) -> Result<(), Refused> {
    let unit = unit as u32;
    if !range.start.is_multiple_of(unit) || !range.end.is_multiple_of(unit) {
        Err(Refused::Unaligned)
    } else if range.start < within.start || range.end > within.end || range.start > range.end {
        Err(Refused::OutOfBounds)
    } else {
        Ok(())
    }
}

impl Flash {
    /// The flash; `None` when somebody has it.
    pub fn take() -> Option<Self> {
        static TAKEN: AtomicBool = AtomicBool::new(false);
        (!TAKEN.swap(true, Ordering::Relaxed)).then_some(Self(()))
    }

    fn place(offset: u32) -> *mut u8 {
        (layout::FLASH + offset as usize) as *mut u8
    }

    /// Sets the bytes to ones.
    fn fill(range: Range<u32>) {
        // SAFETY: callers have checked the range, and what is mapped there no reference names:
        // the firmware runs in the active partition, which only the loader may open.
        unsafe { ptr::write_bytes(Self::place(range.start), 0xff, range.len()) };
    }

    fn erase_block(block: u32) {
        let erase = layout::ERASE as u32;
        bench::erased(block as usize..block as usize + 1);
        let range = block * erase..(block + 1) * erase;
        match bench::operation() {
            None => {
                // An emulator that is ended in between leaves half a block.
                let half = range.start + erase / 2;
                Self::fill(range.start..half);
                bench::busy();
                Self::fill(half..range.end);
            }
            Some(chance) => {
                let part = (chance >> 1) % erase;
                let (front, back) =
                    (range.start..range.start + part, range.start + part..range.end);
                Self::fill(if chance & 1 == 0 { front } else { back });
                bench::power_is_gone();
            }
        }
    }

    /// As a boot loader assumes, a write unit is either written or not.
    fn program(offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        let cut = bench::operation();
        let units = bytes.len() / layout::WRITE;
        let bytes = match cut {
            None => bytes,
            Some(chance) => {
                bytes.get(..chance as usize % (units + 1) * layout::WRITE).unwrap_or(bytes)
            }
        };
        for (place, byte) in (Self::place(offset) as usize..).zip(bytes) {
            let place = place as *mut u8;
            // SAFETY: as in `fill`.
            let old = unsafe { ptr::read_volatile(place) };
            if old & byte != *byte {
                return Err(Refused::NotErased);
            }
            // SAFETY: as in `fill`.
            unsafe { ptr::write_volatile(place, *byte) };
        }
        match cut {
            None => Ok(()),
            Some(_) => bench::power_is_gone(),
        }
    }
}

impl ErrorType for Flash {
    type Error = Refused;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        let end = offset.checked_add(bytes.len() as u32).ok_or(Refused::OutOfBounds)?;
        check(&(offset..end), Self::READ_SIZE, &(0..layout::END))?;
        // SAFETY: the range is checked, and `&mut self` keeps writers away.
        let flash = unsafe { slice::from_raw_parts(Self::place(offset), bytes.len()) };
        bytes.copy_from_slice(flash);
        Ok(())
    }

    fn capacity(&self) -> usize {
        layout::END as usize
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = layout::WRITE;
    const ERASE_SIZE: usize = layout::ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        check(&(from..to), layout::ERASE, &OPEN)?;
        let erase = layout::ERASE as u32;
        (from / erase..to / erase).for_each(Self::erase_block);
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        let end = offset.checked_add(bytes.len() as u32).ok_or(Refused::OutOfBounds)?;
        check(&(offset..end), layout::WRITE, &OPEN)?;
        Self::program(offset, bytes)
    }
}

impl asynch::ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        ReadNorFlash::read(self, offset, bytes)
    }

    fn capacity(&self) -> usize {
        layout::END as usize
    }
}

impl asynch::NorFlash for Flash {
    const WRITE_SIZE: usize = layout::WRITE;
    const ERASE_SIZE: usize = layout::ERASE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        NorFlash::erase(self, from, to)
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        NorFlash::write(self, offset, bytes)
    }
}
