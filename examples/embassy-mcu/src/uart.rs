//! The console: a board's first UART, sending only.

use core::cell::Cell;
use core::fmt;

use critical_section::Mutex;

use crate::mmio::Register;

// SAFETY: all four are the UART's registers, by the board's memory map; sending touches no memory.
const CMSDK: Port =
    unsafe { Port { data: Register::at(0x4000_4000), state: Register::at(0x4000_4004), full: 1 } };
// SAFETY: as above.
const CTRL: Register = unsafe { Register::at(0x4000_4008) };
// SAFETY: as above.
const BAUD: Register = unsafe { Register::at(0x4000_4010) };

/// What is needed of a UART to send.
#[derive(Clone, Copy)]
pub(crate) struct Port {
    pub(crate) data: Register,
    pub(crate) state: Register,
    /// The bit of `state` that says that there is no room.
    pub(crate) full: u32,
}

static PORT: Mutex<Cell<Port>> = Mutex::new(Cell::new(CMSDK));

/// Switches the sender of `mps2-an385` on.
pub fn start() {
    BAUD.write(16);
    CTRL.write(1);
}

/// From here on the console is this one, which sends.
pub(crate) fn switch_to(port: Port) {
    critical_section::with(|cs| PORT.borrow(cs).set(port));
}

/// Sends bytes, waiting for room.
pub fn write(bytes: &[u8]) {
    let Port { data, state, full } = critical_section::with(|cs| PORT.borrow(cs).get());
    for byte in bytes {
        while state.read() & full != 0 {}
        data.write(u32::from(*byte));
    }
}

/// The console as a place to format to.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write(text.as_bytes());
        Ok(())
    }
}

/// Prints a line on the console.
#[macro_export]
macro_rules! say {
    ($($what:tt)*) => {{
        use core::fmt::Write as _;
        let _ = writeln!($crate::uart::Console, $($what)*);
    }};
}
