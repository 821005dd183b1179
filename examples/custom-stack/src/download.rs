//! One fetch by ureq: its head, and its body in pieces.

use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use ureq::http::HeaderMap;
use ureq::{Agent, Body};

pub struct Download {
    pub status: u16,
    headers: HeaderMap,
    body: BufReader<Box<dyn Read>>,
}

impl Download {
    /// Requests the URL from this byte on. The machine interprets the answer, redirects included.
    pub fn open(url: &str, from: u64, fresh: bool) -> io::Result<Self> {
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
        let (head, body) = request.call().map_err(ureq::Error::into_io)?.into_parts();
        let body: Box<dyn Read> = Box::new(Body::into_reader(body));
        let body = BufReader::with_capacity(16 * 1_024, body);
        Ok(Self { status: head.status.as_u16(), headers: head.headers, body })
    }

    /// All headers as they came.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// Returns the bytes that were read but not taken, or the next ones; empty at the end.
    pub fn piece(&mut self) -> io::Result<&[u8]> {
        self.body.fill_buf()
    }

    /// Takes this many bytes of the piece. The rest is offered again.
    pub fn take(&mut self, count: usize) {
        self.body.consume(count);
    }
}
