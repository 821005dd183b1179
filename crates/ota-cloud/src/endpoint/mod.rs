//! One client's MQTT 3.1.1 connection, seen from the cloud, IO-free: it takes bytes and time, and
//! returns events and bytes.
//!
//! The codec is mqttbytes, an implementation independent of the devices' own. A fence checks
//! packets before it, and any error of either closes the connection. Features that the platform
//! does not support (QoS 2, wills, retained messages: docs/protocol.md, The cloud's side) close it
//! too.

mod fence;
mod topic;
mod types;

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use mqttbytes::QoS;
use mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PingResp, PubAck, Publish, SubAck, Subscribe,
    SubscribeReasonCode, UnsubAck, Unsubscribe,
};
use ota_proto::{Identity, Instant};

use crate::acks::Acks;
pub use topic::{is_filter, is_topic, matches};
pub use types::{Close, Event, Limits, Login, NotSent, Refusal};
use types::{keep_alive, one_and_a_half};

/// One connection. Call [`Connection::handle_received`] with its bytes, drain
/// [`Connection::poll_event`], write [`Connection::unsent`], and call
/// [`Connection::handle_timeout`] at [`Connection::deadline`].
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    phase: Phase,
    rx: BytesMut,
    tx: BytesMut,
    /// When bytes began to wait for the socket, or were last written.
    tx_since: Instant,
    /// The time of the last complete packet, or of the connection's start.
    heard: Instant,
    keep_alive: Duration,
    /// Few, so a list: a map keeps room for eleven, in each of thousands of connections.
    filters: Vec<(String, QoS)>,
    in_flight: BTreeSet<u16>,
    acks: Acks,
    last_id: u16,
    closed: Option<Close>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// No CONNECT yet.
    New,
    /// The event `Login` was returned, and the decision is pending.
    Deciding,
    Up(Identity),
}

/// The topics of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// Its report topic.
    Reports,
    /// Another topic of its own.
    Own,
    Foreign,
}

impl Whose {
    fn of(device: &Identity, topic: &str) -> Self {
        if topic == device.report_topic() {
            Self::Reports
        } else if topic::may_use(device, topic) {
            Self::Own
        } else {
            Self::Foreign
        }
    }
}

impl Connection {
    /// A connection that was accepted `now`.
    #[must_use]
    pub fn new(now: Instant, mut limits: Limits) -> Self {
        // There are 65,535 packet ids, and one must be free.
        limits.in_flight = limits.in_flight.min(65_534);
        Self {
            limits,
            phase: Phase::New,
            rx: BytesMut::new(),
            tx: BytesMut::new(),
            tx_since: now,
            heard: now,
            keep_alive: Duration::ZERO,
            filters: Vec::new(),
            in_flight: BTreeSet::new(),
            acks: Acks::default(),
            last_id: 0,
            closed: None,
        }
    }

    /// Takes bytes from the socket without decoding them. Read at most a packet's length at a time,
    /// and only while [`Connection::wants_read`] is true, which bounds the buffer.
    pub fn handle_received(&mut self, data: &[u8]) {
        if self.closed.is_none() {
            self.rx.extend_from_slice(data);
        }
    }

    /// Whether more bytes can be taken.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.closed.is_none()
            && self.phase != Phase::Deciding
            && self.rx.len() <= self.limits.packet()
            && self.tx.len() <= self.limits.unsent / 2
            && self.acks.len() < self.limits.received.max(1)
    }

    /// Returns the next event. [`Connection::acknowledge`] acknowledges a report at QoS 1;
    /// everything else is acknowledged here. `None`: more bytes are needed, a decision on the
    /// login, or an acknowledgement.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        while self.closed.is_none()
            && self.phase != Phase::Deciding
            && self.acks.len() < self.limits.received.max(1)
        {
            let step = self.next_packet(now).and_then(|packet| match packet {
                Some(packet) => self.handle_packet(packet, now).map(Some),
                None => Ok(None),
            });
            match step {
                Ok(Some(None)) => {}
                Ok(Some(event)) => return event,
                Ok(None) => return None,
                Err(close) => self.close(close),
            }
        }
        None
    }

    /// Acknowledges a report whose changes are durable, by the `id` of its event. Earlier messages
    /// are acknowledged before it.
    pub fn acknowledge(&mut self, now: Instant, id: u16) {
        self.acks.done(id);
        self.write_acks(now);
    }

    /// Accepts the login: the device may now use its own topics.
    pub fn accept(&mut self, now: Instant, device: Identity) {
        if self.closed.is_none() && self.phase == Phase::Deciding {
            self.phase = Phase::Up(device);
            self.heard = now;
            self.connack(ConnectReturnCode::Success, now);
        }
    }

    /// Refuses the login, which closes the connection once the answer is written.
    pub fn refuse(&mut self, now: Instant, why: Refusal) {
        if self.closed.is_none() && self.phase == Phase::Deciding {
            self.connack(why.return_code(), now);
            self.close(Close::Refused(why));
        }
    }

    /// Sends a message if the device is subscribed to its topic, at the lower of `qos` and the
    /// granted one. Returns whether it was subscribed.
    ///
    /// # Errors
    /// [`NotSent`]: nothing was written.
    pub fn publish(
        &mut self,
        now: Instant,
        topic: &str,
        payload: &Bytes,
        qos: QoS,
    ) -> Result<bool, NotSent> {
        let granted = self.filters.iter().filter(|(filter, _)| matches(filter, topic));
        let Some(granted) = granted.map(|(_, qos)| *qos as u8).max() else { return Ok(false) };
        if self.closed.is_some() {
            return Err(NotSent::Closed);
        }
        if !is_topic(topic) || payload.len() > self.limits.payload {
            return Err(NotSent::TooLarge);
        }
        let mut publish = Publish::from_bytes(topic, QoS::AtMostOnce, payload.clone());
        if granted.min(qos as u8) > 0 {
            if self.in_flight.len() >= self.limits.in_flight {
                return Err(NotSent::WindowFull);
            }
            publish.qos = QoS::AtLeastOnce;
            publish.pkid = self.next_id();
            self.in_flight.insert(publish.pkid);
        }
        self.write(now, |tx| publish.write(tx));
        Ok(true)
    }

    /// The time of the next [`Connection::handle_timeout`]; `None` when closed.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.closed.is_some() {
            return None;
        }
        let silent = match self.phase {
            Phase::New | Phase::Deciding => self.heard + self.limits.connect,
            Phase::Up(_) => self.heard + one_and_a_half(self.keep_alive),
        };
        let stalled = self.tx_since + self.limits.stall;
        Some(if self.tx.is_empty() { silent } else { silent.min(stalled) })
    }

    /// Closes a connection that has been silent, or has not read, for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        let stalled = !self.tx.is_empty() && now >= self.tx_since + self.limits.stall;
        self.close(match self.phase {
            _ if stalled => Close::Slow,
            Phase::New | Phase::Deciding => Close::NoConnect,
            Phase::Up(_) => Close::KeepAlive,
        });
    }

    /// The bytes for the socket. After a close these are the last ones.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.tx
    }

    /// Reports that `n` bytes of [`Connection::unsent`] were written.
    pub fn handle_sent(&mut self, now: Instant, n: usize) {
        self.tx.advance(n.min(self.tx.len()));
        // A connection at rest keeps no room: there are thousands of them.
        if self.tx.is_empty() {
            self.tx = BytesMut::new();
        }
        self.tx_since = now;
    }

    /// Why the connection must be closed, once [`Connection::unsent`] is written.
    #[must_use]
    pub fn closed(&self) -> Option<Close> {
        self.closed
    }

    fn close(&mut self, why: Close) {
        self.closed.get_or_insert(why);
        self.rx = BytesMut::new();
    }

    /// Takes one packet from the receive buffer through the fence and the codec.
    fn next_packet(&mut self, now: Instant) -> Result<Option<(Packet, bool)>, Close> {
        // Checked first, so that the reason does not depend on how many bytes have arrived.
        self.check_start()?;
        let Some(frame) = fence::frame(&self.rx, self.limits.packet())? else {
            if self.rx.is_empty() {
                self.rx = BytesMut::new();
            }
            return Ok(None);
        };
        let mut packet = self.rx.split_to(frame.len);
        fence::check(&packet, frame)?;
        let mut legacy = false;
        if packet.first() == Some(&(fence::CONNECT << 4)) && self.phase == Phase::New {
            match fence::level(packet.get(frame.head..).unwrap_or(&[]))? {
                fence::Level::V311 => {}
                fence::Level::V31 => {
                    legacy = true;
                    packet =
                        fence::rewrite_31(&packet, frame).ok_or(Close::Malformed("CONNECT"))?;
                }
                fence::Level::Other => {
                    self.connack(ConnectReturnCode::RefusedProtocolVersion, now);
                    return Err(Close::Unsupported("the protocol level"));
                }
            }
        }
        self.heard = now;
        match mqttbytes::v4::read(&mut packet, self.limits.packet()) {
            Ok(decoded) if packet.is_empty() => Ok(Some((decoded, legacy))),
            Ok(_) => Err(Close::Malformed("length")),
            Err(_) => Err(Close::Malformed("packet")),
        }
    }

    /// The first packet must be a CONNECT, which its first byte shows.
    fn check_start(&self) -> Result<(), Close> {
        match (&self.phase, self.rx.first()) {
            (Phase::New, Some(first)) if first >> 4 != fence::CONNECT => Err(Close::NotConnect),
            _ => Ok(()),
        }
    }

    fn handle_packet(
        &mut self,
        (packet, legacy): (Packet, bool),
        now: Instant,
    ) -> Result<Option<Event>, Close> {
        match (&self.phase, packet) {
            (Phase::New, Packet::Connect(connect)) => {
                self.phase = Phase::Deciding;
                self.keep_alive = keep_alive(connect.keep_alive);
                Ok(Some(Event::Login(Login::new(connect, legacy))))
            }
            (Phase::New, _) => Err(Close::NotConnect),
            (_, Packet::Connect(_)) => Err(Close::SecondConnect),
            (Phase::Deciding, _) => Ok(None),
            (Phase::Up(device), Packet::Publish(publish)) => {
                let whose = Whose::of(device, &publish.topic);
                self.handle_publish(whose, publish, now)
            }
            (Phase::Up(device), Packet::Subscribe(subscribe)) => {
                let device = device.clone();
                self.handle_subscribe(&device, subscribe, now).map(Some)
            }
            (_, Packet::Unsubscribe(unsubscribe)) => {
                self.handle_unsubscribe(unsubscribe, now).map(Some)
            }
            (_, Packet::PubAck(ack)) => {
                self.in_flight.remove(&ack.pkid);
                Ok(None)
            }
            (_, Packet::PingReq) => {
                self.write(now, |tx| PingResp.write(tx));
                Ok(None)
            }
            (_, Packet::Disconnect) => Err(Close::Disconnect),
            _ => Err(Close::Malformed("a packet that no client sends")),
        }
    }

    fn handle_publish(
        &mut self,
        whose: Whose,
        publish: Publish,
        now: Instant,
    ) -> Result<Option<Event>, Close> {
        if !is_topic(&publish.topic) {
            return Err(Close::Malformed("topic"));
        }
        if publish.payload.len() > self.limits.payload {
            return Err(Close::TooLarge);
        }
        let Publish { topic, payload, qos, pkid, .. } = publish;
        let id = (qos == QoS::AtLeastOnce).then_some(pkid);
        if let Some(id) = id {
            // A foreign message is acknowledged too: it is dropped, and must not be repeated.
            self.acks.take(id, whose != Whose::Reports);
            self.write_acks(now);
        }
        Ok(Some(match whose {
            Whose::Reports => Event::Report { payload, id },
            Whose::Own => Event::Publish { topic, payload, qos },
            Whose::Foreign => Event::Foreign { topic },
        }))
    }

    fn handle_subscribe(
        &mut self,
        device: &Identity,
        subscribe: Subscribe,
        now: Instant,
    ) -> Result<Event, Close> {
        let mut codes = Vec::new();
        let mut granted = Vec::new();
        let mut refused = Vec::new();
        for filter in subscribe.filters {
            if !is_filter(&filter.path) {
                return Err(Close::Malformed("filter"));
            }
            let place = self.filters.iter().position(|(known, _)| *known == filter.path);
            let room = place.is_some() || self.filters.len() < self.limits.subscriptions;
            let ok = room
                && filter.qos != QoS::ExactlyOnce
                && topic::may_subscribe(device, &filter.path);
            if ok {
                codes.push(SubscribeReasonCode::Success(filter.qos));
                match place.and_then(|place| self.filters.get_mut(place)) {
                    Some(known) => known.1 = filter.qos,
                    None => {
                        self.filters.reserve_exact(1);
                        self.filters.push((filter.path.clone(), filter.qos));
                    }
                }
                granted.push(filter.path);
            } else {
                codes.push(SubscribeReasonCode::Failure);
                refused.push(filter.path);
            }
        }
        self.write(now, |tx| SubAck::new(subscribe.pkid, codes).write(tx));
        Ok(Event::Subscribed { granted, refused })
    }

    fn handle_unsubscribe(
        &mut self,
        unsubscribe: Unsubscribe,
        now: Instant,
    ) -> Result<Event, Close> {
        self.filters.retain(|(filter, _)| !unsubscribe.topics.contains(filter));
        self.write(now, |tx| UnsubAck::new(unsubscribe.pkid).write(tx));
        Ok(Event::Unsubscribed { filters: unsubscribe.topics })
    }

    fn connack(&mut self, code: ConnectReturnCode, now: Instant) {
        // Sessions end with their connection, so none is ever present.
        self.write(now, |tx| ConnAck::new(code, false).write(tx));
    }

    /// Writes due acknowledgements.
    fn write_acks(&mut self, now: Instant) {
        while let Some(id) = self.acks.next().filter(|_| self.closed.is_none()) {
            self.write(now, |tx| PubAck::new(id).write(tx));
        }
    }

    /// Encodes into a scratch buffer first, because the codec leaves half a packet behind when it
    /// fails.
    fn write(
        &mut self,
        now: Instant,
        packet: impl FnOnce(&mut BytesMut) -> Result<usize, mqttbytes::Error>,
    ) {
        let mut scratch = BytesMut::new();
        if packet(&mut scratch).is_err() {
            return self.close(Close::Slow);
        }
        if self.tx.is_empty() {
            self.tx_since = now;
        }
        if self.tx.len().saturating_add(scratch.len()) > self.limits.unsent {
            return self.close(Close::Slow);
        }
        self.tx.extend_from_slice(&scratch);
    }

    /// The next free packet id; there is one, because the window is smaller than the number of ids.
    fn next_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains(&self.last_id) {
                return self.last_id;
            }
        }
    }
}
