//! The tests that all adapters for std have in common.
#![allow(clippy::unwrap_used)]

#[path = "../../ota-host/tests/driver/mod.rs"]
mod driver;

use ota_tokio::driver as adapter;
