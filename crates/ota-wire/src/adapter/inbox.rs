//! The receive buffer of one link.

use core::fmt;
use core::mem;
use core::ops::Range;

use crate::client::Link;

/// A link with its received and unconsumed bytes. The buffer is the adapter's: a `Vec<u8>` per
/// link, or a `&mut [u8]` that all links of a kind share.
#[derive(Default)]
pub struct Inbox<B> {
    link: Option<Link>,
    buf: B,
    start: usize,
    end: usize,
    /// Whether the peer has closed the link; `true`: as its protocol requires.
    closed: Option<bool>,
}

impl<B: Default + AsRef<[u8]> + AsMut<[u8]>> Inbox<B> {
    /// Starts a new link, with an empty buffer. Returns the previous one's buffer.
    pub fn open(&mut self, link: Link, buf: B) -> B {
        mem::replace(self, Self { link: Some(link), buf, ..Self::default() }).buf
    }

    /// Removes the link; returns the buffer.
    pub fn close(&mut self) -> B {
        mem::take(self).buf
    }

    /// The link that is open or being opened.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        self.link
    }

    /// Whether the peer closed it and the client does not know yet.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(super) fn set_closed(&mut self, clean: bool) {
        self.closed.get_or_insert(clean);
    }

    pub(super) fn take_closed(&mut self) -> Option<bool> {
        self.closed.take()
    }

    /// The received and unconsumed bytes; none while the buffer is lent.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.buf.as_ref().get(self.start..self.end).unwrap_or_default()
    }

    /// Whether received bytes are unconsumed, lent or not.
    pub(super) fn holds_any(&self) -> bool {
        self.start < self.end
    }

    /// The room to receive into. Unread bytes move to the front only if there is no room after
    /// them.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let buf = self.buf.as_mut();
        // A lent buffer has no room, and its bytes stay in place.
        if buf.is_empty() {
            return buf;
        }
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == buf.len() && self.start > 0 {
            buf.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end.saturating_sub(self.start));
        }
        buf.get_mut(self.end..).unwrap_or_default()
    }

    /// Reports that this many bytes were received into [`Inbox::room`].
    pub(super) fn received(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.buf.as_ref().len());
    }

    /// Reports that this many of the unread bytes are consumed.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Converts a span of the unread bytes to one of the buffer.
    pub(super) fn span(&self, span: &Range<usize>) -> Range<usize> {
        self.start.saturating_add(span.start)..self.start.saturating_add(span.end)
    }

    /// Continues with another buffer of the same length. Unread bytes are copied there; the old
    /// buffer is returned unchanged, for a write in progress.
    pub fn swap(&mut self, mut next: B) -> B {
        let rest = self.unread();
        let count = rest.len();
        if let Some(front) = next.as_mut().get_mut(..count) {
            front.copy_from_slice(rest);
        }
        (self.start, self.end) = (0, count);
        mem::replace(&mut self.buf, next)
    }

    /// Lends the buffer to a write in progress. Nothing is read or received until
    /// [`Inbox::give_back`].
    pub fn lend(&mut self) -> B {
        mem::take(&mut self.buf)
    }

    /// Returns the lent buffer to the link that lent it, or to the next one, which was opened
    /// without; `Some`: there is none, or it has another buffer.
    pub fn give_back(&mut self, buf: B) -> Option<B> {
        if self.link.is_none() || !self.buf.as_ref().is_empty() {
            return Some(buf);
        }
        self.buf = buf;
        None
    }
}

/// Hides the bytes: they may contain an offer's URL, whose query is a credential.
impl<B> fmt::Debug for Inbox<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("link", &self.link)
            .field("unread", &self.end.saturating_sub(self.start))
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
