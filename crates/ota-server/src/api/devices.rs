//! Devices.

use std::collections::BTreeMap;

use ota_cloud::Device;
use ota_cloud::api::{
    ChangeDevice, Code, DeviceFilter, DeviceView, EventView, Grant, NewDevice, Problem,
    devices_of_csv,
};
use ota_cloud::login::{self, Proof};
use ota_proto::credentials::Secret;
use ota_proto::{Identity, Instant};
use ota_store::{DeviceKey, DeviceRow, EventQuery, Filter, NewAudit, Query, VersionFilter};
use serde_json::{Value, json};

use super::reply::Reply;
use super::rows::{events_after, must_be_there, seen};
use super::{Api, Asked, Failed, audit, once};
use crate::cycle::{Edit, Input, Rider};
use crate::hub::Hub;
use crate::random;

pub(super) async fn list(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let filter = filter_of(asked.grant.product(), DeviceFilter::read(&asked.query)?);
    let (limit, after) = (asked.query.limit()?, asked.query.after()?);
    let certificates = asked.query.flag("certificates")?.unwrap_or(false);
    let page = api.read(move |read| read.list(&Query { filter, after, limit })).await?;
    let (rows, next) = (page.rows, page.next);
    let shown = api
        .ask(move |hub, _| {
            let view = |row: &DeviceRow| match certificates {
                true => with_certificate(hub, view_of(hub, row), &row.key),
                false => Ok(view_of(hub, row)),
            };
            rows.iter().map(view).collect::<Result<Vec<_>, Failed>>()
        })
        .await?;
    Ok(Reply::json(200, &json!({ "devices": shown, "next": next })))
}

/// The store's filter.
pub(super) fn filter_of(product: &str, filter: DeviceFilter) -> Filter {
    let version = filter
        .version
        .map(|(module, version)| VersionFilter::Is { module: module.as_str().to_owned(), version });
    Filter {
        product: product.to_owned(),
        version: version.or(filter.unreported.then_some(VersionFilter::Unreported)),
        tag: filter.tag,
        task: filter.task.map(|task| task.map(ota_cloud::Status::number)),
        prefix: filter.prefix,
    }
}

/// A row of a list. An unreadable one is shown as such.
fn view_of(hub: &Hub, row: &DeviceRow) -> Value {
    match Device::from_bytes(&row.state) {
        Ok(mut device) => {
            device.online = hub.cloud.is_online(&device.identity);
            json!(DeviceView::new(&device, &row.tags, row.disabled))
        }
        Err(_) => json!({
            "product": row.key.product, "name": row.key.name, "unreadable": true,
        }),
    }
}

/// A view and the device's certificate, which is public and stored beside the row.
fn with_certificate(hub: &Hub, mut shown: Value, key: &DeviceKey) -> Result<Value, Failed> {
    let Ok(device) = Identity::new(&key.product, &key.name) else { return Ok(shown) };
    let pem = hub.keys.certificate(&hub.cloud, &device)?;
    if let (Value::Object(shown), Some(pem)) = (&mut shown, pem) {
        shown.insert("certificate".into(), pem.into());
    }
    Ok(shown)
}

pub(super) async fn show(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let device = asked.grant.device(asked.call.name("name"))?;
    let shown = api
        .ask(move |hub, _| {
            let key = DeviceKey::new(device.product_id(), device.device_name());
            let shown = seen(hub, &device)?;
            with_certificate(hub, shown, &key)
        })
        .await?;
    Ok(Reply::json(200, &shown))
}

pub(super) async fn add(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let new = NewDevice::read(&asked.body)?;
    let added = api
        .ask(move |hub, _| {
            let audit = |now, of: &str| audit(now, &asked, of);
            register(hub, &asked.grant, &audit, vec![new], true, Some(&asked))
        })
        .await?;
    Ok(Reply::json(201, &added))
}

pub(super) async fn add_many(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let new = devices_of_csv(&asked.body)?;
    let added = api
        .ask(move |hub, _| {
            let audit = |now, of: &str| audit(now, &asked, of);
            register(hub, &asked.grant, &audit, new, false, Some(&asked))
        })
        .await?;
    Ok(Reply::json(201, &added))
}

/// Registers devices with their secrets, all in one commit. Existing ones stay unchanged, or are
/// refused with `strict`. The answer is stored for a repeatable call.
pub(super) fn register(
    hub: &mut Hub,
    grant: &Grant,
    audit: &dyn Fn(Instant, &str) -> NewAudit,
    new: Vec<NewDevice>,
    strict: bool,
    asked: Option<&Asked>,
) -> Result<Value, Failed> {
    let now = hub.now();
    must_be_there(hub, grant.product())?;
    let (mut inputs, mut rider, mut shown) = (Vec::new(), Rider::default(), Vec::new());
    for new in new {
        let device = grant.device(&new.name)?;
        let product = grant.product();
        let client_id = format!("{product}{}", new.name);
        let other = hub.keys.find(&hub.cloud, &client_id)?;
        if other.is_some_and(|(other, _)| other != device) {
            let what = "another device has the client id: product and name run together";
            return Err(Problem::new(Code::Exists, what).into());
        }
        if hub.cloud.is_there(&device)? {
            if strict {
                return Err(Problem::new(Code::Exists, "the device exists already").into());
            }
            shown.push(json!({ "product": product, "name": new.name, "made": false }));
            continue;
        }
        let (proof, made) = proof_of(&new)?;
        rider.secrets.push(hub.keys.sealed(&device, Some(&proof))?);
        rider.audit.push(audit(now, &new.name));
        let mut line = json!({ "product": product, "name": new.name, "made": true });
        if let (Value::Object(line), Some(secret)) = (&mut line, made) {
            line.insert("secret".into(), base64(&secret).into());
        }
        shown.push(line);
        inputs.push((device.clone(), Input::Register));
        if new.disabled {
            rider.disabled.insert(device.clone());
        }
        rider.tags.insert(device, new.tags);
    }
    if hub.cloud.room() < u32::try_from(inputs.len()).unwrap_or(u32::MAX) {
        return Err(Problem::new(Code::Full, "there is no room for this many devices").into());
    }
    let answer = if strict { shown.pop().unwrap_or_default() } else { json!({ "devices": shown }) };
    // A call without changes has the same answer the next time, and its answer must not displace
    // one with secrets.
    if let Some(asked) = asked.filter(|_| strict || !inputs.is_empty()) {
        once::mount(hub, asked, &mut rider, Some(&answer))?;
    }
    let outcome = hub.cloud.turn_with(now, &inputs, rider)?;
    if let Some(why) = outcome.answers.iter().find_map(|answer| answer.clone().err()) {
        return Err(crate::cycle::CommandError::Refused(why).into());
    }
    hub.registered(outcome);
    Ok(answer)
}

/// What a device proves itself with, and its secret if it was generated.
fn proof_of(new: &NewDevice) -> Result<(Proof, Option<Vec<u8>>), Failed> {
    if let Some(pem) = &new.certificate {
        let leaf = crate::tls::leaf(pem.as_bytes());
        let leaf = leaf.map_err(|why| Problem::field("certificate", why.to_string()))?;
        return Ok((Proof::Certificate(leaf), None));
    }
    if let Some(secret) = new.given()? {
        return Ok((Proof::Secret(secret.expose().to_vec()), None));
    }
    let no = |_| Problem::new(Code::Internal, "the system provides no random numbers");
    let bytes: [u8; 16] = random().map_err(no)?;
    Ok((Proof::Secret(bytes.to_vec()), Some(bytes.to_vec())))
}

/// In the format of the devices' configuration.
fn base64(secret: &[u8]) -> String {
    Secret::from_bytes(secret).map(|secret| secret.expose_base64()).unwrap_or_default()
}

pub(super) async fn change(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let device = asked.grant.device(asked.call.name("name"))?;
    let ChangeDevice { disabled, tags, .. } = ChangeDevice::read(&asked.body)?;
    let mut edit = Edit::default();
    (edit.disabled, edit.tags) = (disabled, tags);
    let shown = api
        .ask(move |hub, now| {
            let mut rider = Rider::default();
            rider.audit.push(audit(now, &asked, device.device_name()));
            let outcome = hub.cloud.edit(now, &device, edit, rider)?;
            hub.registered(outcome);
            if disabled == Some(true) {
                hub.dismiss(&device);
            }
            seen(hub, &device)
        })
        .await?;
    Ok(Reply::json(200, &shown))
}

pub(super) async fn remove(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let device = asked.grant.device(asked.call.name("name"))?;
    api.ask(move |hub, _| {
        let now = hub.now();
        if !hub.cloud.is_there(&device)? {
            return Err(Problem::unknown_device().into());
        }
        hub.dismiss(&device);
        let mut rider = Rider::default();
        rider.secrets.push(hub.keys.sealed(&device, None)?);
        rider.audit.push(audit(now, &asked, device.device_name()));
        let outcome = hub.cloud.remove(now, &device, rider)?;
        hub.registered(outcome);
        Ok(Reply::empty())
    })
    .await
}

pub(super) async fn history(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let device = asked.grant.device(asked.call.name("name"))?;
    let limit = asked.query.limit()?;
    let after = asked.query.number("after")?.unwrap_or(0);
    let key = DeviceKey::new(device.product_id(), device.device_name());
    let events = api
        .read(move |read| {
            let there = read.device(&key)?.is_some();
            let first = events_after(read, &key.product)?;
            let query = EventQuery { after: after.max(first), device: Some(key) };
            let events = read.events(&query, limit)?;
            // A removed device still has its history.
            Ok((there || !events.is_empty() || after > 0).then_some(events))
        })
        .await?
        .ok_or_else(Problem::unknown_device)?;
    let next = (events.len() == limit).then(|| events.last().map(|event| event.seq)).flatten();
    let shown: Vec<Value> = events
        .iter()
        .map(|event| {
            let of = (event.what.product.as_str(), event.what.name.as_str());
            json!(EventView::new(event.seq, event.what.at, of, &event.what.body))
        })
        .collect();
    Ok(Reply::json(200, &json!({ "events": shown, "next": next })))
}

pub(super) async fn refused(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let shown = api
        .ask(move |hub, _| {
            let product = asked.grant.product();
            let products: Vec<&str> = hub.cloud.products().collect();
            let mut shown: BTreeMap<String, Value> = BTreeMap::new();
            for (client_id, refused) in hub.refusals.iter() {
                // The name is product and device without a separator: the longest matching product
                // counts.
                let devices = login::devices_of(client_id, products.iter().copied());
                let longest = devices.max_by_key(|device| device.product_id().len());
                if longest.is_some_and(|device| device.product_id() == product) {
                    let line = json!({
                        "client_id": client_id,
                        "at": refused.at.as_micros(),
                        "peer": refused.peer.to_string(),
                        "why": refused.why.to_string(),
                        "times": refused.times,
                    });
                    shown.insert(client_id.to_owned(), line);
                }
            }
            Ok(shown.into_values().collect::<Vec<_>>())
        })
        .await?;
    Ok(Reply::json(200, &json!({ "refused": shown })))
}
