//! The reference model: the messages that a device must send, implemented a second time from
//! docs/rules.md, and compared with the real machine over random operations. See docs/testing.md.
#![allow(clippy::unwrap_used)]

mod loader;
mod ops;
mod play;
mod spec;
mod world;

use ops::{Kind, Op, Transfer, op, policy, transfer};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use world::World;

/// The gate says the same twice; `PROPTEST_CASES` and `PROPTEST_RNG_SEED` go further.
fn settings() -> ProptestConfig {
    let default = ProptestConfig::default();
    let told = |name| std::env::var_os(name).is_some();
    ProptestConfig {
        cases: if told("PROPTEST_CASES") { default.cases } else { 500 },
        rng_seed: if told("PROPTEST_RNG_SEED") { default.rng_seed } else { RngSeed::Fixed(1) },
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..default
    }
}

/// What the cloud was told but for the percents on the way, which say how far a piece came; and
/// what is in the journal.
fn told(transfers: &[Transfer], pieces: &[u16], seed: u64) -> (Vec<(u64, String)>, String) {
    let mut world = World::new(ops::AUTO, false, true, seed);
    world.pieces = pieces.to_vec();
    world.play(Op::Session(true));
    world.play(Op::Offer(Kind::A, 0));
    for transfer in transfers {
        world.transfer(transfer);
    }
    world.finish();
    let journal = format!("{:?} {:?}", world.spec.durable(), world.machine.progress());
    world.said.retain(|(_, text)| !text.contains("percent") || text.contains("\"100\""));
    (world.said, journal)
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn chunking_never_changes_a_result(
        transfers in prop::collection::vec(transfer(), 1..8),
        pieces in prop::collection::vec(0_u16..6_000, 1..12),
        seed in any::<u64>(),
    ) {
        let whole = told(&transfers, &[29_999], seed);
        prop_assert_eq!(&told(&transfers, &pieces, seed), &whole);
        prop_assert_eq!(&told(&transfers, &[99], seed), &whole);
    }

    #[test]
    fn the_device_reports_what_the_model_says(
        ops in prop::collection::vec(op(), 1..120),
        policy in policy(),
        trailing in any::<bool>(),
        knows in prop::bool::weighted(0.8),
        seed in any::<u64>(),
    ) {
        let mut world = World::new(policy, trailing, knows, seed);
        for op in ops {
            world.play(op);
        }
        world.finish();
    }
}
