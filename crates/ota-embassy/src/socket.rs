//! One link's connection.

use alloc::boxed::Box;
use core::mem;
use core::pin::{Pin, pin};
use core::task::{Context, Poll};

use embassy_time::{Duration, with_timeout};
use embedded_io_async::{Read, Write as _};
use ota_proto::TransportError;
use ota_wire::adapter::{Engine, LinkTarget};
use ota_wire::client::Link;

use crate::flash::Buf;
use crate::network::Network;
use crate::time::now;

/// The size of one write. Bytes are copied, so that the write continues if `next` is dropped.
const PIECE: usize = 512;

/// The longest orderly close; then the connection is reset.
pub(crate) const CLOSING: Duration = Duration::from_secs(1);

type Task<'d, T> = Pin<Box<dyn Future<Output = T> + 'd>>;

/// The state of a link. All progress is stored here, so that dropping a future loses nothing.
pub(crate) enum Socket<'d, N: Network> {
    Closed,
    /// It was begun in the previous attempt.
    Opening(LinkTarget, Task<'d, Result<N::Stream, TransportError>>, bool),
    /// An attempt was too short for what it began; the next one for the same target continues it,
    /// once. A name server that does not answer takes as long as an attempt.
    Parked(LinkTarget, Task<'d, Result<N::Stream, TransportError>>),
    Open(Link, N::Stream),
    /// A write is in progress; it returns the number of bytes that were taken, or that the
    /// connection broke.
    Writing(Link, Task<'d, (N::Stream, Option<usize>)>),
    /// An orderly close, and the target to connect to afterwards.
    Closing(Task<'d, ()>, Option<LinkTarget>),
}

impl<'d, N: Network + 'd> Socket<'d, N> {
    /// Whether the connection is open or closing.
    pub(crate) const fn is_up(&self) -> bool {
        matches!(self, Self::Open(..) | Self::Writing(..) | Self::Closing(..))
    }

    pub(crate) fn open(&mut self, network: N, target: LinkTarget) {
        if let Self::Closing(_, next) = self {
            *next = Some(target);
            return;
        }
        // The previous connection is gone when this one begins.
        *self = match mem::replace(self, Self::Closed) {
            Self::Parked(was, it) if was.is_same_peer(&target) => Self::Opening(target, it, true),
            _ => Self::Opening(target.clone(), Box::pin(network.open(target)), false),
        };
    }

    pub(crate) fn close(&mut self, network: N) {
        *self = match mem::replace(self, Self::Closed) {
            Self::Open(_, stream) => {
                let close = async move {
                    let _ = with_timeout(CLOSING, network.close(stream)).await;
                };
                Self::Closing(Box::pin(close), None)
            }
            Self::Closing(task, _) => Self::Closing(task, None),
            Self::Opening(target, task, false) => Self::Parked(target, task),
            _ => Self::Closed,
        };
    }

    /// Whether anything happened.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        network: N,
        engine: &mut Engine<Buf<'d>>,
    ) -> bool {
        match self {
            Self::Closed | Self::Parked(..) => false,
            Self::Opening(LinkTarget { link, .. }, task, _) => {
                let link = *link;
                let Poll::Ready(opened) = task.as_mut().poll(cx) else { return false };
                *self = match opened {
                    Ok(stream) => {
                        if let Some(from) = network.valid_from(&stream) {
                            engine.handle_certificate(now(), link, from);
                        }
                        engine.handle_connected(now(), link);
                        Self::Open(link, stream)
                    }
                    Err(error) => {
                        engine.handle_connect_failed(now(), link, error);
                        Self::Closed
                    }
                };
                true
            }
            Self::Open(link, stream) => {
                let link = *link;
                let read = read(cx, engine, link, stream);
                self.write(engine, link) || read
            }
            Self::Writing(link, task) => {
                let link = *link;
                let Poll::Ready((stream, taken)) = task.as_mut().poll(cx) else { return false };
                *self = Self::Open(link, stream);
                match taken {
                    Some(count) => engine.handle_sent(now(), link, count),
                    None => engine.handle_closed(link, false),
                }
                true
            }
            Self::Closing(task, next) => {
                if task.as_mut().poll(cx).is_pending() {
                    return false;
                }
                let next = next.take();
                *self = Self::Closed;
                if let Some(target) = next {
                    self.open(network, target);
                }
                true
            }
        }
    }

    /// Begins to write if there are bytes to send.
    fn write(&mut self, engine: &Engine<Buf<'d>>, link: Link) -> bool {
        let bytes = engine.transmit(link);
        let piece: Box<[u8]> = bytes.get(..PIECE).unwrap_or(bytes).into();
        if piece.is_empty() {
            return false;
        }
        let Self::Open(_, mut stream) = mem::replace(self, Self::Closed) else { return false };
        let write = async move {
            let taken = stream.write(&piece).await.ok().filter(|count| *count > 0);
            let flushed = stream.flush().await.is_ok();
            (stream, taken.filter(|_| flushed))
        };
        *self = Self::Writing(link, Box::pin(write));
        true
    }
}

fn read(
    cx: &mut Context<'_>,
    engine: &mut Engine<Buf<'_>>,
    link: Link,
    stream: &mut impl Read,
) -> bool {
    let room = engine.room(link);
    if room.is_empty() {
        return false;
    }
    // A pending future is dropped, which has no effect except on the waker.
    let Poll::Ready(result) = pin!(stream.read(room)).poll(cx) else { return false };
    engine.handle_read(link, result);
    true
}
