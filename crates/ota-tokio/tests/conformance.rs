//! The suite of faults on tokio, over real sockets.
#![allow(clippy::unwrap_used)]

use ota_conformance::{Outcome, Scenario, World, host, suite};
use ota_tokio::driver::Runtime;

struct Tokio;

impl World for Tokio {
    fn parallel(&self) -> usize {
        64
    }

    fn run(&self, scenario: &Scenario) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(host::run::<Runtime>(scenario))
    }
}

#[test]
fn every_fault_ends_as_the_table_has_it() {
    suite::run(&Tokio, 20);
}
