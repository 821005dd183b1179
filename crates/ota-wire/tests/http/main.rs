//! The HTTP fetch through its public API (design.md rules 8, 9, 15, 17).
#![allow(clippy::expect_used, clippy::unwrap_used)]

mod answers;
mod driver;
mod evil;
mod request;
mod splits;
mod state;
