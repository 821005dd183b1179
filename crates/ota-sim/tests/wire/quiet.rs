//! What an idle device costs.

use ota_proto::Instant;
use ota_sim::Said;
use ota_sim::wire::{Stream, Wires, World};

use crate::small;

#[test]
fn two_quiet_days_are_pings_and_two_reports() {
    let mut world = World::new(small(6), Wires::default());
    world.must_prove("before the quiet");
    let before = world.record().counters;
    let sent = world.layer.passed[&Stream::ToBroker];
    world.run_until(world.now + core::time::Duration::from_secs(2 * 86_400)).unwrap();
    let after = world.record().counters;
    assert_eq!(after.sessions, before.sessions, "one session");
    let reports = after.versions - before.versions;
    assert!((1..=3).contains(&reports), "{reports} reports");
    // Two bytes a minute, and the reports.
    let bytes = world.layer.passed[&Stream::ToBroker] - sent;
    assert!(bytes <= 2 * 2 * 24 * 60 + reports * 120, "{bytes} bytes");
    assert!(world.trace.iter().filter(|(at, _)| *at > Instant::from_secs(100)).count() < 20);
    assert_eq!(world.layer.results, [Said::Done("1.0.0".into())]);
}
