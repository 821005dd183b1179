//! The IO-free MQTT connection, byte by byte.

#![allow(clippy::unwrap_used)]

mod bounds;
mod packets;

use std::time::Duration;

use bytes::Bytes;
use mqttbytes::QoS;
use ota_cloud::endpoint::{Close, Connection, Event, Limits, NotSent, Refusal};
use ota_proto::{Identity, Instant};
use proptest::prelude::*;

pub(crate) const T0: Instant = Instant::from_secs(1);

/// The login of the vendor's Python SDK, as captured: MQTT 3.1.
pub(crate) const PY_LOGIN: &[u8] = b"\x10\x80\x01\0\x06MQIsdp\x03\xc2\0\x3c\
    \0\x10TESTPROD01dev001\
    \0\x2dTESTPROD01dev001;21010406;5QY3H;1795431582795\
    \0\x319d1323f890a6176cba73c6a87adce4bca61fa512;hmacsha1";

/// A 3.1.1 CONNECT without login: keep-alive 60 s, client id `P123456789d`.
pub(crate) const CONNECT: &[u8] = b"\x10\x17\0\x04MQTT\x04\x02\0\x3c\0\x0bP123456789d";

pub(crate) fn device() -> Identity {
    Identity::new("P123456789", "d").unwrap()
}

pub(crate) fn up_with(limits: Limits) -> Connection {
    let mut connection = Connection::new(T0, limits);
    connection.handle_received(CONNECT);
    assert!(matches!(connection.poll_event(T0), Some(Event::Login(_))));
    connection.accept(T0, device());
    assert_eq!(take(&mut connection), b"\x20\x02\0\0");
    connection
}

pub(crate) fn up() -> Connection {
    up_with(Limits::default())
}

pub(crate) fn take(connection: &mut Connection) -> Vec<u8> {
    let bytes = connection.unsent().to_vec();
    connection.handle_sent(T0, bytes.len());
    bytes
}

/// Feeds bytes to a connection that is up; what it closes with.
pub(crate) fn close_of(bytes: &[u8]) -> Option<Close> {
    let mut connection = up();
    connection.handle_received(bytes);
    while connection.poll_event(T0).is_some() {}
    connection.closed()
}

/// Feeds bytes as the first ones; what it closes with.
pub(crate) fn first_close_of(bytes: &[u8]) -> Option<Close> {
    let mut connection = Connection::new(T0, Limits::default());
    connection.handle_received(bytes);
    while connection.poll_event(T0).is_some() {}
    connection.closed()
}

pub(crate) fn subscribe(connection: &mut Connection, filter: &str, qos: u8) -> Vec<u8> {
    let mut packet = vec![0x82, u8::try_from(filter.len() + 5).unwrap(), 0, 7];
    packet.extend(u16::try_from(filter.len()).unwrap().to_be_bytes());
    packet.extend(filter.as_bytes());
    packet.push(qos);
    connection.handle_received(&packet);
    assert!(matches!(connection.poll_event(T0), Some(Event::Subscribed { .. })));
    take(connection)
}
