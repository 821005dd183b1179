//! Rules 9 and 16: a slot or a journal that never answers.

use ota_proto::journal::Phase;
use ota_proto::{Command, Digester, Installed, Outcome, Reason, SlotState, State, StorageError};

use crate::bench::*;

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|found| found == line)
}

/// The slot stops answering during each operation, and so does the journal.
#[test]
fn rule_16_no_operation_of_the_slot_is_waited_for_forever() {
    let whole = |bench: &mut Bench, upto| {
        bench.good_head(1_100);
        for _ in 0..100 {
            bench.out(1_100);
            if bench.open.iter().any(|(kind, _)| *kind == upto) {
                return;
            }
            match bench.open.iter().map(|(kind, _)| *kind).find(|kind| *kind != Kind::Fetch) {
                Some(kind) => bench.done(1_100, kind),
                None => assert!(bench.piece(1_100, SIZE)),
            }
        }
        panic!("no {upto:?}");
    };
    for kind in [Kind::Erase, Kind::Write, Kind::Sync, Kind::Digest] {
        let mut bench = Bench::fetching(config());
        whole(&mut bench, kind);
        let (_, op) = *bench.open.iter().find(|(open, _)| *open == kind).unwrap();
        let stuck = |bench: &mut Bench| bench.open.retain(|(_, open)| *open != op);
        stuck(&mut bench);
        let lines = bench.until(601_099);
        assert!(!lines.iter().any(|line| line.contains("fail")), "{kind:?}: {lines:?}");
        let lines = bench.until(602_000);
        assert!(has(&lines, "601100 fail -5 storage error"), "{kind:?}: {lines:?}");
        // An image that is offered now has no slot either.
        bench.offer(680_000, "1.0.1");
        let mut lines = bench.auto(680_000);
        lines.extend(bench.until(690_000));
        let told = lines.iter().any(|line| line.ends_with("fail -5 storage error"));
        assert!(told, "{kind:?}: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("fetch")), "{kind:?}: {lines:?}");
    }
}

#[test]
fn rule_16_a_switch_that_is_never_answered_is_left_to_the_restart() {
    let mut bench = Bench::installing(config());
    bench.machine.command(at(2_000), Command::Installed(Installed::NeedsRestart)).unwrap();
    bench.out(2_000);
    bench.done(2_000, Kind::Persist);
    assert!(has(&bench.out(2_000), "slot Activate"));
    bench.ack(2_000);
    bench.open.clear();
    let lines = bench.until(601_999);
    assert!(!lines.iter().any(|line| line.ends_with("event Restart")), "{lines:?}");
    assert_eq!(bench.until(602_000).last().unwrap(), "602000 event Restart");
    let record = bench.journal();
    assert_eq!(record.phase, Phase::Switching, "the evidence decides");
    // A confirmation that is never answered: the way back, which no answer holds up.
    let mut bench = Bench::boot(config(), "1.0.0", SlotState::Trial, Some(&record));
    bench.machine.handle_session(at(0), true);
    bench.auto(0);
    bench.reply(100, "1.0.0");
    bench.auto(100);
    bench.machine.command(at(1_000), Command::Confirm).unwrap();
    assert!(has(&bench.out(1_000), "slot Confirm"));
    bench.open.clear();
    let lines = bench.until(700_000);
    assert!(has(&lines, "601000 event Restart"), "{lines:?}");
    let result = bench.journal().owed.map(|owed| owed.result);
    assert_eq!(result, Some(Outcome::Failed(Reason::Storage)));
}

/// Without its record in the journal nothing was switched: a restart would only run the old
/// version.
#[test]
fn rule_16_a_switch_that_the_journal_never_held_is_a_failure_and_no_restart() {
    let mut bench = Bench::installing(config());
    bench.machine.command(at(2_000), Command::Installed(Installed::NeedsRestart)).unwrap();
    assert_eq!(bench.out(2_000)[0], "persist Switching 1.0.0@10000 try 1");
    bench.open.clear();
    let mut lines = bench.until(1_801_999);
    assert_eq!(bench.machine.state(), State::Restarting, "{lines:?}");
    lines.extend(bench.until(1_900_000));
    let told = lines.iter().filter(|line| line.contains("outcome: Failed(Storage)")).count();
    assert_eq!(told, 1, "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("slot") || line.ends_with("event Restart")));
    assert_eq!(bench.machine.owed(), Some(Outcome::Failed(Reason::Storage)));
}

#[test]
fn rule_16_a_journal_that_never_answers_ends_the_attempt_after_half_an_hour() {
    for fails in [false, true] {
        let mut bench = Bench::online(config());
        bench.offer(1_000, "1.0.0");
        bench.out(1_000);
        let (mut ms, mut fetches) = (1_000, 0);
        while bench.machine.state() != State::Idle {
            assert!(ms <= 1_801_000, "forever");
            if fails && bench.open.iter().any(|(kind, _)| *kind == Kind::Persist) {
                bench.error(ms, Kind::Persist, StorageError::Failed);
            }
            if bench.open.iter().any(|(kind, _)| *kind == Kind::Fetch) && bench.at == 0 {
                fetches += 1;
                bench.good_head(ms);
                bench.at = 1;
            }
            bench.out(ms);
            bench.ack(ms);
            ms = bench.idle.0.unwrap().as_micros().div_ceil(1_000).max(ms + 1);
            bench.machine.handle_timeout(at(ms));
        }
        assert_eq!((ms, fetches), (1_801_000, 1), "fails: {fails}");
    }
}

/// While the image is hashed and "100" is reported, nothing waits for the journal: its limit may
/// already be past when something does.
#[test]
fn rule_16_a_limit_that_passed_while_nobody_waited_for_it_is_served_in_the_same_turn() {
    let end = |bench: &mut Bench| {
        bench.machine.handle_timeout(at(2_000_000));
        let lines = bench.out(2_000_000);
        let told = lines.iter().any(|line| line.contains("outcome: Failed(Storage)"));
        assert!(told, "{lines:?}");
        assert!(bench.idle.0.is_none_or(|next| next > at(2_000_000)), "{:?}", bench.idle);
    };
    // The last checkpoint is never answered, and nobody is there to hear "100".
    let hashing = || {
        let mut bench = Bench::fetching(config());
        bench.good_head(1_100);
        loop {
            bench.out(1_100);
            match bench.open.iter().map(|(kind, _)| *kind).find(|kind| *kind != Kind::Fetch) {
                Some(Kind::Persist) if bench.at == SIZE => {
                    bench.take(Kind::Persist);
                }
                Some(Kind::Digest) => break,
                Some(kind) => bench.done(1_100, kind),
                None => assert!(bench.piece(1_100, SIZE)),
            }
        }
        bench.machine.handle_session(at(1_200), false);
        bench
    };
    let mut bench = hashing();
    bench.done(2_000, Kind::Digest);
    assert_eq!(bench.out(2_000), ["event Ready"]);
    end(&mut bench);
    // After a wrong digest the journal must drop its claim, and that write is late, too.
    let mut bench = hashing();
    for _ in 0..2 {
        let op = bench.take(Kind::Digest);
        bench.machine.handle_done(at(2_000_000), op, Ok(Some(Digester::new().finish())));
        bench.out(2_000_000);
    }
    assert_eq!(bench.machine.state(), State::Fetching);
    end(&mut bench);
}
