//! The response head: parsed in place, reduced to what matters, its framing decided.

use core::str;
use core::time::Duration;

use ota_proto::{ContentRange, ResponseHead};

use super::HttpError;

/// Headers that a head may have.
pub const HEADERS: usize = 64;

/// A whole head.
pub(super) struct Parsed<'a> {
    /// Its bytes.
    pub(super) len: usize,
    pub(super) head: ResponseHead<'a>,
    pub(super) framing: Framing,
}

/// What follows a head (RFC 9112 §6.3, for a GET).
#[derive(Clone, Copy)]
pub(super) enum Framing {
    /// Another head: this one is interim.
    Interim,
    /// So many bytes.
    Length(u64),
    Chunked,
    /// Everything until the connection ends.
    Close,
}

/// Parses the head at the front of these bytes; `None` when its end is not there yet.
pub(super) fn parse(rx: &[u8], max: usize) -> Result<Option<Parsed<'_>>, HttpError> {
    let window = rx.get(..max).unwrap_or(rx);
    // The parser would skip empty lines.
    if matches!(window.first(), Some(b'\r' | b'\n')) {
        return Err(HttpError::NotHttp);
    }
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let len = match response.parse(window) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) if window.len() >= max => return Err(HttpError::HeadTooLong),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HttpError::TooManyHeaders),
        Err(httparse::Error::Version | httparse::Error::Status) => return Err(HttpError::NotHttp),
        Err(_) => return Err(HttpError::Header),
    };
    if !has_strict_lines(window.get(..len).unwrap_or_default()) {
        return Err(HttpError::Header);
    }
    let (status, minor) = (response.code.unwrap_or_default(), response.version.unwrap_or_default());
    let (head, framing) = match status {
        0..=99 => return Err(HttpError::NotHttp),
        101 => return Err(HttpError::Upgraded),
        100..=199 => (ResponseHead { status, ..ResponseHead::default() }, Framing::Interim),
        _ => {
            let mut fields = Fields {
                head: ResponseHead { status, ..Default::default() },
                ..Default::default()
            };
            for header in response.headers.iter() {
                fields.add(header.name, header.value)?;
            }
            fields.finish(minor)?
        }
    };
    Ok(Some(Parsed { len, head, framing }))
}

/// Whether every line ends in CR LF: the parser also takes a bare LF, which others read otherwise.
fn has_strict_lines(head: &[u8]) -> bool {
    let mut before = 0;
    head.iter().all(|&byte| {
        let good = (before == b'\r') == (byte == b'\n');
        before = byte;
        good
    })
}

#[derive(Default)]
struct Fields<'a> {
    head: ResponseHead<'a>,
    coded: bool,
    chunked: bool,
}

/// The headers that [`Fields::add`] looks at.
#[cfg(feature = "record")]
pub(crate) const KNOWN: [&str; 7] = [
    "content-encoding",
    "content-length",
    "content-range",
    "etag",
    "location",
    "retry-after",
    "transfer-encoding",
];

impl<'a> Fields<'a> {
    fn add(&mut self, name: &str, value: &'a [u8]) -> Result<(), HttpError> {
        let value = value.trim_ascii();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let head = &mut self.head;
        if is("content-length") {
            // A list of equal numbers is what a proxy makes of repeated headers (RFC 9110 §8.6).
            for part in value.split(|&byte| byte == b',') {
                let length = number(part.trim_ascii()).ok_or(HttpError::Length)?;
                once(&mut head.content_length, length, HttpError::Length)?;
            }
        } else if is("transfer-encoding") {
            // Two of them would be chunked twice, which nobody means.
            self.chunked = !self.coded && value.eq_ignore_ascii_case(b"chunked");
            self.coded = true;
        } else if is("content-range") {
            let range = content_range(value).ok_or(HttpError::ContentRange)?;
            once(&mut head.content_range, range, HttpError::Repeated)?;
        } else if is("etag") {
            once(&mut head.etag, value, HttpError::Repeated)?;
        } else if is("location") {
            let location = str::from_utf8(value).map_err(|_| HttpError::Location)?;
            once(&mut head.location, location, HttpError::Repeated)?;
        } else if is("retry-after") {
            // A date is left out: there is no clock here.
            head.retry_after = head.retry_after.max(seconds(value));
        } else if is("content-encoding") {
            head.encoded |= value
                .split(|&byte| byte == b',')
                .map(<[u8]>::trim_ascii)
                .any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
        }
        Ok(())
    }

    fn finish(mut self, minor: u8) -> Result<(ResponseHead<'a>, Framing), HttpError> {
        if self.coded && self.head.content_length.is_some() {
            return Err(HttpError::Ambiguous);
        }
        if self.coded && (!self.chunked || minor == 0) {
            return Err(HttpError::TransferCoding);
        }
        let framing = match (self.head.status, self.head.content_length) {
            (204 | 304, _) => {
                // A length there is that of an answer which is not sent.
                self.head.content_length = None;
                Framing::Length(0)
            }
            (_, Some(length)) => Framing::Length(length),
            (_, None) if self.chunked => Framing::Chunked,
            (_, None) => Framing::Close,
        };
        Ok((self.head, framing))
    }
}

/// Keeps a value that may be repeated but not changed.
fn once<T: PartialEq>(slot: &mut Option<T>, value: T, error: HttpError) -> Result<(), HttpError> {
    match slot {
        Some(old) if *old != value => return Err(error),
        Some(_) => {}
        None => *slot = Some(value),
    }
    Ok(())
}

/// `bytes first-last/total`, `bytes first-last/*` or `bytes */total`.
fn content_range(value: &[u8]) -> Option<ContentRange> {
    let (unit, rest) = value.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes ") {
        return None;
    }
    let (span, total) = split(rest, b'/')?;
    if span == b"*" {
        return Some(ContentRange { span: None, total: Some(number(total)?) });
    }
    let (first, last) = split(span, b'-')?;
    let (first, last) = (number(first)?, number(last)?);
    let total = if total == b"*" { None } else { Some(number(total)?) };
    if first > last || total.is_some_and(|total| last >= total) {
        return None;
    }
    Some(ContentRange { span: Some((first, last)), total })
}

/// Parts the bytes at the first of these.
fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = bytes.splitn(2, |&byte| byte == at);
    Some((parts.next()?, parts.next()?))
}

/// Decimal digits only, below 2^64.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

/// `Retry-After` as a number. What is too large to count is as long as can be said: asking again
/// at once would turn its meaning around.
fn seconds(value: &[u8]) -> Option<Duration> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let most = u64::from(u32::MAX);
    is_number.then(|| Duration::from_secs(number(value).map_or(most, |seconds| seconds.min(most))))
}
