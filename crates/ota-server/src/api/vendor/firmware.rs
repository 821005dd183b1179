//! The catalogue.

use ota_cloud::api::ChangeFirmware;
use ota_cloud::vendor::Search;
use ota_cloud::{Listed, Module};

use super::batch::module;
use super::*;

pub(super) fn unknown() -> ApiError {
    ApiError::new(Code::FirmwareNotExist, "the product has no such firmware")
}

/// The firmware of a product, or all firmware for an empty prefix.
pub(super) fn listed(read: &dyn Read, prefix: &str) -> Result<Vec<Listed>, StoreError> {
    let items = all(read, Kind::FIRMWARE, prefix)?;
    let read = |item: &Item| Listed::from_bytes(&item.body).map_err(|why| corrupt(&why));
    items.iter().map(read).collect()
}

/// One firmware of the request's product.
fn found(hub: &Hub, asked: &Asked, module: &Module, version: &str) -> Result<Listed, Oops> {
    let product = asked.grant.product();
    // Only a version of the catalogue is the name of a row.
    if hub.cloud.catalog().get(product, module, version).is_none() {
        return Err(unknown().into());
    }
    Ok(hub.cloud.one_listed(product, module, version)?.ok_or_else(unknown)?)
}

pub(super) async fn list(asked: Asked, action: Action) -> Answer {
    let Action::ListFirmwares { page: number, size, product, filters } = action else {
        return Ok(Value::Null);
    };
    let search = Search::new(&filters, &["FirmwareVersion", "FirmwareName", "FwType"])?;
    let prefix = product.map(|product| format!("{product}/")).unwrap_or_default();
    let who = asked.clone();
    asked
        .read(move |read| {
            let rows = listed(read, &prefix)?;
            let rows: Vec<Value> = rows
                .iter()
                .filter(|row| who.sees(&row.firmware.product_id))
                .filter(|row| search.fits("FirmwareVersion", &row.firmware.version))
                .filter(|row| search.fits("FirmwareName", &row.name))
                .map(vendor::firmware)
                .filter(|row| search.fits_json(row, &["FwType"]))
                .collect();
            let total = rows.len();
            let rows = page(rows, offset(number, size), size);
            Ok(json!({ "TotalCount": total, "Firmwares": rows }))
        })
        .await
}

pub(super) async fn describe(asked: Asked, version: String, fw_type: Option<String>) -> Answer {
    let module = module(fw_type.as_deref())?;
    let who = asked.clone();
    let found = asked.ask(move |hub, _| found(hub, &who, &module, &version)).await?;
    Ok(vendor::firmware(&found))
}

pub(super) async fn versions(asked: Asked) -> Answer {
    let prefix = format!("{}/", asked.grant.product());
    let rows = asked.read(move |read| Ok(listed(read, &prefix)?)).await?;
    let mut versions: Vec<String> = rows.into_iter().map(|row| row.firmware.version).collect();
    versions.sort_unstable();
    versions.dedup();
    Ok(json!({ "Version": versions }))
}

pub(super) async fn edit(asked: Asked, action: Action) -> Answer {
    let Action::EditFirmware { version, name, description, module: fw_type, .. } = action else {
        return Ok(Value::Null);
    };
    let module = module(fw_type.as_deref())?;
    let change = ChangeFirmware::words(name, description).map_err(|why| ApiError::from(&why))?;
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            let mut listed = found(hub, &who, &module, &version)?;
            change.apply(&mut listed)?;
            let rider = who.rider(now, &version);
            hub.cloud.change_listed(&listed, rider)?;
            Ok(Value::Null)
        })
        .await
}

pub(super) async fn delete(asked: Asked, version: String) -> Answer {
    let handle = asked.api.0.handle.clone();
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            let listed = found(hub, &who, &Module::default(), &version)?;
            if hub.cloud.is_used(&listed.firmware)? {
                let what = "a rule or an unfinished task has it as its target: end that first";
                return Err(ApiError::new(Code::FailedOperation, what).into());
            }
            hub.cloud.remove_listed(&listed, who.rider(now, &version))?;
            handle.images.remove(&listed.firmware.path);
            upload::forget(&hub.cloud, handle.folder.as_ref(), listed.image.as_deref());
            Ok(Value::Null)
        })
        .await
}

pub(super) async fn url(asked: Asked, version: String) -> Answer {
    let who = asked.clone();
    let url = asked
        .ask(move |hub, now| {
            let listed = found(hub, &who, &Module::default(), &version)?;
            Ok(hub.cloud.url_of(&listed.firmware, now))
        })
        .await?;
    Ok(json!({ "Url": url }))
}
