use std::fs;

use ota_host::{DataDir, FileSlot, Job, JournalFile, NoSwitch, SlotOptions, Storage, Work};
use ota_proto::Digester;

use super::*;

/// An image that was verified in this folder, and is empty.
fn image(folder: &Path) -> Image {
    let dir = DataDir::open(folder.join("data")).unwrap();
    let options = SlotOptions { accepts: true, ..SlotOptions::default() };
    let slot = FileSlot::open(&dir, options).unwrap();
    let journal = JournalFile::open(&dir).unwrap();
    let mut storage = Storage::new(slot, journal, Box::new(NoSwitch));
    let whole = Some(Digester::new().finish());
    storage.run(Job::new(0, Work::Erase { range: 0..1, size: 0 }));
    storage.run(Job { whole, ..Job::new(1, Work::Digest { range: 0..0 }) });
    storage.image()
}

/// A switch to 1.0.0 beside an accepted image of 0.1.0, whose version file is at this path.
fn switch(folder: &Path, path: &Path) -> FileSwitch {
    fs::create_dir(folder.join("data")).unwrap();
    fs::write(accepted(folder), "old").unwrap();
    let goal = Goal::default();
    goal.set(Version::new("1.0.0").unwrap());
    FileSwitch::new(VersionFile::new(path), goal, image(folder))
}

fn accepted(folder: &Path) -> PathBuf {
    folder.join("data/slot.img")
}

#[test]
fn a_switch_that_fails_says_where_and_leaves_the_accepted_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gone").join("version");
    let trouble = Trouble::default();
    let mut switch = switch(folder.path(), &path).noting(&trouble);
    assert_eq!(switch.act(SlotAction::Activate), Err(StorageError::Gone));
    assert_eq!(fs::read(accepted(folder.path())).unwrap(), b"old");
    assert_eq!((trouble.take(), trouble.take()), (Some(path.clone()), None));
    fs::create_dir(folder.path().join("gone")).unwrap();
    assert_eq!((switch.act(SlotAction::Activate), trouble.take()), (Ok(()), None));
    assert_eq!(fs::read(accepted(folder.path())).unwrap(), b"");
}

#[cfg(target_os = "linux")]
#[test]
fn a_version_file_that_cannot_be_given_back_leaves_the_accepted_image() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    use std::os::unix::fs::{PermissionsExt as _, chown};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("version");
    fs::write(&path, "0.1.0\n").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    if chown(&path, Some(65_534), Some(65_534)).is_err() {
        return; // Only root gives files away.
    }
    let mut switch = switch(folder.path(), &path);
    // Those of this thread.
    let mut few = capabilities(None).unwrap();
    few.effective.remove(CapabilitySet::CHOWN);
    set_capabilities(None, few).unwrap();
    for _ in 0..2 {
        assert_eq!(switch.act(SlotAction::Activate), Err(StorageError::ReadOnly));
        assert_eq!(switch.state(), SlotState::Confirmed);
        assert_eq!(fs::read(accepted(folder.path())).unwrap(), b"old");
        assert_eq!(fs::read(&path).unwrap(), b"0.1.0\n");
        assert!(switch.image.path().ends_with("slot.new"));
    }
    assert_eq!(switch.reserve(), Err(StorageError::ReadOnly), "known before a download");
}

#[test]
fn a_version_that_was_there_already_makes_up_for_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("version");
    fs::write(&path, "1.0.0\n").unwrap();
    let mut switch = switch(folder.path(), &path);
    fs::remove_file(folder.path().join("data/slot.new")).unwrap();
    assert_eq!(switch.act(SlotAction::Activate), Err(StorageError::Failed));
    assert_eq!(switch.state(), SlotState::Confirmed);
    assert_eq!(fs::read(accepted(folder.path())).unwrap(), b"old");
}

#[test]
fn a_switch_that_fails_in_the_data_folder_is_no_trouble_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let trouble = Trouble::default();
    let path = folder.path().join("version");
    let mut switch = switch(folder.path(), &path).noting(&trouble);
    fs::remove_file(accepted(folder.path())).unwrap();
    fs::create_dir(accepted(folder.path())).unwrap();
    assert!(switch.act(SlotAction::Activate).is_err());
    assert_eq!(trouble.take(), None);
    assert!(!path.exists());
}

#[test]
fn what_failed_before_it_succeeded_is_no_trouble_any_more() {
    /// Its first action fails, and it never makes room.
    struct Twice(u8);
    impl Switch for Twice {
        fn state(&mut self) -> SlotState {
            SlotState::Confirmed
        }
        fn reserve(&mut self) -> Result<(), StorageError> {
            Err(StorageError::NoSpace)
        }
        fn act(&mut self, _: SlotAction) -> Result<(), StorageError> {
            self.0 += 1;
            if self.0 == 1 { Err(StorageError::Failed) } else { Ok(()) }
        }
    }
    let trouble = Trouble::default();
    let mut switch = Elsewhere::new(Twice(0), Path::new("/slots"), &trouble);
    assert!(switch.act(SlotAction::Activate).is_err());
    assert!(switch.act(SlotAction::Activate).is_ok());
    assert_eq!(trouble.take(), None);
    // That ends an attempt, and no word of the machine asks where.
    assert!(switch.reserve().is_err());
    assert_eq!(trouble.take(), None);
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
    assert_eq!(switch.state(), SlotState::Confirmed);
    for _ in 0..2 {
        assert_eq!(switch.act(SlotAction::Activate), Ok(()));
        assert_eq!(file.read().unwrap().as_str(), "1.0.0");
    }
    assert_eq!(switch.state(), SlotState::Armed, "as after an error of the last step");
}
