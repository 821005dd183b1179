//! The session machine: the owed result first, then the version report, then the rest.

use alloc::vec::Vec;

use crate::config::Timing;
use crate::output::{PubId, Timer};
use crate::rng::Rng;
use crate::time::Instant;

use super::attempt::Image;

/// Down, or up since the last `handle_session(true)`. What "settling" means — a result is owed —
/// is the result machine's to say.
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
    /// Reports in a row that went unanswered.
    pub(super) unanswered: u8,
    /// The version was reported because the running version was offered.
    pub(super) reported_running: bool,
    /// The images whose offers were refused without an attempt: each is told once, and there are
    /// no more than a session answers.
    pub(super) refused: Vec<Image>,
}

/// The version report.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Report {
    /// To be sent at this moment, or as soon as no result is owed.
    Due(Instant),
    /// Sent; waits for the reply.
    InFlight { id: PubId, deadline: Instant },
    /// Answered; the next one is due at this moment.
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
    // Its copies would cost flash.
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

    /// When the report machine wants to be woken, and for what.
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
    /// The report was handed out.
    pub(super) fn reported(&mut self, now: Instant, id: PubId, timing: &Timing, rng: &mut Rng) {
        // The first wait is exact; later ones grow with jitter, so that a cloud that comes back
        // is not met by every device at once.
        let deadline = match self.unanswered {
            0 => now + timing.reply,
            n => now + timing.reply + rng.backoff(timing.reply, n, timing.report_cap),
        };
        self.report = Report::InFlight { id, deadline };
    }

    /// The cloud answered, by a reply or an offer.
    pub(super) fn answered(&mut self, next: Instant) {
        self.unanswered = 0;
        // A report that is due again already was asked for after the one that this answers.
        if !matches!(self.report, Report::Due(_)) {
            self.report = Report::Answered(next);
        }
    }

    /// The clock passed a deadline.
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
