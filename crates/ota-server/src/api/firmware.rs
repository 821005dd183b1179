//! Firmware.

use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::header;
use ota_cloud::Listed;
use ota_cloud::api::{ChangeFirmware, Code, FirmwareView, NewFirmware, Problem, module};
use ota_proto::Md5;
use ota_store::{Claim, ImageError, Images, Kind, StoreError};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::image;
use super::limits::Place;
use super::reply::Reply;
use super::vendor::forget;
use super::{Api, Asked, Failed, audit, corrupt, stopped};
use crate::cycle::Rider;
use crate::hub::Hub;
use crate::store::{Image, Source};

/// The largest image, if images are in memory.
const IN_MEMORY: u64 = 64 << 20;
/// The least rate of an upload in bytes per second. Whoever sends a byte now and then would hold
/// one of the few places for uploads.
const LEAST: u64 = 4 * 1_024;

fn unknown() -> Problem {
    Problem::new(Code::UnknownFirmware, "the product has no such firmware")
}

/// The firmware that a call names.
fn found(hub: &Hub, asked: &Asked) -> Result<Listed, Failed> {
    let (product, version) = (asked.grant.product(), asked.call.name("version"));
    let module = module(&asked.query)?;
    if hub.cloud.catalog().get(product, &module, version).is_none() {
        return Err(unknown().into());
    }
    Ok(hub.cloud.one_listed(product, &module, version)?.ok_or_else(unknown)?)
}

pub(super) async fn list(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let prefix = format!("{}/", asked.grant.product());
    let rows = api
        .read(move |read| {
            let mut rows: Vec<Listed> = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let page = read.items(Kind::FIRMWARE, &prefix, after.as_deref(), 100)?;
                let Some(last) = page.last() else { return Ok(rows) };
                after = Some(last.id.clone());
                for item in &page {
                    rows.push(Listed::from_bytes(&item.body).map_err(|why| corrupt(&why))?);
                }
            }
        })
        .await?;
    let shown: Vec<FirmwareView<'_>> = rows.iter().map(FirmwareView::new).collect();
    Ok(Reply::json(200, &json!({ "firmware": shown })))
}

pub(super) async fn show(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let listed = api.ask(move |hub, _| found(hub, &asked)).await?;
    Ok(Reply::json(200, &json!(FirmwareView::new(&listed))))
}

pub(super) async fn change(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let change = ChangeFirmware::read(&asked.body)?;
    let shown = api
        .ask(move |hub, now| {
            let mut listed = found(hub, &asked)?;
            change.apply(&mut listed)?;
            let rider = line(&asked, now);
            hub.cloud.change_listed(&listed, rider)?;
            Ok(json!(FirmwareView::new(&listed)))
        })
        .await?;
    Ok(Reply::json(200, &shown))
}

fn line(asked: &Asked, now: ota_proto::Instant) -> Rider {
    let mut rider = Rider::default();
    rider.audit.push(audit(now, asked, asked.call.name("version")));
    rider
}

pub(super) async fn remove(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let handle = &api.0.handle;
    let (images, folder) = (handle.images.clone(), handle.folder.clone());
    api.ask(move |hub, now| {
        let listed = found(hub, &asked)?;
        if hub.cloud.is_used(&listed.firmware)? {
            let what = "a rule or an open task has it as its target: end that first";
            return Err(Problem::new(Code::InUse, what).into());
        }
        hub.cloud.remove_listed(&listed, line(&asked, now))?;
        images.remove(&listed.firmware.path);
        forget(&hub.cloud, folder.as_ref(), listed.image.as_deref());
        Ok(Reply::empty())
    })
    .await
}

pub(super) async fn download(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let headers = asked.headers.clone();
    let listed = api.ask(move |hub, _| found(hub, &asked)).await?;
    let gone = || Problem::new(Code::UnknownFirmware, "the bytes of this firmware are not here");
    let image = api.0.handle.images.get(&listed.firmware.path).ok_or_else(gone)?;
    Ok(Reply::whole(image::reply(&image, &headers).await.map_err(|_| gone())?))
}

/// Takes one of the concurrent uploads.
pub(super) fn place(api: &Api, product: &str) -> Result<Place, Problem> {
    let busy = || Problem::new(Code::TooMany, "four uploads are in progress: wait for one");
    api.0.uploads.take(product).ok_or_else(busy)
}

/// A complete upload.
pub(super) struct Came {
    pub(super) image: Image,
    pub(super) md5: [u8; 16],
    pub(super) size: u64,
    pub(super) name: Option<String>,
    /// Keeps the file from removal until its row is stored.
    pub(super) claim: Option<Claim>,
}

pub(super) async fn add(api: &Api, asked: Asked, body: Body) -> Result<Reply, Problem> {
    let (product, version) = (asked.grant.product(), asked.call.name("version"));
    let new = NewFirmware::read(product, version, &asked.query)?;
    let length = asked.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if let Some(length) = length {
        new.check_size(length)?;
    }
    let (product, version) = (product.to_owned(), version.to_owned());
    let module = module(&asked.query)?;
    let there =
        move |hub: &mut Hub, _| Ok(hub.cloud.catalog().get(&product, &module, &version).is_some());
    if api.ask(there).await? {
        let what = "the product has this version already";
        return Err(Problem::new(Code::Exists, what));
    }
    let _place = place(api, asked.grant.product())?;
    let came = receive(api, new.clone(), body, length).await?;
    let (images, folder) = (api.0.handle.images.clone(), api.0.handle.folder.clone());
    let for_ask = api.clone();
    let shown = api
        .ask(move |hub, now| {
            let name = came.name.clone();
            let mut listed = new.listed(came.md5, came.size, came.name);
            listed.made = hub.now().as_micros();
            let still = for_ask.is_still(&asked.grant, &asked.ticket).map_err(Failed::from);
            let added = still.and_then(|()| enlist(hub, &listed, line(&asked, now)));
            drop(came.claim);
            if added.is_err() {
                forget(&hub.cloud, folder.as_ref(), name.as_deref());
            } else {
                images.insert(listed.firmware.path.clone(), came.image);
            }
            added
        })
        .await?;
    Ok(Reply::json(201, &shown))
}

pub(super) fn enlist(hub: &mut Hub, listed: &Listed, rider: Rider) -> Result<Value, Failed> {
    super::rows::must_be_there(hub, &listed.firmware.product_id)?;
    let path = &listed.firmware.path;
    if hub.cloud.catalog().iter().any(|known| known.path == *path) {
        return Err(Problem::new(Code::Exists, "another firmware has its path").into());
    }
    hub.cloud.add_listed(listed, rider)?;
    Ok(json!(FirmwareView::new(listed)))
}

/// Receives a body and hashes it. An incomplete body leaves nothing.
pub(super) async fn receive(
    api: &Api,
    new: NewFirmware,
    mut body: Body,
    length: Option<u64>,
) -> Result<Came, Problem> {
    let (pieces, come) = mpsc::channel(4);
    let folder = api.0.handle.folder.clone();
    let taken = tokio::task::spawn_blocking(move || match folder {
        Some(folder) => keep(&folder, &new, come, length),
        None => hold(&new, come),
    });
    let (began, mut size) = (Instant::now(), 0_u64);
    let cut = |what: &str| Problem::new(Code::Invalid, format!("{what}: nothing is stored"));
    let ended = loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
        let rest = api.0.patience.saturating_add(Duration::from_secs(size / LEAST));
        let rest = rest.saturating_sub(began.elapsed());
        match tokio::time::timeout(api.0.patience.min(rest), frame).await {
            Err(_) if rest < api.0.patience => break Err(cut("the upload is too slow")),
            Err(_) => break Err(cut("no byte came for too long")),
            Ok(Some(Err(_))) => break Err(cut("the upload was cut")),
            Ok(None) => break Ok(()),
            Ok(Some(Ok(frame))) => {
                let Ok(data) = frame.into_data() else { continue };
                size = size.saturating_add(data.len() as u64);
                if pieces.send(Some(data)).await.is_err() {
                    // The receiving task returns the reason.
                    break Ok(());
                }
            }
        }
    };
    if ended.is_ok() {
        let _ = pieces.send(None).await;
    }
    drop(pieces);
    let taken = taken.await.map_err(|_| stopped())?;
    ended?;
    taken.map_err(|why| match why {
        Failed::Refused(problem) => problem,
        Failed::Store(why) => api.store(&why),
    })
}

/// The pieces of a body; `None` marks the end.
type Pieces = mpsc::Receiver<Option<Bytes>>;

/// Stores an image in the folder. Blocking.
fn keep(
    folder: &Images,
    new: &NewFirmware,
    mut come: Pieces,
    length: Option<u64>,
) -> Result<Came, Failed> {
    let (mut upload, mut size) = (folder.upload(length).map_err(refused)?, 0_u64);
    while let Some(piece) = come.blocking_recv().ok_or_else(stopped)? {
        upload.write(&piece).map_err(refused)?;
        size = size.saturating_add(piece.len() as u64);
    }
    new.check_size(size)?;
    let (md5, sha256) = upload.digests();
    new.check_digests(md5, sha256)?;
    // Another firmware with the same bytes may be removed before this one has its row.
    let claim = Some(upload.claim());
    let stored = upload.finish().map_err(refused)?;
    let image = Image::kept(folder.path(stored.name), Md5(md5));
    let image = image.map_err(|why| StoreError::Io { why: why.to_string() })?;
    Ok(Came { image, md5, size, name: Some(stored.name.to_string()), claim })
}

/// Holds an image in memory. Blocking.
fn hold(new: &NewFirmware, mut come: Pieces) -> Result<Came, Failed> {
    let mut bytes = Vec::new();
    while let Some(piece) = come.blocking_recv().ok_or_else(stopped)? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > IN_MEMORY {
            let what = "an image in memory has at most 64 MiB: give the cloud a data folder";
            return Err(Problem::new(Code::TooLarge, what).into());
        }
    }
    let (size, sha256) = (bytes.len() as u64, Sha256::digest(&bytes).into());
    new.check_size(size)?;
    let image = Image::read(Source::Memory(bytes.into()));
    let image = image.map_err(|why| StoreError::Io { why: why.to_string() })?;
    let md5 = image.md5.0;
    new.check_digests(md5, sha256)?;
    Ok(Came { image, md5, size, name: None, claim: None })
}

fn refused(why: ImageError) -> Failed {
    let code = match &why {
        ImageError::TooLong { .. } => Code::TooLarge,
        ImageError::TooShort { .. } => Code::Invalid,
        ImageError::Quota { .. } | ImageError::Reserve { .. } => Code::Full,
        ImageError::Store(why) => return Failed::Store(why.clone()),
        _ => Code::Internal,
    };
    Failed::Refused(Problem::new(code, why.to_string()))
}
