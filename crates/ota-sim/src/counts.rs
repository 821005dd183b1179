//! How often a device may speak and write, counted since its program began.

use core::fmt;

use ota_proto::journal::{Phase, Record};
use ota_proto::{Instant, Timing};

/// What was counted.
#[derive(Clone, Default)]
pub(crate) struct Counts {
    boot: Instant,
    sessions: u64,
    /// When the first progress of the attempt was told, and how often since.
    reports: (Instant, u64),
    /// The bytes that the latest checkpoint claims, and how many there were.
    claims: (u64, u64),
    /// Each fetch but the first follows a break or a wait.
    fetches: u64,
}

impl Counts {
    /// The program begins.
    pub(crate) fn new(boot: Instant) -> Self {
        Self { boot, ..Self::default() }
    }

    /// A session came up.
    pub(crate) fn session(&mut self) {
        self.sessions = self.sessions.saturating_add(1);
    }

    /// Progress is told, of an attempt for the `first` time: one report for each 5 %, one for each
    /// session, one for each silence of [`Timing::repeat`].
    pub(crate) fn report(&mut self, now: Instant, first: bool, timing: &Timing) -> Option<String> {
        if first {
            self.reports = (now, 0);
        }
        let (since, count) = self.reports;
        self.reports.1 = count.saturating_add(1);
        let silences = now.past(since).as_micros() / timing.repeat.as_micros().max(1);
        over("reports of progress", self.reports.1, silences.saturating_add(22 + self.sessions))
    }

    /// A fetch is asked for.
    pub(crate) fn fetch(&mut self) {
        self.fetches = self.fetches.saturating_add(1);
    }

    /// A record is written: 32 checkpoints of each of the three passes that an image may have, one a
    /// minute, one behind each fetch, and one that comes sooner after a start that brought none.
    pub(crate) fn record(&mut self, now: Instant, record: &Record) -> Option<String> {
        let fetching = record.target.as_ref().filter(|_| record.phase == Phase::Fetching)?;
        let (claimed, count) = self.claims;
        let count = count.saturating_add(u64::from(fetching.offset > claimed));
        self.claims = (fetching.offset, count);
        over("checkpoints", count, 3 * 32 + 1 + self.fetches + now.since(self.boot).as_secs() / 60)
    }
}

/// Without the counts: states of the walk that differ in nothing else are one.
impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counts")
    }
}

fn over(what: &str, count: u64, most: u64) -> Option<String> {
    (count > most).then(|| format!("{count} {what}, at most {most}"))
}
