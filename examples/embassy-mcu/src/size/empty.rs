//! The size table's ground: start-up code, a heap, nothing else.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::vec::Vec;
use core::hint::black_box;

embassy_mcu::size_program!();

#[cortex_m_rt::entry]
fn main() -> ! {
    HEAP.start(&MEMORY);
    loop {
        black_box(Vec::from(black_box(b"")));
    }
}
