//! Inputs and outputs of a [`Session`](super::Session).

use std::fmt;

use bytes::Bytes;

/// Events of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The login and the subscription are granted: reports arrive from now on.
    Joined,
    /// A message on a `$ota/report/…` topic.
    Report {
        /// The topic, as the broker sent it.
        topic: String,
        /// The JSON, not parsed yet.
        payload: Bytes,
        /// At QoS 1, the id for [`acknowledge`](super::Session::acknowledge) once its changes are
        /// durable.
        id: Option<u16>,
    },
    /// A message over the limit; it was acknowledged and skipped.
    Oversized {
        /// The topic, with `U+FFFD` for invalid UTF-8.
        topic: String,
    },
}

/// Why there is no connection to the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lost {
    /// The broker answered the login with this.
    Refused(Refused),
    /// The broker refused the subscription to [`FILTER`](super::FILTER).
    NotSubscribed,
    /// No TCP connection, with the reason.
    NoConnection(String),
    /// No TLS session, with the reason.
    Tls(String),
    /// No answer to CONNECT, SUBSCRIBE or PINGREQ in time.
    Silent,
    /// The broker does not read.
    Slow,
    /// A packet that violates the standard, or that was not requested, with the reason.
    Malformed(&'static str),
    /// We ended it: a delivered message could not be stored and must be delivered again.
    NotKept,
    /// The broker, or something in between, ended the connection.
    Closed,
}

/// The broker's answer to a login (MQTT 3.1.1 §3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refused {
    /// 1: it does not support MQTT 3.1.1.
    Protocol,
    /// 2: it rejects the client id.
    ClientId,
    /// 3: it is not available.
    Unavailable,
    /// 4: user name or password are wrong.
    Credentials,
    /// 5: this client may not connect.
    NotAuthorized,
}

impl Lost {
    /// Whether retrying soon is useless, because a person must change something first.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(why) => *why != Refused::Unavailable,
            Self::NotSubscribed | Self::Tls(_) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "the broker refuses the login: {why}"),
            Self::NotSubscribed => write!(
                f,
                "the broker refuses the subscription to {}: allow this client to read it, and to \
                 write $ota/update/+/+",
                super::FILTER
            ),
            Self::NoConnection(why) => write!(f, "cannot connect: {why}"),
            Self::Tls(why) => write!(f, "no TLS with the broker: {why}"),
            Self::Silent => f.write_str("the broker does not answer"),
            Self::Slow => f.write_str("the broker does not read what it is sent"),
            Self::Malformed(what) => write!(f, "the broker violated MQTT 3.1.1: {what}"),
            Self::NotKept => f.write_str("its reports cannot be kept now; it delivers them again"),
            Self::Closed => f.write_str("the connection was closed"),
        }
    }
}

impl std::error::Error for Lost {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol => "it does not speak MQTT 3.1.1",
            Self::ClientId => "it does not take the client id",
            Self::Unavailable => "it is not available now",
            Self::Credentials => "wrong user name or password",
            Self::NotAuthorized => "not authorized: it wants a login, or this one may not connect",
        })
    }
}
