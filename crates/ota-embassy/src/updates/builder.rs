//! The settings of a device.

use alloc::borrow::ToOwned as _;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::time::Duration;

use ota_proto::credentials::Secret;
use ota_proto::{Downgrade, Hold, Order, Region, Rng};
use ota_wire::client;
use ota_wire::mqtt::{ConnectLogin, Expiry};

use super::device::{Logins, UnixTime};
use super::{Device, Updates};
use crate::driver::{Buffers, Driver, Error};
use crate::flash::{BootState, Storage};
use crate::network::Network;
use crate::time::now;

/// Sets up a device; [`Builder::start`] starts it. Each method replaces one default.
#[must_use = "nothing happens before `start`"]
pub struct Builder<'d> {
    running: &'d str,
    /// On the heap, and freed when the device has started, because tasks of microcontrollers never
    /// end.
    settings: Box<Settings<'d>>,
}

struct Settings<'d> {
    secret: Secret,
    region: Region,
    broker: Option<(String, u16)>,
    without_tls: bool,
    allow_http: Option<bool>,
    seed: Option<u64>,
    login_valid: Duration,
    unix_time: UnixTime<'d>,
    machine: ota_proto::Config,
    client: client::ClientConfig,
}

impl<'d> Builder<'d> {
    /// Makes the defaults for this device, which runs this version.
    pub fn new(device: Device, running: &'d str) -> Self {
        let Device { identity, secret } = device;
        // Host, port, seed and login are set at the start.
        let login = ConnectLogin { client_id: "none".into(), user_name: None, password: None };
        let settings = Settings {
            secret,
            region: Region::default(),
            broker: None,
            without_tls: false,
            allow_http: None,
            seed: None,
            login_valid: Duration::from_secs(86_400),
            unix_time: &|| None,
            machine: ota_proto::Config::new(identity, 0),
            client: client::ClientConfig::new(String::new(), 0, true, login, 0),
        };
        Self { running, settings: Box::new(settings) }
    }

    /// Sets the region of the product, which determines the broker's name. Default
    /// [`Region::China`].
    pub fn region(mut self, region: Region) -> Self {
        self.settings.region = region;
        self
    }

    /// Uses another broker than the platform's.
    pub fn broker(mut self, host: &str, port: u16) -> Self {
        self.settings.broker = Some((host.to_owned(), port));
        self
    }

    /// Connects to the broker without TLS although the network has it, for tests.
    pub fn without_tls(mut self) -> Self {
        self.settings.without_tls = true;
        self
    }

    /// Whether to fetch firmware over plain `http`. Default: only on a network without TLS, which
    /// cannot fetch anything else, and where an attacker who can change the firmware could change
    /// the offer too. Check a signature before you approve an image.
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.settings.allow_http = Some(allow);
        self
    }

    /// The clock: the time of day in Unix seconds, from a real-time clock or the network; `None`
    /// while it is unknown. Default: no clock.
    ///
    /// With a clock a login is valid for one day ([`Builder::login_valid`]). Without one, or while
    /// it is not set or shows an earlier time than the journal, logins are valid until the year
    /// 2100, like those of the vendor's SDKs: whoever sees one on a link without TLS can use it
    /// until then. The same holds for one login after a refused one, because the clock may be
    /// wrong.
    ///
    /// TLS has its own clock.
    pub fn clock(mut self, unix_time: &'d dyn Fn() -> Option<u64>) -> Self {
        self.settings.unix_time = unix_time;
        self
    }

    /// How long a login is valid after its connection starts, by the clock. Default: one day.
    pub fn login_valid(mut self, time: Duration) -> Self {
        self.settings.login_valid = time;
        self
    }

    /// The longest silence before the device pings the broker: whole seconds, at most 900 for the
    /// platform's broker. Default: 60 s. A longer one costs less power and traffic; a dead
    /// connection is then noticed later.
    ///
    /// [`Builder::start`] refuses a value that CONNECT cannot carry: 0, a part of a second, or more
    /// than 65,535 s.
    pub fn keep_alive(mut self, time: Duration) -> Self {
        self.settings.client.mqtt.timing.keep_alive = time.into();
        self
    }

    /// Asks before a download: `Event::Offered`. Default: it starts by itself.
    pub fn ask_to_download(mut self) -> Self {
        self.settings.machine.consent = Hold::Ask;
        self
    }

    /// Asks whether to approve a verified image, for your own signature: `Event::Ready`. The storage
    /// holds the image then, and `Updates::offer` has its size and digest. Default: it is approved.
    pub fn ask_to_approve(mut self) -> Self {
        self.settings.machine.approval = Hold::Ask;
        self
    }

    /// Asks when to install a verified image: `Event::Ready`. Default: at once.
    pub fn ask_to_install(mut self) -> Self {
        self.settings.machine.install = Hold::Ask;
        self
    }

    /// Refuses a version that is not newer in this order than the running one. Default: older
    /// versions are installed, too.
    pub fn refuse_older(mut self, order: Order) -> Self {
        self.settings.machine.downgrade = Downgrade::Refuse(order);
        self
    }

    /// The seed of all random numbers, which spreads the devices of a fleet in time. Default: made
    /// from the device's names and the current time.
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// Changes the other settings of the update: limits and times. Set the seed and plain `http` only
    /// with [`Builder::seed`] and [`Builder::allow_http`].
    pub fn machine(mut self, change: impl FnOnce(&mut ota_proto::Config)) -> Self {
        change(&mut self.settings.machine);
        self
    }

    /// Changes the other settings of the connection: limits, times, the interval between
    /// connections. [`Builder::start`] sets its host, port, login and seed.
    pub fn client(mut self, change: impl FnOnce(&mut client::ClientConfig)) -> Self {
        change(&mut self.settings.client);
        self
    }

    /// Reads the state at boot, and starts the device on this network. It connects when `next` is
    /// called.
    ///
    /// # Errors
    /// [`Error`]: the flash cannot be read, a buffer is too short, or the settings are invalid.
    #[allow(clippy::manual_async_fn, reason = "an `async fn` would hold its arguments twice")]
    pub fn start<N: Network + 'd>(
        self,
        network: N,
        mut storage: impl Storage + 'd,
        buffers: Buffers<'d>,
    ) -> impl Future<Output = Result<Updates<'d, N>, Error>> {
        async move {
            let found = storage.boot().await.map_err(Error::Storage)?;
            // Nothing is awaited from here on, so the task need not hold the driver twice.
            self.finish(network, storage, found, buffers)
        }
    }

    fn finish<N: Network + 'd>(
        self,
        network: N,
        storage: impl Storage + 'd,
        found: BootState,
        buffers: Buffers<'d>,
    ) -> Result<Updates<'d, N>, Error> {
        let Settings { secret, region, broker, without_tls, allow_http, .. } = *self.settings;
        let Settings { seed, login_valid, unix_time, mut machine, mut client, .. } = *self.settings;
        let secure = N::TLS && !without_tls;
        let port = if secure { Region::TLS_PORT } else { Region::PLAIN_PORT };
        let named = || (region.broker(machine.identity.product_id()), port);
        (client.host, client.port) = broker.unwrap_or_else(named);
        client.tls = secure;
        let seed = seed.unwrap_or_else(|| own_seed(machine.identity.report_topic()));
        (client.seed, machine.seed) = (seed, seed);
        machine.allow_http = allow_http.unwrap_or(!N::TLS);
        let mut driver = Box::new(Driver::new(network, client, buffers)?);
        let (rng, expiry) = (Rng::new(seed), Expiry::new(login_valid));
        driver.sign_in = Some(Box::new(Logins { secret, unix_time, rng, expiry }));
        let Driver { workers, engine, .. } = &mut *driver;
        workers.add_device(engine, machine, self.running, storage, found)?;
        Ok(Updates { driver, taken: None })
    }
}

/// A number that differs from other devices', and almost always from earlier starts of this one.
fn own_seed(name: &str) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ now().as_micros(), hash)
}

impl fmt::Debug for Builder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("running", &self.running)
            .field("machine", &self.settings.machine)
            .field("client", &self.settings.client)
            .finish_non_exhaustive()
    }
}
