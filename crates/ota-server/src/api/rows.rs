//! What several calls read of the store.

use ota_cloud::Product;
use ota_cloud::api::{DeviceView, Key, Problem, Settings};
use ota_proto::Identity;
use ota_store::{Item, Kind, Read, StoreError};
use serde_json::{Value, json};

use super::{Failed, corrupt};
use crate::cycle::Seen;
use crate::hub::Hub;

/// Items per read.
const PAGE: usize = 100;

/// All items of a kind.
pub(super) fn all(read: &dyn Read, kind: Kind) -> Result<Vec<Item>, StoreError> {
    let mut items: Vec<Item> = Vec::new();
    loop {
        let after = items.last().map(|item| item.id.as_str());
        let page = read.items(kind, "", after, PAGE)?;
        if page.is_empty() {
            return Ok(items);
        }
        items.extend(page);
    }
}

/// Whether a key with all rights exists, other than this one.
pub(super) fn has_root(read: &dyn Read, besides: &str) -> Result<bool, StoreError> {
    let mut after: Option<String> = None;
    loop {
        let page = read.items(Kind::API_KEY, "", after.as_deref(), 100)?;
        let Some(last) = page.last() else { return Ok(false) };
        after = Some(last.id.clone());
        if page.iter().any(|item| item.id != besides && is_root(item)) {
            return Ok(true);
        }
    }
}

pub(super) fn is_root(item: &Item) -> bool {
    Key::from_bytes(&item.body).is_ok_and(|key| key.is_root())
}

/// The settings of a product; one that is older than settings has none.
pub(in crate::api) fn settings(read: &dyn Read, id: &str) -> Result<Settings, StoreError> {
    let item = read.item(Kind::SETTINGS, id)?;
    let read = |item: Item| Settings::from_bytes(&item.body).map_err(|why| corrupt(&why));
    Ok(item.map(read).transpose()?.unwrap_or_default())
}

/// The last event before a product was made. Earlier ones are of a removed product with its id, and
/// shown to nobody.
pub(super) fn events_after(read: &dyn Read, id: &str) -> Result<u64, StoreError> {
    let Some(item) = read.item(Kind::PRODUCT, id)? else { return Ok(0) };
    Ok(Product::from_bytes(&item.body).map_err(|why| corrupt(&why))?.events_after)
}

/// The product exists when the call arrives. A slow body may take minutes, in which the product is
/// removed. Its new rows would then belong to nobody, and later to whoever creates the product
/// again.
pub(in crate::api) fn must_be_there(hub: &Hub, id: &str) -> Result<(), Failed> {
    match hub.cloud.store().read().item(Kind::PRODUCT, id)? {
        Some(_) => Ok(()),
        None => Err(Problem::unknown_product().into()),
    }
}

/// A device, as the API shows it.
pub(super) fn seen(hub: &mut Hub, device: &Identity) -> Result<Value, Failed> {
    let seen = hub.cloud.seen(device)?.ok_or_else(Problem::unknown_device)?;
    Ok(view(&seen))
}

fn view(seen: &Seen) -> Value {
    json!(DeviceView::new(&seen.device, &seen.tags, seen.disabled))
}
