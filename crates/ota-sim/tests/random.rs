//! Whole faulty worlds from a seed, and what earlier ones found.

use ota_sim::Outcome;
use ota_sim::random::{Level, run};

fn must(seed: u64, level: Level) -> Outcome {
    run(seed, level).result.unwrap_or_else(|why| panic!("{level:?}, seed {seed}: {why}"))
}

#[test]
fn random_worlds_end_in_the_truth() {
    for level in [Level::Messages, Level::Wire] {
        let proved = (0..400).filter(|seed| must(*seed, level) == Outcome::Proved).count();
        assert!((100..300).contains(&proved), "{level:?}: {proved} of 400 proved");
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

/// What these found: the program died between the switch and the reset, began to fetch the same
/// image again, and then the reset came; `done` was never told.
#[test]
fn a_switch_that_comes_after_the_program_died_is_told() {
    for seed in [11_608, 12_066, 14_892, 33_722, 35_459, 88_456] {
        must(seed, Level::Messages);
    }
}
