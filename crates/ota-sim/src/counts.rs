//! Limits on a device's messages and writes, counted from the start of its program.

use core::fmt;

use ota_proto::journal::{Phase, Record};
use ota_proto::{Instant, Timing};

/// The counters.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    boot: Instant,
    sessions: u64,
    /// When the first progress of the attempt was reported, and how often since.
    reports: (Instant, u64),
    /// The bytes that the latest checkpoint claims, and the number of checkpoints.
    claims: (u64, u64),
    /// Each fetch except the first follows a break or a wait.
    fetches: u64,
}

impl Counts {
    /// The program starts.
    pub(crate) fn new(boot: Instant) -> Self {
        Self { boot, ..Self::default() }
    }

    /// A session opened.
    pub(crate) fn session(&mut self) {
        self.sessions = self.sessions.saturating_add(1);
    }

    /// Progress is reported, of an attempt for the `first` time: one report per 5 %, one per
    /// session, one per silence of [`Timing::repeat`].
    pub(crate) fn report(&mut self, now: Instant, first: bool, timing: &Timing) -> Option<String> {
        if first {
            self.reports = (now, 0);
        }
        let (since, count) = self.reports;
        self.reports.1 = count.saturating_add(1);
        let silences = now.past(since).as_micros() / timing.repeat.as_micros().max(1);
        over("reports of progress", self.reports.1, silences.saturating_add(22 + self.sessions))
    }

    /// A fetch is requested.
    pub(crate) fn fetch(&mut self) {
        self.fetches = self.fetches.saturating_add(1);
    }

    /// A record is written. Allowed are 32 checkpoints of each of the three passes that an image
    /// may have, one per minute, one after each fetch, and earlier ones after a start that took
    /// none.
    pub(crate) fn record(&mut self, now: Instant, record: &Record) -> Option<String> {
        let fetching = record.target.as_ref().filter(|_| record.phase == Phase::Fetching)?;
        let (claimed, count) = self.claims;
        let count = count.saturating_add(u64::from(fetching.offset > claimed));
        self.claims = (fetching.offset, count);
        over("checkpoints", count, 3 * 32 + 1 + self.fetches + now.since(self.boot).as_secs() / 60)
    }
}

/// Omits the counts, so that states of the walk that differ only in them are equal.
impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counts")
    }
}

fn over(what: &str, count: u64, most: u64) -> Option<String> {
    (count > most).then(|| format!("{count} {what}, at most {most}"))
}
