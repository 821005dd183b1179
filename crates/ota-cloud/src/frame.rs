//! Finds the end of an MQTT packet, for both ends of a connection: announced lengths are checked
//! before the packet is awaited.

/// The lengths of the packet at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Bytes of the fixed header: 2 to 5.
    pub(crate) head: usize,
    /// Bytes of the whole packet.
    pub(crate) len: usize,
}

/// A remaining length of more than four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadLength;

impl Frame {
    /// Reads the fixed header at the start of `bytes`; `None` while it is incomplete. The rest
    /// of the packet may not be there yet.
    pub(crate) fn read(bytes: &[u8]) -> Result<Option<Self>, BadLength> {
        let mut remaining = 0_usize;
        for (at, byte) in bytes.iter().skip(1).enumerate() {
            if at > 3 {
                return Err(BadLength);
            }
            remaining |= usize::from(byte & 0x7f) << at.saturating_mul(7);
            if byte & 0x80 == 0 {
                let head = at.saturating_add(2);
                return Ok(Some(Self { head, len: head.saturating_add(remaining) }));
            }
        }
        if bytes.len() > 4 { Err(BadLength) } else { Ok(None) }
    }
}
