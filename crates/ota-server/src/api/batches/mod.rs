//! Rows and turns of batches. A batch is a row that names its devices; each commit creates the
//! tasks of some of them and updates the row. After a fault or a kill the hub continues incomplete
//! batches.

mod rest;
mod walk;

use ota_cloud::TaskError;
use ota_cloud::api::{Code, Grant, Problem};
use ota_cloud::batch::Batch;
use ota_proto::{Identity, Instant};
use ota_store::{DeviceKey, Item, Kind, Read, Store, StoreError};

use super::{Api, Failed, corrupt};
use crate::cycle::{Input, Outcome, Rider};
use crate::hub::{Chores, Cloud, Hub};

pub(super) use rest::{cancel, devices, list, show, start};
pub(super) use walk::Walk;

/// Checks that the target can be offered.
pub(super) fn target(cloud: &Cloud, batch: &Batch) -> Result<(), Problem> {
    let (catalog, module) = (cloud.catalog(), &batch.options.module);
    let (product, version) = (batch.product.as_str(), batch.version.as_str());
    if catalog.get(product, module, version).is_none() {
        return Err(TaskError::FirmwareNotExist.into());
    }
    if catalog.is_draft(product, module, version) {
        return Err(TaskError::FirmwareIsDraft.into());
    }
    if catalog.withdrawn(product, module, version).is_some() {
        return Err(TaskError::FirmwareWithdrawn.into());
    }
    Ok(())
}

/// Devices per look-up.
const PIECE: usize = 100;

/// Checks that every name is a device's, in pieces and beside the loop, so that nobody waits for
/// all of them. A device that is removed meanwhile fails in its row.
pub(super) async fn all_known(api: &Api, grant: &Grant, names: &[String]) -> Result<(), Problem> {
    for (piece, some) in names.chunks(PIECE).enumerate() {
        let (grant, some) = (grant.clone(), some.to_vec());
        let missing = api.read(move |read| {
            for (at, name) in some.iter().enumerate() {
                let key = grant.device(name).ok();
                let key = key.map(|of| DeviceKey::new(of.product_id(), of.device_name()));
                if key.map(|key| read.device(&key)).transpose()?.flatten().is_none() {
                    return Ok(Some(at));
                }
            }
            Ok(None)
        });
        if let Some(at) = missing.await? {
            let at = piece.saturating_mul(PIECE).saturating_add(at);
            let what = format!("there is no such device: number {at} of the list");
            return Err(Problem::new(Code::UnknownDevice, what));
        }
    }
    Ok(())
}

/// Assigns a number to a batch, and adds its row to a commit.
pub(super) fn add(
    hub: &mut Hub,
    now: Instant,
    batch: &mut Batch,
    rider: &mut Rider,
) -> Result<(), StoreError> {
    let prefix = format!("{}/", batch.product);
    let newest = hub.cloud.store().read().items(Kind::CAMPAIGN, &prefix, None, 1)?.pop();
    let newest = newest.and_then(|item| Batch::number_in(&item.id));
    batch.number = newest.unwrap_or(0).saturating_add(1);
    batch.made = now.as_micros();
    rider.items.push(row(
        batch,
        &Batch::id(&batch.product, batch.number),
        (0, hub.chores.turn(now)),
    )?);
    hub.chores.batches = true;
    Ok(())
}

/// Cancels a batch in a commit: no device starts any more. Its open tasks end in pieces.
pub(super) fn end(
    hub: &mut Hub,
    now: Instant,
    (batch, item): (&mut Batch, &Item),
    rider: &mut Rider,
) -> Result<(), StoreError> {
    batch.cancel(now);
    rider.items.push(row(batch, &item.id, (item.rev, hub.chores.turn(now)))?);
    hub.chores.batches = true;
    Ok(())
}

pub(super) fn read_batch(item: &Item) -> Result<Batch, StoreError> {
    Batch::from_bytes(&item.body).map_err(|why| corrupt(&why))
}

/// The row of a batch. While the batch is not complete or not ended, the row has a wake-up.
fn row(batch: &Batch, id: &str, (rev, turn): (u64, u64)) -> Result<Item, StoreError> {
    let body = batch.to_bytes().map_err(|why| StoreError::Invalid { what: why.to_string() })?;
    let wake = batch.is_due().then_some(turn);
    Ok(Item { rev, wake, ..Item::new(Kind::CAMPAIGN, id, body) })
}

/// Performs a step of a batch: creates tasks of some devices or, if it is cancelled, ends some of
/// its tasks. Returns whether it needs another step.
pub(super) fn advance(
    cloud: &mut Cloud,
    (now, turn): (Instant, u64),
    id: &str,
) -> Result<(bool, Outcome), StoreError> {
    let none = || (false, Outcome::default());
    let Some(item) = cloud.store().read().item(Kind::CAMPAIGN, id)? else { return Ok(none()) };
    let mut batch = read_batch(&item)?;
    let inputs = if !batch.waiting.is_empty() {
        begin_some(cloud, now, &mut batch)?
    } else if batch.ending {
        end_some(cloud, &mut batch)?
    } else {
        return Ok(none());
    };
    let mut rider = Rider::default();
    rider.items.push(row(&batch, id, (item.rev, turn))?);
    let outcome = cloud.turn_with(now, &inputs, rider)?;
    let mut wrong = false;
    for (answer, (identity, input)) in outcome.answers.iter().zip(&inputs) {
        if let Err(why) = answer {
            wrong = true;
            if matches!(input, Input::Start { .. }) {
                batch.refuse(now, identity.device_name(), why.to_string());
            }
        }
    }
    if wrong {
        // The row was not in the commit.
        let mut rider = Rider::default();
        rider.items.push(row(&batch, id, (item.rev, turn))?);
        cloud.put_rider(rider)?;
    }
    Ok((batch.is_due(), outcome))
}

/// Creates the tasks of some of a batch's devices.
fn begin_some(
    cloud: &mut Cloud,
    now: Instant,
    batch: &mut Batch,
) -> Result<Vec<(Identity, Input)>, StoreError> {
    let mut inputs = Vec::new();
    let chunk = batch.waiting.len().min(Batch::CHUNK);
    let names: Vec<String> = batch.waiting.drain(..chunk).collect();
    for name in names {
        let Ok(identity) = Identity::new(&batch.product, &name) else {
            batch.take_on(now, &name, None);
            continue;
        };
        let seen = match cloud.seen(&identity) {
            // An unreadable row fails by itself, without delaying the others.
            Err(StoreError::Corrupt { why }) => {
                batch.take_on(now, &name, None);
                batch.refuse(now, &name, format!("its row cannot be read: {why}"));
                continue;
            }
            seen => seen?,
        };
        let device = seen.as_ref().map(|seen| (&seen.device, seen.disabled));
        let Some(begin) = batch.take_on(now, &name, device) else { continue };
        if let Some(task) = begin.cancel {
            inputs.push((identity.clone(), Input::Cancel(task)));
        }
        let (target, options) = (batch.version.clone(), batch.options.clone());
        inputs.push((identity, Input::Start { target, options }));
    }
    Ok(inputs)
}

/// Ends the open tasks of some of a cancelled batch's devices.
fn end_some(cloud: &mut Cloud, batch: &mut Batch) -> Result<Vec<(Identity, Input)>, StoreError> {
    let mut inputs = Vec::new();
    for entry in batch.end_some(Batch::CHUNK) {
        let Ok(identity) = Identity::new(&batch.product, &entry.name) else { continue };
        let open = match cloud.device(&identity) {
            Err(StoreError::Corrupt { .. }) => continue,
            device => device?.and_then(|device| device.task),
        };
        let open = open.filter(|task| task.finished.is_none() && entry.is_of(task));
        inputs.extend(open.map(|task| (identity, Input::Cancel(task.id))));
    }
    Ok(inputs)
}

/// Performs a step of a batch that a fault or a stop left incomplete. `None` if no batch needs one.
/// A batch with an unreadable row is skipped.
///
/// The batch whose last step is longest ago comes first, in any product. A turn number is far below
/// any time in microseconds, so a clock that was set back delays nobody.
pub(crate) fn go_on(
    cloud: &mut Cloud,
    (now, turn): (Instant, u64),
) -> Result<Option<Outcome>, StoreError> {
    for id in cloud.store_mut().due_items(Kind::CAMPAIGN, now.as_micros(), PIECE)? {
        match advance(cloud, (now, turn), &id) {
            Err(StoreError::Corrupt { .. } | StoreError::Invalid { .. }) => {}
            step => return step.map(|(_, outcome)| Some(outcome)),
        }
    }
    Ok(None)
}

/// All steps of batches at a start.
pub(crate) fn finish(cloud: &mut Cloud, now: Instant) -> Result<(), StoreError> {
    let mut chores = Chores::default();
    while go_on(cloud, (now, chores.turn(now)))?.is_some() {}
    Ok(())
}

/// A batch of a product, and its row.
pub(super) fn find(read: &dyn Read, product: &str, number: u64) -> Result<(Batch, Item), Failed> {
    let unknown = || Problem::new(Code::UnknownBatch, "the product has no such batch");
    let number = u32::try_from(number).ok().filter(|number| *number > 0).ok_or_else(unknown)?;
    let item = read.item(Kind::CAMPAIGN, &Batch::id(product, number))?.ok_or_else(unknown)?;
    Ok((read_batch(&item)?, item))
}
