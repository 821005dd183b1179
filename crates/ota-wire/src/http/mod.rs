//! One HTTP/1.1 range GET over one connection, without IO (rules 8, 9, 15 and 17 of
//! docs/rules.md).
//!
//! [`Fetch`] writes the request and takes the framing off the answer. Of a head it keeps what
//! matters, line by line; of a body it owns nothing: the caller keeps received bytes in its own
//! buffer, offers them, and drops what was consumed. A piece of body is named as a span of that
//! buffer, so firmware is never copied, and bytes that nobody wants yet simply stay where they are.
//!
//! What the answer *means* (ranges, redirects, a changed `ETag`) is decided by
//! [`ota_proto::Updater`]; here is only what makes a message well formed.
//!
//! ```
//! use ota_proto::url::Url;
//! use ota_wire::http::{Fetch, Found, Limits};
//!
//! let url = Url { tls: false, host: "store.example", port: 80, target: "/fw?sign=x" };
//! let mut fetch = Fetch::new(&url, 4, Limits::default())?;
//! assert!(fetch.transmit().starts_with(b"GET /fw?sign=x HTTP/1.1\r\nHost: store.example\r\n"));
//! let all = fetch.transmit().len();
//! fetch.handle_sent(all)?;
//!
//! let mut rx: &[u8] = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 3\r\n\
//!     Content-Range: bytes 4-6/7\r\n\r\nend";
//! let mut body = Vec::new();
//! loop {
//!     let received = fetch.handle_received(rx)?;
//!     let rest = &rx[received.consumed..];
//!     match received.found {
//!         Found::Nothing => break, // read more
//!         Found::Head(head) => assert_eq!(head.status, 206),
//!         Found::Body(span) => body.extend_from_slice(&rx[span]),
//!         Found::End => break,
//!     }
//!     let taken = body.len();
//!     if taken > 0 {
//!         fetch.handle_body_taken(taken)?;
//!     }
//!     rx = &rest[taken..];
//! }
//! assert_eq!(body, b"end");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod chunked;
mod error;
#[cfg(feature = "record")]
mod framed;
mod head;
mod request;

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use ota_proto::url::Url;
use ota_proto::{Misuse, ResponseHead};

use self::chunked::{Chunked, Step};
pub use self::error::{HttpError, RequestError};
use self::head::{Framing, Head, Kept};
pub use self::request::USER_AGENT;
#[cfg(feature = "record")]
pub(crate) use self::{
    framed::Framed,
    head::{KNOWN, is_text, is_token},
};

/// Limits on the peer's framing, all of which is skipped or parsed in place and never stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Limits {
    /// Bytes of one response head, its last empty line included. Default 65,536.
    pub head: usize,
    /// Bytes of one line of a head that matters (`Location`, `ETag`, what frames the body), its end
    /// included. The caller's receive buffer must hold at least as many. Other lines are passed
    /// over, however long. Default 1,024.
    pub line: usize,
    /// Bytes of the request, which holds the URL. Default 2,048.
    pub request: usize,
    /// Interim answers (1xx) before the answer. Default 8.
    pub informational: u8,
    /// Bytes of chunk extensions, and of blanks behind chunk sizes, in a whole body. Default
    /// 16,384.
    pub extensions: u32,
    /// Bytes of the trailer section behind the last chunk. Default 4,096.
    pub trailers: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 64 * 1024,
            line: 1024,
            request: 2048,
            informational: 8,
            extensions: 16 * 1024,
            trailers: 4096,
        }
    }
}

impl Limits {
    /// For a machine with memory to spare: lines of 16 KiB, and requests of 8 KiB, which hold a URL
    /// of 4 KiB. The rest as by default.
    #[must_use]
    pub fn large() -> Self {
        Self { line: 16 * 1024, request: 8 * 1024, ..Self::default() }
    }
}

/// One GET: its request on the way out and the framing of its answer. Heap: the request, at most
/// [`Limits::request`] bytes, given back when all of it is sent; then `ETag` and `Location` of the
/// answer, at most [`Limits::line`] bytes each, given back with the first look at what is behind
/// the head.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Fetch {
    request: Vec<u8>,
    sent: usize,
    limits: Limits,
    phase: Phase,
    /// Of the head that was found last.
    kept: Kept,
    /// Bytes of body named by the last [`Found::Body`] and not taken yet; never more than the
    /// phase has to come, so 0 where no body is.
    offered: usize,
}

/// What was found in the received bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct Received<'a> {
    /// Bytes of framing at the front of the buffer that are done with. The caller drops them
    /// whatever was found. A piece of body begins right behind them and is *not* counted.
    pub consumed: usize,
    /// What comes behind them.
    pub found: Found<'a>,
}

/// See [`Fetch::handle_received`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Found<'a> {
    /// Nothing yet: more bytes are needed.
    Nothing,
    /// The head of the answer. It comes once, before any body, and is among the consumed bytes;
    /// it borrows the [`Fetch`].
    Head(ResponseHead<'a>),
    /// Body: this span of the given buffer, never empty. Report with
    /// [`Fetch::handle_body_taken`] how much of it was used, drop as much, and offer the rest
    /// again.
    Body(Range<usize>),
    /// The answer is complete. Bytes behind it belong to no answer; close the connection.
    End,
}

/// What the end of the connection means for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Closed {
    /// The answer is whole.
    Complete,
    /// It ends in the middle: a head without its end, a body shorter than announced, or body that
    /// was offered and not taken.
    Short,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
enum Phase {
    /// Before the end of the final head.
    Head(Head),
    /// A body of known length; bytes to come, never 0.
    Length(u64),
    /// A chunked body.
    Chunked(Chunked),
    /// A body that ends with the connection.
    Close,
    /// All of it was seen.
    Done,
}

impl Fetch {
    /// A GET of this URL from this byte on (no `Range` header when 0).
    ///
    /// # Errors
    /// [`RequestError`] when the URL cannot be put into a request as it stands. Nothing is
    /// escaped or mended: the query is a signature.
    pub fn new(url: &Url<'_>, from: u64, limits: Limits) -> Result<Self, RequestError> {
        Self::with_user(url, None, from, limits, false)
    }

    /// As [`Fetch::new`], with `Authorization: Basic` of a URL's user and password, as
    /// [`Url::parse_with_user`] hands them out, and, if `fresh`, past all caches on the way:
    /// `Cache-Control: no-cache`.
    ///
    /// # Errors
    /// As [`Fetch::new`]; [`RequestError::User`] without the feature `url-user`.
    pub fn with_user(
        url: &Url<'_>,
        user: Option<&str>,
        from: u64,
        limits: Limits,
        fresh: bool,
    ) -> Result<Self, RequestError> {
        let request = request::encode(url, user, from, fresh, limits.request)?;
        let phase = Phase::Head(Head::default());
        Ok(Self { request, sent: 0, limits, phase, kept: Kept::default(), offered: 0 })
    }

    /// The bytes of the request that are still to be sent; empty when all are.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.request.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes of [`Self::transmit`] were sent.
    ///
    /// # Errors
    /// [`Misuse`] when there are not so many; nothing happens then.
    pub fn handle_sent(&mut self, count: usize) -> Result<(), Misuse> {
        let left = self.transmit().len();
        if count > left {
            return Err(Misuse);
        }
        self.sent = self.sent.saturating_add(count);
        if count == left {
            // It holds a credential and is of no more use.
            self.request = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }

    /// Looks at received bytes: everything that was received and not yet consumed or taken, in
    /// one piece. To be called again with what is left after each answer until
    /// [`Found::Nothing`] or [`Found::End`]; the end may be found in an empty buffer.
    ///
    /// An answer before the request is sent in full is legal.
    ///
    /// # Errors
    /// [`HttpError`], always the peer's fault. The state is unchanged and the connection of no
    /// more use.
    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    pub fn handle_received(&mut self, rx: &[u8]) -> Result<Received<'_>, HttpError> {
        match &self.phase {
            Phase::Head(head) => {
                let head = head.clone();
                self.receive_head(rx, head)
            }
            Phase::Length(left) => {
                let left = *left;
                self.forget_head();
                Ok(self.offer(rx, 0, Some(left)))
            }
            Phase::Close => {
                self.forget_head();
                Ok(self.offer(rx, 0, None))
            }
            Phase::Chunked(chunked) => {
                let mut chunked = *chunked;
                let (consumed, step) = chunked.advance(rx)?;
                self.phase = Phase::Chunked(chunked);
                self.forget_head();
                match step {
                    Step::More => Ok(Received { consumed, found: Found::Nothing }),
                    Step::Data(left) => Ok(self.offer(rx, consumed, Some(left))),
                    Step::End => {
                        self.phase = Phase::Done;
                        Ok(Received { consumed, found: Found::End })
                    }
                }
            }
            Phase::Done => Ok(Received { consumed: 0, found: Found::End }),
        }
    }

    /// So many bytes from the front of the last [`Found::Body`] were taken; 0 is legal, and so is
    /// to tell it in several parts.
    ///
    /// # Errors
    /// [`Misuse`] when fewer were offered; nothing happens then.
    pub fn handle_body_taken(&mut self, count: usize) -> Result<(), Misuse> {
        let offered = self.offered.checked_sub(count).ok_or(Misuse)?;
        let taken = u64::try_from(count).map_err(|_| Misuse)?;
        match &mut self.phase {
            Phase::Length(left) => match left.checked_sub(taken).ok_or(Misuse)? {
                0 => self.phase = Phase::Done,
                rest => *left = rest,
            },
            Phase::Chunked(chunked) => chunked.take(taken).ok_or(Misuse)?,
            // Before the head and at the end nothing was offered, so the count is 0.
            Phase::Close | Phase::Head(_) | Phase::Done => {}
        }
        self.offered = offered;
        Ok(())
    }

    /// The peer closed the connection and all that it sent before was offered. Over TLS that means
    /// a `close_notify`: a connection that was merely cut may hide a shortened body, and is to be
    /// treated as [`Closed::Short`] without asking here.
    pub fn handle_closed(&mut self) -> Closed {
        match self.phase {
            Phase::Done => Closed::Complete,
            Phase::Close if self.offered == 0 => {
                self.phase = Phase::Done;
                Closed::Complete
            }
            _ => Closed::Short,
        }
    }

    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    fn receive_head(&mut self, rx: &[u8], mut head: Head) -> Result<Received<'_>, HttpError> {
        let mut consumed = 0_usize;
        loop {
            let rest = rx.get(consumed..).unwrap_or_default();
            let (used, framing) = head.advance(rest, &self.limits)?;
            consumed = consumed.saturating_add(used);
            let Some(framing) = framing else {
                self.phase = Phase::Head(head);
                return Ok(Received { consumed, found: Found::Nothing });
            };
            self.phase = match framing {
                Framing::Interim if head.informational >= self.limits.informational => {
                    return Err(HttpError::Informational);
                }
                Framing::Interim => {
                    head = Head::new(head.informational.saturating_add(1));
                    continue;
                }
                Framing::Length(0) => Phase::Done,
                Framing::Length(left) => Phase::Length(left),
                Framing::Chunked => Phase::Chunked(Chunked::new(&self.limits)),
                Framing::Close => Phase::Close,
            };
            self.kept = head.kept;
            return Ok(Received { consumed, found: Found::Head(self.kept.head()) });
        }
    }

    /// Drops what was kept of the head, once it was handed out.
    // Its copies would cost flash.
    #[inline(never)]
    fn forget_head(&mut self) {
        self.kept = Kept::default();
    }

    /// Offers the bytes after `start`, at most `left` of them.
    fn offer(&mut self, rx: &[u8], start: usize, left: Option<u64>) -> Received<'static> {
        let have = rx.len().saturating_sub(start);
        let left = left.map_or(have, |left| usize::try_from(left).unwrap_or(usize::MAX));
        self.offered = have.min(left);
        if self.offered == 0 {
            return Received { consumed: start, found: Found::Nothing };
        }
        let span = start..start.saturating_add(self.offered);
        Received { consumed: start, found: Found::Body(span) }
    }
}

/// Without the request: it holds the URL, and its query is a credential.
impl fmt::Debug for Fetch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetch")
            .field("unsent", &self.transmit().len())
            .field("limits", &self.limits)
            .field("phase", &self.phase)
            .field("offered", &self.offered)
            .finish_non_exhaustive()
    }
}
