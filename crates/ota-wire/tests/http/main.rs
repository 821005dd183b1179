//! The HTTP fetch through its public API (rules 8, 9, 15 and 17 of docs/rules.md).
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod answers;
mod differential;
mod driver;
mod evil;
mod request;
mod splits;
mod state;
