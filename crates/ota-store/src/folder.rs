//! The data folder: private, and used by one process.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::StoreError;

/// Longer than a process id in decimal.
const MAX_ID: u64 = 32;

/// A folder that only this process uses, until the last clone and every open file in it are
/// dropped. The lock also ends with the process.
#[derive(Clone, Debug)]
pub struct DataFolder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    lock: File,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread starts now has a copy of
        // every descriptor until it executes its program, and the lock belongs to the open file.
        let _ = self.lock.unlock();
    }
}

impl DataFolder {
    /// Opens the folder, or creates it with mode 0700, and locks it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if another process has it; or the system's error.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|why| StoreError::io("make", path, &why))?;
        let name = path.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = options.open(&name).map_err(|why| StoreError::io("open", &name, &why))?;
        match lock.try_lock() {
            Ok(()) => {
                // Only information for a second process: the lock does not depend on it.
                let said = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
                said.map_err(|why| StoreError::io("write", &name, &why))?;
                Ok(Self(Arc::new(Inner { path: path.to_owned(), lock })))
            }
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = (&lock).take(MAX_ID).read_to_string(&mut text);
                let holder = read.ok().and_then(|_| text.trim().parse().ok());
                Err(StoreError::Locked { path: path.display().to_string(), holder })
            }
            Err(TryLockError::Error(why)) => Err(StoreError::io("lock", &name, &why)),
        }
    }

    /// Its path, as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The path of the database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        Self::database_in(self.path())
    }

    pub(crate) fn database_in(path: &Path) -> PathBuf {
        path.join("cloud.db")
    }

    /// The default path of the master key.
    #[must_use]
    pub fn master_key(&self) -> PathBuf {
        Self::master_key_in(self.path())
    }

    /// The default path of the master key in a folder that somebody else holds.
    #[must_use]
    pub fn master_key_in(folder: &Path) -> PathBuf {
        folder.join("master.key")
    }

    /// The path of the images.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.path().join("images")
    }
}

/// Renames a synced file, and makes the name durable.
pub(crate) fn publish(temporary: &Path, path: &Path, replace: bool) -> Result<(), StoreError> {
    let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    let renamed = match renameat_with(CWD, temporary, CWD, path, flags) {
        // Some file systems do not support the flag; the folder belongs to this process alone.
        Err(rustix::io::Errno::INVAL) if !path.exists() => fs::rename(temporary, path),
        other => other.map_err(io::Error::from),
    };
    renamed.and_then(|()| sync_parent(path)).map_err(|why| StoreError::io("write", path, &why))
}

/// Makes the names in a file's folder durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_just_being_started_holds_no_lock_of_what_was_dropped() {
        let temp = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(temp.path()).unwrap();
        // The descriptors that a child has between fork and exec.
        let copy = folder.0.lock.try_clone().unwrap();
        let clone = folder.clone();
        drop(folder);
        assert!(matches!(DataFolder::open(temp.path()), Err(StoreError::Locked { .. })));
        drop(clone);
        DataFolder::open(temp.path()).unwrap();
        drop(copy);
    }
}
