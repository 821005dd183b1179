//! The data folder: private, and of one process.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::error::StoreError;

/// Bytes of a process's id in decimal, and more.
const MAX_ID: u64 = 32;

/// A folder that this process alone uses, until the last clone of this and all that was opened
/// in it are dropped. The lock ends with the process, however it ends.
#[derive(Clone, Debug)]
pub struct DataFolder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    lock: File,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread starts this moment has a copy of
        // every file until it runs its program, and the lock is the file's.
        let _ = self.lock.unlock();
    }
}

impl DataFolder {
    /// Opens the folder, or makes it with rights 0700, and locks it.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it; what the system refuses.
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
                // Only for whoever comes second: the lock does not rest on it.
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

    /// Where the database is.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        Self::database_in(self.path())
    }

    pub(crate) fn database_in(path: &Path) -> PathBuf {
        path.join("cloud.db")
    }

    /// Where the master key is, unless it is kept elsewhere.
    #[must_use]
    pub fn master_key(&self) -> PathBuf {
        self.path().join("master.key")
    }

    /// Where the images are.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.path().join("images")
    }
}

/// Gives a synced file its name, and makes the name durable.
pub(crate) fn publish(temporary: &Path, path: &Path, replace: bool) -> Result<(), StoreError> {
    let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
    let renamed = match renameat_with(CWD, temporary, CWD, path, flags) {
        // Some file systems do not know the flag; the folder is ours alone.
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
        // What a child has between its fork and its program.
        let copy = folder.0.lock.try_clone().unwrap();
        let clone = folder.clone();
        drop(folder);
        assert!(matches!(DataFolder::open(temp.path()), Err(StoreError::Locked { .. })));
        drop(clone);
        DataFolder::open(temp.path()).unwrap();
        drop(copy);
    }
}
