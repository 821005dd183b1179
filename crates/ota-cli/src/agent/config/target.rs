//! How a new version comes to run.

use std::time::Duration;

use ota_host::VersionFile;
use ota_proto::Version;
use toml::Value;

use super::keys::Keys;

/// How a new version comes to run.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// Its name is written to this file, and the agent starts again.
    File(VersionFile),
    /// A command does it.
    Command { running: Running, install: Vec<String>, limit: Duration, restart: Restart },
}

/// Where the running version stands.
#[derive(Clone, Debug)]
pub(crate) enum Running {
    File(VersionFile),
    Literal(Version),
}

/// What follows an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// Nothing: the new version runs.
    None,
    /// The agent ends.
    Exit,
    /// This command.
    Command(Vec<String>),
}

impl Keys<'_> {
    pub(super) fn target(&self) -> Result<Target, String> {
        let file = self.path("version_file")?.map(VersionFile::new);
        let literal = self.text("version")?;
        let Some(install) = self.command("install")? else {
            let alone = ["version", "restart", "install_limit"]
                .into_iter()
                .find(|key| self.table.contains_key(*key));
            return match (file, alone) {
                (_, Some("version")) => Err("version: only with install; without it write the version to a file and name that in version_file".into()),
                (_, Some(key)) => Err(format!("{key}: only with install; remove it, or add install")),
                (None, None) => Err("version_file: missing; name the file that holds the running version".into()),
                (Some(file), None) => Ok(Target::File(file)),
            };
        };
        let running = match (file, literal) {
            (Some(_), Some(_)) => return Err("version: there is version_file, too; keep one of them".into()),
            (None, None) => return Err("version_file: missing; name the file that holds the running version, or give version".into()),
            (Some(file), None) => Running::File(file),
            (None, Some(text)) => Running::Literal(Version::new(text).map_err(|why| format!("version: {why}"))?),
        };
        let limit = self.seconds("install_limit")?.unwrap_or(Duration::from_secs(600));
        if limit.is_zero() {
            return Err("install_limit: must be more than 0 seconds".into());
        }
        Ok(Target::Command { running, install, limit, restart: self.restart()? })
    }

    fn restart(&self) -> Result<Restart, String> {
        let wrong = "restart: must be \"none\", \"exit\" or a command like [\"reboot\"]";
        match self.table.get("restart") {
            None => Ok(Restart::None),
            Some(Value::String(word)) if word == "none" => Ok(Restart::None),
            Some(Value::String(word)) if word == "exit" => Ok(Restart::Exit),
            Some(Value::Array(_)) => {
                let command = self.command("restart").map_err(|_| wrong)?;
                Ok(Restart::Command(command.ok_or(wrong)?))
            }
            Some(_) => Err(wrong.into()),
        }
    }
}
