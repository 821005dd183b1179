//! The identity of a device, and its two topics.

use alloc::string::String;
use core::fmt;

/// A device's product id and name, with the resulting two topics.
///
/// ```
/// use ota_proto::{Identity, Topic, TopicKind};
///
/// let identity = Identity::new("TESTPROD01", "dev001")?;
/// assert_eq!(identity.report_topic(), "$ota/report/TESTPROD01/dev001");
/// let topic = Topic::parse(identity.update_topic()).unwrap();
/// assert_eq!((topic.kind, topic.device_name), (TopicKind::Update, "dev001"));
/// assert!(Identity::new("TESTPROD01", "#").is_err());
/// # Ok::<(), ota_proto::BadName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "snapshot", serde(try_from = "StoredIdentity"))]
pub struct Identity {
    /// `$ota/report/{product}/{device}`; the other topic and both names are derived from it.
    report: String,
    update: String,
    product_len: usize,
}

const REPORT: &str = "$ota/report/";
const UPDATE: &str = "$ota/update/";

/// The kind of an OTA topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TopicKind {
    /// `$ota/report/…`: device to cloud.
    Report,
    /// `$ota/update/…`: cloud to device.
    Update,
}

/// A parsed OTA topic: only its form is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Topic<'a> {
    /// Report or update.
    pub kind: TopicKind,
    /// The product id.
    pub product_id: &'a str,
    /// The device name.
    pub device_name: &'a str,
}

impl<'a> Topic<'a> {
    /// Parses `$ota/report/{product}/{device}` or `$ota/update/{product}/{device}`.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let (kind, rest) = if let Some(rest) = text.strip_prefix(REPORT) {
            (TopicKind::Report, rest)
        } else {
            (TopicKind::Update, text.strip_prefix(UPDATE)?)
        };
        let (product_id, device_name) = rest.split_once('/')?;
        let ok =
            is_name(product_id, Identity::MAX_PRODUCT) && is_name(device_name, Identity::MAX_NAME);
        ok.then_some(Self { kind, product_id, device_name })
    }
}

/// Checks the content of a snapshot, which may be anything.
#[cfg(feature = "snapshot")]
#[derive(serde::Deserialize)]
struct StoredIdentity {
    report: String,
    update: String,
    product_len: usize,
}

#[cfg(feature = "snapshot")]
impl TryFrom<StoredIdentity> for Identity {
    type Error = BadName;

    fn try_from(stored: StoredIdentity) -> Result<Self, BadName> {
        let topic = Topic::parse(&stored.report).ok_or(BadName::DeviceName)?;
        let found = Self::new(topic.product_id, topic.device_name)?;
        let StoredIdentity { report, update, product_len } = stored;
        let same = found == Self { report, update, product_len };
        same.then_some(found).ok_or(BadName::DeviceName)
    }
}

impl Identity {
    /// The longest product id in bytes. The platform's own have 10.
    pub const MAX_PRODUCT: usize = 32;
    /// The longest device name in bytes (docs/protocol.md, Connection).
    pub const MAX_NAME: usize = 48;

    /// Makes an identity of a product id and a device name: letters, digits and `_ - : .`, because
    /// both are parts of topics.
    ///
    /// # Errors
    /// [`BadName`] if one is empty, too long or has another character.
    pub fn new(product_id: &str, device_name: &str) -> Result<Self, BadName> {
        if !is_name(product_id, Self::MAX_PRODUCT) {
            return Err(BadName::ProductId);
        }
        if !is_name(device_name, Self::MAX_NAME) {
            return Err(BadName::DeviceName);
        }
        let topic = |prefix: &str| {
            let parts = [prefix, product_id, "/", device_name];
            let len = parts.iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
            let mut topic = String::with_capacity(len);
            parts.iter().for_each(|part| topic.push_str(part));
            topic
        };
        Ok(Self { report: topic(REPORT), update: topic(UPDATE), product_len: product_id.len() })
    }

    /// The product id.
    #[must_use]
    pub fn product_id(&self) -> &str {
        self.names().0
    }

    /// The device name.
    #[must_use]
    pub fn device_name(&self) -> &str {
        self.names().1
    }

    /// `$ota/report/{product}/{device}`: the device publishes to it.
    #[must_use]
    pub fn report_topic(&self) -> &str {
        &self.report
    }

    /// `$ota/update/{product}/{device}`: the cloud publishes to it.
    #[must_use]
    pub fn update_topic(&self) -> &str {
        &self.update
    }

    fn names(&self) -> (&str, &str) {
        let names = self.report.get(REPORT.len()..).unwrap_or("");
        let (product, rest) = names.split_at_checked(self.product_len).unwrap_or((names, ""));
        debug_assert!(rest.starts_with('/'), "a topic has a product and a name");
        (product, rest.get(1..).unwrap_or(""))
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Identity {
    fn format(&self, f: defmt::Formatter<'_>) {
        let (product, device) = self.names();
        defmt::write!(f, "{=str}/{=str}", product, device);
    }
}

fn is_name(text: &str, max: usize) -> bool {
    let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b':' | b'.');
    !text.is_empty() && text.len() <= max && text.bytes().all(ok)
}

/// The product id or device name is invalid in a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum BadName {
    /// Not 1 to [`Identity::MAX_PRODUCT`] letters, digits or `_ - : .`.
    ProductId,
    /// Not 1 to [`Identity::MAX_NAME`] letters, digits or `_ - : .`.
    DeviceName,
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, max) = match self {
            Self::ProductId => ("product id", Identity::MAX_PRODUCT),
            Self::DeviceName => ("device name", Identity::MAX_NAME),
        };
        write!(f, "a {what} is 1 to {max} letters, digits or _ - : .")
    }
}

impl core::error::Error for BadName {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_the_longest_names() {
        let name = "d".repeat(48);
        let id = Identity::new("TESTPROD01", &name).unwrap();
        assert_eq!(id.product_id(), "TESTPROD01");
        assert_eq!(id.device_name(), name);
        let topic = Topic::parse(id.report_topic()).unwrap();
        assert_eq!((topic.kind, topic.product_id), (TopicKind::Report, "TESTPROD01"));
        assert_eq!(Topic::parse(id.update_topic()).unwrap().device_name, name);
    }

    #[test]
    fn names_that_would_be_wildcards_or_levels_are_refused() {
        for bad in ["", "+", "#", "a/b", "a b", "é"] {
            assert_eq!(Identity::new(bad, "d"), Err(BadName::ProductId), "{bad}");
            assert_eq!(Identity::new("p", bad), Err(BadName::DeviceName), "{bad}");
        }
        for bad in [
            "$ota/report/p",
            "$ota/report/p/d/e",
            "$ota/other/p/d",
            "ota/report/p/d",
            "$ota/update//d",
        ] {
            assert_eq!(Topic::parse(bad), None, "{bad}");
        }
    }
}
