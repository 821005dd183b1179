//! The journal of the machine: the durable record, and the wanted one.
//!
//! No step waits for a write of its own. Each step checks whether the *durable* record already
//! contains what it needs. The ledger writes the wanted record, one write at a time, until both are
//! equal.

use crate::error::StorageError;
use crate::journal::{Journal, Record};
use crate::output::OpId;
use crate::time::Instant;

/// The durable record, the wanted one, and the write in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Ledger {
    /// The last record that was written successfully.
    durable: Record,
    /// The record that the state asks for.
    pub(super) wanted: Record,
    sequence: u32,
    flight: Option<(OpId, Record)>,
    /// The record of a failed write, until a write succeeds: it may be on the medium anyway.
    doubt: Option<Record>,
    /// Writes of different records failed: any of them may be on the medium.
    doubts: bool,
    /// The limit of the write in progress, together with the failed writes before it.
    limit: Option<Instant>,
    /// After a failed write: the number of failures in a row, and the time of the next try.
    failed: Option<(u8, Instant)>,
    #[cfg_attr(feature = "snapshot", serde(with = "block"))]
    block: [u8; Journal::LEN],
}

/// Serde does not support arrays of this length.
#[cfg(feature = "snapshot")]
mod block {
    use alloc::vec::Vec;

    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use crate::journal::Journal;

    pub(super) fn serialize<S: Serializer>(
        block: &[u8; Journal::LEN],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        block.as_slice().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[u8; Journal::LEN], D::Error> {
        let bytes = Vec::<u8>::deserialize(from)?;
        bytes.try_into().map_err(|_| D::Error::custom("not the length of a record"))
    }
}

impl Ledger {
    /// A ledger with the record that was found at boot, if any.
    pub(super) fn new(found: Option<(u32, Record)>) -> Self {
        let (sequence, durable) = found.unwrap_or_default();
        Self {
            wanted: durable,
            durable,
            sequence,
            flight: None,
            doubt: None,
            doubts: false,
            limit: None,
            failed: None,
            block: [0; Journal::LEN],
        }
    }

    /// The record that is certainly on the medium.
    pub(super) fn durable(&self) -> &Record {
        &self.durable
    }

    /// Whether every record that a reset may find fits: the durable one, the one being written, and
    /// one whose write failed. `false` if several failed.
    pub(super) fn is_sure(&self, fits: impl Fn(&Record) -> bool) -> bool {
        let flight = self.flight.as_ref().map(|(_, record)| record);
        let all = [Some(&self.durable), flight, self.doubt.as_ref()];
        !self.doubts && all.into_iter().flatten().all(fits)
    }

    /// Whether the medium holds the wanted record and no write is in progress.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(super) fn settled(&self) -> bool {
        self.flight.is_none() && self.agrees()
    }

    fn agrees(&self) -> bool {
        self.doubt.is_none() && same(&self.durable, &self.wanted)
    }

    /// Whether a write is due.
    pub(super) fn due(&self, now: Instant) -> bool {
        self.flight.is_none() && !self.agrees() && self.failed.is_none_or(|(_, at)| at <= now)
    }

    /// When to repeat a failed write.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        let (_, at) = self.failed?;
        // The comparison of records comes last, because they are long.
        (self.flight.is_none() && !self.agrees()).then_some(at)
    }

    /// Whether the last write failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failed.is_some()
    }

    /// The limit for waiting until a record is durable.
    pub(super) fn limit(&self) -> Option<Instant> {
        self.limit
    }

    /// Begins to write the wanted record, which must succeed by this limit, at once or repeated.
    pub(super) fn issue(&mut self, op: OpId, limit: Instant) {
        self.limit.get_or_insert(limit);
        self.sequence = self.sequence.wrapping_add(1);
        self.block = self.wanted.encode(self.sequence);
        self.flight = Some((op, self.wanted));
    }

    /// The block being written.
    pub(super) fn block(&self) -> &[u8; Journal::LEN] {
        &self.block
    }

    /// Whether this write is in progress.
    pub(super) fn is_writing(&self, op: OpId) -> bool {
        self.flight.as_ref().is_some_and(|(flight, _)| *flight == op)
    }

    /// Ends a write; `None` if it is not the one in progress. A failure comes with the number of
    /// failures in a row. The failed record may be on the medium anyway, so the next write goes to
    /// the same place.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(super) fn complete(
        &mut self,
        op: OpId,
        result: Result<(), StorageError>,
    ) -> Option<Result<(), (u8, StorageError)>> {
        let (_, record) = self.flight.take_if(|(flight, _)| *flight == op)?;
        match result {
            Ok(()) => {
                self.durable = record;
                self.doubt = None;
                self.doubts = false;
                self.limit = None;
                self.failed = None;
                Some(Ok(()))
            }
            Err(error) => {
                self.sequence = self.sequence.wrapping_sub(1);
                let doubt = self.doubt.get_or_insert(record);
                self.doubts |= !same(doubt, &record);
                let count = self.failed.map_or(0, |(count, _)| count).saturating_add(1);
                self.failed = Some((count, Instant::MAX));
                Some(Err((count, error)))
            }
        }
    }

    /// Sets the time at which a failed write is repeated.
    pub(super) fn retry(&mut self, at: Instant) {
        if let Some((_, when)) = &mut self.failed {
            *when = at;
        }
    }
}

/// Whether two records are equal, except for the certificates' times: these are written with the
/// next record and never alone.
fn same(a: &Record, b: &Record) -> bool {
    a.phase == b.phase
        && a.tries == b.tries
        && a.starts == b.starts
        && a.target == b.target
        && a.from == b.from
        && a.owed == b.owed
        && a.guard == b.guard
        && a.accepted == b.accepted
}
