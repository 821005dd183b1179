//! The slot for the downloaded image.

use core::fmt;
use core::ops::Range;

use embassy_futures::yield_now;
use embedded_storage_async::nor_flash::NorFlash;
use ota_proto::{Digester, Md5, SlotInfo, StorageError};

use super::{FlashError, failed};

/// The read size while hashing.
pub(super) const CHUNK: usize = 256;
/// Bytes hashed per step, between two yields.
const STEP: usize = 4096;

/// The read unit must divide the read size.
pub(super) fn reads_in_chunks<F: NorFlash>() -> bool {
    CHUNK.is_multiple_of(F::READ_SIZE)
}

/// The slot in its own region.
pub struct FlashSlot<'d, F> {
    flash: F,
    capacity: u32,
    tail: Tail<'d>,
    /// The image's size: the last write unit is padded after its last byte.
    size: u64,
    /// The digest of everything before `hashed`.
    digester: Digester,
    hashed: u32,
}

/// The incomplete write unit.
struct Tail<'d> {
    unit: &'d mut [u8],
    /// Its start in the slot.
    at: u32,
    len: usize,
}

impl<'d, F: NorFlash> FlashSlot<'d, F> {
    /// Uses this region, for images of at most `capacity` bytes (with embassy-boot: the length of
    /// the active partition). `unit` is at least as long as the flash's write unit.
    ///
    /// # Errors
    /// [`FlashError::Buffer`]; [`FlashError::Region`] if `capacity` is not a multiple of the erase
    /// unit or is beyond the region, or if the units are invalid.
    pub fn new(flash: F, capacity: usize, unit: &'d mut [u8]) -> Result<Self, FlashError> {
        let unit =
            unit.get_mut(..F::WRITE_SIZE).ok_or(FlashError::Buffer { needed: F::WRITE_SIZE })?;
        let fits = capacity <= flash.capacity()
            && capacity.is_multiple_of(F::ERASE_SIZE)
            && F::ERASE_SIZE.is_multiple_of(F::WRITE_SIZE)
            && reads_in_chunks::<F>();
        let capacity = u32::try_from(capacity).ok().filter(|_| fits).ok_or(FlashError::Region)?;
        let tail = Tail { unit, at: 0, len: 0 };
        Ok(Self { flash, capacity, tail, size: 0, digester: Digester::new(), hashed: 0 })
    }

    pub(super) fn info(&self) -> SlotInfo {
        let (erase, write) = (F::ERASE_SIZE as u32, F::WRITE_SIZE as u32);
        SlotInfo { capacity: self.capacity.into(), erase, write }
    }

    pub(super) async fn erase(&mut self, range: Range<u64>, size: u64) -> Result<(), StorageError> {
        let unit = F::ERASE_SIZE as u64;
        let (from, to) =
            (range.start - range.start % unit, range.end.div_ceil(unit).saturating_mul(unit));
        self.forget_from(self.place(from)?);
        self.tail.len = 0;
        self.size = size;
        self.flash.erase(self.place(from)?, self.place(to)?).await.map_err(failed)
    }

    /// Writes whole write units to the flash; the rest waits for more bytes, or for the end of the
    /// image. Checkpoints are on erase units, so no record claims bytes that are still in the
    /// buffer.
    pub(super) async fn write(&mut self, at: u64, mut data: &[u8]) -> Result<(), StorageError> {
        let end = self.place(at.saturating_add(data.len() as u64))?;
        let mut at = self.place(at)?;
        self.forget_from(at);
        let unit = F::WRITE_SIZE;
        if self.tail.len == 0 {
            self.tail.at = at;
        }
        if self.tail.end() != at || !(self.tail.at as usize).is_multiple_of(unit) {
            return Err(StorageError::Failed);
        }
        if self.tail.len > 0 {
            let rest = self.tail.take(data);
            at += (data.len() - rest.len()) as u32;
            data = rest;
            self.flush(unit).await?;
        }
        let whole = data.len() - data.len() % unit;
        let (whole, rest) = data.split_at(whole);
        if !whole.is_empty() {
            self.flash.write(at, whole).await.map_err(failed)?;
        }
        if !rest.is_empty() {
            self.tail.at = end - rest.len() as u32;
            self.tail.take(rest);
        }
        if u64::from(end) >= self.size { self.flush(1).await } else { Ok(()) }
    }

    /// Writes the incomplete unit if it has at least this many bytes.
    async fn flush(&mut self, least: usize) -> Result<(), StorageError> {
        let Tail { unit, at, len } = &mut self.tail;
        if *len < least {
            return Ok(());
        }
        if let Some(rest) = unit.get_mut(*len..) {
            rest.fill(0xff);
        }
        *len = 0;
        self.flash.write(*at, unit).await.map_err(failed)
    }

    /// Hashes what the flash holds, and then the incomplete unit.
    pub(super) async fn digest(&mut self, range: Range<u64>) -> Result<Md5, StorageError> {
        let end = self.place(range.end)?;
        let written = if self.tail.len > 0 { self.tail.at.min(end) } else { end };
        if self.hashed > written || range.start == 0 {
            self.forget_from(0);
        }
        let mut chunk = [0; CHUNK];
        let mut step = 0;
        while (written - self.hashed) as usize >= CHUNK {
            self.flash.read(self.hashed, &mut chunk).await.map_err(failed)?;
            self.digester.update(&chunk);
            self.hashed += CHUNK as u32;
            step += CHUNK;
            if step >= STEP {
                step = 0;
                yield_now().await;
            }
        }
        let mut digester = self.digester.clone();
        let rest = (written - self.hashed) as usize;
        if let Some(part) = chunk.get_mut(..rest.next_multiple_of(F::READ_SIZE)) {
            self.flash.read(self.hashed, part).await.map_err(failed)?;
        }
        digester.update(chunk.get(..rest).unwrap_or_default());
        let held = (end - written) as usize;
        digester.update(self.tail.unit.get(..held).unwrap_or_default());
        Ok(digester.finish())
    }

    /// Bytes from here on change, so hashes of them are invalid.
    fn forget_from(&mut self, at: u32) {
        if at < self.hashed || at == 0 {
            self.digester = Digester::new();
            self.hashed = 0;
        }
    }

    fn place(&self, at: u64) -> Result<u32, StorageError> {
        u32::try_from(at).ok().filter(|at| *at <= self.capacity).ok_or(StorageError::NoSpace)
    }
}

impl Tail<'_> {
    /// Adds bytes to the unit; returns the excess.
    fn take<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let room = self.unit.get_mut(self.len..).unwrap_or_default();
        let (taken, rest) = data.split_at(data.len().min(room.len()));
        room.iter_mut().zip(taken).for_each(|(place, byte)| *place = *byte);
        self.len += taken.len();
        rest
    }

    fn end(&self) -> u32 {
        self.at + self.len as u32
    }
}

impl<F> fmt::Debug for FlashSlot<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlashSlot").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}
