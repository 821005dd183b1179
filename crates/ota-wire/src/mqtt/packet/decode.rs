//! Decodes packets.

use super::{ConnectCode, Packet, PacketError, PacketId, Publish};
use crate::mqtt::topic::topic_is_valid;

const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const PUBACK: u8 = 0x40;
const SUBACK: u8 = 0x90;
const UNSUBACK: u8 = 0xB0;
const PINGRESP: u8 = 0xD0;

/// The fixed header of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Head {
    /// Type and flags: a type that a server sends, with valid flags.
    pub first: u8,
    /// The length of the fixed header in bytes: 2 to 5.
    pub len: usize,
    /// The number of bytes after the fixed header: at most 268,435,455.
    pub remaining: usize,
}

impl Head {
    /// The packet is a PUBLISH.
    #[must_use]
    pub const fn is_publish(self) -> bool {
        self.first & 0xF0 == PUBLISH
    }

    /// The packet is a PUBLISH of QoS 1.
    #[must_use]
    pub const fn is_at_least_once(self) -> bool {
        self.is_publish() && self.first & 0x06 == 0x02
    }

    /// The packet is a PUBLISH marked as repeated.
    #[must_use]
    pub const fn is_dup(self) -> bool {
        self.is_publish() && self.first & 0x08 != 0
    }

    /// The length of the whole packet in bytes.
    #[must_use]
    pub const fn total(self) -> usize {
        self.len.saturating_add(self.remaining)
    }
}

/// Reads the fixed header at the start of `bytes`; `None` if it is incomplete.
///
/// # Errors
/// [`PacketError`] as soon as the bytes cannot become a packet any more.
pub fn head(bytes: &[u8]) -> Result<Option<Head>, PacketError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    check_first(first)?;
    let mut remaining = 0_usize;
    let mut len = 1_usize;
    for (byte, shift) in rest.iter().zip([0_u32, 7, 14, 21]) {
        remaining |= usize::from(byte & 0x7F) << shift;
        len = len.saturating_add(1);
        if byte & 0x80 == 0 {
            let head = Head { first, len, remaining };
            return check_remaining(head).map(|()| Some(head));
        }
    }
    if len > 4 { Err(PacketError::LengthEncoding) } else { Ok(None) }
}

/// Decodes the packet at the start of `bytes` and returns it with its length in bytes; `None` if it
/// is incomplete. Bytes after it are ignored.
///
/// # Errors
/// [`PacketError`] as soon as the bytes cannot become a packet any more. Never panics.
pub fn decode(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, PacketError> {
    let Some(head) = head(bytes)? else { return Ok(None) };
    let total = head.total();
    let Some(body) = bytes.get(head.len..total) else { return Ok(None) };
    let packet = match head.first & 0xF0 {
        CONNACK => conn_ack(body)?,
        PUBLISH => Packet::Publish(publish(head, body)?),
        PUBACK => Packet::PubAck(only_id(body)?),
        SUBACK => sub_ack(body)?,
        UNSUBACK => Packet::UnsubAck(only_id(body)?),
        PINGRESP => Packet::PingResp,
        _ => return Err(PacketError::Type),
    };
    Ok(Some((packet, total)))
}

/// Reads a big-endian number from the front.
pub(crate) fn short(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk::<2>().map(|(number, rest)| (u16::from_be_bytes(*number), rest))
}

fn check_first(first: u8) -> Result<(), PacketError> {
    let flags = first & 0x0F;
    match first & 0xF0 {
        // DUP exists only at QoS 1 (MQTT 3.1.1 §3.3.1.1), and QoS 2 is never granted.
        PUBLISH => match (flags & 0x08, flags & 0x06) {
            (0, 0) | (_, 0x02) => Ok(()),
            _ => Err(PacketError::Flags),
        },
        CONNACK | PUBACK | SUBACK | UNSUBACK | PINGRESP if flags == 0 => Ok(()),
        CONNACK | PUBACK | SUBACK | UNSUBACK | PINGRESP => Err(PacketError::Flags),
        _ => Err(PacketError::Type),
    }
}

fn check_remaining(head: Head) -> Result<(), PacketError> {
    let fits = match head.first & 0xF0 {
        CONNACK | PUBACK | UNSUBACK => head.remaining == 2,
        PINGRESP => head.remaining == 0,
        // A topic of one byte, and an identifier.
        PUBLISH if head.is_at_least_once() => head.remaining >= 5,
        _ => head.remaining >= 3,
    };
    if fits { Ok(()) } else { Err(PacketError::Length) }
}

fn conn_ack(body: &[u8]) -> Result<Packet<'static>, PacketError> {
    let &[flags, code] = body else { return Err(PacketError::Length) };
    if flags > 1 {
        return Err(PacketError::Flags);
    }
    let code = match code {
        0 => ConnectCode::Accepted,
        1 => ConnectCode::ProtocolVersion,
        2 => ConnectCode::Identifier,
        3 => ConnectCode::Unavailable,
        4 => ConnectCode::Credentials,
        5 => ConnectCode::NotAuthorized,
        _ => return Err(PacketError::Code),
    };
    Ok(Packet::ConnAck { session_present: flags == 1, code })
}

fn publish(head: Head, body: &[u8]) -> Result<Publish<'_>, PacketError> {
    let (len, rest) = short(body).ok_or(PacketError::Length)?;
    let (topic, rest) = rest.split_at_checked(usize::from(len)).ok_or(PacketError::Length)?;
    let topic = core::str::from_utf8(topic).map_err(|_| PacketError::Topic)?;
    if !topic_is_valid(topic) {
        return Err(PacketError::Topic);
    }
    let (id, payload) = if head.is_at_least_once() {
        let (id, payload) = short(rest).ok_or(PacketError::Length)?;
        (Some(PacketId::new(id).ok_or(PacketError::PacketId)?), payload)
    } else {
        (None, rest)
    };
    Ok(Publish { dup: head.is_dup(), retain: head.first & 1 != 0, topic, id, payload })
}

fn sub_ack(body: &[u8]) -> Result<Packet<'_>, PacketError> {
    let (id, codes) = short(body).ok_or(PacketError::Length)?;
    let id = PacketId::new(id).ok_or(PacketError::PacketId)?;
    if codes.is_empty() {
        return Err(PacketError::Length);
    }
    if codes.iter().any(|code| !matches!(code, 0..=2 | 0x80)) {
        return Err(PacketError::Code);
    }
    Ok(Packet::SubAck { id, codes })
}

fn only_id(body: &[u8]) -> Result<PacketId, PacketError> {
    let &[high, low] = body else { return Err(PacketError::Length) };
    PacketId::new(u16::from_be_bytes([high, low])).ok_or(PacketError::PacketId)
}
