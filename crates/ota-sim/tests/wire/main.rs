//! Whole updates over the real wires, byte by byte.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod breaks;
mod chunks;
mod cuts;
mod faults;
mod quiet;
mod recorded;
#[path = "../../../ota-wire/tests/client/replayed.rs"]
mod replayed;

use core::time::Duration;

use ota_sim::Setup;

/// A small image, small erase units, and little delay.
fn small(seed: u64) -> Setup {
    let mut setup = Setup::new(700, seed);
    setup.capacity = 2_048;
    setup.erase = 256;
    setup.latency = Duration::from_millis(5);
    setup
}
