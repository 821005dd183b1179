//! Lists of operations on an [`Updater`](ota_proto::Updater), against a cloud, a store, a slot and
//! an application that may do anything at any time.

mod cloud;
mod inputs;
mod rest;
mod slot;
#[cfg(test)]
mod tests;
mod told;
mod world;

use std::time::Duration;

use ota_proto::{
    Command, Gate, InstallFault, Installed, Instant, StorageError, TlsError, TransportError,
};

use crate::input::Input;
use world::World;

/// Most operations of one list.
const OPS: usize = 300;

/// Runs the operations in `data`; then everything around the machine behaves, and it must come to
/// rest. What it asks for is held against what it may ask for at that moment.
///
/// # Panics
/// If a check fails.
pub fn updater(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new(&mut input);
    for _ in 0..OPS {
        if input.is_empty() {
            break;
        }
        step(&mut world, &mut input);
    }
    rest::come_to_rest(&mut world);
}

fn step(world: &mut World, input: &mut Input<'_>) {
    match input.byte() % 32 {
        0..=2 => world.wait_to_deadline(),
        3 => {
            let secs = input.number() % 100_000;
            world.wait(Duration::from_secs(secs));
        }
        4 => world.wait(Duration::from_millis(input.number() % 100_000)),
        // A clock that jumps. It must not run backwards; when it does, it stands still.
        5 => {
            let now = Instant::from_micros(input.number() << (input.byte() % 40));
            world.jump(now);
        }
        6..=7 => world.session(input.byte() % 4 != 0),
        8 => cloud::reply(world, input),
        9..=10 => cloud::offer(world, input),
        11 => cloud::nonsense(world, input),
        12..=13 => world.published(input.place(world.pubs.len())),
        14..=15 => cloud::head(world, input),
        16..=17 => cloud::body(world, input),
        18 => world.body_end(stale(input)),
        19 => {
            let error = input.pick(&[
                TransportError::Resolve,
                TransportError::Refused,
                TransportError::TimedOut,
                TransportError::Closed,
                TransportError::Malformed,
                TransportError::Tls(TlsError::Untrusted),
            ]);
            world.fetch_failed(error, stale(input));
        }
        20..=23 => world.complete(Ok(()), input),
        24 => {
            let error = input.pick(&[
                StorageError::Failed,
                StorageError::NoSpace,
                StorageError::ReadOnly,
                StorageError::Gone,
            ]);
            world.complete(Err(error), input);
        }
        25 => world.stale_completion(input),
        26..=28 => command(world, input),
        29 => world.gate(Gate { publish: input.flag(), fetch: input.flag() }),
        30 => world.certificate(input.number()),
        _ => world.reboot(input),
    }
    world.settle();
}

fn stale(input: &mut Input<'_>) -> bool {
    input.byte() % 8 == 7
}

fn command(world: &mut World, input: &mut Input<'_>) {
    let now = world.now;
    match input.byte() % 16 {
        0 => _ = world.command(Command::Accept),
        1 => {
            let until = now + Duration::from_secs(input.number());
            world.command(Command::Defer(until));
        }
        2 => _ = world.command(Command::Refuse),
        3 => _ = world.command(Command::Cancel),
        4 => _ = world.command(Command::Approve),
        5 => _ = world.command(Command::Veto),
        6 => _ = world.command(Command::Install),
        7 | 8 => _ = world.installed(Installed::Running),
        9 => _ = world.installed(Installed::NeedsRestart),
        10 => _ = world.installed(Installed::Failed(InstallFault::Machine)),
        11 => _ = world.installed(Installed::Failed(InstallFault::Image)),
        12 => world.confirm(),
        13 => _ = world.command(Command::RollBack),
        14 => _ = world.command(Command::Forgive),
        _ => _ = world.command(Command::ReportNow),
    }
}
