//! Batches: begun, cancelled, and what is done to one device of them.

use std::time::Duration;

use ota_cloud::vendor::{Batch, Mode};
use ota_cloud::{Module, TaskOptions};
use ota_store::{Filter, Query, Store, VersionFilter};

use super::*;
use crate::cycle::{CommandError, Input, Outcome};
use crate::hub::Cloud;

/// The module of a request.
pub(super) fn module(fw_type: Option<&str>) -> Result<Module, ApiError> {
    Module::new(fw_type).ok_or_else(|| {
        let what = "FwType is 1 to 32 letters, digits, _ or -";
        ApiError::new(Code::InvalidParameterValue, what)
    })
}

/// Begins a batch.
pub(super) async fn start(asked: Asked, action: Action) -> Answer {
    let Action::BatchUpdateFirmware {
        version,
        from,
        upgrade_method,
        file_name,
        file_md5,
        file_size,
        devices,
        timeout,
        override_mode,
        module: fw_type,
        ..
    } = action
    else {
        return Ok(Value::Null);
    };
    let mut options = TaskOptions {
        module: module(fw_type.as_deref())?,
        confirm: upgrade_method == Some(1),
        timeout: timeout.map(Duration::from_secs),
        ..TaskOptions::default()
    };
    let (mode, names) = if let Some(from) = from {
        options.from_versions = vec![from.clone()];
        (Mode::OriginalVersion, reporting(&asked, &options.module, from).await?)
    } else if let Some(file) = file_name {
        (Mode::FileName, upload::names_of(&asked, file, file_md5, file_size).await?)
    } else {
        (Mode::DeviceNames, devices)
    };
    let mut batch = Batch::new(&asked.product(), &version, mode, options);
    batch.overrides = override_mode == Some(1);
    batch.wait_for(names)?;
    let number = make(&asked, batch).await?;
    Ok(json!({ "TaskId": number }))
}

/// The devices that report a version.
async fn reporting(
    asked: &Asked,
    module: &Module,
    version: String,
) -> Result<Vec<String>, ApiError> {
    let module = module.as_str().to_owned();
    let filter = Filter {
        version: Some(VersionFilter::Is { module, version }),
        ..Filter::product(asked.product())
    };
    asked
        .read(move |read| {
            let (mut names, mut after) = (Vec::new(), None);
            loop {
                let query = Query { filter: filter.clone(), after, limit: 100 };
                let page = read.list(&query)?;
                names.extend(page.rows.into_iter().map(|row| row.key.name));
                after = page.next;
                // One more than a batch has is enough to refuse it.
                if after.is_none() || names.len() > Batch::MOST {
                    return Ok(names);
                }
            }
        })
        .await
}

/// Updates one device: a batch of one.
pub(super) async fn start_one(asked: Asked, action: Action) -> Answer {
    let Action::UpdateFirmware { device, version, from, upgrade_method, .. } = action else {
        return Ok(Value::Null);
    };
    let identity = asked.device(&device)?;
    let (confirm, from_versions) = (upgrade_method == Some(1), vec![from]);
    let options = TaskOptions { confirm, from_versions, ..TaskOptions::default() };
    let mut batch = Batch::new(&asked.product(), &version, Mode::DeviceNames, options);
    batch.wait_for(vec![device])?;
    let of = batch.clone();
    asked
        .ask(move |hub, _| {
            target(&hub.cloud, &of)?;
            let seen = hub.cloud.seen(&identity)?.ok_or_else(Problem::unknown_device)?;
            of.admit(&seen.device, seen.disabled)?;
            Ok(())
        })
        .await?;
    make(&asked, batch).await?;
    Ok(Value::Null)
}

/// Whether the target can be offered.
fn target(cloud: &Cloud, batch: &Batch) -> Result<(), Oops> {
    let (catalog, module) = (cloud.catalog(), &batch.options.module);
    let (product, version) = (batch.product.as_str(), batch.version.as_str());
    if catalog.get(product, module, version).is_none() {
        return Err(firmware::unknown().into());
    }
    if catalog.is_draft(product, module, version) {
        return Err(ApiError::from(ota_cloud::TaskError::FirmwareIsDraft).into());
    }
    if catalog.withdrawn(product, module, version).is_some() {
        return Err(ApiError::from(ota_cloud::TaskError::FirmwareWithdrawn).into());
    }
    Ok(())
}

/// Makes a batch with its devices: first the row, then the tasks of some of them in each commit,
/// with the row. What a kill leaves, [`resume`] goes on with.
async fn make(asked: &Asked, mut batch: Batch) -> Result<u32, ApiError> {
    let who = asked.clone();
    let (id, number) = asked
        .ask(move |hub, now| {
            target(&hub.cloud, &batch)?;
            for (at, name) in batch.waiting.iter().enumerate() {
                let device = who.grant.device(name).ok();
                let known = device.map(|device| hub.cloud.device(&device)).transpose()?.flatten();
                if known.is_none() {
                    let what = format!("there is no such device: number {at} of the list");
                    return Err(ApiError::new(Code::DeviceNotExist, what).into());
                }
            }
            let newest = hub.cloud.store().read();
            let prefix = format!("{}/", batch.product);
            let newest = newest.items(Kind::CAMPAIGN, &prefix, None, 1)?.pop();
            let newest = newest.map(|item| read_batch(&item)).transpose()?;
            batch.number = newest.map_or(0, |batch| batch.number).saturating_add(1);
            batch.made = now.as_micros();
            let id = Batch::id(&batch.product, batch.number);
            let mut rider = who.rider(now, &format!("batch {}", batch.number));
            rider.items.push(row(&batch, &id, 0)?);
            hub.cloud.put_rider(rider)?;
            Ok((id, batch.number))
        })
        .await?;
    loop {
        let id = id.clone();
        let step = asked.ask(move |hub, now| {
            let (more, outcome) = advance(&mut hub.cloud, now, &id)?;
            hub.registered(outcome);
            Ok(more)
        });
        if !step.await? {
            return Ok(number);
        }
    }
}

pub(super) fn read_batch(item: &Item) -> Result<Batch, StoreError> {
    Batch::from_bytes(&item.body).map_err(|why| corrupt(&why))
}

/// The row of a batch. While it is not made, or not ended, it has a moment at which it needs a turn.
fn row(batch: &Batch, id: &str, rev: u64) -> Result<Item, StoreError> {
    let body = batch.to_bytes().map_err(|why| StoreError::Invalid { what: why.to_string() })?;
    let wake = batch.is_due().then_some(batch.made);
    Ok(Item { rev, wake, ..Item::new(Kind::CAMPAIGN, id, body) })
}

/// Gives some of a batch's devices their tasks. Returns whether more are waiting.
fn advance(cloud: &mut Cloud, now: Instant, id: &str) -> Result<(bool, Outcome), StoreError> {
    let none = || (false, Outcome::default());
    let Some(item) = cloud.store().read().item(Kind::CAMPAIGN, id)? else { return Ok(none()) };
    let mut batch = read_batch(&item)?;
    if batch.waiting.is_empty() {
        return Ok(none());
    }
    let mut inputs = Vec::new();
    let chunk = batch.waiting.len().min(Batch::CHUNK);
    let names: Vec<String> = batch.waiting.drain(..chunk).collect();
    for name in names {
        let Ok(identity) = Identity::new(&batch.product, &name) else {
            batch.take_on(now, &name, None);
            continue;
        };
        let seen = cloud.seen(&identity)?;
        let device = seen.as_ref().map(|seen| (&seen.device, seen.disabled));
        let Some(begin) = batch.take_on(now, &name, device) else { continue };
        if let Some(task) = begin.cancel {
            inputs.push((identity.clone(), Input::Cancel(task)));
        }
        let (target, options) = (batch.version.clone(), batch.options.clone());
        inputs.push((identity, Input::Start { target, options }));
    }
    let mut rider = Rider::default();
    rider.items.push(row(&batch, id, item.rev)?);
    let outcome = cloud.turn_with(now, &inputs, rider)?;
    let mut wrong = false;
    for (answer, (identity, _)) in outcome.answers.iter().zip(&inputs) {
        if let Err(why) = answer {
            wrong = true;
            batch.refuse(now, identity.device_name(), why.to_string());
        }
    }
    if wrong {
        // Then the row was not in the commit.
        let mut rider = Rider::default();
        rider.items.push(row(&batch, id, item.rev)?);
        cloud.put_rider(rider)?;
    }
    Ok((!batch.waiting.is_empty(), outcome))
}

/// What ends the open tasks of a batch.
fn open_tasks(cloud: &mut Cloud, batch: &Batch) -> Result<Vec<(Identity, Input)>, StoreError> {
    let mut inputs = Vec::new();
    for entry in &batch.entries {
        let Ok(identity) = Identity::new(&batch.product, &entry.name) else { continue };
        let open = cloud.device(&identity)?.and_then(|device| device.task);
        let open = open.filter(|task| task.finished.is_none() && entry.is_of(task));
        inputs.extend(open.map(|task| (identity, Input::Cancel(task.id))));
    }
    Ok(inputs)
}

/// Notes that no task of a cancelled batch is open any more.
fn ended(cloud: &mut Cloud, id: &str) -> Result<(), StoreError> {
    let Some(item) = cloud.store().read().item(Kind::CAMPAIGN, id)? else { return Ok(()) };
    let mut batch = read_batch(&item)?;
    batch.ending = false;
    let mut rider = Rider::default();
    rider.items.push(row(&batch, id, item.rev)?);
    cloud.put_rider(rider)
}

/// Goes on with the batches that a stop has left half made, or half ended. No device is connected
/// yet.
pub(crate) fn resume(cloud: &mut Cloud, now: Instant) -> Result<(), StoreError> {
    loop {
        let due = cloud.store_mut().due_items(Kind::CAMPAIGN, now.as_micros(), 100)?;
        if due.is_empty() {
            return Ok(());
        }
        for id in due {
            while advance(cloud, now, &id)?.0 {}
            let item = cloud.store().read().item(Kind::CAMPAIGN, &id)?;
            let Some(batch) = item.map(|item| read_batch(&item)).transpose()? else { continue };
            if batch.ending {
                let inputs = open_tasks(cloud, &batch)?;
                for some in inputs.chunks(Batch::CHUNK) {
                    cloud.turn(now, some)?;
                }
                ended(cloud, &id)?;
            }
        }
    }
}

/// A batch of the request's product, and its row.
fn find(read: &dyn Read, product: &str, number: u64) -> Result<(Batch, Item), Oops> {
    let unknown = || ApiError::new(Code::FirmwareTaskNotExist, "the product has no such TaskId");
    let number = u32::try_from(number).ok().filter(|number| *number > 0).ok_or_else(unknown)?;
    let item = read.item(Kind::CAMPAIGN, &Batch::id(product, number))?.ok_or_else(unknown)?;
    Ok((read_batch(&item)?, item))
}

/// A batch of the request's product that has this target.
pub(super) fn find_of(
    read: &dyn Read,
    product: &str,
    version: &str,
    number: u64,
) -> Result<Batch, Oops> {
    let (batch, _) = find(read, product, number)?;
    if batch.version != version {
        let what = "the product has no such TaskId for this version";
        return Err(ApiError::new(Code::FirmwareTaskNotExist, what).into());
    }
    Ok(batch)
}

/// Ends a batch, and the tasks of it that are open.
pub(super) async fn cancel(asked: Asked, task: u64) -> Answer {
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            let (mut batch, item) = find(hub.cloud.store().read(), who.grant.product(), task)?;
            let inputs = open_tasks(&mut hub.cloud, &batch)?;
            // What a fault of the store has left open is ended by another call.
            if batch.cancelled && inputs.is_empty() {
                let what = "the task is cancelled already";
                return Err(ApiError::new(Code::FailedOperation, what).into());
            }
            batch.cancel(now);
            // First the row, so that no device of it begins any more; then some tasks at a time.
            let mut rider = who.rider(now, &format!("batch {}", batch.number));
            rider.items.push(row(&batch, &item.id, item.rev)?);
            hub.cloud.put_rider(rider)?;
            for some in inputs.chunks(Batch::CHUNK) {
                let outcome = hub.cloud.turn(now, some)?;
                hub.registered(outcome);
            }
            ended(&mut hub.cloud, &item.id)?;
            Ok(Value::Null)
        })
        .await
}

/// Cancels, or else retries, one device's task of a batch.
pub(super) async fn act(
    asked: Asked,
    device: String,
    version: String,
    task: u64,
    cancels: bool,
) -> Answer {
    let identity = asked.device(&device)?;
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            let read = hub.cloud.store().read();
            let batch = find_of(read, who.grant.product(), &version, task)?;
            let seen = hub.cloud.device(&identity)?.ok_or_else(Problem::unknown_device)?;
            let entry = batch.entries.iter().find(|entry| entry.name == device);
            let entry = entry.ok_or_else(|| {
                let what = "the device is not in the task";
                ApiError::new(Code::DeviceFirmwareTaskNotExist, what)
            })?;
            let over = || {
                let what = "the device's part of the task is over";
                ApiError::new(Code::DeviceFirmwareTaskAlreadDone, what)
            };
            let open = seen.task.filter(|task| entry.is_of(task)).ok_or_else(over)?;
            let input = if cancels { Input::Cancel(open.id) } else { Input::Retry(open.id) };
            let rider = who.rider(now, &device);
            one(hub, now, identity, input, rider)?;
            Ok(Value::Null)
        })
        .await
}

/// Gives a device an input.
fn one(
    hub: &mut Hub,
    now: Instant,
    device: Identity,
    input: Input,
    rider: Rider,
) -> Result<(), Oops> {
    let mut outcome = hub.cloud.turn_with(now, &[(device, input)], rider)?;
    let answer = outcome.answers.pop();
    hub.registered(outcome);
    match answer {
        Some(Err(why)) => Err(CommandError::Refused(why).into()),
        _ => Ok(()),
    }
}

/// The user has agreed: push now.
pub(super) async fn publish(
    asked: Asked,
    device: Option<String>,
    fw_type: Option<String>,
) -> Answer {
    let Some(device) = device else {
        let what = "DeviceName must be given: a push to all devices of a product is not served";
        return Err(ApiError::new(Code::UnsupportedOperation, what));
    };
    let (identity, module) = (asked.device(&device)?, module(fw_type.as_deref())?);
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            let seen = hub.cloud.seen(&identity)?.ok_or_else(Problem::unknown_device)?;
            if seen.disabled {
                let what = "the device is disabled";
                return Err(ApiError::new(Code::DeviceAlreadyDisabled, what).into());
            }
            let open = seen.device.task.filter(|task| {
                task.finished.is_none() && (fw_type.is_none() || task.module == module)
            });
            let open = open.ok_or_else(|| {
                let what = "the device has no unfinished task";
                ApiError::new(Code::DeviceFirmwareTaskNotExist, what)
            })?;
            if !seen.device.online {
                let what = "the device is not connected, or not subscribed";
                return Err(ApiError::new(Code::DeviceOffline, what).into());
            }
            let waits = open.status == ota_cloud::Status::AwaitingConfirm;
            let input = if waits { Input::Confirm(open.id) } else { Input::Push(open.id) };
            let rider = who.rider(now, &device);
            one(hub, now, identity, input, rider)?;
            Ok(json!({ "Status": "OK" }))
        })
        .await
}
