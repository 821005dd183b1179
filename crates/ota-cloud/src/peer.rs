//! The whole cloud half as a device's network sees it, IO-free: bytes of connections to a broker
//! and to a firmware server.
//!
//! [`Peer`] joins [`Cloud`], [`endpoint`], [`relay`](crate::relay) and [`origin`]. For worlds in virtual time;
//! over sockets the crate `ota-server` has the same parts.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use mqttbytes::QoS;
use ota_proto::{Identity, Instant};

use crate::endpoint::{self, Event, Limits};
use crate::fault::{Fault, FaultPlan};
use crate::login::{self, Known, Proof};
use crate::origin::{self, Closing, Origin, Served};
use crate::relay::{Line, Relay};
use crate::{Cloud, CloudError, CloudEvent, Output, Secret};

/// The target of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Port {
    /// The broker.
    Mqtt,
    /// The firmware server.
    Http,
}

/// A connection's id; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

/// A note about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// A device logged in.
    LoggedIn(Identity),
    /// A message on a device's report topic, unchanged.
    Report {
        /// The device.
        device: Identity,
        /// The message.
        payload: Bytes,
    },
    /// The message was refused and changed nothing.
    Refused(CloudError),
    /// A conclusion of the cloud.
    Event(CloudEvent),
    /// The firmware server handled a request.
    Request(Served),
    /// A fault happened.
    Fault(Fault),
}

/// The cloud, its broker and its firmware server.
///
/// The loop is: apply one input, send what [`Peer::transmit`] returns for each connection, close
/// the connections that [`Peer::closing`] names, wait for bytes or [`Peer::deadline`].
#[derive(Debug)]
pub struct Peer {
    /// The cloud: for firmware, tasks and records. Call [`Peer::handle_timeout`] after a change.
    pub cloud: Cloud,
    /// The firmware server: for images.
    pub origin: Origin,
    relay: Relay,
    unix_at_zero: u64,
    client_ids: BTreeMap<String, Identity>,
    conns: BTreeMap<ConnId, Conn>,
    last: u64,
    notes: VecDeque<(Instant, Note)>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Conn {
    Mqtt(Box<Session>),
    Http(Box<origin::Connection>),
}

#[derive(Debug)]
struct Session {
    line: Line,
    device: Option<Identity>,
    /// It has its update topic.
    subscribed: bool,
}

/// The most pending notes; the oldest are dropped.
const MAX_NOTES: usize = 65_536;

impl Peer {
    /// Joins a cloud and a firmware server, with a plan of faults. The Unix time in seconds of the
    /// clock's origin is for the logins.
    #[must_use]
    pub fn new(cloud: Cloud, mut origin: Origin, plan: FaultPlan, unix_at_zero: u64) -> Self {
        let relay = Relay::new(&plan);
        origin.set_faults(plan);
        Self {
            cloud,
            origin,
            relay,
            unix_at_zero,
            client_ids: BTreeMap::new(),
            conns: BTreeMap::new(),
            last: 0,
            notes: VecDeque::new(),
            deadline: None,
        }
    }

    /// Registers a device with its secret's raw bytes.
    ///
    /// # Errors
    /// Those of [`Cloud::add_device`].
    pub fn add_device(&mut self, device: &Identity, secret: Secret) -> Result<(), CloudError> {
        self.cloud.add_device(device, secret)?;
        let id = format!("{}{}", device.product_id(), device.device_name());
        self.client_ids.insert(id, device.clone());
        Ok(())
    }

    /// Opens a connection.
    pub fn accept(&mut self, now: Instant, port: Port) -> ConnId {
        self.last = self.last.wrapping_add(1);
        let id = ConnId(self.last);
        let conn = match port {
            Port::Http => Conn::Http(Box::new(origin::Connection::new(now))),
            Port::Mqtt => {
                let endpoint = endpoint::Connection::new(now, Limits::default());
                let line = Line::new(endpoint, !self.relay.is_idle());
                Conn::Mqtt(Box::new(Session { line, device: None, subscribed: false }))
            }
        };
        self.conns.insert(id, conn);
        self.settle(now);
        id
    }

    /// Takes bytes of a connection and returns how many; offer the rest again later.
    #[must_use = "bytes that were not taken must be offered again"]
    pub fn handle_received(&mut self, now: Instant, id: ConnId, data: &[u8]) -> usize {
        let taken = match self.conns.get_mut(&id) {
            Some(Conn::Http(conn)) => conn.handle_received(now, data),
            Some(Conn::Mqtt(session)) if session.line.wants_read() => {
                session.line.handle_received(&mut self.relay, now, data);
                data.len()
            }
            Some(Conn::Mqtt(_)) => 0,
            None => data.len(),
        };
        self.settle(now);
        taken
    }

    /// Returns the bytes to send on a connection now. They stay until [`Peer::handle_sent`].
    pub fn transmit(&mut self, now: Instant, id: ConnId) -> &[u8] {
        self.note_requests(now);
        match self.conns.get_mut(&id) {
            Some(Conn::Http(conn)) => conn.transmit(&mut self.origin, now),
            Some(Conn::Mqtt(session)) => session.line.unsent(),
            None => &[],
        }
    }

    /// Reports that the first `n` of the bytes were sent.
    pub fn handle_sent(&mut self, now: Instant, id: ConnId, n: usize) {
        match self.conns.get_mut(&id) {
            Some(Conn::Http(conn)) => conn.handle_sent(now, n),
            Some(Conn::Mqtt(session)) => session.line.handle_sent(now, n),
            None => {}
        }
        self.settle(now);
    }

    /// How to end a connection, once everything is sent. Call [`Peer::handle_closed`] then.
    #[must_use]
    pub fn closing(&self, id: ConnId) -> Option<Closing> {
        match self.conns.get(&id)? {
            Conn::Http(conn) => conn.closing(),
            Conn::Mqtt(session) => {
                let line = &session.line;
                let over = line.endpoint.closed().is_some() || line.is_cut();
                (over && line.unsent().is_empty()).then_some(Closing::Close)
            }
        }
    }

    /// Reports that a connection is closed, by either side.
    pub fn handle_closed(&mut self, now: Instant, id: ConnId) {
        if let Some(Conn::Mqtt(session)) = self.conns.remove(&id) {
            // The device may have a newer connection already.
            let still_there = self.conns.values().any(|conn| {
                matches!(conn, Conn::Mqtt(newer) if newer.subscribed && newer.device == session.device)
            });
            if let Some(device) = session.device.filter(|_| !still_there) {
                self.cloud.handle_disconnected(now, &device);
            }
        }
        self.settle(now);
    }

    /// The latest time of the next [`Peer::handle_timeout`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let conns = self.conns.values().filter_map(|conn| match conn {
            Conn::Http(conn) => conn.deadline(&self.origin),
            Conn::Mqtt(session) => session.line.deadline(),
        });
        conns.chain(self.deadline).min()
    }

    /// Handles passed time, or a command to the cloud.
    pub fn handle_timeout(&mut self, now: Instant) {
        for conn in self.conns.values_mut() {
            match conn {
                Conn::Http(conn) => conn.handle_timeout(&self.origin, now),
                Conn::Mqtt(session) => session.line.handle_timeout(now),
            }
        }
        self.cloud.handle_timeout(now);
        self.settle(now);
    }

    /// Returns the next note, with its time.
    pub fn next_note(&mut self) -> Option<(Instant, Note)> {
        self.notes.pop_front()
    }

    /// Does everything that is possible without time or bytes.
    fn settle(&mut self, now: Instant) {
        let mut again = true;
        while again {
            again = false;
            let ids: Vec<ConnId> = self.conns.keys().copied().collect();
            for id in ids {
                while let Some(event) = self.next_event(now, id) {
                    self.handle_event(now, id, event);
                    again = true;
                }
            }
            loop {
                match self.cloud.poll_output(now) {
                    Output::Send { device, topic, payload } => {
                        self.push(now, &device, &topic, &Bytes::from(payload));
                        again = true;
                    }
                    Output::Event(event) => self.note(now, Note::Event(event)),
                    Output::Idle { deadline } => {
                        self.deadline = deadline;
                        break;
                    }
                }
            }
        }
        self.note_requests(now);
        while let Some(fault) = self.relay.next_struck() {
            self.note(now, Note::Fault(fault));
        }
    }

    fn next_event(&mut self, now: Instant, id: ConnId) -> Option<Event> {
        let Some(Conn::Mqtt(session)) = self.conns.get_mut(&id) else { return None };
        session.line.pump(&mut self.relay, now);
        let event = session.line.endpoint.poll_event(now);
        session.line.pump(&mut self.relay, now);
        event
    }

    fn handle_event(&mut self, now: Instant, id: ConnId, event: Event) {
        let Some(Conn::Mqtt(session)) = self.conns.get_mut(&id) else { return };
        match (event, session.device.clone()) {
            (Event::Login(login), _) => {
                let unix = self.unix_at_zero.saturating_add(now.as_micros() / 1_000_000);
                let device = self.client_ids.get(login::client_id(&login));
                let proof = device.and_then(|device| self.cloud.secret(device));
                let proof = proof.map(|secret| Proof::Secret(secret.as_bytes().to_vec()));
                let allow_unknown = self.cloud.allows_unknown();
                let device = device.zip(proof.as_ref());
                match login::check(&login, None, Known { device, allow_unknown, unix }) {
                    Ok(device) => {
                        session.line.endpoint.accept(now, device.clone());
                        session.device = Some(device.clone());
                        self.note(now, Note::LoggedIn(device));
                    }
                    Err(why) => session.line.endpoint.refuse(now, why),
                }
            }
            (Event::Subscribed { granted, .. }, Some(device)) => {
                let ours = granted.iter().any(|filter| filter == device.update_topic());
                if ours && !std::mem::replace(&mut session.subscribed, true) {
                    if let Err(why) = self.cloud.handle_connected(now, &device) {
                        self.note(now, Note::Refused(why));
                    }
                }
            }
            (Event::Report { payload, id }, Some(device)) => {
                if let Some(id) = id {
                    session.line.endpoint.acknowledge(now, id);
                    session.line.pump(&mut self.relay, now);
                }
                let topic = device.report_topic().to_owned();
                self.note(now, Note::Report { device, payload: payload.clone() });
                if let Err(why) = self.cloud.handle_message(now, &topic, &payload) {
                    self.note(now, Note::Refused(why));
                }
            }
            // The application's topics are not routed here.
            _ => {}
        }
    }

    /// Sends a message to the device's latest connection.
    fn push(&mut self, now: Instant, device: &Identity, topic: &str, payload: &Bytes) {
        let sessions = self.conns.values_mut().rev().filter_map(|conn| match conn {
            Conn::Mqtt(session) if session.device.as_ref() == Some(device) => Some(session),
            _ => None,
        });
        for session in sessions.take(1) {
            // Lost, as QoS 0 allows; the endpoint's own state shows the reason.
            let _ = session.line.endpoint.publish(now, topic, payload, QoS::AtMostOnce);
            session.line.pump(&mut self.relay, now);
        }
    }

    fn note_requests(&mut self, now: Instant) {
        let mut notes = Vec::new();
        for conn in self.conns.values_mut() {
            let Conn::Http(conn) = conn else { continue };
            // The next response begins on request.
            conn.transmit(&mut self.origin, now);
            while let Some(served) = conn.next_served() {
                notes.extend(served.faults.iter().copied().map(Note::Fault));
                notes.push(Note::Request(served));
            }
        }
        notes.into_iter().for_each(|note| self.note(now, note));
    }

    fn note(&mut self, now: Instant, note: Note) {
        self.notes.push_back((now, note));
        if self.notes.len() > MAX_NOTES {
            self.notes.pop_front();
        }
    }
}
