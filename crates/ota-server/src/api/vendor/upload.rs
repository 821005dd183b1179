//! Uploads by URL: GetCOSURL, the PUT, UploadFirmware; and lists of devices.

use std::collections::BTreeSet;

use ota_cloud::Listed;
use ota_cloud::api::{NewFirmware, Query};
use ota_cloud::vendor::{Came, Subject, UploadPlace, names_of_list};
use ota_proto::Md5;
use ota_store::{ImageName, Images};

use super::*;
use crate::api::Problem;
use crate::api::firmware::{enlist, place, receive};
use crate::api::reply::Reply;
use crate::cycle::Cloud;
use crate::store::Image;

/// The prefix of the path of every PUT.
pub(in crate::api) const PATH: &str = "/upload/";

fn hex<const N: usize>() -> Result<String, ApiError> {
    let bytes: [u8; N] = random()
        .map_err(|_| ApiError::new(Code::InternalError, "the system provides no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Opens an upload place. An earlier place for the same firmware is closed.
pub(super) async fn open(asked: Asked, action: Action) -> Answer {
    let (subject, size, list) = match action {
        Action::GetCosUrl { version, size, module, .. } => {
            let module = batch::module(module.as_deref())?;
            (Subject::Firmware { module, version }, size, None)
        }
        _ => {
            let name = hex::<16>()?;
            (Subject::List { name: name.clone() }, None, Some(name))
        }
    };
    let token = hex::<32>()?;
    let now = asked.api.0.journal.clock.unix();
    let slot = UploadPlace::open(asked.grant.product(), subject, size, &token, now)?;
    let id = slot.id();
    let url = format!("{}{PATH}{id}?token={token}", asked.base);
    let (who, api) = (asked.clone(), asked.api.clone());
    asked
        .ask(move |hub, now| {
            let folder = api.0.handle.folder.as_ref();
            crate::api::rows::must_be_there(hub, who.grant.product())?;
            drop_due(&mut hub.cloud, folder, now)?;
            let old = hub.cloud.store().read().item(Kind::UPLOAD, &id)?;
            if old.is_none() {
                let (open, all) = places(hub.cloud.store().read(), who.grant.product())?;
                UploadPlace::room(open, all)?;
            }
            let mut rider = who.rider(now, &id);
            rider.items.push(row(&slot, old.as_ref().map_or(0, |item| item.rev))?);
            hub.cloud.put_rider(rider)?;
            if let Some(slot) = old.and_then(|item| UploadPlace::from_bytes(&item.body).ok()) {
                forget(&hub.cloud, folder, slot.came.and_then(|came| came.image).as_deref());
            }
            Ok(())
        })
        .await?;
    Ok(match list {
        Some(name) => json!({ "Url": url, "FileName": name }),
        None => json!({ "Url": url }),
    })
}

/// The number of open places of a product, and of all its places.
fn places(read: &dyn Read, product: &str) -> Result<(usize, usize), StoreError> {
    let items = all(read, Kind::UPLOAD, &format!("{product}/"))?;
    let is_open =
        |item: &&Item| UploadPlace::from_bytes(&item.body).is_ok_and(|slot| slot.came.is_none());
    Ok((items.iter().filter(is_open).count(), items.len()))
}

fn row(slot: &UploadPlace, rev: u64) -> Result<Item, StoreError> {
    let body = slot.to_bytes().map_err(|why| StoreError::Invalid { what: why.to_string() })?;
    let wake = Some(slot.until.saturating_mul(1_000_000));
    Ok(Item { rev, wake, ..Item::new(Kind::UPLOAD, slot.id(), body) })
}

/// Removes an image that no firmware and no place uses.
pub(in crate::api) fn forget(cloud: &Cloud, folder: Option<&Images>, image: Option<&str>) {
    let (Some(folder), Some(name)) = (folder, image) else { return };
    if let (Ok(used), Some(name)) = (used(cloud), ImageName::parse(name))
        && !used.contains(&name.to_string())
    {
        // A file that cannot be removed only costs room.
        let _ = folder.remove(name);
    }
}

/// The images that firmware and places use.
fn used(cloud: &Cloud) -> Result<BTreeSet<String>, StoreError> {
    let firmware = cloud.listed()?.into_iter().filter_map(|listed| listed.image);
    let mut used: BTreeSet<String> = firmware.collect();
    for item in all(cloud.store().read(), Kind::UPLOAD, "")? {
        let slot = UploadPlace::from_bytes(&item.body).map_err(|why| corrupt(&why))?;
        used.extend(slot.came.and_then(|came| came.image));
    }
    Ok(used)
}

/// Removes expired places and their uploaded bytes.
fn drop_due(cloud: &mut Cloud, folder: Option<&Images>, now: Instant) -> Result<(), StoreError> {
    for id in cloud.store_mut().due_items(Kind::UPLOAD, now.as_micros(), 100)? {
        let Some(item) = cloud.store().read().item(Kind::UPLOAD, &id)? else { continue };
        let mut rider = Rider::default();
        rider.gone_items.push((Kind::UPLOAD, id, item.rev));
        cloud.put_rider(rider)?;
        let slot = UploadPlace::from_bytes(&item.body).ok();
        let image = slot.and_then(|slot| slot.came).and_then(|came| came.image);
        forget(cloud, folder, image.as_deref());
    }
    Ok(())
}

/// Cleans up at the start: removes expired places, and images of uploads that were interrupted
/// before their row was stored.
pub(crate) fn sweep(cloud: &mut Cloud, folder: &Images, now: Instant) -> Result<(), StoreError> {
    drop_due(cloud, Some(folder), now)?;
    let used = used(cloud)?;
    for name in folder.names()? {
        if !used.contains(&name.to_string()) {
            let _ = folder.remove(name);
        }
    }
    Ok(())
}

fn closed() -> Problem {
    let what = "this URL was already used, has expired, or is unknown";
    Problem::new(ota_cloud::api::Code::Forbidden, what)
}

/// Receives the bytes of a PUT. The URL is the key.
pub(in crate::api) async fn put(
    api: Api,
    peer: SocketAddr,
    request: Request,
) -> Result<Reply, Problem> {
    let (head, body) = request.into_parts();
    let id = head.uri.path().strip_prefix(PATH).unwrap_or("").to_owned();
    let query = Query::read(head.uri.query().unwrap_or(""), &["token"])?;
    let (token, now) = (query.get("token").unwrap_or("").to_owned(), api.0.journal.clock.unix());
    let wanted = id.clone();
    // Checked before any lookup, because a stranger may send any path.
    api.budgets(|budgets| budgets.stranger(api.0.journal.clock.now(), peer.ip()))?;
    let item = if (1..=200).contains(&id.len()) {
        api.read(move |read| read.item(Kind::UPLOAD, &wanted)).await?
    } else {
        None
    };
    let slot = item.and_then(|item| UploadPlace::from_bytes(&item.body).ok());
    let Some(slot) = slot.filter(|slot| slot.takes(&token, now)) else {
        return Err(closed());
    };
    api.budgets(|budgets| budgets.no_stranger(peer.ip()));
    let length = head.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let other = || {
        let what = "the URL was made for another number of bytes: nothing is stored";
        Problem::new(ota_cloud::api::Code::Invalid, what)
    };
    if length.is_some_and(|length| length > slot.most() || slot.size.is_some_and(|s| s != length)) {
        return Err(other());
    }
    let _place = place(&api, &slot.product)?;
    let (came, image, claim) = match &slot.subject {
        Subject::Firmware { version, .. } => {
            let new = NewFirmware::read(&slot.product, version, &Query::default())?;
            let came = receive(&api, new, body, length.or(slot.size)).await?;
            let mut kept = Came::new(Md5(came.md5).to_string(), came.size);
            kept.image = came.name;
            (kept, Some(came.image), came.claim)
        }
        _ => (list(&api, body).await?, None, None),
    };
    let wrong = slot.size.is_some_and(|size| size != came.size);
    let for_keep = api.clone();
    let kept = api
        .ask(move |hub, now| {
            let api = for_keep;
            let name = came.image.clone();
            let kept = if wrong { Err(other().into()) } else { fill(hub, &id, &token, came, now) };
            drop(claim);
            match (&kept, image) {
                (Ok(()), Some(image)) if name.is_none() => api.hold(id, image),
                (Ok(()), _) => {}
                (Err(_), _) => {
                    forget(&hub.cloud, api.0.handle.folder.as_ref(), name.as_deref());
                }
            }
            kept
        })
        .await;
    kept.map(|()| Reply::text("text/plain", String::new()))
}

async fn list(api: &Api, body: Body) -> Result<Came, Problem> {
    let most = usize::try_from(UploadPlace::MAX_LIST).unwrap_or(usize::MAX);
    let read = tokio::time::timeout(api.0.patience, axum::body::to_bytes(body, most)).await;
    let bytes = read.ok().and_then(Result::ok).ok_or_else(|| {
        let what = "the list is incomplete or exceeds 256 KiB";
        Problem::new(ota_cloud::api::Code::TooLarge, what)
    })?;
    let names = names_of_list(&bytes)
        .map_err(|why| Problem::new(ota_cloud::api::Code::Invalid, why.message))?;
    let mut digester = ota_proto::Digester::new();
    digester.update(&bytes);
    let mut came = Came::new(digester.finish().to_string(), bytes.len() as u64);
    came.names = names;
    Ok(came)
}

/// Records the uploaded bytes, once.
fn fill(
    hub: &mut Hub,
    id: &str,
    token: &str,
    came: Came,
    now: Instant,
) -> Result<(), crate::api::Failed> {
    let item = hub.cloud.store().read().item(Kind::UPLOAD, id)?.ok_or_else(closed)?;
    let mut slot = UploadPlace::from_bytes(&item.body).map_err(|why| corrupt(&why))?;
    let now = now.as_micros() / 1_000_000;
    if !slot.takes(token, now) {
        return Err(closed().into());
    }
    slot.fill(came, now);
    let mut rider = Rider::default();
    rider.items.push(row(&slot, item.rev)?);
    Ok(hub.cloud.put_rider(rider)?)
}

/// Creates a firmware from the uploaded bytes.
pub(super) async fn claim(asked: Asked, action: Action) -> Answer {
    let Action::UploadFirmware {
        version, md5, size, name, description, module, user_defined, ..
    } = action
    else {
        return Ok(Value::Null);
    };
    let module_of = batch::module(module.as_deref())?;
    let fw_type = match module.as_deref() {
        None | Some("" | "default") => None,
        Some("moudule") => Some("module".to_owned()),
        other => other.map(str::to_owned),
    };
    let (name, description) = (name.unwrap_or_default(), description.unwrap_or_default());
    let product = asked.product();
    let new = NewFirmware::new(&product, &version, fw_type, name, description, user_defined);
    let new = new.map_err(|why| ApiError::from(&why))?;
    let (who, api) = (asked.clone(), asked.api.clone());
    asked
        .ask(move |hub, now| {
            if hub.cloud.catalog().get(&product, &module_of, &version).is_some() {
                let what = "the product has this version already";
                return Err(ApiError::new(Code::FirmwareAlreadyExist, what).into());
            }
            let id = format!("{product}/{module_of}/{version}");
            let nothing = || {
                let what = "no bytes were uploaded for this: call GetCOSURL first";
                ApiError::new(Code::FailedOperation, what)
            };
            let item = hub.cloud.store().read().item(Kind::UPLOAD, &id)?.ok_or_else(nothing)?;
            let slot = UploadPlace::from_bytes(&item.body).map_err(|why| corrupt(&why))?;
            let came = slot.claim(Some(&md5), Some(size))?;
            let image = image_of(&api, &id, came)?;
            let mut listed: Listed = new.listed(image.md5.0, image.size, came.image.clone());
            listed.made = now.as_micros();
            let mut rider = who.rider(now, &version);
            rider.gone_items.push((Kind::UPLOAD, id.clone(), item.rev));
            let path = listed.firmware.path.clone();
            match enlist(hub, &listed, rider) {
                Ok(_) => api.0.handle.images.insert(path, image),
                Err(why) => {
                    if came.image.is_none() {
                        api.hold(id, image);
                    }
                    return Err(why.into());
                }
            }
            Ok(Value::Null)
        })
        .await
}

/// The uploaded bytes, in the folder or in memory.
fn image_of(api: &Api, id: &str, came: &Came) -> Result<Image, Oops> {
    let gone = || {
        let what = "the uploaded bytes are gone: upload them again";
        ApiError::new(Code::FailedOperation, what)
    };
    match (&came.image, &api.0.handle.folder) {
        (Some(name), Some(folder)) => {
            let name = ImageName::parse(name).ok_or_else(gone)?;
            let md5 = Md5::from_hex(&came.md5).ok_or_else(gone)?;
            Ok(Image::kept(folder.path(name), md5).map_err(|_| gone())?)
        }
        _ => Ok(api.release(id).ok_or_else(gone)?),
    }
}

/// The device names of an uploaded list.
pub(super) async fn names_of(
    asked: &Asked,
    file: String,
    md5: Option<String>,
    size: Option<u64>,
) -> Result<Vec<String>, ApiError> {
    let id = format!("{}/~/{file}", asked.grant.product());
    asked
        .read(move |read| {
            let unknown = || {
                let what = "FileName must be one that CreateTaskFileUrl returned";
                ApiError::new(Code::InvalidParameterValue, what)
            };
            if file.len() > 64 {
                return Err(unknown().into());
            }
            let item = read.item(Kind::UPLOAD, &id)?.ok_or_else(unknown)?;
            let slot = UploadPlace::from_bytes(&item.body).map_err(|why| corrupt(&why))?;
            Ok(slot.claim(md5.as_deref(), size)?.names.clone())
        })
        .await
}
