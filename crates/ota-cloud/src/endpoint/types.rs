//! Inputs and outputs of a [`Connection`](super::Connection).

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use mqttbytes::QoS;
use mqttbytes::v4::{Connect, ConnectReturnCode};

use super::topic::MAX_TOPIC;

/// Limits of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The largest payload of a message in bytes. Default 16 KiB, the platform's limit
    /// (docs/protocol.md, The cloud's side). A packet may be larger by the longest topic and the
    /// headers.
    pub payload: usize,
    /// The most bytes that wait for a client that does not read. Default 256 KiB.
    pub unsent: usize,
    /// The most filters of one client. Default 64.
    pub subscriptions: usize,
    /// The most unacknowledged QoS 1 messages to the client, at most 65,534. Default 32.
    pub in_flight: usize,
    /// The most accepted and unacknowledged QoS 1 messages from the client; at least 1. Default 32.
    pub received: usize,
    /// How long a client may take for its CONNECT. Default 10 s.
    pub connect: Duration,
    /// How long a client may leave bytes unread. Default 10 s.
    pub stall: Duration,
}

impl Limits {
    /// The largest packet in bytes, headers included.
    #[must_use]
    pub const fn packet(&self) -> usize {
        self.payload.saturating_add(MAX_TOPIC).saturating_add(HEADERS)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload: 16 * 1024,
            unsent: 256 * 1024,
            subscriptions: 64,
            in_flight: 32,
            received: 32,
            connect: Duration::from_secs(10),
            stall: Duration::from_secs(10),
        }
    }
}

/// Events of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A CONNECT that waits for [`accept`](super::Connection::accept) or
    /// [`refuse`](super::Connection::refuse).
    Login(Login),
    /// A message on the device's own `$ota/report/…`.
    Report {
        /// The JSON, not parsed yet.
        payload: Bytes,
        /// At QoS 1, the id for [`acknowledge`](super::Connection::acknowledge) once its changes
        /// are durable.
        id: Option<u16>,
    },
    /// A message on another topic the device may use.
    Publish {
        /// The topic.
        topic: String,
        /// The message.
        payload: Bytes,
        /// 0 or 1.
        qos: QoS,
    },
    /// A message on a topic that the device must not use; it is dropped.
    Foreign {
        /// The topic.
        topic: String,
    },
    /// A SUBSCRIBE was answered.
    Subscribed {
        /// The granted filters.
        granted: Vec<String>,
        /// The refused filters, answered with 0x80.
        refused: Vec<String>,
    },
    /// An UNSUBSCRIBE was answered.
    Unsubscribed {
        /// The removed filters.
        filters: Vec<String>,
    },
}

/// The login of a CONNECT. `Debug` hides the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// `{ProductId}{DeviceName}`.
    pub client_id: String,
    /// `{ClientId};{sdkappid};{connid};{expiry}`; empty when none was sent.
    pub user_name: String,
    /// `{hex HMAC};{method}`; empty when none was sent.
    pub password: String,
    /// The requested keep-alive in seconds.
    pub keep_alive: u16,
    /// Whether the CONNECT was one of MQTT 3.1.
    pub legacy: bool,
}

impl Login {
    pub(super) fn new(connect: Connect, legacy: bool) -> Self {
        let (user_name, password) =
            connect.login.map(|login| (login.username, login.password)).unwrap_or_default();
        let Connect { client_id, keep_alive, .. } = connect;
        Self { client_id, user_name, password, keep_alive, legacy }
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("client_id", &self.client_id)
            .field("user_name", &self.user_name)
            .field("keep_alive", &self.keep_alive)
            .field("legacy", &self.legacy)
            .finish_non_exhaustive()
    }
}

/// Why a login is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No such device: return code 5.
    UnknownDevice,
    /// The user name or the password is wrong, or the login has expired: return code 4.
    BadCredentials,
    /// The client id is not the one of the user name: return code 2.
    BadClientId,
    /// Less than the platform's 5 s since the last CONNECT, or too many clients: return code 3.
    TooOften,
    /// The device is disabled: return code 5.
    Disabled,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::UnknownDevice,
        Self::BadCredentials,
        Self::BadClientId,
        Self::TooOften,
        Self::Disabled,
    ];

    /// The name for programs: `bad-credentials`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnknownDevice => "unknown-device",
            Self::BadCredentials => "bad-credentials",
            Self::BadClientId => "bad-client-id",
            Self::TooOften => "too-often",
            Self::Disabled => "disabled",
        }
    }

    pub(super) fn return_code(self) -> ConnectReturnCode {
        match self {
            Self::UnknownDevice | Self::Disabled => ConnectReturnCode::NotAuthorized,
            Self::BadCredentials => ConnectReturnCode::BadUserNamePassword,
            Self::BadClientId => ConnectReturnCode::BadClientId,
            Self::TooOften => ConnectReturnCode::ServiceUnavailable,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownDevice => "no such device",
            Self::BadCredentials => "wrong or expired credentials",
            Self::BadClientId => "the client id is not the device's",
            Self::TooOften => "too many logins, or too soon after the last one",
            Self::Disabled => "the device is disabled",
        })
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Close {
    /// The client sent DISCONNECT.
    Disconnect,
    /// The login was refused.
    Refused(Refusal),
    /// The first packet was not a CONNECT.
    NotConnect,
    /// No CONNECT in time.
    NoConnect,
    /// A second CONNECT on the same connection.
    SecondConnect,
    /// A packet that violates the standard, with the reason.
    Malformed(&'static str),
    /// A packet or a payload over the limit.
    TooLarge,
    /// A feature that the platform does not support, with its name.
    Unsupported(&'static str),
    /// Nothing was received for 1.5 times the keep-alive.
    KeepAlive,
    /// The client does not read.
    Slow,
}

impl fmt::Display for Close {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnect => f.write_str("the client said DISCONNECT"),
            Self::Refused(why) => write!(f, "login refused: {why}"),
            Self::NotConnect => f.write_str("the first packet was no CONNECT"),
            Self::NoConnect => f.write_str("no CONNECT in time"),
            Self::SecondConnect => f.write_str("a second CONNECT"),
            Self::Malformed(what) => write!(f, "malformed: {what}"),
            Self::TooLarge => f.write_str("a packet over the limit"),
            Self::Unsupported(what) => write!(f, "the platform does not support {what}"),
            Self::KeepAlive => f.write_str("silent for 1.5 times its keep-alive"),
            Self::Slow => f.write_str("it does not read what it is sent"),
        }
    }
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotSent {
    /// The connection is closed.
    Closed,
    /// The payload is over the limit, or the topic does not fit into a packet.
    TooLarge,
    /// The maximum number of QoS 1 messages is unacknowledged.
    WindowFull,
}

impl fmt::Display for NotSent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "the connection is closed",
            Self::TooLarge => "the message is over the packet limit",
            Self::WindowFull => "too many messages wait for their acknowledgement",
        })
    }
}

impl std::error::Error for NotSent {}
impl std::error::Error for Close {}

/// Fixed header, topic length and packet id: the longest part of a PUBLISH besides its content.
pub(super) const HEADERS: usize = 9;

pub(super) fn one_and_a_half(span: Duration) -> Duration {
    span.saturating_add(span.checked_div(2).unwrap_or(span))
}

/// The platform allows 0 to 900 s (docs/protocol.md, The cloud's side). 0 would keep a half-open
/// connection forever, and the standard lets a server close any silent client: such a client gets
/// the longest keep-alive.
pub(super) fn keep_alive(secs: u16) -> Duration {
    Duration::from_secs(if secs == 0 { 900 } else { u64::from(secs.min(900)) })
}
