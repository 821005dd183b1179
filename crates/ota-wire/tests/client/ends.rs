//! The effects of the end of a link.

use ota_proto::Instant;
use ota_wire::client::LinkKind;

use crate::common::*;
use crate::session::downloading;

#[test]
fn a_device_is_offline_without_its_link() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(0), link, b"\x40\x02\x00\x02");
    desk.feed(at(0), link, &publish("$ota/update/P/D", REPLY));
    assert!(desk.client.updater(FIRST).unwrap().is_settled());
    desk.client.handle_closed(at(1), link, true);
    assert!(!desk.client.updater(FIRST).unwrap().is_settled());
    // The only deadline is the next link.
    desk.poll(at(1));
    assert_eq!(desk.idle.timer, Some(ota_wire::client::Timer::Reconnect));
}

#[test]
fn the_floor_counts_from_the_moment_the_link_was_open() {
    let mut desk = Desk::new();
    let link = desk.open(at(0), LinkKind::Broker);
    desk.client.handle_connected(at(8), link);
    desk.client.handle_closed(at(8), link, false);
    desk.poll(at(8));
    assert!(desk.idle.deadline.unwrap() >= at(13), "{:?}", desk.idle);
}

#[test]
fn more_sent_than_there_was_counts_as_all_of_it() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/a")));
    let store = desk.open(at(1), LinkKind::Store);
    desk.client.handle_connected(at(1), store);
    assert!(!desk.client.transmit(store).is_empty());
    desk.client.handle_sent(at(1), store, usize::MAX);
    assert!(desk.client.transmit(store).is_empty());
    desk.client.handle_sent(at(1), link, usize::MAX);
    assert!(desk.client.transmit(link).is_empty());
}

#[test]
fn a_clock_that_runs_backwards_stands_still() {
    let (mut desk, link, store) = downloading();
    desk.work(at(5));
    let mut twin = desk.client.clone();
    for (client, now) in [(&mut desk.client, at(2)), (&mut twin, at(5))] {
        client.handle_timeout(now);
        client.handle_sent(now, link, 0);
        let _ = client.handle_received(now, store, &IMAGE[..4]);
        client.handle_closed(now, link, false);
    }
    let state = |client: &ota_wire::Client| client.updater(FIRST).unwrap().clone();
    assert!(state(&desk.client) == state(&twin));
    let _ = poll(&mut desk.client, Instant::ZERO);
}

#[test]
fn a_client_is_stopped_when_nothing_is_left_that_could_be_made_durable() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.client.prepare_stop(at(1));
    desk.work(at(1));
    assert!(desk.client.is_stopped());

    let (mut desk, _, store) = downloading();
    desk.feed(at(2), store, &IMAGE[..8]);
    desk.client.prepare_stop(at(3));
    assert!(!desk.client.is_stopped(), "bytes are stored and not synced");
    desk.work(at(3));
    assert!(desk.client.is_stopped());
}

#[test]
fn a_good_bye_leaves_before_its_link_is_closed() {
    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.client.disconnect(at(1));
    assert_eq!(desk.poll(at(1)), [], "it waits");
    assert_eq!(desk.client.transmit(link), b"\xe0\x00");
    desk.client.handle_sent(at(1), link, 1);
    assert_eq!(desk.poll(at(1)), []);
    desk.client.handle_sent(at(1), link, 1);
    assert_eq!(desk.poll(at(1)), [Out::Close(link)]);
}

#[test]
fn devices_are_counted_from_0() {
    let desk = Desk::with(config(), &[device("P", "D"), device("P", "E"), device("P", "F")]);
    let places: Vec<usize> = desk.client.devices().map(|device| device.get()).collect();
    assert_eq!(places, [0, 1, 2]);
}

#[test]
fn a_deadline_of_something_else_leaves_the_stores_link_alone() {
    let (mut desk, _, store) = downloading();
    desk.client.handle_timeout(at(2));
    assert_eq!(desk.work(at(2)), [], "an open one");
    assert!(desk.events.is_empty(), "{:?}", desk.events);
    desk.feed_body(at(3), store, IMAGE);

    let mut desk = Desk::new();
    let link = desk.up(at(0));
    desk.sent(at(0), link);
    desk.feed(at(1), link, &publish("$ota/update/P/D", &offer("http://store.example/a")));
    let store = desk.open(at(1), LinkKind::Store);
    desk.client.handle_timeout(at(2));
    assert_eq!(desk.work(at(2)), [], "one that is being opened");
    desk.client.handle_connected(at(3), store);
    assert!(!desk.client.transmit(store).is_empty());
}
