//! MQTT and HTTP for firmware updates on Tencent Cloud IoT, without IO: an MQTT 3.1.1 session
//! and an HTTP/1.1 range GET.
//!
//! Nothing here opens a socket or reads a clock, and random numbers come only from a seed. Received
//! bytes come with their time, bytes to send are a slice, and every wait is a deadline until which
//! the caller sleeps.
//!
//! * [`mqtt::Session`]: the MQTT connection. [`http::Fetch`]: one range GET.
//! * [`Client`]: both, with the state machines of one or more devices, for adapters.
//! * [`adapter`]: other shared parts of adapters, without IO.
//! * [`updates`]: one flat event for an application with one device.
//!
//! # The loop
//!
//! An adapter calls [`Client::poll`] until it is idle, and waits for bytes, room to send,
//! the end of a storage operation or the deadline. The loop in this example also acts as the
//! broker, until the device has reported its version:
//!
//! ```
//! use ota_proto::{Boot, Identity, Instant, SlotInfo, SlotState};
//! use ota_wire::client::{Client, ClientConfig, LinkKind, Output};
//! use ota_wire::mqtt::ConnectLogin;
//!
//! let now = Instant::from_secs(5);
//! let login = ConnectLogin::new("P1dev001".into(), "user".into(), "password".into());
//! let mut client = Client::new(Instant::ZERO, ClientConfig::new("broker".into(), 1883, false, login, 7))?;
//! let storage = SlotInfo { capacity: 1 << 20, erase: 4096, write: 1 };
//! let boot = Boot { running: "1.0.0", slot: SlotState::Confirmed, journal: None, storage };
//! let device = ota_proto::Config::new(Identity::new("P1", "dev001")?, 7);
//! client.add_device(Instant::ZERO, device, boot)?;
//!
//! let (mut link, mut sent) = (None, Vec::new());
//! for _ in 0..50 {
//!     match client.poll(now) {
//!         Output::Connect { link: wanted, .. } => {
//!             assert_eq!(wanted.kind, LinkKind::Broker);
//!             client.handle_connected(now, wanted); // a socket would be opened here
//!             link = Some(wanted);
//!         }
//!         Output::Do { device, op, .. } => { // flash would be written here
//!             client.updater_mut(device).unwrap().handle_done(now, op, Ok(None));
//!         }
//!         Output::Idle { .. } => {
//!             let Some(link) = link else { break };
//!             let bytes = client.transmit(link).to_vec();
//!             client.handle_sent(now, link, bytes.len());
//!             let answer: &[u8] = match bytes.first() {
//!                 Some(0x10) => &[0x20, 2, 0, 0], // CONNECT: CONNACK
//!                 Some(0x82) => &[0x90, 3, bytes[2], bytes[3], 1], // SUBSCRIBE: SUBACK
//!                 _ => &[],
//!             };
//!             client.handle_received(now, link, answer);
//!             sent.extend(bytes);
//!         }
//!         _ => {}
//!     }
//! }
//! let report = br#"{"type":"report_version","report":{"version":"1.0.0"}}"#;
//! assert!(sent.windows(report.len()).any(|part| part == report));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Memory
//!
//! | what | bytes |
//! |---|---|
//! | heap of a client with one device, at rest | at most 2 KiB |
//! | the same at its peak, with the longest URL and text, and the application's windows full | at most 16 KiB |
//! | growth with the image, allocations for a piece of body | none |
//! | receive buffers | the caller's: a line of a response head, 1 KiB, for the firmware server; a packet, 4 KiB, for the broker |
//!
//! A host can use more memory: with [`client::ClientConfig::enlarge`] and the limits of a device that
//! [`client::enlarge_device`] sets, packets and lines have 16 KiB, URLs 4 KiB, and the peak is at
//! most 64 KiB. `tests/client_heap.rs` checks both.
//!
//! # Features
//!
//! * `defmt`: `defmt::Format` for events, errors and configurations, those of `ota-proto` included.
//!   Passwords, payloads, records and images are hidden. This crate logs nothing itself.
//! * `url-user`: the user and password of a URL are sent as `Authorization: Basic`, to that origin
//!   and no other; without it such a URL is refused.
//! * `record`: the flight recorder, `record`; a [`Client`] then has serde's traits.
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
pub mod mqtt;
#[cfg(feature = "record")]
pub mod record;
pub mod updates;

pub use client::Client;
