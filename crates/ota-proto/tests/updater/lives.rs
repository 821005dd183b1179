//! Rule 11: checkpoints before something ends, and lives that are too short for one.

use ota_proto::journal::Record;
use ota_proto::{Command, Hold, SlotInfo, SlotState, TransportError};

use crate::bench::*;

/// Small units: a 32nd of the image is 20 of them.
const SMALL: SlotInfo = SlotInfo { capacity: 65_536, erase: 16, write: 1 };

fn has(lines: &[String], word: &str) -> bool {
    lines.iter().any(|line| line.starts_with(word))
}

/// A start that found 1,600 bytes and so many starts before it without a checkpoint; its body is
/// open at 1,000 ms.
fn start(starts: u8) -> Bench {
    // A connection of any speed.
    let mut cfg = config();
    cfg.timing.idle = ota_proto::Micros::from_secs(300);
    cfg.timing.min_rate = 0;
    let mut bench = Bench::boot_on(SMALL, cfg.clone(), "0.1.0", SlotState::Confirmed, None);
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    bench.offer(10, "1.0.0");
    bench.auto(10);
    bench.good_head(20);
    bench.body(20, 1_600);
    let mut record: Record = bench.journal();
    assert_eq!(record.target.map(|target| target.offset), Some(1_600));
    record.starts = starts;
    let mut bench =
        Bench::boot_on(SMALL, cfg.clone(), "0.1.0", SlotState::Confirmed, Some(&record));
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    bench.offer(900, "1.0.0");
    assert!(has(&bench.auto(900), "fetch 1600"));
    assert_eq!(bench.journal().starts, (starts + 1).min(3), "this start is counted");
    bench.good_head(1_000);
    bench
}

/// Stores this many bytes more; whether a checkpoint followed.
fn more(bench: &mut Bench, ms: u64, bytes: u64) -> bool {
    let before = bench.journal();
    let upto = bench.at + bytes;
    bench.body(ms, upto);
    before.target != bench.journal().target
}

#[test]
fn rule_11_a_start_without_a_checkpoint_takes_the_next_one_sooner_in_bytes_and_time() {
    for (starts, bytes, seconds) in [(0, 320, 60), (1, 160, 30), (2, 80, 15), (3, 32, 5)] {
        let mut bench = start(starts);
        assert!(!more(&mut bench, 1_000, bytes - 16), "{starts}: too soon");
        assert!(more(&mut bench, 1_000, 16), "{starts}");
        // It leaves the count as this start found it: the start was long enough for this one.
        assert_eq!(bench.journal().starts, starts);
        // The next ones come at their time, and the first of those restores it.
        assert!(!more(&mut bench, 1_000, 304), "{starts}");
        assert!(more(&mut bench, 1_000, 16), "{starts}");
        assert_eq!(bench.journal().starts, 0);
        let mut bench = start(starts);
        assert!(!more(&mut bench, 1_000, 16));
        let before = bench.journal();
        let mut ms = 900;
        while bench.journal() == before {
            assert!(ms < 61_000, "{starts}");
            ms += 1_000;
            bench.machine.handle_timeout(at(ms));
            bench.auto(ms);
        }
        assert_eq!(ms, 900 + seconds * 1_000, "{starts}");
    }
}

#[test]
fn rule_11_a_link_that_breaks_and_a_wait_that_begins_leave_nothing_behind() {
    type End = fn(&mut Bench);
    let ends: [End; 2] = [
        |bench| bench.fetch_failed(1_200, TransportError::Closed),
        |bench| {
            bench.fetch_failed(1_100, TransportError::Closed);
            bench.auto(1_100);
            let ms = bench.next_fetch().unwrap();
            bench.status(ms, 403).unwrap_err();
        },
    ];
    for end in ends {
        let mut bench = start(0);
        assert!(!more(&mut bench, 1_000, 100));
        end(&mut bench);
        bench.auto(1_200);
        assert_eq!(bench.journal().target.map(|target| target.offset), Some(1_696));
        // Less than a unit gets no record.
        let record = bench.journal();
        let ms = bench.next_fetch().unwrap_or(1_200);
        assert_eq!(bench.journal(), record, "{ms}");
    }
    let mut bench = start(0);
    assert!(!more(&mut bench, 1_000, 15));
    bench.fetch_failed(1_200, TransportError::Closed);
    assert!(!has(&bench.out(1_200), "sync"));
}

#[test]
fn rule_11_an_orderly_stop_makes_durable_what_is_stored() {
    let mut bench = start(0);
    assert!(!more(&mut bench, 1_000, 100));
    bench.machine.prepare_stop(at(2_000));
    assert!(!bench.machine.is_stopped());
    assert_eq!(bench.out(2_000), ["sync"]);
    assert!(!bench.idle.2, "nothing more is read");
    bench.done(2_000, Kind::Sync);
    assert_eq!(bench.out(2_000), ["persist Fetching 1.0.0@1696"]);
    assert!(!bench.machine.is_stopped());
    bench.done(2_000, Kind::Persist);
    assert_eq!(bench.out(2_000), [""; 0]);
    assert!(bench.machine.is_stopped());
    // With nothing to lose it is stopped at once.
    let mut bench = start(0);
    assert!(!more(&mut bench, 1_000, 15));
    bench.machine.prepare_stop(at(2_000));
    assert!(bench.machine.is_stopped());
    let mut bench = Bench::online(config());
    bench.machine.prepare_stop(at(2_000));
    assert!(bench.machine.is_stopped());
}

#[test]
fn rule_11_after_the_word_to_stop_nothing_is_read() {
    let head = Bench::fetching(config());
    let mut body = start(0);
    body.auto(1_000);
    for (what, mut bench) in [("head", head), ("body", body)] {
        bench.out(1_000);
        assert!(bench.idle.2, "{what}: it is waited for");
        bench.machine.prepare_stop(at(2_000));
        assert_eq!(bench.out(2_000), [""; 0], "{what}: there is nothing to make durable");
        assert!(!bench.idle.2, "{what}");
        if what == "body" {
            let upto = bench.at + 16;
            assert!(!bench.piece(2_000, upto), "nothing is taken");
        }
    }
}

/// Another text came while a part of it was not durable, and the application put it off.
#[test]
fn rule_11_what_is_stored_is_made_durable_when_a_deferral_ends() {
    let mut asking = config();
    asking.consent = Hold::Ask;
    let mut bench = Bench::boot_on(SMALL, asking, "0.1.0", SlotState::Confirmed, None);
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    bench.offer(10, "1.0.0");
    bench.auto(10);
    bench.machine.command(at(10), Command::Accept).unwrap();
    bench.auto(10);
    bench.good_head(20);
    bench.body(20, 100);
    let other = offer_text("1.0.0", "https://cos.example/a?sign=1");
    bench.message(1_000, &format!(r#"{{"user_defined":"other",{}"#, &other[1..]));
    assert!(has(&bench.auto(1_000), "event Offered"));
    bench.machine.command(at(2_000), Command::Defer(at(10_000))).unwrap();
    bench.auto(2_000);
    assert_eq!(bench.journal().target.map(|target| target.offset), Some(0));
    bench.machine.handle_timeout(at(10_000));
    assert!(has(&bench.auto(10_000), "report"), "the offer is drawn again");
    assert_eq!(bench.journal().target.map(|target| target.offset), Some(96));
}
