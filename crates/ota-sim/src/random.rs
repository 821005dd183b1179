//! Faulty worlds drawn from a seed: everything that may go wrong, together.
//!
//! [`run`] runs one of them from beginning to end. The seed determines the device's times and
//! policies, the faults of its storage, link, firmware server and application, power cuts, crashes
//! of its program, and an operator who changes the task. The same seed gives the same trace
//! everywhere.

use std::panic::{AssertUnwindSafe, catch_unwind};

use core::time::Duration;

use ota_proto::{Hold, Rng, StorageError, TlsError, TransportError, Verify};

mod field;
mod wired;

use field::Field;
pub use wired::wired;

use crate::{
    Cut, FetchFault, Image, Install, MessageFault, Outcome, Setup, Step, Trace, Verdict, World,
};

/// The level of a world.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Level {
    /// [`World`]: messages and operations, each step watched by the invariants.
    #[default]
    Messages,
    /// [`wire::World`](crate::wire::World): bytes on two wires.
    Wire,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its end, or the violation followed by the trace.
    pub result: Result<Outcome, String>,
    /// The trace; empty after a panic.
    pub trace: Trace,
}

/// Runs the world of this seed to its end. A panic is caught, and is an error like any other.
#[must_use]
pub fn run(seed: u64, level: Level) -> Run {
    let run = catch_unwind(AssertUnwindSafe(|| match level {
        Level::Messages => messages(seed),
        Level::Wire => wires(seed),
    }));
    run.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no text");
        Run { result: Err(format!("panic: {text}")), trace: Trace::default() }
    })
}

/// Every fault of the message level's server.
#[must_use]
pub fn server_faults() -> Vec<FetchFault> {
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

fn messages(seed: u64) -> Run {
    let mut rng = Rng::new(seed);
    let mut world = any_world(seed, &mut rng);
    let mut field = Field::draw(&mut world, seed);
    let result = if field.is_first() {
        field.play(&mut world).and_then(|()| trouble(&mut world, &mut rng))
    } else {
        trouble(&mut world, &mut rng).and_then(|()| field.play(&mut world))
    };
    let result = result.and_then(|()| world.end());
    Run { result, trace: world.trace }
}

/// A world with other times, policies and an application that may fail.
fn any_world(seed: u64, rng: &mut Rng) -> World {
    let mut setup = Setup::new(pick(rng, &[1, 700, 9_000, 20_000]), seed);
    setup.lying_server = true;
    setup.clock_jumps = true;
    let slow = pick(rng, &[4, 100, 3_000]);
    setup.job = millis(rng, slow);
    setup.latency = millis(rng, 300);
    setup.pace = millis(rng, 500);
    setup.chunk = below(rng, 6_000) + 1;
    setup.erase = pick(rng, &[256, 4_096, 4_096]);
    if rng.below(3) == 0 {
        setup.device.verify = Verify::Trailing;
    }
    if rng.below(3) == 0 {
        setup.device.consent = Hold::Ask;
        setup.device.approval = Hold::Ask;
        setup.device.install = Hold::Ask;
    }
    setup.device.confirm_needs_reply = rng.below(4) > 0;
    any_app(&mut setup, rng);
    // Drawn with a generator of its own, so that the rest of the world does not change.
    let mut whims = Rng::new(seed ^ 0x7e87);
    if whims.below(3) == 0 {
        let seconds = pick(&mut whims, &[1, 40, 7_200]);
        setup.app.defers = (1 + u8::from(whims.below(2) == 0), Duration::from_secs(seconds));
    }
    if rng.below(4) == 0 {
        setup.images.push(Image::new("2.0.0", 17_000, 9));
    }
    let mut world = World::new(setup);
    if rng.below(8) == 0 {
        world.storage.journal.spoil(pick(rng, &[0, 0x55]));
    }
    any_faults(&mut world, rng);
    world
}

fn any_app(setup: &mut Setup, rng: &mut Rng) {
    let app = &mut setup.app;
    app.install = match rng.below(16) {
        0 => Install::Failed,
        1 => Install::Hangs,
        2 => Install::Running,
        _ => Install::NeedsRestart,
    };
    app.verdict = match rng.below(16) {
        0 => Verdict::RollBack,
        1 => Verdict::Silent,
        _ => Verdict::Confirm,
    };
    app.bootable = rng.below(16) > 0;
    app.install_time = millis(rng, 20_000);
    app.trial_time = millis(rng, 20_000);
}

/// The faults that are drawn before the world begins: of the server, the link and the storage.
fn any_faults(world: &mut World, rng: &mut Rng) {
    let menu = server_faults();
    for _ in 0..rng.below(4) {
        world.layer.server.plan.push_back(menu.get(below(rng, menu.len())).cloned());
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
        let error = pick(rng, &[StorageError::Failed, StorageError::NoSpace]);
        world.broken.insert(rng.below(60), error);
    }
}

/// The events of the run: power cuts, crashes, broken links, another task.
fn trouble(world: &mut World, rng: &mut Rng) -> Result<(), String> {
    let mut texts = Rng::new(world.setup.seed ^ 0x7e88);
    let mut left = rng.below(6);
    let mut steps = rng.below(200);
    while left > 0 && world.outcome().is_none() {
        if steps == 0 {
            steps = rng.below(300);
            left = left.saturating_sub(1);
            if texts.below(3) == 0 {
                world.change_text(pick(&mut texts, &["one", "two"]));
            }
            match rng.below(9) {
                0 => world.power_cut(Cut::Torn),
                1 => field::tear(world, &mut texts),
                2 => world.kill(),
                3 => world.stop(),
                4 => world.power_cut(Cut::Before),
                5 => world.power_cut(Cut::After),
                // Not back to the version that it runs, whose reports cannot prove a task.
                6 if can_change(world) => {
                    world.change_task("2.0.0");
                }
                _ => world.drop_link(),
            }
        }
        steps = steps.saturating_sub(1);
        if world.step() == Step::Dead {
            return Err(format!("nothing will ever happen again\n{}", world.trace));
        }
    }
    Ok(())
}

fn can_change(world: &World) -> bool {
    let images = world.setup.images.len();
    images > 1 && world.setup.to == "1.0.0" && world.record().task.is_some()
}

fn wires(seed: u64) -> Run {
    let (world, result) = wired(seed, 0);
    Run { result, trace: world.trace }
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[below(rng, from.len())]
}

fn below(rng: &mut Rng, bound: usize) -> usize {
    usize::try_from(rng.below(bound as u64)).unwrap_or(0)
}

fn millis(rng: &mut Rng, most: u64) -> Duration {
    Duration::from_millis(rng.below(most) + 1)
}
