//! How a new version is installed and started.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ota_host::VersionFile;
use ota_proto::Version;
use toml::Value;

use super::keys::Keys;

/// How a new version is installed.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// The version is written to this file, and the agent restarts itself.
    File(VersionFile),
    /// A command installs it.
    Command { running: Running, install: Vec<String>, limit: Duration, restart: Restart },
    /// Two slots and a link.
    Slots(Slots),
}

/// The built-in installer.
#[derive(Clone, Debug)]
pub(crate) struct Slots {
    pub(crate) path: PathBuf,
    /// How often an image on trial may be started.
    pub(crate) starts: u8,
    /// Who counts the starts.
    pub(crate) started_by: StartedBy,
    /// Fills the slot, instead of a copy.
    pub(crate) fill: Option<Vec<String>>,
    pub(crate) limit: Duration,
    pub(crate) restart: Restart,
    /// Checks whether the new image works.
    pub(crate) health: Option<Vec<String>>,
    /// The longest trial.
    pub(crate) trial: Duration,
    /// Who confirms the new image.
    pub(crate) confirm: Confirm,
}

impl Target {
    /// Who confirms a new image; without slots there are no trials.
    pub(crate) fn confirm(&self) -> Confirm {
        match self {
            Self::Slots(slots) => slots.confirm,
            _ => Confirm::Cloud,
        }
    }
}

/// Who confirms a new image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirm {
    /// The application, and the cloud's answer to the new version.
    Cloud,
    /// The application alone.
    Application,
}

/// Who counts the starts of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartedBy {
    /// The agent, before it runs the restart command, and once after each start of the machine.
    Agent,
    /// The service that starts the image, by `ota agent start`.
    Service,
}

/// Where the running version is stored.
#[derive(Clone, Debug)]
pub(crate) enum Running {
    File(VersionFile),
    Literal(Version),
}

/// What follows an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Nothing: the new version is running.
    None,
    /// The agent ends.
    Exit,
    /// This command.
    Command(Vec<String>),
    /// The installer restarts the machine itself.
    Installer,
}

impl Running {
    /// Where it is stored, for a person.
    pub(crate) fn place(&self, config: &Path) -> String {
        match self {
            Self::File(file) => file.path().display().to_string(),
            Self::Literal(_) => format!("version in {}", config.display()),
        }
    }
}

impl Keys<'_> {
    pub(super) fn target(&self) -> Result<Target, String> {
        let slots = self.path("slots")?;
        let alone = |keys: &[&str], with: &str| match keys.iter().find(|key| self.has(key)) {
            Some(key) => Err(format!("{key}: only with {with}; remove it, or add {with}")),
            None => Ok(()),
        };
        if let Some(path) = slots {
            if let Some(key) = ["version", "version_file"].iter().find(|key| self.has(key)) {
                return Err(format!("{key}: the slots contain the version; remove it"));
            }
            return Ok(Target::Slots(self.slots(path)?));
        }
        alone(&["slot_starts", "started_by", "health", "confirm_limit", "confirm"], "slots")?;
        let file = self.path("version_file")?.map(VersionFile::new);
        let literal = self.text("version")?;
        let Some(install) = self.installer(&[])? else {
            if literal.is_some() {
                return Err("version: only with install; without it write the version to a file and name that in version_file".into());
            }
            alone(&["restart", "install_limit"], "install")?;
            let missing = "version_file: missing; name the file that holds the running version";
            return file.map(Target::File).ok_or_else(|| missing.into());
        };
        let running = match (file, literal) {
            (Some(_), Some(_)) => return Err("version: version_file is also set; keep one of them".into()),
            (None, None) => return Err("version_file: missing; name the file that holds the running version, or give version".into()),
            (Some(file), None) => Running::File(file),
            (None, Some(text)) => Running::Literal(Version::new(text).map_err(|why| format!("version: {why}"))?),
        };
        Ok(Target::Command {
            running,
            install,
            limit: self.positive("install_limit")?,
            restart: self.restart()?,
        })
    }

    fn slots(&self, path: PathBuf) -> Result<Slots, String> {
        let starts = match self.table.get("slot_starts") {
            None => Some(3),
            Some(Value::Integer(number)) => u8::try_from(*number).ok().filter(|number| *number > 0),
            Some(_) => None,
        };
        let started_by = match self.text("started_by")? {
            None | Some("agent") => StartedBy::Agent,
            Some("service") => StartedBy::Service,
            Some(_) => return Err("started_by: must be \"agent\" or \"service\"".into()),
        };
        let confirm = match self.text("confirm")? {
            None | Some("cloud") => Confirm::Cloud,
            Some("application") => Confirm::Application,
            Some(_) => return Err("confirm: must be \"cloud\" or \"application\"".into()),
        };
        Ok(Slots {
            path,
            starts: starts.ok_or("slot_starts: must be a number from 1 to 255")?,
            started_by,
            fill: self.installer(&["slot"])?,
            limit: self.positive("install_limit")?,
            restart: self.restart()?,
            health: self.command("health")?,
            trial: self.positive("confirm_limit")?,
            confirm,
        })
    }

    fn installer(&self, more: &[&'static str]) -> Result<Option<Vec<String>>, String> {
        self.command_with("install", more)
    }

    /// A limit in seconds; 10 minutes by default.
    fn positive(&self, key: &str) -> Result<Duration, String> {
        let limit = self.seconds(key)?.unwrap_or(Duration::from_secs(600));
        if limit.is_zero() {
            return Err(format!("{key}: must be more than 0 seconds"));
        }
        Ok(limit)
    }

    fn restart(&self) -> Result<Restart, String> {
        let installs = self.has("install");
        let wrong =
            "restart: must be \"none\", \"exit\", \"installer\" or a command like [\"reboot\"]";
        match self.table.get("restart") {
            // Only the operator knows how the new version is started.
            None if installs => Err(
                "restart: missing; say what follows install: \"none\" where the new version runs \
                 already, \"installer\" where install restarts the machine by itself, \"exit\", or \
                 a command like [\"reboot\"]"
                    .into(),
            ),
            None => Ok(Restart::None),
            Some(Value::String(word)) if word == "none" => Ok(Restart::None),
            Some(Value::String(word)) if word == "exit" => Ok(Restart::Exit),
            Some(Value::String(word)) if word == "installer" && self.has("slots") => Err(
                "restart: \"installer\" is for an installer without slots; give the command that \
                 starts the image"
                    .into(),
            ),
            Some(Value::String(word)) if word == "installer" => Ok(Restart::Installer),
            Some(Value::Array(_)) => Ok(Restart::Command(self.command("restart")?.ok_or(wrong)?)),
            Some(_) => Err(wrong.into()),
        }
    }
}
