//! Modules: the names of parts of a device that have their own firmware. Reports and firmware may
//! use names without a row; a row only adds a description for people.

use std::collections::BTreeSet;

use ota_cloud::vendor::{NamedModule, built_in};
use ota_cloud::{Module, vendor::module_info};

use super::*;

fn of(read: &dyn Read, prefix: &str) -> Result<Vec<Value>, Oops> {
    let items = all(read, Kind::MODULE, prefix)?;
    let read = |item: &Item| {
        let module = NamedModule::from_bytes(&item.body).map_err(|why| corrupt(&why))?;
        Ok(module_info(&module))
    };
    items.iter().map(read).collect()
}

/// The modules of one product, the built-in ones first.
fn of_one(read: &dyn Read, product: &str) -> Result<Vec<Value>, Oops> {
    let mut modules: Vec<Value> = built_in(product).iter().map(module_info).collect();
    modules.extend(of(read, &format!("{product}/"))?);
    Ok(modules)
}

pub(super) async fn of_product(asked: Asked) -> Answer {
    let product = asked.product();
    let modules = asked.read(move |read| of_one(read, &product)).await?;
    Ok(json!({ "Modules": modules }))
}

pub(super) async fn list(asked: Asked, offset: u64, size: u64) -> Answer {
    let who = asked.clone();
    asked
        .read(move |read| {
            let products = all(read, Kind::PRODUCT, "")?;
            let products: BTreeSet<String> =
                products.into_iter().map(|item| item.id).filter(|id| who.sees(id)).collect();
            let mut modules = Vec::new();
            for product in products {
                modules.extend(of_one(read, &product)?);
            }
            let total = modules.len();
            Ok(json!({ "TotalCount": total, "Modules": page(modules, offset, size) }))
        })
        .await
}

pub(super) async fn change(asked: Asked, action: Action) -> Answer {
    let (fw_type, fresh, name, remark) = match action {
        Action::CreateOtaModule { module, name, remark, .. } => (module, Some(true), name, remark),
        Action::UpdateOtaModule { module, name, remark, .. } => (module, Some(false), name, remark),
        Action::DeleteOtaModule { module, .. } => (module, None, None, None),
        _ => return Ok(Value::Null),
    };
    let module = batch::module(Some(&fw_type))?;
    if module == Module::default() {
        let what = "this module is built in";
        return Err(ApiError::new(Code::InvalidParameterValue, what));
    }
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            let product = who.grant.product();
            crate::api::rows::must_be_there(hub, product)?;
            let id = format!("{product}/{module}");
            let there = hub.cloud.store().read().item(Kind::MODULE, &id)?;
            let mut rider = who.rider(now, module.as_str());
            match (fresh, there) {
                (Some(true), Some(_)) => {
                    let what = "the product has this module already";
                    return Err(ApiError::new(Code::InvalidParameterValue, what).into());
                }
                (Some(false) | None, None) => {
                    let what = "the product has no such module";
                    return Err(ApiError::new(Code::ResourceNotFound, what).into());
                }
                (None, Some(item)) => {
                    let mut firmware = hub.cloud.catalog().iter();
                    if firmware.any(|f| f.product_id == product && f.module() == module) {
                        let what = "there is firmware for this module";
                        return Err(ApiError::new(Code::FailedOperation, what).into());
                    }
                    rider.gone_items.push((Kind::MODULE, id, item.rev));
                }
                (Some(_), there) => {
                    let (rev, before) = match &there {
                        Some(item) => {
                            let before = NamedModule::from_bytes(&item.body);
                            (item.rev, Some(before.map_err(|why| corrupt(&why))?))
                        }
                        None => (0, None),
                    };
                    let module = NamedModule::new(product, &module, before, name, remark, now)?;
                    let body = module.to_bytes().map_err(|why| corrupt(&why))?;
                    rider.items.push(Item { rev, ..Item::new(Kind::MODULE, id, body) });
                }
            }
            hub.cloud.put_rider(rider)?;
            Ok(Value::Null)
        })
        .await
}
