//! The firmware server, at the level of answers and pieces of body.

use std::collections::VecDeque;
use std::sync::Arc;

use core::ops::Range;
use core::time::Duration;

use ota_proto::{ContentRange, Instant, OpId, ResponseHead, TransportError};

/// The fault of one fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FetchFault {
    /// It fails before the head.
    Fails(TransportError),
    /// Only this status, possibly with `Retry-After` in seconds.
    Status(u16, Option<u64>),
    /// The whole image, whatever the requested range.
    Whole,
    /// Another ETag than before.
    Etag(&'static str),
    /// The connection closes after this many bytes of body.
    Closes(u64),
    /// Nothing comes after this many bytes of body.
    Stalls(u64),
    /// The head never comes.
    Silent,
    /// A redirect to there.
    Redirect(&'static str),
    /// This byte of the image is wrong.
    Wrong(u64),
}

/// A fetch in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fetch {
    pub(crate) op: OpId,
    /// The bytes of the URL.
    pub(crate) image: Arc<[u8]>,
    /// The first requested byte.
    pub(crate) from: u64,
    /// The next byte of the image.
    pub(crate) at: u64,
    /// Bytes sent.
    pub(crate) sent: u64,
    /// Whether the head was sent.
    pub(crate) answered: bool,
    /// When the next part is available.
    pub(crate) next_at: Instant,
    pub(crate) fault: Option<FetchFault>,
}

/// The server's next action for the current fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Head(Head),
    Body(Vec<u8>),
    End,
    Fail(TransportError),
    Nothing,
}

/// An owned head of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    length: Option<u64>,
    range: Option<ContentRange>,
    etag: Option<&'static str>,
    location: Option<&'static str>,
    retry_after: Option<u64>,
}

impl Head {
    pub(crate) fn view(&self) -> ResponseHead<'_> {
        ResponseHead {
            status: self.status,
            content_length: self.length,
            content_range: self.range,
            etag: self.etag.map(str::as_bytes),
            location: self.location,
            retry_after: self.retry_after.map(Duration::from_secs),
            ..ResponseHead::default()
        }
    }
}

/// The server, with faults for the first fetches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Server {
    /// The faults of the next fetches.
    pub plan: VecDeque<Option<FetchFault>>,
    /// Fetches so far.
    pub fetches: u64,
    /// Each fetch whose answer would come within this time has this fault instead.
    pub away: Option<(FetchFault, Range<Instant>)>,
    pub(crate) current: Option<Fetch>,
}

const ETAG: &str = "\"1\"";

impl Server {
    /// Begins a fetch; returns whether the server is away.
    pub(crate) fn begin(
        &mut self,
        op: OpId,
        image: Arc<[u8]>,
        from: u64,
        head_at: Instant,
    ) -> bool {
        let away = self.away.as_ref().filter(|(_, span)| span.contains(&head_at));
        let is_away = away.is_some();
        let fault = match away {
            Some((fault, _)) => Some(fault.clone()),
            None => self.plan.pop_front().flatten(),
        };
        self.fetches = self.fetches.saturating_add(1);
        let next_at = head_at;
        self.current =
            Some(Fetch { op, image, from, at: from, sent: 0, answered: false, next_at, fault });
        is_away
    }

    pub(crate) fn cancel(&mut self, op: OpId) {
        self.current.take_if(|fetch| fetch.op == op);
    }

    /// When the next part is available; a body also waits for its reader.
    pub(crate) fn deadline(&self, reading: bool) -> Option<Instant> {
        let fetch = self.current.as_ref()?;
        let silent = match fetch.fault {
            Some(FetchFault::Silent) => true,
            Some(FetchFault::Stalls(after)) => fetch.answered && fetch.sent >= after,
            _ => false,
        };
        (!silent && (!fetch.answered || reading)).then_some(fetch.next_at)
    }

    /// Returns the next part; call `consumed` for a body.
    pub(crate) fn next(&mut self, chunk: usize, pace: Duration) -> Next {
        let Some(fetch) = &mut self.current else { return Next::Nothing };
        let image = fetch.image.clone();
        let size = image.len() as u64;
        if !fetch.answered {
            return fetch.head(size);
        }
        let mut chunk = chunk as u64;
        if let Some(FetchFault::Closes(after)) = fetch.fault {
            if fetch.sent >= after {
                return Next::Fail(TransportError::Closed);
            }
            chunk = chunk.min(after.saturating_sub(fetch.sent));
        }
        if fetch.at >= size {
            return Next::End;
        }
        fetch.next_at = fetch.next_at + pace;
        let end = fetch.at.saturating_add(chunk).min(size);
        let range = usize::try_from(fetch.at).unwrap_or(0)..usize::try_from(end).unwrap_or(0);
        let mut body = image.get(range).unwrap_or(&[]).to_vec();
        if let Some(FetchFault::Wrong(byte)) = fetch.fault {
            let place = byte.checked_sub(fetch.at).and_then(|at| usize::try_from(at).ok());
            if let Some(byte) = place.and_then(|at| body.get_mut(at)) {
                *byte ^= 1;
            }
        }
        Next::Body(body)
    }

    pub(crate) fn consumed(&mut self, bytes: usize) {
        if let Some(fetch) = &mut self.current {
            fetch.at = fetch.at.saturating_add(bytes as u64);
            fetch.sent = fetch.sent.saturating_add(bytes as u64);
        }
    }
}

impl Fetch {
    fn head(&mut self, size: u64) -> Next {
        self.answered = true;
        let mut head = Head { etag: Some(ETAG), ..Head::default() };
        match &self.fault {
            Some(FetchFault::Fails(error)) => return Next::Fail(*error),
            Some(FetchFault::Status(status, retry_after)) => {
                return Next::Head(Head {
                    status: *status,
                    retry_after: *retry_after,
                    ..Head::default()
                });
            }
            Some(FetchFault::Redirect(location)) => {
                return Next::Head(Head {
                    status: 302,
                    location: Some(location),
                    ..Head::default()
                });
            }
            Some(FetchFault::Etag(etag)) => head.etag = Some(etag),
            Some(FetchFault::Whole) => self.at = 0,
            _ => {}
        }
        if self.at == 0 {
            head.status = 200;
            head.length = Some(size);
        } else {
            head.status = 206;
            head.length = Some(size.saturating_sub(self.at));
            let last = size.saturating_sub(1);
            head.range = Some(ContentRange { span: Some((self.at, last)), total: Some(size) });
        }
        Next::Head(head)
    }
}
