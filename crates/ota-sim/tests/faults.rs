//! Faults of the server and pairs of faults of the link.

use ota_sim::random::server_faults;
use ota_sim::{FetchFault, MessageFault, Setup, World};

fn world(seed: u64) -> World {
    let mut setup = Setup::new(20_000, seed);
    setup.lying_server = true;
    World::new(setup)
}

#[test]
fn every_pair_of_server_faults_ends() {
    for first in server_faults() {
        for second in server_faults() {
            let mut world = world(1);
            world.layer.server.plan = [Some(first.clone()), Some(second.clone())].into();
            world.must_end(&format!("{first:?} then {second:?}"));
        }
    }
}

#[test]
fn every_server_fault_that_lasts_ends() {
    for fault in server_faults() {
        let mut world = world(2);
        let part = Some(FetchFault::Closes(9_000));
        world.layer.server.plan =
            std::iter::once(part).chain(std::iter::repeat_n(Some(fault.clone()), 200)).collect();
        world.must_end(&format!("{fault:?} forever"));
        assert!(
            world.layer.server.fetches < 60,
            "{fault:?}: {} fetches",
            world.layer.server.fetches
        );
        // The current report is repeated every 20 s, and little else is said.
        let most = 60 + world.now.as_millis() / 20_000;
        assert!(world.record().counters.received < most, "{}", world.trace);
    }
}

#[test]
fn pairs_of_message_faults_end_proved() {
    let faults = [MessageFault::Lost, MessageFault::Doubled, MessageFault::Late(12_000)];
    let mut calm = World::new(Setup::new(9_000, 3));
    calm.must_prove("no faults");
    for first in 0..calm.packets() {
        for second in first + 1..calm.packets() + 4 {
            for (a, b) in faults.iter().flat_map(|a| faults.iter().map(move |b| (*a, *b))) {
                let mut world = World::new(Setup::new(9_000, 3));
                world.plan(first, a);
                world.plan(second, b);
                world.must_prove(&format!("{first} {a:?}, {second} {b:?}"));
            }
        }
    }
}
