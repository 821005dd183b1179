//! `ota cloud serve --data` where the system gives out: a disk that is full, a folder that is
//! read-only, and a fleet that comes back at once. A step of the gate: seconds of real time each.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Command;

use common::{Desk, Ota, SECRET, fixed_addr, image};

const OTA: &str = env!("CARGO_BIN_EXE_ota");
const ANY: &str = "127.0.0.1:0";

/// A cloud that serves from `AT/data`, after a script that may mount at `AT`. `None` where the
/// system does not let us.
fn mounted(script: &str, at: &str, more: &[&str]) -> Option<Ota> {
    let possible = Command::new("unshare").args(["-rm", "true"]).output();
    if !possible.is_ok_and(|out| out.status.success()) {
        eprintln!("skipped: no private mounts here");
        return None;
    }
    let script = format!("{script}\nexec \"$@\" --data \"$OTA_TEST_AT/data\"");
    let fixed = ["-rm", "sh", "-ec", &script, "sh", OTA, "cloud", "serve", "--json"];
    let words = [&fixed, &["--mqtt", ANY, "--http", ANY][..], more].concat();
    Some(Ota::start_program("unshare", [("OTA_TEST_AT", at)], words))
}

#[test]
#[ignore = "a step of the gate"]
fn a_disk_that_fills_up_is_told_nothing_is_acknowledged_and_it_goes_on_when_there_is_room() {
    let desk = Desk::new();
    let at = desk.path("disk");
    fs::create_dir(&at).unwrap();
    let image = desk.write("image", image(1, 10_000));
    let (device, firmware) =
        (format!("TESTPROD01/dev001={SECRET}"), format!("TESTPROD01/1.0.0={image}"));
    // The reserve of a folder of images is 64 MiB.
    let script = "mount -t tmpfs -o size=80m none \"$OTA_TEST_AT\"";
    let more = ["--device", &device, "--firmware", &firmware];
    let Some(mut cloud) = mounted(script, at.to_str().unwrap(), &more) else { return };
    let mqtt = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    // The disk as the cloud sees it.
    let others = format!("/proc/{}/root{}/others", cloud.id(), at.to_str().unwrap());
    let mut file = fs::File::create(&others).unwrap();
    while file.write_all(&[7; 65_536]).is_ok() {}
    while file.write_all(&[7; 64]).is_ok() {}
    let config = desk.plain_device("dev001", &mqtt);
    let agent = Ota::start(["agent", "--json", "--config", &config, "--once"]);
    let told = cloud.event("store");
    let why = told["why"].as_str().unwrap();
    assert!(why.contains("full") || why.contains("space"), "{why}");
    drop(file);
    fs::remove_file(others).unwrap();
    let again = cloud.event("store");
    assert!(again["why"].is_null(), "{again}");
    cloud.event("proved");
    agent.end().expect(0);
    // Nobody was told of a report that was not stored: the journal has each step once.
    let proved = cloud.said.iter().filter(|line| line.contains(r#""event":"proved""#)).count();
    assert_eq!(proved, 1);
    cloud.terminate();
    cloud.end().expect(0);
}

#[test]
#[ignore = "a step of the gate"]
fn a_read_only_folder_ends_the_start_with_one_line_that_says_what_to_do() {
    let desk = Desk::new();
    let at = desk.path("disk");
    fs::create_dir_all(&at).unwrap();
    let data = at.join("data");
    let mut cloud = Ota::start([
        "cloud",
        "serve",
        "--json",
        "--mqtt",
        ANY,
        "--http",
        ANY,
        "--anonymous",
        "--data",
        data.to_str().unwrap(),
    ]);
    cloud.event("listening");
    cloud.terminate();
    cloud.end().expect(0);
    let before = fs::read(data.join("cloud.db")).unwrap();
    let script = "mount --bind \"$OTA_TEST_AT\" \"$OTA_TEST_AT\"\n\
                  mount -o remount,bind,ro \"$OTA_TEST_AT\"";
    let Some(cloud) = mounted(script, at.to_str().unwrap(), &["--anonymous"]) else { return };
    let end = cloud.end().expect(5);
    assert_eq!(end.err.len(), 1, "{:?}", end.err);
    assert!(end.err[0].contains("read-only") || end.err[0].contains("writ"), "{:?}", end.err);
    assert!(before == fs::read(data.join("cloud.db")).unwrap(), "the file was changed");
}

/// `OTA_CLOUD_FLEET` says how many (1,000).
#[test]
#[ignore = "a step of the gate"]
fn a_fleet_comes_back_by_itself_when_the_cloud_was_killed() {
    let devices = std::env::var("OTA_CLOUD_FLEET").unwrap_or_else(|_| "1000".into());
    let most: usize = devices.parse().unwrap();
    let desk = Desk::new();
    let data = desk.path("data");
    let serve = |mqtt: &str| {
        Ota::start([
            "cloud",
            "serve",
            "--json",
            "--mqtt",
            mqtt,
            "--http",
            ANY,
            "--anonymous",
            "--max-devices",
            &devices,
            "--data",
            data.to_str().unwrap(),
        ])
    };
    let all = |cloud: &mut Ota| {
        let mut known = BTreeSet::new();
        while known.len() < most {
            // Each device reports again and again: a line that is lost is no loss.
            let one = cloud.event("sent");
            known.insert(one["device"].as_str().unwrap().to_owned());
            cloud.said.clear();
        }
    };
    let mut cloud = serve(&fixed_addr());
    let mqtt = cloud.event("listening")["mqtt"].as_str().unwrap().to_owned();
    let broker = format!("mqtt://{mqtt}");
    let load = Ota::start([
        "cloud",
        "load",
        "--broker",
        &broker,
        "--devices",
        &devices,
        "--for",
        "100s",
        "--spread",
        "5s",
    ]);
    all(&mut cloud);
    cloud.kill();
    let mut cloud = serve(&mqtt);
    cloud.event("listening");
    all(&mut cloud);
    drop(load);
    cloud.terminate();
    cloud.end().expect(0);
}
