//! One device on one connection, the simplest interface.

mod builder;
mod device;

use alloc::boxed::Box;
use core::fmt;

use ota_proto::{Command, Updater};
use ota_wire::adapter;
use ota_wire::client::DeviceIndex;
use ota_wire::mqtt::AckId;

use crate::driver::{Buffers, Driver, Error};
use crate::flash::Storage;
use crate::network::{Network, Tcp};
use crate::time::now;

pub use builder::Builder;
pub use device::Device;
pub use ota_proto::credentials::{BadSecret, Secret};
// Types of events and commands, and those that your own network, storage or switch needs.
pub use ota_proto::{
    Answer, BadName, Digester, InstallFault, Installed, Journal, Md5, MessageError, Micros, Misuse,
    Offer, Order, Outcome, QoS, Reason, Region, Rng, SlotAction, SlotInfo, SlotState, State,
    StorageError, TlsError, TransportError, Version,
};
pub use ota_wire::adapter::LinkTarget;
pub use ota_wire::client::{Disconnect, LinkKind};
pub use ota_wire::mqtt::{PublishError, PublishHandle, SessionError, SubId, SubscribeError};
pub use ota_wire::updates::{Event, Message, NewImage, Status};

/// The updates of one device, and its connection to the platform, which the application's own
/// topics share.
///
/// Call [`Updates::next`] in a loop and react to its [`Event`]s. Everything happens within this
/// call, even the connection's keep-alive. You can give commands between two calls. A command that
/// does not fit the state returns [`Misuse`] and changes nothing.
///
/// Dropping it acts like a reset; before a reset that can wait briefly, [`Updates::stop`] saves
/// what the reset would lose.
pub struct Updates<'d, N: Network> {
    /// On the heap: a value that is returned is copied on each caller's stack.
    driver: Box<Driver<'d, N>>,
    /// The last message that the application got.
    taken: Option<AckId>,
}

impl Updates<'static, &'static Tcp<'static>> {
    /// Like [`Updates::new`], with other settings: region or broker, clock, consent. Finish it with
    /// [`Builder::start`].
    pub fn builder<'d>(device: Device, running: &'d str) -> Builder<'d> {
        Builder::new(device, running)
    }
}

/// Start, run, stop.
impl<'d, N: Network + 'd> Updates<'d, N> {
    /// Starts a device that runs the version `running`, with the defaults of [`Updates::builder`]:
    /// it connects to the platform's broker in China and downloads by itself, with TLS if the
    /// network has it. This reads the state at boot; [`Updates::next`] connects.
    ///
    /// # Errors
    /// [`Error`]: the flash cannot be read, a buffer is too short, or the version is invalid.
    pub fn new(
        network: N,
        device: Device,
        running: &'d str,
        storage: impl Storage + 'd,
        buffers: Buffers<'d>,
    ) -> impl Future<Output = Result<Self, Error>> {
        Builder::new(device, running).start(network, storage, buffers)
    }

    /// Waits for the next event. Cancel-safe: dropping the future loses nothing, so it can be used
    /// in a `select`. An erase or write in progress continues with the next call.
    ///
    /// The next call acknowledges an [`Event::Message`].
    pub async fn next(&mut self) -> Event {
        if let Some(ack) = self.taken.take() {
            let (client, now) = self.driver.client();
            client.acknowledge(now, ack);
        }
        loop {
            let event = self.driver.next().await;
            if let adapter::DriverEvent::Message { ack, .. } = &event {
                self.taken = *ack;
            }
            let client = self.driver.engine.client();
            if let Some(event) = Event::of(event, client, now(), Some) {
                return event;
            }
        }
    }

    /// Stops: makes the stored bytes of an image durable, disconnects from the broker, and closes
    /// the connections. An update in progress resumes after the next start.
    ///
    /// It takes at most three seconds, whatever the network does. Keep the network stack running
    /// until it is done.
    pub async fn stop(self) {
        self.driver.stop().await;
    }
}

/// Answers and commands.
impl<'d, N: Network + 'd> Updates<'d, N> {
    ota_wire::update_commands!(self, self, now());

    fn command(&mut self, command: Command) -> Result<(), Misuse> {
        self.driver.command(DeviceIndex::FIRST, command)
    }
}

/// Queries.
impl<'d, N: Network + 'd> Updates<'d, N> {
    /// The state of the update.
    #[must_use]
    pub fn status(&self) -> Status {
        Self::added(Status::of(self.driver.engine.client(), DeviceIndex::FIRST))
    }

    /// The running version.
    #[must_use]
    pub fn running(&self) -> Version {
        self.updater().running()
    }

    /// The open offer.
    #[must_use]
    pub fn offer(&self) -> Option<Offer<'_>> {
        self.updater().offer()
    }

    fn updater(&self) -> &Updater {
        Self::added(self.driver.updater(DeviceIndex::FIRST))
    }

    #[expect(clippy::expect_used, reason = "`Builder::start` adds the device")]
    fn added<T>(found: Option<T>) -> T {
        found.expect("the device")
    }
}

/// The application's own topics, on the same connection.
impl<'d, N: Network + 'd> Updates<'d, N> {
    /// Publishes a message. With [`QoS::AtLeastOnce`] it is kept until the broker acknowledges it,
    /// across connections, but not across a reset. [`Event::Published`] and [`Event::GivenUp`] name
    /// it.
    ///
    /// # Errors
    /// [`PublishError`]: there is no connection, or too much waits; try again later.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
    ) -> Result<PublishHandle, PublishError> {
        let (client, now) = self.driver.client();
        client.publish(now, topic, payload, qos)
    }

    /// Subscribes to topics, on this connection and each later one. Their messages come as
    /// [`Event::Message`].
    ///
    /// # Errors
    /// [`SubscribeError`]: the filter is invalid, or already subscribed.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<SubId, SubscribeError> {
        let (client, now) = self.driver.client();
        client.subscribe(now, filter, qos)
    }

    /// Ends a subscription; `false` if it has already ended.
    pub fn unsubscribe(&mut self, id: SubId) -> bool {
        let (client, now) = self.driver.client();
        client.unsubscribe(now, id)
    }

    /// Ends the connection. The next one opens by itself, with a new login.
    pub fn reconnect(&mut self) {
        let (client, now) = self.driver.client();
        client.disconnect(now);
    }
}

/// The broker's and the firmware server's.
impl<'d, const B: usize, const S: usize> From<(&'d mut [u8; B], &'d mut [u8; S])> for Buffers<'d> {
    fn from((broker, store): (&'d mut [u8; B], &'d mut [u8; S])) -> Self {
        Self { broker, store }
    }
}

impl<N: Network> fmt::Debug for Updates<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates").field("driver", &self.driver).finish_non_exhaustive()
    }
}
