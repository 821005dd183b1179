//! Attempts that fail while the cloud offers the image again and again.

use ota_proto::{
    Command, Hold, Installed, SlotState, State, StorageError, TlsError, TransportError,
};

use crate::bench::*;

/// For a minute each version report makes the cloud repeat the offer: returns the number of `fail`
/// messages and of journal writes.
fn storm(act: impl Fn(&mut Bench, u64, Kind) -> bool) -> (usize, usize) {
    let mut bench = Bench::online(config());
    let (mut fails, mut writes) = (0, 0);
    let mut ms = 1_000;
    bench.offer(ms, "1.0.0");
    while ms < 61_000 {
        let lines = bench.out(ms);
        let count = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
        fails += count("fail");
        writes += count("persist");
        let mut busy = count("report") > 0;
        if busy {
            ms += 100;
            bench.reply(ms, "0.1.0");
            bench.offer(ms, "1.0.0");
        }
        for kind in [Kind::Persist, Kind::Erase, Kind::Sync, Kind::Fetch] {
            while bench.open.iter().any(|(open, _)| *open == kind) {
                busy = true;
                ms += 10;
                if !act(&mut bench, ms, kind) {
                    match kind {
                        // The machine may have dropped it.
                        Kind::Fetch => drop(bench.head(ms, &good(bench.at))),
                        _ => bench.done(ms, kind),
                    }
                }
                if kind == Kind::Fetch {
                    break;
                }
            }
        }
        if !bench.pubs.is_empty() {
            ms += 100;
            bench.ack(ms);
            busy = true;
        }
        if !busy && lines.is_empty() {
            let Some(next) = bench.idle.0 else { break };
            ms = ms.max(next.as_millis());
            bench.machine.handle_timeout(at(ms));
        }
    }
    (fails, writes)
}

#[test]
fn rule_14_a_full_slot_is_told_once_a_minute_however_often_it_is_offered() {
    let (fails, writes) = storm(|bench, ms, kind| {
        let erase = kind == Kind::Erase;
        if erase {
            bench.error(ms, Kind::Erase, StorageError::NoSpace);
        }
        erase
    });
    assert!((1..=2).contains(&fails) && writes <= 10, "{fails} fails, {writes} journal writes");
}

#[test]
fn rule_14_a_missing_file_is_told_once_a_minute_however_often_it_is_offered() {
    let (fails, writes) = storm(|bench, ms, kind| {
        let fetch = kind == Kind::Fetch;
        if fetch {
            let op = bench.fetch_op();
            bench.status(ms, 410).unwrap_err();
            bench.open.retain(|(_, open)| *open != op);
        }
        fetch
    });
    assert!((1..=2).contains(&fails) && writes <= 10, "{fails} fails, {writes} journal writes");
}

#[test]
fn rule_14_the_pause_after_a_failed_attempt_doubles_and_an_operators_push_does_not_wait() {
    let mut bench = Bench::online(config());
    let mut ms = 1_000;
    let mut pauses = Vec::new();
    bench.offer(ms, "1.0.0");
    for _ in 0..8 {
        bench.auto(ms);
        bench.machine.command(at(ms), Command::Cancel).unwrap();
        bench.auto(ms);
        assert_eq!(bench.machine.state(), State::Idle);
        let failed = ms;
        // The report after the result made the cloud repeat it.
        bench.offer(ms, "1.0.0");
        let lines = bench.auto(ms);
        assert!(lines.len() == 1 && lines[0].starts_with("event HeldBack"), "{lines:?}");
        // The next report comes after the pause, and the device accepts the offer that follows.
        ms = bench.idle.0.unwrap().as_millis();
        bench.machine.handle_timeout(at(ms));
        assert_eq!(bench.auto(ms), ["report 0.1.0"]);
        pauses.push((ms - failed) / 1_000);
        bench.offer(ms, "1.0.0");
        assert!(bench.machine.offer().is_some());
    }
    assert_eq!(pauses, [60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
    bench.auto(ms);
    bench.machine.command(at(ms), Command::Cancel).unwrap();
    bench.auto(ms);
    ms += 40_000;
    bench.offer(ms, "1.0.0");
    assert!(bench.machine.offer().is_some(), "no report drew this one");
}

#[test]
fn rule_9_the_end_of_patience_tells_of_the_network_whatever_else_was_answered() {
    for violation in [TransportError::Malformed, TransportError::Tls(TlsError::Handshake)] {
        let mut bench = Bench::fetching(config());
        bench.good_head(1_100);
        bench.body(1_200, 8_192);
        bench.fetch_failed(1_300, TransportError::Closed);
        let mut lines = Vec::new();
        for n in 0..50 {
            let Some(ms) = bench.next_fetch_lines(&mut lines) else { break };
            bench.fetch_failed(ms, if n < 2 { violation } else { TransportError::TimedOut });
        }
        assert!(lines.iter().any(|line| line.starts_with("fail -1")), "{lines:?}");
        assert!(bench.journal().target.is_some_and(|target| target.offset > 0), "{lines:?}");
    }
}

#[test]
fn rule_14_after_eight_refusals_of_the_application_the_next_offer_is_heard() {
    let mut cfg = config();
    cfg.consent = Hold::Ask;
    let mut bench = Bench::online(cfg);
    let mut ms = 0;
    for n in 0..9 {
        ms += 600_000;
        bench.offer(ms, &format!("1.0.{n}"));
        bench.auto(ms);
        bench.machine.command(at(ms), Command::Refuse).unwrap();
        bench.auto(ms);
        bench.reply(ms, "0.1.0");
        bench.auto(ms);
    }
    let draw = |bench: &mut Bench, ms: u64, version: &str| {
        bench.machine.command(at(ms), Command::ReportNow).unwrap();
        bench.auto(ms);
        bench.reply(ms + 100, "0.1.0");
        bench.offer(ms + 200, version);
        bench.auto(ms + 200);
        bench.machine.state()
    };
    assert_eq!(draw(&mut bench, ms + 600_000, "1.0.8"), State::Idle, "refused in this session");
    assert_eq!(draw(&mut bench, ms + 1_200_000, "2.0.0"), State::Offered);
}

#[test]
fn rule_1_a_refusal_is_heard_with_an_empty_version_or_none() {
    for version in [r#","version":"""#, ""] {
        let mut bench = Bench::new(config());
        bench.machine.handle_session(at(0), true);
        bench.out(0);
        let refusal = r#"{"result_code":-1,"result_msg":"x","type":"report_version_rsp""#;
        bench.message(10, &format!("{refusal}{version}}}"));
        assert_eq!(bench.out(10), ["event VersionRefused { code: -1 }"], "{version}");
    }
}

#[test]
fn rule_6_any_copy_of_this_sessions_is_acknowledged_however_late() {
    let mut bench = Bench::online(config());
    bench.message(1_000, &offer_text("1.0.0", "ftp://a/"));
    bench.out(1_000);
    bench.done(1_000, Kind::Persist);
    assert_eq!(bench.out(1_000), ["fail -5 url unusable"]);
    let first = bench.pubs.pop().unwrap();
    // A poll at the deadline is enough.
    assert_eq!(bench.out(16_000), ["fail -5 url unusable"]);
    bench.machine.handle_published(at(17_000), first);
    assert_eq!(bench.auto(17_000)[0], "event Reported { outcome: Failed(BadUrl) }");
    assert!(bench.machine.owed().is_none());
}

/// Two images that fail, offered in turn, each as soon as the other's result is heard: by the cloud
/// by itself, or in answer to the report that follows.
#[test]
fn rule_14_two_failing_images_in_turn_end_with_eight_results_in_ten_minutes() {
    for drawn in [false, true] {
        let mut bench = Bench::online(config());
        let (mut results, mut reports, mut held) = (Vec::new(), 0_u64, Vec::new());
        let (mut ms, mut next) = (40_000, 0_u64);
        bench.offer(ms, "1.0.0");
        while ms < 40_000 + 7_200_000 {
            let lines = bench.auto(ms);
            results.extend(lines.iter().filter(|line| line.starts_with("fail")).map(|_| ms));
            held.extend(lines.iter().filter(|line| line.contains("HeldBack")).map(|_| ms));
            let drew = lines.iter().any(|line| line.starts_with("report"));
            reports += u64::from(drew);
            if drew {
                bench.reply(ms, "0.1.0");
            }
            if bench.open.iter().any(|(kind, _)| *kind == Kind::Fetch) {
                bench.status(ms, 410).unwrap_err();
                bench.open.retain(|(kind, _)| *kind != Kind::Fetch);
                next += 1;
            } else if bench.machine.state() == State::Idle && (drew || !drawn) {
                bench.offer(ms, &format!("1.0.{}", next % 2));
                ms += 1_000;
            } else {
                ms += 1_000;
            }
            bench.machine.handle_timeout(at(ms));
        }
        let first = results.iter().filter(|ms| **ms < 640_000).count();
        assert_eq!(first, 8, "{drawn}: {results:?}");
        assert!(results.len() <= 8 + 12, "{drawn}: {results:?}");
        assert!(reports < 80 && !held.is_empty(), "{drawn}: {reports} reports, {held:?}");
        if !drawn {
            // Then one every ten minutes, as soon as it may be.
            assert_eq!(results.len(), 8 + 11, "{results:?}");
        }
    }
}

/// Begins attempts at images of its own, each of which fails at once, until one is held back;
/// their number, and until when.
fn spend(bench: &mut Bench, ms: u64) -> (usize, u64) {
    for n in 0..20 {
        bench.offer(ms, &format!("1.0.{n}"));
        let lines = bench.auto(ms);
        if let Some(line) = lines.iter().find(|line| line.contains("HeldBack")) {
            let until = bench.idle.0.unwrap();
            assert!(line.contains(&format!("{until:?}")), "{line}");
            return (n, until.as_millis());
        }
        bench.status(ms, 410).unwrap_err();
        bench.auto(ms);
        bench.reply(ms, "0.1.0");
    }
    panic!("never held back");
}

#[test]
fn rule_14_what_is_held_back_is_asked_for_when_its_time_has_come() {
    let mut bench = Bench::online(config());
    assert_eq!(spend(&mut bench, 40_000), (8, 640_000));
    bench.machine.handle_timeout(at(640_000));
    assert_eq!(bench.auto(640_000), ["report 0.1.0"]);
    bench.offer(640_000, "2.0.0");
    assert!(bench.auto(640_000).contains(&"fetch 0".into()));
    // Forgiven, or proved: all counts start again.
    let mut bench = Bench::online(config());
    spend(&mut bench, 40_000);
    bench.machine.command(at(50_000), Command::Forgive).unwrap();
    bench.auto(50_000);
    assert_eq!(spend(&mut bench, 90_000), (8, 690_000));
}

#[test]
fn rule_14_attempts_are_counted_over_restarts_and_a_success_forgets_them() {
    let mut bench = Bench::online(config());
    spend(&mut bench, 40_000);
    let record = bench.journal();
    assert_eq!(record.attempts, 8);
    // The time without power is unknown.
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::Confirmed, Some(&record));
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    assert_eq!(spend(&mut bench, 40_000), (0, 600_000));
    let mut bench = Bench::installing(config());
    assert_eq!(bench.journal().attempts, 1);
    bench.machine.command(at(2_000), Command::Installed(Installed::Running)).unwrap();
    bench.auto(2_000);
    assert_eq!(bench.journal().attempts, 0);
}
