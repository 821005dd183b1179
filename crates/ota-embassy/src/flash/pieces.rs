//! Reads a partition in pieces.

use embassy_futures::yield_now;
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

use super::slot::CHUNK;
use super::{FlashError, slot};

/// Allows reads of any length and place from pieces that the flash can read, and yields between
/// them: embassy-boot hashes 2 bytes at a time.
pub(super) struct Pieces<F> {
    flash: F,
    piece: [u8; CHUNK],
    /// The start of the piece, if there is one.
    at: Option<u32>,
}

impl<F: NorFlash> Pieces<F> {
    pub(super) fn new(flash: F) -> Result<Self, FlashError> {
        if !slot::reads_in_chunks::<F>() {
            return Err(FlashError::Region);
        }
        Ok(Self { flash, piece: [0; CHUNK], at: None })
    }

    /// The bytes that were read may be overwritten.
    pub(super) fn forget(&mut self) {
        self.at = None;
    }

    /// Returns the bytes from here to the piece's end.
    async fn ahead(&mut self, at: u32) -> Result<&[u8], F::Error> {
        let start = at - at % CHUNK as u32;
        if self.at != Some(start) {
            self.at = None;
            // The last piece may be shorter.
            let len = self.flash.capacity().saturating_sub(start as usize).min(CHUNK);
            let piece = self.piece.get_mut(..len).unwrap_or_default();
            self.flash.read(start, piece).await?;
            self.at = Some(start);
            yield_now().await;
        }
        Ok(self.piece.get((at - start) as usize..).unwrap_or_default())
    }
}

impl<F: NorFlash> ErrorType for Pieces<F> {
    type Error = F::Error;
}

impl<F: NorFlash> ReadNorFlash for Pieces<F> {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, mut at: u32, mut bytes: &mut [u8]) -> Result<(), F::Error> {
        while !bytes.is_empty() {
            let piece = self.ahead(at).await?;
            let (part, rest) = bytes.split_at_mut(bytes.len().min(piece.len()));
            part.iter_mut().zip(piece).for_each(|(byte, read)| *byte = *read);
            at += part.len() as u32;
            bytes = rest;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.flash.capacity()
    }
}

/// Never used for writing, but embassy-boot requires the trait.
impl<F: NorFlash> NorFlash for Pieces<F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), F::Error> {
        self.forget();
        self.flash.erase(from, to).await
    }

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), F::Error> {
        self.forget();
        self.flash.write(at, bytes).await
    }
}
