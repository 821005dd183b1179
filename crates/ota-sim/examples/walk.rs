//! The exhaustive walk, bigger than in the ordinary tests.
//!
//! `cargo run --release -p ota-sim --example walk [FAULTS [FURTHER [STATES]]]`

use ota_proto::{Hold, Verify};
use ota_sim::walk::{Bounds, setup, walk};

fn main() {
    let given: Vec<u64> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let number = |place: usize, or: u64| given.get(place).copied().unwrap_or(or);
    let bounds = Bounds {
        faults: u8::try_from(number(0, 2)).unwrap_or(2),
        first: 1,
        further: number(1, 1),
        states: usize::try_from(number(2, u64::MAX)).unwrap_or(usize::MAX),
        calm: 300,
    };
    for (hold, verify) in [(Hold::Auto, Verify::ReadBack), (Hold::Ask, Verify::Trailing)] {
        match walk(&setup(hold, verify), bounds) {
            Ok(seen) => println!("{hold:?} {verify:?}: {seen:?}"),
            Err(why) => {
                eprintln!("{hold:?} {verify:?}: {why}");
                std::process::exit(1);
            }
        }
    }
}
