//! Rules 4, 11, 12 and 16: what is said when, checkpoints, trailing verification.

use ota_proto::{State, TransportError, Verify};

use crate::bench::*;

/// Percents with their times, the body given at this many bytes each `step` ms.
fn download(step: u64, bytes: u64) -> Vec<(u64, u8)> {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_000);
    let mut said = vec![(1_000, 0)];
    let mut ms = 1_000;
    let mut note = |ms: u64, lines: &[String]| {
        for line in lines {
            let line = line.split_once(' ').filter(|(n, _)| n.parse::<u64>().is_ok());
            let (at, line) = line.map_or((ms, ""), |(at, line)| (at.parse().unwrap(), line));
            if let Some(percent) = line.strip_prefix("downloading ") {
                said.push((at, percent.parse().unwrap()));
            }
        }
    };
    while bench.at < SIZE {
        let upto = (bench.at + bytes).min(SIZE);
        let lines: Vec<_> =
            bench.body(ms, upto).iter().map(|line| format!("{ms} {line}")).collect();
        note(ms, &lines);
        ms += step;
        let lines = bench.until(ms - 1);
        note(ms, &lines);
    }
    assert_eq!(bench.machine.state(), State::Installing);
    said
}

#[test]
fn rule_4_progress_is_coalesced_to_a_second_and_five_percent() {
    let said = download(100, 100);
    for pair in said.windows(2) {
        let ((before, low), (after, high)) = (pair[0], pair[1]);
        assert!(high >= low + 5 || after - before >= 20_000, "{said:?}");
        assert!(after - before >= 1_000 || high == 100, "{said:?}");
    }
    assert_eq!(said.last().unwrap().1, 100);
    assert!(said.len() <= 12, "{said:?}");
}

#[test]
fn rule_4_silence_is_never_longer_than_20_s() {
    let said = download(10_000, 2_600);
    for pair in said.windows(2) {
        assert!(pair[1].0 - pair[0].0 <= 20_000, "{pair:?}");
    }
}

#[test]
fn rule_4_a_fast_update_costs_at_most_25_messages() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    let mut lines = bench.body(1_200, SIZE);
    lines.retain(|line| !line.starts_with("event"));
    assert_eq!(lines, ["downloading 100", "burning"]);
}

#[test]
fn rule_4_the_report_is_repeated_in_every_open_phase() {
    let mut phases: Vec<(&str, Bench)> = Vec::new();
    let mut bench = Bench::fetching(config());
    phases.push(("asked", bench.clone()));
    bench.fetch_failed(1_100, TransportError::Closed);
    phases.push(("back-off", bench));
    let mut bench = Bench::fetching(config());
    bench.status(1_100, 403).unwrap_err();
    bench.out(1_100);
    phases.push(("fresh offer", bench));
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_100, SIZE - 1);
    bench.piece(1_100, SIZE);
    for kind in [Kind::Write, Kind::Sync, Kind::Persist] {
        bench.done(1_100, kind);
        bench.out(1_100);
    }
    phases.push(("verifying", bench));
    phases.push(("installing", Bench::installing(config())));
    phases.push(("restarting", Bench::restarting(config())));
    let mut held = config();
    held.approval = ota_proto::Hold::Ask;
    let mut bench = Bench::fetching(held);
    bench.good_head(1_100);
    bench.body(1_100, SIZE);
    phases.push(("ready", bench));
    for (phase, mut bench) in phases {
        // Only time passes: storage does not answer.
        let mut last = 2_000;
        let mut ms = 2_000;
        for _ in 0..200 {
            let lines = bench.out(ms);
            if lines.iter().any(|l| l.starts_with("downloading") || l.starts_with("burning")) {
                let waits = matches!(phase, "asked" | "back-off" | "fresh offer");
                let most = if waits { 45_002 } else { 20_002 };
                assert!(ms - last <= most, "{phase}: silent from {last} to {ms}");
                last = ms;
            }
            if bench.machine.state() == State::Idle {
                break;
            }
            let Some(next) = bench.idle.0 else { break };
            ms = next.as_millis() + 1;
            if ms > 120_000 {
                break;
            }
            bench.machine.handle_timeout(at(ms));
        }
        assert!(last > 60_000 || bench.machine.state() == State::Idle, "{phase}: {last}");
    }
}

#[test]
fn rule_4_progress_never_falls_when_the_download_begins_anew() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_100, 9_000);
    let lines = bench.until(2_000);
    assert!(lines.contains(&"2000 downloading 90".into()), "{lines:?}");
    bench.fetch_failed(2_000, TransportError::Closed);
    let ms = bench.next_fetch().unwrap();
    let other = ota_proto::ResponseHead { etag: Some(b"\"2\""), ..good(0) };
    bench.head(ms, &other).unwrap();
    bench.at = 0;
    let mut lines = bench.body(ms, 1_000);
    lines.extend(bench.until(ms + 60_000));
    for line in lines.iter().filter(|line| line.contains("downloading")) {
        assert!(line.ends_with("downloading 90"), "{line}");
    }
}

#[test]
fn rule_4_a_session_that_comes_back_hears_the_current_report() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_100, 3_000);
    bench.machine.handle_session(at(1_200), false);
    assert!(bench.body(1_300, 6_000).iter().all(|line| line.starts_with("event")));
    bench.machine.handle_session(at(7_000), true);
    assert_eq!(bench.auto(7_000), ["report 0.1.0", "downloading 60"]);
}

#[test]
fn rule_11_checkpoints_are_few() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    let mut persists = 0;
    let mut last = None;
    while bench.at < SIZE {
        let upto = (bench.at + 100).min(SIZE);
        bench.body(1_100, upto);
        if bench.record != last {
            persists += 1;
            last = bench.record;
        }
    }
    // 4,096, 8,192, all, and the installation.
    assert!(persists <= 5, "{persists}");
}

#[test]
fn rule_11_old_bytes_are_made_durable_after_60_s() {
    let mut config = config();
    config.timing.checkpoint_cap = 1 << 20;
    let mut bench = Bench::fetching(config);
    bench.good_head(1_000);
    bench.body(1_000, 4_200);
    assert_eq!(bench.journal().target.unwrap().offset, 4_096);
}

#[test]
fn rule_12_trailing_verification_hashes_behind_each_sync() {
    let mut config = config();
    config.verify = Verify::Trailing;
    let mut bench = Bench::fetching(config);
    bench.good_head(1_100);
    let mut hashed = Vec::new();
    for _ in 0..200 {
        hashed.extend(bench.out(1_100).into_iter().filter(|line| line.starts_with("digest")));
        match bench.open.iter().map(|(open, _)| *open).find(|open| *open != Kind::Fetch) {
            Some(open) => bench.done(1_100, open),
            None if bench.machine.state() == State::Fetching => {
                assert!(bench.piece(1_100, SIZE));
            }
            None => break,
        }
    }
    assert_eq!(hashed, ["digest 0..4096", "digest 4096..8192", "digest 8192..10000"]);
    assert_eq!(bench.machine.state(), State::Installing);
}

#[test]
fn rule_2_the_application_hears_of_each_percent_once() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    let mut told = Vec::new();
    for upto in (10..=1_000).step_by(10) {
        let lines = bench.body(1_100, upto);
        told.extend(lines.into_iter().filter(|line| line.starts_with("event Progress")));
    }
    let expected: Vec<_> =
        (1..=10).map(|percent| format!("event Progress {{ percent: {percent} }}")).collect();
    assert_eq!(told, expected);
}
