//! The image that is being downloaded, and the verified one: plain files.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use ota_proto::{Digester, SlotInfo, StorageError};
use rustix::fs::{self, OFlags, Stat};
use rustix::io::Errno;

use crate::files::accept::{self, IMAGE, Image, NEW, is_replaceable};
use crate::files::dir::DataDir;
use crate::files::error::{HostError, storage_error};
use crate::files::names::is_unlinked;
use crate::files::walk::identity;

/// The name during the download, which no command gets.
const PART: &str = "slot.part";

/// The read size for a digest in bytes.
const CHUNK: usize = 128 * 1024;

/// A multiple of every common page size: the system drops only whole pages from its cache.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PAGES: u64 = 64 * 1024;

/// The options of a [`FileSlot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotOptions {
    /// The largest image in bytes; `None` for the file system's limit. Room is reserved only when
    /// an image begins ([`FileSlot::erase`]).
    pub capacity: Option<u64>,
    /// The unit of checkpoints and resumes in bytes, at least 1. The default is 256 KiB.
    pub erase: u32,
    /// Bytes that an image must leave free for the rest of the system. The default is 1 MiB.
    pub keep_free: u64,
    /// Keep the previous image's name until the next image takes it, even if there is no room for
    /// both; the next image is then refused. By default the previous image is removed when its room
    /// is needed, unless it has a second name, since removing one would free nothing. An image that
    /// a process holds open (a loop mount, a running program) frees no room either, and is then
    /// removed in vain: set `keep_before` if the image is used from here.
    pub keep_before: bool,
    /// `slot.img` is the accepted image, for programs that read it; a verified one waits as
    /// `slot.new` for [`Image::accept`]. By default every verified image becomes `slot.img`.
    pub accepts: bool,
}

impl Default for SlotOptions {
    fn default() -> Self {
        Self {
            capacity: None,
            erase: 256 * 1024,
            keep_free: 1024 * 1024,
            keep_before: false,
            accepts: false,
        }
    }
}

/// The slot as files in the data folder.
///
/// A download is written to `slot.part`, a name that no other program gets. Once its digest is
/// right, it is renamed to the installers' name. From then on this file is never written or held
/// open for writing: it may be moved, linked, mounted or run. The next image is another file.
#[derive(Debug)]
pub struct FileSlot {
    body: SlotFile,
    dir: DataDir,
    options: SlotOptions,
    info: SlotInfo,
    image: Image,
    /// The name of a verified image.
    name: &'static str,
    /// The image's length for which room was reserved since this slot was opened.
    fitted: Option<u64>,
    /// The lowest byte written since the last successful sync.
    dirty: Option<u64>,
    /// The lowest byte that a failed sync may have lost.
    lost: Option<u64>,
}

/// The file with the slot's bytes.
#[derive(Debug)]
enum SlotFile {
    Nowhere,
    /// `slot.part`, for reading and writing.
    Part(File),
    /// A taken file of this name, for reading only.
    Whole(File, &'static str),
}

impl SlotFile {
    fn file(&self) -> Option<&File> {
        match self {
            Self::Nowhere => None,
            Self::Part(file) | Self::Whole(file, _) => Some(file),
        }
    }
}

impl FileSlot {
    /// Opens the slot and keeps its content: a partial download, or else the last verified image.
    ///
    /// # Errors
    /// [`HostError::NotAFile`] if something else has one of its names (links are not followed);
    /// [`HostError::BadOptions`]; [`HostError::Io`] if the system refuses, or the file system is
    /// not larger than the room that must stay free.
    pub fn open(dir: &DataDir, options: SlotOptions) -> Result<Self, HostError> {
        if options.erase == 0 || options.capacity == Some(0) {
            return Err(HostError::BadOptions);
        }
        let mut body = SlotFile::Nowhere;
        for name in [IMAGE, NEW] {
            if let Some(file) = dir.find_file(name, OFlags::RDONLY)? {
                body = SlotFile::Whole(file, name);
            }
        }
        if let Some(file) = dir.find_file(PART, OFlags::RDWR)? {
            body = SlotFile::Part(file);
        }
        let stat = fs::fstatvfs(dir.as_fd());
        let stat = stat.map_err(|why| HostError::io("measure", dir.path(), why))?;
        let blocks = stat.f_blocks.saturating_mul(stat.f_frsize);
        let most = largest(blocks, options.keep_free);
        let most =
            most.ok_or_else(|| HostError::io("keep an image in", dir.path(), Errno::NOSPC))?;
        // Offsets of the system are signed.
        let capacity = options.capacity.unwrap_or(most).min(i64::MAX as u64);
        let name = if options.accepts { NEW } else { IMAGE };
        Ok(Self {
            body,
            dir: dir.clone(),
            options,
            info: SlotInfo { capacity, erase: options.erase, write: 1 },
            image: Image::new(dir, name),
            name,
            fitted: None,
            dirty: None,
            lost: None,
        })
    }

    /// Its capacity and erase unit.
    #[must_use]
    pub fn info(&self) -> SlotInfo {
        self.info
    }

    /// The verified image, for an installer.
    #[must_use]
    pub fn image(&self) -> Image {
        self.image.clone()
    }

    /// The path of the image for an installer: a fixed name, independent of the cloud.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.image.path()
    }

    /// Prepares this range of an image of `size` bytes for writing; 0 if the size is unknown.
    ///
    /// A file needs no erasing, so bytes of this image stay unchanged; the core writes every byte
    /// of the range again. An erase at 0 begins another image in a new file, so that old bytes
    /// cannot count as new ones. It also reserves room for the whole image, so that a full disk is
    /// reported before the first byte.
    ///
    /// # Errors
    /// [`StorageError::NoSpace`] if the image, or the range, is too large for the capacity or the
    /// disk; [`StorageError::NoSecondSpace`] if only [`SlotOptions::keep_before`] prevents it;
    /// otherwise the system's. Bytes below the range are unchanged.
    pub fn erase(&mut self, range: Range<u64>, size: u64) -> Result<(), StorageError> {
        if range.end.max(size) > self.info.capacity {
            return Err(StorageError::NoSpace);
        }
        if range.start == 0 {
            self.begin().map_err(failed)?;
        }
        self.part(range.start)?;
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
        self.part(at)?.write_all_at(data, at).map_err(failed)
    }

    /// Makes everything written durable and drops it from the page cache.
    ///
    /// A system that fails to write a page back forgets that it was dirty, so a second sync would
    /// succeed although the bytes are lost. After a failure this therefore fails until the lost
    /// bytes are erased.
    ///
    /// # Errors
    /// The system's; [`StorageError::Gone`] if another process has removed the file.
    pub fn sync(&mut self) -> Result<(), StorageError> {
        if self.lost.is_some() {
            return Err(StorageError::Failed);
        }
        let SlotFile::Part(file) = &self.body else { return Ok(()) };
        if let Err(why) = file.sync_data() {
            // Without a write of ours no erase would end the refusal.
            self.lost = self.dirty.take();
            return Err(failed(why));
        }
        self.dirty = None;
        if is_unlinked(file).map_err(failed)? {
            return Err(StorageError::Gone);
        }
        drop_cache(file, 0);
        Ok(())
    }

    /// Adds this range to the digest as the medium holds it: synced bytes are dropped from the page
    /// cache and read back. Missing bytes, because they were never written or the file was removed,
    /// count as zeros, like those of a hole.
    ///
    /// # Errors
    /// [`StorageError::Failed`] if the range is backwards or beyond the capacity; otherwise the
    /// system's. The digest is then unusable.
    pub fn digest(&self, range: Range<u64>, digester: &mut Digester) -> Result<(), StorageError> {
        let length = range.end.checked_sub(range.start).ok_or(StorageError::Failed)?;
        if range.end > self.info.capacity {
            return Err(StorageError::Failed);
        }
        let file = self.body.file();
        file.inspect(|file| drop_cache(file, range.start));
        let mut chunk = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
        let mut at = range.start;
        while at < range.end {
            let left = usize::try_from(range.end - at).unwrap_or(CHUNK);
            let part = chunk.get_mut(..left.min(CHUNK)).ok_or(StorageError::Failed)?;
            match file {
                Some(file) => read_at(file, part, at).map_err(failed)?,
                None => part.fill(0),
            }
            digester.update(part);
            at += part.len() as u64;
        }
        // Hashing must not evict the system's own files from memory.
        file.inspect(|file| drop_cache(file, range.start));
        Ok(())
    }

    /// The image of this many bytes is right: gives it the installers' name. From now on its file
    /// is only read.
    ///
    /// # Errors
    /// The system's; the image does not have its name yet, and this may be called again.
    pub(crate) fn verified(&mut self, size: u64) -> Result<(), StorageError> {
        self.hand_out(size).map_err(failed)
    }

    fn hand_out(&mut self, size: u64) -> io::Result<()> {
        let dir = self.dir.as_fd();
        if let SlotFile::Part(part) = &self.body {
            if part.metadata()?.len() != size {
                part.set_len(size)?;
            }
            part.sync_all()?;
            // Changes the rights by descriptor, before the rename: otherwise another file could
            // take the name between the two.
            let opened = self.dir.reopen(part, PART)?;
            fs::renameat(dir, PART, dir, self.name)?;
            // A file that is open for writing can be neither run nor mounted.
            self.body = SlotFile::Whole(opened, self.name);
        }
        self.dir.sync()?;
        if let SlotFile::Whole(file, name) = &self.body {
            self.image.is_now(name, Some(identity(&fs::fstat(file)?)));
        }
        Ok(())
    }

    /// Begins another image: removes a partial download and a verified image that was not accepted.
    /// An image that the application has taken keeps its bytes.
    fn begin(&mut self) -> io::Result<()> {
        self.fitted = None;
        self.body = SlotFile::Nowhere;
        self.image.is_now(self.name, None);
        self.dir.remove(PART)?;
        if self.options.accepts {
            self.dir.remove(NEW)?;
        }
        accept::sweep(&self.dir, self.options.accepts)?;
        // An error now is better than one after the download.
        match self.dir.stat(self.name)? {
            Some(stat) if !is_replaceable(&stat) => Err(Errno::ISDIR.into()),
            _ => Ok(()),
        }
    }

    /// Returns the file to write into: a new one if there is none, with the bytes below `from` of a
    /// taken image.
    fn part(&mut self, from: u64) -> Result<&File, StorageError> {
        if !matches!(self.body, SlotFile::Part(_)) {
            self.body = SlotFile::Part(self.fresh(from)?);
            self.fitted = None;
        }
        match &self.body {
            SlotFile::Part(file) => Ok(file),
            _ => Err(StorageError::Failed),
        }
    }

    fn fresh(&self, from: u64) -> Result<File, StorageError> {
        let made = self.dir.open_file(PART, OFlags::CREATE | OFlags::EXCL);
        let part = made.map_err(|why| why.storage())?;
        let copy = || -> io::Result<()> {
            if let Some(mut old) = self.body.file().filter(|_| from > 0) {
                io::Seek::rewind(&mut old)?;
                io::copy(&mut io::Read::take(old, from), &mut &part)?;
            }
            self.dir.sync()
        };
        match copy() {
            Ok(()) => Ok(part),
            Err(why) => {
                // An incomplete copy must not count as downloaded bytes.
                let _ = self.dir.remove(PART);
                Err(failed(why))
            }
        }
    }

    /// Extends the file to this length and reserves the room. On failure the file is unchanged.
    fn fit(&mut self, size: u64) -> Result<(), StorageError> {
        let full = match self.take_room(size) {
            Err(StorageError::NoSpace) => StorageError::NoSpace,
            done => return done,
        };
        let before = self.dir.stat(IMAGE).map_err(failed)?.filter(is_replaceable);
        let gained = before.as_ref().map_or(0, freed);
        if gained == 0 || self.wanted(size)? > self.free()?.saturating_add(gained) {
            return Err(full);
        }
        if self.options.keep_before {
            return Err(StorageError::NoSecondSpace);
        }
        self.dir.remove(IMAGE).map_err(failed)?;
        self.image.note_removed(gained);
        self.take_room(size)
    }

    fn take_room(&mut self, size: u64) -> Result<(), StorageError> {
        if self.wanted(size)? > self.free()? {
            return Err(StorageError::NoSpace);
        }
        let part = self.part(0)?;
        let length = part.metadata().map_err(failed)?.len();
        if length > size {
            part.set_len(size).map_err(failed)?;
        }
        match allocate(part, size) {
            Ok(()) => Ok(()),
            // The check above must be enough; the file then grows with each write.
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(why) => {
                part.set_len(length.min(size)).map_err(failed)?;
                Err(failed(why.into()))
            }
        }
    }

    /// Bytes that the image still needs.
    fn wanted(&mut self, size: u64) -> Result<u64, StorageError> {
        let stat = fs::fstat(self.part(0)?).map_err(|why| failed(why.into()))?;
        Ok(size.saturating_sub(taken(&stat)))
    }

    /// Bytes that the image may use.
    fn free(&self) -> Result<u64, StorageError> {
        let free = free_room(&self.dir).map_err(failed)?;
        // If the system does not report it, a write will fail instead.
        Ok(free.map_or(u64::MAX, |free| free.saturating_sub(self.options.keep_free)))
    }
}

/// Bytes that this process may use on the file system of this file or folder; `None` if the system
/// does not report it, as with FUSE and some network file systems.
///
/// # Errors
/// The system's.
pub fn free_room(within: impl AsFd) -> io::Result<Option<u64>> {
    let disk = fs::fstatvfs(within)?;
    Ok(free(disk.f_blocks, disk.f_bavail, disk.f_frsize))
}

fn free(blocks: u64, available: u64, unit: u64) -> Option<u64> {
    (blocks > 0).then(|| available.saturating_mul(unit))
}

/// The largest image on a file system of this many bytes; 0 bytes means unknown.
fn largest(bytes: u64, keep_free: u64) -> Option<u64> {
    if bytes == 0 { Some(u64::MAX) } else { bytes.checked_sub(keep_free).filter(|most| *most > 0) }
}

/// Bytes that removing this name frees: none if the file has another name. Whether a process holds
/// it open is known only from the free room afterwards.
fn freed(stat: &Stat) -> u64 {
    if stat.st_nlink == 1 { taken(stat) } else { 0 }
}

/// Bytes that a file uses on its disk.
fn taken(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
}

/// Fills the buffer; bytes beyond the end of the file are zeros.
fn read_at(file: &File, mut part: &mut [u8], mut at: u64) -> io::Result<()> {
    while !part.is_empty() {
        match file.read_at(part, at) {
            Ok(0) => {
                part.fill(0);
                return Ok(());
            }
            Ok(count) => {
                part = part.get_mut(count..).unwrap_or_default();
                at += count as u64;
            }
            Err(why) if why.kind() == io::ErrorKind::Interrupted => {}
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

/// Drops the synced pages of a file from the page cache, from the page of this byte to the end.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn drop_cache(file: &File, from: u64) {
    // This is advice only: the error of a file system without a cache does not matter.
    let _ = fs::fadvise(file, page(from), None, fs::Advice::DontNeed);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn drop_cache(_: &File, _: u64) {}

/// The start of this byte's page.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn page(at: u64) -> u64 {
    at - at % PAGES
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn allocate(file: &File, size: u64) -> Result<(), Errno> {
    loop {
        match fs::fallocate(file, fs::FallocateFlags::empty(), 0, size) {
            // An interrupted call says nothing about the disk.
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
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
        let options = SlotOptions {
            capacity: Some(1 << 20),
            erase: 4096,
            keep_free: 0,
            ..SlotOptions::default()
        };
        (temp, FileSlot::open(&dir, options).unwrap())
    }

    fn length(slot: &FileSlot) -> u64 {
        slot.body.file().unwrap().metadata().unwrap().len()
    }

    #[test]
    fn what_a_failed_sync_lost_is_not_vouched_for_until_it_is_erased() {
        let (_temp, mut slot) = slot();
        slot.erase(0..4096, 0).unwrap();
        slot.write_at(0, &[1; 4096]).unwrap();
        slot.sync().unwrap();
        slot.write_at(4096, &[2; 100]).unwrap();
        slot.write_at(8192, &[3; 100]).unwrap();
        // Simulates a write-back error: the call fails once.
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
        let free = fs::fstatvfs(slot.dir.as_fd()).map(|s| s.f_bavail * s.f_frsize).unwrap();
        let resumed = slot.erase(4096..8192, free.saturating_mul(4));
        assert_eq!(resumed, Err(StorageError::NoSpace));
        assert_eq!(length(&slot), 4096, "what it held is kept");
        let fresh = slot.erase(0..4096, free.saturating_mul(4));
        assert_eq!(fresh, Err(StorageError::NoSpace));
        assert_eq!(length(&slot), 0);
    }

    #[test]
    fn room_left_to_others_is_not_taken() {
        let (_temp, mut slot) = slot();
        slot.options.keep_free = u64::MAX;
        assert_eq!(slot.erase(0..4096, 4096), Err(StorageError::NoSpace));
    }

    #[test]
    fn the_capacity_itself_fits() {
        let (_temp, mut slot) = slot();
        let most = slot.info.capacity;
        assert_eq!(slot.erase(most - 4096..most, most), Ok(()));
        assert_eq!(slot.erase(0..4096, most), Ok(()));
        assert_eq!(slot.write_at(most - 1, b"x"), Ok(()));
        assert_eq!(slot.digest(0..most, &mut Digester::new()), Ok(()));
        for beyond in [slot.erase(0..most + 1, 0), slot.erase(0..4096, most + 1)] {
            assert_eq!(beyond, Err(StorageError::NoSpace));
        }
    }

    #[test]
    fn an_erase_forgets_what_is_dirty_from_there_on_and_nothing_below() {
        let (_temp, mut slot) = slot();
        slot.write_at(4096, b"x").unwrap();
        slot.write_at(8192, b"x").unwrap();
        slot.erase(8192..12288, 0).unwrap();
        assert_eq!(slot.dirty, Some(4096));
        slot.erase(4096..8192, 0).unwrap();
        assert_eq!(slot.dirty, None);
    }

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_page_is_dropped_from_its_beginning() {
        let pages = [0, 1, PAGES - 1, PAGES, PAGES + 1, 5 * PAGES - 1].map(page);
        assert_eq!(pages, [0, 0, 0, PAGES, PAGES, 4 * PAGES]);
    }

    #[test]
    fn a_disk_that_does_not_say_how_large_it_is_is_no_small_one() {
        assert_eq!(free(0, 0, 4096), None);
        assert_eq!(free(1, 0, 4096), Some(0), "a full one is");
        assert_eq!(free(9, 3, 4096), Some(3 * 4096));
        assert_eq!(free(9, u64::MAX, 2), Some(u64::MAX));
        #[cfg(target_os = "linux")]
        assert_eq!(free_room(File::open("/proc").unwrap()).unwrap(), None);
        // Simulates FUSE and some network file systems.
        assert_eq!(largest(0, 1024), Some(u64::MAX));
        assert_eq!(largest(1025, 1024), Some(1));
        assert_eq!(largest(1024, 1024), None);
        assert_eq!(largest(1, 1024), None);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_not_tried_forever() {
        let temp = tempfile::tempdir().unwrap();
        let folder = File::open(temp.path()).unwrap();
        let why = read_at(&folder, &mut [0; 1], 0).unwrap_err();
        assert_eq!(why.kind(), io::ErrorKind::IsADirectory);
    }
}
