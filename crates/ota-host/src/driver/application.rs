//! What an application may do with a driver between two calls of `next`.

use ota_proto::{Command, Misuse, QoS, Updater};
#[allow(unused_imports, reason = "for the documentation")]
use ota_wire::client;
use ota_wire::client::{Client, DeviceIndex};
use ota_wire::mqtt::{AckId, ConnectLogin, PublishError, PublishHandle, SubId, SubscribeError};

use crate::driver::clock::Clock;
use crate::driver::engine::EngineError;
use crate::driver::run::Driver;
use crate::driver::runtime::Runtime;
use crate::files::accept::Image;
use crate::files::storage::Storage;

/// Devices.
impl<R: Runtime> Driver<R> {
    /// Adds a device that runs this version; the first one has the login of the connection.
    /// Blocks: it reads the journal and asks the switch. Its limits are raised to
    /// [`client::enlarge_device`].
    ///
    /// # Errors
    /// [`EngineError::Device`]; nothing changed.
    pub fn add_device(
        &mut self,
        config: ota_proto::Config,
        running: &str,
        storage: Storage,
    ) -> Result<DeviceIndex, EngineError> {
        self.engine.control.add_device(config, running, storage)
    }

    /// A device's state machine: its state, progress and offer. `None` if there is no such device.
    #[must_use]
    pub fn updater(&self, device: DeviceIndex) -> Option<&Updater> {
        self.engine.control.updater(device)
    }

    /// The client.
    pub(super) fn client(&self) -> &Client {
        self.engine.control.client()
    }

    /// Gives a command to a device's state machine:
    /// `driver.command(device, Command::Accept)`. For a later time use `driver.clock().now() +
    /// duration`.
    ///
    /// # Errors
    /// [`Misuse`] if the command does not fit the state or there is no such device; nothing
    /// changed.
    pub fn command(&mut self, device: DeviceIndex, command: Command) -> Result<(), Misuse> {
        self.engine.control.command(device, command)
    }

    /// A device's verified image, for an installer.
    #[must_use]
    pub fn image(&self, device: DeviceIndex) -> Option<&Image> {
        self.engine.control.image(device)
    }
}

/// The application's own topics, on the same connection.
impl<R: Runtime> Driver<R> {
    /// Publishes a message. At QoS 1 it is kept until it is acknowledged, across connections;
    /// [`client::ClientEvent::Published`] says so, and [`client::ClientEvent::GivenUp`] that it was given
    /// up after several sessions.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed. `$ota/…` is the client's own.
    pub fn publish(
        &mut self,
        topic: &str,
        payload: &[u8],
        qos: QoS,
    ) -> Result<PublishHandle, PublishError> {
        self.engine.control.publish(topic, payload, qos)
    }

    /// Subscribes to a filter, in this session and in each later one.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing changed. `$ota/…` is the client's own.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<SubId, SubscribeError> {
        self.engine.control.subscribe(filter, qos)
    }

    /// Ends a subscription; `false` if it has ended already.
    pub fn unsubscribe(&mut self, id: SubId) -> bool {
        self.engine.control.unsubscribe(id)
    }

    /// Acknowledges a message that the application has taken; `false` if it is of an earlier
    /// connection.
    pub fn acknowledge(&mut self, ack: AckId) -> bool {
        self.engine.control.acknowledge(ack)
    }
}

/// The connection.
impl<R: Runtime> Driver<R> {
    /// Replaces the login from the next connection on.
    ///
    /// # Errors
    /// [`EngineError::Session`]; the old one stays.
    pub fn set_login(&mut self, login: ConnectLogin) -> Result<(), EngineError> {
        self.engine.control.set_login(login)
    }

    /// Disconnects from the broker, and reconnects after the minimum interval between two
    /// connections. [`client::ClientEvent::Disconnected`] reports when it is done.
    pub fn disconnect(&mut self) {
        self.engine.control.disconnect();
    }

    /// The recording up to now, for a file; see [`ota_wire::record`]. `None` without
    /// [`Options::record`](crate::Options::record).
    #[must_use]
    pub fn recording(&self) -> Option<Vec<u8>> {
        self.engine.control.recording()
    }

    /// The clock of all times here.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.engine.control.clock()
    }
}
