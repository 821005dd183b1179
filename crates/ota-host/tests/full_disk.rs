//! A disk that is really full. Linux only: it takes a private mount of 2 MiB.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::process::Command;

use ota_host::{DataDir, FileSlot, JournalFile, SlotOptions};
use ota_proto::StorageError;
use ota_proto::journal::Record;

const DISK: &str = "OTA_TEST_SMALL_DISK";

#[test]
fn a_full_disk_stops_the_image_and_not_the_journal() {
    on_a_small_disk("on_a_disk_of_2_mib");
}

#[test]
fn a_second_image_needs_room_or_leave_to_take_the_firsts() {
    on_a_small_disk("two_images_on_a_disk_of_2_mib");
}

/// Runs a test below in a mount namespace of its own; nothing is left behind.
fn on_a_small_disk(test: &str) {
    let temp = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=2m none \"${DISK}\"");
    let private = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["-rm", "sh", "-c", script, "sh"]).env(DISK, temp.path());
        command
    };
    if !private(&mount).output().is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: no private mounts here");
        return;
    }
    let inner = private(&format!("{mount} && exec \"$@\""))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&inner.stdout);
    assert!(inner.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run on a small disk by the test above"]
fn on_a_disk_of_2_mib() {
    let disk = std::path::PathBuf::from(std::env::var_os(DISK).unwrap());
    let dir = DataDir::open(disk.join("data")).unwrap();
    let mut journal = JournalFile::open(&dir).unwrap();
    let options = SlotOptions { keep_free: 64 * 1024, ..SlotOptions::default() };
    let mut slot = FileSlot::open(&dir, options).unwrap();
    assert_eq!(slot.info().capacity, (2048 - 64) * 1024);

    // Room is taken for a known image, and not at all for one that does not fit.
    std::fs::write(disk.join("others"), vec![1; 1024 * 1024]).unwrap();
    assert_eq!(slot.erase(0..4096, 1024 * 1024), Err(StorageError::NoSpace));
    assert_eq!(std::fs::metadata(disk.join("data/slot.part")).unwrap().len(), 0);
    assert_eq!(slot.erase(0..4096, 512 * 1024), Ok(()));
    let fill = std::fs::write(disk.join("more"), vec![1; 1024 * 1024]);
    assert!(fill.is_err(), "the disk is full");
    for at in (0..512 * 1024).step_by(4096) {
        slot.write_at(at, &[7; 4096]).unwrap();
    }
    assert_eq!(slot.sync(), Ok(()), "the room was taken before");

    // One of unknown size runs into the wall; the journal does not.
    assert_eq!(slot.write_at(512 * 1024, &[7; 4096]), Err(StorageError::NoSpace));
    for sequence in 1..20 {
        let record = Record::default().encode(sequence);
        journal.persist(&record).unwrap();
        assert_eq!(journal.load(), Some(record));
    }
    std::fs::remove_file(disk.join("data/journal")).unwrap();
    std::fs::write(disk.join("last"), vec![1; 64 * 1024]).unwrap_err();
    let why = JournalFile::open(&dir).unwrap_err();
    assert_eq!(why.storage(), StorageError::NoSpace, "{why}");
    assert!(!disk.join("data/journal.new").exists(), "nothing half-made stays");
}

#[test]
#[ignore = "run on a small disk by the test above"]
fn two_images_on_a_disk_of_2_mib() {
    let disk = std::path::PathBuf::from(std::env::var_os(DISK).unwrap());
    let dir = DataDir::open(disk.join("data")).unwrap();
    let size = 1200 * 1024;
    let open = |keep_before| {
        let options =
            SlotOptions { keep_free: 0, keep_before, accepts: true, ..SlotOptions::default() };
        FileSlot::open(&dir, options).unwrap()
    };
    let image = disk.join("data/slot.img");
    std::fs::write(&image, vec![1; 1200 * 1024]).unwrap();
    let mut slot = open(true);
    let second = slot.erase(0..4096, size);
    assert_eq!(second, Err(StorageError::NoSecondSpace));
    assert_eq!(second.unwrap_err().to_string(), "no space for a second image");
    let too_large = slot.erase(0..4096, 1900 * 1024);
    assert_eq!(too_large, Err(StorageError::NoSecondSpace));
    std::fs::write(disk.join("others"), vec![1; 400 * 1024]).unwrap();
    assert_eq!(slot.erase(0..4096, 1900 * 1024), Err(StorageError::NoSpace), "not alone either");
    assert_eq!(std::fs::metadata(&image).unwrap().len(), size, "it stays");
    assert_eq!(slot.erase(0..4096, 100 * 1024), Ok(()), "a small one has room");
    let mut slot = open(false);
    assert_eq!(slot.erase(0..4096, 1900 * 1024), Err(StorageError::NoSpace));
    assert!(image.exists(), "nothing is removed in vain");
    assert_eq!(slot.erase(0..4096, 100 * 1024), Ok(()));
    assert!(image.exists(), "nor before its room is needed");
    assert_eq!(slot.image().take_removed(), None);
    // An installer has linked it: removing this name would give nothing back.
    let app = disk.join("app");
    std::fs::hard_link(&image, &app).unwrap();
    assert_eq!(slot.erase(0..4096, size), Err(StorageError::NoSpace));
    assert!(image.exists(), "nothing is removed in vain");
    std::fs::remove_file(&app).unwrap();
    assert_eq!(slot.erase(0..4096, size), Ok(()));
    assert!(!image.exists());
    assert_eq!(slot.image().take_removed(), Some(size), "it is told");
    assert_eq!(slot.image().take_removed(), None, "once");
    // What runs from its file keeps its room, and that is seen before the first byte.
    drop(slot);
    std::fs::remove_file(disk.join("data/slot.part")).unwrap();
    std::fs::write(&image, vec![1; 1200 * 1024]).unwrap();
    let held = std::fs::File::open(&image).unwrap();
    let mut slot = open(false);
    assert_eq!(slot.erase(0..4096, size), Err(StorageError::NoSpace));
    assert_eq!(slot.image().take_removed(), Some(size), "it is told");
    drop(held);
    assert_eq!(slot.erase(0..4096, size), Ok(()));
}
