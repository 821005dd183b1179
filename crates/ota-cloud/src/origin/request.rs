//! Request heads.

use super::Connection;

/// The stored letters of a method.
const MAX_METHOD: usize = 16;

/// A request, as far as the server uses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Request {
    pub(super) method: Method,
    /// The method, cut.
    pub(super) verb: String,
    /// The target from `/`, with the query.
    pub(super) target: String,
    pub(super) host: Option<String>,
    /// Whether it has one `Host`, or none if HTTP/1.0 allows that.
    pub(super) addressed: bool,
    pub(super) range: Option<Span>,
    pub(super) if_range: Option<String>,
    pub(super) keep_alive: bool,
    /// Whether it announces a body, which no request here has.
    pub(super) body: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Method {
    Get,
    Head,
    Other,
}

/// A `Range` of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Span {
    /// `a-`
    From(u64),
    /// `a-b`, both included; `a <= b`.
    Part(u64, u64),
    /// `-n`
    Last(u64),
}

/// The result of parsing.
pub(super) enum Parsed {
    /// A request, and the length of its head.
    Request(Request, usize),
    /// The head is incomplete.
    Partial,
    /// Not an HTTP/1 request.
    Bad,
}

impl Request {
    /// Parses one head from the start of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Parsed {
        let mut headers = [httparse::EMPTY_HEADER; Connection::MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let len = match head.parse(bytes) {
            Ok(httparse::Status::Complete(len)) => len,
            Ok(httparse::Status::Partial) => return Parsed::Partial,
            Err(_) => return Parsed::Bad,
        };
        let target = head.path.and_then(origin_form);
        let (Some(method), Some(target), Some(version)) = (head.method, target, head.version)
        else {
            return Parsed::Bad;
        };
        let mut request = Self {
            method: match method {
                "GET" => Method::Get,
                "HEAD" => Method::Head,
                _ => Method::Other,
            },
            verb: method.chars().take(MAX_METHOD).collect(),
            target: target.into(),
            host: None,
            addressed: true,
            range: None,
            if_range: None,
            keep_alive: version == 1,
            body: false,
        };
        let (mut ranges, mut hosts) = (0_u32, 0_u32);
        for header in head.headers.iter() {
            hosts = hosts.saturating_add(u32::from(header.name.eq_ignore_ascii_case("host")));
            let Ok(value) = core::str::from_utf8(header.value) else { continue };
            let value = value.trim();
            match header.name.to_ascii_lowercase().as_str() {
                "host" => request.host = Some(value.into()),
                "range" => {
                    ranges = ranges.saturating_add(1);
                    request.range = Span::parse(value);
                }
                "if-range" => request.if_range = Some(value.into()),
                "connection" => {
                    let has = |word: &str| {
                        value.split(',').any(|part| part.trim().eq_ignore_ascii_case(word))
                    };
                    request.keep_alive = (request.keep_alive || has("keep-alive")) && !has("close");
                }
                "content-length" => request.body |= value != "0",
                "transfer-encoding" => request.body = true,
                _ => {}
            }
        }
        if ranges > 1 {
            request.range = None;
        }
        request.addressed = hosts == 1 || hosts == 0 && version == 0;
        Parsed::Request(request, len)
    }
}

impl Span {
    /// Parses a `Range` value. A malformed one, or one with several parts, is ignored, which RFC
    /// 9110 §14.2 allows.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let (unit, spec) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
            return None;
        }
        let (first, last) = spec.trim().split_once('-')?;
        match (first.trim(), last.trim()) {
            ("", last) => Some(Self::Last(number(last)?)),
            (first, "") => Some(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::Part(first, last))
            }
        }
    }

    /// The first byte and the one after the last, within an object of `len` bytes; `None` if it
    /// begins beyond the end.
    #[must_use]
    pub fn within(self, len: u64) -> Option<(u64, u64)> {
        let (from, to) = match self {
            Self::From(first) => (first, len),
            Self::Part(first, last) => (first, len.min(last.saturating_add(1))),
            Self::Last(n) => (len.saturating_sub(n), len),
        };
        (from < to).then_some((from, to))
    }
}

/// Parses digits; a number that is too large counts as the largest one.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

/// The target from `/`, also of an absolute URL.
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') {
        return Some(target);
    }
    let rest = target.split_once("://")?.1;
    rest.get(rest.find('/')?..)
}
