//! From one program to another.

use core::ops::Range;

use cortex_m::peripheral::SCB;

use crate::{layout, uart};

/// Starts the program whose vector table is at the front of this part of the flash.
pub fn start(program: Range<u32>) -> ! {
    let table = (layout::FLASH + program.start as usize) as *const u32;
    // SAFETY: a vector table begins with two words, and the part is longer than that.
    let (stack, entry) = unsafe { (table.read(), table.add(1).read()) };
    let inside = |range: Range<usize>, word: u32| range.contains(&(word as usize));
    let code = layout::FLASH + program.start as usize..layout::FLASH + program.end as usize;
    if !inside(code, entry) || !inside(0x2000_0004..0x2040_0001, stack) {
        uart::write(b"loader: no program there\n");
        loop {
            cortex_m::asm::wfi();
        }
    }
    // SAFETY: no interrupt is on, and nobody else has the processor's registers; the two words
    // are a stack and an entry, as was just checked.
    unsafe {
        cortex_m::Peripherals::steal().SCB.vtor.write(table as u32);
        cortex_m::asm::bootload(table)
    }
}

/// Starts again from the loader. What the flash holds stays.
pub fn reset() -> ! {
    SCB::sys_reset()
}
