//! The cloud half of firmware updates on Tencent Cloud IoT, for tests, simulations and laboratories.
//!
//! * [`Device`] decides about one device, and is a value. [`Cloud`] keeps many, with firmware and
//!   rules; its messages are `(topic, payload)`.
//! * [`origin`] serves the images over HTTP/1.1, with faults on demand.
//! * [`sign`] makes and checks the signed URLs that join the two.
//!
//! Everything is IO-free: no sockets, no clock, no random source. Every input carries its time, so
//! that a seed determines the whole run. The crate `ota-server` connects it to sockets.
//!
//! ```
//! use ota_cloud::origin::{Connection, Origin, OriginConfig};
//! use ota_cloud::sign::UrlSigner;
//! use ota_cloud::{Cloud, CloudConfig, Firmware, Output, Rollout, Secret};
//! use ota_proto::{Identity, Instant};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let signer = UrlSigner::new("http://127.0.0.1:8080", *b"a key", UrlSigner::LIFE);
//! let mut origin = Origin::new(OriginConfig::new(Some(signer.clone()), 1_700_000_000));
//! let md5 = origin.add_file("/TESTPROD01_1.0.0", b"the image".to_vec());
//!
//! let mut cloud = Cloud::new(CloudConfig::new(signer, 1_700_000_000));
//! let device = Identity::new("TESTPROD01", "dev001")?;
//! cloud.add_device(&device, Secret::new(*b"0123456789abcdef"))?;
//! cloud.add_firmware(Firmware::new("TESTPROD01", "1.0.0", md5, 9))?;
//! cloud.set_rollout(Instant::ZERO, "TESTPROD01", Some(Rollout::new("1.0.0")))?;
//!
//! // The device connects and reports what it runs.
//! let report = br#"{"type":"report_version","report":{"version":"0.1.0"}}"#;
//! cloud.handle_connected(Instant::ZERO, &device)?;
//! cloud.handle_message(Instant::ZERO, device.report_topic(), report)?;
//!
//! // It gets a reply at once and the offer a moment later.
//! let mut now = Instant::ZERO;
//! let mut sent = Vec::new();
//! while sent.len() < 2 {
//!     match cloud.poll_output(now) {
//!         Output::Send { payload, .. } => sent.push(String::from_utf8(payload)?),
//!         Output::Event(event) => println!("{} {:?}", event.at, event.kind),
//!         Output::Idle { deadline } => now = deadline.ok_or("nothing to wait for")?,
//!     }
//! }
//! assert!(sent[0].contains("report_version_rsp") && sent[1].contains("update_firmware"));
//!
//! // The URL in the offer is good at the origin.
//! let url = sent[1].split('"').find(|text| text.starts_with("http")).ok_or("no URL")?;
//! let target = url.trim_start_matches("http://127.0.0.1:8080");
//! let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nRange: bytes=4-\r\n\r\n");
//! let mut connection = Connection::new(now);
//! assert_eq!(connection.handle_received(now, request.as_bytes()), request.len());
//! let response = connection.transmit(&mut origin, now);
//! assert!(response.starts_with(b"HTTP/1.1 206 ") && response.ends_with(b"image"));
//! # Ok(())
//! # }
//! ```
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

#[cfg(feature = "mqtt")]
mod acks;
#[cfg(feature = "api")]
pub mod alert;
#[cfg(feature = "api")]
pub mod api;
#[cfg(feature = "api")]
pub mod batch;
#[cfg(feature = "mqtt")]
pub mod broker;
pub mod calendar;
pub mod campaign;
mod catalog;
pub mod certificate;
mod cloud;
pub mod device;
#[cfg(feature = "mqtt")]
pub mod endpoint;
mod error;
pub mod fault;
#[cfg(feature = "mqtt")]
mod frame;
#[cfg(feature = "mqtt")]
pub mod login;
mod module;
mod options;
pub mod origin;
#[cfg(feature = "mqtt")]
pub mod peer;
pub mod rehearse;
#[cfg(feature = "mqtt")]
pub mod relay;
pub mod sign;
#[cfg(feature = "table")]
pub mod table;
#[cfg(feature = "vendor")]
pub mod vendor;

pub use campaign::Campaign;
pub use catalog::{Catalog, Firmware, Listed, Product};
pub use cloud::{Cloud, CloudEvent, DeviceRecord, LogEntry, Output, Secret};
pub use device::{
    CloudConfig, Counters, Device, EventKind, Finish, NotOffered, Reported, Silence, Status, Task,
    TaskId, TimeoutFrom,
};
pub use error::{BadState, CatalogError, CloudError, TaskError};
pub use module::Module;
pub use options::{Retries, Rollout, TaskOptions, offer_text};
