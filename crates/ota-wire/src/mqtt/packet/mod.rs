//! The packets: what a client sends ([`Request`]) and what a server sends ([`Packet`]).
//!
//! Decoding is strict. Everything that is not exactly a packet of MQTT 3.1.1 at QoS 0 or 1 is a
//! [`PacketError`]: the peer is at fault, and the connection must be closed.

mod decode;
mod encode;

use core::fmt;
use core::num::NonZeroU16;

use ota_proto::{BufferTooSmall, QoS};

#[cfg(feature = "record")]
pub(crate) use decode::short;
pub use decode::{Head, decode, head};

/// A packet identifier: never 0 (MQTT 3.1.1 §2.3.1).
pub type PacketId = NonZeroU16;

/// A packet from a client to a server.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Request<'a> {
    /// Opens the session: always a clean one, without a will.
    Connect(Connect<'a>),
    /// Subscribes to one topic filter; the platform allows one per packet (docs/protocol.md,
    /// Connection).
    Subscribe {
        /// Identifier of the request.
        id: PacketId,
        /// The filter, 1 to 65,535 bytes.
        filter: &'a str,
        /// The highest requested QoS.
        qos: QoS,
    },
    /// Removes one topic filter.
    Unsubscribe {
        /// Identifier of the request.
        id: PacketId,
        /// The filter, 1 to 65,535 bytes.
        filter: &'a str,
    },
    /// A message.
    Publish(Publish<'a>),
    /// Acknowledges a message of QoS 1.
    PubAck(PacketId),
    /// Asks the broker for a PINGRESP.
    PingReq,
    /// Ends the session in order.
    Disconnect,
}

/// The fields of CONNECT. Its `Debug` hides the password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Connect<'a> {
    /// Client identifier, at most 65,535 bytes.
    pub client_id: &'a str,
    /// Keep-alive in seconds; 0 disables it.
    pub keep_alive: u16,
    /// User name, at most 65,535 bytes.
    pub user_name: Option<&'a str>,
    /// Password, at most 65,535 bytes. It is omitted without a user name, as MQTT 3.1.1 §3.1.2.9
    /// requires.
    pub password: Option<&'a [u8]>,
}

/// The fields of PUBLISH.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Publish<'a> {
    /// The packet may have been sent before. Never with QoS 0.
    pub dup: bool,
    /// The retain flag: the server had stored the message. Never set by us.
    pub retain: bool,
    /// The topic: not empty, without NUL and wildcards.
    pub topic: &'a str,
    /// `Some` is QoS 1, `None` is QoS 0.
    pub id: Option<PacketId>,
    /// The message itself.
    pub payload: &'a [u8],
}

/// A packet from a server to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Packet<'a> {
    /// Answers CONNECT.
    ConnAck {
        /// The server has an old session. Always ignored, because we request a clean one.
        session_present: bool,
        /// The return code.
        code: ConnectCode,
    },
    /// A message.
    Publish(Publish<'a>),
    /// Acknowledges a message of QoS 1.
    PubAck(PacketId),
    /// Answers SUBSCRIBE.
    SubAck {
        /// Identifier of the request.
        id: PacketId,
        /// One return code per filter: the granted QoS (0 to 2) or 0x80 for a refusal. Not empty.
        codes: &'a [u8],
    },
    /// Answers UNSUBSCRIBE.
    UnsubAck(PacketId),
    /// Answers PINGREQ.
    PingResp,
}

/// The return code of CONNACK (MQTT 3.1.1 §3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ConnectCode {
    /// 0: accepted.
    Accepted,
    /// 1: the server does not support this version of the protocol.
    ProtocolVersion,
    /// 2: the client identifier is not allowed.
    Identifier,
    /// 3: the service is not available.
    Unavailable,
    /// 4: bad user name or password.
    Credentials,
    /// 5: not authorised.
    NotAuthorized,
}

/// The peer's fault: the bytes are not a packet that a server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PacketError {
    /// A packet type that a server does not send, or one of QoS 2.
    Type,
    /// The low four bits of the first byte are wrong for the type, QoS 2 and 3 included.
    Flags,
    /// The remaining length has more than four bytes.
    LengthEncoding,
    /// The remaining length does not fit the type or the fields.
    Length,
    /// A packet identifier of 0.
    PacketId,
    /// A topic that is empty, not UTF-8, or holds NUL or a wildcard.
    Topic,
    /// A return code that does not exist.
    Code,
}

impl fmt::Display for PacketError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Type => "a packet type that no server sends",
            Self::Flags => "wrong flags for the packet type",
            Self::LengthEncoding => "remaining length of more than four bytes",
            Self::Length => "remaining length does not fit the packet",
            Self::PacketId => "packet identifier 0",
            Self::Topic => "not a topic name",
            Self::Code => "unknown return code",
        })
    }
}

impl core::error::Error for PacketError {}

/// The caller's fault: the packet cannot be encoded. The content of the buffer is then undefined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EncodeError {
    /// A string is longer than 65,535 bytes, or the packet longer than 268,435,455.
    TooLong,
    /// The buffer is shorter than the packet.
    Buffer(BufferTooSmall),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("too long for a packet"),
            Self::Buffer(why) => why.fmt(f),
        }
    }
}

impl core::error::Error for EncodeError {}

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("client_id", &self.client_id)
            .field("keep_alive", &self.keep_alive)
            .field("user_name", &self.user_name)
            .field("password", &self.password.map(|_| "…"))
            .finish()
    }
}

impl fmt::Debug for Publish<'_> {
    /// Hides the payload: an offer contains a signed URL.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("dup", &self.dup)
            .field("retain", &self.retain)
            .field("topic", &self.topic)
            .field("id", &self.id)
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(connect) => connect.fmt(f),
            Self::Subscribe { id, filter, qos } => f
                .debug_struct("Subscribe")
                .field("id", id)
                .field("filter", filter)
                .field("qos", qos)
                .finish(),
            Self::Unsubscribe { id, filter } => {
                f.debug_struct("Unsubscribe").field("id", id).field("filter", filter).finish()
            }
            Self::Publish(publish) => publish.fmt(f),
            Self::PubAck(id) => f.debug_tuple("PubAck").field(id).finish(),
            Self::PingReq => f.write_str("PingReq"),
            Self::Disconnect => f.write_str("Disconnect"),
        }
    }
}
