//! The two places of the journal.

use ota_proto::journal::Record;
use ota_proto::{Journal, Rng};

use crate::tear::{Flaky, Tear};

/// Two blocks, written in turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JournalPlaces {
    /// The result of the last reading.
    blocks: [[u8; Journal::LEN]; 2],
    /// One byte per place that reads differently each time, until the place is written.
    flaky: [Option<Flaky>; 2],
}

impl Default for JournalPlaces {
    fn default() -> Self {
        Self { blocks: [[0xff; Journal::LEN]; 2], flaky: [None; 2] }
    }
}

impl JournalPlaces {
    /// The newest valid block.
    #[must_use]
    pub fn newest(&self) -> Option<&[u8; Journal::LEN]> {
        Journal::newest(&self.blocks)
    }

    /// The newest valid record.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        Some(Record::decode(self.newest()?).ok()?.1)
    }

    /// Writes a block to its place.
    pub fn write(&mut self, block: &[u8; Journal::LEN]) {
        let at = Journal::place(block);
        if let (Some(place), Some(flaky)) = (self.blocks.get_mut(at), self.flaky.get_mut(at)) {
            *place = *block;
            *flaky = None;
        }
    }

    /// Stops the write of a block at a byte: of the erase of its place, of the write to erased
    /// bytes, or of an overwrite, in this order, each [`Journal::LEN`] long.
    pub(crate) fn tear_at(&mut self, block: &[u8; Journal::LEN], tear: Tear, rng: &mut Rng) {
        let at = Journal::place(block);
        let (Some(place), Some(flaky)) = (self.blocks.get_mut(at), self.flaky.get_mut(at)) else {
            return;
        };
        let blank = [0xff; Journal::LEN];
        let byte = tear.byte % Journal::LEN;
        *flaky = match tear.byte / Journal::LEN {
            0 => Tear { byte, ..tear }.apply(place, &blank, rng),
            1 => {
                *place = blank;
                Tear { byte, ..tear }.apply(place, block, rng)
            }
            _ => Tear { byte, ..tear }.apply(place, block, rng),
        };
    }

    /// The content of the places.
    pub(crate) fn blocks(&self) -> [[u8; Journal::LEN]; 2] {
        self.blocks
    }

    /// A record that was read is made durable before it is used: it is rewritten in place, and a
    /// place without a record is erased. A power cut in between changes nothing that a later
    /// reading does not correct, so this is one step here.
    pub(crate) fn settle(&mut self, read: &[Option<[u8; Journal::LEN]>; 2]) {
        for ((place, flaky), read) in self.blocks.iter_mut().zip(&mut self.flaky).zip(read) {
            let Some(block) = read else { continue };
            *flaky = None;
            *place = if Record::decode(block).is_ok() { *block } else { [0xff; Journal::LEN] };
        }
    }

    /// A new reading of the medium: flaky bytes may read differently.
    pub(crate) fn reread(&mut self, rng: &mut Rng) {
        for (place, flaky) in self.blocks.iter_mut().zip(&self.flaky) {
            if let Some(flaky) = flaky {
                if let Some(cell) = place.get_mut(flaky.at) {
                    *cell = flaky.read(rng);
                }
            }
        }
    }

    /// Writes the first bytes of a block and garbage after them: a power cut.
    pub fn tear(&mut self, block: &[u8; Journal::LEN], rng: &mut Rng) {
        let Some(place) = self.blocks.get_mut(Journal::place(block)) else { return };
        let whole = usize::try_from(rng.below(Journal::LEN as u64)).unwrap_or(0);
        for (i, (cell, byte)) in place.iter_mut().zip(block).enumerate() {
            if i < whole {
                *cell = *byte;
            } else if i == whole {
                *cell ^= u8::try_from(rng.below(256)).unwrap_or(0);
            }
        }
    }

    /// Fills both places with these bytes: a foreign or worn medium.
    pub fn spoil(&mut self, byte: u8) {
        self.blocks = [[byte; Journal::LEN]; 2];
        self.flaky = [None; 2];
    }
}
