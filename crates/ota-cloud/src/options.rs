//! The options of tasks, and the standing rules that begin tasks.

use core::time::Duration;
use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::campaign::BatchRef;
use crate::error::TaskError;
use crate::module::Module;

/// The options of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskOptions {
    /// Instead of [`CloudConfig::timeout_interval`](crate::CloudConfig::timeout_interval).
    pub timeout: Option<Duration>,
    /// The push waits for [`Cloud::confirm_task`](crate::Cloud::confirm_task): the platform's
    /// upgrade method 1, which asks a person first.
    pub confirm: bool,
    /// Only for a device that last reported one of these versions ("by version"); empty for any.
    pub from_versions: Vec<String>,
    /// The target's module; the device's own by default.
    pub module: Module,
    /// The batch that begins the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRef>,
    /// Attempts that begin by themselves after one that failed or timed out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// A text for the device, besides that of the [firmware](crate::Firmware::user_defined):
    /// [`offer_text`] has the form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_defined: Option<String>,
}

/// The `user_defined` of an offer, from the text of the firmware and that of the task. If both have
/// one, it is a JSON object of both: `{"firmware":"…","task":"…"}`.
#[must_use]
pub fn offer_text<'a>(firmware: Option<&'a str>, task: Option<&'a str>) -> Option<Cow<'a, str>> {
    match (firmware, task) {
        (Some(firmware), Some(task)) if !firmware.is_empty() => {
            let both = serde_json::json!({ "firmware": firmware, "task": task });
            Some(Cow::Owned(both.to_string()))
        }
        (_, Some(task)) => Some(Cow::Borrowed(task)),
        (_, None) => firmware.map(Cow::Borrowed),
    }
}

/// Attempts of a task that begin by themselves. Each pause is twice the one before it, at most a
/// day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Retries {
    /// How many, after the first attempt.
    pub most: u32,
    /// The first pause.
    pub pause: Duration,
}

impl Retries {
    /// The pause after this attempt failed, from 1; `None` if no other begins by itself.
    pub(crate) fn pause_after(self, attempt: u32) -> Option<Duration> {
        let doubled = attempt.saturating_sub(1).min(16);
        let factor = 1_u32.checked_shl(doubled).unwrap_or(u32::MAX);
        let pause = self.pause.saturating_mul(factor).min(Duration::from_secs(24 * 3_600));
        (attempt <= self.most).then_some(pause)
    }
}

impl TaskOptions {
    /// Whether a device that runs this version may have such a task.
    pub(crate) fn check_source(&self, runs: Option<&str>) -> Result<(), TaskError> {
        if self.from_versions.is_empty() {
            return Ok(());
        }
        let runs = runs.ok_or(TaskError::DeviceHasNoFirmware)?;
        let found = self.from_versions.iter().any(|version| version == runs);
        if found { Ok(()) } else { Err(TaskError::OtherVersion) }
    }
}

/// A standing rule: each device of a product that reports another version gets a task (the
/// platform's "dynamic" task).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rollout {
    /// The target.
    pub version: String,
    /// The rule's module; the device's own by default. It replaces [`TaskOptions::module`].
    pub module: Module,
    /// The options of each task.
    pub options: TaskOptions,
    /// The most tasks of a device by this rule, at least 1. Each after the first needs a new
    /// session of the device, so that a device that fails at once does not loop.
    pub attempts: u32,
}

impl Rollout {
    /// Makes a rule with default options and three attempts.
    #[must_use]
    pub fn new(version: impl Into<String>) -> Self {
        Self {
            version: version.into(),
            module: Module::default(),
            options: TaskOptions::default(),
            attempts: 3,
        }
    }
}
