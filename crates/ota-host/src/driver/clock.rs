//! Converts the host's clock to the core's.

use std::time::{self, SystemTime};

use ota_proto::Instant;

/// A monotonic clock whose origin is its creation. Copies share the origin.
///
/// It stops while the machine is suspended, like the runtimes' timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Clock {
    origin: time::Instant,
}

impl Clock {
    /// Makes a clock that starts now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place where time enters")]
    pub fn start() -> Self {
        Self { origin: time::Instant::now() }
    }

    /// Makes a clock with this origin.
    #[must_use]
    pub const fn anchored(origin: time::Instant) -> Self {
        Self { origin }
    }

    /// The current time.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place where time enters")]
    pub fn now(&self) -> Instant {
        self.to_core(time::Instant::now())
    }

    /// Converts the system's time to the core's, rounded down to 1 µs. Times before the origin
    /// become [`Instant::ZERO`].
    #[must_use]
    pub fn to_core(&self, at: time::Instant) -> Instant {
        Instant::ZERO + at.saturating_duration_since(self.origin)
    }

    /// Converts the core's time to the system's. `None` if the system cannot represent it, which
    /// means never.
    #[must_use]
    pub fn to_std(&self, at: Instant) -> Option<time::Instant> {
        self.origin.checked_add(at.since(Instant::ZERO))
    }

    /// Unix seconds of the system's wall clock; `None` before 1970. It may be wrong: the core keeps
    /// its own earliest time.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "the one place where time enters")]
    pub fn unix_time() -> Option<u64> {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Some(since.as_secs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_convert_both_ways() {
        let clock = Clock::start();
        let at = clock.origin + Duration::from_micros(1_234_567);
        assert_eq!(clock.to_core(at), Instant::from_micros(1_234_567));
        assert_eq!(clock.to_std(Instant::from_micros(1_234_567)), Some(at));
        let later = Clock::anchored(at);
        assert_eq!(later.to_core(clock.origin), Instant::ZERO);
        assert_eq!(later.to_std(Instant::ZERO), Some(at));
    }

    #[test]
    fn it_does_not_run_backwards_and_never_is_never_a_panic() {
        let clock = Clock::start();
        let first = clock.now();
        assert!(clock.now() >= first);
        let _ = clock.to_std(Instant::MAX);
        // 2020-01-01: the machine that runs the tests has a set clock.
        assert!(Clock::unix_time() > Some(1_577_836_800));
    }
}
