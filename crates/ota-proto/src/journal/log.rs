//! The journal on NOR flash: records appended in two pages.
//!
//! A place is never programmed twice between two erases, also not when a cut has left nothing to
//! be seen there: flash with an error-correcting code forbids it. So the first record of a boot
//! goes to the start of a page that was erased in the same boot, and each place that is tried,
//! whatever becomes of it, is followed by the next one.
//!
//! What a cut has met may read as written, as torn or as blank, and differently each time. So a
//! page begins with four records, and the last of them is lasting with the fourth. A page with
//! fewer than three valid ones cannot be told from one whose first write was cut: the other page
//! still holds all that was acted on, and this one is begun anew. From three on two are surely
//! there, and it is the other page that may be erased.
//!
//! A number belongs to each place, so what is written later outranks all that was tried before,
//! however that reads.

use super::{Journal, Record, is_after, is_blank};

/// Records that are written to a page before one is lasting: copies, as a rule.
const COPIES: usize = 4;
/// So many valid ones: whatever a cut has met, at least two of them are there.
const SURE: usize = 3;

/// Takes what the places of both pages read as; [`Scan::finish`] says what they come to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scan {
    slots: usize,
    pages: [Page; 2],
}

/// What a page holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Page {
    newest: Option<Place>,
    /// Valid records.
    valid: usize,
    /// Places from the start that are not blank any more.
    used: usize,
}

/// A valid record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    slot: usize,
    number: u32,
    record: Record,
    /// The place before it holds the same record.
    twin: bool,
}

/// The newest record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Newest {
    /// The record as a block.
    pub block: [u8; Journal::LEN],
    /// Every later boot reads this record, too, or a newer one. Otherwise its write may have been
    /// cut: append it once more, until [`Entry::lasting`], before anything is built on it.
    pub lasting: bool,
}

/// Where the next record goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    slots: usize,
    /// The next place: a page, 0 or 1, and a slot, which may lie behind its last one.
    page: usize,
    slot: usize,
    /// The sequence number that belongs to it.
    number: u32,
    /// Records that were written to this page and read back.
    written: usize,
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
    /// Once this is written the record is lasting; otherwise append it again.
    pub lasting: bool,
}

impl Scan {
    /// Two pages of so many records each, at least [`Log::MIN_SLOTS`].
    #[must_use]
    pub fn new(slots: usize) -> Self {
        Self { slots: slots.max(Log::MIN_SLOTS), pages: [Page::default(), Page::default()] }
    }

    /// One place: page 0 or 1, its slot, and what it holds; `None` when it cannot be read. Read one
    /// again that is not [believed](Journal::is_believed). Give it all of them, those of a page in
    /// their order. Blank is what is all ones, or all zeros:
    /// there is flash that erases to either.
    pub fn take(&mut self, page: usize, slot: usize, block: Option<&[u8; Journal::LEN]>) {
        let Some(page) = self.pages.get_mut(page).filter(|_| slot < self.slots) else { return };
        if block.is_some_and(is_blank) {
            return;
        }
        page.used = page.used.max(slot.saturating_add(1));
        let Some(Ok((number, record))) = block.map(Record::decode) else { return };
        page.valid = page.valid.saturating_add(1);
        if page.newest.as_ref().is_none_or(|newest| is_after(number, newest.number)) {
            let twin = page.newest.as_ref().is_some_and(|before| {
                before.slot.checked_add(1) == Some(slot) && before.record == record
            });
            page.newest = Some(Place { slot, number, record, twin });
        }
    }

    /// Where to go on, and the newest record, if any.
    #[must_use]
    pub fn finish(self) -> (Log, Option<Newest>) {
        let slots = self.slots;
        let [first, second] = &self.pages;
        let in_second = match (&first.newest, &second.newest) {
            (Some(first), Some(second)) => is_after(second.number, first.number),
            (_, second) => second.is_some(),
        };
        let (page, other) = if in_second { (second, first) } else { (first, second) };
        let Some(newest) = &page.newest else { return (Log::new(slots, 0, 0), None) };
        let begun = u32::try_from(newest.slot).map_or(0, |slot| newest.number.wrapping_sub(slot));
        // The page to be erased, and the number of its first place.
        let anew = page.valid < SURE && other.newest.is_some();
        let length = if anew { 0 } else { u32::try_from(slots).unwrap_or(u32::MAX) };
        let log = Log::new(slots, usize::from(in_second == anew), begun.wrapping_add(length));
        // A single one may be half written; what was before it stands in the other page.
        let source = if page.valid == 1 { other.newest.as_ref() } else { None };
        let Place { number, record, .. } = source.unwrap_or(newest);
        // Nothing but the twin can be half written.
        let last = newest.slot.checked_add(1) == Some(page.used);
        let lasting = last && newest.twin && page.valid >= COPIES;
        (log, Some(Newest { block: record.encode(*number), lasting }))
    }
}

impl Log {
    /// The least number of records in a page: those that begin it.
    pub const MIN_SLOTS: usize = COPIES;

    fn new(slots: usize, page: usize, number: u32) -> Self {
        Self { slots, page, slot: 0, number, written: 0 }
    }

    /// What to do for a record; the block's own number does not matter. `None` if the block is
    /// not a record.
    /// Erase the page that is named, if any, and call [`Log::advance`] when that is done. Then
    /// write and read back; when it is right, call [`Log::written`]. Whatever becomes of the
    /// write, the next record has another place.
    #[must_use]
    pub fn entry(&self, block: &[u8; Journal::LEN]) -> Option<Entry> {
        let (_, record) = Record::decode(block).ok()?;
        let Self { page, slot, number, written, .. } = self.here();
        let erase = (slot == 0).then_some(page);
        let lasting = written.saturating_add(1) >= COPIES;
        Some(Entry { erase, page, slot, block: record.encode(number), lasting })
    }

    /// The place of [`Log::entry`] is used up.
    pub fn advance(&mut self) {
        *self = self.here();
        self.slot = self.slot.saturating_add(1);
        self.number = self.number.wrapping_add(1);
    }

    /// The last place reads as it was to be written.
    pub fn written(&mut self) {
        self.written = self.written.saturating_add(1);
    }

    /// Behind a page the other one begins; but the same again, when it holds too little to go
    /// without the other.
    fn here(&self) -> Self {
        if self.slot < self.slots {
            return self.clone();
        }
        let other = usize::from(self.page == 0);
        let page = if self.written < COPIES { self.page } else { other };
        Self::new(self.slots, page, self.number)
    }
}
