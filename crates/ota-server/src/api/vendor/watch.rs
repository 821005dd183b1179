//! Queries of batches and devices.

use ota_cloud::Device;
use ota_cloud::batch::{Batch, Line as Row};
use ota_cloud::vendor::Search;

use super::batch::{find_of, module};
use super::*;
use crate::api::batches::Walk;

/// Whether a batch has this version and module.
fn fits(batch: &Batch, version: Option<&str>, of: Option<&ota_cloud::Module>) -> bool {
    version.is_none_or(|version| batch.version == version)
        && of.is_none_or(|module| batch.options.module == *module)
}

/// Checks that the product has a firmware of this version, in any module.
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

/// A page of the results, and their total number.
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

    /// Whether the next result is on the page.
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
    let (mut walk, mut found) = (asked.begin_walk()?, Found::new(offset, limit));
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
    let rows = asked.begin_walk()?.all(&batch).await?;
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
    let mut walk = asked.begin_walk()?;
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

/// Adds the devices of one batch. Without a filter on the status, only the rows of the page are
/// read.
async fn devices_of(
    walk: &mut Walk,
    found: &mut Found,
    search: &Search,
    batch: &Batch,
) -> Result<(), ApiError> {
    if search.is_by("Status") {
        for row in walk.all(batch).await? {
            let row = vendor::device_status(&row, batch);
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
    found.shown.extend(rows.iter().map(|row| vendor::device_status(row, batch)));
    found.total = found.total.saturating_add(all as u64);
    Ok(())
}

pub(super) async fn statistics(asked: Asked, version: String) -> Answer {
    has(&asked, &version).await?;
    let (mut walk, mut rows) = (asked.begin_walk()?, Vec::new());
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

/// Answers a query about one device.
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
