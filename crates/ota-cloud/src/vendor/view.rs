//! Answers, with the fields of all versions of the API: SDKs ignore unknown fields.

use std::collections::BTreeMap;

use ota_proto::Instant;
use serde_json::{Value, json};

use super::error::{ApiError, Code};
use super::params::Filter;
use crate::batch::{Batch, BatchStatus, Line, Mode, is_over};
use crate::catalog::Listed;
use crate::device::{Device, Status};
use crate::module::Module;

const SECOND: u64 = 1_000_000;

/// `DeviceUpdateStatus`.
#[must_use]
pub fn device_status(line: &Line, batch: &Batch) -> Value {
    json!({
        "DeviceName": line.name,
        "LastProcessTime": line.at / SECOND,
        "Status": line.status.number(),
        "ErrMsg": line.text,
        "Retcode": line.code,
        "DstVersion": batch.version,
        "Percent": line.percent.unwrap_or(0),
        "OriVersion": line.from,
        "TaskId": batch.number,
        "FwType": fw_type(&batch.options.module),
        "RetryNum": line.retries,
    })
}

/// `UpgradeMode`.
const fn upgrade_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::OriginalVersion => "originalVersion",
        Mode::FileName => "filename",
        // The vendor has no filters.
        Mode::DeviceNames | Mode::Filter => "devicenames",
    }
}

/// The name of a module in answers: `mcu` for the device's own, like the vendor's.
#[must_use]
pub fn fw_type(module: &Module) -> &str {
    if *module == Module::default() { "mcu" } else { module.as_str() }
}

/// `FirmwareInfo`, and the answer of `DescribeFirmware`.
#[must_use]
pub fn firmware(listed: &Listed) -> Value {
    let firmware = &listed.firmware;
    let made = listed.made / SECOND;
    json!({
        "Version": firmware.version,
        "Md5sum": firmware.md5.to_string(),
        "CreateTime": made,
        "Createtime": made,
        "ProductName": firmware.product_id,
        "Name": listed.name,
        "Description": listed.description,
        "ProductId": firmware.product_id,
        "FwType": fw_type(&firmware.module()),
        "CreateUserId": 0,
        "CreatorNickName": "",
        "UserDefined": firmware.user_defined.as_deref().unwrap_or(""),
    })
}

/// `FirmwareTaskInfo`.
#[must_use]
pub fn task_info(batch: &Batch, status: BatchStatus) -> Value {
    json!({
        "TaskId": batch.number,
        "Status": status.number(),
        "Type": if batch.joins.is_some() { 7 } else { 1 },
        "CreateTime": batch.made / SECOND,
        "CreatorNickName": "",
        "CreateUserId": 0,
        "CronTime": 0,
        "FwType": fw_type(&batch.options.module),
    })
}

/// The answer of `DescribeFirmwareTask`.
#[must_use]
pub fn task(batch: &Batch, status: BatchStatus) -> Value {
    let mut answer = task_info(batch, status);
    let options = &batch.options;
    let (plan, retries) = (batch.campaign.plan(), options.retries);
    let rate = plan.waves.first().map_or(0, |wave| wave.pace.per_minute);
    let seconds = |at: Option<Instant>| at.map_or(0, |at| at.as_micros() / 1_000_000);
    let more = json!({
        "ProductName": batch.product,
        "ProductId": batch.product,
        "UpgradeMode": upgrade_mode(batch.mode),
        "OriginalVersion": options.from_versions.first().map_or("", String::as_str),
        "DelayTime": 0,
        "TimeoutInterval": options.timeout.map_or(0, |timeout| timeout.as_secs()),
        "UpgradeMethod": u8::from(options.confirm),
        "MaxRetryNum": retries.map_or(0, |retries| retries.most),
        "RetryInterval": retries.map_or(0, |retries| retries.pause.as_secs() / 60),
        "OverrideMode": u8::from(batch.overrides),
        "TaskUserDefine": options.user_defined.as_deref().unwrap_or(""),
        "RateLimit": rate,
        "StartTime": seconds(plan.starts),
        "EndTime": seconds(plan.ends),
    });
    if let (Value::Object(answer), Value::Object(more)) = (&mut answer, more) {
        answer.extend(more);
    }
    answer
}

/// The answer of `DescribeFirmwareTaskDistribution`.
#[must_use]
pub fn distribution(totals: &BTreeMap<Status, u64>) -> Value {
    let mut totals: Vec<(u8, u64)> =
        totals.iter().map(|(status, total)| (status.number(), *total)).collect();
    totals.sort_unstable();
    let totals = totals.iter().map(|(status, total)| json!({ "Status": status, "Total": total }));
    json!({ "StatusInfos": totals.collect::<Vec<_>>() })
}

/// The answer of `DescribeFirmwareTaskStatistics`.
#[must_use]
pub fn statistics(totals: &BTreeMap<Status, u64>) -> Value {
    let (mut good, mut bad, mut open) = (0_u64, 0_u64, 0_u64);
    for (status, total) in totals {
        let number = match *status {
            Status::Complete => &mut good,
            status if is_over(status) => &mut bad,
            _ => &mut open,
        };
        *number = number.saturating_add(*total);
    }
    json!({ "SuccessTotal": good, "FailureTotal": bad, "UpgradingTotal": open })
}

/// The answer of `DescribeFirmwareUpdateStatus`.
///
/// # Errors
/// [`Code::DeviceFirmwareTaskNotExist`]: the device never had a task.
pub fn update_status(device: &Device) -> Result<Value, ApiError> {
    let Some(task) = &device.task else {
        let what = "the device never had a task";
        return Err(ApiError::new(Code::DeviceFirmwareTaskNotExist, what));
    };
    let runs = device.reported(&task.module).map_or("", |known| known.version.as_str());
    Ok(json!({
        "OriVersion": runs,
        "DstVersion": task.target,
        "Status": task.status.number(),
        "Percent": task.percent.unwrap_or(0),
    }))
}

/// The answer of `CheckFirmwareUpdate`.
///
/// # Errors
/// [`Code::DeviceHasNoFirmware`]: the device never reported a version.
pub fn check_update(device: &Device) -> Result<Value, ApiError> {
    let runs = device.runs().ok_or_else(|| {
        ApiError::new(Code::DeviceHasNoFirmware, "the device never reported a version")
    })?;
    let open = device.task.as_ref().filter(|task| task.finished.is_none());
    let open = open.filter(|task| task.module == Module::default());
    let target = open.map_or("", |task| task.target.as_str());
    Ok(json!({ "CurrentVersion": runs, "DstVersion": target }))
}

/// The answer of `DescribeDeviceFirmwares`.
#[must_use]
pub fn device_firmwares(device: &Device) -> Value {
    let modules = device.modules.iter().map(|known| {
        json!({
            "FwType": fw_type(&known.module),
            "Version": known.version,
            "UpdateTime": known.at.as_micros() / SECOND,
        })
    });
    json!({ "Firmwares": modules.collect::<Vec<_>>() })
}

/// The answer of `DescribeDeviceFirmWare`: a JSON text. Hardware information of devices is not
/// stored; the version is the one in version reports.
#[must_use]
pub fn device_firmware(device: &Device) -> Value {
    let data = json!({
        "DeviceLabel": "{}", "FwVer": device.runs().unwrap_or(""), "Imei": "", "Mac": "",
        "ModuleHardinfo": "", "ModuleSoftinfo": "",
    });
    json!({ "Data": data.to_string() })
}

/// The filters of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Search(Vec<(String, String)>);

impl Search {
    /// Makes it of filters with these keys: the vendor publishes no list, so the keys are ours.
    ///
    /// # Errors
    /// [`Code::InvalidParameterValue`] for another key, or one without a value.
    pub fn new(filters: &[Filter], keys: &[&str]) -> Result<Self, ApiError> {
        let read = |filter: &Filter| match &filter.value {
            Some(value) if keys.contains(&filter.key.as_str()) => {
                Ok((filter.key.clone(), value.clone()))
            }
            _ => {
                let what = format!("Filters are known by, each with a Value: {}", keys.join(", "));
                Err(ApiError::new(Code::InvalidParameterValue, what))
            }
        };
        filters.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is a filter with this key.
    #[must_use]
    pub fn is_by(&self, key: &str) -> bool {
        self.0.iter().any(|(known, _)| known == key)
    }

    /// Whether a value matches the filter of a key.
    #[must_use]
    pub fn fits(&self, key: &str, value: &str) -> bool {
        self.0.iter().all(|(known, wanted)| known != key || wanted == value)
    }

    /// The same for a field of an answer.
    #[must_use]
    pub fn fits_json(&self, entry: &Value, fields: &[&str]) -> bool {
        fields.iter().all(|field| {
            let value = entry.get(field).unwrap_or(&Value::Null);
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            self.fits(field, &text)
        })
    }
}

/// A device, with the fields of both products; fields without data are 0. Its secret is shown only
/// when it is created.
#[must_use]
pub fn device_info(device: &Device, tags: &BTreeMap<String, String>, disabled: bool) -> Value {
    let online = u8::from(device.online);
    let tags = tags.iter().map(|(tag, value)| json!({ "Tag": tag, "Value": value, "Type": 2 }));
    let updated = device.task.as_ref().and_then(|task| task.proved).map_or(0, Instant::as_micros);
    json!({
        "ProductId": device.identity.product_id(),
        "ProductName": device.identity.product_id(),
        "DeviceName": device.identity.device_name(),
        "DeviceType": 0,
        "Online": online,
        "Status": online,
        "Version": device.runs().unwrap_or(""),
        "EnableState": u8::from(!disabled),
        "DevicePsk": "",
        "Tags": tags.collect::<Vec<_>>(),
        "FirmwareUpdateTime": updated / SECOND,
        "LoginTime": 0, "FirstOnlineTime": 0, "LastOfflineTime": 0, "CreateTime": 0,
    })
}
