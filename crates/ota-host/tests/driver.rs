//! The loop, by the tests that all adapters for std have in common, on the sockets of one of them:
//! a mistake here is noticed here.
#![allow(clippy::unwrap_used)]

#[path = "driver/mod.rs"]
mod driver;

use ota_smol::driver as adapter;
