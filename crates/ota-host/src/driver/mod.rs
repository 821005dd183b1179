//! One connection to the cloud: the client of `ota-wire` with sockets, TLS, a timer and the storage
//! jobs of [`files`](crate::files).
//!
//! | module | what it does | uses |
//! |---|---|---|
//! | `clock` | reads the clock; nothing else here does | |
//! | `stream` | connections, and the errors of opening them | |
//! | `tls`, without the feature `no_tls` | trust, handshakes | `clock`, `stream` |
//! | `lanes` | runs the journal's jobs beside the slot's | `files` |
//! | `engine` | the client with its storage, without sockets; what an application may do between its turns | `lanes`, `tls` |
//! | `runtime` | what an adapter provides | `engine`, `stream` |
//! | `connect`, `lookup`, `open`, `socket` | a link from its host's name to its end | `runtime`, `tls` |
//! | `run` | the loop | all above |
//! | `updates` | one device with one flat event | `run` |
//! | `write` | the macro that writes an adapter's `Driver` | |
//!
//! This module decides nothing: the core and the client do.

pub(crate) mod clock;
mod connect;
pub(crate) mod engine;
pub(crate) mod lanes;
mod lookup;
#[cfg(not(feature = "tls"))]
mod no_tls;
mod open;
pub(crate) mod run;
pub(crate) mod runtime;
mod socket;
pub(crate) mod stream;
#[cfg(feature = "tls")]
pub(crate) mod tls;
pub mod updates;
mod write;

#[cfg(not(feature = "tls"))]
use no_tls as tls;
