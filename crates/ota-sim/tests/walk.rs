//! The exhaustive walk with small bounds. `examples/walk.rs` goes further.

use ota_proto::{Hold, Verify};
use ota_sim::walk::{Bounds, Seen, setup, walk};

fn seen(hold: Hold, verify: Verify, bounds: Bounds) -> Seen {
    let seen = walk(&setup(hold, verify), bounds).unwrap_or_else(|why| panic!("{why}"));
    println!("{hold:?} {verify:?}: {seen:?}");
    seen
}

const CALM: Bounds = Bounds { faults: 0, first: 1, further: 1, states: usize::MAX, calm: 100 };

#[test]
fn every_order_of_a_calm_update_has_one_end() {
    for (hold, verify) in [(Hold::Auto, Verify::ReadBack), (Hold::Ask, Verify::Trailing)] {
        let seen = seen(hold, verify, CALM);
        assert_eq!(seen.ends, 1);
        assert!(seen.states > 100 && seen.complete, "{seen:?}");
    }
}

/// One fault of every kind in every 31st state.
#[test]
fn one_fault_always_ends() {
    let bounds = Bounds { faults: 1, first: 31, ..CALM };
    assert!(seen(Hold::Auto, Verify::ReadBack, bounds).complete);
    assert!(seen(Hold::Ask, Verify::Trailing, bounds).complete);
}

#[test]
fn a_walk_is_the_same_each_time() {
    let bounds = Bounds { faults: 1, first: 40, ..CALM };
    let once = seen(Hold::Auto, Verify::ReadBack, bounds);
    assert_eq!(once, seen(Hold::Auto, Verify::ReadBack, bounds));
}
