//! An answer of the system that a test cannot bring about by itself: strace gives it. Linux only.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::path::PathBuf;
use std::process::Command;

use ota_host::{DataDir, FileSlot, SlotOptions};

const FOLDER: &str = "OTA_TEST_FOLDER";

#[test]
fn a_signal_while_room_is_taken_says_nothing_of_the_disk() {
    let possible = Command::new("strace").args(["-qq", "-e", "trace=none", "true"]).output();
    if !possible.is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: no strace here, or it may trace nothing");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let trace = temp.path().join("trace");
    let out = Command::new("strace")
        .args(["-f", "-qq", "-e", "trace=fallocate"])
        .args(["-e", "inject=fallocate:error=EINTR:when=1", "-o"])
        .args([trace.as_os_str(), std::env::current_exe().unwrap().as_os_str()])
        .args(["--exact", "takes_room_for_an_image", "--ignored"])
        .env(FOLDER, temp.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && text.contains("1 passed"), "{text}");
    let calls = std::fs::read_to_string(trace).unwrap();
    let calls: Vec<&str> = calls.lines().filter(|line| line.contains("fallocate(")).collect();
    assert!(calls[0].contains("EINTR") && calls.len() == 2, "{calls:#?}");
}

#[test]
#[ignore = "run under strace by the test above"]
fn takes_room_for_an_image() {
    let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let dir = DataDir::open(folder.join("data")).unwrap();
    let options = SlotOptions { keep_free: 0, ..SlotOptions::default() };
    let mut slot = FileSlot::open(&dir, options).unwrap();
    assert_eq!(slot.erase(0..4096, 64 * 1024), Ok(()));
}
