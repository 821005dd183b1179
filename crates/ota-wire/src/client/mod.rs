//! MQTT, HTTP and the updaters behind one interface: an adapter sees bytes, operations and events.
//!
//! The loop of an adapter, each turn:
//! 1. [`Client::poll`] until [`Output::Idle`];
//! 2. wait for the first of: a link that is worth reading has bytes; a link can take what
//!    [`Client::transmit`] has; an operation ended; the application has a command; the deadline;
//! 3. tell the client.
//!
//! What is to be sent is state, not an output: a link's bytes stay at the front of
//! [`Client::transmit`] until [`Client::handle_sent`] says how many left. No write is ever
//! awaited, so two full pipes cannot lock each other.

mod broker;
mod devices;
mod input;
mod poll;
mod store;
mod types;

use alloc::vec::Vec;
use core::mem::discriminant;

use ota_proto::{Boot, Instant, QoS, TransportError, Updater};

use crate::mqtt::{
    self, AckId, Outgoing, PublishError, PublishHandle, Purpose, SubId, SubscribeError,
};

use broker::{BrokerLink, Ending};
use devices::Devices;
pub use input::{Added, DeviceInput, Effect, Input};
use store::StoreLink;
use types::Owner;
pub use types::{
    AddError, ClientConfig, ClientEvent, DeviceIndex, Disconnect, Found, Link, LinkKind, Output,
    Received, Timer, enlarge_device,
};

/// One connection to the cloud for one device and its sub-devices, and one fetch at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Client {
    devices: Devices,
    pub(crate) broker: BrokerLink,
    pub(crate) store: StoreLink,
    events: Vec<ClientEvent>,
    epoch: u32,
}

/// Devices and the application.
impl Client {
    /// Makes a client without devices.
    ///
    /// # Errors
    /// [`mqtt::ConfigError`] if no session or fetch can work with the configuration.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn new(now: Instant, config: ClientConfig) -> Result<Self, mqtt::ConfigError> {
        config.check()?;
        Ok(Self {
            devices: Devices::default(),
            store: StoreLink::new(&config),
            broker: BrokerLink::new(now, config)?,
            events: Vec::new(),
            epoch: 0,
        })
    }

    /// Adds a device; the first one has the login of the connection. The others are its
    /// sub-devices, which the application brings online by its own messages: a subscription that is
    /// refused before is requested again every minute.
    ///
    /// # Errors
    /// [`AddError`]; nothing changed.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn add_device(
        &mut self,
        now: Instant,
        config: ota_proto::Config,
        boot: Boot<'_>,
    ) -> Result<DeviceIndex, AddError> {
        let updater = Updater::new(now, config, boot).map_err(AddError::Config)?;
        self.broker.check_room(updater.config())?;
        self.store.check_room(updater.config())?;
        let topic = updater.config().identity.update_topic();
        let kind = self.devices.next_kind();
        let sub = self.broker.session.subscribe(now, kind, topic, QoS::AtLeastOnce);
        Ok(self.devices.add(updater, sub.map_err(AddError::Subscribe)?))
    }

    /// All devices, in the order they were added.
    pub fn devices(&self) -> impl Iterator<Item = DeviceIndex> + use<> {
        self.devices.indices()
    }

    /// A device's machine: its state and its offer.
    #[must_use]
    pub fn updater(&self, device: DeviceIndex) -> Option<&Updater> {
        self.devices.get(device)
    }

    /// A device's machine, for commands and for the completions of its storage operations. Only the
    /// client may handle sessions, messages and fetches.
    pub fn updater_mut(&mut self, device: DeviceIndex) -> Option<&mut Updater> {
        self.devices.get_mut(device)
    }

    /// The broker's host and port.
    #[must_use]
    pub fn broker(&self) -> (&str, u16) {
        self.broker.address()
    }

    /// Whether the broker has accepted the login of this connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.broker.is_accepted()
    }

    /// Publishes a message of the application. At QoS 1 it is kept across connections until it is
    /// acknowledged ([`ClientEvent::Published`]), or until it was sent in [`mqtt::SessionLimits::tries`]
    /// sessions without an acknowledgement ([`ClientEvent::GivenUp`]).
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
        self.broker.publish(now, Outgoing { kind: Purpose::Application, qos, topic, payload })
    }

    /// Subscribes to a filter of the application, in this session and in each later one.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing changed. `$ota/…` is the client's own.
    pub fn subscribe(
        &mut self,
        now: Instant,
        filter: &str,
        qos: QoS,
    ) -> Result<SubId, SubscribeError> {
        self.broker.subscribe(now, filter, qos)
    }

    /// Removes a subscription of the application; `false` if this id is unknown.
    pub fn unsubscribe(&mut self, now: Instant, id: SubId) -> bool {
        !self.devices.owns(id) && self.broker.session.unsubscribe(now, id)
    }

    /// Reports that the application has taken the message (O16); `false` if it is of an earlier
    /// connection.
    pub fn acknowledge(&mut self, now: Instant, ack: AckId) -> bool {
        self.broker.session.acknowledge(now, ack)
    }

    /// Replaces the login from the next connection on.
    ///
    /// # Errors
    /// [`mqtt::ConfigError`]; the old one stays.
    pub fn set_login(&mut self, login: mqtt::ConnectLogin) -> Result<(), mqtt::ConfigError> {
        self.broker.session.set_login(login)
    }

    /// Prepares the program's end: makes the stored bytes of an image durable, and fetches nothing
    /// more. Continue until [`Client::is_stopped`], but at most for a second or two.
    pub fn prepare_stop(&mut self, now: Instant) {
        self.devices.prepare_stop(now);
    }

    /// Whether, after [`Client::prepare_stop`], nothing is left that could be made durable now.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.devices.are_stopped()
    }

    /// Disconnects from the broker and reconnects after the minimum interval.
    pub fn disconnect(&mut self, now: Instant) {
        self.broker.session.disconnect(now);
    }
}

/// Links and time.
impl Client {
    /// Reports that a link is open, after TLS.
    pub fn handle_connected(&mut self, now: Instant, link: Link) {
        if self.broker.is(link) {
            self.broker.opened(now);
        } else if self.store.is(link) {
            self.store.opened();
        }
    }

    /// Reports that a link could not be opened.
    pub fn handle_connect_failed(&mut self, now: Instant, link: Link, error: TransportError) {
        if self.broker.is(link) {
            self.end_broker(now, Disconnect::Transport(error));
        } else if self.store.is(link) {
            self.with_store(|store, owner| store.fail(now, error, owner));
        }
    }

    /// Returns the bytes to write to a link, empty if there are none. They stay until
    /// [`Client::handle_sent`].
    #[must_use]
    pub fn transmit(&self, link: Link) -> &[u8] {
        if self.broker.is(link) {
            return self.broker.session.transmit();
        }
        self.store.transmit(link)
    }

    /// Reports that the link took this many bytes from the front of [`Client::transmit`].
    pub fn handle_sent(&mut self, now: Instant, link: Link, count: usize) {
        if self.broker.is(link) {
            self.broker.session.handle_sent(now, count);
        } else if self.store.is(link) {
            self.store.sent(count);
        }
    }

    /// Handles received bytes of a link: everything received and not yet consumed, in one piece.
    /// Call it again with the rest until it neither consumes nor finds anything; then read more.
    /// Offer the rest again after the next input of any kind, without waiting for more bytes: it
    /// may be a complete message, or body bytes, for which there was no room.
    pub fn handle_received(&mut self, now: Instant, link: Link, rx: &[u8]) -> Received {
        if self.broker.is(link) {
            return self.receive_from_broker(now, rx);
        }
        let receive = |store: &mut StoreLink, owner: &mut Updater| store.receive(now, rx, owner);
        let store = self.store.is(link).then(|| self.with_store(receive)).flatten();
        store.unwrap_or(Received { consumed: rx.len(), found: None })
    }

    /// Reports that the peer closed a link, and that everything received before was offered until
    /// it was consumed: unwanted bytes wait, and the end with them. `clean`: the stream ended as
    /// its protocol requires, not a TLS stream without `close_notify`.
    pub fn handle_closed(&mut self, now: Instant, link: Link, clean: bool) {
        if self.broker.is(link) {
            self.end_broker(now, Disconnect::Transport(TransportError::Closed));
        } else if self.store.is(link) {
            self.with_store(|store, owner| store.closed(now, clean, owner));
        }
    }

    /// Handles the deadline of the last [`Output::Idle`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.devices.handle_timeout(now);
        if let Some(cause) = self.broker.tick(now) {
            self.end_broker(now, cause);
        }
        if self.store.is_overdue(now) {
            self.with_store(|store, owner| store.fail(now, TransportError::TimedOut, owner));
        }
    }

    /// The firmware server's link, and the machine whose fetch it serves.
    fn with_store<R>(&mut self, act: impl FnOnce(&mut StoreLink, &mut Updater) -> R) -> Option<R> {
        let updater = self.devices.get_mut(self.store.device()?)?;
        Some(act(&mut self.store, updater))
    }

    /// Reports that the broker's link is closed or closing: its devices are offline.
    #[inline(never)]
    fn end_broker(&mut self, now: Instant, cause: Disconnect) {
        let busy = self.devices.are_busy();
        let Some(Ending { cause, next }) = self.broker.end(now, cause, busy) else { return };
        self.devices.offline(now);
        self.push_event(ClientEvent::Disconnected { cause, retry_at: next.at });
        if next.kicked {
            self.push_event(ClientEvent::Kicked);
        }
        if let Disconnect::Session(mqtt::SessionError::TimedOut(mqtt::SessionTimer::Blocked)) =
            cause
        {
            self.push_event(ClientEvent::LeftOut);
        }
    }

    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    fn receive_from_broker(&mut self, now: Instant, rx: &[u8]) -> Received {
        let Some(mqtt::SessionReceived { consumed, found }) = self.broker.receive(now, rx) else {
            // The session is over; the next output closes the link.
            return Received { consumed: rx.len(), found: None };
        };
        let mut application = None;
        match found {
            mqtt::SessionFound::Accepted => self.push_event(ClientEvent::Connected),
            mqtt::SessionFound::Subscribed(sub) => {
                let ours = self.devices.subscribed(now, sub);
                if !ours {
                    self.push_event(ClientEvent::Subscribed(sub));
                }
            }
            mqtt::SessionFound::Refused(sub) => self.push_event(ClientEvent::SubscribeRefused(sub)),
            mqtt::SessionFound::Unsubscribed(sub) => {
                self.push_event(ClientEvent::Unsubscribed(sub))
            }
            mqtt::SessionFound::TooLong { len, .. } => {
                self.push_latest(ClientEvent::TooLong { len })
            }
            mqtt::SessionFound::Message { topic, payload, ack, retain } => {
                let text = mqtt::text(rx, &topic);
                let message = rx.get(payload.clone()).filter(|_| !retain);
                match self.devices.receive(now, text, message) {
                    None => application = Some(Found::Message { topic, payload, ack }),
                    Some(problem) => {
                        if let Some(event) = problem {
                            self.push_latest(event);
                        }
                        // The machine has handled it (O16).
                        ack.map(|ack| self.broker.session.acknowledge(now, ack));
                    }
                }
            }
            _ => {}
        }
        Received { consumed, found: application }
    }

    /// Reports an unusable message. A server can send many before the next output is polled: only
    /// the latest of each kind waits.
    fn push_latest(&mut self, event: ClientEvent) {
        self.events.retain(|old| discriminant(old) != discriminant(&event));
        self.push_event(event);
    }

    // Not inlined: each copy costs flash.
    #[inline(never)]
    fn push_event(&mut self, event: ClientEvent) {
        self.events.push(event);
    }
}
