//! Connections, and the errors of opening them.

use std::io;
use std::pin::Pin;

use futures_io::{AsyncRead, AsyncWrite};
use ota_proto::TransportError;

/// A boxed future. Dropping it cancels its work.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An open connection, with the traits of `futures-io`. An adapter wraps streams that have other
/// traits.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Maps a system error of connecting to the core's.
#[must_use]
pub fn transport_error(error: &io::Error) -> TransportError {
    match error.kind() {
        io::ErrorKind::TimedOut => TransportError::TimedOut,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => TransportError::Closed,
        _ => TransportError::Refused,
    }
}
