//! One link's socket.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ota_proto::TransportError;
use ota_wire::client::Link;

use crate::engine::Engine;

/// A connection that is being opened: name, TCP and TLS.
pub type Opening<S> = Pin<Box<dyn Future<Output = Result<S, TransportError>> + Send>>;

/// What runs over an open connection, as each runtime has it.
pub trait Stream {
    /// Reads into `buf`, which is not empty; 0 is the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>>;

    /// Takes bytes from the front.
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends what was taken and is held back still.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Says that nothing more comes.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// Where a link stands. All that is in progress is here, so that no future that is dropped takes
/// it along.
pub(super) enum Socket<S> {
    Closed,
    Opening(Link, Opening<S>),
    Open(Link, Open<S>),
}

/// An open connection.
pub(super) struct Open<S> {
    stream: S,
    /// The stream took bytes that it may not have sent.
    held: bool,
}

impl<S: Stream> Socket<S> {
    /// Says good-bye as far as that goes without waiting.
    pub(super) fn close(&mut self, cx: &mut Context<'_>) {
        if let Self::Open(_, open) = self {
            let _ = open.stream.poll_close(cx);
        }
        *self = Self::Closed;
    }

    /// Whether anything happened.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, engine: &mut Engine) -> bool {
        match self {
            Self::Closed => false,
            Self::Opening(link, opening) => {
                let link = *link;
                let Poll::Ready(opened) = opening.as_mut().poll(cx) else { return false };
                *self = match opened {
                    Ok(stream) => {
                        engine.handle_connected(link);
                        Self::Open(link, Open { stream, held: false })
                    }
                    Err(error) => {
                        engine.handle_connect_failed(link, error);
                        Self::Closed
                    }
                };
                true
            }
            Self::Open(link, open) => {
                let wrote = open.write(cx, engine, *link);
                open.read(cx, engine, *link) || wrote
            }
        }
    }
}

impl<S: Stream> Open<S> {
    fn write(&mut self, cx: &mut Context<'_>, engine: &mut Engine, link: Link) -> bool {
        let bytes = engine.transmit(link);
        if bytes.is_empty() {
            return self.held && self.flush(cx, engine, link);
        }
        match self.stream.poll_write(cx, bytes) {
            Poll::Pending => return false,
            Poll::Ready(Ok(count)) if count > 0 => {
                self.held = true;
                engine.handle_sent(link, count);
            }
            Poll::Ready(_) => engine.handle_closed(link, false),
        }
        true
    }

    /// Whether the link broke over it.
    fn flush(&mut self, cx: &mut Context<'_>, engine: &mut Engine, link: Link) -> bool {
        let Poll::Ready(result) = self.stream.poll_flush(cx) else { return false };
        self.held = false;
        if result.is_err() {
            engine.handle_closed(link, false);
        }
        result.is_err()
    }

    fn read(&mut self, cx: &mut Context<'_>, engine: &mut Engine, link: Link) -> bool {
        let room = engine.receive_buffer(link);
        if room.is_empty() {
            return false;
        }
        let Poll::Ready(result) = self.stream.poll_read(cx, room) else { return false };
        match result {
            Ok(0) => engine.handle_closed(link, true),
            Ok(count) => engine.handle_received(link, count),
            Err(_) => engine.handle_closed(link, false),
        }
        true
    }
}

impl<S> fmt::Debug for Socket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("Closed"),
            Self::Opening(link, _) => write!(f, "Opening({link:?})"),
            Self::Open(link, _) => write!(f, "Open({link:?})"),
        }
    }
}
