//! The inputs and outputs of a session.

use core::fmt;
use core::ops::Range;

use ota_proto::{Instant, QoS};

use crate::mqtt::packet::{ConnectCode, PacketError};

/// An accepted publication. Unique in the life of a [`super::Session`].
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

/// The purpose of a message or subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Purpose {
    /// For the update. It may use the whole buffer and window. Nothing is kept across connections,
    /// because the updater decides again; a refused subscription ends the session.
    Ota,
    /// Like [`Purpose::Ota`], for a sub-device: a refused subscription is reported once per connection
    /// and requested again.
    SubDevice,
    /// For the application. At QoS 1 it is kept across connections until it is acknowledged or
    /// given up ([`Published::given_up`]); a refused subscription is reported once per connection
    /// and requested again.
    Application,
}

/// A message to publish.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Outgoing<'a> {
    /// Its purpose.
    pub kind: Purpose,
    /// Its delivery guarantee.
    pub qos: QoS,
    /// Its topic: 1 to 65,535 bytes without NUL and wildcards.
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

/// A completed publication: at QoS 0 its last byte was given to the transport, at QoS 1 it was
/// acknowledged or given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Published<O> {
    /// The value that [`super::Session::publish`] returned.
    pub handle: PublishHandle,
    /// The purpose that it was given.
    pub owner: O,
    /// It was sent in [`crate::mqtt::SessionLimits::tries`] sessions, none of which lasted until its
    /// PUBACK. Only the application's messages end like this.
    pub given_up: bool,
}

/// The result of one call of [`super::Session::handle_received`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub struct SessionReceived {
    /// Bytes at the front of the caller's buffer that are consumed. Spans in `found` count from the
    /// front as it was before these are dropped.
    pub consumed: usize,
    /// The content of the consumed bytes.
    pub found: SessionFound,
}

/// A received event. Spans are ranges of the caller's buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionFound {
    /// Nothing to report; there may be more after the consumed bytes.
    Nothing,
    /// The buffer holds only part of a packet: read until it holds `needed` bytes or more (at most
    /// [`crate::mqtt::SessionLimits::packet`]) and call again.
    Incomplete {
        /// The number of bytes that the next call needs.
        needed: usize,
    },
    /// A message of QoS 1 is next, and [`crate::mqtt::SessionLimits::inbound`] are unacknowledged.
    /// Acknowledge one, then call again with the same bytes.
    Blocked,
    /// CONNACK: the server accepted the login. Publishing is now possible.
    Accepted,
    /// SUBACK: the subscription is active.
    Subscribed(SubId),
    /// SUBACK: the server refused a subscription of the application. The next session requests it
    /// again.
    Refused(SubId),
    /// UNSUBACK: the subscription is removed.
    Unsubscribed(SubId),
    /// A message.
    Message {
        /// Its topic; [`super::text`] returns it.
        topic: Range<usize>,
        /// The message.
        payload: Range<usize>,
        /// Pass it to [`super::Session::acknowledge`] once the message was taken; `None` at QoS 0.
        ack: Option<AckId>,
        /// The retain flag: the server had stored the message.
        retain: bool,
    },
    /// A message longer than [`crate::mqtt::SessionLimits::packet`]. It is skipped, and acknowledged so
    /// that the server does not send it forever.
    TooLong {
        /// Its topic; empty if the topic alone is too long.
        topic: Range<usize>,
        /// The length of the packet in bytes.
        len: usize,
    },
}

/// A deadline and its purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Deadline {
    /// When to call [`super::Session::handle_timeout`].
    pub at: Instant,
    /// What is due then.
    pub timer: SessionTimer,
}

/// The purpose of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionTimer {
    /// CONNACK is overdue.
    ConnAck,
    /// SUBACK or UNSUBACK is overdue.
    SubAck,
    /// PUBACK is overdue.
    PubAck,
    /// PINGRESP is overdue.
    PingResp,
    /// The transport accepted no byte.
    Write,
    /// The application left messages unacknowledged.
    Blocked,
    /// A PINGREQ is due.
    KeepAlive,
    /// A refused subscription must be requested again.
    Subscribe,
}

/// The state of the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SessionPhase {
    /// There is no connection.
    Down,
    /// CONNECT was queued; its answer is awaited.
    Connecting,
    /// The server accepted the login.
    Up,
    /// DISCONNECT is queued. Close the connection when [`super::Session::transmit`] is empty.
    Closing,
    /// The session has ended. Close the connection and call [`super::Session::handle_closed`].
    Ended(SessionError),
}

/// Why a session ended. Close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SessionError {
    /// The peer's fault: not a packet of a server.
    Packet(PacketError),
    /// The peer's fault: a packet over the limit that is not a message.
    TooLong,
    /// The caller's fault: the server uses TLS, which was not configured.
    SpeaksTls,
    /// The peer's fault: a packet that does not fit the state, or an answer to a packet that was
    /// not sent yet.
    Unexpected,
    /// The peer's fault: a second message under an unacknowledged identifier.
    IdInUse,
    /// The server refused the login.
    Refused(ConnectCode),
    /// The server refused a subscription of the update.
    SubscribeRefused(SubId),
    /// A time-out: the network's fault, or the application's for [`SessionTimer::Blocked`].
    TimedOut(SessionTimer),
}

impl SessionError {
    /// Whether the server knows the login and rejects it, so that retrying soon is useless.
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
            Self::TimedOut(SessionTimer::ConnAck) => "no CONNACK in time",
            Self::TimedOut(SessionTimer::SubAck) => "no SUBACK in time",
            Self::TimedOut(SessionTimer::PubAck) => "no PUBACK in time",
            Self::TimedOut(SessionTimer::PingResp) => "no PINGRESP in time",
            Self::TimedOut(SessionTimer::Write) => "the connection takes no bytes",
            Self::TimedOut(SessionTimer::Blocked) => "the application does not take its messages",
            Self::TimedOut(SessionTimer::KeepAlive) => "keep-alive",
            Self::TimedOut(SessionTimer::Subscribe) => "subscription",
        };
        f.write_str(text)
    }
}

impl core::error::Error for SessionError {}

/// Why a publication was rejected. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PublishError {
    /// The caller's fault: not a topic name.
    BadTopic,
    /// The caller's fault: it never fits the limits.
    TooLong,
    /// There is no accepted login now. Try again after [`SessionFound::Accepted`].
    NotUp,
    /// Too many publications are incomplete. Try again after one completes.
    WindowFull,
    /// Too many bytes wait. Try again after some were sent or acknowledged.
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

/// Why a subscription was rejected: the caller's fault. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SubscribeError {
    /// Not a topic filter.
    BadFilter,
    /// Longer than the limits allow.
    TooLong,
    /// There are already [`crate::mqtt::SessionLimits::subscriptions`].
    Full,
    /// The same filter is already subscribed, or its UNSUBACK is awaited.
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
