//! Boot: slot and running version count more than the journal (docs/rules.md), each row; rules 11
//! and 13.

use ota_proto::journal::{Outcome, Owed, Phase, Record, Target};
use ota_proto::{Command, Installed, Reason, SlotInfo, SlotState, State, StorageError, Version};

use crate::bench::*;

const NONE: [&str; 0] = [];

fn record(phase: Phase, offset: u64) -> Record {
    Record {
        phase,
        target: Some(Target {
            version: Version::new("1.0.0").unwrap(),
            md5: md5(),
            size: SIZE,
            offset,
            etag: 0,
        }),
        from: Some(Version::new("0.1.0").unwrap()),
        ..Record::default()
    }
}

fn tried(phase: Phase, tries: u8) -> Record {
    Record { tries, ..record(phase, SIZE) }
}

/// Boots, comes online at 1,000 ms, storage answering at once; what it says.
fn says(running: &str, slot: SlotState, record: Option<&Record>) -> (Bench, Vec<String>) {
    let mut bench = Bench::boot(config(), running, slot, record);
    bench.auto(0);
    bench.machine.handle_session(at(1_000), true);
    let mut lines = bench.auto(1_000);
    lines.retain(|line| !line.starts_with("event"));
    (bench, lines)
}

#[test]
fn boot_without_a_journal_reports_what_runs() {
    let (bench, lines) = says("0.1.0", SlotState::Confirmed, None);
    assert_eq!(lines, ["report 0.1.0"]);
    assert_eq!(bench.machine.state(), State::Idle);
}

#[test]
fn boot_with_a_part_resumes_only_when_the_same_offer_comes() {
    // Rule 11: the block at the end may be torn.
    let (mut bench, lines) =
        says("0.1.0", SlotState::Confirmed, Some(&record(Phase::Fetching, 8_192)));
    assert_eq!(lines, ["report 0.1.0"], "nothing is said of it yet");
    let mut other = bench.clone();
    other.offer(1_100, "2.0.0");
    assert!(other.auto(1_100).contains(&"fetch 0".into()));
    bench.offer(1_100, "1.0.0");
    assert_eq!(
        bench.out(1_100),
        [
            // This start is counted.
            "persist Fetching 1.0.0@8192",
            "downloading 81",
            "fetch 8192",
            "event Started { from: 8192 }"
        ]
    );
    assert_eq!(bench.journal().starts, 1);
    // One that holds the whole image lacks no checkpoint.
    let (mut bench, _) = says("0.1.0", SlotState::Confirmed, Some(&record(Phase::Fetching, SIZE)));
    bench.offer(1_100, "1.0.0");
    bench.out(1_100);
    assert_eq!(bench.journal().starts, 0);
}

/// During a trial the journal keeps its record, unless it must hold a reason later.
#[test]
fn boot_on_trial_changes_the_phase_only_of_a_fetch_of_ours() {
    for (running, record, phase) in [
        ("1.0.0", tried(Phase::Installing, 1), Phase::Installing),
        ("1.0.0", tried(Phase::Switching, 1), Phase::Switching),
        ("1.0.0", tried(Phase::Fetching, 1), Phase::Switching),
        ("1.5.0", record(Phase::Fetching, 8_192), Phase::Fetching),
    ] {
        let (bench, _) = says(running, SlotState::Trial, Some(&record));
        assert_eq!(bench.machine.state(), State::Trial);
        assert_eq!(bench.journal().phase, phase, "{record:?}");
    }
}

#[test]
fn boot_with_a_part_and_two_empty_replies_withdraws() {
    let (mut bench, _) = says("0.1.0", SlotState::Confirmed, Some(&record(Phase::Fetching, 8_192)));
    bench.reply(1_100, "0.1.0");
    let lines = bench.until(11_100);
    assert_eq!(lines.last().unwrap(), "11100 report 0.1.0");
    bench.reply(11_200, "0.1.0");
    let lines = bench.until(21_200);
    assert_eq!(lines.last().unwrap(), "21200 event Withdrawn");
}

#[test]
fn boot_installing_waits_for_the_offer_and_verifies_again_and_counts() {
    for phase in [Phase::Installing, Phase::Switching] {
        let (mut bench, lines) = says("0.1.0", SlotState::Confirmed, Some(&tried(phase, 1)));
        assert_eq!(lines, ["report 0.1.0"]);
        bench.offer(1_100, "1.0.0");
        let lines = bench.auto(1_100);
        assert_eq!(
            lines,
            [
                "downloading 99",
                "event Started { from: 10000 }",
                "downloading 100",
                "burning",
                "event Ready",
                "event Install { size: 10000 }"
            ]
        );
        assert_eq!(bench.journal().tries, 2);
    }
}

#[test]
fn boot_installing_cut_three_times_is_a_failure() {
    let (_, lines) = says("0.1.0", SlotState::Confirmed, Some(&tried(Phase::Installing, 3)));
    assert_eq!(lines, ["fail -5 install interrupted too often", "report 0.1.0"]);
}

#[test]
fn boot_armed_asks_for_the_restart_and_takes_no_other_offer() {
    // The process ended between the activation and the restart. Erasing the other slot now would
    // leave the next reset without an image.
    let (mut bench, lines) = says("0.1.0", SlotState::Armed, Some(&tried(Phase::Switching, 1)));
    assert_eq!(lines, ["report 0.1.0", "burning"]);
    assert_eq!(bench.machine.state(), State::Restarting);
    bench.offer(1_100, "2.0.0");
    let mut lines = bench.until(62_000);
    lines.retain(|line| !line.ends_with("burning"));
    assert_eq!(lines, ["61000 event Restart"], "asked again, and nothing fetched");
}

#[test]
fn boot_armed_by_somebody_else_asks_for_the_restart_and_says_nothing() {
    for record in [None, Some(record(Phase::Fetching, 8_192))] {
        let (mut bench, lines) = says("0.1.0", SlotState::Armed, record.as_ref());
        assert_eq!(lines, ["report 0.1.0"]);
        bench.offer(1_100, "1.0.0");
        assert_eq!(bench.until(7_000), ["5000 event Restart"]);
    }
}

/// A boot loader that loses its own progress reports a trial as armed. Nothing is done before the
/// image is confirmed; otherwise the next reset rolls it back without a report.
#[test]
fn boot_armed_with_the_new_version_running_is_a_trial() {
    let record = tried(Phase::Switching, 1);
    let (mut bench, lines) = says("1.0.0", SlotState::Armed, Some(&record));
    assert_eq!(lines, ["report 1.0.0", "burning"]);
    assert_eq!(bench.machine.state(), State::Trial);
    let mut silent = bench.clone();
    bench.machine.command(at(1_100), Command::Confirm).unwrap();
    bench.reply(1_200, "1.0.0");
    let mut lines = bench.auto(1_200);
    lines.retain(|line| !line.starts_with("event"));
    assert_eq!(lines, ["slot Confirm", "done", "report 1.0.0"]);
    let lines = silent.until(600_000);
    assert!(lines.contains(&"600000 slot RollBack".into()), "{lines:?}");
}

#[test]
fn boot_switching_on_trial_is_confirmed_and_done() {
    let (mut bench, lines) = says("1.0.0", SlotState::Trial, Some(&tried(Phase::Switching, 1)));
    assert_eq!(lines, ["report 1.0.0", "burning"]);
    assert_eq!(bench.machine.state(), State::Trial);
    bench.machine.command(at(1_100), Command::Confirm).unwrap();
    bench.reply(1_200, "1.0.0");
    let mut lines = bench.auto(1_200);
    lines.retain(|line| !line.starts_with("event"));
    assert_eq!(lines, ["slot Confirm", "done", "report 1.0.0"]);
}

#[test]
fn boot_fetching_again_after_a_switch_that_happened_late_is_confirmed_and_done() {
    // The mark of the first switch was half written: one reset read it as unwritten, the next not.
    let record = tried(Phase::Fetching, 1);
    let (mut bench, lines) = says("1.0.0", SlotState::Trial, Some(&record));
    assert_eq!(lines, ["report 1.0.0", "burning"]);
    assert_eq!(bench.journal().phase, Phase::Switching);
    bench.machine.command(at(1_100), Command::Confirm).unwrap();
    bench.reply(1_200, "1.0.0");
    let mut lines = bench.auto(1_200);
    lines.retain(|line| !line.starts_with("event"));
    assert_eq!(lines, ["slot Confirm", "done", "report 1.0.0"]);

    let (_, lines) = says("1.0.0", SlotState::Confirmed, Some(&record));
    assert_eq!(lines, ["done", "report 1.0.0"]);
    let (_, lines) = says("0.1.0", SlotState::RolledBack, Some(&record));
    assert_eq!(lines, ["fail -5 rolled back: did not start", "report 0.1.0"]);
}

/// Without a counted try it is the switch of another program.
#[test]
fn boot_fetching_whole_but_never_tried_is_no_switch_of_ours() {
    let record = tried(Phase::Fetching, 0);
    let (_, lines) = says("0.1.0", SlotState::RolledBack, Some(&record));
    assert!(!lines.iter().any(|line| line.starts_with("fail")), "{lines:?}");
}

#[test]
fn boot_switching_confirmed_owes_done() {
    for slot in [SlotState::Confirmed, SlotState::Unknown] {
        let (_, lines) = says("1.0.0", slot, Some(&tried(Phase::Switching, 1)));
        assert_eq!(lines, ["done", "report 1.0.0"]);
    }
}

#[test]
fn boot_switching_rolled_back_owes_fail_counts_it_and_clears_the_mark() {
    let record = tried(Phase::Switching, 1);
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::RolledBack, Some(&record));
    let first = bench.out(0);
    assert_eq!(first[0], "persist Owed 1.0.0@10000 try 1 Failed(BootFailed)");
    assert!(!first.iter().any(|line| line.starts_with("slot")), "the result first: {first:?}");
    bench.done(0, Kind::Persist);
    assert_eq!(bench.auto(0), ["slot ClearMark"]);
    assert_eq!(bench.journal().guard.unwrap().count, 1);
    bench.machine.handle_session(at(1_000), true);
    assert!(bench.auto(1_000).contains(&"fail -5 rolled back: did not start".into()));
}

/// A power cut within embassy-boot's confirmation leaves its mark without a swap.
#[test]
fn boot_switching_rolled_back_but_the_new_version_runs_owes_done_and_clears_the_mark() {
    let record = tried(Phase::Switching, 1);
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::RolledBack, Some(&record));
    assert_eq!(bench.out(0)[0], "persist Owed 1.0.0@10000 try 1 Done");
    bench.done(0, Kind::Persist);
    assert_eq!(bench.auto(0), ["slot ClearMark"]);
    assert_eq!(bench.journal().guard, None);
    bench.machine.handle_session(at(1_000), true);
    assert!(bench.auto(1_000).contains(&"done".into()));
}

#[test]
fn boot_switching_on_trial_but_something_else_runs_is_rolled_back() {
    for running in ["0.1.0", "1.0.1"] {
        let record = tried(Phase::Switching, 1);
        let mut bench = Bench::boot(config(), running, SlotState::Trial, Some(&record));
        assert_eq!(bench.auto(0), ["slot RollBack", "event Restart"], "the image misnames itself");
        assert_eq!(bench.journal().owed.unwrap().result, Outcome::Failed(Reason::WrongVersion));
    }
}

#[test]
fn boot_switching_with_nobody_to_ask_and_the_old_one_running_owes_fail() {
    let (_, lines) = says("0.1.0", SlotState::Unknown, Some(&tried(Phase::Switching, 1)));
    assert_eq!(lines, ["fail -5 rolled back: old version runs", "report 0.1.0"]);
}

/// Found in the field: `v1.0.0` in the version file for an offer of 1.0.0 was reported as a
/// roll-back.
#[test]
fn boot_a_version_that_is_neither_the_old_nor_the_offered_one_is_a_wrong_version() {
    for phase in [Phase::Installing, Phase::Switching] {
        for slot in [SlotState::Unknown, SlotState::Confirmed] {
            let (bench, lines) = says("v1.0.0", slot, Some(&tried(phase, 1)));
            assert_eq!(lines, ["fail -5 wrong version", "report v1.0.0"], "{phase:?} {slot:?}");
            assert_eq!(bench.journal().guard.unwrap().count, 1, "it counts against the image");
        }
    }
}

#[test]
fn boot_installing_the_tries_of_one_image_do_not_count_against_another() {
    let cut = tried(Phase::Installing, 2);
    let persisted = |version| {
        let mut bench = Bench::boot(config(), "0.1.0", SlotState::Confirmed, Some(&cut));
        bench.machine.handle_session(at(0), true);
        bench.out(0);
        bench.offer(100, version);
        bench.out(100).remove(0)
    };
    assert_eq!(persisted("2.0.0"), "persist Fetching 2.0.0@0");
    assert_eq!(persisted("1.0.0"), "persist Fetching 1.0.0@10000 try 2");
}

#[test]
fn boot_switching_with_nobody_to_ask_and_the_new_one_running_owes_done() {
    let (_, lines) = says("1.0.0", SlotState::Unknown, Some(&tried(Phase::Switching, 1)));
    assert_eq!(lines, ["done", "report 1.0.0"]);
}

#[test]
fn boot_switching_that_never_happened_is_as_installing() {
    let (bench, lines) = says("0.1.0", SlotState::Confirmed, Some(&tried(Phase::Switching, 1)));
    assert_eq!(lines, ["report 0.1.0"], "its offer is waited for");
    assert_eq!(bench.machine.state(), State::Waiting);
    let (_, lines) = says("0.1.0", SlotState::Confirmed, Some(&tried(Phase::Switching, 3)));
    assert_eq!(lines, ["fail -5 install interrupted too often", "report 0.1.0"]);
}

#[test]
fn boot_in_the_middle_of_a_roll_back_goes_on_and_keeps_its_reason() {
    let result = Outcome::Failed(Reason::NotConfirmed);
    let record = Record {
        owed: Some(Owed { result, sent: false, answer: None }),
        ..tried(Phase::Switching, 1)
    };
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    let lines = bench.auto(0);
    assert!(lines.contains(&"slot RollBack".into()), "{lines:?}");
    assert!(bench.machine.command(at(0), Command::Confirm).is_err(), "too late");
    for slot in [SlotState::RolledBack, SlotState::Unknown, SlotState::Confirmed] {
        let (_, lines) = says("0.1.0", slot, Some(&record));
        let said = "fail -5 rolled back: not confirmed".into();
        assert!(lines.contains(&said), "{slot:?}: {lines:?}");
    }
}

#[test]
fn boot_done_that_never_left_and_is_not_true_any_more_becomes_fail() {
    let owed = |sent| Record {
        owed: Some(Owed { result: Outcome::Done, sent, answer: None }),
        ..record(Phase::Owed, SIZE)
    };
    let (_, lines) = says("0.1.0", SlotState::Confirmed, Some(&owed(false)));
    assert_eq!(lines, ["fail -5 rolled back: old version runs", "report 0.1.0"]);
    let (_, lines) = says("0.1.0", SlotState::Confirmed, Some(&owed(true)));
    assert_eq!(lines, ["done", "report 0.1.0"], "it may have left; the report tells the truth");
}

/// The same, and the new version runs: the result is true, and nobody was told.
#[test]
fn boot_done_that_is_true_is_told_whether_or_not_it_may_have_left() {
    for sent in [false, true] {
        for slot in [SlotState::Confirmed, SlotState::Unknown] {
            let owed = Some(Owed { result: Outcome::Done, sent, answer: None });
            let record = Record { owed, ..record(Phase::Owed, SIZE) };
            let (bench, lines) = says("1.0.0", slot, Some(&record));
            assert_eq!(lines, ["done", "report 1.0.0"], "{slot:?} {sent}");
            assert_eq!(bench.journal().owed, None, "{slot:?} {sent}");
        }
    }
}

/// Also after records that this build does not write itself: what is owed beside an installation
/// is over when its image is offered again.
#[test]
fn boot_with_any_record_that_makes_sense_is_followed_by_records_that_do() {
    let results = [Outcome::Done, Outcome::Failed(Reason::NotConfirmed)];
    let owed = results.map(|result| Some(Owed { result, sent: false, answer: None }));
    let slots = [SlotState::Unknown, SlotState::Confirmed, SlotState::RolledBack];
    let mut begun = 0;
    for phase in [Phase::None, Phase::Fetching, Phase::Installing, Phase::Switching, Phase::Owed] {
        for (owed, slot) in [None, owed[0], owed[1]].iter().flat_map(|o| slots.map(|s| (*o, s))) {
            let record = Record { owed, ..tried(phase, 1) };
            if !record.is_consistent() {
                continue;
            }
            let (mut bench, _) = says("0.1.0", slot, Some(&record));
            bench.reply(1_100, "0.1.0");
            bench.offer(1_100, "1.0.0");
            // The bench takes only records that decode.
            let lines = bench.auto(1_100);
            if lines.iter().any(|line| line.starts_with("event Started")) {
                assert_eq!(bench.journal().owed, None, "{record:?}");
                begun += 1;
            }
        }
    }
    assert!(begun > 5, "{begun}");
}

/// More than 2^57 bytes: a hundred times as many are no number any more.
#[test]
fn rule_4_the_percent_of_an_image_of_whatever_size_is_told() {
    let huge = SlotInfo { capacity: u64::MAX, ..STORAGE };
    for (size, offset, percent) in [
        (1 << 57, 1 << 56, 50),
        (1 << 58, 1 << 57, 50),
        (1 << 59, 7 << 56, 87),
        (1 << 62, 1 << 61, 50),
        (1 << 62, 1 << 40, 0),
    ] {
        let mut part = record(Phase::Fetching, offset);
        part.target = part.target.map(|target| Target { size, ..target });
        let slot = SlotState::Confirmed;
        let mut bench = Bench::boot_on(huge, config(), "0.1.0", slot, Some(&part));
        bench.machine.handle_session(at(0), true);
        bench.auto(0);
        let offer = offer_text("1.0.0", "https://cos.example/a");
        bench.message(100, &offer.replace(&format!(":{SIZE},"), &format!(":{size},")));
        let lines = bench.auto(100);
        let fetch = format!("fetch {offset}");
        assert_eq!(lines[..2], [format!("downloading {percent}"), fetch], "{offset} of {size}");
    }
}

#[test]
fn boot_on_a_foreign_trial_asks_and_writes_nothing() {
    let (mut bench, lines) = says("1.0.0", SlotState::Trial, None);
    assert_eq!(lines, ["report 1.0.0"]);
    bench.reply(1_100, "1.0.0");
    bench.offer(1_200, "2.0.0");
    assert_eq!(bench.auto(1_200), ["event VersionAccepted"]);
    bench.machine.command(at(1_300), Command::Confirm).unwrap();
    let lines = bench.auto(1_300);
    assert_eq!(lines, ["slot Confirm", "report 1.0.0"], "no result: it was not our attempt");
}

#[test]
fn boot_with_what_is_no_record_is_boot_without_one() {
    for block in [[0; 192], [0xff; 192], [0x5a; 192]] {
        let boot = ota_proto::Boot {
            running: "0.1.0",
            slot: SlotState::Confirmed,
            journal: Some(&block),
            storage: STORAGE,
        };
        let machine = ota_proto::Updater::new(at(0), config(), boot).unwrap();
        assert_eq!(machine.state(), State::Idle);
    }
}

#[test]
fn rule_13_a_trial_that_nobody_confirms_is_rolled_back_after_10_min() {
    let (mut bench, _) = says("1.0.0", SlotState::Trial, Some(&tried(Phase::Switching, 1)));
    bench.reply(1_100, "1.0.0");
    let lines = bench.until(600_000);
    assert!(lines.contains(&"600000 slot RollBack".into()), "{lines:?}");
    assert!(lines.contains(&"600000 event Restart".into()), "{lines:?}");
    let record = bench.journal();
    let (_, lines) = says("0.1.0", SlotState::RolledBack, Some(&record));
    assert_eq!(lines, ["fail -5 rolled back: not confirmed", "report 0.1.0"]);
}

#[test]
fn rule_13_an_installer_past_its_limit_is_stopped_before_fail() {
    let mut bench = Bench::installing(config());
    let lines = bench.until(700_000);
    let stops: Vec<_> = lines.iter().filter(|line| line.contains("StopInstall")).collect();
    assert_eq!(stops, ["601200 event StopInstall", "661200 event StopInstall"]);
    assert!(!lines.iter().any(|line| line.contains("fail")), "it may still be writing");
    bench
        .machine
        .command(at(700_000), Command::Installed(Installed::Failed(ota_proto::InstallFault::Image)))
        .unwrap();
    assert!(bench.auto(700_000).contains(&"fail -5 install timed out".into()));
}

#[test]
fn rule_13_a_restart_that_does_not_come_is_asked_for_again() {
    let mut bench = Bench::restarting(config());
    let lines = bench.until(200_000);
    let asks: Vec<_> = lines.iter().filter(|line| line.ends_with("Restart")).collect();
    assert_eq!(asks, ["62000 event Restart", "122000 event Restart", "182000 event Restart"]);
}

#[test]
fn rule_13_storage_errors_end_in_a_result() {
    for (kind, error, result) in [
        (Kind::Erase, StorageError::Failed, "fail -5 storage error"),
        (Kind::Erase, StorageError::NoSpace, "fail -5 no space"),
        (Kind::Erase, StorageError::NoSecondSpace, "fail -5 no space for a second image"),
        (Kind::Write, StorageError::ReadOnly, "fail -5 storage may not be written"),
        (Kind::Sync, StorageError::Gone, "fail -5 storage error"),
        (Kind::Digest, StorageError::Failed, "fail -5 storage error"),
    ] {
        let mut bench = Bench::fetching(config());
        bench.good_head(1_100);
        let mut steps = 0;
        while !bench.open.iter().any(|(open, _)| *open == kind) {
            let mut lines = bench.out(1_100);
            lines.clear();
            if bench.open.iter().any(|(open, _)| *open == kind) {
                break;
            }
            match bench.open.iter().map(|(open, _)| *open).find(|open| *open != Kind::Fetch) {
                Some(open) => bench.done(1_100, open),
                None => assert!(bench.piece(1_100, SIZE)),
            }
            steps += 1;
            assert!(steps < 100);
        }
        bench.error(1_100, kind, error);
        assert!(bench.auto(1_100).contains(&result.into()), "{kind:?} {error:?}");
    }
}

#[test]
fn rule_13_a_journal_that_fails_is_tried_again_with_growing_pauses() {
    let mut bench = Bench::online(config());
    bench.offer(1_000, "1.0.0");
    bench.out(1_000);
    bench.good_head(1_000);
    let mut pauses = Vec::new();
    let mut ms = 1_000;
    for _ in 0..12 {
        bench.error(ms, Kind::Persist, StorageError::Failed);
        while !bench.open.iter().any(|(kind, _)| *kind == Kind::Persist) {
            bench.out(ms);
            if bench.open.iter().any(|(kind, _)| *kind == Kind::Persist) {
                break;
            }
            let next = bench.idle.0.unwrap().as_micros().div_ceil(1_000);
            bench.machine.handle_timeout(at(next));
            ms = next;
        }
        pauses.push(ms / 1_000);
    }
    assert_eq!(pauses[..5], [2, 4, 8, 16, 32]);
    // The connection that nobody read was given up after a minute, and no other one asked for.
    assert_eq!(bench.machine.state(), State::Fetching);
    bench.done(ms, Kind::Persist);
    assert_eq!(bench.out(ms), ["fetch 0"]);
}

#[test]
fn rule_13_a_slot_that_cannot_be_switched_is_a_failure_and_a_confirm_is_tried_again() {
    let mut bench = Bench::installing(config());
    bench.machine.command(at(2_000), Command::Installed(Installed::NeedsRestart)).unwrap();
    bench.out(2_000);
    bench.done(2_000, Kind::Persist);
    bench.out(2_000);
    bench.error(2_000, Kind::Slot, StorageError::Failed);
    assert!(bench.auto(2_000).contains(&"fail -5 slot switch failed".into()));
    let (mut bench, _) = says("1.0.0", SlotState::Trial, Some(&tried(Phase::Switching, 1)));
    bench.machine.command(at(1_100), Command::Confirm).unwrap();
    bench.reply(1_200, "1.0.0");
    bench.out(1_200);
    bench.error(1_200, Kind::Slot, StorageError::Failed);
    let lines = bench.until(61_200);
    assert!(lines.contains(&"61200 slot Confirm".into()), "{lines:?}");
    assert!(lines.contains(&"61200 done".into()), "{lines:?}");
    assert_ne!(lines, NONE);
}

/// Clearing the mark is tried three times, a minute apart; the next boot tries again.
#[test]
fn rule_13_a_mark_that_stays_is_cleared_three_times_and_no_more() {
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::RolledBack, None);
    let mut tries = Vec::new();
    let mut ms = 0;
    loop {
        if bench.out(ms).contains(&"slot ClearMark".into()) {
            tries.push(ms);
            bench.error(ms, Kind::Slot, StorageError::Failed);
            bench.out(ms);
        }
        match bench.idle.0 {
            Some(next) if next <= at(600_000) => ms = next.as_millis(),
            _ => break,
        }
        bench.machine.handle_timeout(at(ms));
    }
    assert_eq!(tries, [0, 60_000, 120_000]);
}

/// Each minute, and not together with anything else that is due.
#[test]
fn rule_13_the_restart_that_ends_a_trial_is_asked_for_once_a_minute() {
    let (mut bench, _) = says("1.0.0", SlotState::Trial, Some(&tried(Phase::Switching, 1)));
    bench.reply(1_100, "1.0.0");
    bench.machine.command(at(2_000), Command::RollBack).unwrap();
    let mut lines: Vec<_> = bench.auto(2_000).iter().map(|line| format!("2000 {line}")).collect();
    lines.extend(bench.until(190_000));
    lines.retain(|line| line.ends_with("event Restart"));
    let expected = [2_000, 62_000, 122_000, 182_000].map(|ms| format!("{ms} event Restart"));
    assert_eq!(lines, expected);
    // An input in between does not make it ask again.
    bench.machine.handle_timeout(at(200_000));
    assert!(!bench.auto(200_000).contains(&"event Restart".into()));
}

/// Without a session no fresh offer can come, so no clock runs.
#[test]
fn boot_with_a_part_and_one_empty_reply_counts_nothing_without_a_session() {
    let (mut bench, _) = says("0.1.0", SlotState::Confirmed, Some(&record(Phase::Fetching, 8_192)));
    bench.reply(1_100, "0.1.0");
    bench.auto(1_100);
    bench.machine.handle_session(at(1_200), false);
    bench.auto(1_200);
    assert_eq!(bench.idle.0, None, "nothing to wait for");
    bench.machine.handle_session(at(30_000), true);
    bench.auto(30_000);
    bench.reply(30_100, "0.1.0");
    let lines = bench.until(45_000);
    assert!(!lines.iter().any(|line| line.ends_with("Withdrawn")), "{lines:?}");
}

/// The journal still counts the try before; this one is not begun until it is counted, too.
#[test]
fn rule_13_an_installation_is_not_begun_before_its_own_try_is_durable() {
    let (mut bench, _) = says("0.1.0", SlotState::Confirmed, Some(&tried(Phase::Installing, 1)));
    bench.offer(1_100, "1.0.0");
    let mut lines = Vec::new();
    loop {
        lines.extend(bench.out(1_100));
        bench.ack(1_100);
        let mut open = bench.open.iter().map(|(kind, _)| *kind);
        match open.rfind(|kind| !matches!(kind, Kind::Persist | Kind::Fetch)) {
            Some(kind) => bench.done(1_100, kind),
            None => break,
        }
    }
    assert!(lines.contains(&"burning".into()), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("event Install")), "{lines:?}");
    // The wait for the cloud is over, and that for the journal is no matter of this time.
    bench.machine.handle_timeout(at(6_100));
    assert_eq!(bench.out(6_100), NONE);
    assert!(bench.idle.0.is_some_and(|next| next > at(6_100)), "{:?}", bench.idle);
    bench.done(6_200, Kind::Persist);
    assert_eq!(bench.out(6_200), ["persist Installing 1.0.0@10000 try 2"]);
    bench.done(6_300, Kind::Persist);
    assert_eq!(bench.out(6_300), ["event Install { size: 10000 }"]);
}

/// Each minute until the application answers, and not together with anything else that is due.
#[test]
fn rule_13_a_trial_is_told_of_once_a_minute_until_it_is_confirmed() {
    let mut bench =
        Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&tried(Phase::Switching, 1)));
    assert!(bench.auto(0).contains(&"event Trial".into()));
    bench.machine.handle_session(at(1_000), true);
    let mut lines = bench.auto(1_000);
    lines.extend(bench.until(190_000));
    lines.retain(|line| line.ends_with("event Trial"));
    assert_eq!(lines, ["60000 event Trial", "120000 event Trial", "180000 event Trial"]);
    bench.machine.command(at(191_000), Command::Confirm).unwrap();
    let lines = bench.until(400_000);
    assert!(!lines.iter().any(|line| line.ends_with("event Trial")), "{lines:?}");
}

/// A due mark that waits for the journal needs no deadline.
#[test]
fn rule_16_a_mark_that_waits_for_the_journal_has_no_deadline() {
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::RolledBack, None);
    assert_eq!(bench.out(0), ["slot ClearMark"]);
    bench.error(0, Kind::Slot, StorageError::Failed);
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    bench.reply(0, "0.1.0");
    bench.offer(59_000, "1.0.0");
    assert!(bench.out(59_000).contains(&"persist Fetching 1.0.0@0".into()));
    for ms in [60_000, 61_000] {
        bench.machine.handle_timeout(at(ms));
        assert_eq!(bench.out(ms), NONE);
        assert!(bench.idle.0.is_none_or(|next| next > at(ms)), "{:?}", bench.idle);
    }
    bench.done(61_000, Kind::Persist);
    assert!(bench.out(61_000).contains(&"slot ClearMark".into()));
}

/// Nor is one that waits for what the slot is doing.
#[test]
fn rule_16_a_mark_that_waits_for_the_slot_has_no_deadline() {
    let mut bench = Bench::boot(config(), "0.1.0", SlotState::RolledBack, None);
    assert_eq!(bench.out(0), ["slot ClearMark"]);
    bench.error(0, Kind::Slot, StorageError::Failed);
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    bench.reply(0, "0.1.0");
    bench.offer(58_000, "1.0.0");
    bench.auto(58_000);
    assert_eq!(bench.idle.0, Some(at(60_000)), "the mark");
    bench.good_head(59_000);
    assert!(bench.out(59_000).contains(&"erase 0..4096".into()));
    assert!(bench.idle.0.is_none_or(|next| next > at(60_000)), "{:?}", bench.idle);
    bench.done(61_000, Kind::Erase);
    assert!(bench.out(61_000).contains(&"slot ClearMark".into()));
}

/// An updated device finds the hashes of the earlier build: they are FNV-1a of the text.
#[test]
fn the_journals_hashes_are_those_of_every_build() {
    let fnv = |text: &str| {
        let add = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(16_777_619);
        text.bytes().fold(2_166_136_261, add)
    };
    assert_eq!((fnv(""), fnv("foobar")), (0x811c_9dc5, 0xbf9c_f968), "as published");
    let mut bench = Bench::fetching(config());
    bench.good_head(1_100);
    bench.body(1_100, 5_000);
    let record = bench.journal();
    assert_eq!(record.device, fnv("$ota/report/TESTPROD01/dev001"));
    assert_eq!(record.target.unwrap().etag, fnv("\"1\""));
    bench.body(1_200, SIZE);
    let fault = Installed::Failed(ota_proto::InstallFault::Image);
    bench.machine.command(at(2_000), Command::Installed(fault)).unwrap();
    bench.auto(2_000);
    assert_eq!(bench.journal().guard.unwrap().version, fnv("1.0.0"));
}
