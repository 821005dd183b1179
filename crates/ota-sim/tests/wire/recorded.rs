//! The recordings of faulty worlds, replayed.

use std::collections::BTreeSet;

use ota_sim::Outcome;
use ota_sim::random;

use crate::replayed;

/// Holds every life whole.
const RING: usize = 1 << 20;

/// Each life of each device, cut where power went, comes again: its state and all that it said.
#[test]
fn every_life_of_random_worlds_comes_again() {
    let (mut lives, mut steps, mut cut, mut outcomes) = (0, 0, 0, BTreeSet::new());
    for seed in 0..400 {
        // With the beginning of each life, or with some of its end only.
        let ring = [RING, 900, RING, 6_000][usize::try_from(seed % 4).unwrap()];
        let (world, result) = random::wired(seed, ring);
        outcomes
            .insert(result.unwrap_or_else(|why| panic!("seed {seed}: {why}")) == Outcome::Proved);
        for life in &world.layer.lives.over {
            let whose = format!("seed {seed}");
            let secrets = ["not checked here", "q-sign"];
            let dropped = replayed::check(&life.client, &secrets, &whose);
            let again = replayed::answers(&life.client);
            assert!(life.answers.ends_with(&again), "seed {seed}: {again:?}");
            assert!(dropped > 0 || again.len() == life.answers.len(), "seed {seed}");
            assert!(dropped == 0 || ring < RING, "seed {seed}");
            (lives, steps) = (lives + 1, steps + again.len());
            cut += u32::from(dropped > 0);
        }
    }
    assert_eq!(outcomes.len(), 2, "some updates fail, and some do not");
    assert!(
        lives > 1_000 && cut > 100 && steps > 100_000,
        "{lives} lives, {cut} cut, {steps} steps"
    );
}
