//! The data folder: private, locked, and the only place where files are made.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::error::HostError;
use crate::rights::Rights;
use crate::walk::{self, identity};

/// The rights of every file made here: the owner's only.
pub(crate) const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// A folder that this process alone uses, until the last clone and everything opened in it are
/// dropped. The lock also ends with the process, however it ends.
#[derive(Clone, Debug)]
pub struct DataDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    dir: File,
    _lock: File,
}

impl DataDir {
    /// Opens the folder, or makes it with rights 0700, and locks it. Its parent must be there: a
    /// file system that is mounted later would hide what was made in its place.
    ///
    /// # Errors
    /// [`HostError::Locked`] when another agent has it; [`HostError::NotAFile`] when its lock file
    /// is something else; [`HostError::Io`] when the system refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, HostError> {
        let path = path.as_ref();
        let dir = open_or_create(path)?;
        let lock = open_private(&dir, path, "lock", OFlags::CREATE)?;
        match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(HostError::Locked { dir: path.to_owned() }),
            Err(why) => return Err(HostError::io("lock", path, why)),
        }
        Ok(Self(Arc::new(Inner { path: path.to_owned(), dir, _lock: lock })))
    }

    /// Its path, as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes new, renamed and removed names in it durable.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> io::Result<()> {
        self.0.dir.sync_all()
    }

    /// The path of a file in it.
    pub(crate) fn join(&self, name: &'static str) -> PathBuf {
        self.0.path.join(name)
    }

    /// Opens a plain file for reading and writing; `extra` may create it. Follows no link.
    pub(crate) fn open_file(&self, name: &'static str, extra: OFlags) -> Result<File, HostError> {
        open_private(&self.0.dir, &self.0.path, name, extra)
    }

    /// Opens a plain file that may be missing, and creates none. Follows no link.
    pub(crate) fn find_file(
        &self,
        name: &'static str,
        access: OFlags,
    ) -> Result<Option<File>, HostError> {
        match open_plain(&self.0.dir, &self.0.path, name, access) {
            Ok(file) => Ok(Some(file)),
            Err(HostError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    /// Opens the file of this name for reading, which must be this one.
    pub(crate) fn reopen(&self, file: &File, name: &'static str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = File::from(fs::openat(&self.0.dir, name, flags, Mode::empty())?);
        if identity(&fs::fstat(file)?) == identity(&fs::fstat(&opened)?) {
            Ok(opened)
        } else {
            Err(Errno::STALE.into())
        }
    }

    /// What stands there; links are not followed.
    pub(crate) fn stat(&self, name: &'static str) -> io::Result<Option<Stat>> {
        match fs::statat(&self.0.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }

    /// Removes a file, if there is one.
    pub(crate) fn remove(&self, name: &'static str) -> io::Result<()> {
        clear(&self.0.dir, name.as_ref())
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.dir.as_fd()
    }

    /// Reads a small file; `None` when there is none, or it holds no text of at most this length.
    pub(crate) fn read_text(
        &self,
        name: &'static str,
        most: usize,
    ) -> Result<Option<String>, HostError> {
        let Some(file) = self.find_file(name, OFlags::RDWR)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.take(most as u64 + 1)
            .read_to_end(&mut bytes)
            .map_err(|why| HostError::io("read", &self.join(name), why))?;
        Ok(String::from_utf8(bytes).ok().filter(|text| text.len() <= most))
    }

    /// Puts a file of these bytes in place of `name`: a cut leaves the old file or the new one.
    pub(crate) fn replace(
        &self,
        name: &'static str,
        temp: &'static str,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        replace(&self.0.dir, name.as_ref(), temp.as_ref(), bytes, Rights::PRIVATE)
            .map_err(|why| HostError::io("write", &self.join(name), why))
    }
}

/// Writes `temp` and renames it to `name`, each step durable before the next.
pub(crate) fn replace(
    dir: &File,
    name: &Path,
    temp: &Path,
    bytes: &[u8],
    rights: Rights,
) -> io::Result<()> {
    clear(dir, temp)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(fs::openat(dir, temp, flags, PRIVATE)?);
    let write = || -> io::Result<()> {
        file.write_all_at(bytes, 0)?;
        rights.give(&file)?;
        file.sync_all()?;
        fs::renameat(dir, temp, dir, name)?;
        dir.sync_all()
    };
    let done = write();
    if done.is_err() {
        // A half-written file of ours is of no use to anybody; a next try removes it too.
        let _ = fs::unlinkat(dir, temp, AtFlags::empty());
    }
    done
}

/// Removes a file, if there is one.
pub(crate) fn clear(dir: &File, name: &Path) -> io::Result<()> {
    match fs::unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(why) => Err(why.into()),
    }
}

/// Whether somebody removed the file under us: what is written to it is lost.
pub(crate) fn is_unlinked(file: &File) -> io::Result<bool> {
    Ok(fs::fstat(file)?.st_nlink == 0)
}

fn open_private(
    dir: &File,
    path: &Path,
    name: &'static str,
    extra: OFlags,
) -> Result<File, HostError> {
    open_plain(dir, path, name, OFlags::RDWR | extra)
}

fn open_plain(dir: &File, path: &Path, name: &'static str, how: OFlags) -> Result<File, HostError> {
    let path = path.join(name);
    // NONBLOCK: a named pipe in its place must not hold us up. It means nothing for plain files.
    let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | how;
    let file = match fs::openat(dir.as_fd(), name, flags, PRIVATE) {
        Ok(file) => File::from(file),
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => return Err(HostError::NotAFile { path }),
        Err(why) => return Err(HostError::io("open", &path, why)),
    };
    let stat = fs::fstat(&file).map_err(|why| HostError::io("open", &path, why))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(HostError::NotAFile { path });
    }
    // A file that somebody made for us, or copied here, may be open to others.
    if stat.st_mode & 0o077 != 0 {
        match fs::fchmod(&file, PRIVATE) {
            Ok(()) => {}
            // A file system without rights (FAT): whoever mounted it has decided.
            Err(Errno::PERM) if stat.st_uid == geteuid().as_raw() => {}
            Err(why) => return Err(HostError::io("make private", &path, why)),
        }
    }
    Ok(file)
}

/// Opens the folder, or makes it where its parent is there, and makes its name durable.
fn open_or_create(path: &Path) -> Result<File, HostError> {
    match walk::folder(path) {
        Ok(dir) => return Ok(dir),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(HostError::io("open", path, why)),
    }
    let create = || -> io::Result<File> {
        let place = walk::place(path)?;
        match fs::mkdirat(&place.dir, &place.name, Mode::RWXU) {
            // Another agent may have made it meanwhile.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(why) => return Err(why.into()),
        }
        let made = walk::folder_in(&place.dir, &place.name)?;
        walk::sync_names(&place.dir, &made)?;
        Ok(made)
    };
    create().map_err(|why| HostError::io("create", path, why))
}
