//! One link's socket.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use ota_proto::TransportError;
use ota_wire::client::Link;

use crate::driver::engine::Engine;
use crate::driver::stream::{Later, Stream};
use crate::driver::tls;

/// A connection that is being opened: name, TCP and TLS.
pub(super) type Opening = Later<Result<(Box<dyn Stream>, Option<u64>), TransportError>>;

/// The state of a link. All progress is stored here, so that dropping a future loses nothing.
pub(super) enum Socket {
    Closed,
    Opening(Link, Opening),
    Open(Link, OpenSocket),
}

/// An open connection.
pub(super) struct OpenSocket {
    stream: Pin<Box<dyn Stream>>,
    /// The stream has accepted bytes that it may not have sent yet.
    held: bool,
}

impl Socket {
    /// Starts an orderly close, as far as possible without waiting.
    pub(super) fn close(&mut self, cx: &mut Context<'_>) {
        if let Self::Open(_, open) = self {
            let _ = open.stream.as_mut().poll_close(cx);
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
                    Ok((stream, valid_from)) => {
                        engine.handle_connected(link, valid_from);
                        Self::Open(link, OpenSocket { stream: Pin::new(stream), held: false })
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

impl OpenSocket {
    fn write(&mut self, cx: &mut Context<'_>, engine: &mut Engine, link: Link) -> bool {
        let bytes = engine.transmit(link);
        if bytes.is_empty() {
            return self.held && self.flush(cx, engine, link);
        }
        match self.stream.as_mut().poll_write(cx, bytes) {
            Poll::Pending => return false,
            Poll::Ready(Ok(count)) if count > 0 => {
                self.held = true;
                engine.handle_sent(link, count);
            }
            Poll::Ready(_) => engine.handle_closed(link, false),
        }
        true
    }

    /// Whether the link broke.
    fn flush(&mut self, cx: &mut Context<'_>, engine: &mut Engine, link: Link) -> bool {
        let Poll::Ready(result) = self.stream.as_mut().poll_flush(cx) else { return false };
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
        let Poll::Ready(result) = self.stream.as_mut().poll_read(cx, room) else { return false };
        match result {
            Ok(0) => engine.handle_closed(link, true),
            Ok(count) => engine.handle_received(link, count),
            Err(why) => match tls::refusal(&why) {
                // With TLS 1.3 a server checks our certificate only after our handshake is
                // complete.
                Some(why) => engine.handle_connect_failed(link, TransportError::Tls(why)),
                None => engine.handle_closed(link, false),
            },
        }
        true
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("Closed"),
            Self::Opening(link, ..) => write!(f, "Opening({link:?})"),
            Self::Open(link, _) => write!(f, "Open({link:?})"),
        }
    }
}
