//! Fills the other slot, which is not used before it is activated.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use ota_proto::{Digester, Md5, SlotState, Version};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{AbSlots, Side, VERSION, lock};
use crate::files::cause::LOCK;
use crate::files::error::HostError;
use crate::files::names::PRIVATE;
use crate::files::rights::Rights;
use crate::files::walk::{flush, folder_in, identity, remove};

const IMAGE: &str = "image";
/// A temporary name with the number of this process.
const PROBE: &str = ".try";

/// Bytes per copy step, between two checks of the stop flag.
const CHUNK: usize = 128 * 1024;

impl AbSlots {
    /// Empties the other slot and returns its path. It gets the owner and rights of the running
    /// one. Existing entries are removed, and no link is followed.
    ///
    /// # Errors
    /// [`HostError::Busy`] while it is the way back, or about to start; [`HostError::Kept`];
    /// [`HostError::Io`].
    pub fn empty(&self) -> Result<PathBuf, HostError> {
        let side = self.spare()?;
        let slot = self.path.join(side.name());
        self.clear(side).map_err(|why| HostError::io("empty", &slot, why))?;
        Ok(slot)
    }

    fn clear(&self, side: Side) -> io::Result<File> {
        let running = self.side(side.other())?.metadata()?;
        // First, so that it no longer counts as an image.
        if let Ok(slot) = folder_in(&self.dir, side.name()) {
            remove(&slot, VERSION.as_ref())?;
            slot.sync_all()?;
        }
        remove(&self.dir, side.name().as_ref())?;
        fs::mkdirat(&self.dir, side.name(), Mode::RWXU)?;
        let made = folder_in(&self.dir, side.name())?;
        if made.metadata()?.uid() != geteuid().as_raw() {
            // Another process has created a folder there first.
            return Err(Errno::EXIST.into());
        }
        Rights::of(&running).give(&made)?;
        self.files.sync()?;
        self.keep(Some(made.try_clone()?));
        Ok(made)
    }

    /// Empties the other slot and copies this image there, as `image`, with the owner and rights of
    /// the running one; reads it back. Ends early if `stop` is set.
    ///
    /// The copy must equal the verified image, whose file may have changed since.
    ///
    /// # Errors
    /// [`HostError::Altered`] if it does not have this size and digest; those of
    /// [`AbSlots::empty`].
    pub fn copy(
        &self,
        image: &Path,
        size: u64,
        md5: Md5,
        stop: &AtomicBool,
    ) -> Result<(), HostError> {
        let side = self.spare()?;
        let slot = self.path.join(side.name());
        let made = self.clear(side).map_err(|why| HostError::io("empty", &slot, why))?;
        let copy = || {
            let rights = self.rights_of_image(side);
            let Some(mut from) = verified(image, size)? else { return Ok(false) };
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mut file = File::from(fs::openat(&made, IMAGE, flags, PRIVATE)?);
            if pass(&mut from, &mut &file, stop)? != md5 {
                return Ok(false);
            }
            file.sync_all()?;
            crate::files::slot::drop_cache(&file, 0);
            file.rewind()?;
            if pass(&mut file, &mut io::sink(), stop)? != md5 {
                return Err(io::Error::other("what was written reads back as something else"));
            }
            rights.give(&file)?;
            file.sync_all()?;
            Ok(true)
        };
        match copy() {
            Ok(true) => Ok(()),
            Ok(false) => Err(HostError::Altered { path: image.to_owned() }),
            Err(why) => Err(HostError::io("write", &slot.join(IMAGE), why)),
        }
    }

    /// Records that the other slot contains this version, durably: it can then be activated.
    ///
    /// # Errors
    /// [`HostError::Replaced`] if it is not the folder that [`AbSlots::empty`] created; those of
    /// [`AbSlots::empty`].
    pub fn seal(&self, version: Version) -> Result<(), HostError> {
        let side = self.spare()?;
        let slot = self.path.join(side.name());
        let seal = || {
            let folder = folder_in(&self.dir, side.name())?;
            if self.kept()?.is_some_and(|kept| Some(kept) != id_of(&folder).ok()) {
                return Ok(false);
            }
            flush(&folder)?;
            let rights = self.rights_of_running(side, VERSION)?;
            crate::files::version_file::write(&folder, VERSION.as_ref(), &version, rights)
                .map(|()| true)
        };
        match seal() {
            Ok(true) => Ok(()),
            Ok(false) => Err(HostError::Replaced { path: slot }),
            Err(why) => Err(HostError::io("write", &slot.join(VERSION), why)),
        }
    }

    /// Checks whether the other slot, its version and, for [`AbSlots::copy`], its image could be
    /// given to the owner of the running ones, and whether the lock can be taken. Changes nothing:
    /// a problem is better found before a download.
    ///
    /// # Errors
    /// [`HostError::Waited`]; [`HostError::NoLock`]; [`HostError::Unshared`]; [`HostError::Kept`];
    /// [`HostError::NoSlots`]; [`HostError::Io`].
    pub fn check(&self, copies: bool) -> Result<(), HostError> {
        let spare = self.running()?.side.other();
        let slot = self.path.join(spare.name());
        lock::check(&self.dir, self.patience).map_err(|why| match why.raw_os_error() {
            Some(_) => HostError::io("open", &self.path.join(LOCK), why),
            None => HostError::io("switch", &self.path, why),
        })?;
        let probe = format!("{PROBE}.{}", std::process::id());
        let look = |path: &Path, rights: io::Result<Rights>| {
            let done = rights.and_then(|rights| rights.check(&self.dir, probe.as_ref()));
            done.map_err(|why| HostError::io("write", path, why))
        };
        let running = self.side(spare.other()).and_then(|slot| slot.metadata());
        look(&slot, running.map(|found| Rights::of(&found)))?;
        look(&slot.join(VERSION), self.rights_of_running(spare, VERSION))?;
        if !copies {
            return Ok(());
        }
        look(&slot.join(IMAGE), Ok(self.rights_of_image(spare)))
    }

    /// Without an image to copy from, they belong to us only.
    fn rights_of_image(&self, spare: Side) -> Rights {
        self.rights_of_running(spare, IMAGE).unwrap_or(Rights::PRIVATE)
    }

    fn rights_of_running(&self, spare: Side, name: &str) -> io::Result<Rights> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let running = self.side(spare.other())?;
        let file = File::from(fs::openat(running, name, flags, Mode::empty())?);
        Ok(Rights::of(&file.metadata()?))
    }

    fn keep(&self, made: Option<File>) {
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = made;
    }

    /// The identity of the folder that was created for the image.
    fn kept(&self) -> io::Result<Option<(u64, u64)>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.as_ref().map(id_of).transpose()
    }

    /// Whether [`AbSlots::seal`] was done.
    pub(super) fn is_whole(&self, side: Side) -> bool {
        self.version_of(side).is_ok()
    }

    /// The slot that may be overwritten.
    fn spare(&self) -> Result<Side, HostError> {
        let running = self.running()?;
        if running.slot == SlotState::Confirmed {
            Ok(running.side.other())
        } else {
            Err(HostError::Busy { dir: self.path.clone() })
        }
    }
}

/// Opens the verified image; a named pipe in its place must not block.
fn verified(path: &Path, size: u64) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = match fs::open(path, flags, Mode::empty()) {
        Err(Errno::LOOP) => return Ok(None),
        file => File::from(file?),
    };
    let found = file.metadata()?;
    Ok((found.is_file() && found.len() == size).then_some(file))
}

fn id_of(folder: &File) -> io::Result<(u64, u64)> {
    Ok(identity(&fs::fstat(folder)?))
}

/// Copies everything and returns the digest.
fn pass(from: &mut File, to: &mut dyn io::Write, stop: &AtomicBool) -> io::Result<Md5> {
    let mut chunk = vec![0; CHUNK];
    let mut digester = Digester::default();
    loop {
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped"));
        }
        let part = match from.read(&mut chunk) {
            Ok(length) => chunk.get(..length).unwrap_or_default(),
            Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
            Err(why) => return Err(why),
        };
        if part.is_empty() {
            return Ok(digester.finish());
        }
        digester.update(part);
        to.write_all(part)?;
    }
}
