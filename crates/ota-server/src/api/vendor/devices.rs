//! Devices, as far as updates need them.

use ota_cloud::Device;
use ota_cloud::api::NewDevice;
use ota_cloud::vendor::{Psk, device_info};
use ota_store::{DeviceRow, Filter, Query, VersionFilter};

use super::*;
use crate::api::devices::register;
use crate::cycle::Edit;

/// The vendor's word for devices that never reported a version.
const UNREPORTED: &str = "None-FirmwareVersion";
/// The largest offset of a page.
const FAR: u64 = 100_000;

pub(super) async fn dispatch(asked: Asked, action: Action) -> Answer {
    match action {
        Action::CreateDevice { device, psk, .. } => create(asked, device, psk).await,
        Action::DescribeDevice { device, .. } => describe(asked, device).await,
        Action::DescribeDevices { .. } => list(asked, action).await,
        Action::DeleteDevice { device, .. } => delete(asked, device).await,
        Action::UpdateDevicesEnableState { devices, status, .. } => {
            enable(asked, devices, status == 1).await
        }
        // An action of a later `ota-cloud`.
        _ => Err(ApiError::new(Code::InvalidAction, "there is no such action")),
    }
}

async fn create(asked: Asked, name: String, psk: Option<Psk>) -> Answer {
    let psk = psk.map(|psk| psk.expose().to_owned());
    let body = json!({ "name": name, "secret": psk }).to_string();
    let new = NewDevice::read(body.as_bytes()).map_err(|why| ApiError::from(&why))?;
    let who = asked.clone();
    let made = asked
        .ask(move |hub, _| {
            let audit = |now, of: &str| who.audit(now, of);
            register(hub, &who.grant, &audit, vec![new], true, None).map_err(|why| match why {
                crate::api::Failed::Refused(why) if why.code == ota_cloud::api::Code::Exists => {
                    ApiError::new(Code::DeviceAlreadyExist, why.detail).into()
                }
                why => Oops::from(why),
            })
        })
        .await?;
    let made_psk = made.get("secret").and_then(Value::as_str).map(str::to_owned);
    let data = json!({
        "DeviceName": name, "DevicePsk": made_psk.or(psk).unwrap_or_default(), "DeviceCert": "",
        "DevicePrivateKey": "",
    });
    let mut answer = data.clone();
    if let Value::Object(answer) = &mut answer {
        answer.insert("Data".to_owned(), data);
    }
    Ok(answer)
}

async fn describe(asked: Asked, name: String) -> Answer {
    let device = asked.device(&name)?;
    asked
        .ask(move |hub, _| {
            let seen = hub.cloud.seen(&device)?.ok_or_else(Problem::unknown_device)?;
            let mut answer = device_info(&seen.device, &seen.tags, seen.disabled);
            let data = answer.clone();
            if let Value::Object(answer) = &mut answer {
                answer.insert("Device".to_owned(), data);
            }
            Ok(answer)
        })
        .await
}

async fn list(asked: Asked, action: Action) -> Answer {
    let Action::DescribeDevices { offset, limit, version, device, module, state, .. } = action
    else {
        return Ok(Value::Null);
    };
    let (offset, limit) = (offset.unwrap_or(0), limit.unwrap_or(20).min(MAX_ROWS));
    if state.is_some() || offset > FAR {
        let what = "EnableState is not supported here, and Offset is at most 100,000";
        return Err(ApiError::new(Code::UnsupportedOperation, what));
    }
    let module = batch::module(module.as_deref())?.as_str().to_owned();
    let version = version.map(|version| match version.as_str() {
        UNREPORTED => VersionFilter::Unreported,
        _ => VersionFilter::Is { module, version },
    });
    let prefix = device.unwrap_or_default();
    let filter = Filter { version, prefix, ..Filter::product(asked.product()) };
    let (rows, total) = found(&asked, filter, offset, limit).await?;
    let shown = asked
        .ask(move |hub, _| {
            let view = |row: &ota_store::DeviceRow| {
                let mut device = Device::from_bytes(&row.state).ok()?;
                device.online = hub.cloud.is_online(&device.identity);
                Some(device_info(&device, &row.tags, row.disabled))
            };
            Ok(rows.iter().filter_map(view).collect::<Vec<Value>>())
        })
        .await?;
    Ok(json!({ "TotalCount": total, "Total": total, "Devices": shown }))
}

/// The devices after an offset, and their total number. A page with a large offset is read in
/// steps.
async fn found(
    asked: &Asked,
    filter: Filter,
    offset: u64,
    limit: u64,
) -> Result<(Vec<DeviceRow>, u64), ApiError> {
    let _walk = asked.begin_walk()?;
    let counted = filter.clone();
    let total = asked.api.walk(move |read| read.count_devices(&counted, FAR)).await?;
    let (mut rows, mut after, mut skip) = (Vec::new(), None, offset);
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    loop {
        let query = Query { filter: filter.clone(), after, limit: 100 };
        let page = asked.api.walk(move |read| read.list(&query)).await?;
        let skipped = skip.min(page.rows.len() as u64);
        skip = skip.saturating_sub(skipped);
        rows.extend(page.rows.into_iter().skip(usize::try_from(skipped).unwrap_or(0)));
        after = page.next;
        if after.is_none() || rows.len() >= wanted {
            rows.truncate(wanted);
            return Ok((rows, total));
        }
    }
}

async fn delete(asked: Asked, name: String) -> Answer {
    let device = asked.device(&name)?;
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            if hub.cloud.device(&device)?.is_none() {
                return Err(Problem::unknown_device().into());
            }
            hub.dismiss(&device);
            let mut rider = who.rider(now, device.device_name());
            rider.secrets.push(hub.keys.sealed(&device, None)?);
            let now = hub.now();
            let outcome = hub.cloud.remove(now, &device, rider)?;
            hub.registered(outcome);
            Ok(json!({ "ResultCode": "", "ResultMessage": "" }))
        })
        .await
}

async fn enable(asked: Asked, names: Vec<String>, enabled: bool) -> Answer {
    let devices = names.iter().map(|name| asked.device(name)).collect::<Result<Vec<_>, _>>()?;
    if devices.is_empty() || devices.len() > 100 {
        let what = "DeviceNames has 1 to 100 names";
        return Err(ApiError::new(Code::InvalidParameterValue, what));
    }
    // One at a time, so that other commands run between two commits.
    for device in &devices {
        let device = device.clone();
        let known = asked.ask(move |hub, _| Ok(hub.cloud.device(&device)?.is_some()));
        if !known.await? {
            return Err(ApiError::from(&Problem::unknown_device()));
        }
    }
    for device in devices {
        let who = asked.clone();
        let changed = asked.ask(move |hub, now| {
            let edit = Edit { disabled: Some(!enabled), ..Edit::default() };
            let rider = who.rider(now, device.device_name());
            let outcome = hub.cloud.edit(now, &device, edit, rider)?;
            hub.registered(outcome);
            if !enabled {
                hub.dismiss(&device);
            }
            Ok(())
        });
        changed.await?;
    }
    Ok(json!({ "ResultCode": "", "ResultMessage": "" }))
}
