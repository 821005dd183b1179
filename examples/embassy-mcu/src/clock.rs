//! Time: the dual timer's first half runs free at 25 MHz and is the clock; SysTick only wakes,
//! a thousand times a second. Counting SysTick's interrupts would lose time: the flag that one
//! is due is a single bit. A board without such a timer counts them all the same ([`start_counting`]).

use core::cell::RefCell;
use core::task::Waker;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;
use cortex_m_rt::exception;
use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::Driver;
use embassy_time_queue_utils::Queue;

use crate::mmio::Register;

// SAFETY: the dual timer's registers, by the board's memory map; counting touches no memory.
const LOAD: Register = unsafe { Register::at(0x4000_2000) };
// SAFETY: as above.
const VALUE: Register = unsafe { Register::at(0x4000_2004) };
// SAFETY: as above.
const CONTROL: Register = unsafe { Register::at(0x4000_2008) };

/// Enabled, 32 bits wide, running free.
const RUN: u32 = 0x82;
/// The timer counts this often in a microsecond.
const PER_MICRO: u32 = 25;
/// SysTick's reference runs at 1 MHz.
const WAKE_EVERY: u32 = 1_000;

struct Clock {
    /// Microseconds until the timer stood at `last`.
    micros: u64,
    /// The timer counts down.
    last: u32,
    /// Microseconds that an interrupt of SysTick counts for; 0 where the timer does.
    tick: u64,
    queue: Queue,
}

impl Clock {
    /// Must be called at least once in the 171 s in which the timer wraps: SysTick does.
    fn now(&mut self) -> u64 {
        if self.tick > 0 {
            return self.micros;
        }
        let passed = self.last.wrapping_sub(VALUE.read()) / PER_MICRO;
        self.last = self.last.wrapping_sub(passed.wrapping_mul(PER_MICRO));
        self.micros = self.micros.saturating_add(u64::from(passed));
        self.micros
    }
}

struct Hybrid(Mutex<RefCell<Clock>>);

impl Hybrid {
    fn with<R>(&self, cs: CriticalSection<'_>, act: impl FnOnce(&mut Clock) -> R) -> R {
        act(&mut self.0.borrow_ref_mut(cs))
    }
}

impl Driver for Hybrid {
    fn now(&self) -> u64 {
        critical_section::with(|cs| self.with(cs, Clock::now))
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        // The next SysTick looks at the queue.
        critical_section::with(|cs| self.with(cs, |clock| clock.queue.schedule_wake(at, waker)));
    }
}

embassy_time_driver::time_driver_impl!(static DRIVER: Hybrid = Hybrid(Mutex::new(RefCell::new(
    Clock { micros: 0, last: u32::MAX, tick: 0, queue: Queue::new() }
))));

/// Starts clock and wake-ups.
pub fn start(mut systick: SYST) {
    LOAD.write(u32::MAX);
    CONTROL.write(RUN);
    critical_section::with(|cs| DRIVER.with(cs, |clock| clock.last = VALUE.read()));
    systick.set_clock_source(SystClkSource::External);
    wake_every(systick, WAKE_EVERY);
}

/// Starts time on a board whose timers cannot be read: so many cycles of the processor are a
/// millisecond. While interrupts are off for longer than that, time stands still.
pub fn start_counting(mut systick: SYST, cycles: u32) {
    critical_section::with(|cs| DRIVER.with(cs, |clock| clock.tick = 1_000));
    systick.set_clock_source(SystClkSource::Core);
    wake_every(systick, cycles);
}

fn wake_every(mut systick: SYST, cycles: u32) {
    systick.set_reload(cycles - 1);
    systick.clear_current();
    systick.enable_interrupt();
    systick.enable_counter();
}

/// Keeps the processor busy for so long, at most 171 s. It needs no [`start`].
pub(crate) fn spin(micros: u32) {
    if micros == 0 {
        return;
    }
    CONTROL.write(RUN);
    let (from, ticks) = (VALUE.read(), micros.saturating_mul(PER_MICRO));
    while from.wrapping_sub(VALUE.read()) < ticks {}
}

#[exception]
fn SysTick() {
    critical_section::with(|cs| {
        DRIVER.with(cs, |clock| {
            clock.micros = clock.micros.saturating_add(clock.tick);
            let now = clock.now();
            let _ = clock.queue.next_expiration(now);
        });
    });
}
