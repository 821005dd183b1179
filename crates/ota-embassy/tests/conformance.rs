//! The suite of all adapters, in virtual time.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use ota_cloud::fault::Fault;
use ota_conformance::{Outcome, Report, Request, Scenario, World, suite};
use ota_proto::{Event as Update, Instant};
use ota_wire::client::ClientEvent;
use world::chip::{ACTIVE, DFU, Geometry};
use world::link::Weather;
use world::seal::{Authority, Tls, params};
use world::{End, Setup};

/// With TLS, or without.
struct Embassy {
    tls: bool,
}

impl World for Embassy {
    fn tls(&self) -> bool {
        self.tls
    }

    fn run(&self, scenario: &Scenario) -> Outcome {
        let mut config = scenario.client_config("10.0.0.1", 1_883);
        config.tls = self.tls;
        let tls = self.tls.then(|| Tls::new(&Authority::new("ours"), params()));
        let mut world = world::World::with(Setup {
            geometry: Geometry::DEFAULT,
            weather: Weather::FAIR,
            faults: scenario.faults.clone(),
            seed: scenario.seed,
            versions: [Scenario::FROM, Scenario::TO],
            new: scenario.image.clone(),
            machine: scenario.device_config(),
            config,
            tls,
        });
        // The machine is looked at this often, in microseconds.
        world.device.impatience = Some(20_000);
        let limit = u64::try_from(scenario.limit().as_micros()).unwrap();
        let mut outcome = Outcome::default();
        loop {
            let end = world.boot_until_rest(limit, |desk, events| {
                let withdrawn = |event: &ClientEvent| {
                    matches!(event, ClientEvent::Device { event: Update::Withdrawn, .. })
                };
                desk.is_over() || events.iter().any(withdrawn)
            });
            outcome.ended = end == End::Over;
            if end != End::Restart {
                break;
            }
            outcome.restarts += 1;
        }
        world.check();
        let device = &world.device;
        device.running().clone_into(&mut outcome.running);
        // embassy-boot has moved the image to where it runs.
        let slot = if outcome.running == Scenario::TO { ACTIVE } else { DFU };
        outcome.slot = device.chip.read(slot);
        outcome.events = device.events.take();
        let desk = device.desk.borrow();
        let report = |(at, payload): &(Instant, Vec<u8>)| Report {
            at: at.since(Instant::ZERO),
            payload: payload.clone(),
        };
        outcome.reports = desk.reports.iter().map(report).collect();
        let request = |(status, range): &(u16, core::ops::Range<u64>)| Request {
            status: *status,
            range: range.clone(),
        };
        outcome.requests = desk.requests.iter().map(request).collect();
        outcome.struck.clone_from(&desk.struck);
        outcome.sessions = desk.sessions;
        outcome
    }
}

#[test]
fn the_embassy_adapter_conforms() {
    suite::run(&Embassy { tls: false }, 1);
}

#[test]
fn the_embassy_adapter_conforms_over_tls() {
    // The table's worlds speak http, where it is no downgrade: `tests/tls.rs` has that one.
    let faults = Fault::ALL.iter().copied().filter(|fault| *fault != Fault::RedirectDowngrade);
    suite::run_some(&Embassy { tls: true }, 1, &faults.collect::<Vec<_>>());
}
