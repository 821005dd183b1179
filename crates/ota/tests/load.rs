//! `ota cloud load`: hundreds of devices against `ota cloud serve`, each with its own connection.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use common::{Ota, json};

#[test]
fn five_hundred_devices_at_once_are_all_answered() {
    let args = "cloud serve --json --quiet --anonymous --max-devices 500 \
                --mqtt 127.0.0.1:0 --http 127.0.0.1:0";
    let mut cloud = Ota::start(args.split(' ').filter(|word| !word.is_empty()));
    let broker = format!("mqtt://{}", cloud.event("listening")["mqtt"].as_str().unwrap());
    let load = ["cloud", "load", "--json", "--broker", &broker, "--for", "1s"];
    let more = ["--devices", "500", "--spread", "200ms", "--pid", &cloud.id().to_string()];
    let end = Ota::start([&load[..], &more[..]].concat()).end().expect(0);
    let summary = json(&end.out[0]);
    let number = |key: &str| summary[key].as_f64().unwrap();
    assert_eq!((number("devices"), number("lost")), (500.0, 0.0), "{summary}");
    // Each got at least one answer more, and each answer is one report that changed the state.
    assert!(number("reports") >= 500.0, "{summary}");
    // A connection's buffers, its two tasks' states and the device's record.
    assert!((1.0..65_536.0).contains(&number("rest_bytes")), "{summary}");
    cloud.terminate();
    let end = cloud.end().expect(0);
    // Quiet: where it listens, and nothing else.
    assert_eq!(end.out.len(), 1, "{:?}", end.out);
}

#[test]
fn what_cannot_be_is_said() {
    for (args, code, words) in [
        (&["--broker", "mqtts://h"][..], 2, "the load comes without TLS"),
        (&["--broker", "h"], 2, "--broker: it begins with neither"),
        (&["--broker", "mqtt://h", "--devices", "1000000"], 5, "raise the limit"),
    ] {
        // The machine may allow more open files than that.
        let limited = ["-c", "ulimit -n 1024; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_ota")];
        let program = [&limited[..], &["cloud", "load"], args].concat();
        let end = Ota::start_program("sh", [("OTA_TEST", "")], program).end().expect(code);
        assert!(end.err[0].contains(words), "{:?}", end.err);
    }
}
