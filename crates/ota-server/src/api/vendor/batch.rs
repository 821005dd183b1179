//! Creates and cancels batches, and changes single devices of them.

use std::time::Duration;

use ota_cloud::batch::{Batch, BatchStatus, Joins, Mode, refusal};
use ota_cloud::campaign::{CampaignPlan, Pace, Wave};
use ota_cloud::{Module, Retries, TaskOptions};
use ota_store::{Filter, Store, VersionFilter};

use super::*;
use crate::api::batches::{self, all_known, find, target};
use crate::batches::{advance, entry_of, read_batch};
use crate::cycle::{CommandError, Input};

/// The module of a request.
pub(super) fn module(fw_type: Option<&str>) -> Result<Module, ApiError> {
    Module::new(fw_type).ok_or_else(|| {
        let what = "FwType is 1 to 32 letters, digits, _ or -";
        ApiError::new(Code::InvalidParameterValue, what)
    })
}

/// Creates a batch.
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
        start,
        end,
        retries,
        retry_minutes,
        per_minute,
        kind,
        user_defined,
        ..
    } = action
    else {
        return Ok(Value::Null);
    };
    let mut options = TaskOptions {
        module: module(fw_type.as_deref())?,
        confirm: upgrade_method == Some(1),
        timeout: timeout.map(Duration::from_secs),
        retries: retries_of(retries, retry_minutes),
        user_defined: user_defined.filter(|text| !text.is_empty()),
        ..TaskOptions::default()
    };
    let mut joins = None;
    let (mode, names) = if let Some(from) = from {
        joins = (kind == Some(7))
            .then(|| Joins { from_versions: vec![from.clone()], ..Joins::default() });
        options.from_versions = vec![from.clone()];
        let module = options.module.as_str().to_owned();
        let filter = Filter {
            version: Some(VersionFilter::Is { module, version: from }),
            ..Filter::product(asked.product())
        };
        (Mode::OriginalVersion, asked.begin_walk()?.matching([filter]).await?)
    } else if let Some(file) = file_name {
        (Mode::FileName, upload::names_of(&asked, file, file_md5, file_size).await?)
    } else {
        (Mode::DeviceNames, devices)
    };
    let mut batch = Batch::new(&asked.product(), &version, mode, options);
    batch.overrides = override_mode == Some(1);
    batch.joins = joins;
    batch.wait_for(names)?;
    let plan = plan_of(&asked, (start, end), per_minute)?;
    batch.arrange(plan, &Default::default())?;
    let number = make(&asked, batch).await?;
    Ok(json!({ "TaskId": number }))
}

/// One wave with the pace and the times of a request. A zero means no limit.
fn plan_of(
    asked: &Asked,
    (start, end): (Option<i64>, Option<i64>),
    per_minute: Option<i64>,
) -> Result<CampaignPlan, ApiError> {
    let at = |seconds: Option<i64>| {
        let seconds = seconds.and_then(|at| u64::try_from(at).ok()).filter(|at| *at > 0);
        seconds.map(|at| Instant::from_micros(at.saturating_mul(1_000_000)))
    };
    let per_minute = per_minute.and_then(|rate| u32::try_from(rate).ok()).unwrap_or(0);
    let mut plan = CampaignPlan { starts: at(start), ends: at(end), ..CampaignPlan::default() };
    if per_minute > 0 {
        let pace = Pace { per_minute, ..Pace::default() };
        plan.waves.push(Wave { pace, ..Wave::default() });
    }
    let now = asked.api.0.journal.clock.unix_micros();
    let checked = plan.check(now);
    checked.map_err(|(_, what)| ApiError::new(Code::InvalidParameterValue, what))?;
    Ok(plan)
}

fn retries_of(most: Option<u64>, minutes: Option<u64>) -> Option<Retries> {
    let most = most.and_then(|most| u32::try_from(most).ok()).filter(|most| *most > 0)?;
    let minutes = minutes.filter(|minutes| *minutes > 0).unwrap_or(1);
    Some(Retries { most, pause: Duration::from_secs(minutes.saturating_mul(60)) })
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
    if let Same::As(number) = same(&asked, &batch).await? {
        whole(&asked, number).await?;
        return Ok(Value::Null);
    }
    let of = batch.clone();
    asked
        .ask(move |hub, _| {
            target(&hub.cloud, &of)?;
            let seen = hub.cloud.seen(&identity)?.ok_or_else(Problem::unknown_device)?;
            of.admit(&seen.device, seen.disabled)
                .map_err(|why| ApiError::new(ApiError::from(why).code, refusal(why)))?;
            Ok(())
        })
        .await?;
    make(&asked, batch).await?;
    Ok(Value::Null)
}

/// Creates a batch with its devices: first its row, then in each commit the tasks of some devices
/// together with the row. The hub completes a batch that a fault or a stop interrupted. A repeated
/// call returns the same batch.
async fn make(asked: &Asked, mut batch: Batch) -> Result<u32, ApiError> {
    let seen = match same(asked, &batch).await? {
        Same::As(number) => {
            whole(asked, number).await?;
            return Ok(number);
        }
        Same::None(rev) => rev,
    };
    all_known(&asked.api, &asked.grant, &batch.waiting).await?;
    let who = asked.clone();
    let number = asked
        .ask(move |hub, now| {
            target(&hub.cloud, &batch)?;
            let call = batch.call(who.caller.id(), who.action).map_err(|why| corrupt(&why))?;
            let there = hub.cloud.store().read().item(Kind::CALL, &call)?;
            let rev = there.as_ref().map_or(0, |there| there.rev);
            if let Some(there) = there.filter(|there| there.rev != seen) {
                // The same call arrived twice at the same time.
                return Ok(number_of(&there)?);
            }
            let mut rider = Rider::default();
            batches::add(hub, now, &mut batch, &mut rider)?;
            rider.audit.push(who.audit(now, &format!("batch {}", batch.number)));
            forget_calls(hub, now, &call, &mut rider)?;
            let until = now.as_micros().saturating_add(Batch::SAME.saturating_mul(1_000_000));
            let mut item = Item::new(Kind::CALL, call, batch.number.to_string().into_bytes());
            (item.wake, item.rev) = (Some(until), rev);
            rider.items.push(item);
            hub.cloud.put_rider(rider)?;
            batch.refused.clear();
            batches::note(hub, now, &batch)?;
            Ok(batch.number)
        })
        .await?;
    whole(asked, number).await?;
    Ok(number)
}

/// Waits until every device of a batch has its task, or every task of a cancelled batch has ended.
async fn whole(asked: &Asked, number: u32) -> Result<(), ApiError> {
    let id = Batch::id(asked.grant.product(), number);
    loop {
        let id = id.clone();
        let step = asked.ask(move |hub, now| {
            let (more, outcome) = advance(&mut hub.cloud, (now, hub.chores.turn(now)), &id)?;
            hub.registered(outcome);
            Ok(more)
        });
        if !step.await? {
            return Ok(());
        }
    }
}

/// Removes some expired calls with each new one.
fn forget_calls(
    hub: &mut Hub,
    now: Instant,
    besides: &str,
    rider: &mut Rider,
) -> Result<(), StoreError> {
    for old in hub.cloud.store_mut().due_items(Kind::CALL, now.as_micros(), 20)? {
        let item = hub.cloud.store().read().item(Kind::CALL, &old)?;
        if let Some(item) = item.filter(|_| old != besides) {
            rider.gone_items.push((Kind::CALL, old, item.rev));
        }
    }
    Ok(())
}

fn number_of(item: &Item) -> Result<u32, StoreError> {
    let number = core::str::from_utf8(&item.body).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| corrupt(&"a call without the number of its batch"))
}

/// Whether a call has created a batch already.
enum Same {
    /// It created this batch.
    As(u32),
    /// It created none that still counts. Its row has this revision; 0 without a row.
    None(u64),
}

/// Finds the unfinished batch that the same call of the same key created recently: a client that
/// got no answer repeats its call.
async fn same(asked: &Asked, batch: &Batch) -> Result<Same, ApiError> {
    let call = batch.call(asked.caller.id(), asked.action);
    let call = call.map_err(|why| ApiError::from(&asked.api.store(&corrupt(&why))))?;
    let (product, now) = (asked.product(), asked.api.0.journal.clock.unix_micros().as_micros());
    let found = asked.read(move |read| {
        let Some(item) = read.item(Kind::CALL, &call)? else { return Ok((0, None)) };
        if item.wake.is_none_or(|wake| wake <= now) {
            return Ok((item.rev, None));
        }
        let batch = read.item(Kind::CAMPAIGN, &Batch::id(&product, number_of(&item)?))?;
        Ok((item.rev, batch.map(|batch| read_batch(&batch)).transpose()?))
    });
    let (rev, made) = found.await?;
    let Some(made) = made.filter(|made| !made.cancelled) else { return Ok(Same::None(rev)) };
    let over = asked.begin_walk()?.status(&made).await? == BatchStatus::Finished;
    Ok(if over { Same::None(rev) } else { Same::As(made.number) })
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

/// Cancels a batch and its open tasks: first its row, so that no further device starts; then some
/// tasks at a time, as [`make`] does.
pub(super) async fn cancel(asked: Asked, task: u64) -> Answer {
    let product = asked.product();
    let (batch, _) = asked.read(move |read| Ok(find(read, &product, task)?)).await?;
    let number = batch.number;
    if batch.cancelled && !batch.ending {
        let rows = asked.begin_walk()?.open(&batch).await?;
        // Another call cancels tasks that are open in spite of that.
        if !rows {
            let what = "the task is cancelled already";
            return Err(ApiError::new(Code::FailedOperation, what));
        }
    }
    let who = asked.clone();
    asked
        .ask(move |hub, now| {
            let (mut batch, item) = find(hub.cloud.store().read(), who.grant.product(), task)?;
            let mut rider = who.rider(now, &format!("batch {}", batch.number));
            batches::end(hub, now, (&mut batch, &item), &mut rider)?;
            hub.cloud.put_rider(rider)?;
            batch.refused.clear();
            batches::note(hub, now, &batch)?;
            Ok(())
        })
        .await?;
    whole(&asked, number).await?;
    Ok(Value::Null)
}

/// Cancels or retries one device's task of a batch.
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
            let entry = entry_of(hub.cloud.store().read(), &batch, &device)?;
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

/// Passes an input to a device.
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

/// Starts the update now, because the user has agreed.
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
