//! The test bench beside the flash: a power supply that it can cut, and its counters.
//!
//! The words lie in memory that the host shares, so that it can set and read them.

use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

use crate::layout;
use crate::mmio::Register;

/// The power is cut in the middle of this operation from now; 0 is never.
const CUT: usize = 0;
/// Operations of the flash so far.
const OPERATIONS: usize = 1;
/// Starts so far.
const BOOTS: usize = 2;
/// The seed for the shape of a cut.
const SEED: usize = 3;
/// Microseconds that the erase of a block takes.
const BUSY: usize = 4;
/// One counter of erases for each block and program.
const ERASES: usize = 16;

const BLOCKS: usize = layout::END as usize / layout::ERASE;
const _: () = assert!((ERASES + 2 * BLOCKS) * 4 <= layout::BENCH.end as usize);

/// Who erases: 0 is the firmware, 1 the loader.
static PROGRAM: AtomicUsize = AtomicUsize::new(0);

/// From now on the loader erases.
pub fn this_is_the_loader() {
    PROGRAM.store(1, Ordering::Relaxed);
}

fn word(index: usize) -> Register {
    // SAFETY: `index` is one of the constants, or below `ERASES + 2 * BLOCKS`: within the bench's
    // part of the shared memory, which nothing else uses.
    unsafe { Register::at(layout::FLASH + layout::BENCH.start as usize + index * 4) }
}

fn count(index: usize) -> u32 {
    let next = word(index).read().wrapping_add(1);
    word(index).write(next);
    next
}

/// Counts a start; returns its number.
pub fn boot() -> u32 {
    count(BOOTS)
}

/// Counts an operation; returns a random number if the power is cut in the middle of it.
pub(crate) fn operation() -> Option<u32> {
    count(OPERATIONS);
    let left = word(CUT).read();
    if left == 0 {
        return None;
    }
    word(CUT).write(left - 1);
    (left == 1).then(|| word(SEED).read())
}

pub(crate) fn erased(blocks: Range<usize>) {
    let first = ERASES + PROGRAM.load(Ordering::Relaxed) * BLOCKS;
    for block in blocks.take_while(|block| *block < BLOCKS) {
        count(first + block);
    }
}

/// Lets the time of an erase pass.
pub(crate) fn busy() {
    crate::clock::spin(word(BUSY).read());
}

/// Ends the power.
pub(crate) fn power_is_gone() -> ! {
    cortex_m::interrupt::disable();
    crate::uart::write(b"the power is gone\n");
    loop {
        cortex_m::asm::wfi();
    }
}
