//! What the update takes of the memory, measured while it runs.

use core::future::poll_fn;
use core::pin::pin;
use core::sync::atomic::{AtomicUsize, Ordering};

use embassy_mcu::{say, stack};
use ota_proto::Updater;
use ota_wire::Client;

use crate::HEAP;
use crate::net::RECORDS;
use crate::settings::{RECEIVE, SOCKET};

static DEEPEST: AtomicUsize = AtomicUsize::new(0);
static FUTURE: AtomicUsize = AtomicUsize::new(0);

/// Runs it and notes how large it is.
pub(crate) async fn sized<F: Future>(run: F) -> F::Output {
    FUTURE.store(size_of_val(&run), Ordering::Relaxed);
    run.await
}

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

/// Prints it.
pub(crate) fn say() {
    say!(
        "memory: updater {} client {} task {} heap {} peak {} stack {} sockets {} received {} records {}",
        size_of::<Updater>(),
        size_of::<Client>(),
        FUTURE.load(Ordering::Relaxed),
        HEAP.used(),
        HEAP.peak(),
        DEEPEST.load(Ordering::Relaxed),
        4 * SOCKET,
        2 * RECEIVE,
        RECORDS
    );
}
