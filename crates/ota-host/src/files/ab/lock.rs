//! Allows one change of the slots at a time, across processes.
//!
//! The lock is a separate file: every user who may read the folder can open it, and could then lock
//! it for any time.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rustix::fs::{self, Access, AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::files::cause::{LOCK, NoLock, Unshared, Waited};
use crate::files::names::{PRIVATE, clear};
use crate::files::walk::identity;

/// The wait for another process: a change takes a few syncs of the disk.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The polling interval: no event reports that another process has released the lock.
const PAUSE: Duration = Duration::from_millis(20);

const FLAGS: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// The lock of the slots in a folder. There is none if nothing can be changed.
#[derive(Debug)]
pub(super) struct Lock(Option<File>);

#[cfg(test)]
impl Lock {
    pub(super) fn file(&self) -> Option<&File> {
        self.0.as_ref()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread starts now would keep it.
        self.0.as_ref().map(|lock| flock(lock, FlockOperation::Unlock));
    }
}

/// Takes the lock; waits at most this long.
pub(super) fn take(dir: &File, patience: Duration) -> io::Result<Lock> {
    patiently(patience, || try_take(dir)).map(Lock)
}

/// Creates its file, because there may be no room later.
pub(super) fn reserve(dir: &File, patience: Duration) -> io::Result<()> {
    patiently(patience, || open(dir).map(drop))
}

/// Checks whether it could be taken. Creates no file.
pub(super) fn check(dir: &File, patience: Duration) -> io::Result<()> {
    match fs::statat(dir, LOCK, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => take(dir, patience).map(drop),
        Err(Errno::NOENT) => make(dir, false).map(drop),
        Err(why) => Err(why.into()),
    }
}

fn patiently<T>(patience: Duration, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut waited = Duration::ZERO;
    loop {
        let why = match act() {
            Err(why) if may_pass(&why) => why,
            done => return done,
        };
        if waited >= patience {
            return Err(match why.kind() {
                io::ErrorKind::WouldBlock => io::Error::new(why.kind(), Waited(waited)),
                _ => why,
            });
        }
        #[allow(clippy::disallowed_methods, reason = "there is nothing to be awaited")]
        thread::sleep(PAUSE);
        waited = waited.saturating_add(PAUSE);
    }
}

fn try_take(dir: &File) -> io::Result<Option<File>> {
    let Some(lock) = open(dir)? else { return Ok(None) };
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    // A lock file that was removed meanwhile excludes nobody.
    match fs::statat(dir, LOCK, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if identity(&there) == identity(&fs::fstat(&lock)?) => Ok(Some(lock)),
        Ok(_) | Err(Errno::NOENT) => Err(Errno::AGAIN.into()),
        Err(why) => Err(why.into()),
    }
}

/// Another process has it, or is creating it on a system without unnamed files, and has not set its
/// rights yet.
fn may_pass(why: &io::Error) -> bool {
    matches!(Errno::from_io_error(why), Some(Errno::AGAIN | Errno::ACCESS | Errno::INTR))
}

/// Opens the file, or creates it. `None` if we can change nothing in the folder.
fn open(dir: &File) -> io::Result<Option<File>> {
    match fs::openat(dir, LOCK, FLAGS, Mode::empty()) {
        Ok(file) => known(dir, File::from(file)).map(Some),
        Err(Errno::NOENT) => match make(dir, true)? {
            Made::Nothing => Ok(None),
            Made::Lock(file) => Ok(Some(file)),
        },
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Err(foreign()),
        Err(why) if is_closed(dir, why) => Ok(None),
        Err(why) => Err(why.into()),
    }
}

/// Nothing can be changed in the folder.
fn is_closed(dir: &File, why: Errno) -> bool {
    let denied = matches!(why, Errno::ACCESS | Errno::PERM);
    why == Errno::ROFS
        || denied && fs::accessat(dir, ".", Access::WRITE_OK, AtFlags::EACCESS).is_err()
}

enum Made {
    /// Nothing can be changed, or the call only checks whether it can be created.
    Nothing,
    Lock(File),
}

/// Creates it under a temporary name, and renames it once it has its rights: a process that finds
/// an incomplete one might never be able to open it.
fn make(dir: &File, named: bool) -> io::Result<Made> {
    let own = own_name();
    let flags = FLAGS | OFlags::CREATE | OFlags::EXCL;
    // Left by a process of the same number.
    let _ = clear(dir, own.as_ref());
    let file = match fs::openat(dir, own.as_str(), flags, PRIVATE) {
        Ok(file) => File::from(file),
        Err(why) if is_closed(dir, why) => return Ok(Made::Nothing),
        Err(why) => return Err(why.into()),
    };
    let done = dir.metadata().and_then(|folder| {
        give(&file, &folder)?;
        if !named {
            return Ok(());
        }
        match fs::linkat(dir, own.as_str(), dir, LOCK, AtFlags::empty()) {
            // A file system without hard links has no rights either.
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => {
                let made = fs::openat(dir, LOCK, flags, PRIVATE)?;
                give(&File::from(made), &folder)
            }
            done => Ok(done?),
        }
    });
    let _ = clear(dir, own.as_ref());
    match done {
        Ok(()) if !named => Ok(Made::Nothing),
        // Either ours, or that of another process that was faster.
        Ok(()) => again(dir),
        Err(why) if Errno::from_io_error(&why) == Some(Errno::EXIST) => again(dir),
        Err(why) => Err(why),
    }
}

fn again(dir: &File) -> io::Result<Made> {
    match fs::openat(dir, LOCK, FLAGS, Mode::empty()) {
        Ok(file) => known(dir, File::from(file)).map(Made::Lock),
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Err(foreign()),
        // Removed again.
        Err(Errno::NOENT) => Err(Errno::AGAIN.into()),
        Err(why) => Err(why.into()),
    }
}

/// Unique to this process and thread.
fn own_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{LOCK}.{}.{count}", std::process::id())
}

/// Allows only users who may change the slots: the folder's owner, as whom the image's service may
/// run, and users with write access to the folder.
fn known(dir: &File, file: File) -> io::Result<File> {
    let (folder, found) = (dir.metadata()?, file.metadata()?);
    let (want, us) = (mode(&folder), geteuid().as_raw());
    let shared = folder.mode() & 0o022 != 0;
    let known = [0, us, folder.uid()].contains(&found.uid()) || shared;
    if !found.is_file() || !known {
        return Err(foreign());
    }
    // The folder's rights may have changed. A file with content or another name is not our lock.
    // Rights that we cannot set stay unchanged.
    let empty = found.len() == 0 && found.nlink() == 1;
    if empty && [us, folder.uid()].contains(&found.uid()) {
        let _ = give(&file, &folder);
    }
    // A file system without rights (FAT): the mount options decide, and may have made every file
    // executable.
    let closed = found.uid() == us || file.metadata()?.mode() & 0o666 & !want == 0;
    if closed { Ok(file) } else { Err(foreign()) }
}

/// Gives the file to the folder's owner and group, so that all users who may change the slots can
/// take it.
fn give(file: &File, folder: &Metadata) -> io::Result<()> {
    let want = mode(folder);
    let grouped = fchown(file, None, Some(folder.gid())).is_ok();
    let reached = if grouped { want } else { want & !0o070 };
    let _ = file.set_permissions(Permissions::from_mode(reached));
    let _ = fchown(file, Some(folder.uid()), None);
    let (user, group) = (folder.uid(), folder.gid());
    let shared = want & 0o060 == 0 || file.metadata()?.gid() == group;
    // Root needs no right. If others may write too, the owner is one of them.
    let owned = want & 0o066 != 0 || user == 0 || file.metadata()?.uid() == user;
    if shared && owned { Ok(()) } else { Err(io::Error::other(Unshared { user, group })) }
}

/// Read and write access for users with write access to the folder.
fn mode(folder: &Metadata) -> u32 {
    let write = folder.mode() & 0o022 | 0o200;
    write | write << 1
}

fn foreign() -> io::Error {
    io::Error::other(NoLock)
}
