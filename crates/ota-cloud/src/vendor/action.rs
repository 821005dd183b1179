//! The firmware actions of all versions of the API, as one set.

use super::error::{ApiError, Code};
use super::params::{Params, Take};

/// A search by key. Which keys there are is the vendor's secret; ours are told apart later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// What is searched by.
    pub key: String,
    /// What it must be.
    pub value: Option<String>,
}

macro_rules! actions {
    ($(
        $change:ident $variant:ident = $($name:literal)|+ {
            $($field:ident: $type:ty = $param:literal,)*
        }
    )*) => {
        /// What a request asks for, with its parameters. A field's documentation is the
        /// parameter's name.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Action {
            $(
                #[doc = concat!($("`", $name, "` "),+)]
                $variant {
                    $(#[doc = concat!("`", $param, "`")] $field: $type,)*
                },
            )*
        }

        impl Action {
            /// The names of all actions.
            pub const NAMES: &[&str] = &[$($($name,)+)*];

            fn take(name: &str, params: &Params) -> Result<Self, ApiError> {
                match name {
                    $($($name)|+ => Ok(Self::$variant {
                        $($field: Take::take(params, $param)?,)*
                    }),)*
                    _ => Err(ApiError::new(Code::InvalidAction, "there is no such action")),
                }
            }

            /// Whether it changes something, or only reads.
            #[must_use]
            pub const fn changes(&self) -> bool {
                match self {
                    $(Self::$variant { .. } => actions!(@ $change),)*
                }
            }
        }
    };
    (@ changes) => { true };
    (@ reads) => { false };
}

actions! {
    changes GetCosUrl = "GetCOSURL" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        size: Option<u64> = "FileSize",
        module: Option<String> = "FwType",
    }
    changes UploadFirmware = "UploadFirmware" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        md5: String = "Md5sum",
        size: u64 = "FileSize",
        name: Option<String> = "FirmwareName",
        description: Option<String> = "FirmwareDescription",
        module: Option<String> = "FwType",
        user_defined: Option<String> = "FirmwareUserDefined",
    }
    changes EditFirmware = "EditFirmware" {
        product: String = "ProductId",
        version: String = "FirmwareVersion",
        name: String = "FirmwareName",
        description: Option<String> = "FirmwareDescription",
        user_defined: Option<String> = "FirmwareUserDefined",
        module: Option<String> = "FwType",
    }
    reads ListFirmwares = "ListFirmwares" {
        page: u64 = "PageNum",
        size: u64 = "PageSize",
        product: Option<String> = "ProductID",
        filters: Vec<Filter> = "Filters",
    }
    reads DescribeFirmware = "DescribeFirmware" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        module: Option<String> = "FwType",
    }
    reads GetAllVersion = "GetAllVersion" | "GetAllFirmwareVersion" {
        product: String = "ProductId",
    }
    changes DeleteFirmware = "DeleteFirmware" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
    }
    reads GetFirmwareUrl = "GetFirmwareURL" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
    }
    changes BatchUpdateFirmware = "BatchUpdateFirmware" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        from: Option<String> = "FirmwareOriVersion",
        upgrade_method: Option<u64> = "UpgradeMethod",
        file_name: Option<String> = "FileName",
        file_md5: Option<String> = "FileMd5",
        file_size: Option<u64> = "FileSize",
        devices: Vec<String> = "DeviceNames",
        timeout: Option<u64> = "TimeoutInterval",
        kind: Option<i64> = "Type",
        delay: Option<i64> = "DelayTime",
        start: Option<i64> = "StartTime",
        end: Option<i64> = "EndTime",
        override_mode: Option<u64> = "OverrideMode",
        retries: Option<u64> = "MaxRetryNum",
        retry_minutes: Option<u64> = "RetryInterval",
        module: Option<String> = "FwType",
        user_defined: Option<String> = "TaskUserDefine",
        per_minute: Option<i64> = "RateLimit",
    }
    changes UpdateFirmware = "UpdateFirmware" {
        product: String = "ProductID",
        device: String = "DeviceName",
        version: String = "FirmwareVersion",
        from: String = "FirmwareOriVersion",
        upgrade_method: Option<u64> = "UpgradeMethod",
    }
    changes PublishFirmwareUpdateMessage = "PublishFirmwareUpdateMessage" {
        product: String = "ProductID",
        device: Option<String> = "DeviceName",
        module: Option<String> = "FwType",
    }
    reads DescribeFirmwareTasks = "DescribeFirmwareTasks" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        offset: u64 = "Offset",
        limit: u64 = "Limit",
        filters: Vec<Filter> = "Filters",
        module: Option<String> = "FwType",
    }
    reads DescribeFirmwareTask = "DescribeFirmwareTask" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        task: u64 = "TaskId",
    }
    reads DescribeFirmwareTaskDevices = "DescribeFirmwareTaskDevices" {
        product: String = "ProductID",
        version: Option<String> = "FirmwareVersion",
        filters: Vec<Filter> = "Filters",
        offset: Option<u64> = "Offset",
        limit: Option<u64> = "Limit",
        module: Option<String> = "FwType",
    }
    reads DescribeFirmwareTaskDistribution = "DescribeFirmwareTaskDistribution" {
        product: String = "ProductId",
        version: String = "FirmwareVersion",
        task: u64 = "TaskId",
    }
    reads DescribeFirmwareTaskStatistics = "DescribeFirmwareTaskStatistics" {
        product: String = "ProductId",
        version: String = "FirmwareVersion",
    }
    reads DescribeFirmwareUpdateStatus = "DescribeFirmwareUpdateStatus" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    reads CheckFirmwareUpdate = "CheckFirmwareUpdate" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    reads DescribeDeviceFirmwares = "DescribeDeviceFirmwares" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    reads DescribeDeviceFirmWare = "DescribeDeviceFirmWare" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    changes UpdateOtaTaskStatus = "UpdateOtaTaskStatus" {
        product: String = "ProductId",
        task: u64 = "TaskId",
        status: u64 = "Status",
    }
    changes CancelDeviceFirmwareTask = "CancelDeviceFirmwareTask" {
        product: String = "ProductId",
        device: String = "DeviceName",
        version: String = "FirmwareVersion",
        task: u64 = "TaskId",
    }
    changes RetryDeviceFirmwareTask = "RetryDeviceFirmwareTask" {
        product: String = "ProductId",
        device: String = "DeviceName",
        version: String = "FirmwareVersion",
        task: u64 = "TaskId",
    }
    changes CreateOtaModule = "CreateOtaModule" {
        product: String = "ProductID",
        module: String = "FwType",
        name: Option<String> = "Name",
        remark: Option<String> = "Remark",
    }
    changes UpdateOtaModule = "UpdateOtaModule" {
        product: String = "ProductID",
        module: String = "FwType",
        name: Option<String> = "Name",
        remark: Option<String> = "Remark",
    }
    changes DeleteOtaModule = "DeleteOtaModule" {
        product: String = "ProductID",
        module: String = "FwType",
    }
    reads ListOtaModules = "ListOtaModules" {
        page: u64 = "PageNum",
        size: u64 = "PageSize",
        filters: Vec<Filter> = "Filters",
    }
    reads ListProductOtaModules = "ListProductOtaModules" {
        product: String = "ProductID",
    }
}

impl Action {
    /// Reads the parameters of an action. `name` is as the SDKs send it, its first letter in
    /// upper case. Parameters that no action has are passed over: an SDK may be newer than we are.
    ///
    /// # Errors
    /// [`Code::InvalidAction`], [`Code::MissingParameter`], [`Code::InvalidParameter`] for a wrong
    /// type, [`Code::InvalidParameterValue`] for a value out of its bounds.
    pub fn decode(name: &str, params: &Params) -> Result<Self, ApiError> {
        let action = Self::take(name, params)?;
        action.check()?;
        Ok(action)
    }

    fn check(&self) -> Result<(), ApiError> {
        match self {
            Self::BatchUpdateFirmware {
                from,
                file_name,
                devices,
                upgrade_method,
                timeout,
                kind,
                override_mode,
                per_minute,
                ..
            } => {
                let ways = [from.is_some(), file_name.is_some(), !devices.is_empty()];
                if ways.iter().filter(|way| **way).count() != 1 {
                    return Err(ApiError::new(
                        Code::InvalidParameterValue,
                        "exactly one of FirmwareOriVersion, FileName and DeviceNames says which \
                         devices",
                    ));
                }
                within("UpgradeMethod", *upgrade_method, 0, 1)?;
                within("TimeoutInterval", *timeout, 60, 3_600)?;
                within("OverrideMode", *override_mode, 0, 1)?;
                need("Type", kind.is_none_or(|kind| kind == 1 || kind == 7), "1 or 7")?;
                need("RateLimit", per_minute.is_none_or(|rate| rate > 0), "1 or more")
            }
            Self::UpdateFirmware { upgrade_method, .. } => {
                within("UpgradeMethod", *upgrade_method, 0, 1)
            }
            Self::UpdateOtaTaskStatus { status, .. } => {
                need("Status", *status == 6, "6, which cancels")
            }
            Self::UploadFirmware { md5, .. } => {
                let hex = md5.len() == 32 && md5.bytes().all(|byte| byte.is_ascii_hexdigit());
                need("Md5sum", hex, "32 hexadecimal digits")
            }
            Self::ListFirmwares { page, .. } | Self::ListOtaModules { page, .. } => {
                need("PageNum", *page > 0, "1 or more")
            }
            _ => Ok(()),
        }
    }
}

fn within(name: &str, number: Option<u64>, least: u64, most: u64) -> Result<(), ApiError> {
    let fits = number.is_none_or(|number| (least..=most).contains(&number));
    need(name, fits, &format!("{least} to {most}"))
}

fn need(name: &str, fits: bool, what: &str) -> Result<(), ApiError> {
    if fits {
        return Ok(());
    }
    Err(ApiError::new(Code::InvalidParameterValue, format!("the parameter {name} must be {what}")))
}
