//! Limits of one turn.

use std::time::Duration;

use ota_proto::Instant;

/// The most inputs of one turn.
pub const MOST: usize = 700;
/// How long inputs are gathered while more arrive.
pub const GATHER: Duration = Duration::from_millis(5);

/// Gathers until there are [`MOST`] inputs, [`GATHER`] has passed, or nothing waits. `take` takes
/// waiting inputs and returns the total number; `None` if nothing waits.
pub fn gather(now: &mut dyn FnMut() -> Instant, take: &mut dyn FnMut() -> Option<usize>) {
    let until = now() + GATHER;
    while take().is_some_and(|inputs| inputs < MOST) && now() < until {}
}
