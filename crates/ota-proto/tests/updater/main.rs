//! The machine through its public API: literal messages at literal times.
#![allow(clippy::unwrap_used)]

mod again;
mod bench;
mod boot;
mod bounds;
mod consent;
mod ends;
mod fetch;
mod lines;
mod lives;
mod offers;
mod ordering;
mod patience;
mod progress;
mod random;
mod session;
mod snapshot;
mod stuck;
mod verify;
