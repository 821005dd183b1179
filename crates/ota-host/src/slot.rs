//! The image under download: one plain file.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use ota_proto::{Digester, SlotInfo, StorageError};
use rustix::fs::{self, OFlags};
use rustix::io::Errno;

use crate::dir::{DataDir, is_unlinked};
use crate::error::{HostError, storage_error};

const NAME: &str = "slot.img";

/// Bytes read at once for a digest.
const CHUNK: usize = 128 * 1024;

/// A multiple of every page size in use: a page is dropped from the cache only as a whole.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PAGES: u64 = 64 * 1024;

/// How a [`FileSlot`] is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotOptions {
    /// The largest image in bytes; `None` for what the file system could ever hold. Room is taken
    /// only when an image begins ([`FileSlot::erase`]).
    pub capacity: Option<u64>,
    /// The unit of checkpoints and resumes in bytes, at least 1. The default is 256 KiB.
    pub erase: u32,
    /// Bytes that an image must leave to the rest of the system. The default is 1 MiB.
    pub keep_free: u64,
}

impl Default for SlotOptions {
    fn default() -> Self {
        Self { capacity: None, erase: 256 * 1024, keep_free: 1024 * 1024 }
    }
}

/// A slot in the file `slot.img`.
///
/// While an image arrives the file has the image's full length, when that is known and the file
/// system can reserve room; once it is complete the file is the image and nothing else.
#[derive(Debug)]
pub struct FileSlot {
    file: File,
    dir: DataDir,
    info: SlotInfo,
    keep_free: u64,
    /// The image's length that room was made for since this slot was opened.
    fitted: Option<u64>,
    /// The lowest byte written since the last successful sync.
    dirty: Option<u64>,
    /// The lowest byte that a failed sync may have lost.
    lost: Option<u64>,
}

impl FileSlot {
    /// Opens the slot, or makes an empty one with rights 0600. What it holds is kept.
    ///
    /// # Errors
    /// [`HostError::NotAFile`] when something else has its name (links are not followed);
    /// [`HostError::BadOptions`]; [`HostError::Io`] when the system refuses.
    pub fn open(dir: &DataDir, options: SlotOptions) -> Result<Self, HostError> {
        if options.erase == 0 || options.capacity == Some(0) {
            return Err(HostError::BadOptions);
        }
        let path = dir.join(NAME);
        let file = dir.open_file(NAME, OFlags::CREATE)?;
        let stat = fs::fstatvfs(&file).map_err(|why| HostError::io("measure", &path, why))?;
        dir.sync().map_err(|why| HostError::io("sync", dir.path(), why))?;
        let most = stat.f_blocks.saturating_mul(stat.f_frsize).saturating_sub(options.keep_free);
        // Offsets of the system are signed.
        let capacity = options.capacity.unwrap_or(most).min(i64::MAX as u64);
        Ok(Self {
            file,
            dir: dir.clone(),
            info: SlotInfo { capacity, erase: options.erase, write: 1 },
            keep_free: options.keep_free,
            fitted: None,
            dirty: None,
            lost: None,
        })
    }

    /// Its capacity and units.
    #[must_use]
    pub fn info(&self) -> SlotInfo {
        self.info
    }

    /// Where an installer finds the image. A fixed name, whatever the cloud says.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(NAME)
    }

    /// Makes ready to write this range of an image of `size` bytes, 0 when that is not known.
    ///
    /// A file needs no erasing before it is written, so bytes of this image are left as they are;
    /// the core writes every byte of the range anew. But an erase at 0 begins another image: the
    /// file is emptied, so that nothing of the old one can pass for the new one, and then room for
    /// the whole image is taken: a disk that is too full says so before the first byte.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`] when the image, or the range, is too large for the capacity or
    /// the disk; otherwise the system's. Bytes below the range are untouched.
    pub fn erase(&mut self, range: Range<u64>, size: u64) -> Result<(), StorageError> {
        if range.end.max(size) > self.info.capacity {
            return Err(StorageError::NoSpace);
        }
        if range.start == 0 {
            self.fitted = None;
            self.file.set_len(0).map_err(failed)?;
        }
        if size > 0 && self.fitted != Some(size) {
            self.fit(size)?;
            self.fitted = Some(size);
        }
        let gone = |at: &u64| *at >= range.start;
        self.lost = self.lost.filter(|at| !gone(at));
        self.dirty = self.dirty.filter(|at| !gone(at));
        Ok(())
    }

    /// Writes all of `data` at this offset. Not durable before [`FileSlot::sync`].
    ///
    /// # Errors
    /// [`StorageError::NoSpace`] beyond the capacity or on a full disk; otherwise the system's.
    /// A part of the data may have been written.
    pub fn write_at(&mut self, at: u64, data: &[u8]) -> Result<(), StorageError> {
        let end = at.checked_add(data.len() as u64).ok_or(StorageError::NoSpace)?;
        if end > self.info.capacity {
            return Err(StorageError::NoSpace);
        }
        self.dirty = Some(self.dirty.map_or(at, |low| low.min(at)));
        self.file.write_all_at(data, at).map_err(failed)
    }

    /// Makes everything written durable and drops it from the page cache.
    ///
    /// A system that fails to write a page back forgets that it was dirty, so a second sync would
    /// succeed over bytes that are gone. After a failure this fails until the lost bytes are
    /// erased.
    ///
    /// # Errors
    /// The system's; [`StorageError::Gone`] when the file was removed under us.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        if self.lost.is_some() {
            return Err(StorageError::Failed);
        }
        if let Err(why) = self.file.sync_data() {
            // Without a write of ours there is nothing to erase that would end the refusal.
            self.lost = self.dirty.take();
            return Err(failed(why));
        }
        self.dirty = None;
        if is_unlinked(&self.file).map_err(failed)? {
            return Err(StorageError::Gone);
        }
        drop_cache(&self.file, 0);
        Ok(())
    }

    /// Adds this range to the digest as the medium holds it: what is synced is dropped from the
    /// page cache and read back.
    ///
    /// # Errors
    /// [`StorageError::Failed`] when the range is not all there; otherwise the system's. The
    /// digest is then of no use.
    pub fn digest(&self, range: Range<u64>, digester: &mut Digester) -> Result<(), StorageError> {
        let length = range.end.checked_sub(range.start).ok_or(StorageError::Failed)?;
        if range.end > self.info.capacity {
            return Err(StorageError::Failed);
        }
        drop_cache(&self.file, range.start);
        let mut chunk = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end - at).unwrap_or(CHUNK);
            let part = chunk.get_mut(..left.min(CHUNK)).ok_or(StorageError::Failed)?;
            self.file.read_exact_at(part, at).map_err(failed)?;
            digester.update(part);
            at += part.len() as u64;
        }
        // The hash must not push the system's own files out of memory.
        drop_cache(&self.file, range.start);
        Ok(())
    }

    /// Gives the file this length and takes the room for it. On failure the file is as it was.
    fn fit(&self, size: u64) -> Result<(), StorageError> {
        let stat = fs::fstat(&self.file).map_err(|why| failed(why.into()))?;
        let length = u64::try_from(stat.st_size).unwrap_or(0);
        let taken = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
        if length > size {
            self.file.set_len(size).map_err(failed)?;
        }
        let disk = fs::fstatvfs(&self.file).map_err(|why| failed(why.into()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(self.keep_free);
        let wanted = size.saturating_sub(taken);
        if wanted > free {
            return Err(StorageError::NoSpace);
        }
        match allocate(&self.file, size) {
            Ok(()) => Ok(()),
            // The check above must do; the file then grows with each write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(why) => {
                self.file.set_len(length.min(size)).map_err(failed)?;
                Err(failed(why.into()))
            }
        }
    }
}

/// Drops what is synced of a file from the page cache, from the page of this byte to the end.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn drop_cache(file: &File, from: u64) {
    // Advice: a file system without a cache to drop is none the worse.
    let _ = fs::fadvise(file, from - from % PAGES, None, fs::Advice::DontNeed);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn drop_cache(_: &File, _: u64) {}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn allocate(file: &File, size: u64) -> Result<(), Errno> {
    fs::fallocate(file, fs::FallocateFlags::empty(), 0, size)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn allocate(_: &File, _: u64) -> Result<(), Errno> {
    Err(Errno::OPNOTSUPP)
}

fn failed(why: io::Error) -> StorageError {
    storage_error(&why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> (tempfile::TempDir, FileSlot) {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let options = SlotOptions { capacity: Some(1 << 20), erase: 4096, keep_free: 0 };
        (temp, FileSlot::open(&dir, options).unwrap())
    }

    #[test]
    fn what_a_failed_sync_lost_is_not_vouched_for_until_it_is_erased() {
        let (_temp, mut slot) = slot();
        slot.erase(0..4096, 0).unwrap();
        slot.write_at(0, &[1; 4096]).unwrap();
        slot.sync().unwrap();
        slot.write_at(4096, &[2; 100]).unwrap();
        slot.write_at(8192, &[3; 100]).unwrap();
        // What the system does on a write-back error: the call fails once.
        slot.lost = slot.dirty.take();
        assert_eq!(slot.sync(), Err(StorageError::Failed));
        slot.erase(8192..12288, 0).unwrap();
        assert_eq!(slot.sync(), Err(StorageError::Failed), "byte 4096 is still lost");
        slot.erase(4096..8192, 0).unwrap();
        assert_eq!(slot.sync(), Ok(()));
    }

    #[test]
    fn an_image_larger_than_the_disk_is_refused_before_its_first_byte() {
        let (_temp, mut slot) = slot();
        slot.info.capacity = i64::MAX as u64;
        slot.erase(0..4096, 4096).unwrap();
        slot.write_at(0, &[7; 4096]).unwrap();
        let free = fs::fstatvfs(&slot.file).map(|s| s.f_bavail * s.f_frsize).unwrap();
        let resumed = slot.erase(4096..8192, free.saturating_mul(4));
        assert_eq!(resumed, Err(StorageError::NoSpace));
        assert_eq!(slot.file.metadata().unwrap().len(), 4096, "what it held is kept");
        let fresh = slot.erase(0..4096, free.saturating_mul(4));
        assert_eq!(fresh, Err(StorageError::NoSpace));
        assert_eq!(slot.file.metadata().unwrap().len(), 0);
    }

    #[test]
    fn room_left_to_others_is_not_taken() {
        let (_temp, mut slot) = slot();
        slot.keep_free = u64::MAX;
        assert_eq!(slot.erase(0..4096, 4096), Err(StorageError::NoSpace));
    }
}
