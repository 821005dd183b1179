//! Products and the settings of dynamic registration.

use ota_cloud::api::{ChangeRegistration, Settings, Studio, product_id};
use ota_cloud::vendor::{product_info, registration_info, studio_settings};

use super::*;
use crate::api::products::{self, Used};
use crate::api::rows;

/// The most random ids tried to find a free one.
const DRAWS: usize = 20;

pub(super) async fn list(asked: Asked, offset: Option<u64>, limit: Option<u64>) -> Answer {
    let who = asked.clone();
    asked
        .read(move |read| {
            let ids = all(read, Kind::PRODUCT, "")?.into_iter().map(|item| item.id);
            let ids: Vec<String> = ids.filter(|id| who.sees(id)).collect();
            let total = ids.len();
            let shown = page(ids, offset.unwrap_or(0), limit.unwrap_or(MAX_ROWS));
            let show = |id: &String| Ok(product_info(id, &rows::settings(read, id)?, None));
            let shown = shown.iter().map(show).collect::<Result<Vec<Value>, StoreError>>()?;
            Ok(json!({ "TotalCount": total, "Total": total, "Products": listed(shown) }))
        })
        .await
}

/// In a list, a product's fields appear both nested and flat, for both consoles.
fn listed(shown: Vec<Value>) -> Vec<Value> {
    let flat = |product: Value| {
        let mut flat = product.get("Product").cloned().unwrap_or_default();
        if let (Value::Object(flat), Value::Object(product)) = (&mut flat, product) {
            flat.extend(product);
        }
        flat
    };
    shown.into_iter().map(flat).collect()
}

pub(super) async fn describe(asked: Asked) -> Answer {
    let who = asked.clone();
    asked
        .ask(move |hub, _| {
            let id = who.grant.product();
            let settings = rows::settings(hub.cloud.store().read(), id)?;
            let secret = products::secret(hub, &who.grant)?;
            Ok(product_info(id, &settings, secret.as_ref()))
        })
        .await
}

pub(super) async fn create(asked: Asked, action: Action) -> Answer {
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            let micros = now.as_micros();
            let (chosen, settings) = match action {
                Action::CreateProduct { id, name, properties, .. } => {
                    (id, properties.settings(&name, micros)?)
                }
                Action::CreateStudioProduct {
                    id,
                    name,
                    category,
                    net,
                    protocol,
                    description,
                    project,
                    ..
                } => {
                    let studio = Studio::new(category, &net, protocol, &project);
                    (id, studio_settings(&name, &description, studio, micros))
                }
                _ => return Ok(Value::Null),
            };
            is_new(hub, &settings.name)?;
            let id = made(hub, chosen, &settings, &who, now)?;
            let secret = hub.keys.product_secret(hub.cloud.store(), &id)?;
            Ok(product_info(&id, &settings, secret.as_ref()))
        })
        .await
}

fn exists() -> ApiError {
    ApiError::new(Code::ProductAlreadyExist, "a product with this name or id exists")
}

/// Product names are unique, as in the vendor's cloud.
fn is_new(hub: &Hub, name: &str) -> Result<(), Oops> {
    let read = hub.cloud.store().read();
    for item in all(read, Kind::PRODUCT, "")? {
        if rows::settings(read, &item.id)?.called(&item.id) == name {
            return Err(exists().into());
        }
    }
    Ok(())
}

/// Creates a product with the caller's id or a random one.
fn made(
    hub: &mut Hub,
    chosen: Option<String>,
    settings: &Settings,
    who: &Asked,
    now: Instant,
) -> Result<String, Oops> {
    if let Some(id) = chosen {
        let body = json!({ "id": id }).to_string();
        ota_cloud::api::NewProduct::read(body.as_bytes())?;
        let rider = who.rider(now, &id);
        return match products::make(hub, &id, settings, rider).map_err(taken)? {
            true => Ok(id),
            false => Err(exists().into()),
        };
    }
    for _ in 0..DRAWS {
        let no = |_| ApiError::new(Code::InternalError, "the system provides no random numbers");
        let id = product_id(random().map_err(no)?);
        let rider = who.rider(now, &id);
        match products::make(hub, &id, settings, rider) {
            Ok(true) => return Ok(id),
            Ok(false) => {}
            Err(crate::api::Failed::Refused(_)) => {}
            Err(why) => return Err(why.into()),
        }
    }
    let what = "no free product id was found: choose one with ProductId";
    Err(ApiError::new(Code::FailedOperation, what).into())
}

/// Treats an id that is a prefix of another one as existing.
fn taken(why: crate::api::Failed) -> Oops {
    match why {
        crate::api::Failed::Refused(why) if why.code == ota_cloud::api::Code::Exists => {
            ApiError::new(Code::ProductAlreadyExist, why.detail).into()
        }
        why => why.into(),
    }
}

pub(super) async fn delete(asked: Asked, product: String) -> Answer {
    let (who, of) = (asked.clone(), product.clone());
    let line = std::sync::Arc::new(move |now| who.audit(now, &of));
    match products::removed(&asked.api, &product, line).await {
        Ok(()) => Ok(Value::Null),
        Err(why) if why == Problem::from(Used::ByDevices) => {
            Err(ApiError::new(Code::DevicesExistUnderProduct, why.detail))
        }
        Err(why) => Err((&why).into()),
    }
}

pub(super) async fn registration(asked: Asked) -> Answer {
    let who = asked.clone();
    asked
        .ask(move |hub, _| {
            let settings = rows::settings(hub.cloud.store().read(), who.grant.product())?;
            let secret = products::secret(hub, &who.grant)?;
            Ok(registration_info(settings.registration, secret.as_ref()))
        })
        .await
}

pub(super) async fn set_registration(asked: Asked, kind: u64, limit: u64) -> Answer {
    let change = ChangeRegistration::to(vendor::registration(kind, limit)?);
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            let line = who.audit(now, who.grant.product());
            let (settings, secret) = products::set(hub, &who.grant, &change, line)?;
            Ok(registration_info(settings.registration, secret.as_ref()))
        })
        .await
}
