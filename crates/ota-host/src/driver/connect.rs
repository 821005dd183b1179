//! Selects the address of a host.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use ota_proto::TransportError;

use crate::driver::stream::transport_error;

/// How long to wait for an address before the next one is tried too.
const HEAD_START: Duration = Duration::from_millis(250);

/// Returns the first connection that succeeds. The addresses are tried in order; the next one
/// starts when the earlier ones have not answered for a moment, so that a dead address does not use
/// up the time for connecting.
///
/// # Errors
/// The error of the last address; [`TransportError::Resolve`] without addresses.
pub(super) async fn first_to_connect<S, C: Future<Output = io::Result<S>>, P: Future>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    connect: impl Fn(SocketAddr) -> C,
    pause: impl Fn(Duration) -> P,
) -> Result<S, TransportError> {
    let mut addresses = addresses.into_iter();
    let mut tries = Tries { running: Vec::new(), error: TransportError::Resolve };
    loop {
        let Some(address) = addresses.next() else {
            return poll_fn(|cx| tries.poll_all(cx)).await;
        };
        tries.running.push(Box::pin(connect(address)));
        let mut pause = Box::pin(pause(HEAD_START));
        let first = poll_fn(|cx| match tries.poll(cx) {
            Poll::Ready(end) => Poll::Ready(end),
            Poll::Pending => pause.as_mut().poll(cx).map(|_| None),
        });
        if let Some(stream) = first.await {
            return Ok(stream);
        }
    }
}

/// The attempts in progress.
struct Tries<C> {
    running: Vec<Pin<Box<C>>>,
    /// The last error.
    error: TransportError,
}

impl<S, C: Future<Output = io::Result<S>>> Tries<C> {
    /// Waits for the next attempt to end: `None` if it failed or none is left.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<S>> {
        let ended = self.running.iter_mut().enumerate().find_map(|(place, one)| {
            let Poll::Ready(end) = one.as_mut().poll(cx) else { return None };
            Some((place, end))
        });
        let Some((place, end)) = ended else {
            return if self.running.is_empty() { Poll::Ready(None) } else { Poll::Pending };
        };
        drop(self.running.swap_remove(place));
        Poll::Ready(end.map_err(|why| self.error = transport_error(&why)).ok())
    }

    fn poll_all(&mut self, cx: &mut Context<'_>) -> Poll<Result<S, TransportError>> {
        while !self.running.is_empty() {
            match self.poll(cx) {
                Poll::Ready(Some(stream)) => return Poll::Ready(Ok(stream)),
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Err(self.error))
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Mutex;
    use std::task::Waker;

    use super::*;

    /// How a test's address behaves.
    #[derive(Clone, Copy)]
    enum Peer {
        Answers,
        Refuses,
        Resets,
        Hangs,
    }

    /// Polls once, with pauses that end at once or never; also returns the tried addresses.
    fn connect(peers: &[Peer], passed: bool) -> (Poll<Result<u16, TransportError>>, Vec<u16>) {
        let addresses = (0..).zip(peers).map(|(port, _)| SocketAddr::from(([127, 0, 0, 1], port)));
        let tried = Mutex::new(Vec::new());
        let connect = |address: SocketAddr| {
            let port = address.port();
            tried.lock().unwrap().push(port);
            let peer = peers[usize::from(port)];
            async move {
                match peer {
                    Peer::Answers => Ok(port),
                    Peer::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
                    Peer::Resets => Err(io::ErrorKind::ConnectionReset.into()),
                    Peer::Hangs => pending().await,
                }
            }
        };
        let pause = |_| async move { if passed { ready(()).await } else { pending().await } };
        let result = {
            let mut first = std::pin::pin!(first_to_connect(addresses, connect, pause));
            first.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        (result, tried.into_inner().unwrap())
    }

    use Peer::{Answers, Hangs, Refuses, Resets};

    #[test]
    fn an_address_that_does_not_answer_does_not_hold_up_the_others() {
        assert_eq!(connect(&[Hangs, Refuses, Answers], true), (Poll::Ready(Ok(2)), vec![0, 1, 2]));
        assert_eq!(connect(&[Hangs, Answers], false), (Poll::Pending, vec![0]), "its head start");
        assert_eq!(connect(&[Hangs, Hangs], true), (Poll::Pending, vec![0, 1]));
    }

    #[test]
    fn an_address_that_answers_is_taken_and_no_other_is_tried() {
        assert_eq!(connect(&[Answers, Answers], true), (Poll::Ready(Ok(0)), vec![0]));
        assert_eq!(connect(&[Refuses, Answers], false), (Poll::Ready(Ok(1)), vec![0, 1]));
    }

    #[test]
    fn what_the_last_address_answers_is_told() {
        let error = |error| Poll::Ready(Err(error));
        assert_eq!(connect(&[Resets, Refuses], false).0, error(TransportError::Refused));
        assert_eq!(connect(&[Refuses, Resets], false).0, error(TransportError::Closed));
        assert_eq!(connect(&[], false).0, error(TransportError::Resolve));
    }
}
