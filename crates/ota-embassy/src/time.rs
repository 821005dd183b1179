//! Converts the times of embassy-time to the core's.

use embassy_time::{Instant as Ticks, TICK_HZ};
use ota_proto::Instant;

const SECOND: u64 = 1_000_000;

/// The current time.
pub(crate) fn now() -> Instant {
    to_core(Ticks::now())
}

/// Converts a time of embassy-time to the core's, rounded down to 1 µs.
#[must_use]
pub fn to_core(at: Ticks) -> Instant {
    let (seconds, rest) = (at.as_ticks() / TICK_HZ, at.as_ticks() % TICK_HZ);
    let micros = rest.saturating_mul(SECOND) / TICK_HZ;
    Instant::from_micros(seconds.saturating_mul(SECOND).saturating_add(micros))
}

/// Converts a time of the core to embassy-time's, rounded up to a tick: [`to_core`] of it is never
/// earlier.
#[must_use]
pub fn to_ticks(at: Instant) -> Ticks {
    let (seconds, rest) = (at.as_micros() / SECOND, at.as_micros() % SECOND);
    let ticks = rest.saturating_mul(TICK_HZ).div_ceil(SECOND);
    Ticks::from_ticks(seconds.saturating_mul(TICK_HZ).saturating_add(ticks))
}
