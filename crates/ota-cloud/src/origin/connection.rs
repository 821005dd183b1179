//! One connection to the server.

mod pass;

use std::collections::VecDeque;
use std::sync::Arc;

use core::time::Duration;

use ota_proto::Instant;

use super::reply::{Piece, Reply, Step};
use super::request::{Parsed, Request};
use super::{Content, Origin, Served};

/// One connection: bytes in, bytes out, on the caller's clock.
///
/// The loop is: feed what was received, send what [`Connection::transmit`] gives, look at
/// [`Connection::closing`], wait for bytes or the deadline. Requests may be pipelined.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    now: Instant,
    input: Vec<u8>,
    script: VecDeque<Step>,
    /// What is being sent; `sent` of it has been.
    out: Vec<u8>,
    sent: usize,
    /// At most this many bytes in so long.
    pace: Option<(usize, Duration)>,
    /// When the pace allows the next bytes.
    next: Instant,
    /// When the peer took its last bytes, or began a request: the rest of a head, which may come
    /// byte by byte, is no news.
    heard: Instant,
    /// Set only when everything before it has been sent.
    closing: Option<Closing>,
    /// Requests that nobody was told of yet.
    served: VecDeque<Served>,
    /// Bytes that must be brought before it goes on.
    wants: Option<Wanted>,
    /// Bytes that leave past this connection, after those of `out`.
    passing: Option<Wanted>,
    /// Whether some of the response in progress was given out.
    begun: bool,
}

/// Bytes of an image that are elsewhere; see [`Connection::wants`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Wanted {
    /// Where they are: [`Content::Stored`].
    pub place: Arc<str>,
    /// The first of them.
    pub at: u64,
    /// How many.
    pub len: usize,
}

/// How a connection is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Closing {
    /// In order, after everything has been sent.
    Close,
    /// At once, with a reset.
    Reset,
}

impl Connection {
    /// The longest request head in bytes; a longer one is answered with 431.
    pub const MAX_HEAD: usize = 8 * 1_024;
    /// The most headers of a request; more are answered with 400.
    pub const MAX_HEADERS: usize = 64;
    /// The most entries of [`Connection::next_served`].
    pub const MAX_SERVED: usize = 16;
    /// The most bytes that [`Connection::transmit`] gives at once, beside what was brought.
    pub const MAX_OUT: usize = 16 * 1_024;
    /// The most bytes that [`Connection::wants`] asks for at once.
    pub const MAX_WANTED: usize = 64 * 1_024;

    /// A connection that has just been accepted.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self {
            now,
            input: Vec::new(),
            script: VecDeque::new(),
            out: Vec::new(),
            sent: 0,
            pace: None,
            next: now,
            heard: now,
            closing: None,
            served: VecDeque::new(),
            wants: None,
            passing: None,
            begun: false,
        }
    }

    /// Takes received bytes and returns how many: fewer than given while a response is in progress
    /// and the buffer for the next requests is full. Offer the rest again later.
    #[must_use = "bytes that were not taken must be offered again"]
    pub fn handle_received(&mut self, now: Instant, data: &[u8]) -> usize {
        self.now = self.now.max(now);
        if !data.is_empty() && self.input.is_empty() {
            self.heard = self.now;
        }
        if self.closing.is_some() || self.script.front() == Some(&Step::Halt) {
            return data.len();
        }
        let room = Self::MAX_HEAD.saturating_sub(self.input.len()).min(data.len());
        self.input.extend_from_slice(data.get(..room).unwrap_or(&[]));
        room
    }

    /// The bytes to send now, at most [`Connection::MAX_OUT`]; empty when there are none before
    /// the deadline. The same bytes come again until [`Connection::handle_sent`].
    pub fn transmit(&mut self, origin: &mut Origin, now: Instant) -> &[u8] {
        self.now = self.now.max(now);
        while !self.is_unread() && self.wants.is_none() {
            if self.out.capacity() > Self::MAX_OUT {
                // A connection at rest keeps no room for an image.
                self.out = Vec::new();
            }
            self.out.clear();
            self.sent = 0;
            if self.closing.is_some() {
                break;
            }
            let progress = if self.script.is_empty() {
                self.pace = None;
                self.next_request(origin)
            } else {
                self.fill(origin)
            };
            if !progress {
                break;
            }
        }
        // The head leaves with the first bytes of the body.
        self.begun |= self.wants.is_none() && self.sent < self.out.len();
        self.unsent()
    }

    /// What [`Connection::transmit`] gave last and has not left. What is
    /// [passed](Connection::passing) comes after it.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        if self.wants.is_some() {
            return &[];
        }
        self.out.get(self.sent..).unwrap_or(&[])
    }

    /// The bytes of an image that must be brought to [`Connection::handle_body`] before anything
    /// else is sent.
    #[must_use]
    pub const fn wants(&self) -> Option<&Wanted> {
        self.wants.as_ref()
    }

    /// Takes the bytes that [`Connection::wants`] asked for, all of them; or why there are none,
    /// which is told as [`Served::why`]. A response that has not begun is a 500 then; one that has
    /// breaks off.
    pub fn handle_body(&mut self, origin: &mut Origin, now: Instant, body: Result<&[u8], &str>) {
        self.now = self.now.max(now);
        let Some(wanted) = self.wants.take() else { return };
        self.heard = self.now;
        match (body, self.script.front_mut()) {
            (Ok(body), Some(Step::Body(piece))) if body.len() == wanted.len => {
                origin.count_body(append(piece, &mut self.out, body));
                if piece.at >= piece.end {
                    self.script.pop_front();
                }
            }
            (body, _) => self.fail(body.err().unwrap_or("the image's bytes are not there")),
        }
    }

    /// There are no bytes for the response in progress.
    fn fail(&mut self, why: &str) {
        self.out.clear();
        self.sent = 0;
        self.pace = None;
        self.passing = None;
        if self.begun {
            self.closing = Some(Closing::Reset);
            self.script.clear();
            return;
        }
        if let Some(served) = self.served.back_mut() {
            (served.status, served.range, served.why) = (500, 0..0, why.to_owned());
        }
        let mut reply = Reply::text("500 Internal Server Error", "the image is not there");
        reply.close = true;
        self.script = reply.script(false);
    }

    /// The first `n` of the bytes to send have left.
    pub fn handle_sent(&mut self, now: Instant, n: usize) {
        self.now = self.now.max(now);
        self.heard = self.now;
        self.sent = self.sent.saturating_add(n).min(self.out.len());
    }

    /// Time has passed: a connection that is idle, or slow with a request's head, or leaves an
    /// answer unread, may have to be closed.
    pub fn handle_timeout(&mut self, origin: &Origin, now: Instant) {
        self.now = self.now.max(now);
        if self.idle_deadline(origin).is_some_and(|deadline| deadline <= self.now) {
            let how = if self.is_unread() { Closing::Reset } else { Closing::Close };
            self.closing = self.closing.or(Some(how));
            self.passing = None;
            self.out.clear();
            self.sent = 0;
            self.script.clear();
        }
    }

    /// When to call [`Connection::handle_timeout`] and [`Connection::transmit`] at the latest.
    #[must_use]
    pub fn deadline(&self, origin: &Origin) -> Option<Instant> {
        if self.closing.is_some() && !self.is_unread() || self.wants.is_some() {
            None
        } else if self.script.is_empty() || self.is_unread() {
            self.idle_deadline(origin)
        } else {
            self.pace.is_some().then_some(self.next)
        }
    }

    /// How to end the connection, when it is to be ended and everything has been sent.
    #[must_use]
    pub const fn closing(&self) -> Option<Closing> {
        self.closing
    }

    /// The next request that was taken up, for a log. At most [`Connection::MAX_SERVED`] wait to be
    /// asked for; the oldest go first.
    pub fn next_served(&mut self) -> Option<Served> {
        if self.wants.is_some() && !self.begun && self.served.len() <= 1 {
            // Its result is not known yet.
            return None;
        }
        self.served.pop_front()
    }

    /// Whether something was given out that the peer has not taken.
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.sent < self.out.len() || self.passing.is_some()
    }

    /// Whether some of the response in progress was given out.
    #[must_use]
    pub const fn has_begun(&self) -> bool {
        self.begun
    }

    fn idle_deadline(&self, origin: &Origin) -> Option<Instant> {
        if self.wants.is_some() {
            return None;
        }
        if self.is_unread() {
            return origin.unread().map(|span| self.heard + span);
        }
        self.script.is_empty().then(|| self.heard + origin.idle())
    }

    /// Begins the next response, when a whole request is there.
    fn next_request(&mut self, origin: &mut Origin) -> bool {
        let parsed = Request::parse(&self.input);
        let bad = |status| {
            let mut reply = Reply::text(status, "");
            reply.close = true;
            reply.script(false)
        };
        self.begun = false;
        self.script = match parsed {
            Parsed::Request(request, len) => {
                self.input.drain(..len.min(self.input.len()));
                let (script, served) = origin.respond(self.now, &request);
                self.served.push_back(served);
                if self.served.len() > Self::MAX_SERVED {
                    self.served.pop_front();
                }
                script
            }
            Parsed::Partial if self.input.len() < Self::MAX_HEAD => return false,
            Parsed::Partial => bad("431 Request Header Fields Too Large"),
            Parsed::Bad => bad("400 Bad Request"),
        };
        true
    }

    /// Carries the script on by up to [`Connection::MAX_OUT`] bytes, or says that it cannot now.
    fn fill(&mut self, origin: &mut Origin) -> bool {
        let mut room = Self::MAX_OUT;
        if let Some((bytes, tick)) = self.pace {
            if self.now < self.next {
                return false;
            }
            room = bytes.min(room);
            self.next = self.now + tick;
        }
        while self.out.len() < room {
            let left = room.saturating_sub(self.out.len());
            let Some(step) = self.script.front_mut() else { break };
            match step {
                Step::Bytes(bytes) => {
                    self.out.extend(bytes.drain(..left.min(bytes.len())));
                    if bytes.is_empty() {
                        self.script.pop_front();
                    }
                }
                Step::Body(piece) if is_elsewhere(piece) => {
                    if !self.begun || self.out.is_empty() {
                        let most = if self.pace.is_some() { left } else { Self::MAX_WANTED };
                        self.wants = wanted(piece, most);
                    }
                    break;
                }
                Step::Body(piece) => {
                    let n = read(piece, &mut self.out, left);
                    origin.count_body(n);
                    if piece.at >= piece.end {
                        self.script.pop_front();
                    }
                }
                Step::Pace(bytes, tick) => {
                    self.pace = Some((*bytes, *tick));
                    self.next = self.now;
                    self.script.pop_front();
                    // What is there already leaves at full speed.
                    break;
                }
                Step::Halt => {
                    // No pace can bring more: nothing is left to wake up for.
                    self.pace = None;
                    return !self.out.is_empty();
                }
                Step::Close | Step::Reset if !self.out.is_empty() => break,
                Step::Close => {
                    self.closing = Some(Closing::Close);
                    self.script.clear();
                }
                Step::Reset => {
                    self.closing = Some(Closing::Reset);
                    self.script.clear();
                }
            }
        }
        true
    }
}

fn is_elsewhere(piece: &Piece) -> bool {
    // A piece of nothing needs no bytes.
    matches!(piece.file.content, Content::Stored { .. }) && piece.at < piece.end
}

/// The next bytes of a piece that is elsewhere, at most so many.
fn wanted(piece: &Piece, most: usize) -> Option<Wanted> {
    let Content::Stored { place, .. } = &piece.file.content else { return None };
    let left = usize::try_from(piece.end.saturating_sub(piece.at)).unwrap_or(usize::MAX);
    Some(Wanted { place: Arc::clone(place), at: piece.at, len: left.min(most) })
}

/// Appends up to `most` bytes of the piece and moves it on; returns how many.
fn read(piece: &mut Piece, out: &mut Vec<u8>, most: usize) -> u64 {
    let left = piece.end.saturating_sub(piece.at);
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(most);
    let start = out.len();
    out.resize(start.saturating_add(most), 0);
    piece.file.content.read(piece.at, out.get_mut(start..).unwrap_or(&mut []));
    pass(piece, out, start)
}

/// Appends these bytes of the piece and moves it on; returns how many.
fn append(piece: &mut Piece, out: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    let start = out.len();
    out.extend_from_slice(bytes);
    pass(piece, out, start)
}

/// Moves the piece on past what was appended, and changes that as a fault wants; returns how much
/// it is.
fn pass(piece: &mut Piece, out: &mut [u8], start: usize) -> u64 {
    let place = out.get_mut(start..).unwrap_or(&mut []);
    let most = place.len();
    if piece.mask > 0 {
        for byte in place.iter_mut() {
            *byte = byte.wrapping_add(piece.mask);
        }
    }
    if let Some(flip) = piece.flip.and_then(|flip| flip.checked_sub(piece.at)) {
        let byte = usize::try_from(flip).ok().and_then(|flip| place.get_mut(flip));
        if let Some(byte) = byte {
            *byte = !*byte;
        }
    }
    let n = u64::try_from(most).unwrap_or(u64::MAX);
    piece.at = piece.at.saturating_add(n);
    n
}
