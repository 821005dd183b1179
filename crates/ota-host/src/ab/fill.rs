//! Filling the slot that does not run. Nothing looks at it before it is activated.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use ota_proto::{Digester, Md5, SlotState, Version};
use rustix::fs::{Mode, OFlags};

use super::{AbSlots, Side};
use crate::error::HostError;
use crate::rights::Rights;

const IMAGE: &str = "image";
const VERSION: &str = "version";

/// Bytes copied at once, and between two looks at the stop flag.
const CHUNK: usize = 128 * 1024;

impl AbSlots {
    /// Empties the slot that does not run, and says where it is. Its owner and its rights are those
    /// of the running one.
    ///
    /// # Errors
    /// [`HostError::Busy`] while it is the way back, or about to start; [`HostError::Kept`];
    /// [`HostError::Io`].
    pub fn empty(&self) -> Result<PathBuf, HostError> {
        let side = self.spare()?;
        let slot = self.path.join(side.name());
        let empty = || {
            // First of all it is no image any more.
            match fs::remove_file(slot.join(VERSION)) {
                Ok(()) => File::open(&slot)?.sync_all()?,
                Err(why) if is_missing(&why) => {}
                Err(why) => return Err(why),
            }
            match fs::remove_dir_all(&slot) {
                Ok(()) => {}
                Err(why) if is_missing(&why) => {}
                Err(why) => return Err(why),
            }
            let running = fs::metadata(self.path.join(side.other().name()))?;
            fs::DirBuilder::new().mode(0o700).create(&slot)?;
            // Of no link that somebody put there.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let made = File::from(rustix::fs::open(&slot, flags, Mode::empty())?);
            Rights::of(&running).give(&made)?;
            self.files.sync()
        };
        empty().map_err(|why| HostError::io("empty", &slot, why))?;
        Ok(slot)
    }

    /// Empties the slot that does not run and puts this image there, with the owner and the
    /// rights that the running one has, as `image`; reads it back. Ends early when `stop` is set.
    ///
    /// The copy must be the image that was verified: what stands in its file may have been
    /// changed since.
    ///
    /// # Errors
    /// [`HostError::Altered`] when it has not this size and digest; as [`AbSlots::empty`].
    pub fn copy(
        &self,
        image: &Path,
        size: u64,
        md5: Md5,
        stop: &AtomicBool,
    ) -> Result<(), HostError> {
        let slot = self.empty()?;
        let running = self.path.join(self.spare()?.other().name()).join(IMAGE);
        let rights = fs::metadata(&running).map_or(Rights::PRIVATE, |found| Rights::of(&found));
        let to = slot.join(IMAGE);
        let copy = || {
            let mut from = File::open(image)?;
            if from.metadata()?.len() != size {
                return Ok(false);
            }
            let mut options = OpenOptions::new();
            let mut file = options.read(true).write(true).create_new(true).mode(0o600).open(&to)?;
            if pass(&mut from, &mut &file, stop)? != md5 {
                return Ok(false);
            }
            file.sync_all()?;
            crate::slot::drop_cache(&file, 0);
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
            Err(why) => Err(HostError::io("write", &to, why)),
        }
    }

    /// The slot that does not run now holds this version, durably: it can be activated.
    ///
    /// # Errors
    /// As [`AbSlots::empty`].
    pub fn seal(&self, version: Version) -> Result<(), HostError> {
        let side = self.spare()?;
        let slot = self.path.join(side.name());
        let running = self.path.join(side.other().name()).join(VERSION);
        let seal = || {
            let folder = File::open(&slot)?;
            flush(&folder)?;
            let rights = Rights::of(&fs::metadata(&running)?);
            let (name, temp) = (Path::new(VERSION), Path::new("version.new"));
            crate::dir::replace(&folder, name, temp, format!("{version}\n").as_bytes(), rights)
        };
        seal().map_err(|why| HostError::io("write", &slot.join(VERSION), why))
    }

    /// Whether [`AbSlots::seal`] was done.
    pub(super) fn is_whole(&self, side: Side) -> bool {
        self.version_file(side).read().is_ok()
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

fn is_missing(why: &io::Error) -> bool {
    why.kind() == io::ErrorKind::NotFound
}

/// Passes everything on; its digest.
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

/// Whatever an installer put there is on the medium.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn flush(folder: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(folder)?)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn flush(_: &File) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}
