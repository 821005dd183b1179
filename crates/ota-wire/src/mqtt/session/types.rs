//! What goes into a session and what comes out of it.

use core::fmt;
use core::ops::Range;

use ota_proto::{Instant, QoS};

use crate::mqtt::packet::{ConnectCode, PacketError};

/// A publication that was taken. Unique in the life of a [`super::Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PublishHandle(pub(super) u64);

/// A subscription. Unique in the life of a [`super::Session`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SubId(pub(super) u64);

/// An inbound message that waits for [`super::Session::acknowledge`]. Unique in the life of a
/// [`super::Session`]: the acknowledgement of a message of an earlier connection has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AckId(pub(super) u64);

/// Whose message or subscription it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Kind {
    /// The update's. It may use the whole buffer and window. Nothing is kept across connections,
    /// because the updater decides again; a refused subscription ends the session.
    Ota,
    /// As [`Kind::Ota`], for a device behind the one that has the login: a refused subscription is
    /// reported, once in a connection, and asked for again.
    SubDevice,
    /// The application's. At QoS 1 it is kept across connections, until it is acknowledged or
    /// given up ([`Published::given_up`]); a refused subscription is reported, once in a
    /// connection, and asked for again.
    Application,
}

/// A message to publish.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outgoing<'a> {
    /// Whose it is.
    pub kind: Kind,
    /// How it is delivered.
    pub qos: QoS,
    /// Where to: 1 to 65,535 bytes without NUL and wildcards.
    pub topic: &'a str,
    /// The message.
    pub payload: &'a [u8],
}

impl fmt::Debug for Outgoing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("kind", &self.kind)
            .field("qos", &self.qos)
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Outgoing<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "Outgoing {{ kind: {}, qos: {}, topic: {=str}, payload_len: {=usize} }}",
            self.kind,
            self.qos,
            self.topic,
            self.payload.len(),
        );
    }
}

/// A publication that is over: at QoS 0 its last byte was handed over to the transport, at QoS 1
/// it was acknowledged, or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Published<O> {
    /// What [`super::Session::publish`] returned.
    pub handle: PublishHandle,
    /// What it was given.
    pub owner: O,
    /// It was handed over in [`crate::mqtt::Limits::tries`] sessions, and none lived to see its
    /// PUBACK. Only the application's messages end like this.
    pub given_up: bool,
}

/// What one call of [`super::Session::handle_received`] did with the bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub struct Received {
    /// Bytes at the front of the caller's buffer that are done with. Spans in `found` count from
    /// the front as it was before these are dropped.
    pub consumed: usize,
    /// What was in them.
    pub found: Found,
}

/// What was received. Spans are ranges of the caller's buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Found {
    /// Nothing to tell; there may be more behind the consumed bytes.
    Nothing,
    /// The buffer holds only a part of a packet: read until it holds `needed` bytes or more
    /// (never more than [`crate::mqtt::Limits::packet`]) and call again.
    Incomplete {
        /// Bytes to have in the buffer before the next call can do anything.
        needed: usize,
    },
    /// A message of QoS 1 is next, and [`crate::mqtt::Limits::inbound`] are not acknowledged yet.
    /// Acknowledge one, then call again with the same bytes.
    Blocked,
    /// CONNACK: the server took the login. Publishing is possible from now on.
    Accepted,
    /// SUBACK: the subscription stands.
    Subscribed(SubId),
    /// SUBACK: the server refused a subscription of the application. It is tried again in the
    /// next session.
    Refused(SubId),
    /// UNSUBACK: the subscription is gone.
    Unsubscribed(SubId),
    /// A message.
    Message {
        /// Where it was published; [`super::text`] shows it.
        topic: Range<usize>,
        /// The message.
        payload: Range<usize>,
        /// To be given to [`super::Session::acknowledge`] when the message was taken; `None` at
        /// QoS 0.
        ack: Option<AckId>,
        /// The server had kept it.
        retain: bool,
    },
    /// A message longer than [`crate::mqtt::Limits::packet`]. It is skipped, and acknowledged so
    /// that the server does not send it for ever.
    TooLong {
        /// Where it was published; empty when the topic alone is too long.
        topic: Range<usize>,
        /// The length of the packet in bytes.
        len: usize,
    },
}

/// When something must happen, and what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Deadline {
    /// When to call [`super::Session::handle_timeout`].
    pub at: Instant,
    /// What it will be about.
    pub timer: Timer,
}

/// What a deadline is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Timer {
    /// CONNACK is overdue.
    ConnAck,
    /// SUBACK or UNSUBACK is overdue.
    SubAck,
    /// PUBACK is overdue.
    PubAck,
    /// PINGRESP is overdue.
    PingResp,
    /// The transport took no byte.
    Write,
    /// The application left messages without acknowledgement.
    Blocked,
    /// A PINGREQ is due.
    KeepAlive,
    /// A refused subscription is to be asked for again.
    Subscribe,
}

/// Where the session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Phase {
    /// There is no connection.
    Down,
    /// CONNECT is on its way; its answer is awaited.
    Connecting,
    /// The server took the login.
    Up,
    /// DISCONNECT is on its way. Close the connection when [`super::Session::transmit`] is empty.
    Closing,
    /// It is over. Close the connection and call [`super::Session::handle_closed`].
    Ended(SessionError),
}

/// Why a session ended. The connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionError {
    /// The peer's fault: no packet of a server.
    Packet(PacketError),
    /// The peer's fault: a packet that is no message and longer than the limit.
    TooLong,
    /// The caller's fault: the server answers with TLS, which was not asked for.
    SpeaksTls,
    /// The peer's fault: a packet that does not fit the state, or an answer to what was not
    /// handed over yet.
    Unexpected,
    /// The peer's fault: a second message under an identifier that was not acknowledged.
    IdInUse,
    /// The server refused the login.
    Refused(ConnectCode),
    /// The server refused a subscription of the update.
    SubscribeRefused(SubId),
    /// Something was overdue: the network's fault, or the application's for [`Timer::Blocked`].
    TimedOut(Timer),
}

impl SessionError {
    /// The server knows the login and does not want it: trying again soon is of no use.
    #[must_use]
    pub const fn is_login_refused(&self) -> bool {
        matches!(self, Self::Refused(code) if !matches!(code, ConnectCode::Unavailable))
    }
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Packet(why) => return write!(f, "malformed packet: {why}"),
            Self::TooLong => "a packet is longer than the limit",
            Self::SpeaksTls => "the server speaks TLS on this port",
            Self::Unexpected => "a packet does not fit the state of the session",
            Self::IdInUse => "a packet identifier was used twice",
            Self::Refused(ConnectCode::Accepted) => "refused",
            Self::Refused(ConnectCode::ProtocolVersion) => "refused: protocol version",
            Self::Refused(ConnectCode::Identifier) => "refused: client identifier",
            Self::Refused(ConnectCode::Unavailable) => "refused: service unavailable",
            Self::Refused(ConnectCode::Credentials) => "refused: bad user name or password",
            Self::Refused(ConnectCode::NotAuthorized) => "refused: not authorised",
            Self::SubscribeRefused(_) => "a subscription was refused",
            Self::TimedOut(Timer::ConnAck) => "no CONNACK in time",
            Self::TimedOut(Timer::SubAck) => "no SUBACK in time",
            Self::TimedOut(Timer::PubAck) => "no PUBACK in time",
            Self::TimedOut(Timer::PingResp) => "no PINGRESP in time",
            Self::TimedOut(Timer::Write) => "the connection takes no bytes",
            Self::TimedOut(Timer::Blocked) => "the application does not take its messages",
            Self::TimedOut(Timer::KeepAlive) => "keep-alive",
            Self::TimedOut(Timer::Subscribe) => "subscription",
        };
        f.write_str(text)
    }
}

impl core::error::Error for SessionError {}

/// Why a publication was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PublishError {
    /// The caller's fault: not a topic name.
    BadTopic,
    /// The caller's fault: it fits the limits at no time.
    TooLong,
    /// The server has not taken the login (any more). Try again after [`Found::Accepted`].
    NotUp,
    /// Too many publications are not complete. Try again after one is.
    WindowFull,
    /// Too many bytes wait. Try again after some were handed over or acknowledged.
    BufferFull,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadTopic => "not a topic name",
            Self::TooLong => "message longer than the limit",
            Self::NotUp => "no session",
            Self::WindowFull => "too many publications in flight",
            Self::BufferFull => "too many bytes in flight",
        })
    }
}

impl core::error::Error for PublishError {}

/// Why a subscription was not taken: the caller's fault. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SubscribeError {
    /// Not a topic filter.
    BadFilter,
    /// Longer than the limits allow.
    TooLong,
    /// There are [`crate::mqtt::Limits::subscriptions`] already.
    Full,
    /// The same filter is subscribed already, or its UNSUBACK is awaited.
    Duplicate,
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadFilter => "not a topic filter",
            Self::TooLong => "topic filter longer than the limit",
            Self::Full => "too many subscriptions",
            Self::Duplicate => "already subscribed",
        })
    }
}

impl core::error::Error for SubscribeError {}
