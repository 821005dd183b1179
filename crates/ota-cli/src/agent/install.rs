//! How a verified image comes to run: a version file, a command, or two slots.

use std::process::ExitStatus;
use std::time::Duration;

use ota_host::{AbSlots, DataDir, NoSwitch, RestartMark, Switch, boot_id};
use ota_proto::{Installed, SlotState, State, Updater, Version};

use super::config::{Restart, Running, Slots, StartedBy, Target};
use super::job::{Job, Kind, Order};
use super::life::{Device, End};
use super::switch::{FileSwitch, Goal};
use super::warn;
use crate::failure::{Code, Failure};

/// How often an image on trial is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What the configuration's target is on this machine.
#[derive(Debug)]
pub(super) enum Installer {
    File(FileSwitch, Goal),
    Command {
        limit: Duration,
        mark: Option<RestartMark>,
    },
    Slots {
        ab: AbSlots,
        limit: Duration,
        trial: Duration,
        /// The other slot runs since this start of the machine.
        moved: bool,
    },
}

impl Installer {
    /// Also says which version runs.
    pub(super) fn open(target: &Target, dir: &DataDir) -> Result<(Self, Version), Failure> {
        Ok(match target {
            Target::File(file) => {
                let goal = Goal::default();
                let switch = FileSwitch::new(file.clone(), goal.clone());
                (Self::File(switch, goal), read(&Running::File(file.clone()))?)
            }
            Target::Command { running, limit, restart, .. } => {
                let version = read(running)?;
                let marks = matches!(restart, Restart::Command(_));
                let mark = marks.then(|| RestartMark::open(dir, version)).transpose()?;
                (Self::Command { limit: *limit, mark }, version)
            }
            Target::Slots(Slots { path, starts, started_by, limit, trial, .. }) => {
                let ab = AbSlots::open(path, *starts)?;
                let ours = *started_by == StartedBy::Agent;
                let moved = ours && ab.machine_started(&boot_id())?;
                let version = ab.version()?;
                (Self::Slots { ab, limit: *limit, trial: *trial, moved }, version)
            }
        })
    }

    /// The longest installation.
    pub(super) fn limit(&self) -> Duration {
        match self {
            Self::File(..) => Duration::from_secs(600),
            Self::Command { limit, .. } | Self::Slots { limit, .. } => *limit,
        }
    }

    /// The longest trial, where there is one.
    pub(super) fn trial(&self) -> Option<Duration> {
        match self {
            Self::Slots { trial, .. } => Some(*trial),
            _ => None,
        }
    }

    pub(super) fn switch(&self) -> Box<dyn Switch + Send> {
        match self {
            Self::File(switch, _) => Box::new(switch.clone()),
            Self::Command { mark: None, .. } => Box::new(NoSwitch),
            Self::Command { mark: Some(mark), .. } => Box::new(mark.clone()),
            Self::Slots { ab, .. } => Box::new(ab.clone()),
        }
    }

    /// The slots, if any, are where they were.
    pub(super) fn is_there(&self) -> bool {
        !matches!(self, Self::Slots { ab, .. } if ab.running().is_err())
    }

    /// The running slot and its state, for a person.
    pub(super) fn slot(&self) -> Option<String> {
        let Self::Slots { ab, .. } = self else { return None };
        let running = ab.running().ok()?;
        let state = match running.slot {
            SlotState::Confirmed => "confirmed",
            SlotState::Trial => "on trial",
            SlotState::Armed => "until the next start",
            SlotState::RolledBack => "rolled back to",
            SlotState::Unknown => "unknown",
        };
        Some(format!("{}, {state}", running.side.name()))
    }
}

fn read(running: &Running) -> Result<Version, Failure> {
    let file = match running {
        Running::File(file) => file,
        Running::Literal(version) => return Ok(*version),
    };
    file.read().map_err(|why| {
        let path = file.path().display();
        Failure::usage(format!(
            "version_file: {why}; write the running version to it: echo 0.1.0 > {path}"
        ))
    })
}

impl Device<'_> {
    /// What was started before the slots were switched, at the start of the machine, is started
    /// again.
    pub(super) fn begin(&mut self) -> Option<Result<End, Failure>> {
        let config = self.config;
        let Target::Slots(slots) = &config.target else { return None };
        matches!(self.installer, Installer::Slots { moved: true, .. })
            .then(|| self.run_restart(&slots.restart))
            .flatten()
    }

    pub(super) async fn install(&mut self) {
        let updater = self.driver.updater(self.device);
        let Some(version) = updater.and_then(|updater| Some(updater.offer()?.version)) else {
            return self.say(Installed::Failed);
        };
        let started = match (&self.config.target, &self.installer) {
            (Target::Command { install, .. }, _) => self.run_installer(install).await,
            (Target::Slots(Slots { fill: Some(words), .. }), Installer::Slots { ab, .. }) => {
                // Emptied here, for the command is to find it empty.
                match ab.empty() {
                    Ok(_) => self.run_installer(words).await,
                    Err(why) => Err(why.to_string()),
                }
            }
            (_, Installer::Slots { ab, .. }) => {
                let (ab, image) = (ab.clone(), self.driver.image(self.device));
                let image = image.map(std::path::Path::to_owned).unwrap_or_default();
                Ok(Job::thread(Kind::Install, move |stop| {
                    let copied = ab.copy(&image, stop).and_then(|()| ab.seal(version));
                    copied.map_err(|why| why.to_string())
                }))
            }
            (_, Installer::File(_, goal)) => {
                goal.set(version);
                return self.say(Installed::NeedsRestart);
            }
            _ => Err("the configuration has no installer".into()),
        };
        match started {
            Ok(job) => self.job = Some(job),
            Err(why) => self.job = Some(Job::thread(Kind::Install, move |_| Err(why))),
        }
    }

    async fn run_installer(&self, words: &[String]) -> Result<Job, String> {
        let mut fill = self.fill();
        if let Installer::Slots { ab, .. } = &self.installer {
            let spare = ab.running().map_err(|why| why.to_string())?.side.other();
            let slot = std::path::absolute(ab.path().join(spare.name()));
            let slot = slot.map_err(|why| why.to_string())?;
            fill.push(("slot", slot.to_string_lossy().into_owned()));
        }
        let order = Order { kind: Kind::Install, words, fill, limit: None };
        Job::install(&order, &self.config.data_dir).await
    }

    /// A job has ended; the end of this life if that is what follows.
    pub(super) fn ended(
        &mut self,
        kind: Kind,
        result: Result<ExitStatus, String>,
    ) -> Option<Result<End, Failure>> {
        match kind {
            Kind::Consent => self.consented(result),
            Kind::Verify => self.verified(result),
            Kind::Install => self.installed(result),
            Kind::Restart => return self.restarted(result),
            Kind::Health => match succeeded(kind, result) {
                Ok(()) => self.confirm(),
                Err(why) => warn(&format!("{why}; trying again in {} s", LOOK.as_secs())),
            },
        }
        None
    }

    fn installed(&mut self, result: Result<ExitStatus, String>) {
        let mut result = succeeded(Kind::Install, result);
        if let (Ok(()), Target::Slots(Slots { fill: Some(_), .. })) = (&result, &self.config.target)
        {
            result = self.seal();
        }
        if let Err(why) = result {
            warn(&why);
            return self.say(Installed::Failed);
        }
        self.say(match &self.config.target {
            Target::Command { restart: Restart::None, .. } => Installed::Running,
            _ => Installed::NeedsRestart,
        });
    }

    /// The command has filled the slot.
    fn seal(&self) -> Result<(), String> {
        let updater = self.driver.updater(self.device);
        let offer = updater.and_then(Updater::offer).ok_or("the offer is gone")?;
        let Installer::Slots { ab, .. } = &self.installer else { return Ok(()) };
        ab.seal(offer.version).map_err(|why| why.to_string())
    }

    pub(super) fn say(&mut self, what: Installed) {
        // It may have been given up meanwhile.
        let _ = self.command(|updater, now| updater.installed(now, what));
    }

    /// The new version, or the old one again, is to be started. Asked for again when nothing
    /// comes of it.
    pub(super) fn restart(&mut self) -> Option<Result<End, Failure>> {
        let config = self.config;
        let restart = match &config.target {
            Target::File(_) => return Some(Ok(End::Again)),
            Target::Command { restart, .. } => restart,
            Target::Slots(slots) => {
                if let (StartedBy::Agent, Installer::Slots { ab, .. }) =
                    (slots.started_by, &self.installer)
                {
                    // Counted before it is started.
                    if let Err(why) = ab.start(&boot_id()) {
                        warn(&format!("cannot switch the slots: {why}; trying again"));
                        return None;
                    }
                }
                &slots.restart
            }
        };
        if let Installer::Command { mark: Some(mark), .. } = &self.installer {
            // Without the note it may be asked for once more, which does no harm.
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
        }
    }

    fn restarted(&mut self, result: Result<ExitStatus, String>) -> Option<Result<End, Failure>> {
        if let Err(why) = succeeded(Kind::Restart, result) {
            warn(&format!("{why}; trying again"));
            return None;
        }
        let Installer::Slots { ab, .. } = &self.installer else { return None };
        match ab.running() {
            Ok(running) if running.slot != SlotState::Armed => Some(Ok(End::Again)),
            Ok(_) => {
                warn(
                    "the restart command has ended and nobody switched the slots: let the service \
                     run `ota agent start` before the image",
                );
                None
            }
            Err(why) => {
                warn(&why.to_string());
                None
            }
        }
    }

    /// The running image is on trial; raised again while it is not confirmed.
    pub(super) fn trial(&mut self) -> Option<Result<End, Failure>> {
        self.look = Some(self.clock.now());
        self.look()
    }

    /// Looks after an image on trial.
    pub(super) fn look(&mut self) -> Option<Result<End, Failure>> {
        let updater = self.driver.updater(self.device);
        let on_trial = updater.is_some_and(|updater| updater.state() == State::Trial);
        self.look = on_trial.then(|| self.clock.now() + LOOK);
        if !on_trial {
            return None;
        }
        let config = self.config;
        if let (Target::Slots(slots), Installer::Slots { ab, .. }) =
            (&config.target, &self.installer)
        {
            let running = ab.running().ok();
            if running.is_some_and(|running| running.slot == SlotState::RolledBack) {
                warn("the new version was started too often without being confirmed");
                return Some(Ok(End::Again));
            }
            if let Some(words) = &slots.health {
                self.order(Kind::Health, words);
                return None;
            }
        }
        self.confirm();
        None
    }

    fn confirm(&mut self) {
        let _ = self.command(|updater, now| updater.confirm(now));
    }
}

fn succeeded(kind: Kind, result: Result<ExitStatus, String>) -> Result<(), String> {
    match result {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(kind.failed(status)),
        Err(why) => Err(why),
    }
}
