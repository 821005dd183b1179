//! Power for 40 s at a time, and a line on which an image takes half an hour: 1/400 of 8 MB at
//! 6 kB/s. Each life is too short for a checkpoint at its time.

use core::time::Duration;

use ota_proto::Instant;
use ota_proto::journal::Record;
use ota_sim::{Cut, Outcome, Setup, Step, World};

fn setup(seed: u64) -> Setup {
    let mut setup = Setup::new(20_000, seed);
    setup.erase = 64;
    setup.chunk = 15;
    setup.pace = Duration::from_secs(1);
    // The line is as much slower as the image is smaller.
    setup.device.timing.min_rate = 1;
    setup
}

/// Lives of so many seconds, each ended by this, until the task is over; how many there were, and
/// the records that were written.
fn live(setup: Setup, seconds: u64, end: impl Fn(&mut World)) -> (u64, u64, Outcome) {
    let mut world = World::new(setup);
    let mut lives = 1;
    let mut until = Instant::from_secs(seconds);
    while world.outcome().is_none() {
        assert!(lives < 400, "forever, at {:?}", world.device().map(|d| d.progress()));
        assert_ne!(world.step(), Step::Dead);
        assert!(world.invariants.broken().is_empty(), "{:?}", world.invariants.broken());
        // An image that is whole has the rest of the day.
        let whole = world.device().and_then(ota_proto::Updater::progress);
        if world.now >= until && whole.is_none_or(|(stored, size)| stored < size) {
            end(&mut world);
            lives += 1;
            until = world.now + Duration::from_secs(seconds);
        }
    }
    let block = world.storage.journal.newest().expect("a record");
    let (records, _) = Record::decode(block).expect("a record");
    (lives, u64::from(records), world.outcome().expect("an end"))
}

#[test]
fn lives_that_are_too_short_for_a_checkpoint_end_all_the_same() {
    let cuts: [fn(&mut World); 4] = [
        |world| world.power_cut(Cut::Before),
        |world| world.power_cut(Cut::Torn),
        |world| world.power_cut(Cut::After),
        |world| world.kill(),
    ];
    for (seconds, most) in [(40, 130), (25, 260)] {
        for cut in cuts {
            for seed in 0..2 {
                let (lives, records, outcome) = live(setup(seed), seconds, cut);
                assert_eq!(outcome, Outcome::Proved);
                assert!(lives > 20 && lives < most, "{seconds} s: {lives} lives");
                // A cut is a start and, to its link, a break.
                assert!(records <= 40 + 2 * lives, "{seconds} s: {records} of {lives} lives");
            }
        }
    }
}

#[test]
fn long_lives_take_no_more_checkpoints_than_before() {
    let (lives, records, outcome) = live(setup(1), 1_000_000, |_| {});
    assert_eq!((lives, outcome), (1, Outcome::Proved));
    assert!(records <= 40, "{records}");
    let (lives, records, _) = live(setup(1), 400, |world| world.power_cut(Cut::Before));
    assert!(lives <= 5 && records <= 40 + 2 * lives, "{records} of {lives} lives");
}
