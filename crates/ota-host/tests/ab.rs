//! The slots on the file system that the tests run on.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::sync::atomic::AtomicBool;

use ota_host::{AbSlots, HostError, Side, Switch as _};
use ota_proto::{Digester, SlotAction, SlotState, Version};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("a")).unwrap();
    fs::write(at.join("a/image"), "old").unwrap();
    fs::set_permissions(at.join("a/image"), Permissions::from_mode(0o755)).unwrap();
    fs::write(at.join("a/version"), "1.0.0\n").unwrap();
    symlink("a", at.join("current")).unwrap();
    fs::write(at.join("new"), vec![7; 300_000]).unwrap();
    folder
}

fn copy(slots: &AbSlots, folder: &Path, stop: bool) -> Result<(), HostError> {
    let mut digester = Digester::new();
    digester.update(&[7; 300_000]);
    slots.copy(&folder.join("new"), 300_000, digester.finish(), &AtomicBool::new(stop))
}

fn fill(slots: &AbSlots, folder: &Path, version: &str) {
    copy(slots, folder, false).unwrap();
    slots.seal(Version::new(version).unwrap()).unwrap();
}

fn state(slots: &AbSlots) -> (Side, SlotState, String) {
    let running = slots.running().unwrap();
    (running.side, running.slot, slots.version().unwrap().as_str().to_owned())
}

#[test]
fn an_image_is_copied_activated_started_and_confirmed() {
    let folder = folder();
    let at = folder.path();
    let mut slots = AbSlots::open(at, 3).unwrap();
    assert_eq!(state(&slots), (Side::A, SlotState::Confirmed, "1.0.0".into()));
    fill(&slots, at, "2.0.0");
    assert_eq!(fs::read(at.join("b/image")).unwrap(), vec![7; 300_000]);
    assert_eq!(fs::metadata(at.join("b/image")).unwrap().permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_link(at.join("current")).unwrap(), Path::new("a"));

    slots.act(SlotAction::Activate).unwrap();
    assert_eq!(state(&slots), (Side::A, SlotState::Armed, "1.0.0".into()));
    assert_eq!(fs::read_link(at.join("current")).unwrap(), Path::new("a"));

    assert!(slots.start("x").unwrap());
    assert_eq!(state(&slots), (Side::B, SlotState::Trial, "2.0.0".into()));
    assert_eq!(fs::read_link(at.join("current")).unwrap(), Path::new("b"));
    assert_eq!(fs::metadata(at.join("state")).unwrap().permissions().mode() & 0o777, 0o600);

    slots.act(SlotAction::Confirm).unwrap();
    slots.act(SlotAction::Confirm).unwrap();
    assert_eq!(state(&slots), (Side::B, SlotState::Confirmed, "2.0.0".into()));
    // The next one goes to the other slot.
    fill(&slots, at, "3.0.0");
    assert_eq!(fs::read(at.join("a/version")).unwrap(), b"3.0.0\n");
}

#[test]
fn a_roll_back_waits_for_the_next_start_and_is_told_until_it_is_cleared() {
    let folder = folder();
    let mut slots = AbSlots::open(folder.path(), 3).unwrap();
    fill(&slots, folder.path(), "2.0.0");
    slots.act(SlotAction::Activate).unwrap();
    slots.start("x").unwrap();
    slots.act(SlotAction::RollBack).unwrap();
    assert_eq!(state(&slots), (Side::B, SlotState::Trial, "2.0.0".into()));
    assert!(slots.start("x").unwrap());
    assert_eq!(state(&slots), (Side::A, SlotState::RolledBack, "1.0.0".into()));
    slots.act(SlotAction::ClearMark).unwrap();
    assert_eq!(state(&slots), (Side::A, SlotState::Confirmed, "1.0.0".into()));
}

#[test]
fn o15_the_way_back_is_never_overwritten() {
    let folder = folder();
    let at = folder.path();
    let mut slots = AbSlots::open(at, 3).unwrap();
    fill(&slots, at, "2.0.0");
    slots.act(SlotAction::Activate).unwrap();
    let refused = |slots: &AbSlots| {
        let error = copy(slots, at, false).unwrap_err();
        assert!(matches!(error, HostError::Busy { .. }), "{error}");
        assert!(matches!(slots.empty(), Err(HostError::Busy { .. })));
        assert_eq!(fs::read(at.join("a/image")).unwrap(), b"old");
    };
    refused(&slots);
    slots.start("x").unwrap();
    refused(&slots);
    slots.act(SlotAction::RollBack).unwrap();
    refused(&slots);
    slots.start("x").unwrap();
    refused(&slots);
}

#[test]
fn half_an_image_is_never_activated() {
    let folder = folder();
    let at = folder.path();
    let mut slots = AbSlots::open(at, 3).unwrap();
    assert!(slots.act(SlotAction::Activate).is_err(), "there is none");
    fill(&slots, at, "2.0.0");
    // The next one is stopped in the midst of it.
    let error = copy(&slots, at, true).unwrap_err();
    assert!(error.to_string().contains("stopped"), "{error}");
    assert!(slots.act(SlotAction::Activate).is_err());
    assert_eq!(state(&slots), (Side::A, SlotState::Confirmed, "1.0.0".into()));
}

#[test]
fn a_link_that_a_person_moved_counts() {
    let folder = folder();
    let at = folder.path();
    let mut slots = AbSlots::open(at, 3).unwrap();
    fill(&slots, at, "2.0.0");
    slots.act(SlotAction::Activate).unwrap();
    slots.start("x").unwrap();
    slots.act(SlotAction::Confirm).unwrap();
    fs::remove_file(at.join("current")).unwrap();
    symlink("a/", at.join("current")).unwrap();
    assert_eq!(state(&slots), (Side::A, SlotState::Confirmed, "1.0.0".into()));
    assert!(!slots.start("x").unwrap());
}

#[test]
fn a_folder_without_slots_says_how_to_make_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let words = "put the running image into";
    assert!(AbSlots::open(at, 3).unwrap_err().to_string().contains(words));
    fs::create_dir(at.join("current")).unwrap();
    assert!(AbSlots::open(at, 3).unwrap_err().to_string().contains(words));
    fs::remove_dir(at.join("current")).unwrap();
    symlink("../etc", at.join("current")).unwrap();
    assert!(AbSlots::open(at, 3).unwrap_err().to_string().contains(words));
    let missing = AbSlots::open(at.join("none"), 3).unwrap_err();
    assert!(missing.to_string().starts_with("cannot open"), "{missing}");
}

#[test]
fn an_image_that_is_not_the_one_that_was_verified_is_not_taken() {
    let folder = folder();
    let at = folder.path();
    let mut slots = AbSlots::open(at, 3).unwrap();
    let mut other = vec![7; 300_000];
    other[299_999] = 8;
    for bytes in [&other[..], &[7; 299_999], &[7; 300_001], &[]] {
        fs::write(at.join("new"), bytes).unwrap();
        let error = copy(&slots, at, false).unwrap_err();
        assert!(matches!(error, HostError::Altered { .. }), "{error}");
        assert!(slots.act(SlotAction::Activate).is_err(), "no version stands there");
        assert_eq!(state(&slots), (Side::A, SlotState::Confirmed, "1.0.0".into()));
    }
}

#[test]
fn the_new_slot_belongs_to_whom_the_running_one_belongs() {
    let folder = folder();
    let at = folder.path();
    let names = [("", 0o750), ("image", 0o700), ("version", 0o640)];
    for (name, mode) in names {
        let path = at.join("a").join(name);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        if chown(&path, Some(65_534), Some(65_533)).is_err() {
            // Only root gives files away.
            return;
        }
    }
    let slots = AbSlots::open(at, 3).unwrap();
    fill(&slots, at, "2.0.0");
    for (name, mode) in names {
        let found = fs::metadata(at.join("b").join(name)).unwrap();
        let rights = (found.uid(), found.gid(), found.mode() & 0o7777);
        assert_eq!(rights, (65_534, 65_533, mode), "{name}");
    }
}

#[test]
fn a_slot_that_is_a_link_leads_nowhere() {
    let folder = folder();
    let at = folder.path();
    let victim = at.join("victim");
    fs::create_dir(&victim).unwrap();
    for name in ["version", "image", "precious"] {
        fs::write(victim.join(name), "theirs").unwrap();
    }
    let before = fs::metadata(&victim).unwrap();
    let intact = || {
        for name in ["version", "image", "precious"] {
            assert_eq!(fs::read(victim.join(name)).unwrap(), b"theirs");
        }
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 3);
        let after = fs::metadata(&victim).unwrap();
        assert_eq!((after.uid(), after.mode()), (before.uid(), before.mode()));
    };
    let slots = AbSlots::open(at, 3).unwrap();
    symlink(&victim, at.join("b")).unwrap();
    slots.empty().unwrap();
    intact();
    assert!(at.join("b").is_dir() && !at.join("b").is_symlink());
    fs::remove_dir(at.join("b")).unwrap();
    symlink(&victim, at.join("b")).unwrap();
    fill(&slots, at, "2.0.0");
    intact();
    // Between the installer and the seal.
    slots.empty().unwrap();
    fs::rename(at.join("b"), at.join("away")).unwrap();
    symlink(&victim, at.join("b")).unwrap();
    assert!(slots.seal(Version::new("3.0.0").unwrap()).is_err());
    intact();
    fs::remove_file(at.join("b")).unwrap();
    fs::create_dir(at.join("b")).unwrap();
    let swapped = slots.seal(Version::new("3.0.0").unwrap()).unwrap_err();
    assert!(matches!(swapped, HostError::Replaced { .. }), "{swapped}");
    // A link within is removed, and what it points to is not.
    symlink(&victim, at.join("b/tree")).unwrap();
    slots.empty().unwrap();
    intact();
}

#[test]
fn the_folder_is_opened_once_and_kept() {
    let folder = folder();
    let at = folder.path();
    fs::create_dir(at.join("app")).unwrap();
    for name in ["a", "current", "new"] {
        fs::rename(at.join(name), at.join("app").join(name)).unwrap();
    }
    let slots = AbSlots::open(at.join("app"), 3).unwrap();
    fs::rename(at.join("app"), at.join("moved")).unwrap();
    fs::create_dir(at.join("app")).unwrap();
    fill(&slots, &at.join("moved"), "2.0.0");
    assert_eq!(fs::read(at.join("moved/b/version")).unwrap(), b"2.0.0\n");
    assert_eq!(fs::read_dir(at.join("app")).unwrap().count(), 0);
}

#[test]
fn a_slot_that_cannot_be_emptied_is_told() {
    let folder = folder();
    let at = folder.path();
    let mut slots = AbSlots::open(at, 3).unwrap();
    fill(&slots, at, "2.0.0");
    let deep: std::path::PathBuf = std::iter::repeat_n("d", 100).collect();
    fs::create_dir_all(at.join("b").join(deep)).unwrap();
    for _ in 0..2 {
        let why = slots.empty().unwrap_err();
        assert!(why.to_string().contains("cannot empty"), "{why}");
        assert!(!at.join("b/version").exists(), "first of all it is no image any more");
        assert!(slots.act(SlotAction::Activate).is_err());
    }
}

#[test]
fn the_state_is_written_in_room_that_was_taken_and_through_no_link() {
    let folder = folder();
    let at = folder.path();
    let mut slots = AbSlots::open(at, 3).unwrap();
    fill(&slots, at, "2.0.0");
    slots.reserve().unwrap();
    assert_eq!(fs::metadata(at.join("state.new")).unwrap().len(), 4096);
    let room = fs::metadata(at.join("state.new")).unwrap().ino();
    slots.act(SlotAction::Activate).unwrap();
    assert_eq!(fs::metadata(at.join("state")).unwrap().ino(), room);
    let text = fs::read_to_string(at.join("state")).unwrap();
    assert_eq!(text.lines().next(), Some("ota-slots 1"), "and nothing behind it: {text:?}");
    assert!(text.ends_with("restart done\n"), "{text:?}");
    symlink(at.join("new"), at.join("state.new")).unwrap();
    slots.start("x").unwrap();
    assert_eq!(fs::read(at.join("new")).unwrap(), vec![7; 300_000]);
    assert!(!at.join("state").is_symlink());
    // A folder that may not be written is known before the first byte.
    fs::remove_dir_all(at).unwrap();
    assert_eq!(slots.reserve(), Err(ota_proto::StorageError::Gone));
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_given_to_its_owner_is_known_before_the_download() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    // Those of this thread: it gives to others, and then may not any more.
    let may_give = |may| {
        let mut sets = capabilities(None).unwrap();
        sets.effective.set(CapabilitySet::CHOWN, may);
        set_capabilities(None, sets)
    };
    for (name, with_image, without) in
        [("a", false, false), ("a/version", false, false), ("a/image", false, true)]
    {
        let folder = folder();
        let at = folder.path();
        if may_give(true).is_err() || chown(at.join(name), Some(65_534), Some(65_534)).is_err() {
            return; // Only root gives files away.
        }
        let mode = if name == "a" { 0o750 } else { 0o640 };
        fs::set_permissions(at.join(name), fs::Permissions::from_mode(mode)).unwrap();
        let mut slots = AbSlots::open(at, 3).unwrap();
        slots.check(true).unwrap();
        may_give(false).unwrap();
        assert_eq!(slots.check(true).is_ok(), with_image, "{name}");
        assert_eq!(slots.check(false).is_ok(), without, "{name}");
        assert_eq!(slots.reserve().is_ok(), without, "{name}");
        assert!(!at.join(".try").exists() && !at.join("b").exists());
    }
}

#[test]
fn a_state_that_cannot_be_read_is_an_error_and_one_that_says_nothing_is_none() {
    let folder = folder();
    let at = folder.path();
    let mut slots = AbSlots::open(at, 3).unwrap();
    fill(&slots, at, "2.0.0");
    for text in [&b"\xff\xfe"[..], b"", b"trial b"] {
        fs::write(at.join("state"), text).unwrap();
        assert_eq!(state(&slots), (Side::A, SlotState::Confirmed, "1.0.0".into()));
    }
    fs::remove_file(at.join("state")).unwrap();
    let refused = |slots: &mut AbSlots| {
        assert!(slots.running().is_err() && slots.start("x").is_err() && slots.empty().is_err());
        assert_eq!(slots.state(), SlotState::Unknown);
        assert!(slots.act(SlotAction::Activate).is_err());
    };
    fs::create_dir(at.join("state")).unwrap();
    refused(&mut slots);
    fs::remove_dir(at.join("state")).unwrap();
    symlink("new", at.join("state")).unwrap();
    refused(&mut slots);
    fs::remove_file(at.join("state")).unwrap();
    assert_eq!(state(&slots), (Side::A, SlotState::Confirmed, "1.0.0".into()));
}

#[test]
fn a_pipe_in_the_running_slot_holds_nobody_up() {
    let folder = folder();
    let at = folder.path();
    fs::remove_file(at.join("a/image")).unwrap();
    let made = std::process::Command::new("mkfifo").arg(at.join("a/image")).status().unwrap();
    assert!(made.success());
    let slots = AbSlots::open(at, 3).unwrap();
    fill(&slots, at, "2.0.0");
    assert_eq!(fs::read(at.join("b/image")).unwrap(), vec![7; 300_000]);
}

/// Who may read the folder may open it, and so could lock it: that must hold up nobody.
#[test]
fn whoever_may_read_the_folder_cannot_hold_up_a_switch() {
    use rustix::fs::{FlockOperation, flock};
    let folder = folder();
    let mut slots = AbSlots::open(folder.path(), 3).unwrap();
    let other = fs::File::open(folder.path()).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    fill(&slots, folder.path(), "2.0.0");
    let (done, ended) = std::sync::mpsc::channel();
    let worker = std::thread::spawn(move || {
        let _ = done.send(slots.act(SlotAction::Activate).is_ok() && slots.start("x").unwrap());
    });
    let ended = ended.recv_timeout(std::time::Duration::from_secs(20));
    drop(other);
    worker.join().unwrap();
    assert_eq!(ended, Ok(true));
}

/// Root without its right to give files away, beside an application that starts itself.
#[test]
fn a_lock_that_cannot_be_shared_is_not_made_and_the_application_makes_its_own() {
    use rustix::thread::{CapabilitySet, capabilities, set_capabilities};
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
    if !rustix::process::geteuid().is_root() {
        return;
    }
    const APP: u32 = 65_534;
    let folder = folder();
    let at = folder.path();
    std::os::unix::fs::chown(at, None, Some(APP)).unwrap();
    fs::set_permissions(at, Permissions::from_mode(0o775)).unwrap();
    let without = || {
        let mut ours = capabilities(None).unwrap();
        ours.effective.remove(CapabilitySet::CHOWN);
        ours.permitted.remove(CapabilitySet::CHOWN);
        set_capabilities(None, ours).unwrap();
        let slots = AbSlots::open(at, 3).unwrap();
        (slots.check(false), slots.start("x"))
    };
    let as_app = || {
        let (user, group) = (rustix::fs::Uid::from_raw(APP), rustix::fs::Gid::from_raw(APP));
        set_thread_res_gid(group, group, group).unwrap();
        set_thread_res_uid(user, user, user).unwrap();
        AbSlots::open(at, 3).unwrap().start("x")
    };
    let names = || fs::read_dir(at).unwrap().count();
    let before = names();
    let (check, start) = std::thread::scope(|scope| scope.spawn(without).join().unwrap());
    for why in [check.unwrap_err(), start.unwrap_err()] {
        assert!(matches!(why, HostError::Unshared { user: 0, group: APP, .. }), "{why}");
        assert!(why.to_string().contains("CAP_CHOWN"), "{why}");
    }
    assert_eq!(names(), before, "nothing is left");
    std::thread::scope(|scope| scope.spawn(as_app).join().unwrap()).unwrap();
    let (check, start) = std::thread::scope(|scope| scope.spawn(without).join().unwrap());
    check.unwrap();
    start.unwrap();
}

/// A start that has nothing to change needs no right but to read.
#[test]
fn a_start_where_nothing_may_be_written_needs_no_lock() {
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
    let folder = folder();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    let root = rustix::process::geteuid().is_root();
    // Root may write everywhere: only this thread is nobody's.
    let start = || {
        let (nobody, none) = (rustix::fs::Uid::from_raw(65_534), rustix::fs::Gid::from_raw(65_534));
        if root {
            set_thread_res_gid(none, none, none).unwrap();
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        AbSlots::open(folder.path(), 3).unwrap().start("x")
    };
    let started = std::thread::scope(|scope| scope.spawn(start).join().unwrap());
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    assert!(!started.unwrap());
    assert!(!folder.path().join("switch.lock").exists());
}
