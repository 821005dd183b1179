//! How much goes into one turn.

use std::time::Duration;

use ota_proto::Instant;

/// The most inputs of one turn.
pub const MOST: usize = 700;
/// How long inputs are gathered while more keep arriving.
pub const GATHER: Duration = Duration::from_millis(5);

/// Gathers until there are [`MOST`] inputs, [`GATHER`] has passed, or nothing waits. `take` takes
/// what waits and returns how many inputs there are then; `None` when nothing waits.
pub fn gather(now: &mut dyn FnMut() -> Instant, take: &mut dyn FnMut() -> Option<usize>) {
    let until = now() + GATHER;
    while take().is_some_and(|inputs| inputs < MOST) && now() < until {}
}
