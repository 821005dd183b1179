//! The agent's configuration file. Every error names its key.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ota_host::VersionFile;
use ota_proto::credentials::{APP_ID, Secret};
use ota_proto::{Identity, Version};
use toml::{Table, Value};

use crate::failure::Failure;

/// What the file says, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) identity: Identity,
    pub(crate) secret: Secret,
    pub(crate) app_id: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) data_dir: PathBuf,
    pub(crate) allow_http: bool,
    pub(crate) connect_spacing: Duration,
    pub(crate) target: Target,
    /// The file with the secret, when everybody may read it.
    pub(crate) exposed: Option<PathBuf>,
}

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

const KEYS: [&str; 14] = [
    "allow_http",
    "app_id",
    "broker",
    "connect_spacing",
    "data_dir",
    "device_name",
    "device_secret",
    "device_secret_file",
    "install",
    "install_limit",
    "product_id",
    "restart",
    "version",
    "version_file",
];

impl Config {
    /// Reads the file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map_err(|error| {
            Failure::usage(format!("cannot read the configuration {}: {error}", path.display()))
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut config = Self::parse(&text, folder)
            .map_err(|why| Failure::usage(format!("{}: {why}", path.display())))?;
        // The secret stands in this file, or in one of its own.
        let holder = config.exposed.take().unwrap_or_else(|| path.to_owned());
        config.exposed = Some(holder).filter(|path| is_world_readable(path));
        Ok(config)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text.get(..span.start).unwrap_or("").matches('\n').count());
            format!("line {line}: {}", error.message())
        })?;
        if let Some(unknown) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(match nearest(unknown) {
                Some(known) => format!("{unknown}: no such key; did you mean {known}?"),
                None => format!("{unknown}: no such key; there are {}", KEYS.join(", ")),
            });
        }
        let keys = Keys { table: &table, folder };
        let (secret, exposed) = keys.secret()?;
        let (host, port) = broker(
            keys.text("broker")?.ok_or("broker: missing; write broker = \"mqtt://host:port\"")?,
        )
        .map_err(|why| format!("broker: {why}"))?;
        let app_id = keys.text("app_id")?.unwrap_or(APP_ID);
        if app_id.is_empty() || !app_id.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("app_id: must be a text of digits, like app_id = \"{APP_ID}\""));
        }
        Ok(Self {
            identity: keys.identity()?,
            secret,
            app_id: app_id.to_owned(),
            host,
            port,
            data_dir: keys
                .path("data_dir")?
                .ok_or("data_dir: missing; name a folder that the agent has for itself")?,
            allow_http: keys.flag("allow_http")?.unwrap_or(false),
            connect_spacing: keys.seconds("connect_spacing")?.unwrap_or(Duration::from_secs(5)),
            target: keys.target()?,
            exposed,
        })
    }
}

/// The table with what it takes to read a key of each kind.
struct Keys<'a> {
    table: &'a Table,
    folder: &'a Path,
}

impl<'a> Keys<'a> {
    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(format!("{key}: must be a text, like {key} = \"…\"")),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Boolean(flag)) => Ok(Some(*flag)),
            Some(_) => Err(format!("{key}: must be true or false, without quotes")),
        }
    }

    fn seconds(&self, key: &str) -> Result<Option<Duration>, String> {
        let seconds = match self.table.get(key) {
            None => return Ok(None),
            Some(Value::Integer(whole)) => *whole as f64,
            Some(Value::Float(number)) => *number,
            Some(_) => f64::NAN,
        };
        // A day is beyond all sense, and far from every overflow.
        if (0.0..=86_400.0).contains(&seconds) {
            Ok(Some(Duration::from_secs_f64(seconds)))
        } else {
            Err(format!("{key}: must be a number of seconds from 0 to 86400, like {key} = 5"))
        }
    }

    fn path(&self, key: &str) -> Result<Option<PathBuf>, String> {
        Ok(self.text(key)?.map(|text| self.folder.join(text)))
    }

    fn command(&self, key: &str) -> Result<Option<Vec<String>>, String> {
        let wrong = || {
            format!(
                "{key}: must be a list of texts, like {key} = [\"/usr/bin/command\", \"argument\"]"
            )
        };
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Array(items)) => {
                let words: Option<Vec<String>> =
                    items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
                let words =
                    words.filter(|words| words.first().is_some_and(|word| !word.is_empty()));
                words.map(Some).ok_or_else(wrong)
            }
            Some(_) => Err(wrong()),
        }
    }

    fn identity(&self) -> Result<Identity, String> {
        let product =
            self.text("product_id")?.ok_or("product_id: missing; the console shows it")?;
        let name = self.text("device_name")?.ok_or("device_name: missing; the console shows it")?;
        Identity::new(product, name).map_err(|why| match why {
            ota_proto::BadName::ProductId => format!("product_id: {why}"),
            _ => format!("device_name: {why}"),
        })
    }

    /// The secret, and the file it stands in when that is one of its own.
    fn secret(&self) -> Result<(Secret, Option<PathBuf>), String> {
        let explain =
            |key: &str, why| format!("{key}: {why}; write the Base64 text that the console shows");
        match (self.text("device_secret")?, self.path("device_secret_file")?) {
            (Some(_), Some(_)) => {
                Err("device_secret_file: there is device_secret, too; keep one of them".into())
            }
            (None, None) => Err("device_secret: missing; give it, or device_secret_file".into()),
            (Some(text), None) => {
                let secret =
                    Secret::from_base64(text).map_err(|why| explain("device_secret", why))?;
                Ok((secret, None))
            }
            (None, Some(path)) => {
                let key = "device_secret_file";
                let text = std::fs::read_to_string(&path)
                    .map_err(|error| format!("{key}: cannot read {}: {error}", path.display()))?;
                let secret = Secret::from_base64(&text).map_err(|why| explain(key, why))?;
                Ok((secret, Some(path)))
            }
        }
    }

    fn target(&self) -> Result<Target, String> {
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

/// Takes `mqtt://host:port` apart; the port may be left out.
fn broker(url: &str) -> Result<(String, u16), String> {
    let shape = "write it like mqtt://host:1883";
    if url.starts_with("mqtts://") {
        return Err(
            "TLS is not there yet; use mqtt://, and only in a network that you trust".into()
        );
    }
    let rest = url.strip_prefix("mqtt://").ok_or(shape)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // An IPv6 address stands in brackets.
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, "1883"),
        Some((host, port)) => (host, port.strip_prefix(':').ok_or(shape)?),
        None => rest.split_once(':').unwrap_or((rest, "1883")),
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@[]".contains(c);
    if host.is_empty() || host.contains(odd) {
        return Err(format!("no host in it; {shape}"));
    }
    let port = port.parse().ok().filter(|port| *port != 0);
    Ok((host.to_owned(), port.ok_or_else(|| format!("the port is not 1 to 65535; {shape}"))?))
}

/// The known key that is most like this one, if any is.
fn nearest(unknown: &str) -> Option<&'static str> {
    let (distance, key) = KEYS.iter().map(|key| (distance(unknown, key), *key)).min()?;
    (distance <= 1 + key.len() / 3).then_some(key)
}

/// How many letters must be changed, added or removed to come from one to the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().map(|byte| byte.to_ascii_lowercase()).enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, above) in b.bytes().zip(row.iter_mut().skip(1)) {
            let best = (*above + 1).min(left + 1).min(diagonal + usize::from(x != y));
            diagonal = *above;
            *above = best;
            left = best;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

fn is_world_readable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o004 != 0)
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
