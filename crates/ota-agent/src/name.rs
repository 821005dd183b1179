//! What the running program is called in its own words: a person types what they read.

use std::sync::atomic::{AtomicBool, Ordering};

static ALONE: AtomicBool = AtomicBool::new(false);

/// From now on this is `ota-agent`, and no command of `ota`.
pub(crate) fn alone() {
    ALONE.store(true, Ordering::Relaxed);
}

fn choose(alone: &'static str, command: &'static str) -> &'static str {
    if ALONE.load(Ordering::Relaxed) { alone } else { command }
}

/// How the program is called.
pub(crate) fn program() -> &'static str {
    choose("ota-agent", "ota")
}

/// How the agent is called, up to its arguments.
pub(crate) fn agent() -> &'static str {
    choose("ota-agent", "ota agent")
}
