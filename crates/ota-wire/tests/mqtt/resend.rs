//! Publications: windows, partial sends, and what survives a connection.

use ota_proto::QoS;
use ota_wire::mqtt::{PublishError, Purpose, SessionError, SessionTimer};

use crate::common::*;

#[test]
fn at_qos_0_the_last_byte_completes_it() {
    let mut session = up(at(0));
    session.publish(at(0), message(Purpose::Ota, QoS::AtMostOnce, b"one"), 1).unwrap();
    session.publish(at(0), message(Purpose::Application, QoS::AtMostOnce, b"two"), 2).unwrap();
    let len = session.transmit().len() / 2;
    for byte in 1..=2 * len {
        session.handle_sent(at(0), 1);
        let expected: &[u32] = if byte == len {
            &[1]
        } else if byte == 2 * len {
            &[2]
        } else {
            &[]
        };
        assert_eq!(published(&mut session), expected, "after byte {byte}");
    }
    assert!(session.transmit().is_empty());
}

#[test]
fn bytes_handed_over_one_by_one_are_the_same_bytes() {
    let mut session = up(at(0));
    let mut sent = Vec::new();
    for n in 0..4 {
        session.publish(at(0), ota(&[n; 3]), u32::from(n)).unwrap();
        // New packets go behind half-sent ones.
        sent.push(session.transmit()[0]);
        session.handle_sent(at(0), 1);
    }
    while let Some(&byte) = session.transmit().first() {
        sent.push(byte);
        session.handle_sent(at(0), 1);
    }
    let expected: Vec<u8> = (0..4_u8)
        .flat_map(|n| {
            let front = b"\x32\x16\0\x0f$ota/report/P/D\0".to_vec();
            [front, vec![n + 1, n, n, n]].concat()
        })
        .collect();
    assert_eq!(sent, expected);
}

#[test]
fn telling_of_more_bytes_than_there_are_is_harmless() {
    let mut session = up(at(0));
    session.publish(at(0), ota(b"x"), 1).unwrap();
    session.handle_sent(at(0), usize::MAX);
    assert!(session.transmit().is_empty());
    session.handle_sent(at(0), 5);
    assert_eq!(session.deadline().unwrap().timer, SessionTimer::PubAck);
}

#[test]
fn the_window_is_bounded_and_keeps_places_for_the_update() {
    let mut session = up(at(0));
    for owner in 0..6 {
        session.publish(at(0), app(b"a"), owner).unwrap();
    }
    assert_eq!(session.publish(at(0), app(b"a"), 6), Err(PublishError::WindowFull));
    assert_eq!(session.room(Purpose::Application), 0);
    for owner in 6..8 {
        assert!(session.room(Purpose::Ota) > 0);
        session.publish(at(0), ota(b"o"), owner).unwrap();
    }
    assert_eq!(session.publish(at(0), ota(b"o"), 8), Err(PublishError::WindowFull));
    flush(&mut session, at(0));
    feed(&mut session, at(0), b"\x40\x02\0\x03");
    // The place is free when the completion was taken.
    assert_eq!(session.publish(at(0), ota(b"o"), 8), Err(PublishError::WindowFull));
    assert_eq!(published(&mut session), [2]);
    assert!(session.publish(at(0), ota(b"o"), 8).is_ok());
}

#[test]
fn the_buffer_is_bounded_and_keeps_room_for_the_update() {
    let mut session = up(at(0));
    let big = vec![b'x'; 2_900];
    session.publish(at(0), message(Purpose::Application, QoS::AtMostOnce, &big), 0).unwrap();
    let more = message(Purpose::Application, QoS::AtMostOnce, &[b'x'; 200]);
    assert_eq!(session.publish(at(0), more, 1), Err(PublishError::BufferFull));
    assert!(session.room(Purpose::Ota) > 1_000);
    session.publish(at(0), ota(&[b'x'; 1_000]), 2).unwrap();
    assert_eq!(session.publish(at(0), ota(&[b'x'; 200]), 3), Err(PublishError::BufferFull));
    assert!(session.transmit().len() <= 4_096);
}

#[test]
fn kept_messages_are_bounded_in_bytes() {
    let mut session = up(at(0));
    session.publish(at(0), app(&[b'x'; 2_500]), 0).unwrap();
    flush(&mut session, at(0));
    session.publish(at(0), app(&[b'x'; 1_000]), 1).unwrap();
    assert_eq!(session.publish(at(0), app(&[b'x'; 1_000]), 2), Err(PublishError::BufferFull));
    flush(&mut session, at(0));
    feed(&mut session, at(0), b"\x40\x02\0\x01");
    assert!(session.publish(at(0), app(&[b'x'; 1_000]), 2).is_ok());
}

#[test]
fn a_lost_puback_ends_the_session() {
    let mut session = up(at(0));
    session.publish(at(1), ota(b"x"), 1).unwrap();
    // The time counts from the last byte handed over.
    session.handle_sent(at(2), 3);
    let rest = session.transmit().len();
    session.handle_sent(at(4), rest);
    assert_eq!(session.handle_timeout(ms(13_999)), Ok(()));
    let error = SessionError::TimedOut(SessionTimer::PubAck);
    assert_eq!(session.handle_timeout(at(14)), Err(error));
    session.handle_closed(at(14));
    // The updater decides again: nothing of it is left.
    connect(&mut session, at(20));
    assert!(session.transmit().is_empty());
    assert!(published(&mut session).is_empty());
}

#[test]
fn the_application_s_messages_are_sent_again_in_order() {
    let mut session = up(at(0));
    for (owner, text) in [(1, b"a"), (2, b"b"), (3, b"c"), (4, b"d")] {
        session.publish(at(0), app(text), owner).unwrap();
    }
    session.publish(at(0), ota(b"o"), 5).unwrap();
    session.publish(at(0), message(Purpose::Application, QoS::AtMostOnce, b"q"), 6).unwrap();
    // Three left whole, the fourth in part; the second was acknowledged.
    session.handle_sent(at(0), 3 * 22 + 5);
    feed(&mut session, at(0), b"\x40\x02\0\x02");
    session.handle_closed(at(1));
    assert_eq!(published(&mut session), [2], "what was acknowledged stays so");
    connect(&mut session, at(6));
    let packet =
        |first, id, text| [&[first, 20][..], b"\0\x0f$ota/report/P/D\0", &[id, text]].concat();
    // What never left whole is no repetition.
    let expected = [packet(0x3A, 1, b'a'), packet(0x3A, 3, b'c'), packet(0x32, 4, b'd')].concat();
    assert_eq!(flush(&mut session, at(6)), expected);
    // A new message takes an identifier that is free, and goes behind.
    session.publish(at(6), app(b"e"), 7).unwrap();
    assert_eq!(flush(&mut session, at(6)), packet(0x32, 6, b'e'));
    feed(&mut session, at(7), b"\x40\x02\0\x01\x40\x02\0\x04\x40\x02\0\x03\x40\x02\0\x06");
    assert_eq!(published(&mut session), [1, 3, 4, 7]);
}

/// A server may answer a forbidden topic by closing: the update must not suffer forever.
#[test]
fn a_message_that_kills_every_session_is_given_up() {
    let mut session = up(at(0));
    session.publish(at(0), app(b"poison"), 1).unwrap();
    session.publish(at(0), app(b"behind"), 2).unwrap();
    for round in 1..5 {
        // Only the first one leaves whole.
        session.handle_sent(at(round), 30);
        session.handle_closed(at(round));
        assert!(published(&mut session).is_empty(), "round {round}");
        connect(&mut session, at(round));
        assert_eq!(session.transmit()[0], 0x3A);
    }
    session.handle_sent(at(5), 30);
    session.handle_closed(at(5));
    let over = session.poll_published().unwrap();
    assert_eq!((over.owner, over.given_up), (1, true));
    connect(&mut session, at(6));
    assert!(flush(&mut session, at(6)).ends_with(b"behind"));
    feed(&mut session, at(6), b"\x40\x02\0\x02");
    let over = session.poll_published().unwrap();
    assert_eq!((over.owner, over.given_up), (2, false));
}

#[test]
fn identifiers_go_round_and_leave_out_what_is_in_flight() {
    let mut session = up(at(0));
    session.subscribe(at(0), Purpose::Application, "a", QoS::AtMostOnce).unwrap();
    session.publish(at(0), app(b"long"), 0).unwrap();
    flush(&mut session, at(0));
    for round in 3..=65_540_u32 {
        session.publish(at(0), ota(b""), round).unwrap();
        let packet = flush(&mut session, at(0));
        let id = [packet[packet.len() - 2], packet[packet.len() - 1]];
        let expected = if round <= 65_535 { round } else { round - 65_535 + 2 };
        assert_eq!(u32::from(u16::from_be_bytes(id)), expected);
        feed(&mut session, at(0), &[0x40, 2, id[0], id[1]]);
        assert_eq!(published(&mut session), [round]);
    }
}

#[test]
fn resends_wait_for_room_behind_subscriptions() {
    let mut config = config();
    config.limits.kept = 4_096;
    let mut session = up_with(config, at(0));
    session.subscribe(at(0), Purpose::Ota, UPDATE, QoS::AtLeastOnce).unwrap();
    session.publish(at(0), app(&[b'x'; 2_000]), 0).unwrap();
    flush(&mut session, at(0));
    session.publish(at(0), app(&[b'y'; 2_000]), 1).unwrap();
    flush(&mut session, at(0));
    session.handle_closed(at(1));
    connect(&mut session, at(6));
    assert_eq!(session.transmit()[0], 0x82);
    let first = flush(&mut session, at(6));
    assert_eq!(first.len(), 22 + 22 + 2_000);
    let second = flush(&mut session, at(6));
    assert_eq!((second[0], second.len()), (0x3A, 22 + 2_000));
}
