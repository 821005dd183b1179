//! What connects the device of a world to its cloud.

use core::fmt::Debug;

use ota_proto::journal::Record;
use ota_proto::{Boot, Instant, Md5, OpId, StorageError, Updater};

use crate::app::Act;

use super::{Outcome, Step, World};

/// The layer of a world: the form of the device's program, and what is between it and the cloud.
///
/// [`World`](crate::World) has everything that does not depend on it: clock, cloud, medium, power, the end.
pub trait Layer: Clone + Debug + Sized {
    /// A scheduled event of this layer.
    type Event: Clone + Debug;

    /// Whether the invariants observe each step.
    const WATCHED: bool;
    /// Whether a jump of the clock is a step of its own. Otherwise the step also handles the event
    /// at which the clock arrives.
    const JUMPS: bool;

    /// The device's updater; `None` while the program is off.
    fn updater(&self) -> Option<&Updater>;

    /// Takes one output of the program, or moves bytes; `None` if there is nothing to do now.
    fn step(world: &mut World<Self>) -> Option<Step>;

    /// The cloud sends a message to the device.
    fn send(world: &mut World<Self>, topic: &str, payload: Vec<u8>);

    /// The earliest time at which this layer has something to do.
    fn next(world: &mut World<Self>) -> Option<Instant>;

    /// Handles one due deadline; `false` if it is the cloud's turn, which is due if `cloud`.
    fn wake(world: &mut World<Self>, cloud: bool) -> bool;

    /// Handles a scheduled event.
    fn arrive(world: &mut World<Self>, event: Self::Event);

    /// Starts the program.
    fn start(world: &mut World<Self>, boot: Boot<'_>);

    /// The program has ended: drops it with its connections.
    fn end(world: &mut World<Self>);

    /// A record became durable, after this one.
    fn persisted(&mut self, _before: Option<Record>, _record: &Record) {}

    /// Tells the program the result of an operation.
    fn done(world: &mut World<Self>, op: OpId, result: Result<Option<Md5>, StorageError>);

    /// The application acts.
    fn act(world: &mut World<Self>, act: Act);

    /// Checks what else must be true at the end.
    ///
    /// # Errors
    /// The violation.
    fn check_end(world: &World<Self>, outcome: Outcome) -> Result<(), String>;
}
