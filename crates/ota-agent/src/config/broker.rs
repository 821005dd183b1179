//! The device's identity, and the broker's address.

use std::path::PathBuf;

use ota_proto::Identity;
use ota_proto::credentials::Secret;

use super::error::{ConfigError, file, text_of};
use super::keys::Keys;

impl Keys<'_> {
    pub(super) fn identity(&self) -> Result<Identity, String> {
        let product =
            self.text("product_id")?.ok_or("product_id: missing; the console shows it")?;
        let name = self.text("device_name")?.ok_or("device_name: missing; the console shows it")?;
        Identity::new(product, name).map_err(|why| match why {
            ota_proto::BadName::ProductId => format!("product_id: {why}"),
            _ => format!("device_name: {why}"),
        })
    }

    pub(super) fn has_secret(&self) -> bool {
        self.has("device_secret") || self.has("device_secret_file")
    }

    /// The secret, and its file if it has a separate one.
    pub(super) fn secret(&self) -> Result<(Secret, Option<PathBuf>), ConfigError> {
        let explain = |why| format!("{why}; write the Base64 text that the console shows");
        match (self.text("device_secret")?, self.path("device_secret_file")?) {
            (Some(_), Some(_)) => {
                Err("device_secret_file: device_secret is also set; keep one of them".into())
            }
            (None, None) => Err("device_secret: missing; give it, or device_secret_file".into()),
            (Some(text), None) => {
                let secret = Secret::from_base64(text);
                Ok((secret.map_err(|why| format!("device_secret: {}", explain(why)))?, None))
            }
            (None, Some(path)) => {
                let place = path.display();
                let text = file(&path).and_then(|bytes| text_of(&bytes));
                let text = text
                    .map_err(|why| why.of(&format!("device_secret_file: cannot read {place}: ")))?;
                let secret = Secret::from_base64(&text).map_err(|why| {
                    ConfigError::outside(format!("device_secret_file: {place}: {}", explain(why)))
                })?;
                Ok((secret, Some(path)))
            }
        }
    }
}

/// The address of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broker {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
}

/// Parses `mqtts://host:port`; the port is optional.
pub(super) fn broker(url: &str) -> Result<Broker, String> {
    let shape = "write it like mqtts://host:8883 or mqtt://host:1883";
    let (rest, usual, tls) = match url.strip_prefix("mqtts://") {
        Some(rest) => (rest, "8883", true),
        None => (url.strip_prefix("mqtt://").ok_or(shape)?, "1883", false),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    // An IPv6 address is in brackets.
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, usual),
        Some((host, port)) => (host, port.strip_prefix(':').ok_or(shape)?),
        None => rest.split_once(':').unwrap_or((rest, usual)),
    };
    let odd = |c: char| c.is_whitespace() || c.is_control() || "/?#@[]".contains(c);
    if host.is_empty() || host.contains(odd) {
        return Err(format!("no host in it; {shape}"));
    }
    let port = port.parse().ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| format!("the port is not 1 to 65535; {shape}"))?;
    Ok(Broker { host: host.to_owned(), port, tls })
}
