//! What waits for one connection.
//!
//! tokio's channels keep a block of 32 messages from the start and a second one from the first 32
//! messages on. Of thousands of connections nearly all have nothing waiting, so these keep nothing
//! then: 3 KiB less for each.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// The room that an empty queue keeps, in messages.
const SPARE: usize = 4;

struct Shared<T>(Mutex<State<T>>);

struct State<T> {
    waiting: VecDeque<T>,
    most: usize,
    /// One of the two ends is gone.
    ended: bool,
    reader: Option<Waker>,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) -> Option<Waker> {
        let mut state = self.lock();
        state.ended = true;
        state.reader.take()
    }
}

/// A queue of at most so many messages.
pub(super) fn outbox<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { waiting: VecDeque::new(), most, ended: false, reader: None };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// Where messages go in.
pub(super) struct Sender<T>(Arc<Shared<T>>);

impl<T> Sender<T> {
    /// Puts a message in. Returns whether it did: not when the queue is full, or nobody reads it.
    pub(super) fn try_send(&self, message: T) -> bool {
        let mut state = self.0.lock();
        if state.ended || state.waiting.len() >= state.most {
            return false;
        }
        state.waiting.push_back(message);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        true
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if let Some(reader) = self.0.end() {
            reader.wake();
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender")
    }
}

/// Where messages come out.
pub(super) struct Receiver<T>(Arc<Shared<T>>);

impl<T> Receiver<T> {
    /// The next message, where there is one.
    pub(super) fn try_recv(&mut self) -> Option<T> {
        let mut state = self.0.lock();
        let message = state.waiting.pop_front();
        if state.waiting.is_empty() && state.waiting.capacity() > SPARE {
            state.waiting = VecDeque::new();
        }
        message
    }

    /// The next message; `None` when none comes any more.
    ///
    /// Cancel-safe.
    pub(super) async fn recv(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if let Some(message) = self.try_recv() {
            return Poll::Ready(Some(message));
        }
        let mut state = self.0.lock();
        // One may have come since.
        if let Some(message) = state.waiting.pop_front() {
            return Poll::Ready(Some(message));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        match &mut state.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_and_one_that_nobody_reads_take_nothing() {
        let (sender, mut receiver) = outbox(2);
        assert!(sender.try_send(1) && sender.try_send(2) && !sender.try_send(3));
        assert_eq!(
            (receiver.try_recv(), receiver.try_recv(), receiver.try_recv()),
            (Some(1), Some(2), None)
        );
        assert!(sender.try_send(4));
        drop(receiver);
        assert!(!sender.try_send(5));
    }

    #[tokio::test]
    async fn what_was_sent_comes_before_the_end() {
        let (sender, mut receiver) = outbox(96);
        let reading = tokio::spawn(async move {
            let mut read = Vec::new();
            while let Some(message) = receiver.recv().await {
                read.push(message);
            }
            read
        });
        for message in 0..50 {
            assert!(sender.try_send(message));
            if message % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        drop(sender);
        assert_eq!(reading.await.unwrap(), (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn an_empty_queue_keeps_no_room_for_many() {
        let (sender, mut receiver) = outbox(96);
        assert!((0..96).all(|message| sender.try_send(message)));
        while receiver.try_recv().is_some() {}
        assert!(receiver.0.lock().waiting.capacity() <= SPARE);
    }
}
