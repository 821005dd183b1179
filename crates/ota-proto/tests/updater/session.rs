//! Rules 1, 6 and 7: sessions, results, idle.

use ota_proto::journal::{Outcome, Owed, Phase, Record, Target};
use ota_proto::{Command, Installed, Reason, SlotState, Version};

use crate::bench::*;

const NONE: [&str; 0] = [];

fn owed(result: Outcome, sent: bool) -> Record {
    Record {
        phase: Phase::Owed,
        target: Some(Target {
            version: Version::new("1.0.0").unwrap(),
            md5: md5(),
            size: SIZE,
            offset: 0,
            etag: 0,
        }),
        from: Some(Version::new("0.1.0").unwrap()),
        owed: Some(Owed { result, sent, answer: None }),
        ..Record::default()
    }
}

#[test]
fn rule_1_the_owed_result_and_its_puback_come_before_the_report() {
    let record = owed(Outcome::Failed(Reason::Digest), false);
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::Confirmed, Some(&record));
    assert_eq!(bench.out(0), NONE);
    bench.machine.handle_session(at(1_000), true);
    assert_eq!(bench.out(1_000), ["persist Owed 1.0.0@0 Failed(Digest) sent"]);
    bench.done(1_010, Kind::Persist);
    assert_eq!(bench.out(1_010), ["fail -4 md5 does not match"]);
    bench.ack(1_050);
    let lines = bench.out(1_050);
    assert_eq!(lines, ["persist None", "event Reported { outcome: Failed(Digest) }"]);
    bench.done(1_060, Kind::Persist);
    assert_eq!(bench.out(1_060), ["report 0.1.0"]);
    bench.reply(1_100, "0.1.0");
    bench.out(1_100);
    assert!(bench.machine.is_settled());
}

#[test]
fn rule_1_no_reply_in_10_s_reports_again_with_growing_pauses() {
    let mut bench = Bench::new(config());
    bench.machine.handle_session(at(0), true);
    assert_eq!(bench.out(0), ["report 0.1.0"]);
    assert_eq!(bench.idle.0, Some(at(10_000)));
    let reports = bench.until(3_600_000);
    assert_eq!(reports[0], "10000 report 0.1.0");
    assert!((12..100).contains(&reports.len()), "{reports:?}");
    let time = |line: &String| line.split_once(' ').unwrap().0.parse::<u64>().unwrap();
    for pair in reports.windows(2) {
        assert!((10_000..=310_000).contains(&(time(&pair[1]) - time(&pair[0]))), "{pair:?}");
    }
}

#[test]
fn rule_1_a_refused_report_is_an_event_and_a_slow_retry() {
    let mut bench = Bench::new(config());
    bench.machine.handle_session(at(0), true);
    bench.out(0);
    bench.message(
        100,
        r#"{"result_code":7,"result_msg":"no","type":"report_version_rsp","version":"0.1.0"}"#,
    );
    assert_eq!(bench.out(100), ["event VersionRefused { code: 7 }"]);
    assert_eq!(bench.idle.0, Some(at(300_100)));
    assert_eq!(bench.until(300_100), ["300100 report 0.1.0"]);
}

#[test]
fn rule_1_an_offer_instead_of_the_reply_is_the_reply() {
    let mut bench = Bench::new(config());
    bench.machine.handle_session(at(0), true);
    bench.out(0);
    bench.offer(100, "1.0.0");
    bench.auto(100);
    let lines = bench.until(60_000);
    assert!(!lines.iter().any(|line| line.contains("report")), "{lines:?}");
}

#[test]
fn rule_1_each_new_session_reports_again() {
    let mut bench = Bench::online(config());
    bench.machine.handle_session(at(5_000), false);
    assert_eq!(bench.out(5_000), NONE);
    assert_eq!(bench.idle.0, None, "nothing to do without a session");
    bench.machine.handle_session(at(9_000), true);
    assert_eq!(bench.out(9_000), ["report 0.1.0"]);
    bench.machine.handle_session(at(9_500), true);
    assert_eq!(bench.out(9_500), ["report 0.1.0"]);
}

#[test]
fn rule_6_a_result_without_puback_is_sent_again_the_same() {
    let record = owed(Outcome::Done, true);
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::Confirmed, Some(&record));
    bench.machine.handle_session(at(0), true);
    assert_eq!(bench.out(0), ["done"]);
    assert_eq!(bench.idle.0, Some(at(15_000)));
    bench.pubs.clear();
    bench.machine.handle_timeout(at(15_000));
    assert_eq!(bench.out(15_000), ["done"]);
    bench.machine.handle_session(at(16_000), false);
    bench.machine.handle_session(at(21_000), true);
    assert_eq!(bench.out(21_000), ["done"]);
}

#[test]
fn rule_6_a_result_in_the_air_is_sent_again_after_a_reset() {
    let mut bench = Bench::installing(config());
    bench
        .machine
        .command(at(2_000), Command::Installed(Installed::Failed(ota_proto::InstallFault::Image)))
        .unwrap();
    bench.out(2_000);
    bench.done(2_000, Kind::Persist);
    assert_eq!(bench.out(2_000), ["fail -5 install failed"]);
    let record = bench.journal();
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::Confirmed, Some(&record));
    bench.machine.handle_session(at(0), true);
    assert_eq!(bench.out(0), ["fail -5 install failed"]);
}

#[test]
fn rule_6_installed_in_place_is_done_without_a_restart() {
    let mut bench = Bench::installing(config());
    bench.machine.command(at(2_000), Command::Installed(Installed::Running)).unwrap();
    let lines = bench.auto(2_000);
    let mut sorted = lines.clone();
    sorted.retain(|line| !line.starts_with("event"));
    assert_eq!(sorted, ["done", "report 1.0.0"], "{lines:?}");
    assert_eq!(bench.machine.running().as_str(), "1.0.0");
}

#[test]
fn rule_7_an_idle_device_reports_every_24_h_within_a_tenth() {
    let mut bench = Bench::online(config());
    let mut last = 0;
    for _ in 0..20 {
        let next = bench.idle.0.unwrap().as_millis();
        let minutes = (next - last) / 60_000;
        assert!((1_295..=1_585).contains(&minutes), "{minutes}");
        bench.machine.handle_timeout(bench.idle.0.unwrap());
        last = next + 1;
        assert_eq!(bench.out(last), ["report 0.1.0"]);
        bench.reply(last, "0.1.0");
        bench.out(last);
    }
}
