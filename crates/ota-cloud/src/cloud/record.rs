//! What the cloud knows of a device.

use std::collections::VecDeque;

use core::fmt;

use ota_proto::message::ProgressState;
use ota_proto::{Identity, Instant};

use super::task::{Status, Task, TaskId};

/// A device secret: the raw bytes, after Base64. `Debug` hides them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the raw bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A device as the cloud knows it. Made by the cloud and read by anyone. Bounded whatever the
/// device sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeviceRecord {
    /// Who it is.
    pub identity: Identity,
    /// Connected and subscribed.
    pub online: bool,
    /// The version it reported last.
    pub reported: Option<Reported>,
    /// Its current task, or its last.
    pub task: Option<Task>,
    /// The tasks before that, oldest first.
    pub history: VecDeque<Task>,
    /// What happened, oldest first.
    pub log: VecDeque<LogEntry>,
    /// How often what happened.
    pub counters: Counters,
    pub(super) secret: Option<Secret>,
    pub(super) state: Pending,
}

impl DeviceRecord {
    pub(super) const fn new(identity: Identity) -> Self {
        Self {
            identity,
            online: false,
            reported: None,
            task: None,
            history: VecDeque::new(),
            log: VecDeque::new(),
            counters: Counters {
                sessions: 0,
                received: 0,
                versions: 0,
                progress: 0,
                results: 0,
                stray: 0,
                replies: 0,
                offers: 0,
            },
            secret: None,
            state: Pending {
                reply: None,
                offer: None,
                timeout: None,
                tasks: 0,
                rollout: None,
                ended_in: 0,
            },
        }
    }

    /// Whether it has a task that is not over.
    #[must_use]
    pub fn has_open_task(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.finished.is_none())
    }

    /// Whether its task is claimed and proved, and it still runs the target.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        let Some(task) = &self.task else { return false };
        task.is_proved() && self.reported.as_ref().is_some_and(|r| r.version == task.target)
    }
}

/// What is to be sent or watched for a device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    /// The version whose report is to be answered.
    pub(super) reply: Option<String>,
    /// When the next offer is due; the key in the cloud's schedule.
    pub(super) offer: Option<Instant>,
    /// When the task times out; the key in the cloud's schedule.
    pub(super) timeout: Option<Instant>,
    /// Tasks made for this device so far.
    pub(super) tasks: u32,
    /// The target of the rollout that made tasks, and how many.
    pub(super) rollout: Option<(String, u32)>,
    /// The number of the session in which the latest task ended.
    pub(super) ended_in: u64,
}

/// A reported version.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Reported {
    /// The version, 1 to 32 printable ASCII characters.
    pub version: String,
    /// `fw_type` beside it, cut to 32 bytes.
    pub fw_type: Option<String>,
    /// When.
    pub at: Instant,
}

/// Numbers of a device. They saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Counters {
    /// Times it connected.
    pub sessions: u64,
    /// Messages from it that were taken.
    pub received: u64,
    /// `report_version` among them.
    pub versions: u64,
    /// `report_progress` among them.
    pub progress: u64,
    /// `done` and `fail` among them.
    pub results: u64,
    /// Progress that belongs to no task of the device.
    pub stray: u64,
    /// Replies sent to it.
    pub replies: u64,
    /// Offers sent to it.
    pub offers: u64,
}

/// A line of a device's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LogEntry {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}

/// Something that happened to a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CloudEvent {
    /// The device.
    pub device: Identity,
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}

/// What happened to a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventKind {
    /// It was not known and has a record now.
    Registered,
    /// It is connected and subscribed.
    Connected,
    /// It is gone.
    Disconnected,
    /// It reported its version.
    Version {
        /// The version it runs.
        version: String,
    },
    /// It reported progress.
    Progress {
        /// The target it names, cut to 64 bytes.
        version: String,
        /// The state.
        state: ProgressState,
        /// As sent, odd values included.
        percent: Option<i64>,
        /// As sent.
        result_code: i64,
        /// As sent, cut to 128 bytes.
        result_msg: String,
        /// It belongs to no task of the device.
        stray: bool,
    },
    /// An offer was handed out to be sent.
    Offered {
        /// The task.
        task: TaskId,
        /// The target.
        version: String,
    },
    /// A task began: the first of its statuses.
    Began {
        /// The task.
        task: TaskId,
        /// The target.
        version: String,
    },
    /// A task's status changed.
    Status {
        /// The task.
        task: TaskId,
        /// What it was.
        from: Status,
        /// What it is.
        to: Status,
    },
    /// The device says that it runs the target.
    Claimed {
        /// The task.
        task: TaskId,
        /// After the task had ended otherwise.
        late: bool,
    },
    /// The device reported the target as the version it runs.
    Proved {
        /// The task.
        task: TaskId,
    },
}
