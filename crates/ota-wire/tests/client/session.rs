//! A whole update by literal bytes and times.

use ota_proto::{
    Command, Event as Device, Installed, Journal, Micros, SlotAction, SlotState, State, Work,
};
use ota_wire::client::{ClientConfig, ClientEvent, Disconnect, Found, Link, LinkKind, Timer};
use ota_wire::mqtt::{ConnectLogin, SessionError};

use crate::common::*;

/// QoS 1 PUBLISH of the device's report topic.
fn report(id: u16, payload: &str) -> Vec<u8> {
    publish1("$ota/report/P/D", id, payload)
}

fn report0(payload: &str) -> Vec<u8> {
    publish("$ota/report/P/D", payload)
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\nETag: \"1\"\r\n\r\n";

#[test]
fn an_update_from_the_first_connect_to_the_restart() {
    let mut desk = Desk::new();
    let link = log_in(&mut desk);
    report_and_reply(&mut desk, link);
    download(&mut desk, link);
    let record = install(&mut desk, link);
    after_the_restart(&record);
}

fn log_in(desk: &mut Desk) -> Link {
    let link = desk.open(at(0), LinkKind::Broker);
    assert_eq!(desk.idle.timer, Some(Timer::Connect));
    assert_eq!(desk.idle.deadline, Some(at(10)));
    assert!(!desk.idle.read_broker);

    desk.client.handle_connected(at(1), link);
    assert_eq!(desk.client.transmit(link), CONNECT);
    // Partial sends: what is left stays.
    desk.client.handle_sent(at(1), link, 10);
    assert_eq!(desk.client.transmit(link), &CONNECT[10..]);
    assert_eq!(desk.sent(at(1), link), &CONNECT[10..]);
    assert!(desk.idle.read_broker);
    link
}

fn report_and_reply(desk: &mut Desk, link: Link) {
    assert_eq!(desk.feed(at(2), link, CONNACK), []);
    assert_eq!(desk.sent(at(2), link), SUBSCRIBE);
    assert_eq!(desk.events, [ClientEvent::Connected]);
    desk.feed(at(3), link, SUBACK);
    assert_eq!(desk.sent(at(3), link), report(2, REPORT_010));
    assert_eq!(desk.sent(at(3), link), b"");

    desk.feed(at(4), link, b"\x40\x02\x00\x02");
    desk.feed(at(4), link, &publish("$ota/update/P/D", REPLY));
    desk.poll(at(4));
    assert_eq!(desk.events.len(), 2);
    assert_eq!(
        desk.events[1],
        ClientEvent::Device { device: FIRST, event: Device::VersionAccepted }
    );
}

fn download(desk: &mut Desk, link: Link) {
    let url = "http://store.example:8080/P_1.0.0?sign=x";
    desk.feed(at(5), link, &publish("$ota/update/P/D", &offer(url)));
    let store = desk.open(at(5), LinkKind::Store);
    assert_eq!(desk.client.transmit(link), report0(&progress("downloading", Some(0))));
    desk.sent(at(5), link);
    desk.client.handle_connected(at(6), store);
    assert_eq!(
        String::from_utf8(desk.sent(at(6), store)).unwrap(),
        format!(
            "GET /P_1.0.0?sign=x HTTP/1.1\r\nHost: store.example:8080\r\n\
             Accept-Encoding: identity\r\nUser-Agent: {}\r\nConnection: close\r\n\r\n",
            ota_wire::http::USER_AGENT
        )
    );
    assert!(desk.idle.read_store && desk.idle.read_broker);

    // The head and a part of the body.
    let answer = [HEAD.as_bytes(), &IMAGE[..5]].concat();
    assert_eq!(desk.feed_body(at(7), store, &answer), []);
    assert_eq!(desk.sent(at(7), link), report0(&progress("downloading", Some(31))));
    // The rest: the link is closed as soon as all is stored.
    let outs = desk.feed_body(at(8), store, &IMAGE[5..]);
    assert_eq!(outs, [Out::Close(store)]);
    assert_eq!(&desk.flash[..16], IMAGE);
    assert!(!desk.idle.read_store);
}

/// Up to the restart; the last record in the journal.
fn install(desk: &mut Desk, link: Link) -> [u8; Journal::LEN] {
    let said = [
        report0(&progress("downloading", Some(50))),
        report0(&progress("downloading", Some(100))),
        report(3, &progress("burning", None)),
    ];
    assert_eq!(desk.sent(at(9), link), said.concat());
    let install = ClientEvent::Device { device: FIRST, event: Device::Install { size: 16 } };
    assert!(desk.events.contains(&install));

    let updater = desk.client.updater_mut(FIRST).unwrap();
    updater.command(at(10), Command::Installed(Installed::NeedsRestart)).unwrap();
    let mut outs = desk.poll(at(10));
    let (Some(Out::Do(_, op, Work::Persist(record))), true) = (outs.pop(), outs.is_empty()) else {
        panic!()
    };
    desk.client.updater_mut(FIRST).unwrap().handle_done(at(10), op, Ok(None));
    let outs = desk.poll(at(10));
    let [Out::Do(FIRST, op, Work::Slot(SlotAction::Activate))] = outs[..] else {
        panic!("{outs:?}")
    };
    desk.client.updater_mut(FIRST).unwrap().handle_done(at(10), op, Ok(None));
    let restart = ClientEvent::Device { device: FIRST, event: Device::Restart };
    desk.work(at(10));
    assert!(!desk.events.contains(&restart), "burning is not acknowledged");
    desk.feed(at(11), link, b"\x40\x02\x00\x03");
    desk.work(at(11));
    assert!(desk.events.contains(&restart));
    record
}

/// The new image runs on trial: it is confirmed once the cloud has answered its report.
fn after_the_restart(record: &[u8; ota_proto::Journal::LEN]) {
    let mut client = ota_wire::Client::new(at(0), config()).unwrap();
    let boot = ota_proto::Boot {
        running: "1.0.0",
        slot: SlotState::Trial,
        journal: Some(record),
        ..boot()
    };
    client.add_device(at(0), device("P", "D"), boot).unwrap();
    let mut desk = Desk { client, ..Desk::new() };
    let link = desk.up(at(0));
    desk.client.updater_mut(FIRST).unwrap().command(at(1), Command::Confirm).unwrap();
    let version = REPORT_010.replace("0.1.0", "1.0.0");
    assert!(desk.sent(at(1), link).starts_with(&report(2, &version)));
    let reply = REPLY.replace("0.1.0", "1.0.0");
    desk.feed(
        at(2),
        link,
        &[&b"\x40\x02\x00\x02"[..], &publish("$ota/update/P/D", &reply)].concat(),
    );
    // Confirmed, recorded in the journal, and then reported.
    let sent = desk.sent(at(2), link);
    let done = progress("done", None);
    let done = &done.as_bytes();
    assert!(sent.windows(done.len()).any(|window| window == *done), "{}", sent.escape_ascii());
    assert_eq!(desk.client.updater(FIRST).unwrap().state(), State::Idle);
}

#[test]
fn a_download_goes_on_without_the_broker() {
    let (mut desk, link, store) = downloading();
    desk.client.handle_closed(at(7), link, true);
    assert_eq!(desk.poll(at(7)), [Out::Close(link)]);
    assert!(desk.idle.read_store);
    assert!(desk.feed_body(at(8), store, IMAGE).contains(&Out::Close(store)));
    assert_eq!(&desk.flash[..16], IMAGE);
    // The next session comes after the minimum interval, within the cap of an open update.
    let Some(ClientEvent::Disconnected { retry_at, .. }) =
        desk.events.iter().find(|event| matches!(event, ClientEvent::Disconnected { .. }))
    else {
        panic!("{:?}", desk.events)
    };
    assert!((at(7)..=at(37)).contains(retry_at), "{retry_at}");
}

/// A client whose store link is open and has sent its request.
pub(crate) fn downloading() -> (Desk, Link, Link) {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/a?s=1")));
    let store = desk.open(at(1), LinkKind::Store);
    desk.client.handle_connected(at(1), store);
    assert!(desk.sent(at(1), store).starts_with(b"GET /a?s=1 "));
    desk.sent(at(1), link);
    desk.feed(at(1), link, b"\x40\x02\x00\x02");
    desk.feed_body(at(1), store, HEAD.as_bytes());
    desk.events.clear();
    (desk, link, store)
}

#[test]
fn a_chunked_answer_ends_with_its_framing() {
    let (mut desk, _, store) = {
        let mut desk = Desk::new();
        let link = desk.up(at(0));
        desk.sent(at(0), link);
        desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/a")));
        let store = desk.open(at(1), LinkKind::Store);
        desk.client.handle_connected(at(1), store);
        desk.sent(at(1), store);
        (desk, link, store)
    };
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\n01234\r\nb\r\n56789abcdef\r\n0\r\n\r\n";
    assert_eq!(desk.feed_body(at(2), store, answer), [Out::Close(store)]);
    assert_eq!(&desk.flash[..16], IMAGE);
    assert_eq!(desk.client.updater(FIRST).unwrap().progress(), Some((16, 16)));
}

#[test]
fn a_redirect_leads_to_another_host() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/a")));
    let first = desk.open(at(1), LinkKind::Store);
    desk.client.handle_connected(at(1), first);
    desk.sent(at(1), first);
    let found = desk.feed(
        at(2),
        first,
        b"HTTP/1.1 302 Found\r\nLocation: http://other.example:81/b?s=2\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert_eq!(found, []);
    let outs = desk.work(at(2));
    let [Out::Close(closed), Out::Connect(second, host, 81, false)] = &outs[..] else {
        panic!("{outs:?}")
    };
    assert_eq!((*closed, host.as_str()), (first, "other.example"));
    desk.client.handle_connected(at(2), *second);
    let request = desk.sent(at(2), *second);
    assert!(request.starts_with(b"GET /b?s=2 HTTP/1.1\r\nHost: other.example:81\r\n"));
}

#[test]
fn an_answer_of_no_use_closes_the_link_and_is_tried_again() {
    for answer in [
        "HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nabc",
        "SSH-2.0-OpenSSH\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n0123456789abcdef!",
        "HTTP/1.1 200 OK\r\nContent-Length: 16\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut desk = Desk::new();
        let link = desk.up(at(0));
        desk.sent(at(0), link);
        desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/a")));
        let store = desk.open(at(1), LinkKind::Store);
        desk.client.handle_connected(at(1), store);
        desk.sent(at(1), store);
        assert_eq!(desk.feed(at(2), store, answer.as_bytes()), [], "{answer}");
        assert_eq!(desk.work(at(2)), [Out::Close(store)], "{answer}");
        assert_eq!(desk.client.updater(FIRST).unwrap().state(), State::Waiting, "{answer}");
        let retry = desk.idle.deadline.unwrap();
        assert!(retry <= at(32), "{answer}");
    }
}

#[test]
fn a_reply_that_never_comes_is_asked_for_again() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    assert_eq!(desk.sent(at(0), link), report(2, REPORT_010));
    desk.feed(at(0), link, b"\x40\x02\x00\x02");
    desk.work(at(0));
    assert_eq!(desk.idle.deadline, Some(at(10)));
    desk.client.handle_timeout(at(10));
    assert_eq!(desk.sent(at(10), link), report(3, REPORT_010));
}

#[test]
fn a_missing_puback_closes_the_session() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    assert_eq!(desk.sent(at(0), link), report(2, REPORT_010));
    desk.client.handle_timeout(at(10));
    assert_eq!(desk.work(at(10)), [Out::Close(link)]);
    let puback = ota_wire::mqtt::SessionTimer::PubAck;
    assert!(desk.events.iter().any(|event| matches!(
        event,
        ClientEvent::Disconnected { cause: Disconnect::Session(SessionError::TimedOut(timer)), .. }
            if *timer == puback
    )));
}

#[test]
fn offers_reach_the_machine_and_not_the_application() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    let found = desk.feed(at(1), link, &publish1("$ota/update/P/D", 9, REPLY));
    assert_eq!(found, []);
    // Taken, so acknowledged (O16).
    assert_eq!(desk.sent(at(1), link), b"\x40\x02\x00\x09");
    // A topic that nobody subscribed is the application's to judge.
    let found = desk.feed(at(1), link, &publish("$ota/update/P/other", REPLY));
    assert!(matches!(found[..], [Found::Message { ack: None, .. }]));
}

#[test]
fn while_the_slot_is_busy_the_store_is_not_read() {
    let (mut desk, _, store) = downloading();
    desk.work(at(2));
    assert!(desk.idle.read_store);
    let received = desk.client.handle_received(at(2), store, &IMAGE[..10]);
    let Some(Found::Write { device: FIRST, op, at: place, span }) = received.found else {
        panic!()
    };
    // Up to the end of what is erased.
    assert_eq!((place, span, received.consumed), (0, 0..8, 8));
    desk.poll(at(2));
    assert!(!desk.idle.read_store);
    let again = desk.client.handle_received(at(2), store, &IMAGE[8..10]);
    assert_eq!((again.consumed, again.found), (0, None));
    let updater = desk.client.updater_mut(FIRST).unwrap();
    updater.handle_done(at(3), op, Ok(None));
    desk.work(at(3));
    assert!(desk.idle.read_store);
    let rest = desk.client.handle_received(at(3), store, &IMAGE[8..10]);
    assert_eq!(rest.consumed, 2);
}

#[test]
fn a_demonstration_makes_every_time_shorter() {
    fn times(config: &ClientConfig) -> [Micros; 15] {
        let (mqtt, reconnect) = (&config.mqtt.timing, &config.reconnect);
        let ClientConfig { connect, .. } = config;
        [
            [mqtt.keep_alive, mqtt.connack, mqtt.suback, mqtt.puback, mqtt.pingresp],
            [mqtt.write, mqtt.blocked, reconnect.min_interval, reconnect.base, reconnect.cap],
            [
                reconnect.cap_open,
                reconnect.stable,
                reconnect.spread,
                reconnect.kick_window,
                *connect,
            ],
        ]
        .concat()
        .try_into()
        .unwrap()
    }
    let login = ConnectLogin::new("PD".into(), "PD;1;x;2".into(), "secret".into());
    let normal = ClientConfig::new("broker.example".into(), 1883, false, login, 7);
    let mut short = normal.clone();
    short.divide_times(10);
    for (normal, short) in times(&normal).iter().zip(times(&short)) {
        assert_eq!(short.times(10), *normal);
    }
    // CONNECT has whole seconds, and 0 would disable the keep-alive.
    short.divide_times(100);
    assert_eq!(short.mqtt.timing.keep_alive, Micros::from_secs(1));
    assert!(ota_wire::Client::new(at(0), short).is_ok());
}
