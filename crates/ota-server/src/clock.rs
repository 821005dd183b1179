//! The only place in the service that reads clocks.

use std::time::{Duration, SystemTime};

use ota_proto::Instant;

/// A monotonic clock with the Unix time of its origin. All parts of the service use the same one,
/// so that the lifetime of URLs and the time-outs agree even when the system's clock is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    origin: tokio::time::Instant,
    unix_at_zero: Duration,
    system: fn() -> SystemTime,
}

impl Clock {
    /// Makes a clock that starts now, by this clock of the system.
    pub(super) fn start(system: fn() -> SystemTime) -> Self {
        Self { origin: tokio::time::Instant::now(), unix_at_zero: since_1970(system), system }
    }

    pub(super) fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// The time since 1970 at [`Instant::ZERO`].
    pub(super) fn unix_at_zero(&self) -> Duration {
        self.unix_at_zero
    }

    /// Seconds since 1970, now.
    pub(super) fn unix(&self) -> u64 {
        self.unix_at_zero.saturating_add(self.origin.elapsed()).as_secs()
    }

    /// Seconds since 1970 by the system's clock, which may have been set since the start: for times
    /// that others write and sign by their clocks.
    pub(super) fn wall(&self) -> u64 {
        since_1970(self.system).as_secs()
    }

    /// Microseconds since 1970, now: the time in stored data.
    pub(super) fn unix_micros(&self) -> Instant {
        Instant::ZERO + self.unix_at_zero.saturating_add(self.origin.elapsed())
    }

    /// Converts that time to this clock's; times before its zero become zero.
    pub(super) fn moment(&self, at: Instant) -> Instant {
        Instant::ZERO + at.since(Instant::ZERO).saturating_sub(self.unix_at_zero)
    }

    /// Waits for `deadline`, or forever without one.
    pub(super) async fn sleep_until(&self, deadline: Option<Instant>) {
        match deadline.and_then(|deadline| self.moment_of(deadline)) {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Converts a time of this clock to the runtime's.
    pub(super) fn moment_of(&self, at: Instant) -> Option<tokio::time::Instant> {
        self.origin.checked_add(Duration::from_micros(at.as_micros()))
    }
}

/// The system's clock.
#[allow(clippy::disallowed_methods)] // The service is the shell that owns the clock.
pub(super) fn system() -> SystemTime {
    SystemTime::now()
}

fn since_1970(system: fn() -> SystemTime) -> Duration {
    system().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
