//! The verified image, and how it and its version come to be the accepted ones together.
//!
//! Two names change, in two folders, and no system changes both in one step. So a note says first
//! which version is coming, the accepted image keeps a second name until the version file names the
//! new one, and [`settle`] makes one truth of whatever a cut left: what the version file says runs,
//! and the image is that version's.

use std::io;
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ota_proto::Version;
use rustix::fs::{self, AtFlags, Stat};
use rustix::io::Errno;

use crate::dir::DataDir;
use crate::error::HostError;
use crate::slot::{IMAGE, NEW, is_replaceable};
use crate::version_file::{VersionFile, VersionRoom};
use crate::walk::identity;

/// The accepted image until the next one's version is written.
const OLD: &str = "slot.old";
/// Which version's image is about to be accepted.
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
        if pending(&self.dir)?.is_some() {
            settle(&self.dir, &file.read()?)?;
        }
        let note = self.dir.reserve(&room.note, NOTE_NEW);
        note.map_err(|why| HostError::io("make room for", &self.dir.join(NOTE), why))?;
        file.reserve(room)
    }

    /// Makes it the accepted image, `slot.img`, and writes its version to this file: durably, when
    /// this returns `Ok`. It may be called again.
    ///
    /// All that can fail is done first, so that only names are left to change. When one of these
    /// cannot be, what was accepted before is so again, and the verified image waits under its
    /// name. Only when the last step fails, which makes the version's name lasting, both are in
    /// place for now: the next start, which calls [`settle`], finds what has come of it.
    ///
    /// # Errors
    /// As [`Image::check`] and [`VersionFile::write`].
    pub fn accept(
        &self,
        file: &VersionFile,
        room: &VersionRoom,
        version: &Version,
    ) -> Result<(), HostError> {
        let mut next = file.prepare(room, version)?;
        self.check()?;
        let taken = self.take_place(room, version);
        if let Err(why) = taken.and_then(|()| next.rename()) {
            // An earlier try may have come further than this one.
            if file.read().ok() != Some(*version) {
                // Where that fails, too, the next start or the next download does it.
                let _ = self.give_back();
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

    fn take_place(&self, room: &VersionRoom, version: &Version) -> Result<(), HostError> {
        let (mut found, dir) = (self.lock(), &self.dir);
        let explain = |why| explain(dir, why);
        if found.name != IMAGE {
            let had = self.clear_the_way().map_err(explain)?;
            let note = note(version, had);
            dir.replace_in(&room.note, NOTE, NOTE_NEW, note.as_bytes())?;
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
        self.dir.remove(OLD)?;
        Ok(old.is_some())
    }

    fn give_back(&self) -> Result<(), HostError> {
        let Some(pending) = pending(&self.dir)? else { return Ok(()) };
        undo(&self.dir, &pending).map_err(|why| explain(&self.dir, why))?;
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

/// To be called at each start, before the slot is opened: when [`Image::accept`] was cut, `slot.img`
/// becomes the image of the version that runs, the old one's or the new one's. A verified image
/// whose version does not run waits again under its name.
///
/// # Errors
/// [`HostError::Io`]: it is not known yet which image is accepted.
pub fn settle(dir: &DataDir, running: &Version) -> Result<(), HostError> {
    match pending(dir)? {
        Some(pending) if pending.version != running.as_str() => undo(dir, &pending),
        Some(_) => forget(dir),
        None => Ok(()),
    }
    .map_err(|why| explain(dir, why))
}

fn explain(dir: &DataDir, why: io::Error) -> HostError {
    HostError::io("accept", &dir.join(IMAGE), why)
}

/// Removes what the end of [`Image::accept`] could not.
pub(crate) fn sweep(dir: &DataDir) -> io::Result<()> {
    match dir.stat(NOTE)? {
        Some(_) => Ok(()),
        None => dir.remove(OLD),
    }
}

#[derive(Debug)]
struct Pending {
    version: String,
    /// There was an accepted image.
    had: bool,
}

fn note(version: &Version, had: bool) -> String {
    format!("{version} {}\n", if had { "next" } else { "first" })
}

fn pending(dir: &DataDir) -> Result<Option<Pending>, HostError> {
    let text = dir.read_text(NOTE, MOST)?;
    Ok(text.and_then(|text| {
        let (version, kind) = text.strip_suffix('\n')?.rsplit_once(' ')?;
        Some(Pending { version: version.to_owned(), had: kind != "first" })
    }))
}

/// The image before is the accepted one again; the new one waits, so that another try needs no
/// download. May be cut anywhere, and done again.
fn undo(dir: &DataDir, pending: &Pending) -> io::Result<()> {
    let rename = |from, to| fs::renameat(dir.as_fd(), from, dir.as_fd(), to);
    let (image, old) = (dir.stat(IMAGE)?, dir.stat(OLD)?);
    let same = |old: &Stat| image.as_ref().map(identity) == Some(identity(old));
    match old {
        Some(old) if !same(&old) => {
            if image.is_some() && dir.stat(NEW)?.is_none() {
                keep(dir, IMAGE, NEW)?;
                dir.sync()?;
            }
            rename(OLD, IMAGE)?;
        }
        None if !pending.had && image.is_some() => rename(IMAGE, NEW)?,
        // The new one has not come so far.
        _ => {}
    }
    dir.sync()?;
    forget(dir)
}

/// Nothing is under way any more.
fn forget(dir: &DataDir) -> io::Result<()> {
    dir.remove(OLD)?;
    dir.remove(NOTE)?;
    dir.sync()
}

/// Gives a file a second name. Where a file has only one it gets that one, and the first is free.
fn keep(dir: &DataDir, from: &str, to: &str) -> io::Result<()> {
    match fs::linkat(dir.as_fd(), from, dir.as_fd(), to, AtFlags::empty()) {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => {
            Ok(fs::renameat(dir.as_fd(), from, dir.as_fd(), to)?)
        }
        done => Ok(done?),
    }
}
