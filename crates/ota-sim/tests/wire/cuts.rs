//! Power cuts at any moment, over the real wires.

use ota_proto::{Instant, Rng};
use ota_sim::wire::{Chunks, Wires, World};
use ota_sim::{Cut, Outcome, Said};

use crate::small;

#[test]
fn cuts_at_any_moment_end_in_the_truth() {
    let (mut proved, mut failed) = (0, 0);
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let wires = Wires {
            broker: Chunks::Random(100),
            store: Chunks::Random(300),
            sends: Chunks::Random(100),
            qos1: rng.below(2) == 0,
            ..Wires::default()
        };
        let mut world = World::new(small(seed), wires);
        for _ in 0..=rng.below(4) {
            // Most of what matters happens in a few milliseconds after a login.
            let far = if rng.below(3) == 0 { 12_000 } else { 900 };
            let start = world.now.as_millis().max(1_900);
            let at = Instant::from_millis(start + rng.below(far));
            world.run_until(at).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            world.power_cut([Cut::Before, Cut::Torn, Cut::After][seed as usize % 3]);
        }
        let outcome = world.run().unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert_eq!(world.layer.results.len(), 1, "seed {seed}\n{}", world.trace);
        match (outcome, &world.layer.results[0]) {
            (Outcome::Proved, Said::Done(_)) => proved += 1,
            // Cut while it ran on trial: the loader brings the old one back, as it must.
            (Outcome::Ended, Said::Fail(_, -5, text)) if text.starts_with("rolled back") => {
                failed += 1;
            }
            other => panic!("seed {seed}: {other:?}\n{}", world.trace),
        }
    }
    println!("{proved} proved, {failed} rolled back");
    assert!(proved > 200 && failed > 5, "{proved} proved, {failed} rolled back");
}
