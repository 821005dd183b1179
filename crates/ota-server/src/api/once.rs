//! Calls with an idempotency key. The record of a call is in the same commit as its change.

use std::collections::BTreeSet;

use ota_cloud::api::{NewProduct, Once, Op, Problem, to_json};
use ota_proto::Instant;
use ota_store::{Item, Kind, Read, StoreError};
use serde_json::Value;

use super::reply::Reply;
use super::rows::{seen, settings};
use super::{Api, Asked, Failed, corrupt};
use crate::cycle::Rider;
use crate::hub::Hub;
use crate::keys::Keys;

/// The most expired answers that each new one removes.
const OLD: usize = 50;

/// Returns the answer of the first call with this key, if there was one.
pub(super) async fn before(api: &Api, asked: &Asked) -> Result<Option<Reply>, Problem> {
    let Some(once) = asked.once.clone() else { return Ok(None) };
    let (grant, op) = (asked.grant.clone(), asked.call.operation().op);
    let (name, product) = (asked.call.name("name").to_owned(), product_of(asked));
    let found = api.ask(move |hub, now| {
        let item = hub.cloud.store().read().item(Kind::IDEMPOTENCY, once.id())?;
        let Some(item) = item.filter(|item| !is_old(item, now)) else { return Ok(None) };
        if is_of_before(hub, &once, &product, &item)? {
            return Ok(None);
        }
        let status = once.answered(&item.body).map_err(|why| corrupt(&why))??;
        let answer = match hub.keys.answer(hub.cloud.store(), once.id())? {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|why| corrupt(&why))?,
            // The service ended between the task and its answer.
            None if is_of_task(op) => task(hub, &grant.device(&name)?)?,
            None => return Err(corrupt(&"a call without its answer").into()),
        };
        Ok(Some(Reply::json(status, &answer).again()))
    });
    found.await
}

const fn is_of_task(op: Op) -> bool {
    matches!(op, Op::StartUpdate | Op::Cancel | Op::Retry | Op::Confirm | Op::Push)
}

/// A device's task, as the calls about it return it.
pub(super) fn task(hub: &mut Hub, device: &ota_proto::Identity) -> Result<Value, Failed> {
    Ok(seen(hub, device)?.get("task").cloned().unwrap_or_default())
}

fn is_old(item: &Item, now: Instant) -> bool {
    item.wake.is_none_or(|wake| wake <= now.as_micros())
}

/// Returns the product of a call, also one that the call creates.
fn product_of(asked: &Asked) -> String {
    match asked.call.operation().op {
        Op::AddProduct => NewProduct::read(&asked.body).map(|new| new.id).unwrap_or_default(),
        _ => asked.grant.product().to_owned(),
    }
}

/// Returns whether the stored call was for an earlier product of the same name that was removed
/// since. Its effects were removed with the product, so the call is carried out again.
fn is_of_before(hub: &Hub, once: &Once, product: &str, item: &Item) -> Result<bool, StoreError> {
    if product.is_empty() || !matches!(once.answered(&item.body), Ok(Ok(_))) {
        return Ok(false);
    }
    let read = hub.cloud.store().read();
    let life = u64::try_from(Once::LIFE.as_micros()).unwrap_or(u64::MAX);
    let kept = item.wake.unwrap_or(0).saturating_sub(life);
    Ok(read.item(Kind::PRODUCT, product)?.is_none() || settings(read, product)?.made > kept)
}

/// Stores the call in the commit of its change, and its answer if that is known before the commit.
pub(super) fn mount(
    hub: &mut Hub,
    asked: &Asked,
    rider: &mut Rider,
    answer: Option<&Value>,
) -> Result<(), Failed> {
    let Some(once) = &asked.once else { return Ok(()) };
    let now = hub.now();
    let body = once.to_bytes(asked.call.operation().status).map_err(|why| corrupt(&why))?;
    let mut item = Item::new(Kind::IDEMPOTENCY, once.id(), body);
    item.wake = Some((now + Once::LIFE).as_micros());
    for id in hub.cloud.store_mut().due_items(Kind::IDEMPOTENCY, now.as_micros(), OLD)? {
        let Some(old) = hub.cloud.store().read().item(Kind::IDEMPOTENCY, &id)? else { continue };
        if id == once.id() {
            continue;
        }
        rider.secrets.push(Keys::no_answer(&id));
        rider.gone_items.push((Kind::IDEMPOTENCY, id, old.rev));
    }
    make_room(hub, asked.grant.caller().id(), once.id(), rider)?;
    let there = hub.cloud.store().read().item(Kind::IDEMPOTENCY, once.id())?;
    // An unexpired one was stored by a concurrent call: the commit refuses this one.
    if let Some(there) = there
        && (is_old(&there, now) || is_of_before(hub, once, &product_of(asked), &there)?)
    {
        item.rev = there.rev;
    }
    let wake = item.wake.unwrap_or(0);
    rider.items.push(item);
    hub.chores
        .answers
        .entry(asked.grant.caller().id().to_owned())
        .or_default()
        .insert((wake, once.id().to_owned()));
    rider.secrets.push(match answer {
        Some(answer) => hub.keys.sealed_answer(once.id(), &to_json(answer))?,
        None => Keys::no_answer(once.id()),
    });
    Ok(())
}

/// Removes the oldest answers of a key that has too many. The index is in memory, the oldest first.
/// An entry without a row, because its commit failed, is dropped when it becomes the oldest.
fn make_room(hub: &mut Hub, key: &str, besides: &str, rider: &mut Rider) -> Result<(), Failed> {
    if !hub.chores.answers.contains_key(key) {
        let kept = stored(hub.cloud.store().read(), key)?;
        hub.chores.answers.insert(key.to_owned(), kept);
    }
    let Some(kept) = hub.chores.answers.get_mut(key) else { return Ok(()) };
    let mut over = kept.len().saturating_add(1).saturating_sub(Once::MOST);
    let mut none = Vec::new();
    for (wake, id) in kept.iter().take(OLD) {
        let leaves = rider.gone_items.iter().any(|(_, gone, _)| gone == id);
        match hub.cloud.store().read().item(Kind::IDEMPOTENCY, id)? {
            Some(old) if old.wake == Some(*wake) && !leaves && id != besides => {
                if over == 0 {
                    break;
                }
                rider.secrets.push(Keys::no_answer(id));
                rider.gone_items.push((Kind::IDEMPOTENCY, id.clone(), old.rev));
            }
            Some(old) if old.wake == Some(*wake) => {}
            _ => none.push((*wake, id.clone())),
        }
        over = over.saturating_sub(1);
    }
    for gone in none {
        kept.remove(&gone);
    }
    Ok(())
}

/// The stored answers of a key.
fn stored(read: &dyn Read, key: &str) -> Result<BTreeSet<(u64, String)>, StoreError> {
    let (prefix, mut after, mut kept) = (format!("{key}/"), None::<String>, BTreeSet::new());
    loop {
        let page = read.items(Kind::IDEMPOTENCY, &prefix, after.as_deref(), 100)?;
        let Some(last) = page.last() else { return Ok(kept) };
        after = Some(last.id.clone());
        kept.extend(page.into_iter().map(|item| (item.wake.unwrap_or(0), item.id)));
    }
}

/// Stores an answer that is known only after the commit. If this fails, the answer is computed
/// again.
pub(super) fn after(hub: &mut Hub, asked: &Asked, answer: &Value) {
    let Some(once) = &asked.once else { return };
    if let Ok(sealed) = hub.keys.sealed_answer(once.id(), &to_json(answer)) {
        let rider = Rider { secrets: vec![sealed], ..Rider::default() };
        let _ = hub.cloud.put_rider(rider);
    }
}
