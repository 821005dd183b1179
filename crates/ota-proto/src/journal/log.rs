//! The journal on NOR flash: records appended in two pages.
//!
//! A place is never programmed twice between two erases, even if it looks blank after a power cut:
//! flash with an error-correcting code forbids it. So the first record of a boot goes to the start
//! of a page that was erased in the same boot, and every write, successful or not, is followed by
//! one to the next place.
//!
//! A place whose write was interrupted may read as written, torn or blank, and differently each
//! time. So a page begins with four copies of a record, and the record is lasting after the fourth.
//! A page with fewer than three valid copies may be one whose first write was interrupted: the
//! other page still holds the record that was acted on, and this page is started again. With three
//! valid copies, two are certainly there, and the other page may be erased.
//!
//! Each place has its own sequence number, so a later record outranks every earlier try, whatever
//! that reads as.

use super::{Journal, Record, is_after, is_blank};

/// Copies of a record at the start of a page.
const COPIES: usize = 4;
/// With this many valid ones, at least two remain after any power cut.
const SURE: usize = 3;

/// Collects what the places of both pages contain; [`Scan::finish`] evaluates it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scan {
    places: usize,
    pages: [Page; 2],
}

/// The content of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Page {
    newest: Option<Place>,
    /// Valid records.
    valid: usize,
    /// Places from the start that are no longer blank.
    used: usize,
}

/// A valid record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    place: usize,
    number: u32,
    record: Record,
    /// Whether the previous place contains the same record.
    twin: bool,
}

/// The newest record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Newest {
    /// The record as a block.
    pub block: [u8; Journal::LEN],
    /// Whether every later boot reads this record or a newer one. Otherwise its write may have been
    /// cut: append it again, until [`Entry::lasting`], before you rely on it.
    pub lasting: bool,
}

/// The position of the next record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Log {
    places: usize,
    /// The next place: a page, 0 or 1, and an index, which may be beyond its last one.
    page: usize,
    place: usize,
    /// Its sequence number.
    number: u32,
    /// Records that were written to this page and read back.
    written: usize,
}

/// A write for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The page to erase first, 0 or 1.
    pub erase: Option<usize>,
    /// The page to write to, 0 or 1.
    pub page: usize,
    /// The place in that page, in records from its start.
    pub place: usize,
    /// The record with the sequence number of the place.
    pub block: [u8; Journal::LEN],
    /// Whether this write makes the record lasting; otherwise append it again.
    pub lasting: bool,
}

impl Scan {
    /// Two pages of this many records each, at least [`Log::MIN_PLACES`].
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self { places: places.max(Log::MIN_PLACES), pages: [Page::default(), Page::default()] }
    }

    /// Adds one place: page 0 or 1, its index, and its content; `None` if it cannot be read. Read a
    /// place again whose content is not [believed](Journal::is_believed). Add all places, those of
    /// a page in order. Blank means all ones or all zeros: some flash erases to zeros.
    pub fn take(&mut self, page: usize, place: usize, block: Option<&[u8; Journal::LEN]>) {
        let Some(page) = self.pages.get_mut(page).filter(|_| place < self.places) else { return };
        if block.is_some_and(is_blank) {
            return;
        }
        page.used = page.used.max(place.saturating_add(1));
        let Some(Ok((number, record))) = block.map(Record::decode) else { return };
        page.valid = page.valid.saturating_add(1);
        if page.newest.as_ref().is_none_or(|newest| is_after(number, newest.number)) {
            let twin = page.newest.as_ref().is_some_and(|before| {
                before.place.checked_add(1) == Some(place) && before.record == record
            });
            page.newest = Some(Place { place, number, record, twin });
        }
    }

    /// Returns the position of the next record, and the newest record, if any.
    #[must_use]
    pub fn finish(self) -> (Log, Option<Newest>) {
        let places = self.places;
        let [first, second] = &self.pages;
        let in_second = match (&first.newest, &second.newest) {
            (Some(first), Some(second)) => is_after(second.number, first.number),
            (_, second) => second.is_some(),
        };
        let (page, other) = if in_second { (second, first) } else { (first, second) };
        let Some(newest) = &page.newest else { return (Log::new(places, 0, 0), None) };
        let begun =
            u32::try_from(newest.place).map_or(0, |place| newest.number.wrapping_sub(place));
        // The page to erase, and the number of its first place.
        let anew = page.valid < SURE && other.newest.is_some();
        let length = if anew { 0 } else { u32::try_from(places).unwrap_or(u32::MAX) };
        let log = Log::new(places, usize::from(in_second == anew), begun.wrapping_add(length));
        // A single record may be half written; the previous one is in the other page.
        let source = if page.valid == 1 { other.newest.as_ref() } else { None };
        let Place { number, record, .. } = source.unwrap_or(newest);
        // Only the twin can be half written.
        let last = newest.place.checked_add(1) == Some(page.used);
        let lasting = last && newest.twin && page.valid >= COPIES;
        (log, Some(Newest { block: record.encode(*number), lasting }))
    }
}

impl Log {
    /// The least number of records in a page: the copies at its start.
    pub const MIN_PLACES: usize = COPIES;

    fn new(places: usize, page: usize, number: u32) -> Self {
        Self { places, page, place: 0, number, written: 0 }
    }

    /// What to do for a record; the block's own number does not matter. `None` if the block is
    /// not a record.
    /// Erase the page that is named, if any, and call [`Log::advance`] when that is done. Then
    /// write and read back; when it is right, call [`Log::written`]. Whatever becomes of the
    /// write, the next record has another place.
    #[must_use]
    pub fn entry(&self, block: &[u8; Journal::LEN]) -> Option<Entry> {
        let (_, record) = Record::decode(block).ok()?;
        let Self { page, place, number, written, .. } = self.here();
        let erase = (place == 0).then_some(page);
        let lasting = written.saturating_add(1) >= COPIES;
        Some(Entry { erase, page, place, block: record.encode(number), lasting })
    }

    /// The place of [`Log::entry`] is used.
    pub fn advance(&mut self) {
        *self = self.here();
        self.place = self.place.saturating_add(1);
        self.number = self.number.wrapping_add(1);
    }

    /// The last write was read back correctly.
    pub fn written(&mut self) {
        self.written = self.written.saturating_add(1);
    }

    /// After a page comes the other one; but the same again if it holds too few records to be used
    /// alone.
    fn here(&self) -> Self {
        if self.place < self.places {
            return self.clone();
        }
        let other = usize::from(self.page == 0);
        let page = if self.written < COPIES { self.page } else { other };
        Self::new(self.places, page, self.number)
    }
}
