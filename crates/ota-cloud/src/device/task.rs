//! An update task of one device.

use core::fmt;
use core::time::Duration;

use ota_proto::Instant;
use serde::{Deserialize, Serialize};

use crate::campaign::{BatchRef, Slot};
use crate::error::TaskError;
use crate::module::Module;
use crate::options::Retries;

/// The name of a task: unique in its cloud, never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    pub(super) device: u32,
    pub(super) number: u32,
}

impl TaskId {
    /// The number of its device.
    #[must_use]
    pub const fn device(self) -> u32 {
        self.device
    }
}

impl core::str::FromStr for TaskId {
    type Err = TaskError;

    /// Parses what [`fmt::Display`] writes; an invalid name names no existing task.
    fn from_str(text: &str) -> Result<Self, TaskError> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        let parts = text.split_once('-');
        let id = parts.and_then(|(device, task)| {
            Some(Self { device: number(device)?, number: number(task)? })
        });
        id.ok_or(TaskError::DeviceFirmwareTaskNotExist)
    }
}

impl fmt::Display for TaskId {
    /// `3-1`: the first task of the device with number 3.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.device, self.number)
    }
}

/// The state of a task, with the platform's numbers (docs/protocol.md, The cloud's side). Its 7,
/// "being processed", is never used: no source documents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Status {
    /// 0: the device was not connected when the push was due; its next `report_version` draws the
    /// offer.
    Offline,
    /// 1: the push is due.
    Pending,
    /// 2: the offer was pushed.
    Delivered,
    /// 3: the device reported `downloading`.
    Downloading,
    /// 4: the device reported `burning`.
    Burning,
    /// 5: the device reported `fail`, or the task was cancelled.
    Failed,
    /// 6: the device reported `done`, or the new version.
    Complete,
    /// 8: the push waits for a person.
    AwaitingConfirm,
    /// 10: the device was silent, or the update took, too long.
    TimedOut,
    /// 20: the device reported `downloading` with 100 percent.
    Downloaded,
}

impl Status {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::Offline,
        Self::Pending,
        Self::Delivered,
        Self::Downloading,
        Self::Burning,
        Self::Failed,
        Self::Complete,
        Self::AwaitingConfirm,
        Self::TimedOut,
        Self::Downloaded,
    ];

    /// The platform's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Offline => 0,
            Self::Pending => 1,
            Self::Delivered => 2,
            Self::Downloading => 3,
            Self::Burning => 4,
            Self::Failed => 5,
            Self::Complete => 6,
            Self::AwaitingConfirm => 8,
            Self::TimedOut => 10,
            Self::Downloaded => 20,
        }
    }

    /// The word for people: `downloading`.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Downloading => "downloading",
            Self::Burning => "burning",
            Self::Failed => "failed",
            Self::Complete => "complete",
            Self::AwaitingConfirm => "awaiting confirmation",
            Self::TimedOut => "timed out",
            Self::Downloaded => "downloaded",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// How a task ended. An ended task is not pushed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Finish {
    /// The device reported `done`.
    Done,
    /// The device reported the target as the version that it runs.
    Proved,
    /// The device reported the target before any push: it was updated in another way.
    AlreadyThere,
    /// The device reported `fail`.
    Failed,
    /// The interval passed.
    TimedOut,
    /// [`Cloud::cancel_task`](crate::Cloud::cancel_task); the device is not told (docs/protocol.md,
    /// Cloud to device).
    Cancelled,
}

/// A task: one device, one target. Created by the cloud, readable by everyone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Task {
    /// Its name.
    pub id: TaskId,
    /// The module that is updated.
    #[serde(default)]
    pub module: Module,
    /// The target version.
    pub target: String,
    /// The interval of its time-out.
    pub timeout: Duration,
    /// 1, and one more for each retry.
    pub attempt: u32,
    /// When this attempt began.
    pub began: Instant,
    /// The first push of this attempt.
    pub pushed: Option<Instant>,
    /// The latest push of this attempt.
    pub last_push: Option<Instant>,
    /// The offers pushed in this attempt.
    pub pushes: u32,
    /// The latest message of the device in this attempt.
    pub heard: Option<Instant>,
    /// Its state.
    pub status: Status,
    /// 0 to 100, from the latest report that had one.
    pub percent: Option<u8>,
    /// `Retcode`: the latest result's code, 0 before one.
    pub retcode: i64,
    /// `ErrMsg`: the latest result's text, cut to 128 bytes.
    pub err_msg: String,
    /// The time of the first `done` in this attempt, the device's *claim*.
    pub claimed: Option<Instant>,
    /// The time of the first `report_version` of the target in this attempt, the *proof*.
    pub proved: Option<Instant>,
    /// How and when it first ended. A late result changes `status`, not this.
    pub finished: Option<(Instant, Finish)>,
    /// Whether the result or the proof came after the task had ended by time-out, failure or
    /// cancellation.
    pub late: bool,
    /// Whether a roll-out created it.
    pub by_rollout: bool,
    /// The batch that began it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<BatchRef>,
    /// Attempts that begin by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<Retries>,
    /// A text for the device in its offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_defined: Option<String>,
    /// No offer before this time: the pause before this attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) not_before: Option<Instant>,
    /// How long the device of a batch has been silent.
    #[serde(default, skip_serializing_if = "Silence::is_none")]
    pub(super) silence: Silence,
    /// Whether this attempt began by itself.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub(super) again: bool,
}

/// How long a device was silent while its task is open.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[non_exhaustive]
pub enum Silence {
    /// Less than two minutes.
    #[default]
    None,
    /// Two minutes: it makes no progress.
    Silent,
    /// So long that another device of its batch gets its place.
    Stalled,
}

impl Silence {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
    const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl Task {
    pub(super) fn new(
        id: TaskId,
        module: Module,
        target: &str,
        timeout: Duration,
        began: Instant,
    ) -> Self {
        Self {
            id,
            module,
            target: target.into(),
            timeout,
            attempt: 1,
            began,
            pushed: None,
            last_push: None,
            pushes: 0,
            heard: None,
            status: Status::Offline,
            percent: None,
            retcode: 0,
            err_msg: String::new(),
            claimed: None,
            proved: None,
            finished: None,
            late: false,
            by_rollout: false,
            batch: None,
            retries: None,
            user_defined: None,
            not_before: None,
            silence: Silence::None,
            again: false,
        }
    }

    /// What its batch counts of it besides its state.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let silent = self.silence >= Silence::Silent;
        let stalled = self.silence >= Silence::Stalled;
        let slots = [
            silent.then_some(Slot::Silent),
            stalled.then_some(Slot::Stalled),
            self.again.then_some(Slot::Again),
        ];
        slots.into_iter().flatten()
    }

    /// How long its device was silent, if a batch began it.
    #[must_use]
    pub const fn silence(&self) -> Silence {
        self.silence
    }

    /// Whether a version report proved it and no later report contradicts.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        self.proved.is_some() && self.status == Status::Complete
    }
}
