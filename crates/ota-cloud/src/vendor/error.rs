//! Errors as the vendor's clients know them, and the envelope of every answer.

use core::fmt;

use serde_json::{Value, json};

/// The content type of every answer, to the letter.
pub const CONTENT_TYPE: &str = "application/json";

macro_rules! codes {
    ($($variant:ident = $code:literal)*) => {
        /// What went wrong, by the vendor's names: no other leaves.
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
}

/// A request that is refused. The text says which parameter or header, and never a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// What went wrong.
    pub code: Code,
    /// The same in words.
    pub message: String,
}

impl ApiError {
    /// A code and its words.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A required parameter or header is not there.
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

/// The body of an answer, for status 200. `request_id` is in each, in an error's, too: an SDK
/// reads it without looking. What is no object counts as an empty one.
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
