//! Answers to a fetch, and where redirects lead.

use std::time::Duration;

use ota_proto::url::Url;
use ota_proto::{
    Boot, Coding, Config, ContentRange, Fetch, Identity, Idle, Instant, OpId, Output, Publish,
    ResponseHead, SlotInfo, SlotState, State, TransportError, Updater, Work,
};

use crate::input::Input;

const TOPIC: &str = "$ota/update/TESTPROD01/dev001";
/// Redirects in a row, and the longest URL in bytes.
const HOPS: usize = 5;
const LONGEST: usize = 1_024;

/// Reads the bytes as answers, one after the other: `Location`s in any words, ranges and lengths
/// in any numbers. Every URL that is asked for must be one that may be asked for, every chain must
/// end, and a body is taken only when it can be of the image.
///
/// # Panics
/// If a check fails.
pub fn redirect(data: &[u8]) {
    let mut input = Input::new(data);
    let first = input.byte();
    let (tls, allow_http) = (first & 1 == 0, first & 2 != 0);
    let size = 1 + u64::from(input.byte()) * 16;
    let mut desk = Desk::new(tls, allow_http, size);
    // At most this many answers: the machine gives up long before.
    for _ in 0..200 {
        let Some((op, url, from)) = desk.fetch() else { break };
        let url = Url::parse(&url).expect("a URL");
        assert!(url.tls || allow_http, "plain http was not allowed");
        assert!(url.tls || !desk.chain_tls, "from https to http");
        desk.chain_tls |= url.tls;
        assert!(desk.hops <= HOPS, "a chain of {}", desk.hops);
        desk.answer(&mut input, op, from);
        if input.is_empty() {
            break;
        }
    }
}

struct Desk {
    now: Instant,
    machine: Updater,
    offer: String,
    size: u64,
    /// Redirects of this chain, and whether one of its URLs was https.
    hops: usize,
    chain_tls: bool,
}

impl Desk {
    fn new(tls: bool, allow_http: bool, size: u64) -> Self {
        let mut config = Config::new(Identity::new("TESTPROD01", "dev001").unwrap(), 7);
        config.allow_http = allow_http;
        let storage = SlotInfo { capacity: 8_192, erase: 64, write: 1 };
        let boot = Boot { running: "1.0.0", slot: SlotState::Confirmed, journal: None, storage };
        let mut machine = Updater::new(Instant::ZERO, config, boot).unwrap();
        machine.handle_session(Instant::ZERO, true);
        let scheme = if tls { "https" } else { "http" };
        let offer = format!(
            r#"{{"file_size":{size},"md5sum":"f2f1b3317d4f1ef7f512bfae5050563b","type":"update_firmware","url":"{scheme}://a.example/f/w?sign=1","version":"2.0.0"}}"#
        );
        let mut desk = Self { now: Instant::ZERO, machine, offer, size, hops: 0, chain_tls: tls };
        desk.offer();
        desk
    }

    fn offer(&mut self) {
        self.machine.handle_message(self.now, TOPIC, self.offer.as_bytes()).unwrap();
    }

    /// The next fetch, storage answering at once; `None` when the attempt is over.
    fn fetch(&mut self) -> Option<(OpId, String, u64)> {
        for _ in 0..2_000 {
            let (now, mut buf) = (self.now, [0; Config::buffer_len()]);
            match self.machine.poll(now, &mut buf).unwrap() {
                Output::Fetch(Fetch { op, url, from, .. }) => return Some((op, url.into(), from)),
                Output::Publish(Publish { id, .. }) => self.machine.handle_published(now, id),
                Output::Do(_, Work::Digest { .. } | Work::Slot(_)) => return None,
                Output::Do(op, _) => self.machine.handle_done(now, op, Ok(None)),
                Output::Idle(Idle { deadline, .. }) => {
                    match self.machine.state() {
                        State::Idle => return None,
                        // A fresh offer of the same URL.
                        State::Waiting => self.offer(),
                        _ => {}
                    }
                    let deadline = deadline.expect("something is awaited");
                    self.now = self.now.max(deadline);
                    self.machine.handle_timeout(self.now);
                    // A pause or a fresh offer begins at the offer's URL again.
                    self.hops = 0;
                    self.chain_tls = self.offer.contains("https://");
                }
                _ => {}
            }
        }
        panic!("it neither fetches nor ends: {:?}", self.machine.state());
    }

    fn answer(&mut self, input: &mut Input<'_>, op: OpId, from: u64) {
        let status = input.pick(&[
            200, 206, 301, 302, 303, 307, 308, 302, 302, 300, 304, 305, 401, 403, 404, 410, 416,
            429, 503, 0, 100, 999,
        ]);
        let parts = input.byte();
        let number = |input: &mut Input<'_>| match input.byte() % 5 {
            0 => input.number(),
            1 => self.size,
            2 => from,
            3 => self.size - from.min(self.size),
            _ => self.size - 1,
        };
        let content_length = (parts & 1 != 0).then(|| number(input));
        let span = (parts & 2 != 0).then(|| (number(input), number(input)));
        let total = (parts & 4 != 0).then(|| number(input));
        let content_range = (parts & 8 != 0).then_some(ContentRange { span, total });
        let etag = (parts & 16 != 0).then(|| input.bytes(2));
        let retry_after = (parts & 32 != 0).then(|| Duration::from_secs(input.number()));
        let len = usize::from(input.byte()) * if parts & 64 != 0 { 8 } else { 1 };
        let location = core::str::from_utf8(input.bytes(len)).ok();
        let coding = (parts & 128 != 0).then_some(Coding::Gzip);
        let head = ResponseHead {
            status,
            content_length,
            content_range,
            etag,
            location,
            retry_after,
            coding,
            ..ResponseHead::default()
        };
        if self.machine.handle_response(self.now, op, &head).is_ok() {
            self.check_taken(&head, from);
            self.take(input, op);
            (self.hops, self.chain_tls) = (0, self.offer.contains("https://"));
        } else if (300..400).contains(&status) {
            self.hops += 1;
            if self.machine.state() == State::Fetching {
                assert!(matches!(status, 301 | 302 | 303 | 307 | 308) && location.is_some());
                assert!(location.is_none_or(|text| text.len() <= LONGEST));
            }
        } else {
            self.hops = 0;
            self.chain_tls = self.offer.contains("https://");
        }
    }

    fn check_taken(&self, head: &ResponseHead<'_>, from: u64) {
        let total = head.content_range.and_then(|range| range.total);
        let sized = [head.content_length, total].contains(&Some(self.size));
        assert!(sized || head.coding.is_none(), "a compressed body");
        match head.status {
            200 => assert!(head.content_length.is_none_or(|length| length == self.size)),
            206 => {
                let range = head.content_range.expect("a part says which");
                assert_eq!(
                    range,
                    ContentRange {
                        span: range.span.filter(|(first, last)| {
                            *first == from && first <= last && *last < self.size
                        }),
                        total: range.total.map(|_| self.size),
                    }
                );
                let (first, last) = range.span.expect("the part that was asked for");
                assert!(head.content_length.is_none_or(|length| length == last - first + 1));
            }
            other => panic!("the body of {other} was taken"),
        }
    }

    /// A little of the body comes, then the connection ends.
    fn take(&mut self, input: &mut Input<'_>, op: OpId) {
        let most = usize::from(input.byte());
        let data = vec![7; most.min(usize::try_from(self.size).unwrap())];
        for _ in 0..8 {
            let mut buf = [0; Config::buffer_len()];
            let now = self.now;
            match self.machine.poll(now, &mut buf).unwrap() {
                Output::Publish(Publish { id, .. }) => self.machine.handle_published(now, id),
                Output::Do(op, Work::Erase { .. } | Work::Sync | Work::Persist(_)) => {
                    self.machine.handle_done(now, op, Ok(None));
                }
                _ => {}
            }
        }
        if let Ok(body) = self.machine.handle_body(self.now, op, &data) {
            if let Some((op, _)) = body.work {
                self.machine.handle_done(self.now, op, Ok(None));
            }
        }
        self.machine.handle_fetch_failed(self.now, op, TransportError::Closed);
    }
}
