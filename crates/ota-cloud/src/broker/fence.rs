//! Checks a broker's packet before the codec sees it.

use super::Lost;
use crate::frame::{BadLength, Frame};

pub(super) const CONNACK: u8 = 2;
pub(super) const PUBLISH: u8 = 3;
pub(super) const SUBACK: u8 = 9;
pub(super) const PINGRESP: u8 = 13;

/// Returns the packet at the start of `bytes`, which may be incomplete.
pub(super) fn frame(bytes: &[u8]) -> Result<Option<Frame>, Lost> {
    let Some(first) = bytes.first() else { return Ok(None) };
    check_first(*first)?;
    Frame::read(bytes).map_err(|BadLength| Lost::Malformed("remaining length"))
}

/// Checks a whole packet's body by its kind.
pub(super) fn check(packet: &[u8], frame: Frame) -> Result<(), Lost> {
    let body = packet.get(frame.head..).unwrap_or(&[]);
    let right = match packet.first().copied().unwrap_or(0) >> 4 {
        CONNACK => matches!(body, [0 | 1, _]),
        // Exactly one filter was requested.
        SUBACK => matches!(body, [_, _, 0 | 1 | 2 | 0x80]),
        PINGRESP => body.is_empty(),
        _ => true,
    };
    if right { Ok(()) } else { Err(Lost::Malformed("length or contents of an answer")) }
}

/// The positions of a PUBLISH's topic and packet id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub(super) topic: &'a [u8],
    /// `None` at QoS 0.
    pub(super) id: Option<u16>,
}

/// Parses the start of a PUBLISH from the received `bytes`; `None` if they are too few.
pub(super) fn head(bytes: &[u8], frame: Frame) -> Result<Option<Head<'_>>, Lost> {
    let short = Lost::Malformed("length of PUBLISH");
    let body = bytes.get(..frame.len.min(bytes.len())).and_then(|packet| packet.get(frame.head..));
    let body = body.unwrap_or(&[]);
    let whole = bytes.len() >= frame.len;
    let quality = bytes.first().copied().unwrap_or(0) >> 1 & 3;
    let head = body.split_first_chunk::<2>().and_then(|(len, rest)| {
        let (topic, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        if quality == 0 {
            return Some(Head { topic, id: None });
        }
        let (id, _) = rest.split_first_chunk::<2>()?;
        Some(Head { topic, id: Some(u16::from_be_bytes(*id)) })
    });
    match head {
        None if whole => Err(short),
        Some(Head { id: Some(0), .. }) => Err(Lost::Malformed("packet id 0")),
        head => Ok(head),
    }
}

/// A packet type that a broker sends to a client that subscribes at QoS 1 and publishes at QoS 0.
fn check_first(first: u8) -> Result<(), Lost> {
    let flags = first & 0x0f;
    match first >> 4 {
        PUBLISH if flags >> 1 & 3 <= 1 => Ok(()),
        PUBLISH => Err(Lost::Malformed("more than QoS 1")),
        CONNACK | SUBACK | PINGRESP if flags == 0 => Ok(()),
        CONNACK | SUBACK | PINGRESP => Err(Lost::Malformed("header flags")),
        _ => Err(Lost::Malformed("a packet that nothing asked for")),
    }
}
