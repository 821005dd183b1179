//! Each bound to the byte: what just fits is taken, and one more is not.

use core::time::Duration;

use ota_proto::QoS;
use ota_wire::mqtt::packet::{EncodeError, Publish, Request};
use ota_wire::mqtt::{
    ConfigError, ConnectLogin, Expiry, Outgoing, PublishError, Purpose, Session, SessionConfig,
    SubscribeError,
};

use crate::common::*;

/// Bytes of a PUBLISH beside its payload: header, topic and identifier.
const QOS1: usize = 3 + 2 + REPORT.len() + 2;
const QOS0: usize = QOS1 - 2;

/// What is left of the buffer beside acknowledgements, and of that to the application.
const ALL: usize = 4_096 - (8 * 4 + 4);
const OURS: usize = ALL - 1_024;

#[test]
fn the_longest_message_is_as_long_as_what_it_waits_in() {
    let kept = |kept| {
        let mut config = config();
        config.limits.kept = kept;
        config
    };
    let cases: [(SessionConfig, Purpose, QoS, usize); 5] = [
        (config(), Purpose::Ota, QoS::AtLeastOnce, ALL - QOS1),
        (config(), Purpose::SubDevice, QoS::AtMostOnce, ALL - QOS0),
        (config(), Purpose::Application, QoS::AtMostOnce, OURS - QOS0),
        (config(), Purpose::Application, QoS::AtLeastOnce, OURS - QOS1),
        (kept(1_000), Purpose::Application, QoS::AtLeastOnce, 1_000 - QOS1),
    ];
    for (config, kind, qos, longest) in cases {
        let payload = vec![b'x'; longest + 1];
        let mut session = up_with(config, at(0));
        let long = session.publish(at(0), message(kind, qos, &payload), 0);
        assert_eq!(long, Err(PublishError::TooLong), "{kind:?} {qos:?}");
        assert!(session.publish(at(0), message(kind, qos, &payload[1..]), 0).is_ok());
        assert_eq!(
            flush(&mut session, at(0)).len(),
            longest + if qos == QoS::AtMostOnce { QOS0 } else { QOS1 }
        );
    }
}

#[test]
fn what_fills_the_room_to_its_last_byte_is_taken() {
    for kind in [Purpose::Ota, Purpose::Application] {
        let mut session = up(at(0));
        session.publish(at(0), message(kind, QoS::AtMostOnce, &[b'x'; 1_000]), 0).unwrap();
        let room = session.room(kind);
        assert_eq!(room, if kind == Purpose::Ota { ALL } else { OURS } - 1_000 - QOS0);
        let rest = vec![b'x'; room - QOS0 + 1];
        let over = session.publish(at(0), message(kind, QoS::AtMostOnce, &rest), 1);
        assert_eq!(over, Err(PublishError::BufferFull));
        assert!(session.publish(at(0), message(kind, QoS::AtMostOnce, &rest[1..]), 1).is_ok());
        assert_eq!(session.room(kind), 0);
    }
}

#[test]
fn messages_are_kept_up_to_the_last_byte_of_their_room() {
    let mut config = config();
    config.limits.kept = 2 * (QOS1 + 200);
    let mut session = up_with(config, at(0));
    session.publish(at(0), app(&[b'x'; 200]), 0).unwrap();
    assert_eq!(session.publish(at(0), app(&[b'x'; 201]), 1), Err(PublishError::BufferFull));
    assert!(session.publish(at(0), app(&[b'x'; 200]), 1).is_ok());
    assert_eq!(session.publish(at(0), app(b""), 2), Err(PublishError::BufferFull));
}

#[test]
fn a_filter_may_be_as_long_as_the_buffer() {
    // Header, identifier, length and QoS.
    for (kind, longest) in [(Purpose::Ota, ALL - 8), (Purpose::Application, OURS - 8)] {
        let mut session = session(config());
        let filter = "f".repeat(longest + 1);
        let long = session.subscribe(at(0), kind, &filter, QoS::AtMostOnce);
        assert_eq!(long, Err(SubscribeError::TooLong));
        assert!(session.subscribe(at(0), kind, &filter[1..], QoS::AtMostOnce).is_ok());
    }
}

#[test]
fn the_longest_packet_there_is_has_a_length_and_a_longer_one_has_none() {
    // Bytes that nobody touches are no memory.
    let payload = vec![0; 268_435_455 - 3 + 1];
    let len = |payload| Request::Publish(Publish::new("a", None, payload)).encoded_len();
    assert_eq!(len(&payload[1..]), Ok(268_435_455 + 5));
    assert_eq!(len(&payload), Err(EncodeError::TooLong));
}

#[test]
fn configurations_are_taken_at_their_edges() {
    let secs = |secs: u64| at(secs).since(at(0)).into();
    let taken = |change: &dyn Fn(&mut SessionConfig)| {
        let mut config = config();
        change(&mut config);
        assert!(Session::<u32>::new(config.clone()).is_ok(), "{config:?}");
    };
    taken(&|c| c.limits.packet = 128);
    taken(&|c| c.limits.tx = 1_024 + 36 + 1);
    taken(&|c| (c.limits.window, c.limits.ota_window) = (2, 1));
    taken(&|c| (c.limits.inbound, c.limits.tries) = (1, 1));
    taken(&|c| c.timing.keep_alive = secs(1));
    taken(&|c| c.timing.keep_alive = secs(65_535));
    taken(&|c| (c.login.password, c.login.user_name) = (None, None));
    taken(&|c| c.login.password = None);
    // CONNECT's header and fixed part, and three lengths.
    let longest = 4_096 - 3 - 10 - 2 - "PD".len() - 2 - "PD;1;x;2".len() - 2;
    let login = |len| ConnectLogin::new("PD".into(), "PD;1;x;2".into(), "s".repeat(len));
    taken(&|c| c.login = login(longest));
    let mut long = config();
    long.login = login(longest + 1);
    assert_eq!(Session::<u32>::new(long), Err(ConfigError::Login));
    for change in [
        |c: &mut SessionConfig| c.limits.tries = 0,
        |c: &mut SessionConfig| (c.limits.ota_window, c.limits.window) = (0, 8),
        |c: &mut SessionConfig| (c.limits.ota_window, c.limits.window) = (8, 8),
        |c: &mut SessionConfig| (c.limits.ota_window, c.limits.window) = (9, 8),
    ] {
        let mut config = config();
        change(&mut config);
        assert_eq!(Session::<u32>::new(config), Err(ConfigError::Window));
    }
}

#[test]
fn a_login_that_held_forever_was_not_refused_for_its_expiry() {
    let day = 86_400;
    let mut expiry = Expiry::default();
    assert_eq!(expiry.next(Some(1_000)), 1_000 + day);
    expiry.refused();
    assert_eq!(expiry.next(Some(2_000)), Expiry::FAR, "the clock may be behind");
    expiry.refused();
    assert_eq!(expiry.next(Some(3_000)), 3_000 + day, "it was not the clock");
    assert_eq!(expiry.next(None), Expiry::FAR);
    expiry.refused();
    assert_eq!(expiry.next(Some(4_000)), 4_000 + day);
    assert_eq!(Expiry::new(Duration::from_secs(60)).next(Some(5)), 65);
}

#[test]
fn an_invalid_topic_is_reported_before_its_length() {
    let mut session = up(at(0));
    let long = "a/+".repeat(2_000);
    let bad = Outgoing { topic: &long, ..ota(b"") };
    assert_eq!(session.publish(at(0), bad, 0), Err(PublishError::BadTopic));
}
