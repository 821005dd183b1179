//! The file of the flash: the host makes it, the board writes it, and it survives power cuts.
//!
//! The same numbers are in `examples/embassy-mcu/src/layout.rs` and `bench.rs`.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Where the flash is mapped.
const BASE: u32 = 0x2100_0000;
/// Bytes of the file: the board's PSRAM.
const LENGTH: usize = 16 << 20;
const ERASE: usize = 4_096;
const BENCH: Range<usize> = 0..0x2000;
const FACTORY: usize = 0x2000;
const JOURNAL: Range<usize> = 0x4000..0x6000;
const STATE: Range<usize> = 0x8000..0xC000;
const ACTIVE: Range<usize> = 0x1_0000..0x6_0000;
const DFU: Range<usize> = 0x6_0000..0xB_1000;

/// Words of the bench.
const CUT: usize = 0;
const SEED: usize = 3;
const BUSY: usize = 4;
const ERASES: usize = 16;
const BLOCKS: usize = DFU.end / ERASE;

/// The page with the small board's factory data: `src/lm3s.rs`.
pub(super) const SMALL_PAGE: u32 = 0x3_fc00;
const SMALL_PAGE_LENGTH: usize = 1_024;

/// Makes the file of that page.
pub(super) fn small_page(path: PathBuf, factory: &str) -> Result<PathBuf, String> {
    if factory.len() > SMALL_PAGE_LENGTH {
        return Err(format!("{} bytes of the factory's do not fit", factory.len()));
    }
    let mut bytes = factory.as_bytes().to_vec();
    bytes.resize(SMALL_PAGE_LENGTH, 0xff);
    fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(path)
}

/// The flash of one board.
pub(super) struct Flash(PathBuf);

/// Most and sum of the erases of a part's blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Wear {
    pub(super) most: u32,
    pub(super) sum: u32,
}

impl Flash {
    /// Makes the flash of a new board, with this firmware in the active partition.
    pub(super) fn new(path: PathBuf, factory: &str, firmware: &[u8]) -> Result<Self, String> {
        if firmware.len() > ACTIVE.len() || factory.len() > ERASE {
            return Err(format!("{} bytes of firmware do not fit", firmware.len()));
        }
        let mut bytes = vec![0xff; LENGTH];
        bytes[BENCH].fill(0);
        bytes[FACTORY..FACTORY + factory.len()].copy_from_slice(factory.as_bytes());
        bytes[ACTIVE.start..ACTIVE.start + firmware.len()].copy_from_slice(firmware);
        fs::write(&path, bytes).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The address to which a firmware must be linked.
    pub(super) fn firmware_address() -> u32 {
        BASE + ACTIVE.start as u32
    }

    fn bytes(&self) -> Result<Vec<u8>, String> {
        fs::read(&self.0).map_err(|error| format!("{}: {error}", self.0.display()))
    }

    /// Whether the active partition holds this firmware.
    pub(super) fn runs(&self, firmware: &[u8]) -> Result<bool, String> {
        Ok(self.bytes()?[ACTIVE].starts_with(firmware))
    }

    fn word(bytes: &[u8], index: usize) -> u32 {
        let at = BENCH.start + index * 4;
        bytes[at..at + 4].try_into().map_or(0, u32::from_le_bytes)
    }

    /// Cuts the power in the middle of the operation with this number from now; 0 is never.
    pub(super) fn cut_after(&self, operations: u32, seed: u32) -> Result<(), String> {
        self.set(SEED, seed)?;
        self.set(CUT, operations)
    }

    /// How long the erase of a block takes.
    pub(super) fn set_erase_time(&self, micros: u32) -> Result<(), String> {
        self.set(BUSY, micros)
    }

    fn set(&self, word: usize, value: u32) -> Result<(), String> {
        use std::os::unix::fs::FileExt as _;
        let file = fs::OpenOptions::new().write(true).open(&self.0);
        let at = (BENCH.start + word * 4) as u64;
        let written = file.and_then(|file| file.write_all_at(&value.to_le_bytes(), at));
        written.map_err(|error| format!("{}: {error}", self.0.display()))
    }

    /// The erases of slot, journal and boot loader state, by the firmware and by the boot loader.
    pub(super) fn wear(&self) -> Result<[[Wear; 3]; 2], String> {
        let bytes = self.bytes()?;
        Ok([0, 1].map(|program| {
            [DFU, JOURNAL, STATE].map(|part| {
                let blocks = part.start / ERASE..part.end / ERASE;
                let erases = blocks.map(|b| Self::word(&bytes, ERASES + program * BLOCKS + b));
                erases.fold(Wear::default(), |wear, erases| Wear {
                    most: wear.most.max(erases),
                    sum: wear.sum + erases,
                })
            })
        }))
    }
}
