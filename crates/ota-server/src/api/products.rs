//! Products, and how their devices may register themselves.

use std::sync::Arc;

use ota_cloud::api::{
    ChangeRegistration, Code, Grant, Key, NewProduct, Person, Problem, ProductSecret, ProductView,
    RegistrationView, Right, Settings,
};
use ota_proto::{Identity, Instant};
use ota_store::{Filter, Item, Kind, NewAudit, Read, StoreError};
use serde_json::{Value, json};

use super::reply::Reply;
use super::rows::{all, must_be_there, settings};
use super::{Api, Asked, Failed, audit, once};
use crate::cycle::Rider;
use crate::hub::Hub;
use crate::keys::Keys;
use crate::random;

/// Rows of a removed product per commit.
const PIECE: usize = 100;

pub(super) async fn list(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let items = api.read(|read| all(read, Kind::PRODUCT)).await?;
    let seen = items.iter().filter(|item| asked.grant.caller().sees(&item.id));
    let products: Vec<Value> = seen.map(|item| json!({ "id": item.id })).collect();
    Ok(Reply::json(200, &json!({ "products": products })))
}

pub(super) async fn add(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let new = NewProduct::read(&asked.body)?;
    let shown = api
        .ask(move |hub, now| {
            let settings = new.settings(hub.now().as_micros());
            let shown = json!(ProductView::new(&new.id, &settings));
            let mut rider = Rider { audit: vec![audit(now, &asked, &new.id)], ..Rider::default() };
            once::mount(hub, &asked, &mut rider, Some(&shown))?;
            Ok(make(hub, &new.id, &settings, rider)?.then_some(shown))
        })
        .await?;
    let shown = shown.ok_or_else(|| Problem::new(Code::Exists, "the product exists already"))?;
    Ok(Reply::json(201, &shown))
}

/// Creates a product with its settings. Returns whether it is new.
pub(super) fn make(
    hub: &mut Hub,
    id: &str,
    settings: &Settings,
    mut rider: Rider,
) -> Result<bool, Failed> {
    if hub.cloud.store().read().item(Kind::PRODUCT, id)?.is_some() {
        return Ok(false);
    }
    rider.items.push(row(hub.cloud.store().read(), id, settings)?);
    if settings.registration.mode != ota_cloud::api::Registering::Off {
        rider.secrets.push(hub.keys.sealed_product(id, &fresh()?)?);
    }
    Ok(hub.cloud.add_product(id, rider)?)
}

pub(super) async fn show(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let id = asked.grant.product().to_owned();
    let of = id.clone();
    let settings = api.read(move |read| settings(read, &of)).await?;
    Ok(Reply::json(200, &json!(ProductView::new(&id, &settings))))
}

fn row(read: &dyn Read, id: &str, settings: &Settings) -> Result<Item, StoreError> {
    let body = settings.to_bytes().map_err(|why| StoreError::Invalid { what: why.to_string() })?;
    let rev = read.item(Kind::SETTINGS, id)?.map_or(0, |item| item.rev);
    Ok(Item { rev, ..Item::new(Kind::SETTINGS, id, body) })
}

fn fresh() -> Result<ProductSecret, Failed> {
    let no = |_| Problem::new(Code::Internal, "the system provides no random numbers");
    Ok(ProductSecret::make(random::<{ ProductSecret::RANDOM }>().map_err(no)?))
}

/// A product's secret, for callers who may add devices.
pub(super) fn secret(hub: &Hub, grant: &Grant) -> Result<Option<ProductSecret>, Failed> {
    let id = grant.product();
    if grant.caller().allows(Right::Operate, Some(id), true).is_err() {
        return Ok(None);
    }
    Ok(hub.keys.product_secret(hub.cloud.store(), id)?)
}

pub(super) async fn registration(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let shown = api
        .ask(move |hub, _| {
            let settings = settings(hub.cloud.store().read(), asked.grant.product())?;
            let secret = secret(hub, &asked.grant)?;
            Ok(json!(RegistrationView::new(settings.registration, secret.as_ref())))
        })
        .await?;
    Ok(Reply::json(200, &shown))
}

pub(super) async fn change_registration(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let change = ChangeRegistration::read(&asked.body)?;
    let shown = api
        .ask(move |hub, now| {
            let line = audit(now, &asked, asked.grant.product());
            let (now, secret) = set(hub, &asked.grant, &change, line)?;
            Ok(json!(RegistrationView::new(now.registration, secret.as_ref())))
        })
        .await?;
    Ok(Reply::json(200, &shown))
}

/// Changes the registration settings. A product that allows registration has a secret.
pub(super) fn set(
    hub: &mut Hub,
    grant: &Grant,
    change: &ChangeRegistration,
    line: NewAudit,
) -> Result<(Settings, Option<ProductSecret>), Failed> {
    let id = grant.product();
    must_be_there(hub, id)?;
    let mut settings = settings(hub.cloud.store().read(), id)?;
    settings.registration = change.over(settings.registration)?;
    let mut rider = Rider { audit: vec![line], ..Rider::default() };
    let kept = hub.keys.product_secret(hub.cloud.store(), id)?;
    let secret = match (change.secret()?, kept) {
        (Some(given), _) => Some(given),
        (None, Some(kept)) => Some(kept),
        (None, None) if settings.registration.mode == ota_cloud::api::Registering::Off => None,
        (None, None) => Some(fresh()?),
    };
    if let Some(secret) = &secret {
        rider.secrets.push(hub.keys.sealed_product(id, secret)?);
    }
    rider.items.push(row(hub.cloud.store().read(), id, &settings)?);
    hub.cloud.put_rider(rider)?;
    Ok((settings, secret))
}

pub(super) async fn remove(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let id = asked.call.name("product").to_owned();
    let of = id.clone();
    removed(api, &id, Arc::new(move |now| audit(now, &asked, &of))).await?;
    Ok(Reply::empty())
}

/// Why a product cannot be removed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Used {
    ByDevices,
    ByOther(&'static str),
}

impl From<Used> for Problem {
    fn from(why: Used) -> Self {
        let what = match why {
            Used::ByDevices => "the product has devices: remove them first",
            Used::ByOther(what) => what,
        };
        Self::new(Code::InUse, what)
    }
}

/// Makes an audit line.
pub(super) type Line = Arc<dyn Fn(Instant) -> NewAudit + Send + Sync>;

/// Removes an unused product: its rows in pieces, its own row last.
pub(super) async fn removed(api: &Api, id: &str, line: Line) -> Result<(), Problem> {
    while !step(api, id, Arc::clone(&line)).await?? {}
    Ok(())
}

/// Performs a step; returns whether it was the last.
async fn step(api: &Api, id: &str, line: Line) -> Result<Result<bool, Used>, Problem> {
    let id = id.to_owned();
    api.ask(move |hub, now| {
        let there = Identity::new(&id, "device").is_ok()
            && hub.cloud.store().read().item(Kind::PRODUCT, &id)?.is_some();
        if !there {
            return Err(Problem::unknown_product().into());
        }
        if let Some(why) = used(hub, &id)? {
            return Ok(Err(why));
        }
        let (read, prefix) = (hub.cloud.store().read(), format!("{id}/"));
        let (mut rider, mut gone) = (Rider::default(), Vec::new());
        for kind in [Kind::MODULE, Kind::CAMPAIGN_DEVICES, Kind::CAMPAIGN] {
            let rows = read.items(kind, &prefix, None, PIECE)?;
            if kind == Kind::CAMPAIGN {
                rows.iter().for_each(|item| gone.push(item.id.clone()));
            }
            rider.gone_items.extend(rows.into_iter().map(|item| (kind, item.id, item.rev)));
        }
        if !rider.gone_items.is_empty() {
            hub.cloud.put_rider(rider)?;
            gone.iter().for_each(|id| hub.cloud.forget_batch(id));
            return Ok(Ok(false));
        }
        let settings = read.item(Kind::SETTINGS, &id)?;
        rider.gone_items.extend(settings.map(|item| (Kind::SETTINGS, item.id, item.rev)));
        rider.secrets.push(Keys::no_product(&id));
        rider.audit.push(line(now));
        hub.cloud.remove_product(&id, rider)?;
        Ok(Ok(true))
    })
    .await
}

fn used(hub: &Hub, id: &str) -> Result<Option<Used>, StoreError> {
    let (read, prefix) = (hub.cloud.store().read(), format!("{id}/"));
    if read.count_devices(&Filter::product(id), 1)? > 0 {
        return Ok(Some(Used::ByDevices));
    }
    for (kind, what) in [
        (Kind::FIRMWARE, "the product has firmware: remove it first"),
        (Kind::UPLOAD, "the product has places for uploads, which last a day at most"),
    ] {
        if !read.items(kind, &prefix, None, 1)?.is_empty() {
            return Ok(Some(Used::ByOther(what)));
        }
    }
    if !hub.cloud.catalog().rules(id).is_empty() {
        return Ok(Some(Used::ByOther("the product has a standing rule")));
    }
    let of_key =
        |item: &Item| Key::from_bytes(&item.body).is_ok_and(|key| key.roles.contains_key(id));
    if all(read, Kind::API_KEY)?.iter().any(of_key) {
        return Ok(Some(Used::ByOther("there are keys for the product: remove them first")));
    }
    let of_person =
        |item: &Item| Person::from_bytes(&item.body).is_ok_and(|one| one.roles.contains_key(id));
    if all(read, Kind::PERSON)?.iter().any(of_person) {
        let what = "there are people with a role for the product: change their roles first";
        return Ok(Some(Used::ByOther(what)));
    }
    Ok(None)
}
