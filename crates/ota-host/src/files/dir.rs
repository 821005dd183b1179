//! The data folder: private, locked, and the only place where files are created.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::files::error::HostError;
use crate::files::names::{PRIVATE, clear};
use crate::files::rights::Rights;
use crate::files::walk::{self, identity};
use crate::files::whole::{Spare, put};

/// A folder that only this process uses, until the last clone and every open file in it are
/// dropped. The lock also ends with the process.
#[derive(Clone, Debug)]
pub struct DataDir(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    dir: File,
    lock: File,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread starts now has a copy of
        // every descriptor until it executes its program, and the lock belongs to the open file.
        let _ = fs::flock(&self.lock, FlockOperation::Unlock);
    }
}

/// The folder's descriptor, independent of its name: for files that code outside this crate creates
/// in it.
impl AsFd for DataDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.dir.as_fd()
    }
}

impl DataDir {
    /// Opens the folder, or creates it with mode 0700, and locks it. Its parent must exist: a file
    /// system that is mounted later would hide a folder created in its place.
    ///
    /// # Errors
    /// [`HostError::Locked`] if another agent has it; [`HostError::NotAFile`] if its lock file is
    /// not a plain file; [`HostError::Io`] if the system refuses.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, HostError> {
        let path = path.as_ref();
        let dir = open_or_create(path)?;
        let lock = open_private(&dir, path, "lock", OFlags::CREATE)?;
        match fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(HostError::Locked { dir: path.to_owned() }),
            Err(why) => return Err(HostError::io("lock", path, why)),
        }
        Ok(Self(Arc::new(Inner { path: path.to_owned(), dir, lock })))
    }

    /// Its path, as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Makes created, renamed and removed names in it durable.
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

    /// Opens a plain file for reading and writing; `extra` may create it. Does not follow links.
    pub(crate) fn open_file(&self, name: &'static str, extra: OFlags) -> Result<File, HostError> {
        open_private(&self.0.dir, &self.0.path, name, extra)
    }

    /// Opens a plain file if it exists. Does not follow links.
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

    /// Opens the file of this name for reading; it must be this very file.
    pub(crate) fn reopen(&self, file: &File, name: &'static str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let opened = File::from(fs::openat(&self.0.dir, name, flags, Mode::empty())?);
        if identity(&fs::fstat(file)?) == identity(&fs::fstat(&opened)?) {
            Ok(opened)
        } else {
            Err(Errno::STALE.into())
        }
    }

    /// Returns the type of the entry, without following links.
    pub(crate) fn stat(&self, name: &'static str) -> io::Result<Option<Stat>> {
        match fs::statat(&self.0.dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(why) => Err(why.into()),
        }
    }

    /// Removes a file if it exists.
    pub(crate) fn remove(&self, name: &'static str) -> io::Result<()> {
        clear(&self.0.dir, name.as_ref())
    }

    /// Reads a small file; `None` if it does not exist, or is not a text of at most this length.
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

    /// Replaces `name` with a file of these bytes: after a power cut either the old or the new file
    /// exists.
    pub(crate) fn replace(
        &self,
        name: &'static str,
        temp: &'static str,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        self.replace_in(&Spare::default(), name, temp, bytes)
    }

    /// The same, in room that was reserved before.
    pub(crate) fn replace_in(
        &self,
        spare: &Spare,
        name: &'static str,
        temp: &'static str,
        bytes: &[u8],
    ) -> Result<(), HostError> {
        let (dir, temp) = (&self.0.dir, temp.as_ref());
        let file = spare.open(dir, temp, bytes.len());
        file.and_then(|file| put(&file, dir, name.as_ref(), temp, bytes, Rights::PRIVATE))
            .map_err(|why| HostError::io("write", &self.join(name), why))
    }

    /// Reserves the room for [`DataDir::replace_in`].
    pub(crate) fn reserve(&self, spare: &Spare, temp: &'static str) -> io::Result<()> {
        spare.take(&self.0.dir, temp.as_ref())
    }
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
    // NONBLOCK: a named pipe in its place must not block. It has no effect on plain files.
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
    // A file that another user created or copied here may be open to others.
    if stat.st_mode & 0o077 != 0 {
        match fs::fchmod(&file, PRIVATE) {
            Ok(()) => {}
            // A file system without rights (FAT): the mount options decide.
            Err(Errno::PERM) if stat.st_uid == geteuid().as_raw() => {}
            Err(why) => return Err(HostError::io("make private", &path, why)),
        }
    }
    Ok(file)
}

/// Opens the folder, or creates it if its parent exists, and makes its name durable.
fn open_or_create(path: &Path) -> Result<File, HostError> {
    match walk::folder(path) {
        Ok(dir) => return Ok(dir),
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        Err(why) => return Err(HostError::io("open", path, why)),
    }
    let create = || -> io::Result<File> {
        let place = walk::place(path)?;
        match fs::mkdirat(&place.dir, &place.name, Mode::RWXU) {
            // Another agent may have created it meanwhile.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(why) => return Err(why.into()),
        }
        let made = walk::folder_in(&place.dir, &place.name)?;
        walk::sync_names(&place.dir, &made)?;
        Ok(made)
    };
    create().map_err(|why| HostError::io("create", path, why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::files::names::create;
    use crate::files::whole::fill;

    fn data() -> (tempfile::TempDir, DataDir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path().join("data")).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_process_that_is_just_being_started_holds_no_lock_of_what_was_dropped() {
        let (_temp, dir) = data();
        let path = dir.path().to_owned();
        // The descriptors that a child has between fork and exec.
        let copy = dir.0.lock.try_clone().unwrap();
        let clone = dir.clone();
        drop(dir);
        assert!(matches!(DataDir::open(&path), Err(HostError::Locked { .. })));
        drop(clone);
        DataDir::open(&path).unwrap();
        drop(copy);
    }

    #[test]
    fn a_text_of_the_most_is_read_and_one_that_is_longer_is_none() {
        let (_temp, dir) = data();
        assert_eq!(dir.read_text("note", 5).unwrap(), None);
        for (text, want) in
            [("", Some("")), ("four", Some("four")), ("fiver", Some("fiver")), ("sixsix", None)]
        {
            dir.replace("note", "note.new", text.as_bytes()).unwrap();
            assert_eq!(dir.read_text("note", 5).unwrap().as_deref(), want);
        }
    }

    #[test]
    fn only_a_file_that_others_may_use_is_made_private() {
        let (_temp, dir) = data();
        let path = dir.join("file");
        for (mode, want) in [(0o644, 0o600), (0o601, 0o600), (0o660, 0o600), (0o1600, 0o1600)] {
            std::fs::write(&path, "x").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            dir.open_file("file", OFlags::empty()).unwrap();
            let found = std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(found, want, "{mode:o}");
        }
    }

    #[test]
    fn a_new_file_is_put_where_nothing_stands_and_is_handed_to_no_program() {
        let (_temp, dir) = data();
        let folder = &dir.0.dir;
        let made = create(folder, "new".as_ref()).unwrap();
        let flags = rustix::io::fcntl_getfd(&made).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC), "{flags:?}");
        fill(&made, b"ours").unwrap();
        std::fs::write(dir.join("victim"), "precious").unwrap();
        std::os::unix::fs::symlink("victim", dir.join("link")).unwrap();
        std::os::unix::fs::symlink("nothing", dir.join("loose")).unwrap();
        for name in ["new", "victim", "link", "loose"] {
            // Another process put it there after the place was cleared.
            let why = create(folder, name.as_ref()).unwrap_err();
            assert_eq!(why.kind(), io::ErrorKind::AlreadyExists, "{name}");
        }
        assert_eq!(std::fs::read(dir.join("new")).unwrap(), b"ours");
        assert!(!dir.join("nothing").exists());
    }

    #[test]
    fn room_that_was_taken_is_used_and_so_is_none_that_somebody_replaced() {
        let (_temp, dir) = data();
        let spare = Spare::default();
        let inode = |name: &'static str| dir.stat(name).unwrap().map(|stat| stat.st_ino);
        for text in ["first", "second, which is longer", "3"] {
            dir.reserve(&spare, "note.new").unwrap();
            dir.reserve(&spare, "note.new").unwrap();
            let room = inode("note.new");
            assert_eq!(dir.stat("note.new").unwrap().unwrap().st_size, 4096);
            dir.replace_in(&spare, "note", "note.new", text.as_bytes()).unwrap();
            assert_eq!((inode("note"), inode("note.new")), (room, None));
            assert_eq!(dir.read_text("note", 100).unwrap().as_deref(), Some(text));
        }
        dir.reserve(&spare, "note.new").unwrap();
        let victim = dir.join("victim");
        std::fs::write(&victim, "precious").unwrap();
        std::fs::remove_file(dir.join("note.new")).unwrap();
        std::fs::hard_link(&victim, dir.join("note.new")).unwrap();
        dir.replace_in(&spare, "note", "note.new", b"last").unwrap();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
        assert_eq!(dir.read_text("note", 100).unwrap().as_deref(), Some("last"));
    }
}
