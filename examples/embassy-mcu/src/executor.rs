//! An executor that sleeps by WFI. The stock one waits by WFE, which the emulator takes for a
//! no-op: it would keep a core of the host busy.

use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};

use embassy_executor::{Spawner, raw};
use static_cell::StaticCell;

static DUE: AtomicBool = AtomicBool::new(false);

/// Called by the executor whenever a task is woken, from interrupts, too.
#[unsafe(no_mangle)]
extern "Rust" fn __pender(_context: *mut ()) {
    DUE.store(true, Ordering::Release);
}

/// Runs tasks forever; `start` spawns the first. To be called once.
pub fn run(start: impl FnOnce(Spawner)) -> ! {
    static EXECUTOR: StaticCell<raw::Executor> = StaticCell::new();
    let executor = EXECUTOR.init_with(|| raw::Executor::new(ptr::null_mut()));
    start(executor.spawner());
    loop {
        DUE.store(false, Ordering::Release);
        // SAFETY: only here is the executor polled, so never from within itself.
        unsafe { executor.poll() };
        // An interrupt between the look and the sleep must not be slept through: with interrupts
        // off it stays pending, and WFI returns at once.
        cortex_m::interrupt::disable();
        if !DUE.load(Ordering::Acquire) {
            cortex_m::asm::wfi();
        }
        // SAFETY: no critical section is open here.
        unsafe { cortex_m::interrupt::enable() };
    }
}
