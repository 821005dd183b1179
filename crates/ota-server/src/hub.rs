//! The one task that owns the [`Cloud`]: connections and the handle send it inputs, it sends
//! pushes. It never waits for a connection, so no client can hold up another.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mqttbytes::QoS;
use ota_proto::{Identity, Instant, Topic};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::log::{Entry, Payload, What};
use super::mqtt::Push;
use super::store::Store;
use ota_cloud::broker;
use ota_cloud::endpoint::{Event, Login, Refusal, matches};
use ota_cloud::login;
use ota_cloud::{Cloud, CloudError, Firmware, Output};

/// A connection's number; never used twice.
pub(super) type ConnId = u64;

/// A function to run on the cloud, at a moment.
pub(super) type Command = Box<dyn FnOnce(&mut Hub, Instant) + Send>;

/// What the hub is told.
pub(super) enum Input {
    Login {
        id: ConnId,
        peer: SocketAddr,
        login: Login,
        /// What it showed in TLS, in DER.
        certificate: Option<Vec<u8>>,
        link: Link,
        answer: oneshot::Sender<Result<Identity, Refusal>>,
    },
    Event {
        id: ConnId,
        event: Event,
    },
    Gone {
        id: ConnId,
        peer: SocketAddr,
        device: Option<Identity>,
        why: String,
    },
    /// From the broker that the cloud is a client of.
    Broker(broker::Event),
    Command(Command),
}

/// Where entries are written.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub(super) clock: Clock,
    pub(super) entries: broadcast::Sender<Entry>,
}

impl Journal {
    /// Writes an entry; nobody may be reading.
    pub(super) fn write(&self, device: Option<&Identity>, what: What) {
        let entry = Entry { at: self.clock.now(), device: device.cloned(), what };
        let _ = self.entries.send(entry);
    }
}

/// The cloud and the sessions of its devices.
pub(super) struct Hub {
    pub(super) cloud: Cloud,
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    /// The least time between two logins of a device (docs/protocol.md, Connection).
    pub(super) connect_spacing: Option<Duration>,
    /// Every registered device by its client id.
    pub(super) client_ids: BTreeMap<String, Identity>,
    /// The certificates, in DER, of devices that have one in place of a secret.
    pub(super) certificates: BTreeMap<Identity, Vec<u8>>,
    sessions: BTreeMap<ConnId, Session>,
    by_device: BTreeMap<Identity, ConnId>,
    last_login: BTreeMap<Identity, Instant>,
    /// The way to the broker that stands in the place of all sessions.
    broker: Option<mpsc::Sender<Push>>,
    /// The images that are read from where they are for each request.
    images: Option<Store>,
}

/// The hub's end of a connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) outbox: mpsc::Sender<Push>,
    /// Nothing is ever sent: dropping it ends the connection, however full its queue is.
    pub(super) _alive: oneshot::Sender<Infallible>,
}

struct Session {
    device: Identity,
    link: Link,
    filters: BTreeSet<String>,
}

impl Hub {
    pub(super) fn new(
        cloud: Cloud,
        clock: Clock,
        journal: Journal,
        connect_spacing: Option<Duration>,
        broker: Option<mpsc::Sender<Push>>,
        images: Option<Store>,
    ) -> Self {
        Self {
            cloud,
            clock,
            journal,
            connect_spacing,
            client_ids: BTreeMap::new(),
            certificates: BTreeMap::new(),
            sessions: BTreeMap::new(),
            by_device: BTreeMap::new(),
            last_login: BTreeMap::new(),
            broker,
            images,
        }
    }

    /// Runs until the service stops.
    pub(super) async fn run(mut self, mut inputs: mpsc::Receiver<Input>, stop: CancellationToken) {
        loop {
            let deadline = self.drain();
            let full = self.broker.clone().filter(|broker| broker.capacity() == 0);
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.handle(input),
                    None => return,
                },
                () = self.clock.sleep_until(deadline) => {
                    self.cloud.handle_timeout(self.clock.now());
                }
                () = room(full.as_ref()), if full.is_some() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    fn handle(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Login { id, peer, login, certificate, link, answer } => {
                let certificate = certificate.as_deref();
                let decided = self.log_in(id, peer, &login, certificate, link, now);
                if let Err(why) = decided {
                    let client_id = login.client_id.chars().take(64).collect();
                    self.journal.write(None, What::LoginRefused { peer, client_id, why });
                }
                // A connection that is gone says so itself.
                let _ = answer.send(decided);
            }
            Input::Event { id, event } => self.handle_event(id, event, now),
            Input::Gone { id, peer, device, why } => {
                self.end_session(id, now);
                self.journal.write(device.as_ref(), What::Closed { peer, why });
            }
            Input::Broker(event) => self.handle_broker(event, now),
            Input::Command(command) => command(self, now),
        }
    }

    fn handle_broker(&mut self, event: broker::Event, now: Instant) {
        let (topic, payload) = match event {
            broker::Event::Report { topic, payload } => (topic, payload),
            broker::Event::Oversized { topic } => {
                let error = CloudError::TooLarge;
                return self.journal.write(None, What::Refused { topic, error });
            }
            // Joining is told by the connection; what a later `ota-cloud` adds is not known here.
            _ => return,
        };
        let device = Topic::parse(&topic)
            .and_then(|topic| Identity::new(topic.product_id, topic.device_name).ok());
        self.handle_report(device.as_ref(), topic, &payload, now);
    }

    fn handle_report(
        &mut self,
        device: Option<&Identity>,
        topic: String,
        payload: &[u8],
        now: Instant,
    ) {
        let message = Payload::new(payload);
        self.journal.write(device, What::Received { topic: topic.clone(), payload: message });
        if let Err(error) = self.cloud.handle_message(now, &topic, payload) {
            self.journal.write(device, What::Refused { topic, error });
        }
    }

    fn log_in(
        &mut self,
        id: ConnId,
        peer: SocketAddr,
        login: &Login,
        certificate: Option<&[u8]>,
        link: Link,
        now: Instant,
    ) -> Result<Identity, Refusal> {
        let known = login::Known {
            cloud: &self.cloud,
            client_ids: &self.client_ids,
            certificates: &self.certificates,
            unix: self.clock.unix(),
        };
        let device = login::check(login, certificate, known)?;
        if let Some(spacing) = self.connect_spacing {
            if self.last_login.get(&device).is_some_and(|last| now.since(*last) < spacing) {
                return Err(Refusal::TooOften);
            }
            // What has passed is forgotten, or names of any device's choice would pile up.
            self.last_login.retain(|_, last| now.since(*last) < spacing);
            self.last_login.insert(device.clone(), now);
        }
        if let Some(old) = self.by_device.get(&device).copied() {
            self.end_session(old, now);
        }
        self.by_device.insert(device.clone(), id);
        let session = Session { device: device.clone(), link, filters: BTreeSet::new() };
        self.sessions.insert(id, session);
        self.journal.write(Some(&device), What::LoggedIn { peer, legacy: login.legacy });
        Ok(device)
    }

    fn handle_event(&mut self, id: ConnId, event: Event, now: Instant) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let device = session.device.clone();
        match event {
            Event::Report { payload, .. } => {
                let topic = device.report_topic().to_owned();
                self.handle_report(Some(&device), topic, &payload, now);
            }
            Event::Publish { topic, payload, qos } => {
                let message = Payload::new(&payload);
                let received = What::Received { topic: topic.clone(), payload: message };
                self.journal.write(Some(&device), received);
                self.echo(id, &topic, &payload, qos, now);
            }
            Event::Foreign { topic } => {
                self.journal.write(Some(&device), What::Foreign { topic });
            }
            Event::Subscribed { granted, refused } => {
                let was = session.filters.contains(device.update_topic());
                session.filters.extend(granted.iter().cloned());
                let is = session.filters.contains(device.update_topic());
                self.journal.write(Some(&device), What::Subscribed { granted, refused });
                if is && !was {
                    self.connected(&device, now);
                }
            }
            Event::Unsubscribed { filters } => {
                let was = session.filters.contains(device.update_topic());
                session.filters.retain(|filter| !filters.contains(filter));
                if was && !session.filters.contains(device.update_topic()) {
                    self.cloud.handle_disconnected(now, &device);
                }
            }
            // Logins come with an outbox; what a later `ota-cloud` adds is not known here.
            _ => {}
        }
    }

    fn connected(&mut self, device: &Identity, now: Instant) {
        if let Err(error) = self.cloud.handle_connected(now, device) {
            let topic = device.update_topic().to_owned();
            self.journal.write(Some(device), What::Refused { topic, error });
        }
    }

    /// Forgets a connection, if it is known, which also ends it. A device has one at most.
    fn end_session(&mut self, id: ConnId, now: Instant) {
        let Some(Session { device, .. }) = self.sessions.remove(&id) else { return };
        self.by_device.remove(&device);
        self.cloud.handle_disconnected(now, &device);
    }

    /// Takes the cloud's outputs; returns its deadline. While the broker takes nothing they stay
    /// in the cloud, which keeps at most a reply and an offer for each device.
    fn drain(&mut self) -> Option<Instant> {
        let now = self.clock.now();
        self.cloud.handle_timeout(now);
        loop {
            if self.broker.as_ref().is_some_and(|broker| broker.capacity() == 0) {
                return None;
            }
            self.check_next_offer();
            match self.cloud.poll_output(now) {
                Output::Send { device, topic, payload } => {
                    self.send(&device, topic, Bytes::from(payload), now);
                }
                Output::Event(event) => {
                    self.journal.write(Some(&event.device), What::Event(event.kind));
                }
                Output::Idle { deadline } => return deadline,
            }
        }
    }

    /// Withdraws the firmware that is offered next when its file has changed: what a device would
    /// get is not what the offer states.
    fn check_next_offer(&mut self) {
        let Some(images) = &self.images else { return };
        let Some(firmware) = self.cloud.next_offer().filter(|firmware| firmware.url.is_none())
        else {
            return;
        };
        if self.cloud.is_withdrawn(firmware) {
            return;
        }
        if let Some(why) = images.get(&firmware.path).and_then(|image| image.trouble()) {
            let firmware = firmware.clone();
            self.cloud.withdraw_firmware(&firmware, &why);
            let Firmware { product_id, version, .. } = firmware;
            self.journal.write(None, What::Withdrawn { product_id, version, why });
        }
    }

    /// Hands a message of the cloud's to a device's connection.
    fn send(&mut self, device: &Identity, topic: String, payload: Bytes, now: Instant) {
        let message = Payload::new(&payload);
        let push = Push { topic: topic.clone(), payload, qos: QoS::AtMostOnce };
        let sent = match &self.broker {
            Some(broker) => broker.try_send(push).is_ok(),
            None => {
                let id = self.by_device.get(device).copied().unwrap_or(ConnId::MAX);
                let there = self.sessions.get(&id).is_some_and(|s| s.filters.contains(&topic));
                there && self.push(id, push, now)
            }
        };
        let what =
            if sent { What::Sent { topic, payload: message } } else { What::NotSent { topic } };
        self.journal.write(Some(device), what);
    }

    /// Passes an application's message back to its device, where that has asked for the topic: no
    /// other device may.
    fn echo(&mut self, id: ConnId, topic: &str, payload: &Bytes, qos: QoS, now: Instant) {
        let Some(session) = self.sessions.get(&id) else { return };
        if session.filters.iter().any(|filter| matches(filter, topic)) {
            let device = session.device.clone();
            let push = Push { topic: topic.to_owned(), payload: payload.clone(), qos };
            if self.push(id, push, now) {
                let payload = Payload::new(payload);
                let sent = What::Sent { topic: topic.to_owned(), payload };
                self.journal.write(Some(&device), sent);
            }
        }
    }

    /// Queues a message, or gives the connection up when its queue is full.
    fn push(&mut self, id: ConnId, push: Push, now: Instant) -> bool {
        let Some(session) = self.sessions.get(&id) else { return false };
        let queued = session.link.outbox.try_send(push).is_ok();
        if !queued {
            self.end_session(id, now);
        }
        queued
    }
}

/// Waits until the queue has room, or for ever without one.
async fn room(queue: Option<&mpsc::Sender<Push>>) {
    match queue {
        // A queue without its other end is as good as full: the service stops.
        Some(queue) => drop(queue.reserve().await),
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Login { .. } => "Login",
            Self::Event { .. } => "Event",
            Self::Gone { .. } => "Gone",
            Self::Broker(_) => "Broker",
            Self::Command(_) => "Command",
        })
    }
}
