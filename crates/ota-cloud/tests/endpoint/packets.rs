//! What is taken, refused and answered, by literal bytes.

use crate::*;

#[test]
fn the_captured_31_login_is_taken_in_any_chunking() {
    for cut in 0..=PY_LOGIN.len() {
        let mut connection = Connection::new(T0, Limits::default());
        connection.handle_received(&PY_LOGIN[..cut]);
        if cut < PY_LOGIN.len() {
            assert_eq!(connection.poll_event(T0), None);
        }
        connection.handle_received(&PY_LOGIN[cut..]);
        let Some(Event::Login(login)) = connection.poll_event(T0) else { panic!("at {cut}") };
        assert!(login.legacy);
        assert_eq!(login.client_id, "TESTPROD01dev001");
        assert_eq!(login.user_name, "TESTPROD01dev001;21010406;5QY3H;1795431582795");
        assert_eq!(login.password, "9d1323f890a6176cba73c6a87adce4bca61fa512;hmacsha1");
        assert_eq!(login.keep_alive, 60);
        assert!(!format!("{login:?}").contains("9d1323"));
    }
}

#[test]
fn a_31_client_id_may_have_more_than_23_characters() {
    let id = "P123456789".to_owned() + &"n".repeat(48);
    let mut packet = vec![0x10, 14 + 58, 0, 6];
    packet.extend(b"MQIsdp\x03\x02\0\0\0\x3a");
    packet.extend(id.as_bytes());
    let mut connection = Connection::new(T0, Limits::default());
    connection.handle_received(&packet);
    let Some(Event::Login(login)) = connection.poll_event(T0) else { panic!() };
    assert_eq!(login.client_id, id);
}

#[test]
fn other_protocol_levels_are_told_so() {
    for packet in [
        &b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\x01d"[..],
        b"\x10\x0d\0\x04MQTT\x03\x02\0\x3c\0\x01d",
        b"\x10\x0f\0\x06MQIsdp\x04\x02\0\x3c\0\x01d",
    ] {
        let mut connection = Connection::new(T0, Limits::default());
        connection.handle_received(packet);
        assert_eq!(connection.poll_event(T0), None);
        assert_eq!(connection.unsent(), b"\x20\x02\0\x01");
        assert_eq!(connection.closed(), Some(Close::Unsupported("the protocol level")));
    }
}

#[test]
fn refusals_have_their_return_codes() {
    for (why, code) in [
        (Refusal::UnknownDevice, 5),
        (Refusal::BadCredentials, 4),
        (Refusal::BadClientId, 2),
        (Refusal::TooOften, 3),
    ] {
        let mut connection = Connection::new(T0, Limits::default());
        connection.handle_received(CONNECT);
        assert!(connection.poll_event(T0).is_some());
        connection.refuse(T0, why);
        assert_eq!(connection.unsent(), [0x20, 2, 0, code]);
        assert_eq!(connection.closed(), Some(Close::Refused(why)));
        // It is said once, and not of a login that was taken.
        connection.refuse(T0, Refusal::BadClientId);
        assert_eq!(connection.unsent(), [0x20, 2, 0, code]);
        assert_eq!(connection.closed(), Some(Close::Refused(why)));
        let mut connection = up();
        connection.refuse(T0, why);
        assert_eq!((connection.unsent(), connection.closed()), (&b""[..], None));
    }
}

#[test]
fn bad_first_packets() {
    for (bytes, close) in [
        (&b"GET / HTTP/1.1\r\n"[..], Close::NotConnect),
        (b"\x30\x04\0\x01a!", Close::NotConnect),
        (b"\x30", Close::NotConnect),
        (b"\xc0\0", Close::NotConnect),
        (b"\xe0\0", Close::NotConnect),
        (b"\0", Close::NotConnect),
        (b"\xf0", Close::NotConnect),
        (b"\x11", Close::Malformed("header flags")),
        (b"\x10\xff\xff\xff\xff", Close::Malformed("remaining length")),
        (b"\x10\xff\xff\xff\x7f", Close::TooLarge),
        (b"\x10\x00", Close::Malformed("protocol name")),
        (b"\x10\x0d\0\x04MQTX\x04\x02\0\x3c\0\x01d", Close::Malformed("protocol name")),
        (b"\x10\x06\0\x04MQTT", Close::Malformed("protocol level")),
        (b"\x10\x07\0\x04MQTT\x04", Close::Malformed("length of CONNECT")),
        (b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x01dx", Close::Malformed("length of CONNECT")),
        (b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x02d", Close::Malformed("length of CONNECT")),
        (b"\x10\x0d\0\x04MQTT\x04\x03\0\x3c\0\x01d", Close::Malformed("CONNECT flags")),
        (b"\x10\x0d\0\x04MQTT\x04\x42\0\x3c\0\x01d", Close::Malformed("CONNECT flags")),
        (b"\x10\x0d\0\x04MQTT\x04\x82\0\x3c\0\x01d", Close::Malformed("length of CONNECT")),
        (b"\x10\x0d\0\x04MQTT\x04\x22\0\x3c\0\x01d", Close::Malformed("packet")),
        (b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01\xff", Close::Malformed("packet")),
        (b"\x10\x13\0\x04MQTT\x04\x06\0\x3c\0\x01d\0\x01t\0\x01m", Close::Unsupported("a will")),
    ] {
        assert_eq!(first_close_of(bytes), Some(close), "{bytes:?}");
    }
}

#[test]
fn a_first_packet_that_is_no_connect_is_called_so_however_it_comes() {
    // A SUBSCRIBE whose options are wrong, too.
    let packet = b"\x82\x06\0\x07\0\x01a\x05";
    assert_eq!(first_close_of(packet), Some(Close::NotConnect));
    assert_eq!(first_close_of(&packet[..1]), Some(Close::NotConnect));
}

#[test]
fn bad_packets_of_a_client() {
    for (bytes, close) in [
        (CONNECT, Close::SecondConnect),
        (b"\xe0\0", Close::Disconnect),
        (b"\xe0\x01\0", Close::Malformed("length")),
        (b"\xc0\x01\0", Close::Malformed("length")),
        (b"\xc1\0", Close::Malformed("header flags")),
        (b"\xd0\0", Close::Malformed("a packet that no client sends")),
        (b"\x20\x02\0\0", Close::Malformed("a packet that no client sends")),
        (b"\x50\x02\0\x01", Close::Malformed("a packet that no client sends")),
        (b"\x62\x02\0\x01", Close::Malformed("a packet that no client sends")),
        (b"\x40\x00", Close::Malformed("length of PUBACK")),
        (b"\x40\x03\0\x01\0", Close::Malformed("length of PUBACK")),
        (b"\x34\x06\0\x01a\0\x01!", Close::Unsupported("QoS 2")),
        (b"\x31\x04\0\x01a!", Close::Unsupported("retain")),
        (b"\x36\x06\0\x01a\0\x01!", Close::Malformed("QoS")),
        (b"\x38\x04\0\x01a!", Close::Malformed("DUP at QoS 0")),
        (b"\x32\x06\0\x01a\0\0!", Close::Malformed("packet")),
        (b"\x32\x03\0\x01a", Close::Malformed("packet")),
        (b"\x30\x03\0\x01+", Close::Malformed("topic")),
        (b"\x30\x03\0\x01\0", Close::Malformed("topic")),
        (b"\x30\x02\0\0", Close::Malformed("topic")),
        (b"\x30\x03\0\x01\xff", Close::Malformed("packet")),
        (b"\x30\x03\0\x09a", Close::Malformed("packet")),
        (b"\x80\x06\0\x01\0\x01a\0", Close::Malformed("header flags")),
        (b"\x82\x06\0\0\0\x01a\0", Close::Malformed("packet id 0")),
        (b"\x82\x02\0\x01", Close::Malformed("no filter")),
        (b"\x82\x06\0\x01\0\x01a\x03", Close::Malformed("filter options")),
        (b"\x82\x06\0\x01\0\x01a\x41", Close::Malformed("filter options")),
        (b"\x82\x05\0\x01\0\x01a", Close::Malformed("filter options")),
        (b"\x82\x05\0\x01\0\x00\0", Close::Malformed("filter")),
        (b"\x82\x07\0\x01\0\x02a#\0", Close::Malformed("filter")),
        (b"\xa2\x02\0\x01", Close::Malformed("no filter")),
        (b"\xa2\x05\0\0\0\x01a", Close::Malformed("packet id 0")),
    ] {
        assert_eq!(close_of(bytes), Some(close), "{bytes:?}");
    }
}

#[test]
fn a_packet_over_the_limit_is_refused_by_its_header() {
    // 64 bytes, the longest topic, and the headers.
    let limits = Limits { payload: 64, ..Limits::default() };
    assert_eq!(limits.packet(), 328);
    let mut connection = up_with(limits);
    connection.handle_received(b"\x30\xc6\x02");
    assert_eq!(connection.poll_event(T0), None);
    assert_eq!(connection.closed(), Some(Close::TooLarge));
    let mut connection = up_with(limits);
    connection.handle_received(b"\x30\xc5\x02");
    assert_eq!(connection.poll_event(T0), None);
    assert_eq!(connection.closed(), None);
}

#[test]
fn subscriptions_are_granted_or_refused() {
    let mut connection = up();
    for (filter, qos, code) in [
        ("$ota/update/P123456789/d", 1, 1),
        ("$ota/update/P123456789/d", 0, 0),
        ("P123456789/d/control", 1, 1),
        ("P123456789/#", 0, 0x80),
        ("$ota/update/P123456789/e", 1, 0x80),
        ("$ota/#", 1, 0x80),
        ("#", 0, 0x80),
        ("P123456789/d/control", 2, 0x80),
    ] {
        let ack = subscribe(&mut connection, filter, qos);
        assert_eq!(ack, [0x90, 3, 0, 7, code], "{filter} {qos}");
    }
}

#[test]
fn subscriptions_are_bounded() {
    let mut connection = up_with(Limits { subscriptions: 2, ..Limits::default() });
    assert_eq!(subscribe(&mut connection, "P123456789/d/a", 0)[4], 0);
    assert_eq!(subscribe(&mut connection, "P123456789/d/b", 0)[4], 0);
    assert_eq!(subscribe(&mut connection, "P123456789/d/c", 0)[4], 0x80);
    assert_eq!(subscribe(&mut connection, "P123456789/d/a", 1)[4], 1);
    connection.handle_received(b"\xa2\x12\0\x09\0\x0eP123456789/d/a");
    assert!(matches!(connection.poll_event(T0), Some(Event::Unsubscribed { .. })));
    assert_eq!(take(&mut connection), b"\xb0\x02\0\x09");
    assert_eq!(subscribe(&mut connection, "P123456789/d/c", 0)[4], 0);
}

#[test]
fn messages_in_by_topic() {
    let mut connection = up();
    connection.handle_received(b"\x32\x1d\0\x18$ota/report/P123456789/d\0\x05!");
    connection.handle_received(b"\x30\x11\0\x0eP123456789/d/x?");
    connection.handle_received(b"\x32\x06\0\x01a\0\x06?\xc0\0");
    let report = Event::Report { payload: Bytes::from_static(b"!"), id: Some(5) };
    assert_eq!(connection.poll_event(T0), Some(report));
    assert_eq!(take(&mut connection), b"", "nothing is acknowledged before it is durable");
    let (topic, payload) = ("P123456789/d/x".to_owned(), Bytes::from_static(b"?"));
    let message = Event::Publish { topic, payload, qos: QoS::AtMostOnce };
    assert_eq!(connection.poll_event(T0), Some(message));
    assert_eq!(connection.poll_event(T0), Some(Event::Foreign { topic: "a".into() }));
    assert_eq!(connection.poll_event(T0), None);
    assert_eq!(take(&mut connection), b"\xd0\0", "acknowledged in the order of the messages");
    connection.acknowledge(T0, 6);
    connection.acknowledge(T0, 5);
    assert_eq!(take(&mut connection), b"\x40\x02\0\x05\x40\x02\0\x06");
    connection.acknowledge(T0, 5);
    assert_eq!(take(&mut connection), b"", "once");
}

#[test]
fn reports_that_are_not_acknowledged_are_bounded() {
    let mut connection = up_with(Limits { received: 2, ..Limits::default() });
    for id in 1..=3 {
        let mut packet = b"\x32\x1d\0\x18$ota/report/P123456789/d\0\x00!".to_vec();
        packet[29] = id;
        connection.handle_received(&packet);
    }
    assert!(connection.poll_event(T0).is_some() && connection.poll_event(T0).is_some());
    assert_eq!(connection.poll_event(T0), None);
    assert!(!connection.wants_read());
    connection.acknowledge(T0, 1);
    assert_eq!(take(&mut connection), b"\x40\x02\0\x01");
    assert!(connection.wants_read() && connection.poll_event(T0).is_some());
}

#[test]
fn messages_out_at_the_granted_qos() {
    let mut connection = up_with(Limits { in_flight: 1, ..Limits::default() });
    let payload = Bytes::from_static(b"!");
    let topic = "P123456789/d/x";
    assert_eq!(connection.publish(T0, topic, &payload, QoS::AtLeastOnce), Ok(false));
    subscribe(&mut connection, topic, 1);
    assert_eq!(connection.publish(T0, topic, &payload, QoS::AtMostOnce), Ok(true));
    assert_eq!(take(&mut connection), b"\x30\x11\0\x0eP123456789/d/x!");
    assert_eq!(connection.publish(T0, topic, &payload, QoS::AtLeastOnce), Ok(true));
    assert_eq!(take(&mut connection), b"\x32\x13\0\x0eP123456789/d/x\0\x01!");
    let full = connection.publish(T0, topic, &payload, QoS::AtLeastOnce);
    assert_eq!(full, Err(NotSent::WindowFull));
    connection.handle_received(b"\x40\x02\0\x01");
    assert_eq!(connection.poll_event(T0), None);
    assert_eq!(connection.publish(T0, topic, &payload, QoS::AtLeastOnce), Ok(true));
    assert_eq!(take(&mut connection), b"\x32\x13\0\x0eP123456789/d/x\0\x02!");
    let large = Bytes::from(vec![0; 16 * 1024 + 1]);
    assert_eq!(connection.publish(T0, topic, &large, QoS::AtMostOnce), Err(NotSent::TooLarge));
    assert!(connection.unsent().is_empty());
    let largest = Bytes::from(vec![0; 16 * 1024]);
    assert_eq!(connection.publish(T0, topic, &largest, QoS::AtMostOnce), Ok(true));
}

/// The platform's limit is of the payload; the topic comes on top.
#[test]
fn a_payload_of_exactly_16_kib_passes() {
    for (len, close) in [(16_384, None), (16_385, Some(Close::TooLarge))] {
        let mut connection = up();
        let topic = b"$ota/report/P123456789/d";
        let left = 2 + topic.len() + len;
        let mut packet = vec![0x30, (left & 0x7f) as u8 | 0x80, (left >> 7 & 0x7f) as u8 | 0x80];
        packet.extend([(left >> 14) as u8, 0, topic.len() as u8]);
        packet.extend(topic);
        packet.resize(packet.len() + len, b'x');
        connection.handle_received(&packet);
        let event = connection.poll_event(T0);
        assert_eq!(connection.closed(), close, "{len}");
        assert_eq!(matches!(event, Some(Event::Report { .. })), close.is_none(), "{len}");
    }
}

#[test]
fn nothing_is_decoded_before_the_decision() {
    let mut connection = Connection::new(T0, Limits::default());
    connection.handle_received(CONNECT);
    connection.handle_received(b"\xc0\0");
    assert!(matches!(connection.poll_event(T0), Some(Event::Login(_))));
    assert_eq!(connection.poll_event(T0), None);
    assert!(!connection.wants_read());
    connection.accept(T0, device());
    assert_eq!(connection.poll_event(T0), None);
    assert_eq!(connection.unsent(), b"\x20\x02\0\0\xd0\0");
}
