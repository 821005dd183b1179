//! How many devices of a wave are in each state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::device::Status;

/// The batch that a task belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchRef {
    /// The number of the batch in its product.
    pub number: u32,
    /// The index of its wave.
    pub wave: u16,
}

/// What is counted of the devices of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Slot {
    /// Their task is in this state.
    Status(Status),
    /// Their task is open, and nothing was heard of it for two minutes.
    Silent,
    /// Their task is open, and they were silent for so long that their place is free.
    Stalled,
    /// Their task is open, and an attempt of it has failed.
    Again,
}

impl Slot {
    /// The word in the name of its count.
    #[must_use]
    pub fn word(self) -> String {
        match self {
            Self::Status(status) => status.number().to_string(),
            Self::Silent => "silent".to_owned(),
            Self::Stalled => "stalled".to_owned(),
            Self::Again => "again".to_owned(),
        }
    }

    /// Reads [`word`](Self::word).
    #[must_use]
    pub fn of_word(word: &str) -> Option<Self> {
        match word {
            "silent" => Some(Self::Silent),
            "stalled" => Some(Self::Stalled),
            "again" => Some(Self::Again),
            number => {
                let number: u8 = number.parse().ok()?;
                Status::ALL
                    .iter()
                    .find(|status| status.number() == number)
                    .copied()
                    .map(Self::Status)
            }
        }
    }
}

/// The name of a count of a batch.
#[must_use]
pub fn count_name(product: &str, of: BatchRef, slot: Slot) -> String {
    format!("{}{}/{}", count_prefix(product, of.number), of.wave, slot.word())
}

/// The beginning of the names of all counts of a batch.
#[must_use]
pub fn count_prefix(product: &str, number: u32) -> String {
    format!("{product}/batch/{number}/")
}

/// Reads the name of a count of a batch: the product, the batch with its wave, and what is counted.
#[must_use]
pub fn read_count(name: &str) -> Option<(&str, BatchRef, Slot)> {
    let (rest, slot) = name.rsplit_once('/')?;
    let (rest, wave) = rest.rsplit_once('/')?;
    let (rest, number) = rest.rsplit_once('/')?;
    let product = rest.strip_suffix("/batch")?;
    let of = BatchRef { number: number.parse().ok()?, wave: wave.parse().ok()? };
    Some((product, of, Slot::of_word(slot)?))
}

/// The counts of a wave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<Slot, u64>);

impl Tally {
    /// Changes a count.
    pub fn add(&mut self, slot: Slot, by: i64) {
        let count = self.0.entry(slot).or_default();
        *count = count.saturating_add_signed(by);
    }

    /// A count.
    #[must_use]
    pub fn of(&self, slot: Slot) -> u64 {
        self.0.get(&slot).copied().unwrap_or(0)
    }

    /// The counts by status, without zeros.
    pub fn statuses(&self) -> impl Iterator<Item = (Status, u64)> {
        self.0.iter().filter_map(|(slot, count)| match slot {
            Slot::Status(status) if *count > 0 => Some((*status, *count)),
            _ => None,
        })
    }

    /// The counts for the decider.
    #[must_use]
    pub fn counts(&self, waiting: u64) -> WaveCounts {
        let status = |status| self.of(Slot::Status(status));
        let succeeded = status(Status::Complete);
        let failed = status(Status::Failed).saturating_add(status(Status::TimedOut));
        let all: u64 = self.statuses().map(|(_, count)| count).sum();
        WaveCounts {
            waiting,
            open: all.saturating_sub(succeeded).saturating_sub(failed),
            silent: self.of(Slot::Silent),
            stalled: self.of(Slot::Stalled),
            succeeded,
            failed,
            again: self.of(Slot::Again),
        }
    }
}

/// How many devices of a wave are in each state, as far as a batch decides by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct WaveCounts {
    /// Not admitted yet.
    pub waiting: u64,
    /// Admitted, and their task is open.
    pub open: u64,
    /// Open, and without progress for two minutes.
    pub silent: u64,
    /// Open, but silent for so long that their place is free.
    pub stalled: u64,
    /// Ended with the new version.
    pub succeeded: u64,
    /// Ended without it.
    pub failed: u64,
    /// Open, after an attempt that failed.
    pub again: u64,
}

impl WaveCounts {
    /// The devices that a stop rule counts as failed.
    pub(super) const fn bad(&self) -> u64 {
        self.failed.saturating_add(self.again)
    }

    /// Whether every device has ended.
    pub(super) const fn is_over(&self) -> bool {
        self.waiting == 0 && self.open == 0
    }
}
