//! The switch of an agent that keeps its version in a file, which is the evidence of the running
//! version. It also notes where a switch outside the data folder failed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ota_host::{HostError, Image, Switch, VersionFile, VersionRoom};
use ota_proto::{SlotAction, SlotState, StorageError, Version};

/// The version that is being installed: set by the agent, written by the switch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Goal(Arc<Mutex<Option<Version>>>);

impl Goal {
    /// Sets it.
    pub(crate) fn set(&self, version: Version) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(version);
    }

    fn get(&self) -> Option<Version> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Activates a version: its image becomes the accepted one, and its name is written to the version
/// file; or neither happens.
///
/// The version in the file runs and is [`SlotState::Confirmed`]. After a power cut between the
/// journal's "switching" and the file, the switch has not happened, and the installation starts
/// again. If only the last step of a switch failed, the file already names the new version: the
/// slot is armed, and the next start finds the result.
#[derive(Clone, Debug)]
pub(crate) struct FileSwitch {
    file: VersionFile,
    goal: Goal,
    image: Image,
    room: VersionRoom,
    trouble: Trouble,
}

impl FileSwitch {
    pub(crate) fn new(file: VersionFile, goal: Goal, image: Image) -> Self {
        Self { file, goal, image, room: VersionRoom::default(), trouble: Trouble::default() }
    }

    /// The same switch, with a note of where it fails.
    pub(crate) fn noting(&self, trouble: &Trouble) -> Self {
        Self { trouble: trouble.clone(), ..self.clone() }
    }

    /// Whether the failure is about the version file; otherwise it is about the data folder.
    fn is_elsewhere(&self, why: &HostError) -> bool {
        match why {
            HostError::Io { path, .. }
            | HostError::Kept { path, .. }
            | HostError::NotAFile { path }
            | HostError::ForeignLink { path, .. } => path == self.file.path(),
            _ => false,
        }
    }
}

impl Switch for FileSwitch {
    fn state(&mut self) -> SlotState {
        let written = |goal| self.image.is_accepted() && self.file.read().ok() == Some(goal);
        match self.goal.get() {
            Some(goal) if written(goal) => SlotState::Armed,
            _ => SlotState::Confirmed,
        }
    }

    fn reserve(&mut self) -> Result<(), StorageError> {
        self.image.reserve(&self.file, &self.room).map_err(|why| why.storage())
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        if action != SlotAction::Activate {
            return Ok(());
        }
        let version = self.goal.get().ok_or(StorageError::Failed)?;
        let done = self.image.accept(&self.file, &self.room, &version);
        let elsewhere = done.as_ref().is_err_and(|why| self.is_elsewhere(why));
        self.trouble.note(elsewhere.then(|| self.file.path()));
        done.map_err(|why| why.storage())
    }
}

/// Where a switch failed last: set by the switch, taken by the agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<PathBuf>>>);

impl Trouble {
    /// Takes the place, once per failure.
    pub(crate) fn take(&self) -> Option<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, place: Option<&Path>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place.map(Path::to_owned);
    }
}

/// A switch outside the data folder. The machine reports storage errors without their place, and a
/// person must not search in the wrong one.
#[derive(Debug)]
pub(crate) struct Elsewhere<S> {
    switch: S,
    place: PathBuf,
    trouble: Trouble,
}

impl<S> Elsewhere<S> {
    pub(crate) fn new(switch: S, place: &Path, trouble: &Trouble) -> Self {
        Self { switch, place: place.to_owned(), trouble: trouble.clone() }
    }
}

impl<S: Switch> Switch for Elsewhere<S> {
    fn state(&mut self) -> SlotState {
        self.switch.state()
    }

    fn reserve(&mut self) -> Result<(), StorageError> {
        // Its failure is a result, and nothing would take the note.
        self.switch.reserve()
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        let done = self.switch.act(action);
        // A second attempt that succeeds leaves no error to report.
        self.trouble.note(done.is_err().then_some(self.place.as_path()));
        done
    }
}

#[cfg(test)]
mod tests;
