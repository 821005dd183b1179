//! How deep the stack goes, found by painting it first.

use core::ptr;

use cortex_m::register::msp;

/// Bytes that are painted: more than is ever used.
const DEPTH: usize = 12 * 1_024;
/// Words next to the stack's end that stay as they are: the painter's own frame.
const MARGIN: usize = 16;
const PAINT: u32 = 0xa5c3_a5c3;

/// Runs it without interrupts, so that the same run gives the same number; how many bytes of
/// stack it took.
#[inline(never)]
pub fn measure<R>(act: impl FnOnce() -> R) -> (R, usize) {
    let top = msp::read() as usize;
    let bottom = top - DEPTH;
    for place in (bottom..top - MARGIN * 4).step_by(4) {
        // SAFETY: below the stack pointer is nobody's, and the board's memory reaches that far.
        unsafe { ptr::write_volatile(place as *mut u32, PAINT) };
    }
    let result = cortex_m::interrupt::free(|_| act());
    let deepest = (bottom..top).step_by(4).find(|place| {
        // SAFETY: as above.
        unsafe { ptr::read_volatile(*place as *const u32) != PAINT }
    });
    (result, top - deepest.unwrap_or(top))
}
