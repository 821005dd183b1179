//! An answer of the system that a test cannot bring about by itself: strace gives it. Linux only.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use ota_host::{
    AbSlots, DataDir, FileSlot, Image, Job, JournalFile, NoSwitch, Piece, SlotOptions, Storage,
    VersionFile, VersionRoom, Work, settle,
};
use ota_proto::{Digester, Version};

const FOLDER: &str = "OTA_TEST_FOLDER";

fn possible() -> bool {
    let done = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).output();
    let possible = done.is_ok_and(|out| out.status.success());
    if !possible {
        eprintln!("skipped: no strace here, or it may trace nothing");
    }
    possible
}

/// Runs one of the tests below in this folder, under strace with these options.
fn traced(options: &[&str], test: &str, folder: &Path) -> Output {
    Command::new("strace")
        .args(["-f", "-qq", "-o"])
        .arg(folder.join("trace"))
        .args(options)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .env(FOLDER, folder)
        .output()
        .unwrap()
}

#[test]
fn a_signal_while_room_is_taken_says_nothing_of_the_disk() {
    if !possible() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let options = ["-e", "trace=fallocate", "-e", "inject=fallocate:error=EINTR:when=1"];
    let out = traced(&options, "takes_room_for_an_image", temp.path());
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    let calls = fs::read_to_string(temp.path().join("trace")).unwrap();
    let calls: Vec<&str> = calls.lines().filter(|line| line.contains("fallocate(")).collect();
    assert!(calls[0].contains("EINTR") && calls.len() == 2, "{calls:#?}");
}

#[test]
#[ignore = "run under strace by another test"]
fn takes_room_for_an_image() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let dir = DataDir::open(folder.join("data")).unwrap();
    let options = SlotOptions { keep_free: 0, ..SlotOptions::default() };
    let mut slot = FileSlot::open(&dir, options).unwrap();
    assert_eq!(slot.erase(0..4096, 64 * 1024), Ok(()));
}

const OLD: &[u8] = b"the image of 1.0.0";
const NEW: &[u8] = b"the image of 2.0.0, which is longer";

fn version(text: &str) -> Version {
    Version::new(text).unwrap()
}

fn version_file(folder: &Path) -> VersionFile {
    VersionFile::new(folder.join("etc/version"))
}

/// A machine that runs 1.0.0, and has accepted its image or never one.
fn machine(folder: &Path, has_image: bool) {
    fs::create_dir(folder.join("etc")).unwrap();
    fs::create_dir(folder.join("data")).unwrap();
    version_file(folder).write(&version("1.0.0")).unwrap();
    if has_image {
        fs::write(folder.join("data/slot.img"), OLD).unwrap();
    }
}

/// A start of it, on the image of 2.0.0: received when it is not there.
fn start(folder: &Path) -> (Image, VersionRoom) {
    let dir = DataDir::open(folder.join("data")).unwrap();
    let (file, room) = (version_file(folder), VersionRoom::default());
    settle(&dir, &file).unwrap();
    let options = SlotOptions { keep_free: 0, accepts: true, ..SlotOptions::default() };
    let slot = FileSlot::open(&dir, options).unwrap();
    let mut storage = Storage::new(slot, JournalFile::open(&dir).unwrap(), Box::new(NoSwitch));
    let image = storage.image();
    image.reserve(&file, &room).unwrap();
    let mut run = |work| storage.run(Job::new((), work));
    let size = NEW.len() as u64;
    if !folder.join("data/slot.new").exists() {
        run(Work::Erase { range: 0..size, size });
        run(Work::Write { at: 0, bytes: Piece { buf: NEW.to_vec(), span: 0..NEW.len() } });
        run(Work::Sync);
    }
    let mut digester = Digester::new();
    digester.update(NEW);
    let whole = Some(digester.finish());
    storage.run(Job { whole, ..Job::new((), Work::Digest { range: 0..size }) });
    image.check().unwrap();
    (image, room)
}

#[test]
#[ignore = "run under strace by another test"]
fn accepts_an_image() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let (image, room) = start(&folder);
    fs::write(folder.join("verified"), "").unwrap();
    image.accept(&version_file(&folder), &room, &version("2.0.0")).unwrap();
}

/// What is there when nothing is in progress.
fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder.join("data")).unwrap();
    let mut names: Vec<String> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| !["lock", "journal", "switch.new"].contains(&name.as_str()));
    names.sort();
    names
}

/// Kills a switch at the n-th of these calls, and looks at what a start makes of it. Whether it ran
/// to its end, and which version a switch that had begun was cut at.
fn cut(call: &str, n: usize, has_image: bool, more: Option<&str>) -> (bool, Option<bool>) {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path();
    machine(folder, has_image);
    drop(start(folder));
    let kill = format!("inject={call}:signal=KILL:when={n}");
    let mut options = vec!["-e", CALLS, "-e", &kill];
    options.extend(more.iter().flat_map(|more| ["-e", *more]));
    let done = traced(&options, "accepts_an_image", folder).status.success();
    let at = format!("{has_image} {more:?} cut at {call} {n}");
    if !folder.join("verified").exists() {
        return (done, None);
    }
    let found = fs::read(folder.join("data/slot.img")).ok();
    if has_image {
        // Whoever reads it meanwhile finds a whole one.
        assert!(found.as_deref().is_some_and(|found| found == OLD || found == NEW), "{at}");
    }
    settle(&DataDir::open(folder.join("data")).unwrap(), &version_file(folder)).unwrap();
    let is_new = version_file(folder).read().unwrap() == version("2.0.0");
    // What may have been read is not taken back.
    assert!(is_new || found.as_deref() != Some(NEW), "{at}");
    let image = fs::read(folder.join("data/slot.img")).ok();
    let (want, left) = match (is_new, has_image) {
        (true, _) => (Some(NEW), &["slot.img"][..]),
        (false, true) => (Some(OLD), &["slot.img", "slot.new"][..]),
        (false, false) => (None, &["slot.new"][..]),
    };
    assert_eq!(image.as_deref(), want, "{at}");
    assert_eq!(names(folder), left, "{at}");
    if !is_new {
        let (image, room) = start(folder);
        image.accept(&version_file(folder), &room, &version("2.0.0")).unwrap();
        assert_eq!(names(folder), ["slot.img"], "{at}");
        assert_eq!(fs::read(folder.join("data/slot.img")).unwrap(), NEW, "{at}");
    }
    (done, Some(is_new))
}

const CALLS: &str = "trace=renameat,renameat2,linkat,unlinkat,pwrite64,fsync,ftruncate";

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn a_switch_cut_at_any_call_is_done_or_was_never_begun() {
    if !possible() {
        return;
    }
    let cut_all = |has_image, more: Option<&str>| {
        let mut cuts = [0, 0];
        let calls = CALLS.trim_start_matches("trace=").split(',');
        for call in calls.filter(|call| more.is_none() || *call != "linkat") {
            for n in 1.. {
                let (done, is_new) = cut(call, n, has_image, more);
                is_new.inspect(|is_new| cuts[usize::from(*is_new)] += 1);
                if done {
                    break;
                }
            }
        }
        assert!(cuts[0] > 8 && cuts[1] > 8, "{cuts:?}");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| cut_all(true, None));
        scope.spawn(|| cut_all(false, None));
        // A file system that gives no second name.
        scope.spawn(|| cut_all(true, Some("inject=linkat:error=EPERM")));
    });
}

#[test]
#[ignore = "run under strace by another test"]
fn accepts_an_image_at_the_second_try() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let (image, room) = start(&folder);
    let (file, new) = (version_file(&folder), version("2.0.0"));
    assert!(image.accept(&file, &room, &new).is_err());
    // For now, and a power cut may take it back: both ways are open.
    assert!(image.is_accepted() && file.read().unwrap() == new);
    assert_eq!(names(&folder), ["slot.img", "slot.old", "switch"]);
    if folder.join("again").exists() {
        image.accept(&file, &room, &new).unwrap();
        assert_eq!(names(&folder), ["slot.img"]);
    }
}

#[test]
#[ignore = "run under strace by another test"]
fn cannot_settle() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let dir = DataDir::open(folder.join("data")).unwrap();
    assert!(settle(&dir, &version_file(&folder)).is_err());
    assert_eq!(names(&folder), ["slot.img", "slot.old", "switch"]);
}

#[test]
fn a_switch_whose_name_may_not_be_lasting_is_not_taken_for_done() {
    if !possible() {
        return;
    }
    for (again, back) in [(true, false), (false, false), (false, true)] {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        machine(folder, true);
        if again {
            fs::write(folder.join("again"), "").unwrap();
        }
        // The only sync of that folder is that of the version's name.
        let place = folder.join("etc");
        let options = ["-P", place.to_str().unwrap(), "-e", "inject=fsync:error=EIO:when=1"];
        let out = traced(&options, "accepts_an_image_at_the_second_try", folder);
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && text.contains("1 passed"), "{text}");
        if !again {
            // Nor by a start that cannot make it lasting, either.
            let out = traced(&options, "cannot_settle", folder);
            let text = String::from_utf8_lossy(&out.stdout);
            assert!(out.status.success() && text.contains("1 passed"), "{text}");
        }
        let runs = if back { "1.0.0" } else { "2.0.0" };
        version_file(folder).write(&version(runs)).unwrap();
        settle(&DataDir::open(folder.join("data")).unwrap(), &version_file(folder)).unwrap();
        let (want, left) =
            if back { (OLD, &["slot.img", "slot.new"][..]) } else { (NEW, &["slot.img"][..]) };
        assert_eq!(fs::read(folder.join("data/slot.img")).unwrap(), want);
        assert_eq!(names(folder), left);
    }
}

/// As an error of the system shows it.
const EIO: &str = "Os { code: 5,";

/// Two slots, of which `a` runs.
fn slots(folder: &Path) {
    for name in ["a", "b/deep"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    for name in ["a/version", "b/version", "b/image", "b/deep/file"] {
        fs::write(folder.join(name), "1.0.0\n").unwrap();
    }
    symlink("a", folder.join("current")).unwrap();
}

#[test]
#[ignore = "run under strace by another test"]
fn empties_a_slot() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    AbSlots::open(folder, 3).unwrap().empty().unwrap();
}

/// Empties the slot that does not run while a call is answered so: whether it was, whether the slot
/// was emptied, and what was said.
fn empty(folder: &Path, call: &str, answer: &str) -> (bool, bool, String) {
    let (trace, inject) = (format!("trace={call}"), format!("inject={call}:{answer}"));
    let out = traced(&["-e", &trace, "-e", &inject], "empties_a_slot", folder);
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(text.contains("running 1 test"), "{text}");
    let calls = fs::read_to_string(folder.join("trace")).unwrap();
    (calls.contains("INJECTED"), out.status.success(), text)
}

/// Each call that removes something fails once.
#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn a_slot_of_which_something_cannot_be_removed_is_not_emptied() {
    if !possible() {
        return;
    }
    for at in 1.. {
        let temp = tempfile::tempdir().unwrap();
        slots(temp.path());
        let (failed, emptied, text) =
            empty(temp.path(), "unlinkat", &format!("error=EIO:when={at}"));
        if !failed {
            assert!(emptied && at > 7, "three files, two folders that are no files: {text}");
            return;
        }
        assert!(!emptied && text.contains(EIO), "call {at}: {text}");
    }
}

/// A disk that fails is no kernel that refuses: the slot would be another user's.
#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn an_error_while_a_slot_is_given_away_is_not_passed_over() {
    let temp = tempfile::tempdir().unwrap();
    slots(temp.path());
    if !possible() || chown(temp.path().join("a"), Some(1), Some(1)).is_err() {
        return;
    }
    let (failed, emptied, text) = empty(temp.path(), "fchown", "error=EIO:when=1");
    assert!(failed && !emptied && text.contains(EIO), "{text}");
    // Everybody may read what is in this folder.
    let (failed, emptied, text) = empty(temp.path(), "fchown", "error=EPERM:when=1");
    assert!(failed && emptied, "{text}");
}
