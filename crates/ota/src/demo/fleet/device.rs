//! A device of the fleet: the real core and client on sockets of its own, with a board in memory.

use std::time::Duration;

use ota_host::{Clock, transport_error};
use ota_proto::credentials::{self, APP_ID, Algorithm, Secret};
use ota_proto::{
    Command, Event, Hold, Identity, InstallFault, Installed, Instant, Outcome, Rng, TransportError,
};
use ota_wire::adapter::{Buffers, DriverEvent, Ended, Engine, LinkTarget, Step};
use ota_wire::client::{Client, ClientConfig, ClientEvent, DeviceIndex, Link, LinkKind};
use ota_wire::mqtt::{ConnectLogin, Expiry};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant as Moment, sleep, sleep_until, timeout};

use super::super::{OLD, unexpected};
use super::board::Board;
use crate::failure::Failure;

/// Bytes of each of the two buffers for firmware, which exist only during a download.
const STORE: usize = 16 * 1024;
/// The longest attempt to connect.
const CONNECT: Duration = Duration::from_secs(10);

/// What the devices tell: how many of them are this far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Far {
    /// The cloud has their first version report.
    pub(super) ready: u32,
    /// They run the new version, and the cloud has that report.
    pub(super) updated: u32,
}

/// How a device is made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) identity: Identity,
    pub(super) secret: Secret,
    /// Its broker.
    pub(super) host: String,
    pub(super) port: u16,
    /// The minimum interval between two connections.
    pub(super) spacing: Duration,
    /// How long its installation takes.
    pub(super) takes: Duration,
    /// How its installation fails, if it does.
    pub(super) fault: Option<InstallFault>,
    pub(super) seed: u64,
}

/// Lives until the task is dropped, through any number of restarts.
pub(super) async fn live(made: Made, clock: Clock, far: watch::Sender<Far>) -> Result<(), Failure> {
    let mut board = Board::new(ota_proto::Version::new(OLD).map_err(unexpected)?);
    let mut is_ready = false;
    loop {
        board.start();
        let mut life = Life::boot(&made, &board, clock)?;
        life.is_ready = is_ready;
        life.live(&made, &mut board, &far).await?;
        is_ready = life.is_ready;
        // The next run does not know of this run's connection.
        let (connected, now) = (life.connected, clock.now());
        drop(life);
        sleep(made.spacing.saturating_sub(now.since(connected))).await;
    }
}

/// One run of the device, from a start to the next.
struct Life {
    engine: Engine<Vec<u8>, Client, Few>,
    device: DeviceIndex,
    broker: Option<(Link, TcpStream)>,
    store: Option<(Link, TcpStream)>,
    clock: Clock,
    connected: Instant,
    /// When the installation in progress ends.
    installed: Option<Instant>,
    is_ready: bool,
    is_done: bool,
}

impl Life {
    fn boot(made: &Made, board: &Board, clock: Clock) -> Result<Self, Failure> {
        let (now, seed) = (clock.now(), made.seed);
        let conn_id = credentials::conn_id(Rng::new(seed).next_u64());
        let (identity, algorithm) = (&made.identity, Algorithm::HmacSha256);
        let login = credentials::Login::new(
            identity,
            &made.secret,
            algorithm,
            APP_ID,
            &conn_id,
            Expiry::FAR,
        );
        let login = login.map_err(unexpected)?;
        let login = ConnectLogin::new(login.client_id, login.username, login.password);
        let mut config = ClientConfig::new(made.host.clone(), made.port, false, login, seed);
        config.reconnect.set_spacing(made.spacing.into(), Duration::ZERO.into());
        let few = Few { broker: config.mqtt.limits.packet, store: STORE.max(config.http.line) };
        let mut engine = Engine::with(Client::new(now, config).map_err(unexpected)?, few);
        let mut config = ota_proto::Config::new(identity.clone(), seed);
        config.allow_http = true;
        (config.consent, config.approval, config.install) = (Hold::Auto, Hold::Auto, Hold::Auto);
        let device = engine.add_device(now, config, board.boot()).map_err(unexpected)?;
        Ok(Self {
            engine,
            device,
            broker: None,
            store: None,
            clock,
            connected: Instant::ZERO,
            installed: None,
            is_ready: false,
            is_done: false,
        })
    }

    /// Runs until the device restarts.
    async fn live(
        &mut self,
        made: &Made,
        board: &mut Board,
        far: &watch::Sender<Far>,
    ) -> Result<(), Failure> {
        loop {
            match self.engine.poll(self.clock.now()) {
                Step::Connect(target) => self.connect(target).await,
                Step::Close(link) => *self.socket(link.kind) = None,
                Step::Work(device, op, work) => {
                    let updater = self.engine.client().updater(device);
                    let offered = updater.and_then(|updater| Some(updater.offer()?.version));
                    let result = board.carry_out(&work, offered);
                    let buf = match work {
                        ota_proto::Work::Write { bytes, .. } => Some(bytes.buf),
                        _ => None,
                    };
                    self.engine.finish(self.clock.now(), device, Ended { op, result, buf });
                }
                Step::Event(DriverEvent::Client(event)) => {
                    if self.take(&event, made, board, far)? {
                        return Ok(());
                    }
                }
                Step::Event(_) => {}
                Step::Wait(deadline) => match self.installed {
                    Some(at) if at <= self.clock.now() => {
                        self.installed = None;
                        let told = made.fault.map_or(Installed::NeedsRestart, Installed::Failed);
                        self.command(Command::Installed(told))?;
                    }
                    at => self.wait(deadline.into_iter().chain(at).min()).await,
                },
            }
        }
    }

    /// Handles an event as an application does; returns whether the device restarts.
    fn take(
        &mut self,
        event: &ClientEvent,
        made: &Made,
        board: &mut Board,
        far: &watch::Sender<Far>,
    ) -> Result<bool, Failure> {
        let event = match event {
            ClientEvent::Device { event, .. } => event,
            ClientEvent::Connected => {
                self.connected = self.clock.now();
                return Ok(false);
            }
            _ => return Ok(false),
        };
        match event {
            Event::Install { .. } => self.installed = Some(self.clock.now() + made.takes),
            Event::Trial => self.command(Command::Confirm)?,
            Event::Restart => return Ok(true),
            Event::Reported { outcome } => {
                board.clear();
                self.is_done = *outcome == Outcome::Done;
            }
            Event::VersionAccepted => {
                let (ready, updated) = (!self.is_ready, std::mem::take(&mut self.is_done));
                self.is_ready = true;
                far.send_modify(|far| {
                    far.ready += u32::from(ready);
                    far.updated += u32::from(updated);
                });
            }
            _ => {}
        }
        Ok(false)
    }

    fn command(&mut self, command: Command) -> Result<(), Failure> {
        self.engine.command(self.clock.now(), self.device, command).map_err(unexpected)
    }

    fn socket(&mut self, kind: LinkKind) -> &mut Option<(Link, TcpStream)> {
        match kind {
            LinkKind::Broker => &mut self.broker,
            LinkKind::Store => &mut self.store,
        }
    }

    /// Opens a link of this machine, which takes no time worth waiting for beside others.
    async fn connect(&mut self, target: LinkTarget) {
        let opening = TcpStream::connect((target.host.as_str(), target.port));
        let opened = match timeout(CONNECT, opening).await {
            Ok(opened) => opened.map_err(|why| transport_error(&why)),
            Err(_) => Err(TransportError::TimedOut),
        };
        let (now, link) = (self.clock.now(), target.link);
        match opened {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                *self.socket(link.kind) = Some((link, stream));
                self.engine.handle_connected(now, link);
            }
            Err(why) => self.engine.handle_connect_failed(now, link, why),
        }
    }

    /// Waits for a link or the deadline, and tells the engine.
    async fn wait(&mut self, deadline: Option<Instant>) {
        let wake = deadline.and_then(|at| self.clock.to_std(at)).map(Moment::from_std);
        let timer = async {
            match wake {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let broker = interest(&mut self.engine, &self.broker);
        let store = interest(&mut self.engine, &self.store);
        tokio::select! {
            () = ready(&self.broker, broker) => exchange(&mut self.engine, &self.broker, self.clock),
            () = ready(&self.store, store) => exchange(&mut self.engine, &self.store, self.clock),
            () = timer => self.engine.handle_timeout(self.clock.now()),
        }
    }
}

/// What an open link is to wait for.
fn interest(
    engine: &mut Engine<Vec<u8>, Client, Few>,
    socket: &Option<(Link, TcpStream)>,
) -> Option<Interest> {
    let (link, _) = socket.as_ref()?;
    let reads = !engine.room(*link).is_empty();
    let writes = !engine.transmit(*link).is_empty();
    match (reads, writes) {
        (true, true) => Some(Interest::READABLE | Interest::WRITABLE),
        (true, false) => Some(Interest::READABLE),
        (false, true) => Some(Interest::WRITABLE),
        (false, false) => None,
    }
}

async fn ready(socket: &Option<(Link, TcpStream)>, interest: Option<Interest>) {
    match (socket, interest) {
        // An error shows in what follows.
        (Some((_, stream)), Some(interest)) => drop(stream.ready(interest).await),
        _ => std::future::pending().await,
    }
}

/// Reads and writes what is possible now.
fn exchange(
    engine: &mut Engine<Vec<u8>, Client, Few>,
    socket: &Option<(Link, TcpStream)>,
    clock: Clock,
) {
    let Some((link, stream)) = socket else { return };
    let waits = |why: &std::io::Error| why.kind() == std::io::ErrorKind::WouldBlock;
    let unsent = engine.transmit(*link);
    if !unsent.is_empty() {
        match stream.try_write(unsent) {
            Ok(count) => engine.handle_sent(clock.now(), *link, count),
            Err(why) if waits(&why) => {}
            Err(_) => return engine.handle_closed(*link, false),
        }
    }
    let room = engine.room(*link);
    if !room.is_empty() {
        match stream.try_read(room) {
            Err(why) if waits(&why) => {}
            read => engine.handle_read(*link, read),
        }
    }
}

/// Buffers that exist only while they are needed.
struct Few {
    broker: usize,
    store: usize,
}

impl Buffers<Vec<u8>> for Few {
    fn first(&mut self, kind: LinkKind) -> Option<Vec<u8>> {
        let len = if kind == LinkKind::Broker { self.broker } else { self.store };
        Some(vec![0; len])
    }

    fn second(&mut self) -> Option<Vec<u8>> {
        Some(vec![0; self.store])
    }

    fn keep(&mut self, _: LinkKind, _: Vec<u8>, _: bool) {}
}
