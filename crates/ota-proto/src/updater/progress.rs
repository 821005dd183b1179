//! When a progress report is due.

use crate::output::PubId;
use crate::time::{Instant, Micros};

/// What a progress report says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum ProgressReport {
    /// `downloading` with a percent.
    Downloading(u8),
    /// `burning`.
    Burning,
}

/// What was said last, and when: reports coalesce, the newest wins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Progress {
    last: Option<(ProgressReport, Instant)>,
    /// Handed out and not yet handed over or acknowledged.
    flight: Option<PubId>,
    /// The session that heard the last one is gone.
    stale: bool,
}

impl Progress {
    /// When `want` is due: after `pause` when it has changed, after `repeat` in any case. A percent
    /// never falls: the caller passes it through [`Progress::monotonic`].
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

    /// What may be said: never less than was said before.
    pub(super) fn monotonic(&self, want: ProgressReport) -> ProgressReport {
        match (self.last, want) {
            (Some((ProgressReport::Downloading(old), _)), ProgressReport::Downloading(new)) => {
                ProgressReport::Downloading(new.max(old))
            }
            _ => want,
        }
    }

    /// It was handed out.
    pub(super) fn mark_sent(&mut self, now: Instant, report: ProgressReport, id: PubId) {
        self.last = Some((report, now));
        self.flight = Some(id);
        self.stale = false;
    }

    /// It was handed over or acknowledged.
    pub(super) fn published(&mut self, id: PubId) {
        self.flight.take_if(|flight| *flight == id);
    }

    /// A new session: the old one may have lost it.
    pub(super) fn new_session(&mut self) {
        self.stale = true;
        self.flight = None;
    }

    /// `report` was handed out in this session.
    pub(super) fn is_sent(&self, report: ProgressReport) -> bool {
        !self.stale && self.last.is_some_and(|(last, _)| last == report)
    }

    /// `report` was handed out in this session and is acknowledged.
    pub(super) fn is_acknowledged(&self, report: ProgressReport) -> bool {
        self.is_sent(report) && self.flight.is_none()
    }
}
