//! Installs a verified image, restarts, and judges a version on trial.

use std::process::ExitStatus;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use ota_host::{HostError, Image, RestartMark, boot_id};
use ota_proto::{Command, InstallFault, Installed, SlotState, State};

use super::config::{Config, Restart, Running, Slots, StartedBy, Target};
use super::installer::Installer;
use super::job::{Job, JobError, Kind, Order, fault};
use super::life::{Device, End};
use crate::failure::{Code, Failure};
use crate::print::warn;
use crate::{name, span};

/// The interval of checks during a trial.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

impl Device<'_> {
    /// The previous process was about to restart the image and may not have done so.
    pub(super) fn begin(&mut self) {
        if matches!(self.installer, Installer::Slots { due: true, .. }) {
            self.check_at = Some(self.clock.now());
        }
    }

    pub(super) async fn install(&mut self) {
        let updater = self.driver.updater(self.device);
        let offer = updater.and_then(|updater| {
            let offer = updater.offer()?;
            Some((offer.version, offer.size, offer.md5))
        });
        let nothing = Installed::Failed(InstallFault::Machine);
        let Some((version, size, md5)) = offer else { return self.report_installed(nothing) };
        let config = self.config;
        match (&config.target, &self.installer) {
            (Target::Command { install, .. }, Installer::Command { mark, .. }) => {
                // The note that the restart will need has its room before anything changes.
                match mark.as_ref().map_or(Ok(()), RestartMark::reserve) {
                    Ok(()) => self.run_installer(install).await,
                    Err(why) => self.work(Kind::Install, move |_| Err(why)),
                }
            }
            (Target::Slots(Slots { fill: Some(_), .. }), Installer::Slots { ab, .. }) => {
                let ab = ab.clone();
                self.work(Kind::Empty, move |_| ab.empty().map(drop));
            }
            (_, Installer::Slots { ab, .. }) => {
                let (ab, image) = (ab.clone(), self.driver.image(self.device));
                let image = image.map(Image::path).unwrap_or_default();
                self.work(Kind::Seal, move |stop| {
                    ab.copy(&image, size, md5, stop).and_then(|()| ab.seal(version))
                });
            }
            (_, Installer::File(_, goal)) => {
                goal.set(version);
                self.report_installed(Installed::NeedsRestart);
            }
            _ => self.report_installed(nothing),
        }
    }

    fn work(
        &mut self,
        kind: Kind,
        act: impl FnOnce(&AtomicBool) -> Result<(), HostError> + Send + 'static,
    ) {
        self.job = Some(Job::thread(kind, |stop| act(stop).map_err(JobError::from)));
    }

    /// Starts the next part of an installation.
    async fn go_on(&mut self, done: Kind) -> bool {
        let config = self.config;
        let Target::Slots(Slots { fill: Some(words), .. }) = &config.target else { return false };
        let Installer::Slots { ab, .. } = &self.installer else { return false };
        match done {
            Kind::Empty => self.run_installer(words).await,
            Kind::Install => {
                let updater = self.driver.updater(self.device);
                let offer = updater.and_then(|updater| Some(updater.offer()?.version));
                let (ab, Some(version)) = (ab.clone(), offer) else { return false };
                self.work(Kind::Seal, move |_| ab.seal(version));
            }
            _ => return false,
        }
        true
    }

    async fn run_installer(&mut self, words: &[String]) {
        let mut fill = self.fill();
        if let Installer::Slots { ab, .. } = &self.installer {
            let spare = ab.running().map(|running| ab.path().join(running.side.other().name()));
            let slot = spare.ok().and_then(|spare| std::path::absolute(spare).ok());
            fill.push(("slot", slot.unwrap_or_default().to_string_lossy().into_owned()));
        }
        let order = Order { kind: Kind::Install, words, fill, limit: None };
        let started = match self.danger(Kind::Install) {
            Some(why) => Err(why),
            None => Job::install(&order, &self.dir).await,
        };
        // If it cannot start, that counts as its end.
        self.job =
            Some(started.unwrap_or_else(|why| Job::thread(Kind::Install, move |_| Err(why))));
    }

    /// Returns why a command of this kind must not run: the image is not the verified one, or
    /// others could replace it meanwhile. Every command gets the path of the image.
    pub(super) fn danger(&self, kind: Kind) -> Option<JobError> {
        let image = match kind {
            Kind::Verify | Kind::Install => self.driver.image(self.device),
            // There is no verified image yet, or the installer may have moved it.
            _ => None,
        };
        let image = image.map_or(Ok(()), Image::check);
        image.and_then(|()| self.config.exposure()).err().map(JobError::from)
    }

    /// Handles the end of a job; returns the end of this process if one follows.
    pub(super) async fn ended(
        &mut self,
        kind: Kind,
        result: Result<ExitStatus, JobError>,
    ) -> Option<Result<End, Failure>> {
        match kind {
            Kind::Consent | Kind::Verify if !self.is_answered() => {}
            Kind::Consent => self.consented(result),
            Kind::Verify => self.verified(result),
            Kind::Empty | Kind::Install | Kind::Seal => self.installed(kind, result).await,
            Kind::Restart => return self.restarted(result),
            Kind::Health => match succeeded(kind, result) {
                Ok(()) => self.confirm(),
                Err(why) => {
                    self.warn(&format!("{why}; trying again in {} s", CHECK_INTERVAL.as_secs()))
                }
            },
        }
        None
    }

    async fn installed(&mut self, kind: Kind, result: Result<ExitStatus, JobError>) {
        let fault = match &result {
            Ok(status) => fault(*status),
            Err(broken) => broken.fault,
        };
        if let Err(why) = succeeded(kind, result) {
            self.warn(&why);
            return self.report_installed(Installed::Failed(fault));
        }
        if self.go_on(kind).await {
            return;
        }
        let what = match &self.config.target {
            Target::Command { running, restart: Restart::None, .. } => {
                self.installed_in_place(running)
            }
            _ => Installed::NeedsRestart,
        };
        self.report_installed(what);
    }

    /// Checks the result of an installer that needs no restart: the offered version must run now,
    /// or the update would start again with each start of the agent.
    fn installed_in_place(&self, running: &Running) -> Installed {
        let updater = self.driver.updater(self.device);
        let wanted = updater.and_then(|updater| Some(updater.offer()?.version));
        let found = match running {
            Running::File(file) => file.read().map_err(JobError::from),
            // The version is in the configuration, which the installer must change.
            Running::Literal(_) => Config::read_version(&self.args.config),
        };
        match found {
            Ok(version) if Some(version) == wanted => Installed::Running,
            Ok(version) => {
                let wanted = wanted.map_or_else(String::new, |wanted| format!(" {wanted}"));
                self.warn(&format!(
                    "the installer succeeded, but {} contains {version}, not{wanted}: let it write \
                     the version exactly as it was offered",
                    running.place(&self.args.config)
                ));
                Installed::Failed(InstallFault::WrongVersion)
            }
            Err(JobError { why, fault }) => {
                self.warn(&format!(
                    "the installer succeeded, but the version cannot be read: {why}"
                ));
                Installed::Failed(fault)
            }
        }
    }

    pub(super) fn report_installed(&mut self, what: Installed) {
        // The attempt may have ended meanwhile.
        let _ = self.command(Command::Installed(what));
    }

    /// Starts the new version, or the old one again. The machine asks repeatedly until it runs.
    pub(super) fn restart(&mut self) -> Option<Result<End, Failure>> {
        let config = self.config;
        // A repeated request while the command is still running is not another start.
        if self.job.as_ref().is_some_and(|job| job.kind() == Kind::Restart) {
            return None;
        }
        let restart = match &config.target {
            Target::File(_) => return Some(Ok(End::Again)),
            Target::Command { restart, .. } | Target::Slots(Slots { restart, .. }) => restart,
        };
        // Checked before counting: an image that was never started has not failed to start.
        let by_command = matches!(restart, Restart::Command(_));
        let refused = if by_command { self.danger(Kind::Restart) } else { None };
        if let Some(broken) = refused {
            self.warn(&format!("cannot restart: {}; trying again", broken.why));
            return None;
        }
        if let (
            Target::Slots(Slots { started_by: StartedBy::Agent, .. }),
            Installer::Slots { ab, .. },
        ) = (&config.target, &self.installer)
        {
            // The start is counted before it happens.
            let boot = boot_id();
            let done = if by_command { ab.restart(&boot) } else { ab.start(&boot) };
            if let Err(why) = done {
                self.warn(&format!("cannot switch the slots: {why}; trying again"));
                return None;
            }
        }
        // The agent is already waiting for it: this is not another start.
        if *restart == Restart::Installer && self.restart_by.is_some() {
            return None;
        }
        if let Installer::Command { mark: Some(mark), .. } = &self.installer {
            // Without the note the restart may be asked for once more, which does no harm.
            let _ = mark.asked();
        }
        self.run_restart(restart)
    }

    fn run_restart(&mut self, restart: &Restart) -> Option<Result<End, Failure>> {
        match restart {
            Restart::None => {
                matches!(self.installer, Installer::Slots { .. }).then_some(Ok(End::Again))
            }
            Restart::Exit => Some(Err(Failure {
                code: Code::Restart,
                message: "the new version is installed: start the agent again".into(),
            })),
            Restart::Command(words) => {
                self.order(Kind::Restart, words);
                None
            }
            Restart::Installer => {
                let by = self.clock.now() + self.installer.limit();
                (self.restart_by, self.check_at) = (Some(by), Some(by));
                None
            }
        }
    }

    /// The installer did not restart the machine in time. The running version decides, as after a
    /// restart.
    fn restart_overdue(&mut self) -> Result<End, Failure> {
        let limit = span::show(self.installer.limit());
        self.warn(&format!(
            "the installer has not restarted the machine within {limit} (install_limit): taking \
             what runs now for what it installed"
        ));
        if let Installer::Command { mark: Some(mark), .. } = &self.installer {
            mark.give_up()?;
        }
        Ok(End::Again)
    }

    fn restarted(&mut self, result: Result<ExitStatus, JobError>) -> Option<Result<End, Failure>> {
        if let Err(why) = succeeded(Kind::Restart, result) {
            self.warn(&format!("{why}; trying again"));
            return None;
        }
        let Installer::Slots { ab, .. } = &self.installer else { return None };
        match ab.restarted(&boot_id()).and_then(|()| ab.running()) {
            Ok(running) if running.slot != SlotState::Armed => Some(Ok(End::Again)),
            Ok(_) => {
                self.warn(&format!(
                    "the restart command has ended, but the slots were not switched: let the service \
                     run `{} start` before the image",
                    name::agent()
                ));
                None
            }
            Err(why) => {
                self.warn(&why.to_string());
                None
            }
        }
    }

    /// The running image is on trial; repeated until it is confirmed.
    pub(super) fn trial(&mut self) -> Option<Result<End, Failure>> {
        self.check_at = Some(self.clock.now());
        self.check_slot()
    }

    /// Checks an image on trial, and a restart that is due.
    pub(super) fn check_slot(&mut self) -> Option<Result<End, Failure>> {
        let config = self.config;
        if self.restart_by.is_some_and(|by| by <= self.clock.now()) {
            return Some(self.restart_overdue());
        }
        let updater = self.driver.updater(self.device);
        let on_trial = updater.is_some_and(|updater| updater.state() == State::Trial);
        let Installer::Slots { ab, .. } = &self.installer else {
            self.check_at = self.restart_by;
            if on_trial {
                self.confirm();
            }
            return None;
        };
        let Target::Slots(slots) = &config.target else { return None };
        // The configuration may have changed since.
        let may_be_due =
            matches!((slots.started_by, &slots.restart), (StartedBy::Agent, Restart::Command(_)));
        let due = may_be_due && ab.is_due().unwrap_or(false);
        let running = ab.running().ok();
        self.check_at = (on_trial || due).then(|| self.clock.now() + CHECK_INTERVAL);
        if due {
            // No running program can judge the image.
            return self.run_restart(&slots.restart);
        }
        if !on_trial {
            return None;
        }
        if running.is_some_and(|running| running.slot == SlotState::RolledBack) {
            warn("the new version was started too often without being confirmed");
            return Some(Ok(End::Again));
        }
        match &slots.health {
            Some(words) => match self.danger(Kind::Health) {
                // The image cannot be checked, and gets no strike for that.
                Some(broken) => {
                    self.warn(&format!(
                        "{}; trying again in {} s",
                        broken.why,
                        CHECK_INTERVAL.as_secs()
                    ));
                    let _ = self.command(Command::Unable(broken.fault));
                }
                None => self.order(Kind::Health, words),
            },
            None => self.confirm(),
        }
        None
    }

    fn confirm(&mut self) {
        let _ = self.command(Command::Confirm);
    }
}

fn succeeded(kind: Kind, result: Result<ExitStatus, JobError>) -> Result<(), String> {
    match result {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(kind.failed(status)),
        Err(broken) => Err(broken.why),
    }
}

#[cfg(test)]
mod tests;
