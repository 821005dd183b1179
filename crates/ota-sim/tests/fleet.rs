//! A small fleet: all of it is updated, within its bound, and the same way each time.

use ota_sim::wire::fleet::{Fleet, FleetReport, FleetSetup};

fn update(setup: FleetSetup) -> FleetReport {
    let mut fleet = Fleet::new(setup);
    fleet.power_on().unwrap_or_else(|why| panic!("{setup:?}: {why}"));
    fleet.roll_out().unwrap_or_else(|why| panic!("{setup:?}: {why}"))
}

#[test]
fn a_fleet_is_updated_in_batches() {
    let report = update(FleetSetup { in_flight: 50, ..FleetSetup::new(500, 1) });
    assert_eq!(report.updated, 500, "{report:?}");
    assert_eq!(report.most_in_flight, 50, "{report:?}");
    // Nothing is fetched twice but what a broken connection took.
    assert!(report.body_bytes < 510 * 65_536, "{report:?}");
    assert!(report.lost > 50 && report.broken_fetches > 0 && report.retries > 0, "{report:?}");
    assert!(report.messages < 500 * 25, "{report:?}");
}

#[test]
fn a_lossy_fleet_is_updated_too() {
    let setup = FleetSetup { image: 9_000, loss: 100, ..FleetSetup::new(100, 2) };
    let report = update(setup);
    assert_eq!(report.updated, 100, "{report:?}");
    assert_eq!(report, update(setup));
}
