//! The receive buffers of both links: when and where bytes are read, and when the end of a link is
//! reported. The test acts as the client.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use std::collections::VecDeque;

use ota_proto::Instant;
use ota_wire::Client;
use ota_wire::adapter::{Inboxes, LinkTarget, Links, Look};
use ota_wire::client::{ClientConfig, Link, LinkKind, Output, Received};
use ota_wire::mqtt::ConnectLogin;

const NOW: Instant = Instant::ZERO;

/// A client that has opened a link to its broker, and that link.
fn client() -> (Client, Link) {
    let login = ConnectLogin::new("id".into(), "user".into(), "secret".into());
    let config = ClientConfig::new("broker.example".into(), 1_883, false, login, 7);
    let mut client = Client::new(NOW, config).unwrap();
    for at in (0..100).map(|n| Instant::from_secs(n / 10)) {
        client.handle_timeout(at);
        if let Output::Connect { link, .. } = client.poll(at) {
            client.handle_connected(at, link);
            client.handle_timeout(at);
            return (client, link);
        }
    }
    panic!("no link");
}

fn links() -> (Link, Link) {
    let broker = client().1;
    let mut store = broker;
    store.kind = LinkKind::Store;
    (broker, store)
}

/// Takes this many bytes at each look, and keeps what it was told.
#[derive(Debug, Default)]
struct Taker {
    takes: VecDeque<usize>,
    seen: Vec<(LinkKind, Vec<u8>)>,
    closed: Vec<(LinkKind, bool)>,
}

impl Links for Taker {
    fn handle_received(&mut self, _: Instant, link: Link, rx: &[u8]) -> Received {
        self.seen.push((link.kind, rx.to_vec()));
        Received { consumed: self.takes.pop_front().unwrap_or(0), found: None }
    }

    fn handle_closed(&mut self, _: Instant, link: Link, clean: bool) {
        self.closed.push((link.kind, clean));
    }
}

/// Both links are open, each with eight bytes of room.
fn open() -> (Inboxes<Vec<u8>>, Link, Link) {
    let (broker, store) = links();
    let mut inboxes = Inboxes::default();
    for link in [broker, store] {
        inboxes.of(link.kind).open(link, vec![0; 8]);
    }
    (inboxes, broker, store)
}

fn receive(inboxes: &mut Inboxes<Vec<u8>>, link: Link, bytes: &[u8]) {
    inboxes.room(link, true)[..bytes.len()].copy_from_slice(bytes);
    inboxes.handle_received(link, bytes.len());
}

#[test]
fn what_is_unread_moves_only_when_there_is_no_room_behind_it() {
    let (mut inboxes, _, store) = open();
    // The broker's is looked at first, and has nothing.
    let takes = [0, 4, 0, 0, 0, 3, 0, 1].into();
    let mut taker = Taker { takes, ..Taker::default() };
    receive(&mut inboxes, store, b"abcdef");
    assert_eq!(inboxes.room(store, false).len(), 2);
    assert_eq!(inboxes.look(&mut taker, NOW, true), Look::Again);
    assert_eq!(inboxes.store().unread(), b"ef");
    assert_eq!(inboxes.room(store, false).len(), 2, "there is room behind it");
    receive(&mut inboxes, store, b"gh");
    assert_eq!(inboxes.store().unread(), b"efgh");
    assert_eq!(inboxes.room(store, false).len(), 4, "it moved to the front");
    assert_eq!(inboxes.store().unread(), b"efgh");
    receive(&mut inboxes, store, b"ijkl");
    assert!(inboxes.room(store, false).is_empty(), "full");
    assert_eq!(inboxes.store().unread(), b"efghijkl");
    assert_eq!(inboxes.look(&mut taker, NOW, true), Look::Nothing);
    assert_eq!(inboxes.look(&mut taker, NOW, true), Look::Again);
    assert_eq!(inboxes.store().unread(), b"hijkl");
    assert_eq!(inboxes.look(&mut taker, NOW, true), Look::Again);
    assert_eq!(inboxes.room(store, false).len(), 4, "behind the rest, which moved again");
    assert_eq!(inboxes.store().unread(), b"ijkl");
    taker.takes = [0, 4].into();
    assert_eq!(inboxes.look(&mut taker, NOW, true), Look::Again);
    assert_eq!(inboxes.room(store, false).len(), 8, "empty");
    let lent = inboxes.store().lend();
    assert!(inboxes.room(store, false).is_empty() && inboxes.store().unread().is_empty());
    assert_eq!(inboxes.store().give_back(lent), None);
    assert_eq!(inboxes.room(store, false).len(), 8);
}

#[test]
fn a_link_is_read_while_it_is_open_and_wanted() {
    let (mut inboxes, broker, store) = open();
    for (link, read_broker, room) in
        [(broker, true, 8), (broker, false, 0), (store, true, 8), (store, false, 8)]
    {
        assert_eq!(inboxes.room(link, read_broker).len(), room, "{link:?} {read_broker}");
    }
    let (mut taker, bytes) = (Taker::default(), *b"12");
    inboxes.of(LinkKind::Store).close();
    inboxes.handle_received(store, 2);
    inboxes.handle_closed(store, true);
    assert!(inboxes.room(store, true).is_empty());
    assert_eq!(inboxes.look(&mut taker, NOW, true), Look::Nothing);
    assert_eq!(taker.seen, [(LinkKind::Broker, vec![])], "one that is gone is not looked at");
    receive(&mut inboxes, broker, &bytes);
    inboxes.handle_closed(broker, true);
    assert!(inboxes.room(broker, true).is_empty(), "closed by its peer");
    assert_eq!(inboxes.of(LinkKind::Broker).unread(), bytes, "what came before is still there");
}

#[test]
fn the_end_of_a_link_is_told_behind_what_came_before() {
    for clean in [true, false] {
        // Half a packet of the broker's is nothing that storage would free.
        let (mut inboxes, broker, _) = open();
        let mut taker = Taker::default();
        receive(&mut inboxes, broker, b"half");
        inboxes.handle_closed(broker, clean);
        inboxes.handle_closed(broker, !clean);
        assert_eq!(inboxes.look(&mut taker, NOW, false), Look::Again);
        assert_eq!(taker.closed, [(LinkKind::Broker, clean)], "as it was said first");

        // Nor does an empty buffer wait for any.
        let (mut inboxes, _, store) = open();
        let mut taker = Taker::default();
        inboxes.handle_closed(store, clean);
        assert_eq!(inboxes.look(&mut taker, NOW, false), Look::Again);
        assert_eq!(taker.closed, [(LinkKind::Store, clean)]);

        let (mut inboxes, _, store) = open();
        let mut taker = Taker { takes: [0, 0, 0, 1, 0, 0, 0, 0].into(), ..Taker::default() };
        receive(&mut inboxes, store, b"body");
        inboxes.handle_closed(store, clean);
        assert_eq!(inboxes.look(&mut taker, NOW, false), Look::Nothing, "it waits for storage");
        assert_eq!(inboxes.look(&mut taker, NOW, true), Look::Again, "a byte is taken");
        assert_eq!(taker.closed, []);
        assert_eq!(inboxes.look(&mut taker, NOW, true), Look::Again, "no more will be");
        assert_eq!(taker.closed, [(LinkKind::Store, clean)]);
        assert_eq!(inboxes.look(&mut taker, NOW, true), Look::Nothing, "once");
        assert_eq!(taker.closed.len(), 1);
    }
}

#[test]
fn nothing_is_sent_to_a_peer_that_has_closed() {
    let (client, broker) = client();
    let store = links().1;
    for (closed, sends) in [(None, true), (Some(store), true), (Some(broker), false)] {
        let mut inboxes: Inboxes<Vec<u8>> = Inboxes::default();
        inboxes.of(LinkKind::Broker).open(broker, vec![0; 8]);
        inboxes.of(LinkKind::Store).open(store, vec![0; 8]);
        if let Some(link) = closed {
            inboxes.handle_closed(link, true);
        }
        assert_eq!(!inboxes.transmit(&client, broker).is_empty(), sends, "{closed:?}");
    }
}

#[test]
fn a_peer_is_its_name_its_port_and_whether_tls_is_spoken() {
    let (broker, store) = links();
    let peer = |link, host: &str, port, tls, earliest_time| LinkTarget {
        link,
        host: host.into(),
        port,
        tls,
        earliest_time,
    };
    let one = peer(broker, "a.example", 443, true, 7);
    assert!(one.is_same_peer(&peer(store, "a.example", 443, true, 9)));
    for other in [
        peer(broker, "b.example", 443, true, 7),
        peer(broker, "a.example", 444, true, 7),
        peer(broker, "a.example", 443, false, 7),
    ] {
        assert!(!one.is_same_peer(&other), "{other:?}");
    }
}
