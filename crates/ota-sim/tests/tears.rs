//! Power cuts to the byte (`cuts` is the whole sweep).

use ota_proto::journal::Record;
use ota_sim::cuts::{Depth, Point, Scenario, replay, sweep};
use ota_sim::{Mode, Tear};

#[test]
fn power_is_cut_at_bytes_of_every_operation_once_and_twice() {
    let mut total = 0;
    for (scenario, stride) in [(Scenario::Resume, 48), (Scenario::Trailing, 52)] {
        let depth = Depth { stride, again: true, pairs: 0 };
        let counts = sweep(scenario, 1, depth).unwrap_or_else(|failure| panic!("{failure}"));
        assert!(counts.single.iter().chain(&counts.double).all(|count| *count > 0), "{counts:?}");
        total += counts.total();
    }
    assert!(total >= 1_000, "{total}");
}

#[test]
fn a_sweep_and_its_replay_are_deterministic() {
    let depth = Depth { stride: 100, again: true, pairs: 0 };
    let sweep = || sweep(Scenario::RolledBack, 7, depth).unwrap();
    assert_eq!(sweep(), sweep());
    let point: Point = "aligned:5:weak:200:2:torn:11".parse().unwrap();
    assert_eq!(point.to_string(), "aligned:5:weak:200:2:torn:11");
    let run = || replay(7, point).unwrap_or_else(|failure| panic!("{failure}")).trace;
    assert_eq!(run(), run());
}

/// The first cut leaves an image that one reset takes for not armed and the next for armed.
#[test]
fn a_switch_that_happens_late_is_told() {
    let point = "trailing:21:weak:12:2:torn:71".parse().unwrap();
    replay(1, point).unwrap_or_else(|failure| panic!("{failure}"));
}

/// A record that is read as old at one boot and as new at the next claims bytes that are gone. Three
/// starts without a checkpoint come before: a fourth is not counted, and writes no record that
/// would settle what is read.
#[test]
fn a_journal_that_is_not_settled_at_boot_is_caught() {
    let breaks = |settles, seed| {
        let mut world = Scenario::Resume.world(1);
        world.setup.settles_journal = settles;
        while world.storage.journal.record().is_none_or(|record| record.target.is_none()) {
            world.step();
        }
        let newest = world.storage.journal.newest().expect("a record");
        let (number, record) = Record::decode(newest).expect("a record");
        let record = Record { starts: Record::STARTS, ..record };
        world.storage.journal.write(&record.encode(number + 1));
        world.kill();
        // The checkpoint at 64 bytes; then the erase of the recovery.
        let weak = Tear { mode: Mode::Weak, byte: 200 };
        let torn = Tear { mode: Mode::Torn, byte: 11 };
        for (operations, tear) in [(5, weak), (1, torn)] {
            for _ in 0..operations {
                next_operation(&mut world);
            }
            if world.outcome().is_none() {
                world.reseed(seed);
                world.power_cut_at(tear);
            }
        }
        world.run().is_err()
    };
    assert!((0..64).any(|seed| breaks(false, seed)));
    assert!((0..64).all(|seed| !breaks(true, seed)));
}

fn next_operation(world: &mut ota_sim::World) {
    let last = world.storing();
    while world.outcome().is_none() && (world.storing().is_none() || world.storing() <= last) {
        world.step();
    }
}
