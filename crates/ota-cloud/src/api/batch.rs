//! Batches in requests and answers.

use std::collections::BTreeMap;

use ota_proto::Identity;
use serde::{Deserialize, Serialize};

use super::call::DeviceFilter;
use super::firmware::task_options;
use super::input::read_json;
use super::problem::Problem;
use super::view::slug;
use crate::batch::{Batch, Line, Mode};

/// A requested batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct NewBatch {
    /// The target version.
    pub version: String,
    module: Option<String>,
    timeout: Option<u64>,
    confirm: bool,
    /// Cancel open tasks of its devices first.
    #[serde(rename = "override")]
    overrides: bool,
    /// These devices.
    devices: Option<Vec<String>>,
    /// Devices that run one of these.
    from_versions: Vec<String>,
    /// Devices with this tag, `NAME:VALUE`.
    tag: Option<String>,
    /// Devices whose names begin with this.
    prefix: Option<String>,
    /// All devices of the product.
    all: bool,
}

/// The devices of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// These.
    Names(Vec<String>),
    /// Devices that match one of these when the batch begins.
    Matching(Vec<DeviceFilter>),
}

impl NewBatch {
    /// Parses a body: a batch of the product without devices, and the selection of its devices.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid).
    pub fn read(product: &str, body: &[u8]) -> Result<(Batch, Choice), Problem> {
        let new: Self = read_json(body)?;
        let options =
            task_options(&new.version, new.module, new.timeout, new.confirm, new.from_versions)?;
        let filters = new.tag.is_some() || new.prefix.is_some();
        // An empty value, for example from a script, must not select all devices.
        if new.prefix.as_ref().is_some_and(String::is_empty) {
            return Err(Problem::field("prefix", "it is empty: all devices are \"all\": true"));
        }
        if new
            .tag
            .as_ref()
            .is_some_and(|tag| tag.split_once(':').is_none_or(|(tag, _)| tag.is_empty()))
        {
            return Err(Problem::field("tag", "write NAME:VALUE"));
        }
        let (mode, choice) = match new.devices {
            Some(_) if filters || new.all => {
                let what = "`devices` does not go with `tag`, `prefix` or `all`";
                return Err(Problem::field("devices", what));
            }
            Some(names) => {
                if let Some(at) = names.iter().position(|name| Identity::new("P", name).is_err()) {
                    let what = format!("number {at} of the list is not a valid device name");
                    return Err(Problem::field("devices", what));
                }
                (Mode::DeviceNames, Choice::Names(names))
            }
            None if !filters && options.from_versions.is_empty() && !new.all => {
                let what = "say which: devices, from_versions, tag or prefix; or \"all\": true";
                return Err(Problem::field("devices", what));
            }
            None => {
                let base = DeviceFilter::of(new.tag.as_deref(), new.prefix.as_deref())?;
                let of = |version: &String| DeviceFilter {
                    version: Some((options.module.clone(), version.clone())),
                    ..base.clone()
                };
                let mut each: Vec<DeviceFilter> = options.from_versions.iter().map(of).collect();
                if each.is_empty() {
                    each.push(base);
                }
                let by_version = !filters && !options.from_versions.is_empty();
                let mode = if by_version { Mode::OriginalVersion } else { Mode::Filter };
                (mode, Choice::Matching(each))
            }
        };
        let mut batch = Batch::new(product, &new.version, mode, options);
        batch.overrides = new.overrides;
        Ok((batch, choice))
    }
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchView<'a> {
    /// Its number in its product.
    pub batch: u32,
    /// The module that is updated.
    pub module: &'a str,
    /// The target version.
    pub version: &'a str,
    /// How its devices were selected.
    pub by: &'static str,
    /// When it was begun.
    pub made: u64,
    /// A person cancelled it.
    pub cancelled: bool,
    /// The number of its devices.
    pub devices: usize,
    /// How many of them have no task yet.
    pub waiting: usize,
}

impl<'a> BatchView<'a> {
    /// The view of a batch.
    #[must_use]
    pub fn new(batch: &'a Batch) -> Self {
        Self {
            batch: batch.number,
            module: batch.options.module.as_str(),
            version: &batch.version,
            by: batch.mode.word(),
            made: batch.made,
            cancelled: batch.cancelled,
            devices: batch.entries.len().saturating_add(batch.waiting.len()),
            waiting: batch.waiting.len(),
        }
    }
}

/// A batch and its progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchProgress<'a> {
    /// The batch.
    #[serde(flatten)]
    pub what: BatchView<'a>,
    /// `creating`, `running`, `finished` or `cancelled`.
    pub status: &'static str,
    /// How many of its devices are in each state.
    pub counts: BTreeMap<String, u64>,
}

impl<'a> BatchProgress<'a> {
    /// The view of a batch whose devices have these states.
    #[must_use]
    pub fn new(batch: &'a Batch, lines: &[Line]) -> Self {
        let mut counts = BTreeMap::new();
        for line in lines {
            let count: &mut u64 = counts.entry(slug(line.status)).or_default();
            *count = count.saturating_add(1);
        }
        let status = batch.status(lines.iter().map(|line| line.status)).word();
        Self { what: BatchView::new(batch), status, counts }
    }
}

/// A device of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchDeviceView<'a> {
    /// Its name.
    pub device: &'a str,
    /// The version that it ran when its task began; empty if unknown.
    pub from: &'a str,
    /// The state of its task, as a word.
    pub status: String,
    /// 0 to 100.
    pub percent: Option<u8>,
    /// The latest result's code, 0 before one.
    pub code: i64,
    /// The device's text, or the reason why it got no task.
    pub text: &'a str,
    /// The time of its last message; `null` for never.
    pub at: Option<u64>,
    /// 1, and one more for each retry.
    pub attempt: u32,
}

impl<'a> BatchDeviceView<'a> {
    /// The view of a device of a batch.
    #[must_use]
    pub fn new(line: &'a Line) -> Self {
        Self {
            device: &line.name,
            from: &line.from,
            status: slug(line.status),
            percent: line.percent,
            code: line.code,
            text: &line.text,
            at: (line.at > 0).then_some(line.at),
            attempt: line.retries.saturating_add(1),
        }
    }
}
