//! The name of the running program in its messages, which people type as they read it.

use std::sync::atomic::{AtomicBool, Ordering};

static ALONE: AtomicBool = AtomicBool::new(false);

/// Marks this process as `ota-agent` instead of a command of `ota`.
pub(crate) fn alone() {
    ALONE.store(true, Ordering::Relaxed);
}

fn choose(alone: &'static str, command: &'static str) -> &'static str {
    if ALONE.load(Ordering::Relaxed) { alone } else { command }
}

/// The program's name.
pub(crate) fn program() -> &'static str {
    choose("ota-agent", "ota")
}

/// The agent's command line, without its arguments.
pub(crate) fn agent() -> &'static str {
    choose("ota-agent", "ota agent")
}
