//! The installation: counted in the journal first, with a time limit.

use crate::code::Reason;
use crate::input::{InstallFault, Installed};
use crate::journal::{Outcome, Phase};
use crate::output::Event;
use crate::time::Instant;
use crate::updater::Updater;
use crate::updater::progress::ProgressReport;

use super::{Restarting, Stage};

/// The application installs, or will be asked to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Installing {
    /// Since when `burning` is due.
    pub(super) since: Instant,
    /// The application was asked to install.
    pub(super) started: Option<Started>,
}

/// An installation in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Started {
    /// When the application is asked to stop it, again if necessary.
    pub(super) limit: Instant,
    /// Whether it was asked to stop.
    late: bool,
}

impl Installing {
    pub(super) fn tick(&mut self, now: Instant, again: Instant) -> Option<Event> {
        let started = self.started.as_mut().filter(|started| started.limit <= now)?;
        *started = Started { limit: again, late: true };
        Some(Event::StopInstall)
    }
}

impl Updater {
    /// Asks to install, once the installation is counted durably and `burning` was sent (O5).
    pub(super) fn ask_install(&mut self) {
        let timing = &self.cfg.timing;
        let counted = self.ledger.durable().phase == Phase::Installing && self.ledger.settled();
        let Some(attempt) = &mut self.update else { return };
        let Stage::Installing(Installing { since, started }) = &mut attempt.stage else { return };
        let sent = attempt.progress.is_sent(ProgressReport::Burning)
            || self.now >= *since + timing.burning;
        if started.is_some() || !counted || !sent || self.job.is_some() {
            return;
        }
        *started = Some(Started { limit: self.now + timing.install, late: false });
        self.events.push(Event::Install { size: attempt.image.size });
    }

    /// Handles the installer's result.
    pub(in crate::updater) fn on_installed(&mut self, what: Installed) -> Option<()> {
        let since = self.now;
        let attempt = self.update.as_mut()?;
        let Stage::Installing(Installing { started: Some(Started { late, .. }), .. }) =
            attempt.stage
        else {
            return None;
        };
        match what {
            Installed::Failed(InstallFault::Image) if late => self.fail(Reason::InstallTimeout),
            Installed::Failed(why) => self.fail(why.into()),
            Installed::NeedsRestart => {
                let next = Restarting { since, active: false, ask: None, ours: true };
                attempt.stage = Stage::Restarting(next);
                self.ledger.wanted.phase = Phase::Switching;
            }
            Installed::Running => {
                let target = attempt.target(attempt.image.size);
                self.running = target.version;
                self.version_answered = false;
                self.finish(target, Outcome::Done);
                // Unlike a confirmed slot, an installation in place may be lost in a power cut. So
                // the result is marked as sent only shortly before it is sent.
                if let Some(owed) = &mut self.ledger.wanted.owed {
                    owed.sent = false;
                }
            }
        }
        self.events.drop_kind(&Event::StopInstall);
        Some(())
    }
}
