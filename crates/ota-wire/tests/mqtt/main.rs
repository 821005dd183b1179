//! The MQTT half, through its public API.
#![allow(missing_docs, clippy::unwrap_used)]

mod chunks;
mod common;
mod inbound;
mod limits;
mod liveness;
mod packets;
mod reconnect;
mod resend;
mod session;
