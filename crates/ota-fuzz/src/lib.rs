//! The bodies of the fuzz targets.
//!
//! Each takes any bytes and panics when something is wrong. `fuzz/` calls them with what a fuzzer
//! makes up; `tests/replay.rs` calls them with the corpora, on stable.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod client;
mod endpoint;
mod http;
mod input;
mod journal;
mod message;
mod mqtt_packet;
mod mqtt_session;
mod origin;
mod recording;
mod redirect;
mod updater;
mod url;
mod vendor;

pub use client::client;
pub use endpoint::endpoint;
pub use http::http;
pub use journal::journal;
pub use message::message;
pub use mqtt_packet::mqtt_packet;
pub use mqtt_session::mqtt_session;
pub use origin::origin;
pub use recording::recording;
pub use redirect::redirect;
pub use updater::updater;
pub use url::url;
pub use vendor::vendor;

/// A target: its name, which is that of its corpus, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("client", client),
    ("endpoint", endpoint),
    ("http", http),
    ("journal", journal),
    ("message", message),
    ("mqtt_packet", mqtt_packet),
    ("mqtt_session", mqtt_session),
    ("origin", origin),
    ("recording", recording),
    ("redirect", redirect),
    ("updater", updater),
    ("url", url),
    ("vendor", vendor),
];
