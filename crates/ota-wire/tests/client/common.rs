//! A desk with one client: the test acts as the network, the flash and the application.

use std::ops::Range;

use ota_proto::{Boot, Digester, Identity, Instant, Md5, OpId, SlotInfo, SlotState, Work};
use ota_wire::Client;
use ota_wire::client::{
    ClientConfig, ClientEvent, DeviceIndex, Found, Link, LinkKind, Output, Received, Timer,
};
use ota_wire::mqtt::ConnectLogin;
use ota_wire::record::Recorder;

pub(crate) const CONNACK: &[u8] = b"\x20\x02\x00\x00";
/// Keep-alive 60 s, user name and password, clean session.
pub(crate) const CONNECT: &[u8] =
    b"\x10\x20\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02PD\x00\x08PD;1;x;2\x00\x06secret";
pub(crate) const SUBSCRIBE: &[u8] = b"\x82\x14\x00\x01\x00\x0f$ota/update/P/D\x01";
pub(crate) const SUBACK: &[u8] = b"\x90\x03\x00\x01\x01";
pub(crate) const FIRST: DeviceIndex = DeviceIndex::FIRST;
/// A recognisable body.
pub(crate) const IMAGE: &[u8] = b"0123456789abcdef";

pub(crate) fn at(secs: u64) -> Instant {
    Instant::from_secs(secs)
}

pub(crate) fn config() -> ClientConfig {
    let login = ConnectLogin::new("PD".into(), "PD;1;x;2".into(), "secret".into());
    let mut config = ClientConfig::new("broker.example".into(), 1883, false, login, 7);
    config.reconnect.spread = ota_proto::Micros::ZERO;
    config
}

pub(crate) fn device(product: &str, name: &str) -> ota_proto::Config {
    let identity = Identity::new(product, name).unwrap();
    let mut config = ota_proto::Config::new(identity, 7);
    config.allow_http = true;
    config.url_user = true;
    config
}

pub(crate) fn boot() -> Boot<'static> {
    Boot {
        running: "0.1.0",
        slot: SlotState::Confirmed,
        journal: None,
        storage: SlotInfo { capacity: 64, erase: 8, write: 1 },
    }
}

/// An output, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Connect(Link, String, u16, bool),
    Close(Link),
    Do(DeviceIndex, OpId, Work<Range<usize>>),
    Event(ClientEvent),
}

/// The content of the last idle output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Idle {
    pub(crate) deadline: Option<Instant>,
    pub(crate) timer: Option<Timer>,
    pub(crate) read_broker: bool,
    pub(crate) read_store: bool,
}

pub(crate) struct Desk {
    pub(crate) client: Client,
    pub(crate) flash: Vec<u8>,
    pub(crate) idle: Idle,
    /// Every event so far.
    pub(crate) events: Vec<ClientEvent>,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self::with(config(), &[device("P", "D")])
    }

    pub(crate) fn with(config: ClientConfig, devices: &[ota_proto::Config]) -> Self {
        let mut client = Client::new(at(0), config).unwrap();
        for device in devices {
            client.add_device(at(0), device.clone(), boot()).unwrap();
        }
        let idle = Idle { deadline: None, timer: None, read_broker: false, read_store: false };
        Self { client, flash: vec![0xff; 64], idle, events: Vec::new() }
    }

    /// Polls to idle and returns what came before, events left out.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<Out> {
        let all = poll(&mut self.client, now);
        self.idle = all.1;
        let mut rest = Vec::new();
        for out in all.0 {
            match out {
                Out::Event(event) => self.events.push(event),
                other => rest.push(other),
            }
        }
        rest
    }

    /// Polls and performs the work of flash and journal; returns the other outputs.
    pub(crate) fn work(&mut self, now: Instant) -> Vec<Out> {
        let mut rest = Vec::new();
        loop {
            let outs = self.poll(now);
            let mut worked = false;
            for out in outs {
                match out {
                    Out::Do(device, op, work) => {
                        let md5 = match work {
                            Work::Digest { range } => {
                                Some(digest(&self.flash[..usize::try_from(range.end).unwrap()]))
                            }
                            _ => None,
                        };
                        self.client.updater_mut(device).unwrap().handle_done(now, op, Ok(md5));
                    }
                    other => {
                        rest.push(other);
                        continue;
                    }
                }
                worked = true;
            }
            if !worked {
                return rest;
            }
        }
    }

    /// The link that the client asks to open now, and nothing else.
    pub(crate) fn open(&mut self, now: Instant, kind: LinkKind) -> Link {
        let outs = self.work(now);
        let Some(Out::Connect(link, ..)) =
            outs.iter().find(|out| matches!(out, Out::Connect(link, ..) if link.kind == kind))
        else {
            panic!("no connect: {outs:?}, {:?}", self.idle)
        };
        *link
    }

    /// A broker link with an accepted login and an active subscription.
    pub(crate) fn up(&mut self, now: Instant) -> Link {
        let link = self.open(now, LinkKind::Broker);
        self.client.handle_connected(now, link);
        assert_eq!(self.sent(now, link), CONNECT);
        self.feed(now, link, CONNACK);
        let subscribe = self.sent(now, link);
        assert_eq!(subscribe[0], 0x82);
        let suback = [0x90, 3, subscribe[2], subscribe[3], 1];
        self.feed(now, link, &suback);
        link
    }

    /// Takes everything that is to be sent on a link.
    pub(crate) fn sent(&mut self, now: Instant, link: Link) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            self.work_quietly(now);
            let bytes = self.client.transmit(link).to_vec();
            if bytes.is_empty() {
                return all;
            }
            self.client.handle_sent(now, link, bytes.len());
            all.extend(bytes);
        }
    }

    fn work_quietly(&mut self, now: Instant) {
        let outs = self.work(now);
        assert_eq!(outs, [], "not expected now");
    }

    /// Passes bytes to the client like an adapter; returns the content.
    pub(crate) fn feed(&mut self, now: Instant, link: Link, mut rx: &[u8]) -> Vec<Found> {
        let mut all = Vec::new();
        loop {
            let Received { consumed, found } = self.client.handle_received(now, link, rx);
            if let Some(Found::Write { device, op, at, span }) = &found {
                let at = usize::try_from(*at).unwrap();
                let piece = &rx[span.clone()];
                self.flash[at..at + piece.len()].copy_from_slice(piece);
                self.client.updater_mut(*device).unwrap().handle_done(now, *op, Ok(None));
            }
            rx = &rx[consumed..];
            let more = consumed > 0 || found.is_some();
            all.extend(found);
            if !more {
                return all;
            }
        }
    }

    /// Feeds a body, and performs the flash's work between the pieces.
    pub(crate) fn feed_body(&mut self, now: Instant, link: Link, mut rx: &[u8]) -> Vec<Out> {
        let mut outs = Vec::new();
        for _ in 0..1_000 {
            outs.extend(self.work(now));
            let Received { consumed, found } = self.client.handle_received(now, link, rx);
            if let Some(Found::Write { device, op, at, span }) = &found {
                let at = usize::try_from(*at).unwrap();
                let piece = &rx[span.clone()];
                self.flash[at..at + piece.len()].copy_from_slice(piece);
                self.client.updater_mut(*device).unwrap().handle_done(now, *op, Ok(None));
            }
            rx = &rx[consumed..];
            if rx.is_empty() {
                break;
            }
        }
        outs.extend(self.work(now));
        assert_eq!(rx, b"", "taken in full");
        outs
    }
}

/// A client, recorded or not.
pub(crate) trait Polled {
    fn poll(&mut self, now: Instant) -> Output<'_>;
}

impl Polled for Client {
    fn poll(&mut self, now: Instant) -> Output<'_> {
        Client::poll(self, now)
    }
}

impl Polled for Recorder {
    fn poll(&mut self, now: Instant) -> Output<'_> {
        Recorder::poll(self, now)
    }
}

pub(crate) fn poll(client: &mut impl Polled, now: Instant) -> (Vec<Out>, Idle) {
    let mut all = Vec::new();
    for _ in 0..1_000 {
        all.push(match client.poll(now) {
            Output::Connect { link, host, port, tls } => {
                Out::Connect(link, host.to_owned(), port, tls)
            }
            Output::Close { link } => Out::Close(link),
            Output::Do { device, op, work } => Out::Do(device, op, work),
            Output::Event(event) => Out::Event(event),
            Output::Idle { deadline, timer, read_broker, read_store } => {
                return (all, Idle { deadline, timer, read_broker, read_store });
            }
            other => panic!("{other:?}"),
        });
    }
    panic!("never idle: {:?}", all.last())
}

pub(crate) fn digest(bytes: &[u8]) -> Md5 {
    let mut digester = Digester::new();
    digester.update(bytes);
    digester.finish()
}

/// A PUBLISH of QoS 0.
pub(crate) fn publish(topic: &str, payload: &str) -> Vec<u8> {
    packet(0x30, topic, None, payload)
}

/// A PUBLISH of QoS 1.
pub(crate) fn publish1(topic: &str, id: u16, payload: &str) -> Vec<u8> {
    packet(0x32, topic, Some(id), payload)
}

fn packet(first: u8, topic: &str, id: Option<u16>, payload: &str) -> Vec<u8> {
    let mut body = u16::try_from(topic.len()).unwrap().to_be_bytes().to_vec();
    body.extend(topic.as_bytes());
    body.extend(id.into_iter().flat_map(u16::to_be_bytes));
    body.extend(payload.as_bytes());
    let mut all = vec![first];
    let mut len = body.len();
    while len >= 128 {
        all.push(u8::try_from(len % 128).unwrap() | 128);
        len /= 128;
    }
    all.push(u8::try_from(len).unwrap());
    all.extend(body);
    all
}

pub(crate) const REPLY: &str =
    r#"{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"0.1.0"}"#;

/// An offer of [`IMAGE`] as 1.0.0 from this URL.
pub(crate) fn offer(url: &str) -> String {
    format!(
        r#"{{"file_size":16,"md5sum":"{}","type":"update_firmware","url":"{url}","version":"1.0.0"}}"#,
        digest(IMAGE)
    )
}

/// The literal progress report of this state.
pub(crate) fn progress(state: &str, percent: Option<u8>) -> String {
    let percent = percent.map_or(String::new(), |n| format!(r#""percent":"{n}","#));
    format!(
        r#"{{"type":"report_progress","report":{{"progress":{{"state":"{state}",{percent}"result_code":"0","result_msg":""}},"version":"1.0.0"}}}}"#
    )
}

pub(crate) const REPORT_010: &str = r#"{"type":"report_version","report":{"version":"0.1.0"}}"#;

/// The broker's answers to these packets, each shorter than 16 KiB.
pub(crate) fn acknowledged(mut sent: &[u8]) -> Vec<u8> {
    let mut answers = Vec::new();
    while let [first, short, rest @ ..] = sent {
        let (len, rest) = match (short, rest) {
            (0..0x80, rest) => (usize::from(*short), rest),
            (_, [high, rest @ ..]) => (usize::from(short & 0x7f) + (usize::from(*high) << 7), rest),
            _ => panic!("a packet in pieces"),
        };
        let (body, next) = rest.split_at(len);
        match first >> 4 {
            12 => answers.extend(b"\xd0\x00"),
            3 if first & 6 != 0 => {
                let id = 2 + usize::from(body[1]);
                answers.extend([0x40, 2, body[id], body[id + 1]]);
            }
            _ => {}
        }
        sent = next;
    }
    answers
}
