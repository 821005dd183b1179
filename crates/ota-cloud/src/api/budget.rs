//! Rate limits of callers.

use core::time::Duration;

use ota_proto::Instant;

/// A caller's budget: a number of calls at once, and more as time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Saved-up waiting time in microseconds.
    saved: u64,
    at: Instant,
    each: u64,
    most: u64,
}

impl Budget {
    /// The budget of a key: 200 calls at once, and 100 per second.
    #[must_use]
    pub const fn of_key(now: Instant) -> Self {
        Self::new(now, 200, Duration::from_millis(10))
    }

    /// The budget of an address without a valid key: 20 attempts at once, and ten per minute.
    #[must_use]
    pub const fn of_stranger(now: Instant) -> Self {
        Self::new(now, 20, Duration::from_secs(6))
    }

    /// The budget of an address that names a key without proof of it yet: as many at once as the
    /// key has, and ten per minute for addresses without proof. Proved calls are [given
    /// back](Self::give_back).
    #[must_use]
    pub const fn of_claim(now: Instant) -> Self {
        Self::new(now, 200, Duration::from_secs(6))
    }

    const fn new(now: Instant, most: u64, each: Duration) -> Self {
        // A few days fit.
        let each = each.as_micros() as u64;
        let most = most.saturating_mul(each);
        Self { saved: most, at: now, each, most }
    }

    /// Takes one call from the budget.
    ///
    /// # Errors
    /// The wait until the next call.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let since = now.since(self.at).as_micros();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        (self.saved, self.at) = (self.saved.saturating_add(since).min(self.most), now);
        match self.saved.checked_sub(self.each) {
            Some(rest) => {
                self.saved = rest;
                Ok(())
            }
            None => Err(Duration::from_micros(self.each.saturating_sub(self.saved))),
        }
    }

    /// Returns a taken call.
    pub fn give_back(&mut self) {
        self.saved = self.saved.saturating_add(self.each).min(self.most);
    }

    /// Whether the budget is full, so that it need not be kept.
    #[must_use]
    pub fn is_whole(&self, now: Instant) -> bool {
        let since = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        self.saved.saturating_add(since) >= self.most
    }
}
