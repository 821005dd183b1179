//! Encodes requests.

use ota_proto::{BufferTooSmall, QoS};

use super::{Connect, EncodeError, PacketId, Publish, Request};

/// The largest remaining length that four bytes can encode.
const MAX_REMAINING: usize = 268_435_455;

impl Request<'_> {
    /// The length of the packet in bytes.
    ///
    /// # Errors
    /// [`EncodeError::TooLong`] if no packet can be that long.
    pub fn encoded_len(&self) -> Result<usize, EncodeError> {
        let remaining = self.remaining()?;
        let header = match remaining {
            0..=127 => 2_usize,
            128..=16_383 => 3,
            16_384..=2_097_151 => 4,
            _ => 5,
        };
        Ok(header.saturating_add(remaining))
    }

    /// Writes the packet to the start of `buf` and returns its length in bytes.
    ///
    /// # Errors
    /// [`EncodeError`]; `buf` is then unchanged.
    pub fn encode(&self, buf: &mut [u8]) -> Result<usize, EncodeError> {
        let needed = self.encoded_len()?;
        let Some(space) = buf.get_mut(..needed) else {
            return Err(EncodeError::Buffer(BufferTooSmall { needed }));
        };
        let mut out = Writer(space);
        out.byte(self.first());
        out.length(self.remaining()?);
        match self {
            Self::Connect(connect) => out.connect(connect),
            Self::Subscribe { id, filter, qos } => {
                out.short(id.get());
                out.string(filter.as_bytes());
                out.byte(u8::from(*qos == QoS::AtLeastOnce));
            }
            Self::Unsubscribe { id, filter } => {
                out.short(id.get());
                out.string(filter.as_bytes());
            }
            Self::Publish(publish) => {
                out.string(publish.topic.as_bytes());
                if let Some(id) = publish.id {
                    out.short(id.get());
                }
                out.bytes(publish.payload);
            }
            Self::PubAck(id) => out.short(id.get()),
            Self::PingReq | Self::Disconnect => {}
        }
        Ok(needed)
    }

    /// The first byte: type and flags.
    fn first(&self) -> u8 {
        match self {
            Self::Connect(_) => 0x10,
            Self::Publish(Publish { dup, retain, id, .. }) => {
                let qos = id.is_some();
                let dup = *dup && qos;
                0x30 | (u8::from(dup) << 3) | (u8::from(qos) << 1) | u8::from(*retain)
            }
            Self::PubAck(_) => 0x40,
            Self::Subscribe { .. } => 0x82,
            Self::Unsubscribe { .. } => 0xA2,
            Self::PingReq => 0xC0,
            Self::Disconnect => 0xE0,
        }
    }

    /// The number of bytes after the fixed header.
    fn remaining(&self) -> Result<usize, EncodeError> {
        let sum = match self {
            Self::Connect(connect) => {
                let user = connect.user_name.map_or(Ok(0), |s| string_len(s.len()))?;
                let password = connect.password().map_or(Ok(0), |s| string_len(s.len()))?;
                10_usize
                    .saturating_add(string_len(connect.client_id.len())?)
                    .saturating_add(user)
                    .saturating_add(password)
            }
            Self::Subscribe { filter, .. } => string_len(filter.len())?.saturating_add(3),
            Self::Unsubscribe { filter, .. } => string_len(filter.len())?.saturating_add(2),
            Self::Publish(Publish { topic, id, payload, .. }) => string_len(topic.len())?
                .saturating_add(id.map_or(0, |_| 2))
                .saturating_add(payload.len()),
            Self::PubAck(_) => 2,
            Self::PingReq | Self::Disconnect => 0,
        };
        if sum > MAX_REMAINING { Err(EncodeError::TooLong) } else { Ok(sum) }
    }
}

impl<'a> Connect<'a> {
    /// The password to send: none without a user name.
    fn password(&self) -> Option<&'a [u8]> {
        self.user_name.and(self.password)
    }
}

/// The length of a string with its length prefix.
fn string_len(len: usize) -> Result<usize, EncodeError> {
    match u16::try_from(len) {
        Ok(_) => Ok(len.saturating_add(2)),
        Err(_) => Err(EncodeError::TooLong),
    }
}

/// Writes to the front of a slice whose length is exact.
struct Writer<'b>(&'b mut [u8]);

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let space = core::mem::take(&mut self.0);
        debug_assert!(space.len() >= bytes.len(), "the slice has the length of the packet");
        if let Some((here, rest)) = space.split_at_mut_checked(bytes.len()) {
            here.copy_from_slice(bytes);
            self.0 = rest;
        }
    }

    fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    fn short(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    fn string(&mut self, bytes: &[u8]) {
        debug_assert!(u16::try_from(bytes.len()).is_ok(), "`string_len` has checked it");
        self.short(u16::try_from(bytes.len()).unwrap_or(u16::MAX));
        self.bytes(bytes);
    }

    fn length(&mut self, mut value: usize) {
        loop {
            let low = u8::try_from(value & 0x7F).unwrap_or(0);
            value >>= 7;
            if value == 0 {
                return self.byte(low);
            }
            self.byte(low | 0x80);
        }
    }

    fn connect(&mut self, connect: &Connect<'_>) {
        const CLEAN_SESSION: u8 = 0x02;
        const PASSWORD: u8 = 0x40;
        const USER_NAME: u8 = 0x80;
        let password = connect.password();
        self.string(b"MQTT");
        self.byte(4);
        self.byte(
            CLEAN_SESSION
                | if connect.user_name.is_some() { USER_NAME } else { 0 }
                | if password.is_some() { PASSWORD } else { 0 },
        );
        self.short(connect.keep_alive);
        self.string(connect.client_id.as_bytes());
        if let Some(user) = connect.user_name {
            self.string(user.as_bytes());
        }
        if let Some(password) = password {
            self.string(password);
        }
    }
}

impl<'a> Publish<'a> {
    /// Our messages are neither repeated nor retained.
    #[must_use]
    pub const fn new(topic: &'a str, id: Option<PacketId>, payload: &'a [u8]) -> Self {
        Self { dup: false, retain: false, topic, id, payload }
    }
}
