//! The device's side of a firmware update on Tencent Cloud IoT, as a pure state machine.
//!
//! A device reports the version it runs, receives an offer, downloads the image, verifies it,
//! installs it and restarts, tries the new version and reports the result. [`Updater`] makes every
//! *decision* about that, from inputs that carry their own time. It has no sockets, no clock, no
//! threads and no `unsafe`: the caller moves bytes, sleeps until a deadline and writes flash.
//!
//! ```rust,no_run
//! # mod stack { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/stack.rs")); }
//! # use stack::*;
//! use ota_proto::{Config, Event, Installed, Output, Updater};
//!
//! # fn live(mut updater: Updater, mut mqtt: Mqtt, mut http: Http, mut flash: Flash) -> Result<(), Box<dyn std::error::Error>> {
//! let mut buf = [0; Config::buffer_len()];
//! loop {
//!     match updater.poll(now(), &mut buf)? {
//!         Output::Publish(publish) => mqtt.publish(publish),
//!         Output::Fetch(fetch) => http.get(fetch),
//!         Output::CancelFetch(_) => http.cancel(),
//!         Output::Do(op, work) => {
//!             let done = flash.run(work);
//!             updater.handle_done(now(), op, done);
//!         }
//!         Output::Event(Event::Install { .. }) => {
//!             install()?; // the image is complete and verified
//!             updater.command(now(), Installed::NeedsRestart.into())?;
//!         }
//!         Output::Event(Event::Restart) => restart(),
//!         Output::Event(event) => println!("{event:?}"),
//!         Output::Idle(idle) => wait(idle, &mut updater),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! You provide `mqtt`, `http` and `flash`, and also `wait`: it waits for a message, a piece of the
//! image, the end of an operation or the deadline, whichever comes first, and passes it to one of
//! the updater's `handle_` methods, with the time.
//!
//! # An update
//!
//! A whole update, with a cloud of three messages and a slot in memory:
//!
//! ```
//! use ota_proto::*;
//!
//! /// A slot and a journal in memory.
//! struct Flash {
//!     slot: Vec<u8>,
//!     journal: Option<[u8; Journal::LEN]>,
//!     hash: Digester,
//! }
//!
//! impl Flash {
//!     fn run(&mut self, work: Work<&[u8]>) -> Done {
//!         match work {
//!             Work::Write { at, bytes } => {
//!                 self.slot[at as usize..][..bytes.len()].copy_from_slice(bytes);
//!             }
//!             Work::Digest { range } => {
//!                 if range.start == 0 {
//!                     self.hash = Digester::new(); // else it goes on where the last range ended
//!                 }
//!                 self.hash.update(&self.slot[range.start as usize..range.end as usize]);
//!                 return Ok(Some(self.hash.clone().finish()));
//!             }
//!             Work::Persist(record) => self.journal = Some(record),
//!             Work::Erase { .. } | Work::Sync | Work::Slot(_) => {}
//!         }
//!         Ok(None)
//!     }
//! }
//!
//! let image = *b"the new firmware";
//! let mut hash = Digester::new();
//! hash.update(&image);
//! let offer = format!(
//!     r#"{{"file_size":16,"md5sum":"{}","type":"update_firmware","url":"https://store.example/fw?sign=x","version":"2.0.0"}}"#,
//!     hash.finish()
//! );
//! let reply = r#"{"result_code":0,"result_msg":"success","type":"report_version_rsp"}"#;
//!
//! let identity = Identity::new("TESTPROD01", "dev001")?;
//! let topic = String::from(identity.update_topic());
//! let config = Config::new(identity, 7);
//! let (capacity, erase) = (4096, 16);
//! let mut now = Instant::ZERO;
//! let mut device = Updater::new(now, config.clone(), Boot::new("1.0.0", capacity, erase))?;
//!
//! let mut flash = Flash { slot: vec![0xff; 4096], journal: None, hash: Digester::new() };
//! let (mut fetch, mut taken, mut said) = (None, 0, Vec::new());
//! let mut buf = [0; Config::buffer_len()];
//! device.handle_session(now, true); // connected and subscribed
//! for _ in 0..200 {
//!     match device.poll(now, &mut buf)? {
//!         Output::Publish(Publish { id, payload, .. }) => {
//!             let text = String::from_utf8(payload.to_vec())?;
//!             device.handle_published(now, id); // acknowledged
//!             if text.contains("report_version") {
//!                 device.handle_message(now, &topic, reply.as_bytes())?;
//!                 if text.contains("1.0.0") {
//!                     device.handle_message(now, &topic, offer.as_bytes())?;
//!                 }
//!             }
//!             said.push(text);
//!         }
//!         Output::Fetch(Fetch { op, from: 0, .. }) => {
//!             let head = ResponseHead::new(200, [("Content-Length", b"16".as_slice())]);
//!             device.handle_response(now, op, &head)?;
//!             fetch = Some(op);
//!         }
//!         Output::Do(op, work) => {
//!             let done = flash.run(work);
//!             device.handle_done(now, op, done);
//!         }
//!         Output::Event(Event::Install { .. }) => {
//!             device.command(now, Installed::NeedsRestart.into())?;
//!         }
//!         Output::Event(Event::Restart) => {
//!             let boot = Boot::new("2.0.0", capacity, erase);
//!             let boot = Boot { slot: SlotState::Trial, journal: flash.journal.as_ref(), ..boot };
//!             device = Updater::new(now, config.clone(), boot)?;
//!             device.handle_session(now, true);
//!         }
//!         Output::Event(Event::Trial) => device.command(now, Command::Confirm)?,
//!         Output::Idle(Idle { read_body: true, .. }) => {
//!             let Some(op) = fetch else { break };
//!             let body = device.handle_body(now, op, &image[taken..])?;
//!             taken += body.consumed;
//!             if let Some((op, work)) = body.work {
//!                 device.handle_done(now, op, flash.run(work));
//!             }
//!         }
//!         Output::Idle(_) if said.iter().any(|text| text.contains("done")) => break,
//!         Output::Idle(Idle { deadline: Some(deadline), .. }) => {
//!             now = deadline;
//!             device.handle_timeout(now);
//!         }
//!         _ => {}
//!     }
//! }
//! assert_eq!(device.running().as_str(), "2.0.0");
//! assert_eq!(flash.slot[..16], image);
//! let words = [
//!     "report_version", "downloading", "\"100\"", "burning", // 1.0.0 says, then restarts
//!     "report_version", "burning", "done", "report_version", // 2.0.0 says
//! ];
//! assert_eq!(said.len(), words.len());
//! assert!(said.iter().zip(words).all(|(text, word)| text.contains(word)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Three machines side by side
//!
//! ```text
//! Session: Down → Settling (the owed result) → Reporting ⇄ Online     reset by every session
//! Update:  None → Offered ⇄ Deferred → Fetching ⇄ Waiting → Verifying → Ready → Installing
//!               → Restarting → Trial → None
//! Result:  None → Saving → Owed → InFlight → Clearing → None
//! ```
//!
//! A link that goes down never stops an update. Failing is `Update → None` and
//! `Result → Saving`: the cloud hears one result for each attempt, after every reset, until it
//! has acknowledged it.
//!
//! # Memory
//!
//! No allocation grows with the image, and none is made for a piece of body. The heap holds the
//! two topics, and while an update is open the offer's URL (at most [`Limits::url`]) and text
//! ([`Limits::user_defined`]).
//!
//! # Features
//!
//! * `credentials`: MQTT user name and password from a device secret, and their check.
//! * `defmt`: `defmt::Format` for events, states, errors and configurations. What `Debug` hides is
//!   hidden there, too. Nothing is logged by this crate.
//! * `std`: [`StorageError`] and [`TransportError`] of an `std::io::Error`. Nothing else of `std`.
//! * `snapshot`: serde's traits for [`Updater`]: its state can be written, and read by the same version.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod code;
mod config;
#[cfg(feature = "credentials")]
pub mod credentials;
mod decimal;
mod digest;
mod error;
mod identity;
mod input;
pub mod journal;
pub mod message;
mod order;
mod output;
mod region;
mod response;
mod rng;
mod time;
mod updater;
pub mod url;
mod version;
mod word;

pub use code::{Reason, ResultCode};
pub use config::{Config, ConfigError, Downgrade, Hold, Limits, Timing, Verify};
pub use decimal::{Decimal, number, seconds};
pub use digest::{Digester, Md5};
pub use error::{FetchError, MessageError, Misuse, StorageError, TlsError, TransportError};
pub use identity::{BadName, Identity, Topic, TopicKind};
pub use input::{Boot, Command, InstallFault, Installed, Peer, SlotInfo, SlotState};
pub use journal::{Journal, Outcome};
pub use message::BufferTooSmall;
pub use order::Order;
pub use output::{
    Body, Done, Event, Fetch, Idle, Offer, OpId, Output, PubId, Publish, QoS, SlotAction, State,
    Timer, Work,
};
pub use region::Region;
pub use response::{Answer, Coding, ContentRange, Media, ResponseHead};
pub use rng::Rng;
pub use time::{BUILT, Instant, Micros};
pub use updater::{Gate, Updater};
pub use version::{BadVersion, Version};
pub use word::same_word;

/// The program of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
