//! Errors in the form of the vendor's clients, and the envelope of every answer.

use core::fmt;

use serde_json::{Value, json};

use crate::api::{self, Problem};
use crate::error::{CatalogError, TaskError};

/// The exact content type of every answer.
pub const CONTENT_TYPE: &str = "application/json";

/// The versions of the API, IoT Explorer's first. All actions exist in each.
pub const VERSIONS: [&str; 5] = [EXPLORER, "2021-04-08", "2018-06-14", "2020-12-15", "2021-11-25"];
const EXPLORER: &str = "2019-04-23";

macro_rules! codes {
    ($($variant:ident = $code:literal)*) => {
        /// Error codes with the vendor's names; no others are sent.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`", $code, "`.")] $variant,)*
        }

        impl Code {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The vendor's name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $code,)*
                }
            }
        }
    };
}

codes! {
    InvalidAuthorization = "AuthFailure.InvalidAuthorization"
    SecretIdNotFound = "AuthFailure.SecretIdNotFound"
    SignatureExpire = "AuthFailure.SignatureExpire"
    SignatureFailure = "AuthFailure.SignatureFailure"
    TokenFailure = "AuthFailure.TokenFailure"
    UnauthorizedOperation = "AuthFailure.UnauthorizedOperation"
    FailedOperation = "FailedOperation"
    InternalError = "InternalError"
    InvalidAction = "InvalidAction"
    InvalidParameter = "InvalidParameter"
    InvalidParameterValue = "InvalidParameterValue"
    InvalidRequest = "InvalidRequest"
    LimitExceeded = "LimitExceeded"
    MissingParameter = "MissingParameter"
    NoSuchVersion = "NoSuchVersion"
    RequestLimitExceeded = "RequestLimitExceeded"
    UnknownParameter = "UnknownParameter"
    UnsupportedOperation = "UnsupportedOperation"
    UnsupportedProtocol = "UnsupportedProtocol"
    FirmwareAlreadyExist = "InvalidParameterValue.FirmwareAlreadyExist"
    FirmwareExceedLimit = "LimitExceeded.FirmwareExceedLimit"
    FirmwareNotExist = "ResourceNotFound.FirmwareNotExist"
    FirmwareTaskNotExist = "ResourceNotFound.FirmwareTaskNotExist"
    DeviceFirmwareTaskNotExist = "ResourceNotFound.DeviceFirmwareTaskNotExist"
    DeviceNotExist = "ResourceNotFound.DeviceNotExist"
    ProductNotExist = "ResourceNotFound.ProductNotExist"
    ProductOrDeviceNotExist = "ResourceNotFound.ProductOrDeviceNotExist"
    DeviceHasNoFirmware = "ResourceNotFound.DeviceHasNoFirmware"
    OtherUpdateTaskExist = "FailedOperation.OtherUpdateTaskExist"
    DeviceRunningOtherOtaTask = "FailedOperation.DeviceRunningOtherOtaTask"
    DeviceFirmwareTaskAlreadDone = "FailedOperation.DeviceFirmwareTaskAlreadDone"
    DeviceFirmwareIsUpdated = "FailedOperation.DeviceFirmwareIsUpdated"
    UpdateVersionNotMatch = "FailedOperation.UpdateVersionNotMatch"
    DeviceOffline = "FailedOperation.DeviceOffline"
    DeviceNoSubscription = "FailedOperation.DeviceNoSubscription"
    DeviceAlreadyDisabled = "FailedOperation.DeviceAlreadyDisabled"
    DeviceOtaTaskInProgress = "UnsupportedOperation.DeviceOtaTaskInProgress"
    DeviceIsNotEnabled = "UnauthorizedOperation.DeviceIsNotEnabled"
    DeviceAlreadyExist = "InvalidParameterValue.DeviceAlreadyExist"
    ProductAlreadyExist = "InvalidParameterValue.ProductAlreadyExist"
    DevicesExistUnderProduct = "UnauthorizedOperation.DevicesExistUnderProduct"
    DevicesExistUnderStudioProduct = "UnsupportedOperation.DevicesExistUnderProduct"
    ResourceInsufficient = "ResourceInsufficient"
    ResourceNotFound = "ResourceNotFound"
}

/// A refused request. The text names the parameter or header, and never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// The code.
    pub code: Code,
    /// The text.
    pub message: String,
}

impl ApiError {
    /// Makes an error of a code and a text.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The code's name in a version of the API: three names differ.
    #[must_use]
    pub fn in_version(mut self, version: &str) -> Self {
        let explorer = version == EXPLORER;
        self.code = match self.code {
            Code::ProductNotExist if explorer => Code::ProductOrDeviceNotExist,
            Code::OtherUpdateTaskExist if !explorer => Code::DeviceRunningOtherOtaTask,
            Code::DevicesExistUnderProduct if explorer => Code::DevicesExistUnderStudioProduct,
            code => code,
        };
        self
    }

    /// A required parameter or header is missing.
    pub(super) fn missing(name: &str) -> Self {
        Self::new(Code::MissingParameter, format!("the required parameter {name} is missing"))
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl core::error::Error for ApiError {}

impl From<&Problem> for ApiError {
    fn from(why: &Problem) -> Self {
        let code = match why.code {
            api::Code::Invalid => Code::InvalidParameterValue,
            api::Code::NoKey => Code::SecretIdNotFound,
            api::Code::Forbidden => Code::UnauthorizedOperation,
            api::Code::UnknownPath => Code::InvalidAction,
            api::Code::UnknownProduct => Code::ProductNotExist,
            api::Code::UnknownDevice => Code::DeviceNotExist,
            api::Code::UnknownFirmware => Code::FirmwareNotExist,
            api::Code::UnknownTask => Code::DeviceFirmwareTaskNotExist,
            api::Code::UnknownBatch => Code::FirmwareTaskNotExist,
            api::Code::UnknownKey
            | api::Code::UnknownPerson
            | api::Code::UnknownModule
            | api::Code::UnknownWebhook => Code::ResourceNotFound,
            api::Code::BadMethod | api::Code::BadType => Code::InvalidRequest,
            api::Code::Exists | api::Code::WrongState | api::Code::InUse => Code::FailedOperation,
            api::Code::TooLarge => Code::LimitExceeded,
            api::Code::TooMany => Code::RequestLimitExceeded,
            api::Code::Full => Code::ResourceInsufficient,
            api::Code::Internal
            | api::Code::Unavailable
            | api::Code::Conflict
            | api::Code::KeyReused => Code::InternalError,
        };
        Self::new(code, why.detail.clone())
    }
}

impl From<Problem> for ApiError {
    fn from(why: Problem) -> Self {
        Self::from(&why)
    }
}

impl From<TaskError> for ApiError {
    fn from(why: TaskError) -> Self {
        let code = match why {
            TaskError::DeviceNotExist => Code::DeviceNotExist,
            TaskError::FirmwareNotExist => Code::FirmwareNotExist,
            TaskError::DeviceRunningOtherOtaTask => Code::OtherUpdateTaskExist,
            TaskError::DeviceFirmwareIsUpdated => Code::DeviceFirmwareIsUpdated,
            TaskError::DeviceDisabled => Code::DeviceIsNotEnabled,
            TaskError::DeviceHasNoFirmware => Code::DeviceHasNoFirmware,
            TaskError::OtherVersion | TaskError::NeedsVersion => Code::UpdateVersionNotMatch,
            TaskError::DeviceFirmwareTaskNotExist => Code::DeviceFirmwareTaskNotExist,
            TaskError::DeviceFirmwareTaskAlreadDone => Code::DeviceFirmwareTaskAlreadDone,
            TaskError::DeviceOtaTaskInProgress => Code::DeviceOtaTaskInProgress,
            TaskError::FirmwareWithdrawn
            | TaskError::FirmwareIsDraft
            | TaskError::NotAwaitingConfirm
            | TaskError::AwaitingConfirm => Code::FailedOperation,
        };
        Self::new(code, why.to_string())
    }
}

impl From<CatalogError> for ApiError {
    fn from(why: CatalogError) -> Self {
        let code = match why {
            CatalogError::FirmwareAlreadyExist => Code::FirmwareAlreadyExist,
            CatalogError::FirmwareExceedLimit => Code::FirmwareExceedLimit,
            _ => Code::InvalidParameterValue,
        };
        Self::new(code, why.to_string())
    }
}

/// The body of an answer, for status 200. Every answer has `request_id`, also an error: an SDK
/// reads it unconditionally. A value that is not an object counts as an empty one.
#[must_use]
pub fn reply(request_id: &str, answer: Result<Value, &ApiError>) -> String {
    let mut response = match answer {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => serde_json::Map::new(),
        Err(error) => {
            let error = json!({ "Code": error.code.as_str(), "Message": error.message });
            serde_json::Map::from_iter([("Error".to_owned(), error)])
        }
    };
    response.insert("RequestId".to_owned(), request_id.into());
    json!({ "Response": response }).to_string()
}
