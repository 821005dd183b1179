//! The receive buffer of one link.

use core::fmt;
use core::mem;
use core::ops::Range;

use crate::client::Link;

/// A link and what was received over it and is not yet done with. The buffer is the adapter's: a
/// `Vec<u8>` for each link, or a `&mut [u8]` that all links of a kind share.
#[derive(Default)]
pub struct Inbox<B> {
    link: Option<Link>,
    buf: B,
    start: usize,
    end: usize,
    /// The peer has closed the link; `true`: as its protocol says.
    closed: Option<bool>,
}

impl<B: Default + AsRef<[u8]> + AsMut<[u8]>> Inbox<B> {
    /// A new link, with an empty buffer. The one before it is returned.
    pub fn open(&mut self, link: Link, buf: B) -> B {
        mem::replace(self, Self { link: Some(link), buf, ..Self::default() }).buf
    }

    /// No link; the buffer is returned.
    pub fn close(&mut self) -> B {
        mem::take(self).buf
    }

    /// The link that is open or being opened.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        self.link
    }

    /// The peer closed it, and the client was not told yet.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    pub(super) fn set_closed(&mut self, clean: bool) {
        self.closed.get_or_insert(clean);
    }

    pub(super) fn take_closed(&mut self) -> Option<bool> {
        self.closed.take()
    }

    /// What was received and is not yet done with; nothing while the buffer is lent.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        self.buf.as_ref().get(self.start..self.end).unwrap_or_default()
    }

    /// Something received is not yet done with, lent or not.
    pub(super) fn holds_any(&self) -> bool {
        self.start < self.end
    }

    /// Where to receive into. What is unread moves to the front only when there is no room
    /// behind it.
    pub(super) fn room(&mut self) -> &mut [u8] {
        let buf = self.buf.as_mut();
        // A lent buffer has no room, and its places stay what they are.
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

    /// So many bytes were received into [`Inbox::room`].
    pub(super) fn received(&mut self, count: usize) {
        self.end = self.end.saturating_add(count).min(self.buf.as_ref().len());
    }

    /// So many of the unread bytes are done with.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// A span of the unread bytes as one of the buffer.
    pub(super) fn span(&self, span: &Range<usize>) -> Range<usize> {
        self.start.saturating_add(span.start)..self.start.saturating_add(span.end)
    }

    /// Goes on with another buffer of the same length. What is unread is copied there; the old
    /// buffer is returned as it was, for a write that is in progress.
    pub fn swap(&mut self, mut next: B) -> B {
        let rest = self.unread();
        let count = rest.len();
        if let Some(front) = next.as_mut().get_mut(..count) {
            front.copy_from_slice(rest);
        }
        (self.start, self.end) = (0, count);
        mem::replace(&mut self.buf, next)
    }

    /// Lends the buffer to a write that is in progress. Nothing is read or received until
    /// [`Inbox::give_back`].
    pub fn lend(&mut self) -> B {
        mem::take(&mut self.buf)
    }

    /// Gives the lent buffer back to the link that lent it, or to the next one, which was opened
    /// without it; `Some`: there is none, or it has another.
    pub fn give_back(&mut self, buf: B) -> Option<B> {
        if self.link.is_none() || !self.buf.as_ref().is_empty() {
            return Some(buf);
        }
        self.buf = buf;
        None
    }
}

/// Without the bytes: an offer's URL is among them, and its query is a credential.
impl<B> fmt::Debug for Inbox<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("link", &self.link)
            .field("unread", &self.end.saturating_sub(self.start))
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
