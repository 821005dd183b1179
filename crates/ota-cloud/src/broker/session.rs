//! The connection to a broker as a state machine.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use mqttbytes::QoS;
use mqttbytes::v4::{
    Connect, ConnectReturnCode, Disconnect, Packet, PingReq, PubAck, Publish, Subscribe,
    SubscribeReasonCode,
};
use ota_proto::Instant;

use super::{Broker, Event, FILTER, Lost, Refused, fence, half};
use crate::acks::Acks;
use crate::frame::Frame;

/// One connection to a broker, IO-free. Call [`Session::handle_received`] with its bytes, drain
/// [`Session::poll_event`], write [`Session::unsent`], and call [`Session::handle_timeout`] at
/// [`Session::deadline`].
///
/// It logs in, subscribes to [`FILTER`] at QoS 1 and waits for the SUBACK: nothing may be published
/// before, because the reply could be missed.
#[derive(Debug)]
pub struct Session {
    answer: Duration,
    /// The interval of pings.
    pace: Duration,
    phase: Phase,
    rx: BytesMut,
    /// Bytes of a packet that are still to be skipped.
    skip: usize,
    tx: BytesMut,
    /// When bytes began to wait for the socket, or were last written.
    tx_since: Instant,
    /// Since when an answer is due.
    asked: Option<Instant>,
    acks: Acks,
    /// When the last ping was due.
    pinged: Instant,
    over: Option<Lost>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Subscribing,
    Joined,
}

impl Session {
    /// The largest accepted message, with its topic, in bytes. A device's message has at most 16
    /// KiB; the excess allows parsing the start of any larger one, to acknowledge and skip it: one
    /// device must not cut off the others.
    pub const MAX_PACKET: usize = 128 * 1024;

    /// A connection that was opened `now`: the CONNECT is in [`Session::unsent`].
    #[must_use]
    pub fn new(now: Instant, broker: &Broker) -> Self {
        let keep_alive = broker.keep_alive.as_secs().clamp(1, u64::from(u16::MAX));
        let mut session = Self {
            answer: broker.answer,
            pace: half(Duration::from_secs(keep_alive)),
            phase: Phase::Connecting,
            rx: BytesMut::new(),
            skip: 0,
            tx: BytesMut::new(),
            tx_since: now,
            asked: Some(now),
            acks: Acks::default(),
            pinged: now,
            over: None,
        };
        let mut connect = Connect::new(broker.client_id());
        connect.keep_alive = u16::try_from(keep_alive).unwrap_or(u16::MAX);
        connect.clean_session = !broker.keeps_session();
        if let Some((user, password)) = broker.login() {
            connect.set_login(user, password);
        }
        session.write(now, |tx| connect.write(tx));
        session
    }

    /// Takes bytes from the socket, at most a few thousand at a time and only while
    /// [`Session::wants_read`] is true, which bounds the buffer.
    pub fn handle_received(&mut self, data: &[u8]) {
        if self.over.is_none() {
            self.rx.extend_from_slice(data);
        }
    }

    /// Whether more bytes can be taken.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.over.is_none()
            && self.rx.len() <= Self::MAX_PACKET
            && self.tx.len() <= UNSENT / 2
            && self.acks.len() < UNACKNOWLEDGED
    }

    /// Returns the next event. [`Session::acknowledge`] acknowledges a report at QoS 1; everything
    /// else is acknowledged here. `None`: more bytes are needed, or an acknowledgement.
    pub fn poll_event(&mut self, now: Instant) -> Option<Event> {
        while self.over.is_none() && self.acks.len() < UNACKNOWLEDGED {
            match self.step(now) {
                Ok(Step::Event(event)) => return Some(event),
                Ok(Step::Nothing) => {}
                Ok(Step::Short) => return None,
                Err(why) => self.end(why),
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

    /// Reports that a message could not be stored: ends the connection, so that the broker delivers
    /// unacknowledged messages again.
    pub fn give_up(&mut self) {
        self.end(Lost::NotKept);
    }

    /// Whether [`Session::publish`] may be called.
    #[must_use]
    pub fn is_joined(&self) -> bool {
        self.over.is_none() && self.phase == Phase::Joined
    }

    /// Sends a message at QoS 0, as the platform does. Before [`Event::Joined`] and after the end
    /// nothing is written.
    pub fn publish(&mut self, now: Instant, topic: &str, payload: &Bytes) {
        if self.is_joined() {
            let publish = Publish::from_bytes(topic, QoS::AtMostOnce, payload.clone());
            self.write(now, |tx| publish.write(tx));
        }
    }

    /// Disconnects: sends DISCONNECT after all unsent bytes.
    pub fn disconnect(&mut self, now: Instant) {
        if self.over.is_none() {
            self.write(now, |tx| Disconnect.write(tx));
            self.end(Lost::Closed);
        }
    }

    /// The time of the next [`Session::handle_timeout`]; `None` at the end.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.over.is_some() {
            return None;
        }
        let answer = self.asked.map_or(self.pinged + self.pace, |asked| asked + self.answer);
        let stalled = self.tx_since + self.answer;
        Some(if self.tx.is_empty() { answer } else { answer.min(stalled) })
    }

    /// Pings, or gives up a broker that does not answer or read.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline().is_none_or(|deadline| now < deadline) {
            return;
        }
        if !self.tx.is_empty() && now >= self.tx_since + self.answer {
            self.end(Lost::Slow);
        } else if self.asked.is_some() {
            self.end(Lost::Silent);
        } else {
            self.pinged = now;
            self.asked = Some(now);
            self.write(now, |tx| PingReq.write(tx));
        }
    }

    /// The bytes for the socket. After the end these are the last ones.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        &self.tx
    }

    /// Reports that `n` bytes of [`Session::unsent`] were written.
    pub fn handle_sent(&mut self, now: Instant, n: usize) {
        self.tx.advance(n.min(self.tx.len()));
        self.tx_since = now;
    }

    /// Why the connection must be closed, once [`Session::unsent`] is written.
    #[must_use]
    pub fn over(&self) -> Option<&Lost> {
        self.over.as_ref()
    }

    fn end(&mut self, why: Lost) {
        self.over.get_or_insert(why);
        self.rx = BytesMut::new();
    }

    fn step(&mut self, now: Instant) -> Result<Step, Lost> {
        let skipped = self.skip.min(self.rx.len());
        self.rx.advance(skipped);
        self.skip = self.skip.saturating_sub(skipped);
        if self.skip > 0 {
            return Ok(Step::Short);
        }
        let Some(frame) = fence::frame(&self.rx)? else { return Ok(Step::Short) };
        if self.rx.first().is_some_and(|first| first >> 4 == fence::PUBLISH) {
            return self.take_publish(frame, now);
        }
        if frame.len > LONGEST_ANSWER {
            return Err(Lost::Malformed("length or contents of an answer"));
        }
        if self.rx.len() < frame.len {
            return Ok(Step::Short);
        }
        let mut packet = self.rx.split_to(frame.len);
        fence::check(&packet, frame)?;
        let packet = mqttbytes::v4::read(&mut packet, Self::MAX_PACKET);
        self.take_answer(packet.map_err(|_| Lost::Malformed("packet"))?, now)
    }

    fn take_publish(&mut self, frame: Frame, now: Instant) -> Result<Step, Lost> {
        // The broker of a kept session sends queued messages before it grants the subscription.
        if self.phase == Phase::Connecting {
            return Err(Lost::Malformed("a message before the login"));
        }
        let Some(head) = fence::head(&self.rx, frame)? else { return Ok(Step::Short) };
        let id = head.id;
        let unreadable = std::str::from_utf8(head.topic).is_err();
        if frame.len > Self::MAX_PACKET || unreadable {
            let topic = String::from_utf8_lossy(head.topic).into_owned();
            self.skip = frame.len;
            self.receive(id, true, now);
            return Ok(Step::Event(Event::Oversized { topic }));
        }
        if self.rx.len() < frame.len {
            return Ok(Step::Short);
        }
        let mut packet = self.rx.split_to(frame.len);
        let Ok(Packet::Publish(publish)) = mqttbytes::v4::read(&mut packet, Self::MAX_PACKET)
        else {
            return Err(Lost::Malformed("PUBLISH"));
        };
        // A retained message was published earlier: no device sends it now.
        self.receive(id, publish.retain, now);
        if publish.retain {
            return Ok(Step::Nothing);
        }
        let Publish { topic, payload, .. } = publish;
        Ok(Step::Event(Event::Report { topic, payload, id }))
    }

    fn take_answer(&mut self, packet: Packet, now: Instant) -> Result<Step, Lost> {
        match (self.phase, packet) {
            (Phase::Connecting, Packet::ConnAck(ack)) => {
                accepted(ack.code)?;
                self.phase = Phase::Subscribing;
                self.asked = Some(now);
                let mut subscribe = Subscribe::new(FILTER, QoS::AtLeastOnce);
                subscribe.pkid = SUBSCRIBE_ID;
                self.write(now, |tx| subscribe.write(tx));
                Ok(Step::Nothing)
            }
            (Phase::Subscribing, Packet::SubAck(ack)) if ack.pkid == SUBSCRIBE_ID => {
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(Lost::NotSubscribed);
                }
                self.phase = Phase::Joined;
                self.asked = None;
                self.pinged = now;
                Ok(Step::Event(Event::Joined))
            }
            (Phase::Joined, Packet::PingResp) if self.asked.is_some() => {
                self.asked = None;
                Ok(Step::Nothing)
            }
            _ => Err(Lost::Malformed("a packet that nothing asked for")),
        }
    }

    /// Adds a message at QoS 1; `done` if nothing has to become durable for it.
    fn receive(&mut self, id: Option<u16>, done: bool, now: Instant) {
        if let Some(id) = id {
            self.acks.take(id, done);
            self.write_acks(now);
        }
    }

    /// Writes due acknowledgements.
    fn write_acks(&mut self, now: Instant) {
        while let Some(id) = self.acks.next().filter(|_| self.over.is_none()) {
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
        if self.tx.is_empty() {
            self.tx_since = now;
        }
        if packet(&mut scratch).is_err() || self.tx.len().saturating_add(scratch.len()) > UNSENT {
            return self.end(Lost::Slow);
        }
        self.tx.extend_from_slice(&scratch);
    }
}

/// The result of parsing the received bytes.
enum Step {
    Event(Event),
    Nothing,
    /// More bytes are needed.
    Short,
}

/// The most accepted and unacknowledged messages at QoS 1.
const UNACKNOWLEDGED: usize = 1_024;
/// The most bytes that wait for a broker that does not read.
const UNSENT: usize = 256 * 1024;
/// The longest answer is a SUBACK to one filter.
const LONGEST_ANSWER: usize = 5;
const SUBSCRIBE_ID: u16 = 1;

fn accepted(code: ConnectReturnCode) -> Result<(), Lost> {
    Err(Lost::Refused(match code {
        ConnectReturnCode::Success => return Ok(()),
        ConnectReturnCode::RefusedProtocolVersion => Refused::Protocol,
        ConnectReturnCode::BadClientId => Refused::ClientId,
        ConnectReturnCode::ServiceUnavailable => Refused::Unavailable,
        ConnectReturnCode::BadUserNamePassword => Refused::Credentials,
        ConnectReturnCode::NotAuthorized => Refused::NotAuthorized,
    }))
}
