//! Every wait has an end.

use ota_proto::QoS;
use ota_wire::mqtt::{Deadline, Purpose, SessionError, SessionTimer};

use crate::common::*;

#[test]
fn a_missing_connack_ends_it() {
    let mut session = session(config());
    session.handle_connected(at(0));
    flush(&mut session, at(3));
    assert_eq!(session.handle_timeout(ms(9_999)), Ok(()));
    let error = SessionError::TimedOut(SessionTimer::ConnAck);
    assert_eq!(session.handle_timeout(at(10)), Err(error));
    assert_eq!(session.deadline(), None);
}

#[test]
fn a_missing_suback_ends_it() {
    let mut session = up(at(0));
    session.subscribe(at(0), Purpose::Application, "a", QoS::AtMostOnce).unwrap();
    flush(&mut session, at(1));
    assert_eq!(session.handle_timeout(at(11)), Err(SessionError::TimedOut(SessionTimer::SubAck)));
}

#[test]
fn a_pingreq_goes_out_when_nothing_else_did() {
    let mut session = up(at(0));
    session.publish(at(30), message(Purpose::Ota, QoS::AtMostOnce, b"x"), 0).unwrap();
    flush(&mut session, at(30));
    feed(&mut session, at(30), b"\x30\x03\0\x01a");
    assert_eq!(session.deadline(), Some(Deadline { at: at(90), timer: SessionTimer::KeepAlive }));
    session.handle_timeout(at(89)).unwrap();
    assert!(session.transmit().is_empty());
    session.handle_timeout(at(90)).unwrap();
    assert_eq!(flush(&mut session, at(91)), b"\xc0\0");
    assert_eq!(session.deadline(), Some(Deadline { at: at(101), timer: SessionTimer::PingResp }));
    feed(&mut session, at(92), b"\xd0\0");
    assert_eq!(session.deadline(), Some(Deadline { at: at(151), timer: SessionTimer::KeepAlive }));
}

#[test]
fn a_missing_pingresp_ends_it_whatever_else_comes() {
    let mut session = up(at(0));
    session.handle_timeout(at(60)).unwrap();
    flush(&mut session, at(60));
    feed(&mut session, at(65), b"\x30\x03\0\x01a");
    assert_eq!(session.handle_timeout(at(70)), Err(SessionError::TimedOut(SessionTimer::PingResp)));
}

/// Messages of QoS 0 alone do not show that a connection is dead.
#[test]
fn a_dead_connection_is_noticed_though_we_keep_sending() {
    let mut session = up(at(0));
    for now in (10..=60).step_by(10) {
        session.handle_timeout(at(now)).unwrap();
        session.publish(at(now), message(Purpose::Ota, QoS::AtMostOnce, b"x"), 0).unwrap();
        flush(&mut session, at(now));
        let _ = published(&mut session);
    }
    assert_eq!(session.handle_timeout(at(70)), Err(SessionError::TimedOut(SessionTimer::PingResp)));
}

#[test]
fn a_transport_that_takes_nothing_ends_it() {
    let mut session = up(at(0));
    session.publish(at(5), ota(b"hello"), 0).unwrap();
    session.handle_sent(at(12), 1);
    assert_eq!(session.deadline(), Some(Deadline { at: at(22), timer: SessionTimer::Write }));
    // More to send does not move it, taking nothing neither.
    session.publish(at(14), ota(b"hello"), 0).unwrap();
    session.handle_sent(at(15), 0);
    assert_eq!(session.handle_timeout(at(22)), Err(SessionError::TimedOut(SessionTimer::Write)));
}

#[test]
fn a_good_bye_that_does_not_leave_ends_too() {
    let mut session = up(at(0));
    session.disconnect(at(5));
    assert_eq!(session.deadline(), Some(Deadline { at: at(15), timer: SessionTimer::Write }));
    flush(&mut session, at(6));
    assert!(session.deadline().is_some());
    assert!(session.handle_timeout(at(20)).is_err());
}

#[test]
fn time_does_not_run_backwards() {
    let mut session = up(at(100));
    session.publish(at(50), ota(b"x"), 0).unwrap();
    flush(&mut session, at(0));
    assert_eq!(session.deadline(), Some(Deadline { at: at(110), timer: SessionTimer::PubAck }));
    assert_eq!(session.handle_timeout(at(1)), Ok(()));
}

/// Its answer may take longer than the silence that it breaks.
#[test]
fn while_a_pingreq_is_under_way_no_other_follows() {
    let mut config = config();
    config.timing.keep_alive = at(4).since(at(0)).into();
    let mut session = up_with(config, at(0));
    assert!(!session.is_held(), "nothing is left out");
    session.handle_timeout(at(4)).unwrap();
    assert_eq!(flush(&mut session, at(4)), b"\xc0\0");
    assert_eq!(session.deadline(), Some(Deadline { at: at(14), timer: SessionTimer::PingResp }));
    session.handle_timeout(at(13)).unwrap();
    assert!(session.transmit().is_empty());
    feed(&mut session, at(13), b"\xd0\0");
    session.handle_timeout(at(13)).unwrap();
    assert_eq!(flush(&mut session, at(13)), b"\xc0\0", "and now it may");
}

#[test]
fn a_piece_that_is_no_packet_yet_is_no_sign_of_life() {
    let mut session = up(at(0));
    session.publish(at(30), message(Purpose::Ota, QoS::AtMostOnce, b"x"), 0).unwrap();
    flush(&mut session, at(30));
    for piece in [&b""[..], b"\x30", b"\x30\x03\0"] {
        let received = session.handle_received(at(40), piece).unwrap();
        assert_eq!(received.consumed, 0);
        assert_eq!(
            session.deadline(),
            Some(Deadline { at: at(60), timer: SessionTimer::KeepAlive })
        );
    }
    feed(&mut session, at(40), b"\x30\x03\0\x01a");
    assert_eq!(session.deadline(), Some(Deadline { at: at(90), timer: SessionTimer::KeepAlive }));
}
