//! Two slots in a folder, and a link to the running one.

mod files;
mod fill;
pub(crate) mod lock;
mod state;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ota_proto::{SlotAction, SlotState, StorageError, Version};

use crate::files::error::HostError;
use crate::files::switch::Switch;
use crate::files::whole::Spare;
use crate::files::{version_file, walk};
use files::{Files, Folder};
pub use state::Side;
use state::{AbState, Mark};

const LINK: &str = "current";
const LINK_NEW: &str = "current.new";
/// The file with a slot's version.
const VERSION: &str = "version";
const STATE: &str = "state";
const STATE_NEW: &str = "state.new";

/// Two slots as folders, `a` and `b`, and the link `current` to the running one. Each slot contains
/// the file `version`, and the image as `image` or in the form that an installer created.
///
/// This is boot loader and switch in one, for images that are plain files. Its state is in the file
/// `state`, which is only ever replaced; the link follows it. Each step is durable before the next,
/// so a power cut between any two leaves a complete image to run:
///
/// * [`SlotAction::Activate`] records that the next start uses the other slot;
/// * [`AbSlots::start`], before the image is started, counts the start and then moves the link; if
///   an image on trial has been started too often, it moves the link back;
/// * [`SlotAction::Confirm`] ends the trial; [`SlotAction::RollBack`] records that the next start
///   uses the old slot.
///
/// Clones share the folder. Calls block, and exclude those of other processes with the file
/// `switch.lock`, which only users who may change the folder can open; they wait up to 5 s for it.
#[derive(Clone, Debug)]
pub struct AbSlots {
    path: PathBuf,
    /// The folder, opened once and kept, independent of its name.
    dir: Arc<File>,
    files: Arc<dyn Files>,
    starts: u8,
    /// The slot that was emptied for an image.
    made: Arc<Mutex<Option<File>>>,
    /// How long a change waits for another process.
    patience: Duration,
}

/// The running slot, as the folder shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Running {
    /// The slot.
    pub side: Side,
    /// Its state for the core.
    pub slot: SlotState,
}

impl AbSlots {
    /// Opens the slots in this folder; an image on trial may be started `starts` times, at least
    /// once.
    ///
    /// # Errors
    /// [`HostError::NoSlots`] if there is no running image; [`HostError::ForeignLink`];
    /// [`HostError::Io`].
    pub fn open(path: impl Into<PathBuf>, starts: u8) -> Result<Self, HostError> {
        let path = path.into();
        let folder = walk::folder(&path).map_err(|why| HostError::io("open", &path, why))?;
        let files = folder.try_clone().map_err(|why| HostError::io("open", &path, why))?;
        let slots =
            Self::new(path, folder, Arc::new(Folder(files, Spare::default())), starts.max(1));
        slots.running()?;
        Ok(slots)
    }

    fn new(path: PathBuf, dir: File, files: Arc<dyn Files>, starts: u8) -> Self {
        Self {
            path,
            dir: Arc::new(dir),
            files,
            starts,
            made: Arc::default(),
            patience: lock::PATIENCE,
        }
    }

    /// Their folder, as given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the running slot.
    ///
    /// # Errors
    /// [`HostError::NoSlots`]; [`HostError::Io`].
    pub fn running(&self) -> Result<Running, HostError> {
        let (state, link) = self.look().map_err(|why| self.explain("read", why))?;
        let (side, slot) = state.evidence(link);
        Ok(Running { side, slot })
    }

    /// Returns the running version.
    ///
    /// # Errors
    /// As [`AbSlots::running`]; [`HostError::BadVersion`].
    pub fn version(&self) -> Result<Version, HostError> {
        self.version_of(self.running()?.side)
    }

    /// Call this before each start of the image: it counts the start and moves the link, durably.
    /// `boot` identifies this run of the machine. Returns whether the link was moved: a program
    /// that was started from the old slot must then be restarted.
    ///
    /// # Errors
    /// As [`AbSlots::running`]; [`HostError::Waited`]; [`HostError::NoLock`]. The link points to a
    /// whole image.
    pub fn start(&self, boot: &str) -> Result<bool, HostError> {
        self.switch(boot, false)
    }

    /// Like [`AbSlots::start`], for callers whose service manager starts the image: the start is
    /// due until [`AbSlots::restarted`] is called, or the machine is restarted.
    ///
    /// # Errors
    /// As [`AbSlots::start`].
    pub fn restart(&self, boot: &str) -> Result<bool, HostError> {
        self.switch(boot, true)
    }

    /// Reports that the start after [`AbSlots::restart`] was done.
    ///
    /// # Errors
    /// As [`AbSlots::start`].
    pub fn restarted(&self, boot: &str) -> Result<(), HostError> {
        let done = || {
            let (state, _) = self.look()?;
            let next = AbState { due: false, boot: state::boot(boot), ..state.clone() };
            self.put(&state, &next)
        };
        self.locked(done).map_err(|why| self.explain("switch", why))
    }

    /// For callers that only see the machine's starts, not the image's. Call it at the caller's own
    /// start: it counts once in each run of the machine. Returns whether a restart is due.
    ///
    /// # Errors
    /// As [`AbSlots::start`].
    pub fn machine_started(&self, boot: &str) -> Result<bool, HostError> {
        let (state, link) = self.look().map_err(|why| self.explain("read", why))?;
        let (same, followed) =
            (state.boot == state::boot(boot), state.link().is_none_or(|to| to == link));
        match state.mark {
            // The core requests the start.
            Mark::Armed => Ok(false),
            Mark::Trial if !followed => Ok(false),
            // The machine's restart has done the due start.
            _ if state.due && followed && !same => self.restarted(boot).map(|()| false),
            _ if state.due && followed => Ok(true),
            Mark::Trial | Mark::Back if !same => {
                let moved = self.restart(boot)?;
                if !moved {
                    self.restarted(boot)?;
                }
                Ok(moved)
            }
            Mark::RolledBack if !followed => self.restart(boot),
            _ => Ok(false),
        }
    }

    /// Returns whether a restart is due.
    ///
    /// # Errors
    /// As [`AbSlots::running`].
    pub fn is_due(&self) -> Result<bool, HostError> {
        Ok(self.look().map_err(|why| self.explain("read", why))?.0.due)
    }

    fn switch(&self, boot: &str, due: bool) -> Result<bool, HostError> {
        let start = || {
            let (state, link) = self.look()?;
            let next = state.started(self.starts, boot, due);
            self.put(&state, &next)?;
            match next.link().filter(|to| *to != link) {
                None => Ok(false),
                Some(to) => self.point(to).map(|()| true),
            }
        };
        self.locked(start).map_err(|why| self.explain("switch", why))
    }

    fn version_of(&self, side: Side) -> Result<Version, HostError> {
        let path = self.path.join(side.name()).join(VERSION);
        let slot = self.side(side).map_err(|why| HostError::io("read", &path, why))?;
        version_file::read(&slot, VERSION.as_ref(), &path)
    }

    /// The folder of a slot.
    fn side(&self, side: Side) -> io::Result<File> {
        walk::folder_in(&self.dir, side.name())
    }

    fn look(&self) -> io::Result<(AbState, Side)> {
        let link = self.files.read_link(LINK)?;
        let link = Side::from_name(&link).ok_or(io::ErrorKind::InvalidData)?;
        let state = match self.files.read(STATE) {
            // Without a state file the link is right.
            Ok(text) => AbState::from_text(&text),
            Err(why) if matches!(why.kind(), io::ErrorKind::NotFound) => None,
            Err(why) if matches!(why.kind(), io::ErrorKind::InvalidData) => None,
            Err(why) => return Err(why),
        };
        Ok((state.unwrap_or(AbState::new(Mark::Confirmed, link)), link))
    }

    fn put(&self, state: &AbState, next: &AbState) -> io::Result<()> {
        if state != next {
            self.files.write(STATE_NEW, &next.to_text())?;
            self.files.rename(STATE_NEW, STATE)?;
        }
        // Synced even without a change: the state that was read may not be durable.
        self.files.sync()
    }

    fn point(&self, to: Side) -> io::Result<()> {
        self.files.link(LINK_NEW, to.name())?;
        self.files.rename(LINK_NEW, LINK)?;
        self.files.sync()
    }

    fn act(&self, action: SlotAction) -> Result<(), StorageError> {
        let act = || {
            let (state, link) = self.look()?;
            Ok(match state.after(action, link) {
                Some(next) if action == SlotAction::Activate && !self.is_whole(next.side) => false,
                Some(next) => self.put(&state, &next).map(|()| true)?,
                None => false,
            })
        };
        match self.locked(act) {
            Ok(true) => Ok(()),
            Ok(false) => Err(StorageError::Failed),
            Err(why) => Err(HostError::io("switch", &self.path, why).storage()),
        }
    }

    /// Runs one change at a time, across processes.
    fn locked<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        let lock = lock::take(&self.dir, self.patience)?;
        let done = act();
        drop(lock);
        done
    }

    fn explain(&self, action: &'static str, why: io::Error) -> HostError {
        match why.kind() {
            io::ErrorKind::NotFound
            | io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::NotADirectory => HostError::NoSlots { dir: self.path.clone() },
            _ => HostError::io(action, &self.path, why),
        }
    }
}

impl Switch for AbSlots {
    fn state(&mut self) -> SlotState {
        self.running().map_or(SlotState::Unknown, |running| running.slot)
    }

    fn reserve(&mut self) -> Result<(), StorageError> {
        let reserved = lock::reserve(&self.dir, self.patience)
            .and_then(|()| self.files.reserve(STATE_NEW))
            .map_err(|why| HostError::io("write", &self.path, why));
        reserved.map_err(|why| why.storage())?;
        self.check(false).map_err(|why| why.storage())
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        Self::act(self, action)
    }
}

#[cfg(test)]
mod tests;
