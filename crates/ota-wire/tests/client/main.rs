//! The client through its public API: literal bytes at literal times.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod application;
mod common;
mod ends;
mod failures;
mod field;
mod gateway;
mod hostile;
mod links;
mod random;
mod recorded;
mod replayed;
mod session;
