//! The links, the flash and the clock around a client.

use std::ops::Range;
use std::time::Duration;

use ota_proto::{
    Boot, Command, Digester, Identity, Installed, Instant, Md5, OpId, SlotInfo, SlotState, State,
    StorageError, TransportError, Work,
};
use ota_wire::Client;
use ota_wire::client::{
    ClientConfig, ClientEvent, DeviceIndex, DeviceInput, Effect, Found, Input as Call, Link,
    LinkKind, Output,
};
use ota_wire::mqtt::{AckId, ConnectLogin, SubId};

use super::peers::{Broker, Store};
use crate::input::Input;

/// Turns to come to rest in.
const TURNS: usize = 4_000;
/// The most that may wait to be sent on a link, in bytes.
const TX: usize = 16 * 1_024;

/// A link as the adapter has it.
#[derive(Debug)]
struct Wire {
    link: Link,
    open: bool,
    /// On their way to the client, and received but not yet consumed.
    coming: Vec<u8>,
    rx: Vec<u8>,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) client: Client,
    wires: [Option<Wire>; 2],
    pub(super) broker: Broker,
    pub(super) store: Store,
    flash: Vec<[u8; 64]>,
    jobs: Vec<(DeviceIndex, OpId, Work<Range<usize>>)>,
    pub(super) acks: Vec<AckId>,
    pub(super) subs: Vec<SubId>,
    /// Links that are closed.
    old: Vec<Link>,
    deadline: Option<Instant>,
}

impl World {
    pub(super) fn new() -> Self {
        let now = Instant::ZERO;
        let login = ConnectLogin::new("PD".into(), "user".into(), "password".into());
        let config = ClientConfig::new("broker.example".into(), 1883, false, login, 7);
        let mut client = Client::new(now, config).unwrap();
        for (product, name) in [("P", "D"), ("Q", "E")] {
            let mut config = ota_proto::Config::new(Identity::new(product, name).unwrap(), 7);
            config.allow_http = true;
            let storage = SlotInfo { capacity: 64, erase: 8, write: 1 };
            let slot = SlotState::Confirmed;
            let boot = Boot { running: "0.1.0", slot, journal: None, storage };
            let added = client.handle(now, Call::add_device(&config, boot));
            assert_eq!(added, Effect::Taken);
        }
        Self {
            now,
            client,
            wires: [None, None],
            broker: Broker::default(),
            store: Store::default(),
            flash: vec![[0; 64]; 2],
            jobs: Vec::new(),
            acks: Vec::new(),
            subs: Vec::new(),
            old: Vec::new(),
            deadline: None,
        }
    }

    pub(super) fn device(&self, n: u8) -> DeviceIndex {
        self.client.devices().nth(usize::from(n % 2)).unwrap()
    }

    fn wire(&mut self, kind: LinkKind) -> Option<&mut Wire> {
        self.wires[kind as usize].as_mut()
    }

    /// Passes an input to the client; `false` if it is refused.
    pub(super) fn handle(&mut self, call: Call<'_>) -> bool {
        self.client.handle(self.now, call) != Effect::Refused
    }

    pub(super) fn command(&mut self, device: DeviceIndex, command: Command) {
        self.handle(Call::Device { device, input: DeviceInput::Command(command) });
    }

    /// Does what the client wants; when its deadline is there, serves it.
    pub(super) fn settle(&mut self) {
        self.drain();
        if self.deadline.is_some_and(|deadline| deadline <= self.now) {
            self.handle(Call::Timeout);
            self.drain();
        }
        let deadline = self.deadline.expect("it waits forever");
        assert!(deadline > self.now, "a stale deadline: {deadline} at {}", self.now);
        for wire in self.wires.iter().flatten() {
            let waiting = self.client.transmit(wire.link).len();
            assert!(waiting <= TX && (wire.open || waiting == 0), "{waiting} bytes");
        }
        self.old.drain(..self.old.len().saturating_sub(8));
        self.acks.drain(..self.acks.len().saturating_sub(8));
    }

    fn drain(&mut self) {
        for _ in 0..500 {
            let now = self.now;
            let Effect::Output(output) = self.client.handle(now, Call::Poll) else {
                panic!("a poll returns an output");
            };
            match output {
                Output::Connect { link, port, .. } => {
                    assert!(port > 0);
                    let place = &mut self.wires[link.kind as usize];
                    assert!(place.is_none(), "a second link of {:?}", link.kind);
                    *place = Some(Wire { link, open: false, coming: Vec::new(), rx: Vec::new() });
                    match link.kind {
                        LinkKind::Broker => self.broker.reset(),
                        LinkKind::Store => self.store.reset(),
                    }
                }
                // It may be closed already from the other side.
                Output::Close { link } => self.forget(link),
                Output::Do { device, op, work } => self.begin(device, op, work),
                Output::Event(ClientEvent::Disconnected { retry_at, .. }) => {
                    assert!(retry_at >= now)
                }
                Output::Event(_) => {}
                Output::Idle { deadline, timer, read_store, .. } => {
                    assert_eq!(deadline.is_some(), timer.is_some());
                    let store = self.wires[LinkKind::Store as usize].as_ref();
                    assert!(!read_store || store.is_some_and(|wire| wire.open));
                    self.deadline = deadline;
                    return;
                }
                other => panic!("unknown: {other:?}"),
            }
        }
        panic!("it never comes to an end");
    }

    fn forget(&mut self, link: Link) {
        let place = &mut self.wires[link.kind as usize];
        if place.take_if(|wire| wire.link == link).is_some() {
            self.old.push(link);
        }
    }

    fn begin(&mut self, device: DeviceIndex, op: OpId, work: Work<Range<usize>>) {
        let journal = |work: &Work<_>| matches!(work, Work::Persist(_));
        let beside = self
            .jobs
            .iter()
            .any(|(other, _, under_way)| *other == device && journal(under_way) == journal(&work));
        assert!(!beside, "{work:?} beside another");
        self.jobs.push((device, op, work));
    }

    pub(super) fn wait_to_deadline(&mut self) {
        self.now = self.deadline.unwrap_or(self.now).max(self.now);
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    pub(super) fn open(&mut self, kind: LinkKind) {
        let Some(wire) = self.wire(kind).filter(|wire| !wire.open) else { return };
        wire.open = true;
        let link = wire.link;
        self.handle(Call::Connected { link });
    }

    pub(super) fn fail_to_open(&mut self, kind: LinkKind, error: TransportError) {
        let Some(wire) = self.wire(kind).filter(|wire| !wire.open) else { return };
        let link = wire.link;
        self.handle(Call::ConnectFailed { link, error });
    }

    pub(super) fn close(&mut self, kind: LinkKind, clean: bool) {
        let Some(wire) = self.wire(kind).filter(|wire| wire.open) else { return };
        let link = wire.link;
        self.handle(Call::Closed { link, clean });
    }

    /// The link takes up to this many bytes, and the peer answers them.
    pub(super) fn send(&mut self, kind: LinkKind, most: usize) {
        let Some(link) = self.wire(kind).map(|wire| wire.link) else { return };
        let bytes = self.client.transmit(link);
        let bytes = bytes[..most.min(bytes.len())].to_vec();
        self.handle(Call::Sent { link, count: bytes.len() });
        let answer = match kind {
            LinkKind::Broker => self.broker.receive(&bytes),
            LinkKind::Store => self.store.receive(&bytes),
        };
        if let Some(wire) = self.wire(kind) {
            wire.coming.extend(answer);
        }
    }

    /// Up to this many bytes of the peer arrive.
    pub(super) fn deliver(&mut self, kind: LinkKind, most: usize) {
        let Some(wire) = self.wire(kind) else { return };
        let n = most.min(wire.coming.len());
        let bytes: Vec<u8> = wire.coming.drain(..n).collect();
        self.inject(kind, &bytes);
    }

    /// These bytes arrive, whatever the peer said.
    pub(super) fn inject(&mut self, kind: LinkKind, bytes: &[u8]) {
        let Some(wire) = self.wire(kind).filter(|wire| wire.open) else { return };
        wire.rx.extend_from_slice(bytes);
        // An adapter has a buffer, not a heap.
        wire.rx.truncate(TX);
        for _ in 0..5_000 {
            let Some(wire) = self.wires[kind as usize].as_mut() else { return };
            let call = Call::Received { link: wire.link, bytes: &wire.rx[..] };
            let Effect::Received(received) = self.client.handle(self.now, call) else {
                panic!("received bytes have an effect of their own");
            };
            assert!(received.consumed <= wire.rx.len());
            let device = match &received.found {
                Some(Found::Write { device, op, at, span }) => {
                    let at = usize::try_from(*at).unwrap();
                    let bytes = &wire.rx[span.clone()];
                    self.flash[device.get()][at..at + bytes.len()].copy_from_slice(bytes);
                    Some((*device, *op, Work::Write { at: at as u64, bytes: span.clone() }))
                }
                Some(Found::Message { topic, payload, ack }) => {
                    assert!(topic.end <= payload.start && payload.end <= wire.rx.len());
                    self.acks.extend(*ack);
                    None
                }
                None => None,
            };
            wire.rx.drain(..received.consumed);
            if let Some((device, op, work)) = device {
                self.begin(device, op, work);
            }
            if received.consumed == 0 && received.found.is_none() {
                return;
            }
            self.drain();
        }
        panic!("it never wants more bytes");
    }

    /// The oldest operation ends.
    pub(super) fn complete(&mut self, result: Result<(), StorageError>) {
        if self.jobs.is_empty() {
            return;
        }
        let (device, op, what) = self.jobs.remove(0);
        let md5 = match what {
            Work::Digest { range } => {
                Some(digest(&self.flash[device.get()][..usize::try_from(range.end).unwrap()]))
            }
            _ => None,
        };
        let input = DeviceInput::Done(op, result.map(|()| md5));
        self.handle(Call::Device { device, input });
        // What waits in a buffer may be taken now.
        self.drain();
        self.inject(LinkKind::Store, &[]);
    }

    /// Whatever comes late from a closed link has no effect.
    pub(super) fn strangers(&mut self, input: &mut Input<'_>) {
        let Some(place) = input.place(self.old.len()) else { return };
        let (now, link) = (self.now, self.old[place]);
        let before = self.client.clone();
        let call = match input.byte() % 5 {
            0 => Call::Connected { link },
            1 => Call::ConnectFailed { link, error: TransportError::Refused },
            2 => Call::Sent { link, count: 5 },
            3 => Call::Received { link, bytes: input.bytes(20) },
            _ => Call::Closed { link, clean: input.flag() },
        };
        let received = match &call {
            Call::Received { bytes, .. } => Some(bytes.len()),
            _ => None,
        };
        let effect = self.client.handle(now, call);
        if let (Some(consumed), Effect::Received(effect)) = (received, effect) {
            assert_eq!((effect.consumed, effect.found), (consumed, None));
        }
        assert!(self.client == before, "a closed link had an effect");
        assert!(self.client.transmit(link).is_empty());
    }

    /// All around the client behave: every device comes to rest.
    pub(super) fn come_to_rest(&mut self) {
        self.broker.replies = true;
        self.store.answer = 6;
        self.close(LinkKind::Broker, true);
        self.close(LinkKind::Store, true);
        for _ in 0..TURNS {
            self.settle();
            for device in self.client.devices() {
                if self.client.updater(device).unwrap().state() == State::Installing {
                    let failed = Installed::Failed(ota_proto::InstallFault::Image);
                    self.command(device, Command::Installed(failed));
                }
            }
            for kind in [LinkKind::Broker, LinkKind::Store] {
                self.open(kind);
                self.send(kind, usize::MAX);
                self.deliver(kind, usize::MAX);
            }
            if !self.jobs.is_empty() {
                self.complete(Ok(()));
            } else if self.is_at_rest() {
                return;
            } else if self
                .wires
                .iter()
                .flatten()
                .all(|wire| self.client.transmit(wire.link).is_empty() && wire.coming.is_empty())
            {
                self.settle();
                self.wait_to_deadline();
            }
        }
        let states = self.client.devices().map(|device| {
            let updater = self.client.updater(device).unwrap();
            (updater.state(), updater.owed(), updater.is_settled())
        });
        panic!("it never comes to rest: {:?}", states.collect::<Vec<_>>());
    }

    fn is_at_rest(&self) -> bool {
        self.client.devices().all(|device| {
            let updater = self.client.updater(device).unwrap();
            // The restart is nobody's business here.
            updater.state() == State::Restarting
                || updater.state() == State::Idle && updater.is_settled()
        })
    }
}

fn digest(bytes: &[u8]) -> Md5 {
    let mut digester = Digester::new();
    digester.update(bytes);
    digester.finish()
}
