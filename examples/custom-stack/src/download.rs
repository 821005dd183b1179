//! One fetch: its head as the machine wants it, and its body in pieces.

use std::io::Read;
use std::str;
use std::time::Duration;

use ota_proto::{
    Coding, ContentRange, Fetch, Instant, Media, OpId, ResponseHead, TransportError, Updater,
};
use ureq::http::{HeaderMap, HeaderName, header};
use ureq::{Agent, Error};

use crate::flash::Flash;

pub struct Download {
    op: OpId,
    status: u16,
    headers: HeaderMap,
    body: Box<dyn Read>,
    /// Bytes that are read and not taken yet.
    rest: Vec<u8>,
}

impl Download {
    /// Asks for the URL from this byte on. What an answer means, redirects too, is the machine's.
    pub fn open(fetch: Fetch<'_>) -> Result<Self, Error> {
        let Fetch { op, url, from, fresh } = fetch;
        let agent: Agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(10)))
            .build()
            .into();
        let mut request = agent.get(url);
        if fresh {
            request = request.header("Cache-Control", "no-cache");
        }
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let (head, body) = request.call()?.into_parts();
        let body = Box::new(body.into_reader());
        Ok(Self { op, status: head.status.as_u16(), headers: head.headers, body, rest: Vec::new() })
    }

    pub fn head(&self) -> ResponseHead<'_> {
        let text = |name: HeaderName| self.headers.get(name)?.to_str().ok();
        let number = |name: HeaderName| text(name)?.parse().ok();
        ResponseHead {
            status: self.status,
            content_length: number(header::CONTENT_LENGTH),
            content_range: text(header::CONTENT_RANGE).and_then(content_range),
            etag: self.headers.get(header::ETAG).map(|etag| etag.as_bytes()),
            location: text(header::LOCATION),
            retry_after: number(header::RETRY_AFTER).map(Duration::from_secs),
            coding: self
                .headers
                .get(header::CONTENT_ENCODING)
                .and_then(|label| Coding::of_label(label.as_bytes())),
            media: text(header::CONTENT_TYPE)
                .map(|media| Media::new(media.as_bytes()))
                .unwrap_or_default(),
        }
    }

    /// Reads a piece and stores what the machine takes of it; `false` at the end.
    pub fn advance(
        &mut self,
        machine: &mut Updater,
        flash: &mut Flash,
        now: &dyn Fn() -> Instant,
    ) -> bool {
        if self.rest.is_empty() {
            let mut buf = vec![0; 16 * 1_024];
            match self.body.read(&mut buf) {
                Ok(0) => {
                    machine.handle_body_end(now(), self.op);
                    return false;
                }
                Ok(count) => buf.truncate(count),
                Err(_) => {
                    machine.handle_fetch_failed(now(), self.op, TransportError::Closed);
                    return false;
                }
            }
            self.rest = buf;
        }
        let Ok(body) = machine.handle_body(now(), self.op, &self.rest) else { return false };
        if let Some((op, work)) = body.work {
            machine.handle_done(now(), op, flash.run(work));
        }
        self.rest.drain(..body.consumed);
        true
    }
}

/// `bytes first-last/total`, or `bytes */total`.
fn content_range(text: &str) -> Option<ContentRange> {
    let (span, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let span = match span.split_once('-') {
        Some((first, last)) => Some((first.parse().ok()?, last.parse().ok()?)),
        None => None,
    };
    Some(ContentRange { span, total: total.parse().ok() })
}
