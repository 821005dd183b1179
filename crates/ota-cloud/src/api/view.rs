//! What callers are shown. Fields are only ever added. Moments are microseconds since 1970.

use std::collections::BTreeMap;

use ota_proto::Instant;
use serde::{Deserialize as _, Serialize};

use super::key::{Key, Role};
use crate::device::{Counters, Device, EventKind, Finish, NotOffered, Status, Task};

/// JSON, or an empty object where a value has none: none of ours is such.
#[must_use]
pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec())
}

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
    /// It may not log in.
    pub disabled: bool,
    /// Its tags.
    pub tags: &'a BTreeMap<String, String>,
    /// The version that each module reported last.
    pub modules: BTreeMap<&'a str, ModuleView<'a>>,
    /// Its open task, or its last.
    pub task: Option<TaskView<'a>>,
    /// Why its latest report drew no offer.
    pub not_offered: Option<NotOfferedView>,
    /// How often what happened.
    pub counters: Counters,
}

/// What a module runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ModuleView<'a> {
    /// The version.
    pub version: &'a str,
    /// When it was reported.
    pub at: u64,
}

impl<'a> DeviceView<'a> {
    /// What is shown of a device; tags and whether it may log in are in its row.
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

/// Why nothing is offered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NotOfferedView {
    /// For programs.
    pub code: &'static str,
    /// For people.
    pub detail: String,
}

impl NotOfferedView {
    /// What is shown of a reason.
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
    /// Where it stands: a word.
    pub status: String,
    /// The platform's number for it.
    pub number: u8,
    /// 0 to 100.
    pub percent: Option<u8>,
    /// The latest result's code, 0 before one.
    pub code: i64,
    /// The latest result's words: the device's.
    pub text: &'a str,
    /// When the attempt began.
    pub began: u64,
    /// When it was first pushed.
    pub pushed: Option<u64>,
    /// When the device said `done`.
    pub claimed: Option<u64>,
    /// When the device reported the target as what it runs.
    pub proved: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// How it ended: `done`, `proved`, `already-there`, `failed`, `timed-out`, `cancelled`.
    pub how: Option<&'static str>,
    /// A standing rule made it.
    pub by_rule: bool,
}

/// A status as a word for programs: `timed-out`.
pub(super) fn slug(status: Status) -> String {
    status.word().replace(' ', "-")
}

impl<'a> TaskView<'a> {
    /// What is shown of a task.
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

/// Something that happened to a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct EventView<'a> {
    /// Its number.
    pub seq: u64,
    /// When.
    pub at: u64,
    /// The product.
    pub product: &'a str,
    /// The device.
    pub device: &'a str,
    /// What: its `kind`, and what belongs to that.
    #[serde(flatten)]
    pub what: serde_json::Value,
}

impl<'a> EventView<'a> {
    /// What is shown of an event, whose body is an [`EventKind`] as it is kept. Tasks, statuses and
    /// reasons are called as everywhere in the API.
    #[must_use]
    pub fn new(seq: u64, at: u64, (product, device): (&'a str, &'a str), body: &[u8]) -> Self {
        let kept = serde_json::from_slice(body).ok().filter(serde_json::Value::is_object);
        let mut what = kept.unwrap_or_else(|| serde_json::json!({}));
        // A kind of a later release is shown as it is.
        let fields = EventKind::deserialize(&what).map(|kind| shown(&kind)).unwrap_or_default();
        if let Some(object) = what.as_object_mut() {
            object.extend(fields.into_iter().map(|(name, value)| (name.into(), value.into())));
        }
        Self { seq, at, product, device, what }
    }
}

/// The fields of an event that are shown otherwise than they are kept.
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
    /// Whose it is.
    pub name: &'a str,
    /// The role for each product, and under `*` for all of them.
    pub roles: &'a BTreeMap<String, Role>,
    /// When it was made.
    pub made: u64,
}

impl<'a> KeyView<'a> {
    /// What is shown of a key.
    #[must_use]
    pub fn new(key: &'a Key) -> Self {
        Self { id: &key.id, name: &key.name, roles: &key.roles, made: key.made }
    }
}
