//! The cloud's MQTT endpoint, fed by a client that may be anything.

use bytes::{Bytes, BytesMut};
use mqttbytes::{QoS, v4};
use ota_cloud::endpoint::{Close, Connection, Event, Limits, Refusal};
use ota_proto::{Identity, Instant};

use crate::input::Input;

/// Bounds that are soon reached.
const LIMITS: Limits = Limits {
    payload: 256,
    unsent: 512,
    subscriptions: 4,
    in_flight: 3,
    received: 3,
    connect: core::time::Duration::from_secs(10),
    stall: core::time::Duration::from_secs(10),
};

const CONNECT: &[u8] = b"\x10\x17\0\x04MQTT\x04\x02\0\x3c\0\x0bP123456789d";
const UPDATE: &str = "$ota/update/P123456789/d";

/// Reads the bytes as what a client sends; however that is cut, the same events, answers and end
/// come of it. Then a list of operations: every bound holds and every wait ends.
///
/// # Panics
/// If a check fails.
pub fn endpoint(data: &[u8]) {
    let mut input = Input::new(data);
    let shape = input.byte();
    let piece = usize::from(input.byte() % 32) + 1;
    let rest = input.bytes(usize::MAX);
    if shape & 1 == 0 {
        let up = shape & 2 == 0;
        let whole = run(rest, usize::MAX, up);
        assert_eq!(run(rest, piece, up), whole, "cuts change what is understood");
    } else {
        operations(&mut Input::new(rest));
    }
}

/// The result of a client's bytes.
#[derive(Debug, PartialEq)]
struct Transcript {
    events: Vec<Event>,
    answers: Vec<u8>,
    closed: Option<Close>,
}

fn device() -> Identity {
    Identity::new("P123456789", "d").unwrap()
}

fn run(data: &[u8], piece: usize, up: bool) -> Transcript {
    let now = Instant::from_secs(1);
    let mut connection = Connection::new(now, LIMITS);
    let mut script = Transcript { events: Vec::new(), answers: Vec::new(), closed: None };
    let login: &[u8] = if up { CONNECT } else { &[] };
    for part in login.chunks(usize::MAX).chain(data.chunks(piece)) {
        connection.handle_received(part);
        work(&mut connection, now, &mut script);
    }
    script.closed = connection.closed();
    script
}

/// Takes all events and answers; every login is taken.
fn work(connection: &mut Connection, now: Instant, script: &mut Transcript) {
    loop {
        let event = connection.poll_event(now);
        let sent = connection.unsent().len();
        assert!(sent <= LIMITS.unsent, "{sent} bytes wait");
        script.answers.extend_from_slice(connection.unsent());
        connection.handle_sent(now, sent);
        match event {
            Some(event) => {
                if matches!(event, Event::Login(_)) {
                    assert!(!connection.wants_read());
                    connection.accept(now, device());
                }
                if let Event::Report { id: Some(id), .. } = event {
                    connection.acknowledge(now, id);
                }
                script.events.push(event);
            }
            None => return,
        }
    }
}

fn operations(input: &mut Input<'_>) {
    let mut now = Instant::from_secs(1);
    let mut connection = Connection::new(now, LIMITS);
    let mut wire = BytesMut::new();
    while !input.is_empty() {
        match input.byte() % 13 {
            0 => feed(&mut connection, CONNECT),
            1..=2 => {
                let len = usize::from(input.byte());
                feed(&mut connection, input.bytes(len));
            }
            3 => {
                let filter =
                    input.pick(&[UPDATE, "$ota/update/+/+", "#", "P123456789/d/data", "a"]);
                let mut packet = BytesMut::new();
                let mut subscribe = v4::Subscribe::new(filter, input.pick(&QOS));
                subscribe.pkid = u16::from(input.byte()) + 1;
                subscribe.write(&mut packet).unwrap();
                feed(&mut connection, &packet);
            }
            4 => feed(&mut connection, &[0x40, 2, 0, input.byte() % 8]),
            5..=6 => while connection.poll_event(now).is_some() {},
            7 if input.flag() => connection.accept(now, device()),
            7 => connection.refuse(now, Refusal::BadCredentials),
            8 => {
                let payload = Bytes::from(vec![b'x'; usize::from(input.byte())]);
                let before = connection.unsent().len();
                let qos = input.pick(&QOS);
                if !matches!(connection.publish(now, UPDATE, &payload, qos), Ok(true)) {
                    assert_eq!(connection.unsent().len(), before, "nothing was to be sent");
                }
            }
            9 => {
                let n = usize::from(input.byte()).min(connection.unsent().len());
                wire.extend_from_slice(&connection.unsent()[..n]);
                connection.handle_sent(now, n);
                read_all(&mut wire);
            }
            10 => connection.acknowledge(now, u16::from(input.byte() % 8)),
            11 => now = now + core::time::Duration::from_secs(input.byte().into()),
            _ => now = connection.deadline().unwrap_or(now).max(now),
        }
        connection.handle_timeout(now);
        assert!(connection.unsent().len() <= LIMITS.unsent, "too much waits");
        assert_eq!(connection.deadline().is_none(), connection.closed().is_some());
        assert!(connection.deadline().is_none_or(|deadline| deadline > now), "a stale deadline");
        assert!(connection.closed().is_none() || !connection.wants_read());
    }
}

const QOS: [QoS; 2] = [QoS::AtMostOnce, QoS::AtLeastOnce];

/// Bytes are fed as the contract says: only while they are wanted.
fn feed(connection: &mut Connection, bytes: &[u8]) {
    if connection.wants_read() {
        connection.handle_received(bytes);
    }
}

/// All that was sent is packets of a server.
fn read_all(wire: &mut BytesMut) {
    loop {
        match v4::read(wire, LIMITS.packet()) {
            Ok(
                v4::Packet::ConnAck(_)
                | v4::Packet::SubAck(_)
                | v4::Packet::UnsubAck(_)
                | v4::Packet::PubAck(_)
                | v4::Packet::Publish(_)
                | v4::Packet::PingResp,
            ) => {}
            Ok(other) => panic!("a server sent {other:?}"),
            Err(mqttbytes::Error::InsufficientBytes(_)) => return,
            Err(error) => panic!("a server sent what is no packet: {error:?}"),
        }
    }
}
