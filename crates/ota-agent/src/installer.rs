//! Opens the configuration's target on this machine: a version file, a command, or two slots.

use std::time::Duration;

use ota_host::{AbSlots, DataDir, FileSlot, NoSwitch, RestartMark, Switch, boot_id, settle};
use ota_proto::{SlotState, Version};

use crate::config::{Restart, Running, Slots, StartedBy, Target};
use crate::failure::Failure;
use crate::job;
use crate::print::warn;
use crate::switch::{Elsewhere, FileSwitch, Goal, Trouble};

/// The configuration's target, opened on this machine.
#[derive(Debug)]
pub(crate) enum Installer {
    File(FileSwitch, Goal),
    Command {
        limit: Duration,
        mark: Option<RestartMark>,
    },
    Slots {
        ab: AbSlots,
        limit: Duration,
        trial: Duration,
        /// A restart has been due since before this process.
        due: bool,
    },
}

impl Installer {
    /// Completes a switch that a power cut interrupted, before the slot is opened. A failure does
    /// not stop the agent: it tries again before a download takes the name.
    pub(crate) fn settle(target: &Target, dir: &DataDir) {
        let Target::File(file) = target else { return };
        if let Err(why) = settle(dir, file) {
            warn(&format!("warning: the last switch may be half done: {why}; trying again later"));
        }
    }

    /// Also returns the running version.
    pub(crate) fn open(
        target: &Target,
        dir: &DataDir,
        slot: &FileSlot,
    ) -> Result<(Self, Version), Failure> {
        Ok(match target {
            Target::File(file) => {
                let goal = Goal::default();
                let switch = FileSwitch::new(file.clone(), goal.clone(), slot.image());
                let version = read(&Running::File(file.clone()))?;
                (Self::File(switch, goal), version)
            }
            Target::Command { running, limit, restart, .. } => {
                let version = read(running)?;
                reserve(dir)?;
                let marks = matches!(restart, Restart::Command(_) | Restart::Installer);
                let mark = marks.then(|| RestartMark::open(dir, version)).transpose()?;
                (Self::Command { limit: *limit, mark }, version)
            }
            Target::Slots(Slots { path, starts, started_by, limit, trial, .. }) => {
                let ab = AbSlots::open(path, *starts)?;
                reserve(dir)?;
                let ours = *started_by == StartedBy::Agent;
                let due = ours && ab.machine_started(&boot_id())?;
                let version = ab.version()?;
                (Self::Slots { ab, limit: *limit, trial: *trial, due }, version)
            }
        })
    }

    /// The longest installation.
    pub(crate) fn limit(&self) -> Duration {
        match self {
            Self::File(..) => Duration::from_secs(600),
            Self::Command { limit, .. } | Self::Slots { limit, .. } => *limit,
        }
    }

    /// The longest trial, if there are trials.
    pub(crate) fn trial(&self) -> Option<Duration> {
        match self {
            Self::Slots { trial, .. } => Some(*trial),
            _ => None,
        }
    }

    pub(crate) fn switch(&self, trouble: &Trouble) -> Box<dyn Switch + Send> {
        match self {
            Self::File(switch, _) => Box::new(switch.noting(trouble)),
            Self::Command { mark: None, .. } => Box::new(NoSwitch),
            Self::Command { mark: Some(mark), .. } => Box::new(mark.clone()),
            Self::Slots { ab, .. } => Box::new(Elsewhere::new(ab.clone(), ab.path(), trouble)),
        }
    }

    /// The running slot and its state, for a person.
    pub(crate) fn slot(&self) -> Option<String> {
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

/// Reserves room for the note of an installer: a failure now is better than one during the
/// installation.
fn reserve(dir: &DataDir) -> Result<(), Failure> {
    job::reserve(dir).map_err(|why| {
        let path = dir.path().display();
        Failure::environment(format!("cannot make install.lock in {path}: {why}"))
    })
}

fn read(running: &Running) -> Result<Version, Failure> {
    let file = match running {
        Running::File(file) => file,
        Running::Literal(version) => return Ok(*version),
    };
    // Its disk may be mounted later.
    file.read().map_err(|why| {
        let path = file.path().display();
        Failure::environment(format!(
            "version_file: {why}; write the running version to it: echo 0.1.0 > {path}"
        ))
    })
}
