//! Errors, by who is at fault.

use core::fmt;

use crate::message::Malformed;

/// The peer's fault: a message that is invalid or not for this device. It had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum MessageError {
    /// Not this device's `$ota/update/…` topic.
    ForeignTopic,
    /// The payload is longer than the configured limit in bytes.
    TooLong,
    /// The payload is not a message of the cloud.
    Malformed(Malformed),
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ForeignTopic => f.write_str("not this device's update topic"),
            Self::TooLong => f.write_str("payload longer than the limit"),
            Self::Malformed(why) => write!(f, "payload is not a cloud message: {why}"),
        }
    }
}

impl core::error::Error for MessageError {}

/// The caller's fault: the command or completion does not fit the state. It had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Misuse;

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the command does not fit the state; it had no effect")
    }
}

impl core::error::Error for Misuse {}

/// The environment's fault: an error of the slot or the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StorageError {
    /// No room left.
    NoSpace,
    /// There is no room for a second image beside the accepted one, which is kept until it is
    /// replaced.
    NoSecondSpace,
    /// The medium cannot be written.
    ReadOnly,
    /// The medium is gone: unmounted, unplugged, directory removed.
    Gone,
    /// Any other failure to erase, write, sync or read.
    Failed,
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoSpace => "no space left",
            Self::NoSecondSpace => "no space for a second image",
            Self::ReadOnly => "read-only",
            Self::Gone => "storage is gone",
            Self::Failed => "storage failed",
        })
    }
}

impl core::error::Error for StorageError {}

/// A full disk or quota is [`StorageError::NoSpace`], a missing right [`StorageError::ReadOnly`],
/// a file that is not there [`StorageError::Gone`]. Feature `std`.
#[cfg(feature = "std")]
impl From<std::io::Error> for StorageError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        match error.kind() {
            K::StorageFull | K::QuotaExceeded | K::FileTooLarge => Self::NoSpace,
            K::ReadOnlyFilesystem | K::PermissionDenied => Self::ReadOnly,
            K::NotFound | K::NotADirectory | K::StaleNetworkFileHandle => Self::Gone,
            _ => Self::Failed,
        }
    }
}

/// Why TLS was refused. Every kind is final for this peer until something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate is for another host name.
    WrongHost,
    /// It has no path to a trusted root.
    Untrusted,
    /// It has expired.
    Expired,
    /// It is not yet valid: it is new, or our clock is behind.
    NotYetValid,
    /// Its issuer is not a CA.
    NotAuthority,
    /// It is not a server certificate: it is for another purpose, or unreadable.
    Unfit,
    /// It has X.509 version 1, which cannot state its purpose.
    Version1,
    /// It is a CA certificate and not a server certificate, as plain `openssl req -x509` makes it.
    Authority,
    /// The kind of a key or signature is not supported, or both sides have no kind in common.
    Algorithm,
    /// The server does not speak TLS on this port.
    NotTls,
    /// Our clock shows a time before the last known one, or before this program was built, so
    /// certificates cannot be judged.
    ClockNotSet,
    /// The server refused our certificate, or requires one.
    ClientRefused,
    /// Any other handshake failure.
    Handshake,
    /// TLS is not built in, or cannot be used here.
    Unavailable,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongHost => "certificate is for another host",
            Self::Untrusted => "certificate is not from a trusted authority",
            Self::Expired => "certificate is expired",
            Self::NotYetValid => "certificate is not yet valid; is the clock right?",
            Self::NotAuthority => "certificate was not issued by a CA",
            Self::Unfit => "certificate is not a server certificate",
            Self::Version1 => "certificate has X.509 version 1",
            Self::Authority => "certificate is a CA certificate, not a server certificate",
            Self::Algorithm => "kind of key or signature is not supported",
            Self::NotTls => "the server does not speak TLS on this port",
            Self::ClockNotSet => "the clock is not set, so certificates cannot be judged",
            Self::ClientRefused => "the server refused the client certificate, or requires one",
            Self::Handshake => "handshake failed",
            Self::Unavailable => "not built in",
        })
    }
}

impl core::error::Error for TlsError {}

/// Why a connection or a transfer ended early: the network's or the server's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum TransportError {
    /// The host name was not found.
    Resolve,
    /// The connection was refused or unreachable.
    Refused,
    /// Connecting, the first byte or the next byte took too long.
    TimedOut,
    /// The connection ended in the middle.
    Closed,
    /// TLS failed.
    Tls(TlsError),
    /// The answer does not begin like HTTP.
    NotHttp,
    /// The head of the answer is longer than the limit.
    HeadTooLong,
    /// The answer breaks the rules of HTTP, or contradicts itself.
    Malformed,
    /// The URL cannot be used in a request.
    BadUrl,
    /// The address of the host is loopback, link-local or private, and such addresses are refused.
    NotPublic,
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resolve => f.write_str("host name not found"),
            Self::Refused => f.write_str("connection refused"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Closed => f.write_str("connection closed early"),
            Self::Tls(why) => write!(f, "TLS: {why}"),
            Self::NotHttp => f.write_str("not an HTTP answer"),
            Self::HeadTooLong => f.write_str("the head of the HTTP answer is too long"),
            Self::Malformed => f.write_str("malformed HTTP answer"),
            Self::BadUrl => f.write_str("the URL cannot be used in a request"),
            Self::NotPublic => f.write_str("the host has no public address"),
        }
    }
}

impl core::error::Error for TransportError {}

/// Maps the error of a socket: a connection that ended is [`TransportError::Closed`], one that was
/// never open [`TransportError::Refused`]. Feature `std`.
#[cfg(feature = "std")]
impl From<std::io::Error> for TransportError {
    fn from(error: std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        match error.kind() {
            K::TimedOut => Self::TimedOut,
            K::ConnectionReset | K::ConnectionAborted | K::BrokenPipe | K::UnexpectedEof => {
                Self::Closed
            }
            _ => Self::Refused,
        }
    }
}

/// Why an input of a fetch was rejected. For information only: the machine has already decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FetchError {
    /// The operation is not the current one; it had no effect.
    Stale,
    /// The answer is unusable; a [`crate::Output::CancelFetch`] follows.
    Refused,
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "not the current fetch",
            Self::Refused => "the answer is unusable",
        })
    }
}

impl core::error::Error for FetchError {}
