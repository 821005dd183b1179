//! Runs every file of every corpus through the body of its fuzz target.

use std::fs;
use std::path::Path;

fn replay(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(&folder).expect("there is a corpus") {
        let path = entry.expect("readable").path();
        // Shown when the test fails.
        println!("{}", path.display());
        body(&fs::read(&path).expect("readable"));
        count += 1;
    }
    assert!(count > 5, "the corpus of {target} is missing");
}

#[test]
fn mqtt_packet() {
    replay("mqtt_packet", ota_fuzz::mqtt_packet);
}

#[test]
fn mqtt_session() {
    replay("mqtt_session", ota_fuzz::mqtt_session);
}

#[test]
fn message() {
    replay("message", ota_fuzz::message);
}

#[test]
fn http() {
    replay("http", ota_fuzz::http);
}
