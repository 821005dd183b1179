//! One connection between a device and a broker.

use std::collections::{BTreeMap, BTreeSet};

use core::time::Duration;

use ota_proto::Instant;

use super::Relay;
use super::packet::MAX;
use crate::frame::Frame;

/// An end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The device.
    Device,
    /// The broker.
    Broker,
}

/// One connection: takes bytes of either end, returns bytes for either end, on the caller's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Connection {
    from_device: Half,
    from_broker: Half,
    to_device: Vec<u8>,
    to_broker: Vec<u8>,
    /// Packets for the device by time.
    late: BTreeMap<(Instant, u64), Vec<u8>>,
    sequence: u64,
    /// Nothing passes any more, without notice to either end.
    pub(super) frozen: bool,
    closing: bool,
    /// The offer after the last reply is lost.
    pub(super) lose_offer: bool,
    /// The offer after the last reply is delayed by this.
    pub(super) late_offer: Option<Duration>,
    /// Offers that wait for the device's download.
    pub(super) on_download: Vec<Vec<u8>>,
    /// When they are sent in any case.
    pub(super) release: Option<Instant>,
    /// Packet ids of unacknowledged results.
    pub(super) results: BTreeSet<u16>,
}

/// Received bytes of one end that are not a complete packet yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Half {
    bytes: Vec<u8>,
    /// It is not MQTT, or too large: everything passes unchanged from now on.
    plain: bool,
}

/// The most bytes that wait for an end before the other one must not send more.
const WAITING: usize = 64 * 1_024;

impl Connection {
    /// Makes a connection that was just opened.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from an end.
    pub fn handle_received(&mut self, relay: &mut Relay, now: Instant, from: End, data: &[u8]) {
        if self.frozen || self.closing {
            return;
        }
        self.half(from).bytes.extend_from_slice(data);
        while let Some(packet) = self.half(from).next() {
            match from {
                End::Device => self.take_device_packet(relay, &packet),
                End::Broker => self.take_broker_packet(relay, now, packet),
            }
            if self.frozen || self.closing {
                return;
            }
        }
        if self.half(from).plain {
            let rest = std::mem::take(&mut self.half(from).bytes);
            self.send(if from == End::Device { End::Broker } else { End::Device }, &rest);
        }
    }

    /// Whether bytes of this end are accepted now.
    #[must_use]
    pub fn wants_read(&self, from: End) -> bool {
        let waiting = match from {
            End::Device => &self.to_broker,
            End::Broker => &self.to_device,
        };
        !self.closing && waiting.len() < WAITING
    }

    /// The bytes for an end. They stay until [`Connection::handle_sent`].
    #[must_use]
    pub fn transmit(&self, to: End) -> &[u8] {
        match to {
            End::Device => &self.to_device,
            End::Broker => &self.to_broker,
        }
    }

    /// Reports that the first `n` of the bytes for an end were sent.
    pub fn handle_sent(&mut self, to: End, n: usize) {
        let waiting = self.waiting(to);
        waiting.drain(..n.min(waiting.len()));
    }

    /// Whether both ends must be closed, once the bytes for the device are sent.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing
    }

    /// The time of the next [`Connection::handle_timeout`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if self.closing || self.frozen {
            return None;
        }
        let late = self.late.first_key_value().map(|((at, _), _)| *at);
        let release = self.release.filter(|_| !self.on_download.is_empty());
        late.into_iter().chain(release).min()
    }

    /// Sends due packets.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.closing || self.frozen {
            return;
        }
        while let Some(first) = self.late.first_entry().filter(|first| first.key().0 <= now) {
            let packet = first.remove();
            self.send(End::Device, &packet);
        }
        if self.release.is_some_and(|at| at <= now) {
            self.release = None;
            for offer in std::mem::take(&mut self.on_download) {
                self.send(End::Device, &offer);
            }
        }
    }

    pub(super) fn send(&mut self, to: End, packet: &[u8]) {
        self.waiting(to).extend_from_slice(packet);
    }

    pub(super) fn send_at(&mut self, at: Instant, packet: Vec<u8>) {
        self.sequence = self.sequence.wrapping_add(1);
        self.late.insert((at, self.sequence), packet);
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    fn half(&mut self, of: End) -> &mut Half {
        match of {
            End::Device => &mut self.from_device,
            End::Broker => &mut self.from_broker,
        }
    }

    fn waiting(&mut self, to: End) -> &mut Vec<u8> {
        match to {
            End::Device => &mut self.to_device,
            End::Broker => &mut self.to_broker,
        }
    }
}

impl Half {
    /// Returns the next complete packet.
    fn next(&mut self) -> Option<Vec<u8>> {
        if self.plain {
            return None;
        }
        match Frame::read(&self.bytes) {
            Ok(Some(frame)) if frame.len > MAX => self.plain = true,
            Ok(Some(frame)) if frame.len <= self.bytes.len() => {
                let rest = self.bytes.split_off(frame.len);
                return Some(std::mem::replace(&mut self.bytes, rest));
            }
            Ok(_) => {}
            Err(_) => self.plain = true,
        }
        None
    }
}
