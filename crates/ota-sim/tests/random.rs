//! Whole faulty worlds from a seed, and what earlier ones found.

use std::collections::BTreeSet;

use ota_sim::random::{Level, run};
use ota_sim::{Kind, Outcome};

/// Each ends in the truth, and together they meet every kind of trouble, which does what it can.
#[test]
fn random_worlds_end_in_the_truth() {
    for level in [Level::Messages, Level::Wire] {
        let (mut proved, mut acted) = (0, BTreeSet::new());
        for seed in 0..400 {
            let run = run(seed, level);
            let end = run.result.unwrap_or_else(|why| panic!("{level:?}, seed {seed}: {why}"));
            proved += u32::from(end == Outcome::Proved);
            let met = run.trace.met().into_iter();
            acted.extend(met.filter(|(_, met)| met.provoked > 0).map(|(kind, _)| kind));
        }
        assert!((100..300).contains(&proved), "{level:?}: {proved} of 400 proved");
        assert_eq!(acted, Kind::of(level).iter().copied().collect(), "{level:?}");
    }
}

#[test]
fn a_seed_gives_one_trace() {
    for level in [Level::Messages, Level::Wire] {
        for seed in 0..20 {
            let (first, second) = (run(seed, level).trace, run(seed, level).trace);
            assert!(first.len() > 10, "{level:?}, seed {seed}");
            assert_eq!(first.to_string(), second.to_string(), "{level:?}, seed {seed}");
        }
    }
}

/// A bit is read wrongly in the hash of an image that another offer has already taken the place
/// of: what is fetched next is the other one.
#[test]
fn a_misread_of_an_image_that_was_superseded_costs_the_next_one_nothing() {
    let end = run(44_050, Level::Messages).result;
    assert!(end.is_ok(), "{end:?}");
}

/// The application accepts another text while the record of the first one is being written, and the
/// program is killed: the record tells of the first text alone.
#[test]
fn a_record_tells_only_of_what_had_ended_when_its_write_began() {
    for seed in [2_616, 2_831] {
        let end = run(seed, Level::Messages).result;
        assert!(end.is_ok(), "{end:?}");
    }
}
