//! The two wires of a firmware update on Tencent Cloud IoT, without IO: an MQTT 3.1.1 session
//! and an HTTP/1.1 range GET.
//!
//! Nothing here opens a socket, reads a clock or draws chance from anywhere but a seed. Bytes
//! come in with the moment they came, bytes to send are a slice to be handed over, and every
//! wait is a deadline the caller sleeps until.
//!
//! The feature `record` adds the flight recorder, `record`; a [`Client`] then has serde's traits.
#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

extern crate alloc;

pub mod adapter;
pub mod client;
pub mod http;
mod link;
pub mod mqtt;
#[cfg(feature = "record")]
pub mod record;

pub use client::Client;
