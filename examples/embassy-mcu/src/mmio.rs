//! Registers.

use core::ptr;

/// One 32-bit register of a device.
#[derive(Clone, Copy)]
pub(crate) struct Register(usize);

impl Register {
    /// The register at this address.
    ///
    /// # Safety
    /// A device's register of 32 bits is there, and reading or writing it changes no memory that
    /// Rust owns.
    pub(crate) const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    pub(crate) fn read(self) -> u32 {
        // SAFETY: `at` was promised that a register is there.
        unsafe { ptr::read_volatile(self.0 as *const u32) }
    }

    pub(crate) fn write(self, value: u32) {
        // SAFETY: `at` was promised that a register is there.
        unsafe { ptr::write_volatile(self.0 as *mut u32, value) }
    }
}
