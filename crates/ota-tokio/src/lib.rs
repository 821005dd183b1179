//! Firmware updates of Tencent Cloud IoT devices on tokio.
//!
//! ```no_run
//! use ota_tokio::{Device, Event, Installed, Secret, Updates};
//!
//! # const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";
//! # async fn install(_: std::path::PathBuf) -> std::io::Result<()> { Ok(()) }
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let me = Device::new("TESTPROD01", "dev001", Secret::from_base64(SECRET)?)?;
//!     let mut ota = Updates::open(me, env!("CARGO_PKG_VERSION"), "/var/lib/ota").await?;
//!     loop {
//!         match ota.next().await? {
//!             Event::Install(image) => {
//!                 install(image.path()).await?; // yours: the image is complete and verified
//!                 ota.installed(Installed::NeedsRestart)?;
//!             }
//!             Event::Restart => std::process::exit(0), // the new version is started next
//!             event => println!("{event}"),
//!         }
//!     }
//! }
//! ```
//!
//! [`Updates`] is the whole API: events, commands, and the application's own topics on the same
//! connection. [`Updates::builder`] has every setting. An [`Event`] prints as a sentence that says
//! what to do, for a log.
//!
//! The platform's own brokers have certificates of a private CA. Give its certificate to
//! [`Builder::ca_pem`].
//!
//! With the feature `tls`, which is on by default, brokers and firmware servers are reached over
//! TLS. Without it [`Builder::open`] refuses a broker with TLS, and an offer with an `https` URL
//! ends with the cloud being told so.
//!
//! Several devices on one connection, sub-devices and storage of your own are one level down, in
//! [`driver`].
#![forbid(unsafe_code)]

mod runtime;

ota_host::updates!(runtime::Runtime);

/// One level down: several devices on one connection, sub-devices, storage of your own.
///
/// [`Updates`] is a [`Driver`](driver::Driver) with one device. The types of a
/// device's storage and configuration are in `ota_host`, `ota_wire` and `ota_proto`.
///
/// ```no_run
/// use ota_host::{DataDir, FileSlot, Image, JournalFile, NoSwitch, SlotOptions, Storage};
/// use ota_proto::{Command, Event as Update, Identity, Installed};
/// use ota_tokio::driver::{ClientConfig, Driver, DriverEvent};
/// use ota_wire::{client, mqtt};
///
/// # async fn run(login: mqtt::ConnectLogin, seed: u64) -> Result<(), Box<dyn std::error::Error>> {
/// let mut driver = Driver::new(ClientConfig::new("127.0.0.1".into(), 1883, false, login, seed))?;
///
/// let dir = DataDir::open("data")?;
/// let slot = FileSlot::open(&dir, SlotOptions::default())?;
/// let storage = Storage::new(slot, JournalFile::open(&dir)?, Box::new(NoSwitch));
/// let device = ota_proto::Config::new(Identity::new("TESTPROD01", "dev001")?, seed);
/// driver.add_device(device, "0.1.0", storage)?;
///
/// loop {
///     match driver.next().await? {
///         DriverEvent::Client(client::ClientEvent::Device { device, event: Update::Install { .. } }) => {
///             println!("installing {:?}", driver.image(device).map(Image::path));
///             driver.command(device, Command::Installed(Installed::Running))?;
///         }
///         event => println!("{event:?}"),
///     }
/// }
/// # }
/// ```
pub mod driver {
    pub use ota_host::{DriverEvent, EngineError as Error, Options};
    pub use ota_wire::client::{ClientConfig, DeviceIndex};

    pub use crate::runtime::Runtime;

    ota_host::driver!(Runtime);
}
