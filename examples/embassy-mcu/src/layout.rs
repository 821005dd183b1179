//! The layout of the 16 MiB that act as the flash.
//!
//! The same numbers are in `link/firmware/memory.x` and in `cargo xtask mcu`, which makes the
//! flash's file.

use core::ops::Range;

/// Where the flash is mapped.
pub const FLASH: usize = 0x2100_0000;
/// Bytes of one erase block.
pub const ERASE: usize = 4_096;
/// Bytes of one write.
pub const WRITE: usize = 8;

/// The data of the test bench ([`crate::bench`]).
pub const BENCH: Range<u32> = 0x0_0000..0x0_2000;
/// The factory data: the device's identity and its cloud's address.
pub const FACTORY: Range<u32> = 0x0_2000..0x0_3000;
/// The journal's two pages.
pub const JOURNAL: Range<u32> = 0x0_4000..0x0_6000;
/// The boot loader's state: a word for each 2,048 bytes of the active partition, and more.
pub const STATE: Range<u32> = 0x0_8000..0x0_C000;
/// The running firmware.
pub const ACTIVE: Range<u32> = 0x1_0000..0x6_0000;
/// The slot: one block longer than the active partition, because the loader swaps through it.
pub const DFU: Range<u32> = 0x6_0000..0xB_1000;
/// All of the above.
pub const END: u32 = DFU.end;
