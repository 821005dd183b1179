//! Brokers and firmware servers that violate the protocol.

use ota_wire::client::{ClientEvent, Disconnect, LinkKind};
use ota_wire::mqtt::SessionError;

use crate::common::*;

#[test]
fn garbage_from_the_broker_closes_the_link() {
    for garbage in [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"\x00\x00",
        b"\xff\xff\xff\xff\xff",
        b"\x15\x03\x01\x00\x02",
    ] {
        for up in [false, true] {
            let mut desk = Desk::new();
            let link = if up {
                desk.up(at(0))
            } else {
                let link = desk.open(at(0), LinkKind::Broker);
                desk.client.handle_connected(at(0), link);
                link
            };
            desk.sent(at(0), link);
            assert_eq!(desk.feed(at(1), link, garbage), []);
            assert_eq!(desk.poll(at(1)), [Out::Close(link)], "{}", garbage.escape_ascii());
            let session = desk.events.iter().any(|event| {
                matches!(event, ClientEvent::Disconnected { cause: Disconnect::Session(_), .. })
            });
            assert!(session, "{:?}", desk.events);
        }
    }
}

#[test]
fn a_huge_message_is_skipped() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    let huge = publish("$ota/update/P/D", &"x".repeat(100_000));
    let mut rest = &huge[..];
    let mut buffer = Vec::new();
    // The adapter's buffer never needs more than the limit.
    while !rest.is_empty() || !buffer.is_empty() {
        let room = (4_096 - buffer.len()).min(rest.len());
        buffer.extend_from_slice(&rest[..room]);
        rest = &rest[room..];
        let received = desk.client.handle_received(at(1), link, &buffer);
        assert!(received.consumed > 0 || room > 0);
        buffer.drain(..received.consumed);
    }
    desk.poll(at(1));
    assert_eq!(desk.events.pop(), Some(ClientEvent::TooLong { len: huge.len() }));
    // Later bytes are read as usual.
    desk.feed(at(1), link, &publish("$ota/update/P/D", REPLY));
    assert_eq!(desk.poll(at(1)), []);
    assert!(desk.client.updater(FIRST).unwrap().config().allow_http);
    assert!(matches!(desk.events.last(), Some(ClientEvent::Device { .. })));
}

#[test]
fn bad_messages_are_told_and_change_nothing() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(1), link);
    let before = desk.client.updater(FIRST).unwrap().clone();
    for bad in ["", "{", "[]", r#"{"type":"update_firmware"}"#, &"[".repeat(4_000)] {
        desk.feed(at(1), link, &publish("$ota/update/P/D", bad));
        desk.poll(at(1));
        let event = desk.events.pop();
        assert!(
            matches!(event, Some(ClientEvent::BadMessage { device, .. }) if device == FIRST),
            "{bad} {event:?}"
        );
    }
    assert!(*desk.client.updater(FIRST).unwrap() == before);
}

#[test]
fn a_flood_of_bad_messages_between_two_polls_costs_bounded_memory() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    for _ in 0..10_000 {
        desk.feed(at(1), link, &publish("$ota/update/P/D", "?"));
    }
    desk.poll(at(1));
    let told = desk.events.iter().filter(|e| matches!(e, ClientEvent::BadMessage { .. })).count();
    assert!((1..=16).contains(&told), "{told}");
}

#[test]
fn a_refused_subscription_of_the_update_ends_the_session() {
    let mut desk = Desk::new();
    let link = desk.open(at(0), LinkKind::Broker);
    desk.client.handle_connected(at(0), link);
    desk.sent(at(0), link);
    desk.feed(at(0), link, CONNACK);
    desk.sent(at(0), link);
    desk.feed(at(0), link, b"\x90\x03\x00\x01\x80");
    assert_eq!(desk.poll(at(0)), [Out::Close(link)]);
    assert!(desk.events.iter().any(|event| matches!(
        event,
        ClientEvent::Disconnected {
            cause: Disconnect::Session(SessionError::SubscribeRefused(_)),
            ..
        }
    )));
}

#[test]
fn debug_shows_no_secret() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    let url = "http://store.example/a?sign=hidden";
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer(url)));
    desk.open(at(1), LinkKind::Store);
    let text = format!("{:?}", desk.client);
    assert!(!text.contains("secret") && !text.contains("hidden"), "{text}");
}
