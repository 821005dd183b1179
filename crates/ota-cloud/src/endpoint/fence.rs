//! Checks a packet before the codec sees it. The codec is safe on hostile bytes, but does not check
//! header flags, the lengths of packets with a fixed one, and left-over bytes.

use bytes::{BufMut as _, BytesMut};

use super::Close;
use crate::frame::{BadLength, Frame};

pub(super) const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

/// Finds the packet at the start of `bytes`; `None` while it is incomplete.
///
/// The first byte and the length are checked as soon as they are received: a client that announces
/// an invalid packet is rejected at once.
pub(super) fn frame(bytes: &[u8], max: usize) -> Result<Option<Frame>, Close> {
    let Some(first) = bytes.first() else { return Ok(None) };
    check_first(*first)?;
    match Frame::read(bytes) {
        Err(BadLength) => Err(Close::Malformed("remaining length")),
        Ok(Some(frame)) if frame.len > max => Err(Close::TooLarge),
        Ok(frame) => Ok(frame.filter(|frame| bytes.len() >= frame.len)),
    }
}

/// Checks a whole packet's body by its kind.
pub(super) fn check(packet: &[u8], frame: Frame) -> Result<(), Close> {
    let first = packet.first().copied().unwrap_or(0);
    let body = packet.get(frame.head..).unwrap_or(&[]);
    match first >> 4 {
        CONNECT => check_connect(body),
        PUBACK if body.len() != 2 => Err(Close::Malformed("length of PUBACK")),
        SUBSCRIBE => check_filters(body, 1),
        UNSUBSCRIBE => check_filters(body, 0),
        PINGREQ | DISCONNECT if !body.is_empty() => Err(Close::Malformed("length")),
        _ => Ok(()),
    }
}

/// The protocol of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// `MQTT`, 4.
    V311,
    /// `MQIsdp`, 3, which the vendor's Python SDK uses.
    V31,
    /// One of the two names with another level.
    Other,
}

/// The protocol level of a CONNECT body.
pub(super) fn level(body: &[u8]) -> Result<Level, Close> {
    let (level, name) = match (body.strip_prefix(NAME_311), body.strip_prefix(NAME_31)) {
        (Some(rest), _) => (rest.first(), Level::V311),
        (_, Some(rest)) => (rest.first(), Level::V31),
        _ => return Err(Close::Malformed("protocol name")),
    };
    match (level, name) {
        (Some(4), Level::V311) => Ok(Level::V311),
        (Some(3), Level::V31) => Ok(Level::V31),
        (Some(_), _) => Ok(Level::Other),
        (None, _) => Err(Close::Malformed("protocol level")),
    }
}

/// Rewrites an MQTT 3.1 CONNECT as the equivalent 3.1.1 one: the two differ only in name and level.
/// (3.1 also limits the client id to 23 characters; the platform does not.)
pub(super) fn rewrite_31(packet: &[u8], frame: Frame) -> Option<BytesMut> {
    let rest = packet.get(frame.head..)?.strip_prefix(NAME_31)?.get(1..)?;
    let mut out = BytesMut::with_capacity(packet.len());
    out.put_u8(CONNECT << 4);
    let mut left = NAME_311.len().saturating_add(1).saturating_add(rest.len());
    loop {
        let low = u8::try_from(left & 0x7f).ok()?;
        left >>= 7;
        out.put_u8(if left > 0 { low | 0x80 } else { low });
        if left == 0 {
            break;
        }
    }
    out.put_slice(NAME_311);
    out.put_u8(4);
    out.put_slice(rest);
    Some(out)
}

const NAME_311: &[u8] = b"\0\x04MQTT";
const NAME_31: &[u8] = b"\0\x06MQIsdp";

/// A packet type that a client may send, with its valid flags.
fn check_first(first: u8) -> Result<(), Close> {
    let flags = first & 0x0f;
    match first >> 4 {
        PUBLISH => match (flags >> 1) & 3 {
            0 if flags & 8 != 0 => Err(Close::Malformed("DUP at QoS 0")),
            0 | 1 if flags & 1 == 0 => Ok(()),
            0 | 1 => Err(Close::Unsupported("retain")),
            2 => Err(Close::Unsupported("QoS 2")),
            _ => Err(Close::Malformed("QoS")),
        },
        SUBSCRIBE | UNSUBSCRIBE if flags == 2 => Ok(()),
        CONNECT | PUBACK | PINGREQ | DISCONNECT if flags == 0 => Ok(()),
        CONNECT | PUBACK | SUBSCRIBE | UNSUBSCRIBE | PINGREQ | DISCONNECT => {
            Err(Close::Malformed("header flags"))
        }
        _ => Err(Close::Malformed("a packet that no client sends")),
    }
}

/// The flags are consistent, and the payload ends where the packet does.
fn check_connect(body: &[u8]) -> Result<(), Close> {
    let name = match level(body)? {
        Level::V311 => NAME_311.len(),
        Level::V31 => NAME_31.len(),
        Level::Other => return Ok(()),
    };
    let short = Close::Malformed("length of CONNECT");
    let mut rest = body.get(name.saturating_add(1)..).ok_or(short)?;
    let flags = rest.first().copied().ok_or(short)?;
    if flags & 1 != 0 || (flags & 0x40 != 0 && flags & 0x80 == 0) {
        return Err(Close::Malformed("CONNECT flags"));
    }
    if flags & 0x04 != 0 {
        return Err(Close::Unsupported("a will"));
    }
    rest = rest.get(3..).ok_or(short)?;
    // The client id is always present, user name and password if their flags are set.
    for present in [true, flags & 0x80 != 0, flags & 0x40 != 0] {
        if present {
            (_, rest) = field(rest).ok_or(short)?;
        }
    }
    if rest.is_empty() { Ok(()) } else { Err(short) }
}

/// A packet id other than 0 and at least one filter, each with `options` bytes whose high bits
/// are zero.
fn check_filters(body: &[u8], options: usize) -> Result<(), Close> {
    let (id, mut rest) =
        body.split_first_chunk::<2>().ok_or(Close::Malformed("length of SUBSCRIBE"))?;
    if *id == [0, 0] {
        return Err(Close::Malformed("packet id 0"));
    }
    if rest.is_empty() {
        return Err(Close::Malformed("no filter"));
    }
    while !rest.is_empty() {
        (_, rest) = field(rest).ok_or(Close::Malformed("filter"))?;
        let (option, left) =
            rest.split_at_checked(options).ok_or(Close::Malformed("filter options"))?;
        if option.iter().any(|byte| *byte > 2) {
            return Err(Close::Malformed("filter options"));
        }
        rest = left;
    }
    Ok(())
}

/// A field with a 16-bit length prefix, and the rest.
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
