//! Who decides about an update, and when.

use std::time::Duration;

use ota_proto::{Downgrade, Order, Version};
use toml::Value;

use super::keys::Keys;
use crate::window::Window;

/// The conditions between an offer and the new version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) consent: Consent,
    pub(crate) download: Option<Window>,
    pub(crate) install: Option<Window>,
    /// Checks the verified image and may refuse it.
    pub(crate) verify: Option<Vec<String>>,
    /// The time limit of these commands, of health and of restart.
    pub(crate) limit: Duration,
}

/// Who accepts an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// The agent, at once.
    Auto,
    /// A person: `ota agent accept`.
    Ask,
    /// This command.
    Command(Vec<String>),
}

impl Keys<'_> {
    pub(super) fn policy(&self) -> Result<Policy, String> {
        let both = self.window("window")?;
        let alone = ["download_window", "install_window"];
        if let (Some(_), Some(key)) = (&both, alone.into_iter().find(|key| self.has(key))) {
            return Err(format!("{key}: window is also set and covers both; keep one of them"));
        }
        let limit = self.seconds("command_limit")?.unwrap_or(Duration::from_secs(300));
        if limit.is_zero() {
            return Err("command_limit: must be more than 0 seconds".into());
        }
        Ok(Policy {
            consent: self.consent()?,
            download: self.window("download_window")?.or(both),
            install: self.window("install_window")?.or(both),
            verify: self.command("verify")?,
            limit,
        })
    }

    fn consent(&self) -> Result<Consent, String> {
        let wrong = "consent: must be \"auto\", \"ask\" or a command like [\"/usr/bin/command\"]";
        match self.table.get("consent") {
            None => Ok(Consent::Auto),
            Some(Value::String(word)) if word == "auto" => Ok(Consent::Auto),
            Some(Value::String(word)) if word == "ask" => Ok(Consent::Ask),
            Some(Value::Array(_)) => Ok(Consent::Command(self.command("consent")?.ok_or(wrong)?)),
            Some(_) => Err(wrong.into()),
        }
    }

    /// Whether older versions may be installed, and the order of versions.
    pub(super) fn downgrade(&self) -> Result<Downgrade, String> {
        let wrong = "downgrade: must be \"allow\", \"semver\", \"numeric\" or a list of versions, the oldest \
                     first, like [\"1.0\", \"1.1\"]";
        let listed = |items: &[Value]| {
            let version = |item: &Value| Version::new(item.as_str()?).ok();
            items.iter().map(version).collect::<Option<Vec<_>>>().filter(|list| !list.is_empty())
        };
        Ok(match self.table.get("downgrade") {
            None => Downgrade::Allow,
            Some(Value::String(word)) if word == "allow" => Downgrade::Allow,
            Some(Value::String(word)) if word == "semver" => Downgrade::Refuse(Order::SemVer),
            Some(Value::String(word)) if word == "numeric" => Downgrade::Refuse(Order::Numeric),
            Some(Value::Array(items)) => {
                Downgrade::Refuse(Order::Listed(listed(items).ok_or(wrong)?))
            }
            Some(_) => return Err(wrong.into()),
        })
    }

    fn window(&self, key: &str) -> Result<Option<Window>, String> {
        let Some(text) = self.text(key)? else { return Ok(None) };
        Window::parse(text).map(Some).ok_or_else(|| {
            format!("{key}: write it like \"02:00-04:00\", which is UTC, or \"02:00-04:00 +08:00\"")
        })
    }
}
