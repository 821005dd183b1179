//! The tests that all adapters for std have in common, without TLS: with it, `ota-host` runs all of
//! them on this crate's sockets, and once is enough.
#![cfg(not(feature = "tls"))]
#![allow(clippy::unwrap_used)]

#[path = "../../ota-host/tests/driver/mod.rs"]
mod driver;

use ota_smol::driver as adapter;
