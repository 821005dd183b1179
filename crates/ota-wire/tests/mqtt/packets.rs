//! Literal packets both ways, and everything next to them.

use ota_proto::{BufferTooSmall, QoS};
use ota_wire::mqtt::packet::{
    Connect, ConnectCode, EncodeError, Packet, PacketError, PacketId, Publish, Request, decode,
    head,
};

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn requests() -> Vec<(Request<'static>, &'static [u8])> {
    let connect = Connect { client_id: "PD", keep_alive: 60, user_name: None, password: None };
    vec![
        (
            Request::Connect(Connect {
                user_name: Some("PD;1;x;2"),
                password: Some(b"00;hmacsha256"),
                ..connect.clone()
            }),
            b"\x10\x27\0\x04MQTT\x04\xc2\0\x3c\0\x02PD\0\x08PD;1;x;2\0\x0d00;hmacsha256",
        ),
        (
            Request::Connect(Connect { user_name: Some("u"), ..connect.clone() }),
            b"\x10\x11\0\x04MQTT\x04\x82\0\x3c\0\x02PD\0\x01u",
        ),
        // A password without a user name is left out.
        (
            Request::Connect(Connect { password: Some(b"x"), ..connect.clone() }),
            b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02PD",
        ),
        (
            Request::Subscribe { id: id(1), filter: "$ota/update/P/D", qos: QoS::AtLeastOnce },
            b"\x82\x14\0\x01\0\x0f$ota/update/P/D\x01",
        ),
        (
            Request::Subscribe { id: id(0x1234), filter: "#", qos: QoS::AtMostOnce },
            b"\x82\x06\x12\x34\0\x01#\0",
        ),
        (Request::Unsubscribe { id: id(2), filter: "a" }, b"\xa2\x05\0\x02\0\x01a"),
        (Request::Publish(Publish::new("a/b", None, b"hi")), b"\x30\x07\0\x03a/bhi"),
        (Request::Publish(Publish::new("a", Some(id(0xffff)), b"")), b"\x32\x05\0\x01a\xff\xff"),
        (
            Request::Publish(Publish { dup: true, ..Publish::new("a", Some(id(1)), b"x") }),
            b"\x3a\x06\0\x01a\0\x01x",
        ),
        // Repetition means nothing at QoS 0.
        (
            Request::Publish(Publish { dup: true, ..Publish::new("a", None, b"x") }),
            b"\x30\x04\0\x01ax",
        ),
        (Request::PubAck(id(0x0102)), b"\x40\x02\x01\x02"),
        (Request::PingReq, b"\xc0\0"),
        (Request::Disconnect, b"\xe0\0"),
    ]
}

pub(crate) fn packets() -> Vec<(&'static [u8], Packet<'static>)> {
    let connack = |code| Packet::ConnAck { session_present: false, code };
    vec![
        (b"\x20\x02\0\0", connack(ConnectCode::Accepted)),
        (b"\x20\x02\x01\0", Packet::ConnAck { session_present: true, code: ConnectCode::Accepted }),
        (b"\x20\x02\0\x01", connack(ConnectCode::ProtocolVersion)),
        (b"\x20\x02\0\x02", connack(ConnectCode::Identifier)),
        (b"\x20\x02\0\x03", connack(ConnectCode::Unavailable)),
        (b"\x20\x02\0\x04", connack(ConnectCode::Credentials)),
        (b"\x20\x02\0\x05", connack(ConnectCode::NotAuthorized)),
        (b"\x30\x07\0\x03a/bhi", Packet::Publish(Publish::new("a/b", None, b"hi"))),
        (
            b"\x31\x03\0\x01a",
            Packet::Publish(Publish { retain: true, ..Publish::new("a", None, b"") }),
        ),
        (b"\x32\x06\0\x01a\0\x07x", Packet::Publish(Publish::new("a", Some(id(7)), b"x"))),
        (
            b"\x3b\x05\0\x01a\x01\0",
            Packet::Publish(Publish {
                dup: true,
                retain: true,
                ..Publish::new("a", Some(id(256)), b"")
            }),
        ),
        (b"\x40\x02\0\x01", Packet::PubAck(id(1))),
        (b"\x90\x03\0\x01\0", Packet::SubAck { id: id(1), codes: &[0] }),
        (b"\x90\x06\0\x02\0\x01\x02\x80", Packet::SubAck { id: id(2), codes: &[0, 1, 2, 0x80] }),
        (b"\xb0\x02\0\x01", Packet::UnsubAck(id(1))),
        (b"\xd0\0", Packet::PingResp),
    ]
}

#[test]
fn requests_are_these_bytes() {
    for (request, bytes) in requests() {
        let mut buf = [0xEE; 64];
        assert_eq!(request.encode(&mut buf), Ok(bytes.len()), "{request:?}");
        assert_eq!(&buf[..bytes.len()], bytes, "{request:?}");
        assert_eq!(buf[bytes.len()], 0xEE, "wrote past its end: {request:?}");
    }
}

#[test]
fn a_short_buffer_is_named_and_unchanged() {
    for (request, bytes) in requests() {
        for len in 0..bytes.len() {
            let mut buf = vec![0xEE; len];
            let error = EncodeError::Buffer(BufferTooSmall { needed: bytes.len() });
            assert_eq!(request.encode(&mut buf), Err(error));
            assert!(buf.iter().all(|&byte| byte == 0xEE));
        }
    }
}

#[test]
fn lengths_change_their_size_at_the_powers_of_128() {
    for (payload, header) in
        [(124, 2), (125, 3), (16_380, 3), (16_381, 4), (2_097_148, 4), (2_097_149, 5)]
    {
        let payload = vec![b'x'; payload];
        let request = Request::Publish(Publish::new("a", None, &payload));
        let mut buf = vec![0; payload.len() + 8];
        let len = request.encode(&mut buf).unwrap();
        assert_eq!(len, header + 3 + payload.len());
        let (packet, used) = decode(&buf).unwrap().unwrap();
        assert_eq!((packet, used), (Packet::Publish(Publish::new("a", None, &payload)), len));
    }
}

#[test]
fn what_no_packet_can_hold_is_refused() {
    let long = "a".repeat(65_536);
    let connect = Connect { client_id: "", keep_alive: 0, user_name: None, password: None };
    for request in [
        Request::Connect(Connect { client_id: &long, ..connect.clone() }),
        Request::Connect(Connect { user_name: Some(&long), ..connect.clone() }),
        Request::Connect(Connect {
            user_name: Some(""),
            password: Some(long.as_bytes()),
            ..connect
        }),
        Request::Subscribe { id: id(1), filter: &long, qos: QoS::AtMostOnce },
        Request::Unsubscribe { id: id(1), filter: &long },
        Request::Publish(Publish::new(&long, None, b"")),
    ] {
        assert_eq!(request.encode(&mut []), Err(EncodeError::TooLong));
    }
}

#[test]
fn packets_are_these_values() {
    for (bytes, packet) in packets() {
        assert_eq!(decode(bytes), Ok(Some((packet.clone(), bytes.len()))));
        // Bytes after a packet do not matter.
        let more = [bytes, b"\xff\xff"].concat();
        assert_eq!(decode(&more), Ok(Some((packet, bytes.len()))));
    }
}

#[test]
fn every_truncation_waits_for_more() {
    for (bytes, _) in packets() {
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), Ok(None), "{bytes:x?} cut to {len}");
        }
    }
}

/// A packet whose length says less than its fields: every cut of the body is an error.
#[test]
fn every_lying_length_is_refused() {
    for (bytes, packet) in packets() {
        for body in 0..bytes.len() - 2 {
            let mut lie = vec![bytes[0], u8::try_from(body).unwrap()];
            lie.extend(&bytes[2..2 + body]);
            let result = decode(&lie);
            let shorter = match &packet {
                Packet::Publish(publish) => bytes.len() - 2 - body <= publish.payload.len(),
                Packet::SubAck { codes, .. } => bytes.len() - 2 - body < codes.len(),
                _ => false,
            };
            match result {
                Ok(Some(_)) => assert!(shorter, "{lie:x?}"),
                other => assert_eq!(other, Err(PacketError::Length), "{lie:x?}"),
            }
        }
        // And one byte more than there is a field for.
        let takes_more = matches!(packet, Packet::Publish(_) | Packet::SubAck { .. });
        let mut lie = vec![bytes[0], bytes[1] + 1];
        lie.extend(&bytes[2..]);
        lie.push(0);
        match decode(&lie) {
            Ok(Some(_)) => assert!(takes_more, "{lie:x?}"),
            other => assert_eq!(other, Err(PacketError::Length), "{lie:x?}"),
        }
    }
}

#[test]
fn every_first_byte_has_its_verdict() {
    for first in 0..=u8::MAX {
        let expected = match first {
            0x20 | 0x40 | 0x90 | 0xB0 | 0xD0 => None,
            // QoS 0 with and without retain, QoS 1 with both flags.
            0x30 | 0x31 | 0x32 | 0x33 | 0x3A | 0x3B => None,
            0x21..=0x4F | 0x91..=0x9F | 0xB1..=0xBF | 0xD1..=0xDF => Some(PacketError::Flags),
            _ => Some(PacketError::Type),
        };
        match expected {
            None => assert_eq!(decode(&[first]), Ok(None), "{first:x}"),
            Some(error) => assert_eq!(decode(&[first]), Err(error), "{first:x}"),
        }
    }
}

#[test]
fn malformed_fields_are_refused() {
    let cases: &[(&[u8], PacketError)] = &[
        (b"\x40\x02\0\0", PacketError::PacketId),
        (b"\xb0\x02\0\0", PacketError::PacketId),
        (b"\x90\x03\0\0\0", PacketError::PacketId),
        (b"\x32\x05\0\x01a\0\0", PacketError::PacketId),
        (b"\x20\x02\0\x06", PacketError::Code),
        (b"\x20\x02\x02\0", PacketError::Flags),
        (b"\x90\x03\0\x01\x03", PacketError::Code),
        (b"\x90\x03\0\x01\x81", PacketError::Code),
        (b"\x30\x03\0\0x", PacketError::Topic),
        (b"\x30\x03\0\x01\0", PacketError::Topic),
        (b"\x30\x03\0\x01+", PacketError::Topic),
        (b"\x30\x05\0\x03a/#", PacketError::Topic),
        (b"\x30\x03\0\x01\xff", PacketError::Topic),
        (b"\x30\x05\0\x03\xed\xa0\x80", PacketError::Topic),
        (b"\x30\x04\0\x03ab", PacketError::Length),
        (b"\x32\x06\0\x03abc\0", PacketError::Length),
        (b"\x30\xff\xff\xff\xff", PacketError::LengthEncoding),
        (b"\x30\x80\x80\x80\x80\x01", PacketError::LengthEncoding),
        (b"\xd0\x01", PacketError::Length),
        (b"\x40\x03", PacketError::Length),
    ];
    for (bytes, error) in cases {
        assert_eq!(decode(bytes), Err(*error), "{bytes:x?}");
    }
}

#[test]
fn the_longest_length_is_only_a_number() {
    let head = head(b"\x30\xff\xff\xff\x7f").unwrap().unwrap();
    assert_eq!((head.len, head.remaining), (5, 268_435_455));
    assert_eq!(decode(b"\x30\xff\xff\xff\x7f\0\x01a"), Ok(None));
}

#[test]
fn debug_shows_neither_password_nor_payload() {
    let connect = Request::Connect(Connect {
        client_id: "PD",
        keep_alive: 60,
        user_name: Some("user"),
        password: Some(b"hush"),
    });
    assert!(!format!("{connect:?}").contains("hush") && !format!("{connect:?}").contains("104"));
    let publish = Publish::new("a", None, b"https://x/?sign=hush");
    assert!(!format!("{publish:?}").contains("hush"));
}
