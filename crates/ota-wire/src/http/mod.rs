//! One HTTP/1.1 range GET over one connection, without IO (rules 8, 9, 15 and 17 of
//! docs/rules.md).
//!
//! [`Fetch`] writes the request and removes the framing of the answer. It parses a head line by
//! line and keeps only the lines that matter. It never stores a body: the caller keeps received
//! bytes in its own buffer, offers them, and drops what was consumed. A piece of body is named as a
//! span of that buffer, so firmware is never copied, and bytes that nobody wants yet simply stay
//! where they are.
//!
//! [`ota_proto::Updater`] decides what the answer *means* (ranges, redirects, a changed `ETag`).
//! This module only checks that messages are well formed.
//!
//! ```
//! use ota_proto::url::Url;
//! use ota_wire::http::{Fetch, FetchFound, FetchLimits};
//!
//! let url = Url { tls: false, host: "store.example", port: 80, target: "/fw?sign=x" };
//! let mut fetch = Fetch::new(&url, 4, FetchLimits::default())?;
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
//!         FetchFound::Nothing => break, // read more
//!         FetchFound::Head(head) => assert_eq!(head.status, 206),
//!         FetchFound::Body(span) => body.extend_from_slice(&rx[span]),
//!         FetchFound::End => break,
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

use self::chunked::{ChunkStep, Chunked};
pub use self::error::{HttpError, RequestError};
use self::head::{Framing, HeadFields, HeadReader};
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
pub struct FetchLimits {
    /// Bytes of one response head, including its last empty line. Default 65,536.
    pub head: usize,
    /// Bytes of one line of a head that matters (`Location`, `ETag`, framing headers), including
    /// its end. The caller's receive buffer must hold at least as many. Other lines may be longer;
    /// they are skipped. Default 1,024.
    pub line: usize,
    /// Bytes of the request, which contains the URL. Default 2,048.
    pub request: usize,
    /// Interim answers (1xx) before the answer. Default 8.
    pub informational: u8,
    /// Bytes of chunk extensions and of blanks after chunk sizes, in a whole body. Default 16,384.
    pub extensions: u32,
    /// Bytes of the trailer section after the last chunk. Default 4,096.
    pub trailers: u32,
}

impl Default for FetchLimits {
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

impl FetchLimits {
    /// Limits for a machine with more memory: lines of 16 KiB, and requests of 8 KiB, which hold a
    /// URL of 4 KiB. The others keep their defaults.
    #[must_use]
    pub fn large() -> Self {
        Self { line: 16 * 1024, request: 8 * 1024, ..Self::default() }
    }
}

/// One GET: sends its request and parses the framing of its answer. It allocates the request, at
/// most [`FetchLimits::request`] bytes, and frees it once it is sent; then `ETag` and `Location` of the
/// answer, at most [`FetchLimits::line`] bytes each, and frees them with the first call after the head.
#[derive(Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Fetch {
    request: Vec<u8>,
    sent: usize,
    limits: FetchLimits,
    phase: Phase,
    /// The values of the last head.
    kept: HeadFields,
    /// Bytes of body in the last [`FetchFound::Body`] that were not taken yet; never more than the phase
    /// has left, so 0 outside a body.
    offered: usize,
}

/// What was found in the received bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub struct FetchReceived<'a> {
    /// Bytes of framing at the front of the buffer that are consumed. The caller drops them,
    /// whatever was found. A piece of body begins right after them and is *not* counted.
    pub consumed: usize,
    /// What follows them.
    pub found: FetchFound<'a>,
}

/// See [`Fetch::handle_received`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FetchFound<'a> {
    /// Nothing yet: more bytes are needed.
    Nothing,
    /// The head of the answer. It is reported once, before any body, and is part of the consumed
    /// bytes; it borrows the [`Fetch`].
    Head(ResponseHead<'a>),
    /// Body: this span of the given buffer, never empty. Report the number of used bytes with
    /// [`Fetch::handle_body_taken`], drop them, and offer the rest again.
    Body(Range<usize>),
    /// The answer is complete. Bytes after it do not belong to an answer; close the connection.
    End,
}

/// What the end of the connection means for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Closed {
    /// The answer is complete.
    Complete,
    /// The answer is incomplete: a head without its end, a body shorter than announced, or body
    /// that was offered and not taken.
    Short,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
enum Phase {
    /// Before the end of the final head.
    Head(HeadReader),
    /// A body of known length; bytes to come, never 0.
    Length(u64),
    /// A chunked body.
    Chunked(Chunked),
    /// A body that ends with the connection.
    Close,
    /// The answer is complete.
    Done,
}

impl Fetch {
    /// Makes a GET of this URL from this byte on (without a `Range` header if 0).
    ///
    /// # Errors
    /// [`RequestError`] if the URL cannot be used in a request. It is never escaped or repaired:
    /// the query is a signature.
    pub fn new(url: &Url<'_>, from: u64, limits: FetchLimits) -> Result<Self, RequestError> {
        Self::with_user(url, None, from, limits, false)
    }

    /// Like [`Fetch::new`], with `Authorization: Basic` for a URL's user and password, as
    /// [`Url::parse_with_user`] returns them, and with `Cache-Control: no-cache` if `fresh`, to
    /// bypass caches.
    ///
    /// # Errors
    /// Like [`Fetch::new`]; [`RequestError::User`] without the feature `url-user`.
    pub fn with_user(
        url: &Url<'_>,
        user: Option<&str>,
        from: u64,
        limits: FetchLimits,
        fresh: bool,
    ) -> Result<Self, RequestError> {
        let request = request::encode(url, user, from, fresh, limits.request)?;
        let phase = Phase::Head(HeadReader::default());
        Ok(Self { request, sent: 0, limits, phase, kept: HeadFields::default(), offered: 0 })
    }

    /// Returns the bytes of the request that are still to be sent; empty once all are.
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.request.get(self.sent..).unwrap_or_default()
    }

    /// Reports that this many bytes of [`Self::transmit`] were sent.
    ///
    /// # Errors
    /// [`Misuse`], without effect, if there are fewer.
    pub fn handle_sent(&mut self, count: usize) -> Result<(), Misuse> {
        let left = self.transmit().len();
        if count > left {
            return Err(Misuse);
        }
        self.sent = self.sent.saturating_add(count);
        if count == left {
            // The request holds a credential and is no longer needed.
            self.request = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }

    /// Parses received bytes: everything that was received and not yet consumed or taken, in one
    /// piece. Call it again with the rest after each answer until [`FetchFound::Nothing`] or
    /// [`FetchFound::End`]; it may find the end in an empty buffer.
    ///
    /// An answer before the request is sent in full is legal.
    ///
    /// # Errors
    /// [`HttpError`], always the peer's fault. The state is unchanged and the connection is
    /// unusable.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn handle_received(&mut self, rx: &[u8]) -> Result<FetchReceived<'_>, HttpError> {
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
                    ChunkStep::More => Ok(FetchReceived { consumed, found: FetchFound::Nothing }),
                    ChunkStep::Data(left) => Ok(self.offer(rx, consumed, Some(left))),
                    ChunkStep::End => {
                        self.phase = Phase::Done;
                        Ok(FetchReceived { consumed, found: FetchFound::End })
                    }
                }
            }
            Phase::Done => Ok(FetchReceived { consumed: 0, found: FetchFound::End }),
        }
    }

    /// Reports that this many bytes from the front of the last [`FetchFound::Body`] were taken. 0 is
    /// legal, and several calls may report parts.
    ///
    /// # Errors
    /// [`Misuse`], without effect, if fewer were offered.
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

    /// The peer closed the connection, and all bytes that it sent before were offered. Over TLS
    /// this requires a `close_notify`: a connection without it may hide a truncated body; treat it
    /// as [`Closed::Short`] without calling this.
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

    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    fn receive_head(
        &mut self,
        rx: &[u8],
        mut head: HeadReader,
    ) -> Result<FetchReceived<'_>, HttpError> {
        let mut consumed = 0_usize;
        loop {
            debug_assert!(consumed <= rx.len(), "a head consumes what it was given");
            let rest = rx.get(consumed..).unwrap_or_default();
            let (used, framing) = head.advance(rest, &self.limits)?;
            consumed = consumed.saturating_add(used);
            let Some(framing) = framing else {
                self.phase = Phase::Head(head);
                return Ok(FetchReceived { consumed, found: FetchFound::Nothing });
            };
            self.phase = match framing {
                Framing::Interim if head.informational >= self.limits.informational => {
                    return Err(HttpError::Informational);
                }
                Framing::Interim => {
                    head = HeadReader::new(head.informational.saturating_add(1));
                    continue;
                }
                Framing::Length(0) => Phase::Done,
                Framing::Length(left) => Phase::Length(left),
                Framing::Chunked => Phase::Chunked(Chunked::new(&self.limits)),
                Framing::Close => Phase::Close,
            };
            self.kept = head.kept;
            return Ok(FetchReceived { consumed, found: FetchFound::Head(self.kept.head()) });
        }
    }

    /// Frees the values of the head once they were returned.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    fn forget_head(&mut self) {
        self.kept = HeadFields::default();
    }

    /// Offers the bytes after `start`, at most `left` of them.
    fn offer(&mut self, rx: &[u8], start: usize, left: Option<u64>) -> FetchReceived<'static> {
        let have = rx.len().saturating_sub(start);
        let left = left.map_or(have, |left| usize::try_from(left).unwrap_or(usize::MAX));
        self.offered = have.min(left);
        if self.offered == 0 {
            return FetchReceived { consumed: start, found: FetchFound::Nothing };
        }
        let span = start..start.saturating_add(self.offered);
        FetchReceived { consumed: start, found: FetchFound::Body(span) }
    }
}

/// Hides the request: it contains the URL, whose query is a credential.
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
