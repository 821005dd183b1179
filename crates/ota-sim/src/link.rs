//! The link between device and cloud: sessions, packets in flight, faults.

use std::collections::BTreeMap;

use ota_proto::{Instant, PubId, QoS};

/// The direction of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Device to cloud.
    ToCloud,
    /// Cloud to device, including acknowledgements.
    ToDevice,
}

/// The fate of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageFault {
    /// It never arrives.
    Lost,
    /// It arrives twice.
    Doubled,
    /// It arrives after the next one in the same direction, or 3 s late.
    Swapped,
    /// It arrives this many milliseconds late.
    Late(u64),
}

/// Packets in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// A message of the device.
    Report {
        /// Its number.
        id: PubId,
        /// Whether it needs an acknowledgement.
        qos: QoS,
        /// Its bytes.
        payload: Vec<u8>,
    },
    /// A message of the cloud.
    Message(Vec<u8>),
    /// The acknowledgement of the device's message with this number.
    Ack(PubId),
}

impl Packet {
    pub(crate) fn direction(&self) -> Direction {
        match self {
            Self::Report { .. } => Direction::ToCloud,
            Self::Message(_) | Self::Ack(_) => Direction::ToDevice,
        }
    }
}

/// The client's side of a session, as far as the updater sees it (rule 1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Link {
    /// The session's number; packets of others are dropped.
    pub(crate) epoch: u32,
    pub(crate) up: bool,
    /// When the next session opens.
    pub(crate) connect_at: Option<Instant>,
    /// When the last one began.
    pub(crate) connected: Option<Instant>,
    /// Publications that wait for their acknowledgement, and until when.
    pub(crate) unacked: BTreeMap<PubId, Instant>,
    /// The number of packets so far, in both directions.
    pub(crate) packets: u64,
    /// The fates of packets.
    pub(crate) plan: BTreeMap<u64, MessageFault>,
    /// A packet that waits for the next one, one per direction.
    pub(crate) held: BTreeMap<Direction, Packet>,
}

impl Link {
    /// Ends the session and drops all packets in flight.
    pub(crate) fn drop_session(&mut self, connect_at: Option<Instant>) {
        self.epoch = self.epoch.wrapping_add(1);
        self.up = false;
        self.unacked.clear();
        self.held.clear();
        self.connect_at = connect_at;
    }

    /// The next time at which the client acts by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let unacked = self.unacked.values().copied();
        self.connect_at.into_iter().chain(unacked).min()
    }
}
