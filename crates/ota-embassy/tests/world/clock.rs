//! A virtual clock for embassy-time, one for each thread, and an executor that jumps to the next
//! timer when nothing is left to do. Tests run side by side without seeing each other's time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use embassy_time_driver::Driver;

#[derive(Default)]
struct Timers {
    now: u64,
    /// By time and number.
    due: BTreeMap<(u64, u64), Waker>,
    number: u64,
}

thread_local! {
    static TIMERS: RefCell<Timers> = RefCell::default();
}

struct ThreadClock;

embassy_time_driver::time_driver_impl!(static CLOCK: ThreadClock = ThreadClock);

impl Driver for ThreadClock {
    fn now(&self) -> u64 {
        TIMERS.with_borrow(|timers| timers.now)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        TIMERS.with_borrow_mut(|timers| {
            let asked = timers.due.range((at, 0)..=(at, u64::MAX));
            if asked.into_iter().any(|(_, old)| old.will_wake(waker)) {
                return;
            }
            timers.number += 1;
            let number = timers.number;
            timers.due.insert((at, number), waker.clone());
        });
    }
}

/// The thread's clock is set to zero, and no timer is left.
pub fn reset() {
    TIMERS.set(Timers::default());
}

/// Microseconds.
pub fn now() -> u64 {
    TIMERS.with_borrow(|timers| timers.now)
}

/// Goes on to the next timer; `false` when there is none before the limit.
fn jump(limit: u64) -> bool {
    let woken = TIMERS.with_borrow_mut(|timers| {
        let (&(at, number), _) = timers.due.first_key_value()?;
        if at > limit {
            return None;
        }
        timers.now = timers.now.max(at);
        timers.due.remove(&(at, number))
    });
    woken.map(|waker| waker.wake()).is_some()
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A future that runs beside others.
pub struct Task<'a> {
    /// Polls within this.
    pub around: fn(&mut dyn FnMut()),
    flag: Arc<Flag>,
    future: Pin<Box<dyn Future<Output = ()> + 'a>>,
}

impl<'a> Task<'a> {
    pub fn new(future: impl Future<Output = ()> + 'a) -> Self {
        let flag = Arc::new(Flag::default());
        flag.0.store(true, Ordering::Relaxed);
        Self { around: |poll| poll(), flag, future: Box::pin(future) }
    }
}

/// What can run.
pub trait Run {
    /// Whether it did anything.
    fn run(&mut self) -> bool;
}

impl Run for Task<'_> {
    fn run(&mut self) -> bool {
        if !self.flag.0.swap(false, Ordering::Relaxed) {
            return false;
        }
        let waker = Waker::from(Arc::clone(&self.flag));
        let future = &mut self.future;
        (self.around)(&mut || {
            let _ = future.as_mut().poll(&mut Context::from_waker(&waker));
        });
        true
    }
}

/// Runs the tasks until `over` says so, or until the limit. `false`: it never did.
pub fn run(tasks: &mut [&mut dyn Run], limit: u64, mut over: impl FnMut() -> bool) -> bool {
    loop {
        let mut busy = false;
        for task in tasks.iter_mut() {
            busy |= task.run();
            if over() {
                return true;
            }
        }
        if !busy && !jump(limit) {
            return false;
        }
    }
}

/// Runs one future to its end, from time zero.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    reset();
    let result = RefCell::new(None);
    let mut task = Task::new(async {
        let value = future.await;
        result.replace(Some(value));
    });
    let mut tasks: [&mut dyn Run; 1] = [&mut task];
    run(&mut tasks, u64::MAX, || result.borrow().is_some());
    drop(task);
    result.into_inner().unwrap()
}
