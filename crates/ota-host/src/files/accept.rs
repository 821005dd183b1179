//! Makes the verified image and its version the accepted ones together.
//!
//! Two names in two folders must change, which no system does in one step. Therefore a note first
//! records the new version, the version file and the old version. The accepted image keeps a second
//! name until the version file names the new version durably. After a power cut, [`settle`]
//! restores a consistent state: the version file names the running version, and the image has that
//! version. Files that another process has put in either place stay unchanged.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ota_proto::Version;
use rustix::fs::{self, AtFlags, FileType, Stat};
use rustix::io::Errno;

use crate::files::dir::DataDir;
use crate::files::error::HostError;
use crate::files::version_file::{VersionFile, VersionRoom};
use crate::files::walk::identity;

/// The image that was verified, or accepted.
pub(crate) const IMAGE: &str = "slot.img";
/// The verified image while an accepted one keeps its name.
pub(crate) const NEW: &str = "slot.new";
/// The second name of the accepted image until the next one's version is written.
const OLD: &str = "slot.old";
/// The note: the version that is about to be accepted.
const NOTE: &str = "switch";
const NOTE_NEW: &str = "switch.new";

/// The longest note.
const MOST: usize = 256;

/// The last verified image, and its place. Clones refer to the same image.
#[derive(Clone, Debug)]
pub struct Image {
    dir: DataDir,
    shared: Arc<Mutex<VerifiedName>>,
    /// The size of the previous image when it was removed; 0 once that was reported.
    removed: Arc<AtomicU64>,
}

/// The name of the verified image.
#[derive(Clone, Copy, Debug)]
struct VerifiedName {
    name: &'static str,
    /// The identity of its file; `None` while no image is verified.
    file: Option<(u64, u64)>,
}

impl Image {
    /// Makes one without an image, for this name.
    pub(crate) fn new(dir: &DataDir, name: &'static str) -> Self {
        let shared = Arc::new(Mutex::new(VerifiedName { name, file: None }));
        Self { dir: dir.clone(), shared, removed: Arc::default() }
    }

    /// The path for an installer: one of two fixed names, independent of the cloud.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(self.lock().name)
    }

    /// Checks that the path still refers to the verified file. Call it before a program uses the
    /// path.
    ///
    /// # Errors
    /// [`HostError::Replaced`]; [`HostError::Io`].
    pub fn check(&self) -> Result<(), HostError> {
        let VerifiedName { name, file } = *self.lock();
        let path = self.dir.join(name);
        let found = self.dir.stat(name).map_err(|why| HostError::io("look at", &path, why))?;
        if file.is_some() && found.map(|stat| identity(&stat)) == file {
            Ok(())
        } else {
            Err(HostError::Replaced { path })
        }
    }

    /// Returns the size in bytes of the accepted image if it was removed since the last call,
    /// because the next one needed its room. Tell the user: something may rely on that image.
    #[must_use]
    pub fn take_removed(&self) -> Option<u64> {
        Some(self.removed.swap(0, Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    pub(crate) fn note_removed(&self, bytes: u64) {
        self.removed.store(bytes, Ordering::Relaxed);
    }

    /// Records this file as the verified image, under this name.
    pub(crate) fn is_now(&self, name: &'static str, file: Option<(u64, u64)>) {
        *self.lock() = VerifiedName { name, file };
    }

    /// Reserves the room for [`Image::accept`]. First it completes an interrupted earlier call;
    /// `file` names the running version.
    ///
    /// # Errors
    /// Those of [`VersionFile::reserve`].
    pub fn reserve(&self, file: &VersionFile, room: &VersionRoom) -> Result<(), HostError> {
        self.end(file)?;
        let note = self.dir.reserve(&room.note, NOTE_NEW);
        note.map_err(|why| HostError::io("make room for", &self.dir.join(NOTE), why))?;
        file.reserve(room)
    }

    /// Makes it the accepted image, `slot.img`, and writes its version to this file; both are
    /// durable once this returns `Ok`. It may be called again.
    ///
    /// Everything that can fail is done before the names change. If a rename fails, the previously
    /// accepted image is restored, and the verified image waits under its own name. On a file
    /// system without hard links it stays `slot.img`, and another call continues with the version.
    /// Only if the last step fails, which makes the version's name durable, both are in place for
    /// now; the next start calls [`settle`], which finds the result.
    ///
    /// # Errors
    /// Those of [`Image::check`], [`VersionFile::write`] and [`settle`].
    pub fn accept(
        &self,
        file: &VersionFile,
        room: &VersionRoom,
        version: &Version,
    ) -> Result<(), HostError> {
        // An earlier call may have completed all steps but the last.
        let is_named = || file.read().ok() == Some(*version);
        if !is_named() {
            self.end(file)?;
        }
        let mut next = file.prepare(room, version)?;
        self.check()?;
        let taken = self.take_place(file, room, version);
        if let Err(why) = taken.and_then(|()| next.rename()) {
            if !is_named() {
                // If that fails, the next attempt, download or start does it.
                let _ = self.end(file);
            }
            return Err(why);
        }
        next.sync()?;
        // A leftover of the old image only takes room, and the next start removes it.
        let _ = forget(&self.dir);
        Ok(())
    }

    /// Whether it is `slot.img`.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        self.lock().name == IMAGE && self.check().is_ok()
    }

    fn take_place(
        &self,
        file: &VersionFile,
        room: &VersionRoom,
        version: &Version,
    ) -> Result<(), HostError> {
        let (mut found, dir) = (self.lock(), &self.dir);
        let explain = |why| explain(dir, why);
        if found.name != IMAGE {
            let had = self.clear_the_way().map_err(explain)?;
            let (_, inode) = found.file.unwrap_or_default();
            let pending = Pending { version: *version, before: file.find()?, inode, had };
            dir.replace_in(&room.note, NOTE, NOTE_NEW, pending.to_string().as_bytes())?;
            if had {
                keep(dir, IMAGE, OLD).and_then(|()| dir.sync()).map_err(explain)?;
            }
            let moved = fs::renameat(dir.as_fd(), found.name, dir.as_fd(), IMAGE);
            moved.map_err(|why| explain(why.into()))?;
            found.name = IMAGE;
        }
        // Also if it was renamed before, because the rename may not be durable.
        dir.sync().map_err(explain)
    }

    /// Whether there is an accepted image, and the next one's name may be taken without removing
    /// foreign files.
    fn clear_the_way(&self) -> io::Result<bool> {
        let old = self.dir.stat(IMAGE)?;
        if old.as_ref().is_some_and(|old| !is_replaceable(old)) {
            // A folder there belongs to somebody else.
            return Err(Errno::ISDIR.into());
        }
        remove_old(&self.dir)?;
        Ok(old.is_some())
    }

    /// Completes an interrupted earlier call, with the version that is running.
    fn end(&self, file: &VersionFile) -> Result<(), HostError> {
        end(&self.dir, file, false)?;
        let mut found = self.lock();
        let new = self.dir.stat(NEW).ok().flatten();
        if new.is_some_and(|new| Some(identity(&new)) == found.file) {
            found.name = NEW;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, VerifiedName> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Call this at each start, before the version file is read and the slot is opened. After an
/// interrupted [`Image::accept`], it makes `slot.img` the image of the version in the file, and
/// makes that file's name durable.
///
/// A switch that was cut between its two renames is completed, because another program may have
/// read the new image. If that fails, the previous image is accepted again, and the new one waits.
///
/// # Errors
/// [`HostError::Io`], and those of [`VersionFile::read`], except a file without a version. The
/// accepted image is then unknown, and nothing that may be needed for it is removed. It may be
/// called again.
pub fn settle(dir: &DataDir, file: &VersionFile) -> Result<(), HostError> {
    end(dir, file, true)
}

fn end(dir: &DataDir, file: &VersionFile, forward: bool) -> Result<(), HostError> {
    let explain = |why| explain(dir, why);
    if dir.stat(NOTE).map_err(explain)?.is_none() {
        return Ok(());
    }
    // An invalid note says nothing about the image.
    let Some(pending) = pending(dir)? else { return forget(dir).map_err(explain) };
    let now = file.find()?;
    if now == Some(pending.version) {
        // The name may exist only in memory, and a power cut could restore the old one.
        file.sync()?;
    } else if now == pending.before && pending.is_in_place(dir).map_err(explain)? {
        if forward && file.rename_next(&pending.version) {
            file.sync()?;
        } else {
            undo(dir, &pending).map_err(explain)?;
        }
    }
    // Otherwise it did not get that far, or another process has replaced the version or the image.
    forget(dir).map_err(explain)
}

fn explain(dir: &DataDir, why: io::Error) -> HostError {
    HostError::io("accept", &dir.join(IMAGE), why)
}

/// Removes what [`Image::accept`] could not remove at its end. If images are not `accepted` that
/// way, also removes what it left unfinished.
pub(crate) fn sweep(dir: &DataDir, accepted: bool) -> io::Result<()> {
    match dir.stat(NOTE)? {
        Some(_) if accepted => Ok(()),
        Some(_) => forget(dir),
        None => remove_old(dir),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    version: Version,
    /// The previous version in the file.
    before: Option<Version>,
    /// The new image's file.
    inode: u64,
    /// There was an accepted image.
    had: bool,
}

impl Pending {
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let version = Version::new(words.next()?).ok()?;
        let inode = words.next()?.parse().ok()?;
        let had = match words.next()? {
            "next" => true,
            "first" => false,
            _ => return None,
        };
        let before = words.next().map(Version::new).transpose().ok()?;
        words.next().is_none().then_some(Self { version, before, inode, had })
    }

    /// Whether the new image has its name.
    fn is_in_place(&self, dir: &DataDir) -> io::Result<bool> {
        Ok(dir.stat(IMAGE)?.is_some_and(|image| identity(&image).1 == self.inode))
    }
}

impl fmt::Display for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { version, before, inode, had } = self;
        write!(f, "{version} {inode} {}", if *had { "next" } else { "first" })?;
        before.map_or(Ok(()), |before| write!(f, " {before}"))?;
        f.write_str("\n")
    }
}

fn pending(dir: &DataDir) -> Result<Option<Pending>, HostError> {
    Ok(dir.read_text(NOTE, MOST)?.as_deref().and_then(Pending::parse))
}

/// Restores the previous image. The new one waits under another name, so that another attempt needs
/// no download. A power cut is harmless, and it may be repeated.
fn undo(dir: &DataDir, pending: &Pending) -> io::Result<()> {
    let rename = |from, to| fs::renameat(dir.as_fd(), from, dir.as_fd(), to);
    if !pending.had {
        rename(IMAGE, NEW)?;
    } else if dir.stat(OLD)?.is_some() {
        if dir.stat(NEW)?.is_none() {
            keep(dir, IMAGE, NEW)?;
            dir.sync()?;
        }
        rename(OLD, IMAGE)?;
    }
    dir.sync()
}

/// Ends the switch.
fn forget(dir: &DataDir) -> io::Result<()> {
    remove_old(dir)?;
    dir.remove(NOTE)?;
    dir.sync()
}

/// Removes the previous image, unless it is the only one.
fn remove_old(dir: &DataDir) -> io::Result<()> {
    if dir.stat(IMAGE)?.is_some() { dir.remove(OLD) } else { Ok(()) }
}

/// Whether a new image may take this name: a folder there belongs to somebody else.
pub(crate) fn is_replaceable(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) != FileType::Directory
}

/// Gives a file a second name, if the file system has hard links.
fn keep(dir: &DataDir, from: &str, to: &str) -> io::Result<()> {
    match fs::linkat(dir.as_fd(), from, dir.as_fd(), to, AtFlags::empty()) {
        // The existing name must always refer to a file, which a rename would not guarantee.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
mod tests;
