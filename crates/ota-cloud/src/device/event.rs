//! A device's past: versions, counters, events.

use core::fmt;

use ota_proto::Instant;
use ota_proto::message::ProgressState;
use serde::{Deserialize, Serialize};

use super::task::{Status, TaskId};
use crate::module::Module;

/// The version that a module reported last.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reported {
    /// The module.
    #[serde(default)]
    pub module: Module,
    /// The version, 1 to 32 printable ASCII characters.
    pub version: String,
    /// The time of the report.
    pub at: Instant,
    /// The target of the standing rule that made tasks, and how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<(String, u32)>,
}

/// Counters of a device. They saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Counters {
    /// Connections.
    pub sessions: u64,
    /// Accepted messages.
    pub received: u64,
    /// `report_version` among them.
    pub versions: u64,
    /// `report_progress` among them.
    pub progress: u64,
    /// `done` and `fail` among them.
    pub results: u64,
    /// Progress reports outside any task of the device.
    pub stray: u64,
    /// Replies sent to it.
    pub replies: u64,
    /// Offers sent to it.
    pub offers: u64,
}

/// An event of a device. Its serialised form has its name as `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// It was unknown and has a record now.
    Registered,
    /// It was removed.
    Removed,
    /// Its logins are refused from now on.
    Disabled,
    /// Its logins are allowed again.
    Enabled,
    /// It is connected and subscribed.
    Connected,
    /// It disconnected.
    Disconnected,
    /// It reported its version.
    Version {
        /// The version it runs.
        version: String,
        /// The module that runs it; `None` if the name is invalid.
        module: Option<Module>,
    },
    /// It reported progress.
    Progress {
        /// The reported target, cut to 64 bytes.
        version: String,
        /// The state.
        state: ProgressState,
        /// As sent, even invalid values.
        percent: Option<i64>,
        /// As sent.
        result_code: i64,
        /// As sent, cut to 128 bytes.
        result_msg: String,
        /// It is outside any task of the device.
        stray: bool,
    },
    /// An offer was sent.
    Offered {
        /// The task.
        task: TaskId,
        /// The target.
        version: String,
    },
    /// A task began, in its first state.
    Began {
        /// The task.
        task: TaskId,
        /// The target.
        version: String,
    },
    /// A task's state changed.
    Status {
        /// The task.
        task: TaskId,
        /// The old state.
        from: Status,
        /// The new state.
        to: Status,
        /// The latest result's code, 0 before one.
        code: i64,
        /// The latest result's text, or the cloud's if the device sent none.
        text: String,
    },
    /// The device reported `done`.
    Claimed {
        /// The task.
        task: TaskId,
        /// The report came after the task had ended otherwise.
        late: bool,
    },
    /// The device reported the target as its running version.
    Proved {
        /// The task.
        task: TaskId,
    },
    /// A report drew no offer.
    NotOffered {
        /// The module of the report.
        module: Module,
        /// Why.
        why: NotOffered,
    },
}

/// Why a device that reports its version gets no offer (rule R10 of docs/cloud-design.md).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum NotOffered {
    /// It runs the wanted version.
    UpToDate,
    /// There is no task for it, and no standing rule for its product and module.
    NoRule,
    /// `fw_type` is not a valid module name, or the device has named too many modules.
    UnknownModule,
    /// The standing rule is for devices that run another version.
    OtherVersion,
    /// The standing rule has created the maximum number of tasks for it.
    AttemptsUsed {
        /// The number of tasks.
        attempts: u32,
    },
    /// Its last task failed in this session; the next begins in a new one.
    WaitsForSession,
    /// Its open task is for another module.
    OtherModule,
    /// A person must confirm first.
    AwaitingConfirm,
    /// It is not subscribed to its update topic.
    NotSubscribed,
    /// The firmware needs a newer version than it runs.
    NeedsVersion {
        /// The least version.
        least: String,
    },
    /// The firmware is not in the catalogue.
    NoFirmware,
    /// Its wave of this batch has not begun.
    HeldByWave {
        /// The number of the batch.
        batch: u32,
    },
    /// The batch of its task is paused.
    BatchPaused {
        /// The number of the batch.
        batch: u32,
    },
    /// The weekly window of the batch of its task is closed.
    WindowClosed {
        /// The number of the batch.
        batch: u32,
    },
    /// Its last attempt failed; the next one begins after a pause.
    WaitsForRetry,
    /// The firmware was withdrawn.
    Withdrawn {
        /// Why, in words.
        why: String,
    },
}

impl NotOffered {
    /// The name for programs: `attempts-used`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::UpToDate => "up-to-date",
            Self::NoRule => "no-rule",
            Self::UnknownModule => "unknown-module",
            Self::OtherVersion => "other-version",
            Self::AttemptsUsed { .. } => "attempts-used",
            Self::WaitsForSession => "waits-for-session",
            Self::OtherModule => "other-module",
            Self::AwaitingConfirm => "awaiting-confirm",
            Self::NotSubscribed => "not-subscribed",
            Self::NeedsVersion { .. } => "needs-version",
            Self::NoFirmware => "no-firmware",
            Self::HeldByWave { .. } => "held-by-wave",
            Self::BatchPaused { .. } => "batch-paused",
            Self::WindowClosed { .. } => "window-closed",
            Self::WaitsForRetry => "waits-for-retry",
            Self::Withdrawn { .. } => "withdrawn",
        }
    }

    /// Whether a person must act before the device is updated.
    #[must_use]
    pub const fn is_trouble(&self) -> bool {
        matches!(
            self,
            Self::UnknownModule
                | Self::AttemptsUsed { .. }
                | Self::NotSubscribed
                | Self::NeedsVersion { .. }
                | Self::NoFirmware
                | Self::Withdrawn { .. }
        )
    }
}

impl fmt::Display for NotOffered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UpToDate => "it runs the newest version",
            Self::NoRule => "no firmware is to be offered to this product and module",
            Self::UnknownModule => "its fw_type names no module, or one too many",
            Self::OtherVersion => "the update is for devices that run another version",
            Self::AttemptsUsed { attempts } => {
                return write!(f, "all of its {attempts} attempts ended without the new version");
            }
            Self::WaitsForSession => {
                "its last task ended in this session; the next needs a new one"
            }
            Self::OtherModule => "its open task is for another module",
            Self::AwaitingConfirm => "a person has to agree first",
            Self::NotSubscribed => "it is not subscribed to its update topic",
            Self::NeedsVersion { least } => {
                return write!(f, "the firmware needs at least version {least}");
            }
            Self::NoFirmware => "the firmware is not in the catalogue",
            Self::HeldByWave { batch } => {
                return write!(f, "it waits in batch {batch} for its wave");
            }
            Self::BatchPaused { batch } => return write!(f, "batch {batch} is paused"),
            Self::WindowClosed { batch } => {
                return write!(f, "the weekly window of batch {batch} is closed");
            }
            Self::WaitsForRetry => "its last attempt failed; the next one begins after a pause",
            Self::Withdrawn { why } => return write!(f, "the firmware was withdrawn: {why}"),
        })
    }
}
