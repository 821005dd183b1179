//! Both wires and the updaters behind one surface: an adapter sees bytes, operations and events.
//!
//! The loop of an adapter, each turn:
//! 1. [`Client::poll_output`] until [`Output::Idle`];
//! 2. wait for the first of: a link that is worth reading has bytes; a link can take what
//!    [`Client::transmit`] has; an operation ended; the application has a command; the deadline;
//! 3. tell the client.
//!
//! What is to be sent is state, not an output: a link's bytes stay at the front of
//! [`Client::transmit`] until [`Client::handle_sent`] says how many left. No write is ever
//! awaited, so two full pipes cannot lock each other.

mod broker;
mod poll;
mod store;
mod types;

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use ota_proto::{Boot, Instant, QoS, State, TransportError, Updater};

use crate::mqtt::{
    self, AckId, Kind, Outgoing, PublishError, PublishHandle, Session, SubId, SubscribeError,
};

use broker::Broker;
use store::Store;
use types::Owner;
pub use types::{
    AddError, Config, DeviceIndex, Disconnect, Event, Found, Link, LinkKind, Output, Received,
    Timer,
};

/// One connection to the cloud for one device and its sub-devices, and one fetch at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    config: Config,
    devices: Vec<Device>,
    session: Session<Owner>,
    broker: Broker,
    store: Option<Store>,
    /// Links to be closed: at most one of each kind.
    closing: Vec<Link>,
    news: VecDeque<Event>,
    epoch: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Device {
    updater: Updater,
    sub: SubId,
    up: bool,
}

/// Devices and the application.
impl Client {
    /// A client without devices.
    ///
    /// # Errors
    /// [`mqtt::ConfigError`] when no session can work with the configuration.
    pub fn new(now: Instant, config: Config) -> Result<Self, mqtt::ConfigError> {
        Ok(Self {
            session: Session::new(config.mqtt.clone())?,
            broker: Broker::new(now, &config),
            devices: Vec::new(),
            store: None,
            closing: Vec::new(),
            news: VecDeque::new(),
            epoch: 0,
            config,
        })
    }

    /// Adds a device; the first is the one whose login the connection has.
    ///
    /// # Errors
    /// [`AddError`]; nothing changed.
    pub fn add_device(
        &mut self,
        now: Instant,
        config: ota_proto::Config,
        boot: Boot<'_>,
    ) -> Result<DeviceIndex, AddError> {
        let updater = Updater::new(now, config, boot).map_err(AddError::Config)?;
        let topic = updater.config().identity.update_topic();
        let sub = self
            .session
            .subscribe(now, Kind::Ota, topic, QoS::AtLeastOnce)
            .map_err(AddError::Subscribe)?;
        self.devices.push(Device { updater, sub, up: false });
        Ok(DeviceIndex(self.devices.len().saturating_sub(1)))
    }

    /// All devices, in the order they were added.
    pub fn devices(&self) -> impl Iterator<Item = DeviceIndex> + use<> {
        (0..self.devices.len()).map(DeviceIndex)
    }

    /// A device's machine: its state and its offer.
    #[must_use]
    pub fn updater(&self, device: DeviceIndex) -> Option<&Updater> {
        self.devices.get(device.0).map(|device| &device.updater)
    }

    /// A device's machine, for commands and for the completions of its storage operations.
    /// Sessions, messages and fetches are the client's business.
    pub fn updater_mut(&mut self, device: DeviceIndex) -> Option<&mut Updater> {
        self.devices.get_mut(device.0).map(|device| &mut device.updater)
    }

    /// Publishes a message of the application. At QoS 1 it is kept until it is acknowledged,
    /// across connections; [`Event::Published`] says so.
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed. `$ota/…` is the client's own.
    pub fn publish(
        &mut self,
        now: Instant,
        topic: &str,
        payload: &[u8],
        qos: QoS,
    ) -> Result<PublishHandle, PublishError> {
        if is_ours(topic) {
            return Err(PublishError::BadTopic);
        }
        let message = Outgoing { kind: Kind::Application, qos, topic, payload };
        self.session.publish(now, message, Owner::Application)
    }

    /// Subscribes to a filter of the application's, in this session and in each later one.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing changed. `$ota/…` is the client's own.
    pub fn subscribe(
        &mut self,
        now: Instant,
        filter: &str,
        qos: QoS,
    ) -> Result<SubId, SubscribeError> {
        if is_ours(filter) {
            return Err(SubscribeError::BadFilter);
        }
        self.session.subscribe(now, Kind::Application, filter, qos)
    }

    /// Gives a subscription of the application up; `false` when there is none of that name.
    pub fn unsubscribe(&mut self, now: Instant, id: SubId) -> bool {
        let ours = self.devices.iter().any(|device| device.sub == id);
        !ours && self.session.unsubscribe(now, id)
    }

    /// The application has taken the message (O16); `false` when it is of an earlier connection.
    pub fn acknowledge(&mut self, now: Instant, ack: AckId) -> bool {
        self.session.acknowledge(now, ack)
    }

    /// Replaces the login from the next connection on.
    ///
    /// # Errors
    /// [`mqtt::ConfigError`]; the old one stays.
    pub fn set_login(&mut self, login: mqtt::Login) -> Result<(), mqtt::ConfigError> {
        self.session.set_login(login)
    }

    /// Says good-bye to the broker; the next connection follows at the floor.
    pub fn disconnect(&mut self, now: Instant) {
        self.session.disconnect(now);
    }
}

/// Links and time.
impl Client {
    /// A link is open, after TLS.
    pub fn handle_connected(&mut self, now: Instant, link: Link) {
        if self.is_broker(link) {
            if self.broker.is_opening() {
                self.broker.opened(now);
                self.session.handle_connected(now);
            }
        } else if let Some(store) = self.store_of(link) {
            store.opened();
        }
    }

    /// A link could not be opened.
    pub fn handle_connect_failed(&mut self, now: Instant, link: Link, error: TransportError) {
        if self.is_broker(link) {
            self.end_broker(now, Disconnect::Transport(error));
        } else if self.store_of(link).is_some() {
            self.fail_fetch(now, error);
        }
    }

    /// Bytes to be written to a link, empty when there are none. They stay until
    /// [`Client::handle_sent`].
    #[must_use]
    pub fn transmit(&self, link: Link) -> &[u8] {
        match &self.store {
            Some(store) if store.link == link => store.transmit(),
            _ if self.is_broker(link) => self.session.transmit(),
            _ => &[],
        }
    }

    /// The link took so many bytes from the front of [`Client::transmit`].
    pub fn handle_sent(&mut self, now: Instant, link: Link, count: usize) {
        if self.is_broker(link) {
            self.session.handle_sent(now, count);
        } else if let Some(store) = self.store_of(link) {
            store.sent(count);
        }
    }

    /// Bytes came on a link: everything received and not yet consumed, in one piece. Call it
    /// again with the rest until it neither consumes nor finds anything; then read more.
    pub fn handle_received(&mut self, now: Instant, link: Link, rx: &[u8]) -> Received {
        if self.is_broker(link) {
            return self.receive_from_broker(now, rx);
        }
        if self.store_of(link).is_some_and(|store| store.is_open()) {
            return self.receive_from_store(now, rx);
        }
        Received { consumed: rx.len(), found: None }
    }

    /// The peer closed a link. `clean`: the stream ended as its protocol says; a TLS stream
    /// without `close_notify` did not.
    pub fn handle_closed(&mut self, now: Instant, link: Link, clean: bool) {
        if self.is_broker(link) {
            self.end_broker(now, Disconnect::Transport(TransportError::Closed));
        } else if self.store_of(link).is_some() {
            self.end_fetch(now, clean);
        }
    }

    /// The deadline of the last [`Output::Idle`] has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.devices.iter_mut().for_each(|device| device.updater.handle_timeout(now));
        // Its end shows in the session's phase, and is seen to with the next output.
        let _ = self.session.handle_timeout(now);
        if self.broker.is_overdue(now) {
            self.end_broker(now, Disconnect::Transport(TransportError::TimedOut));
        }
        if self.store.as_ref().is_some_and(|store| store.is_overdue(now)) {
            self.fail_fetch(now, TransportError::TimedOut);
        }
    }

    fn is_broker(&self, link: Link) -> bool {
        self.broker.link == Some(link)
    }

    fn new_link(&mut self, kind: LinkKind) -> Link {
        self.epoch = self.epoch.wrapping_add(1);
        Link { kind, epoch: self.epoch }
    }

    /// An update is open or owed: the cloud's time-out runs.
    fn is_busy(&self) -> bool {
        self.devices
            .iter()
            .any(|device| device.updater.state() != State::Idle || device.updater.owed().is_some())
    }
}

/// The client's own topics are not the application's.
fn is_ours(topic: &str) -> bool {
    topic == "$ota" || topic.starts_with("$ota/")
}
