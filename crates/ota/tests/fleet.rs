//! `ota demo --fleet`: a batch in waves, with devices that fail, from what is printed.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod common;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use common::{Ota, PATIENCE, json};
use serde_json::Value;

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("no {key}: {value}"))
}

#[test]
fn three_waves_end_and_exactly_those_fail_that_were_to() {
    let args = "demo --fleet 20 --fail 20 --seed 7 --fast --json".split(' ');
    let end = Ota::start(args).end().expect(0);
    assert_eq!(end.err, [""; 0]);
    let lines: Vec<Value> = end.out.iter().map(|line| json(line)).collect();
    assert_eq!((number(&lines[0], "devices"), number(&lines[0], "failing")), (20, 4));
    // The last line of each wave.
    let waves = lines.iter().filter(|line| line["event"] == "wave");
    let waves: BTreeMap<u64, &Value> = waves.map(|wave| (number(wave, "wave"), wave)).collect();
    assert_eq!(waves.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    let sum = |key| waves.values().map(|wave| number(wave, key)).sum::<u64>();
    assert!(waves.values().all(|wave| wave["state"] == "over"), "{waves:?}");
    let sizes: Vec<u64> = waves.values().map(|wave| number(wave, "devices")).collect();
    assert_eq!(sizes, [1, 5, 14]);
    assert_eq!(["done", "failed", "running", "waiting"].map(sum), [16, 4, 0, 0]);
    let summary = lines.last().unwrap();
    assert_eq!(summary["result"], "ended");
    assert_eq!(["devices", "done", "failed"].map(|key| number(summary, key)), [20, 16, 4]);
    let reasons = summary["reasons"].as_object().unwrap();
    let counts: Vec<u64> = reasons.values().map(|count| count.as_u64().unwrap()).collect();
    assert_eq!((counts.len(), counts.iter().sum::<u64>()), (3, 4), "{summary}");
}

#[test]
fn without_a_terminal_people_get_lines_and_no_escapes() {
    let end = Ota::start(["demo", "--fleet", "3", "--fail", "0", "--fast"]).end().expect(0);
    let text = end.out.join("\n");
    for words in ["3 devices, of which 0", "wave 3, over: 1 device: 1 done", "ended: 3 devices"] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains("console"), "{text}");
    // Too few for three waves.
    for (devices, waves) in [("1", 1), ("2", 2)] {
        let end = Ota::start(["demo", "--fleet", devices, "--fast", "--json"]).end().expect(0);
        let waves_of = end.out.iter().map(|line| json(line));
        let last = waves_of.filter_map(|line| line["wave"].as_u64()).max();
        assert_eq!(last, Some(waves));
    }
}

#[test]
fn a_terminal_shows_bars_that_are_drawn_again() {
    let program = env!("CARGO_BIN_EXE_ota");
    let command = format!("stty cols 80 rows 24; {program} demo --fleet 20 --fail 20 --fast");
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm");
    script.stdin(Stdio::null()).stdout(Stdio::piped());
    let Ok(child) = common::spawn(&mut script) else {
        eprintln!("skipped: no program here that makes a terminal");
        return;
    };
    let end = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&end.stdout).into_owned();
    assert_eq!(end.status.code(), Some(0), "{text}");
    let last = text.rfind("wave 1 [").unwrap();
    let (drawn, last) = text.split_at(last);
    // Over the bars before.
    assert!(drawn.contains("wave 3 [") && drawn.contains("\u{1b}[2K"), "{text:?}");
    assert!(last.contains("wave 3 [=") && last.contains("ended: 20 devices: 16 done"), "{text:?}");
    assert!(!text.contains("wave 3, "), "{text:?}");
}

#[test]
fn the_stop_rule_of_a_wave_saves_the_next_ones() {
    let args = "demo --fleet 100 --fail 100 --fast --json".split(' ');
    let end = Ota::start(args).end().expect(4);
    assert!(end.err[0].contains("the stop rule of wave 2 has stopped the batch"), "{:?}", end.err);
    let lines: Vec<Value> = end.out.iter().map(|line| json(line)).collect();
    let third = lines.iter().rfind(|line| line["wave"] == 3).unwrap();
    assert_eq!((number(third, "failed"), number(third, "waiting")), (0, 70), "{third}");
    assert_eq!(lines.last().unwrap()["result"], "failed");
}

/// The status line of an answer.
fn status(url: &str) -> String {
    let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    // What comes behind `#` stays in the browser.
    let path = path.split('#').next().unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).lines().next().unwrap().to_owned()
}

#[test]
fn the_console_stays_open_until_ctrl_c() {
    let place = tempfile::tempdir().unwrap();
    let args = "demo --fleet 5 --fast --json --console".split(' ');
    let mut demo = Ota::start_with([("TMPDIR", place.path())], args);
    let link = demo.event("console")["link"].as_str().unwrap().to_owned();
    assert!(link.contains("/console/first#"), "{link}");
    demo.wait_for("summary", |line| line["result"] == "ended");
    demo.event("open");
    assert_eq!(status(&link), "HTTP/1.1 200 OK");
    demo.interrupt();
    // The batch was over, and ended as planned.
    demo.end().expect(0);
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
fn an_interrupted_fleet_says_so_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    // With the platform's times, so that it is not over before.
    let args = "demo --fleet 3 --json --console".split(' ');
    let mut demo = Ota::start_with([("TMPDIR", place.path())], args);
    demo.event("wave");
    demo.interrupt();
    let end = demo.end().expect(130);
    assert_eq!(end.err, ["ota: interrupted"]);
    assert_eq!(json(end.out.last().unwrap())["result"], "failed");
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}

#[test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
fn two_hundred_devices_with_the_platforms_times_end_soon() {
    let end = Ota::start(["demo", "--fleet", "200", "--json"]).end().expect(0);
    let summary = json(end.out.last().unwrap());
    assert_eq!(["done", "failed"].map(|key| number(&summary, key)), [194, 6]);
    let seconds = summary["seconds"].as_f64().unwrap();
    assert!((5.0..20.0).contains(&seconds), "{summary}");
}

#[test]
fn what_cannot_be_is_said() {
    for (args, words) in [
        ("--fleet 0", "1..=1000"),
        ("--fleet 1001", "1..=1000"),
        ("--fleet 2 --size 2MiB", "at most 1MiB"),
        ("--fleet 2 --size 0", "at least one byte"),
        ("--fleet 2 --fail 101", "0..=100"),
        ("--fleet 2 --fault truncate", "cannot be used with"),
        ("--console", "--fleet"),
        ("--fail 1", "--fleet"),
    ] {
        let end = Ota::start(format!("demo {args}").split(' ')).end().expect(2);
        assert!(end.err.join(" ").contains(words), "{args}: {:?}", end.err);
    }
}
