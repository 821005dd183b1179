//! The world at the level of bytes: the real client on both connections, which may record.
//!
//! Instead of the messages and operations of [`crate::World`] there are connections here: a strict
//! model of the broker with its own codec, the firmware server of [`ota_cloud::origin`], partial
//! sends, deliveries split at any byte, resets and half-open connections. Flash, journal, boot
//! loader and application are the same.

mod broker;
mod device;
pub mod fleet;
mod life;
mod network;
mod pipe;

use std::collections::BTreeMap;

use core::ops::Range;
use core::time::Duration;

use ota_cloud::fault::FaultPlan;
use ota_cloud::origin::{Connection, Origin, OriginConfig};
use ota_cloud::sign::UrlSigner;
use ota_cloud::{
    Cloud, CloudConfig, DeviceRecord, Firmware, Output as CloudOutput, Secret, TaskOptions,
};
use ota_proto::{Instant, OpId, Rng, State};
use ota_wire::client::DeviceIndex;
use ota_wire::record::Recorder;

use crate::field::Kind;
use crate::setup::Setup;
use crate::trace::{Said, Trace, What};
use crate::world::{Outcome, Storage};
pub use broker::{Broker, Said as Asked};
pub use life::{Life, Lives};
use network::Wire;
pub use pipe::Chunks;

/// One of the four streams of bytes, over all connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Device to broker.
    ToBroker,
    /// Broker to device.
    FromBroker,
    /// Device to firmware server.
    ToStore,
    /// Firmware server to device.
    FromStore,
}

impl Stream {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ToBroker, Self::FromBroker, Self::ToStore, Self::FromStore];
}

/// How a connection breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Break {
    /// Both sides learn it at once.
    Reset,
    /// Neither side learns it; all sent bytes are lost.
    HalfOpen,
}

/// The properties of the connections.
#[derive(Clone, Debug)]
pub struct Wires {
    /// How many of the device's bytes each `handle_sent` reports.
    pub sends: Chunks,
    /// How bytes arrive from the broker.
    pub broker: Chunks,
    /// How bytes arrive from the firmware server.
    pub store: Chunks,
    /// Bytes in progress in one direction of a connection.
    pub window: usize,
    /// Whether the cloud's messages are sent at QoS 1.
    pub qos1: bool,
    /// The faults of the firmware server.
    pub faults: FaultPlan,
    /// The connection breaks when this many bytes of a stream have arrived; each once.
    pub breaks: Vec<(Stream, u64, Break)>,
}

impl Default for Wires {
    fn default() -> Self {
        Self {
            sends: Chunks::Whole,
            broker: Chunks::Whole,
            store: Chunks::Whole,
            window: 64 * 1_024,
            qos1: false,
            faults: FaultPlan::new(0),
            breaks: Vec::new(),
        }
    }
}

/// A scheduled event.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Due {
    Job(OpId),
    Persist(OpId),
    Act(crate::app::Act),
    PowerOn,
    Task,
}

/// One device with two connections, the cloud, and the firmware server.
#[derive(Clone, Debug)]
pub struct World {
    /// Its setup.
    pub setup: Setup,
    /// The properties of the connections.
    pub wires: Wires,
    /// The virtual clock.
    pub now: Instant,
    /// The cloud.
    pub cloud: Cloud,
    /// The firmware server.
    pub origin: Origin,
    /// The device's program; `None` while it is off.
    pub client: Option<Recorder>,
    /// The recordings of the program.
    pub lives: Lives,
    /// The storage, which outlives the program.
    pub storage: Storage,
    /// The trace.
    pub trace: Trace,
    /// Bytes that have arrived, by stream.
    pub passed: BTreeMap<Stream, u64>,
    /// Bytes that the device has sent, by stream.
    sent: BTreeMap<Stream, u64>,
    /// Results that the cloud got, equal ones in a row counted once.
    pub results: Vec<Said>,
    /// While the firmware server is away nothing can connect to it.
    pub away: Option<Range<Instant>>,
    broken: Vec<String>,
    broker: Option<Wire<Broker>>,
    store: Option<Wire<Connection>>,
    last_login: Option<Instant>,
    idle: device::Idle,
    queue: BTreeMap<(Instant, u64), (u32, Due)>,
    sequence: u64,
    boot: u32,
    rng: Rng,
    standing: u32,
}

/// The most steps at one time; more count as a livelock.
const STANDING: u32 = 20_000;
/// The most steps of a run; more count as endless.
const STEPS: u32 = 1_000_000;
/// The longest time for a task.
const TASK: Duration = Duration::from_secs(3 * 86_400);
const UNIX: u64 = 1_700_000_000;

impl World {
    /// A new world: the device is off, and its task has not begun.
    ///
    /// # Panics
    /// If the cloud rejects the setup.
    #[must_use]
    pub fn new(setup: Setup, wires: Wires) -> Self {
        let signer = UrlSigner::new("https://cos.example", *b"key", UrlSigner::LIFE);
        let mut cloud = Cloud::new(CloudConfig::new(signer.clone(), UNIX));
        let identity = setup.device.identity.clone();
        cloud.add_device(&identity, Secret::new(*b"0123456789abcdef")).expect("room for one");
        let mut origin = Origin::new(OriginConfig::new(Some(signer), UNIX));
        let size = setup.image.len() as u64;
        let firmware = Firmware::new(identity.product_id(), setup.to, setup.md5(), size);
        origin.add_file(firmware.path.clone(), setup.image.to_vec());
        origin.set_faults(wires.faults.clone());
        cloud.add_firmware(firmware).expect("a good firmware");
        let mut rng = Rng::new(setup.seed);
        let mut world = Self {
            now: Instant::ZERO,
            cloud,
            origin,
            client: None,
            lives: Lives::default(),
            storage: Storage::new(&setup, &mut rng),
            trace: Trace::default(),
            passed: BTreeMap::new(),
            sent: BTreeMap::new(),
            results: Vec::new(),
            away: None,
            broken: Vec::new(),
            broker: None,
            store: None,
            last_login: None,
            idle: device::Idle::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            boot: 0,
            rng,
            standing: 0,
            setup,
            wires,
        };
        world.at(Instant::ZERO, Due::PowerOn);
        world.at(Instant::ZERO + world.setup.task_at, Due::Task);
        world
    }

    /// The cloud's record of the device.
    ///
    /// # Panics
    /// Never: the device is registered.
    #[must_use]
    pub fn record(&self) -> &DeviceRecord {
        self.cloud.device(&self.setup.device.identity).expect("registered")
    }

    /// Whether the task is over and the device idle: nothing is owed, on trial or in progress.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let device = self.client.as_ref()?.updater(DeviceIndex::FIRST)?;
        let busy = self.storage.job.is_some() || self.storage.persist.is_some();
        let settled = device.is_settled() && device.state() == State::Idle && !busy;
        let over = self.record().task.as_ref().is_some_and(|task| task.finished.is_some());
        if !settled || !over || self.storage.loader.is_trial() {
            return None;
        }
        Some(if self.record().is_proved() { Outcome::Proved } else { Outcome::Ended })
    }

    /// Runs until the end.
    ///
    /// # Errors
    /// The trace, if there was a violation or the run does not end.
    pub fn run(&mut self) -> Result<Outcome, String> {
        for _ in 0..STEPS {
            if let Some(broken) = self.broken.first() {
                return Err(format!("{broken}\n{}", self.trace));
            }
            if let Some(outcome) = self.outcome() {
                return self.check_end(outcome);
            }
            if !self.step() {
                return Err(format!("nothing will ever happen again\n{}", self.trace));
            }
            if self.standing > STANDING {
                let state = (&self.idle, &self.broker, &self.store);
                return Err(format!("livelock: {state:?}\n{}", self.trace));
            }
        }
        Err(format!("no end\n{}", self.trace))
    }

    /// Runs up to this time.
    ///
    /// # Errors
    /// The trace, if there was a violation.
    pub fn run_until(&mut self, at: Instant) -> Result<(), String> {
        while self.now < at {
            let going = self.step() && self.standing <= STANDING;
            if !going || !self.broken.is_empty() {
                return Err(format!("{:?}\n{}", self.broken, self.trace));
            }
        }
        Ok(())
    }

    /// Runs until the end. The cloud must consider the task proved, the new image's bytes must run,
    /// and there must be one result.
    ///
    /// # Panics
    /// With the seed and the trace on any other end.
    pub fn must_prove(&mut self, what: &str) {
        let seed = self.setup.seed;
        match self.run() {
            Ok(Outcome::Proved) => {}
            Ok(Outcome::Ended) => panic!("{what}, seed {seed}: not proved\n{}", self.trace),
            Err(why) => panic!("{what}, seed {seed}: {why}"),
        }
        assert_eq!(self.results.len(), 1, "{what}, seed {seed}\n{}", self.trace);
    }

    fn check_end(&self, outcome: Outcome) -> Result<Outcome, String> {
        let running = self.storage.loader.running();
        let expected = if outcome == Outcome::Proved { self.setup.to } else { self.setup.from };
        let image = if running == self.setup.to { &self.setup.image } else { &self.setup.old };
        let whole = self.storage.running().surely_holds(image, image.len() as u64);
        if running != expected || !whole {
            return Err(format!("{outcome:?}, but {running} runs, whole: {whole}\n{}", self.trace));
        }
        Ok(outcome)
    }

    /// Does one step; `false` if nothing can happen any more.
    fn step(&mut self) -> bool {
        self.standing = self.standing.saturating_add(1);
        if self.step_device() || self.step_network() {
            return true;
        }
        loop {
            match self.cloud.poll_output(self.now) {
                CloudOutput::Send { topic, payload, .. } => {
                    self.note(What::Heard(crate::trace::Heard::read(&payload)));
                    let qos1 = self.wires.qos1;
                    if let Some(wire) = &mut self.broker {
                        wire.peer.publish(&topic, payload, qos1);
                    }
                    return true;
                }
                CloudOutput::Event(_) => {}
                CloudOutput::Idle { deadline } => return self.advance(deadline),
            }
        }
    }

    /// Jumps to the next event, or handles a due one.
    fn advance(&mut self, cloud: Option<Instant>) -> bool {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let device = self.idle.deadline.filter(|_| self.client.is_some());
        let wires = self.next_on_wires();
        let Some(next) = [queued, device, wires, cloud].into_iter().flatten().min() else {
            return false;
        };
        if next > self.now {
            self.now = next;
            self.standing = 0;
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        if due(queued) {
            if let Some((_, (boot, what))) = self.queue.pop_first() {
                self.happen(boot, what);
            }
        } else if due(device) {
            self.wake_device();
        } else if due(cloud) {
            self.cloud.handle_timeout(self.now);
        } else if due(wires) {
            self.wake_peers();
        }
        true
    }

    fn at(&mut self, at: Instant, due: Due) {
        self.sequence = self.sequence.saturating_add(1);
        self.queue.insert((at, self.sequence), (self.boot, due));
    }

    fn happen(&mut self, boot: u32, due: Due) {
        match due {
            Due::Task => {
                let options = TaskOptions { timeout: Some(TASK), ..TaskOptions::default() };
                let identity = self.setup.device.identity.clone();
                let started = self.cloud.start_task(self.now, &identity, self.setup.to, &options);
                self.note(What::Fault(format!("task: {}", started.is_ok())));
            }
            Due::PowerOn if boot == self.boot => self.power_on(),
            Due::Job(op) if boot == self.boot => self.end_job(op),
            Due::Persist(op) if boot == self.boot => self.end_persist(op),
            Due::Act(act) if boot == self.boot => self.act(act),
            Due::PowerOn | Due::Job(_) | Due::Persist(_) | Due::Act(_) => {}
        }
    }

    /// A message of the device reached the cloud.
    fn told(&mut self, payload: &[u8]) {
        let topic = self.setup.device.identity.report_topic().to_owned();
        if let Err(error) = self.cloud.handle_message(self.now, &topic, payload) {
            self.broken.push(format!("the cloud refused a message: {error:?}"));
        }
        let Some(said) = Said::read(payload) else { return };
        if said.is_result() && self.results.last() != Some(&said) {
            self.results.push(said.clone());
        }
        self.note(What::Delivered(said));
    }

    fn fault(&mut self, what: impl Into<String>) {
        self.note(What::Fault(what.into()));
    }

    pub(crate) fn met(&mut self, kind: Kind) {
        self.note(What::Met(kind));
    }

    fn note(&mut self, what: What) {
        self.trace.push(self.now, what);
    }

    fn pass(&mut self, stream: Stream, count: usize) -> Option<Break> {
        let passed = self.passed.entry(stream).or_default();
        *passed = passed.saturating_add(count as u64);
        let reached = *passed;
        let at = self.wires.breaks.iter().position(|(s, n, _)| *s == stream && *n <= reached)?;
        Some(self.wires.breaks.remove(at).2)
    }

    fn passed_of(&self, stream: Stream) -> u64 {
        self.passed.get(&stream).copied().unwrap_or(0)
    }

    /// The next number of bytes of this stream, before it breaks and by its division into pieces.
    fn piece(&mut self, stream: Stream, chunks: Chunks, there: usize) -> usize {
        let passed = self.passed_of(stream);
        let size = chunks.next(there, passed, &mut self.rng);
        let next = self.wires.breaks.iter().filter(|(s, ..)| *s == stream).map(|(_, n, _)| *n);
        let left = next.min().and_then(|next| next.checked_sub(passed)).filter(|left| *left > 0);
        size.min(left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX))
    }
}
