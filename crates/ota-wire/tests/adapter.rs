//! The engine with the caller's buffers: one buffer serves all links to the firmware server.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

use core::time::Duration;

use ota_proto::{
    BUILT, Boot, Digester, Identity, Instant, OpId, SlotInfo, SlotState, TransportError, Work,
};
use ota_wire::adapter::{DriverEvent, Ended, Engine, EngineError, LinkTarget, Piece, Step};
use ota_wire::client::{self, ClientConfig, DeviceIndex, Disconnect, Link, LinkKind};
use ota_wire::mqtt::ConnectLogin;

const IMAGE: &[u8; 16] = b"the new firmware";
const DEVICE: DeviceIndex = DeviceIndex::FIRST;

fn config() -> ClientConfig {
    let login = ConnectLogin::new("id".into(), "user".into(), "secret".into());
    ClientConfig::new("broker.example".into(), 1_883, false, login, 7)
}

struct Bench {
    engine: Engine<Vec<u8>>,
    now: Instant,
    topic: String,
    broker: Option<Link>,
}

impl Bench {
    /// A device with an offer and an open link to the firmware server.
    fn fetching() -> (Self, Link) {
        let now = Instant::ZERO;
        let mut engine = Engine::new(now, config(), vec![0; 4_096], vec![0; 4_096]).unwrap();
        let mut device = ota_proto::Config::new(Identity::new("TESTPROD01", "dev001").unwrap(), 7);
        device.allow_http = true;
        let topic = device.identity.update_topic().to_owned();
        let storage = SlotInfo { capacity: 4_096, erase: 4_096, write: 1 };
        let boot = Boot { running: "1.0.0", slot: SlotState::Confirmed, journal: None, storage };
        assert_eq!(engine.add_device(now, device, boot), Ok(DEVICE));
        let mut bench = Self { engine, now, topic, broker: None };
        let broker = bench.connect(LinkKind::Broker);
        bench.broker = Some(broker);
        assert_eq!(bench.sent(broker)[0], 0x10);
        bench.settle();
        bench.receive(broker, &[0x20, 2, 0, 0]);
        bench.settle();
        let subscribe = bench.sent(broker);
        bench.settle();
        bench.receive(broker, &[0x90, 3, subscribe[2], subscribe[3], 1]);
        bench.settle();
        let offer = bench.offer();
        bench.receive(broker, &offer);
        let store = bench.connect(LinkKind::Store);
        assert!(bench.sent(store).starts_with(b"GET /fw"));
        (bench, store)
    }

    fn offer(&self) -> Vec<u8> {
        let mut hash = Digester::new();
        hash.update(IMAGE);
        let text = format!(
            r#"{{"file_size":16,"md5sum":"{}","type":"update_firmware","url":"http://store.example/fw","version":"2.0.0"}}"#,
            hash.finish()
        );
        let len = 2 + self.topic.len() + text.len();
        let mut packet = vec![0x30, (len % 128) as u8 | 0x80, (len / 128) as u8];
        packet.extend([0, self.topic.len() as u8]);
        packet.extend(self.topic.bytes().chain(text.bytes()));
        packet
    }

    /// Polls until there is a link of this kind to be opened, and opens it.
    fn connect(&mut self, kind: LinkKind) -> Link {
        for _ in 0..100 {
            match self.next() {
                Some(Step::Connect(LinkTarget { link, .. })) => {
                    assert_eq!(link.kind, kind);
                    self.engine.handle_connected(self.now, link);
                    return link;
                }
                Some(_) => {}
                None => self.wait(),
            }
        }
        panic!("no link to the {kind:?}");
    }

    /// The earliest time of the next link of this kind, which is not opened.
    fn earliest_time(&mut self, kind: LinkKind) -> u64 {
        for _ in 0..1_000 {
            match self.next() {
                Some(Step::Connect(to)) if to.link.kind == kind => return to.earliest_time,
                Some(_) => {}
                None => self.wait(),
            }
        }
        panic!("no link to the {kind:?}");
    }

    /// The next step but for journal and flash, which work at once; `None`: wait.
    fn next(&mut self) -> Option<Step<Vec<u8>>> {
        loop {
            match self.engine.poll(self.now) {
                Step::Wait(_) => return None,
                Step::Work(_, op, Work::Persist(_) | Work::Erase { .. }) => {
                    self.finish(Ended { op, result: Ok(None), buf: None });
                }
                step => return Some(step),
            }
        }
    }

    fn finish(&mut self, ended: Ended<Vec<u8>>) {
        self.engine.finish(self.now, DEVICE, ended);
    }

    fn settle(&mut self) {
        while self.next().is_some() {}
    }

    fn wait(&mut self) {
        self.now = self.now + Duration::from_secs(1);
        self.engine.handle_timeout(self.now);
    }

    fn sent(&mut self, link: Link) -> Vec<u8> {
        let bytes = self.engine.transmit(link).to_vec();
        self.engine.handle_sent(self.now, link, bytes.len());
        bytes
    }

    fn receive(&mut self, link: Link, bytes: &[u8]) {
        self.engine.room(link)[..bytes.len()].copy_from_slice(bytes);
        self.engine.handle_received(link, bytes.len());
    }

    /// Passes this part of the answer; returns the resulting write.
    fn write(&mut self, store: Link, body: &[u8]) -> (OpId, Piece<Vec<u8>>) {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n";
        self.receive(store, &[head, body].concat());
        loop {
            let step = self.next().expect("a write");
            let Step::Work(_, op, Work::Write { at: 0, bytes: piece }) = step else { continue };
            assert_eq!(piece.bytes(), body);
            return (op, piece);
        }
    }
}

#[test]
fn a_buffer_that_is_too_short_is_the_callers_fault() {
    let short = |broker, store| {
        Engine::new(Instant::ZERO, config(), vec![0_u8; broker], vec![0_u8; store]).err()
    };
    assert_eq!(short(4_095, 1_024), Some(EngineError::Buffer { needed: 4_096 }));
    assert_eq!(short(4_096, 1_023), Some(EngineError::Buffer { needed: 1_024 }));
    assert_eq!(short(4_096, 1_024), None);
}

#[test]
fn while_a_write_has_the_buffer_nothing_is_received() {
    let (mut bench, store) = Bench::fetching();
    assert_eq!(bench.engine.room(store).len(), 4_096);
    let (op, piece) = bench.write(store, IMAGE);
    assert!(bench.engine.room(store).is_empty());
    bench.settle();
    bench.finish(Ended { op, result: Ok(None), buf: Some(piece.buf) });
    let Some(Step::Close(link)) = bench.next() else { panic!("the body is whole") };
    assert_eq!(link, store);
    let Some(Step::Work(_, _, Work::Sync)) = bench.next() else { panic!("all is stored") };
}

#[test]
fn a_buffer_that_comes_back_to_a_link_that_is_gone_is_the_next_ones() {
    let (mut bench, store) = Bench::fetching();
    let (op, piece) = bench.write(store, &IMAGE[..8]);
    bench.engine.handle_closed(store, false);
    let mut closed = false;
    while let Some(step) = bench.next() {
        closed |= matches!(step, Step::Close(link) if link == store);
    }
    assert!(closed && bench.engine.room(store).is_empty(), "it is gone");
    bench.finish(Ended { op, result: Ok(None), buf: Some(piece.buf) });
    let next = bench.connect(LinkKind::Store);
    assert_ne!(next, store);
    assert_eq!(bench.engine.room(next).len(), 4_096);
}

#[test]
fn what_a_peers_certificate_says_of_the_time_is_said_at_its_next_links() {
    let (mut bench, store) = Bench::fetching();
    bench.engine.handle_certificate(bench.now, store, BUILT + 9);
    bench.engine.handle_closed(store, false);
    assert_eq!(bench.earliest_time(LinkKind::Store), BUILT + 9);
    let (mut bench, store) = Bench::fetching();
    let broker = bench.broker.unwrap();
    bench.engine.handle_certificate(bench.now, broker, BUILT + 7);
    bench.engine.handle_closed(store, false);
    assert_eq!(bench.earliest_time(LinkKind::Store), BUILT, "each peer has its own");
    bench.engine.handle_closed(broker, true);
    assert_eq!(bench.earliest_time(LinkKind::Broker), BUILT + 7);
}

#[test]
fn the_end_of_a_read_is_bytes_or_the_end_of_the_link() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n";
    let (mut bench, store) = Bench::fetching();
    bench.engine.room(store)[..head.len()].copy_from_slice(head);
    bench.engine.handle_read::<()>(store, Ok(head.len()));
    bench.settle();
    assert!(!bench.engine.room(store).is_empty(), "it is open");
    for end in [Ok(0), Err(())] {
        let (mut bench, store) = Bench::fetching();
        bench.engine.handle_read(store, end);
        bench.settle();
        assert!(bench.engine.room(store).is_empty(), "{end:?}");
    }
}

#[test]
fn a_link_that_cannot_be_opened_is_told_and_tried_again() {
    let now = Instant::ZERO;
    let engine = Engine::new(now, config(), vec![0; 4_096], vec![0; 4_096]).unwrap();
    let mut bench = Bench { engine, now, topic: String::new(), broker: None };
    let mut failed = 0;
    let mut told = 0;
    for _ in 0..60 {
        match bench.next() {
            Some(Step::Connect(to)) => {
                failed += 1;
                bench.engine.handle_connect_failed(bench.now, to.link, TransportError::Refused);
            }
            Some(Step::Event(DriverEvent::Client(client::ClientEvent::Disconnected {
                cause,
                ..
            }))) => {
                assert_eq!(cause, Disconnect::Transport(TransportError::Refused));
                told += 1;
            }
            Some(_) => {}
            None => bench.wait(),
        }
    }
    assert!(failed >= 3 && told == failed, "{failed} {told}");
}

#[test]
fn each_link_has_the_buffer_of_its_kind() {
    let now = Instant::ZERO;
    let engine = Engine::new(now, config(), vec![0; 5_000], vec![0; 4_096]).unwrap();
    let mut bench = Bench { engine, now, topic: String::new(), broker: None };
    for _ in 0..3 {
        let link = bench.connect(LinkKind::Broker);
        bench.settle();
        assert_eq!(bench.engine.room(link).len(), 5_000);
        bench.engine.handle_closed(link, true);
        bench.settle();
    }
}
