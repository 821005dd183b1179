//! The console: the first CMSDK UART, sending only.

use core::fmt;

use crate::mmio::Register;

// SAFETY: all four are the UART's registers, by the board's memory map; sending touches no memory.
const DATA: Register = unsafe { Register::at(0x4000_4000) };
// SAFETY: as above.
const STATE: Register = unsafe { Register::at(0x4000_4004) };
// SAFETY: as above.
const CTRL: Register = unsafe { Register::at(0x4000_4008) };
// SAFETY: as above.
const BAUD: Register = unsafe { Register::at(0x4000_4010) };

const TX_FULL: u32 = 1;

/// Switches the sender on.
pub fn start() {
    BAUD.write(16);
    CTRL.write(1);
}

/// Sends bytes, waiting for room.
pub fn write(bytes: &[u8]) {
    for byte in bytes {
        while STATE.read() & TX_FULL != 0 {}
        DATA.write(u32::from(*byte));
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
