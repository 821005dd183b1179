//! Errors of the API: RFC 9457, with stable codes.

use core::fmt;

use serde::Serialize;

use super::json::to_json;
use crate::error::{CatalogError, CloudError, TaskError};

/// The reason of a refusal, as a word for programs. Words are only ever added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Code {
    /// The request cannot be parsed, or has an invalid field.
    Invalid,
    /// There is no key, or it is unknown.
    NoKey,
    /// The key's role does not allow it.
    Forbidden,
    /// There is no such path.
    UnknownPath,
    /// There is no such product, or the key is not for it.
    UnknownProduct,
    /// There is no such device.
    UnknownDevice,
    /// There is no such key.
    UnknownKey,
    /// There is no such person.
    UnknownPerson,
    /// There is no such webhook.
    UnknownWebhook,
    /// There is no such firmware.
    UnknownFirmware,
    /// The device has another task, or none.
    UnknownTask,
    /// The product has no such batch.
    UnknownBatch,
    /// The product has no such named module.
    UnknownModule,
    /// The path exists, but not with this method.
    BadMethod,
    /// It exists already.
    Exists,
    /// The state of the object does not allow it.
    WrongState,
    /// It is in use.
    InUse,
    /// There was a concurrent change: try again.
    Conflict,
    /// The idempotency key names another call.
    KeyReused,
    /// The request is too long.
    TooLarge,
    /// The body's type is not supported.
    BadType,
    /// Too many requests: wait.
    TooMany,
    /// There is no room for more.
    Full,
    /// An internal error; nothing was changed.
    Internal,
    /// The service cannot answer now: try again.
    Unavailable,
}

impl Code {
    /// Its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NoKey => "no-key",
            Self::Forbidden => "forbidden",
            Self::UnknownPath => "unknown-path",
            Self::UnknownProduct => "unknown-product",
            Self::UnknownDevice => "unknown-device",
            Self::UnknownKey => "unknown-key",
            Self::UnknownPerson => "unknown-person",
            Self::UnknownWebhook => "unknown-webhook",
            Self::UnknownFirmware => "unknown-firmware",
            Self::UnknownTask => "unknown-task",
            Self::UnknownBatch => "unknown-batch",
            Self::UnknownModule => "unknown-module",
            Self::BadMethod => "bad-method",
            Self::Exists => "exists",
            Self::WrongState => "wrong-state",
            Self::InUse => "in-use",
            Self::Conflict => "conflict",
            Self::KeyReused => "key-reused",
            Self::TooLarge => "too-large",
            Self::BadType => "bad-type",
            Self::TooMany => "too-many",
            Self::Full => "full",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The status of HTTP.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NoKey => 401,
            Self::Forbidden => 403,
            Self::UnknownPath
            | Self::UnknownProduct
            | Self::UnknownDevice
            | Self::UnknownKey
            | Self::UnknownPerson
            | Self::UnknownFirmware
            | Self::UnknownTask
            | Self::UnknownBatch
            | Self::UnknownModule
            | Self::UnknownWebhook => 404,
            Self::BadMethod => 405,
            Self::Exists | Self::WrongState | Self::InUse | Self::Conflict => 409,
            Self::KeyReused => 422,
            Self::TooLarge => 413,
            Self::BadType => 415,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Full => 507,
        }
    }
}

/// The reason of a refusal. Its texts never repeat what a caller sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// For programs.
    pub code: Code,
    /// For people: the error and the remedy.
    pub detail: String,
    /// The invalid field.
    pub field: Option<&'static str>,
}

#[derive(Serialize)]
struct Body<'a> {
    status: u16,
    code: &'static str,
    title: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'static str>,
}

impl Problem {
    /// A problem without a field.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), field: None }
    }

    /// A problem of a field.
    #[must_use]
    pub fn field(field: &'static str, detail: impl Into<String>) -> Self {
        Self { code: Code::Invalid, detail: detail.into(), field: Some(field) }
    }

    /// The same error for an unknown product and for one that the caller may not see.
    #[must_use]
    pub fn unknown_product() -> Self {
        Self::new(Code::UnknownProduct, "there is no such product, or this key is not for it")
    }

    /// There is no such device.
    #[must_use]
    pub fn unknown_device() -> Self {
        Self::new(Code::UnknownDevice, "the product has no such device")
    }

    /// The body, `application/problem+json`.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let (status, code) = (self.code.status(), self.code.word());
        to_json(&Body { status, code, title: &self.detail, field: self.field })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.word(), self.detail)
    }
}

impl core::error::Error for Problem {}

impl From<TaskError> for Problem {
    fn from(why: TaskError) -> Self {
        let code = match why {
            TaskError::DeviceNotExist => return Self::unknown_device(),
            TaskError::FirmwareNotExist => Code::UnknownFirmware,
            TaskError::DeviceFirmwareTaskNotExist => Code::UnknownTask,
            TaskError::FirmwareWithdrawn
            | TaskError::DeviceRunningOtherOtaTask
            | TaskError::DeviceFirmwareIsUpdated
            | TaskError::DeviceDisabled
            | TaskError::DeviceHasNoFirmware
            | TaskError::OtherVersion
            | TaskError::NeedsVersion
            | TaskError::DeviceFirmwareTaskAlreadDone
            | TaskError::DeviceOtaTaskInProgress
            | TaskError::FirmwareIsDraft
            | TaskError::AwaitingConfirm
            | TaskError::NotAwaitingConfirm => Code::WrongState,
        };
        Self::new(code, why.to_string())
    }
}

impl From<CloudError> for Problem {
    fn from(why: CloudError) -> Self {
        let code = match why {
            CloudError::UnknownDevice => return Self::unknown_device(),
            CloudError::TooManyDevices => Code::Full,
            CloudError::TooLarge => Code::TooLarge,
            CloudError::ForeignTopic | CloudError::Malformed(_) | CloudError::BadVersion => {
                Code::Invalid
            }
        };
        Self::new(code, why.to_string())
    }
}

impl From<CatalogError> for Problem {
    fn from(why: CatalogError) -> Self {
        let (code, field) = match why {
            CatalogError::BadProduct => (Code::Invalid, Some("product")),
            CatalogError::BadVersion => (Code::Invalid, Some("version")),
            CatalogError::BadSize => (Code::Invalid, Some("size")),
            CatalogError::BadPath => (Code::Invalid, None),
            CatalogError::BadUrl => (Code::Invalid, Some("url")),
            CatalogError::UserDefinedTooLong => (Code::Invalid, Some("user_defined")),
            CatalogError::BadFwType => (Code::Invalid, Some("module")),
            CatalogError::FirmwareAlreadyExist => (Code::Exists, None),
            CatalogError::FirmwareExceedLimit => (Code::Full, None),
        };
        Self { code, detail: why.to_string(), field }
    }
}
