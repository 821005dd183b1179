//! A slot: erase before write, durable only after a sync.

use std::ops::Range;

use ota_proto::Rng;

use crate::tear::{Flaky, Tear, garbage};

/// An operation of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FlashOp {
    /// Sets the range to 0xff.
    Erase(Range<u64>),
    /// Writes bytes at an offset.
    Write(u64, Vec<u8>),
}

impl FlashOp {
    /// The number of bytes that it changes.
    pub(crate) fn len(&self) -> usize {
        self.range().len()
    }

    fn range(&self) -> Range<usize> {
        match self {
            Self::Erase(range) => index(range.start)..index(range.end),
            Self::Write(at, bytes) => index(*at)..index(*at).saturating_add(bytes.len()),
        }
    }
}

/// A slot in memory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flash {
    /// The present content for a read.
    view: Vec<u8>,
    /// The bytes that were not written since their erase.
    blank: Vec<bool>,
    /// The content that survives a power cut, except `pending`.
    durable: Vec<u8>,
    /// Completed but unsynced operations, oldest first.
    pending: Vec<FlashOp>,
    /// Bytes that read differently each time until they are erased or written.
    flaky: Vec<Flaky>,
}

impl Flash {
    /// Makes a slot of this many bytes of garbage.
    #[must_use]
    pub fn new(capacity: u64, rng: &mut Rng) -> Self {
        let view: Vec<u8> = (0..capacity).map(|_| garbage(rng)).collect();
        Self {
            blank: vec![false; view.len()],
            durable: view.clone(),
            view,
            pending: Vec::new(),
            flaky: Vec::new(),
        }
    }

    /// Writes an image at its start, durably.
    pub fn fill(&mut self, image: &[u8]) {
        self.view.iter_mut().zip(image).for_each(|(cell, byte)| *cell = *byte);
        self.durable.clone_from(&self.view);
        self.blank.fill(false);
    }

    /// Performs a whole operation.
    ///
    /// # Errors
    /// The violation: outside the slot, or a write to bytes that were not erased.
    pub fn apply(&mut self, op: &FlashOp) -> Result<(), String> {
        let range = op.range();
        let (Some(view), Some(blank)) =
            (self.view.get_mut(range.clone()), self.blank.get_mut(range.clone()))
        else {
            return Err(format!("{range:?} is outside the slot"));
        };
        let result = match op {
            FlashOp::Erase(_) => {
                view.fill(0xff);
                blank.fill(true);
                Ok(())
            }
            FlashOp::Write(_, bytes) => {
                let clean = blank.iter().all(|blank| *blank);
                view.copy_from_slice(bytes);
                blank.fill(false);
                if clean { Ok(()) } else { Err(format!("write to unerased bytes in {range:?}")) }
            }
        };
        self.pending.push(op.clone());
        self.flaky.retain(|flaky| !range.contains(&flaky.at));
        result
    }

    /// Makes everything durable.
    pub fn sync(&mut self) {
        self.durable.clone_from(&self.view);
        self.pending.clear();
    }

    /// Whether all operations are durable.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.pending.is_empty()
    }

    /// The present content for a read.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.view
    }

    /// Whether the durable bytes begin with the first `length` of this image, and no pending
    /// operation touches them.
    #[must_use]
    pub fn surely_holds(&self, image: &[u8], length: u64) -> bool {
        let length = index(length);
        let same = self.durable.get(..length) == image.get(..length);
        let steady = self.flaky.iter().all(|flaky| flaky.at >= length);
        same && steady && self.pending.iter().all(|op| op.range().start >= length)
    }

    /// Cuts the power. Each unsynced byte keeps its old value (`keep` = 0), has its new one (255),
    /// or randomly either or neither; `torn` was in progress.
    pub fn cut(&mut self, torn: Option<&FlashOp>, keep: u8, rng: &mut Rng) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend(torn.cloned());
        for op in &pending {
            let Some(cells) = self.durable.get_mut(op.range()) else { continue };
            for (i, cell) in cells.iter_mut().enumerate() {
                let new = match op {
                    FlashOp::Erase(_) => 0xff,
                    FlashOp::Write(_, bytes) => bytes.get(i).copied().unwrap_or(0xff),
                };
                let chance = rng.below(256);
                if keep == 255 || (keep > 0 && chance < u64::from(keep)) {
                    *cell = new;
                } else if keep > 0 && chance > 250 {
                    *cell = garbage(rng);
                }
            }
        }
        self.view.clone_from(&self.durable);
        // The blank bytes are unknown: they must be erased again.
        self.blank.fill(false);
    }

    /// Cuts the power: unsynced bytes are kept or not, as `keep` says in [`Self::cut`], and `op`,
    /// if any, stops at a byte.
    pub(crate) fn tear(&mut self, op: Option<&FlashOp>, tear: Tear, keep: u8, rng: &mut Rng) {
        self.cut(None, keep, rng);
        let Some(op) = op else { return };
        let range = op.range();
        let Some(cells) = self.durable.get_mut(range.clone()) else { return };
        let new = match op {
            FlashOp::Erase(_) => vec![0xff; cells.len()],
            FlashOp::Write(_, bytes) => bytes.clone(),
        };
        if let Some(flaky) = tear.apply(cells, &new, rng) {
            self.flaky.retain(|other| !range.contains(&other.at));
            self.flaky.push(Flaky { at: flaky.at.saturating_add(range.start), ..flaky });
        }
        self.view.clone_from(&self.durable);
    }

    /// A new reading of the medium: flaky bytes may read differently.
    pub(crate) fn reread(&mut self, rng: &mut Rng) {
        for flaky in &self.flaky {
            let byte = flaky.read(rng);
            for cells in [&mut self.view, &mut self.durable] {
                if let Some(cell) = cells.get_mut(flaky.at) {
                    *cell = byte;
                }
            }
        }
    }

    /// The process ended and the medium did not: completed operations stay, still not durable.
    pub fn forget_blank(&mut self) {
        self.blank.fill(false);
    }
}

/// An offset as an index; the last index if it does not fit.
fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}
