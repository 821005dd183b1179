//! A device on the adapter and a cloud, joined by a cable in memory, on a virtual clock: real
//! TCP, real embassy-boot, a flash chip that can lose power.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses a part, and may fail"
)]

pub mod chip;
pub mod clock;
pub mod desk;
pub mod hostile;
pub mod link;
pub mod seal;
pub mod wrapped;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use embassy_boot::{BootLoader, BootLoaderConfig};
use embassy_net::{Ipv4Address, Ipv4Cidr, Stack, StackResources, StaticConfigV4};
use embassy_time::{Duration, with_timeout};
use ota_cloud::fault::FaultPlan;
use ota_embassy::driver::{ClientConfig, Driver, DriverEvent};
use ota_embassy::{
    BootSwitch, Buffers, Event as Flat, FlashJournal, FlashSlot, FlashStorage, Network, Tcp,
    Updates,
};
use ota_embassy_tls::EmbeddedTls;
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret};
use ota_proto::{Command, Event as Update, Identity, Installed, Rng, State, Updater};
use ota_wire::client::ClientEvent;

use chip::{Chip, Geometry};
use clock::{Run, Task};
use desk::Desk;
use link::{Port, Weather};
use seal::{Dice, Tls};
use wrapped::Wrapped;

/// Calls a method with the units of the device's chip.
macro_rules! with_units {
    ($device:expr, $method:ident < $($ty:ty)? > ( $($arg:expr),* ) $($await:tt)*) => {{
        let Geometry { erase, write, read, .. } = $device.chip.geometry();
        match (erase, write, read) {
            (4_096, 8, 1) => $device.$method::<$($ty,)? 4_096, 8, 1>($($arg),*)$($await)*,
            (16_384, 4, 1) => $device.$method::<$($ty,)? 16_384, 4, 1>($($arg),*)$($await)*,
            (8_192, 16, 16) => $device.$method::<$($ty,)? 8_192, 16, 16>($($arg),*)$($await)*,
            (131_072, 32, 1) => $device.$method::<$($ty,)? 131_072, 32, 1>($($arg),*)$($await)*,
            (128, 4, 1) => $device.$method::<$($ty,)? 128, 4, 1>($($arg),*)$($await)*,
            (2_048, 8, 1) => $device.$method::<$($ty,)? 2_048, 8, 1>($($arg),*)$($await)*,
            (4_096, 4, 1) => $device.$method::<$($ty,)? 4_096, 4, 1>($($arg),*)$($await)*,
            (4_096, 4, 4) => $device.$method::<$($ty,)? 4_096, 4, 4>($($arg),*)$($await)*,
            (4_096, 16, 16) => $device.$method::<$($ty,)? 4_096, 16, 16>($($arg),*)$($await)*,
            (4_096, 1, 1) => $device.$method::<$($ty,)? 4_096, 1, 1>($($arg),*)$($await)*,
            units => panic!("{units:?}"),
        }
    }};
}

pub const FROM: &str = "1.0.0";
pub const TO: &str = "2.0.0";

/// What the application does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum App {
    Confirms,
    /// The new version never confirms.
    Silent,
}

/// The application ends the program as soon as this many bytes are stored.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    pub at: u64,
    /// It stops the driver before.
    pub orderly: bool,
    /// Nobody hears the device any more by then.
    pub unheard: bool,
}

/// The updates of one device, with memory that a test leaks.
pub type Ota = Updates<'static, &'static Tcp<'static>>;

/// When a packet is sent, and what it is.
pub type Letter = (fn(&Flat) -> bool, Vec<u8>);

/// An application with [`Updates`] in place of a driver.
#[derive(Clone)]
pub struct FlatApp {
    /// In Base64.
    pub secret: &'static str,
    pub unix_time: fn() -> Option<u64>,
    pub keep_alive: core::time::Duration,
    /// What it does about an event.
    pub act: fn(&mut Ota, &Flat),
    /// What it was told.
    pub told: Rc<RefCell<Vec<Flat>>>,
}

/// How a boot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The condition of the caller holds.
    Over,
    /// The application asked for a reset.
    Restart,
    /// Power went.
    Cut,
    /// Nothing happened any more before the limit.
    Still,
}

pub struct World {
    pub device: Device,
    /// Runs over all boots of the device.
    cloud: Task<'static>,
    stack: Stack<'static>,
    port: Port,
    /// The device reaches nobody.
    pub cut_off: bool,
}

/// All that a world is made of.
pub struct Setup {
    pub geometry: Geometry,
    pub weather: Weather,
    pub faults: FaultPlan,
    pub seed: u64,
    /// The one that runs and the one that is offered.
    pub versions: [&'static str; 2],
    /// The image that is offered.
    pub new: Vec<u8>,
    pub machine: ota_proto::Config,
    pub config: ClientConfig,
    pub tls: Option<Tls>,
}

/// The device and what it sees.
pub struct Device {
    pub chip: Chip,
    pub desk: RefCell<Desk>,
    pub config: ClientConfig,
    pub machine: ota_proto::Config,
    pub app: App,
    pub events: RefCell<Vec<ClientEvent>>,
    pub versions: [&'static str; 2],
    pub new: Vec<u8>,
    pub boots: u64,
    /// The last number of the addresses of its name servers.
    pub names: Vec<u8>,
    /// A future of `next` is dropped after so many microseconds, again and again.
    pub impatience: Option<u64>,
    /// The streams are those of an own network.
    pub wrapped: bool,
    pub tls: Option<Tls>,
    /// The program is polled within this.
    pub around: fn(&mut dyn FnMut()),
    /// The machine has nothing left to do.
    pub at_rest: Rc<Cell<bool>>,
    pub leave: Option<Leave>,
    /// Stores of this network are refused.
    pub public_store_only: bool,
    /// The broker sends this packet when the application is told so.
    pub letter_after: Option<Letter>,
    /// What runs is this.
    pub flat: Option<FlatApp>,
    /// Microseconds that the last orderly stop took.
    pub stopped_in: Cell<Option<u64>>,
    port: Port,
}

/// An image of this many bytes.
pub fn image(len: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    std::iter::repeat_with(|| rng.next_u64().to_le_bytes()).flatten().take(len).collect()
}

/// A network stack with a fixed address, and what runs it.
fn stack(port: Port, host: u8, names: &[u8], seed: u64) -> (Stack<'static>, Task<'static>) {
    let config = embassy_net::Config::ipv4_static(StaticConfigV4 {
        address: Ipv4Cidr::new(Ipv4Address::new(10, 0, 0, host), 24),
        gateway: None,
        dns_servers: names.iter().map(|host| Ipv4Address::new(10, 0, 0, *host)).collect(),
    });
    // Leaked: a test is short.
    let resources = Box::leak(Box::new(StackResources::<12>::new()));
    let (stack, mut runner) = embassy_net::new(port, config, resources, seed);
    (stack, Task::new(async move { runner.run().await }))
}

/// A stack without a peer, for a moment.
pub fn bare(with: impl FnOnce(Stack<'static>)) {
    clock::reset();
    let [_, port] = link::cable(Weather::FAIR, 0);
    with(stack(port, 2, &[1], 1).0);
}

impl World {
    pub fn new(weather: Weather, faults: FaultPlan, seed: u64) -> Self {
        Self::over(weather, faults, seed, None)
    }

    /// On another flash.
    pub fn on(geometry: Geometry, seed: u64) -> Self {
        Self::over_on(geometry, Weather::FAIR, FaultPlan::new(0), seed, None)
    }

    /// With TLS, or without.
    pub fn over(weather: Weather, faults: FaultPlan, seed: u64, tls: Option<Tls>) -> Self {
        Self::over_on(Geometry::DEFAULT, weather, faults, seed, tls)
    }

    fn over_on(
        geometry: Geometry,
        weather: Weather,
        faults: FaultPlan,
        seed: u64,
        tls: Option<Tls>,
    ) -> Self {
        let identity = Identity::new("TESTPROD01", "dev001").unwrap();
        let mut machine = ota_proto::Config::new(identity, seed);
        machine.allow_http = tls.is_none();
        let secret = Secret::from_bytes(b"0123456789abcdef").unwrap();
        let (method, expiry) = (Algorithm::HmacSha256, 4_102_444_800);
        let login = Login::new(&machine.identity, &secret, method, APP_ID, "AbC12", expiry);
        let login = login.unwrap();
        let login =
            ota_wire::mqtt::ConnectLogin::new(login.client_id, login.username, login.password);
        let config = ClientConfig::new("10.0.0.1".into(), 1_883, tls.is_some(), login, seed);
        let (versions, new) = ([FROM, TO], image(geometry.image, seed + 1));
        Self::with(Setup { geometry, weather, faults, seed, versions, new, machine, config, tls })
    }

    pub fn with(setup: Setup) -> Self {
        let Setup { geometry, weather, faults, seed, versions, new, machine, config, tls } = setup;
        clock::reset();
        let [theirs, port] = link::cable(weather, seed);
        let (stack, cloud) = stack(theirs, 1, &[1], seed);
        let (identity, offered) = (machine.identity.clone(), new.clone());
        let desk = Desk::new(identity, versions[1], offered, faults, tls.clone());
        let device = Device {
            chip: Chip::of(geometry, &image(geometry.active().len(), !seed), seed),
            desk: RefCell::new(desk),
            config,
            machine,
            app: App::Confirms,
            events: RefCell::default(),
            versions,
            new,
            boots: 0,
            names: vec![1],
            impatience: None,
            wrapped: false,
            tls,
            around: |poll| poll(),
            at_rest: Rc::default(),
            leave: None,
            public_store_only: false,
            letter_after: None,
            flat: None,
            stopped_in: Cell::default(),
            port: port.clone(),
        };
        Self { device, cloud, stack, port, cut_off: false }
    }

    /// As [`World::boot`], and the machine must be at rest, too.
    pub fn boot_until_rest(
        &mut self,
        limit: u64,
        over: impl Fn(&Desk, &[ClientEvent]) -> bool,
    ) -> End {
        let rest = Rc::clone(&self.device.at_rest);
        self.boot(limit, move |desk, events| rest.get() && over(desk, events))
    }

    /// Resets, and boots until the program ends or `over` holds.
    pub fn boot(&mut self, limit: u64, over: impl Fn(&Desk, &[ClientEvent]) -> bool) -> End {
        self.device.boots += 1;
        self.device.chip.revive();
        if !self.device.load() {
            return End::Cut;
        }
        self.port.clear();
        if self.cut_off {
            self.port.silence();
        }
        let device = &self.device;
        let (stack, mut runner) = stack(self.port.clone(), 2, &device.names, 77 + device.boots);
        let restart = Cell::new(false);
        let mut program = Task::new(device.program(stack, device.running(), &restart));
        program.around = device.around;
        let mut serve = Task::new(desk::serve(self.stack, &device.desk));
        let over = || {
            let events = device.events.borrow();
            restart.get() || device.chip.is_dead() || over(&device.desk.borrow(), &events)
        };
        let mut tasks: [&mut dyn Run; 4] = [&mut runner, &mut self.cloud, &mut program, &mut serve];
        let ended = clock::run(&mut tasks, clock::now() + limit, over);
        match () {
            () if device.chip.is_dead() => End::Cut,
            () if restart.get() => End::Restart,
            () if ended => End::Over,
            () => End::Still,
        }
    }

    /// Frames that the cable lost.
    pub fn lost(&self) -> u64 {
        self.port.lost()
    }

    /// Boots again and again until the cloud has the result and has told the device so.
    pub fn update(&mut self) {
        self.update_with_cuts(|| u64::MAX, 0);
    }

    /// The same, with up to so many power cuts, each so many operations after the last one.
    /// Returns how many there were.
    pub fn update_with_cuts(&mut self, mut next: impl FnMut() -> u64, most: u32) -> u32 {
        let mut cuts = 0;
        // The result is cleared from the journal when the version is reported after it.
        let told = |desk: &Desk, events: &[ClientEvent]| {
            let at = |wanted: fn(&Update) -> bool| {
                let is = |event: &ClientEvent| matches!(event, ClientEvent::Device { event, .. } if wanted(event));
                events.iter().rposition(is)
            };
            let reported = at(|event| matches!(event, Update::Reported { .. }));
            let accepted = at(|event| matches!(event, Update::VersionAccepted));
            desk.is_over() && reported.is_some() && accepted > reported
        };
        for _ in 0..40 {
            if cuts < most && !self.device.chip.will_be_cut() {
                let at = self.device.chip.operations().saturating_add(next());
                self.device.chip.cut_at(at);
            }
            match self.boot(1_200_000_000, told) {
                End::Over => {
                    self.check();
                    return cuts;
                }
                End::Cut => cuts += 1,
                End::Restart => {}
                End::Still => break,
            }
        }
        panic!("{} boots: {:?}", self.device.boots, self.device.desk.borrow().reports_as_text());
    }

    /// The device ended on the new version and the cloud heard one result. A cut while the new
    /// version runs on trial makes embassy-boot swap back, as any reset does then: the cloud gets
    /// the failure, and an operator tries again. Returns whether that happened.
    pub fn ends_well(mut self, what: &str) -> bool {
        let failed = self.device.running() == FROM;
        if failed {
            let results = self.device.desk.borrow().results();
            assert_eq!(results.len(), 1, "{what}: {results:?}");
            let told = results[0].contains("\"-5\"") && results[0].contains("rolled back");
            assert!(told, "{what}: {results:?}");
            self.device.desk.borrow_mut().retry();
            self.device.events.borrow_mut().clear();
            self.update();
        }
        assert_eq!(self.device.running(), TO, "{what}");
        let results = self.device.desk.borrow().results();
        assert_eq!(results.len(), 1 + usize::from(failed), "{what}: {results:?}");
        assert!(results.last().unwrap().contains("\"done\""), "{what}: {results:?}");
        failed
    }

    /// What must hold at any time.
    pub fn check(&self) {
        assert_eq!(self.device.chip.broken(), Vec::<String>::new());
        assert_eq!(self.device.desk.borrow().broken, Vec::<String>::new());
    }
}

impl Device {
    /// The version that the active partition holds.
    pub fn running(&self) -> &'static str {
        let [from, to] = self.versions;
        if self.chip.read(0..self.new.len()) == self.new { to } else { from }
    }

    /// The boot loader runs; `false` when power went.
    fn load(&self) -> bool {
        with_units!(self, load_with<>())
    }

    fn load_with<const E: usize, const W: usize, const R: usize>(&self) -> bool {
        let geometry = self.chip.geometry();
        let mut loader = BootLoader::new(BootLoaderConfig {
            active: self.chip.part::<E, W, R>(geometry.active()),
            dfu: self.chip.part::<E, W, R>(geometry.dfu()),
            state: self.chip.part::<E, W, R>(geometry.state()),
        });
        loader.prepare_boot(&mut vec![0; E.min(512)]).is_ok()
    }

    /// The device's program: the adapter, and an application beside it.
    async fn program(&self, stack: Stack<'static>, running: &'static str, restart: &Cell<bool>) {
        if let Some(app) = &self.flat {
            return self.flat_life(app, stack, running, restart).await;
        }
        let (received, sent) = self.tls.as_ref().map_or((0, 0), |tls| tls.room);
        let mut records = [received, sent, received, sent].map(|len| vec![0; len]);
        let [e, f, g, h] = records.each_mut().map(|record| &mut record[..]);
        let mut sockets = [[0; 2_048]; 4];
        let [a, b, c, d] = &mut sockets;
        let tcp = Tcp::new(stack, (a, b), (c, d));
        let tcp = if self.public_store_only { tcp.public_store_only() } else { tcp };
        if let Some(tls) = &self.tls {
            let dice = Dice(Rng::new(self.boots));
            let clock = || tls.clock;
            let tls = EmbeddedTls::new(tcp, &tls.authority, dice, clock, (e, f), (g, h)).unwrap();
            self.life_with::<_, 4_096, 8, 1>(&tls, running, restart).await;
        } else if self.wrapped {
            self.life_with::<_, 4_096, 8, 1>(Wrapped(&tcp), running, restart).await;
        } else {
            with_units!(self, life_with<_>(&tcp, running, restart).await);
        }
    }

    async fn leave<'d, N: Network + 'd>(
        &self,
        leave: Leave,
        driver: Driver<'d, N>,
        restart: &Cell<bool>,
    ) {
        if leave.unheard {
            self.port.silence();
        }
        if leave.orderly {
            let begun = clock::now();
            driver.stop().await;
            self.stopped_in.set(Some(clock::now() - begun));
        }
        restart.set(true);
        std::future::pending().await
    }

    async fn life_with<N: Network, const E: usize, const W: usize, const R: usize>(
        &self,
        network: N,
        running: &str,
        restart: &Cell<bool>,
    ) {
        let geometry = self.chip.geometry();
        let (mut broker, mut store) =
            (vec![0; self.config.mqtt.limits.packet], vec![0; self.config.http.line]);
        let buffers = Buffers { broker: &mut broker, store: &mut store };
        let part = |range| self.chip.part::<E, W, R>(range);
        let (mut unit, mut aligned) = ([0; W], vec![0; W.max(R)]);
        let capacity = geometry.active().len();
        let slot = FlashSlot::new(part(geometry.dfu()), capacity, &mut unit).unwrap();
        let journal = FlashJournal::new(part(geometry.journal())).unwrap();
        let switch = BootSwitch::new(part(geometry.state()), &mut aligned).unwrap();
        let storage = FlashStorage::new(slot, journal, switch);
        let mut driver = Driver::new(network, self.config.clone(), buffers).unwrap();
        let added = driver.add_device(self.machine.clone(), running, storage).await;
        let Ok(device) = added else { return assert!(self.chip.is_dead()) };
        loop {
            let idle = |updater: &Updater| updater.is_settled() && updater.state() == State::Idle;
            self.at_rest.set(driver.updater(device).is_some_and(idle));
            let progress = driver.updater(device).and_then(Updater::progress);
            let stored = progress.map_or(0, |(stored, _)| stored);
            if let Some(leave) = self.leave.filter(|leave| leave.at <= stored) {
                return self.leave(leave, driver, restart).await;
            }
            let event = match self.impatience {
                None => driver.next().await,
                Some(micros) => {
                    let patience = Duration::from_micros(micros);
                    let Ok(event) = with_timeout(patience, driver.next()).await else { continue };
                    event
                }
            };
            let DriverEvent::Client(event) = event else { continue };
            self.events.borrow_mut().push(event.clone());
            let ClientEvent::Device { event, .. } = event else { continue };
            match event {
                Update::Install { .. } => {
                    let done = Installed::NeedsRestart;
                    driver.command(device, Command::Installed(done)).unwrap();
                }
                Update::Trial if self.app == App::Confirms => {
                    driver.command(device, Command::Confirm).unwrap();
                }
                Update::Restart => {
                    restart.set(true);
                    std::future::pending().await
                }
                _ => {}
            }
        }
    }

    async fn flat_life(
        &self,
        app: &FlatApp,
        stack: Stack<'static>,
        running: &'static str,
        restart: &Cell<bool>,
    ) {
        let memory = |len| Vec::leak(vec![0; len]);
        let [a, b, c, d, broker, store] = [2_048, 2_048, 2_048, 2_048, 4_096, 1_024].map(memory);
        let tcp: &'static Tcp<'static> = Box::leak(Box::new(Tcp::new(stack, (a, b), (c, d))));
        let geometry = self.chip.geometry();
        let [dfu, state, journal] = [geometry.dfu(), geometry.state(), geometry.journal()]
            .map(|range| self.chip.part::<4_096, 8, 1>(range));
        let capacity = geometry.active().len();
        let storage = FlashStorage::with_boot(dfu, state, journal, capacity, memory(16)).unwrap();
        let me = ota_embassy::Device::new("TESTPROD01", "dev001", app.secret.parse().unwrap());
        let ota = Updates::builder(me.unwrap(), running)
            .broker("10.0.0.1", 1_883)
            .clock(Box::leak(Box::new(app.unix_time)))
            .keep_alive(app.keep_alive)
            .seed(self.boots)
            .start(tcp, storage, Buffers { broker, store });
        let Ok(mut ota) = ota.await else { return assert!(self.chip.is_dead()) };
        loop {
            let event = match self.impatience {
                None => ota.next().await,
                Some(micros) => {
                    let patience = Duration::from_micros(micros);
                    let Ok(event) = with_timeout(patience, ota.next()).await else { continue };
                    event
                }
            };
            app.told.borrow_mut().push(event.clone());
            if let Some((_, letter)) = self.letter_after.as_ref().filter(|(told, _)| told(&event)) {
                self.desk.borrow_mut().letter = Some(letter.clone());
            }
            (app.act)(&mut ota, &event);
            if event == Flat::Restart {
                restart.set(true);
                std::future::pending().await
            }
        }
    }
}
