//! Handles received bytes.

use core::mem;

use ota_proto::Instant;

use super::Session;
use super::state::{Ask, Delivery, Inbound, Ping, Skip, Sub, SubState};
use super::types::{AckId, Purpose, SessionError, SessionFound, SessionPhase, SessionReceived};
use crate::mqtt::packet::{ConnectCode, Head, Packet, PacketError, PacketId, decode, head};
use crate::mqtt::topic::topic_is_valid;

impl<O: Copy> Session<O> {
    /// Handles received bytes: `rx` is everything received and not yet consumed, oldest first. One
    /// call takes at most one packet; call it again until [`SessionFound::Incomplete`] or
    /// [`SessionFound::Blocked`].
    ///
    /// Without an open session it consumes and ignores all bytes.
    ///
    /// # Errors
    /// [`SessionError`]: the session is over.
    pub fn handle_received(
        &mut self,
        now: Instant,
        rx: &[u8],
    ) -> Result<SessionReceived, SessionError> {
        let now = self.clock(now);
        if !self.is_live() {
            return Ok(SessionReceived { consumed: rx.len(), found: SessionFound::Nothing });
        }
        match self.receive(now, rx) {
            Ok(received) => {
                if received.consumed > 0 {
                    self.last_received = now;
                }
                self.pump(now);
                self.watch_blocking(now);
                Ok(received)
            }
            Err(why) => Err(self.end(why)),
        }
    }

    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    fn receive(&mut self, now: Instant, rx: &[u8]) -> Result<SessionReceived, SessionError> {
        match self.skip {
            Some(_) if rx.is_empty() => return Ok(incomplete(1)),
            Some(skip) => return self.skip_on(now, skip, rx),
            None => {}
        }
        // A TLS record: an alert, which a TLS port sends in answer to a CONNECT, or a handshake.
        if self.phase == SessionPhase::Connecting && matches!(rx, [0x15 | 0x16, 3, ..]) {
            return Err(SessionError::SpeaksTls);
        }
        let Some(head) = head(rx).map_err(SessionError::Packet)? else {
            return Ok(incomplete(rx.len().saturating_add(1).max(2)));
        };
        if self.phase == SessionPhase::Connecting && head.first != 0x20 {
            return Err(SessionError::Unexpected);
        }
        if head.is_at_least_once() && self.inbound_full() {
            return Ok(SessionReceived { consumed: 0, found: SessionFound::Blocked });
        }
        if head.total() > self.config.limits.packet {
            return self.start_skip(now, head, rx);
        }
        let Some((packet, consumed)) = decode(rx).map_err(SessionError::Packet)? else {
            return Ok(incomplete(head.total()));
        };
        let found = self.take(packet, consumed)?;
        Ok(SessionReceived { consumed, found })
    }

    fn take(&mut self, packet: Packet<'_>, consumed: usize) -> Result<SessionFound, SessionError> {
        match packet {
            Packet::ConnAck { code, .. } => self.take_connack(code),
            Packet::Publish(publish) => {
                let ack = match publish.id {
                    Some(id) => match self.take_id(id, publish.dup)? {
                        Some(ack) => Some(ack),
                        None => return Ok(SessionFound::Nothing),
                    },
                    None => None,
                };
                let payload = consumed.saturating_sub(publish.payload.len())..consumed;
                let id_len = if ack.is_some() { 2 } else { 0 };
                let end = payload.start.saturating_sub(id_len);
                let topic = end.saturating_sub(publish.topic.len())..end;
                Ok(SessionFound::Message { topic, payload, ack, retain: publish.retain })
            }
            Packet::PubAck(id) => self.take_puback(id),
            Packet::SubAck { id, codes } => self.take_suback(id, Some(codes)),
            Packet::UnsubAck(id) => self.take_suback(id, None),
            Packet::PingResp => {
                if let Ping::Awaited(_) = self.ping {
                    self.ping = Ping::None;
                }
                Ok(SessionFound::Nothing)
            }
        }
    }

    fn take_connack(&mut self, code: ConnectCode) -> Result<SessionFound, SessionError> {
        // The server cannot answer a CONNECT that was not sent yet.
        if self.phase != SessionPhase::Connecting || !self.tx.bytes().is_empty() {
            return Err(SessionError::Unexpected);
        }
        if code != ConnectCode::Accepted {
            return Err(SessionError::Refused(code));
        }
        self.enter(SessionPhase::Up);
        Ok(SessionFound::Accepted)
    }

    fn take_puback(&mut self, id: PacketId) -> Result<SessionFound, SessionError> {
        // A second acknowledgement of the same identifier is harmless: nothing is in flight under
        // it.
        if let Some(flight) = self.flights.iter_mut().find(|flight| flight.id == Some(id)) {
            match flight.progress {
                Delivery::Handed(_) => flight.finish(),
                Delivery::Done | Delivery::GivenUp => {}
                Delivery::Queued | Delivery::Buffered => return Err(SessionError::Unexpected),
            }
        }
        Ok(SessionFound::Nothing)
    }

    /// SUBACK with its codes, or UNSUBACK.
    fn take_suback(
        &mut self,
        id: PacketId,
        codes: Option<&[u8]>,
    ) -> Result<SessionFound, SessionError> {
        let mut subs = self.subs.iter_mut().enumerate();
        let Some((at, sub)) = subs.find(|(_, sub)| sub.packet_id() == Some(id)) else {
            return Ok(SessionFound::Nothing);
        };
        let SubState::Asked { ask, handed: Some(_), .. } = sub.state else {
            return Err(SessionError::Unexpected);
        };
        let Sub { id, leaving, kind, .. } = *sub;
        match (ask, codes) {
            (Ask::Subscribe, Some([code])) if *code < 0x80 => {
                sub.state = SubState::Active;
                Ok(if leaving { SessionFound::Nothing } else { SessionFound::Subscribed(id) })
            }
            (Ask::Subscribe, Some([_])) => {
                sub.state = SubState::Refused(self.now);
                let told = mem::replace(&mut sub.refused, true);
                self.subs.retain(|sub| !sub.is_gone());
                match (leaving || told, kind) {
                    (true, _) => Ok(SessionFound::Nothing),
                    (false, Purpose::Ota) => Err(SessionError::SubscribeRefused(id)),
                    (false, Purpose::SubDevice | Purpose::Application) => {
                        Ok(SessionFound::Refused(id))
                    }
                }
            }
            (Ask::Unsubscribe, None) => {
                self.subs.remove(at);
                Ok(SessionFound::Unsubscribed(id))
            }
            _ => Err(SessionError::Unexpected),
        }
    }

    /// Registers an inbound message of QoS 1. `None` if it repeats one that the application still
    /// has, whose acknowledgement answers both.
    fn take_id(&mut self, id: PacketId, dup: bool) -> Result<Option<AckId>, SessionError> {
        if self.inbound.iter().any(|inbound| inbound.id == id) {
            return if dup { Ok(None) } else { Err(SessionError::IdInUse) };
        }
        let ack = AckId(self.unique());
        self.inbound.push(Inbound { ack, id });
        Ok(Some(ack))
    }

    /// Handles the start of a packet over the limit. If its topic and identifier fit the limit, it
    /// waits for them, so that the caller learns the topic.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    fn start_skip(
        &mut self,
        now: Instant,
        head: Head,
        rx: &[u8],
    ) -> Result<SessionReceived, SessionError> {
        if !head.is_publish() {
            return Err(SessionError::TooLong);
        }
        let topic_at = head.len.saturating_add(2);
        let Some(&[high, low]) = rx.get(head.len..topic_at) else {
            return Ok(incomplete(topic_at));
        };
        let topic_len = usize::from(u16::from_be_bytes([high, low]));
        let topic_end = topic_at.saturating_add(topic_len);
        let id_len = if head.is_at_least_once() { 2_u8 } else { 0 };
        let front = topic_end.saturating_add(usize::from(id_len));
        let Some(payload) = head.total().checked_sub(front) else {
            return Err(SessionError::Packet(PacketError::Length));
        };
        let mut skip = Skip {
            topic: topic_len,
            id_left: id_len,
            id: 0,
            payload,
            at_least_once: head.is_at_least_once(),
            dup: head.is_dup(),
            tell: Some(head.total()),
        };
        if front > self.config.limits.packet {
            self.skip = Some(skip);
            return Ok(SessionReceived { consumed: topic_at, found: SessionFound::Nothing });
        }
        let Some(topic) = rx.get(topic_at..topic_end).filter(|_| rx.len() >= front) else {
            return Ok(incomplete(front));
        };
        if !core::str::from_utf8(topic).is_ok_and(topic_is_valid) {
            return Err(SessionError::Packet(PacketError::Topic));
        }
        (skip.topic, skip.tell) = (0, None);
        debug_assert!(topic_end <= rx.len(), "the topic was read");
        let rest = rx.get(topic_end..).unwrap_or_default();
        let received = self.skip_on(now, skip, rest)?;
        Ok(SessionReceived {
            consumed: topic_end.saturating_add(received.consumed),
            found: SessionFound::TooLong { topic: topic_at..topic_end, len: head.total() },
        })
    }

    /// Skips the available part of a packet over the limit.
    fn skip_on(
        &mut self,
        now: Instant,
        mut skip: Skip,
        rx: &[u8],
    ) -> Result<SessionReceived, SessionError> {
        let is_front = |skip: &Skip| skip.topic > 0 || skip.id_left > 0;
        let was_front = is_front(&skip);
        let topic = skip.topic.min(rx.len());
        skip.topic = skip.topic.saturating_sub(topic);
        let mut rest = rx.get(topic..).unwrap_or_default();
        while let (1.., Some((&byte, behind))) = (skip.id_left, rest.split_first()) {
            skip.id = (skip.id << 8) | u16::from(byte);
            skip.id_left = skip.id_left.saturating_sub(1);
            rest = behind;
        }
        let payload = skip.payload.min(rest.len());
        skip.payload = skip.payload.saturating_sub(payload);
        let consumed = rx.len().saturating_sub(rest.len()).saturating_add(payload);

        let mut found = SessionFound::Nothing;
        let is_pending =
            self.inbound.iter().any(|inbound| Some(inbound.id) == PacketId::new(skip.id));
        if was_front && !is_front(&skip) {
            // Decided once, when it is known: the result must not depend on how the bytes are
            // split.
            if skip.at_least_once && skip.id == 0 {
                return Err(SessionError::Packet(PacketError::PacketId));
            }
            if is_pending && !skip.dup {
                return Err(SessionError::IdInUse);
            }
            if let Some(len) = skip.tell.take() {
                found = SessionFound::TooLong { topic: 0..0, len };
            }
        }
        let done = !is_front(&skip) && skip.payload == 0;
        self.skip = (!done).then_some(skip);
        if let (true, false, Some(id)) = (done, is_pending, PacketId::new(skip.id)) {
            self.push_puback(now, id);
        }
        Ok(SessionReceived { consumed, found })
    }
}

const fn incomplete(needed: usize) -> SessionReceived {
    SessionReceived { consumed: 0, found: SessionFound::Incomplete { needed } }
}
