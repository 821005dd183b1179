//! The real agent is killed, again and again: each update resumes and ends as if nothing had been.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test on the real clock")]

mod common;

use std::collections::BTreeSet;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use common::{Desk, Ota, PATIENCE, cloud, image};
use ota_proto::Rng;
use serde_json::Value;

/// Kills that must hit an update.
const KILLS: usize = 24;
/// Kills for each device, at most: three cut installations are a failure by design.
const EACH: usize = 2;

/// A name for each device, whatever happens to it.
fn name(n: u64) -> String {
    format!("dev{n:03}")
}

#[test]
fn an_agent_killed_at_random_moments_ends_with_the_right_bytes_and_one_result() {
    let seed = match std::env::var("OTA_SEED") {
        Ok(seed) => seed.parse().unwrap(),
        Err(_) => u64::from(std::process::id()),
    };
    println!("again with OTA_SEED={seed}");
    let mut rng = Rng::new(seed);
    let desk = Desk::new();
    let firmware = image(seed, 4 << 20);
    desk.write("image", &firmware);
    let names: Vec<String> = (0..2 * KILLS as u64).map(name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (mut cloud, broker) = cloud(&names, &desk.path("image"));
    let mut hits = Vec::new();
    for device in names {
        if hits.len() >= KILLS {
            break;
        }
        let config = desk.plain_device(device, &broker);
        let args = ["agent", "--config", &config, "--json"];
        for _ in 0..EACH {
            hits.extend(kill_somewhere(Ota::start(args), &mut rng));
        }
        let mut last = Ota::start(args);
        let results = results(&mut cloud, device);
        last.event("version-accepted");
        last.terminate();
        last.end().expect(0);
        let done = r#"{"result_code":"0","result_msg":"","state":"done"}"#;
        assert_eq!(results, BTreeSet::from([done.to_owned()]), "{device}");
        assert!(desk.read(&format!("{device}/slot.img")) == firmware, "{device}: other bytes");
        assert_eq!(desk.read(&format!("{device}.version")), b"1.0.0\n", "{device}");
    }
    hits.sort();
    println!("killed after: {}", hits.join(", "));
    assert!(hits.len() >= 20, "too few kills hit an update");
}

/// The moments of an update: the so-and-so-many-th line with this word.
const MOMENTS: [(&str, u64); 10] = [
    ("\"started\"", 1),
    ("\"connected\"", 1),
    ("\"version-accepted\"", 1),
    ("\"downloading\"", 1),
    ("\"ready\"", 1),
    ("\"installing\"", 1),
    ("\"restarting\"", 1),
    ("\"started\"", 2),
    ("\"connected\"", 2),
    ("\"finished\"", 1),
];

/// After one of the moments, or in the midst of the download, and a little time more. Says what
/// the agent said last; `None` when the update was over already.
fn kill_somewhere(mut agent: Ota, rng: &mut Rng) -> Option<String> {
    let chance = usize::try_from(rng.below(15)).unwrap();
    let (word, count) = match MOMENTS.get(chance) {
        Some(moment) => *moment,
        None => ("\"progress\"", 1 + rng.below(15)),
    };
    let more = rng.up_to(Duration::from_millis(4));
    let patience = Instant::now() + PATIENCE;
    let mut seen = 0;
    while seen < count {
        let line = agent.line_before(patience);
        let line = line.unwrap_or_else(|why| panic!("{why}; it said:\n{}", agent.said.join("\n")));
        seen += u64::from(line.contains(word));
        // An agent that starts with the new version says little more, and nothing of this.
        let new = line.contains("\"started\"") && line.contains("1.0.0");
        if line.contains("\"reported\"") || (new && agent.said.len() == 1) {
            break;
        }
    }
    let moment = Instant::now() + more;
    while !matches!(agent.line_before(moment), Err(RecvTimeoutError::Timeout)) {}
    let end = agent.kill();
    assert_eq!(end.code, None, "it was killed");
    if end.out.iter().any(|line| line.contains("\"reported\"")) {
        return None;
    }
    let last = end.out.last().map_or(Value::Null, |line| common::json(line));
    let word = ["state", "event"].into_iter().find_map(|key| last[key].as_str());
    Some(word.unwrap_or("nothing").to_owned())
}

/// Reads the cloud's output until the device has claimed and proved the update, and a
/// version report after both was answered; the different results that it reported.
fn results(cloud: &mut Ota, device: &str) -> BTreeSet<String> {
    let mut results = BTreeSet::new();
    let (mut claimed, mut proved) = (false, false);
    let full = format!("TESTPROD01/{device}");
    loop {
        let line = cloud.wait_for("line of this device", |line: &Value| line["device"] == full);
        claimed |= line["event"] == "claimed";
        proved |= line["event"] == "proved";
        let progress = &line["payload"]["report"]["progress"];
        if progress["state"] == "done" || progress["state"] == "fail" {
            results.insert(progress.to_string());
        }
        if claimed && proved && line["payload"]["type"] == "report_version_rsp" {
            return results;
        }
    }
}
