//! The application's own messages beside the update.

use ota_proto::Command;
use ota_proto::QoS::{AtLeastOnce, AtMostOnce};
use ota_wire::client::{ClientEvent, Found, LinkKind};
use ota_wire::mqtt::{PublishError, SubscribeError};

use crate::common::*;

/// The application's filter is subscribed, and the device has its reply.
fn subscribed() -> (Desk, ota_wire::client::Link, ota_wire::mqtt::SubId) {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(0), link, b"\x40\x02\x00\x02");
    desk.feed(at(0), link, &publish("$ota/update/P/D", REPLY));
    let sub = desk.client.subscribe(at(1), "P/D/data", AtLeastOnce).unwrap();
    assert_eq!(desk.sent(at(1), link), b"\x82\x0d\x00\x03\x00\x08P/D/data\x01");
    desk.feed(at(1), link, b"\x90\x03\x00\x03\x01");
    desk.poll(at(1));
    assert_eq!(desk.events.pop(), Some(ClientEvent::Subscribed(sub)));
    (desk, link, sub)
}

#[test]
fn publishes_at_both_levels() {
    let (mut desk, link, _) = subscribed();
    let first = desk.client.publish(at(2), "P/D/event", b"one", AtMostOnce).unwrap();
    let second = desk.client.publish(at(2), "P/D/event", b"two", AtLeastOnce).unwrap();
    let bytes = b"\x30\x0e\x00\x09P/D/eventone\x32\x10\x00\x09P/D/event\x00\x04two";
    assert_eq!(desk.sent(at(2), link), bytes);
    assert_eq!(desk.events.pop(), Some(ClientEvent::Published(first)));
    desk.feed(at(2), link, b"\x40\x02\x00\x04");
    desk.poll(at(2));
    assert_eq!(desk.events.pop(), Some(ClientEvent::Published(second)));
}

#[test]
fn a_message_of_qos_1_survives_its_connection() {
    let (mut desk, link, _) = subscribed();
    let handle = desk.client.publish(at(20), "t", b"m", AtLeastOnce).unwrap();
    assert_eq!(desk.sent(at(20), link), b"\x32\x06\x00\x01t\x00\x04m");
    desk.client.handle_closed(at(20), link, false);
    desk.poll(at(20));
    let next = desk.idle.deadline.unwrap();
    let link = desk.open(next, LinkKind::Broker);
    desk.client.handle_connected(next, link);
    desk.sent(next, link);
    desk.feed(next, link, CONNACK);
    let sent = desk.sent(next, link);
    assert!(sent.ends_with(b"\x3a\x06\x00\x01t\x00\x04m"), "{}", sent.escape_ascii());
    desk.feed(next, link, b"\x40\x02\x00\x04");
    desk.poll(next);
    assert!(desk.events.contains(&ClientEvent::Published(handle)));
}

#[test]
fn the_client_s_own_topics_are_refused() {
    let (mut desk, ..) = subscribed();
    let before = desk.client.clone();
    for topic in ["$ota/report/P/D", "$ota/update/P/D", "$ota/", "$ota"] {
        let sent = desk.client.publish(at(2), topic, b"{}", AtLeastOnce);
        assert_eq!(sent, Err(PublishError::BadTopic), "{topic}");
        let asked = desk.client.subscribe(at(2), topic, AtMostOnce);
        assert_eq!(asked, Err(SubscribeError::BadFilter), "{topic}");
    }
    for filter in ["$ota/#", "$ota/+/P/D"] {
        let asked = desk.client.subscribe(at(2), filter, AtMostOnce);
        assert_eq!(asked, Err(SubscribeError::BadFilter), "{filter}");
    }
    assert!(desk.client == before);
    assert!(desk.client.publish(at(2), "$otaku", b"", AtMostOnce).is_ok());
}

#[test]
fn o16_an_inbound_message_is_acknowledged_only_when_it_was_taken() {
    let (mut desk, link, _) = subscribed();
    let rx = publish1("P/D/data", 17, "hello");
    let found = desk.feed(at(2), link, &rx);
    let [Found::Message { topic, payload, ack: Some(ack) }] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(&rx[topic.clone()], b"P/D/data");
    assert_eq!(&rx[payload.clone()], b"hello");
    assert_eq!(desk.sent(at(2), link), b"", "not yet (O16)");
    assert!(desk.client.acknowledge(at(3), *ack));
    assert_eq!(desk.sent(at(3), link), b"\x40\x02\x00\x11");
    assert!(!desk.client.acknowledge(at(3), *ack), "once");
}

#[test]
fn messages_that_nobody_takes_stop_the_reading() {
    let (mut desk, link, _) = subscribed();
    let mut acks = Vec::new();
    for id in 1..=8 {
        let found = desk.feed(at(2), link, &publish1("P/D/data", id, "x"));
        let [Found::Message { ack: Some(ack), .. }] = &found[..] else { panic!("{found:?}") };
        acks.push(*ack);
    }
    desk.poll(at(2));
    assert!(!desk.idle.read_broker);
    let ninth = publish1("P/D/data", 9, "x");
    let received = desk.client.handle_received(at(2), link, &ninth);
    assert_eq!((received.consumed, received.found), (0, None));
    desk.client.acknowledge(at(3), acks[0]);
    desk.sent(at(3), link);
    assert!(desk.idle.read_broker);
    assert_eq!(desk.feed(at(3), link, &ninth).len(), 1);
}

#[test]
fn the_window_of_the_application_leaves_room_for_the_update() {
    let (mut desk, link, _) = subscribed();
    for _ in 0..6 {
        desk.client.publish(at(2), "t", b"m", AtLeastOnce).unwrap();
    }
    let full = desk.client.publish(at(2), "t", b"m", AtLeastOnce);
    assert_eq!(full, Err(PublishError::WindowFull));
    desk.sent(at(2), link);
    desk.client.updater_mut(FIRST).unwrap().command(at(2), Command::ReportNow).unwrap();
    let sent = desk.sent(at(2), link);
    assert!(sent.ends_with(REPORT_010.as_bytes()), "{}", sent.escape_ascii());
}

#[test]
fn a_full_window_holds_the_update_s_messages_back_and_loses_none() {
    let mut config = config();
    (config.mqtt.limits.window, config.mqtt.limits.ota_window) = (2, 1);
    let mut desk = Desk::with(config, &[device("P", "D")]);
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(0), link, b"\x40\x02\x00\x02");
    desk.feed(at(0), link, &publish("$ota/update/P/D", REPLY));
    desk.poll(at(0));
    desk.client.publish(at(1), "t", b"m", AtLeastOnce).unwrap();
    desk.client.updater_mut(FIRST).unwrap().command(at(1), Command::ReportNow).unwrap();
    assert!(desk.sent(at(1), link).starts_with(b"\x32\x06\x00\x01t\x00\x03m"));
    desk.client.updater_mut(FIRST).unwrap().command(at(1), Command::ReportNow).unwrap();
    assert_eq!(desk.sent(at(1), link), b"");
    assert!(desk.idle.deadline.unwrap() > at(1), "held back, not overdue: {:?}", desk.idle);
    desk.feed(at(2), link, b"\x40\x02\x00\x03");
    assert!(desk.sent(at(2), link).ends_with(REPORT_010.as_bytes()));
}

#[test]
fn a_refused_or_dropped_subscription_is_told() {
    let (mut desk, link, sub) = subscribed();
    let other = desk.client.subscribe(at(2), "other", AtMostOnce).unwrap();
    desk.sent(at(2), link);
    desk.feed(at(2), link, b"\x90\x03\x00\x04\x80");
    desk.poll(at(2));
    assert_eq!(desk.events.pop(), Some(ClientEvent::SubscribeRefused(other)));
    assert!(desk.client.unsubscribe(at(2), sub));
    assert_eq!(desk.sent(at(2), link), b"\xa2\x0c\x00\x05\x00\x08P/D/data");
    desk.feed(at(2), link, b"\xb0\x02\x00\x05");
    desk.poll(at(2));
    assert_eq!(desk.events.pop(), Some(ClientEvent::Unsubscribed(sub)));
    assert!(!desk.client.unsubscribe(at(2), sub));
}

#[test]
fn the_update_s_subscription_is_not_given_up() {
    let (mut desk, ..) = subscribed();
    // The first name of any client is the same; here it is the device's.
    let name = Desk::with(config(), &[]).client.subscribe(at(0), "x", AtMostOnce).unwrap();
    let before = desk.client.clone();
    assert!(!desk.client.unsubscribe(at(2), name));
    assert!(desk.client == before);
}
