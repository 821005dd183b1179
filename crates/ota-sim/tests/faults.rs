//! Faults of the server and pairs of faults of the link.

use core::time::Duration;

use ota_proto::{Hold, TlsError, TransportError, Verify};
use ota_sim::{Cut, FetchFault, MessageFault, Setup, Step, World};

fn menu() -> Vec<FetchFault> {
    let mut menu: Vec<_> = [401, 403, 404, 410, 408, 416, 429, 500, 503, 204, 305]
        .map(|status| FetchFault::Status(status, None))
        .into();
    menu.extend([
        FetchFault::Status(503, Some(100)),
        FetchFault::Status(503, Some(100_000)),
        FetchFault::Whole,
        FetchFault::Etag("\"2\""),
        FetchFault::Closes(0),
        FetchFault::Closes(1_000),
        FetchFault::Closes(9_000),
        FetchFault::Stalls(0),
        FetchFault::Stalls(9_000),
        FetchFault::Silent,
        FetchFault::Redirect("https://other.example/there"),
        FetchFault::Redirect("http://other.example/there"),
        FetchFault::Wrong(100),
        FetchFault::Fails(TransportError::Resolve),
        FetchFault::Fails(TransportError::Refused),
        FetchFault::Fails(TransportError::Malformed),
        FetchFault::Fails(TransportError::Tls(TlsError::Expired)),
    ]);
    menu
}

fn world(seed: u64) -> World {
    let mut setup = Setup::new(20_000, seed);
    setup.lying_server = true;
    World::new(setup)
}

#[test]
fn every_pair_of_server_faults_ends() {
    for first in menu() {
        for second in menu() {
            let mut world = world(1);
            world.server.plan = [Some(first.clone()), Some(second.clone())].into();
            world.must_end(&format!("{first:?} then {second:?}"));
        }
    }
}

#[test]
fn every_server_fault_for_ever_ends() {
    for fault in menu() {
        let mut world = world(2);
        let part = Some(FetchFault::Closes(9_000));
        world.server.plan =
            std::iter::once(part).chain(std::iter::repeat_n(Some(fault.clone()), 200)).collect();
        world.must_end(&format!("{fault:?} for ever"));
        assert!(world.server.fetches < 60, "{fault:?}: {} fetches", world.server.fetches);
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

/// A world with other times and policies: storage may be slower than the network.
fn any_world(seed: u64, rng: &mut ota_proto::Rng) -> World {
    let mut setup = Setup::new(20_000, seed);
    setup.lying_server = true;
    let millis = |rng: &mut ota_proto::Rng, most| Duration::from_millis(rng.below(most) + 1);
    let slow = [4, 100, 3_000][rng.below(3) as usize];
    setup.job = millis(rng, slow);
    setup.latency = millis(rng, 300);
    setup.pace = millis(rng, 500);
    setup.chunk = rng.below(6_000) as usize + 1;
    setup.erase = [256, 4_096, 4_096][rng.below(3) as usize];
    if rng.below(3) == 0 {
        setup.device.verify = Verify::Trailing;
    }
    if rng.below(3) == 0 {
        setup.device.consent = Hold::Ask;
        setup.device.approval = Hold::Ask;
        setup.device.install = Hold::Ask;
    }
    World::new(setup)
}

#[test]
fn random_worlds_end() {
    for seed in 0..600 {
        let mut rng = ota_proto::Rng::new(seed);
        let mut world = any_world(seed, &mut rng);
        let menu = menu();
        for _ in 0..rng.below(4) {
            let fault = &menu[rng.below(menu.len() as u64) as usize];
            world.server.plan.push_back(Some(fault.clone()));
        }
        for _ in 0..rng.below(6) {
            let packet = rng.below(40);
            let fault = match rng.below(4) {
                0 => MessageFault::Lost,
                1 => MessageFault::Doubled,
                2 => MessageFault::Swapped,
                _ => MessageFault::Late(rng.below(40_000)),
            };
            world.plan(packet, fault);
        }
        for _ in 0..rng.below(3) {
            world.broken.insert(rng.below(60), ota_proto::StorageError::Failed);
        }
        let mut trouble = rng.below(6);
        let mut steps = rng.below(200);
        while trouble > 0 && world.outcome().is_none() {
            if steps == 0 {
                steps = rng.below(300);
                trouble -= 1;
                match rng.below(4) {
                    0 => world.power_cut(Cut::Torn),
                    1 => world.kill(),
                    2 => world.power_cut(Cut::Before),
                    _ => world.drop_link(),
                }
            }
            steps = steps.saturating_sub(1);
            assert_ne!(world.step(), Step::Dead);
        }
        world.must_end("random");
    }
}
