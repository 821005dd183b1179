//! A NOR flash chip in memory. It holds callers to the rules, counts what it does, takes its time
//! and can lose power in the middle of any operation.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use embassy_time::Timer;
use embedded_storage_async::nor_flash::{self, ErrorType, NorFlashError, NorFlashErrorKind};
use ota_proto::Rng;

/// Units in bytes, and how long an image is that fits a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    pub name: &'static str,
    pub erase: usize,
    pub write: usize,
    pub read: usize,
    /// Pages of the active partition.
    pub pages: usize,
    pub image: usize,
}

impl Geometry {
    pub const DEFAULT: Self = Self::new("the tests' own", [4_096, 8, 1], 16, 30_011);

    pub const ALL: [Self; 10] = [
        Self::DEFAULT,
        Self::new("STM32F4", [16_384, 4, 1], 2, 20_003),
        Self::new("STM32H5", [8_192, 16, 16], 3, 20_003),
        Self::new("STM32H7", [131_072, 32, 1], 1, 40_009),
        Self::new("STM32L0", [128, 4, 1], 24, 3_001),
        Self::new("STM32L4", [2_048, 8, 1], 6, 9_001),
        Self::new("nRF52", [4_096, 4, 1], 4, 9_001),
        Self::new("nRF52, QSPI", [4_096, 4, 4], 4, 9_001),
        Self::new("ESP32, encrypted", [4_096, 16, 16], 4, 9_001),
        Self::new("RP2040, SPI NOR", [4_096, 1, 1], 4, 9_001),
    ];

    const fn new(name: &'static str, units: [usize; 3], pages: usize, image: usize) -> Self {
        let [erase, write, read] = units;
        Self { name, erase, write, read, pages, image }
    }

    pub const fn active(&self) -> Range<usize> {
        0..self.pages * self.erase
    }

    pub const fn dfu(&self) -> Range<usize> {
        let from = self.active().end;
        from..from + (self.pages + 1) * self.erase
    }

    pub const fn state(&self) -> Range<usize> {
        let from = self.dfu().end;
        let units = 2 + 4 * self.pages;
        from..from + (units * self.write).next_multiple_of(self.erase)
    }

    /// Two pages of at least 5 records each.
    pub const fn journal(&self) -> Range<usize> {
        let from = self.state().end;
        from..from + 2 * 960_usize.next_multiple_of(self.erase)
    }
}

pub const PAGE: usize = Geometry::DEFAULT.erase;
pub const ACTIVE: Range<usize> = Geometry::DEFAULT.active();
pub const DFU: Range<usize> = Geometry::DEFAULT.dfu();
pub const STATE: Range<usize> = Geometry::DEFAULT.state();
pub const JOURNAL: Range<usize> = Geometry::DEFAULT.journal();

/// What erased bytes read as.
pub const ERASED: u8 = if cfg!(feature = "flash-erase-zero") { 0x00 } else { 0xff };

/// What became of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// It was erased, and not touched since.
    Blank,
    Written,
    /// A cut has met it: it reads differently each time.
    Wavering,
    /// A cut has met it: the code that corrects errors finds too many of them.
    Unreadable,
}

struct Cells {
    geometry: Geometry,
    bytes: Vec<u8>,
    words: Vec<Word>,
    /// How often each page was erased.
    erases: Vec<u32>,
    /// Operations so far: erases of a page, and writes.
    operations: u64,
    /// Power goes in this operation.
    cut: Option<u64>,
    dead: bool,
    /// In the next read of this byte of the chip one bit is wrong.
    wrong: Option<usize>,
    rng: Rng,
    broken: Vec<String>,
}

/// A chip; copies are the same chip.
#[derive(Clone)]
pub struct Chip(Rc<RefCell<Cells>>);

/// Power is gone, or a word cannot be read.
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
        Self::of(Geometry::DEFAULT, active, seed)
    }

    pub fn of(geometry: Geometry, active: &[u8], seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let size = geometry.journal().end;
        let mut bytes = vec![0; size.next_multiple_of(8)];
        bytes.chunks_exact_mut(8).for_each(|word| {
            word.copy_from_slice(&rng.next_u64().to_le_bytes());
        });
        bytes[..active.len()].copy_from_slice(active);
        // embassy-boot wants its state blank or set.
        bytes[geometry.state()].fill(ERASED);
        let mut words = vec![Word::Written; size / geometry.write];
        let state = geometry.state();
        words[state.start / geometry.write..state.end / geometry.write].fill(Word::Blank);
        Self(Rc::new(RefCell::new(Cells {
            geometry,
            bytes,
            words,
            erases: vec![0; size / geometry.erase],
            operations: 0,
            cut: None,
            dead: false,
            wrong: None,
            rng,
            broken: Vec::new(),
        })))
    }

    pub fn geometry(&self) -> Geometry {
        self.0.borrow().geometry
    }

    pub fn region(&self, range: Range<usize>) -> Region {
        self.part(range)
    }

    /// With the units of the chip.
    pub fn part<const E: usize, const W: usize, const R: usize>(
        &self,
        range: Range<usize>,
    ) -> Part<E, W, R> {
        let Geometry { erase, write, read, .. } = self.geometry();
        assert_eq!((E, W, R), (erase, write, read));
        Part { chip: self.clone(), range }
    }

    pub fn read(&self, range: Range<usize>) -> Vec<u8> {
        self.0.borrow().bytes[range].to_vec()
    }

    /// These bytes are so, whatever the rules.
    pub fn set(&self, range: Range<usize>, value: u8) {
        self.0.borrow_mut().bytes[range].fill(value);
    }

    pub fn operations(&self) -> u64 {
        self.0.borrow().operations
    }

    /// How often each page of a region was erased.
    pub fn erases(&self, range: Range<usize>) -> Vec<u32> {
        let cells = self.0.borrow();
        let page = cells.geometry.erase;
        cells.erases[range.start / page..range.end / page].to_vec()
    }

    /// Power goes in the operation with this number.
    pub fn cut_at(&self, operation: u64) {
        self.0.borrow_mut().cut = Some(operation);
    }

    /// One bit of this byte is wrong when it is read the next time.
    pub fn misread(&self, at: usize) {
        self.0.borrow_mut().wrong = Some(at);
    }

    /// Power is going to go.
    pub fn will_be_cut(&self) -> bool {
        let cells = self.0.borrow();
        cells.cut.is_some_and(|cut| cut > cells.operations)
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

    /// embassy-boot reads its own state as it stands: what wavers there is not ours to mend.
    fn doubt(&mut self, at: usize) -> Word {
        if self.geometry.state().contains(&at) {
            return Word::Written;
        }
        match self.rng.below(3) {
            0 => Word::Written,
            1 => Word::Wavering,
            _ => Word::Unreadable,
        }
    }

    fn erase(&mut self, range: Range<usize>) -> Result<(), Dead> {
        let Geometry { erase: page, write: word, .. } = self.geometry;
        for at in range.step_by(page) {
            let done = self.begin(page)?;
            self.erases[at / page] += 1;
            let words = at / word..(at + page) / word;
            if self.dead {
                // A part of it is done, or all of it is in between. It must be erased again.
                let doubt = self.doubt(at);
                self.words[words].fill(doubt);
                if doubt == Word::Written {
                    self.bytes[at..at + done].fill(ERASED);
                }
            } else {
                self.bytes[at..at + page].fill(ERASED);
                self.words[words].fill(Word::Blank);
            }
            self.end()?;
        }
        Ok(())
    }

    fn write(&mut self, at: usize, data: &[u8]) -> Result<(), Dead> {
        let word = self.geometry.write;
        let done = self.begin(data.len())?;
        let words = at / word..(at + data.len()) / word;
        // embassy-boot writes its mark over what a cut write of it left: that only clears bits, or
        // only sets them.
        let over = |(old, new): (&u8, &u8)| match ERASED {
            0 => old | new == *new,
            _ => old & new == *new,
        };
        let same_way = self.bytes[at..at + data.len()].iter().zip(data).all(over);
        let loader = self.geometry.state().contains(&at) && same_way;
        if !loader && !self.words[words.clone()].iter().all(|word| *word == Word::Blank) {
            self.broken.push(format!("{} bytes at {at} are not erased", data.len()));
        }
        self.words[words.clone()].fill(Word::Written);
        self.bytes[at..at + done].copy_from_slice(&data[..done]);
        if self.dead {
            // The words behind it were not reached, but must not be written either. The last one
            // may be in between; on some flash all of them are, which are written at once.
            let doubt = self.doubt(at);
            let first = if self.rng.below(2) == 0 { words.start } else { at / word + done / word };
            self.words[first.min(words.end - 1)..words.end].fill(doubt);
            if doubt == Word::Wavering {
                self.bytes[at..at + data.len()].copy_from_slice(data);
            }
        }
        self.end()
    }

    fn read(&mut self, at: usize, bytes: &mut [u8]) -> Result<(), Dead> {
        self.end()?;
        let range = at..at + bytes.len();
        bytes.copy_from_slice(&self.bytes[range.clone()]);
        if let Some(wrong) = self.wrong.take_if(|wrong| range.contains(wrong)) {
            bytes[wrong - at] ^= 0x10;
        }
        let word = self.geometry.write;
        for (offset, byte) in bytes.iter_mut().enumerate() {
            match self.words[(at + offset) / word] {
                Word::Blank | Word::Written => {}
                Word::Wavering if self.rng.below(2) == 0 => *byte = ERASED,
                Word::Wavering => {}
                Word::Unreadable => return Err(Dead),
            }
        }
        Ok(())
    }
}

/// A part of the chip, as if it were one of its own.
#[derive(Clone)]
pub struct Part<const E: usize, const W: usize, const R: usize> {
    chip: Chip,
    range: Range<usize>,
}

pub type Region = Part<{ Geometry::DEFAULT.erase }, { Geometry::DEFAULT.write }, 1>;

impl<const E: usize, const W: usize, const R: usize> Part<E, W, R> {
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
        let at = self.place(at, bytes.len(), R);
        self.chip.0.borrow_mut().read(at, bytes)
    }
}

impl<const E: usize, const W: usize, const R: usize> ErrorType for Part<E, W, R> {
    type Error = Dead;
}

impl<const E: usize, const W: usize, const R: usize> nor_flash::ReadNorFlash for Part<E, W, R> {
    const READ_SIZE: usize = R;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Dead> {
        self.read_now(at, bytes)
    }

    fn capacity(&self) -> usize {
        self.range.len()
    }
}

/// An erase takes 20 ms, a write 10 µs for 8 bytes.
impl<const E: usize, const W: usize, const R: usize> nor_flash::NorFlash for Part<E, W, R> {
    const WRITE_SIZE: usize = W;
    const ERASE_SIZE: usize = E;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Dead> {
        Timer::after_millis(20).await;
        let at = self.place(from, (to - from) as usize, E);
        self.chip.0.borrow_mut().erase(at..at + (to - from) as usize)
    }

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Dead> {
        Timer::after_micros(10 * (bytes.len() / 8) as u64).await;
        let at = self.place(at, bytes.len(), W);
        self.chip.0.borrow_mut().write(at, bytes)
    }
}

/// What the boot loader sees.
pub mod blocking {
    use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};

    use super::{Dead, Part};

    impl<const E: usize, const W: usize, const R: usize> ReadNorFlash for Part<E, W, R> {
        const READ_SIZE: usize = R;

        fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Dead> {
            self.read_now(at, bytes)
        }

        fn capacity(&self) -> usize {
            self.range.len()
        }
    }

    impl<const E: usize, const W: usize, const R: usize> NorFlash for Part<E, W, R> {
        const WRITE_SIZE: usize = W;
        const ERASE_SIZE: usize = E;

        fn erase(&mut self, from: u32, to: u32) -> Result<(), Dead> {
            let at = self.place(from, (to - from) as usize, E);
            self.chip.0.borrow_mut().erase(at..at + (to - from) as usize)
        }

        fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Dead> {
            let at = self.place(at, bytes.len(), W);
            self.chip.0.borrow_mut().write(at, bytes)
        }
    }
}
