//! Exports devices from a cloud.

use std::collections::BTreeMap;

use ota_proto::Identity;
use serde::Deserialize;

use crate::api::certificate_line;

use super::cell::{escaped, line, tag};
use super::import::{BadAnswer, Outcome, What};

/// The first line of an exported table.
pub const HEADING: &str = "product,name,secret,tags,disabled,certificate";

/// The first line of a table of secrets.
pub const SECRETS_HEADING: &str = "product,name,secret";

/// A page of a list of devices as lines of a table, with certificates if the list has them. It
/// contains no secrets, which a cloud never shows again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// One line per device.
    pub lines: Vec<String>,
    /// The names of devices with unreadable rows.
    pub unreadable: Vec<String>,
    /// The start of the next page.
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct List {
    devices: Vec<Shown>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Shown {
    product: String,
    name: String,
    #[serde(default)]
    unreadable: bool,
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// In PEM.
    #[serde(default)]
    certificate: Option<String>,
}

impl Page {
    /// Parses the answer to a list of a product's devices, which starts after a name.
    ///
    /// # Errors
    /// [`BadAnswer`] if it is not an answer to that call.
    pub fn read(product: &str, after: &str, answer: &[u8]) -> Result<Self, BadAnswer> {
        let list: List = serde_json::from_slice(answer).map_err(|_| BadAnswer)?;
        // A list that does not advance would never end.
        if list.next.as_deref().is_some_and(|next| next <= after) {
            return Err(BadAnswer);
        }
        let (mut lines, mut unreadable) = (Vec::new(), Vec::new());
        for device in list.devices {
            if device.product != product || Identity::new(product, &device.name).is_err() {
                return Err(BadAnswer);
            }
            if device.unreadable {
                unreadable.push(format!("{}/{}", device.product, device.name));
            } else {
                lines.push(line_of(&device).ok_or(BadAnswer)?);
            }
        }
        Ok(Self { lines, unreadable, next: list.next })
    }
}

fn line_of(device: &Shown) -> Option<String> {
    let tags = device
        .tags
        .iter()
        .map(|(name, value)| format!("{}={}", tag(name, true), tag(value, false)));
    let tags = tags.collect::<Vec<_>>().join(";");
    let disabled = if device.disabled { "true" } else { "" };
    let certificate = match &device.certificate {
        Some(pem) => certificate_line(pem)?,
        None => String::new(),
    };
    let (product, name) = (escaped(&device.product), escaped(&device.name));
    line(&[&product, &name, "", &escaped(&tags), disabled, &certificate])
}

/// A line of a table of secrets, if one was generated. The secret is unchanged, for the device's
/// configuration.
#[must_use]
pub fn secret_line(outcome: &Outcome) -> Option<String> {
    let What::Made(Some(secret)) = &outcome.what else { return None };
    let (product, name) = (escaped(&outcome.product), escaped(&outcome.name));
    line(&[&product, &name, &secret.expose_base64()])
}
