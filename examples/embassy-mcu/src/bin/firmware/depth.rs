//! How deep the frames of the update reach.

use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering};

use embassy_mcu::stack;

static DEEPEST: AtomicUsize = AtomicUsize::new(0);

/// Runs it and notes how deep its frames reach.
pub(crate) async fn measured<F: Future>(run: F) -> F::Output {
    let mut run = pin!(run);
    poll_fn(|cx| {
        let (poll, depth) = stack::measure(|| run.as_mut().poll(cx));
        DEEPEST.fetch_max(depth, Ordering::Relaxed);
        poll
    })
    .await
}

/// Bytes of the deepest so far.
pub(crate) fn deepest() -> usize {
    DEEPEST.load(Ordering::Relaxed)
}
