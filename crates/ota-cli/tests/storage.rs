//! A data folder that is full, read-only, removed or in use, through the program.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use std::process::Command;

use common::{Desk, End, ONCE, Ota, image, setup, told};

const AGENT: [&str; 3] = [env!("CARGO_BIN_EXE_ota"), "agent", "--json"];

/// Runs an agent as the last words of this script.
fn once_under(script: &str, config: &str) -> End {
    let script = format!("{script}\nexec \"$@\" --config \"$OTA_TEST_CONFIG\"");
    let words = [&["-c", &script, "sh"][..], &AGENT, &ONCE].concat();
    let env = [("OTA_TEST_CONFIG", config)];
    Ota::start_program("sh", env, words).end()
}

/// As [`once_under`], where the script may mount. `None` where the system does not let us.
fn once_mounted(script: &str, config: &str, at: &str) -> Option<End> {
    let possible = Command::new("unshare").args(["-rm", "true"]).output();
    if !possible.is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: no private mounts here");
        return None;
    }
    let script = format!("{script}\nexec \"$@\" --config \"$OTA_TEST_CONFIG\"");
    let words = [&["-rm", "sh", "-ec", &script, "sh"][..], &AGENT, &ONCE].concat();
    let env = [("OTA_TEST_CONFIG", config), ("OTA_TEST_AT", at)];
    Some(Ota::start_program("unshare", env, words).end())
}

#[test]
fn an_image_that_finds_no_room_is_refused_before_its_first_byte() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(1, 2 << 20));
    let config = desk.plain_device("dev001", &broker);
    // The system's limit for a file, in KiB or half of them, with the words of a full disk.
    let end = once_under("trap '' XFSZ; ulimit -f 1024", &config).expect(4);
    assert_eq!(end.err.last().unwrap(), "ota: the update failed: no space");
    assert_eq!(told(&mut cloud), ("-5".into(), "no space".into()));
    assert_eq!(desk.read("dev001/slot.img").len(), 0, "nothing was stored");
}

#[test]
fn a_full_disk_is_told_and_the_report_of_it_needs_no_room() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(2, 3 << 20));
    let data = desk.path("dev001");
    // Others leave nothing while the cloud is asked.
    let fill = "consent = [\"sh\", \"-c\", \"cat /dev/zero > $0/others || true\", \"AT\"]";
    let fill = fill.replace("AT", data.to_str().unwrap());
    let config = desk.device_with("dev001", &broker, &fill);
    let mount = "mkdir \"$OTA_TEST_AT\"; mount -t tmpfs -o size=8m none \"$OTA_TEST_AT\"";
    let Some(end) = once_mounted(mount, &config, data.to_str().unwrap()) else { return };
    let end = end.expect(4);
    assert_eq!(end.err.last().unwrap(), "ota: the update failed: no space");
    assert_eq!(told(&mut cloud), ("-5".into(), "no space".into()));
}

#[test]
fn a_full_or_read_only_disk_at_the_start_is_one_line_that_says_what_to_do() {
    let desk = Desk::new();
    let config = desk.plain_device("dev001", "127.0.0.1:9");
    let data = desk.path("dev001");
    let mount = "mkdir -p \"$OTA_TEST_AT\"; mount -t tmpfs -o size=64k none \"$OTA_TEST_AT\"\n";
    for (script, words) in [
        ("mount -o remount,ro \"$OTA_TEST_AT\"", "make it writable for the user"),
        ("cat /dev/zero > \"$OTA_TEST_AT/others\" 2>/dev/null || true", "free some space"),
    ] {
        let script = format!("{mount}{script}");
        let Some(end) = once_mounted(&script, &config, data.to_str().unwrap()) else { return };
        let end = end.expect(5);
        assert_eq!(end.err.len(), 1, "{:?}", end.err);
        assert!(end.err[0].contains(words), "{:?}", end.err);
        assert!(end.err[0].contains(data.to_str().unwrap()), "{:?}", end.err);
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_one_line_that_says_what_to_do() {
    let desk = Desk::new();
    let config = desk.plain_device("dev001", "127.0.0.1:9");
    std::fs::write(desk.path("dev001"), "a file").unwrap();
    let end = once_under("", &config).expect(5);
    assert!(end.err[0].contains("cannot create") && end.err.len() == 1, "{:?}", end.err);
    // Nobody may make folders there, not even root.
    desk.replace("dev001.toml", "\"dev001\"\nallow", "\"/proc/ota\"\nallow");
    let end = once_under("", &config).expect(5);
    assert!(end.err[0].contains("cannot create /proc/ota"), "{:?}", end.err);
}

#[test]
fn a_folder_removed_under_the_agent_ends_it_and_the_next_one_begins_anew() {
    let firmware = image(3, 300_000);
    let (desk, mut cloud, broker) = setup(&["dev001"], &firmware);
    let remove = format!("consent = [\"rm\", \"-r\", \"{}\"]", desk.path("dev001").display());
    let config = desk.device_with("dev001", &broker, &remove);
    let end = once_under("", &config).expect(5);
    let last = end.err.last().unwrap();
    assert!(last.contains("was removed while the agent used it: start the agent again"), "{last}");
    desk.replace("dev001.toml", &remove, "");
    once_under("", &config).expect(0);
    assert_eq!(desk.read("dev001/slot.img"), firmware);
    cloud.event("claimed");
    cloud.event("proved");
}

#[test]
fn a_slot_removed_under_the_agent_is_told() {
    let (desk, mut cloud, broker) = setup(&["dev001"], image(4, 300_000));
    let remove = format!("consent = [\"rm\", \"{}\"]", desk.path("dev001/slot.img").display());
    let config = desk.device_with("dev001", &broker, &remove);
    let end = once_under("", &config).expect(4);
    assert_eq!(end.err.last().unwrap(), "ota: the update failed: storage error");
    assert_eq!(told(&mut cloud), ("-5".into(), "storage error".into()));
}
