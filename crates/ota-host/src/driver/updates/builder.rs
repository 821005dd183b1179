//! The settings of a device.

use std::error::Error;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ota_proto::credentials::BadLogin;
use ota_proto::{BadVersion, Downgrade, Hold, Order, Region, Verify, Version};
use ota_wire::client;
use ota_wire::mqtt::{ConnectLogin, Expiry};

use super::device::Device;
use super::one_device::{OneDevice, Open};
use crate::driver::engine::{EngineError, Options, SignIn};
use crate::driver::run::Driver;
#[cfg(feature = "tls")]
use crate::driver::tls::{BadTls, Renewal, Tls};
use crate::files::dir::DataDir;
use crate::files::error::HostError;
use crate::files::journal::JournalFile;
use crate::files::slot::{FileSlot, SlotOptions};
use crate::files::storage::Storage;
use crate::files::switch::{NoSwitch, Switch};

/// Sets up a device; [`Builder::open`] starts it. Each method replaces one default.
///
/// `Updates::builder` makes it.
#[must_use = "nothing happens before `open`"]
pub struct Builder<U> {
    device: Device,
    version: String,
    dir: PathBuf,
    region: Region,
    broker: Option<(String, u16)>,
    secure: bool,
    seed: Option<u64>,
    login_valid: Duration,
    slot: SlotOptions,
    switch: Box<dyn Switch + Send>,
    machine: ota_proto::Config,
    client: client::ClientConfig,
    options: Options,
    opens: PhantomData<fn() -> U>,
}

impl<U: Open> Builder<U> {
    /// Makes the defaults for this device, which runs this version, with its data in this folder.
    pub fn new(device: Device, version: &str, dir: impl Into<PathBuf>) -> Self {
        let machine = ota_proto::Config::new(device.identity().clone(), 0);
        // Host, port and seed follow in `open`, and each connection makes its own login.
        let login = ConnectLogin::new(String::new(), String::new(), String::new());
        Self {
            device,
            version: version.to_owned(),
            dir: dir.into(),
            region: Region::default(),
            broker: None,
            secure: true,
            seed: None,
            login_valid: Duration::from_secs(86_400),
            slot: SlotOptions::default(),
            switch: Box::new(NoSwitch),
            machine,
            client: client::ClientConfig::new(String::new(), 0, true, login, 0),
            options: Options::default(),
            opens: PhantomData,
        }
    }

    /// Sets the region of the product, which determines the broker's name. Default
    /// [`Region::China`].
    pub fn region(mut self, region: Region) -> Self {
        self.region = region;
        self
    }

    /// Uses another broker than the platform's.
    pub fn broker(mut self, host: &str, port: u16) -> Self {
        self.broker = Some((host.to_owned(), port));
        self
    }

    /// Connects to the broker without TLS, for tests. Anyone on the network path can read and
    /// change everything.
    pub fn without_tls(mut self) -> Self {
        self.secure = false;
        self
    }

    /// Trusts the CAs in this PEM text: only them for the broker, and them beside the public CAs
    /// for firmware servers.
    ///
    /// # Errors
    /// [`BadTls`] if the text has no usable certificate.
    #[cfg(feature = "tls")]
    pub fn ca_pem(self, pem: &[u8]) -> Result<Self, BadTls> {
        Ok(self.tls(Tls::new(Some(pem), None)?))
    }

    /// Sets the trusted CAs, and the certificate of a device that signs in with one. Default: the
    /// public CAs, which do not include the CA of the platform's own brokers.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.options.tls = Some(tls);
        self
    }

    /// Updates the trusted certificates before each connection, so that they can be replaced while
    /// the program runs.
    #[cfg(feature = "tls")]
    pub fn renewal(mut self, renewal: Renewal) -> Self {
        self.options.renewal = Some(renewal);
        self
    }

    /// How long a login is valid after its connection. Default: a day.
    pub fn login_valid(mut self, time: Duration) -> Self {
        self.login_valid = time;
        self
    }

    /// The longest silence before the device pings the broker: whole seconds, at most 900 for the
    /// platform's broker. Default: 60 s. A longer one costs less power and traffic; a dead
    /// connection is then noticed later.
    ///
    /// [`Builder::open`] refuses a value that CONNECT cannot carry: 0, a part of a second, or more
    /// than 65,535 s.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.client.mqtt.timing.keep_alive = time.into();
        self
    }

    /// The minimum interval between two connections, and the longest wait before the first one.
    /// Default: 5 s, the platform's limit.
    pub fn connect_spacing(mut self, time: Duration) -> Self {
        self.client.reconnect.set_spacing(time.into(), time.into());
        self
    }

    /// Accepts firmware over plain `http`.
    pub fn allow_http(mut self) -> Self {
        self.machine.allow_http = true;
        self
    }

    /// Refuses a firmware server whose address is not a public one.
    pub fn public_store_only(mut self) -> Self {
        self.options.public_store_only = true;
        self
    }

    /// Asks before a download: `Event::Offered`. Default: it starts by itself.
    pub fn ask_to_download(mut self) -> Self {
        self.machine.consent = Hold::Ask;
        self
    }

    /// Asks whether to approve a verified image, for your own signature: `Event::Ready`.
    /// `Updates::image` is the image then. Default: it is approved.
    pub fn ask_to_approve(mut self) -> Self {
        self.machine.approval = Hold::Ask;
        self
    }

    /// Asks when to install a verified image: `Event::Ready`. Default: at once.
    pub fn ask_to_install(mut self) -> Self {
        self.machine.install = Hold::Ask;
        self
    }

    /// Refuses a version that is not newer in this order than the running one. Default: older
    /// versions are installed, too.
    pub fn refuse_older(mut self, order: Order) -> Self {
        self.machine.downgrade = Downgrade::Refuse(order);
        self
    }

    /// Hashes an image during its download, which leaves little work for the end. Default: reads it
    /// back from the disk and hashes it once, at the end.
    pub fn hash_while_downloading(mut self) -> Self {
        self.machine.verify = Verify::Trailing;
        self
    }

    /// How images are stored in the data folder.
    pub fn slot(mut self, options: SlotOptions) -> Self {
        self.slot = options;
        self
    }

    /// Sets what switches to the new version and back, such as [`AbSlots`](crate::AbSlots) or a
    /// boot loader. With one, the new version runs on trial. Default: nothing; the version that
    /// runs after `Event::Restart` stays.
    pub fn switch(mut self, switch: impl Switch + Send + 'static) -> Self {
        self.switch = Box::new(switch);
        self
    }

    /// The seed of all random numbers. Default: random bytes from the system. Tests set it.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Keeps this many bytes of the latest inputs for `recording`. Default 0: nothing is recorded.
    pub fn record(mut self, bytes: usize) -> Self {
        self.options.record = bytes;
        self
    }

    /// Changes the other settings of the update: limits and times. Convert a `Duration` by
    /// `into()`.
    pub fn machine(mut self, change: impl FnOnce(&mut ota_proto::Config)) -> Self {
        change(&mut self.machine);
        self
    }

    /// Changes the other settings of the connection: limits, times, the interval between
    /// connections. [`Builder::open`] sets its host, port, login and seed.
    pub fn client(mut self, change: impl FnOnce(&mut client::ClientConfig)) -> Self {
        change(&mut self.client);
        self
    }

    /// Opens the data folder and starts the device. It connects when `next` is called. Blocks for
    /// as long as it takes to read a few small files.
    ///
    /// # Errors
    /// [`OpenError`]: the folder cannot be used, or the settings are invalid.
    pub async fn open(self) -> Result<U, OpenError> {
        let version = Version::new(&self.version).map_err(OpenError::Version)?;
        let seed = self.seed.map_or_else(random, Ok)?;
        let dir = DataDir::open(&self.dir)?;
        let slot = FileSlot::open(&dir, self.slot)?;
        let storage = Storage::new(slot, JournalFile::open(&dir)?, self.switch);

        let port = if self.secure { Region::TLS_PORT } else { Region::PLAIN_PORT };
        let named = || (self.region.broker(self.device.identity().product_id()), port);
        let (host, port) = self.broker.unwrap_or_else(named);
        let login = self.device.login(seed, Expiry::FAR).map_err(OpenError::AppId)?;
        let lasting = Arc::new(AtomicBool::new(false));
        let (mut client, mut options) = (self.client, self.options);
        (client.host, client.port, client.tls) = (host, port, self.secure);
        (client.mqtt.login, client.seed) = (login, seed);
        options.sign_in = Some(sign_in(self.device, self.login_valid, seed, &lasting));

        let mut driver = Driver::with_options(client, options)?;
        let mut machine = self.machine;
        machine.seed = seed;
        driver.control_mut().add_device(machine, version.as_str(), storage)?;
        Ok(U::from_device(OneDevice::new(driver, lasting)))
    }
}

/// Makes a login for each connection, and notes in `lasting` if it does not expire.
fn sign_in(device: Device, valid: Duration, seed: u64, lasting: &Arc<AtomicBool>) -> SignIn {
    let lasting = Arc::clone(lasting);
    SignIn::new(Expiry::new(valid), move |expiry| {
        lasting.store(expiry == Expiry::FAR, Ordering::Relaxed);
        // What could be made once, in `open`, can be made again.
        let none = || ConnectLogin::new(String::new(), String::new(), String::new());
        device.login(seed, expiry).unwrap_or_else(|why| {
            debug_assert!(false, "{why}");
            none()
        })
    })
}

/// A seed that differs from other devices', so that the back-off spreads a fleet in time.
fn random() -> Result<u64, OpenError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|why| OpenError::Random(why.into()))?;
    Ok(u64::from_le_bytes(bytes))
}

/// Without secrets.
impl<U> fmt::Debug for Builder<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("device", &self.device)
            .field("version", &self.version)
            .field("dir", &self.dir)
            .field("broker", &self.broker)
            .finish_non_exhaustive()
    }
}

/// Why a device cannot start.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The data folder, or a file in it, cannot be used.
    Files(HostError),
    /// The caller's fault: the version is invalid.
    Version(BadVersion),
    /// The caller's fault: the settings are invalid.
    Settings(EngineError),
    /// The caller's fault: the application id is not a number.
    AppId(BadLogin),
    /// The system has no random number for the seed.
    Random(io::Error),
}

impl From<HostError> for OpenError {
    fn from(why: HostError) -> Self {
        Self::Files(why)
    }
}

impl From<EngineError> for OpenError {
    fn from(why: EngineError) -> Self {
        Self::Settings(why)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Files(why) => why.fmt(f),
            Self::Settings(why) => why.fmt(f),
            Self::AppId(why) => why.fmt(f),
            Self::Version(why) => write!(f, "the running version: {why}"),
            Self::Random(why) => write!(f, "the system has no random number: {why}"),
        }
    }
}

impl Error for OpenError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Files(why) => why.source(),
            Self::Random(why) => Some(why),
            Self::Settings(_) | Self::AppId(_) | Self::Version(_) => None,
        }
    }
}
