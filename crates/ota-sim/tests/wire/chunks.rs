//! Streams cut into any pieces.

use ota_sim::Said;
use ota_sim::wire::{Chunks, Stream, Wires, World};

use crate::small;

#[test]
fn an_update_is_proved() {
    let mut world = World::new(small(1), Wires::default());
    world.must_prove("happy");
    // Two sessions, one fetch, one result; five seconds between the two logins.
    assert!(world.now.as_millis() < 30_000, "{}", world.now);
    assert_eq!(world.layer.results, [Said::Done("1.0.0".into())]);
    assert_eq!(world.layer.origin.counters().requests, 1);
}

#[test]
fn one_byte_at_a_time_in_every_direction() {
    let one = Chunks::Of(1);
    for qos1 in [false, true] {
        let wires = Wires { sends: one, broker: one, store: one, qos1, ..Wires::default() };
        World::new(small(2), wires).must_prove("one byte at a time");
    }
}

#[test]
fn split_at_every_byte() {
    let mut whole = World::new(small(3), Wires::default());
    whole.must_prove("whole");
    for (stream, length) in &whole.layer.passed {
        for at in 1..*length {
            let mut wires = Wires::default();
            match stream {
                Stream::FromBroker => wires.broker = Chunks::Split(at),
                Stream::FromStore => wires.store = Chunks::Split(at),
                Stream::ToBroker | Stream::ToStore => wires.sends = Chunks::Split(at),
            }
            World::new(small(3), wires).must_prove(&format!("{stream:?} split at {at}"));
        }
    }
}

#[test]
fn pieces_of_any_size_and_narrow_windows() {
    for seed in 0..150 {
        let wires = Wires {
            sends: Chunks::Random(40),
            broker: Chunks::Random(90),
            store: Chunks::Random(300),
            window: [16, 100, 1_000, 64_000][usize::try_from(seed % 4).unwrap()],
            qos1: seed % 2 == 0,
            ..Wires::default()
        };
        World::new(small(seed), wires).must_prove("random pieces");
    }
}

#[test]
fn a_larger_image_in_the_default_setup() {
    let mut world = World::new(ota_sim::Setup::new(30_000, 5), Wires::default());
    world.must_prove("30 kB");
}
