//! Connections that break at any byte.

use ota_sim::wire::{Break, Chunks, Stream, Wires, World};

use crate::small;

fn lengths() -> Vec<(Stream, u64)> {
    let mut whole = World::new(small(3), Wires::default());
    whole.must_prove("whole");
    whole.layer.passed.into_iter().collect()
}

#[test]
fn a_reset_after_every_byte_of_every_stream() {
    for (stream, length) in lengths() {
        for at in 1..=length {
            let wires = Wires { breaks: vec![(stream, at, Break::Reset)], ..Wires::default() };
            let mut world = World::new(small(3), wires);
            world.must_prove(&format!("{stream:?} reset after {at}"));
            assert!(world.layer.wires.breaks.is_empty(), "{stream:?} never came to {at}");
        }
    }
}

#[test]
fn half_open_after_every_third_byte_of_every_stream() {
    for (stream, length) in lengths() {
        for at in (1..=length).step_by(3) {
            let wires = Wires { breaks: vec![(stream, at, Break::HalfOpen)], ..Wires::default() };
            let mut world = World::new(small(3), wires);
            world.must_prove(&format!("{stream:?} half open after {at}"));
            assert!(world.layer.wires.breaks.is_empty(), "{stream:?} never came to {at}");
        }
    }
}

#[test]
fn several_breaks_and_pieces_of_any_size() {
    let lengths = lengths();
    for seed in 0..200 {
        let mut rng = ota_proto::Rng::new(seed);
        let mut breaks = Vec::new();
        for _ in 0..4 {
            let (stream, length) = lengths[usize::try_from(rng.below(4)).unwrap()];
            let how = if rng.below(3) == 0 { Break::HalfOpen } else { Break::Reset };
            breaks.push((stream, rng.below(length * 2).max(1), how));
        }
        let wires = Wires {
            sends: Chunks::Random(60),
            broker: Chunks::Random(60),
            store: Chunks::Random(200),
            breaks: breaks.clone(),
            ..Wires::default()
        };
        World::new(small(seed), wires).must_prove(&format!("{breaks:?}"));
    }
}
