//! A heap of fixed size that remembers the most that was ever in use.

use core::alloc::{GlobalAlloc, Layout};
use core::sync::atomic::{AtomicUsize, Ordering};

use embedded_alloc::LlffHeap;
use static_cell::ConstStaticCell;

/// The allocator.
pub struct Heap {
    inner: LlffHeap,
    peak: AtomicUsize,
}

impl Heap {
    /// An allocator without memory until [`Heap::start`].
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub const fn new() -> Self {
        Self { inner: LlffHeap::empty(), peak: AtomicUsize::new(0) }
    }

    /// Gives it its memory. To be called once, before the first allocation.
    pub fn start<const SIZE: usize>(&self, memory: &'static ConstStaticCell<[u8; SIZE]>) {
        // SAFETY: the memory is taken out of its cell for good, and this is called once: a second
        // call panics in `take` or in `init`.
        unsafe { self.inner.init(memory.take().as_mut_ptr() as usize, SIZE) };
    }

    /// Bytes in use now.
    pub fn used(&self) -> usize {
        self.inner.used()
    }

    /// The most bytes that were ever in use.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

// SAFETY: every call goes to the inner allocator as it is.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the inner allocator's.
        let place = unsafe { self.inner.alloc(layout) };
        // One core, and interrupts do not allocate: nothing comes between.
        self.peak.store(self.peak().max(self.inner.used()), Ordering::Relaxed);
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is the inner allocator's.
        unsafe { self.inner.dealloc(place, layout) }
    }
}
