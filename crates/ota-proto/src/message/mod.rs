//! The four messages in both directions between device and cloud.
//!
//! Liberal in, strict out: decoding accepts numbers or numeric strings, unknown keys, any order and
//! any JSON escape; encoding writes exactly the documented forms (docs/protocol.md).
//!
//! A device's message as bytes:
//!
//! ```
//! use ota_proto::message::DeviceMessage;
//!
//! let report = DeviceMessage::ReportVersion { version: "1.0.0".into(), fw_type: None };
//! let mut buf = [0; 256];
//! let len = report.encode(&mut buf)?;
//! assert_eq!(&buf[..len], br#"{"type":"report_version","report":{"version":"1.0.0"}}"#);
//! # Ok::<(), ota_proto::BufferTooSmall>(())
//! ```
//!
//! A cloud message, in any valid form:
//!
//! ```
//! use ota_proto::message::CloudMessage;
//!
//! let payload = br#"{"version":"2.0.0","file_size":"16","url":"https:\/\/store.example\/fw",
//!     "md5sum":"F2F1B3317D4F1EF7F512BFAE5050563B","type":"update_firmware","new_key":[1]}"#;
//! let CloudMessage::Offer(offer) = CloudMessage::decode(payload)? else { panic!() };
//! assert_eq!((offer.file_size, &*offer.url), (Some(16), "https://store.example/fw"));
//! # Ok::<(), ota_proto::message::Malformed>(())
//! ```

mod decode;
mod encode;
mod json;

use alloc::borrow::Cow;
use core::fmt;

use crate::digest::Md5;

/// A message from a device (`$ota/report/…`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum DeviceMessage<'a> {
    /// `report_version`: the running version.
    ReportVersion {
        /// The running version.
        version: Cow<'a, str>,
        /// `mcu` or `module`, from devices of 2022 to 2024; never sent by us.
        fw_type: Option<Cow<'a, str>>,
    },
    /// `report_progress`: the state of the update to `version`.
    ReportProgress {
        /// The target version.
        version: Cow<'a, str>,
        /// The state with its numbers.
        progress: Progress<'a>,
        /// Like in `report_version`.
        fw_type: Option<Cow<'a, str>>,
    },
}

/// The `progress` object of `report_progress`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Progress<'a> {
    /// The state.
    pub state: ProgressState,
    /// Percent of the download, only with `downloading`. Peers send invalid ones ("101").
    pub percent: Option<i64>,
    /// 0, or −5 to −1 with `fail`.
    pub result_code: i64,
    /// A text for people.
    pub result_msg: Cow<'a, str>,
}

/// The states of `report_progress` (docs/protocol.md, Device to cloud).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "snapshot", serde(rename_all = "lowercase"))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProgressState {
    /// The image is being downloaded.
    Downloading,
    /// The image is being installed, restarted into or on trial.
    Burning,
    /// The new version is running.
    Done,
    /// The attempt failed.
    Fail,
}

impl ProgressState {
    /// The word on the wire.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Downloading => "downloading",
            Self::Burning => "burning",
            Self::Done => "done",
            Self::Fail => "fail",
        }
    }
}

/// A message from the cloud (`$ota/update/…`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum CloudMessage<'a> {
    /// `report_version_rsp`: the answer to `report_version`.
    VersionReply {
        /// 0 if the version was accepted.
        result_code: i64,
        /// A text for people.
        result_msg: Cow<'a, str>,
        /// The reported version.
        version: Option<Cow<'a, str>>,
    },
    /// `update_firmware`: an offer.
    Offer(OfferMessage<'a>),
}

/// The fields of `update_firmware` (docs/protocol.md, Cloud to device). Its `Debug` hides the URL's
/// query, which is a credential.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OfferMessage<'a> {
    /// The target version.
    pub version: Cow<'a, str>,
    /// The image's URL; the query is a signature and must be kept byte for byte.
    pub url: Cow<'a, str>,
    /// The digest; absent or empty in a message that must be refused.
    pub md5sum: Option<Md5>,
    /// The size in bytes; absent in a message that must be refused.
    pub file_size: Option<u64>,
    /// The text of the firmware's upload, at most 1,536 bytes by a source comment.
    pub user_defined: Option<Cow<'a, str>>,
    /// `mcu` or `module`.
    pub fw_type: Option<Cow<'a, str>>,
}

/// The caller's buffer is too small for the output. The state is unchanged: call again with a
/// larger one. [`crate::Config::buffer_len`] is always enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BufferTooSmall {
    /// The required length in bytes.
    pub needed: usize,
}

impl fmt::Display for BufferTooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "buffer too small: {} bytes needed", self.needed)
    }
}

impl core::error::Error for BufferTooSmall {}

/// The payload is not a known message. It did not change any state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Malformed {
    /// Not UTF-8 or not JSON, incomplete, or nested too deep.
    Syntax,
    /// JSON, but a required key is missing or has the wrong type.
    Shape,
    /// An unknown `type` or `state`.
    Unknown,
    /// An invalid value: a version, a digest, a number.
    Value,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not a JSON text",
            Self::Shape => "a key is missing or has the wrong type",
            Self::Unknown => "unknown message type or state",
            Self::Value => "a value is out of bounds",
        })
    }
}

impl core::error::Error for Malformed {}

impl fmt::Debug for OfferMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfferMessage")
            .field("version", &self.version)
            .field("url", &crate::url::Redacted(&self.url))
            .field("md5sum", &self.md5sum)
            .field("file_size", &self.file_size)
            .field("user_defined", &self.user_defined)
            .field("fw_type", &self.fw_type)
            .finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for OfferMessage<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "OfferMessage {{ version: {}, url: {}, md5sum: {}, file_size: {}, user_defined: {}, fw_type: {} }}",
            self.version,
            crate::url::Redacted(&self.url),
            self.md5sum,
            self.file_size,
            self.user_defined,
            self.fw_type,
        );
    }
}
