//! Firmware updates on tokio: [`Driver`] joins the OTA core to TCP sockets, a timer and the
//! blocking pool, and decides nothing.
//!
//! ```no_run
//! use ota_host::{DataDir, FileSlot, Image, JournalFile, NoSwitch, SlotOptions, Storage};
//! use ota_proto::{Event as Update, Identity, Installed};
//! use ota_tokio::{Config, Driver, Event};
//! use ota_wire::{client, mqtt};
//!
//! # async fn run(login: mqtt::Login, seed: u64) -> Result<(), Box<dyn std::error::Error>> {
//! let mut driver = Driver::new(Config::new("127.0.0.1".into(), 1883, false, login, seed))?;
//!
//! let dir = DataDir::open("data")?;
//! let slot = FileSlot::open(&dir, SlotOptions::default())?;
//! let storage = Storage::new(slot, JournalFile::open(&dir)?, Box::new(NoSwitch));
//! let device = ota_proto::Config::new(Identity::new("TESTPROD01", "dev001")?, seed);
//! driver.add_device(device, "0.1.0", storage)?;
//!
//! loop {
//!     match driver.next().await? {
//!         Event::Client(client::Event::Device { device, event: Update::Install { .. } }) => {
//!             println!("installing {:?}", driver.image(device).map(Image::path));
//!             driver.command(device, |updater, now| updater.installed(now, Installed::Running))?;
//!         }
//!         event => println!("{event:?}"),
//!     }
//! }
//! # }
//! ```
//!
//! With the feature `tls`, which is on by default, brokers and stores are talked to over TLS, and
//! [`Options::tls`] says who is trusted. Without it a broker that wants TLS is refused by
//! [`Driver::new`](ota_host::Driver::new), and an offer that does ends with the cloud being told
//! so.
#![forbid(unsafe_code)]

mod runtime;

ota_host::updates!(runtime::Runtime);

/// One level down: several devices on one connection, sub-devices, storage of your own.
///
/// [`Updates`](crate::Updates) is a [`Driver`](driver::Driver) with one device.
pub mod driver {
    #[cfg(feature = "tls")]
    pub use ota_host::{BadTls, Certificate, Renewal, Tls};
    pub use ota_host::{Control, EngineError as Error, Event, Options};
    pub use ota_wire::client::{Config, DeviceIndex};

    pub use crate::runtime::Runtime;

    /// The driver on tokio, see [`ota_host::Driver`].
    pub type Driver = ota_host::Driver<Runtime>;
}
