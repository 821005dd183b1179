//! The time of progress reports.

use crate::output::PubId;
use crate::time::{Instant, Micros};

/// The content of a progress report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum ProgressReport {
    /// `downloading` with a percent.
    Downloading(u8),
    /// `burning`.
    Burning,
}

/// The last report and its time. Reports coalesce: the newest counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct LastReport {
    last: Option<(ProgressReport, Instant)>,
    /// Returned to the caller, and not yet sent or acknowledged.
    flight: Option<PubId>,
    /// The session of the last report has ended.
    stale: bool,
}

impl LastReport {
    /// When `want` is due: after `pause` if it differs from the last report, otherwise after
    /// `repeat`. The caller has passed `want` through [`LastReport::monotonic`].
    pub(super) fn due(&self, want: ProgressReport, pause: Micros, repeat: Micros) -> Instant {
        let Some((last, at)) = self.last else { return Instant::ZERO };
        if self.stale {
            return Instant::ZERO;
        }
        let repeat = at + repeat;
        match (last, want) {
            (ProgressReport::Burning, ProgressReport::Burning) => repeat,
            (ProgressReport::Downloading(old), ProgressReport::Downloading(new))
                if new < 100 || old == 100 =>
            {
                let step = new.saturating_sub(old) >= 5 && self.flight.is_none();
                if step { at + pause } else { repeat }
            }
            _ => Instant::ZERO,
        }
    }

    /// The report to send: a percent never falls below the last one.
    pub(super) fn monotonic(&self, want: ProgressReport) -> ProgressReport {
        match (self.last, want) {
            (Some((ProgressReport::Downloading(old), _)), ProgressReport::Downloading(new)) => {
                ProgressReport::Downloading(new.max(old))
            }
            _ => want,
        }
    }

    /// Notes that a report was returned to the caller.
    pub(super) fn mark_sent(&mut self, now: Instant, report: ProgressReport, id: PubId) {
        self.last = Some((report, now));
        self.flight = Some(id);
        self.stale = false;
    }

    /// Notes that a report was sent or acknowledged.
    pub(super) fn published(&mut self, id: PubId) {
        self.flight.take_if(|flight| *flight == id);
    }

    /// Starts a new session: the old one may have lost the last report.
    pub(super) fn new_session(&mut self) {
        self.stale = true;
        self.flight = None;
    }

    /// Whether this session got `report`.
    pub(super) fn is_sent(&self, report: ProgressReport) -> bool {
        !self.stale && self.last.is_some_and(|(last, _)| last == report)
    }

    /// Whether this session got `report` and it is acknowledged.
    pub(super) fn is_acknowledged(&self, report: ProgressReport) -> bool {
        self.is_sent(report) && self.flight.is_none()
    }
}
