//! A list of operations on a session, against a server that may be anything.

use std::time::Duration;

use bytes::BytesMut;
use mqttbytes::v4;
use ota_proto::{Instant, QoS};
use ota_wire::mqtt::{
    AckId, ConnectLogin, Outgoing, Purpose, Session, SessionConfig, SessionFound, SessionPhase,
    SessionReceived, SubId,
};

/// Bytes that may wait to be sent, and the longest packet taken.
const TX: usize = 512;
const PACKET: usize = 128;

/// Runs the operations in `data`. What the session writes must be packets that mqttbytes reads,
/// it must stay within its bounds, and every wait must have an end.
///
/// # Panics
/// If a check fails.
pub fn mqtt_session(data: &[u8]) {
    let mut world = World::new();
    let mut input = data;
    while let Some((&op, rest)) = input.split_first() {
        let (n, rest) = rest.split_first().map_or((0, rest), |(n, rest)| (*n, rest));
        input = rest;
        world.step(op, n, &mut input);
        world.check();
    }
}

struct World {
    now: Instant,
    session: Session<u8>,
    /// Handed over, and not yet read by the server.
    wire: BytesMut,
    /// Answers of a good server, oldest first.
    answers: Vec<Vec<u8>>,
    /// Received, and not yet consumed.
    rx: Vec<u8>,
    subs: Vec<SubId>,
    acks: Vec<AckId>,
    first: bool,
}

impl World {
    fn new() -> Self {
        let login = ConnectLogin::new("client".into(), "user".into(), "password".into());
        let mut config = SessionConfig::new(login);
        config.limits.tx = TX;
        config.limits.ota_tx = 128;
        config.limits.packet = PACKET;
        config.limits.kept = 300;
        config.limits.inbound = 3;
        config.limits.window = 4;
        config.limits.subscriptions = 4;
        Self {
            now: Instant::ZERO,
            session: Session::new(config).unwrap(),
            wire: BytesMut::new(),
            answers: Vec::new(),
            rx: Vec::new(),
            subs: Vec::new(),
            acks: Vec::new(),
            first: true,
        }
    }

    fn step(&mut self, op: u8, n: u8, input: &mut &[u8]) {
        let now = self.now;
        let size = usize::from(n);
        match op % 16 {
            0 => {
                self.session.handle_connected(now);
                self.forget_connection();
            }
            1 => {
                self.session.handle_closed(now);
                self.forget_connection();
                assert!(self.session.transmit().is_empty());
            }
            2 => self.send(size),
            3 => self.send(usize::MAX),
            4 => {
                if !self.answers.is_empty() {
                    let answer = self.answers.remove(size % self.answers.len());
                    self.receive(&answer, 0);
                }
            }
            5 => {
                // Any bytes, in pieces.
                let (bytes, rest) = input.split_at(size.min(input.len()));
                *input = rest;
                self.receive(bytes, op >> 4);
            }
            6 => self.publish(Purpose::Ota, QoS::AtLeastOnce, size),
            7 => self.publish(Purpose::Ota, QoS::AtMostOnce, size),
            8 => self.publish(Purpose::Application, QoS::AtLeastOnce, size),
            9 => self.publish(Purpose::Application, QoS::AtMostOnce, size),
            10 => {
                let kind = if n & 1 == 0 { Purpose::Ota } else { Purpose::Application };
                let filter = ["a", "b/+", "c/#", "$ota/update/+/+", "e"][size % 5];
                self.subs.extend(self.session.subscribe(now, kind, filter, QoS::AtLeastOnce));
            }
            11 => {
                if !self.subs.is_empty() {
                    let sub = self.subs.remove(size % self.subs.len());
                    self.session.unsubscribe(now, sub);
                }
            }
            12 => {
                if let Some(ack) = self.acks.pop() {
                    self.session.acknowledge(now, ack);
                    self.receive(&[], 0);
                }
            }
            13 => {
                let waited = self.session.deadline().filter(|_| n == 0).map(|deadline| deadline.at);
                self.now = waited.unwrap_or(now + Duration::from_secs(n.into()));
            }
            14 => self.session.disconnect(now),
            _ => while self.session.poll_published().is_some() {},
        }
    }

    fn forget_connection(&mut self) {
        self.wire.clear();
        self.answers.clear();
        self.rx.clear();
        self.first = true;
    }

    fn send(&mut self, n: usize) {
        let bytes = self.session.transmit();
        let n = n.min(bytes.len());
        self.wire.extend_from_slice(&bytes[..n]);
        self.session.handle_sent(self.now, n);
        loop {
            let answer = match v4::read(&mut self.wire, TX) {
                Ok(v4::Packet::Connect(_)) => Some(vec![0x20, 2, 0, 0]),
                Ok(v4::Packet::Subscribe(packet)) => {
                    assert_eq!(packet.filters.len(), 1);
                    let [high, low] = packet.pkid.to_be_bytes();
                    Some(vec![0x90, 3, high, low, 1])
                }
                Ok(v4::Packet::Unsubscribe(packet)) => {
                    let [high, low] = packet.pkid.to_be_bytes();
                    Some(vec![0xB0, 2, high, low])
                }
                Ok(v4::Packet::Publish(packet)) => {
                    let [high, low] = packet.pkid.to_be_bytes();
                    (packet.pkid != 0).then(|| vec![0x40, 2, high, low])
                }
                Ok(v4::Packet::PingReq) => Some(vec![0xD0, 0]),
                Ok(v4::Packet::PubAck(_) | v4::Packet::Disconnect) => None,
                Ok(other) => panic!("a client sent {other:?}"),
                Err(mqttbytes::Error::InsufficientBytes(_)) => break,
                Err(error) => panic!("a client sent what is no packet: {error:?}"),
            };
            let is_connack = answer.as_ref().is_some_and(|answer| answer[0] == 0x20);
            assert_eq!(is_connack, self.first, "CONNECT is the first packet, and only the first");
            self.first = false;
            self.answers.extend(answer);
        }
    }

    /// Feeds what waits and `bytes`, cut in pieces, and compares with the same uncut.
    fn receive(&mut self, bytes: &[u8], cut: u8) {
        let mut whole = self.session.clone();
        let mut uncut = [&self.rx[..], bytes].concat();
        let expected = drain(&mut whole, self.now, &mut uncut);
        let mut found = Vec::new();
        let pieces = bytes.chunks(usize::from(cut).max(1));
        // A waiting packet may become ready by itself: an acknowledgement frees room.
        for piece in [&[][..]].into_iter().chain(pieces) {
            self.rx.extend_from_slice(piece);
            found.extend(drain(&mut self.session, self.now, &mut self.rx));
        }
        assert_eq!(found, expected, "cuts change what is found");
        if whole.is_ended() {
            assert_eq!(self.session.phase(), whole.phase());
        } else {
            assert_eq!((&self.session, &self.rx), (&whole, &uncut), "cuts change the state");
        }
        self.acks.extend(found.into_iter().filter_map(|(_, ack)| ack));
    }

    fn publish(&mut self, kind: Purpose, qos: QoS, size: usize) {
        let payload = vec![b'x'; size];
        let message = Outgoing { kind, qos, topic: "t", payload: &payload };
        let before = self.session.clone();
        let room = self.session.room(kind);
        match self.session.publish(self.now, message, 0) {
            Ok(_) => assert!(kind == Purpose::Application || room >= size + 5),
            Err(_) => assert_eq!(self.session, before, "an error changed the state"),
        }
    }

    fn check(&mut self) {
        assert!(self.session.transmit().len() <= TX);
        let before = self.session.phase();
        let result = self.session.handle_timeout(self.now);
        assert_eq!(result.is_err(), self.session.phase() != before);
        match self.session.deadline() {
            Some(deadline) => assert!(deadline.at > self.now, "{deadline:?} at {}", self.now),
            None => {
                assert!(matches!(self.session.phase(), SessionPhase::Down | SessionPhase::Ended(_)))
            }
        }
    }
}

trait IsEnded {
    fn is_ended(&self) -> bool;
}

impl IsEnded for Session<u8> {
    fn is_ended(&self) -> bool {
        matches!(self.phase(), SessionPhase::Ended(_))
    }
}

/// Feeds until nothing more comes of it; returns what the application sees.
fn drain(
    session: &mut Session<u8>,
    now: Instant,
    rx: &mut Vec<u8>,
) -> Vec<(String, Option<AckId>)> {
    let mut all = Vec::new();
    while !rx.is_empty() {
        let Ok(SessionReceived { consumed, found }) = session.handle_received(now, rx) else {
            rx.clear();
            break;
        };
        let shown = match &found {
            SessionFound::Message { topic, payload, ack, retain } => {
                let text = format!("{:?} {:?} {retain}", &rx[topic.clone()], &rx[payload.clone()]);
                Some((text, *ack))
            }
            SessionFound::TooLong { topic, len } => {
                Some((format!("{:?} {len}", &rx[topic.clone()]), None))
            }
            SessionFound::Nothing | SessionFound::Incomplete { .. } | SessionFound::Blocked => None,
            other => Some((format!("{other:?}"), None)),
        };
        let stop = match found {
            SessionFound::Incomplete { needed } => {
                assert!(needed > rx.len() && needed <= PACKET, "{needed} of {}", rx.len());
                true
            }
            SessionFound::Blocked => {
                assert!(!session.wants_read());
                true
            }
            _ => false,
        };
        assert!(stop || consumed > 0, "no progress");
        rx.drain(..consumed);
        all.extend(shown);
        if stop {
            break;
        }
    }
    all
}
