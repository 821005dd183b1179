//! `Updates` over real sockets.
#![allow(clippy::unwrap_used)]

#[path = "../../ota-host/tests/updates/mod.rs"]
mod updates;

use ota_tokio as adapter;
