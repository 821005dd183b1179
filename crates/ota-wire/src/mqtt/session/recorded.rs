//! Tells a recorder which bytes of a session it must keep.

use super::state::Ping;
use super::tx::What;
use super::{Session, SessionPhase};
use crate::mqtt::packet::{Head, decode, head, short};

/// How a session uses the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Steering {
    /// This many bytes at the front affect the state; of the others only the number does.
    pub(crate) front: usize,
    /// The payload of a cloud message starts after this many bytes.
    pub(crate) message: Option<usize>,
}

impl<O: Copy> Session<O> {
    /// Returns which of these bytes matter to the next [`Session::handle_received`].
    pub(crate) fn steering(&self, rx: &[u8]) -> Steering {
        let all = |front: usize| Steering { front: front.min(rx.len()), message: None };
        if !self.is_live() {
            return all(0);
        }
        if let Some(skip) = self.skip {
            return all(skip.topic.saturating_add(skip.id_left.into()));
        }
        let Ok(Some(head)) = head(rx) else { return all(5) };
        if !head.is_publish() {
            return all(head.total());
        }
        let before = before_payload(head, rx).min(rx.len());
        let taken = head.total() <= self.config.limits.packet;
        match rx.get(..head.total()).filter(|_| taken) {
            Some(whole) if is_ours(whole) => {
                Steering { front: whole.len(), message: Some(before.min(whole.len())) }
            }
            _ => all(before),
        }
    }

    /// Whether the state is possible, as far as this code relies on it.
    pub(crate) fn is_sound(&self) -> bool {
        let limits = &self.config.limits;
        let count = |what| self.tx.count(what);
        let (acks, pings, byes) =
            (count(What::PubAck), count(What::PingReq), count(What::Disconnect));
        let coming = usize::from(self.skip.is_some_and(|skip| skip.at_least_once));
        let inbound = acks.saturating_add(self.inbound.len()).saturating_add(coming);
        let control =
            acks.saturating_mul(4).saturating_add(pings.saturating_add(byes).saturating_mul(2));
        let rest = self.tx.bytes().len().saturating_sub(control);
        self.config.check().is_ok()
            && self.tx.is_whole()
            && inbound <= limits.inbound
            && pings <= usize::from(self.ping == Ping::Buffered)
            && byes <= usize::from(self.phase == SessionPhase::Closing)
            && (self.phase == SessionPhase::Connecting
                || rest <= limits.tx.saturating_sub(limits.control()))
    }
}

/// The available bytes of a PUBLISH before its payload.
fn before_payload(head: Head, rx: &[u8]) -> usize {
    let topic = rx.get(head.len..).and_then(short).map_or(0, |(len, _)| usize::from(len));
    let id = if head.is_at_least_once() { 2 } else { 0 };
    head.len.saturating_add(2).saturating_add(topic).saturating_add(id)
}

/// Whether the packet is a message on one of the platform's own topics.
fn is_ours(packet: &[u8]) -> bool {
    use crate::mqtt::packet::Packet::Publish;
    matches!(decode(packet), Ok(Some((Publish(publish), _))) if publish.topic.starts_with("$ota/"))
}
