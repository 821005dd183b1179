//! Measures the stack by painting it first.

use core::ops::Range;
use core::ptr;

use cortex_m::register::msp;

/// Bytes that [`measure`] paints: more than is ever used.
const DEPTH: usize = 12 * 1_024;
/// Bytes next to the stack's end that stay as they are: the painter's own frame.
const MARGIN: usize = 64;
const PAINT: u32 = 0xa5c3_a5c3;

/// Runs it without interrupts, so that the same run gives the same number; returns the bytes of
/// stack that it used.
#[inline(never)]
pub fn measure<R>(act: impl FnOnce() -> R) -> (R, usize) {
    let top = msp::read() as usize;
    let bottom = top - DEPTH;
    // SAFETY: below the stack pointer is nobody's, and the board's memory reaches that far.
    unsafe { paint(bottom..top - MARGIN) };
    let result = framed(act);
    // SAFETY: as above.
    (result, unsafe { used(bottom..top) })
}

/// A frame of its own: what is inlined into [`measure`] has its place above what is painted.
#[inline(never)]
fn framed<R>(act: impl FnOnce() -> R) -> R {
    cortex_m::interrupt::free(|_| act())
}

/// Paints all that is left of the stack. To be called before interrupts are on.
#[inline(never)]
pub fn paint_all() {
    // SAFETY: below the stack pointer, above the statics is nobody's.
    unsafe { paint(whole().start..msp::read() as usize - MARGIN) };
}

/// The maximum of used bytes of the whole stack since [`paint_all`].
pub fn used_of_all() -> usize {
    // SAFETY: the whole stack is memory, and what it holds is only compared.
    unsafe { used(whole()) }
}

/// From the end of the statics to the end of the memory.
fn whole() -> Range<usize> {
    unsafe extern "C" {
        static __euninit: u32;
        static _stack_start: u32;
    }
    (&raw const __euninit) as usize..(&raw const _stack_start) as usize
}

/// # Safety
/// Nobody uses this part of the memory.
unsafe fn paint(part: Range<usize>) {
    for place in part.step_by(4) {
        // SAFETY: as promised.
        unsafe { ptr::write_volatile(place as *mut u32, PAINT) };
    }
}

/// Bytes from the lowest that is not painted.
///
/// # Safety
/// This part is memory.
unsafe fn used(part: Range<usize>) -> usize {
    // SAFETY: as promised.
    let is_used = |place: &usize| unsafe { ptr::read_volatile(*place as *const u32) != PAINT };
    part.clone().step_by(4).find(is_used).map_or(0, |deepest| part.end - deepest)
}
