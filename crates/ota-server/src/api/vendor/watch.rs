//! Queries of batches and devices.

use std::collections::BTreeMap;

use ota_cloud::Device;
use ota_cloud::batch::Batch;
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

    /// The first and the number of the next `all` results that are on the page.
    fn next(&self, all: usize) -> (usize, usize) {
        let number = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let from = number(self.from.saturating_sub(self.total)).min(all);
        (from, number(self.most).saturating_sub(self.shown.len()))
    }

    /// Adds `all` results, with those of them that are on the page.
    fn add(&mut self, all: usize, shown: impl Iterator<Item = Value>) {
        self.shown.extend(shown);
        self.total = self.total.saturating_add(u64::try_from(all).unwrap_or(u64::MAX));
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
            let info = vendor::task_info(batch, walk.status(batch).await?);
            if search.fits_json(&info, &["Status"]) {
                found.put(Some(info));
            }
        }
    }
}

pub(super) async fn task(asked: Asked, version: String, task: u64) -> Answer {
    let product = asked.product();
    let batch = asked.read(move |read| find_of(read, &product, &version, task)).await?;
    let status = asked.begin_walk()?.status(&batch).await?;
    Ok(vendor::task(&batch, status))
}

pub(super) async fn distribution(asked: Asked, version: String, task: u64) -> Answer {
    let product = asked.product();
    let batch = asked.read(move |read| find_of(read, &product, &version, task)).await?;
    Ok(vendor::distribution(&asked.begin_walk()?.totals(&batch).await?))
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
        for batch in batches {
            let number = batch.number.to_string();
            if fits(&batch, version.as_deref(), of.as_ref()) && search.fits("TaskId", &number) {
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
    if search.is_by("Status") || search.is_by("DeviceName") {
        let wanted = |name: &str| search.fits("DeviceName", name);
        let entries = walk.entries(batch, 0..batch.all, wanted).await?;
        if !search.is_by("Status") {
            let (from, most) = found.next(entries.len());
            let some: Vec<_> = entries.iter().skip(from).take(most).cloned().collect();
            let rows = walk.lines(batch, &some).await?;
            found.add(entries.len(), rows.iter().map(|row| vendor::device_status(row, batch)));
            return Ok(());
        }
        for row in walk.lines(batch, &entries).await? {
            let row = vendor::device_status(&row, batch);
            if search.fits_json(&row, &["Status"]) {
                found.put(Some(row));
            }
        }
        return Ok(());
    }
    let (from, most) = found.next(batch.all);
    let rows = walk.some(batch, from, most).await?;
    found.add(batch.all, rows.iter().map(|row| vendor::device_status(row, batch)));
    Ok(())
}

pub(super) async fn statistics(asked: Asked, version: String) -> Answer {
    has(&asked, &version).await?;
    let (mut walk, mut all) = (asked.begin_walk()?, BTreeMap::new());
    loop {
        let batches = walk.batches().await?;
        if batches.is_empty() {
            return Ok(vendor::statistics(&all));
        }
        for batch in batches.iter().filter(|batch| batch.version == version) {
            for (status, count) in walk.totals(batch).await? {
                let total: &mut u64 = all.entry(status).or_default();
                *total = total.saturating_add(count);
            }
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
