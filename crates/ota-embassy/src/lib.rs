//! Firmware updates on embassy, for devices of Tencent Cloud IoT. [`Updates`] connects the OTA core
//! to embassy-net sockets, embassy-time and NOR flash. The core makes all decisions.
//!
//! ```no_run
//! use ota_embassy::{Device, Event, FlashStorage, Installed, Tcp, Updates};
//! # use std::error::Error;
//! # use embedded_storage_async::nor_flash::NorFlash;
//! # mod cortex_m { pub mod peripheral { pub struct SCB; impl SCB { pub fn sys_reset() -> ! { loop {} } } } }
//! # fn self_test() -> bool { true }
//! # const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
//! # const ACTIVE: usize = 256 * 1024;
//! # async fn run(
//! #     stack: embassy_net::Stack<'_>, dfu: impl NorFlash, state: impl NorFlash, journal: impl NorFlash,
//! # ) -> Result<(), Box<dyn Error>> {
//!
//! // All memory of the update but the heap.
//! let (mut sockets, mut packet, mut body) = ([[0; 2048]; 4], [0; 4096], [0; 4096]);
//! let [a, b, c, d] = &mut sockets;
//! let tcp = Tcp::new(stack, (a, b), (c, d));
//! let mut units = [0; 64]; // one write unit of DFU, and one of the state region
//! let storage = FlashStorage::with_boot(dfu, state, journal, ACTIVE, &mut units)?;
//! let buffers = (&mut packet, &mut body).into();
//!
//! let me = Device::new("TESTPROD01", "dev001", SECRET.parse()?)?;
//! let mut ota = Updates::new(&tcp, me, env!("CARGO_PKG_VERSION"), storage, buffers).await?;
//! loop {
//!     match ota.next().await {
//!         Event::Install(_) => ota.installed(Installed::NeedsRestart)?,
//!         Event::Restart => cortex_m::peripheral::SCB::sys_reset(),
//!         Event::Trial => if self_test() { ota.confirm()? },
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! At `Install` the application can still delay the update; the boot loader swaps the images at the
//! reset. Then the new version runs on [`Trial`](Event::Trial). After [`Updates::confirm`] the slot
//! is confirmed once the cloud has also answered the new version's report ([`Event::Done`]). Any
//! reset before that returns to the old version.
//!
//! Each connection gets a new login. With [`Builder::clock`] a login is valid for a day; without a
//! clock it does not expire. The broker's name follows from the product and the [`Region`]. Use
//! [`Updates::builder`] to change defaults. For sub-devices, several devices or your own login use
//! the [`driver`](mod@driver), one level down.
//!
//! # Memory
//!
//! Bytes used during a whole update, measured by `tests/memory.rs` on a 64-bit host; a 32-bit board
//! needs a little less. None of it grows with the image.
//!
//! | what | default | small profile |
//! |---|---:|---:|
//! | two sockets, 2 KiB each way | 8,288 | 8,288 |
//! | receive buffers: longest MQTT packet, and one line of a head | 5,120 | 3,072 |
//! | a write unit for the slot, one for the boot loader's state | 16 | 16 |
//! | [`Updates`] | 24 | 24 |
//! | heap at its peak, driver and storage included | 8,145 | 8,145 |
//! | **all** | **21,593** | **19,545** |
//!
//! The heap is that of an offer with a URL of 100 bytes. A longer URL and the offer's text need
//! more, up to `Limits::url` and `Limits::user_defined` of the device's configuration. The small
//! profile is in `docs/microcontroller.md`. The application's network stack needs `StackResources`
//! for two more sockets, and a third to resolve names.
//!
//! # TLS
//!
//! [`Tcp`] has no TLS: it connects to the broker on port 1883, and fetches firmware over plain
//! `http`. Anyone on the network path can read and change everything. The crate `ota-embassy-tls`
//! adds TLS 1.3, for servers of one private CA.
//!
//! Your own [`Network`] can open other streams: with a modem's TLS, or another library around a
//! [`TcpStream`]. The authenticity of firmware must not depend on TLS: check a signature before you
//! approve an image.
//!
//! # Features
//!
//! * `boot`: `BootSwitch`, embassy-boot as the boot loader.
//! * `defmt`: `defmt::Format` for events and errors, those of `ota-proto` and `ota-wire` included.
//!   This crate logs nothing itself.
//! * `flash-erase-zero`: embassy-boot's feature of that name, for flash that erases to zeros. The
//!   boot loader needs it, too.
//! * `ed25519-dalek`, `ed25519-salty`: `SignedSwitch`, which activates only signed images, with
//!   embassy-boot's check. Choose one of the two backends: the first is faster, the second smaller.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod driver;
mod flash;
mod network;
mod socket;
mod time;
mod updates;

pub use driver::{Buffers, Error};
pub use flash::*;
pub use network::{Network, SocketBuffers, Tcp, TcpStream};
pub use updates::*;
