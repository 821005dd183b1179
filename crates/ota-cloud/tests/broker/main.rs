//! The cloud as a client of a broker, byte by byte.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::Bytes;
use ota_cloud::broker::{BadBroker, Broker, Event, Lost, Refused, Session};
use ota_proto::Instant;

const T0: Instant = Instant::from_secs(1);
const CONNACK: &[u8] = b"\x20\x02\0\0";
const SUBSCRIBE: &[u8] = b"\x82\x15\0\x01\0\x10$ota/report/+/+\x01";
const SUBACK: &[u8] = b"\x90\x03\0\x01\x01";

fn at(seconds: u64) -> Instant {
    Instant::from_secs(1 + seconds)
}

fn broker() -> Broker {
    Broker::from_url("mqtt://127.0.0.1").unwrap()
}

fn take(session: &mut Session) -> Vec<u8> {
    let bytes = session.unsent().to_vec();
    session.handle_sent(T0, bytes.len());
    bytes
}

/// A session that has its SUBACK.
fn joined() -> Session {
    let mut session = Session::new(T0, &broker());
    take(&mut session);
    session.handle_received(CONNACK);
    assert_eq!(session.poll_event(T0), None);
    assert!(!session.is_joined());
    assert_eq!(take(&mut session), with_length(SUBSCRIBE));
    session.handle_received(SUBACK);
    assert_eq!(session.poll_event(T0), Some(Event::Joined));
    session
}

/// With the lengths that the literal above leaves to be right.
fn with_length(packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    packet[1] = u8::try_from(packet.len() - 2).unwrap();
    packet[5] = u8::try_from(packet.len() - 7).unwrap();
    packet
}

fn publish(first: u8, topic: &[u8], id: Option<u16>, payload: &[u8]) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend(topic);
    body.extend(id.iter().flat_map(|id| id.to_be_bytes()));
    body.extend(payload);
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let more = if left > 127 { 0x80 } else { 0 };
        packet.push(u8::try_from(left % 128).unwrap() | more);
        left /= 128;
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// Feeds bytes to a session that has joined; what it ends with.
fn lost_by(bytes: &[u8]) -> Option<Lost> {
    let mut session = joined();
    session.handle_received(bytes);
    while session.poll_event(T0).is_some() {}
    session.over().cloned()
}

#[test]
fn the_login_and_the_subscription() {
    let mut session = Session::new(T0, &broker());
    assert_eq!(take(&mut session), b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0");
    session.publish(T0, "$ota/update/P/d", &Bytes::from_static(b"early"));
    assert_eq!(session.unsent(), b"");
    assert!(joined().is_joined());

    let mut broker = Broker::from_url("mqtts://us%40er:p%3Aw@[::1]:99/").unwrap();
    assert_eq!((broker.host(), broker.port(), broker.is_secure()), ("::1", 99, true));
    broker.set_client_id("cloud").unwrap();
    broker.keep_alive = Duration::from_secs(30);
    let mut session = Session::new(T0, &broker);
    let connect = b"\x10\x1d\0\x04MQTT\x04\xc0\0\x1e\0\x05cloud\0\x05us@er\0\x03p:w";
    assert_eq!(take(&mut session), connect);
    for text in [broker.to_string(), format!("{broker:?}")] {
        assert!(text.contains("mqtts://[::1]:99") && !text.contains("p:w"), "{text}");
    }
}

#[test]
fn reports_are_acknowledged_when_they_are_durable() {
    let mut session = joined();
    let topic = "$ota/report/P/d";
    session.handle_received(&publish(0x30, topic.as_bytes(), None, b"a"));
    session.handle_received(&publish(0x3a, topic.as_bytes(), Some(7), b"b"));
    let report = |payload: &'static [u8], id| {
        Some(Event::Report { topic: topic.into(), payload: Bytes::from_static(payload), id })
    };
    assert_eq!(session.poll_event(T0), report(b"a", None));
    assert_eq!(session.unsent(), b"");
    assert_eq!(session.poll_event(T0), report(b"b", Some(7)));
    assert_eq!(session.unsent(), b"");
    session.acknowledge(T0, 7);
    assert_eq!(take(&mut session), b"\x40\x02\0\x07");
    session.publish(T0, "$ota/update/P/d", &Bytes::from_static(b"reply"));
    assert_eq!(take(&mut session), b"\x30\x16\0\x0f$ota/update/P/dreply");
    session.disconnect(T0);
    assert_eq!(take(&mut session), b"\xe0\0");
    assert_eq!((session.over(), session.deadline()), (Some(&Lost::Closed), None));
}

#[test]
fn what_the_broker_kept_may_come_before_the_suback() {
    let mut session = Session::new(T0, &broker());
    session.handle_received(CONNACK);
    session.handle_received(&publish(0x32, b"$ota/report/P/d", Some(1), b"{}"));
    session.handle_received(SUBACK);
    assert!(matches!(session.poll_event(T0), Some(Event::Report { .. })));
    assert_eq!(session.poll_event(T0), Some(Event::Joined));
}

#[test]
fn an_answer_to_the_subscription_names_one_quality() {
    for suback in [&b"\x90\x03\0\x01\x03"[..], b"\x90\x02\0\x01", b"\x90\x04\0\x01\x01\x01"] {
        let mut session = Session::new(T0, &broker());
        session.handle_received(CONNACK);
        session.handle_received(suback);
        assert_eq!(session.poll_event(T0), None, "{suback:?}");
        assert!(matches!(session.over(), Some(Lost::Malformed(_))), "{suback:?}");
    }
}

#[test]
fn a_retained_message_is_no_report() {
    let mut session = joined();
    session.handle_received(&publish(0x33, b"$ota/report/P/d", Some(2), b"{}"));
    assert_eq!(session.poll_event(T0), None);
    assert_eq!(take(&mut session), b"\x40\x02\0\x02");
}

#[test]
fn one_byte_at_a_time() {
    let mut session = Session::new(T0, &broker());
    let topic = b"$ota/report/P/d";
    let mut stream = [CONNACK, SUBACK].concat();
    stream.extend(publish(0x32, topic, Some(9), &[b'x'; 300]));
    stream.extend(publish(0x32, b"\xff", Some(10), &[b'x'; 300]));
    stream.extend(publish(0x30, topic, None, b"last"));
    let mut events = 0;
    for byte in stream {
        session.handle_received(&[byte]);
        events += std::iter::from_fn(|| session.poll_event(T0)).count();
    }
    assert_eq!((events, session.over()), (4, None));
}

#[test]
fn a_message_over_the_limit_or_with_an_unreadable_topic_costs_only_itself() {
    let mut session = joined();
    let huge = vec![b'x'; 300_000];
    let long = vec![b't'; 65_535];
    for (topic, id) in [(&b"$ota/report/P/d"[..], Some(3)), (&long, None), (b"\xff\xfe", Some(4))] {
        let first = if id.is_some() { 0x32 } else { 0x30 };
        let mut stream = publish(first, topic, id, &huge);
        stream.extend(publish(0x30, b"$ota/report/P/d", None, b"next"));
        let mut events = Vec::new();
        for piece in stream.chunks(4096) {
            assert!(session.wants_read());
            session.handle_received(piece);
            events.extend(std::iter::from_fn(|| session.poll_event(T0)));
        }
        assert!(matches!(&events[..], [Event::Oversized { .. }, Event::Report { .. }]));
        let acknowledged = id.map_or(Vec::new(), |id| vec![0x40, 2, 0, id as u8]);
        assert_eq!(take(&mut session), acknowledged);
    }
}

#[test]
fn refusals_are_told_apart() {
    for (code, why, words) in [
        (1, Refused::Protocol, "does not speak MQTT 3.1.1"),
        (2, Refused::ClientId, "does not take the client id"),
        (3, Refused::Unavailable, "is not available now"),
        (4, Refused::Credentials, "wrong user name or password"),
        (5, Refused::NotAuthorized, "not authorized"),
    ] {
        let mut session = Session::new(T0, &broker());
        session.handle_received(&[0x20, 2, 0, code]);
        assert_eq!(session.poll_event(T0), None);
        let lost = Lost::Refused(why);
        assert_eq!(session.over(), Some(&lost));
        assert!(lost.to_string().contains(words), "{lost}");
        assert_eq!(lost.is_refusal(), code != 3);
    }
    let mut session = Session::new(T0, &broker());
    session.handle_received(CONNACK);
    session.handle_received(b"\x90\x03\0\x01\x80");
    assert_eq!(session.poll_event(T0), None);
    assert_eq!(session.over(), Some(&Lost::NotSubscribed));
}

#[test]
fn silence_is_noticed_and_pings_are_sent() {
    let mut session = Session::new(T0, &broker());
    assert_eq!(session.deadline(), Some(at(10)));
    session.handle_timeout(at(9));
    assert_eq!(session.over(), None);
    take(&mut session);
    session.handle_timeout(at(10));
    assert_eq!(session.over(), Some(&Lost::Silent));

    let mut session = joined();
    assert_eq!(session.deadline(), Some(at(30)));
    session.handle_timeout(at(30));
    assert_eq!(session.unsent(), b"\xc0\0");
    session.handle_sent(at(30), 2);
    assert_eq!(session.deadline(), Some(at(40)));
    session.handle_received(b"\xd0\0");
    assert_eq!(session.poll_event(at(31)), None);
    assert_eq!(session.deadline(), Some(at(60)));
    session.handle_timeout(at(60));
    session.handle_sent(at(60), 2);
    session.handle_timeout(at(70));
    assert_eq!(session.over(), Some(&Lost::Silent));

    let mut session = joined();
    session.publish(at(5), "$ota/update/P/d", &Bytes::from_static(b"x"));
    session.handle_timeout(at(15));
    assert_eq!(session.over(), Some(&Lost::Slow));
}

#[test]
fn what_is_no_mqtt_ends_it() {
    for (bytes, what) in [
        (&b"HTTP/1.1 400"[..], "a packet that nothing asked for"),
        (b"\x21\x02\0\0", "header flags"),
        (b"\x20\x02\0\0", "a packet that nothing asked for"),
        (b"\x90\x03\0\x01\x01", "a packet that nothing asked for"),
        (b"\xd0\0", "a packet that nothing asked for"),
        (b"\x40\x02\0\x01", "a packet that nothing asked for"),
        (b"\x20\x03\0\0\0", "length or contents of an answer"),
        (b"\x20\x02\x02\0", "length or contents of an answer"),
        (b"\x20\x02\0\x06", "packet"),
        (b"\x90\x04\0\x01\x01\x01", "length or contents of an answer"),
        (b"\xd0\xff\xff\xff\x7f", "length or contents of an answer"),
        (b"\x34\x05\0\x01t\0\x01", "more than QoS 1"),
        (b"\x32\x05\0\x01t\0\0", "packet id 0"),
        (b"\x30\x01\0", "length of PUBLISH"),
        (b"\x30\x03\0\x09t", "length of PUBLISH"),
        (b"\x30\xff\xff\xff\xff\x01", "remaining length"),
    ] {
        assert_eq!(lost_by(bytes), Some(Lost::Malformed(what)), "{bytes:x?}");
    }
    let mut session = Session::new(T0, &broker());
    session.handle_received(&publish(0x30, b"$ota/report/P/d", None, b"{}"));
    assert_eq!(session.poll_event(T0), None);
    assert_eq!(session.over(), Some(&Lost::Malformed("a message before the login")));
}

#[test]
fn urls() {
    for (url, shown) in [
        ("mqtt://h", "mqtt://h:1883"),
        ("mqtts://h/", "mqtts://h:8883"),
        ("mqtt://u@h:7", "mqtt://h:7"),
        ("mqtt://u:p@h:7", "mqtt://h:7"),
        ("mqtt://[::1]", "mqtt://[::1]:1883"),
    ] {
        assert_eq!(Broker::from_url(url).unwrap().to_string(), shown);
    }
    for (url, why) in [
        ("h", BadBroker::Scheme),
        ("http://h", BadBroker::Scheme),
        ("mqtt://", BadBroker::Host),
        ("mqtt://h/x", BadBroker::Host),
        ("mqtt://[::1]7", BadBroker::Host),
        ("mqtt://h:", BadBroker::Port),
        ("mqtt://h:0", BadBroker::Port),
        ("mqtt://h:65536", BadBroker::Port),
        ("mqtt://:p@h", BadBroker::Login),
        ("mqtt://u:@h", BadBroker::Login),
        ("mqtt://u:%0a@h", BadBroker::Login),
        ("mqtt://%ff@h", BadBroker::Login),
    ] {
        assert_eq!(Broker::from_url(url).unwrap_err(), why, "{url}");
    }
    assert_eq!(broker().set_password("p"), Err(BadBroker::Login));
    assert_eq!(broker().set_client_id("x".repeat(1025)), Err(BadBroker::Login));
}
