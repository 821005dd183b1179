//! The suite of faults on smol, over real sockets.
#![allow(clippy::unwrap_used)]

use ota_conformance::{Outcome, Scenario, World, host, suite};
use ota_smol::driver::Runtime;

struct Smol;

impl World for Smol {
    fn parallel(&self) -> usize {
        64
    }

    fn run(&self, scenario: &Scenario) -> Outcome {
        async_io::block_on(host::run::<Runtime>(scenario))
    }
}

#[test]
fn every_fault_ends_as_the_table_has_it() {
    suite::run(&Smol, 20);
}
