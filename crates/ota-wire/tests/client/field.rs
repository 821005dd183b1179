//! Cases from the field: an application that stalls, a broker that retains messages, limits that
//! leave no room.

use std::time::Duration;

use ota_proto::QoS::{AtLeastOnce, AtMostOnce};
use ota_proto::{Event as Device, Instant, Micros, State};
use ota_wire::Client;
use ota_wire::client::{AddError, ClientEvent, Disconnect, Found, Link, LinkKind};
use ota_wire::mqtt::{ConfigError, SessionError, SessionTimer};

use crate::common::*;

/// The next broker link, whenever it is due.
fn next_link(desk: &mut Desk, mut now: Instant) -> (Instant, Link) {
    for _ in 0..100 {
        let connect = desk.work(now).into_iter().find_map(|out| match out {
            Out::Connect(link, ..) if link.kind == LinkKind::Broker => Some(link),
            _ => None,
        });
        if let Some(link) = connect {
            return (now, link);
        }
        now = desk.idle.deadline.unwrap();
        desk.client.handle_timeout(now);
    }
    panic!("no link")
}

/// Connects, with the login taken; returns what is sent then.
fn login(desk: &mut Desk, now: Instant, link: Link) -> Vec<u8> {
    desk.client.handle_connected(now, link);
    desk.sent(now, link);
    desk.feed(now, link, CONNACK);
    desk.sent(now, link)
}

#[test]
fn a_message_that_is_given_up_is_not_told_as_published() {
    let mut desk = Desk::new();
    let mut now = at(0);
    let mut handle = None;
    for _ in 0..5 {
        let (due, link) = next_link(&mut desk, now);
        login(&mut desk, due, link);
        if handle.is_none() {
            handle = Some(desk.client.publish(due, "t", b"m", AtLeastOnce).unwrap());
        }
        desk.sent(due, link);
        desk.client.handle_closed(due, link, false);
        desk.poll(due);
        now = due;
    }
    let handle = handle.unwrap();
    assert!(desk.events.contains(&ClientEvent::GivenUp(handle)), "{:?}", desk.events);
    assert!(!desk.events.contains(&ClientEvent::Published(handle)));
}

/// Three sessions within a minute that `end` ends.
fn three_ends(end: impl Fn(&mut Desk, Instant, Link)) -> Desk {
    let mut config = config();
    config.mqtt.timing.puback = Micros::from_secs(1);
    let mut desk = Desk::with(config, &[device("P", "D")]);
    let mut now = at(0);
    for _ in 0..3 {
        let (due, link) = next_link(&mut desk, now);
        let subscribe = login(&mut desk, due, link);
        desk.feed(due, link, &[0x90, 3, subscribe[2], subscribe[3], 1]);
        desk.sent(due, link);
        end(&mut desk, due, link);
        desk.poll(due + Duration::from_secs(1));
        now = due + Duration::from_secs(1);
    }
    assert!(now < at(60), "{now}");
    let ended =
        desk.events.iter().filter(|event| matches!(event, ClientEvent::Disconnected { .. }));
    assert_eq!(ended.count(), 3);
    desk
}

#[test]
fn acknowledgements_that_we_miss_three_times_are_not_a_kick() {
    let desk = three_ends(|desk, now, _| desk.client.handle_timeout(now + Duration::from_secs(1)));
    let late = Disconnect::Session(SessionError::TimedOut(SessionTimer::PubAck));
    let is_late = |event: &&ClientEvent| matches!(event, ClientEvent::Disconnected { cause, .. } if *cause == late);
    assert_eq!(desk.events.iter().filter(is_late).count(), 3);
    assert!(!desk.events.contains(&ClientEvent::Kicked), "{:?}", desk.events);
}

#[test]
fn no_end_of_our_own_is_a_kick() {
    for bytes in [&b"\x00\x00"[..], b"\x20\x02\x00\x00", b"\x50\xff\xff\x7f"] {
        let desk = three_ends(|desk, now, link| {
            desk.feed(now, link, bytes);
        });
        assert!(!desk.events.contains(&ClientEvent::Kicked), "{:?}", desk.events);
    }
}

/// A retained message.
fn retained(topic: &str, payload: &str) -> Vec<u8> {
    let mut packet = publish1(topic, 9, payload);
    packet[0] |= 1;
    packet
}

#[test]
fn what_the_server_kept_is_no_offer_and_is_told_once_a_session() {
    let mut desk = Desk::new();
    let told = |desk: &Desk| {
        let event = ClientEvent::Retained { device: FIRST };
        desk.events.iter().filter(|other| **other == event).count()
    };
    let mut link = desk.up(at(0));
    desk.sent(at(0), link);
    for session in 1..=2 {
        let now = at(session * 100);
        for _ in 0..2 {
            desk.feed(now, link, &retained("$ota/update/P/D", &offer("http://store.example/f")));
            assert_eq!(desk.sent(now, link), b"\x40\x02\x00\x09", "acknowledged");
        }
        assert_eq!(desk.client.updater(FIRST).unwrap().state(), State::Idle);
        assert_eq!(told(&desk), usize::try_from(session).unwrap());
        desk.client.handle_closed(now, link, true);
        desk.poll(now);
        let (due, next) = next_link(&mut desk, now);
        let subscribe = login(&mut desk, due, next);
        desk.feed(due, next, &[0x90, 3, subscribe[2], subscribe[3], 1]);
        desk.sent(due, next);
        link = next;
    }
    assert!(!desk.events.iter().any(|event| matches!(
        event,
        ClientEvent::Device { event: Device::Started { .. } | Device::Offered, .. }
    )));
}

#[test]
fn a_reply_that_the_server_kept_answers_nothing() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, &retained("$ota/update/P/D", REPLY));
    assert!(!desk.client.updater(FIRST).unwrap().is_settled());
    desk.feed(at(1), link, &publish("$ota/update/P/D", REPLY));
    desk.sent(at(1), link);
    assert!(desk.client.updater(FIRST).unwrap().is_settled());
}

#[test]
fn what_the_server_kept_for_the_application_reaches_it() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.client.subscribe(at(0), "P/D/data", AtLeastOnce).unwrap();
    desk.sent(at(0), link);
    let found = desk.feed(at(1), link, &retained("P/D/data", "kept"));
    assert!(matches!(found[..], [Found::Message { .. }]), "{found:?}");
}

#[test]
fn no_wait_of_a_client_is_zero() {
    type Set = fn(&mut ota_wire::client::ClientConfig, Micros);
    let waits: [Set; 11] = [
        |c, wait| c.mqtt.timing.connack = wait,
        |c, wait| c.mqtt.timing.suback = wait,
        |c, wait| c.mqtt.timing.puback = wait,
        |c, wait| c.mqtt.timing.pingresp = wait,
        |c, wait| c.mqtt.timing.write = wait,
        |c, wait| c.mqtt.timing.blocked = wait,
        |c, wait| c.mqtt.timing.resubscribe = wait,
        |c, wait| (c.reconnect.min_interval, c.reconnect.base) = (wait, Micros::ZERO),
        |c, wait| (c.reconnect.min_interval, c.reconnect.cap) = (Micros::ZERO, wait),
        |c, wait| (c.reconnect.min_interval, c.reconnect.cap_open) = (Micros::ZERO, wait),
        |c, wait| c.connect = wait,
    ];
    for (n, set) in waits.iter().enumerate() {
        // Time is counted in microseconds.
        for (nanos, good) in [(0, false), (999, false), (1_000, true)] {
            let mut config = config();
            set(&mut config, Duration::from_nanos(nanos).into());
            let made = Client::new(at(0), config);
            assert_eq!(made.err(), (!good).then_some(ConfigError::Time), "{n}: {nanos}");
        }
    }
}

#[test]
fn no_wait_of_a_device_that_follows_itself_is_zero() {
    type Set = fn(&mut ota_proto::Timing);
    let waits: [Set; 4] = [
        |timing| timing.puback = Micros::ZERO,
        |timing| timing.reply = Micros::ZERO,
        |timing| timing.journal_retry = Duration::from_nanos(999).into(),
        |timing| timing.unread = Micros::ZERO,
    ];
    for set in waits {
        let mut config = device("P", "D");
        set(&mut config.timing);
        let mut client = Client::new(at(0), crate::common::config()).unwrap();
        let added = client.add_device(at(0), config, boot());
        assert_eq!(added, Err(AddError::Config(ota_proto::ConfigError::Timing)));
    }
}

#[test]
fn limits_that_a_device_s_messages_never_fit_are_refused() {
    let added = |change: fn(&mut ota_wire::mqtt::SessionLimits)| {
        let mut config = config();
        change(&mut config.mqtt.limits);
        let mut client = Client::new(at(0), config).unwrap();
        client.add_device(at(0), device("P", "D"), boot()).map(|_| ())
    };
    let limit = |what, needed| Err(AddError::Limit { what, needed });
    // The topic and 265 bytes.
    assert_eq!(added(|l| (l.tx, l.ota_tx) = (320, 256)), limit("ota_tx", 280));
    assert_eq!(added(|l| (l.tx, l.ota_tx) = (330, 279)), limit("ota_tx", 280));
    assert_eq!(added(|l| (l.tx, l.ota_tx) = (330, 280)), Ok(()));
    assert_eq!(added(|l| l.packet = 526), limit("packet", 527));
    assert_eq!(added(|l| l.packet = 527), Ok(()));
    let mut small = config();
    small.http.request = 1_279;
    let mut client = Client::new(at(0), small).unwrap();
    let added = client.add_device(at(0), device("P", "D"), boot());
    // The longest URL, and 256 bytes.
    assert_eq!(added, Err(AddError::Limit { what: "request", needed: 1_280 }));
    let mut config = config();
    config.mqtt.limits.ota_window = 0;
    assert_eq!(Client::new(at(0), config).err(), Some(ConfigError::Window));
}

#[test]
fn a_report_waits_until_the_longest_one_would_fit() {
    let report = publish1("$ota/report/P/D", 3, REPORT_010).len();
    // PUBACKs, PINGREQ and DISCONNECT have 36 bytes of their own.
    for (spare, both) in [(279, false), (280, true)] {
        let mut config = config();
        (config.mqtt.limits.tx, config.mqtt.limits.ota_tx) = (36 + report + spare, 280);
        let mut desk = Desk::with(config, &[device("P", "D"), device("Q", "E")]);
        let link = desk.open(at(0), LinkKind::Broker);
        login(&mut desk, at(0), link);
        desk.feed(at(0), link, b"\x90\x03\x00\x01\x01\x90\x03\x00\x02\x01");
        desk.work(at(0));
        let waiting = desk.client.transmit(link).len();
        assert_eq!(waiting, if both { 2 * report } else { report }, "{spare}");
    }
}

/// A desk whose application subscribed and acknowledges nothing: 8 messages block all others.
fn stalled() -> (Desk, Link) {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.client.subscribe(at(0), "P/D/data", AtLeastOnce).unwrap();
    let sent = desk.sent(at(0), link);
    assert!(sent.windows(8).any(|part| part == b"P/D/data"));
    eight(&mut desk, at(0), link);
    (desk, link)
}

fn eight(desk: &mut Desk, now: Instant, link: Link) {
    for id in 1..=8 {
        desk.feed(now, link, &publish1("P/D/data", id, "x"));
    }
    desk.work(now);
    assert!(!desk.idle.read_broker);
}

#[test]
fn after_an_application_that_stalled_the_device_is_served_first() {
    let (mut desk, _) = stalled();
    desk.client.handle_timeout(at(59));
    desk.poll(at(59));
    assert!(!desk.events.contains(&ClientEvent::LeftOut));
    desk.client.handle_timeout(at(60));
    desk.poll(at(60));
    assert!(desk.events.contains(&ClientEvent::LeftOut), "{:?}", desk.events);
    let (now, link) = next_link(&mut desk, at(60));
    let subscribe = login(&mut desk, now, link);
    assert_eq!(subscribe.len(), SUBSCRIBE.len(), "the device's alone: {subscribe:?}");
    let minute = now + Duration::from_secs(60);
    desk.feed(now, link, &[0x90, 3, subscribe[2], subscribe[3], 1]);
    desk.sent(now, link);
    let puback = [0x40, 2, 0, subscribe[3] + 1];
    desk.feed(now, link, &puback);
    desk.feed(now, link, &publish("$ota/update/P/D", REPLY));
    // An offer follows its reply: the rest of the minute is the device's.
    let early = Instant::from_micros(minute.as_micros() - 1);
    desk.client.handle_timeout(early);
    desk.poll(early);
    assert_eq!(desk.idle.deadline, Some(minute));
    let waits = desk.client.transmit(link).to_vec();
    assert!(!waits.windows(8).any(|part| part == b"P/D/data"), "{waits:?}");
    desk.client.handle_timeout(minute);
    let sent = desk.sent(minute, link);
    assert!(sent.windows(8).any(|part| part == b"P/D/data"), "back: {sent:?}");
}

#[test]
fn an_open_update_keeps_the_application_s_filters_out() {
    let (mut desk, _) = stalled();
    desk.client.handle_timeout(at(60));
    desk.poll(at(60));
    let (now, link) = next_link(&mut desk, at(60));
    let subscribe = login(&mut desk, now, link);
    desk.feed(now, link, &[0x90, 3, subscribe[2], subscribe[3], 1]);
    desk.sent(now, link);
    desk.feed(now, link, &[0x40, 2, 0, subscribe[3] + 1]);
    desk.feed(now, link, &publish("$ota/update/P/D", &offer("http://store.example/f")));
    let store = desk.open(now, LinkKind::Store);
    desk.client.handle_connected(now, store);
    let later = now + Duration::from_secs(61);
    desk.client.handle_timeout(later);
    desk.work(later);
    let waits = desk.client.transmit(link).to_vec();
    assert!(!waits.windows(8).any(|part| part == b"P/D/data"), "{waits:?}");
    assert_ne!(desk.client.updater(FIRST).unwrap().state(), State::Idle);
}

/// A cloud that answers no report: the device is not settled, perhaps never.
#[test]
fn a_cloud_that_is_silent_keeps_the_application_s_filters_out_for_five_minutes_and_no_longer() {
    let (mut desk, _) = stalled();
    desk.client.handle_timeout(at(60));
    desk.poll(at(60));
    let (began, link) = next_link(&mut desk, at(60));
    let subscribe = login(&mut desk, began, link);
    desk.feed(began, link, &[0x90, 3, subscribe[2], subscribe[3], 1]);
    let mut now = began;
    loop {
        let sent = desk.sent(now, link);
        if sent.windows(8).any(|part| part == b"P/D/data") {
            break;
        }
        assert!(now < began + Duration::from_secs(900), "forever");
        desk.feed(now, link, &acknowledged(&sent));
        desk.work(now);
        if sent.is_empty() {
            now = desk.idle.deadline.unwrap().max(now);
            desk.client.handle_timeout(now);
        }
    }
    assert!(now >= began + Duration::from_secs(300), "{now}");
    assert!(!desk.client.updater(FIRST).unwrap().is_settled());
}

/// Two days of an application that acknowledges nothing.
#[test]
fn an_application_that_never_takes_a_message_costs_few_sessions_and_no_update() {
    let (mut desk, _) = stalled();
    desk.client.handle_timeout(at(60));
    desk.poll(at(60));
    let (mut now, mut sessions, mut replies) = (at(60), 0, 0);
    let end = at(48 * 3_600);
    while now < end {
        let (due, link) = next_link(&mut desk, now);
        now = due;
        sessions += 1;
        let subscribe = login(&mut desk, now, link);
        desk.feed(now, link, &[0x90, 3, subscribe[2], subscribe[3], 1]);
        desk.sent(now, link);
        let [high, low] = (u16::from_be_bytes([subscribe[2], subscribe[3]]) + 1).to_be_bytes();
        desk.feed(now, link, &[0x40, 2, high, low]);
        desk.feed(now, link, &publish("$ota/update/P/D", REPLY));
        desk.work(now);
        replies += u32::from(desk.client.updater(FIRST).unwrap().is_settled());
        now = now + Duration::from_secs(60);
        desk.client.handle_timeout(now);
        let sent = desk.sent(now, link);
        let at = sent.windows(8).position(|part| part == b"P/D/data").expect("it comes back");
        let id = [sent[at - 4], sent[at - 3]];
        desk.feed(now, link, &[0x90, 3, id[0], id[1], 1]);
        eight(&mut desk, now, link);
        now = now + Duration::from_secs(60);
        desk.client.handle_timeout(now);
        desk.poll(now);
        desk.events.clear();
    }
    assert_eq!(replies, sessions, "every session hears its reply");
    // A pause of 150 s on average, and two minutes of session.
    assert!((500..=700).contains(&sessions), "{sessions}");
}

#[test]
fn a_filter_at_qos_0_never_stalls() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.client.subscribe(at(0), "P/D/data", AtMostOnce).unwrap();
    desk.sent(at(0), link);
    for _ in 0..100 {
        desk.feed(at(0), link, &publish("P/D/data", "x"));
    }
    desk.work(at(0));
    assert!(desk.idle.read_broker);
}

/// The credentials of the next request when the firmware server's link opens.
fn basic(desk: &mut Desk, now: Instant) -> (Link, Option<String>) {
    let store = desk.open(now, LinkKind::Store);
    desk.client.handle_connected(now, store);
    let request = String::from_utf8(desk.sent(now, store)).unwrap();
    let line = request.lines().find_map(|line| line.strip_prefix("Authorization: Basic "));
    (store, line.map(str::to_owned))
}

#[test]
fn a_url_s_user_is_told_to_its_own_origin_and_to_no_other() {
    // `user:p@ss` and `a:b`.
    let (offered, hop) = (Some("dXNlcjpwQHNz"), Some("YTpi"));
    for (locations, want) in [
        (&["/g", "g?x", "http://store.example:80/g", "//STORE.example/h"][..], &[offered; 4][..]),
        (&["http://store.example:81/g"], &[None]),
        (&["http://other.example/g"], &[None]),
        // After another origin it is not trusted any more.
        (&["http://other.example/g", "http://store.example/f"], &[None, None]),
        // A target's own user applies to that request only.
        (&["http://a:b@other.example/g", "/h"], &[hop, None]),
        (&["http://a:b@store.example/g", "/h", "/i"], &[hop, None, None]),
    ] {
        let mut desk = Desk::new();
        let link = desk.up(at(0));
        desk.sent(at(0), link);
        let offer = offer("http://user:p%40ss@store.example/f");
        desk.feed(at(1), link, &publish("$ota/update/P/D", &offer));
        let (mut store, first) = basic(&mut desk, at(1));
        assert_eq!(first.as_deref(), offered);
        for (location, want) in locations.iter().zip(want) {
            let head = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
            desk.feed(at(1), store, head.as_bytes());
            let (next, got) = basic(&mut desk, at(1));
            assert_eq!(got.as_deref(), *want, "{location} of {locations:?}");
            store = next;
        }
        let shown = format!("{:?}", desk.client);
        assert!(!shown.contains("p%40ss") && !shown.contains("dXNlcjpw"), "{shown}");
    }
}

#[test]
fn a_url_s_user_is_refused_unless_it_is_asked_for() {
    let mut device = device("P", "D");
    device.url_user = false;
    let mut desk = Desk::with(config(), &[device]);
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://a:b@store.example/f")));
    let sent = desk.sent(at(1), link);
    assert!(sent.windows(12).any(|part| part == b"url unusable"), "{}", sent.escape_ascii());
}

#[test]
fn a_redirect_to_a_url_with_a_user_is_refused_unless_it_is_asked_for() {
    let mut device = device("P", "D");
    device.url_user = false;
    let mut desk = Desk::with(config(), &[device]);
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/f")));
    let (store, none) = basic(&mut desk, at(1));
    assert_eq!(none, None);
    desk.feed(at(1), store, b"HTTP/1.1 302 Found\r\nLocation: http://a:b@other/g\r\n\r\n");
    let outs = desk.work(at(1));
    assert_eq!(outs, [Out::Close(store)]);
}
