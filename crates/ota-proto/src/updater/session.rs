//! The session machine: the owed result first, then the version report, then the rest.

use alloc::vec::Vec;

use crate::config::Timing;
use crate::output::{PubId, Timer};
use crate::rng::Rng;
use crate::time::Instant;

use super::image::Image;

/// Down, or up since the last `handle_session(true)`. The result machine decides whether the
/// session is settling, because a result is owed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Session {
    #[default]
    Down,
    Up(Up),
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Up {
    pub(super) report: Report,
    /// The number of unanswered reports in a row.
    pub(super) unanswered: u8,
    /// Whether the version was reported because the running version was offered.
    pub(super) reported_running: bool,
    /// The images whose offers were refused without an attempt. Each refusal is sent once, and
    /// their number is limited.
    pub(super) refused: Vec<Image>,
}

/// The version report.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Report {
    /// To be sent at this time, or as soon as no result is owed.
    Due(Instant),
    /// Sent; waits for the reply.
    InFlight { id: PubId, deadline: Instant },
    /// Answered; the next one is due at this time.
    Answered(Instant),
}

impl Session {
    /// A fresh session, its report due.
    pub(super) fn new_up(now: Instant) -> Self {
        Self::Up(Up {
            report: Report::Due(now),
            unanswered: 0,
            reported_running: false,
            refused: Vec::new(),
        })
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self, Self::Up(_))
    }

    /// Asks for a version report as soon as possible.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(super) fn report_now(&mut self, now: Instant) {
        if let Self::Up(up) = self {
            up.report = Report::Due(now);
        }
    }

    /// Whether a report is due now.
    pub(super) fn is_report_due(&self, now: Instant) -> bool {
        matches!(self, Self::Up(Up { report: Report::Due(at), .. }) if *at <= now)
    }

    /// The next deadline of the report, and its purpose.
    pub(super) fn deadline(&self) -> Option<(Instant, Timer)> {
        match self {
            Self::Down => None,
            Self::Up(up) => Some(match up.report {
                Report::Due(at) | Report::Answered(at) => (at, Timer::Report),
                Report::InFlight { deadline, .. } => (deadline, Timer::Reply),
            }),
        }
    }
}

impl Up {
    /// Notes that the report was returned to the caller.
    pub(super) fn reported(&mut self, now: Instant, id: PubId, timing: &Timing, rng: &mut Rng) {
        // The first wait is exact. Later ones grow with jitter, so that a cloud that restarts does
        // not get the reports of all devices at once.
        let deadline = match self.unanswered {
            0 => now + timing.reply,
            n => now + timing.reply + rng.backoff(timing.reply, n, timing.report_cap),
        };
        self.report = Report::InFlight { id, deadline };
    }

    /// Notes the cloud's answer, a reply or an offer.
    pub(super) fn answered(&mut self, next: Instant) {
        self.unanswered = 0;
        // A report that is already due again was requested after the answered one.
        if !matches!(self.report, Report::Due(_)) {
            self.report = Report::Answered(next);
        }
    }

    /// Handles a passed deadline.
    pub(super) fn tick(&mut self, now: Instant) {
        match self.report {
            Report::InFlight { deadline, .. } if deadline <= now => {
                self.unanswered = self.unanswered.saturating_add(1);
                self.report = Report::Due(now);
            }
            Report::Answered(next) if next <= now => self.report = Report::Due(now),
            _ => {}
        }
    }
}
