//! Lists of operations on a [`Client`](ota_wire::Client), between a broker and a store that may
//! send anything, on links that come and go.

mod peers;
mod world;

use std::time::Duration;

use ota_proto::{Command, Installed, QoS, StorageError, TlsError, TransportError};
use ota_wire::client::{Input as Call, LinkKind};

use crate::input::Input;
use world::World;

/// Most operations of one list.
const OPS: usize = 300;
const KINDS: [LinkKind; 2] = [LinkKind::Broker, LinkKind::Store];

/// Runs the operations in `data`; then everything around the client behaves, and all its devices
/// must come to rest. What it sends must be packets and requests, on links that it has opened.
///
/// # Panics
/// If a check fails.
pub fn client(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    for _ in 0..OPS {
        if input.is_empty() {
            break;
        }
        step(&mut world, &mut input);
        world.settle();
    }
    world.come_to_rest();
}

fn step(world: &mut World, input: &mut Input<'_>) {
    match input.byte() % 24 {
        0..=1 => world.wait_to_deadline(),
        2 => world.wait(Duration::from_millis(input.number() % 10_000_000)),
        3..=4 => world.open(input.pick(&KINDS)),
        5 => {
            let error = input.pick(&[
                TransportError::Resolve,
                TransportError::Refused,
                TransportError::TimedOut,
                TransportError::Tls(TlsError::ClockNotSet),
            ]);
            world.fail_to_open(input.pick(&KINDS), error);
        }
        6 => world.send(input.pick(&KINDS), input.byte().into()),
        7..=8 => world.send(input.pick(&KINDS), usize::MAX),
        9..=10 => world.deliver(input.pick(&KINDS), usize::MAX),
        11 => world.deliver(input.pick(&KINDS), input.byte().into()),
        12 => {
            let (kind, most) = (input.pick(&KINDS), input.byte());
            world.inject(kind, input.bytes(most.into()));
        }
        13..=14 => world.inject(LinkKind::Broker, &peers::message(input)),
        15 => world.store.answer = input.byte(),
        16 => world.close(input.pick(&KINDS), input.flag()),
        17..=19 => world.complete(Ok(())),
        20 => world.complete(Err(input.pick(&[StorageError::Failed, StorageError::NoSpace]))),
        21 => command(world, input),
        22 => application(world, input),
        _ => world.strangers(input),
    }
}

fn command(world: &mut World, input: &mut Input<'_>) {
    let device = world.device(input.byte());
    let command = match input.byte() % 6 {
        0 => Command::Cancel,
        1 => Command::Installed(Installed::Running),
        2 => Command::Installed(Installed::NeedsRestart),
        3 => Command::Installed(Installed::Failed(ota_proto::InstallFault::Image)),
        4 => Command::Forgive,
        _ => Command::ReportNow,
    };
    world.command(device, command);
}

fn application(world: &mut World, input: &mut Input<'_>) {
    let now = world.now;
    let qos = input.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce]);
    match input.byte() % 6 {
        0 | 1 => {
            let topic = input.pick(&["P/D/data", "$ota/report/P/D", "a/+", ""]);
            let payload = vec![b'x'; input.number() as usize % 5_000];
            let before = world.client.clone();
            if !world.handle(Call::Publish { topic, payload: &payload, qos }) {
                assert!(world.client == before, "an error had an effect");
            }
        }
        2 => {
            let filter = input.pick(&["P/D/data", "a/+", "$ota/#", "bad/#/x", "b"]);
            // As an input it would not return its id, by which it can be ended.
            if let Ok(sub) = world.client.subscribe(now, filter, qos) {
                world.subs.push(sub);
            }
        }
        3 => {
            if let Some(sub) = world.subs.pop() {
                world.handle(Call::Unsubscribe(sub));
            }
        }
        4 => {
            if let Some(ack) = world.acks.pop() {
                world.handle(Call::Acknowledge(ack));
            }
        }
        _ => {
            world.handle(Call::Disconnect);
        }
    }
}
