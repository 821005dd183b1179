//! Reads batches piece by piece with a separate reader, so that these calls delay no others, and
//! limits how much one call reads.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use ota_cloud::api::{Code, Problem};
use ota_cloud::batch::{Batch, BatchStatus, End, Entry, Line};
use ota_cloud::campaign::{Slot, Tally};
use ota_cloud::{Device, EventKind, Status, Task};
use ota_proto::Instant;
use ota_store::{DeviceKey, EventQuery, Filter, Kind, Query, Read, StoreError};

use super::is_known;
use crate::api::Api;
use crate::api::limits::Place;
use crate::batches::{Pages, read_batch};
use crate::cycle::tallies;

/// Events of a device per read, and the most reads, for a task that is not its last.
const EVENTS: (usize, usize) = (1_000, 5);
/// The read budget of a call: a device's row counts one, and so do ten of its events, and a KiB of
/// a batch's rows.
const MOST: usize = 50_000;
/// The most devices that are read for the reasons of failures with one status.
const REASON_ROWS: usize = 2_000;
/// Batches of one piece.
const BATCHES: usize = 8;
/// Devices of one piece.
const PIECE: usize = 100;
/// Rows of a batch's devices of one read.
const PIECES: usize = 10;

/// How many devices failed with each code and text.
pub(in crate::api) type Reasons = BTreeMap<(i64, String), u64>;

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
    batch: &Batch,
    entries: Vec<(usize, Entry)>,
    mut left: usize,
) -> Result<Result<(Vec<Line>, usize), Problem>, StoreError> {
    let mut rows = Vec::with_capacity(entries.len());
    for (index, mut entry) in entries {
        if let Some(row) = batch.line(index, &entry) {
            rows.push(row);
            continue;
        }
        let Some(rest) = left.checked_sub(1) else { return Ok(Err(too_much())) };
        left = rest;
        let key = DeviceKey::new(batch.product.as_str(), entry.name.clone());
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

    /// Restores the budget, for a call whose answer is sent in pieces.
    pub(in crate::api) fn renew(&mut self) {
        self.left = MOST;
    }

    /// The devices of these that exist.
    pub(in crate::api) async fn known(
        &mut self,
        names: Vec<(usize, String)>,
    ) -> Result<Vec<(usize, String)>, Problem> {
        let mut known = Vec::with_capacity(names.len());
        for some in names.chunks(PIECE) {
            let (product, some) = (self.product.clone(), some.to_vec());
            let piece = self.api.walk(move |read| {
                let mut there = Vec::with_capacity(some.len());
                for (at, name) in some {
                    if is_known(read, &product, &name)? {
                        there.push((at, name));
                    }
                }
                Ok(there)
            });
            known.extend(piece.await?);
        }
        Ok(known)
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

    /// The devices at these places of a batch whose names are wanted, with their places.
    pub(in crate::api) async fn entries(
        &mut self,
        batch: &Batch,
        range: Range<usize>,
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(usize, Entry)>, Problem> {
        let (mut entries, mut from) = (Vec::new(), range.start);
        while from < range.end.min(batch.all) {
            // Up to the end of some pieces.
            let until = (from / Batch::PIECE).saturating_add(PIECES).saturating_mul(Batch::PIECE);
            let until = until.min(range.end).min(batch.all);
            let (of, some) = (batch.clone(), from..until);
            let piece = self.api.walk(move |read| {
                let pages = Pages::read(read, &of, some.clone())?;
                let entries = some.filter_map(|at| Some((at, pages.get(at)?.clone())));
                Ok((entries.collect::<Vec<_>>(), pages.size()))
            });
            let (piece, size) = piece.await?;
            self.left = self.left.checked_sub(size / 1_024).ok_or_else(too_much)?;
            entries.extend(piece.into_iter().filter(|(_, entry)| is_wanted(&entry.name)));
            from = until;
        }
        Ok(entries)
    }

    /// The states of devices of a batch, which were found at these places.
    pub(in crate::api) async fn lines(
        &mut self,
        batch: &Batch,
        entries: &[(usize, Entry)],
    ) -> Result<Vec<Line>, Problem> {
        let mut rows = Vec::with_capacity(entries.len());
        for some in entries.chunks(PIECE) {
            let (of, some, left) = (batch.clone(), some.to_vec(), self.left);
            let piece = self.api.walk(move |read| lines(read, &of, some, left));
            let (piece, left) = piece.await??;
            rows.extend(piece);
            self.left = left;
        }
        Ok(rows)
    }

    /// Some devices of a batch, in their order.
    pub(in crate::api) async fn some(
        &mut self,
        batch: &Batch,
        from: usize,
        most: usize,
    ) -> Result<Vec<Line>, Problem> {
        let range = from..from.saturating_add(most);
        let entries = self.entries(batch, range, |_| true).await?;
        self.lines(batch, &entries).await
    }

    /// All devices of a batch.
    pub(in crate::api) async fn all(&mut self, batch: &Batch) -> Result<Vec<Line>, Problem> {
        self.some(batch, 0, usize::MAX).await
    }

    /// The counts of the waves of a batch.
    pub(in crate::api) async fn tallies(&mut self, batch: &Batch) -> Result<Vec<Tally>, Problem> {
        let of = batch.clone();
        self.api.walk(move |read| tallies(read, &of)).await
    }

    /// How many devices of a batch are in each state.
    pub(in crate::api) async fn totals(
        &mut self,
        batch: &Batch,
    ) -> Result<BTreeMap<Status, u64>, Problem> {
        let mut totals: BTreeMap<Status, u64> = BTreeMap::new();
        let mut add = |status, by| {
            let total = totals.entry(status).or_default();
            *total = total.saturating_add(by);
        };
        if batch.is_large() {
            for tally in self.tallies(batch).await? {
                tally.statuses().for_each(|(status, count)| add(status, count));
            }
            let waiting = batch.waiting_by_wave().into_iter().fold(0, u64::saturating_add);
            if waiting > 0 {
                add(Status::Pending, waiting);
            }
        } else {
            self.all(batch).await?.iter().for_each(|line| add(line.status, 1));
        }
        Ok(totals)
    }

    /// Why the failed devices of a large batch failed. Its counts say how many are looked for; a
    /// bounded number of devices is read, and the others count as one reason.
    pub(in crate::api) async fn reasons(&mut self, batch: &Batch) -> Result<Reasons, Problem> {
        let mut reasons = Reasons::new();
        for (text, count) in &batch.refusals {
            reasons.insert((0, text.clone()), *count);
        }
        let refused = batch.refusals.values().copied().fold(0, u64::saturating_add);
        let tallies = self.tallies(batch).await?;
        for (status, without_task) in [(Status::Failed, refused), (Status::TimedOut, 0)] {
            let counts = tallies.iter().map(|tally| tally.of(Slot::Status(status)));
            let mut left = counts.fold(0, u64::saturating_add).saturating_sub(without_task);
            let filter =
                Filter { task: Some(Some(status.number())), ..Filter::product(&self.product) };
            let (mut after, mut read) = (None, 0);
            while left > 0 && read < REASON_ROWS {
                let query = Query { filter: filter.clone(), after, limit: PIECE };
                let page = self.api.walk(move |read| read.list(&query)).await?;
                read = read.saturating_add(page.rows.len());
                for row in &page.rows {
                    let device = Device::from_bytes(&row.state).ok();
                    let task = device.and_then(|device| device.task);
                    let is_own =
                        |task: &Task| task.batch.is_some_and(|of| of.number == batch.number);
                    let Some(task) = task.filter(is_own) else { continue };
                    let line = Line::of_task(&Entry::waiting(row.key.name.clone()), &task);
                    let count = reasons.entry((line.code, line.text)).or_default();
                    *count = count.saturating_add(1);
                    left = left.saturating_sub(1);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(reasons)
    }

    /// Whether a task of a batch is open.
    pub(in crate::api) async fn open(&mut self, batch: &Batch) -> Result<bool, Problem> {
        if batch.is_large() {
            let tallies = self.tallies(batch).await?;
            return Ok(tallies.iter().any(|tally| tally.counts(0).open > 0));
        }
        let mut from = 0;
        while from < batch.begun {
            let rows = self.some(batch, from, PIECE).await?;
            if rows.iter().any(|row| !row.is_over()) {
                return Ok(true);
            }
            from = from.saturating_add(PIECE);
        }
        Ok(false)
    }

    /// The state of a batch, from as few of its devices as tell it.
    pub(in crate::api) async fn status(&mut self, batch: &Batch) -> Result<BatchStatus, Problem> {
        // No device, and each of them at its end, is the same.
        let over = batch.status([]);
        if over != BatchStatus::Finished || !self.open(batch).await? {
            return Ok(over);
        }
        Ok(batch.status([Status::Pending]))
    }
}
