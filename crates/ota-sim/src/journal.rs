//! The journal's two places.

use ota_proto::journal::Record;
use ota_proto::{Journal, Rng};

/// Two blocks, written in turn.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JournalPlaces([[u8; Journal::LEN]; 2]);

impl Default for JournalPlaces {
    fn default() -> Self {
        Self([[0xff; Journal::LEN]; 2])
    }
}

impl JournalPlaces {
    /// The newest valid block.
    #[must_use]
    pub fn newest(&self) -> Option<&[u8; Journal::LEN]> {
        Journal::newest(&self.0)
    }

    /// The newest valid record.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        Some(Record::decode(self.newest()?).ok()?.1)
    }

    /// Writes a block to its place.
    pub fn write(&mut self, block: &[u8; Journal::LEN]) {
        if let Some(place) = self.0.get_mut(Journal::place(block)) {
            *place = *block;
        }
    }

    /// Writes the first bytes of a block and garbage behind them: power went.
    pub fn tear(&mut self, block: &[u8; Journal::LEN], rng: &mut Rng) {
        let Some(place) = self.0.get_mut(Journal::place(block)) else { return };
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
        self.0 = [[byte; Journal::LEN]; 2];
    }
}
