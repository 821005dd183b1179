//! The journal: records appended in two pages.

use embedded_storage_async::nor_flash::NorFlash;
use ota_proto::StorageError;
use ota_proto::journal::{Entry, Journal, Log, Newest, Scan};

use super::{FlashError, failed};

/// The journal in its own region. Each half is a page, which is erased when it is full, so that
/// many records cost one erase: 18 in 4 KiB, the first of which is written four times. The first
/// record of a boot begins a page, and no place is programmed twice between two erases, even after
/// a power cut, because flash with an error-correcting code forbids it.
#[derive(Debug)]
pub struct FlashJournal<F> {
    flash: F,
    /// Bytes of a page.
    page: usize,
    log: Log,
}

impl<F: NorFlash> FlashJournal<F> {
    /// The journal in this region.
    ///
    /// # Errors
    /// [`FlashError::Region`] if half the region is not a multiple of the erase unit or holds less
    /// than [`Log::MIN_PLACES`] records, or if the read or the write unit does not divide a record.
    pub fn new(flash: F) -> Result<Self, FlashError> {
        let page = flash.capacity() / 2;
        let fits = page.is_multiple_of(F::ERASE_SIZE)
            && page / Journal::LEN >= Log::MIN_PLACES
            && Journal::LEN.is_multiple_of(F::WRITE_SIZE)
            && Journal::LEN.is_multiple_of(F::READ_SIZE);
        if !fits {
            return Err(FlashError::Region);
        }
        // Replaced at boot.
        let (log, _) = Scan::new(page / Journal::LEN).finish();
        Ok(Self { flash, page, log })
    }

    /// Reads the newest record, and appends it again unless it is durable in all copies. A failure
    /// of that is ignored: then no record can be written, and without records no update begins.
    pub async fn boot(&mut self) -> Option<[u8; Journal::LEN]> {
        let places = self.page / Journal::LEN;
        let mut scan = Scan::new(places);
        for page in 0..2 {
            for place in 0..places {
                let block = self.read(page, place).await;
                scan.take(page, place, block.as_ref());
            }
        }
        let (log, newest) = scan.finish();
        self.log = log;
        let Newest { block, lasting } = newest?;
        if !lasting {
            let _ = self.persist(&block).await;
        }
        Some(block)
    }

    /// Returns the content of a place. An unreadable place counts as torn, but only after several
    /// reads: a torn record is outranked forever by the next one.
    async fn read(&mut self, page: usize, place: usize) -> Option<[u8; Journal::LEN]> {
        let at = self.offset(page, place);
        let mut last = None;
        for _ in 0..Journal::READINGS {
            let mut block = [0; Journal::LEN];
            last = self.flash.read(at, &mut block).await.ok().map(|()| block);
            if last.as_ref().is_some_and(Journal::is_believed) {
                break;
            }
        }
        last
    }

    /// Appends the record, reads it back, and repeats until it is durable: four times at the start
    /// of a page, once elsewhere.
    ///
    /// # Errors
    /// [`StorageError::Failed`]: it may or may not have been written; the previous one is valid.
    pub async fn persist(&mut self, record: &[u8; Journal::LEN]) -> Result<(), StorageError> {
        loop {
            let entry = self.log.entry(record).ok_or(StorageError::Failed)?;
            let Entry { erase, page, place, block, lasting } = entry;
            if let Some(page) = erase {
                let (from, to) = (self.offset(page, 0), self.offset(page + 1, 0));
                self.flash.erase(from, to).await.map_err(failed)?;
            }
            self.log.advance();
            let at = self.offset(page, place);
            self.flash.write(at, &block).await.map_err(failed)?;
            let mut read = [0; Journal::LEN];
            self.flash.read(at, &mut read).await.map_err(failed)?;
            if read != block {
                return Err(StorageError::Failed);
            }
            self.log.written();
            if lasting {
                return Ok(());
            }
        }
    }

    /// In bytes from the region's start. A flash region is shorter than 4 GiB.
    fn offset(&self, page: usize, place: usize) -> u32 {
        (page * self.page + place * Journal::LEN) as u32
    }
}
