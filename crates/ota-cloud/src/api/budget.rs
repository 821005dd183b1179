//! How often somebody may ask.

use core::time::Duration;

use ota_proto::Instant;

/// What somebody may still ask for: a number at once, and more as time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Microseconds of waiting that are saved up.
    saved: u64,
    at: Instant,
    each: u64,
    most: u64,
}

impl Budget {
    /// One of a key: 200 calls at once, and 100 a second.
    #[must_use]
    pub const fn of_key(now: Instant) -> Self {
        Self::new(now, 200, Duration::from_millis(10))
    }

    /// One of an address that shows no good key: 20 tries at once, and ten a minute.
    #[must_use]
    pub const fn of_stranger(now: Instant) -> Self {
        Self::new(now, 20, Duration::from_secs(6))
    }

    /// One of an address that names a key and has not yet shown that it has it: as many at once as
    /// the key has, and ten a minute for those that never do. What is proved is
    /// [given back](Self::give_back).
    #[must_use]
    pub const fn of_claim(now: Instant) -> Self {
        Self::new(now, 200, Duration::from_secs(6))
    }

    const fn new(now: Instant, most: u64, each: Duration) -> Self {
        // Some days fit.
        let each = each.as_micros() as u64;
        let most = most.saturating_mul(each);
        Self { saved: most, at: now, each, most }
    }

    /// Takes one, if there is one.
    ///
    /// # Errors
    /// How long to wait for the next.
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

    /// Gives one back that was taken.
    pub fn give_back(&mut self) {
        self.saved = self.saved.saturating_add(self.each).min(self.most);
    }

    /// Whether it is as if nobody had asked: it need not be kept.
    #[must_use]
    pub fn is_whole(&self, now: Instant) -> bool {
        let since = u64::try_from(now.since(self.at).as_micros()).unwrap_or(u64::MAX);
        self.saved.saturating_add(since) >= self.most
    }
}
