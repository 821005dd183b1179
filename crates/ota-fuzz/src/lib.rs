//! The bodies of the fuzz targets.
//!
//! Each takes any bytes and panics when something is wrong. `fuzz/` calls them with what a fuzzer
//! makes up; `tests/replay.rs` calls them with the corpora, on stable.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

#[path = "../../ota-wire/tests/http/fuzz.rs"]
mod http_body;
mod message;
mod mqtt_packet;
mod mqtt_session;

pub use message::message;
pub use mqtt_packet::mqtt_packet;
pub use mqtt_session::mqtt_session;

/// Reads the bytes as an HTTP answer, whole and in pieces.
///
/// # Panics
/// When the pieces change what is read.
pub fn http(data: &[u8]) {
    http_body::http(data);
}
