//! The switch of an agent that keeps its version in a file: the file is the evidence.

use std::sync::{Arc, Mutex, PoisonError};

use ota_host::{Switch, VersionFile};
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

/// Activates a version by writing its name to the version file.
///
/// What the file names runs, and for good: [`SlotState::Confirmed`]. So a cut between the journal's
/// "switching" and the file is a switch that never happened, and the installation is done again.
#[derive(Clone, Debug)]
pub(crate) struct FileSwitch {
    file: VersionFile,
    goal: Goal,
}

impl FileSwitch {
    pub(crate) fn new(file: VersionFile, goal: Goal) -> Self {
        Self { file, goal }
    }
}

impl Switch for FileSwitch {
    fn state(&mut self) -> SlotState {
        SlotState::Confirmed
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        if action != SlotAction::Activate {
            return Ok(());
        }
        let version = self.goal.get().ok_or(StorageError::Failed)?;
        self.file.write(&version).map_err(|why| why.storage())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activating_writes_the_version() {
        let folder = tempfile::tempdir().unwrap();
        let file = VersionFile::new(folder.path().join("version"));
        let goal = Goal::default();
        let mut switch = FileSwitch::new(file.clone(), goal.clone());
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
