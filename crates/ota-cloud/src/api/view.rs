//! Answers to callers. Fields are only ever added. Times are microseconds since 1970.

use std::collections::BTreeMap;

use ota_proto::Instant;
use serde::{Deserialize as _, Serialize};

use super::key::Key;
use super::role::Role;
use crate::device::{Counters, Device, EventKind, Finish, NotOffered, Status, Task};

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct DeviceView<'a> {
    /// The product.
    pub product: &'a str,
    /// The name.
    pub name: &'a str,
    /// Connected, and subscribed to its update topic.
    pub online: bool,
    /// Whether it must not log in.
    pub disabled: bool,
    /// Its tags.
    pub tags: &'a BTreeMap<String, String>,
    /// The version that each module reported last.
    pub modules: BTreeMap<&'a str, ModuleView<'a>>,
    /// Its open task, or its last.
    pub task: Option<TaskView<'a>>,
    /// Why its latest report drew no offer.
    pub not_offered: Option<NotOfferedView>,
    /// Its counters.
    pub counters: Counters,
}

/// The version of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModuleView<'a> {
    /// The version.
    pub version: &'a str,
    /// The time of its report.
    pub at: u64,
}

impl<'a> DeviceView<'a> {
    /// The view of a device; tags and login state come from its row.
    #[must_use]
    pub fn new(device: &'a Device, tags: &'a BTreeMap<String, String>, disabled: bool) -> Self {
        let modules = device.modules.iter();
        let modules = modules.map(|known| {
            let view = ModuleView { version: &known.version, at: known.at.as_micros() };
            (known.module.as_str(), view)
        });
        Self {
            product: device.identity.product_id(),
            name: device.identity.device_name(),
            online: device.online,
            disabled,
            tags,
            modules: modules.collect(),
            task: device.task.as_ref().map(TaskView::new),
            not_offered: device.not_offered.as_ref().map(NotOfferedView::new),
            counters: device.counters,
        }
    }
}

/// Why it gets no offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotOfferedView {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl NotOfferedView {
    /// The view of a reason.
    #[must_use]
    pub fn new(why: &NotOffered) -> Self {
        Self { code: why.name(), detail: why.to_string() }
    }
}

/// A task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TaskView<'a> {
    /// Its name.
    pub id: String,
    /// The module that is updated.
    pub module: &'a str,
    /// The target version.
    pub version: &'a str,
    /// 1, and one more for each retry.
    pub attempt: u32,
    /// Its state, as a word.
    pub status: String,
    /// The platform's number for it.
    pub number: u8,
    /// 0 to 100.
    pub percent: Option<u8>,
    /// The latest result's code, 0 before one.
    pub code: i64,
    /// The latest result's text, from the device.
    pub text: &'a str,
    /// The start of the attempt.
    pub began: u64,
    /// The time of the first push.
    pub pushed: Option<u64>,
    /// The time of the device's `done`.
    pub claimed: Option<u64>,
    /// The time of the device's report that it runs the target.
    pub proved: Option<u64>,
    /// Its end.
    pub ended: Option<u64>,
    /// How it ended: `done`, `proved`, `already-there`, `failed`, `timed-out`, `cancelled`.
    pub how: Option<&'static str>,
    /// Whether a standing rule created it.
    pub by_rule: bool,
}

/// A status as a word for programs: `timed-out`.
pub(super) fn slug(status: Status) -> String {
    status.word().replace(' ', "-")
}

impl<'a> TaskView<'a> {
    /// The view of a task.
    #[must_use]
    pub fn new(task: &'a Task) -> Self {
        let micros = |at: Option<Instant>| at.map(Instant::as_micros);
        let how = task.finished.map(|(_, how)| match how {
            Finish::Done => "done",
            Finish::Proved => "proved",
            Finish::AlreadyThere => "already-there",
            Finish::Failed => "failed",
            Finish::TimedOut => "timed-out",
            Finish::Cancelled => "cancelled",
        });
        Self {
            id: task.id.to_string(),
            module: task.module.as_str(),
            version: &task.target,
            attempt: task.attempt,
            status: slug(task.status),
            number: task.status.number(),
            percent: task.percent,
            code: task.retcode,
            text: &task.err_msg,
            began: task.began.as_micros(),
            pushed: micros(task.pushed),
            claimed: micros(task.claimed),
            proved: micros(task.proved),
            ended: micros(task.finished.map(|(at, _)| at)),
            how,
            by_rule: task.by_rollout,
        }
    }
}

/// An event of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EventView<'a> {
    /// Its number.
    pub seq: u64,
    /// Its time.
    pub at: u64,
    /// The product.
    pub product: &'a str,
    /// The device.
    pub device: &'a str,
    /// Its `kind`, and the fields of the kind.
    #[serde(flatten)]
    pub what: serde_json::Value,
}

impl<'a> EventView<'a> {
    /// The view of an event, whose body is a stored [`EventKind`]. Tasks, states and reasons have
    /// the same names as everywhere in the API.
    #[must_use]
    pub fn new(seq: u64, at: u64, (product, device): (&'a str, &'a str), body: &[u8]) -> Self {
        let kept = serde_json::from_slice(body).ok().filter(serde_json::Value::is_object);
        let mut what = kept.unwrap_or_else(|| serde_json::json!({}));
        // A kind of a later release is shown unchanged.
        let fields = EventKind::deserialize(&what).map(|kind| shown(&kind)).unwrap_or_default();
        if let Some(object) = what.as_object_mut() {
            object.extend(fields.into_iter().map(|(name, value)| (name.into(), value.into())));
        }
        Self { seq, at, product, device, what }
    }
}

/// The fields that are shown differently than stored.
fn shown(kind: &EventKind) -> Vec<(&'static str, String)> {
    match kind {
        EventKind::Status { task, from, to, .. } => {
            vec![("task", task.to_string()), ("from", slug(*from)), ("to", slug(*to))]
        }
        EventKind::Offered { task, .. }
        | EventKind::Began { task, .. }
        | EventKind::Claimed { task, .. }
        | EventKind::Proved { task } => vec![("task", task.to_string())],
        EventKind::NotOffered { why, .. } => {
            vec![("why", why.name().into()), ("text", why.to_string())]
        }
        _ => Vec::new(),
    }
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyView<'a> {
    /// Its public half.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The role for each product, and under `*` for all of them.
    pub roles: &'a BTreeMap<String, Role>,
    /// When it was made.
    pub made: u64,
}

impl<'a> KeyView<'a> {
    /// The view of a key.
    #[must_use]
    pub fn new(key: &'a Key) -> Self {
        Self { id: &key.id, name: &key.name, roles: &key.roles, made: key.made }
    }
}
