//! Links that cannot be opened, and a login that changes.

use ota_proto::{Event as Device, Reason, State, TlsError, TransportError};
use ota_wire::client::{ClientEvent, Disconnect, Link, LinkKind, Timer};
use ota_wire::mqtt::{ConfigError, ConnectLogin};

use crate::common::*;

/// The offer is accepted, and the link to the firmware server is due.
fn reaching() -> (Desk, Link, Link) {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, b"\x40\x02\x00\x02");
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("https://store.example/a")));
    let store = desk.open(at(1), LinkKind::Store);
    desk.sent(at(1), link);
    desk.events.clear();
    (desk, link, store)
}

#[test]
fn rule_5_a_store_that_cannot_be_reached_is_tried_again_and_is_the_networks_fault() {
    for (error, cause) in [
        (TransportError::Resolve, Reason::NoName),
        (TransportError::Refused, Reason::Unreachable),
        (TransportError::TimedOut, Reason::Network),
    ] {
        let (mut desk, link, store) = reaching();
        desk.client.handle_connect_failed(at(2), store, error);
        desk.poll(at(2));
        let event = Device::Retry { cause };
        assert_eq!(desk.events, [ClientEvent::Device { device: FIRST, event }], "{error:?}");
        assert_eq!(desk.client.updater(FIRST).unwrap().state(), State::Waiting);
        assert!(desk.idle.deadline.unwrap() <= at(3), "a pause of a second at most");
        assert_eq!(desk.client.transmit(link), b"", "nothing is reported");
    }
}

#[test]
fn rule_5_a_store_whose_certificate_is_wrong_is_tried_thrice_and_told_as_minus_five() {
    let (mut desk, link, mut store) = reaching();
    let error = TransportError::Tls(TlsError::Untrusted);
    let (mut now, mut tries) = (at(2), 1);
    let told = loop {
        desk.client.handle_connect_failed(now, store, error);
        // Storage answers at once: the result is journalled before it is told.
        desk.work(now);
        if desk.client.updater(FIRST).unwrap().state() == State::Idle {
            break String::from_utf8_lossy(&desk.sent(now, link)).into_owned();
        }
        // Until the store is asked for again: the broker's keep-alive and the progress go on.
        store = loop {
            now = desk.idle.deadline.unwrap();
            desk.client.handle_timeout(now);
            let work = desk.work(now);
            desk.sent(now, link);
            if let Some(Out::Connect(store, ..)) = work.last() {
                break *store;
            }
        };
        tries += 1;
    };
    assert_eq!(tries, 3);
    assert!(now >= at(62), "retried too soon after a violation: {now:?}");
    assert!(told.contains(r#""state":"fail""#) && told.contains(r#""result_code":"-5""#), "{told}");
    assert!(told.contains("certificate is not trusted"), "{told}");
}

#[test]
fn rule_10_a_broker_that_cannot_be_reached_is_tried_again_later() {
    let mut desk = Desk::new();
    let link = desk.open(at(0), LinkKind::Broker);
    desk.client.handle_connect_failed(at(1), link, TransportError::Refused);
    desk.poll(at(1));
    let cause = Disconnect::Transport(TransportError::Refused);
    assert!(
        matches!(desk.events[..], [ClientEvent::Disconnected { cause: told, .. }] if told == cause),
        "{:?}",
        desk.events
    );
    assert_eq!(desk.idle.timer, Some(Timer::Reconnect));
    assert!(desk.idle.deadline.unwrap() >= at(5), "5 s between two connects");
    // A second report about the same link is ignored.
    let before = desk.client.clone();
    desk.client.handle_connect_failed(at(2), link, TransportError::Refused);
    desk.client.handle_connected(at(2), link);
    assert!(desk.client == before);
}

#[test]
fn a_new_login_is_used_from_the_next_connection_on() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    let login = |user: &str, word: &str| ConnectLogin::new("PD".into(), user.into(), word.into());
    let empty = ConnectLogin::new(String::new(), String::new(), String::new());
    assert_eq!(desk.client.set_login(empty), Err(ConfigError::Login));
    desk.client.set_login(login("later", "other")).unwrap();
    assert_eq!(desk.client.transmit(link), b"", "this connection has its login");
    desk.client.handle_closed(at(70), link, false);
    desk.poll(at(70));
    let next = desk.idle.deadline.unwrap();
    let link = desk.open(next, LinkKind::Broker);
    desk.client.handle_connected(next, link);
    assert!(desk.client.transmit(link).ends_with(b"\0\x05later\0\x05other"));
}

#[test]
fn a_broker_that_refuses_the_subscription_is_no_other_client_with_our_login() {
    let mut desk = Desk::new();
    let mut now = at(0);
    for _ in 0..3 {
        let link = loop {
            let outs = desk.work(now);
            let connect = |out: &Out| match out {
                Out::Connect(link, ..) => Some(*link),
                _ => None,
            };
            if let Some(link) = outs.iter().find_map(connect) {
                break link;
            }
            now = desk.idle.deadline.unwrap();
            desk.client.handle_timeout(now);
        };
        desk.client.handle_connected(now, link);
        desk.sent(now, link);
        desk.feed(now, link, CONNACK);
        let subscribe = desk.sent(now, link);
        desk.feed(now, link, &[0x90, 3, subscribe[2], subscribe[3], 0x80]);
        desk.work(now);
    }
    let ended =
        desk.events.iter().filter(|event| matches!(event, ClientEvent::Disconnected { .. }));
    assert_eq!(ended.count(), 3);
    assert!(!desk.events.contains(&ClientEvent::Kicked), "{:?}", desk.events);
}
