//! What is asked of batches and devices. All of it is read beside the loop.

use ota_cloud::vendor::{Batch, Line as Row, Search};
use ota_cloud::{Device, EventKind};
use ota_store::{DeviceKey, EventQuery};

use super::batch::{find_of, module, read_batch};
use super::*;

/// Events of a device that are read at a time, and how often, for a task that is not its last.
const EVENTS: (usize, usize) = (1_000, 5);

/// A batch with its devices as they stand.
struct Watched {
    batch: Batch,
    rows: Vec<Row>,
}

impl Watched {
    /// Reads the rows of a batch's devices. What is not in them any more is looked for among the
    /// devices' events.
    fn read(read: &dyn Read, batch: Batch) -> Result<Self, StoreError> {
        let mut rows = Vec::with_capacity(batch.entries.len());
        for entry in &batch.entries {
            if let Some(row) = Row::of_end(entry) {
                rows.push(row);
                continue;
            }
            let key = DeviceKey::new(batch.product.clone(), entry.name.clone());
            let device = read.device(&key)?.and_then(|row| Device::from_bytes(&row.state).ok());
            let task = device.as_ref().and_then(|device| device.task.as_ref());
            if let Some(task) = task.filter(|task| entry.is_of(task)) {
                rows.push(Row::of_task(entry, task));
                continue;
            }
            let mut entry = entry.clone();
            entry.end = past(read, &key, &entry)?;
            rows.push(Row::of_end(&entry).unwrap_or_else(|| Row::unknown(&entry)));
        }
        rows.extend(batch.waiting.iter().map(|name| Row::waiting(name)));
        Ok(Self { batch, rows })
    }
}

/// What became of a task that is not the device's last.
fn past(
    read: &dyn Read,
    key: &DeviceKey,
    entry: &ota_cloud::vendor::Entry,
) -> Result<Option<ota_cloud::vendor::End>, StoreError> {
    let (each, pages) = EVENTS;
    let (mut after, mut end) = (0, None);
    for _ in 0..pages {
        let query = EventQuery { after, device: Some(key.clone()) };
        let events = read.events(&query, each)?;
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
    Ok(end)
}

/// The batches of a version, the newest first.
fn of_version(
    read: &dyn Read,
    product: &str,
    version: Option<&str>,
    fw_type: Option<&str>,
) -> Result<Vec<Batch>, Oops> {
    let wanted = module(fw_type)?;
    let mut batches = Vec::new();
    for item in all(read, Kind::CAMPAIGN, &format!("{product}/"))? {
        let batch = read_batch(&item)?;
        let fits = version.is_none_or(|version| batch.version == version);
        if fits && (fw_type.is_none() || batch.options.module == wanted) {
            batches.push(batch);
        }
    }
    Ok(batches)
}

/// The product has a firmware of this version, in any module.
fn has(read: &dyn Read, product: &str, version: &str) -> Result<(), Oops> {
    let rows = firmware::listed(read, &format!("{product}/"))?;
    if rows.iter().any(|row| row.firmware.version == version) {
        return Ok(());
    }
    Err(firmware::unknown().into())
}

pub(super) async fn tasks(asked: Asked, action: Action) -> Answer {
    let Action::DescribeFirmwareTasks { version, offset, limit, filters, module, .. } = action
    else {
        return Ok(Value::Null);
    };
    let search = Search::new(&filters, &["TaskId", "Status"])?;
    let product = asked.product();
    asked
        .read(move |read| {
            has(read, &product, &version)?;
            let batches = of_version(read, &product, Some(&version), module.as_deref())?;
            let mut shown = Vec::new();
            for batch in batches {
                if search.fits("TaskId", &batch.number.to_string()) {
                    let watched = Watched::read(read, batch)?;
                    let info = vendor::task_info(&watched.batch, &watched.rows);
                    shown.extend(search.fits_json(&info, &["Status"]).then_some(info));
                }
            }
            let total = shown.len();
            Ok(json!({ "TaskInfos": page(shown, offset, limit), "Total": total }))
        })
        .await
}

pub(super) async fn task(
    asked: Asked,
    version: String,
    task: u64,
    view: impl FnOnce(&Batch, &[Row]) -> Value + Send + 'static,
) -> Answer {
    let product = asked.product();
    asked
        .read(move |read| {
            let batch = find_of(read, &product, &version, task)?;
            let watched = Watched::read(read, batch)?;
            Ok(view(&watched.batch, &watched.rows))
        })
        .await
}

pub(super) async fn devices(asked: Asked, action: Action) -> Answer {
    let Action::DescribeFirmwareTaskDevices { version, filters, offset, limit, module, .. } =
        action
    else {
        return Ok(Value::Null);
    };
    let search = Search::new(&filters, &["TaskId", "Status", "DeviceName"])?;
    let product = asked.product();
    asked
        .read(move |read| {
            if let Some(version) = &version {
                has(read, &product, version)?;
            }
            let batches = of_version(read, &product, version.as_deref(), module.as_deref())?;
            let mut shown = Vec::new();
            for batch in batches {
                if !search.fits("TaskId", &batch.number.to_string()) {
                    continue;
                }
                let Watched { batch, rows } = Watched::read(read, batch)?;
                let rows = rows.iter().map(|row| row.to_json(&batch));
                shown.extend(rows.filter(|row| search.fits_json(row, &["Status", "DeviceName"])));
            }
            let total = shown.len();
            let shown = page(shown, offset.unwrap_or(0), limit.unwrap_or(50));
            Ok(json!({ "Devices": shown, "Total": total }))
        })
        .await
}

pub(super) async fn statistics(asked: Asked, version: String) -> Answer {
    let product = asked.product();
    asked
        .read(move |read| {
            has(read, &product, &version)?;
            let mut rows = Vec::new();
            for batch in of_version(read, &product, Some(&version), None)? {
                rows.extend(Watched::read(read, batch)?.rows);
            }
            Ok(vendor::statistics(&rows))
        })
        .await
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
