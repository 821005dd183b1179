//! What a session remembers, and the steps shared by its inputs.

use alloc::string::String;

use ota_proto::{Instant, QoS};

use super::tx::{Hidden, What};
use super::types::{AckId, Kind, Phase, PublishHandle, SessionError, SubId, Timer};
use super::{Session, Tx};
use crate::mqtt::packet::{PacketId, Request};

/// The bit that marks a PUBLISH as perhaps sent before.
const DUP: u8 = 0x08;

/// A publication that is not complete, or whose completion was not polled yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Flight<O> {
    pub(super) handle: PublishHandle,
    pub(super) owner: O,
    /// `None` at QoS 0.
    pub(super) id: Option<PacketId>,
    pub(super) progress: Progress,
    /// In how many earlier sessions it was handed over.
    pub(super) tries: u8,
    /// The encoded packet, when it must survive the session.
    pub(super) copy: Option<Hidden>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Progress {
    /// It has yet to enter the buffer.
    Queued,
    /// It is in the buffer.
    Buffered,
    /// The transport has all of it since then, and PUBACK is awaited.
    Handed(Instant),
    Done,
    GivenUp,
}

impl<O> Flight<O> {
    /// It outlives the connection.
    pub(super) fn survives(&self) -> bool {
        self.copy.is_some() || self.is_over()
    }

    /// Its completion can be told.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Done | Progress::GivenUp)
    }

    /// Prepares it for the next connection. A message that a server answers by closing the
    /// connection must not end every session there is.
    pub(super) fn requeue(&mut self, limit: u8) {
        match self.progress {
            Progress::Done | Progress::GivenUp => return,
            Progress::Handed(_) => self.tries = self.tries.saturating_add(1),
            Progress::Queued | Progress::Buffered => {}
        }
        self.progress = Progress::Queued;
        if self.tries >= limit {
            self.progress = Progress::GivenUp;
            self.copy = None;
        }
    }

    pub(super) fn kept(&self) -> usize {
        self.copy.as_ref().map_or(0, |copy| copy.0.len())
    }

    pub(super) fn finish(&mut self) {
        self.progress = Progress::Done;
        self.copy = None;
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Sub {
    pub(super) id: SubId,
    pub(super) kind: Kind,
    pub(super) filter: String,
    pub(super) qos: QoS,
    /// It is to be given up.
    pub(super) leaving: bool,
    /// Its refusal in this connection was told.
    pub(super) refused: bool,
    pub(super) state: SubState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum SubState {
    /// The server does not know of it.
    Idle,
    /// A SUBSCRIBE or UNSUBSCRIBE is on its way, handed over at that moment.
    Asked { id: PacketId, ask: Ask, handed: Option<Instant> },
    /// The server granted it.
    Active,
    /// The server refused it at that moment.
    Refused(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Ask {
    Subscribe,
    Unsubscribe,
}

impl Sub {
    /// Nobody wants it, and the server does not have it.
    pub(super) fn is_gone(&self) -> bool {
        self.leaving && matches!(self.state, SubState::Idle | SubState::Refused(_))
    }

    pub(super) const fn packet_id(&self) -> Option<PacketId> {
        match self.state {
            SubState::Asked { id, .. } => Some(id),
            _ => None,
        }
    }
}

/// An inbound message of QoS 1 that is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Inbound {
    pub(super) ack: AckId,
    pub(super) id: PacketId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Ping {
    None,
    /// PINGREQ is in the buffer.
    Buffered,
    /// PINGREQ was handed over then.
    Awaited(Instant),
}

/// A message too long to take, on its way through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Skip {
    /// Bytes of the topic to come.
    pub(super) topic: usize,
    /// Bytes of the packet identifier to come.
    pub(super) id_left: u8,
    /// The packet identifier as far as it came; 0 at QoS 0.
    pub(super) id: u16,
    /// Bytes of the payload to come.
    pub(super) payload: usize,
    /// It is of QoS 1.
    pub(super) at_least_once: bool,
    /// The server says it may have sent it before.
    pub(super) dup: bool,
    /// [`super::Found::TooLong`] is still to be told, with this length.
    pub(super) tell: Option<usize>,
}

impl<O: Copy> Session<O> {
    /// Time does not run backwards.
    // Its copies would cost flash.
    #[inline(never)]
    pub(super) fn clock(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    pub(super) fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.since = self.now;
    }

    /// Ends the session: nothing more is sent, read or awaited.
    pub(super) fn end(&mut self, why: SessionError) -> SessionError {
        self.enter(Phase::Ended(why));
        self.held |= why == SessionError::TimedOut(Timer::Blocked);
        self.tx = Tx::default();
        self.skip = None;
        self.ping = Ping::None;
        self.blocked = None;
        why
    }

    pub(super) fn unique(&mut self) -> u64 {
        self.last_unique = self.last_unique.wrapping_add(1);
        self.last_unique
    }

    /// A packet identifier that nothing waits under; `None` when all are taken. Using it sets
    /// `last_packet_id`.
    pub(super) fn free_packet_id(&self) -> Option<PacketId> {
        let taken = |id| {
            self.flights.iter().any(|flight| flight.id == Some(id))
                || self.subs.iter().any(|sub| sub.packet_id() == Some(id))
        };
        let last = self.last_packet_id;
        (1..=u16::MAX)
            .filter_map(|step| PacketId::new(last.wrapping_add(step)))
            .find(|id| !taken(*id))
    }

    /// The bytes that packets of this kind may fill the buffer to.
    // Its copies would cost flash.
    #[inline(never)]
    pub(super) fn tx_limit(&self, kind: Kind) -> usize {
        let limits = &self.config.limits;
        let all = limits.tx.saturating_sub(limits.control());
        match kind {
            Kind::Ota | Kind::SubDevice => all,
            Kind::Application => all.saturating_sub(limits.ota_tx),
        }
    }

    /// The publications that may be in flight when one more of this kind is asked for.
    pub(super) fn window(&self, kind: Kind) -> usize {
        let limits = &self.config.limits;
        match kind {
            Kind::Ota | Kind::SubDevice => limits.window,
            Kind::Application => limits.window.saturating_sub(limits.ota_window),
        }
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Connecting | Phase::Up)
    }

    /// No further message of QoS 1 can be taken: each needs room for its PUBACK. One that is
    /// being skipped had room when it began, and nothing takes it meanwhile.
    // Its copies would cost flash.
    #[inline(never)]
    pub(super) fn inbound_full(&self) -> bool {
        let left = self.config.limits.inbound.saturating_sub(self.inbound.len());
        self.tx.pubacks() >= left
    }

    pub(super) fn push_puback(&mut self, now: Instant, id: PacketId) {
        if self.is_live() {
            let limit = self.config.limits.tx;
            let done = self.tx.push(now, &Request::PubAck(id), What::PubAck, limit);
            debug_assert!(done, "there is a reserve for it");
        }
    }

    /// A packet left the buffer whole.
    pub(super) fn handed_over(&mut self, now: Instant, what: What) {
        match what {
            What::Publish(handle) => {
                let flight = self.flights.iter_mut().find(|flight| flight.handle == handle);
                if let Some(flight) = flight {
                    match flight.id {
                        Some(_) => flight.progress = Progress::Handed(now),
                        None => flight.finish(),
                    }
                }
            }
            What::Request(sub) => {
                let sub = self.subs.iter_mut().find(|other| other.id == sub);
                if let Some(Sub { state: SubState::Asked { handed, .. }, .. }) = sub {
                    *handed = Some(now);
                }
            }
            What::PingReq => self.ping = Ping::Awaited(now),
            What::Connect | What::PubAck | What::Disconnect => {}
        }
    }

    /// Moves what is due and fits into the buffer: subscriptions first, then the application's
    /// kept messages in their order.
    pub(super) fn pump(&mut self, now: Instant) {
        if self.phase != Phase::Up {
            return;
        }
        for index in 0..self.subs.len() {
            if !self.pump_sub(now, index) {
                return;
            }
        }
        if !self.flights.iter().any(|flight| flight.progress == Progress::Queued) {
            return;
        }
        let limit = self.tx_limit(Kind::Application);
        for flight in &mut self.flights {
            let (Progress::Queued, Some(copy)) = (flight.progress, &mut flight.copy) else {
                continue;
            };
            if let (true, Some(first)) = (flight.tries > 0, copy.0.first_mut()) {
                *first |= DUP;
            }
            if !self.tx.push_encoded(now, &copy.0, What::Publish(flight.handle), limit) {
                return;
            }
            flight.progress = Progress::Buffered;
        }
    }

    /// Asks for one subscription if that is due; `false` when there is no room.
    fn pump_sub(&mut self, now: Instant, index: usize) -> bool {
        let ask = match self.subs.get(index) {
            Some(Sub { state: SubState::Idle, kind: Kind::Application, .. }) if self.held => {
                return true;
            }
            Some(Sub { state: SubState::Idle, .. }) => Ask::Subscribe,
            Some(Sub { state: SubState::Active, leaving: true, .. }) => Ask::Unsubscribe,
            _ => return true,
        };
        let Some(id) = self.free_packet_id() else { return false };
        let kind = self.subs.get(index).map_or(Kind::Application, |sub| sub.kind);
        let limit = self.tx_limit(kind);
        let Some(sub) = self.subs.get_mut(index) else { return true };
        let filter = sub.filter.as_str();
        let request = match ask {
            Ask::Subscribe => Request::Subscribe { id, filter, qos: sub.qos },
            Ask::Unsubscribe => Request::Unsubscribe { id, filter },
        };
        let done = self.tx.push(now, &request, What::Request(sub.id), limit);
        if done {
            sub.state = SubState::Asked { id, ask, handed: None };
            self.last_packet_id = id.get();
        }
        done
    }
}
