//! The application's side of an engine.

use ota_proto::{Boot, Command, Md5, Misuse, QoS, Updater};
use ota_wire::adapter;
use ota_wire::client::{self, Client, DeviceIndex, Effect, Input};
use ota_wire::mqtt::{self, AckId, PublishError, PublishHandle, SubId, SubscribeError};
use ota_wire::record::Recorder;

use super::buffers::Heap;
use super::types::{EngineError, Operation};
use crate::driver::clock::Clock;
use crate::driver::lanes::{Finished, Lanes, Task};
use crate::files::accept::Image;
use crate::files::storage::{Ended, Job, Storage};

/// What an application may do between two calls of its adapter's `next`. Only
/// [`Control::add_device`] blocks.
#[derive(Debug)]
pub struct Control {
    pub(super) clock: Clock,
    pub(super) engine: adapter::Engine<Vec<u8>, Recorder, Heap>,
    devices: Vec<Local>,
}

/// The storage of a device.
#[derive(Debug)]
struct Local {
    lanes: Lanes<Operation>,
    image: Image,
}

impl Control {
    /// Adds a device that runs this version; the first one has the login of the connection.
    /// Blocks: it reads the journal and asks the switch. Its limits are raised to
    /// [`client::enlarge_device`].
    ///
    /// # Errors
    /// [`EngineError::Device`]; nothing changed.
    pub fn add_device(
        &mut self,
        mut config: ota_proto::Config,
        running: &str,
        mut storage: Storage,
    ) -> Result<DeviceIndex, EngineError> {
        client::enlarge_device(&mut config);
        let record = storage.record();
        let boot = Boot {
            running,
            slot: storage.slot_state(),
            journal: record.as_ref(),
            storage: storage.info(),
        };
        let added = self.engine.client_mut().add_device(self.clock.now(), config, boot);
        let device = added.map_err(EngineError::Device)?;
        let image = storage.image();
        self.devices.push(Local { image, lanes: Lanes::new(storage) });
        Ok(device)
    }

    /// A device's state machine: its state, progress and offer. `None` if there is no such device.
    #[must_use]
    pub fn updater(&self, device: DeviceIndex) -> Option<&Updater> {
        self.engine.client().updater(device)
    }

    /// Gives a command to a device's state machine:
    /// `control.command(device, Command::Accept)`. For a later time use `control.clock().now() +
    /// duration`.
    ///
    /// # Errors
    /// [`Misuse`] if the command does not fit the state or there is no such device; nothing
    /// changed.
    pub fn command(&mut self, device: DeviceIndex, command: Command) -> Result<(), Misuse> {
        self.engine.command(self.clock.now(), device, command)
    }

    /// The client.
    pub(crate) fn client(&self) -> &Client {
        self.engine.client()
    }

    /// A device's verified image, for an installer.
    #[must_use]
    pub fn image(&self, device: DeviceIndex) -> Option<&Image> {
        self.devices.get(device.get()).map(|local| &local.image)
    }

    /// Returns the digest of the offered image if this work hashes the image to its end.
    pub(super) fn whole<B>(&self, device: DeviceIndex, work: &ota_proto::Work<B>) -> Option<Md5> {
        let ota_proto::Work::Digest { range } = work else { return None };
        let offer = self.updater(device)?.offer()?;
        (offer.size == range.end).then_some(offer.md5)
    }

    /// Publishes a message of the application. At QoS 1 it is kept until it is acknowledged, across
    /// connections; [`client::ClientEvent::Published`] says so, and [`client::ClientEvent::GivenUp`] that it
    /// was given up after several sessions.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed. `$ota/…` is the client's own.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
    ) -> Result<PublishHandle, PublishError> {
        self.engine.client_mut().publish(self.clock.now(), topic, payload, qos)
    }

    /// Subscribes to a filter of the application's, in this session and in each later one.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing changed. `$ota/…` is the client's own.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<SubId, SubscribeError> {
        self.engine.client_mut().subscribe(self.clock.now(), filter, qos)
    }

    /// Removes a subscription of the application; `false` if this id is unknown.
    pub fn unsubscribe(&mut self, id: SubId) -> bool {
        self.tell(Input::Unsubscribe(id))
    }

    /// Acknowledges a message that the application has taken; `false` if it is of an earlier
    /// connection.
    pub fn acknowledge(&mut self, ack: AckId) -> bool {
        self.tell(Input::Acknowledge(ack))
    }

    /// Replaces the login from the next connection on.
    ///
    /// # Errors
    /// [`EngineError::Session`]; the old one stays.
    pub fn set_login(&mut self, login: mqtt::ConnectLogin) -> Result<(), EngineError> {
        let now = self.clock.now();
        self.engine.client_mut().set_login(now, login).map_err(EngineError::Session)
    }

    /// Makes the stored bytes of an image durable, and fetches no more.
    pub(crate) fn prepare_stop(&mut self) {
        self.tell(Input::PrepareStop);
    }

    /// Whether that is done.
    pub(crate) fn is_stopped(&self) -> bool {
        self.engine.client().is_stopped()
    }

    /// Disconnects from the broker and reconnects after the minimum interval.
    /// [`client::ClientEvent::Disconnected`] reports the end of the session.
    pub fn disconnect(&mut self) {
        self.tell(Input::Disconnect);
    }

    /// The recording up to now, for a file; see [`ota_wire::record`]. `None` without
    /// [`super::Options::record`].
    #[must_use]
    pub fn recording(&self) -> Option<Vec<u8>> {
        self.engine.noted().recording()
    }

    /// The clock of all times here.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }
}

impl Control {
    pub(super) fn new(
        config: client::ClientConfig,
        record: usize,
        buffers: Heap,
    ) -> Result<Self, EngineError> {
        let clock = Clock::start();
        let client = Recorder::new(clock.now(), config, record).map_err(EngineError::Session)?;
        let engine = adapter::Engine::with(client, buffers);
        Ok(Self { clock, engine, devices: Vec::new() })
    }

    /// Passes an input to the client. Returns whether it was taken.
    fn tell(&mut self, input: Input<'_>) -> bool {
        self.engine.client_mut().handle(self.clock.now(), input) == Effect::Taken
    }

    pub(super) fn push(&mut self, job: Job<Operation>) {
        if let Some(local) = self.devices.get_mut(job.op.0.get()) {
            local.lanes.push(job);
        }
    }

    pub(super) fn start(&mut self) -> Option<Task<Operation>> {
        self.devices.iter_mut().find_map(|local| local.lanes.start())
    }

    /// Takes a task back, and passes its result to the device's state machine.
    pub(super) fn finish(&mut self, finished: Finished<Operation>) {
        let Some(local) = self.devices.get_mut(finished.op().0.get()) else { return };
        let Ended { op: (device, op), result, buf } = local.lanes.finish(finished);
        self.engine.finish(self.clock.now(), device, adapter::Ended { op, result, buf });
    }
}
