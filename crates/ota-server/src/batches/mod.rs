//! Rows and steps of batches. A batch is a row, and its devices are in rows of their own; each
//! commit creates the tasks of some of them and updates these rows. After a fault or a kill the hub
//! continues incomplete batches.

mod pages;

use std::ops::Range;

use ota_cloud::alert::News;
use ota_cloud::batch::{Batch, Entry};
use ota_cloud::campaign::{
    BatchRef, CampaignChange, CampaignInput, Scale, Slot, count_name, count_prefix,
};
use ota_cloud::{Device, Finish, Status, Task, TaskError};
use ota_proto::{Identity, Instant};
use ota_store::{Item, Kind, Read, Store, StoreError};

use crate::cycle::{Cloud, Input, Outcome, Rider};
use pages::new_rows;

pub(crate) use pages::Pages;

/// Numbers the steps of batches.
#[derive(Debug, Default)]
pub(crate) struct Turns(u64);

impl Turns {
    /// The next number. It is greater than every number before it, including those before a
    /// restart.
    pub(crate) fn next(&mut self, now: Instant) -> u64 {
        self.0 = self.0.saturating_add(1).max(now.as_micros() / 1_000);
        self.0
    }
}

/// Assigns a number to a batch, and adds its row to a commit. Note the batch
/// ([`crate::cycle::Engine::note_batch`]) once that is durable.
pub(crate) fn add(
    cloud: &Cloud,
    (now, turn): (Instant, u64),
    batch: &mut Batch,
    rider: &mut Rider,
) -> Result<(), StoreError> {
    let prefix = format!("{}/", batch.product);
    let read = cloud.store().read();
    let newest = read.items(Kind::CAMPAIGN, &prefix, None, 1)?.pop();
    let newest = newest.and_then(|item| Batch::number_in(&item.id));
    batch.number = newest.unwrap_or(0).saturating_add(1);
    batch.made = now.as_micros();
    // A removed product of this id may have left counts.
    let old = read.counts(&count_prefix(&batch.product, batch.number))?;
    rider.counts.extend(old.into_iter().map(|(name, count)| (name, count.saturating_neg())));
    rider_counts(batch, rider);
    rider.items.extend(new_rows(batch)?);
    rider.items.push(row(batch, (0, Some(turn)))?);
    Ok(())
}

/// A device of a batch.
pub(crate) fn entry_of(
    read: &dyn Read,
    batch: &Batch,
    name: &str,
) -> Result<Option<Entry>, StoreError> {
    let mut from = 0;
    while from < batch.begun {
        let until = from.saturating_add(Batch::PIECE);
        let pages = Pages::read(read, batch, from..until)?;
        if let Some(index) = pages.find(name) {
            return Ok(pages.get(index).filter(|_| index < batch.begun).cloned());
        }
        from = until;
    }
    Ok(None)
}

pub(crate) fn read_batch(item: &Item) -> Result<Batch, StoreError> {
    Batch::from_bytes(&item.body).map_err(|why| corrupt(&why))
}

/// Adds the counts of devices that got no task to a commit.
pub(crate) fn rider_counts(batch: &Batch, rider: &mut Rider) {
    for (wave, by) in &batch.refused {
        let of = BatchRef { number: batch.number, wave: *wave };
        let name = count_name(&batch.product, of, Slot::Status(Status::Failed));
        let count = rider.counts.entry(name).or_default();
        *count = count.saturating_add(*by);
    }
}

/// The row of a batch. While the batch is not over, the row has a wake-up.
pub(crate) fn row(batch: &Batch, (rev, wake): (u64, Option<u64>)) -> Result<Item, StoreError> {
    let body = batch.to_bytes().map_err(|why| StoreError::Invalid { what: why.to_string() })?;
    let id = Batch::id(&batch.product, batch.number);
    Ok(Item { rev, wake, ..Item::new(Kind::CAMPAIGN, id, body) })
}

/// The wake-up of a batch that waits for an event.
const FAR: u64 = 1 << 62;

/// Applies an input to a batch.
pub(crate) fn step(
    cloud: &Cloud,
    now: Instant,
    input: CampaignInput,
    batch: &mut Batch,
    at_most: usize,
) -> Result<CampaignChange, StoreError> {
    let counts = cloud.wave_counts(batch)?;
    let image = cloud.image_of(&batch.product, &batch.options.module, &batch.version);
    let at_most = u32::try_from(at_most).unwrap_or(u32::MAX);
    let scale = Scale { image, at_most, again: batch.is_due() };
    Ok(batch.step(now, input, &counts, scale))
}

/// Performs a step of a batch: creates tasks of some devices, ends, pushes or repeats some. Returns
/// whether it needs another step now.
pub(crate) fn advance(
    cloud: &mut Cloud,
    (now, turn): (Instant, u64),
    id: &str,
) -> Result<(bool, Outcome), StoreError> {
    let Some(item) = cloud.store().read().item(Kind::CAMPAIGN, id)? else {
        cloud.forget_batch(id);
        return Ok((false, Outcome::default()));
    };
    let before = read_batch(&item)?;
    let mut batch = before.clone();
    let joining = cloud.joining(id, Batch::CHUNK);
    if !joining.is_empty() {
        join(cloud, &mut batch, &item, turn, joining)?;
        cloud.note_batch(now, &batch, turn)?;
        return Ok((cloud.is_batch_due(now, id), Outcome::default()));
    }
    // What has begun goes before what begins.
    let most = if batch.is_due() { 0 } else { Batch::CHUNK };
    let change = step(cloud, now, CampaignInput::Tick, &mut batch, most)?;
    let (mut pages, inputs) = if change.admit > 0 {
        begin_some(cloud, now, &mut batch, change.admit)?
    } else {
        go_through(cloud, &mut batch)?
    };
    let is_over = batch.campaign.is_closed() && !batch.is_due();
    let wake = if batch.is_due() || change.admit > 0 {
        Some(turn)
    } else {
        Some(change.wake.map_or(FAR, Instant::as_micros)).filter(|_| !is_over)
    };
    if batch == before && inputs.is_empty() && item.wake == wake {
        cloud.note_batch(now, &batch, turn)?;
        return Ok((cloud.is_batch_due(now, id), Outcome::default()));
    }
    let news = News::of_batch(before.campaign.state(), &batch);
    let outcome = write(cloud, now, (&mut batch, (item.rev, wake), news), (&mut pages, &inputs))?;
    let begun = (before.begun..batch.begun).filter_map(|at| pages.get(at));
    let names: Vec<&str> = begun.map(|entry| entry.name.as_str()).collect();
    cloud.end_waiting(&batch, names);
    cloud.note_batch(now, &batch, turn)?;
    Ok((cloud.is_batch_due(now, id), outcome))
}

/// Commits the devices that join a batch. Their tasks begin in its next steps.
fn join(
    cloud: &mut Cloud,
    batch: &mut Batch,
    item: &Item,
    turn: u64,
    mut names: Vec<String>,
) -> Result<(), StoreError> {
    let asked = names.len();
    names.truncate(batch.room(asked));
    let (first, last) = (batch.all, batch.all.saturating_add(names.len()));
    // The last row may have room.
    let partial = first.checked_rem(Batch::PIECE).filter(|rest| *rest > 0);
    let range = partial.map_or(first..first, |_| first.saturating_sub(1)..first);
    let mut pages = Pages::read(cloud.store().read(), batch, range)?;
    for (index, name) in (first..last).zip(&names) {
        pages.push(index, Entry::waiting(name.clone()));
    }
    batch.join(names.len());
    let mut rider = Rider::default();
    rider.items.extend(pages.rows(batch)?);
    rider.items.push(row(batch, (item.rev, Some(turn)))?);
    cloud.put_rider(rider)?;
    cloud.joined(batch, asked, &names);
    Ok(())
}

/// Commits a step: the inputs of devices, with the row.
fn write(
    cloud: &mut Cloud,
    now: Instant,
    (batch, (rev, wake), news): (&mut Batch, (u64, Option<u64>), Option<News>),
    (pages, inputs): (&mut Pages, &[(Identity, Input)]),
) -> Result<Outcome, StoreError> {
    let alerts: Vec<_> = news.map(|news| (now, news)).into_iter().collect();
    let rows = |batch: &Batch, pages: &Pages| {
        let mut rider = Rider { alerts: alerts.clone(), ..Rider::default() };
        rider_counts(batch, &mut rider);
        rider.items.extend(pages.rows(batch)?);
        rider.items.push(row(batch, (rev, wake))?);
        Ok::<_, StoreError>(rider)
    };
    let rider = rows(batch, pages)?;
    let outcome = cloud.turn_with(now, inputs, rider)?;
    let mut wrong = false;
    for (answer, (identity, input)) in outcome.answers.iter().zip(inputs) {
        if let Err(why) = answer {
            wrong = true;
            if matches!(input, Input::Start { .. }) {
                let Some(index) = pages.find(identity.device_name()) else { continue };
                let Some(entry) = pages.get_mut(index) else { continue };
                batch.refuse(now, index, entry, why.to_string());
            }
        }
    }
    if wrong {
        // The rows were not in the commit.
        cloud.put_rider(rows(batch, pages)?)?;
    }
    batch.refused.clear();
    Ok(outcome)
}

/// Creates the tasks of some of a batch's devices.
fn begin_some(
    cloud: &mut Cloud,
    now: Instant,
    batch: &mut Batch,
    most: u32,
) -> Result<(Pages, Vec<(Identity, Input)>), StoreError> {
    let mut inputs = Vec::new();
    let (from, most) = (batch.begun, usize::try_from(most).unwrap_or(usize::MAX));
    let range = from..from.saturating_add(batch.waits().min(most));
    let mut pages = Pages::read(cloud.store().read(), batch, range.clone())?;
    for index in range {
        let entry = pages.get_mut(index).ok_or_else(|| corrupt(&"a batch without its devices"))?;
        let Ok(identity) = Identity::new(&batch.product, &entry.name) else {
            batch.take_on(now, entry, None);
            continue;
        };
        let seen = match cloud.seen(&identity) {
            // An unreadable row fails by itself, without delaying the others.
            Err(StoreError::Corrupt { why }) => {
                batch.skip(now, entry, format!("its row cannot be read: {why}"));
                continue;
            }
            seen => seen?,
        };
        // Before another task of it is cancelled for this one.
        if let Some(Err(why)) = seen.as_ref().map(|seen| needs(cloud, batch, &seen.device)) {
            batch.skip(now, entry, why.to_string());
            continue;
        }
        let device = seen.as_ref().map(|seen| (&seen.device, seen.disabled));
        let Some(begin) = batch.take_on(now, entry, device) else { continue };
        if let Some(task) = begin.cancel {
            inputs.push((identity.clone(), Input::Cancel(task)));
        }
        let (target, mut options) = (batch.version.clone(), batch.options.clone());
        options.batch = Some(begin.batch);
        inputs.push((identity, Input::Start { target, options }));
    }
    Ok((pages, inputs))
}

/// Ends, pushes or repeats the tasks of some devices, whichever is next.
fn go_through(
    cloud: &mut Cloud,
    batch: &mut Batch,
) -> Result<(Pages, Vec<(Identity, Input)>), StoreError> {
    if batch.ending {
        of_some(cloud, batch, Batch::end_some, |batch, task| {
            batch.ends(task).then_some(Input::Cancel(task.id))
        })
    } else if batch.pushed.is_some() {
        of_some(cloud, batch, Batch::push_some, |batch, task| {
            batch.pushes(task).then_some(Input::Push(task.id))
        })
    } else if batch.retried.is_some() {
        of_some(cloud, batch, Batch::retry_some, |_, task| {
            let failed = matches!(task.finished, Some((_, Finish::Failed | Finish::TimedOut)));
            (failed && task.status != Status::Complete).then_some(Input::Retry(task.id))
        })
    } else {
        of_some(cloud, batch, |_, _| 0..0, |_, _| None)
    }
}

/// Whether a device runs what the batch's firmware needs.
fn needs(cloud: &Cloud, batch: &Batch, device: &Device) -> Result<(), TaskError> {
    let module = &batch.options.module;
    let runs = device.reported(module).map(|known| known.version.as_str());
    cloud.catalog().check_needs((&batch.product, module, &batch.version), runs)
}

/// Inputs for some of a batch's devices, by their tasks of the batch.
fn of_some(
    cloud: &mut Cloud,
    batch: &mut Batch,
    some: fn(&mut Batch, usize) -> Range<usize>,
    input: fn(&Batch, &Task) -> Option<Input>,
) -> Result<(Pages, Vec<(Identity, Input)>), StoreError> {
    let mut inputs = Vec::new();
    let range = some(batch, Batch::CHUNK);
    let pages = Pages::read(cloud.store().read(), batch, range.clone())?;
    for entry in range.filter_map(|index| pages.get(index)) {
        let Ok(identity) = Identity::new(&batch.product, &entry.name) else { continue };
        let task = match cloud.device(&identity) {
            Err(StoreError::Corrupt { .. }) => continue,
            device => device?.and_then(|device| device.task),
        };
        let task = task.filter(|task| entry.is_of(task));
        let input = task.and_then(|task| input(batch, &task));
        inputs.extend(input.map(|input| (identity, input)));
    }
    Ok((pages, inputs))
}

/// Performs a step of a batch that has something to do now. `None` if no batch has. The batch whose
/// last step is longest ago comes first, in any product; one with an unreadable row is left out.
pub(crate) fn go_on(
    cloud: &mut Cloud,
    (now, turn): (Instant, u64),
) -> Result<Option<Outcome>, StoreError> {
    while let Some(id) = cloud.due_batch(now) {
        match advance(cloud, (now, turn), &id) {
            Err(StoreError::Corrupt { .. } | StoreError::Invalid { .. }) => {
                cloud.forget_batch(&id);
            }
            step => return step.map(|(_, outcome)| Some(outcome)),
        }
    }
    Ok(None)
}

/// All steps of batches at a start.
pub(crate) fn finish(cloud: &mut Cloud, now: Instant) -> Result<(), StoreError> {
    let mut turns = Turns::default();
    while go_on(cloud, (now, turns.next(now)))?.is_some() {}
    Ok(())
}

pub(crate) fn corrupt(why: &dyn ToString) -> StoreError {
    StoreError::Corrupt { why: why.to_string() }
}
