//! An update that fails leaves a recording, and `ota replay` shows how it failed.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::{Desk, End, Ota, SECRET, cloud_with, image, json, once};
use ota_proto::Identity;
use ota_proto::credentials::{Algorithm, Login, Secret};
use serde_json::Value;

fn replay(file: &str, more: &[&str]) -> End {
    Ota::start([&["replay", file], more].concat()).end()
}

/// A byte of the firmware is another one than when its digest was made. Returns the recording, and
/// the query of the URL that the device was offered.
fn failed_update(desk: &Desk) -> (String, String) {
    let mut firmware = image(1, 300_000);
    desk.write("image", &firmware);
    let (mut cloud, broker) = cloud_with(&["dev001"], &desk.path("image"), &["--show-secrets"]);
    // As a disk does that lost a bit.
    let path = desk.path("image");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    firmware[150_000] ^= 1;
    desk.write("image", &firmware);
    fs::File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    let config = desk.plain_device("dev001", &broker);
    let end = once(&config).expect(4);
    let recorded = end.out.iter().map(|line| json(line)).find(|line| line["event"] == "recorded");
    let offer = cloud.wait_for("offer", |line| line["payload"]["type"] == "update_firmware");
    let query = offer["payload"]["url"].as_str().unwrap().split_once('?').unwrap().1;
    (recorded.unwrap()["file"].as_str().unwrap().to_owned(), query.to_owned())
}

#[test]
fn a_failed_update_is_recorded_and_replayed() {
    let desk = Desk::new();
    let (file, _) = failed_update(&desk);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(file, desk.path("dev001/failed-1.rec").to_str().unwrap());

    let end = replay(&file, &["--json"]).expect(0);
    let lines: Vec<Value> = end.out.iter().map(|line| json(line)).collect();
    let last = |event: &str| lines.iter().rfind(|line| line["event"] == event).unwrap();
    assert_eq!(last("finished")["reason"], "md5 does not match");
    assert_eq!(
        (&last("stands")["state"], &last("stands")["owed"]),
        (&"idle".into(), &"fail: md5 does not match".into())
    );
    assert_eq!(lines[0]["dropped"], 0);
    // The very bytes that were stored, and the digest that they have.
    let stored = lines.iter().filter_map(|line| line["stored"].as_u64()).max();
    assert_eq!(stored, Some(300_000));
    assert_eq!(last("end")["inputs"], lines.iter().filter(|line| line["event"] == "input").count());

    let end = replay(&file, &[]).expect(0);
    let text = end.out.join("\n");
    for words in [
        "> broker: received",
        "update_firmware",
        "< store: connect to 127.0.0.1:",
        "= fetching",
        "* update to 1.0.0: failed: md5 does not match",
    ] {
        assert!(text.contains(words), "{words} in:\n{text}");
    }
}

#[test]
fn no_secret_stands_in_a_recording() {
    let desk = Desk::new();
    let (file, query) = failed_update(&desk);
    let bytes = fs::read(&file).unwrap();
    let has = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    // The user name is no secret. Its third part is what the password was made with.
    assert!(has(b"TESTPROD01dev001;"));
    let text = String::from_utf8_lossy(&bytes);
    let user = text.split("TESTPROD01dev001;").nth(1).unwrap();
    let mut parts = user.split(';');
    let (app_id, conn_id) = (parts.next().unwrap(), parts.next().unwrap());
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    let secret = Secret::from_base64(SECRET).unwrap();
    let expiry = parts.next().unwrap();
    let expiry = expiry.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap();
    let login =
        Login::new(&identity, &secret, Algorithm::HmacSha256, app_id, conn_id, expiry).unwrap();
    assert!(has(login.username.as_bytes()), "{}", login.username);
    assert!(!has(&login.password.as_bytes()[..16]));
    assert!(!has(SECRET.as_bytes()) && !has(secret.expose()));
    assert!(query.len() > 20, "{query}");
    for part in query.split(['&', '=']).filter(|part| part.len() > 3) {
        assert!(!has(part.as_bytes()), "{part}");
    }
    let shown = replay(&file, &["--json"]).expect(0).out.join("\n");
    assert!(!shown.contains(&query));
}

#[test]
fn what_is_no_recording_is_one_line() {
    let desk = Desk::new();
    let other = desk.write("other", "a text");
    let end = replay(&other, &[]).expect(2);
    assert_eq!(end.err, [format!("ota: {other}: not a recording")]);
    let end = replay("/nowhere", &[]).expect(5);
    assert!(end.err[0].starts_with("ota: cannot read /nowhere: "), "{:?}", end.err);
}
