//! Links: epochs, time-outs, ends, and when the next one is opened.

use core::time::Duration;

use ota_proto::{Command, Instant, Reason, State, TlsError, TransportError};
use ota_wire::client::{ClientEvent, Disconnect, LinkKind, Timer};
use ota_wire::mqtt::SessionError;
use ota_wire::mqtt::packet::ConnectCode;

use crate::common::*;
use crate::session::downloading;

/// The last reason for the loss of the broker, and when it is tried again.
fn lost(desk: &Desk) -> (Disconnect, Instant) {
    let last = desk.events.iter().rev().find_map(|event| match event {
        ClientEvent::Disconnected { cause, retry_at } => Some((*cause, *retry_at)),
        _ => None,
    });
    last.unwrap()
}

#[test]
fn what_comes_late_from_a_closed_link_is_ignored() {
    let mut desk = Desk::new();
    let old = desk.up(at(0));
    desk.client.handle_closed(at(1), old, true);
    assert_eq!(desk.poll(at(1)), [Out::Close(old)]);
    let wait = desk.idle.deadline.unwrap();
    assert_eq!(desk.idle.timer, Some(Timer::Reconnect));

    let before = desk.client.clone();
    desk.client.handle_connected(at(1), old);
    desk.client.handle_sent(at(1), old, 5);
    desk.client.handle_closed(at(1), old, false);
    desk.client.handle_connect_failed(at(1), old, TransportError::Refused);
    assert_eq!(desk.feed(at(1), old, &publish("$ota/update/P/D", REPLY)), []);
    assert_eq!(desk.client.transmit(old), b"");
    assert!(desk.client == before);

    // The next link is another one, and the old name does not reach it.
    let new = desk.open(wait, LinkKind::Broker);
    assert_ne!(new, old);
    desk.client.handle_connected(wait, new);
    let before = desk.client.clone();
    desk.client.handle_closed(wait, old, false);
    desk.client.handle_sent(wait, old, 5);
    assert_eq!(desk.feed(wait, old, CONNACK), []);
    assert!(desk.client == before);
    assert_eq!(desk.client.transmit(new), CONNECT);
}

#[test]
fn what_comes_late_from_an_old_fetch_is_ignored() {
    let (mut desk, _, store) = downloading();
    desk.client.handle_closed(at(2), store, false);
    assert_eq!(desk.work(at(2)), [Out::Close(store)]);
    let before = desk.client.clone();
    assert_eq!(desk.feed(at(2), store, IMAGE), []);
    desk.client.handle_connected(at(2), store);
    desk.client.handle_sent(at(2), store, 3);
    desk.client.handle_closed(at(2), store, true);
    desk.client.handle_connect_failed(at(2), store, TransportError::TimedOut);
    assert!(desk.client == before);
}

#[test]
fn a_second_connected_has_no_effect() {
    let (mut desk, link, store) = downloading();
    let before = desk.client.clone();
    desk.client.handle_connected(at(2), link);
    desk.client.handle_connected(at(2), store);
    assert!(desk.client == before);
}

#[test]
fn bytes_of_a_link_that_is_not_open_have_no_effect() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/a")));
    let store = desk.open(at(1), LinkKind::Store);
    let before = desk.client.clone();
    assert_eq!(desk.feed(at(1), store, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"), []);
    desk.client.handle_sent(at(1), store, 4);
    assert!(desk.client == before);
}

#[test]
fn connecting_takes_ten_seconds_at_most() {
    let mut desk = Desk::new();
    let link = desk.open(at(0), LinkKind::Broker);
    assert_eq!((desk.idle.deadline, desk.idle.timer), (Some(at(10)), Some(Timer::Connect)));
    desk.client.handle_timeout(Instant::from_millis(9_999));
    assert_eq!(desk.poll(Instant::from_millis(9_999)), []);
    desk.client.handle_timeout(at(10));
    assert_eq!(desk.poll(at(10)), [Out::Close(link)]);
    let (cause, retry_at) = lost(&desk);
    assert_eq!(cause, Disconnect::Transport(TransportError::TimedOut));
    assert_eq!((desk.idle.deadline, desk.idle.timer), (Some(retry_at), Some(Timer::Reconnect)));
}

#[test]
fn connecting_to_the_store_takes_ten_seconds_at_most() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, b"\x40\x02\x00\x02");
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/a")));
    let store = desk.open(at(1), LinkKind::Store);
    desk.sent(at(1), link);
    assert_eq!((desk.idle.deadline, desk.idle.timer), (Some(at(11)), Some(Timer::Connect)));
    assert!(!desk.idle.read_store, "nothing to read yet");
    desk.client.handle_timeout(at(11));
    assert_eq!(desk.work(at(11)), [Out::Close(store)]);
    assert_eq!(desk.client.updater(FIRST).unwrap().state(), State::Waiting);
}

#[test]
fn no_two_connects_within_five_seconds() {
    let mut desk = Desk::new();
    let mut now = at(0);
    for _ in 0..20 {
        let link = desk.open(now, LinkKind::Broker);
        desk.client.handle_connect_failed(now, link, TransportError::Refused);
        desk.poll(now);
        let next = desk.idle.deadline.unwrap();
        assert!(next >= now + Duration::from_secs(5), "{now} {next}");
        assert!(next <= now + Duration::from_secs(305), "{now} {next}");
        now = next;
    }
}

#[test]
fn refused_credentials_are_slow_and_loud() {
    // Whether the broker's close is reported before or after the next output.
    for close_first in [false, true] {
        let mut desk = Desk::new();
        let link = desk.open(at(0), LinkKind::Broker);
        desk.client.handle_connected(at(0), link);
        desk.sent(at(0), link);
        desk.feed(at(0), link, b"\x20\x02\x00\x05");
        if close_first {
            desk.client.handle_closed(at(0), link, true);
        }
        assert_eq!(desk.poll(at(0)), [Out::Close(link)]);
        let (cause, retry_at) = lost(&desk);
        let refused = SessionError::Refused(ConnectCode::NotAuthorized);
        assert_eq!(cause, Disconnect::Session(refused), "{close_first}");
        assert!(retry_at >= at(225), "{retry_at}");
        assert_eq!(desk.events.len(), 1);
    }
}

#[test]
fn a_certificate_of_the_broker_is_not_tried_again_soon() {
    for why in [
        TlsError::WrongHost,
        TlsError::Untrusted,
        TlsError::Expired,
        TlsError::NotYetValid,
        TlsError::NotAuthority,
        TlsError::Unfit,
        TlsError::Version1,
        TlsError::Authority,
        TlsError::Algorithm,
        TlsError::NotTls,
        TlsError::ClientRefused,
        TlsError::Handshake,
        TlsError::Unavailable,
    ] {
        let mut desk = Desk::new();
        let link = desk.open(at(0), LinkKind::Broker);
        desk.client.handle_connect_failed(at(0), link, TransportError::Tls(why));
        desk.poll(at(0));
        assert!(lost(&desk).1 >= at(225), "{why:?}");
    }
}

#[test]
fn a_broker_that_refuses_our_certificate_after_all_is_not_tried_again_soon() {
    let mut desk = Desk::new();
    let link = desk.open(at(0), LinkKind::Broker);
    desk.client.handle_connected(at(0), link);
    let error = TransportError::Tls(TlsError::ClientRefused);
    desk.client.handle_connect_failed(at(0), link, error);
    assert_eq!(desk.poll(at(0)), [Out::Close(link)]);
    let (cause, retry_at) = lost(&desk);
    assert_eq!(cause, Disconnect::Transport(error));
    assert!(retry_at >= at(225));
}

#[test]
fn a_clock_that_is_not_set_is_looked_at_again_with_a_back_off_that_grows() {
    let mut desk = Desk::new();
    let error = TransportError::Tls(TlsError::ClockNotSet);
    let mut now = at(0);
    for least in [5, 5, 5] {
        let link = desk.open(now, LinkKind::Broker);
        desk.client.handle_connect_failed(now, link, error);
        desk.poll(now);
        let (cause, retry_at) = lost(&desk);
        assert_eq!(cause, Disconnect::Transport(error));
        assert!(retry_at >= now + Duration::from_secs(least), "{retry_at}");
        assert!(retry_at < now + Duration::from_secs(60), "{retry_at}");
        now = retry_at;
        desk.events.clear();
    }
}

#[test]
fn three_kicks_in_a_minute_are_told_once() {
    let mut desk = Desk::new();
    let mut now = at(0);
    for _ in 0..3 {
        let link = desk.up(now);
        desk.client.handle_closed(now, link, true);
        desk.poll(now);
        now = desk.idle.deadline.unwrap();
    }
    let kicked = |desk: &Desk| desk.events.iter().filter(|e| **e == ClientEvent::Kicked).count();
    assert!(now < at(60), "{now}");
    assert_eq!(kicked(&desk), 1);
}

#[test]
fn a_link_that_ends_before_the_login_was_taken_is_not_a_kick() {
    for clean in [true, false] {
        let mut desk = Desk::new();
        let mut now = at(0);
        for _ in 0..4 {
            let link = desk.open(now, LinkKind::Broker);
            desk.client.handle_connected(now, link);
            desk.sent(now, link);
            desk.client.handle_closed(now, link, clean);
            desk.poll(now);
            now = desk.idle.deadline.unwrap();
        }
        assert!(now < at(60), "{now}");
        assert!(!desk.events.contains(&ClientEvent::Kicked), "{:?}", desk.events);
    }
}

#[test]
fn a_broker_that_never_answers_is_not_a_kick() {
    let mut desk = Desk::with(
        {
            let mut config = config();
            config.mqtt.timing.connack = ota_proto::Micros::from_secs(1);
            config
        },
        &[device("P", "D")],
    );
    let mut now = at(0);
    for _ in 0..4 {
        let link = desk.open(now, LinkKind::Broker);
        desk.client.handle_connected(now, link);
        desk.sent(now, link);
        now = now + Duration::from_secs(1);
        desk.client.handle_timeout(now);
        assert_eq!(desk.poll(now), [Out::Close(link)]);
        assert!(matches!(lost(&desk).0, Disconnect::Session(SessionError::TimedOut(_))));
        now = desk.idle.deadline.unwrap();
    }
    assert!(!desk.events.contains(&ClientEvent::Kicked));
}

#[test]
fn a_good_bye_is_planned_even_when_the_broker_closes_first() {
    for close_first in [false, true] {
        let mut desk = Desk::new();
        let link = desk.up(at(0));
        desk.sent(at(0), link);
        desk.client.disconnect(at(20));
        assert_eq!(desk.client.transmit(link), b"\xe0\x00");
        desk.client.handle_sent(at(20), link, 2);
        if close_first {
            desk.client.handle_closed(at(20), link, true);
        }
        let outs = desk.poll(at(20));
        assert_eq!(outs[0], Out::Close(link));
        assert_eq!(lost(&desk), (Disconnect::Planned, at(20)));
        // Nothing holds the next one back: the minimum interval has passed.
        assert!(matches!(outs[1], Out::Connect(..)), "{outs:?}");
    }
}

#[test]
fn a_cancelled_update_closes_its_fetch() {
    let (mut desk, _, store) = downloading();
    desk.client.updater_mut(FIRST).unwrap().command(at(2), Command::Cancel).unwrap();
    assert_eq!(desk.work(at(2)), [Out::Close(store)]);
    assert!(!desk.idle.read_store);
    assert_eq!(desk.client.updater(FIRST).unwrap().state(), State::Idle);
}

#[test]
fn another_offer_takes_the_place_of_the_fetch() {
    let (mut desk, link, store) = downloading();
    desk.feed_body(at(2), store, &IMAGE[..3]);
    let other = offer("http://other.example/b").replace("1.0.0", "2.0.0");
    desk.feed(at(3), link, &publish("$ota/update/P/D", &other));
    let outs = desk.work(at(3));
    let [Out::Close(closed), Out::Connect(next, host, 80, false)] = &outs[..] else {
        panic!("{outs:?}")
    };
    assert_eq!((*closed, host.as_str()), (store, "other.example"));
    desk.client.handle_connected(at(3), *next);
    let request = desk.sent(at(3), *next);
    assert!(!request.windows(6).any(|window| window == b"Range:"), "from the first byte");
}

#[test]
fn a_half_sent_packet_dies_with_its_link() {
    let mut desk = Desk::new();
    let link = desk.open(at(0), LinkKind::Broker);
    desk.client.handle_connected(at(0), link);
    desk.client.handle_sent(at(0), link, 7);
    desk.client.handle_closed(at(0), link, false);
    desk.poll(at(0));
    let next = desk.idle.deadline.unwrap();
    let link = desk.open(next, LinkKind::Broker);
    desk.client.handle_connected(next, link);
    assert_eq!(desk.client.transmit(link), CONNECT);
}

#[test]
fn an_idle_link_is_pinged() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(
        at(0),
        link,
        &[&b"\x40\x02\x00\x02"[..], &publish("$ota/update/P/D", REPLY)].concat(),
    );
    desk.poll(at(0));
    assert_eq!(desk.idle.deadline, Some(at(60)));
    desk.client.handle_timeout(at(60));
    assert_eq!(desk.sent(at(60), link), b"\xc0\x00");
    assert_eq!(desk.idle.deadline, Some(at(70)));
    desk.feed(at(61), link, b"\xd0\x00");
    desk.poll(at(61));
    assert_eq!(desk.idle.deadline, Some(at(120)));
}

/// Lets this many connects fail, and returns the longest wait in seconds and the next moment.
fn refuse(desk: &mut Desk, mut now: Instant, times: u32) -> (u64, Instant) {
    let mut longest = 0;
    for _ in 0..times {
        let link = desk.open(now, LinkKind::Broker);
        desk.client.handle_connect_failed(now, link, TransportError::Refused);
        desk.work(now);
        let next = lost(desk).1;
        longest = longest.max(next.since(now).as_secs());
        now = next;
    }
    (longest, now)
}

#[test]
fn a_session_of_a_minute_forgets_the_failures_before_it() {
    let mut desk = Desk::new();
    let (longest, now) = refuse(&mut desk, at(0), 9);
    assert!(longest > 60, "{longest}");
    let link = desk.up(now);
    let now = now + Duration::from_secs(60);
    desk.client.handle_closed(now, link, false);
    desk.poll(now);
    assert!(lost(&desk).1 <= now + Duration::from_secs(5));
}

#[test]
fn what_is_owed_keeps_the_waits_short() {
    let (mut desk, link, _) = downloading();
    desk.client.updater_mut(FIRST).unwrap().command(at(2), Command::Cancel).unwrap();
    desk.client.handle_closed(at(2), link, false);
    desk.work(at(2));
    let updater = desk.client.updater(FIRST).unwrap();
    assert!(updater.state() == State::Idle && updater.owed().is_some());
    let next = lost(&desk).1;
    assert!(refuse(&mut desk, next, 12).0 <= 35);
}

/// What ends with its link ends there only when the link ended as it should, and when nothing said
/// how long it is.
#[test]
fn a_body_that_ends_with_its_link_is_cut_off_when_the_link_is() {
    let cause = |lines: &str, clean| {
        let mut desk = Desk::new();
        let link = desk.up(at(0));
        desk.sent(at(0), link);
        desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/a")));
        let store = desk.open(at(1), LinkKind::Store);
        desk.client.handle_connected(at(1), store);
        desk.sent(at(1), store);
        let answer = format!("HTTP/1.1 200 OK\r\n{lines}\r\n01234567");
        desk.feed_body(at(1), store, answer.as_bytes());
        desk.client.handle_closed(at(2), store, clean);
        desk.work(at(2));
        match desk.events.pop() {
            Some(ClientEvent::Device { event: ota_proto::Event::Retry { cause }, .. }) => cause,
            other => panic!("{other:?}"),
        }
    };
    // Half of what was offered is all that the server has.
    assert_eq!(cause("", true), Reason::Contradiction);
    assert_eq!(cause("", false), Reason::Closed);
    assert_eq!(cause("Content-Length: 16\r\n", true), Reason::Closed);
    assert_eq!(cause("Content-Length: 16\r\n", false), Reason::Closed);
}
