//! Our MQTT codec against mqttbytes, both ways.

use bytes::BytesMut;
use mqttbytes::v4::{self, SubscribeReasonCode};
use mqttbytes::{Error, QoS as TheirQoS};
use ota_proto::QoS;
use ota_wire::mqtt::packet::{
    Connect, ConnectCode, Packet, PacketError, PacketId, Publish, Request, decode,
};
use ota_wire::mqtt::{filter_is_valid, topic_is_valid};

/// Reads the bytes as packets of a server and as the fields of requests; both codecs must agree,
/// but for the differences written in `difference`.
///
/// # Panics
/// When they do not.
pub fn mqtt_packet(data: &[u8]) {
    decoded_alike(data);
    encoded_alike(data);
}

/// All there is that mqttbytes takes and we refuse, with what we then say. Nothing is taken by us
/// and refused by mqttbytes.
fn difference(frame: &[u8], theirs: &v4::Packet) -> Option<PacketError> {
    let first = frame[0];
    let remaining = frame.len() - 1 - frame[1..].iter().take_while(|&&b| b & 0x80 != 0).count() - 1;
    match theirs {
        // 1. Packets of a client, and those of QoS 2: a server does not send them to us.
        v4::Packet::Connect(_)
        | v4::Packet::Subscribe(_)
        | v4::Packet::Unsubscribe(_)
        | v4::Packet::PubRec(_)
        | v4::Packet::PubRel(_)
        | v4::Packet::PubComp(_)
        | v4::Packet::PingReq
        | v4::Packet::Disconnect => Some(PacketError::Type),
        // 2. A message of QoS 2. 3. One of QoS 0 that is marked as repeated.
        v4::Packet::Publish(publish) if publish.qos == TheirQoS::ExactlyOnce => {
            Some(PacketError::Flags)
        }
        v4::Packet::Publish(publish) if publish.dup && publish.qos == TheirQoS::AtMostOnce => {
            Some(PacketError::Flags)
        }
        // 4. A message without a topic that takes less than the shortest topic does.
        v4::Packet::Publish(publish)
            if remaining < if publish.qos == TheirQoS::AtMostOnce { 3 } else { 5 } =>
        {
            Some(PacketError::Length)
        }
        // 5. An empty topic, or one with a wildcard or NUL.
        v4::Packet::Publish(publish) if !topic_is_valid(&publish.topic) => Some(PacketError::Topic),
        v4::Packet::Publish(_) => None,
        // 6. Flags where there are none.
        _ if first & 0x0F != 0 => Some(PacketError::Flags),
        // 7. Bytes behind the last field.
        v4::Packet::ConnAck(_) | v4::Packet::PubAck(_) if remaining != 2 => {
            Some(PacketError::Length)
        }
        v4::Packet::PingResp if remaining != 0 => Some(PacketError::Length),
        // 8. Reserved bits in the acknowledge flags of CONNACK.
        v4::Packet::ConnAck(_) if frame[frame.len() - 2] > 1 => Some(PacketError::Flags),
        // 9. An acknowledgement of identifier 0.
        v4::Packet::PubAck(v4::PubAck { pkid: 0 })
        | v4::Packet::UnsubAck(v4::UnsubAck { pkid: 0 })
        | v4::Packet::SubAck(v4::SubAck { pkid: 0, .. }) => Some(PacketError::PacketId),
        _ => None,
    }
}

/// Both codecs read the same from a server's bytes.
fn decoded_alike(data: &[u8]) {
    let mut stream = BytesMut::from(data);
    let theirs = v4::read(&mut stream, usize::MAX);
    let used = data.len() - stream.len();
    match (decode(data), theirs) {
        (Ok(None), Err(Error::InsufficientBytes(_))) => {}
        // We refuse as soon as it is clear; they wait for the whole frame.
        (Err(_), Err(_)) => {}
        (Err(error), Ok(theirs)) => {
            assert_eq!(Some(error), difference(&data[..used], &theirs), "{theirs:?}");
        }
        (Ok(Some((ours, len))), Ok(theirs)) => {
            assert_eq!((len, difference(&data[..used], &theirs)), (used, None));
            same(&ours, &theirs);
        }
        (ours, theirs) => panic!("{ours:?} against {theirs:?}"),
    }
}

fn same(ours: &Packet<'_>, theirs: &v4::Packet) {
    match (ours, theirs) {
        (Packet::ConnAck { session_present, code }, v4::Packet::ConnAck(theirs)) => {
            use v4::ConnectReturnCode as Code;
            let expected = match theirs.code {
                Code::Success => ConnectCode::Accepted,
                Code::RefusedProtocolVersion => ConnectCode::ProtocolVersion,
                Code::BadClientId => ConnectCode::Identifier,
                Code::ServiceUnavailable => ConnectCode::Unavailable,
                Code::BadUserNamePassword => ConnectCode::Credentials,
                Code::NotAuthorized => ConnectCode::NotAuthorized,
            };
            assert_eq!((*session_present, *code), (theirs.session_present, expected));
        }
        (Packet::Publish(ours), v4::Packet::Publish(theirs)) => same_publish(ours, theirs),
        (Packet::PubAck(id), v4::Packet::PubAck(theirs)) => assert_eq!(id.get(), theirs.pkid),
        (Packet::UnsubAck(id), v4::Packet::UnsubAck(theirs)) => assert_eq!(id.get(), theirs.pkid),
        (Packet::SubAck { id, codes }, v4::Packet::SubAck(theirs)) => {
            let expected: Vec<u8> = theirs
                .return_codes
                .iter()
                .map(|code| match code {
                    SubscribeReasonCode::Success(qos) => *qos as u8,
                    SubscribeReasonCode::Failure => 0x80,
                })
                .collect();
            assert_eq!((id.get(), *codes), (theirs.pkid, &expected[..]));
        }
        (Packet::PingResp, v4::Packet::PingResp) => {}
        (ours, theirs) => panic!("{ours:?} against {theirs:?}"),
    }
}

fn same_publish(ours: &Publish<'_>, theirs: &v4::Publish) {
    assert_eq!(ours.topic, theirs.topic);
    assert_eq!(ours.payload, &theirs.payload[..]);
    assert_eq!((ours.dup, ours.retain), (theirs.dup, theirs.retain));
    assert_eq!(ours.id.map_or(0, PacketId::get), theirs.pkid);
    assert_eq!(ours.id.is_some(), theirs.qos == TheirQoS::AtLeastOnce);
}

/// What we write, they read; and what they write, when they can, is the same bytes.
fn encoded_alike(data: &[u8]) {
    let Some((&[kind, flags, high, low, cut], rest)) = data.split_first_chunk::<5>() else {
        return;
    };
    let (front, back) = rest.split_at(usize::from(cut).min(rest.len()));
    let Ok(text) = core::str::from_utf8(front) else { return };
    let id = PacketId::new(u16::from_be_bytes([high, low])).unwrap_or(PacketId::MIN);
    let (qos, their_qos) = match flags & 1 {
        0 => (QoS::AtMostOnce, TheirQoS::AtMostOnce),
        _ => (QoS::AtLeastOnce, TheirQoS::AtLeastOnce),
    };
    match kind % 7 {
        0 => check_connect(text, back, flags, id.get()),
        1 if filter_is_valid(text) => {
            let read = round_trip(&Request::Subscribe { id, filter: text, qos });
            let mut expected = v4::Subscribe::new(text, their_qos);
            expected.pkid = id.get();
            assert_eq!(read, v4::Packet::Subscribe(expected));
        }
        2 if filter_is_valid(text) => {
            let read = round_trip(&Request::Unsubscribe { id, filter: text });
            let mut expected = v4::Unsubscribe::new(text);
            expected.pkid = id.get();
            assert_eq!(read, v4::Packet::Unsubscribe(expected));
        }
        3 if topic_is_valid(text) => {
            let id = (qos == QoS::AtLeastOnce).then_some(id);
            let dup = id.is_some() && flags & 2 != 0;
            let ours = Publish { dup, ..Publish::new(text, id, back) };
            let v4::Packet::Publish(theirs) = round_trip(&Request::Publish(ours.clone())) else {
                panic!("not read as PUBLISH");
            };
            same_publish(&ours, &theirs);
            assert_eq!(written(|out| theirs.write(out)), encoded(&Request::Publish(ours)));
        }
        4 => assert_eq!(
            round_trip(&Request::PubAck(id)),
            v4::Packet::PubAck(v4::PubAck::new(id.get()))
        ),
        5 => assert_eq!(round_trip(&Request::PingReq), v4::Packet::PingReq),
        6 => assert_eq!(round_trip(&Request::Disconnect), v4::Packet::Disconnect),
        _ => {}
    }
}

fn check_connect(client_id: &str, back: &[u8], flags: u8, keep_alive: u16) {
    let (user, password) = back.split_at(back.len() / 2);
    let Ok(user) = core::str::from_utf8(user) else { return };
    // They read a password as text only; ours is text, too.
    let Ok(password) = core::str::from_utf8(password) else { return };
    let user_name = (flags & 2 != 0).then_some(user);
    let ours = Connect {
        client_id,
        keep_alive,
        user_name,
        password: (flags & 4 != 0).then_some(password.as_bytes()),
    };
    let v4::Packet::Connect(theirs) = round_trip(&Request::Connect(ours)) else {
        panic!("not read as CONNECT");
    };
    assert_eq!((theirs.protocol, theirs.clean_session), (mqttbytes::Protocol::V4, true));
    assert_eq!((&*theirs.client_id, theirs.keep_alive), (client_id, keep_alive));
    assert_eq!(theirs.last_will, None);
    let login = theirs.login.map(|login| (login.username, login.password));
    // 10. They do not tell an absent field from an empty one.
    let password = if user_name.is_some() && flags & 4 != 0 { password } else { "" };
    let (name, word) = login.unwrap_or_default();
    assert_eq!((&*name, &*word), (user_name.unwrap_or(""), password));
}

fn encoded(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = vec![0; request.encoded_len().unwrap()];
    assert_eq!(request.encode(&mut bytes), Ok(bytes.len()));
    bytes
}

/// What mqttbytes reads of our request; it must be all of it.
fn round_trip(request: &Request<'_>) -> v4::Packet {
    let mut stream = BytesMut::from(&encoded(request)[..]);
    let packet = v4::read(&mut stream, usize::MAX).unwrap();
    assert!(stream.is_empty(), "left over: {stream:?}");
    packet
}

fn written(write: impl FnOnce(&mut BytesMut) -> Result<usize, Error>) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out).unwrap();
    out.to_vec()
}
