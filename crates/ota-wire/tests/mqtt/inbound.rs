//! Messages from the server.

use ota_proto::QoS;
use ota_wire::mqtt::packet::PacketError;
use ota_wire::mqtt::{
    AckId, Session, SessionError, SessionFound, SessionPhase, SessionTimer, text,
};

use crate::common::*;

fn qos1(id: u8, text: &[u8]) -> Vec<u8> {
    let len = u8::try_from(5 + text.len()).unwrap();
    [&[0x32, len, 0, 1, b'a', 0, id][..], text].concat()
}

fn ack_of(found: &[SessionFound]) -> AckId {
    match found {
        [SessionFound::Message { ack: Some(ack), .. }] => *ack,
        other => panic!("{other:?}"),
    }
}

/// A PUBLISH to `topic` whose payload has `len` bytes.
fn long(first: u8, topic: &str, id: Option<u16>, len: usize) -> Vec<u8> {
    let id = id.map(u16::to_be_bytes);
    let rest = 2 + topic.len() + id.map_or(0, |id| id.len()) + len;
    let mut packet = vec![first];
    let mut left = rest;
    while left > 127 {
        packet.push(u8::try_from(left & 0x7F).unwrap() | 0x80);
        left >>= 7;
    }
    packet.push(u8::try_from(left).unwrap());
    packet.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.extend(id.into_iter().flatten());
    packet.resize(packet.len() + len, b'x');
    packet
}

#[test]
fn spans_point_into_the_callers_buffer() {
    let mut session = up(at(0));
    let rx = b"\x31\x15\0\x0f$ota/update/P/D{..}\xd0\0";
    let received = session.handle_received(at(0), rx).unwrap();
    assert_eq!(received.consumed, 23);
    let SessionFound::Message { topic, payload, ack: None, retain: true } = received.found else {
        panic!("{:?}", received.found);
    };
    assert_eq!((text(rx, &topic), &rx[payload]), (UPDATE, &b"{..}"[..]));
    assert_eq!(text(b"short", &topic), "");

    let rx = qos1(9, b"pay");
    let received = session.handle_received(at(0), &rx).unwrap();
    let SessionFound::Message { topic, payload, ack: Some(_), retain: false } = received.found
    else {
        panic!("{:?}", received.found);
    };
    assert_eq!((text(&rx, &topic), &rx[payload]), ("a", &b"pay"[..]));
}

#[test]
fn only_the_application_acknowledges() {
    let mut session = up(at(0));
    let ack = ack_of(&feed(&mut session, at(0), &qos1(9, b"")));
    assert!(session.transmit().is_empty());
    assert!(session.acknowledge(at(0), ack));
    assert_eq!(flush(&mut session, at(0)), b"\x40\x02\0\x09");
    assert!(!session.acknowledge(at(0), ack), "once");
}

#[test]
fn an_acknowledgement_of_an_old_session_is_ignored() {
    let mut session = up(at(0));
    let old = ack_of(&feed(&mut session, at(0), &qos1(9, b"")));
    session.handle_closed(at(1));
    assert!(!session.acknowledge(at(1), old));
    connect(&mut session, at(6));
    let new = ack_of(&feed(&mut session, at(6), &qos1(9, b"")));
    assert!(!session.acknowledge(at(6), old));
    assert!(session.transmit().is_empty());
    assert!(session.acknowledge(at(6), new));
}

#[test]
fn a_repetition_of_what_the_application_holds_is_not_told_twice() {
    let mut session = up(at(0));
    let ack = ack_of(&feed(&mut session, at(0), &qos1(9, b"")));
    let mut again = qos1(9, b"");
    again[0] = 0x3A;
    assert_eq!(feed(&mut session, at(0), &again), []);
    session.acknowledge(at(0), ack);
    assert_eq!(flush(&mut session, at(0)), b"\x40\x02\0\x09");
    // After the acknowledgement it is a new message.
    ack_of(&feed(&mut session, at(0), &again));
    assert_eq!(try_feed(&mut session, at(0), &qos1(9, b"")), Err(SessionError::IdInUse));
}

#[test]
fn too_many_unacknowledged_messages_stop_the_reading() {
    let mut session = up(at(0));
    let acks: Vec<_> = (1..=8).map(|n| ack_of(&feed(&mut session, at(0), &qos1(n, b"")))).collect();
    assert!(!session.wants_read());
    let next = qos1(9, b"");
    assert_eq!(feed(&mut session, at(0), &next), [SessionFound::Blocked]);
    // Messages of QoS 0 still pass.
    assert_eq!(feed(&mut session, at(0), b"\x30\x03\0\x01a").len(), 1);
    // A PUBACK that has not left holds its place: memory does not grow with a slow transport.
    assert!(session.acknowledge(at(0), acks[0]));
    assert_eq!(feed(&mut session, at(0), &next), [SessionFound::Blocked]);
    flush(&mut session, at(0));
    assert!(session.wants_read());
    ack_of(&feed(&mut session, at(0), &next));
    assert!(!session.wants_read());
}

#[test]
fn answers_are_not_late_while_nothing_is_read() {
    let mut session = up(at(0));
    session.publish(at(0), ota(b"x"), 1).unwrap();
    flush(&mut session, at(0));
    let mut acks = Vec::new();
    for n in 1..=8 {
        acks.push(ack_of(&feed(&mut session, at(5), &qos1(n, b""))));
    }
    // PUBACK would be due at 10 s; blocked from 5 s on.
    assert_eq!(session.deadline().unwrap().timer, SessionTimer::KeepAlive);
    session.handle_timeout(at(40)).unwrap();
    session.acknowledge(at(40), acks[0]);
    flush(&mut session, at(40));
    let deadline = session.deadline().unwrap();
    assert_eq!((deadline.at, deadline.timer), (at(45), SessionTimer::PubAck));
}

#[test]
fn what_left_while_nothing_is_read_has_its_whole_time() {
    let mut session = up(at(0));
    let mut acks = Vec::new();
    for n in 1..=8 {
        acks.push(ack_of(&feed(&mut session, at(5), &qos1(n, b""))));
    }
    session.publish(at(20), ota(b"x"), 1).unwrap();
    flush(&mut session, at(20));
    session.acknowledge(at(40), acks[0]);
    flush(&mut session, at(40));
    assert_eq!(session.deadline().unwrap().at, at(50));
}

#[test]
fn the_server_hears_of_us_while_nothing_is_read() {
    let mut config = config();
    config.timing.blocked = at(1_000).since(at(0)).into();
    let mut session = up_with(config, at(0));
    for n in 1..=8 {
        feed(&mut session, at(0), &qos1(n, b""));
    }
    for now in [60, 120, 180] {
        session.handle_timeout(at(now - 1)).unwrap();
        assert!(session.transmit().is_empty());
        session.handle_timeout(at(now)).unwrap();
        assert_eq!(flush(&mut session, at(now)), b"\xc0\0");
    }
}

#[test]
fn a_long_message_under_an_identifier_that_is_held() {
    let mut session = up(at(0));
    let ack = ack_of(&feed(&mut session, at(0), &qos1(9, b"")));
    assert_eq!(feed(&mut session, at(0), &long(0x3A, "a", Some(9), 5_000)).len(), 1);
    assert!(session.transmit().is_empty(), "the application answers both");
    assert!(session.acknowledge(at(0), ack));
    ack_of(&feed(&mut session, at(0), &qos1(10, b"")));
    let again = try_feed(&mut session, at(0), &long(0x32, "a", Some(10), 5_000));
    assert_eq!(again, Err(SessionError::IdInUse));
}

#[test]
fn an_application_that_takes_nothing_ends_the_session() {
    let mut session = up(at(0));
    for n in 1..=8 {
        feed(&mut session, at(30), &qos1(n, b""));
    }
    // The server must not drop us meanwhile.
    assert_eq!(session.handle_timeout(at(60)), Ok(()));
    assert_eq!(flush(&mut session, at(60)), b"\xc0\0");
    let error = SessionError::TimedOut(SessionTimer::Blocked);
    assert_eq!(session.handle_timeout(at(90)), Err(error));
}

#[test]
fn a_message_over_the_limit_is_skipped_and_acknowledged() {
    for piece in [1, 7, 4_096] {
        let mut session = up(at(0));
        let packet = long(0x32, UPDATE, Some(0x0102), 10_000);
        let founds = in_pieces(&mut session, &packet, piece);
        let [SessionFound::TooLong { topic, len }] = &founds[..] else { panic!("{founds:?}") };
        assert_eq!((text(&packet, topic), *len), (UPDATE, packet.len()));
        assert_eq!(flush(&mut session, at(0)), b"\x40\x02\x01\x02");
        assert_eq!(in_pieces(&mut session, &qos1(1, b""), piece).len(), 1, "in step again");
    }
}

#[test]
fn a_message_over_the_limit_may_be_cut_anywhere() {
    for first in [0x30, 0x32] {
        let packet = long(first, "a", (first == 0x32).then_some(7), 5_000);
        for cut in 1..12 {
            let mut session = up(at(0));
            let founds = [try_feed(&mut session, at(0), &packet[..cut]).unwrap(), {
                let used = used(&packet[..cut]);
                try_feed(&mut session, at(0), &packet[used..]).unwrap()
            }]
            .concat();
            let told = founds.iter().filter(|found| matches!(found, SessionFound::TooLong { .. }));
            assert_eq!(told.count(), 1, "cut at {cut}");
            assert_eq!(feed(&mut session, at(0), b"\x30\x03\0\x01a").len(), 1, "cut at {cut}");
        }
    }
}

/// How many of these bytes a fresh session consumes.
fn used(rx: &[u8]) -> usize {
    let mut session = up(at(0));
    session.handle_received(at(0), rx).unwrap().consumed
}

#[test]
fn even_a_topic_over_the_limit_is_skipped_and_acknowledged() {
    for piece in [1, 7, 4_096] {
        let mut session = up(at(0));
        let packet = long(0x32, &"t".repeat(9_000), Some(0x0102), 3);
        let founds = in_pieces(&mut session, &packet, piece);
        assert_eq!(founds, [SessionFound::TooLong { topic: 0..0, len: packet.len() }]);
        assert_eq!(flush(&mut session, at(0)), b"\x40\x02\x01\x02");
    }
}

#[test]
fn a_message_of_exactly_the_limit_is_taken() {
    let mut session = up(at(0));
    let packet = long(0x30, "a", None, 4_096 - 6);
    assert_eq!(packet.len(), 4_096);
    assert!(matches!(in_pieces(&mut session, &packet, 100)[..], [SessionFound::Message { .. }]));
    let packet = long(0x30, "a", None, 4_096 - 5);
    assert!(matches!(in_pieces(&mut session, &packet, 100)[..], [SessionFound::TooLong { .. }]));
    assert!(session.transmit().is_empty(), "QoS 0 is not acknowledged");
}

#[test]
fn what_is_wrong_with_a_long_message_is_seen() {
    let malformed = |error| Err(SessionError::Packet(error));
    let cases = [
        (long(0x32, "a", Some(0), 9_000), malformed(PacketError::PacketId)),
        (long(0x32, &"t".repeat(9_000), Some(0), 0), malformed(PacketError::PacketId)),
        (long(0x30, "a/#", None, 9_000), malformed(PacketError::Topic)),
        (b"\x32\x80\x40\x20\x00".to_vec(), malformed(PacketError::Length)),
        (b"\x90\x80\x40".to_vec(), Err(SessionError::TooLong)),
    ];
    for (packet, expected) in cases {
        let mut session = up(at(0));
        assert_eq!(try_feed(&mut session, at(0), &packet).map(|_| ()), expected);
    }
}

/// Found by fuzzing: cut, it was told before the session ended; whole, it was not.
#[test]
fn an_identifier_in_use_ends_a_long_message_where_it_is_read() {
    for topic in ["a", &"t".repeat(9_000)] {
        let packet = long(0x32, topic, Some(5), 9_000);
        for cut in [packet.len(), packet.len() - 9_000, 9_020.min(packet.len())] {
            let mut session = up(at(0));
            ack_of(&feed(&mut session, at(0), &qos1(5, b"")));
            let end = try_feed(&mut session, at(0), &packet[..cut]);
            assert_eq!(end, Err(SessionError::IdInUse), "cut at {cut}");
        }
    }
}

#[test]
fn a_long_message_needs_a_place_for_its_puback() {
    let mut session = up(at(0));
    let mut last = None;
    for n in 1..=8 {
        last = Some(ack_of(&feed(&mut session, at(0), &qos1(n, b""))));
    }
    let packet = long(0x32, "a", Some(99), 9_000);
    assert_eq!(feed(&mut session, at(0), &packet), [SessionFound::Blocked]);
    session.acknowledge(at(0), last.unwrap());
    flush(&mut session, at(0));
    let half = session.handle_received(at(0), &packet[..4_000]).unwrap();
    assert!(matches!(half.found, SessionFound::TooLong { .. }));
    assert_eq!(half.consumed, 4_000);
    // Its place is taken before its PUBACK is there, and reading must go on to its end.
    assert!(session.wants_read());
    assert_eq!(feed(&mut session, at(0), &packet[4_000..]), []);
    assert_eq!(flush(&mut session, at(0)), b"\x40\x02\0\x63");
    assert_eq!(session.phase(), SessionPhase::Up);
}

#[test]
fn incomplete_says_how_much_is_needed() {
    let mut session = up(at(0));
    let packet = long(0x30, "a", None, 300);
    let mut have = 0;
    let mut steps = 0;
    loop {
        let received = session.handle_received(at(0), &packet[..have]).unwrap();
        let SessionFound::Incomplete { needed } = received.found else { break };
        assert!(needed > have && needed <= 4_096 && received.consumed == 0);
        have = needed;
        steps += 1;
    }
    assert_eq!((have, steps), (packet.len(), 3));
}

#[test]
fn unacknowledged_messages_do_not_outlive_the_connection() {
    let mut session = up(at(0));
    for n in 1..=8 {
        feed(&mut session, at(0), &qos1(n, b""));
    }
    session.handle_closed(at(1));
    connect(&mut session, at(6));
    assert!(session.wants_read());
    session.publish(at(6), message(ota_wire::mqtt::Purpose::Ota, QoS::AtMostOnce, b""), 0).unwrap();
}

/// Feeds `packet` in pieces, keeping what is not consumed, as an adapter would. Spans are then of
/// the buffer at that time; the tests look at packets that begin at its start.
fn in_pieces(session: &mut Session<u32>, packet: &[u8], piece: usize) -> Vec<SessionFound> {
    let (mut buffer, mut founds) = (Vec::new(), Vec::new());
    for piece in packet.chunks(piece) {
        buffer.extend_from_slice(piece);
        assert!(buffer.len() <= 4_096 + piece.len(), "more than the limit is held back");
        loop {
            let received = session.handle_received(at(0), &buffer).unwrap();
            buffer.drain(..received.consumed);
            match received.found {
                SessionFound::Incomplete { .. } => break,
                SessionFound::Nothing => {}
                found => founds.push(found),
            }
        }
    }
    founds
}
