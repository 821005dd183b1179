//! The ordering table of docs/architecture.md, each row provoked. O16 is the client's.

use ota_proto::{Command, Hold, Installed, SlotInfo, SlotState, StorageError, TransportError};

use crate::bench::*;

#[test]
fn o1_persist_only_after_sync() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    assert_eq!(bench.out(1_100), ["erase 0..4096"]);
    bench.done(1_100, Kind::Erase);
    assert!(bench.piece(1_100, SIZE));
    assert_eq!(bench.at, 4_096, "a write never crosses an erase unit");
    bench.done(1_100, Kind::Write);
    // The checkpoint is due: no claim before the sync has ended.
    assert_eq!(bench.out(1_100), ["sync", "event Progress { percent: 40 }"]);
    assert!(!bench.piece(1_100, SIZE), "nothing is read while the slot is busy");
    bench.done(1_200, Kind::Sync);
    assert_eq!(bench.out(1_200), ["persist Fetching 1.0.0@4096", "erase 4096..8192"]);
}

#[test]
fn o1_a_claim_is_a_multiple_of_the_erase_unit() {
    let fine = ota_proto::SlotInfo { erase: 64, ..STORAGE };
    let mut bench = Bench::boot_on(fine, config(), "0.1.0", SlotState::Confirmed, None);
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    bench.offer(1_000, "1.0.0");
    bench.auto(1_000);
    bench.good_head(1_000);
    bench.body(1_000, 100);
    bench.body(10_000, 150);
    bench.body(20_000, 160);
    bench.body(30_000, 170);
    bench.body(40_000, 180);
    bench.body(50_000, 185);
    assert_eq!(bench.journal().target.unwrap().offset, 0);
    bench.until(61_000);
    assert_eq!(bench.journal().target.unwrap().offset, 128, "185 are synced after 60 s");
}

#[test]
fn o2_first_erase_only_after_the_record_of_this_image() {
    let mut bench = Bench::online(config());
    bench.offer(1_000, "1.0.0");
    bench.out(1_000);
    bench.good_head(1_100);
    assert_eq!(bench.out(1_100), [] as [&str; 0], "the record is not durable yet");
    bench.done(1_200, Kind::Persist);
    assert_eq!(bench.out(1_200), ["erase 0..4096"]);
}

/// 4,096 bytes are stored, and the claim of them is on its way to the journal.
fn claiming() -> Bench {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.out(1_100);
    bench.done(1_100, Kind::Erase);
    bench.piece(1_100, 4_096);
    bench.done(1_100, Kind::Write);
    bench.out(1_100);
    bench.done(1_100, Kind::Sync);
    assert_eq!(bench.out(1_100), ["persist Fetching 1.0.0@4096", "erase 4096..8192"]);
    bench.done(1_100, Kind::Erase);
    bench
}

/// The body breaks off; when it is asked for again, at the moment given back, another image
/// answers: from zero.
fn another_image_answers(bench: &mut Bench, meanwhile: impl FnOnce(&mut Bench, u64)) -> u64 {
    bench.fetch_failed(1_200, ota_proto::TransportError::Closed);
    bench.out(1_200);
    let retry = bench.idle.0.unwrap().as_millis() + 1;
    bench.machine.handle_timeout(at(retry));
    meanwhile(bench, retry);
    assert_eq!(bench.out(retry)[0], "fetch 4096");
    let other = ota_proto::ResponseHead { etag: Some(b"\"2\""), ..good(0) };
    bench.head(retry, &other).unwrap();
    retry
}

/// The claim is on its way: it may still win.
#[test]
fn o2_no_erase_while_an_old_claim_is_on_its_way() {
    let mut bench = claiming();
    let retry = another_image_answers(&mut bench, |_, _| {});
    assert_eq!(bench.out(retry), [] as [&str; 0], "4,096 may become durable at any moment");
    bench.done(retry, Kind::Persist);
    assert_eq!(bench.out(retry), ["persist Fetching 1.0.0@0"]);
    bench.done(retry, Kind::Persist);
    assert_eq!(bench.out(retry), ["erase 0..4096"]);
}

/// The same, and the claim's write failed: it may be on the medium anyway.
#[test]
fn o2_no_erase_while_a_failed_claim_may_be_on_the_medium() {
    let mut bench = claiming();
    let retry = another_image_answers(&mut bench, |bench, ms| {
        bench.error(ms, Kind::Persist, StorageError::Failed);
    });
    assert_eq!(bench.out(retry), [] as [&str; 0]);
    let lines = bench.until(20_000);
    assert_eq!(bench.journal().target.unwrap().offset, 0, "{lines:?}");
}

/// The write that should take the claim back fails, too: either of the two may be on the medium.
/// Found by fuzzing (`corpus/updater/two-failed-records`).
#[test]
fn o2_no_erase_after_two_failed_writes_of_different_records() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.out(1_100);
    bench.done(1_100, Kind::Erase);
    bench.piece(1_100, 4_096);
    bench.done(1_100, Kind::Write);
    bench.out(1_100);
    bench.done(1_100, Kind::Sync);
    bench.out(1_100);
    bench.done(1_100, Kind::Erase);
    bench.error(1_100, Kind::Persist, StorageError::Failed);
    bench.fetch_failed(1_200, ota_proto::TransportError::Closed);
    bench.out(1_200);
    // To the next fetch, and then to the next record: every write fails.
    let failing_until = |bench: &mut Bench, wanted: &str| loop {
        let now = bench.idle.0.unwrap().as_millis() + 1;
        bench.machine.handle_timeout(at(now));
        let mut lines = bench.out(now);
        if lines.iter().any(|line| line.starts_with("persist")) {
            bench.error(now, Kind::Persist, StorageError::Failed);
            lines.extend(bench.out(now));
        }
        assert!(!lines.iter().any(|line| line.starts_with("erase")), "{lines:?}");
        if lines.iter().any(|line| line == wanted) {
            return now;
        }
    };
    let now = failing_until(&mut bench, "fetch 4096");
    let other = ota_proto::ResponseHead { etag: Some(b"\"2\""), ..good(0) };
    bench.head(now, &other).unwrap();
    bench.out(now);
    failing_until(&mut bench, "persist Fetching 1.0.0@0");
    let now = failing_until(&mut bench, "persist Fetching 1.0.0@0") + 10_000;
    bench.machine.handle_timeout(at(now));
    assert!(bench.out(now).contains(&"persist Fetching 1.0.0@0".into()));
    bench.done(now, Kind::Persist);
    assert!(bench.out(now).contains(&"erase 0..4096".into()));
}

/// A checkpoint's sync in progress, then a restart from zero: the sync's end claims nothing.
#[test]
fn o1_o2_a_sync_from_before_a_restart_claims_nothing() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.out(1_100);
    bench.done(1_100, Kind::Erase);
    bench.piece(1_100, 4_096);
    bench.fetch_failed(1_100, ota_proto::TransportError::Closed);
    bench.done(1_100, Kind::Write);
    let lines = bench.out(1_100);
    assert!(lines.contains(&"sync".into()), "{lines:?}");
    let retry = bench.idle.0.unwrap().as_millis() + 1;
    bench.machine.handle_timeout(at(retry));
    assert_eq!(bench.out(retry), ["fetch 4096"]);
    let other = ota_proto::ResponseHead { etag: Some(b"\"2\""), ..good(0) };
    bench.head(retry, &other).unwrap();
    bench.done(retry, Kind::Sync);
    assert_eq!(bench.out(retry), ["erase 0..4096"]);
    assert_eq!(bench.journal().target.unwrap().offset, 0);
}

#[test]
fn o3_a_superseding_offer_waits_for_the_old_operation() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    assert_eq!(bench.out(1_100), ["erase 0..4096"]);
    bench.offer(1_200, "2.0.0");
    let lines = bench.out(1_200);
    assert_eq!(
        lines,
        [
            "cancel",
            "persist Fetching 2.0.0@0",
            "downloading 0",
            "fetch 0",
            "event Superseded",
            "event Started { from: 0 }"
        ]
    );
    bench.done(1_200, Kind::Persist);
    bench.good_head(1_300);
    assert_eq!(bench.out(1_300), [] as [&str; 0], "the old erase is in progress");
    bench.done(1_400, Kind::Erase);
    assert_eq!(bench.out(1_400), ["erase 0..4096"]);
}

#[test]
fn o4_digest_only_after_sync() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_100, SIZE - 1);
    assert!(bench.piece(1_200, SIZE));
    bench.done(1_200, Kind::Write);
    let lines = bench.out(1_200);
    assert!(lines.contains(&"sync".into()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("digest")), "{lines:?}");
    bench.done(1_300, Kind::Sync);
    assert_eq!(bench.out(1_300), ["persist Fetching 1.0.0@10000", "digest 0..10000"]);
}

#[test]
fn o5_install_only_after_digest_approval_journal_and_burning() {
    let mut config = config();
    config.approval = Hold::Ask;
    let mut bench = Bench::fetching(config);
    bench.good_head(1_100);
    let lines = bench.body(1_200, SIZE);
    assert_eq!(lines.last().unwrap(), "event Ready");
    assert!(bench.auto(5_000).is_empty(), "not approved");
    bench.machine.command(at(6_000), Command::Approve).unwrap();
    assert_eq!(bench.out(6_000), ["persist Installing 1.0.0@10000 try 1", "burning"]);
    assert!(bench.out(6_100).is_empty(), "not journalled");
    bench.done(6_200, Kind::Persist);
    assert_eq!(bench.out(6_200), ["event Install { size: 10000 }"]);
}

#[test]
fn o6_activation_only_after_switching_is_journalled() {
    let mut bench = Bench::installing(config());
    bench.machine.command(at(2_000), Command::Installed(Installed::NeedsRestart)).unwrap();
    assert_eq!(bench.out(2_000), ["persist Switching 1.0.0@10000 try 1"]);
    bench.done(2_100, Kind::Persist);
    assert_eq!(bench.out(2_100), ["slot Activate"]);
}

#[test]
fn o7_restart_only_after_activation_and_burning() {
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    // Nothing is acknowledged from here on.
    bench.body(1_100, SIZE - 1);
    bench.piece(1_200, SIZE);
    for kind in [Kind::Write, Kind::Sync, Kind::Persist, Kind::Digest, Kind::Persist] {
        bench.done(1_200, kind);
        bench.out(1_200);
    }
    bench.machine.command(at(2_000), Command::Installed(Installed::NeedsRestart)).unwrap();
    bench.out(2_000);
    bench.done(2_000, Kind::Persist);
    assert_eq!(bench.out(2_000), ["slot Activate"]);
    bench.done(2_500, Kind::Slot);
    assert!(bench.out(2_500).is_empty(), "burning is not acknowledged");
    assert_eq!(bench.idle.0, Some(at(7_000)));
    let mut acknowledged = bench.clone();
    acknowledged.ack(3_000);
    assert_eq!(acknowledged.out(3_000), ["event Restart"]);
    // A poll that comes late does not lose the deadline.
    assert!(bench.out(7_500).is_empty());
    assert_eq!(bench.idle.0, Some(at(7_000)));
    bench.machine.handle_timeout(at(7_500));
    assert_eq!(bench.out(7_500), ["event Restart"], "or 5 s");
}

/// On trial at 1.0.0, its session up and its version reported.
fn trial() -> Bench {
    let record = Bench::restarting(config()).journal();
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    assert_eq!(bench.out(0), ["event Trial"]);
    bench.machine.handle_session(at(1_000), true);
    assert_eq!(bench.out(1_000), ["report 1.0.0", "burning"]);
    bench
}

#[test]
fn o8_confirm_only_after_the_application_and_the_clouds_answer() {
    let mut bench = trial();
    bench.machine.command(at(1_100), Command::Confirm).unwrap();
    assert!(bench.out(1_100).is_empty(), "no answer yet");
    // A late answer for the old version does not prove the running one.
    bench.reply(1_150, "0.1.0");
    let lines = bench.out(1_150);
    assert!(!lines.contains(&"slot Confirm".into()), "{lines:?}");
    bench.reply(1_200, "1.0.0");
    assert_eq!(bench.out(1_200), ["slot Confirm", "event VersionAccepted"]);
}

#[test]
fn o8_an_offer_before_the_report_is_no_answer() {
    let record = Bench::restarting(config()).journal();
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    bench.machine.handle_session(at(1_000), true);
    bench.machine.command(at(1_000), Command::Confirm).unwrap();
    bench.offer(1_000, "2.0.0");
    assert_eq!(bench.out(1_000), ["report 1.0.0", "burning"]);
}

#[test]
fn o9_done_only_after_confirm_and_journal() {
    let mut bench = trial();
    bench.machine.command(at(1_100), Command::Confirm).unwrap();
    bench.reply(1_200, "1.0.0");
    bench.out(1_200);
    assert!(bench.out(1_300).is_empty(), "not confirmed yet");
    bench.done(1_400, Kind::Slot);
    let lines = bench.out(1_400);
    assert_eq!(lines[0], "persist Owed 1.0.0@10000 try 1 Done sent");
    assert!(!lines.contains(&"done".into()));
    bench.done(1_500, Kind::Persist);
    assert_eq!(bench.out(1_500), ["done"]);
}

#[test]
fn o10_fail_only_after_the_journal() {
    let mut bench = Bench::installing(config());
    bench
        .machine
        .command(at(2_000), Command::Installed(Installed::Failed(ota_proto::InstallFault::Image)))
        .unwrap();
    let lines = bench.out(2_000);
    assert_eq!(lines[0], "persist Owed 1.0.0@10000 try 1 Failed(Install) sent");
    assert!(!lines.iter().any(|line| line.starts_with("fail")));
    assert_eq!(bench.journal().guard.unwrap().count, 1);
    bench.done(2_100, Kind::Persist);
    assert_eq!(bench.out(2_100), ["fail -5 install failed"]);
}

#[test]
fn o11_roll_back_only_after_the_reason() {
    let mut bench = trial();
    bench.machine.command(at(1_100), Command::RollBack).unwrap();
    assert_eq!(bench.out(1_100), ["persist Switching 1.0.0@10000 try 1 Failed(RolledBack)"]);
    bench.done(1_200, Kind::Persist);
    assert_eq!(bench.out(1_200), ["slot RollBack"]);
}

/// A failed installation, its `fail` on the way at 2,000 ms.
fn owing() -> Bench {
    let mut bench = Bench::installing(config());
    bench
        .machine
        .command(at(2_000), Command::Installed(Installed::Failed(ota_proto::InstallFault::Image)))
        .unwrap();
    bench.out(2_000);
    bench.done(2_000, Kind::Persist);
    assert_eq!(bench.out(2_000), ["fail -5 install failed"]);
    bench
}

#[test]
fn o12_no_version_report_while_a_result_is_owed() {
    let mut bench = owing();
    bench.machine.command(at(2_100), Command::ReportNow).unwrap();
    assert!(bench.out(2_100).is_empty());
    bench.ack(2_200);
    let lines = bench.out(2_200);
    assert!(lines[0].starts_with("persist None"), "{lines:?}");
    assert!(!lines.contains(&"report 0.1.0".into()), "still in the journal");
    bench.done(2_300, Kind::Persist);
    assert_eq!(bench.out(2_300), ["report 0.1.0"]);
}

#[test]
fn o13_no_offer_is_taken_while_a_result_is_owed() {
    let mut bench = owing();
    bench.offer(2_100, "2.0.0");
    assert!(bench.out(2_100).is_empty());
    bench.ack(2_200);
    bench.offer(2_200, "2.0.0");
    let lines = bench.out(2_200);
    assert!(!lines.iter().any(|line| line.starts_with("fetch")), "{lines:?}");
    bench.done(2_300, Kind::Persist);
    assert_eq!(bench.out(2_300), ["report 0.1.0"]);
    bench.offer(2_400, "2.0.0");
    assert!(bench.out(2_400).contains(&"fetch 0".into()));
}

#[test]
fn o14_the_result_goes_only_with_the_puback_of_this_session() {
    let mut bench = owing();
    let old = bench.pubs.clone();
    bench.machine.handle_session(at(3_000), false);
    bench.machine.handle_session(at(8_000), true);
    for id in &old {
        bench.machine.handle_published(at(8_000), *id);
    }
    assert_eq!(bench.machine.owed(), Some(bench.journal().owed.unwrap().result));
    bench.pubs.clear();
    assert_eq!(bench.out(8_000), ["fail -5 install failed"]);
    for id in &old {
        bench.machine.handle_published(at(8_050), *id);
    }
    assert!(bench.machine.owed().is_some(), "another session's acknowledgement");
    bench.ack(8_100);
    assert_eq!(bench.machine.owed(), None);
}

#[test]
fn o15_nothing_is_written_while_an_image_is_on_trial() {
    let mut bench = trial();
    bench.reply(1_100, "1.0.0");
    bench.offer(1_100, "2.0.0");
    let lines = bench.auto(1_100);
    assert_eq!(lines, ["event VersionAccepted"], "the other slot is the way back");
}

/// Accepted again, an attempt claims no part of an erase unit, also when it is on the medium.
#[test]
fn o1_an_attempt_that_is_accepted_again_claims_whole_erase_units() {
    let fine = SlotInfo { erase: 16, ..STORAGE };
    let mut asking = config();
    asking.consent = Hold::Ask;
    let mut bench = Bench::boot_on(fine, asking, "0.1.0", SlotState::Confirmed, None);
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    bench.offer(1_000, "1.0.0");
    bench.auto(1_000);
    bench.machine.command(at(1_000), Command::Accept).unwrap();
    bench.auto(1_000);
    bench.good_head(1_100);
    bench.body(1_100, 20);
    bench.fetch_failed(1_200, TransportError::Closed);
    assert!(bench.out(1_200).contains(&"sync".into()));
    bench.auto(1_200);
    assert_eq!(bench.journal().target.unwrap().offset, 16);
    let other = offer_text("1.0.0", "https://cos.example/a?sign=2");
    bench.message(70_000, &format!(r#"{{"user_defined":"other",{}"#, &other[1..]));
    assert!(bench.auto(70_000).contains(&"event Offered".into()));
    bench.machine.command(at(71_000), Command::Accept).unwrap();
    assert_eq!(bench.out(71_000)[0], "persist Fetching 1.0.0@16");
    assert_eq!(bench.machine.progress(), Some((20, SIZE)));
}
