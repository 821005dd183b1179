//! What can go wrong, and what to do about it.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ota_cloud::{CatalogError, CloudError, TaskError};
use ota_store::seal::SealError;
use ota_store::{ImageError, StoreError};

use crate::cycle::{CommandError, Refused};

/// The service did not start. The environment is at fault.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened on.
    Bind {
        /// `MQTT` or `HTTP`.
        what: &'static str,
        /// The address.
        addr: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// The broker's URL says `mqtts`, and nobody is trusted: [`ServiceConfig::broker_tls`] is missing.
    ///
    /// [`ServiceConfig::broker_tls`]: crate::ServiceConfig::broker_tls
    NoTls,
    /// The data folder cannot be used.
    Data(StoreError),
    /// The master key, or what is sealed under it, cannot be used.
    Key(SealError),
    /// The system gave no random bytes for the key that signs URLs.
    NoRandom,
    /// The API would be reached from elsewhere in plain text.
    PlainApi,
    /// There is no key to the API.
    ApiKey(KeyError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { what, addr, source } => {
                write!(f, "cannot listen for {what} on {addr}: {source}")?;
                f.write_str(match source.kind() {
                    io::ErrorKind::AddrInUse => {
                        "; another program uses it: stop that, or choose another port (0 lets the system choose)"
                    }
                    io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges",
                    io::ErrorKind::AddrNotAvailable => "; no interface of this machine has it",
                    _ => "",
                })
            }
            Self::Data(why) => why.fmt(f),
            Self::Key(why) => why.fmt(f),
            Self::PlainApi => f.write_str(
                "the API listens beyond this machine, where its keys could be read: give it a \
                 certificate, or say that plain text is meant",
            ),
            Self::ApiKey(why) => why.fmt(f),
            Self::NoTls => f.write_str("the broker requires TLS, but no CA is trusted"),
            Self::NoRandom => {
                f.write_str("the system provides no random bytes for the signing key")
            }
        }
    }
}

impl From<StoreError> for StartError {
    fn from(why: StoreError) -> Self {
        Self::Data(why)
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::Data(why) => Some(why),
            Self::Key(why) => Some(why),
            Self::ApiKey(why) => Some(why),
            Self::NoTls | Self::NoRandom | Self::PlainApi => None,
        }
    }
}

/// A command that was refused; nothing is changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum HandleError {
    /// The service has stopped.
    Stopped,
    /// The firmware's file cannot be read.
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another firmware has this path already.
    PathTaken(String),
    /// Another device has the same client id: product id and name run together.
    ClientIdTaken(String),
    /// The product's id begins another one's, or another one's begins it.
    ProductAmbiguous,
    /// The device's certificate cannot be used.
    #[cfg(feature = "tls")]
    Certificate(super::BadTls),
    /// The catalogue refuses the firmware.
    Catalog(CatalogError),
    /// The cloud refuses the device.
    Cloud(CloudError),
    /// The cloud refuses the task.
    Task(TaskError),
    /// The firmware's bytes cannot be kept.
    Image(ImageError),
    /// The store refuses.
    Store(StoreError),
}

impl fmt::Display for HandleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the service has stopped"),
            Self::Read { path, source } => {
                write!(f, "cannot read the firmware {}: {source}", path.display())
            }
            Self::PathTaken(path) => write!(f, "another firmware is served at {path}"),
            Self::ClientIdTaken(id) => write!(f, "another device has the client id {id}"),
            Self::ProductAmbiguous => Refused::Ambiguous.fmt(f),
            #[cfg(feature = "tls")]
            Self::Certificate(error) => error.fmt(f),
            Self::Catalog(error) => error.fmt(f),
            Self::Cloud(error) => error.fmt(f),
            Self::Task(error) => error.fmt(f),
            Self::Image(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for HandleError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read { source, .. } => Some(source),
            #[cfg(feature = "tls")]
            Self::Certificate(error) => Some(error),
            Self::Catalog(error) => Some(error),
            Self::Cloud(error) => Some(error),
            Self::Task(error) => Some(error),
            Self::Image(error) => Some(error),
            Self::Store(error) => Some(error),
            Self::Stopped
            | Self::PathTaken(_)
            | Self::ClientIdTaken(_)
            | Self::ProductAmbiguous => None,
        }
    }
}

impl From<Refused> for HandleError {
    fn from(why: Refused) -> Self {
        match why {
            Refused::Peer(error) => Self::Cloud(error),
            Refused::Command(error) => Self::Task(error),
            Refused::Catalog(error) => Self::Catalog(error),
            Refused::Row(error) => Self::Store(StoreError::Corrupt { why: error.to_string() }),
            Refused::Ambiguous => Self::ProductAmbiguous,
        }
    }
}

impl From<StoreError> for HandleError {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

impl From<ImageError> for HandleError {
    fn from(why: ImageError) -> Self {
        Self::Image(why)
    }
}

impl From<CommandError> for HandleError {
    fn from(why: CommandError) -> Self {
        match why {
            CommandError::Refused(why) => why.into(),
            CommandError::Store(why) => Self::Store(why),
        }
    }
}

/// Why there is no key: the environment's fault.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyError {
    /// The file of the first key cannot be read or written.
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The file belongs to another user, others may read it, or it contains no key.
    Unfit {
        /// The file.
        path: PathBuf,
        /// The fault.
        why: &'static str,
    },
    /// The state is in memory, and no file for the first key was named.
    NoFile,
    /// The data folder cannot be used.
    Data(StoreError),
    /// The master key cannot be used.
    Key(SealError),
    /// The system provides no random bytes.
    NoRandom,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, source } => {
                write!(f, "the first API key, {}: {source}", path.display())
            }
            Self::Unfit { path, why } => {
                write!(f, "the first API key, {}: {why}", path.display())
            }
            Self::NoFile => f.write_str(
                "the state is in memory: name a file in which the first API key is written",
            ),
            Self::Data(why) => why.fmt(f),
            Self::Key(why) => why.fmt(f),
            Self::NoRandom => f.write_str("the system provides no random bytes for an API key"),
        }
    }
}

impl std::error::Error for KeyError {}

impl From<StoreError> for KeyError {
    fn from(why: StoreError) -> Self {
        Self::Data(why)
    }
}
