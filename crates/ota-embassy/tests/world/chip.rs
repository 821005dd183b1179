//! A NOR flash chip in memory. It holds callers to the rules, counts what it does, takes its time
//! and can lose power in the middle of any operation.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use embassy_time::Timer;
use embedded_storage_async::nor_flash::{self, ErrorType, NorFlashError, NorFlashErrorKind};
use ota_proto::Rng;

pub const PAGE: usize = 4_096;
pub const WORD: usize = 8;

/// Where what lies.
pub const ACTIVE: Range<usize> = 0..16 * PAGE;
pub const DFU: Range<usize> = 16 * PAGE..33 * PAGE;
pub const STATE: Range<usize> = 33 * PAGE..34 * PAGE;
pub const JOURNAL: Range<usize> = 34 * PAGE..36 * PAGE;
const SIZE: usize = 36 * PAGE;

struct Cells {
    bytes: Vec<u8>,
    /// Words that were not written since they were erased.
    blank: Vec<bool>,
    /// How often each page was erased.
    erases: Vec<u32>,
    /// Operations so far: erases of a page, and writes.
    operations: u64,
    /// Power goes in this operation.
    cut: Option<u64>,
    dead: bool,
    rng: Rng,
    broken: Vec<String>,
}

/// A chip; copies are the same chip.
#[derive(Clone)]
pub struct Chip(Rc<RefCell<Cells>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dead;

impl NorFlashError for Dead {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

impl Chip {
    /// A chip that holds garbage but for an image to run.
    pub fn new(active: &[u8], seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut bytes: Vec<u8> = (0..SIZE).map(|_| rng.next_u64() as u8).collect();
        bytes[..active.len()].copy_from_slice(active);
        // embassy-boot wants its state blank or set.
        bytes[STATE].fill(0xff);
        let mut blank = vec![false; SIZE / WORD];
        blank[STATE.start / WORD..STATE.end / WORD].fill(true);
        Self(Rc::new(RefCell::new(Cells {
            bytes,
            blank,
            erases: vec![0; SIZE / PAGE],
            operations: 0,
            cut: None,
            dead: false,
            rng,
            broken: Vec::new(),
        })))
    }

    pub fn region(&self, range: Range<usize>) -> Region {
        Region { chip: self.clone(), range }
    }

    pub fn read(&self, range: Range<usize>) -> Vec<u8> {
        self.0.borrow().bytes[range].to_vec()
    }

    pub fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    /// How often each page of a region was erased.
    pub fn erases(&self, range: Range<usize>) -> Vec<u32> {
        self.0.borrow().erases[range.start / PAGE..range.end / PAGE].to_vec()
    }

    /// Power goes in the operation with this number.
    pub fn cut_at(&self, operation: u64) {
        self.0.borrow_mut().cut = Some(operation);
    }

    pub fn is_dead(&self) -> bool {
        self.0.borrow().dead
    }

    /// Power is back.
    pub fn revive(&self) {
        let mut cells = self.0.borrow_mut();
        cells.dead = false;
        cells.cut = cells.cut.filter(|cut| *cut > cells.operations);
    }

    /// The rules that were broken.
    pub fn broken(&self) -> Vec<String> {
        self.0.borrow().broken.clone()
    }
}

impl Cells {
    /// How much of an operation of this length is done before power goes.
    fn begin(&mut self, len: usize) -> Result<usize, Dead> {
        if self.dead {
            return Err(Dead);
        }
        self.operations += 1;
        if self.cut == Some(self.operations) {
            self.dead = true;
            return Ok(self.rng.below(len as u64 + 1) as usize);
        }
        Ok(len)
    }

    fn end(&self) -> Result<(), Dead> {
        if self.dead { Err(Dead) } else { Ok(()) }
    }

    fn erase(&mut self, range: Range<usize>) -> Result<(), Dead> {
        for page in range.step_by(PAGE) {
            let done = self.begin(PAGE)?;
            self.erases[page / PAGE] += 1;
            self.bytes[page..page + done].fill(0xff);
            let words = page / WORD..(page + PAGE) / WORD;
            // What a cut erase leaves must be erased again.
            self.blank[words].fill(done == PAGE && !self.dead);
            self.end()?;
        }
        Ok(())
    }

    fn write(&mut self, at: usize, data: &[u8]) -> Result<(), Dead> {
        let done = self.begin(data.len())?;
        let words = at / WORD..(at + data.len()) / WORD;
        // embassy-boot writes zeros over what a cut write of zeros left: that only clears bits.
        let clears =
            self.bytes[at..at + data.len()].iter().zip(data).all(|(old, new)| old & new == *new);
        let loader = STATE.contains(&at) && clears;
        if !loader && !self.blank[words.clone()].iter().all(|blank| *blank) {
            self.broken.push(format!("{} bytes at {at} are not erased", data.len()));
        }
        self.blank[words].fill(false);
        self.bytes[at..at + done].copy_from_slice(&data[..done]);
        self.end()
    }
}

/// A part of the chip, as if it were one of its own.
#[derive(Clone)]
pub struct Region {
    chip: Chip,
    range: Range<usize>,
}

impl Region {
    fn place(&self, at: u32, len: usize, unit: usize) -> usize {
        let at = at as usize;
        let fits = at.is_multiple_of(unit) && len.is_multiple_of(unit);
        if !fits || at + len > self.range.len() {
            let what = format!("{len} bytes at {at} of {:?}, unit {unit}", self.range);
            self.chip.0.borrow_mut().broken.push(what);
        }
        self.range.start + at
    }

    fn read_now(&self, at: u32, bytes: &mut [u8]) -> Result<(), Dead> {
        let at = self.place(at, bytes.len(), 1);
        let cells = self.chip.0.borrow();
        bytes.copy_from_slice(&cells.bytes[at..at + bytes.len()]);
        cells.end()
    }
}

impl ErrorType for Region {
    type Error = Dead;
}

impl nor_flash::ReadNorFlash for Region {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Dead> {
        self.read_now(at, bytes)
    }

    fn capacity(&self) -> usize {
        self.range.len()
    }
}

/// An erase takes 20 ms, a write 10 µs for 8 bytes.
impl nor_flash::NorFlash for Region {
    const WRITE_SIZE: usize = WORD;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Dead> {
        Timer::after_millis(20).await;
        let at = self.place(from, (to - from) as usize, PAGE);
        self.chip.0.borrow_mut().erase(at..at + (to - from) as usize)
    }

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Dead> {
        Timer::after_micros(10 * (bytes.len() / WORD) as u64).await;
        let at = self.place(at, bytes.len(), WORD);
        self.chip.0.borrow_mut().write(at, bytes)
    }
}

/// What the boot loader sees.
pub mod blocking {
    use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};

    use super::{Dead, PAGE, Region, WORD};

    impl ReadNorFlash for Region {
        const READ_SIZE: usize = 1;

        fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Dead> {
            self.read_now(at, bytes)
        }

        fn capacity(&self) -> usize {
            self.range.len()
        }
    }

    impl NorFlash for Region {
        const WRITE_SIZE: usize = WORD;
        const ERASE_SIZE: usize = PAGE;

        fn erase(&mut self, from: u32, to: u32) -> Result<(), Dead> {
            let at = self.place(from, (to - from) as usize, PAGE);
            self.chip.0.borrow_mut().erase(at..at + (to - from) as usize)
        }

        fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Dead> {
            let at = self.place(at, bytes.len(), WORD);
            self.chip.0.borrow_mut().write(at, bytes)
        }
    }
}
