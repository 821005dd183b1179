//! The operation of the slot that is in progress.

use crate::output::{OpId, SlotAction};
use crate::time::Instant;

/// The slot operation in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct SlotJob {
    pub(super) op: OpId,
    pub(super) task: SlotTask,
    /// The limit for waiting for it.
    pub(super) limit: Instant,
    /// Its attempt has ended: its completion only frees the slot (O3).
    pub(super) orphan: bool,
}

/// The slot's [`crate::Work`] in progress, as the state that follows from its success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum SlotTask {
    Erase { end: u64 },
    Write { end: u64 },
    Sync { upto: u64 },
    Digest { upto: u64 },
    Slot(SlotAction),
}
