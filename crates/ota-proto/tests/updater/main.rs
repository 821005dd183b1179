//! The machine through its public API: literal messages at literal times.

mod bench;
mod offers;
mod ordering;
mod session;
