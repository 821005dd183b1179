//! What the update takes of the memory, measured while it runs.

use core::sync::atomic::{AtomicUsize, Ordering};

use embassy_mcu::say;
use ota_proto::Updater;
use ota_wire::Client;

use crate::HEAP;
use crate::net::RECORDS;
use crate::settings::{RECEIVE, SOCKET};

static FUTURE: AtomicUsize = AtomicUsize::new(0);

/// Notes how large it is.
pub(crate) fn sized<F: Future>(run: F) -> F {
    FUTURE.store(size_of_val(&run), Ordering::Relaxed);
    run
}

/// Prints it, with this depth of the stack.
pub(crate) fn say(stack: usize) {
    say!(
        "memory: updater {} client {} task {} heap {} peak {} stack {} sockets {} received {} records {}",
        size_of::<Updater>(),
        size_of::<Client>(),
        FUTURE.load(Ordering::Relaxed),
        HEAP.used(),
        HEAP.peak(),
        stack,
        4 * SOCKET,
        2 * RECEIVE,
        RECORDS
    );
}
