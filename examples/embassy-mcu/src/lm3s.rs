//! The small board: QEMU's `lm3s6965evb`, with 256 KiB of flash and 64 KiB of memory.
//!
//! The emulator lets no program write to that flash, so slot and journal are in memory here.

use core::slice;

use cortex_m::peripheral::SYST;

use crate::mmio::Register;
use crate::uart::Port;
use crate::{clock, factory, uart};

// SAFETY: all are registers of the system control or of the first UART, by the chip's memory map;
// clocks and sending touch no memory.
const CLOCKS: [(Register, u32); 2] = unsafe {
    // The UART's; the pins', the MAC's and the PHY's.
    [(Register::at(0x400f_e104), 1), (Register::at(0x400f_e108), 1 | 1 << 28 | 1 << 30)]
};
// SAFETY: as above.
const PL011: Port = unsafe {
    Port { data: Register::at(0x4000_c000), state: Register::at(0x4000_c018), full: 1 << 5 }
};
// SAFETY: as above.
const CONTROL: Register = unsafe { Register::at(0x4000_c030) };
/// UART and sender on.
const SENDS: u32 = 1 << 8 | 1;

/// Cycles in a millisecond: the emulator starts the processor at 12.5 MHz.
const CYCLES: u32 = 12_500;
/// The flash's last page, which the program leaves to the factory.
const FACTORY: usize = 0x3_fc00;
const PAGE: usize = 1_024;

/// Starts clocks and console. The emulator needs neither pins nor a baud rate.
pub fn start() {
    for (register, bits) in CLOCKS {
        register.write(register.read() | bits);
    }
    CONTROL.write(SENDS);
    uart::switch_to(PL011);
}

/// Starts time.
pub fn start_clock(systick: SYST) {
    clock::start_counting(systick, CYCLES);
}

/// What the factory wrote, as [`factory::value`] is on the other board.
#[must_use]
pub fn factory(key: &str) -> Option<&'static str> {
    // SAFETY: the page is flash, and nothing writes to it.
    factory::find(unsafe { slice::from_raw_parts(FACTORY as *const u8, PAGE) }, key)
}
