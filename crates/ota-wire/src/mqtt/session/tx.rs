//! The bytes that wait for the transport, and the packets that they form.

use alloc::vec::Vec;
use core::fmt;

use ota_proto::Instant;

use super::types::{PublishHandle, SubId};
use crate::mqtt::packet::Request;

/// The allocation that an empty buffer keeps.
const IDLE_CAPACITY: usize = 256;

/// Bytes that `Debug` does not show: CONNECT holds the password.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Hidden(pub(super) Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A packet in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum What {
    Connect,
    /// SUBSCRIBE or UNSUBSCRIBE.
    Request(SubId),
    Publish(PublishHandle),
    PubAck,
    PingReq,
    Disconnect,
}

/// The buffer. Packets enter it whole and leave it in pieces.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Tx {
    bytes: Hidden,
    /// Each packet with the number of its remaining bytes.
    packets: Vec<(usize, What)>,
    /// Since when the transport has taken nothing although bytes wait.
    since: Option<Instant>,
}

impl Tx {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes.0
    }

    pub(super) const fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether a packet of `len` bytes fits below `limit` bytes.
    pub(super) fn fits(&self, len: usize, limit: usize) -> bool {
        self.bytes.0.len().saturating_add(len) <= limit
    }

    #[cfg(feature = "record")]
    pub(super) fn count(&self, what: What) -> usize {
        self.packets.iter().filter(|(_, other)| *other == what).count()
    }

    /// The number of PUBACKs in the buffer.
    pub(super) fn pubacks(&self) -> usize {
        self.packets.iter().filter(|(_, what)| matches!(what, What::PubAck)).count()
    }

    /// Adds a packet if the buffer then holds at most `limit` bytes.
    pub(super) fn push(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        what: What,
        limit: usize,
    ) -> bool {
        let Ok(len) = request.encoded_len() else { return false };
        if !self.fits(len, limit) {
            return false;
        }
        let start = self.bytes.0.len();
        self.bytes.0.reserve_exact(len);
        self.bytes.0.resize(start.saturating_add(len), 0);
        let space = self.bytes.0.get_mut(start..).unwrap_or_default();
        let done = request.encode(space).is_ok();
        debug_assert!(done, "the space has the length of the packet");
        self.note(now, len, what);
        true
    }

    /// Adds an encoded packet if the buffer then holds at most `limit` bytes.
    pub(super) fn push_encoded(
        &mut self,
        now: Instant,
        packet: &[u8],
        what: What,
        limit: usize,
    ) -> bool {
        let fits = self.fits(packet.len(), limit);
        if fits {
            self.bytes.0.reserve_exact(packet.len());
            self.bytes.0.extend_from_slice(packet);
            self.note(now, packet.len(), what);
        }
        fits
    }

    /// Drops `n` bytes from the front and ignores any excess. Then [`Self::next_done`] returns the
    /// completed packets.
    pub(super) fn drop_front(&mut self, now: Instant, n: usize) -> usize {
        let n = n.min(self.bytes.0.len());
        self.bytes.0.drain(..n);
        if n > 0 {
            self.since = (!self.bytes.0.is_empty()).then_some(now);
        }
        if self.bytes.0.is_empty() {
            self.bytes.0.shrink_to(IDLE_CAPACITY);
        }
        n
    }

    /// Removes up to `n` bytes from the first packet; returns the packet once it is complete.
    pub(super) fn next_done(&mut self, n: &mut usize) -> Option<What> {
        let (left, what) = self.packets.first_mut()?;
        if *left > *n {
            *left = left.saturating_sub(*n);
            *n = 0;
            return None;
        }
        *n = n.saturating_sub(*left);
        let what = *what;
        self.packets.remove(0);
        Some(what)
    }

    /// The packets make up the bytes.
    #[cfg(feature = "record")]
    pub(super) fn is_whole(&self) -> bool {
        let left = self.packets.iter().map(|(left, _)| *left);
        left.fold(0, usize::saturating_add) == self.bytes.0.len()
    }

    fn note(&mut self, now: Instant, len: usize, what: What) {
        self.packets.push((len, what));
        self.since.get_or_insert(now);
    }
}
