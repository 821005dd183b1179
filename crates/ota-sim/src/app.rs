//! The simulated application: who answers the updater's events, and how.

use core::time::Duration;

use ota_proto::{Event, Installed};

/// The installer's result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Install {
    /// The new version runs after a switch and a restart.
    NeedsRestart,
    /// The new version runs already.
    Running,
    /// It failed.
    Failed,
    /// It hangs until it is stopped.
    Hangs,
}

/// The application's judgement of an image on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It works.
    Confirm,
    /// It does not work.
    RollBack,
    /// No answer.
    Silent,
}

/// The application's reaction to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// Accepts the offer.
    Accept,
    /// Defers the offer by this time.
    Defer(Duration),
    /// Approves the image and starts its installation.
    ApproveAndInstall,
    /// Reports the installer's result.
    Installed(Installed),
    /// Judges the image on trial.
    Judge(Verdict),
    /// Resets the device.
    Reset,
}

/// The application's policy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct App {
    /// The installer's result.
    pub install: Install,
    /// How long it takes.
    pub install_time: Duration,
    /// The judgement of an image on trial.
    pub verdict: Verdict,
    /// How long the self-test takes.
    pub trial_time: Duration,
    /// From the restart event to the reset.
    pub restart_time: Duration,
    /// Whether the installed image starts at all.
    pub bootable: bool,
    /// How often an offer is deferred before it is accepted, and for how long.
    pub defers: (u8, Duration),
}

impl Default for App {
    fn default() -> Self {
        Self {
            install: Install::NeedsRestart,
            install_time: Duration::from_millis(500),
            verdict: Verdict::Confirm,
            trial_time: Duration::from_millis(300),
            restart_time: Duration::from_millis(100),
            bootable: true,
            defers: (0, Duration::ZERO),
        }
    }
}

impl App {
    /// Its reaction to an event, and the delay.
    pub(crate) fn answer(&self, event: &Event) -> Option<(Duration, Act)> {
        let prompt = Duration::from_millis(50);
        Some(match event {
            Event::Offered => (prompt, Act::Accept),
            Event::Ready => (prompt, Act::ApproveAndInstall),
            Event::Install { .. } => {
                let what = match self.install {
                    Install::NeedsRestart => Installed::NeedsRestart,
                    Install::Running => Installed::Running,
                    Install::Failed => Installed::Failed(ota_proto::InstallFault::Image),
                    Install::Hangs => return None,
                };
                (self.install_time, Act::Installed(what))
            }
            Event::StopInstall => (
                self.install_time,
                Act::Installed(Installed::Failed(ota_proto::InstallFault::Image)),
            ),
            Event::Restart => (self.restart_time, Act::Reset),
            Event::Trial => (self.trial_time, Act::Judge(self.verdict)),
            _ => return None,
        })
    }
}
