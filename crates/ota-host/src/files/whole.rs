//! Files that are replaced whole: after a power cut either the old or the new one exists.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{self, AtFlags};
use rustix::io::retry_on_intr;

use crate::files::names::{clear, fresh};
use crate::files::rights::Rights;
use crate::files::walk::identity;

/// Reserved room for one more record file, so that a disk that fills up later cannot prevent the
/// record. Clones share the room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Spare(Arc<Mutex<Option<File>>>);

impl Spare {
    /// Reserves the room, as a file of this name.
    pub(crate) fn take(&self, dir: &File, temp: &Path) -> io::Result<()> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.as_ref().is_some_and(|file| stands_at(file, dir, temp)) {
            return Ok(());
        }
        *kept = None;
        let file = fresh(dir, temp)?;
        let filled = file.write_all_at(&[0; BLOCK], 0).and_then(|()| file.sync_all());
        if filled.is_err() {
            let _ = clear(dir, temp);
        }
        filled?;
        *kept = Some(file);
        Ok(())
    }

    /// Returns the reserved room, or a new file of this name, for this many bytes. Its content is
    /// meaningless.
    pub(crate) fn open(&self, dir: &File, temp: &Path, length: usize) -> io::Result<File> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match kept.filter(|file| length <= BLOCK && stands_at(file, dir, temp)) {
            Some(file) => Ok(file),
            None => fresh(dir, temp),
        }
    }
}

/// A block of every common file system, and longer than any record.
const BLOCK: usize = 4096;

fn stands_at(file: &File, dir: &File, name: &Path) -> bool {
    let there = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    let ours = fs::fstat(file);
    there.is_ok_and(|there| ours.is_ok_and(|ours| identity(&there) == identity(&ours)))
}

/// Replaces the file's content with these bytes.
pub(crate) fn fill(file: &File, bytes: &[u8]) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    file.set_len(bytes.len() as u64)
}

/// Writes `temp` and renames it to `name`, each step durable before the next.
pub(crate) fn put(
    file: &File,
    dir: &File,
    name: &Path,
    temp: &Path,
    bytes: &[u8],
    rights: Rights,
) -> io::Result<()> {
    let mut written = Written::new(file, dir, temp, bytes, rights)?;
    written.rename(name)?;
    written.sync()
}

/// A complete, durable file under a temporary name. Only its own name is missing. If it is dropped
/// before it gets that name, it is removed.
#[derive(Debug)]
pub(crate) struct Written<D: AsFd> {
    dir: D,
    temp: PathBuf,
    named: bool,
}

impl<D: AsFd> Written<D> {
    /// Writes it: every step that can fail, except the rename.
    pub(crate) fn new(
        file: &File,
        dir: D,
        temp: &Path,
        bytes: &[u8],
        rights: Rights,
    ) -> io::Result<Self> {
        let written = Self { dir, temp: temp.to_owned(), named: false };
        fill(file, bytes)?;
        rights.give(file)?;
        file.sync_all()?;
        Ok(written)
    }

    /// Gives it this name, which is not durable yet.
    pub(crate) fn rename(&mut self, name: &Path) -> io::Result<()> {
        fs::renameat(&self.dir, &self.temp, &self.dir, name)?;
        self.named = true;
        Ok(())
    }

    /// Makes the name durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(retry_on_intr(|| fs::fsync(&self.dir))?)
    }
}

impl<D: AsFd> Drop for Written<D> {
    fn drop(&mut self) {
        if !self.named {
            let _ = fs::unlinkat(&self.dir, &self.temp, AtFlags::empty());
        }
    }
}
