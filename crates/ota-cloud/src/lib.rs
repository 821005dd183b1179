//! The cloud half of a firmware update on Tencent Cloud IoT, for tests, simulations and desks.
//!
//! * [`Cloud`] keeps devices, firmware and update tasks; it speaks `(topic, payload)`.
//! * [`origin`] serves the images over HTTP/1.1, with faults on demand.
//! * [`sign`] makes and checks the signed URLs that join the two.
//!
//! All three are IO-free: no sockets, no clock, no chance. Every input carries the moment at
//! which it happened, so that one seed gives one history. The feature `service` adds both over
//! tokio sockets.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod cloud;
pub mod fault;
pub mod origin;
pub mod sign;

#[cfg(feature = "service")]
pub mod service;

pub use cloud::{
    CatalogError, Cloud, CloudConfig, CloudError, CloudEvent, Counters, DeviceRecord, EventKind,
    Finish, Firmware, LogEntry, Output, Reported, Rollout, Secret, Status, Task, TaskError, TaskId,
    TaskOptions, TimeoutFrom,
};
