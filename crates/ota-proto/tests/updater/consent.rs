//! Rules 3, 13 and 14: consent, its object, and its validity over a restart.

use ota_proto::journal::{Outcome, Phase};
use ota_proto::{
    Command, ConfigError, Hold, Identity, Installed, Limits, Micros, Reason, SlotState, State,
    StorageError, Timing, TransportError, Work,
};

use crate::bench::*;

fn asking() -> ota_proto::Config {
    let mut config = config();
    config.consent = Hold::Ask;
    config
}

/// The offer of 1.0.0 with this text.
fn offer_with(user_defined: &str) -> String {
    offer_text("1.0.0", "https://cos.example/a?sign=1")
        .replace(r#""type""#, &format!(r#""user_defined":"{user_defined}","type""#))
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|it| it == line)
}

/// Restarts with what the journal holds, comes online and hears this offer.
fn restarted(bench: &Bench, config: ota_proto::Config, offer: &str) -> (Bench, Vec<String>) {
    let record = bench.journal();
    let mut next = Bench::boot(config, "0.1.0", SlotState::Confirmed, Some(&record));
    next.machine.handle_session(at(0), true);
    next.auto(0);
    next.reply(100, "0.1.0");
    next.message(100, offer);
    let lines = next.auto(100);
    (next, lines)
}

/// Asked, accepted, and half of the image stored and claimed.
fn half(config: ota_proto::Config, offer: &str) -> Bench {
    let mut bench = Bench::online(config);
    bench.message(1_000, offer);
    assert!(has(&bench.auto(1_000), "event Offered"));
    bench.machine.command(at(2_000), Command::Accept).unwrap();
    assert!(has(&bench.auto(2_000), "fetch 0"));
    bench.good_head(2_000);
    bench.body(2_000, 8_192);
    assert_eq!(bench.journal().target.unwrap().offset, 8_192);
    bench
}

/// Found in the field: accepted, interrupted at half, 404; then deferred, and started at a restart.
#[test]
fn rule_14_a_restart_begins_nothing_that_was_not_accepted() {
    let offer = offer_with("text");
    let mut bench = half(asking(), &offer);
    bench.fetch_failed(2_000, TransportError::Closed);
    bench.next_fetch();
    bench.status(5_000, 404).unwrap_err();
    let mut ms = 5_000;
    while bench.machine.state() != State::Idle {
        bench.auto(ms);
        bench.message(ms, &offer);
        if let Some(next) = bench.next_fetch() {
            ms = next;
            let _ = bench.status(ms, 404);
        }
    }
    bench.auto(ms);
    let mut record = bench.journal();
    assert_eq!((record.phase, record.target.unwrap().offset), (Phase::Fetching, 8_192));
    bench.reply(ms, "0.1.0");
    bench.message(ms + 600_000, &offer);
    assert!(has(&bench.auto(ms + 600_000), "event Offered"));
    bench.machine.command(at(ms + 600_000), Command::Defer(at(ms + 29_400_000))).unwrap();
    bench.auto(ms + 600_000);
    let (mut next, lines) = restarted(&bench, asking(), &offer);
    assert!(has(&lines, "event Offered"), "nobody was asked: {lines:?}");
    assert_eq!(next.machine.state(), State::Offered);
    next.machine.command(at(200), Command::Accept).unwrap();
    assert!(has(&next.auto(200), "fetch 8192"), "the bytes were kept");
    // What was accepted and is in progress goes on by itself.
    let (_, lines) = restarted(&half(asking(), &offer), asking(), &offer);
    assert!(has(&lines, "fetch 8192"), "{lines:?}");
    // A record of an older build does not know: asked.
    record.accepted = None;
    let mut old = Bench::boot(asking(), "0.1.0", SlotState::Confirmed, Some(&record));
    old.machine.handle_session(at(0), true);
    old.auto(0);
    old.message(100, &offer);
    assert!(has(&old.auto(100), "event Offered"));
}

/// The whole class: however an attempt ends, or is deferred, its consent ends with it.
#[test]
fn rule_14_consent_ends_with_the_attempt_and_with_a_deferral() {
    type End = fn(&mut Bench);
    let ends: [(&str, End); 4] = [
        ("withdrawn", |bench| {
            bench.status(3_000, 403).ok();
            bench.fetch_failed(3_000, TransportError::Closed);
            bench.next_fetch();
            bench.status(4_000, 403).unwrap_err();
            bench.auto(4_000);
            bench.reply(5_000, "0.1.0");
            bench.until(15_500);
            bench.reply(16_000, "0.1.0");
            assert!(bench.until(26_500).iter().any(|line| line.ends_with("Withdrawn")));
        }),
        ("superseded", |bench| {
            bench.offer(3_000, "2.0.0");
            bench.auto(3_000);
        }),
        ("cancelled", |bench| {
            bench.machine.command(at(3_000), Command::Cancel).unwrap();
            bench.auto(3_000);
        }),
        ("put off when it was whole", |bench| {
            bench.body(3_000, SIZE);
            assert_eq!(bench.machine.state(), State::Ready);
            bench.machine.command(at(4_000), Command::Defer(at(9_000_000))).unwrap();
            bench.auto(4_000);
        }),
    ];
    for (name, end) in ends {
        let mut config = asking();
        config.install = Hold::Ask;
        let offer = offer_with("text");
        let mut bench = half(config.clone(), &offer);
        end(&mut bench);
        assert_eq!(bench.journal().accepted, None, "{name}");
        let (next, lines) = restarted(&bench, config, &offer);
        assert!(has(&lines, "event Offered"), "{name}: {lines:?}");
        assert_eq!(next.machine.state(), State::Offered, "{name}");
    }
}

/// Found in the field: the text changed while `verify` looked at the image, and the installer got
/// the other one.
#[test]
fn rule_3_another_text_for_the_same_image_ends_consent_and_approval() {
    let mut config = asking();
    config.approval = Hold::Ask;
    let mut bench = half(config, &offer_with("signature-good"));
    bench.body(3_000, SIZE);
    assert_eq!(bench.machine.state(), State::Ready);
    bench.message(4_000, &offer_with("signature-evil"));
    let lines = bench.auto(4_000);
    assert_eq!(lines, ["event Superseded", "event Offered"]);
    assert!(
        bench.machine.command(at(4_000), Command::Approve).is_err(),
        "nothing waits for that word"
    );
    assert_eq!(bench.machine.offer().unwrap().user_defined, Some("signature-evil"));
    bench.machine.command(at(5_000), Command::Accept).unwrap();
    let lines = bench.auto(5_000);
    assert!(has(&lines, "event Ready"), "the bytes stay, and are verified anew: {lines:?}");
    // At most once a minute; until then what was asked about is what is installed.
    bench.message(6_000, &offer_with("third"));
    assert_eq!(bench.auto(6_000), [""; 0]);
    assert_eq!(bench.machine.offer().unwrap().user_defined, Some("signature-evil"));
    bench.machine.command(at(7_000), Command::Approve).unwrap();
    assert!(has(&bench.auto(7_000), "event Install { size: 10000 }"));
    // Once the installer may have begun it is dropped.
    bench.message(70_000, &offer_with("fourth"));
    bench.auto(70_000);
    assert_eq!(bench.machine.state(), State::Installing);
    assert_eq!(bench.machine.offer().unwrap().user_defined, Some("signature-evil"));
}

#[test]
fn rule_3_another_text_at_any_stage_is_asked_about_and_a_url_alone_is_not() {
    let texts = [("text", false), ("other", true)];
    for (text, again) in texts {
        // While it is fetched, and while its digest is computed.
        for whole in [false, true] {
            let mut bench = half(asking(), &offer_with("text"));
            if whole {
                bench.piece(3_000, SIZE);
                bench.out(3_000);
                if bench.open.iter().any(|(kind, _)| *kind == Kind::Erase) {
                    bench.done(3_000, Kind::Erase);
                    bench.piece(3_000, SIZE);
                }
                bench.done(3_000, Kind::Write);
                bench.out(3_000);
                bench.done(3_000, Kind::Sync);
                bench.out(3_000);
            }
            let offer = offer_with(text).replace("sign=1", "sign=2");
            bench.message(4_000, &offer);
            let lines = bench.auto(4_000);
            assert_eq!(has(&lines, "event Offered"), again, "{text} {whole}: {lines:?}");
            assert_eq!(bench.machine.state() == State::Offered, again, "{text} {whole}");
            if again {
                bench.machine.command(at(5_000), Command::Accept).unwrap();
                let lines = bench.auto(5_000);
                let on = if whole { "event Ready" } else { "fetch 8192" };
                assert!(has(&lines, on), "{whole}: {lines:?}");
            }
        }
        // After a restart.
        let bench = half(asking(), &offer_with("text"));
        let (_, lines) = restarted(&bench, asking(), &offer_with(text));
        assert_eq!(has(&lines, "event Offered"), again, "{text}: {lines:?}");
        assert_eq!(has(&lines, "fetch 8192"), !again, "{text}: {lines:?}");
        // The firmware type is a text like the other.
        let typed = offer_with("text").replace(r#""type""#, r#""fw_type":"module","type""#);
        let (_, lines) = restarted(&bench, asking(), &typed);
        assert!(has(&lines, "event Offered"), "{lines:?}");
    }
}

/// Also while a fresh URL is waited for: it comes with another text.
#[test]
fn rule_3_another_text_with_the_url_that_is_waited_for_is_asked_about() {
    for status in [403, 404] {
        for (text, again) in [("text", false), ("other", true)] {
            let mut bench = half(asking(), &offer_with("text"));
            bench.fetch_failed(2_000, TransportError::Closed);
            let ms = bench.next_fetch().unwrap();
            bench.status(ms, status).unwrap_err();
            assert!(has(&bench.auto(ms), "report 0.1.0"), "{status}: the URL is asked for");
            bench.message(ms + 100, &offer_with(text).replace("sign=1", "sign=2"));
            let lines = bench.auto(ms + 100);
            assert_eq!(has(&lines, "event Offered"), again, "{status} {text}: {lines:?}");
            assert_eq!(has(&lines, "fetch 8192"), !again, "{status} {text}: {lines:?}");
        }
    }
}

/// The application takes every offer, and looks at what came: at this text, then.
#[test]
fn rule_3_another_text_for_an_image_that_waits_is_looked_at_whichever_word_it_waits_for() {
    type Gate = fn(&mut ota_proto::Config);
    let gates: [Gate; 2] = [|c| c.approval = Hold::Ask, |c| c.install = Hold::Ask];
    for (gate, deferred) in gates.into_iter().flat_map(|gate| [(gate, false), (gate, true)]) {
        let mut config = config();
        gate(&mut config);
        let mut bench = Bench::online(config);
        bench.message(1_000, &offer_with("text"));
        bench.auto(1_000);
        bench.good_head(1_100);
        assert!(has(&bench.body(1_100, SIZE), "event Ready"));
        if deferred {
            bench.machine.command(at(2_000), Command::Defer(at(9_000_000))).unwrap();
        }
        bench.message(3_000, &offer_with("text").replace("sign=1", "sign=2"));
        assert_eq!(bench.auto(3_000), [""; 0], "a URL alone is no news");
        bench.message(4_000, &offer_with("other"));
        let lines = bench.auto(4_000);
        assert!(has(&lines, "event Superseded") && has(&lines, "event Ready"), "{lines:?}");
        assert_eq!(bench.machine.state(), State::Ready);
        assert_eq!(bench.machine.offer().unwrap().user_defined, Some("other"));
    }
}

/// A write in progress ends before the fetch that follows: none of its bytes comes twice.
#[test]
fn rule_3_a_write_under_way_is_counted_before_the_next_fetch() {
    let mut bench = half(asking(), &offer_with("text"));
    bench.auto(3_000);
    bench.piece(3_000, 9_000);
    bench.message(3_000, &offer_with("other"));
    bench.out(3_000);
    bench.machine.command(at(3_000), Command::Accept).unwrap();
    let lines = bench.out(3_000);
    assert!(!lines.iter().any(|line| line.starts_with("fetch")), "{lines:?}");
    bench.done(3_000, Kind::Persist);
    bench.done(3_000, Kind::Write);
    assert!(has(&bench.out(3_000), "fetch 9000"));
}

/// Found by the walk: what was written and not synced was claimed when the new text was accepted.
#[test]
fn o1_another_text_claims_nothing_that_is_not_on_the_medium() {
    let mut bench = half(asking(), &offer_with("text"));
    bench.auto(3_000);
    bench.piece(3_000, SIZE);
    bench.done(3_000, Kind::Write);
    assert!(has(&bench.out(3_000), "sync"));
    bench.message(3_000, &offer_with("other"));
    bench.out(3_000);
    bench.done(3_000, Kind::Persist);
    bench.machine.command(at(3_000), Command::Accept).unwrap();
    let lines = bench.out(3_000);
    assert_eq!(lines[0], "persist Fetching 1.0.0@8192", "{lines:?}");
    bench.done(3_000, Kind::Persist);
    bench.done(3_000, Kind::Sync);
    let lines = bench.out(3_000);
    assert_eq!(lines[0], "persist Fetching 1.0.0@10000", "{lines:?}");
}

#[test]
fn rule_3_without_anybody_to_ask_another_text_is_just_taken() {
    let mut bench = Bench::online(config());
    bench.message(1_000, &offer_with("text"));
    bench.auto(1_000);
    bench.message(2_000, &offer_with("other"));
    assert_eq!(bench.auto(2_000), [""; 0]);
    assert_eq!(bench.machine.state(), State::Fetching);
    assert_eq!(bench.machine.offer().unwrap().user_defined, Some("other"));
}

/// Found in the field: 1.0.0 at 90 % made way for an offer without a digest.
#[test]
fn rule_3_an_offer_that_cannot_be_taken_replaces_nothing() {
    let no_digest = |version: &str| {
        format!(
            r#"{{"file_size":10000,"type":"update_firmware","url":"https://cos.example/a","version":"{version}"}}"#
        )
    };
    let bad = [
        no_digest("1.0.1"),
        offer_text("1.0.1", "ftp://cos.example/a"),
        offer_text("1.0.1", "http://cos.example/a"),
        offer_text("1.0.1", "https://cos.example/a").replace("10000", "70000"),
    ];
    for offer in bad {
        let mut bench = Bench::fetching(config());
        bench.good_head(1_100);
        bench.body(1_200, 9_000);
        bench.message(2_000, &offer);
        let lines = bench.auto(2_000);
        assert_eq!(lines, ["downloading 90"], "{offer}");
        let lines = bench.body(2_100, SIZE);
        assert!(has(&lines, "event Install { size: 10000 }"), "{offer}: {lines:?}");
        // When that is over a report draws it again, and it is refused.
        bench.machine.command(at(3_000), Command::Installed(Installed::Running)).unwrap();
        let lines = bench.auto(3_000);
        assert!(has(&lines, "done") && lines.last().unwrap() == "report 1.0.0", "{lines:?}");
        bench.message(3_100, &offer);
        let lines = bench.auto(3_100);
        assert!(lines.iter().any(|line| line.starts_with("fail -5")), "{offer}: {lines:?}");
    }
}

/// A restart in between changes nothing of that: what the journal says is stored stays.
#[test]
fn rule_3_an_offer_that_cannot_be_taken_replaces_nothing_after_a_restart() {
    let bad = offer_text("1.0.1", "https://cos.example/a").replace("10000", "70000");
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_200, 9_000);
    let record = bench.journal();
    assert_eq!(record.target.map(|target| target.offset), Some(8_192));
    let boot = || {
        let mut bench = Bench::boot(config(), "0.1.0", SlotState::Confirmed, Some(&record));
        bench.machine.handle_session(at(0), true);
        bench.auto(0);
        bench.message(100, &bad);
        assert_eq!(bench.auto(100), [""; 0]);
        bench
    };
    let mut bench = boot();
    bench.offer(1_000, "1.0.0");
    assert!(has(&bench.auto(1_000), "fetch 8192"));
    // When the awaited one does not come it is withdrawn, and then the other one is refused.
    let mut bench = boot();
    let mut lines = Vec::new();
    for ms in [10_200, 20_400, 60_100] {
        lines.extend(bench.until(ms));
        bench.message(ms, &bad);
        lines.extend(bench.auto(ms));
    }
    assert!(lines.iter().any(|line| line.ends_with("event Withdrawn")), "{lines:?}");
    assert!(has(&lines, "fail -5 image larger than the slot"), "{lines:?}");
}

/// While the URL is waited for: the bad offer is drawn again when the good one is withdrawn.
#[test]
fn rule_3_an_offer_that_cannot_be_taken_is_refused_once_the_awaited_one_is_withdrawn() {
    let mut bench = Bench::fetching(config());
    bench.status(1_100, 403).unwrap_err();
    bench.auto(1_100);
    let bad = offer_text("1.0.1", "ftp://cos.example/a");
    let mut lines = Vec::new();
    for ms in [1_200, 12_000, 23_000, 62_000] {
        lines.extend(bench.until(ms));
        bench.reply(ms, "0.1.0");
        bench.message(ms, &bad);
        lines.extend(bench.auto(ms));
    }
    lines.extend(bench.until(130_000));
    bench.reply(130_000, "0.1.0");
    bench.message(130_000, &bad);
    lines.extend(bench.auto(130_000));
    assert!(lines.iter().any(|line| line.ends_with("event Withdrawn")), "{lines:?}");
    assert!(has(&lines, "fail -5 url unusable"), "{lines:?}");
}

/// Found by a second harness: `done` for a version that does not run here.
#[test]
fn rule_6_done_is_marked_as_sent_when_it_is_about_to_leave_and_not_before() {
    let mut bench = Bench::installing(config());
    bench.machine.command(at(2_000), Command::Installed(Installed::Running)).unwrap();
    assert!(bench.out(2_000)[0].starts_with("persist Owed 1.0.0@10000"));
    bench.done(2_000, Kind::Persist);
    let record = bench.journal();
    assert!(!record.owed.unwrap().sent, "nothing left");
    // The power is cut; the old version runs.
    let mut cut = Bench::boot(config(), "0.1.0", SlotState::Unknown, Some(&record));
    cut.machine.handle_session(at(0), true);
    let lines = cut.auto(0);
    assert!(has(&lines, "fail -5 rolled back: old version runs"), "{lines:?}");
    assert!(!has(&lines, "done"), "{lines:?}");
    // What may have left is not taken back.
    assert!(bench.out(2_000)[0].starts_with("persist Owed"), "the mark");
    bench.done(2_000, Kind::Persist);
    assert!(bench.journal().owed.unwrap().sent);
    assert_eq!(bench.out(2_000)[0], "done");
}

/// A copied file system: this device does not report what another device owed.
#[test]
fn rule_6_a_record_of_another_device_is_no_record() {
    let bench = half(asking(), &offer_with("text"));
    let mut record = bench.journal();
    let mut config = config();
    config.identity = Identity::new("TESTPROD01", "dev002").unwrap();
    for phase in [Phase::Fetching, Phase::Installing, Phase::Switching, Phase::Owed] {
        record.phase = phase;
        record.owed = (phase == Phase::Owed).then_some(ota_proto::journal::Owed {
            result: Outcome::Done,
            sent: true,
            answer: None,
        });
        let block = record.encode(500);
        let boot = ota_proto::Boot {
            running: "1.0.0",
            slot: SlotState::Unknown,
            journal: Some(&block),
            storage: STORAGE,
        };
        let machine = ota_proto::Updater::new(at(0), config.clone(), boot).unwrap();
        assert_eq!((machine.state(), machine.owed()), (State::Idle, None), "{phase:?}");
        // Its own device goes by it, and so does whoever finds a record without a name.
        for device in [record.device, 0] {
            let block = ota_proto::journal::Record { device, ..record }.encode(500);
            let boot = ota_proto::Boot { journal: Some(&block), ..boot };
            let machine = ota_proto::Updater::new(at(0), asking(), boot).unwrap();
            let open = machine.state() != State::Idle || machine.owed().is_some();
            assert!(open, "{phase:?} {device}");
        }
    }
    // Ours count as newer than the foreign one.
    let block = record.encode(500);
    let boot = ota_proto::Boot {
        running: "0.1.0",
        slot: SlotState::Confirmed,
        journal: Some(&block),
        storage: STORAGE,
    };
    let mut machine = ota_proto::Updater::new(at(0), config, boot).unwrap();
    machine.handle_session(at(0), true);
    let update = "$ota/update/TESTPROD01/dev002";
    machine.handle_message(at(1), update, offer_with("x").as_bytes()).unwrap();
    let mut buf = [0; ota_proto::Config::buffer_len()];
    match machine.poll(at(1), &mut buf).unwrap() {
        ota_proto::Output::Do(_, Work::Persist(record)) => {
            assert_eq!(ota_proto::journal::Record::decode(&record).unwrap().0, 501);
        }
        other => panic!("{other:?}"),
    }
}

/// Found by a second harness: if every `ClearMark` failed, nothing was ever switched again.
#[test]
fn rule_13_a_mark_that_cannot_be_cleared_holds_nothing_up() {
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::RolledBack, None);
    bench.machine.handle_session(at(0), true);
    let mut clears = 0;
    let mut failing = |bench: &mut Bench, ms: u64| {
        let mut lines = Vec::new();
        loop {
            lines.extend(bench.out(ms));
            for id in std::mem::take(&mut bench.pubs) {
                bench.machine.handle_published(at(ms), id);
            }
            let Some(kind) = bench.open.iter().map(|(kind, _)| *kind).find(|it| *it != Kind::Fetch)
            else {
                return lines;
            };
            if lines.last().is_some()
                && kind == Kind::Slot
                && lines.iter().rev().find(|line| line.starts_with("slot")).unwrap()
                    == "slot ClearMark"
            {
                clears += 1;
                bench.error(ms, kind, StorageError::Failed);
            } else {
                bench.done(ms, kind);
            }
        }
    };
    failing(&mut bench, 0);
    bench.reply(0, "0.1.0");
    bench.offer(1_000, "1.0.0");
    failing(&mut bench, 1_000);
    bench.good_head(1_000);
    let mut lines = Vec::new();
    while bench.at < SIZE {
        bench.piece(1_000, SIZE);
        lines.extend(failing(&mut bench, 1_000));
    }
    assert!(has(&lines, "event Install { size: 10000 }"), "{lines:?}");
    bench.machine.command(at(2_000), Command::Installed(Installed::NeedsRestart)).unwrap();
    let lines = failing(&mut bench, 2_000);
    assert!(has(&lines, "slot Activate") && has(&lines, "event Restart"), "{lines:?}");
    for minute in 1..30 {
        bench.machine.handle_timeout(at(minute * 60_000));
        failing(&mut bench, minute * 60_000);
    }
    assert!(clears <= 3, "a bound: {clears}");
}

/// The whole class: if the slot cannot be told to roll back, the device restarts anyway.
#[test]
fn rule_13_a_roll_back_that_cannot_be_told_ends_with_the_restart() {
    let mut bench = Bench::restarting(config());
    let record = bench.journal();
    bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    bench.auto(0);
    bench.machine.command(at(1_000), Command::RollBack).unwrap();
    let mut tries = 0;
    let mut ms = 1_000;
    loop {
        let lines = bench.out(ms);
        if has(&lines, "event Restart") {
            break;
        }
        if bench.open.iter().any(|(kind, _)| *kind == Kind::Persist) {
            bench.done(ms, Kind::Persist);
        } else if bench.open.iter().any(|(kind, _)| *kind == Kind::Slot) {
            tries += 1;
            bench.error(ms, Kind::Slot, StorageError::Failed);
        } else {
            ms = bench.idle.0.expect("a deadline").as_millis();
            bench.machine.handle_timeout(at(ms));
        }
        assert!(ms < 600_000, "forever");
    }
    assert_eq!(tries, 4);
    assert_eq!(bench.journal().owed.unwrap().result, Outcome::Failed(Reason::RolledBack));
}

/// Found in the field: an offer that was refused by mistake never came again.
#[test]
fn rule_14_forgive_takes_a_refusal_back() {
    let mut bench = Bench::online(asking());
    assert!(
        bench.machine.command(at(500), Command::Forgive).is_err(),
        "nothing is held against anything"
    );
    bench.offer(1_000, "1.0.0");
    bench.auto(1_000);
    bench.machine.command(at(2_000), Command::Refuse).unwrap();
    let lines = bench.auto(2_000);
    assert!(has(&lines, "fail -5 offer refused"), "{lines:?}");
    bench.reply(2_100, "0.1.0");
    bench.offer(2_100, "1.0.0");
    assert!(!has(&bench.auto(2_100), "event Offered"), "it was refused");
    bench.machine.command(at(3_000), Command::Forgive).unwrap();
    assert_eq!(bench.auto(3_000), ["report 0.1.0"], "the cloud is asked for it");
    bench.offer(3_100, "1.0.0");
    assert!(has(&bench.auto(3_100), "event Offered"));
}

/// Found in the field: a server without ranges on an unstable line was counted as a violation.
#[test]
fn rule_9_a_line_that_breaks_before_a_server_without_ranges_is_a_time_out_and_keeps_the_bytes() {
    let mut bench = Bench::fetching(config());
    let whole = ota_proto::ResponseHead {
        status: 200,
        content_length: Some(SIZE),
        ..ota_proto::ResponseHead::default()
    };
    let mut ms = 1_100;
    for _ in 0..40 {
        bench.head(ms, &whole).unwrap();
        bench.auto(ms);
        // Each answer breaks off a little behind the one before: it moves on, and slowly.
        let (stored, _) = bench.machine.progress().unwrap();
        let upto = (stored + 600).min(9_900);
        let (op, skipped) = (bench.fetch_op(), usize::try_from(stored).unwrap());
        if bench.machine.handle_body(at(ms), op, &image()[..skipped]).is_err() {
            // More than three images in all.
            break;
        }
        bench.at = stored;
        bench.body(ms, upto);
        bench.fetch_failed(ms, TransportError::Closed);
        let Some(next) = bench.next_fetch() else { break };
        ms = next;
    }
    bench.until(ms + 60_000);
    let record = bench.journal();
    assert_eq!(record.phase, Phase::Fetching, "the bytes are kept: {record:?}");
    assert!(record.target.unwrap().offset >= 4_096);
}

/// Found by a second harness: `puback` or `reply` of zero was an endless loop at one moment.
#[test]
fn what_no_machine_can_go_by_is_refused_field_by_field() {
    type Field = fn(&mut Timing) -> &mut Micros;
    let fields: [(&str, Field); 29] = [
        ("reply", |t| &mut t.reply),
        ("puback", |t| &mut t.puback),
        ("report_cap", |t| &mut t.report_cap),
        ("idle_report", |t| &mut t.idle_report),
        ("elicited", |t| &mut t.elicited),
        ("withdrawn", |t| &mut t.withdrawn),
        ("fresh_offer", |t| &mut t.fresh_offer),
        ("same_url", |t| &mut t.same_url),
        ("after_failure", |t| &mut t.after_failure),
        ("attempt", |t| &mut t.attempt),
        ("offer_life", |t| &mut t.offer_life),
        ("supersede", |t| &mut t.supersede),
        ("progress", |t| &mut t.progress),
        ("repeat", |t| &mut t.repeat),
        ("repeat_waiting", |t| &mut t.repeat_waiting),
        ("response", |t| &mut t.response),
        ("idle", |t| &mut t.idle),
        ("unread", |t| &mut t.unread),
        ("rate_window", |t| &mut t.rate_window),
        ("retry_cap", |t| &mut t.retry_cap),
        ("violation", |t| &mut t.violation),
        ("patience", |t| &mut t.patience),
        ("portal", |t| &mut t.portal),
        ("retry_after_cap", |t| &mut t.retry_after_cap),
        ("checkpoint", |t| &mut t.checkpoint),
        ("install", |t| &mut t.install),
        ("ask_again", |t| &mut t.ask_again),
        ("trial", |t| &mut t.trial),
        ("journal_retry", |t| &mut t.journal_retry),
    ];
    let start = |config| {
        let slot = SlotState::Confirmed;
        let boot = ota_proto::Boot { running: "0.1.0", slot, journal: None, storage: STORAGE };
        ota_proto::Updater::new(at(0), config, boot).err()
    };
    for (name, field) in fields {
        for (nanos, refused) in [(0, true), (999, true), (1_000, false)] {
            let mut config = config();
            *field(&mut config.timing) = core::time::Duration::from_nanos(nanos).into();
            let found = start(config);
            assert_eq!(found, refused.then_some(ConfigError::Timing), "{name}: {nanos} ns");
        }
    }
    let mut zero = config();
    zero.timing.retry_base = Micros::ZERO;
    zero.timing.burning = Micros::ZERO;
    assert_eq!(start(zero), None);
    type Limit = fn(&mut Limits) -> &mut usize;
    let limits: [(Limit, usize); 2] = [(|l| &mut l.payload, 256), (|l| &mut l.url, 32)];
    for (limit, least) in limits {
        for (bytes, found) in [(least - 1, Some(ConfigError::Limits)), (least, None)] {
            let mut config = config();
            *limit(&mut config.limits) = bytes;
            assert_eq!(start(config), found, "{bytes}");
        }
    }
}
