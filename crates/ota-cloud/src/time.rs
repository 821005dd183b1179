//! Moments.

use core::time::Duration;

use ota_proto::Instant;

/// The moment this much later; the last moment at most.
#[allow(clippy::arithmetic_side_effects, reason = "an `Instant` saturates")]
pub(crate) fn later(at: Instant, by: Duration) -> Instant {
    at + by
}
