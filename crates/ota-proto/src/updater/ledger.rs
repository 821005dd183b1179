//! The journal's side of the machine: what is durable, and what should be.
//!
//! Nothing waits for "its" write. Every step asks whether the *durable* record already says what
//! the step needs; the ledger writes the wanted record, one at a time, until the two agree.

use crate::error::StorageError;
use crate::journal::{Journal, Record};
use crate::output::OpId;
use crate::time::Instant;

/// What is durable, what should be, and the write under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Ledger {
    /// The last record whose write was acknowledged.
    durable: Record,
    /// The record that the state asks for.
    pub(super) wanted: Record,
    sequence: u32,
    flight: Option<(OpId, Record)>,
    /// The record of a failed write, until one succeeds: it may be on the medium all the same.
    doubt: Option<Record>,
    /// Another record than that one failed, too: nobody knows which of them is on the medium.
    doubts: bool,
    /// When the write under way, with all that failed before it, has taken long enough.
    limit: Option<Instant>,
    /// After a failed write: the number of failures in a row and when to try again.
    failed: Option<(u8, Instant)>,
    #[cfg_attr(feature = "snapshot", serde(with = "block"))]
    block: [u8; Journal::LEN],
}

/// Serde knows no arrays of this length.
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
    /// A ledger that found this record, or none, at boot.
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

    /// What is surely on the medium.
    pub(super) fn durable(&self) -> &Record {
        &self.durable
    }

    /// This is so of every record that a reset may find: the durable one, the one on its way, and
    /// one whose write failed. Of several that failed it is never sure.
    pub(super) fn is_sure(&self, fits: impl Fn(&Record) -> bool) -> bool {
        let flight = self.flight.as_ref().map(|(_, record)| record);
        let all = [Some(&self.durable), flight, self.doubt.as_ref()];
        !self.doubts && all.into_iter().flatten().all(fits)
    }

    /// The medium holds exactly what is wanted, and nothing else is on its way.
    // Its copies would cost flash.
    #[inline(never)]
    pub(super) fn settled(&self) -> bool {
        self.flight.is_none() && self.agrees()
    }

    fn agrees(&self) -> bool {
        self.doubt.is_none() && same(&self.durable, &self.wanted)
    }

    /// A write is due now.
    pub(super) fn due(&self, now: Instant) -> bool {
        self.flight.is_none() && !self.agrees() && self.failed.is_none_or(|(_, at)| at <= now)
    }

    /// When a failed write is due again.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        let (_, at) = self.failed?;
        // Records are compared last: they are long.
        (self.flight.is_none() && !self.agrees()).then_some(at)
    }

    /// The last write failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failed.is_some()
    }

    /// When somebody who waits for a record to be durable has waited long enough.
    pub(super) fn limit(&self) -> Option<Instant> {
        self.limit
    }

    /// Begins the write of the wanted record, which is to succeed, now or repeated, by this moment.
    pub(super) fn issue(&mut self, op: OpId, limit: Instant) {
        self.limit.get_or_insert(limit);
        self.sequence = self.sequence.wrapping_add(1);
        self.block = self.wanted.encode(self.sequence);
        self.flight = Some((op, self.wanted));
    }

    /// The block under way.
    pub(super) fn block(&self) -> &[u8; Journal::LEN] {
        &self.block
    }

    /// This write is under way.
    pub(super) fn is_writing(&self, op: OpId) -> bool {
        self.flight.as_ref().is_some_and(|(flight, _)| *flight == op)
    }

    /// The write ended; `None` if it is not the one under way. A failure comes with the number of
    /// failures in a row; what failed may still be on the medium, so the same place is written
    /// again.
    // Inlined it would widen its caller's frame, and cost flash.
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

    /// Sets when a failed write is due again.
    pub(super) fn retry(&mut self, at: Instant) {
        if let Some((_, when)) = &mut self.failed {
            *when = at;
        }
    }
}

/// Equal but for the time, which rides along and is never worth a write.
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
