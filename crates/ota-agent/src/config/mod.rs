//! The agent's configuration file. Every error names its key.

mod broker;
mod error;
mod keys;
mod policy;
mod target;
mod tls;

use std::path::{Path, PathBuf};
use std::time::Duration;

use ota_host::{HostError, SlotOptions, check_exposure};
use ota_proto::credentials::APP_ID;
use ota_proto::{Downgrade, Version};
use toml::Table;

use crate::device::Account;
use crate::failure::Failure;
use crate::job::JobError;
use broker::{Broker, broker};
use error::{ConfigError, file, text_of};
use keys::{Keys, nearest};
pub(crate) use policy::{Consent, Policy};
pub(crate) use target::{Confirm, Restart, Running, Slots, StartedBy, Target};

/// The checked configuration.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) account: Account,
    pub(crate) data_dir: PathBuf,
    pub(crate) allow_http: bool,
    pub(crate) public_store_only: bool,
    pub(crate) trailing_digest: bool,
    /// Whether an older version may be installed.
    pub(crate) downgrade: Downgrade,
    pub(crate) connect_spacing: Duration,
    /// How long a login is valid after its connection starts.
    pub(crate) login_valid: Duration,
    /// Keep the accepted image until the next one replaces it, which needs room for both.
    pub(crate) keep_accepted: bool,
    /// Folders that others may write, for which the operator takes responsibility.
    pub(crate) trusted_folders: Vec<PathBuf>,
    pub(crate) target: Target,
    pub(crate) policy: Policy,
    /// The file with the secret or the key, if everybody may read it.
    pub(crate) exposed: Option<PathBuf>,
}

const KEYS: [&str; 35] = [
    "allow_http",
    "app_id",
    "broker",
    "ca_file",
    "client_cert",
    "client_key",
    "command_limit",
    "confirm",
    "confirm_limit",
    "connect_spacing",
    "consent",
    "data_dir",
    "device_name",
    "device_secret",
    "device_secret_file",
    "download_window",
    "downgrade",
    "health",
    "install",
    "install_limit",
    "install_window",
    "keep_accepted",
    "login_valid",
    "product_id",
    "public_store_only",
    "restart",
    "slot_starts",
    "slots",
    "started_by",
    "trailing_digest",
    "trusted_folders",
    "verify",
    "version",
    "version_file",
    "window",
];

impl Config {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let mut config = load(path, Self::build)?;
        // The secret is in this file or in a separate one.
        let holder = config.exposed.take().unwrap_or_else(|| path.to_owned());
        config.exposed = Some(holder).filter(|path| is_world_readable(path));
        Ok(config)
    }

    /// Reads only the location of the agent's data, for users who may not read the secret.
    pub(crate) fn read_data_dir(path: &Path) -> Result<PathBuf, Failure> {
        load(path, |keys| Ok(keys.data_dir()?))
    }

    /// Reads only the version: an installer may have changed it.
    pub(crate) fn read_version(path: &Path) -> Result<Version, JobError> {
        match load(path, |keys| Ok(keys.target()?)) {
            Ok(Target::Command { running: Running::Literal(version), .. }) => Ok(version),
            Ok(_) => Err(JobError::machine("the configuration no longer has a version")),
            Err(failure) => Err(JobError::machine(failure.message)),
        }
    }

    /// Reads only how a new version is installed.
    pub(crate) fn read_target(path: &Path) -> Result<Target, Failure> {
        load(path, |keys| Ok(keys.target()?))
    }

    fn build(keys: &Keys<'_>) -> Result<Self, ConfigError> {
        let url = keys.text("broker")?;
        let url = url.ok_or("broker: missing; write broker = \"mqtts://host:port\"")?;
        let Broker { host, port, tls: secure } =
            broker(url).map_err(|why| format!("broker: {why}"))?;
        let (tls, renewal, key) = keys.tls(secure)?;
        let (secret, exposed) = match keys.secret() {
            // If both are given, the certificate signs in.
            Err(_) if key.is_some() && !keys.has_secret() => (None, key),
            found => found.map(|(secret, file)| (Some(secret), file))?,
        };
        let app_id = keys.text("app_id")?.unwrap_or(APP_ID);
        if app_id.is_empty() || !app_id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(
                format!("app_id: must be a text of digits, like app_id = \"{APP_ID}\"").into()
            );
        }
        let (identity, app_id) = (keys.identity()?, app_id.to_owned());
        let target = keys.target()?;
        let read_by_others = matches!(target, Target::File(_));
        Ok(Self {
            account: Account { identity, secret, app_id, host, port, secure, tls, renewal },
            data_dir: keys.data_dir()?,
            allow_http: keys.flag("allow_http")?.unwrap_or(false),
            public_store_only: keys.flag("public_store_only")?.unwrap_or(false),
            trailing_digest: keys.flag("trailing_digest")?.unwrap_or(false),
            downgrade: keys.downgrade()?,
            connect_spacing: keys.seconds("connect_spacing")?.unwrap_or(Duration::from_secs(5)),
            login_valid: keys.login_valid()?,
            keep_accepted: keys.flag("keep_accepted")?.unwrap_or(read_by_others),
            trusted_folders: keys.folders("trusted_folders")?,
            target,
            policy: keys.policy()?,
            exposed,
        })
    }
}

impl Config {
    /// How the slot treats its images.
    pub(crate) fn slot(&self) -> SlotOptions {
        SlotOptions {
            keep_before: self.keep_accepted,
            accepts: matches!(self.target, Target::File(_)),
            ..SlotOptions::default()
        }
    }

    /// Whether a command can rely on the path of an image or a slot: with root's rights, no other
    /// user may be able to redirect it.
    pub(crate) fn exposure(&self) -> Result<(), HostError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let place = match &self.target {
            // Only the installer gets the path of a slot.
            Target::Slots(slots) => slots.fill.is_some().then_some(slots.path.as_path()),
            Target::Command { running: Running::File(file), .. } => Some(file.path()),
            // The agent itself follows no foreign links.
            Target::File(_) | Target::Command { .. } => None,
        };
        let mut places = std::iter::once(self.data_dir.as_path()).chain(place);
        places.try_for_each(|place| check_exposure(place, &self.trusted_folders))
    }
}

impl Keys<'_> {
    /// From the largest difference of two clocks to the longest time that a stolen login may be
    /// useful.
    fn login_valid(&self) -> Result<Duration, String> {
        let (least, most) = (Duration::from_secs(300), Duration::from_secs(30 * 86_400));
        let wrong = "login_valid: must be from 5 minutes to 30 days, like login_valid = \"24h\"";
        let time = self.span("login_valid")?.unwrap_or(Duration::from_secs(86_400));
        if (least..=most).contains(&time) { Ok(time) } else { Err(wrong.into()) }
    }

    fn data_dir(&self) -> Result<PathBuf, String> {
        let missing = "data_dir: missing; name a folder that only the agent uses";
        self.path("data_dir")?.ok_or_else(|| missing.into())
    }
}

fn load<T>(
    path: &Path,
    build: impl FnOnce(&Keys<'_>) -> Result<T, ConfigError>,
) -> Result<T, Failure> {
    let text = file(path).and_then(|bytes| text_of(&bytes)).map_err(|why| {
        why.failure(&format!("cannot read the configuration {}: ", path.display()))
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&text, folder, build).map_err(|why| why.failure(&format!("{}: ", path.display())))
}

fn parse<T>(
    text: &str,
    folder: &Path,
    build: impl FnOnce(&Keys<'_>) -> Result<T, ConfigError>,
) -> Result<T, ConfigError> {
    let table: Table = text.parse().map_err(|error: toml::de::Error| {
        let line = error
            .span()
            .map_or(1, |span| 1 + text.get(..span.start).unwrap_or("").matches('\n').count());
        format!("line {line}: {}", error.message())
    })?;
    if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(ConfigError::from(match nearest(unknown, &KEYS) {
            Some(known) => format!("{unknown}: no such key; did you mean {known}?"),
            None => format!("{unknown}: no such key; the keys are {}", KEYS.join(", ")),
        }));
    }
    build(&Keys { table: &table, folder })
}

fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
mod tests;
