//! Reads batches piece by piece with a separate reader, so that these calls delay no others, and
//! limits how much one call reads.

use std::collections::{BTreeMap, BTreeSet};

use ota_cloud::api::{Code, Problem};
use ota_cloud::batch::{Batch, BatchStatus, End, Entry, Line};
use ota_cloud::{Device, EventKind};
use ota_proto::Instant;
use ota_store::{DeviceKey, EventQuery, Filter, Kind, Query, Read, StoreError};

use super::read_batch;
use crate::api::Api;
use crate::api::limits::Place;

/// Events of a device per read, and the most reads, for a task that is not its last.
const EVENTS: (usize, usize) = (1_000, 5);
/// The read budget of a call: a device's row counts one, and so do ten of its events, and a KiB of
/// a batch's row.
const MOST: usize = 50_000;
/// Batches of one piece.
const BATCHES: usize = 8;
/// Devices of one piece.
const PIECE: usize = 100;

fn too_much() -> Problem {
    let what = "more would have to be read than one call may: name a batch, or fewer at a time";
    Problem::new(Code::TooLarge, what)
}

/// The end of a task that is not the device's last, and the cost of reading it.
fn past(
    read: &dyn Read,
    key: &DeviceKey,
    entry: &Entry,
) -> Result<(Option<End>, usize), StoreError> {
    let (each, pages) = EVENTS;
    let (mut after, mut end, mut cost) = (0, None, 0_usize);
    for _ in 0..pages {
        let query = EventQuery { after, device: Some(key.clone()) };
        let events = read.events(&query, each)?;
        cost = cost.saturating_add(1).saturating_add(events.len() / 10);
        let read = events.iter().filter_map(|event| {
            let kind: EventKind = serde_json::from_slice(&event.what.body).ok()?;
            Some((Instant::from_micros(event.what.at), kind))
        });
        let read: Vec<(Instant, EventKind)> = read.collect();
        end = entry.end_of(read.iter().map(|(at, kind)| (*at, kind))).or(end);
        match events.last() {
            Some(last) if events.len() == each => after = last.seq,
            _ => break,
        }
    }
    Ok((end, cost))
}

/// Devices of a batch with their states, and the rest of the budget. Older tasks are searched in
/// the events.
fn lines(
    read: &dyn Read,
    product: &str,
    entries: Vec<Entry>,
    mut left: usize,
) -> Result<Result<(Vec<Line>, usize), Problem>, StoreError> {
    let mut rows = Vec::with_capacity(entries.len());
    for mut entry in entries {
        if let Some(row) = Line::of_end(&entry) {
            rows.push(row);
            continue;
        }
        let Some(rest) = left.checked_sub(1) else { return Ok(Err(too_much())) };
        left = rest;
        let key = DeviceKey::new(product, entry.name.clone());
        let device = read.device(&key)?.and_then(|row| Device::from_bytes(&row.state).ok());
        let task = device.as_ref().and_then(|device| device.task.as_ref());
        if let Some(task) = task.filter(|task| entry.is_of(task)) {
            rows.push(Line::of_task(&entry, task));
            continue;
        }
        let (end, cost) = past(read, &key, &entry)?;
        let Some(rest) = left.checked_sub(cost) else { return Ok(Err(too_much())) };
        left = rest;
        entry.end = end;
        rows.push(Line::of_end(&entry).unwrap_or_else(|| Line::unknown(&entry)));
    }
    Ok(Ok((rows, left)))
}

/// A call that reads batches.
pub(in crate::api) struct Walk {
    api: Api,
    product: String,
    /// Its remaining budget.
    left: usize,
    /// The row of the batch that was read last.
    after: Option<String>,
    _place: Place,
}

impl Walk {
    /// For a key, in a product.
    pub(in crate::api) fn begin(api: &Api, key: &str, product: &str) -> Result<Self, Problem> {
        let place = api.0.walks.take(key).ok_or_else(|| {
            let what = "eight calls of the key that read many rows are in progress: wait for one";
            Problem::new(Code::TooMany, what)
        })?;
        let (api, product) = (api.clone(), product.to_owned());
        Ok(Self { api, product, left: MOST, after: None, _place: place })
    }

    /// Starts after this batch.
    pub(in crate::api) fn behind(&mut self, number: u32) {
        self.after = Some(Batch::id(&self.product, number));
    }

    /// The names of the devices that match one of these filters, each once, at most one more than
    /// the limit of a batch, which is enough to refuse it.
    pub(in crate::api) async fn matching(
        &mut self,
        filters: impl IntoIterator<Item = Filter>,
    ) -> Result<Vec<String>, Problem> {
        let (mut names, mut seen) = (Vec::new(), BTreeSet::new());
        for filter in filters {
            let mut after = None;
            loop {
                let query = Query { filter: filter.clone(), after, limit: PIECE };
                let page = self.api.walk(move |read| read.list(&query)).await?;
                // A device whose version changes meanwhile may match twice.
                let new = page.rows.into_iter().map(|row| row.key.name);
                names.extend(new.filter(|name| seen.insert(name.clone())));
                if names.len() > Batch::MOST {
                    return Ok(names);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(names)
    }

    /// The tags of devices.
    pub(in crate::api) async fn tags(
        &mut self,
        product: &str,
        names: &[String],
    ) -> Result<BTreeMap<String, BTreeMap<String, String>>, Problem> {
        let mut tags = BTreeMap::new();
        for some in names.chunks(PIECE) {
            let (product, some) = (product.to_owned(), some.to_vec());
            let piece = self.api.walk(move |read| {
                let mut rows = Vec::with_capacity(some.len());
                for name in some {
                    let row = read.device(&DeviceKey::new(product.clone(), name.clone()))?;
                    rows.extend(row.map(|row| (name, row.tags)));
                }
                Ok(rows)
            });
            tags.extend(piece.await?);
        }
        Ok(tags)
    }

    /// The next batches of the product, newest first; none at the end.
    pub(in crate::api) async fn batches(&mut self) -> Result<Vec<Batch>, Problem> {
        let prefix = format!("{}/", self.product);
        let after = self.after.clone();
        let piece = self.api.walk(move |read| {
            let items = read.items(Kind::CAMPAIGN, &prefix, after.as_deref(), BATCHES)?;
            let cost: usize =
                items.iter().map(|item| (item.body.len() / 1_024).saturating_add(1)).sum();
            Ok((cost, items.iter().map(read_batch).collect::<Result<Vec<_>, _>>()?))
        });
        let (cost, piece) = piece.await?;
        self.left = self.left.checked_sub(cost).ok_or_else(too_much)?;
        self.after = piece.last().map(|last| Batch::id(&last.product, last.number));
        Ok(piece)
    }

    /// Some devices of a batch, in their order.
    pub(in crate::api) async fn some(
        &mut self,
        batch: &Batch,
        from: usize,
        most: usize,
    ) -> Result<Vec<Line>, Problem> {
        let (mut rows, begun) = (Vec::new(), batch.entries.len());
        let entries: Vec<Entry> = batch.entries.iter().skip(from).take(most).cloned().collect();
        for some in entries.chunks(PIECE) {
            let (product, some, left) = (batch.product.clone(), some.to_vec(), self.left);
            let piece = self.api.walk(move |read| lines(read, &product, some, left));
            let (piece, left) = piece.await??;
            rows.extend(piece);
            self.left = left;
        }
        let waiting = batch.waiting.iter().skip(from.saturating_sub(begun));
        let most = most.saturating_sub(rows.len());
        rows.extend(waiting.take(most).map(|name| Line::waiting(name)));
        Ok(rows)
    }

    /// All devices of a batch.
    pub(in crate::api) async fn all(&mut self, batch: &Batch) -> Result<Vec<Line>, Problem> {
        self.some(batch, 0, usize::MAX).await
    }

    /// Whether a task of a batch is open.
    pub(in crate::api) async fn open(&mut self, batch: &Batch) -> Result<bool, Problem> {
        let mut from = 0;
        while from < batch.entries.len() {
            let rows = self.some(batch, from, PIECE).await?;
            if rows.iter().any(|row| !row.is_over()) {
                return Ok(true);
            }
            from = from.saturating_add(PIECE);
        }
        Ok(false)
    }

    /// As many devices of a batch as its status needs.
    pub(in crate::api) async fn enough(&mut self, batch: &Batch) -> Result<Vec<Line>, Problem> {
        let mut rows = Vec::new();
        let is_known = |rows: &[Line]| {
            let status = batch.status(rows.iter().map(|row| row.status));
            status != BatchStatus::Finished || rows.len() >= batch.entries.len()
        };
        while !is_known(&rows) {
            rows.extend(self.some(batch, rows.len(), PIECE).await?);
        }
        Ok(rows)
    }
}
