//! Errors of the cloud.

use core::fmt;

use ota_proto::message::Malformed;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The peer's fault: the message is refused, and the state is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloudError {
    /// The topic is not `$ota/report/{product}/{device}`.
    ForeignTopic,
    /// The device is unknown, and unknown ones are not accepted.
    UnknownDevice,
    /// There is no room for another device.
    TooManyDevices,
    /// The payload is over 16 KiB (docs/protocol.md, The cloud's side).
    TooLarge,
    /// The payload is not a known message.
    Malformed(Malformed),
    /// The version is not 1 to 32 printable ASCII characters.
    BadVersion,
}

/// The caller's fault: the firmware is refused, and the catalogue is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CatalogError {
    /// The product id cannot stand in a topic.
    BadProduct,
    /// The version is not 1 to 32 of `[A-Za-z0-9._-]`.
    BadVersion,
    /// The size is zero or above 2,048 MiB.
    BadSize,
    /// The path does not begin with `/`, or is over 512 bytes, or has a control character, `?`,
    /// `#` or `%`.
    BadPath,
    /// The URL is not `http[s]://host…` of at most 1,024 printable ASCII characters without `#`.
    BadUrl,
    /// `user_defined` is over 1,536 bytes.
    UserDefinedTooLong,
    /// `fw_type` is not 1 to 32 letters, digits, `_` or `-`.
    BadFwType,
    /// `FirmwareAlreadyExist`: the product has this version.
    FirmwareAlreadyExist,
    /// `FirmwareExceedLimit`: the product has the maximum number of firmware.
    FirmwareExceedLimit,
}

/// The caller's fault: the command about a task is refused, and the state is unchanged. Names are
/// the platform's if it has one (docs/protocol.md, The cloud's side).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TaskError {
    /// The device is not known.
    DeviceNotExist,
    /// The product has no such version.
    FirmwareNotExist,
    /// The firmware was withdrawn.
    FirmwareWithdrawn,
    /// The firmware is a draft: release it first.
    FirmwareIsDraft,
    /// The device already has an open task.
    DeviceRunningOtherOtaTask,
    /// The device already reported this version.
    DeviceFirmwareIsUpdated,
    /// The device is disabled.
    DeviceDisabled,
    /// The device never reported a version, and the task is for devices of stated versions.
    DeviceHasNoFirmware,
    /// The device reported a version that the task is not for.
    OtherVersion,
    /// The firmware needs a newer version than the device runs.
    NeedsVersion,
    /// The device has another task, or none.
    DeviceFirmwareTaskNotExist,
    /// The task is over.
    DeviceFirmwareTaskAlreadDone,
    /// The task is not over yet.
    DeviceOtaTaskInProgress,
    /// The task does not wait for a confirmation.
    NotAwaitingConfirm,
    /// The task waits for a confirmation.
    AwaitingConfirm,
}

impl fmt::Display for CloudError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignTopic => f.write_str("not the report topic of a device"),
            Self::UnknownDevice => f.write_str("unknown device"),
            Self::TooManyDevices => f.write_str("no room for another device"),
            Self::TooLarge => f.write_str("payload over 16 KiB"),
            Self::Malformed(what) => write!(f, "malformed message: {what}"),
            Self::BadVersion => f.write_str("a version is 1 to 32 printable ASCII characters"),
        }
    }
}

impl fmt::Display for CatalogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadProduct => "a product id is 1 to 32 letters, digits or _ - : .",
            Self::BadVersion => "a firmware version is 1 to 32 letters, digits or . _ -",
            Self::BadSize => "a firmware has 1 byte to 2048 MiB",
            Self::BadPath => "a path begins with / and has no ? # % or control character",
            Self::BadUrl => "a URL is http[s]://host… in at most 1024 ASCII characters, without #",
            Self::UserDefinedTooLong => "user_defined is at most 1536 bytes",
            Self::BadFwType => "a firmware type is 1 to 32 letters, digits, _ or -",
            Self::FirmwareAlreadyExist => "FirmwareAlreadyExist: the product has this version",
            Self::FirmwareExceedLimit => {
                "FirmwareExceedLimit: the product has as much firmware as it may"
            }
        })
    }
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DeviceNotExist => "unknown device",
            Self::FirmwareNotExist => "FirmwareNotExist: the product has no such version",
            Self::FirmwareWithdrawn => "the firmware was withdrawn",
            Self::FirmwareIsDraft => "the firmware is a draft: release it first",
            Self::AwaitingConfirm => "the task waits for a confirmation",
            Self::DeviceRunningOtherOtaTask => "DeviceRunningOtherOtaTask: one task at a time",
            Self::DeviceFirmwareIsUpdated => "DeviceFirmwareIsUpdated: it runs this version",
            Self::DeviceDisabled => "the device is disabled",
            Self::DeviceHasNoFirmware => "DeviceHasNoFirmware: it never reported a version",
            Self::OtherVersion => "the device runs a version that the task is not for",
            Self::NeedsVersion => "the firmware needs a newer version than the device runs",
            Self::DeviceFirmwareTaskNotExist => "DeviceFirmwareTaskNotExist",
            Self::DeviceFirmwareTaskAlreadDone => "DeviceFirmwareTaskAlreadDone",
            Self::DeviceOtaTaskInProgress => "DeviceOtaTaskInProgress",
            Self::NotAwaitingConfirm => "the task does not wait for a confirmation",
        })
    }
}

impl core::error::Error for CloudError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Malformed(what) => Some(what),
            _ => None,
        }
    }
}
impl core::error::Error for CatalogError {}
impl core::error::Error for TaskError {}

/// An unreadable row: the database is damaged, or of a later release.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BadState(String);

impl BadState {
    /// The fault of a row, in words.
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    pub(crate) fn write(value: &impl Serialize) -> Result<Vec<u8>, Self> {
        serde_json::to_vec(value).map_err(|error| Self(error.to_string()))
    }

    pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Self> {
        serde_json::from_slice(bytes).map_err(|error| Self(error.to_string()))
    }
}

impl fmt::Display for BadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "what was kept cannot be read: {}", self.0)
    }
}

impl core::error::Error for BadState {}
