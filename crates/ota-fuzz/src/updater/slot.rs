//! The slot that the update is written to, with what a cut of the power leaves of it.

use std::ops::Range;

use ota_proto::{Digester, Md5, SlotInfo};

pub(crate) const INFO: SlotInfo = SlotInfo { capacity: 1_024, erase: 64, write: 1 };

/// The versions that the cloud offers.
pub(super) const VERSIONS: [&str; 4] = ["1.0.0", "2.0.0", "3.0.0", "4.0.0"];
/// The size of each version's image in bytes.
pub(super) const SIZES: [u64; 4] = [64, 300, 1_024, 1];

/// A byte of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// Whatever was there before: it can be read, but not written.
    Old,
    Erased,
    Written(u8),
    Durable(u8),
}

/// The slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot(Vec<Cell>);

impl Slot {
    pub(crate) fn new() -> Self {
        Self(vec![Cell::Old; usize::try_from(INFO.capacity).unwrap()])
    }

    fn range(range: &Range<u64>) -> Range<usize> {
        usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()
    }

    /// An erase begins: what was there is gone from now on.
    pub(crate) fn begin_erase(&mut self, range: &Range<u64>) {
        assert!(range.start < range.end && range.end <= INFO.capacity, "erase of {range:?}");
        let unit = u64::from(INFO.erase);
        assert!(range.start % unit == 0, "{range:?} is not on an erase unit");
        assert!(range.end % unit == 0 || range.end == INFO.capacity, "{range:?}");
        assert!(range.end - range.start <= unit, "{range:?} is a long erase");
        self.0[Self::range(range)].fill(Cell::Old);
    }

    pub(crate) fn end_erase(&mut self, range: &Range<u64>) {
        self.0[Self::range(range)].fill(Cell::Erased);
    }

    /// A write ends; when it failed, anything may be there.
    pub(crate) fn write(&mut self, at: u64, bytes: &[u8], good: bool) {
        let end = at + bytes.len() as u64;
        assert!(at / u64::from(INFO.erase) == (end - 1) / u64::from(INFO.erase), "over a unit");
        for (cell, byte) in self.0[Self::range(&(at..end))].iter_mut().zip(bytes) {
            assert_eq!(*cell, Cell::Erased, "written at {at} without an erase");
            *cell = if good { Cell::Written(*byte) } else { Cell::Old };
        }
    }

    pub(crate) fn sync(&mut self) {
        for cell in &mut self.0 {
            if let Cell::Written(byte) = *cell {
                *cell = Cell::Durable(byte);
            }
        }
    }

    /// Whether all of the first bytes would survive a cut.
    pub(crate) fn is_durable(&self, upto: u64) -> bool {
        self.0[Self::range(&(0..upto))].iter().all(|cell| matches!(cell, Cell::Durable(_)))
    }

    /// Whether all of the first bytes were written.
    pub(crate) fn is_written(&self, upto: u64) -> bool {
        let there = |cell: &Cell| matches!(cell, Cell::Written(_) | Cell::Durable(_));
        self.0[Self::range(&(0..upto))].iter().all(there)
    }

    /// The power is cut: what was not synced is anything.
    pub(crate) fn cut(&mut self) {
        for cell in &mut self.0 {
            if !matches!(cell, Cell::Durable(_)) {
                *cell = Cell::Old;
            }
        }
    }

    pub(crate) fn digest(&self, upto: u64) -> Md5 {
        let bytes = self.0[Self::range(&(0..upto))].iter().map(|cell| match *cell {
            Cell::Old => 0x55,
            Cell::Erased => 0xFF,
            Cell::Written(byte) | Cell::Durable(byte) => byte,
        });
        let mut digester = Digester::new();
        digester.update(&bytes.collect::<Vec<u8>>());
        digester.finish()
    }
}
