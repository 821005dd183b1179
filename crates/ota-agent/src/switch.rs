//! The switch of an agent that keeps its version in a file: the file is the evidence. And where a
//! switch failed that is not in the data folder.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ota_host::{HostError, Image, Switch, VersionFile, VersionRoom};
use ota_proto::{SlotAction, SlotState, StorageError, Version};

/// The version that is being installed: told by the agent, written by the switch.
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
/// file; or neither.
///
/// What the file names runs, and for good: [`SlotState::Confirmed`]. So a cut between the journal's
/// "switching" and the file is a switch that never happened, and the installation is done again.
/// After a switch whose last step failed the file names the new version already: it is armed, and
/// the next start says what has become of it.
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

    /// The same switch, which says here where it fails.
    pub(crate) fn noting(&self, trouble: &Trouble) -> Self {
        Self { trouble: trouble.clone(), ..self.clone() }
    }

    /// Whether it is about the version file; else about the data folder.
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

/// Where a switch failed last: noted by the switch, taken by the agent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<PathBuf>>>);

impl Trouble {
    /// The place, once for each failure.
    pub(crate) fn take(&self) -> Option<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, place: Option<&Path>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = place.map(Path::to_owned);
    }
}

/// A switch that is not in the data folder. The machine tells of storage in trouble and not where,
/// and a person must not look for it in the wrong place.
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
        // Its failure is a result, and no trouble: there would be nobody to take the note.
        self.switch.reserve()
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        let done = self.switch.act(action);
        // A second try that succeeds leaves no trouble, and none of ours is told of then.
        self.trouble.note(done.is_err().then_some(self.place.as_path()));
        done
    }
}

#[cfg(test)]
#[path = "switch_tests.rs"]
mod tests;
