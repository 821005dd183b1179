//! The cloud as a service: the MQTT endpoint and the firmware server over tokio sockets.
//!
//! One thread takes the turns of [`cycle`] over a store. Each connection is a task with bounded
//! queues to and from that thread. Both listeners bind addresses that the caller chooses. Instead
//! of listening for devices, the cloud can be a client of another broker: [`ota_cloud::broker`].
//! State is in memory, or with [`ServiceConfig::data`] in a folder that survives a restart.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use ota_cloud::Rollout;
//! use ota_proto::Identity;
//! use ota_proto::credentials::Secret;
//! use ota_server::{NewFirmware, Service, ServiceConfig};
//!
//! let running = Service::start(ServiceConfig::default()).await?;
//! let device = Identity::new("TESTPROD01", "dev001")?;
//! let cloud = running.handle();
//! cloud.add_device(&device, &Secret::from_base64("MDEyMzQ1Njc4OWFiY2RlZg==")?).await?;
//! cloud.add_firmware(NewFirmware::file("TESTPROD01", "1.0.0", "image.bin")).await?;
//! cloud.set_rollout("TESTPROD01", Some(Rollout::new("1.0.0"))).await?;
//! println!("devices connect to {}", running.mqtt_addr());
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

mod api;
mod batches;
mod clock;
mod console;
mod cookies;
pub mod cycle;
mod disk;
mod error;
mod exposition;
mod faults;
mod firmware;
mod handle;
mod hooks;
mod hub;
mod join;
mod journal;
mod keys;
mod listen;
mod log;
mod mqtt;
mod outbox;
mod pieces;
mod push;
mod refused;
mod store;
mod stream;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
mod vitals;
mod watched;
mod web;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use clock::Clock;
use faults::Faults;
use firmware::Firmware;
use hub::{BrokerLink, Hub};
use join::{FromHub, Way};
use journal::Journal;
use keys::Keys;
use listen::{Door, Share};
use ota_cloud::api::SettingsView;
use ota_cloud::api::hook::Net;
use ota_cloud::broker::Broker;
use ota_cloud::endpoint;
use ota_cloud::fault::FaultPlan;
use ota_cloud::sign::UrlSigner;
use ota_cloud::{CloudConfig, Listed};
use ota_store::{DataFolder, ImageName, Images, Memory, Sqlite, Store, StoreError, seal};
use vitals::Listener;
use watched::Watched;

pub use api::{add_key, admin_link};
pub use error::{HandleError, KeyError, StartError};
pub use handle::{Handle, NewFirmware};
pub use hooks::Webhooks;
pub use hub::Point;
pub use log::{Entry, Log, Payload, What};
pub use store::Source;
#[cfg(feature = "tls")]
pub use tls::BadTls;
pub use tls::{ClientTls, ServerTls};

/// The configuration of the service.
#[derive(Clone, Debug)]
pub struct ServiceConfig {
    /// The address of the MQTT listener. Default `127.0.0.1:0`: the system chooses the port.
    pub mqtt_addr: SocketAddr,
    /// The broker to join as a client, instead of listening for devices. Default none.
    pub broker: Option<Broker>,
    /// The trust anchors for the broker. Required for an `mqtts` URL. Default none.
    pub broker_tls: Option<ClientTls>,
    /// The address of the firmware server. Default `127.0.0.1:0`.
    pub http_addr: SocketAddr,
    /// The prefix of the URLs in offers (`https://host:port`, no slash at the end). Default
    /// `http://` (with TLS `https://`) and the bound address. Set it behind a proxy, with an
    /// address of 0.0.0.0, or when the certificate is for a name.
    pub public_url: Option<String>,
    /// If set, both listeners accept only TLS. Default none.
    pub tls: Option<ServerTls>,
    /// How often the files of [`ServerTls::follow`] are looked at. Default 10 s.
    pub tls_check: Duration,
    /// How often disk and certificate are looked at for alerts. Default 30 s.
    pub alert_check: Duration,
    /// How long the URL of an offer is valid. Default 24 h, as on the platform.
    pub url_life: Duration,
    /// The key that signs URLs. Random by default.
    pub url_key: Option<Vec<u8>>,
    /// Accepts unregistered devices with any password. Registered devices must still prove their
    /// own secret. The product id of an unregistered device is the first 10 characters of its
    /// client id.
    pub anonymous: bool,
    /// Refuses a login within this time of the device's last one. The platform uses 5 s
    /// (docs/protocol.md, Connection). Off by default.
    pub connect_spacing: Option<Duration>,
    /// The most connections of each kind. A further one is closed at once. Default 1,024.
    pub max_connections: usize,
    /// The most connections of each kind from one address, for IPv6 from its /64. Default: three
    /// quarters of `max_connections`, and all of them from this machine, where a proxy may be.
    pub connections_of_one: Option<usize>,
    /// The bounds of each MQTT connection.
    pub limits: endpoint::Limits,
    /// How long an HTTP client may take to send a request, to start the next one, and to read an
    /// answer. Default 30 s.
    pub http_patience: Duration,
    /// The most log entries that are queued for the slowest reader, each with a message of at most
    /// [`endpoint::Limits::payload`]. Default 1,024.
    pub log_entries: usize,
    /// Whether the log has every message ([`What::Received`], [`What::Sent`]), every request to the
    /// firmware server with a status below 500, and every event that changes nothing: a repeated
    /// version report, and progress between two statuses. Turn it off to save work for a fleet that
    /// nobody watches. Default yes.
    pub log_messages: bool,
    /// The folder of the state. It is created if absent, and only one process may use it at a time.
    /// Without it the state is in memory.
    pub data: Option<PathBuf>,
    /// The most events that are kept; the oldest are removed first. Default 20,000 in memory,
    /// 1,000,000 in a folder.
    pub events: Option<u64>,
    /// How long events and lines of the audit are kept. Default 90 days, and two years.
    pub keep: cycle::Keep,
    /// Called at each [`Point`] of each turn, so that a test can end the process there. Default
    /// none.
    #[doc(hidden)]
    pub points: Option<fn(Point)>,
    /// How webhooks are reached, which need the API.
    pub webhooks: Webhooks,
    /// The system's clock, so that a test can set it. Default [`SystemTime::now`].
    #[doc(hidden)]
    pub system_clock: fn() -> SystemTime,
    /// The configuration of the API. Default none: no API.
    pub api: Option<ApiConfig>,
    /// The faults to inject. Default none.
    pub faults: FaultPlan,
    /// The settings of the cloud engine. [`Service::start`] sets `signer`, `unix_at_zero` and
    /// `serves_since`.
    pub cloud: CloudConfig,
}

/// The configuration of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiConfig {
    /// The address. The API uses TLS if the other listeners do.
    pub addr: SocketAddr,
    /// Permits plain text beyond loopback.
    pub plain: bool,
    /// The file of the first key, which has all rights. If no key exists at the start, the key in
    /// this file is taken; without the file, one is created with mode 0600. Default `first-start`
    /// in the data folder.
    pub key_file: Option<PathBuf>,
    /// The prefix of upload URLs (`https://host:port`), for a proxy in front. Default: the host of
    /// the request.
    pub public_url: Option<String>,
    /// Accepts the vendor's old signatures, `HmacSHA1` and `HmacSHA256`, too. Default no.
    pub old_signatures: bool,
    /// Shows the metrics to anybody, without a key. Default no.
    pub open_metrics: bool,
    /// The proxies whose `X-Forwarded-For` or `Forwarded` says whom a request is from. Default none:
    /// the peer of the connection counts.
    pub trusted_proxies: Vec<Net>,
}

impl ApiConfig {
    /// The defaults, with this address.
    #[must_use]
    pub const fn new(addr: SocketAddr) -> Self {
        Self {
            addr,
            plain: false,
            key_file: None,
            public_url: None,
            old_signatures: false,
            open_metrics: false,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for ServiceConfig {
    fn default() -> Self {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let signer = UrlSigner::new("", Vec::new(), UrlSigner::LIFE);
        Self {
            mqtt_addr: any,
            broker: None,
            broker_tls: None,
            http_addr: any,
            public_url: None,
            tls: None,
            tls_check: Duration::from_secs(10),
            alert_check: Duration::from_secs(30),
            url_life: UrlSigner::LIFE,
            url_key: None,
            anonymous: false,
            connect_spacing: None,
            max_connections: 1024,
            connections_of_one: None,
            limits: endpoint::Limits::default(),
            http_patience: Duration::from_secs(30),
            log_entries: 1024,
            log_messages: true,
            data: None,
            events: None,
            keep: cycle::Keep::default(),
            points: None,
            webhooks: Webhooks::default(),
            system_clock: clock::system,
            api: None,
            faults: FaultPlan::new(0),
            cloud: CloudConfig::new(signer, 0),
        }
    }
}

/// The service; see [`Service::start`].
#[derive(Clone, Copy, Debug)]
pub struct Service;

impl Service {
    /// Binds the addresses and starts. Call it in a tokio runtime with IO and time.
    ///
    /// # Errors
    /// [`StartError`], for example if an address cannot be bound or the system provides no random
    /// numbers for the key.
    pub async fn start(config: ServiceConfig) -> Result<Running, StartError> {
        Ok(Self::prepare(config).await?.open())
    }

    /// Does the same as [`Service::start`], but answers nobody before [`Prepared::open`]. Devices
    /// and firmware can be added first, so that no device is refused as unknown.
    ///
    /// # Errors
    /// Those of [`Service::start`].
    pub async fn prepare(config: ServiceConfig) -> Result<Prepared, StartError> {
        let (outbox, pushes) = mpsc::channel(mqtt::OUTBOX);
        let (told, telling) = mpsc::unbounded_channel();
        let (front, mqtt_addr) = front(&config, FromHub { pushes, told: telling })?;
        let (http, http_addr, base) = http_door(&config)?;
        let clock = Clock::start(config.system_clock);
        let mut state = State::open(config.data.as_deref())?;
        let bound =
            api::Bound { mqtt: mqtt_addr, http: http_addr, base: &base, events: state.events };
        let api = api_door(&config, &mut state, clock, &bound)?;
        let key = state.keys.url_key(&mut state.store, config.url_key.clone())?;
        let signer = UrlSigner::new(base, key, config.url_life);

        let journal = Journal::new(&config, clock);
        let log = journal.entries.downgrade();
        let joins = matches!(front, Front::Join { .. });
        let settings = settings(&config, &signer, clock, joins);
        let store = watched(state.store, &journal);
        let mut cloud = cycle::Engine::new(store, settings)?;
        let around = configure(&mut cloud, &config, state.events);
        let shelf = store::Shelf::default();
        let (plan, patience) = (config.faults, config.http_patience);
        let faults = Faults::new(&plan, journal.clone());
        let images = firmware::Images::new(plan, signer, clock, patience, shelf.clone());
        // No device is connected yet, so there is nobody to notify.
        batches::finish(&mut cloud, clock.unix_micros())?;
        if let Some(folder) = &state.images {
            api::sweep(&mut cloud, folder, clock.unix_micros())?;
            serve_again(cloud.listed()?, folder, &images)?;
        }
        let (inputs, queue) = mpsc::channel(INPUTS);
        let (news, follow) = watch::channel(());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let hub = Hub {
            cloud,
            keys: state.keys,
            clock,
            journal: journal.clone(),
            anonymous: config.anonymous,
            connect_spacing: config.connect_spacing,
            around,
            broker: joins.then_some(BrokerLink { outbox, told }),
            images: shelf,
            sessions: hub::Sessions::default(),
            pending: hub::Pending::default(),
            chores: hub::Chores::default(),
            points: config.points,
            broken: None,
            refusals: refused::Refusals::default(),
            news,
        };
        let halt = stop.clone();
        tasks.spawn_blocking(move || hub.run(queue, &halt));
        attend(&mut tasks, (config.tls, config.tls_check), &journal, &stop);
        let heard = journal.clone();
        let firmware = Firmware { images: images.clone(), clock, journal };
        let (link, folder) = (inputs.clone(), state.images);
        let handle = Handle { inputs: link, clock, images, folder, news: follow, log };
        let (guard, unix_at_zero) = (stop.clone().drop_guard(), clock.unix_at_zero());
        let met = api.as_ref().map(ApiDoor::met);
        let api = api.map(|door| door.open(&handle, heard, patience));
        let running =
            Running { mqtt_addr, http_addr, met, unix_at_zero, handle, tasks, stop: guard };
        Ok(Prepared { running, front, http, firmware, api, faults, inputs, stop })
    }
}

/// Starts what looks at the service's surroundings.
fn attend(
    tasks: &mut JoinSet<()>,
    (tls, every): (Option<ServerTls>, Duration),
    journal: &Journal,
    stop: &CancellationToken,
) {
    if let Some(tls) = tls {
        tasks.spawn(tls.watch(every, journal.clone(), stop.clone()));
    }
}

/// Counts and times what a store does.
fn watched(store: Box<dyn Store>, journal: &Journal) -> Box<dyn Store> {
    Box::new(Watched::new(store, journal.clock, journal.vitals.clone()))
}

/// The engine's settings.
fn settings(config: &ServiceConfig, signer: &UrlSigner, clock: Clock, joins: bool) -> CloudConfig {
    CloudConfig {
        signer: signer.clone(),
        // The engine's time starts at 1970.
        unix_at_zero: 0,
        serves_since: clock.unix_micros(),
        presume_connected: config.cloud.presume_connected || joins,
        ..config.cloud.clone()
    }
}

fn configure(cloud: &mut cycle::Cloud, config: &ServiceConfig, events: u64) -> hub::Around {
    cloud.allow_unknown(config.anonymous);
    cloud.tell_all(config.log_messages);
    cloud.keep_events(config.events.unwrap_or(events));
    hub::Around::new(config)
}

/// Prepares the way to devices: a broker to join, or a listener.
fn front(config: &ServiceConfig, from_hub: FromHub) -> Result<(Front, SocketAddr), StartError> {
    if let Some(broker) = &config.broker {
        let tls = config.broker_tls.clone().filter(|_| broker.is_secure());
        if broker.is_secure() && tls.is_none() {
            return Err(StartError::NoTls);
        }
        let (way, seed) = (Way { broker: broker.clone(), tls }, u64::from_le_bytes(random()?));
        return Ok((Front::Join { way, from_hub, seed }, NOWHERE));
    }
    let Bound { listener, addr } = bind("MQTT", config.mqtt_addr)?;
    let tls = config.tls.as_ref().map(ServerTls::mqtt);
    let door = device_door(config, Listener::Mqtt, listener, tls);
    Ok((Front::Listen { door, limits: config.limits }, addr))
}

/// Binds the firmware server. Returns its address and the prefix of its URLs, too.
fn http_door(config: &ServiceConfig) -> Result<(Door, SocketAddr, String), StartError> {
    let Bound { listener, addr } = bind("HTTP", config.http_addr)?;
    let tls = config.tls.as_ref().map(ServerTls::http);
    let scheme = if tls.is_some() { "https" } else { "http" };
    let base = config.public_url.clone().unwrap_or_else(|| format!("{scheme}://{addr}"));
    let door = device_door(config, Listener::Http, listener, tls);
    Ok((door, addr, base.trim_end_matches('/').to_owned()))
}

/// A listener for devices.
fn device_door(
    config: &ServiceConfig,
    name: Listener,
    listener: TcpListener,
    tls: Option<tls::Acceptor>,
) -> Door {
    let most = config.max_connections;
    Door { name, listener, tls, most, share: Share::or_default(config.connections_of_one, most) }
}

/// The bound listener of the API.
struct ApiDoor {
    config: ApiConfig,
    door: Door,
    addr: SocketAddr,
    readers: api::Readers,
    first_key: Option<PathBuf>,
    first_link: Option<String>,
    data: Option<PathBuf>,
    webhooks: Webhooks,
    settings: SettingsView,
}

/// What the caller learns of the API.
struct Met {
    addr: SocketAddr,
    first_key: Option<PathBuf>,
    /// A secret.
    first_link: Option<String>,
}

impl std::fmt::Debug for Met {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Met({}, {:?}, …)", self.addr, self.first_key)
    }
}

impl ApiDoor {
    fn met(&self) -> Met {
        let (first_key, first_link) = (self.first_key.clone(), self.first_link.clone());
        Met { addr: self.addr, first_key, first_link }
    }

    fn open(self, handle: &Handle, journal: Journal, patience: Duration) -> (Door, api::Api) {
        let (settings, config) = (self.settings, (&self.config, self.data, self.webhooks));
        let api = api::Api::new(handle.clone(), self.readers, journal, patience, config, settings);
        (self.door, api)
    }
}

/// Binds the API's address and ensures that at least one key exists.
fn api_door(
    config: &ServiceConfig,
    state: &mut State,
    clock: Clock,
    bound: &api::Bound<'_>,
) -> Result<Option<ApiDoor>, StartError> {
    let Some(api) = &config.api else { return Ok(None) };
    if config.tls.is_none() && !api.plain && !api.addr.ip().is_loopback() {
        return Err(StartError::PlainApi);
    }
    let Bound { listener, addr } = bind("the API", api.addr)?;
    let tls = config.tls.as_ref().map(ServerTls::http);
    let made = clock.unix_micros().as_micros();
    let file = config.data.as_ref().map(|data| data.join("first-start"));
    let file = api.key_file.clone().or(file);
    let first_key =
        api::first_key(&mut state.store, &state.keys, file, made).map_err(StartError::ApiKey)?;
    let (name, most, share) = (Listener::Api, API_CONNECTIONS, Share::equal(API_OF_ONE));
    let door = Door { name, listener, tls, most, share };
    let now = clock.unix_micros();
    let code = api::first_link(state.store.read(), &state.keys, now).map_err(StartError::ApiKey)?;
    let scheme = if config.tls.is_some() { "https" } else { "http" };
    let base = api.public_url.clone().unwrap_or_else(|| format!("{scheme}://{addr}"));
    let first_link =
        code.map(|code| format!("{}/console/first#{code}", base.trim_end_matches('/')));
    let readers = api::Readers::new(&state.store, &state.keys, now)?;
    let (webhooks, data) = (config.webhooks.clone(), config.data.clone());
    let settings = api::settings(config, addr, bound);
    let config = api.clone();
    Ok(Some(ApiDoor {
        config,
        door,
        addr,
        readers,
        first_key,
        first_link,
        data,
        webhooks,
        settings,
    }))
}

/// The most connections to the API.
const API_CONNECTIONS: usize = 256;
/// The most connections from one network. High, because all connections through a proxy come from
/// one.
const API_OF_ONE: usize = 192;

/// The store and its location.
struct State {
    store: Box<dyn Store>,
    keys: Keys,
    images: Option<Images>,
    events: u64,
}

impl State {
    fn open(data: Option<&Path>) -> Result<Self, StartError> {
        let Some(path) = data else {
            let (mut store, keys) = (Box::new(Memory::new()), Keys::fresh()?);
            store.set_audit_key(keys.audit_key());
            return Ok(Self { store, keys, images: None, events: 20_000 });
        };
        let folder = DataFolder::open(path)?;
        let mut store: Box<dyn Store> = Box::new(Sqlite::open(&folder)?);
        let ring = seal::open_ring(&mut store, &folder.master_key(), random()?);
        let keys = Keys::new(ring.map_err(StartError::Key)?);
        let images = Some(Images::open(folder.images(), handle::IMAGES)?);
        Ok(Self { store, keys, images, events: 1_000_000 })
    }
}

/// Serves the stored images again.
fn serve_again(
    listed: Vec<Listed>,
    folder: &Images,
    images: &firmware::Images,
) -> Result<(), StartError> {
    for Listed { firmware, image, .. } in listed {
        let Some(name) = image.filter(|_| firmware.url.is_none()) else { continue };
        let io = |why: &dyn std::fmt::Display| StoreError::Io {
            why: format!("the image of {} {}: {why}", firmware.product_id, firmware.version),
        };
        let name = ImageName::parse(&name).ok_or_else(|| io(&"it has no name"))?;
        let image = store::Image::kept(folder.path(name), firmware.md5).map_err(|why| io(&why))?;
        images.insert(firmware.path.clone(), image);
    }
    Ok(())
}

/// The way that reports come in.
#[derive(Debug)]
enum Front {
    Listen { door: Door, limits: endpoint::Limits },
    Join { way: Way, from_hub: FromHub, seed: u64 },
}

/// A service that does not answer yet; see [`Service::prepare`].
#[derive(Debug)]
pub struct Prepared {
    running: Running,
    front: Front,
    http: Door,
    firmware: Firmware,
    api: Option<(Door, api::Api)>,
    faults: Faults,
    inputs: mpsc::Sender<hub::Input>,
    stop: CancellationToken,
}

impl Prepared {
    /// A handle for commands, queries and the log.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.running.handle()
    }

    /// Starts to answer, or joins the broker.
    #[must_use]
    pub fn open(self) -> Running {
        let Self { mut running, front, http, firmware, api, faults, inputs, stop } = self;
        let (tasks, journal) = (&mut running.tasks, firmware.journal.clone());
        let vitals = &journal.vitals;
        vitals.expect(Listener::Http);
        let halt = stop.clone();
        match front {
            Front::Listen { door, limits } => {
                vitals.expect(Listener::Mqtt);
                let (clock, hub, stop) = (firmware.clock, inputs, stop.clone());
                let shared = mqtt::Shared { clock, limits, hub, faults, stop: stop.clone() };
                let serve = move |client, peer, id| mqtt::serve(client, peer, id, shared.clone());
                tasks.spawn(listen::run(door, journal.clone(), stop, serve));
            }
            Front::Join { way, from_hub, seed } => {
                vitals.expect_broker();
                let (journal, stop) = (journal.clone(), stop.clone());
                tasks.spawn(join::run(way, inputs, from_hub, journal, seed, stop));
            }
        }
        if let Some((door, api)) = api {
            vitals.expect(Listener::Api);
            tasks.spawn(api.hooks().run(stop.clone()));
            let (journal, stop, halt) = (journal.clone(), stop.clone(), stop.clone());
            tasks.spawn(listen::run(door, journal, stop, move |client, peer, _| {
                web::serve(client.stream, peer, api.clone(), halt.clone())
            }));
        }
        tasks.spawn(listen::run(http, journal, stop, move |client, peer, _| {
            firmware::serve(client.stream, peer, firmware.clone(), halt.clone())
        }));
        running
    }
}

/// A running service. Dropping it stops it; [`Running::shutdown`] also waits for its end.
#[derive(Debug)]
pub struct Running {
    mqtt_addr: SocketAddr,
    http_addr: SocketAddr,
    met: Option<Met>,
    unix_at_zero: Duration,
    handle: Handle,
    tasks: JoinSet<()>,
    stop: DropGuard,
}

impl Running {
    /// The address of the MQTT listener, with the bound port. It is `0.0.0.0:0` if the cloud joined
    /// a broker.
    #[must_use]
    pub fn mqtt_addr(&self) -> SocketAddr {
        self.mqtt_addr
    }

    /// The address of the firmware server, with the bound port.
    #[must_use]
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// The address of the API, with the bound port. `None` without an API.
    #[must_use]
    pub fn api_addr(&self) -> Option<SocketAddr> {
        self.met.as_ref().map(|met| met.addr)
    }

    /// The file of the first key, if no key existed at the start: the key was created in it or
    /// taken from it.
    #[must_use]
    pub fn first_key(&self) -> Option<&Path> {
        self.met.as_ref()?.first_key.as_deref()
    }

    /// The link with which the first admin of the console joins: a secret that is valid for an
    /// hour. `None` if there is an admin.
    #[must_use]
    pub fn first_link(&self) -> Option<&str> {
        self.met.as_ref()?.first_link.as_deref()
    }

    /// The time since 1970 at the start of the log's clock, by the system's clock at the start.
    #[must_use]
    pub fn unix_at_zero(&self) -> Duration {
        self.unix_at_zero
    }

    /// A handle for commands, queries and the log. Clones may outlive the service.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Stops the service: closes the listeners and every connection, and waits until all tasks have
    /// ended.
    pub async fn shutdown(mut self) {
        drop(self.stop);
        while self.tasks.join_next().await.is_some() {}
    }
}

/// The address of a listener that does not exist.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The most inputs queued for the hub. Connections wait while the queue is full.
const INPUTS: usize = 2_048;

struct Bound {
    listener: TcpListener,
    addr: SocketAddr,
}

fn bind(what: &'static str, addr: SocketAddr) -> Result<Bound, StartError> {
    let listen = || {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let listener = socket.listen(BACKLOG)?;
        let addr = listener.local_addr()?;
        Ok(Bound { listener, addr })
    };
    listen().map_err(|source| StartError::Bind { what, addr, source })
}

/// The most connections waiting to be accepted. It is high because all devices reconnect when a
/// cloud comes back. The system may allow fewer.
const BACKLOG: u32 = 4096;

fn random<const N: usize>() -> Result<[u8; N], StartError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| StartError::NoRandom)?;
    Ok(bytes)
}
