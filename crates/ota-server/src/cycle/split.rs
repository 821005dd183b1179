//! Brings the batches of earlier versions into their present form, once: their devices into rows of
//! their own, and, if they were begun before batches had waves, their tasks into the counts.

use std::collections::BTreeMap;

use ota_cloud::BadState;
use ota_cloud::batch::{Batch, Entry};
use ota_cloud::campaign::{BatchRef, Slot, count_name, count_prefix};
use ota_cloud::{Device, EventKind, Status};
use ota_proto::Instant;
use ota_store::{Commit, DeviceKey, DeviceRow, EventQuery, Item, Kind, Store, StoreError};

use super::Engine;

/// The count that says that it was done.
const DONE: &str = "batches in pieces";
/// Batches per read.
const BATCHES: usize = 10;
/// Devices per commit.
const DEVICES: usize = 500;
/// Events of a device per read.
const EVENTS: usize = 1_000;

impl<S: Store> Engine<S> {
    /// Splits the rows of earlier versions. After a kill it goes on at the next start.
    pub(super) fn split_batches(&mut self) -> Result<(), StoreError> {
        if !self.store.read().counts(DONE)?.is_empty() {
            return Ok(());
        }
        let mut after: Option<String> = None;
        loop {
            let items = self.store.read().items(Kind::CAMPAIGN, "", after.as_deref(), BATCHES)?;
            let Some(last) = items.last() else { break };
            after = Some(last.id.clone());
            for item in items {
                // An unreadable one affects no other.
                if let Ok(batch) = Batch::from_bytes(&item.body) {
                    self.split(batch, item)?;
                }
            }
        }
        if after.is_none() {
            // Later batches are in the present form. A start does not change a store without batches.
            return Ok(());
        }
        let counts = BTreeMap::from([(DONE.to_owned(), 1)]);
        self.store.commit(&Commit { counts, ..Commit::default() }).map(drop)
    }

    fn split(&mut self, mut batch: Batch, item: Item) -> Result<(), StoreError> {
        let entries = batch.entries.clone();
        let pieces = batch.take_pieces();
        if pieces.is_empty() {
            return Ok(());
        }
        let prefix = count_prefix(&batch.product, batch.number);
        // It must still be known after a kill that the batch had no counts.
        let (mark, counts) = (format!("{prefix}old"), self.store.read().counts(&prefix)?);
        let is_old = !entries.is_empty() && (counts.is_empty() || counts.contains_key(&mark));
        let mut commit = Commit::default();
        if is_old {
            if counts.is_empty() {
                let counts = BTreeMap::from([(mark.clone(), 1)]);
                self.store.commit(&Commit { counts, ..Commit::default() })?;
            }
            commit.counts = self.count_old(&batch, &entries)?;
            commit.counts.insert(mark, -1);
        }
        for (at, piece) in pieces.iter().enumerate() {
            let body = Batch::piece_to_bytes(piece).map_err(invalid)?;
            commit.items.push(Item::new(Kind::CAMPAIGN_DEVICES, batch.piece_id(at), body));
        }
        // Its next step sees whether it is over.
        let wake = if is_old && !batch.cancelled { item.wake.or(Some(0)) } else { item.wake };
        commit.items.push(Item { body: batch.to_bytes().map_err(invalid)?, wake, ..item });
        self.store.commit(&commit).map(drop)
    }

    /// Tells the last task of each device of what it is part, with its count, and returns the counts
    /// of the other devices.
    fn count_old(
        &mut self,
        batch: &Batch,
        entries: &[Entry],
    ) -> Result<BTreeMap<String, i64>, StoreError> {
        let of = BatchRef { number: batch.number, wave: 0 };
        let name = |slot| count_name(&batch.product, of, slot);
        let mut rest = BTreeMap::new();
        for some in entries.chunks(DEVICES) {
            let mut commit = Commit::default();
            for entry in some {
                if let Some(end) = &entry.end {
                    add(&mut rest, name(Slot::Status(end.status)));
                    continue;
                }
                let key = DeviceKey::new(batch.product.clone(), entry.name.clone());
                let row = self.store.read().device(&key)?;
                let device = row.as_ref().and_then(|row| Device::from_bytes(&row.state).ok());
                let task = device.as_ref().and_then(|device| device.task.as_ref());
                match (row, task.filter(|task| entry.is_of(task))) {
                    // The start before this one did not come to its end.
                    (Some(_), Some(task)) if task.batch.is_some() => {}
                    (Some(row), Some(task)) => {
                        add(&mut commit.counts, name(Slot::Status(task.status)));
                        commit.devices.push(told(row, of)?);
                    }
                    _ => add(&mut rest, name(Slot::Status(self.end_of(&key, entry)?))),
                }
            }
            self.store.commit(&commit)?;
        }
        Ok(rest)
    }

    /// How a task ended that is not its device's last.
    fn end_of(&self, key: &DeviceKey, entry: &Entry) -> Result<Status, StoreError> {
        let query = EventQuery { device: Some(key.clone()), ..EventQuery::default() };
        let events = self.store.read().events(&query, EVENTS)?;
        let read = events.iter().filter_map(|event| {
            let kind: EventKind = serde_json::from_slice(&event.what.body).ok()?;
            Some((Instant::from_micros(event.what.at), kind))
        });
        let read: Vec<(Instant, EventKind)> = read.collect();
        let end = entry.end_of(read.iter().map(|(at, kind)| (*at, kind)));
        let end = end.map(|end| end.status);
        let is_over = |status: &Status| {
            matches!(status, Status::Complete | Status::Failed | Status::TimedOut)
        };
        Ok(end.filter(is_over).unwrap_or(Status::Failed))
    }
}

fn add(counts: &mut BTreeMap<String, i64>, name: String) {
    let count = counts.entry(name).or_default();
    *count = count.saturating_add(1);
}

/// The row of a device whose task is part of a batch.
fn told(mut row: DeviceRow, of: BatchRef) -> Result<DeviceRow, StoreError> {
    let mut device = Device::from_bytes(&row.state).map_err(invalid)?;
    if let Some(task) = &mut device.task {
        task.batch = Some(of);
    }
    row.state = device.to_bytes().map_err(invalid)?;
    Ok(row)
}

fn invalid(why: BadState) -> StoreError {
    StoreError::Invalid { what: why.to_string() }
}
