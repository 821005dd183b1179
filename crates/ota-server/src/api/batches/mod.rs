//! Calls about batches: what REST, the vendor's API and the console share.

mod act;
mod rehearse;
mod rest;
#[cfg(test)]
mod tests;
mod walk;

use ota_cloud::TaskError;
use ota_cloud::alert::News;
use ota_cloud::api::{Code, Grant, Problem};
use ota_cloud::batch::Batch;
use ota_cloud::campaign::CampaignInput;
use ota_proto::Instant;
use ota_store::{DeviceKey, Item, Kind, Read, StoreError};

use super::{Api, Failed};
use crate::batches::{self, read_batch, rider_counts, row, step};
use crate::cycle::{Cloud, Rider};
use crate::hub::Hub;

pub(crate) use act::act_on;
pub(crate) use ota_cloud::batch::Act;
pub(super) use rehearse::rehearse;
pub(super) use rest::{again, cancel, change, devices, list, operate, results, show, start};
pub(super) use walk::Walk;

/// Checks that the target can be offered.
pub(super) fn target(cloud: &Cloud, batch: &Batch) -> Result<(), Problem> {
    let (catalog, module) = (cloud.catalog(), &batch.options.module);
    let (product, version) = (batch.product.as_str(), batch.version.as_str());
    let Some(firmware) = catalog.get(product, module, version) else {
        return Err(TaskError::FirmwareNotExist.into());
    };
    firmware.check_text(&batch.options)?;
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
        let (product, some) = (grant.product().to_owned(), some.to_vec());
        let missing = api.read(move |read| {
            for (at, name) in some.iter().enumerate() {
                if !is_known(read, &product, name)? {
                    return Ok(Some(at));
                }
            }
            Ok(None)
        });
        if let Some(at) = missing.await? {
            let at = piece.saturating_mul(PIECE).saturating_add(at).saturating_add(1);
            let what = format!("there is no such device: number {at} of the list");
            let mut problem = Problem::new(Code::UnknownDevice, what);
            problem.field = Some("devices");
            return Err(problem);
        }
    }
    Ok(())
}

/// Whether the product has this device.
fn is_known(read: &dyn Read, product: &str, name: &str) -> Result<bool, StoreError> {
    Ok(read.device(&DeviceKey::new(product, name))?.is_some())
}

/// Assigns a number to a batch, and adds its row to a commit. The caller notes the batch
/// ([`note`]) once that is durable.
pub(super) fn add(
    hub: &mut Hub,
    now: Instant,
    batch: &mut Batch,
    rider: &mut Rider,
) -> Result<(), StoreError> {
    let turn = hub.chores.turn(now);
    batches::add(&hub.cloud, (now, turn), batch, rider)
}

/// Notes a batch whose row is durable.
pub(super) fn note(hub: &mut Hub, now: Instant, batch: &Batch) -> Result<(), StoreError> {
    hub.cloud.note_batch(now, batch, 0)
}

/// Cancels a batch in a commit: no device starts any more. Its open tasks end in pieces.
pub(super) fn end(
    hub: &mut Hub,
    now: Instant,
    (batch, item): (&mut Batch, &Item),
    rider: &mut Rider,
) -> Result<(), StoreError> {
    let before = batch.campaign.state();
    let _ = step(&hub.cloud, now, CampaignInput::Cancel, batch, 0)?;
    rider.alerts.extend(News::of_batch(before, batch).map(|news| (now, news)));
    batch.lets_run = false;
    batch.cancel(now);
    let turn = hub.chores.turn(now);
    rider_counts(batch, rider);
    rider.items.push(row(batch, (item.rev, Some(turn)))?);
    Ok(())
}

/// A batch of a product, and its row.
pub(super) fn find(read: &dyn Read, product: &str, number: u64) -> Result<(Batch, Item), Failed> {
    let unknown = || Problem::new(Code::UnknownBatch, "the product has no such batch");
    let number = u32::try_from(number).ok().filter(|number| *number > 0).ok_or_else(unknown)?;
    let item = read.item(Kind::CAMPAIGN, &Batch::id(product, number))?.ok_or_else(unknown)?;
    Ok((read_batch(&item)?, item))
}
