//! One change of the slots at a time, whatever the process.
//!
//! The lock is a file of its own: the folder may be opened by everybody who may read it, and who
//! has opened it could lock it for as long as they like.

use std::fmt;
use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{self, Access, AtFlags, FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::dir::PRIVATE;
use crate::walk::identity;

const NAME: &str = "switch.lock";

/// For another process: a change takes a few syncs of the disk.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks: nobody tells when the lock of another process is free.
const PAUSE: Duration = Duration::from_millis(20);

const FLAGS: OFlags =
    OFlags::RDWR.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// The lock of the slots in a folder. Nobody has it where nothing can be changed.
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
        // Closing leaves it to a process that another thread starts this moment.
        self.0.as_ref().map(|lock| flock(lock, FlockOperation::Unlock));
    }
}

/// Takes the lock, and waits for it no longer than this.
pub(super) fn take(dir: &File, patience: Duration) -> io::Result<Lock> {
    let mut waited = Duration::ZERO;
    loop {
        let why = match try_take(dir) {
            Err(why) if may_pass(&why) => why,
            done => return done.map(Lock),
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

/// Makes its file, whose room may be missing later.
pub(super) fn reserve(dir: &File) -> io::Result<()> {
    open(dir).map(drop)
}

fn try_take(dir: &File) -> io::Result<Option<File>> {
    let Some(lock) = open(dir)? else { return Ok(None) };
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    // A lock that somebody removed meanwhile excludes nobody.
    match fs::statat(dir, NAME, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(there) if identity(&there) == identity(&fs::fstat(&lock)?) => Ok(Some(lock)),
        Ok(_) | Err(Errno::NOENT) => Err(Errno::AGAIN.into()),
        Err(why) => Err(why.into()),
    }
}

/// Another process has it, or is just making it and has not given it its rights yet.
fn may_pass(why: &io::Error) -> bool {
    matches!(Errno::from_io_error(why), Some(Errno::AGAIN | Errno::ACCESS | Errno::INTR))
}

/// Opens the file, or makes it. `None` where we can change nothing in the folder.
fn open(dir: &File) -> io::Result<Option<File>> {
    let make = FLAGS | OFlags::CREATE | OFlags::EXCL;
    let found = fs::openat(dir, NAME, FLAGS, Mode::empty()).or_else(|why| match why {
        Errno::NOENT => match fs::openat(dir, NAME, make, PRIVATE) {
            // Made by another process since we looked.
            Err(Errno::EXIST) => fs::openat(dir, NAME, FLAGS, Mode::empty()),
            made => made,
        },
        why => Err(why),
    });
    match found {
        Ok(file) => check(dir, File::from(file)).map(Some),
        Err(Errno::LOOP | Errno::ISDIR | Errno::NXIO) => Err(foreign()),
        Err(Errno::ROFS) => Ok(None),
        Err(Errno::ACCESS | Errno::PERM)
            if fs::accessat(dir, ".", Access::WRITE_OK, AtFlags::EACCESS).is_err() =>
        {
            Ok(None)
        }
        Err(why) => Err(why.into()),
    }
}

/// Lets only those take it who may change the slots, and so could do worse: the folder's owner,
/// as whom the image's service may run, and whoever else may write there.
fn check(dir: &File, file: File) -> io::Result<File> {
    let (folder, found) = (dir.metadata()?, file.metadata()?);
    let (want, us) = (mode(&folder), geteuid().as_raw());
    let shared = folder.mode() & 0o022 != 0;
    let known = [0, us, folder.uid()].contains(&found.uid()) || shared;
    if !found.is_file() || !known {
        return Err(foreign());
    }
    // One that we have just made, or were about to when the power was cut. A file that has
    // anything in it, or another name, is no lock of ours.
    let empty = found.len() == 0 && found.nlink() == 1;
    if empty && [us, folder.uid()].contains(&found.uid()) {
        give(&file, &folder, want);
    }
    // A file system without rights (FAT): whoever mounted it has decided.
    let closed = found.uid() == us || file.metadata()?.mode() & 0o777 & !want == 0;
    if closed { Ok(file) } else { Err(foreign()) }
}

/// Gives the file to the folder's owner and group. What may not be given is kept: then nobody
/// else can take the lock, which they are told.
fn give(file: &File, folder: &Metadata, want: u32) {
    let grouped = fchown(file, None, Some(folder.gid())).is_ok();
    let want = if grouped { want } else { want & !0o070 };
    let _ = file.set_permissions(Permissions::from_mode(want));
    let _ = fchown(file, Some(folder.uid()), None);
}

/// Reading and writing for those who may write in the folder.
fn mode(folder: &Metadata) -> u32 {
    let write = folder.mode() & 0o022 | 0o200;
    write | write << 1
}

/// Another process holds the lock. It travels in an [`io::Error`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited(pub(crate) Duration);

impl fmt::Display for Waited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "waited {:?} for another process", self.0)
    }
}

impl std::error::Error for Waited {}

/// What stands in the lock's place could be held by anybody. It travels in an [`io::Error`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoLock;

impl fmt::Display for NoLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something else stands in the place of the lock")
    }
}

impl std::error::Error for NoLock {}

fn foreign() -> io::Error {
    io::Error::other(NoLock)
}

/// Its path, in the folder of this one.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join(NAME)
}
