//! The image is verified. The attempt waits for the application, then for a last progress report.

use crate::config::{Hold, Timing};
use crate::journal::{Phase, Record};
use crate::output::Event;
use crate::time::Instant;
use crate::updater::Updater;
use crate::updater::progress::ProgressReport;
use crate::updater::result::Owing;

use super::{Installing, Stage};

/// The state of a verified image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Ready {
    /// Whether the application approved the image.
    pub(in crate::updater) approved: bool,
    /// Whether the application wants it installed now.
    pub(in crate::updater) go: bool,
    /// The time of the later of both.
    pub(in crate::updater) since: Instant,
    /// When the event is raised again.
    pub(in crate::updater) ask: Instant,
}

impl Ready {
    /// Whether the application has approved and released it.
    pub(super) fn is_released(&self) -> bool {
        self.approved && self.go
    }

    pub(super) fn tick(&mut self, now: Instant, again: Instant) -> Option<Event> {
        if self.ask > now || self.is_released() {
            return None;
        }
        self.ask = again;
        Some(Event::Ready)
    }
}

impl Updater {
    /// Enters the stage: the digest is right.
    pub(super) fn enter_ready(&mut self) {
        let Timing { ask_again, .. } = self.cfg.timing;
        debug_assert!(self.update.is_some(), "its digest is right");
        let Some(attempt) = &mut self.update else { return };
        attempt.stage = Stage::Ready(Ready {
            approved: self.cfg.approval == Hold::Auto,
            go: self.cfg.install == Hold::Auto,
            since: self.now,
            ask: self.now + ask_again,
        });
        self.events.push(Event::Ready);
    }

    /// Leaves the stage once the image is approved and released, and "100" was sent: the
    /// installation is recorded in the journal.
    pub(super) fn leave_ready(&mut self) {
        let patience = self.cfg.timing.burning;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Ready(Ready { approved: true, go: true, since, .. }) = attempt.stage else {
            return;
        };
        let sent = attempt.progress.is_sent(ProgressReport::Downloading(100));
        if self.owing != Owing::None || !(sent || self.now >= since + patience) {
            return;
        }
        attempt.stage = Stage::Installing(Installing { since: self.now, started: None });
        self.ledger.wanted.phase = Phase::Installing;
        let tries = self.ledger.wanted.tries.saturating_add(1);
        self.ledger.wanted.tries = tries.min(Record::TRIES);
    }
}
