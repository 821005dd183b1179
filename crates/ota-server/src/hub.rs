//! The thread that owns the cloud. Connections and the handle send it inputs; it takes the turns of
//! [`cycle`](crate::cycle) and sends the results. It waits for its store but never for a
//! connection, so that no client can delay another.

#![allow(clippy::disallowed_types, reason = "sessions are looked up; nothing goes by their order")]

mod alerts;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use mqttbytes::QoS;
use ota_proto::{Identity, Instant};
use ota_store::StoreError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::batches::{self, Turns};
use super::clock::Clock;
use super::cycle::{self, Cloud, Publish, Refused};
use super::journal::Journal;
use super::keys::Keys;
use super::listen::ConnId;
use super::log::{Payload, What};
use super::outbox;
use super::push::{Message, Push};
use super::refused::Refusals;
use super::store::Shelf;
use ota_cloud::broker;
use ota_cloud::device;
use ota_cloud::endpoint::{Event, Login, Refusal, matches};
use ota_cloud::login::{self, Known};
use ota_cloud::{CloudError, Firmware};

pub(super) use alerts::Around;

/// A function to run on the hub between two turns, at a moment of the cloud's time.
pub(super) type Command = Box<dyn FnOnce(&mut Hub, Instant) + Send>;

/// The callback for the result of an input.
pub(super) type Call = Box<dyn FnOnce(&mut Cloud, Result<Result<(), Refused>, StoreError>) + Send>;

/// An input of the hub.
pub(super) enum Input {
    Login {
        id: ConnId,
        peer: SocketAddr,
        login: Login,
        /// The certificate that it presented in TLS, in DER.
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
    /// An event of the broker that the cloud joined, in this session.
    Broker(u64, broker::Event),
    Device(Identity, cycle::Input, Call),
    Command(Command),
}

/// A point of a turn, for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Point {
    /// The inputs are gathered; nothing is durable yet.
    Gathered,
    /// The turn is durable; nothing was sent.
    Committed,
    /// The inputs are acknowledged; nothing was published.
    Acknowledged,
    /// The messages are published; this is not recorded yet.
    Published,
}

/// Who waits for the result of a device's input.
enum Ticket {
    /// A connection, for the acknowledgement of a report.
    Report(ConnId, Option<u16>),
    /// The broker's session, for the acknowledgement of a report.
    Broker(u64, Option<u16>),
    /// A connection that has subscribed.
    Joined(ConnId),
    /// Nobody: the device has disconnected.
    Left,
    /// Nobody.
    Nobody,
    Call(Call),
}

/// The result of a report that came through the broker. The channel is unbounded, which is safe
/// because a session accepts a bounded number of unacknowledged reports.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// Acknowledge this report.
    Ack(u16),
    /// The report could not be stored.
    NotKept,
}

/// The way to the broker, which replaces all sessions.
#[derive(Debug)]
pub(super) struct BrokerLink {
    pub(super) outbox: mpsc::Sender<Push>,
    pub(super) told: mpsc::UnboundedSender<(u64, Verdict)>,
}

/// The cloud and the sessions of its devices.
pub(super) struct Hub {
    pub(super) cloud: Cloud,
    pub(super) keys: Keys,
    pub(super) clock: Clock,
    pub(super) journal: Journal,
    /// Whether unregistered devices are accepted.
    pub(super) anonymous: bool,
    /// The least time between two logins of a device (docs/protocol.md, Connection).
    pub(super) connect_spacing: Option<Duration>,
    pub(super) around: Around,
    pub(super) broker: Option<BrokerLink>,
    /// The images, which are read from their place for each request.
    pub(super) images: Shelf,
    pub(super) sessions: Sessions,
    /// The inputs of the next turn.
    pub(super) pending: Pending,
    pub(super) chores: Chores,
    pub(super) points: Option<fn(Point)>,
    /// When the store began to refuse.
    pub(super) broken: Option<Instant>,
    /// Notifies those who follow the events.
    pub(super) news: watch::Sender<()>,
    /// The last refused logins.
    pub(super) refusals: Refusals,
}

/// Work that is done in steps, and its state.
#[derive(Default)]
pub(super) struct Chores {
    /// The products whose devices get another attempt, with the position reached.
    walk: Vec<(String, Option<String>)>,
    /// The cached index of the stored answers of each key, as far as it was read: when each
    /// expires, and its row.
    pub(super) answers: BTreeMap<String, BTreeSet<(u64, String)>>,
    turns: Turns,
    /// When old events and lines of the audit are removed next.
    tidy: Instant,
}

impl Chores {
    /// The number of the next step of a batch.
    pub(super) fn turn(&mut self, now: Instant) -> u64 {
        self.turns.next(now)
    }
}

#[derive(Default)]
pub(super) struct Sessions {
    by_id: HashMap<ConnId, Session>,
    by_device: HashMap<Identity, ConnId>,
    /// Connections with an acknowledgement that waits for a message to leave with.
    owed: Vec<ConnId>,
    last_login: BTreeMap<Identity, Instant>,
    /// The messages that wait for the broker: at most a reply and an offer for each device.
    held: BTreeMap<(Identity, bool), Publish>,
}

#[derive(Default)]
pub(super) struct Pending {
    inputs: Vec<(Identity, cycle::Input)>,
    tickets: Vec<Ticket>,
}

impl Pending {
    fn push(&mut self, device: Identity, input: cycle::Input, ticket: Ticket) {
        self.inputs.push((device, input));
        self.tickets.push(ticket);
    }

    /// Whether a device has just subscribed.
    fn has_new(&self) -> bool {
        self.inputs.iter().any(|(_, input)| matches!(input, cycle::Input::Connected))
    }
}

/// The hub's end of a connection.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) outbox: outbox::Sender<Push>,
    /// Nothing is ever sent on it. Dropping it ends the connection even if its queue is full.
    pub(super) _alive: oneshot::Sender<Infallible>,
}

struct Session {
    device: Identity,
    link: Link,
    /// Few, so a list.
    filters: Vec<String>,
    /// An acknowledgement that leaves with the next message, or at the end of the turn.
    ack: Option<u16>,
}

impl Session {
    /// Whether it subscribed to the topic of the cloud's messages.
    fn listens(&self) -> bool {
        self.filters.iter().any(|filter| filter == self.device.update_topic())
    }
}

/// How long the report of a device that subscribed is waited for. Most send it with the
/// subscription; both then share a commit.
const REPORT: Duration = Duration::from_millis(1);
/// The pause before a store that refuses is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often it is looked for what was kept long enough.
const TIDY: Duration = Duration::from_secs(600);

impl Hub {
    /// Runs until the service stops, on a thread of its own.
    pub(super) fn run(mut self, mut inputs: mpsc::Receiver<Input>, stop: &CancellationToken) {
        let runtime = tokio::runtime::Handle::current();
        while let Some(first) = runtime.block_on(self.wait(&mut inputs, stop)) {
            let clock = self.clock;
            let (mut first, mut waited) = (first, false);
            cycle::gather(&mut || clock.now(), &mut || {
                let mut input = first.take().or_else(|| inputs.try_recv().ok());
                if input.is_none() && !waited && self.pending.has_new() {
                    waited = true;
                    let next = async { timeout(REPORT, inputs.recv()).await };
                    input = runtime.block_on(next).ok().flatten();
                }
                self.handle(input?);
                Some(self.pending.inputs.len())
            });
            self.turn();
            self.step();
            self.go_on();
            self.tidy();
            self.look_around();
            self.rest();
            self.gauge();
        }
    }

    /// Notes what others may read of the sessions.
    fn gauge(&self) {
        let (sessions, vitals) = (&self.sessions, &self.journal.vitals);
        let connected = match self.broker {
            None => sessions.by_device.len(),
            Some(_) => self.cloud.online(),
        };
        vitals.sessions.set(connected as u64);
        vitals.held.set(sessions.held.len() as u64);
    }

    /// Waits until there is something to do; `None` when the service stops.
    async fn wait(
        &mut self,
        inputs: &mut mpsc::Receiver<Input>,
        stop: &CancellationToken,
    ) -> Option<Option<Input>> {
        let busy = !self.pending.inputs.is_empty() || !self.chores.walk.is_empty();
        let deadline = match (self.broken, busy) {
            (Some(since), _) => Some(since + RETRY),
            (None, true) => Some(self.clock.now()),
            // The turn handles a store that cannot be read.
            (None, false) => match self.cloud.deadline() {
                Ok(deadline) => {
                    let deadline = deadline.map(|at| self.clock.moment(at));
                    deadline.into_iter().chain([self.chores.tidy, self.around.next]).min()
                }
                Err(_) => Some(self.clock.now()),
            },
        };
        let full = self.broker.as_ref().filter(|_| !self.sessions.held.is_empty());
        let full = full.map(|broker| broker.outbox.clone());
        tokio::select! {
            biased;
            () = stop.cancelled() => None,
            input = inputs.recv() => input.map(Some),
            () = self.clock.sleep_until(deadline) => Some(None),
            () = room(full.as_ref()), if full.is_some() => Some(None),
        }
    }

    /// The time of the cloud's clock, which starts at 1970.
    pub(super) fn now(&self) -> Instant {
        self.clock.unix_micros()
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Login { id, peer, login, certificate, link, answer } => {
                let decided = self.log_in(id, peer, &login, certificate.as_deref(), link);
                if let Err(why) = decided {
                    let client_id: String = login::client_id(&login).chars().take(64).collect();
                    self.refusals.note(self.now(), &client_id, peer, why);
                    self.journal.write(None, What::LoginRefused { peer, client_id, why });
                }
                // A connection that is gone sends `Gone` itself.
                let _ = answer.send(decided);
            }
            Input::Event { id, event } => self.handle_event(id, event),
            Input::Gone { id, peer, device, why } => {
                self.end_session(id);
                self.journal.write(device.as_ref(), What::Closed { peer, why });
            }
            Input::Broker(session, event) => self.handle_broker(session, event),
            Input::Device(device, input, call) => {
                self.pending.push(device, input, Ticket::Call(call));
            }
            Input::Command(command) => {
                // Earlier inputs take effect first.
                self.turn();
                let now = self.now();
                command(self, now);
            }
        }
    }

    fn handle_broker(&mut self, session: u64, event: broker::Event) {
        let (topic, refused) = match event {
            broker::Event::Report { topic, payload, id } => match device::sender(&topic) {
                Ok(device) => {
                    let ticket = Ticket::Broker(session, id);
                    return self.received(device, &topic, &payload, ticket);
                }
                Err(error) => {
                    self.journal.write(None, received(&topic, &payload));
                    self.tell(session, id.map(Verdict::Ack));
                    (topic, error)
                }
            },
            broker::Event::Oversized { topic } => (topic, CloudError::TooLarge),
            // The connection reports that it joined. The wildcard is for events of a later
            // `ota-cloud`.
            _ => return,
        };
        // Keeps the order of the log.
        self.turn();
        self.journal.write(None, What::Refused { topic, error: refused });
    }

    fn received(&mut self, device: Identity, topic: &str, payload: &[u8], ticket: Ticket) {
        self.journal.vitals.reports.add(1);
        self.journal.message(&device, || received(topic, payload));
        self.pending.push(device, cycle::Input::Message(payload.to_vec()), ticket);
    }

    fn tell(&self, session: u64, what: Option<Verdict>) {
        if let (Some(broker), Some(what)) = (&self.broker, what) {
            let _ = broker.told.send((session, what));
        }
    }

    fn log_in(
        &mut self,
        id: ConnId,
        peer: SocketAddr,
        login: &Login,
        certificate: Option<&[u8]>,
        link: Link,
    ) -> Result<Identity, Refusal> {
        // A read error of the store must not look like an unknown device.
        let found = self.keys.find(&self.cloud, login::client_id(login));
        let found = found.map_err(|why| {
            self.refuses(&why.to_string());
            Refusal::TooOften
        })?;
        let known = Known {
            device: found.as_ref().map(|(device, proof)| (device, proof)),
            allow_unknown: self.anonymous,
            unix: self.clock.wall(),
        };
        let device = login::check(login, certificate, known)?;
        match self.cloud.is_disabled(&device) {
            Ok(false) => {}
            Ok(true) => return Err(Refusal::Disabled),
            Err(why) => {
                self.refuses(&why.to_string());
                return Err(Refusal::TooOften);
            }
        }
        let now = self.clock.now();
        let sessions = &mut self.sessions;
        if let Some(spacing) = self.connect_spacing {
            let last = &mut sessions.last_login;
            if last.get(&device).is_some_and(|last| now.since(*last) < spacing) {
                return Err(Refusal::TooOften);
            }
            // Expired entries are removed: otherwise clients could fill the memory with names.
            last.retain(|_, last| now.since(*last) < spacing);
            last.insert(device.clone(), now);
        }
        if let Some(old) = sessions.by_device.get(&device).copied() {
            self.end_session(old);
        }
        self.sessions.by_device.insert(device.clone(), id);
        let (filters, ack) = (Vec::new(), None);
        let session = Session { device: device.clone(), link, filters, ack };
        self.sessions.by_id.insert(id, session);
        self.journal.write(Some(&device), What::LoggedIn { peer, legacy: login.legacy });
        Ok(device)
    }

    fn handle_event(&mut self, id: ConnId, event: Event) {
        let Some(session) = self.sessions.by_id.get_mut(&id) else { return };
        let device = session.device.clone();
        match event {
            Event::Report { payload, id: ack } => {
                self.journal.message(&device, || received(device.report_topic(), &payload));
                let input = cycle::Input::Message(payload.to_vec());
                self.pending.push(device, input, Ticket::Report(id, ack));
            }
            Event::Publish { topic, payload, qos } => {
                self.journal.message(&device, || received(&topic, &payload));
                self.echo(id, &topic, &payload, qos);
            }
            Event::Foreign { topic } => {
                self.journal.write(Some(&device), What::Foreign { topic });
            }
            Event::Subscribed { granted, refused } => {
                let was = session.listens();
                for filter in &granted {
                    if !session.filters.contains(filter) {
                        session.filters.reserve_exact(1);
                        session.filters.push(filter.clone());
                    }
                }
                let is = session.listens();
                self.journal.write(Some(&device), What::Subscribed { granted, refused });
                if is && !was {
                    self.pending.push(device, cycle::Input::Connected, Ticket::Joined(id));
                }
            }
            Event::Unsubscribed { filters } => {
                let was = session.listens();
                session.filters.retain(|filter| !filters.contains(filter));
                if was && !session.listens() {
                    self.pending.push(device, cycle::Input::Disconnected, Ticket::Left);
                }
            }
            // Logins come with an outbox. The wildcard is for events of a later `ota-cloud`.
            _ => {}
        }
    }

    /// Forgets a connection if it is known, which also ends it. A device has at most one.
    fn end_session(&mut self, id: ConnId) {
        let Some(session) = self.sessions.by_id.remove(&id) else { return };
        self.sessions.by_device.remove(&session.device);
        if session.listens() {
            self.pending.push(session.device, cycle::Input::Disconnected, Ticket::Left);
        }
    }

    /// Takes a turn with the pending inputs.
    fn turn(&mut self) {
        let Pending { inputs, tickets } = std::mem::take(&mut self.pending);
        self.pass(Point::Gathered, !inputs.is_empty());
        match self.cloud.turn(self.now(), &inputs) {
            Ok(outcome) => {
                if outcome.written > 0 {
                    self.works();
                }
                self.hand_out(inputs, tickets, outcome);
            }
            // No store accepts one of the inputs: each is tried alone, so that the others are kept.
            Err(StoreError::Invalid { .. }) if inputs.len() > 1 => {
                for (input, ticket) in inputs.into_iter().zip(tickets) {
                    match self.cloud.turn(self.now(), std::slice::from_ref(&input)) {
                        Ok(outcome) => self.hand_out(vec![input], vec![ticket], outcome),
                        Err(why) => self.fail(vec![input], vec![ticket], &why),
                    }
                }
            }
            Err(why) => self.fail(inputs, tickets, &why),
        }
        self.drain();
    }

    /// Sends the results of a durable turn.
    fn hand_out(
        &mut self,
        inputs: Vec<(Identity, cycle::Input)>,
        tickets: Vec<Ticket>,
        outcome: cycle::Outcome,
    ) {
        self.pass(Point::Committed, outcome.written > 0);
        if !outcome.events.is_empty() {
            self.news.send_replace(());
        }
        for (device, kind) in outcome.events {
            self.journal.write(Some(&device), What::Event(kind));
        }
        let answers = outcome.answers.into_iter();
        for (((device, _), ticket), answer) in inputs.into_iter().zip(tickets).zip(answers) {
            self.settle(&device, ticket, answer);
        }
        if self.points.is_some() {
            // Separates the two points for a test that ends the process between them.
            self.pay();
        }
        self.pass(Point::Acknowledged, outcome.written > 0);
        let publishes = !outcome.publish.is_empty();
        for publish in outcome.publish {
            if self.broker.is_some() {
                let key = (publish.device.clone(), publish.offer.is_some());
                self.sessions.held.insert(key, publish);
            } else {
                self.publish(publish);
            }
        }
        self.pay();
        self.pass(Point::Published, publishes);
    }

    /// Sends the acknowledgements that left with no message.
    fn pay(&mut self) {
        for id in std::mem::take(&mut self.sessions.owed) {
            let owed = self.sessions.by_id.get_mut(&id).and_then(|session| session.ack.take());
            if let Some(ack) = owed {
                self.push(id, Push::Ack(ack));
            }
        }
    }

    /// Notes an acknowledgement for a connection. It leaves with the answer, in one write.
    fn owe(&mut self, id: ConnId, ack: u16) {
        let Some(session) = self.sessions.by_id.get_mut(&id) else { return };
        match session.ack.replace(ack) {
            None => self.sessions.owed.push(id),
            Some(earlier) => drop(self.push(id, Push::Ack(earlier))),
        }
    }

    /// Calls the test's function at this point, if the turn does something there.
    fn pass(&self, point: Point, does: bool) {
        if let Some(at) = self.points.filter(|_| does) {
            at(point);
        }
    }

    /// Sends the result of an input to whoever waits for it.
    fn settle(&mut self, device: &Identity, ticket: Ticket, answer: Result<(), Refused>) {
        let topic = match ticket {
            Ticket::Joined(_) => device.update_topic(),
            _ => device.report_topic(),
        };
        let unreadable = matches!(answer, Err(Refused::Row(_)));
        match (&ticket, &answer) {
            (Ticket::Call(_) | Ticket::Left | Ticket::Nobody, _) | (_, Ok(())) => {}
            (_, Err(Refused::Peer(error))) => {
                let what = What::Refused { topic: topic.to_owned(), error: *error };
                self.journal.write(Some(device), what);
            }
            (_, Err(why)) => {
                self.journal.write(Some(device), What::Store { why: Some(why.to_string()) });
            }
        }
        match ticket {
            Ticket::Call(call) => call(&mut self.cloud, Ok(answer)),
            // An unreadable row stores nothing, so nothing is acknowledged.
            Ticket::Report(id, _) | Ticket::Joined(id) if unreadable => self.end_session(id),
            Ticket::Broker(..) if unreadable => {}
            Ticket::Report(id, Some(ack)) => self.owe(id, ack),
            Ticket::Broker(session, ack) => self.tell(session, ack.map(Verdict::Ack)),
            Ticket::Report(_, None) | Ticket::Joined(_) | Ticket::Left | Ticket::Nobody => {}
        }
    }

    /// Handles a turn that failed as a whole: nothing is acknowledged, so that the sender repeats
    /// it.
    fn fail(
        &mut self,
        inputs: Vec<(Identity, cycle::Input)>,
        tickets: Vec<Ticket>,
        why: &StoreError,
    ) {
        self.refuses(&why.to_string());
        for ((device, input), ticket) in inputs.into_iter().zip(tickets) {
            match ticket {
                Ticket::Report(id, _) | Ticket::Joined(id) => self.end_session(id),
                Ticket::Broker(session, _) => self.tell(session, Some(Verdict::NotKept)),
                Ticket::Call(call) => call(&mut self.cloud, Err(why.clone())),
                // Nobody repeats these, so they stay pending.
                Ticket::Left | Ticket::Nobody if !matches!(why, StoreError::Invalid { .. }) => {
                    self.pending.push(device, input, ticket)
                }
                Ticket::Left | Ticket::Nobody => {}
            }
        }
    }

    /// Notes that the store refuses; logs it once.
    fn refuses(&mut self, why: &str) {
        let first = self.broken.is_none();
        self.broken = Some(self.clock.now());
        if first {
            self.journal.write(None, What::Store { why: Some(why.to_owned()) });
        }
    }

    /// Notes that the store works again.
    fn works(&mut self) {
        if self.broken.take().is_some() {
            self.journal.write(None, What::Store { why: None });
        }
    }

    /// Whether a store that refuses may be tried again.
    fn is_time(&self) -> bool {
        self.broken.is_none_or(|since| self.clock.now() >= since + RETRY)
    }

    /// Postpones the next try of a store that refuses and had nothing to do since.
    fn rest(&mut self) {
        if self.broken.is_some() && self.is_time() {
            self.broken = Some(self.clock.now());
        }
    }

    /// Takes one step of an unfinished batch; other inputs are handled between two steps.
    fn go_on(&mut self) {
        let now = self.now();
        if self.cloud.due_batch(now).is_none() || !self.is_time() {
            return;
        }
        match batches::go_on(&mut self.cloud, (now, self.chores.turn(now))) {
            Ok(Some(outcome)) => {
                self.works();
                self.registered(outcome);
            }
            Ok(None) => {}
            Err(why) => self.refuses(&why.to_string()),
        }
    }

    /// Removes some of what was kept long enough; other inputs are handled between two steps.
    fn tidy(&mut self) {
        let now = self.clock.now();
        if now < self.chores.tidy || !self.is_time() {
            return;
        }
        match self.cloud.tidy(self.now(), self.around.keep) {
            Ok(true) => self.chores.tidy = now,
            Ok(false) => self.chores.tidy = now + TIDY,
            Err(why) => self.refuses(&why.to_string()),
        }
    }

    /// Takes the next page of a fleet that gets another attempt.
    fn step(&mut self) {
        let Some((product, after)) = self.chores.walk.pop() else { return };
        match self.cloud.devices(&product, after.clone()) {
            Ok((devices, next)) => {
                for device in devices {
                    self.pending.push(device, cycle::Input::TryAgain, Ticket::Nobody);
                }
                self.chores.walk.extend(next.map(|next| (product, Some(next))));
            }
            Err(why) => {
                self.refuses(&why.to_string());
                self.chores.walk.push((product, after));
            }
        }
    }

    /// Publishes the messages that wait for the broker, as far as its queue has room.
    fn drain(&mut self) {
        while self.broker.as_ref().is_some_and(|broker| broker.outbox.capacity() > 0) {
            let Some((_, publish)) = self.sessions.held.pop_first() else { return };
            self.publish(publish);
        }
    }

    /// Publishes a message of the cloud.
    fn publish(&mut self, publish: Publish) {
        let Publish { device, payload, offer, firmware, batch } = publish;
        // It may have waited here while its batch was stopped.
        if let Some(task) = offer
            && batch.is_some_and(|batch| self.cloud.is_held(&device, batch))
        {
            return self.pending.push(device, cycle::Input::NotOffered(task), Ticket::Nobody);
        }
        if let Some(task) = offer
            && firmware.is_some_and(|firmware| self.is_spoilt(&firmware))
        {
            return self.pending.push(device, cycle::Input::NotOffered(task), Ticket::Nobody);
        }
        if self.send(&device, Bytes::from(payload))
            && let Some(task) = offer
        {
            self.pending.push(device, cycle::Input::Offered(task), Ticket::Nobody);
        }
    }

    /// Withdraws a firmware whose file has changed, because a device would get other bytes than the
    /// offer states.
    fn is_spoilt(&mut self, firmware: &Firmware) -> bool {
        if firmware.url.is_some() {
            return false;
        }
        let why = self.images.get(&firmware.path).and_then(|image| image.trouble());
        let Some(why) = why else { return false };
        match self.cloud.withdraw(firmware, &why) {
            Ok(()) => {
                let Firmware { product_id, version, .. } = firmware.clone();
                self.journal.write(None, What::Withdrawn { product_id, version, why });
            }
            Err(why) => self.refuses(&why.to_string()),
        }
        true
    }

    /// Queues a message of the cloud for a device's connection. Returns whether the queue took it.
    fn send(&mut self, device: &Identity, payload: Bytes) -> bool {
        let message = self.journal.messages.then(|| Payload::new(&payload));
        let topic = || device.update_topic().to_owned();
        let sent = match &self.broker {
            Some(broker) => {
                let message = Message { topic: topic(), payload, qos: QoS::AtMostOnce };
                broker.outbox.try_send(Push::Message(Box::new(message))).is_ok()
            }
            None => {
                let id = self.sessions.by_device.get(device).copied().unwrap_or(ConnId::MAX);
                let session = self.sessions.by_id.get_mut(&id);
                match session.filter(|session| session.listens()) {
                    Some(session) => {
                        let ack = session.ack.take();
                        self.push(id, Push::Update { payload, ack })
                    }
                    None => false,
                }
            }
        };
        match message {
            _ if !sent => self.journal.write(Some(device), What::NotSent { topic: topic() }),
            Some(payload) => {
                self.journal.write(Some(device), What::Sent { topic: topic(), payload });
            }
            None => {}
        }
        sent
    }

    /// Passes an application's message back to its own device, if that subscribed to the topic.
    /// Other devices never get it.
    fn echo(&mut self, id: ConnId, topic: &str, payload: &Bytes, qos: QoS) {
        let Some(session) = self.sessions.by_id.get(&id) else { return };
        if session.filters.iter().any(|filter| matches(filter, topic)) {
            let device = session.device.clone();
            let message = Message { topic: topic.to_owned(), payload: payload.clone(), qos };
            if self.push(id, Push::Message(Box::new(message))) {
                self.journal.message(&device, || What::Sent {
                    topic: topic.to_owned(),
                    payload: Payload::new(payload),
                });
            }
        }
    }

    /// Queues something for a connection, or closes the connection if its queue is full.
    fn push(&mut self, id: ConnId, push: Push) -> bool {
        let Some(session) = self.sessions.by_id.get(&id) else { return false };
        let queued = session.link.outbox.try_send(push);
        if !queued {
            self.end_session(id);
        }
        queued
    }

    /// Applies a new rule to the connected devices at once.
    pub(super) fn rule_set(&mut self, devices: Vec<Identity>, module: &ota_cloud::Module) {
        for device in devices {
            self.pending.push(device, cycle::Input::RuleSet(module.clone()), Ticket::Nobody);
        }
        self.turn();
    }

    /// Gives every device another attempt, a page at a time.
    pub(super) fn try_again(&mut self) {
        self.chores.walk =
            self.cloud.products().map(|product| (product.to_owned(), None)).collect();
    }

    /// Ends the session of a device, if there is one.
    pub(super) fn dismiss(&mut self, device: &Identity) {
        if let Some(id) = self.sessions.by_device.get(device).copied() {
            self.end_session(id);
            self.turn();
        }
    }

    /// Sends the results of a command that wrote on its own, such as a registration.
    pub(super) fn registered(&mut self, outcome: cycle::Outcome) {
        self.hand_out(Vec::new(), Vec::new(), outcome);
    }
}

fn received(topic: &str, payload: &[u8]) -> What {
    What::Received { topic: topic.to_owned(), payload: Payload::new(payload) }
}

/// Waits until the queue has room; forever if there is no queue.
async fn room(queue: Option<&mpsc::Sender<Push>>) {
    match queue {
        // A closed queue counts as full: the service stops.
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
            Self::Broker(..) => "Broker",
            Self::Device(..) => "Device",
            Self::Command(_) => "Command",
        })
    }
}
