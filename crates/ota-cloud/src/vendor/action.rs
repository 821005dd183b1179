//! The actions of all versions of the API, as one set: firmware, and what updates need besides.

use super::error::{ApiError, Code};
use super::params::{Filter, Params, Psk, Take};
use super::product::{self, Properties};
use crate::api::Right;
use crate::catalog::Firmware;

macro_rules! actions {
    ($(
        $right:ident $variant:ident = $($name:literal)|+ {
            $($field:ident: $type:ty = $param:literal,)*
        }
    )*) => {
        /// The action of a request, with its parameters. A field's documentation is the parameter's
        /// name. `Debug` hides secrets.
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

            /// Finds a name in this spelling.
            ///
            /// # Errors
            /// [`Code::InvalidAction`].
            pub fn name(name: &str) -> Result<&'static str, ApiError> {
                let known = Self::NAMES.iter().find(|known| **known == name).copied();
                known.ok_or_else(|| ApiError::new(Code::InvalidAction, "there is no such action"))
            }

            /// The right that the action of this name needs; for an unknown name any key is enough.
            #[must_use]
            pub fn right(name: &str) -> Right {
                match name {
                    $($($name)|+ => Right::$right,)*
                    _ => Right::Read,
                }
            }

            /// Whether it changes something.
            #[must_use]
            pub const fn changes(&self) -> bool {
                match self {
                    $(Self::$variant { .. } => !matches!(Right::$right, Right::Read),)*
                }
            }
        }
    };
}

actions! {
    Publish GetCosUrl = "GetCOSURL" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        size: Option<u64> = "FileSize",
        module: Option<String> = "FwType",
    }
    Publish UploadFirmware = "UploadFirmware" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        md5: String = "Md5sum",
        size: u64 = "FileSize",
        name: Option<String> = "FirmwareName",
        description: Option<String> = "FirmwareDescription",
        module: Option<String> = "FwType",
        user_defined: Option<String> = "FirmwareUserDefined",
    }
    Publish EditFirmware = "EditFirmware" {
        product: String = "ProductId",
        version: String = "FirmwareVersion",
        name: String = "FirmwareName",
        description: Option<String> = "FirmwareDescription",
        user_defined: Option<String> = "FirmwareUserDefined",
        module: Option<String> = "FwType",
    }
    Read ListFirmwares = "ListFirmwares" {
        page: u64 = "PageNum",
        size: u64 = "PageSize",
        product: Option<String> = "ProductID",
        filters: Vec<Filter> = "Filters",
    }
    Read DescribeFirmware = "DescribeFirmware" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        module: Option<String> = "FwType",
    }
    Read GetAllVersion = "GetAllVersion" | "GetAllFirmwareVersion" {
        product: String = "ProductId",
    }
    Publish DeleteFirmware = "DeleteFirmware" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
    }
    Read GetFirmwareUrl = "GetFirmwareURL" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
    }
    Operate BatchUpdateFirmware = "BatchUpdateFirmware" {
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
    Operate UpdateFirmware = "UpdateFirmware" {
        product: String = "ProductID",
        device: String = "DeviceName",
        version: String = "FirmwareVersion",
        from: String = "FirmwareOriVersion",
        upgrade_method: Option<u64> = "UpgradeMethod",
    }
    Operate PublishFirmwareUpdateMessage = "PublishFirmwareUpdateMessage" {
        product: String = "ProductID",
        device: Option<String> = "DeviceName",
        module: Option<String> = "FwType",
    }
    Read DescribeFirmwareTasks = "DescribeFirmwareTasks" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        offset: u64 = "Offset",
        limit: u64 = "Limit",
        filters: Vec<Filter> = "Filters",
        module: Option<String> = "FwType",
    }
    Read DescribeFirmwareTask = "DescribeFirmwareTask" {
        product: String = "ProductID",
        version: String = "FirmwareVersion",
        task: u64 = "TaskId",
    }
    Read DescribeFirmwareTaskDevices = "DescribeFirmwareTaskDevices" {
        product: String = "ProductID",
        version: Option<String> = "FirmwareVersion",
        filters: Vec<Filter> = "Filters",
        offset: Option<u64> = "Offset",
        limit: Option<u64> = "Limit",
        module: Option<String> = "FwType",
    }
    Read DescribeFirmwareTaskDistribution = "DescribeFirmwareTaskDistribution" {
        product: String = "ProductId",
        version: String = "FirmwareVersion",
        task: u64 = "TaskId",
    }
    Read DescribeFirmwareTaskStatistics = "DescribeFirmwareTaskStatistics" {
        product: String = "ProductId",
        version: String = "FirmwareVersion",
    }
    Read DescribeFirmwareUpdateStatus = "DescribeFirmwareUpdateStatus" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    Read CheckFirmwareUpdate = "CheckFirmwareUpdate" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    Read DescribeDeviceFirmwares = "DescribeDeviceFirmwares" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    Read DescribeDeviceFirmWare = "DescribeDeviceFirmWare" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    Operate UpdateOtaTaskStatus = "UpdateOtaTaskStatus" {
        product: String = "ProductId",
        task: u64 = "TaskId",
        status: u64 = "Status",
    }
    Operate CancelDeviceFirmwareTask = "CancelDeviceFirmwareTask" {
        product: String = "ProductId",
        device: String = "DeviceName",
        version: String = "FirmwareVersion",
        task: u64 = "TaskId",
    }
    Operate RetryDeviceFirmwareTask = "RetryDeviceFirmwareTask" {
        product: String = "ProductId",
        device: String = "DeviceName",
        version: String = "FirmwareVersion",
        task: u64 = "TaskId",
    }
    Publish CreateOtaModule = "CreateOtaModule" {
        product: String = "ProductID",
        module: String = "FwType",
        name: Option<String> = "Name",
        remark: Option<String> = "Remark",
    }
    Publish UpdateOtaModule = "UpdateOtaModule" {
        product: String = "ProductID",
        module: String = "FwType",
        name: Option<String> = "Name",
        remark: Option<String> = "Remark",
    }
    Publish DeleteOtaModule = "DeleteOtaModule" {
        product: String = "ProductID",
        module: String = "FwType",
    }
    Read ListOtaModules = "ListOtaModules" {
        page: u64 = "PageNum",
        size: u64 = "PageSize",
        filters: Vec<Filter> = "Filters",
    }
    Read ListProductOtaModules = "ListProductOtaModules" {
        product: String = "ProductID",
    }
    Operate CreateTaskFileUrl = "CreateTaskFileUrl" {
        product: String = "ProductId",
    }
    Read DescribeProducts = "DescribeProducts" | "GetStudioProductList" {
        offset: Option<u64> = "Offset",
        limit: Option<u64> = "Limit",
    }
    Read DescribeProduct = "DescribeProduct" | "DescribeStudioProduct" {
        product: String = "ProductId",
    }
    Administer CreateProduct = "CreateProduct" {
        id: Option<String> = "ProductId",
        name: String = "ProductName",
        properties: Properties = "ProductProperties",
        skey: Option<String> = "Skey",
    }
    Administer CreateStudioProduct = "CreateStudioProduct" {
        id: Option<String> = "ProductId",
        name: String = "ProductName",
        category: i64 = "CategoryId",
        kind: u64 = "ProductType",
        encryption: String = "EncryptionType",
        net: String = "NetType",
        protocol: i64 = "DataProtocol",
        description: String = "ProductDesc",
        project: String = "ProjectId",
        ca: Option<String> = "PrivateCAName",
    }
    Administer DeleteProduct = "DeleteProduct" | "DeleteStudioProduct" {
        product: String = "ProductId",
        skey: Option<String> = "Skey",
    }
    Operate UpdateProductDynamicRegister =
        "UpdateProductDynamicRegister" | "ModifyProductDynamicRegister" {
        product: String = "ProductId",
        kind: u64 = "RegisterType",
        limit: u64 = "RegisterLimit",
    }
    Read DescribeProductDynamicRegister = "DescribeProductDynamicRegister" {
        product: String = "ProductId",
    }
    Operate CreateDevice = "CreateDevice" {
        product: String = "ProductId",
        device: String = "DeviceName",
        psk: Option<Psk> = "DefinedPsk",
        certificate: Option<String> = "TlsCrt",
    }
    Read DescribeDevice = "DescribeDevice" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    Read DescribeDevices = "DescribeDevices" | "GetDeviceList" {
        product: String = "ProductId",
        offset: Option<u64> = "Offset",
        limit: Option<u64> = "Limit",
        version: Option<String> = "FirmwareVersion",
        device: Option<String> = "DeviceName",
        module: Option<String> = "FwType",
        state: Option<u64> = "EnableState",
        filters: Vec<Filter> = "Filters",
    }
    Operate DeleteDevice = "DeleteDevice" {
        product: String = "ProductId",
        device: String = "DeviceName",
    }
    Operate UpdateDevicesEnableState = "UpdateDevicesEnableState" {
        product: String = "ProductId",
        devices: Vec<String> = "DeviceNames",
        status: u64 = "Status",
    }
}

impl Action {
    /// Parses the parameters of an action. `name` is in the SDKs' spelling, with a capital first
    /// letter. Unknown parameters are ignored, because an SDK may be newer than this server.
    ///
    /// # Errors
    /// [`Code::InvalidAction`], [`Code::MissingParameter`], [`Code::InvalidParameter`] for a wrong
    /// type, [`Code::InvalidParameterValue`] for an invalid value.
    pub fn decode(name: &str, params: &Params) -> Result<Self, ApiError> {
        let action = Self::take(name, params)?;
        action.check()?;
        Ok(action)
    }

    fn check(&self) -> Result<(), ApiError> {
        match self {
            Self::BatchUpdateFirmware { .. } => self.check_batch(),
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
            Self::GetCosUrl { size: Some(0), .. } => need("FileSize", false, "1 or more"),
            Self::ListFirmwares { page, .. } | Self::ListOtaModules { page, .. } => {
                need("PageNum", *page > 0, "1 or more")
            }
            Self::EditFirmware { user_defined: Some(_), .. } => {
                unsupported("FirmwareUserDefined", "it is given when the firmware is uploaded")
            }
            Self::CreateDevice { certificate: Some(_), .. } => {
                unsupported("TlsCrt", "a device with a certificate is registered elsewhere")
            }
            Self::CreateProduct { .. } | Self::CreateStudioProduct { .. } => self.check_product(),
            Self::DeleteProduct { skey: Some(skey), .. } if !skey.is_empty() => {
                unsupported("Skey", "it is for LoRa")
            }
            Self::UpdateProductDynamicRegister { kind, limit, .. } => {
                product::registration(*kind, *limit).map(drop)
            }
            Self::UpdateDevicesEnableState { status, .. } => need("Status", *status <= 1, "0 or 1"),
            Self::DescribeDevices { state, filters, .. }
                if state.is_some() || !filters.is_empty() =>
            {
                unsupported("EnableState", "devices are not searched by it, nor by Filters")
            }
            _ => Ok(()),
        }
    }

    fn check_product(&self) -> Result<(), ApiError> {
        let asked = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        match self {
            Self::CreateProduct { name, properties, skey, .. } => {
                product::check_name(name)?;
                if asked(skey) {
                    return unsupported("Skey", "it is for LoRa");
                }
                properties.check()
            }
            Self::CreateStudioProduct {
                name,
                kind,
                encryption,
                net,
                description,
                project,
                ca,
                ..
            } => {
                product::check_name(name)?;
                product::check_kind(Some(encryption), Some(*kind))?;
                for (name, text) in
                    [("NetType", net), ("ProductDesc", description), ("ProjectId", project)]
                {
                    product::check_text(name, text)?;
                }
                if asked(ca) {
                    return unsupported("PrivateCAName", "devices show a secret here");
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn check_batch(&self) -> Result<(), ApiError> {
        let Self::BatchUpdateFirmware {
            from,
            file_name,
            devices,
            upgrade_method,
            timeout,
            kind,
            override_mode,
            per_minute,
            start,
            end,
            retries,
            retry_minutes,
            user_defined,
            ..
        } = self
        else {
            return Ok(());
        };
        let ways = [from.is_some(), file_name.is_some(), !devices.is_empty()];
        if ways.iter().filter(|way| **way).count() != 1 {
            return Err(ApiError::new(
                Code::InvalidParameterValue,
                "exactly one of FirmwareOriVersion, FileName and DeviceNames says which devices",
            ));
        }
        within("UpgradeMethod", *upgrade_method, 0, 1)?;
        within("TimeoutInterval", *timeout, 60, 3_600)?;
        within("OverrideMode", *override_mode, 0, 1)?;
        need("Type", kind.is_none_or(|kind| kind == 0 || kind == 1 || kind == 7), "1 or 7")?;
        // The others name their devices.
        need("Type", *kind != Some(7) || from.is_some(), "1 without FirmwareOriVersion")?;
        let text = user_defined.as_ref().map_or(0, String::len);
        let most = Firmware::MAX_USER_DEFINED;
        need("TaskUserDefine", text <= most, "at most 1,536 bytes long")?;
        let rate = per_minute.is_none_or(|rate| u32::try_from(rate).is_ok());
        need("RateLimit", rate, "0 or more")?;
        need("StartTime", start.is_none_or(|at| at >= 0), "0 or more")?;
        need("EndTime", end.is_none_or(|at| at >= 0), "0 or more")?;
        within("MaxRetryNum", *retries, 0, 10)?;
        within("RetryInterval", *retry_minutes, 0, 1_440)?;
        self.refuse_later()
    }

    /// Unsupported options of a batch are refused and never ignored. A zero means no option.
    fn refuse_later(&self) -> Result<(), ApiError> {
        match self {
            Self::BatchUpdateFirmware { delay: Some(delay), .. } if *delay != 0 => {
                unsupported("DelayTime", "its unit is not published: give StartTime")
            }
            _ => Ok(()),
        }
    }
}

fn unsupported(name: &str, what: &str) -> Result<(), ApiError> {
    let what = format!("the parameter {name} is not served here: {what}");
    Err(ApiError::new(Code::UnsupportedOperation, what))
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
