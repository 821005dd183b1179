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
/// file.
///
/// What the file names runs, and for good: [`SlotState::Confirmed`]. So a cut between the journal's
/// "switching" and the file is a switch that never happened, and the installation is done again.
#[derive(Clone, Debug)]
pub(crate) struct FileSwitch {
    file: VersionFile,
    goal: Goal,
    image: Image,
    room: VersionRoom,
}

impl FileSwitch {
    pub(crate) fn new(file: VersionFile, goal: Goal, image: Image) -> Self {
        Self { file, goal, image, room: VersionRoom::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Why the version that runs could not be written, as the next one will be: better known now
    /// than after a download.
    pub(crate) fn hindrance(&self, running: &Version) -> Option<HostError> {
        self.file.write(running).err()
    }
}

impl Switch for FileSwitch {
    fn state(&mut self) -> SlotState {
        SlotState::Confirmed
    }

    fn reserve(&mut self) -> Result<(), StorageError> {
        self.file.reserve(&self.room).map_err(|why| why.storage())
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        if action != SlotAction::Activate {
            return Ok(());
        }
        let version = self.goal.get().ok_or(StorageError::Failed)?;
        let done = self.image.accept().and_then(|()| self.file.write_in(&self.room, &version));
        match done {
            // Its last step failed, and it may be undone by a power cut; until then it runs.
            Err(_) if self.file.read().ok() == Some(version) => Ok(()),
            done => done.map_err(|why| why.storage()),
        }
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

impl<S> Elsewhere<S> {
    fn note(&self) {
        let mut place = self.trouble.0.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(self.place.clone());
    }
}

impl<S: Switch> Switch for Elsewhere<S> {
    fn state(&mut self) -> SlotState {
        self.switch.state()
    }

    fn reserve(&mut self) -> Result<(), StorageError> {
        self.switch.reserve().inspect_err(|_| self.note())
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        self.switch.act(action).inspect_err(|_| self.note())
    }
}

#[cfg(test)]
mod tests {
    use ota_host::{DataDir, FileSlot, Job, JournalFile, NoSwitch, SlotOptions, Storage, Work};
    use ota_proto::Digester;

    use super::*;

    /// An image that was verified in this folder.
    fn image(folder: &Path) -> Image {
        let dir = DataDir::open(folder.join("data")).unwrap();
        let options = SlotOptions { accepts: true, ..SlotOptions::default() };
        let slot = FileSlot::open(&dir, options).unwrap();
        let journal = JournalFile::open(&dir).unwrap();
        let mut storage = Storage::new(slot, journal, Box::new(NoSwitch));
        let whole = Some(Digester::new().finish());
        storage.run(Job { op: 0, work: Work::Erase { range: 0..1, size: 0 } });
        storage.run(Job { op: 1, work: Work::Digest { range: 0..0, whole } });
        storage.image()
    }

    #[test]
    fn a_switch_that_fails_says_where() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone").join("version");
        let (goal, trouble) = (Goal::default(), Trouble::default());
        let switch = FileSwitch::new(VersionFile::new(&path), goal.clone(), image(folder.path()));
        let mut switch = Elsewhere::new(switch, &path, &trouble);
        goal.set(Version::new("1.0.0").unwrap());
        assert_eq!(switch.act(SlotAction::Activate), Err(StorageError::Gone));
        assert_eq!((trouble.take(), trouble.take()), (Some(path.clone()), None));
        std::fs::create_dir(folder.path().join("gone")).unwrap();
        assert_eq!((switch.act(SlotAction::Activate), trouble.take()), (Ok(()), None));
    }

    #[test]
    fn a_version_file_that_cannot_be_written_is_known_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = VersionFile::new(folder.path().join("version"));
        let running = Version::new("0.1.0").unwrap();
        let switch = FileSwitch::new(file.clone(), Goal::default(), image(folder.path()));
        assert!(switch.hindrance(&running).is_none());
        assert_eq!(file.read().unwrap(), running);
        // What root cannot write either.
        std::fs::create_dir(folder.path().join(".version.new")).unwrap();
        let why = switch.hindrance(&running).unwrap().to_string();
        assert!(why.contains("version"), "{why}");
        assert_eq!(file.read().unwrap(), running);
    }

    #[test]
    fn activating_writes_the_version() {
        let folder = tempfile::tempdir().unwrap();
        let file = VersionFile::new(folder.path().join("version"));
        let goal = Goal::default();
        let mut switch = FileSwitch::new(file.clone(), goal.clone(), image(folder.path()));
        assert_eq!(switch.act(SlotAction::Activate), Err(StorageError::Failed), "no goal yet");
        goal.set(Version::new("1.0.0").unwrap());
        assert_eq!(switch.act(SlotAction::Confirm), Ok(()));
        assert!(file.read().is_err(), "only activating writes");
        for _ in 0..2 {
            assert_eq!(switch.act(SlotAction::Activate), Ok(()));
            assert_eq!(file.read().unwrap().as_str(), "1.0.0");
        }
        assert_eq!(switch.state(), SlotState::Confirmed);
    }
}
