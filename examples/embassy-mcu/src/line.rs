//! The network's interrupt line: a level, which is masked until the driver has emptied its FIFO.

use core::cell::RefCell;
use core::task::Waker;

use cortex_m::interrupt::InterruptNumber;
use cortex_m::peripheral::NVIC;
use cortex_m_rt::exception;
use critical_section::Mutex;

/// A device's interrupt, by its number at the processor.
#[derive(Clone, Copy)]
pub(crate) struct Line(pub(crate) u16);

// SAFETY: the number of a line never changes.
unsafe impl InterruptNumber for Line {
    fn number(self) -> u16 {
        self.0
    }
}

static WAKER: Mutex<RefCell<Option<Waker>>> = Mutex::new(RefCell::new(None));

impl Line {
    /// Whoever is to be woken next.
    pub(crate) fn wakes(waker: &Waker) {
        critical_section::with(|cs| *WAKER.borrow_ref_mut(cs) = Some(waker.clone()));
    }

    /// Lets the next interrupt through.
    pub(crate) fn open(self) {
        NVIC::unpend(self);
        // SAFETY: the handler is `DefaultHandler` below. No critical section relies on the mask.
        unsafe { NVIC::unmask(self) };
    }
}

/// The only device interrupt that is ever let through is the network's.
#[exception]
unsafe fn DefaultHandler(number: i16) {
    NVIC::mask(Line(number as u16));
    critical_section::with(|cs| {
        if let Some(waker) = WAKER.borrow_ref_mut(cs).take() {
            waker.wake();
        }
    });
}
