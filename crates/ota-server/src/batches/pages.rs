//! The rows of a batch's devices: a piece of them in each.

use std::ops::Range;

use ota_cloud::batch::{Batch, Entry};
use ota_store::{Item, Kind, Read, StoreError};

use super::corrupt;

/// The rows of a batch that is not stored yet.
pub(crate) fn new_rows(batch: &mut Batch) -> Result<Vec<Item>, StoreError> {
    let pieces = batch.take_pieces().into_iter().enumerate();
    pieces.map(|(at, piece)| row(batch, at, &piece, 0)).collect()
}

fn row(batch: &Batch, at: usize, piece: &[Entry], rev: u64) -> Result<Item, StoreError> {
    let body = Batch::piece_to_bytes(piece);
    let body = body.map_err(|why| StoreError::Invalid { what: why.to_string() })?;
    Ok(Item { rev, ..Item::new(Kind::CAMPAIGN_DEVICES, batch.piece_id(at), body) })
}

/// Some devices of a batch, for changes.
pub(crate) struct Pages(Vec<Page>);

struct Page {
    at: usize,
    rev: u64,
    entries: Vec<Entry>,
    size: usize,
    is_changed: bool,
}

impl Pages {
    /// Reads the rows of the devices at these places of a batch.
    pub(crate) fn read(
        read: &dyn Read,
        batch: &Batch,
        range: Range<usize>,
    ) -> Result<Self, StoreError> {
        if range.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let last = range.end.saturating_sub(1) / Batch::PIECE;
        let pages = (range.start / Batch::PIECE..=last).map(|at| {
            let item = read.item(Kind::CAMPAIGN_DEVICES, &batch.piece_id(at))?;
            let item = item.ok_or_else(|| corrupt(&"a batch without its devices"))?;
            let entries = Batch::piece_from_bytes(&item.body).map_err(|why| corrupt(&why))?;
            let (rev, size) = (item.rev, item.body.len());
            Ok(Page { at, rev, entries, size, is_changed: false })
        });
        Ok(Self(pages.collect::<Result<_, _>>()?))
    }

    fn page(&self, index: usize) -> Option<usize> {
        self.0.iter().position(|page| page.at == index / Batch::PIECE)
    }

    /// The device at a place of the batch.
    pub(crate) fn get(&self, index: usize) -> Option<&Entry> {
        self.0.get(self.page(index)?)?.entries.get(index % Batch::PIECE)
    }

    /// The same, for a change.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        let at = self.page(index)?;
        let page = self.0.get_mut(at)?;
        page.is_changed = true;
        page.entries.get_mut(index % Batch::PIECE)
    }

    /// Adds a device behind the last one, in a row of its own if the last one is full.
    pub(crate) fn push(&mut self, index: usize, entry: Entry) {
        if self.page(index).is_none() {
            let at = index / Batch::PIECE;
            self.0.push(Page { at, rev: 0, entries: Vec::new(), size: 0, is_changed: true });
        }
        let Some(at) = self.page(index) else { return };
        if let Some(page) = self.0.get_mut(at) {
            page.is_changed = true;
            page.entries.push(entry);
        }
    }

    /// The size of the rows in bytes.
    pub(crate) fn size(&self) -> usize {
        self.0.iter().map(|page| page.size).fold(0, usize::saturating_add)
    }

    /// The place of a device of these.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.0.iter().find_map(|page| {
            let within = page.entries.iter().position(|entry| entry.name == name)?;
            Some(page.at.saturating_mul(Batch::PIECE).saturating_add(within))
        })
    }

    /// The rows that changed, to be committed.
    pub(crate) fn rows(&self, batch: &Batch) -> Result<Vec<Item>, StoreError> {
        let changed = self.0.iter().filter(|page| page.is_changed);
        changed.map(|page| row(batch, page.at, &page.entries, page.rev)).collect()
    }
}
