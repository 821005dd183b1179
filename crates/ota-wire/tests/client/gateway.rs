//! One connection for a gateway and its sub-device; one fetch at a time.

use ota_proto::{Event as Device, Outcome, Reason, State, StorageError, Work};
use ota_wire::client::{AddError, ClientEvent, DeviceIndex, Found, Link, LinkKind, Received};
use ota_wire::mqtt::SubscribeError;

use crate::common::*;

fn gateway() -> (Desk, Link) {
    let mut desk = Desk::with(config(), &[device("P", "D"), device("Q", "E")]);
    let link = desk.open(at(0), LinkKind::Broker);
    desk.client.handle_connected(at(0), link);
    desk.sent(at(0), link);
    desk.feed(at(0), link, CONNACK);
    let both = b"\x82\x14\x00\x01\x00\x0f$ota/update/P/D\x01\
        \x82\x14\x00\x02\x00\x0f$ota/update/Q/E\x01";
    assert_eq!(desk.sent(at(0), link), both);
    (desk, link)
}

/// Both devices have reported and were answered.
fn settled() -> (Desk, Link) {
    let (mut desk, link) = gateway();
    desk.feed(at(0), link, b"\x90\x03\x00\x02\x01\x90\x03\x00\x01\x01");
    let sent = desk.sent(at(0), link);
    for topic in ["$ota/report/P/D", "$ota/report/Q/E"] {
        let report = publish1(topic, if topic.ends_with('D') { 3 } else { 4 }, REPORT_010);
        assert!(sent.windows(report.len()).any(|window| window == report), "{topic}");
    }
    desk.feed(at(0), link, b"\x40\x02\x00\x03\x40\x02\x00\x04");
    desk.feed(at(0), link, &publish("$ota/update/P/D", REPLY));
    desk.feed(at(0), link, &publish("$ota/update/Q/E", REPLY));
    desk.poll(at(0));
    (desk, link)
}

#[test]
fn each_device_has_its_own_session() {
    let (mut desk, link) = gateway();
    desk.feed(at(1), link, b"\x90\x03\x00\x02\x01");
    assert_eq!(desk.sent(at(1), link), publish1("$ota/report/Q/E", 3, REPORT_010));
    desk.feed(at(2), link, b"\x90\x03\x00\x01\x01");
    assert_eq!(desk.sent(at(2), link), publish1("$ota/report/P/D", 4, REPORT_010));
}

#[test]
fn a_refused_sub_device_does_not_cost_the_gateway_its_session() {
    let (mut desk, link) = gateway();
    desk.feed(at(1), link, b"\x90\x03\x00\x02\x80");
    desk.feed(at(1), link, b"\x90\x03\x00\x01\x01");
    assert_eq!(desk.sent(at(1), link), publish1("$ota/report/P/D", 3, REPORT_010));
    assert!(desk.events.iter().any(|event| matches!(event, ClientEvent::SubscribeRefused(_))));
}

#[test]
fn a_sub_device_that_comes_online_later_gets_its_subscription_within_a_minute() {
    let (mut desk, link) = gateway();
    desk.feed(at(1), link, b"\x90\x03\x00\x01\x01\x90\x03\x00\x02\x80");
    desk.sent(at(1), link);
    desk.feed(at(1), link, b"\x40\x02\x00\x03");
    desk.feed(at(1), link, &publish("$ota/update/P/D", REPLY));
    let again = |id| [b"\x82\x14\x00", &[id][..], b"\x00\x0f$ota/update/Q/E\x01"].concat();
    let mut asked = |secs, id, code| {
        desk.poll(at(secs - 1));
        desk.client.handle_timeout(at(secs - 1));
        let early = desk.sent(at(secs - 1), link);
        assert!(early.is_empty() || early == b"\xc0\x00", "{early:?}");
        desk.client.handle_timeout(at(secs));
        let sent = desk.sent(at(secs), link);
        assert!(sent.ends_with(&again(id)), "{secs}: {sent:?}");
        desk.feed(at(secs), link, &[b"\xd0\x00\x90\x03\x00", &[id, code][..]].concat());
        desk.sent(at(secs), link)
    };
    assert!(asked(61, 4, 0x80).is_empty());
    assert_eq!(asked(121, 5, 1), publish1("$ota/report/Q/E", 6, REPORT_010));
    let told = desk.events.iter().filter(|event| matches!(event, ClientEvent::SubscribeRefused(_)));
    assert_eq!(told.count(), 1);
}

#[test]
fn a_message_reaches_the_device_of_its_topic() {
    let (mut desk, link) = settled();
    let second = desk.client.clone();
    desk.feed(at(1), link, &publish("$ota/update/Q/E", &offer("http://store.example/e")));
    let first = desk.client.updater(FIRST);
    assert!(first == second.updater(FIRST));
    desk.work(at(1));
    let index = desk.events.iter().rev().find_map(|event| match event {
        ClientEvent::Device { device, event: Device::Started { .. } } => Some(device.get()),
        _ => None,
    });
    assert_eq!(index, Some(1));
}

#[test]
fn the_second_device_gets_its_turn() {
    let (mut desk, link) = settled();
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/d")));
    desk.feed(at(1), link, &publish("$ota/update/Q/E", &offer("http://store.example/e")));
    let outs = desk.work(at(1));
    let [Out::Connect(store, ..)] = outs[..] else { panic!("one fetch at a time: {outs:?}") };
    desk.client.handle_connected(at(1), store);
    assert!(desk.sent(at(1), store).starts_with(b"GET /d "));
    let answer = [&b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n"[..], IMAGE].concat();
    let outs = desk.feed_body(at(2), store, &answer);
    let [Out::Close(closed), Out::Connect(next, ..)] = outs[..] else { panic!("{outs:?}") };
    assert_eq!(closed, store);
    desk.client.handle_connected(at(2), next);
    assert!(desk.sent(at(2), next).starts_with(b"GET /e "));
    desk.flash.fill(0xff);
    desk.feed_body(at(3), next, &answer);
    let second = desk.client.clone();
    let states: Vec<_> = [0, 1]
        .map(|n| {
            let device = second.devices().nth(n).unwrap();
            (device.get(), second.updater(device).unwrap().state())
        })
        .to_vec();
    assert!(states.iter().all(|(_, state)| *state != State::Fetching), "{states:?}");
}

#[test]
fn a_device_that_waits_for_the_other_s_fetch_has_no_deadline_of_its_own() {
    let (mut desk, link) = settled();
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/d")));
    desk.feed(at(1), link, &publish("$ota/update/Q/E", &offer("http://store.example/e")));
    let store = desk.open(at(1), LinkKind::Store);
    desk.client.handle_connected(at(1), store);
    desk.sent(at(1), store);
    desk.sent(at(1), link);
    for second in 1..20 {
        desk.work(at(second));
        desk.sent(at(second), link);
        desk.client.handle_timeout(at(second));
        desk.work(at(second));
        assert!(desk.idle.deadline.unwrap() > at(second), "{:?}", desk.idle);
    }
}

#[test]
fn a_device_is_added_once() {
    let mut desk = Desk::new();
    let before = desk.client.clone();
    let again = desk.client.add_device(at(0), device("P", "D"), boot());
    assert_eq!(again, Err(AddError::Subscribe(SubscribeError::Duplicate)));
    assert!(desk.client == before);
}

/// The fate of a storage operation.
enum Fate {
    Well,
    Fails,
    /// It is never answered.
    Never,
}

/// Both devices are offered an image that the store serves at once; the broker acknowledges. Two
/// hours of it, and the operations of the first device have this fate.
fn play(fate: impl Fn(&Out) -> Fate) -> Desk {
    let (mut desk, link) = settled();
    for (topic, path) in [("$ota/update/P/D", "d"), ("$ota/update/Q/E", "e")] {
        let offer = offer(&format!("http://store.example/{path}"));
        desk.feed(at(1), link, &publish(topic, &offer));
    }
    let mut store: Option<(Link, Vec<u8>)> = None;
    let mut now = at(1);
    while now < at(7_200) {
        let outs = desk.poll(now);
        let mut busy = !outs.is_empty();
        for out in outs {
            match out {
                Out::Connect(link, ..) => {
                    desk.client.handle_connected(now, link);
                    store = Some((link, Vec::new()));
                }
                Out::Close(link) => store = store.filter(|(open, _)| *open != link),
                out => store_works(&mut desk, now, &out, &fate),
            }
        }
        let sent = desk.client.transmit(link).to_vec();
        desk.client.handle_sent(now, link, sent.len());
        desk.feed(now, link, &acknowledged(&sent));
        if let Some((link, rx)) = &mut store {
            let asked = desk.client.transmit(*link).len();
            desk.client.handle_sent(now, *link, asked);
            if asked > 0 {
                rx.extend(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n");
                rx.extend(IMAGE);
            }
            let Received { consumed, found } = desk.client.handle_received(now, *link, rx);
            if let Some(Found::Write { device, op, at, span }) = found {
                let place = usize::try_from(at).unwrap();
                let piece = &rx[span];
                desk.flash[place..place + piece.len()].copy_from_slice(piece);
                desk.client.updater_mut(device).unwrap().handle_done(now, op, Ok(None));
            }
            busy |= consumed > 0;
            rx.drain(..consumed);
        }
        if !busy && sent.is_empty() {
            now = desk.idle.deadline.unwrap().max(now);
            desk.client.handle_timeout(now);
        }
    }
    desk
}

fn store_works(desk: &mut Desk, now: ota_proto::Instant, out: &Out, fate: impl Fn(&Out) -> Fate) {
    let Out::Do(device, op, work) = out else { panic!("{out:?}") };
    let result = match fate(out) {
        _ if *device != FIRST => Ok(()),
        Fate::Well => Ok(()),
        Fate::Fails => Err(StorageError::Failed),
        Fate::Never => return,
    };
    let updater = desk.client.updater_mut(*device).unwrap();
    let md5 = matches!(work, Work::Digest { .. }).then(|| digest(IMAGE));
    updater.handle_done(now, *op, result.map(|()| md5));
}

fn results(desk: &Desk, device: DeviceIndex) -> Vec<Outcome> {
    let told = |event: &ClientEvent| match event {
        ClientEvent::Device { device: of, event: Device::Reported { outcome } }
            if *of == device =>
        {
            Some(*outcome)
        }
        _ => None,
    };
    desk.events.iter().filter_map(told).collect()
}

#[test]
fn a_device_whose_journal_always_fails_does_not_keep_the_other_from_its_update() {
    for never in [false, true] {
        let desk = play(|out| match out {
            Out::Do(.., Work::Persist(_)) if never => Fate::Never,
            Out::Do(.., Work::Persist(_)) => Fate::Fails,
            _ => Fate::Well,
        });
        let second = desk.client.devices().nth(1).unwrap();
        let state = |device| desk.client.updater(device).unwrap().state();
        assert_eq!(state(second), State::Installing, "never answers: {never}");
        // Nothing may be reported that the journal does not contain (O10), but the attempt is over.
        assert_eq!(state(FIRST), State::Idle);
        let failed = Some(Outcome::Failed(Reason::Storage));
        assert_eq!(desk.client.updater(FIRST).unwrap().owed(), failed);
        assert_eq!(results(&desk, FIRST), []);
    }
}

#[test]
fn a_device_whose_slot_never_answers_says_so_and_the_other_updates() {
    type Is = fn(&Out) -> bool;
    let stuck: [Is; 3] = [
        |out| matches!(out, Out::Do(.., Work::Erase { .. })),
        |out| matches!(out, Out::Do(.., Work::Sync)),
        |out| matches!(out, Out::Do(.., Work::Digest { .. })),
    ];
    for is in stuck {
        let desk = play(|out| if is(out) { Fate::Never } else { Fate::Well });
        let second = desk.client.devices().nth(1).unwrap();
        assert_eq!(desk.client.updater(second).unwrap().state(), State::Installing);
        assert_eq!(results(&desk, FIRST), [Outcome::Failed(Reason::Storage)]);
    }
}
