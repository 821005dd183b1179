//! Removes what was kept long enough, a piece at a time.

use std::time::Duration;

use ota_proto::Instant;
use ota_store::{EventQuery, Store, StoreError};

use super::Engine;

/// The most events or lines of the audit per step.
const STEP: usize = 500;

/// How long events and lines of the audit are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Events.
    pub events: Duration,
    /// Lines of the audit.
    pub audit: Duration,
}

impl Default for Keep {
    fn default() -> Self {
        let days = |count: u32| Duration::from_secs(86_400).saturating_mul(count);
        Self { events: days(90), audit: days(730) }
    }
}

impl<S: Store> Engine<S> {
    /// Removes the oldest events and lines of the audit that were kept long enough at `now`, at
    /// most 500 of each. Returns whether there may be more.
    ///
    /// # Errors
    /// The store's error.
    pub fn tidy(&mut self, now: Instant, keep: Keep) -> Result<bool, StoreError> {
        let events = expired(now, keep.events, |most| {
            let events = self.store.read().events(&EventQuery::default(), most)?;
            Ok(events.into_iter().map(|event| (event.seq, event.what.at)).collect())
        })?;
        if let Some((upto, _)) = events {
            self.store.prune_events(upto, STEP)?;
        }
        let audit = expired(now, keep.audit, |most| {
            let lines = self.store.read().audit(0, most)?;
            Ok(lines.into_iter().map(|line| (line.seq, line.what.at)).collect())
        })?;
        if let Some((upto, _)) = audit {
            self.store.prune_audit(upto, STEP)?;
        }
        Ok([events, audit].into_iter().flatten().any(|(_, more)| more))
    }
}

/// The number up to which the oldest rows have expired, and whether more may have. `oldest` reads
/// the number and the time of that many rows. Rows behind one that is still kept stay: a clock that
/// was set back does not tear a hole.
fn expired(
    now: Instant,
    keep: Duration,
    oldest: impl Fn(usize) -> Result<Vec<(u64, u64)>, StoreError>,
) -> Result<Option<(u64, bool)>, StoreError> {
    let is_over = |at: u64| now.since(Instant::from_micros(at)) > keep;
    // Mostly nothing has expired, and one row tells.
    if !oldest(1)?.first().is_some_and(|(_, at)| is_over(*at)) {
        return Ok(None);
    }
    let over = oldest(STEP)?.into_iter().take_while(|(_, at)| is_over(*at));
    let (count, last) =
        over.fold((0_usize, None), |(count, _), (seq, _)| (count.saturating_add(1), Some(seq)));
    Ok(last.map(|last| (last, count == STEP)))
}
