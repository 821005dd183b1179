//! The end of every list: all around the machine behave, and it must come to rest.

use ota_proto::{Command, Gate, Installed, ResponseHead, SlotState, State};

use super::cloud::reply_text;
use super::slot::VERSIONS;
use super::world::World;
use crate::input::Input;

/// Turns that it may take: many times what any attempt needs.
const TURNS: usize = 1_500;

pub(super) fn come_to_rest(world: &mut World) {
    world.gate(Gate::OPEN);
    world.session(false);
    world.settle();
    world.session(true);
    for _ in 0..TURNS {
        world.settle();
        if world.restart {
            restart(world);
        } else if world.persist.is_some() || world.job.is_some() {
            world.complete(Ok(()), &mut Input::new(&[]));
        } else if !world.pubs.is_empty() {
            world.published(Some(0));
            world.pubs.remove(0);
        } else if world.unanswered {
            world.unanswered = false;
            let version = world.machine.running();
            world.message(&reply_text("0", version.as_str()));
        } else if !decide(world) {
            let rest = world.machine.state() == State::Idle && world.machine.owed().is_none();
            if rest && world.machine.is_settled() {
                return;
            }
            let gone = ResponseHead { status: 404, ..ResponseHead::default() };
            if world.fetch.as_ref().is_some_and(|fetch| !fetch.answered) {
                world.head(&gone, false);
            } else {
                world.wait_to_deadline();
            }
        }
    }
    panic!("it never comes to rest: {:?}", world.machine);
}

/// The restart that the machine asked for: into the trial of the new image, or out of it.
fn restart(world: &mut World) {
    let (running, slot) = match (world.machine.state(), world.target()) {
        (State::Restarting, Some(target)) => (target, SlotState::Trial),
        (_, target) => {
            let old = VERSIONS.iter().find(|version| target.as_deref() != Some(version));
            (String::from(*old.unwrap()), SlotState::RolledBack)
        }
    };
    world.boot(&running, slot);
    world.session(true);
}

/// The application ends what waits for it; whether it had to.
fn decide(world: &mut World) -> bool {
    match world.machine.state() {
        State::Offered | State::Deferred => world.command(Command::Refuse),
        State::Ready => world.command(Command::Veto),
        State::Installing => world.installed(Installed::Failed(ota_proto::InstallFault::Image)),
        State::Trial => world.command(Command::RollBack),
        _ => false,
    }
}
