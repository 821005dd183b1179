//! NOR flash made of memory: an erase sets a whole block to ones, a write only clears bits.

use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use crate::flash::{Refused, check};

/// Bytes of one erase block, as on the board's chip.
pub const ERASE: usize = 1_024;
/// Bytes of one write, as on the board's chip.
pub const WRITE: usize = 4;

/// The flash.
pub struct MemoryFlash(&'static mut [u8]);

impl MemoryFlash {
    /// It begins erased.
    pub fn new(memory: &'static mut [u8]) -> Self {
        memory.fill(0xff);
        Self(memory)
    }

    fn part(&mut self, offset: u32, len: usize, unit: usize) -> Result<&mut [u8], Refused> {
        let end = u32::try_from(len).ok().and_then(|len| offset.checked_add(len));
        let range = offset..end.ok_or(Refused::OutOfBounds)?;
        check(&range, unit, &(0..self.0.len() as u32))?;
        let range = range.start as usize..range.end as usize;
        self.0.get_mut(range).ok_or(Refused::OutOfBounds)
    }
}

impl ErrorType for MemoryFlash {
    type Error = Refused;
}

impl ReadNorFlash for MemoryFlash {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Refused> {
        bytes.copy_from_slice(self.part(offset, bytes.len(), Self::READ_SIZE)?);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.len()
    }
}

impl NorFlash for MemoryFlash {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Refused> {
        let len = to.checked_sub(from).ok_or(Refused::OutOfBounds)?;
        self.part(from, len as usize, ERASE)?.fill(0xff);
        Ok(())
    }

    async fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Refused> {
        for (old, new) in self.part(offset, bytes.len(), WRITE)?.iter_mut().zip(bytes) {
            if *old & new != *new {
                return Err(Refused::NotErased);
            }
            *old = *new;
        }
        Ok(())
    }
}
