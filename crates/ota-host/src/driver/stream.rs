//! What a socket is here.

use std::io;
use std::pin::Pin;

use futures_io::{AsyncRead, AsyncWrite};
use ota_proto::TransportError;

/// A future of whatever kind. It ends by itself when it is dropped.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// An open connection. Traits of `futures-io`; other ones are made to fit by the adapter.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Maps the system's error of a connect to the core's.
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
