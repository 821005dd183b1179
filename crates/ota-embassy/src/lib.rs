//! Firmware updates on embassy: [`Driver`] joins the OTA core to embassy-net sockets, embassy-time
//! and NOR flash, and decides nothing.
//!
//! ```no_run
//! use embassy_net::Stack;
//! use embedded_storage_async::nor_flash::NorFlash;
//! use ota_embassy::{
//!     Buffers, Config, Driver, Event, FlashJournal, FlashSlot, FlashStorage, Switch, Tcp,
//! };
//! use ota_proto::{Event as Update, Installed};
//! use ota_wire::client;
//!
//! async fn run(
//!     stack: Stack<'_>,
//!     config: Config,
//!     machine: ota_proto::Config,
//!     dfu: impl NorFlash,
//!     journal: impl NorFlash,
//!     switch: impl Switch, // `BootSwitch`, with the feature `boot`
//! ) -> Result<(), Box<dyn core::error::Error>> {
//!     let (mut sockets, mut packet, mut body, mut unit) =
//!         ([[0; 2048]; 4], [0; 4096], [0; 4096], [0; 8]);
//!     let [a, b, c, d] = &mut sockets;
//!     let tcp = Tcp::new(stack, (a, b), (c, d));
//!     let slot = FlashSlot::new(dfu, 256 * 1024, &mut unit)?;
//!     let storage = FlashStorage::new(slot, FlashJournal::new(journal)?, switch);
//!
//!     let buffers = Buffers { broker: &mut packet, store: &mut body };
//!     let mut driver = Driver::new(&tcp, config, buffers)?;
//!     let device = driver.add_device(machine, "1.0.0", storage).await?;
//!     loop {
//!         let Event::Client(client::Event::Device { event, .. }) = driver.next().await? else {
//!             continue;
//!         };
//!         match event {
//!             Update::Install { .. } => {
//!                 driver.command(device, |u, now| u.installed(now, Installed::NeedsRestart))?
//!             }
//!             Update::Trial => driver.command(device, |u, now| u.confirm(now))?,
//!             Update::Restart => return Ok(()), // reset the chip
//!             _ => {}
//!         }
//!     }
//! }
//! ```
//!
//! # Memory
//!
//! Bytes over a whole update, measured by `tests/memory.rs` on a 64-bit host; pointers of half the
//! size make a board's a little less. None of it grows with the image.
//!
//! | what | default | small profile |
//! |---|---:|---:|
//! | two sockets, 2 KiB each way | 8,288 | 8,288 |
//! | receive buffers: longest MQTT packet, and one line of a head | 5,120 | 3,072 |
//! | a write unit for the slot, one for the boot loader's state | 16 | 16 |
//! | [`Driver`] | 3,712 | 3,712 |
//! | heap at its peak, storage included | 4,450 | 4,450 |
//! | **all** | **21,586** | **19,538** |
//!
//! The heap is that of an offer with a URL of 100 bytes: a longer one, and the offer's own text,
//! are kept as well, up to `Limits::url` and `Limits::user_defined` of the device's configuration.
//! The small profile is in `docs/microcontroller.md`. The application's stack needs
//! `StackResources` for two sockets more, and for one more where names are resolved.
//!
//! # TLS
//!
//! [`Tcp`] has none, and plain `http` has to be allowed by name (`Config::allow_http`).
//! `tls::EmbeddedTls`, with the feature `embedded-tls`, puts **TLS 1.3 only** over it, and **only for
//! servers of one private authority, which is given to it**: it is no client for the web. It always
//! checks the peer: authority, time, purpose, host name, and the proof of the key; no switch turns
//! that off. The caller gives memory for records, a clock and a source of chance:
//!
//! | what | bytes |
//! |---|---:|
//! | a record that is received, for each link: 16,640, unless the servers send shorter ones | 33,280 |
//! | a record that is sent, for each link | 2,048 |
//! | heap, with both links open | 6,866 |
//!
//! What the certificates say of the time is kept in the journal by the driver: a clock that lost it
//! over a reset is not believed.
//!
//! An own [`Network`] opens streams of another kind: a modem's TLS, or another library around a
//! [`TcpStream`]. The authenticity of firmware must not rest on TLS: check a signature before you
//! approve an image.
//!
//! # Features
//!
//! * `boot`: `BootSwitch`, embassy-boot as the boot loader.
//! * `defmt`: `defmt::Format` for events and errors, those of `ota-proto` and `ota-wire` included.
//!   Nothing is logged by this crate.
//! * `flash-erase-zero`: embassy-boot's feature of that name, for flash that erases to zeros; the
//!   loader needs it, too.
//! * `ed25519-dalek`, `ed25519-salty`: `SignedSwitch`, which activates nothing but what is signed,
//!   with embassy-boot's check; one of the two backends. The first is the faster, the second the
//!   smaller one.
//! * `embedded-tls`: `tls::EmbeddedTls`, TLS 1.3 for a private authority.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod driver;
mod flash;
mod network;
mod socket;
mod time;
#[cfg(feature = "embedded-tls")]
pub mod tls;
mod updates;

pub use driver::{Buffers, Error};
pub use flash::*;
pub use network::{Network, SocketBuffers, Tcp, TcpStream};
pub use updates::*;
