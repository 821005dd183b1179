//! A NOR flash chip in a file, and its layout.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use embedded_storage::nor_flash::{NorFlashError, NorFlashErrorKind};
use embedded_storage_async::nor_flash::{ErrorType, NorFlash, ReadNorFlash};

pub const PAGE: usize = 4_096;
/// The image that runs.
pub const ACTIVE: Range<usize> = 0..64 * PAGE;
/// The slot: a page longer, as embassy-boot requires.
pub const DFU: Range<usize> = 64 * PAGE..129 * PAGE;
pub const STATE: Range<usize> = 129 * PAGE..131 * PAGE;
pub const JOURNAL: Range<usize> = 131 * PAGE..133 * PAGE;
const SIZE: usize = 133 * PAGE;

/// A part of the chip. On a board it is `Partition` of embassy-embedded-hal.
#[derive(Clone)]
pub struct Region {
    file: Rc<RefCell<File>>,
    range: Range<usize>,
}

#[derive(Debug)]
pub struct Failed;

impl NorFlashError for Failed {
    fn kind(&self) -> NorFlashErrorKind {
        NorFlashErrorKind::Other
    }
}

/// Opens the chip. A new one contains this image in its active part and is otherwise blank.
pub fn open(path: &str, image: &[u8]) -> io::Result<impl Fn(Range<usize>) -> Region + use<>> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
    if file.metadata()?.len() != SIZE as u64 {
        file.write_all_at(&vec![0xff; SIZE], 0)?;
        file.write_all_at(image, 0)?;
        file.sync_all()?;
    }
    let file = Rc::new(RefCell::new(file));
    Ok(move |range| Region { file: file.clone(), range })
}

impl Region {
    fn at(&self, at: u32, len: usize) -> Result<u64, Failed> {
        let end = at as usize + len;
        (end <= self.range.len()).then_some((self.range.start + at as usize) as u64).ok_or(Failed)
    }

    fn read_now(&self, at: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        let at = self.at(at, bytes.len())?;
        self.file.borrow().read_exact_at(bytes, at).map_err(|_| Failed)
    }

    /// Like flash, a write only clears bits and is durable.
    fn write_now(&self, at: u32, bytes: &[u8]) -> Result<(), Failed> {
        let mut cells = vec![0; bytes.len()];
        self.read_now(at, &mut cells)?;
        cells.iter_mut().zip(bytes).for_each(|(cell, byte)| *cell &= byte);
        self.put(at, &cells)
    }

    fn put(&self, at: u32, bytes: &[u8]) -> Result<(), Failed> {
        let at = self.at(at, bytes.len())?;
        let file = self.file.borrow();
        file.write_all_at(bytes, at).and_then(|()| file.sync_data()).map_err(|_| Failed)
    }
}

impl ErrorType for Region {
    type Error = Failed;
}

impl ReadNorFlash for Region {
    const READ_SIZE: usize = 1;

    async fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Failed> {
        self.read_now(at, bytes)
    }

    fn capacity(&self) -> usize {
        self.range.len()
    }
}

impl NorFlash for Region {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = PAGE;

    async fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
        self.put(from, &vec![0xff; (to - from) as usize])
    }

    async fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Failed> {
        self.write_now(at, bytes)
    }
}

/// The interface for the boot loader.
mod blocking {
    use embedded_storage::nor_flash::{NorFlash, ReadNorFlash};

    use super::{Failed, PAGE, Region};

    impl ReadNorFlash for Region {
        const READ_SIZE: usize = 1;

        fn read(&mut self, at: u32, bytes: &mut [u8]) -> Result<(), Failed> {
            self.read_now(at, bytes)
        }

        fn capacity(&self) -> usize {
            self.range.len()
        }
    }

    impl NorFlash for Region {
        const WRITE_SIZE: usize = 8;
        const ERASE_SIZE: usize = PAGE;

        fn erase(&mut self, from: u32, to: u32) -> Result<(), Failed> {
            self.put(from, &vec![0xff; (to - from) as usize])
        }

        fn write(&mut self, at: u32, bytes: &[u8]) -> Result<(), Failed> {
            self.write_now(at, bytes)
        }
    }
}
