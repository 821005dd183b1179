//! The journal on NOR flash: records appended in two pages.
//!
//! A record is never written over another one. It goes to the next place of the ring of all
//! places of both pages; before the first place of a page is written, that page is erased. Each
//! place that is tried uses up one sequence number, so whatever a cut leaves half written, and
//! however often it reads as valid, has a lower number than what is written after it.

use super::{Journal, Record, is_after};

/// Reads the places of both pages; [`Scan::finish`] says what they come to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scan {
    slots: usize,
    newest: Option<(u32, Record, usize)>,
    /// Places from each page's start that are not blank any more.
    used: [usize; 2],
}

/// Where the next record goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    slots: usize,
    /// The next place in the ring.
    at: usize,
    /// The sequence number that belongs to it.
    number: u32,
}

/// A write that the log asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The page to be erased first, 0 or 1.
    pub erase: Option<usize>,
    /// The page to write to, 0 or 1.
    pub page: usize,
    /// The place in that page, in records from its start.
    pub slot: usize,
    /// The record under the number that belongs to the place.
    pub block: [u8; Journal::LEN],
}

impl Scan {
    /// Two pages of so many records each, at least [`Log::MIN_SLOTS`].
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots: slots.max(Log::MIN_SLOTS), newest: None, used: [0; 2] }
    }

    /// One place: page 0 or 1, its slot, and what it holds; `None` when it cannot be read. Give
    /// it all of them, in any order.
    pub fn take(&mut self, page: usize, slot: usize, block: Option<&[u8; Journal::LEN]>) {
        let Some(used) = self.used.get_mut(page).filter(|_| slot < self.slots) else { return };
        if block.is_some_and(|block| block.iter().all(|byte| *byte == 0xff)) {
            return;
        }
        *used = (*used).max(slot.saturating_add(1));
        let Some(Ok((number, record))) = block.map(Record::decode) else { return };
        if self.newest.as_ref().is_none_or(|(best, ..)| is_after(number, *best)) {
            let at = page.saturating_mul(self.slots).saturating_add(slot);
            self.newest = Some((number, record, at));
        }
    }

    /// The newest record, if any, and where to go on. Append that record once more before acting
    /// on it: its own write may have been cut, and may read differently next time.
    ///
    /// What is blank in its page may be used, but for the first such place, which a cut write may
    /// have touched. The other page is erased before it is used, whatever it looks like.
    #[must_use]
    pub fn finish(self) -> (Log, Option<[u8; Journal::LEN]>) {
        let slots = self.slots;
        let Some((number, record, at)) = self.newest else {
            return (Log { slots, at: 0, number: 0 }, None);
        };
        let page = usize::from(at >= slots);
        let used = self.used.get(page).copied().unwrap_or(slots);
        let start = page.saturating_mul(slots);
        let next = start.saturating_add(used.saturating_add(1).min(slots));
        let steps = u32::try_from(next.saturating_sub(at)).unwrap_or(u32::MAX);
        let log = Log { slots, at: next, number: number.wrapping_add(steps) };
        (log, Some(record.encode(number)))
    }
}

impl Log {
    /// The least number of records in a page: a record whose write was cut can be appended again
    /// beside it, before the page that holds the one before it is erased.
    pub const MIN_SLOTS: usize = 4;

    /// What to do for a record; the block's own number does not matter. `None` when it is none.
    /// Erase the page that is named, if any, and call [`Log::advance`] when that is done; then
    /// write. Whatever becomes of the write, the next record has another place.
    #[must_use]
    pub fn entry(&self, block: &[u8; Journal::LEN]) -> Option<Entry> {
        let (_, record) = Record::decode(block).ok()?;
        let at = if self.at >= self.slots.saturating_mul(2) { 0 } else { self.at };
        let page = usize::from(at >= self.slots);
        let slot = at.saturating_sub(page.saturating_mul(self.slots));
        let erase = (slot == 0).then_some(page);
        Some(Entry { erase, page, slot, block: record.encode(self.number) })
    }

    /// The place of [`Log::entry`] is used up.
    pub fn advance(&mut self) {
        let at = if self.at >= self.slots.saturating_mul(2) { 0 } else { self.at };
        self.at = at.saturating_add(1);
        self.number = self.number.wrapping_add(1);
    }
}
