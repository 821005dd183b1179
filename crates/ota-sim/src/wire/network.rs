//! Connections: opening, sending, delivering, breaking.

use ota_cloud::origin::{Closing, Connection};
use ota_proto::{Instant, TransportError};
use ota_wire::client::{Input, Link, LinkKind};

use crate::trouble::Kind;

use super::broker::{Broker, Said as Asked};
use super::pipe::{End, Pipe};
use super::{Break, Stream, World};

/// Bytes of a receive buffer of the device, as its limits require.
pub(super) const RX: usize = 4_096;

/// One connection with both ends.
#[derive(Clone, Debug)]
pub(super) struct Wire<P> {
    pub(super) link: Link,
    /// When it will be open; `None` once it is.
    pub(super) opening: Option<Instant>,
    pub(super) up: Pipe,
    pub(super) down: Pipe,
    /// Received by the device, not yet consumed.
    pub(super) rx: Vec<u8>,
    /// Whether the bytes in `rx` were offered since the last input and not taken.
    pub(super) offered: bool,
    pub(super) frozen: bool,
    pub(super) peer: P,
}

impl<P> Wire<P> {
    pub(super) fn new(link: Link, open_at: Instant, peer: P) -> Self {
        Self {
            link,
            opening: Some(open_at),
            up: Pipe::default(),
            down: Pipe::default(),
            rx: Vec::new(),
            offered: false,
            frozen: false,
            peer,
        }
    }

    /// Opens it if it is due.
    pub(super) fn open_at(&mut self, now: Instant) -> Option<Link> {
        self.opening.take_if(|at| *at <= now).map(|_| self.link)
    }

    pub(super) fn next(&self, reading: bool) -> Option<Instant> {
        if self.opening.is_some() {
            return self.opening;
        }
        if self.frozen {
            return None;
        }
        let down = self.down.next().filter(|_| reading || self.rx.is_empty());
        self.up.next().into_iter().chain(down).min()
    }
}

impl World {
    /// The device opens a connection.
    pub(super) fn open(&mut self, link: Link) {
        let open = match link.kind {
            LinkKind::Broker => self.layer.broker.is_some(),
            LinkKind::Store => self.layer.store.is_some(),
        };
        if open {
            self.invariants.break_rule(format!("a second link of a kind: {link:?}"));
        }
        self.fault(format!("connect {:?}", link.kind));
        let open_at = self.now + self.setup.latency + self.setup.latency;
        match link.kind {
            LinkKind::Broker => {
                self.layer.broker = Some(Wire::new(link, open_at, Broker::new(self.now)));
            }
            LinkKind::Store => {
                self.layer.store = Some(Wire::new(link, open_at, Connection::new(self.now)));
            }
        }
    }

    /// The device closes a connection; the other end learns it at once.
    pub(super) fn close(&mut self, link: Link) {
        self.fault(format!("close {:?}", link.kind));
        match link.kind {
            LinkKind::Broker => {
                if self.layer.broker.take_if(|wire| wire.link == link).is_some() {
                    self.offline();
                }
            }
            LinkKind::Store => drop(self.layer.store.take_if(|wire| wire.link == link)),
        }
    }

    /// Drops the connections with the device's program.
    pub(super) fn drop_wires(&mut self) {
        if self.layer.broker.take().is_some() {
            self.offline();
        }
        self.layer.store = None;
    }

    fn offline(&mut self) {
        let identity = self.setup.device.identity.clone();
        self.cloud.handle_disconnected(self.now, &identity);
    }

    /// The next event on the connections that only time brings.
    pub(super) fn next_on_wires(&self) -> Option<Instant> {
        let broker = self.layer.broker.as_ref();
        let store = self.layer.store.as_ref();
        let store_peer = store
            .filter(|wire| wire.opening.is_none() && !wire.frozen && !wire.down.is_closed())
            .and_then(|wire| wire.peer.deadline(&self.layer.origin));
        let all = [
            broker.and_then(|wire| wire.next(self.layer.idle.read_broker)),
            broker.map(|wire| wire.peer.deadline()),
            store.and_then(|wire| wire.next(self.layer.idle.read_store)),
            store_peer,
        ];
        if self.is_peer_due() {
            return Some(self.now);
        }
        // Due bytes that the client does not take wait for an input, not for the clock.
        all.into_iter().flatten().filter(|at| *at > self.now).min()
    }

    fn is_peer_due(&self) -> bool {
        let broker =
            self.layer.broker.as_ref().is_some_and(|wire| wire.peer.deadline() <= self.now);
        let store = self.layer.store.as_ref().filter(|wire| {
            let open = wire.opening.is_none() && !wire.frozen && !wire.down.is_closed();
            open && wire.down.room(self.layer.wires.window) > 0
        });
        let store = store.and_then(|wire| wire.peer.deadline(&self.layer.origin));
        broker || store.is_some_and(|at| at <= self.now)
    }

    /// Handles the deadlines of the other ends.
    pub(super) fn wake_peers(&mut self) {
        if self.layer.broker.as_ref().is_some_and(|wire| wire.peer.deadline() <= self.now) {
            self.fault("the broker gives the device up");
            self.break_broker();
        }
        if let Some(wire) = &mut self.layer.store {
            wire.peer.handle_timeout(&self.layer.origin, self.now);
        }
    }

    /// Moves bytes; `false` if none can move now.
    pub(super) fn step_network(&mut self) -> bool {
        self.open_due()
            || self.send_from_device()
            || self.send_from_broker()
            || self.send_from_store()
            || self.deliver_to_broker()
            || self.deliver_to_store()
            || self.deliver_to_device(LinkKind::Broker)
            || self.deliver_to_device(LinkKind::Store)
    }

    fn open_due(&mut self) -> bool {
        let now = self.now;
        let broker = self.layer.broker.as_mut().and_then(|wire| wire.open_at(now));
        let link = broker.or_else(|| self.layer.store.as_mut().and_then(|wire| wire.open_at(now)));
        let away = self.layer.away.as_ref().is_some_and(|span| span.contains(&now));
        let (Some(link), Some(client)) = (link, &mut self.layer.client) else { return false };
        if away && link.kind == LinkKind::Store {
            client.handle(now, Input::ConnectFailed { link, error: TransportError::Refused });
            self.layer.store = None;
            self.met(Kind::StoreAway);
            self.touched();
            return true;
        }
        client.handle(now, Input::Connected { link });
        self.touched();
        self.tell_time();
        true
    }

    fn send_from_device(&mut self) -> bool {
        for kind in [LinkKind::Broker, LinkKind::Store] {
            let (link, room, stream) = match (kind, &self.layer.broker, &self.layer.store) {
                (LinkKind::Broker, Some(wire), _) if wire.opening.is_none() => {
                    (wire.link, wire.up.room(self.layer.wires.window), Stream::ToBroker)
                }
                (LinkKind::Store, _, Some(wire)) if wire.opening.is_none() => {
                    (wire.link, wire.up.room(self.layer.wires.window), Stream::ToStore)
                }
                _ => continue,
            };
            let Some(client) = &mut self.layer.client else { return false };
            let there = client.client().transmit(link).len().min(room);
            if there == 0 {
                continue;
            }
            let sent = self.layer.sent.entry(stream).or_default();
            let count = self.layer.wires.sends.next(there, *sent, &mut self.rng);
            *sent = sent.saturating_add(count as u64);
            let bytes = client.client().transmit(link).get(..count).unwrap_or_default().to_vec();
            client.handle(self.now, Input::Sent { link, count });
            let (now, latency) = (self.now, self.setup.latency);
            match kind {
                LinkKind::Broker => {
                    if let Some(wire) = &mut self.layer.broker {
                        wire.up.send(now, latency, &bytes);
                    }
                }
                LinkKind::Store => {
                    if let Some(wire) = &mut self.layer.store {
                        wire.up.send(now, latency, &bytes);
                    }
                }
            }
            self.touched();
            return true;
        }
        false
    }

    fn send_from_broker(&mut self) -> bool {
        let (now, latency, window) = (self.now, self.setup.latency, self.layer.wires.window);
        let Some(wire) = &mut self.layer.broker else { return false };
        let count = wire.peer.transmit().len().min(wire.down.room(window));
        if count > 0 {
            let bytes = wire.peer.transmit().get(..count).unwrap_or_default().to_vec();
            wire.peer.sent(count);
            wire.down.send(now, latency, &bytes);
            return true;
        }
        if wire.peer.is_closed() && !wire.down.is_closed() {
            wire.down.close(now, latency, End { clean: true });
            return true;
        }
        false
    }

    fn send_from_store(&mut self) -> bool {
        let (now, latency, window) = (self.now, self.setup.latency, self.layer.wires.window);
        let Some(wire) = &mut self.layer.store else { return false };
        if wire.opening.is_some() || wire.down.is_closed() {
            return false;
        }
        let room = wire.down.room(window);
        let bytes = wire.peer.transmit(&mut self.layer.origin, now);
        let bytes = bytes.get(..room.min(bytes.len())).unwrap_or_default().to_vec();
        if !bytes.is_empty() {
            wire.peer.handle_sent(now, bytes.len());
            wire.down.send(now, latency, &bytes);
            return true;
        }
        let Some(closing) = wire.peer.closing() else { return false };
        // A reset arrives after the bytes sent before it, so that a body breaks at the intended
        // byte.
        wire.down.close(now, latency, End { clean: closing == Closing::Close });
        true
    }

    fn deliver_to_broker(&mut self) -> bool {
        let Some(wire) = self.layer.broker.as_mut().filter(|wire| wire.opening.is_none()) else {
            return false;
        };
        let there = wire.up.arrived(self.now);
        if there == 0 {
            return false;
        }
        let frozen = wire.frozen;
        let count = self.piece(Stream::ToBroker, super::Chunks::Whole, there);
        let Some(wire) = &mut self.layer.broker else { return false };
        let bytes = wire.up.take(count);
        if frozen {
            return true;
        }
        let identity = self.setup.device.identity.clone();
        let asked = wire.peer.receive(self.now, &bytes, &identity, self.layer.last_login);
        match asked {
            Ok(asked) => asked.into_iter().for_each(|asked| self.do_asked(asked)),
            Err(why) => self.invariants.break_rule(why),
        }
        self.break_after(Stream::ToBroker, count);
        true
    }

    fn do_asked(&mut self, asked: Asked) {
        match asked {
            Asked::Login => self.layer.last_login = Some(self.now),
            Asked::Subscribed => {
                let identity = self.setup.device.identity.clone();
                let known = self.cloud.handle_connected(self.now, &identity);
                debug_assert!(known.is_ok(), "the device is registered");
            }
            Asked::Report(payload) => self.told(&payload),
            Asked::Other => {}
        }
    }

    fn deliver_to_store(&mut self) -> bool {
        let Some(wire) = self.layer.store.as_mut().filter(|wire| wire.opening.is_none()) else {
            return false;
        };
        let there = wire.up.arrived(self.now);
        if there == 0 {
            return false;
        }
        let frozen = wire.frozen;
        let count = self.piece(Stream::ToStore, super::Chunks::Whole, there);
        let Some(wire) = &mut self.layer.store else { return false };
        let bytes = wire.up.take(count);
        if frozen {
            return true;
        }
        let taken = wire.peer.handle_received(self.now, &bytes);
        if taken != bytes.len() {
            self.invariants.break_rule("the store's buffer is full: more than one request?".into());
        }
        self.break_after(Stream::ToStore, count);
        true
    }

    /// Passes the next piece to the device, or the rest of the last ones.
    fn deliver_to_device(&mut self, kind: LinkKind) -> bool {
        let (stream, chunks, reading) = match kind {
            LinkKind::Broker => {
                (Stream::FromBroker, self.layer.wires.broker, self.layer.idle.read_broker)
            }
            LinkKind::Store => {
                (Stream::FromStore, self.layer.wires.store, self.layer.idle.read_store)
            }
        };
        let Some((arrived, rx, offered, frozen, ended)) = self.look(kind) else { return false };
        if frozen {
            return false;
        }
        let there = arrived.min(RX.saturating_sub(rx));
        if reading && rx > 0 && !offered {
            self.feed(kind, &[]);
            return true;
        }
        if reading && there > 0 {
            let count = self.piece(stream, chunks, there);
            let bytes = match kind {
                LinkKind::Broker => self.layer.broker.as_mut().map(|wire| wire.down.take(count)),
                LinkKind::Store => self.layer.store.as_mut().map(|wire| wire.down.take(count)),
            };
            self.feed(kind, &bytes.unwrap_or_default());
            self.break_after(stream, count);
            return true;
        }
        let Some(end) = ended.filter(|end| rx == 0 || !end.clean) else { return false };
        self.end_wire(kind, end);
        true
    }

    fn look(&self, kind: LinkKind) -> Option<(usize, usize, bool, bool, Option<End>)> {
        fn of<P>(wire: &Wire<P>, now: Instant) -> (usize, usize, bool, bool, Option<End>) {
            let ended = wire.down.ended(now);
            (wire.down.arrived(now), wire.rx.len(), wire.offered, wire.frozen, ended)
        }
        match kind {
            LinkKind::Broker => self.layer.broker.as_ref().map(|wire| of(wire, self.now)),
            LinkKind::Store => self.layer.store.as_ref().map(|wire| of(wire, self.now)),
        }
    }

    /// Tells the device that a connection has ended.
    fn end_wire(&mut self, kind: LinkKind, end: End) {
        let link = match kind {
            LinkKind::Broker => self.layer.broker.take().map(|wire| wire.link),
            LinkKind::Store => self.layer.store.take().map(|wire| wire.link),
        };
        if kind == LinkKind::Broker {
            self.offline();
        }
        let (Some(link), Some(client)) = (link, &mut self.layer.client) else { return };
        client.handle(self.now, Input::Closed { link, clean: end.clean });
        self.fault(format!("{kind:?} ended, clean: {}", end.clean));
        self.touched();
    }

    fn break_after(&mut self, stream: Stream, count: usize) {
        let Some(how) = self.pass(stream, count) else { return };
        self.fault(format!("{stream:?}: {how:?}"));
        let broker = matches!(stream, Stream::ToBroker | Stream::FromBroker);
        match (how, broker) {
            (Break::Reset, true) => self.break_broker(),
            (Break::Reset, false) => self.end_wire(LinkKind::Store, End { clean: false }),
            (Break::HalfOpen, true) => {
                self.layer.broker.as_mut().map(|wire| wire.frozen = true).unwrap_or_default();
            }
            (Break::HalfOpen, false) => {
                self.layer.store.as_mut().map(|wire| wire.frozen = true).unwrap_or_default();
            }
        }
    }

    /// Breaks the broker's connection. Both sides learn it, unless it is half-open.
    fn break_broker(&mut self) {
        if self.layer.broker.as_ref().is_some_and(|wire| wire.frozen) {
            self.offline();
            // The device finds out by itself.
            if let Some(wire) = &mut self.layer.broker {
                wire.peer.forget();
            }
            return;
        }
        self.end_wire(LinkKind::Broker, End { clean: false });
    }
}
