//! The world of messages: an updater, a link that loses packets, and a server of answers.
//!
//! What an adapter would do with sockets is done here at once and in memory.

mod consent;
mod inputs;
mod outputs;

use ota_proto::journal::Record;
use ota_proto::{Boot, Instant, Md5, OpId, SlotState, State, StorageError, Updater};

use crate::app::Act;
use crate::link::{Direction, Link, MessageFault, Packet};
use crate::server::Server;
use crate::setup::Setup;
use crate::trace::What;
use crate::trouble::Kind;
use crate::world::{Layer, Outcome, Step};

use consent::Consent;

/// One device at the level of messages and operations.
pub type World = crate::world::World<Messages>;

/// The layer of messages.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    /// The firmware server.
    pub server: Server,
    /// The device's program; `None` while power is off.
    device: Option<Updater>,
    link: Link,
    /// Whether the device reads the body in progress.
    reading: bool,
    consent: Consent,
}

/// An event of the link, by the number of its session.
#[derive(Clone, Debug)]
pub enum Arrival {
    /// A packet arrives.
    Packet(u32, Packet),
    /// A held packet arrives.
    Release(u32, Direction),
}

impl Layer for Messages {
    type Event = Arrival;

    const WATCHED: bool = true;
    const JUMPS: bool = true;

    fn updater(&self) -> Option<&Updater> {
        self.device.as_ref()
    }

    fn step(world: &mut World) -> Option<Step> {
        world.step_device()
    }

    fn send(world: &mut World, _: &str, payload: Vec<u8>) {
        world.send(Packet::Message(payload));
    }

    fn next(world: &mut World) -> Option<Instant> {
        let device = world.idle_deadline();
        let layer = &world.layer;
        let all = [device, layer.server.deadline(layer.reading), layer.link.deadline()];
        all.into_iter().flatten().min()
    }

    fn wake(world: &mut World, _: bool) -> bool {
        let now = world.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(world.layer.link.deadline()) {
            world.wake_link();
        } else if due(world.layer.server.deadline(world.layer.reading)) {
            world.serve();
        } else if due(world.idle_deadline()) {
            world.wake_device();
        } else {
            return false;
        }
        true
    }

    fn arrive(world: &mut World, event: Arrival) {
        let epoch = world.layer.link.epoch;
        match event {
            Arrival::Packet(session, packet) if session == epoch => world.arrive(packet),
            Arrival::Release(session, direction) if session == epoch => {
                if let Some(packet) = world.layer.link.held.remove(&direction) {
                    world.arrive(packet);
                }
            }
            Arrival::Packet(..) | Arrival::Release(..) => {}
        }
    }

    fn start(world: &mut World, boot: Boot<'_>) {
        world.layer.device = Updater::new(world.now, world.setup.device.clone(), boot).ok();
        let link = &mut world.layer.link;
        let wait = link.connected.map_or(world.now, |at| at + world.setup.connect);
        link.connect_at = Some(wait.max(world.now + world.setup.boot));
    }

    fn end(world: &mut World) {
        let record = world.storage.journal.record();
        let layer = &mut world.layer;
        layer.consent.restart(record.is_some_and(|record| record.accepted.is_some()));
        layer.device = None;
        layer.reading = false;
        layer.server.current = None;
        layer.link.drop_session(None);
        world.cloud.handle_disconnected(world.now, &world.setup.device.identity);
    }

    fn persisted(&mut self, before: Option<Record>, record: &Record) {
        self.consent.persisted(before, record);
    }

    fn done(world: &mut World, op: OpId, result: Result<Option<Md5>, StorageError>) {
        if let Some(device) = &mut world.layer.device {
            device.handle_done(world.now, op, result);
        }
    }

    fn act(world: &mut World, act: Act) {
        world.act(act);
    }

    fn check_end(_: &World, _: Outcome) -> Result<(), String> {
        Ok(())
    }
}

impl World {
    /// A new world: the device is off, and its task has not begun.
    ///
    /// # Panics
    /// If the cloud rejects the setup.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self::of(setup, Messages::default())
    }

    /// Sets the fault of the packet with this number. Packets count from 0, both directions
    /// together.
    pub fn plan(&mut self, packet: u64, fault: MessageFault) {
        self.layer.link.plan.insert(packet, fault);
    }

    /// Cancels the task, which the device does not learn, and begins one to another image. Returns
    /// `false` if the cloud refuses because the device has reported that version.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn change_task(&mut self, version: &str) -> bool {
        if let Some(task) = self.record().task.as_ref().map(|task| task.id) {
            let over = self.cloud.cancel_task(self.now, task);
            self.note(What::Fault(format!("task cancelled: {}", over.is_ok())));
        }
        if !self.start_task(version) {
            return false;
        }
        let mut images = self.setup.images.iter();
        let image = images.find(|image| image.version == version).expect("an image").clone();
        self.setup.to = image.version;
        self.setup.image = image.bytes;
        true
    }

    /// Does the same as [`World::change_task`] between the first and the second image, but only if
    /// the device runs its old version and no other can start by itself.
    pub fn turn_task(&mut self) -> bool {
        let next = if self.setup.to == "1.0.0" { "2.0.0" } else { "1.0.0" };
        let early = self.device().is_some_and(|device| {
            use State::{Deferred, Fetching, Idle, Offered, Ready, Verifying, Waiting};
            let (at, owed) = (device.state(), device.owed());
            let early = [Idle, Offered, Deferred, Waiting, Fetching, Verifying, Ready];
            early.contains(&at) && owed.is_none()
        });
        let loader = &self.storage.loader;
        let settled = matches!(loader.state(), SlotState::Confirmed | SlotState::RolledBack);
        if !early || !settled || loader.running() != self.setup.from || !self.change_task(next) {
            return false;
        }
        self.note(What::Met(Kind::OffersInTurn));
        true
    }

    /// The cloud offers the image in progress again, with this text.
    pub fn change_text(&mut self, text: &str) {
        let Some(offer) = self.device().and_then(Updater::offer) else { return };
        let payload = format!(
            r#"{{"file_size":{},"md5sum":"{}","type":"update_firmware","url":"{}","user_defined":"{text}","version":"{}"}}"#,
            offer.size, offer.md5, offer.url, offer.version
        );
        self.note(What::Met(Kind::ChangedText));
        self.send(Packet::Message(payload.into_bytes()));
    }

    /// Packets sent so far, both ways.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.layer.link.packets
    }
}
