//! The state of a session, and steps that its inputs share.

use alloc::string::String;

use ota_proto::{Instant, QoS};

use super::tx::{Hidden, What};
use super::types::{
    AckId, PublishHandle, Purpose, SessionError, SessionPhase, SessionTimer, SubId,
};
use super::{Session, Tx};
use crate::mqtt::packet::{PacketId, Request};

/// The bit that marks a PUBLISH as possibly sent before.
const DUP: u8 = 0x08;

/// A publication that is not complete, or whose completion was not polled yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Flight<O> {
    pub(super) handle: PublishHandle,
    pub(super) owner: O,
    /// `None` at QoS 0.
    pub(super) id: Option<PacketId>,
    pub(super) progress: Delivery,
    /// The number of earlier sessions that sent it.
    pub(super) tries: u8,
    /// The encoded packet, if it must survive the session.
    pub(super) copy: Option<Hidden>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Delivery {
    /// It is not in the buffer yet.
    Queued,
    /// It is in the buffer.
    Buffered,
    /// The transport has taken all of it at this time, and PUBACK is awaited.
    Handed(Instant),
    Done,
    GivenUp,
}

impl<O> Flight<O> {
    /// Whether it survives the connection.
    pub(super) fn survives(&self) -> bool {
        self.copy.is_some() || self.is_over()
    }

    /// Whether its completion can be reported.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.progress, Delivery::Done | Delivery::GivenUp)
    }

    /// Prepares it for the next connection. The number of tries is limited, because a server may
    /// close the connection whenever it gets this message.
    pub(super) fn requeue(&mut self, limit: u8) {
        match self.progress {
            Delivery::Done | Delivery::GivenUp => return,
            Delivery::Handed(_) => self.tries = self.tries.saturating_add(1),
            Delivery::Queued | Delivery::Buffered => {}
        }
        self.progress = Delivery::Queued;
        if self.tries >= limit {
            self.progress = Delivery::GivenUp;
            self.copy = None;
        }
    }

    pub(super) fn kept(&self) -> usize {
        self.copy.as_ref().map_or(0, |copy| copy.0.len())
    }

    pub(super) fn finish(&mut self) {
        self.progress = Delivery::Done;
        self.copy = None;
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Sub {
    pub(super) id: SubId,
    pub(super) kind: Purpose,
    pub(super) filter: String,
    pub(super) qos: QoS,
    /// Whether it is given up.
    pub(super) leaving: bool,
    /// Its refusal in this connection was reported.
    pub(super) refused: bool,
    pub(super) state: SubState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum SubState {
    /// The server does not know of it.
    Idle,
    /// A SUBSCRIBE or UNSUBSCRIBE was sent at this time.
    Asked { id: PacketId, ask: Ask, handed: Option<Instant> },
    /// The server granted it.
    Active,
    /// The server refused it at this time.
    Refused(Instant),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Ask {
    Subscribe,
    Unsubscribe,
}

impl Sub {
    /// It is not wanted, and the server does not have it.
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

/// An inbound message of QoS 1 that is not acknowledged yet.
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
    /// PINGREQ was sent at this time.
    Awaited(Instant),
}

/// A message over the limit that is being skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Skip {
    /// Remaining bytes of the topic.
    pub(super) topic: usize,
    /// Remaining bytes of the packet identifier.
    pub(super) id_left: u8,
    /// The received part of the packet identifier; 0 at QoS 0.
    pub(super) id: u16,
    /// Remaining bytes of the payload.
    pub(super) payload: usize,
    /// It is of QoS 1.
    pub(super) at_least_once: bool,
    /// The DUP flag is set.
    pub(super) dup: bool,
    /// [`super::SessionFound::TooLong`] must still be reported, with this length.
    pub(super) tell: Option<usize>,
}

impl<O: Copy> Session<O> {
    /// Time does not run backwards.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(super) fn clock(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    pub(super) fn enter(&mut self, phase: SessionPhase) {
        self.phase = phase;
        self.since = self.now;
    }

    /// Ends the session: nothing more is sent, read or awaited.
    pub(super) fn end(&mut self, why: SessionError) -> SessionError {
        self.enter(SessionPhase::Ended(why));
        self.held |= why == SessionError::TimedOut(SessionTimer::Blocked);
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

    /// Returns an unused packet identifier; `None` if all are in use. Using it sets
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

    /// The limit to which packets of this kind may fill the buffer.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(super) fn tx_limit(&self, kind: Purpose) -> usize {
        let limits = &self.config.limits;
        let all = limits.tx.saturating_sub(limits.control());
        match kind {
            Purpose::Ota | Purpose::SubDevice => all,
            Purpose::Application => all.saturating_sub(limits.ota_tx),
        }
    }

    /// The limit on publications in flight for one more of this kind.
    pub(super) fn window(&self, kind: Purpose) -> usize {
        let limits = &self.config.limits;
        match kind {
            Purpose::Ota | Purpose::SubDevice => limits.window,
            Purpose::Application => limits.window.saturating_sub(limits.ota_window),
        }
    }

    pub(super) const fn is_live(&self) -> bool {
        matches!(self.phase, SessionPhase::Connecting | SessionPhase::Up)
    }

    /// Whether no further message of QoS 1 can be taken: each needs room for its PUBACK. One that
    /// is being skipped has had room since it began.
    // Not inlined: each copy costs flash.
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

    /// Handles a packet that has left the buffer completely.
    pub(super) fn handed_over(&mut self, now: Instant, what: What) {
        match what {
            What::Publish(handle) => {
                let flight = self.flights.iter_mut().find(|flight| flight.handle == handle);
                if let Some(flight) = flight {
                    match flight.id {
                        Some(_) => flight.progress = Delivery::Handed(now),
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

    /// Moves due packets that fit into the buffer: subscriptions first, then the application's kept
    /// messages in order.
    pub(super) fn pump(&mut self, now: Instant) {
        if self.phase != SessionPhase::Up {
            return;
        }
        for index in 0..self.subs.len() {
            if !self.pump_sub(now, index) {
                return;
            }
        }
        if !self.flights.iter().any(|flight| flight.progress == Delivery::Queued) {
            return;
        }
        let limit = self.tx_limit(Purpose::Application);
        for flight in &mut self.flights {
            let (Delivery::Queued, Some(copy)) = (flight.progress, &mut flight.copy) else {
                continue;
            };
            if let (true, Some(first)) = (flight.tries > 0, copy.0.first_mut()) {
                *first |= DUP;
            }
            if !self.tx.push_encoded(now, &copy.0, What::Publish(flight.handle), limit) {
                return;
            }
            flight.progress = Delivery::Buffered;
        }
    }

    /// Sends one due SUBSCRIBE or UNSUBSCRIBE; `false` if there is no room.
    fn pump_sub(&mut self, now: Instant, index: usize) -> bool {
        let ask = match self.subs.get(index) {
            Some(Sub { state: SubState::Idle, kind: Purpose::Application, .. }) if self.held => {
                return true;
            }
            Some(Sub { state: SubState::Idle, .. }) => Ask::Subscribe,
            Some(Sub { state: SubState::Active, leaving: true, .. }) => Ask::Unsubscribe,
            _ => return true,
        };
        let Some(id) = self.free_packet_id() else { return false };
        let kind = self.subs.get(index).map_or(Purpose::Application, |sub| sub.kind);
        let limit = self.tx_limit(kind);
        debug_assert!(index < self.subs.len(), "its state was read");
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
