//! The note that a restart is due.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use ota_host::{DataDir, RestartMark, Switch as _, boot_id};
use ota_proto::{SlotAction, SlotState, Version};

fn version(text: &str) -> Version {
    Version::new(text).unwrap()
}

#[test]
fn a_restart_is_due_until_it_was_asked_for_three_times_or_another_version_runs() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let mut mark = RestartMark::open(&dir, version("1.0")).unwrap();
    assert_eq!(mark.state(), SlotState::Unknown);
    for _ in 0..2 {
        mark.act(SlotAction::Activate).unwrap();
        for _ in 0..3 {
            assert_eq!(mark.state(), SlotState::Armed);
            mark.asked().unwrap();
        }
        assert_eq!(mark.state(), SlotState::Unknown);
    }
    mark.act(SlotAction::Activate).unwrap();
    mark.act(SlotAction::ClearMark).unwrap();
    let mut next = RestartMark::open(&dir, version("2.0")).unwrap();
    assert_eq!(next.state(), SlotState::Unknown);
    assert_eq!(mark.state(), SlotState::Armed);
}

#[test]
fn a_note_of_another_run_of_the_machine_or_of_nobody_says_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let mut mark = RestartMark::open(&dir, version("1.0")).unwrap();
    let boot = boot_id();
    assert!(!boot.is_empty(), "Linux has one");
    std::fs::write(temp.path().join("restart"), format!("{boot} 0 1.0\n")).unwrap();
    assert_eq!(mark.state(), SlotState::Armed);
    for text in [
        String::new(),
        "\n".into(),
        "another 0 1.0\n".into(),
        " 0 1.0\n".into(),
        format!("{boot} 0 1.0"),
        format!("{boot} x 1.0\n"),
        format!("{boot} 0 1.0\n\n"),
        format!("{boot} 0 {}\n", "1".repeat(300)),
    ] {
        std::fs::write(temp.path().join("restart"), &text).unwrap();
        assert_eq!(mark.state(), SlotState::Unknown, "{text:?}");
    }
    std::fs::write(temp.path().join("restart"), b"\xff").unwrap();
    assert_eq!(mark.state(), SlotState::Unknown);
}

#[test]
fn the_room_for_the_note_is_taken_before_it_says_anything() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let mut mark = RestartMark::open(&dir, version("1.0")).unwrap();
    mark.reserve().unwrap();
    assert_eq!(mark.state(), SlotState::Unknown, "nothing is due");
    let path = temp.path().join("restart");
    let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&path).unwrap());
    let before = inode();
    mark.act(SlotAction::Activate).unwrap();
    assert_eq!(mark.state(), SlotState::Armed);
    mark.asked().unwrap();
    assert_eq!(mark.state(), SlotState::Armed);
    mark.give_up().unwrap();
    assert_eq!(mark.state(), SlotState::Unknown);
    assert_eq!(inode(), before, "written in place");
    // The note of another version is not ours.
    let next = RestartMark::open(&dir, version("2.0")).unwrap();
    next.reserve().unwrap();
    assert_ne!(inode(), before);
}

#[test]
fn a_note_that_cannot_be_written_fails_no_installation_that_went_well() {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let mut mark = RestartMark::open(&dir, version("1.0")).unwrap();
    // What root cannot write either.
    std::fs::create_dir(temp.path().join("restart")).unwrap();
    assert!(mark.reserve().is_err(), "before the installer starts it is told");
    assert_eq!(mark.act(SlotAction::Activate), Ok(()));
}
