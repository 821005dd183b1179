//! The world at the level of bytes: the real client on both connections, which may record.
//!
//! The layer of bytes has connections: a strict model of the broker with its own codec, the firmware
//! server of [`ota_cloud::origin`], partial sends, deliveries split at any byte, resets and
//! half-open connections. The rest of the world is that of messages.

mod broker;
mod device;
pub mod fleet;
mod life;
mod network;
mod pipe;

use std::collections::BTreeMap;

use core::ops::Range;

use ota_cloud::fault::FaultPlan;
use ota_cloud::origin::{Connection, Origin, OriginConfig};
use ota_proto::{Boot, Instant, Md5, OpId, StorageError, Updater};
use ota_wire::client::{DeviceIndex, DeviceInput};
use ota_wire::record::Recorder;

use crate::app::Act;
use crate::setup::Setup;
use crate::trace::{Said, What};
use crate::world::{Layer, Outcome, Step, UNIX, signer};
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

/// One device with two connections, the cloud, and the firmware server.
pub type World = crate::world::World<Bytes>;

/// The layer of bytes.
#[derive(Clone, Debug)]
pub struct Bytes {
    /// The properties of the connections.
    pub wires: Wires,
    /// The firmware server.
    pub origin: Origin,
    /// The recordings of the program.
    pub lives: Lives,
    /// Bytes that have arrived, by stream.
    pub passed: BTreeMap<Stream, u64>,
    /// Results that the cloud got, equal ones in a row counted once.
    pub results: Vec<Said>,
    /// While the firmware server is away nothing can connect to it.
    pub away: Option<Range<Instant>>,
    /// The device's program; `None` while it is off.
    client: Option<Recorder>,
    /// Bytes that the device has sent, by stream.
    sent: BTreeMap<Stream, u64>,
    broker: Option<Wire<Broker>>,
    store: Option<Wire<Connection>>,
    last_login: Option<Instant>,
    idle: device::Idle,
}

impl Layer for Bytes {
    type Event = core::convert::Infallible;

    const WATCHED: bool = false;
    const JUMPS: bool = false;

    fn updater(&self) -> Option<&Updater> {
        self.client.as_ref()?.client().updater(DeviceIndex::FIRST)
    }

    fn step(world: &mut World) -> Option<Step> {
        (world.step_device() || world.step_network()).then_some(Step::Output)
    }

    fn send(world: &mut World, topic: &str, payload: Vec<u8>) {
        world.note(What::Heard(crate::trace::Heard::read(&payload)));
        let qos1 = world.layer.wires.qos1;
        if let Some(wire) = &mut world.layer.broker {
            wire.peer.publish(topic, payload, qos1);
        }
    }

    fn next(world: &mut World) -> Option<Instant> {
        world.idle_deadline().into_iter().chain(world.next_on_wires()).min()
    }

    fn wake(world: &mut World, cloud: bool) -> bool {
        if world.idle_deadline().is_some_and(|at| at <= world.now) {
            world.wake_device();
        } else if cloud {
            return false;
        } else {
            world.wake_peers();
        }
        true
    }

    fn arrive(_: &mut World, event: Self::Event) {
        match event {}
    }

    fn start(world: &mut World, boot: Boot<'_>) {
        world.start(boot);
    }

    fn end(world: &mut World) {
        world.end_life();
        world.layer.idle = device::Idle::default();
        world.drop_wires();
    }

    fn done(world: &mut World, op: OpId, result: Result<Option<Md5>, StorageError>) {
        world.touched();
        world.tell(DeviceInput::Done(op, result));
    }

    fn act(world: &mut World, act: Act) {
        world.act(act);
    }

    /// There is one result, and the old version runs unless the new one is proved.
    fn check_end(world: &World, outcome: Outcome) -> Result<(), String> {
        let running = world.storage.loader.running();
        let results = &world.layer.results;
        match outcome {
            Outcome::Proved if results.len() != 1 => Err(format!("proved, but told {results:?}")),
            Outcome::Ended if running != world.setup.from => Err(format!("{running} runs")),
            Outcome::Proved | Outcome::Ended => Ok(()),
        }
    }
}

impl World {
    /// A new world: the device is off, and its task has not begun.
    ///
    /// # Panics
    /// If the cloud rejects the setup.
    #[must_use]
    pub fn new(setup: Setup, wires: Wires) -> Self {
        let mut origin = Origin::new(OriginConfig::new(Some(signer()), UNIX));
        for image in &setup.images {
            origin.add_file(setup.firmware(image).path, image.bytes.to_vec());
        }
        origin.set_faults(wires.faults.clone());
        let layer = Bytes {
            wires,
            origin,
            lives: Lives::default(),
            passed: BTreeMap::new(),
            results: Vec::new(),
            away: None,
            client: None,
            sent: BTreeMap::new(),
            broker: None,
            store: None,
            last_login: None,
            idle: device::Idle::default(),
        };
        Self::of(setup, layer)
    }

    /// A message of the device reached the cloud.
    fn told(&mut self, payload: &[u8]) {
        let topic = self.setup.device.identity.report_topic().to_owned();
        if let Err(error) = self.cloud.handle_message(self.now, &topic, payload) {
            self.invariants.break_rule(format!("the cloud refused a message: {error:?}"));
        }
        let Some(said) = Said::read(payload) else { return };
        if said.is_result() && self.layer.results.last() != Some(&said) {
            self.layer.results.push(said.clone());
        }
        self.note(What::Delivered(said));
    }

    fn pass(&mut self, stream: Stream, count: usize) -> Option<Break> {
        let passed = self.layer.passed.entry(stream).or_default();
        *passed = passed.saturating_add(count as u64);
        let reached = *passed;
        let at =
            self.layer.wires.breaks.iter().position(|(s, n, _)| *s == stream && *n <= reached)?;
        Some(self.layer.wires.breaks.remove(at).2)
    }

    fn passed_of(&self, stream: Stream) -> u64 {
        self.layer.passed.get(&stream).copied().unwrap_or(0)
    }

    /// The next number of bytes of this stream, before it breaks and by its division into pieces.
    fn piece(&mut self, stream: Stream, chunks: Chunks, there: usize) -> usize {
        let passed = self.passed_of(stream);
        let size = chunks.next(there, passed, &mut self.rng);
        let next =
            self.layer.wires.breaks.iter().filter(|(s, ..)| *s == stream).map(|(_, n, _)| *n);
        let left = next.min().and_then(|next| next.checked_sub(passed)).filter(|left| *left > 0);
        size.min(left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX))
    }
}
