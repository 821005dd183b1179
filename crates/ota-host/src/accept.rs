//! The verified image, and how it and its version come to be the accepted ones together.
//!
//! Two names change, in two folders, and no system changes both in one step. So a note says first
//! which version is coming, in which file and after which other one; the accepted image keeps a
//! second name until the version file names the new one for good; and [`settle`] makes one truth of
//! whatever a cut left: what the version file says runs, and the image is that version's. What
//! somebody else has put in either place meanwhile is left alone.

use std::fmt;
use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ota_proto::Version;
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;

use crate::dir::DataDir;
use crate::error::HostError;
use crate::slot::{IMAGE, NEW, is_replaceable};
use crate::version_file::{VersionFile, VersionRoom};
use crate::walk::identity;

/// The accepted image until the next one's version is written.
const OLD: &str = "slot.old";
/// What is about to be accepted.
const NOTE: &str = "switch";
const NOTE_NEW: &str = "switch.new";

/// No note is longer.
const MOST: usize = 256;

/// The image that was verified last, and its place. Clones are of the same image.
#[derive(Clone, Debug)]
pub struct Image {
    dir: DataDir,
    shared: Arc<Mutex<Found>>,
    /// Bytes that the image before had when it was removed; 0 while nobody is to be told.
    removed: Arc<AtomicU64>,
}

/// Where the verified image is.
#[derive(Clone, Copy, Debug)]
struct Found {
    name: &'static str,
    /// Which file it is; none while none is verified.
    file: Option<(u64, u64)>,
}

impl Image {
    /// None yet; it will have this name.
    pub(crate) fn new(dir: &DataDir, name: &'static str) -> Self {
        let shared = Arc::new(Mutex::new(Found { name, file: None }));
        Self { dir: dir.clone(), shared, removed: Arc::default() }
    }

    /// Where an installer finds it. One of two fixed names, whatever the cloud says.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join(self.lock().name)
    }

    /// Whether the file that was verified still stands in its place, and no other. To be asked
    /// before anything is told to use it.
    ///
    /// # Errors
    /// [`HostError::Replaced`]; [`HostError::Io`].
    pub fn check(&self) -> Result<(), HostError> {
        let Found { name, file } = *self.lock();
        let path = self.dir.join(name);
        let found = self.dir.stat(name).map_err(|why| HostError::io("look at", &path, why))?;
        if file.is_some() && found.map(|stat| identity(&stat)) == file {
            Ok(())
        } else {
            Err(HostError::Replaced { path })
        }
    }

    /// The size in bytes of the accepted image, if it was removed since the last call because the
    /// next one needed its room. Tell the user: something may rely on that image.
    #[must_use]
    pub fn take_removed(&self) -> Option<u64> {
        Some(self.removed.swap(0, Ordering::Relaxed)).filter(|bytes| *bytes > 0)
    }

    pub(crate) fn note_removed(&self, bytes: u64) {
        self.removed.store(bytes, Ordering::Relaxed);
    }

    /// The verified image is this file, of this name.
    pub(crate) fn is_now(&self, name: &'static str, file: Option<(u64, u64)>) {
        *self.lock() = Found { name, file };
    }

    /// Takes the room for [`Image::accept`], and first of all ends what an earlier one has left
    /// undone: `file` names the version that runs.
    ///
    /// # Errors
    /// As [`VersionFile::reserve`].
    pub fn reserve(&self, file: &VersionFile, room: &VersionRoom) -> Result<(), HostError> {
        self.end(file)?;
        let note = self.dir.reserve(&room.note, NOTE_NEW);
        note.map_err(|why| HostError::io("make room for", &self.dir.join(NOTE), why))?;
        file.reserve(room)
    }

    /// Makes it the accepted image, `slot.img`, and writes its version to this file: durably, when
    /// this returns `Ok`. It may be called again.
    ///
    /// All that can fail is done first, so that only names are left to change. When one of these
    /// cannot be, what was accepted before is so again, and the verified image waits under its
    /// name; on a file system without hard links it stays `slot.img`, and another call goes on with
    /// the version. Only when the last step fails, which makes the version's name lasting, both are
    /// in place for now: the next start, which calls [`settle`], finds what has come of it.
    ///
    /// # Errors
    /// As [`Image::check`], [`VersionFile::write`] and [`settle`].
    pub fn accept(
        &self,
        file: &VersionFile,
        room: &VersionRoom,
        version: &Version,
    ) -> Result<(), HostError> {
        // An earlier try may have come further than this one: only its last step is left then.
        let is_named = || file.read().ok() == Some(*version);
        if !is_named() {
            self.end(file)?;
        }
        let mut next = file.prepare(room, version)?;
        self.check()?;
        let taken = self.take_place(file, room, version);
        if let Err(why) = taken.and_then(|()| next.rename()) {
            if !is_named() {
                // Where that fails, too, the next try, download or start does it.
                let _ = self.end(file);
            }
            return Err(why);
        }
        next.sync()?;
        // What is left of the old one takes room, and no more: the next start looks after it.
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
        // Also when it was renamed before: that may not be lasting.
        dir.sync().map_err(explain)
    }

    /// Whether there is an accepted image, and only what is ours goes when the next one takes its
    /// name.
    fn clear_the_way(&self) -> io::Result<bool> {
        let old = self.dir.stat(IMAGE)?;
        if old.as_ref().is_some_and(|old| !is_replaceable(old)) {
            // A folder there is somebody's.
            return Err(Errno::ISDIR.into());
        }
        remove_old(&self.dir)?;
        Ok(old.is_some())
    }

    /// Ends what an earlier call has left undone, with the version that runs in this life.
    fn end(&self, file: &VersionFile) -> Result<(), HostError> {
        end(&self.dir, file, false)?;
        let mut found = self.lock();
        let new = self.dir.stat(NEW).ok().flatten();
        if new.is_some_and(|new| Some(identity(&new)) == found.file) {
            found.name = NEW;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Found> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To be called at each start, before the version file is read and the slot is opened: when
/// [`Image::accept`] was cut, `slot.img` becomes the image of the version that the file names, and
/// that version's name lasting.
///
/// A switch that was cut between its two names goes forward, for something may have read the new
/// image since; where that cannot be, the image before is the accepted one again, and the new one
/// waits.
///
/// # Errors
/// [`HostError::Io`], and those of [`VersionFile::read`] but for a file without a version: it is not
/// known yet which image is accepted, and nothing that may be needed for it is removed. It may be
/// called again.
pub fn settle(dir: &DataDir, file: &VersionFile) -> Result<(), HostError> {
    end(dir, file, true)
}

fn end(dir: &DataDir, file: &VersionFile, forward: bool) -> Result<(), HostError> {
    let explain = |why| explain(dir, why);
    if dir.stat(NOTE).map_err(explain)?.is_none() {
        return Ok(());
    }
    // What is no note says nothing of the image.
    let Some(pending) = pending(dir)? else { return forget(dir).map_err(explain) };
    let now = file.find()?;
    if now == Some(pending.version) {
        // It may be named in memory alone, and a power cut brings the one before back.
        file.sync()?;
    } else if now == pending.before && pending.is_in_place(dir).map_err(explain)? {
        if forward && file.rename_next(&pending.version) {
            file.sync()?;
        } else {
            undo(dir, &pending).map_err(explain)?;
        }
    }
    // Else it has not come so far, or somebody has put another version or image there since.
    forget(dir).map_err(explain)
}

fn explain(dir: &DataDir, why: io::Error) -> HostError {
    HostError::io("accept", &dir.join(IMAGE), why)
}

/// Removes what the end of [`Image::accept`] could not; where images are not `accepted` that way,
/// also what it has left undone.
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
    /// What the version file named.
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

/// The image before is the accepted one again; the new one, which is in its place, waits, so that
/// another try needs no download. May be cut anywhere, and done again.
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

/// Nothing is under way any more.
fn forget(dir: &DataDir) -> io::Result<()> {
    remove_old(dir)?;
    dir.remove(NOTE)?;
    dir.sync()
}

/// Removes the image before, unless it is the only one.
fn remove_old(dir: &DataDir) -> io::Result<()> {
    if dir.stat(IMAGE)?.is_some() { dir.remove(OLD) } else { Ok(()) }
}

/// Gives a file a second name, where files can have one.
fn keep(dir: &DataDir, from: &str, to: &str) -> io::Result<()> {
    match fs::linkat(dir.as_fd(), from, dir.as_fd(), to, AtFlags::empty()) {
        // The name that it has must not be without a file for a moment, as by a rename it would.
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;
