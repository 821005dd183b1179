//! The receive buffer of one link.

use std::fmt;
use std::ops::Range;

use ota_wire::client::Link;

/// A link and what was received over it and is not yet done with.
#[derive(Default)]
pub(super) struct Wire {
    link: Option<Link>,
    buf: Vec<u8>,
    start: usize,
    end: usize,
    /// The peer has closed the link; `true`: as its protocol says.
    closed: Option<bool>,
}

impl Wire {
    /// A new link, with an empty buffer of this length.
    pub(super) fn open(&mut self, link: Link, buf: Vec<u8>) {
        *self = Self { link: Some(link), buf, ..Self::default() };
    }

    /// No link and no buffer.
    pub(super) fn close(&mut self) {
        *self = Self::default();
    }

    pub(super) fn link(&self) -> Option<Link> {
        self.link
    }

    /// The peer closed it, and this was not taken yet.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(super) fn set_closed(&mut self, clean: bool) {
        self.closed.get_or_insert(clean);
    }

    pub(super) fn take_closed(&mut self) -> Option<bool> {
        self.closed.take()
    }

    /// What was received and is not yet done with.
    pub(super) fn unread(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    /// Where to receive into. What is unread moves to the front only when there is no room
    /// behind it.
    pub(super) fn room(&mut self) -> &mut [u8] {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.buf.len() && self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        self.buf.get_mut(self.end..).unwrap_or_default()
    }

    /// So many bytes were received into [`Wire::room`].
    pub(super) fn received(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.buf.len());
    }

    /// So many of the unread bytes are done with.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Gives the buffer away with a span of its unread bytes, and goes on with another one of the
    /// same length. What is unread behind the consumed bytes is copied there.
    pub(super) fn give(
        &mut self,
        span: &Range<usize>,
        consumed: usize,
        mut next: Vec<u8>,
    ) -> (Vec<u8>, Range<usize>) {
        let span = self.start.saturating_add(span.start)..self.start.saturating_add(span.end);
        self.consume(consumed);
        let rest = self.unread();
        if let Some(front) = next.get_mut(..rest.len()) {
            front.copy_from_slice(rest);
        }
        (self.start, self.end) = (0, rest.len());
        (std::mem::replace(&mut self.buf, next), span)
    }
}

/// Without the bytes: an offer's URL is among them, and its query is a credential.
impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire")
            .field("link", &self.link)
            .field("unread", &self.unread().len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
