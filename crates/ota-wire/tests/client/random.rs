//! Any input in any state, links of other clients included: no panic, no stale deadline, and the
//! same inputs lead to the same state.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use ota_proto::{
    Command, Hold, Installed, Instant, OpId, QoS, StorageError, TlsError, TransportError, Work,
};
use ota_wire::Client;
use ota_wire::client::{DeviceIndex, DeviceInput, Found, Input as Call, Link, LinkKind};
use ota_wire::mqtt::AckId;
use ota_wire::record::Recorder;
use proptest::prelude::*;

use crate::common::*;

#[derive(Clone, Debug)]
pub(crate) enum Input {
    Wait(u64),
    Timeout,
    Early,
    Poll,
    Connected(u8),
    Failed(u8, u8),
    Sent(u8, usize),
    Received(u8, Vec<u8>),
    Closed(u8, bool),
    Stored(bool),
    Command(u8),
    Publish(bool, u8),
    Subscribe(u8),
    Acknowledge,
    Disconnect,
    PrepareStop,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let image = "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n0123456789abcdef";
    let good: Vec<Vec<u8>> = vec![
        CONNACK.to_vec(),
        SUBACK.to_vec(),
        b"\x90\x03\x00\x02\x01".to_vec(),
        b"\x40\x02\x00\x02".to_vec(),
        b"\x40\x02\x00\x03".to_vec(),
        b"\xd0\x00".to_vec(),
        b"\x20\x02\x00\x05".to_vec(),
        publish("$ota/update/P/D", REPLY),
        publish("$ota/update/P/D", &offer("http://a.example/x?sign=HUSH1")),
        publish("$ota/update/P/D", &offer("http:\\/\\/a.example\\/x\\u003fsign=HUSH2\\u0026a#b")),
        publish("$ota/update/Q/E", &offer("http://b.example/y")),
        publish("$ota/update/Q/E", &offer("http://HUSH3@b.example/y?HUSH4 HUSH5"))[..160].to_vec(),
        publish1("$ota/update/Q/E", 3, REPLY),
        publish1("data", 4, "hello HUSH8"),
        image.as_bytes().to_vec(),
        image.as_bytes()[..45].to_vec(),
        image.as_bytes()[45..].to_vec(),
        b"HTTP/1.1 302 Found\r\nLocation: http://c.example/\r\n\r\n".to_vec(),
        b"HTTP/1.1 302 Found\r\nSet-Cookie: HUSH6\r\nlocation: /z?HUSH7\r\n\r\n".to_vec(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8;x\r\n01234567\r\n8\r\n89ab"
            .to_vec(),
        b"cdef\r\n0\r\n\r\n".to_vec(),
        b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_vec(),
    ];
    prop_oneof![
        8 => proptest::sample::select(good),
        1 => proptest::collection::vec(any::<u8>(), 0..60),
    ]
}

pub(crate) fn input() -> impl Strategy<Value = Input> {
    let link = 0..6_u8;
    prop_oneof![
        2 => (0..20_000_u64).prop_map(Input::Wait),
        2 => Just(Input::Timeout),
        1 => Just(Input::Early),
        4 => Just(Input::Poll),
        4 => link.clone().prop_map(Input::Connected),
        1 => (link.clone(), 0..6_u8).prop_map(|(link, why)| Input::Failed(link, why)),
        6 => (link.clone(), 0..3_000_usize).prop_map(|(link, n)| Input::Sent(link, n)),
        12 => (link.clone(), bytes()).prop_map(|(link, rx)| Input::Received(link, rx)),
        1 => (link, any::<bool>()).prop_map(|(link, clean)| Input::Closed(link, clean)),
        6 => any::<bool>().prop_map(Input::Stored),
        2 => (0..30_u8).prop_map(Input::Command),
        1 => (any::<bool>(), any::<u8>()).prop_map(|(qos, size)| Input::Publish(qos, size)),
        1 => (0..4_u8).prop_map(Input::Subscribe),
        1 => Just(Input::Acknowledge),
        1 => Just(Input::Disconnect),
        1 => Just(Input::PrepareStop),
    ]
}

/// The client under test and what it asked for.
#[derive(Clone)]
pub(crate) struct Play {
    pub(crate) client: Recorder,
    now: Instant,
    /// The newest links first, and links of another client.
    links: Vec<Link>,
    ops: Vec<(DeviceIndex, OpId, bool)>,
    writes: Vec<(DeviceIndex, OpId)>,
    acks: Vec<AckId>,
}

fn client(bytes: usize) -> Recorder {
    let mut client = Recorder::new(at(0), config(), bytes).unwrap();
    client.add_device(at(0), device("P", "D"), boot()).unwrap();
    let mut asking = device("Q", "E");
    (asking.consent, asking.approval, asking.install) = (Hold::Ask, Hold::Ask, Hold::Ask);
    client.add_device(at(0), asking, boot()).unwrap();
    client
}

impl Play {
    /// With a recording of this many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let mut desk = Desk::new();
        let foreign = desk.up(at(0));
        let links = vec![foreign; 2];
        Self {
            client: client(bytes),
            now: at(0),
            links,
            ops: Vec::new(),
            writes: Vec::new(),
            acks: Vec::new(),
        }
    }

    fn link(&self, n: u8) -> Link {
        self.links.get(usize::from(n)).copied().unwrap_or(self.links[0])
    }

    pub(crate) fn poll(&mut self) -> Idle {
        let (outs, idle) = poll(&mut self.client, self.now);
        for out in outs {
            match out {
                Out::Connect(link, ..) => {
                    self.links.retain(|old| old.kind != link.kind || old != &link);
                    self.links.insert(0, link);
                    self.links.truncate(6);
                }
                Out::Do(device, op, work) => {
                    self.ops.push((device, op, matches!(work, Work::Digest { .. })));
                }
                Out::Close(_) | Out::Event(_) => {}
            }
        }
        idle
    }

    pub(crate) fn step(&mut self, input: &Input) {
        let now = self.now;
        match input {
            Input::Wait(millis) => self.now = now + Duration::from_millis(*millis),
            Input::Timeout => {
                let idle = self.poll();
                if let Some(deadline) = idle.deadline {
                    self.now = self.now.max(deadline);
                    let before = self.client.clone();
                    self.give(Call::Timeout);
                    let later = self.poll().deadline.is_none_or(|next| next > self.now);
                    assert!(
                        later || self.client.client() != before.client(),
                        "a stale deadline {:?}",
                        idle
                    );
                }
            }
            Input::Early => self.give(Call::Timeout),
            Input::Poll => {
                self.poll();
            }
            Input::Connected(link) => self.give(Call::Connected { link: self.link(*link) }),
            Input::Failed(link, why) => {
                let why = match why {
                    0 => TransportError::Resolve,
                    1 => TransportError::Refused,
                    2 => TransportError::TimedOut,
                    3 => TransportError::Tls(TlsError::Expired),
                    4 => TransportError::Closed,
                    _ => TransportError::Malformed,
                };
                self.give(Call::ConnectFailed { link: self.link(*link), error: why });
            }
            Input::Sent(link, n) => self.give(Call::Sent { link: self.link(*link), count: *n }),
            Input::Received(link, rx) => self.receive(self.link(*link), rx),
            Input::Closed(link, clean) => {
                self.give(Call::Closed { link: self.link(*link), clean: *clean });
            }
            Input::Stored(good) => self.complete(*good),
            Input::Command(n) => self.command(*n),
            Input::Publish(qos, size) => {
                let qos = if *qos { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                let payload = b"HUSH9".repeat(usize::from(*size) / 5);
                let _ = self.client.publish(now, "t", &payload, qos);
            }
            Input::Subscribe(n) => {
                let filter = ["data", "a/+", "$ota/#", "bad/#/x"][usize::from(*n)];
                let _ = self.client.subscribe(now, filter, QoS::AtLeastOnce);
            }
            Input::Acknowledge => {
                if let Some(ack) = self.acks.pop() {
                    self.give(Call::Acknowledge(ack));
                }
            }
            Input::Disconnect => self.give(Call::Disconnect),
            Input::PrepareStop => self.give(Call::PrepareStop),
        }
    }

    fn receive(&mut self, link: Link, mut rx: &[u8]) {
        for _ in 0..1_000 {
            let received = self.client.handle_received(self.now, link, rx);
            assert!(received.consumed <= rx.len());
            let more = received.consumed > 0 || received.found.is_some();
            match received.found {
                Some(Found::Write { device, op, span, .. }) => {
                    assert!(span.end <= rx.len());
                    self.writes.push((device, op));
                }
                Some(Found::Message { topic, payload, ack }) => {
                    assert!(topic.end <= payload.start && payload.end <= rx.len());
                    self.acks.extend(ack);
                }
                None => {}
            }
            rx = &rx[received.consumed..];
            if !more {
                return;
            }
        }
        panic!("it never wants more bytes");
    }

    fn complete(&mut self, good: bool) {
        let result = if good { Ok(()) } else { Err(StorageError::Failed) };
        if let Some((device, op)) = self.writes.pop() {
            self.tell(device, DeviceInput::Done(op, result.map(|()| None)));
        }
        let Some((device, op, hashes)) = self.ops.pop() else { return };
        self.tell(device, DeviceInput::Done(op, result.map(|()| hashes.then(|| digest(IMAGE)))));
    }

    fn tell(&mut self, device: DeviceIndex, input: DeviceInput) {
        self.give(Call::Device { device, input });
    }

    fn give(&mut self, input: Call<'_>) {
        self.client.handle(self.now, input);
    }

    fn command(&mut self, n: u8) {
        let now = self.now;
        let Some(device) = self.client.client().devices().nth(usize::from(n % 2)) else { return };
        let command = match n / 2 {
            0 => Command::Cancel,
            1 => Command::Installed(Installed::NeedsRestart),
            2 => Command::Installed(Installed::Running),
            3 => Command::ReportNow,
            4 => Command::Confirm,
            5 => Command::Accept,
            6 => Command::Defer(now + Duration::from_secs(30)),
            7 => Command::Refuse,
            8 => Command::Approve,
            9 => Command::Veto,
            10 => Command::Install,
            11 => Command::RollBack,
            12 => Command::Forgive,
            _ => {
                let from = 1_700_000_000 + now.as_millis() / 1_000;
                return self.tell(device, DeviceInput::Certificate(ota_proto::Peer::Broker, from));
            }
        };
        self.tell(device, DeviceInput::Command(command));
    }
}

fn hash(client: &Client) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    hasher.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_input_is_legal_in_any_state(inputs in proptest::collection::vec(input(), 0..120)) {
        let mut play = Play::new(0);
        for input in &inputs {
            let mut twin = play.clone();
            play.step(input);
            twin.step(input);
            prop_assert!(play.client.client() == twin.client.client());
            prop_assert_eq!(hash(play.client.client()), hash(twin.client.client()));
            for link in &play.links {
                prop_assert!(play.client.client().transmit(*link).len() <= 4_096);
            }
            prop_assert!(play.links.iter().filter(|l| l.kind == LinkKind::Broker).count() <= 6);
        }
        // However it stands, it comes to rest and knows what it waits for.
        let idle = play.poll();
        prop_assert!(idle.deadline.is_some());
    }
}
