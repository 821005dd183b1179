//! What is asked of batches and devices. Batches are read piece by piece with a reader of their own,
//! so that no call of this keeps another waiting, and how much one call reads is bounded.

use ota_cloud::vendor::{Batch, Entry, Line as Row, Search};
use ota_cloud::{Device, EventKind};
use ota_store::{DeviceKey, EventQuery};

use super::batch::{find_of, module, read_batch};
use super::*;
use crate::api::limits::Place;

/// Events of a device that are read at a time, and how often, for a task that is not its last.
const EVENTS: (usize, usize) = (1_000, 5);
/// What one call may read: a device's row counts one, and so do ten of its events, and a KiB of a
/// batch's row.
const MOST: usize = 50_000;
/// Batches of one piece.
const BATCHES: usize = 8;
/// Devices of one piece.
const PIECE: usize = 100;

fn too_much() -> ApiError {
    let what = "more would have to be read than one call may: name a TaskId, or fewer at a time";
    ApiError::new(Code::LimitExceeded, what)
}

/// What became of a task that is not the device's last, and what it cost to read.
fn past(
    read: &dyn Read,
    key: &DeviceKey,
    entry: &Entry,
) -> Result<(Option<ota_cloud::vendor::End>, usize), StoreError> {
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

/// Devices of a batch as they stand, and what is left of what may be read. What is not in their
/// rows any more is looked for among their events.
fn lines(
    read: &dyn Read,
    product: &str,
    entries: Vec<Entry>,
    mut left: usize,
) -> Result<(Vec<Row>, usize), Oops> {
    let mut rows = Vec::with_capacity(entries.len());
    for mut entry in entries {
        if let Some(row) = Row::of_end(&entry) {
            rows.push(row);
            continue;
        }
        left = left.checked_sub(1).ok_or_else(too_much)?;
        let key = DeviceKey::new(product, entry.name.clone());
        let device = read.device(&key)?.and_then(|row| Device::from_bytes(&row.state).ok());
        let task = device.as_ref().and_then(|device| device.task.as_ref());
        if let Some(task) = task.filter(|task| entry.is_of(task)) {
            rows.push(Row::of_task(&entry, task));
            continue;
        }
        let (end, cost) = past(read, &key, &entry)?;
        left = left.checked_sub(cost).ok_or_else(too_much)?;
        entry.end = end;
        rows.push(Row::of_end(&entry).unwrap_or_else(|| Row::unknown(&entry)));
    }
    Ok((rows, left))
}

/// One call on its way through batches.
pub(super) struct Walk {
    asked: Asked,
    /// What it may still read.
    left: usize,
    /// The row of the batch that was read last.
    after: Option<String>,
    _place: Place,
}

impl Walk {
    pub(super) fn begin(asked: &Asked) -> Result<Self, ApiError> {
        let place = asked.api.0.walks.take(asked.caller.id()).ok_or_else(|| {
            let what = "eight calls of the key that read many rows are under way: wait for one";
            ApiError::new(Code::RequestLimitExceeded, what)
        })?;
        Ok(Self { asked: asked.clone(), left: MOST, after: None, _place: place })
    }

    /// The next batches of the product, the newest first; none at the end.
    async fn batches(&mut self) -> Result<Vec<Batch>, ApiError> {
        let prefix = format!("{}/", self.asked.grant.product());
        let after = self.after.clone();
        let piece = self.asked.walk(move |read| {
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
    async fn some(
        &mut self,
        batch: &Batch,
        from: usize,
        most: usize,
    ) -> Result<Vec<Row>, ApiError> {
        let (mut rows, begun) = (Vec::new(), batch.entries.len());
        let entries: Vec<Entry> = batch.entries.iter().skip(from).take(most).cloned().collect();
        for some in entries.chunks(PIECE) {
            let (product, some, left) = (batch.product.clone(), some.to_vec(), self.left);
            let piece = self.asked.walk(move |read| lines(read, &product, some, left));
            let (piece, left) = piece.await?;
            rows.extend(piece);
            self.left = left;
        }
        let waiting = batch.waiting.iter().skip(from.saturating_sub(begun));
        let most = most.saturating_sub(rows.len());
        rows.extend(waiting.take(most).map(|name| Row::waiting(name)));
        Ok(rows)
    }

    /// All devices of a batch.
    async fn all(&mut self, batch: &Batch) -> Result<Vec<Row>, ApiError> {
        self.some(batch, 0, usize::MAX).await
    }

    /// Whether a task of a batch is open.
    pub(super) async fn open(&mut self, batch: &Batch) -> Result<bool, ApiError> {
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

    /// As many devices of a batch as its status takes.
    pub(super) async fn enough(&mut self, batch: &Batch) -> Result<Vec<Row>, ApiError> {
        let mut rows = Vec::new();
        let is_known = |rows: &[Row]| {
            let status = batch.status(rows.iter().map(|row| row.status));
            status != BatchStatus::Finished || rows.len() >= batch.entries.len()
        };
        while !is_known(&rows) {
            rows.extend(self.some(batch, rows.len(), PIECE).await?);
        }
        Ok(rows)
    }
}

/// Whether a batch is of a version and a module.
fn fits(batch: &Batch, version: Option<&str>, of: Option<&ota_cloud::Module>) -> bool {
    version.is_none_or(|version| batch.version == version)
        && of.is_none_or(|module| batch.options.module == *module)
}

/// The product has a firmware of this version, in any module.
async fn has(asked: &Asked, version: &str) -> Result<(), ApiError> {
    let (prefix, version) = (format!("{}/", asked.grant.product()), version.to_owned());
    asked
        .read(move |read| {
            let rows = firmware::listed(read, &prefix)?;
            if rows.iter().any(|row| row.firmware.version == version) {
                return Ok(());
            }
            Err(firmware::unknown().into())
        })
        .await
}

/// A part of what is found, and how much was.
struct Found {
    total: u64,
    from: u64,
    most: u64,
    shown: Vec<Value>,
}

impl Found {
    fn new(from: u64, most: u64) -> Self {
        Self { total: 0, from, most: most.min(MAX_ROWS), shown: Vec::new() }
    }

    /// Whether the next one is shown.
    fn is_shown(&self) -> bool {
        self.total >= self.from && self.total < self.from.saturating_add(self.most)
    }

    fn put(&mut self, what: Option<Value>) {
        if self.is_shown() {
            self.shown.extend(what);
        }
        self.total = self.total.saturating_add(1);
    }
}

pub(super) async fn tasks(asked: Asked, action: Action) -> Answer {
    let Action::DescribeFirmwareTasks { version, offset, limit, filters, module: of, .. } = action
    else {
        return Ok(Value::Null);
    };
    let search = Search::new(&filters, &["TaskId", "Status"])?;
    let of = of.as_deref().map(|of| module(Some(of))).transpose()?;
    has(&asked, &version).await?;
    let (mut walk, mut found) = (Walk::begin(&asked)?, Found::new(offset, limit));
    loop {
        let batches = walk.batches().await?;
        if batches.is_empty() {
            return Ok(json!({ "TaskInfos": found.shown, "Total": found.total }));
        }
        for batch in batches.iter().filter(|batch| fits(batch, Some(&version), of.as_ref())) {
            if !search.fits("TaskId", &batch.number.to_string()) {
                continue;
            }
            if !found.is_shown() && !search.is_by("Status") {
                found.put(None);
                continue;
            }
            let info = vendor::task_info(batch, &walk.enough(batch).await?);
            if search.fits_json(&info, &["Status"]) {
                found.put(Some(info));
            }
        }
    }
}

pub(super) async fn task(
    asked: Asked,
    version: String,
    task: u64,
    view: impl FnOnce(&Batch, &[Row]) -> Value + Send + 'static,
) -> Answer {
    let product = asked.product();
    let batch = asked.read(move |read| find_of(read, &product, &version, task)).await?;
    let rows = Walk::begin(&asked)?.all(&batch).await?;
    Ok(view(&batch, &rows))
}

pub(super) async fn devices(asked: Asked, action: Action) -> Answer {
    let Action::DescribeFirmwareTaskDevices { version, filters, offset, limit, module: of, .. } =
        action
    else {
        return Ok(Value::Null);
    };
    let search = Search::new(&filters, &["TaskId", "Status", "DeviceName"])?;
    let of = of.as_deref().map(|of| module(Some(of))).transpose()?;
    if let Some(version) = &version {
        has(&asked, version).await?;
    }
    let mut found = Found::new(offset.unwrap_or(0), limit.unwrap_or(50));
    let mut walk = Walk::begin(&asked)?;
    loop {
        let batches = walk.batches().await?;
        if batches.is_empty() {
            return Ok(json!({ "Devices": found.shown, "Total": found.total }));
        }
        for mut batch in batches {
            let number = batch.number.to_string();
            if fits(&batch, version.as_deref(), of.as_ref()) && search.fits("TaskId", &number) {
                batch.entries.retain(|entry| search.fits("DeviceName", &entry.name));
                batch.waiting.retain(|name| search.fits("DeviceName", name));
                devices_of(&mut walk, &mut found, &search, &batch).await?;
            }
        }
    }
}

/// Those of one batch. Where nothing is said of their status, only what is shown is read.
async fn devices_of(
    walk: &mut Walk,
    found: &mut Found,
    search: &Search,
    batch: &Batch,
) -> Result<(), ApiError> {
    if search.is_by("Status") {
        for row in walk.all(batch).await? {
            let row = row.to_json(batch);
            if search.fits_json(&row, &["Status"]) {
                found.put(Some(row));
            }
        }
        return Ok(());
    }
    let all = batch.entries.len().saturating_add(batch.waiting.len());
    let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let from = number(found.from.saturating_sub(found.total)).min(all);
    let most = number(found.most).saturating_sub(found.shown.len());
    let rows = walk.some(batch, from, most).await?;
    found.shown.extend(rows.iter().map(|row| row.to_json(batch)));
    found.total = found.total.saturating_add(all as u64);
    Ok(())
}

pub(super) async fn statistics(asked: Asked, version: String) -> Answer {
    has(&asked, &version).await?;
    let (mut walk, mut rows) = (Walk::begin(&asked)?, Vec::new());
    loop {
        let batches = walk.batches().await?;
        if batches.is_empty() {
            return Ok(vendor::statistics(&rows));
        }
        for batch in batches.iter().filter(|batch| batch.version == version) {
            rows.extend(walk.all(batch).await?);
        }
    }
}

/// What is asked of one device.
pub(super) async fn one(
    asked: Asked,
    device: String,
    view: impl FnOnce(&Device) -> Answer + Send + 'static,
) -> Answer {
    let device = asked.device(&device)?;
    asked
        .ask(move |hub, _| {
            let device = hub.cloud.device(&device)?.ok_or_else(Problem::unknown_device)?;
            Ok(view(&device)?)
        })
        .await
}
