//! The suite of faults on tokio, over real sockets.
#![allow(clippy::unwrap_used)]

use ota_conformance::host::{self, Adapter};
use ota_conformance::{Outcome, Scenario, World, suite};
use ota_tokio::{Config, Driver, Error, Event};

struct Tokio;

impl World for Tokio {
    fn parallel(&self) -> usize {
        64
    }

    fn run(&self, scenario: &Scenario) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(host::run::<Device>(scenario))
    }
}

struct Device(Driver);

impl Adapter for Device {
    fn new(config: Config) -> Result<Self, Error> {
        Driver::new(config).map(Self)
    }

    fn control(&mut self) -> &mut ota_host::Control {
        &mut self.0
    }

    async fn next(&mut self) -> Result<Event, Error> {
        self.0.next().await
    }

    async fn stop(self) {
        self.0.stop().await;
    }
}

#[test]
fn every_fault_ends_as_the_table_has_it() {
    suite::run(&Tokio, 20);
}
