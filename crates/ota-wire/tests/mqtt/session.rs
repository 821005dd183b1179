//! The course of a session by literal bytes and times.

use ota_proto::QoS;
use ota_wire::mqtt::packet::{ConnectCode, PacketError};
use ota_wire::mqtt::{
    ConfigError, ConnectLogin, Deadline, Outgoing, PublishError, Purpose, Session, SessionError,
    SessionFound, SessionPhase, SessionTimer, SubscribeError,
};

use crate::common::*;

#[test]
fn connects_subscribes_and_publishes() {
    let mut session = session(config());
    let sub = session.subscribe(at(0), Purpose::Ota, UPDATE, QoS::AtLeastOnce).unwrap();
    assert_eq!((session.phase(), session.deadline()), (SessionPhase::Down, None));
    assert!(!session.wants_read() && session.transmit().is_empty());

    session.handle_connected(at(1));
    assert_eq!(
        session.transmit(),
        b"\x10\x20\0\x04MQTT\x04\xc2\0\x3c\0\x02PD\0\x08PD;1;x;2\0\x06secret"
    );
    flush(&mut session, at(1));
    assert_eq!(session.deadline(), Some(Deadline { at: at(11), timer: SessionTimer::ConnAck }));
    assert_eq!(session.publish(at(1), ota(b"x"), 0), Err(PublishError::NotUp));

    assert_eq!(feed(&mut session, at(2), CONNACK), [SessionFound::Accepted]);
    assert_eq!(flush(&mut session, at(2)), b"\x82\x14\0\x01\0\x0f$ota/update/P/D\x01");
    assert_eq!(session.deadline(), Some(Deadline { at: at(12), timer: SessionTimer::SubAck }));
    let suback = b"\x90\x03\0\x01\x01";
    assert_eq!(feed(&mut session, at(3), suback), [SessionFound::Subscribed(sub)]);

    let handle = session.publish(at(4), ota(b"{}"), 7).unwrap();
    assert_eq!(session.transmit(), b"\x32\x15\0\x0f$ota/report/P/D\0\x02{}");
    flush(&mut session, at(4));
    assert_eq!(session.deadline(), Some(Deadline { at: at(14), timer: SessionTimer::PubAck }));
    assert!(published(&mut session).is_empty());
    feed(&mut session, at(5), b"\x40\x02\0\x02");
    let done = session.poll_published().unwrap();
    assert_eq!((done.handle, done.owner), (handle, 7));
    assert_eq!(session.deadline(), Some(Deadline { at: at(64), timer: SessionTimer::KeepAlive }));

    session.disconnect(at(6));
    assert_eq!(session.phase(), SessionPhase::Closing);
    assert_eq!(session.publish(at(6), ota(b"x"), 0), Err(PublishError::NotUp));
    assert_eq!(flush(&mut session, at(6)), b"\xe0\0");
    session.handle_closed(at(6));
    assert_eq!(session.phase(), SessionPhase::Down);
}

#[test]
fn every_refusal_has_its_name() {
    for (code, expected, login) in [
        (1, ConnectCode::ProtocolVersion, true),
        (2, ConnectCode::Identifier, true),
        (3, ConnectCode::Unavailable, false),
        (4, ConnectCode::Credentials, true),
        (5, ConnectCode::NotAuthorized, true),
    ] {
        let mut session = session(config());
        session.handle_connected(at(0));
        flush(&mut session, at(0));
        let error = try_feed(&mut session, at(1), &[0x20, 2, 0, code]).unwrap_err();
        assert_eq!(error, SessionError::Refused(expected));
        assert_eq!(error.is_login_refused(), login);
        assert_eq!(session.phase(), SessionPhase::Ended(error));
        assert_eq!((session.deadline(), session.transmit()), (None, &b""[..]));
        // Late bytes are swallowed.
        let received = session.handle_received(at(2), b"garbage").unwrap();
        assert_eq!((received.consumed, received.found), (7, SessionFound::Nothing));
    }
}

#[test]
fn nothing_comes_before_connack_and_no_second_one() {
    for bytes in [&b"\xd0\0"[..], b"\x30\x04\0\x01ax", b"\x90\x03\0\x01\x01"] {
        let mut session = session(config());
        session.handle_connected(at(0));
        flush(&mut session, at(0));
        assert_eq!(try_feed(&mut session, at(0), bytes), Err(SessionError::Unexpected));
    }
    let mut session = session(config());
    session.handle_connected(at(0));
    session.handle_sent(at(0), 5);
    assert_eq!(try_feed(&mut session, at(0), CONNACK), Err(SessionError::Unexpected), "early");
    let mut session = up(at(0));
    assert_eq!(try_feed(&mut session, at(0), CONNACK), Err(SessionError::Unexpected));
}

#[test]
fn a_server_that_answers_with_tls_is_told_from_one_that_says_nonsense() {
    for (bytes, want) in [
        (&b"\x15\x03\x03\0\x02\x02\x0a"[..], SessionError::SpeaksTls),
        (b"\x16\x03\x01\x02\0", SessionError::SpeaksTls),
        (b"\x15\x02", SessionError::Packet(PacketError::Type)),
        (b"HTTP/1.1 400", SessionError::Packet(PacketError::Flags)),
    ] {
        let mut session = session(config());
        session.handle_connected(at(0));
        flush(&mut session, at(0));
        assert_eq!(try_feed(&mut session, at(0), bytes), Err(want), "{bytes:?}");
    }
}

#[test]
fn malformed_bytes_end_it() {
    let mut session = up(at(0));
    let error = SessionError::Packet(PacketError::PacketId);
    assert_eq!(try_feed(&mut session, at(0), b"\x40\x02\0\0"), Err(error));
    assert_eq!(session.phase(), SessionPhase::Ended(error));
}

#[test]
fn an_answer_to_what_was_not_sent_is_a_violation() {
    let mut session = up(at(0));
    session.publish(at(0), ota(b"x"), 1).unwrap();
    session.handle_sent(at(0), session.transmit().len() - 1);
    assert_eq!(try_feed(&mut session, at(0), b"\x40\x02\0\x01"), Err(SessionError::Unexpected));
}

#[test]
fn answers_to_nothing_are_ignored() {
    let mut session = up(at(0));
    let stray = b"\x40\x02\0\x63\x90\x03\0\x63\x01\xb0\x02\0\x63\xd0\0";
    assert_eq!(feed(&mut session, at(0), stray), []);
    assert_eq!(session.phase(), SessionPhase::Up);
}

#[test]
fn a_refused_filter_ends_the_update_s_session_but_not_the_application_s() {
    let mut session = up(at(0));
    let sub = session.subscribe(at(0), Purpose::Application, "a", QoS::AtLeastOnce).unwrap();
    flush(&mut session, at(0));
    assert_eq!(feed(&mut session, at(0), b"\x90\x03\0\x01\x80"), [SessionFound::Refused(sub)]);
    let sub = session.subscribe(at(0), Purpose::Ota, UPDATE, QoS::AtLeastOnce).unwrap();
    flush(&mut session, at(0));
    let error = SessionError::SubscribeRefused(sub);
    assert_eq!(try_feed(&mut session, at(0), b"\x90\x03\0\x02\x80"), Err(error));
}

#[test]
fn what_was_given_up_does_not_come_back() {
    let mut session = up(at(0));
    // Refused: gone at once.
    let sub = session.subscribe(at(0), Purpose::Application, "a", QoS::AtLeastOnce).unwrap();
    flush(&mut session, at(0));
    feed(&mut session, at(0), b"\x90\x03\0\x01\x80");
    assert!(session.unsubscribe(at(0), sub));
    // The connection ends before UNSUBACK.
    let sub = session.subscribe(at(0), Purpose::Application, "a", QoS::AtLeastOnce).unwrap();
    flush(&mut session, at(0));
    feed(&mut session, at(0), b"\x90\x03\0\x02\x01");
    assert!(session.unsubscribe(at(0), sub));
    flush(&mut session, at(0));
    session.handle_closed(at(1));
    connect(&mut session, at(6));
    assert!(session.transmit().is_empty());
    assert!(session.subscribe(at(6), Purpose::Application, "a", QoS::AtLeastOnce).is_ok());
}

#[test]
fn unsubscribes_in_every_state() {
    // Not connected: gone at once.
    let mut session = session(config());
    let sub = session.subscribe(at(0), Purpose::Application, "a", QoS::AtMostOnce).unwrap();
    assert!(session.unsubscribe(at(0), sub));
    assert!(!session.unsubscribe(at(0), sub));
    connect(&mut session, at(0));
    assert!(session.transmit().is_empty());
    // Asked for: the answer is awaited first.
    let sub = session.subscribe(at(0), Purpose::Application, "a", QoS::AtMostOnce).unwrap();
    assert!(session.unsubscribe(at(0), sub));
    assert_eq!(
        session.subscribe(at(0), Purpose::Ota, "a", QoS::AtMostOnce),
        Err(SubscribeError::Duplicate)
    );
    assert_eq!(flush(&mut session, at(0)), b"\x82\x06\0\x01\0\x01a\0");
    assert_eq!(feed(&mut session, at(0), b"\x90\x03\0\x01\0"), []);
    assert_eq!(flush(&mut session, at(0)), b"\xa2\x05\0\x02\0\x01a");
    assert_eq!(session.deadline().unwrap().timer, SessionTimer::SubAck);
    assert_eq!(feed(&mut session, at(1), b"\xb0\x02\0\x02"), [SessionFound::Unsubscribed(sub)]);
    assert!(session.subscribe(at(1), Purpose::Ota, "a", QoS::AtMostOnce).is_ok());
}

#[test]
fn subscribes_again_after_a_reconnect() {
    let mut session = up(at(0));
    let first = session.subscribe(at(0), Purpose::Ota, UPDATE, QoS::AtLeastOnce).unwrap();
    let second = session.subscribe(at(0), Purpose::Application, "a", QoS::AtMostOnce).unwrap();
    flush(&mut session, at(0));
    feed(&mut session, at(0), b"\x90\x03\0\x01\x01\x90\x03\0\x02\0");
    session.handle_closed(at(1));
    connect(&mut session, at(6));
    let expected = b"\x82\x14\0\x03\0\x0f$ota/update/P/D\x01\x82\x06\0\x04\0\x01a\0";
    assert_eq!(flush(&mut session, at(6)), expected);
    assert_eq!(
        feed(&mut session, at(6), b"\x90\x03\0\x03\x01\x90\x03\0\x04\0"),
        [SessionFound::Subscribed(first), SessionFound::Subscribed(second)]
    );
}

#[test]
fn many_subscriptions_wait_for_room() {
    let mut session = session(config());
    let filters: Vec<_> = (0..16).map(|n| format!("{n:0>400}")).collect();
    for filter in &filters {
        session.subscribe(at(0), Purpose::Application, filter, QoS::AtMostOnce).unwrap();
    }
    let error = session.subscribe(at(0), Purpose::Ota, "one more", QoS::AtMostOnce);
    assert_eq!(error, Err(SubscribeError::Full));
    connect(&mut session, at(0));
    let mut sent = Vec::new();
    while !session.transmit().is_empty() {
        assert!(session.transmit().len() <= 4_096);
        sent.extend(flush(&mut session, at(0)));
    }
    assert_eq!(sent.len(), 16 * (3 + 2 + 2 + 400 + 1));
    for filter in &filters {
        assert!(sent.windows(400).any(|window| window == filter.as_bytes()));
    }
}

#[test]
fn the_new_login_is_used_from_the_next_connection_on() {
    let mut session = up(at(0));
    session.set_login(ConnectLogin::new("PD".into(), "later".into(), "other".into())).unwrap();
    assert!(session.transmit().is_empty());
    session.handle_connected(at(9));
    assert!(session.transmit().ends_with(b"\0\x05later\0\x05other"));
    let empty = ConnectLogin::new(String::new(), String::new(), String::new());
    assert_eq!(session.set_login(empty), Err(ConfigError::Login));
}

#[test]
fn impossible_configurations_are_refused() {
    let check = |change: fn(&mut ota_wire::mqtt::SessionConfig), error| {
        let mut config = config();
        change(&mut config);
        assert_eq!(Session::<u32>::new(config), Err(error));
    };
    check(|c| c.login.client_id.clear(), ConfigError::Login);
    check(|c| c.login.user_name = None, ConfigError::Login);
    check(|c| c.login.client_id = "x".repeat(5_000), ConfigError::Login);
    check(|c| c.limits.packet = 127, ConfigError::Bytes);
    check(|c| c.limits.tx = 1_060, ConfigError::Bytes);
    check(|c| c.limits.ota_window = 8, ConfigError::Window);
    check(|c| c.limits.inbound = 0, ConfigError::Window);
    check(|c| c.timing.keep_alive = at(0).since(at(0)).into(), ConfigError::KeepAlive);
    check(|c| c.timing.keep_alive = ms(1_500).since(at(0)).into(), ConfigError::KeepAlive);
    check(|c| c.timing.keep_alive = at(65_536).since(at(0)).into(), ConfigError::KeepAlive);
    check(|c| c.timing.puback = at(0).since(at(0)).into(), ConfigError::Time);
}

#[test]
fn what_can_never_be_sent_is_told_from_what_cannot_now() {
    let mut session = up(at(0));
    let before = session.clone();
    for (topic, error) in [("", PublishError::BadTopic), ("a/+", PublishError::BadTopic)] {
        let message = Outgoing { topic, ..ota(b"") };
        assert_eq!(session.publish(at(5), message, 0), Err(error));
    }
    assert_eq!(session.publish(at(5), ota(&[0; 4_100]), 0), Err(PublishError::TooLong));
    // The reserve is not the application's.
    assert_eq!(session.publish(at(5), app(&[0; 3_100]), 0), Err(PublishError::TooLong));
    for (filter, error) in
        [("a#", SubscribeError::BadFilter), (&*"a".repeat(4_090), SubscribeError::TooLong)]
    {
        assert_eq!(session.subscribe(at(5), Purpose::Ota, filter, QoS::AtMostOnce), Err(error));
    }
    assert_eq!(session, before, "an error changed the state");
    assert!(session.publish(at(5), ota(&[0; 3_100]), 0).is_ok());
}

#[test]
fn debug_shows_no_password_whatever_the_state() {
    let mut session = session(config());
    session.handle_connected(at(0));
    let shown = format!("{session:?}");
    assert!(!shown.contains("secret") && !shown.contains("115, 101, 99"), "{shown}");
    assert!(shown.contains("Password("), "{shown}");
    assert!(shown.contains(&format!("{} bytes", session.transmit().len())), "{shown}");
}
