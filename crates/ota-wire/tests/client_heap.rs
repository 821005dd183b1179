//! Bounds of the heap (rule 17 of docs/rules.md): at rest, at most, and none per piece of body.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

use core::mem::size_of;
use core::ops::Range;

use allocation_counter::{AllocationInfo, measure};
use ota_proto::{
    Boot, Command, Digester, Event as Device, Identity, Installed, Instant, Journal, Md5, OpId,
    QoS, SlotAction, SlotInfo, SlotState, State, Updater, Work,
};
use ota_wire::Client;
use ota_wire::client::{
    ClientConfig, ClientEvent, DeviceIndex, Found, Link, LinkKind, Output, enlarge_device,
};
use ota_wire::mqtt::ConnectLogin;

const DEVICE: DeviceIndex = DeviceIndex::FIRST;
const SIZE: usize = 256 * 1_024;
const CHUNK: usize = 1_460;
const ERASE: u32 = 4_096;

/// The state of an adapter. Nothing in it allocates while the client runs.
struct Bench {
    flash: Vec<u8>,
    record: [u8; Journal::LEN],
    broker: Option<Link>,
    store: Option<Link>,
    install: bool,
    restart: bool,
    trial: bool,
    /// What the client has sent to the broker since it was looked at.
    sent: Vec<u8>,
}

/// The follow-up of an output.
#[allow(clippy::large_enum_variant, reason = "a box would be counted")]
enum Todo {
    Work(OpId, Work<Range<usize>>),
    Nothing,
    Idle,
}

impl Bench {
    fn new() -> Self {
        Self {
            flash: vec![0xff; SIZE],
            record: [0xff; Journal::LEN],
            broker: None,
            store: None,
            install: false,
            restart: false,
            trial: false,
            sent: Vec::with_capacity(16 * 1_024),
        }
    }

    /// Polls to idle, does all storage at once, and sends everything.
    fn turn(&mut self, client: &mut Client, now: Instant) {
        loop {
            let todo = self.poll(client, now);
            let updater = client.updater_mut(DEVICE).unwrap();
            match todo {
                Todo::Work(op, work) => {
                    let mut md5 = None;
                    match work {
                        Work::Digest { range } => {
                            let mut digester = Digester::new();
                            digester.update(&self.flash[..usize::try_from(range.end).unwrap()]);
                            md5 = Some(digester.finish());
                        }
                        Work::Persist(record) => self.record = record,
                        Work::Slot(action) => self.trial |= action == SlotAction::Confirm,
                        _ => {}
                    }
                    updater.handle_done(now, op, Ok(md5));
                }
                Todo::Nothing => {}
                Todo::Idle if !self.send(client, now) => return,
                Todo::Idle => {}
            }
        }
    }

    fn poll(&mut self, client: &mut Client, now: Instant) -> Todo {
        match client.poll(now) {
            Output::Connect { link, .. } => {
                match link.kind {
                    LinkKind::Broker => self.broker = Some(link),
                    LinkKind::Store => self.store = Some(link),
                }
                Todo::Nothing
            }
            Output::Do { op, work, .. } => Todo::Work(op, work),
            Output::Event(ClientEvent::Device { event, .. }) => {
                self.install |= matches!(event, Device::Install { .. });
                self.restart |= event == Device::Restart;
                Todo::Nothing
            }
            Output::Idle { .. } => Todo::Idle,
            _ => Todo::Nothing,
        }
    }

    fn send(&mut self, client: &mut Client, now: Instant) -> bool {
        let mut any = false;
        for link in [self.broker, self.store].into_iter().flatten() {
            let bytes = client.transmit(link);
            let count = bytes.len();
            if link.kind == LinkKind::Broker && self.sent.len() + count <= self.sent.capacity() {
                self.sent.extend_from_slice(bytes);
            }
            client.handle_sent(now, link, count);
            any |= count > 0;
        }
        any
    }

    /// Feeds bytes that are taken in full; returns what the calls allocated.
    fn feed(&mut self, client: &mut Client, now: Instant, link: Link, mut rx: &[u8]) -> u64 {
        let mut count = 0;
        while !rx.is_empty() {
            let mut received = None;
            let info = measure(|| received = Some(client.handle_received(now, link, rx)));
            count += info.count_total;
            let received = received.unwrap();
            if let Some(Found::Write { op, at, span, .. }) = received.found {
                let at = usize::try_from(at).unwrap();
                let piece = &rx[span];
                self.flash[at..at + piece.len()].copy_from_slice(piece);
                client.updater_mut(DEVICE).unwrap().handle_done(now, op, Ok(None));
            }
            rx = &rx[received.consumed..];
            self.turn(client, now);
        }
        count
    }
}

/// Which column of rule 17.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Micro,
    Host,
}

fn client(size: Size, boot: Boot<'_>) -> Client {
    let user = "TESTPROD01dev001;21010406;AbC12;4102444800";
    let password = "a10a9f37a362b7680a5d1f8d3fc21d73c6d439b94eef199b033f94dffe8d5265;hmacsha256";
    let login = ConnectLogin::new("TESTPROD01dev001".into(), user.into(), password.into());
    let host = "TESTPROD01.iotcloud.tencentdevices.com".into();
    let mut config = ClientConfig::new(host, 8_883, true, login, 7);
    config.reconnect.spread = ota_proto::Micros::ZERO;
    let identity = Identity::new("TESTPROD01", "dev001").unwrap();
    let mut device = ota_proto::Config::new(identity, 7);
    if size == Size::Host {
        config.enlarge();
        enlarge_device(&mut device);
    }
    let mut client = Client::new(Instant::ZERO, config).unwrap();
    client.add_device(Instant::ZERO, device, boot).unwrap();
    client
}

fn boot() -> Boot<'static> {
    Boot {
        running: "0.1.0",
        slot: SlotState::Confirmed,
        journal: None,
        storage: SlotInfo { capacity: 1_024 * 1_024, erase: ERASE, write: 1 },
    }
}

fn digest(bytes: &[u8]) -> Md5 {
    let mut digester = Digester::new();
    digester.update(bytes);
    digester.finish()
}

/// A PUBLISH of QoS 0 to the device.
fn message(payload: &str) -> Vec<u8> {
    let topic = "$ota/update/TESTPROD01/dev001";
    let len = 2 + topic.len() + payload.len();
    let mut packet =
        vec![0x30, u8::try_from((len % 128) | 128).unwrap(), u8::try_from(len / 128).unwrap()];
    packet.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    packet.extend(topic.as_bytes());
    packet.extend(payload.as_bytes());
    packet
}

fn reply(version: &str) -> Vec<u8> {
    message(&format!(
        r#"{{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"{version}"}}"#
    ))
}

/// The longest URL.
fn url(size: Size) -> String {
    let mut url = "https://ota-1255858890.cos.ap-guangzhou.myqcloud.com/a_1.0.0?sign=".to_owned();
    let most = if size == Size::Host { 4_096 } else { 1_024 };
    url.push_str(&"x".repeat(most - url.len()));
    url
}

/// The largest offer that the limits take: the longest URL and a text of 1.5 KiB.
fn offer(size: Size, image: &[u8]) -> Vec<u8> {
    let url = url(size);
    let text = "u".repeat(1_536);
    message(&format!(
        r#"{{"file_size":{SIZE},"md5sum":"{}","type":"update_firmware","url":"{url}","user_defined":"{text}","version":"1.0.0"}}"#,
        digest(image)
    ))
}

/// CONNACK, SUBACK, PUBACKs of the first packets and the reply.
fn connect(bench: &mut Bench, client: &mut Client, now: Instant, reply: &[u8]) {
    bench.turn(client, now);
    let link = bench.broker.unwrap();
    client.handle_connected(now, link);
    bench.turn(client, now);
    bench.feed(client, now, link, b"\x20\x02\0\0");
    let suback: &[u8] = b"\x90\x03\x00\x01\x01";
    bench.feed(client, now, link, suback);
    for id in 1..=9 {
        bench.feed(client, now, link, &[0x40, 2, 0, id]);
    }
    bench.feed(client, now, link, reply);
    for id in 1..=9 {
        bench.feed(client, now, link, &[0x40, 2, 0, id]);
    }
}

/// The counts of one run.
struct Run {
    boot: AllocationInfo,
    all: AllocationInfo,
    /// Allocations in the calls that took pieces of body, and how many pieces there were.
    pieces: (u64, usize),
    /// Allocations from the head to the last byte, outputs included.
    download: AllocationInfo,
}

/// Fills every buffer of the application's: it publishes while the link takes nothing.
fn flood(client: &mut Client, now: Instant) {
    let payload = [7_u8; 3_000];
    for size in (0..=3_000).rev().step_by(100) {
        while client.publish(now, "t", &payload[..size], QoS::AtLeastOnce).is_ok() {}
        while client.publish(now, "t", &payload[..size], QoS::AtMostOnce).is_ok() {}
    }
}

/// A redirect to the longest URL, behind a long line that does not matter.
fn redirect(size: Size) -> String {
    // With the origin in front of it nearly the longest URL of a microcontroller's.
    let target = if size == Size::Host { url(size) } else { format!("/{}", "z".repeat(960)) };
    let policy = "p".repeat(3_500);
    format!("HTTP/1.1 302 Found\r\nContent-Security-Policy: {policy}\r\nLocation: {target}\r\n\r\n")
}

fn update(size: Size, client_slot: &mut Option<Client>, flooded: bool) -> Run {
    let image: Vec<u8> = (0..SIZE).map(|n| u8::try_from(n * 7 % 251).unwrap()).collect();
    let (offer, reply) = (offer(size, &image), reply("0.1.0"));
    let redirect = redirect(size);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\nETag: \"{}\"\r\nx: {}\r\n\r\n",
        digest(&image),
        "y".repeat(3_000)
    );
    let mut bench = Bench::new();
    let mut pieces = (0, 0);
    let mut download = AllocationInfo::default();
    let mut at_boot = AllocationInfo::default();
    let all = measure(|| {
        at_boot = measure(|| *client_slot = Some(client(size, boot())));
        let client = client_slot.as_mut().unwrap();
        let mut now = Instant::from_secs(1);
        connect(&mut bench, client, now, &reply);
        let link = bench.broker.unwrap();
        if flooded {
            flood(client, now);
        }
        bench.broker = bench.broker.filter(|_| !flooded);
        bench.feed(client, now, link, &offer);
        bench.broker = Some(link);
        let first = bench.store.unwrap();
        client.handle_connected(now, first);
        bench.turn(client, now);
        // Cut within a line that is passed over.
        let (front, back) = redirect.as_bytes().split_at(1_000);
        bench.feed(client, now, first, front);
        bench.feed(client, now, first, back);
        let store = bench.store.unwrap();
        assert_ne!(store, first, "the redirect is followed");
        client.handle_connected(now, store);
        bench.turn(client, now);
        bench.feed(client, now, store, head.as_bytes());
        download = measure(|| {
            for piece in image.chunks(CHUNK) {
                now = now + core::time::Duration::from_millis(10);
                pieces.0 += bench.feed(client, now, store, piece);
                pieces.1 += 1;
            }
        });
        now = now + core::time::Duration::from_secs(2);
        client.handle_timeout(now);
        bench.turn(client, now);
        for id in 1..=9 {
            bench.feed(client, now, link, &[0x40, 2, 0, id]);
        }
        assert!(bench.install, "{:?}", client.updater(DEVICE).unwrap().state());
        let updater = client.updater_mut(DEVICE).unwrap();
        updater.command(now, Command::Installed(Installed::Running)).unwrap();
        bench.turn(client, now);
        // The result, the report and their acknowledgements.
        for _ in 0..3 {
            for id in 1..=12 {
                bench.feed(client, now, link, &[0x40, 2, 0, id]);
            }
            now = now + core::time::Duration::from_secs(2);
            client.handle_timeout(now);
            bench.turn(client, now);
        }
        let updater = client.updater(DEVICE).unwrap();
        assert_eq!((updater.state(), updater.owed()), (State::Idle, None));
    });
    assert!(bench.flash == image);
    Run { boot: at_boot, all, pieces, download }
}

#[test]
fn an_update_stays_within_its_bounds() {
    let mut client = None;
    let run = update(Size::Micro, &mut client, false);
    println!("size_of Updater {}, Client {}", size_of::<Updater>(), size_of::<Client>());
    println!("size_of client Event {}", size_of::<ClientEvent>());
    println!("heap after boot: {} bytes", run.boot.bytes_current);
    println!("heap at peak: {} bytes", run.all.bytes_max);
    println!("heap at rest after an update: {} bytes", run.all.bytes_current);
    println!("allocations in {} pieces of body: {}", run.pieces.1, run.pieces.0);
    println!("allocations of the whole download: {}", run.download.count_total);
    assert_eq!(run.pieces.0, 0, "no allocation per piece of body");
    assert!(run.all.bytes_max <= 16 * 1_024, "{:?}", run.all);
    assert!(run.all.bytes_current <= 2 * 1_024, "{:?}", run.all);
    drop(client);
}

#[test]
fn a_flood_of_the_application_s_stays_within_them_too() {
    let mut client = None;
    let run = update(Size::Micro, &mut client, true);
    println!("heap at peak with full windows: {} bytes", run.all.bytes_max);
    assert!(run.all.bytes_max <= 16 * 1_024, "{:?}", run.all);
    assert!(run.all.bytes_current <= 2 * 1_024, "{:?}", run.all);
    drop(client);
}

#[test]
fn a_host_stays_within_64_kib() {
    for flooded in [false, true] {
        let mut client = None;
        let run = update(Size::Host, &mut client, flooded);
        println!("heap of a host's at peak, flooded {flooded}: {} bytes", run.all.bytes_max);
        assert_eq!(run.pieces.0, 0, "no allocation per piece of body");
        assert!(run.all.bytes_max <= 64 * 1_024, "{:?}", run.all);
        assert!(run.all.bytes_current <= 2 * 1_024, "{:?}", run.all);
        drop(client);
    }
}
