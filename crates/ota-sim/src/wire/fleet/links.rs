//! A device's connections.

use core::time::Duration;

use ota_cloud::origin::{Closing, Connection};
use ota_proto::{Instant, OpId, Rng};
use ota_wire::Client;
use ota_wire::client::{Found, Link, LinkKind};

use crate::wire::broker::{Broker, Said};
use crate::wire::device::Idle;
use crate::wire::network::{RX, Wire};
use crate::wire::pipe::{End, Pipe};

use super::{Hub, identity};

/// The latency of a connection.
const LATENCY: Duration = Duration::from_millis(20);
/// Bytes in progress in one direction.
const WINDOW: usize = 16 * 1_024;

/// Bytes to be written: the operation, the place, the bytes.
type Write = (OpId, u64, Vec<u8>);

/// A device's connections.
#[derive(Debug, Default)]
pub(super) struct Links {
    broker: Option<Box<Wire<Broker>>>,
    store: Option<Box<Wire<Connection>>>,
    /// Bytes of body after which the firmware server's connection breaks.
    breaks: Option<u64>,
    last_login: Option<Instant>,
}

impl Links {
    pub(super) fn open(&mut self, now: Instant, link: Link, index: u32, hub: &mut Hub) {
        let open_at = now + LATENCY + LATENCY;
        let chance = hub.rng.below(1_000) < u64::from(hub.setup.loss);
        match link.kind {
            LinkKind::Broker => {
                self.offline(now, index, hub);
                let peer = Broker::lossy(now, Rng::new(hub.rng.next_u64()), hub.setup.loss);
                self.broker = Some(Box::new(Wire::new(link, open_at, peer)));
            }
            LinkKind::Store => {
                self.breaks = chance.then(|| hub.rng.below(hub.setup.image as u64));
                self.store = Some(Box::new(Wire::new(link, open_at, Connection::new(now))));
            }
        }
    }

    pub(super) fn close(&mut self, now: Instant, link: Link, index: u32, hub: &mut Hub) {
        match link.kind {
            LinkKind::Broker => self.offline(now, index, hub),
            LinkKind::Store => self.store = None,
        }
    }

    pub(super) fn drop_all(&mut self, now: Instant, index: u32, hub: &mut Hub) {
        self.offline(now, index, hub);
        self.store = None;
    }

    fn offline(&mut self, now: Instant, index: u32, hub: &mut Hub) {
        if let Some(wire) = self.broker.take() {
            hub.report.lost = hub.report.lost.saturating_add(wire.peer.lost());
            hub.cloud.handle_disconnected(now, &identity(index));
        }
    }

    pub(super) fn publish(&mut self, topic: &str, payload: Vec<u8>) {
        if let Some(wire) = &mut self.broker {
            wire.peer.publish(topic, payload, false);
        }
    }

    /// Something arrived: the client may take bytes now that it refused before.
    pub(super) fn touched(&mut self) {
        if let Some(wire) = &mut self.broker {
            wire.offered = false;
        }
        if let Some(wire) = &mut self.store {
            wire.offered = false;
        }
    }

    pub(super) fn next(&self, now: Instant, idle: &Idle) -> Option<Instant> {
        let broker = self.broker.as_ref();
        let store = self.store.as_ref();
        let all = [
            broker.and_then(|wire| wire.next(idle.read_broker)),
            broker.map(|wire| wire.peer.deadline()),
            store.and_then(|wire| wire.next(idle.read_store)),
        ];
        // Due bytes that the client does not take wait for an input, not for the clock.
        all.into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Moves bytes between the client and the far ends; `false` when nothing can move.
    pub(super) fn turn(
        &mut self,
        now: Instant,
        client: &mut Client,
        index: u32,
        hub: &mut Hub,
    ) -> bool {
        let broker = self.turn_broker(now, client, index, hub);
        self.turn_store(now, client, hub) || broker
    }

    fn turn_broker(
        &mut self,
        now: Instant,
        client: &mut Client,
        index: u32,
        hub: &mut Hub,
    ) -> bool {
        let Some(wire) = &mut self.broker else { return false };
        let mut any = false;
        if let Some(link) = wire.open_at(now) {
            client.handle_connected(now, link);
            any = true;
        }
        if wire.opening.is_some() {
            return any;
        }
        any |= send(now, client, wire.link, &mut wire.up);
        let there = wire.up.arrived(now);
        if there > 0 {
            any = true;
            let bytes = wire.up.take(there);
            let who = identity(index);
            match wire.peer.receive(now, &bytes, &who, self.last_login) {
                Ok(said) => {
                    for said in said {
                        match said {
                            Said::Login => self.last_login = Some(now),
                            Said::Subscribed => drop(hub.cloud.handle_connected(now, &who)),
                            Said::Report(payload) => {
                                let topic = who.report_topic();
                                let taken = hub.cloud.handle_message(now, topic, &payload);
                                if let Err(error) = taken {
                                    let why = format!("the cloud refused a message: {error:?}");
                                    hub.broken = Some(why);
                                }
                            }
                            Said::Other => {}
                        }
                    }
                }
                Err(why) => hub.broken = Some(why),
            }
        }
        any |= send_from_broker(now, wire);
        if any {
            self.touched();
        }
        let given_up = self.broker.as_ref().is_some_and(|wire| wire.peer.deadline() <= now);
        if given_up {
            let link = self.broker.as_ref().map(|wire| wire.link);
            self.offline(now, index, hub);
            if let Some(link) = link {
                client.handle_closed(now, link, false);
            }
            self.touched();
            return true;
        }
        any
    }

    fn turn_store(&mut self, now: Instant, client: &mut Client, hub: &mut Hub) -> bool {
        let Some(wire) = &mut self.store else { return false };
        let mut any = false;
        if let Some(link) = wire.open_at(now) {
            client.handle_connected(now, link);
            any = true;
        }
        if wire.opening.is_some() {
            return any;
        }
        any |= send(now, client, wire.link, &mut wire.up);
        let there = wire.up.arrived(now);
        if there > 0 {
            any = true;
            let bytes = wire.up.take(there);
            let _ = wire.peer.handle_received(now, &bytes);
        }
        any |= send_from_store(now, wire, &mut self.breaks, hub);
        if any {
            self.touched();
        }
        any
    }

    /// Passes received bytes to the client; returns whether it took any, and the bytes to write.
    pub(super) fn read(
        &mut self,
        now: Instant,
        client: &mut Client,
        idle: &Idle,
        index: u32,
        hub: &mut Hub,
    ) -> (bool, Option<Write>) {
        if let Some(wire) = &mut self.broker {
            let (link, fed) = (wire.link, feed(now, client, wire, idle.read_broker));
            if let Some(end) = fed.end {
                self.offline(now, index, hub);
                client.handle_closed(now, link, end.clean);
            }
            if fed.any {
                self.touched();
                return (true, fed.write);
            }
        }
        let Some(wire) = &mut self.store else { return (false, None) };
        let (link, fed) = (wire.link, feed(now, client, wire, idle.read_store));
        if let Some(end) = fed.end {
            self.store = None;
            client.handle_closed(now, link, end.clean);
        }
        if fed.any {
            self.touched();
        }
        (fed.any, fed.write)
    }
}

/// The result of passing bytes to a client.
#[derive(Default)]
struct Fed {
    any: bool,
    write: Option<Write>,
    end: Option<End>,
}

fn feed<P>(now: Instant, client: &mut Client, wire: &mut Wire<P>, reading: bool) -> Fed {
    let mut fed = Fed::default();
    if wire.opening.is_some() {
        return fed;
    }
    let there = wire.down.arrived(now).min(RX.saturating_sub(wire.rx.len()));
    if !reading || (there == 0 && (wire.rx.is_empty() || wire.offered)) {
        let end = wire.down.ended(now);
        fed.end = end.filter(|end| wire.rx.is_empty() || !end.clean);
        fed.any = fed.end.is_some();
        return fed;
    }
    if there > 0 {
        wire.rx.extend(wire.down.take(there));
    }
    let mut used = 0;
    loop {
        let rx = wire.rx.get(used..).unwrap_or_default();
        let received = client.handle_received(now, wire.link, rx);
        if let Some(Found::Write { op, at, span, .. }) = &received.found {
            let span = rx.get(span.clone()).unwrap_or_default().to_vec();
            fed.write = Some((*op, *at, span));
        }
        used = used.saturating_add(received.consumed);
        if received.consumed == 0 && received.found.is_none() {
            break;
        }
        fed.any = true;
        if fed.write.is_some() {
            break;
        }
    }
    drop(wire.rx.drain(..used.min(wire.rx.len())));
    if wire.rx.is_empty() && wire.down.next().is_none() {
        // An idle device keeps no buffer.
        wire.rx = Vec::new();
    }
    wire.offered = true;
    fed
}

fn send(now: Instant, client: &mut Client, link: Link, up: &mut Pipe) -> bool {
    let bytes = client.transmit(link);
    let count = bytes.len().min(up.room(WINDOW));
    if count == 0 {
        return false;
    }
    up.send(now, LATENCY, bytes.get(..count).unwrap_or_default());
    client.handle_sent(now, link, count);
    true
}

fn send_from_broker(now: Instant, wire: &mut Wire<Broker>) -> bool {
    let count = wire.peer.transmit().len().min(wire.down.room(WINDOW));
    if count > 0 {
        let bytes = wire.peer.transmit().get(..count).unwrap_or_default();
        wire.down.send(now, LATENCY, bytes);
        wire.peer.sent(count);
        return true;
    }
    if wire.peer.is_closed() && !wire.down.is_closed() {
        wire.down.close(now, LATENCY, End { clean: true });
        return true;
    }
    false
}

fn send_from_store(
    now: Instant,
    wire: &mut Wire<Connection>,
    breaks: &mut Option<u64>,
    hub: &mut Hub,
) -> bool {
    let room = wire.down.room(WINDOW);
    if wire.down.is_closed() || room == 0 {
        return false;
    }
    let bytes = wire.peer.transmit(&mut hub.origin, now);
    let most = usize::try_from(breaks.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
    let bytes = bytes.get(..room.min(bytes.len()).min(most)).unwrap_or_default();
    if !bytes.is_empty() {
        wire.down.send(now, LATENCY, bytes);
        let count = bytes.len();
        wire.peer.handle_sent(now, count);
        if let Some(left) = breaks {
            *left = left.saturating_sub(count as u64);
        }
        return true;
    }
    if *breaks == Some(0) {
        hub.report.broken_fetches = hub.report.broken_fetches.saturating_add(1);
        wire.down.close(now, LATENCY, End { clean: false });
        return true;
    }
    let Some(closing) = wire.peer.closing() else { return false };
    wire.down.close(now, LATENCY, End { clean: closing == Closing::Close });
    true
}
