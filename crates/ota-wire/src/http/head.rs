//! Parses the response head line by line. A line that matters is parsed in place; other lines are
//! skipped and never stored. This module also decides what follows the head.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use ota_proto::{Coding, ContentRange, Media, ResponseHead, number, same_word, seconds};

use super::{FetchLimits, HttpError};

/// The headers that matter; [`HeadReader::add`] identifies them by their index.
pub(crate) const KNOWN: [&str; 8] = [
    "content-encoding",
    "content-length",
    "content-range",
    "etag",
    "location",
    "retry-after",
    "transfer-encoding",
    "content-type",
];

/// The index of the header that is only reported: its value never makes an answer invalid.
const MEDIA: usize = 7;

/// The length of the longest name in bytes.
const LONGEST: usize = 17;

/// What follows a head (RFC 9112 §6.3, for a GET).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// Another head, because this one is interim.
    Interim,
    /// A body of this many bytes.
    Length(u64),
    Chunked,
    /// All bytes until the connection ends.
    Close,
}

/// A head that is being received.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct HeadReader {
    /// Interim heads before it.
    pub(super) informational: u8,
    at: HeadAt,
    /// The consumed bytes of it.
    len: usize,
    /// HTTP/1.0.
    old: bool,
    /// The last line was skipped, so its continuation lines are too.
    fold: bool,
    coded: bool,
    chunked: bool,
    pub(super) kept: HeadFields,
}

/// The parsed values.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct HeadFields {
    status: u16,
    content_length: Option<u64>,
    content_range: Option<ContentRange>,
    etag: Option<Vec<u8>>,
    location: Option<String>,
    retry_after: Option<u32>,
    coding: Option<Coding>,
    media: Media,
}

/// The position of the reader in a head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
enum HeadAt {
    /// At its first byte.
    #[default]
    Start,
    /// At the first byte of a line.
    Line,
    /// In the name of a skipped line.
    Name,
    /// In the rest of a skipped line.
    Value,
    /// After its CR.
    Cr,
}

/// The result of reading a line.
enum LineStep {
    /// More bytes are needed.
    More,
    /// This many bytes are consumed.
    Used(usize),
    /// This many bytes are consumed, and the head is complete.
    End(usize),
}

impl HeadReader {
    /// A head after this many interim ones.
    pub(super) fn new(informational: u8) -> Self {
        Self { informational, ..Self::default() }
    }

    /// Whether the position is inside a skipped line.
    #[cfg(feature = "record")]
    pub(super) const fn is_passing(&self) -> bool {
        matches!(self.at, HeadAt::Name | HeadAt::Value | HeadAt::Cr)
    }

    /// Whether the position is inside the name of a skipped line.
    #[cfg(feature = "record")]
    pub(super) const fn is_name(&self) -> bool {
        matches!(self.at, HeadAt::Name)
    }

    /// Reads the available bytes and returns how many were consumed; at the end of the head also
    /// what follows.
    pub(super) fn advance(
        &mut self,
        rx: &[u8],
        limits: &FetchLimits,
    ) -> Result<(usize, Option<Framing>), HttpError> {
        let most = limits.head.saturating_sub(self.len);
        let window = rx.get(..most).unwrap_or(rx);
        let mut used = 0_usize;
        loop {
            debug_assert!(used <= window.len(), "a step uses what it was given");
            let rest = window.get(used..).unwrap_or_default();
            let step = match self.at {
                HeadAt::Start => self.start(rest)?,
                HeadAt::Line => self.line(rest, limits)?,
                HeadAt::Name | HeadAt::Value | HeadAt::Cr => self.pass(rest)?,
            };
            match step {
                LineStep::Used(count) if count > 0 => used = used.saturating_add(count),
                LineStep::End(count) => {
                    return Ok((used.saturating_add(count), Some(self.finish()?)));
                }
                LineStep::Used(_) | LineStep::More => break,
            }
        }
        if window.len() >= most {
            return Err(HttpError::HeadTooLong);
        }
        self.len = self.len.saturating_add(used);
        Ok((used, None))
    }

    /// `HTTP/1.1 200` and one more byte; the reason phrase is skipped.
    fn start(&mut self, rest: &[u8]) -> Result<LineStep, HttpError> {
        const START: &[u8; 13] = b"HTTP/1.# ### ";
        for (at, (&byte, &wanted)) in rest.iter().zip(START).enumerate() {
            let good = match wanted {
                b'#' if at == 7 => matches!(byte, b'0' | b'1'),
                b'#' => byte.is_ascii_digit(),
                // Some servers send neither a reason nor the blank before it.
                _ if at == 12 => matches!(byte, b' ' | b'\r' | b'\n'),
                _ => byte == wanted,
            };
            if !good {
                return Err(HttpError::NotHttp);
            }
        }
        let Some((front, [_, ..])) = rest.split_first_chunk::<12>() else {
            return Ok(LineStep::More);
        };
        let [.., minor, _, a, b, c] = *front;
        let status = [a, b, c].iter().fold(0_u16, |number, digit| {
            number.saturating_mul(10).saturating_add(u16::from(digit & 0x0f))
        });
        match status {
            0..=99 => return Err(HttpError::NotHttp),
            101 => return Err(HttpError::Upgraded),
            _ => {}
        }
        (self.old, self.kept.status, self.at) = (minor == b'0', status, HeadAt::Value);
        Ok(LineStep::Used(front.len()))
    }

    /// Reads the empty line, a line that matters, or the beginning of another one.
    fn line(&mut self, rest: &[u8], limits: &FetchLimits) -> Result<LineStep, HttpError> {
        match rest {
            [] | [b'\r'] => return Ok(LineStep::More),
            [b'\n', ..] => return Ok(LineStep::End(1)),
            [b'\r', b'\n', ..] => return Ok(LineStep::End(2)),
            // A continuation of the line before (RFC 9112 §5.2).
            [b' ' | b'\t', ..] if self.fold => {
                self.at = HeadAt::Value;
                return Ok(LineStep::Used(1));
            }
            _ => {}
        }
        let Some(len) = rest.iter().position(|&byte| !is_token(byte)) else {
            // A name that is longer than every known one is unknown.
            return Ok(if rest.len() > LONGEST {
                self.pass_from(HeadAt::Name, 1)
            } else {
                LineStep::More
            });
        };
        let (name, behind) = rest.split_at_checked(len).unwrap_or_default();
        let (Some(b':'), 1..) = (behind.first(), len) else { return Err(HttpError::Header) };
        let Some(known) = self.known(name) else {
            return Ok(self.pass_from(HeadAt::Value, len.saturating_add(1)));
        };
        let line = rest.get(..limits.line).unwrap_or(rest);
        let Some(end) = line.iter().position(|&byte| byte == b'\n') else {
            return match rest.len() >= limits.line {
                false => Ok(LineStep::More),
                true if known == MEDIA => Ok(self.pass_from(HeadAt::Value, len.saturating_add(1))),
                true => Err(HttpError::HeadTooLong),
            };
        };
        debug_assert!(len < end, "the colon is on this line");
        let value = line.get(len.saturating_add(1)..end).unwrap_or_default();
        let value = value.strip_suffix(b"\r").unwrap_or(value);
        if !value.iter().all(|&byte| is_text(byte)) {
            return Err(HttpError::Header);
        }
        self.add(known, value.trim_ascii(), limits)?;
        self.fold = known == MEDIA;
        Ok(LineStep::Used(end.saturating_add(1)))
    }

    fn pass_from(&mut self, at: HeadAt, used: usize) -> LineStep {
        (self.at, self.fold) = (at, true);
        LineStep::Used(used)
    }

    /// Skips a line, or the available part of it.
    fn pass(&mut self, rest: &[u8]) -> Result<LineStep, HttpError> {
        let mut at = self.at;
        for (&byte, used) in rest.iter().zip(1..) {
            at = match (at, byte) {
                (HeadAt::Value, _) if is_text(byte) => HeadAt::Value,
                (HeadAt::Name, b':') => HeadAt::Value,
                (HeadAt::Name, _) if is_token(byte) => HeadAt::Name,
                (HeadAt::Value, b'\r') => HeadAt::Cr,
                (HeadAt::Value | HeadAt::Cr, b'\n') => {
                    self.at = HeadAt::Line;
                    return Ok(LineStep::Used(used));
                }
                _ => return Err(HttpError::Header),
            };
        }
        self.at = at;
        Ok(LineStep::Used(rest.len()))
    }

    /// The index in [`KNOWN`] of a header that matters in an answer of this status.
    fn known(&self, name: &[u8]) -> Option<usize> {
        // Separate calls would cost more instructions than the copies cost flash.
        let place = KNOWN.iter().position(|known| name.eq_ignore_ascii_case(known.as_bytes()))?;
        let matters = match (place, self.kept.status) {
            (_, 100..=199) => false,
            (2, status) => matches!(status, 206 | 416),
            (4, status) => matches!(status, 300..=399),
            _ => true,
        };
        matters.then_some(place)
    }

    fn add(&mut self, place: usize, value: &[u8], limits: &FetchLimits) -> Result<(), HttpError> {
        let kept = &mut self.kept;
        match place {
            0 => kept.coding = kept.coding.max(Coding::of_value(value)),
            // Proxies join repeated headers into a list of equal numbers (RFC 9110 §8.6).
            1 => {
                for part in value.split(|&byte| byte == b',') {
                    let length = number(part.trim_ascii()).ok_or(HttpError::Length)?;
                    once(&mut kept.content_length, length, HttpError::Length)?;
                }
            }
            2 => {
                let range = ContentRange::parse(value).ok_or(HttpError::ContentRange)?;
                once(&mut kept.content_range, range, HttpError::Repeated)?;
            }
            3 => once(&mut kept.etag, Vec::from(value), HttpError::Repeated)?,
            4 => once(&mut kept.location, location(value, limits.line)?, HttpError::Repeated)?,
            5 => kept.retry_after = kept.retry_after.max(seconds(value)),
            // Two codings would mean a body that is chunked twice, which no server intends.
            6 => {
                self.chunked = !self.coded && same_word(value, b"chunked");
                self.coded = true;
            }
            _ => kept.media = Media::new(value),
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<Framing, HttpError> {
        let length = self.kept.content_length;
        if self.coded && length.is_some() {
            return Err(HttpError::Ambiguous);
        }
        if self.coded && (!self.chunked || self.old) {
            return Err(HttpError::TransferCoding);
        }
        Ok(match (self.kept.status, length) {
            (100..=199, _) => Framing::Interim,
            (204 | 304, _) => {
                // A length there describes an answer that is not sent.
                self.kept.content_length = None;
                Framing::Length(0)
            }
            (_, Some(length)) => Framing::Length(length),
            (_, None) if self.chunked => Framing::Chunked,
            (_, None) => Framing::Close,
        })
    }
}

impl HeadFields {
    pub(super) fn head(&self) -> ResponseHead<'_> {
        ResponseHead {
            status: self.status,
            content_length: self.content_length,
            content_range: self.content_range,
            etag: self.etag.as_deref(),
            location: self.location.as_deref(),
            retry_after: self.retry_after.map(|seconds| Duration::from_secs(seconds.into())),
            coding: self.coding,
            media: self.media,
        }
    }
}

/// Hides the location: its query may be a credential.
impl fmt::Debug for HeadFields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.head().fmt(f)
    }
}

/// Whether this byte may be in a name (RFC 9110 §5.6.2).
pub(crate) const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Whether this byte may be in a value: no control character except the tab.
pub(crate) const fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=0x7e | 0x80..)
}

/// Returns the URL of a `Location`, of at most `most` bytes. Blanks and bytes outside ASCII are
/// escaped, as browsers do it.
fn location(value: &[u8], most: usize) -> Result<String, HttpError> {
    // Allocates the exact size: doubling would temporarily hold three times as much.
    let escaped = value.iter().filter(|&&byte| matches!(byte, b' ' | 0x80..)).count();
    let len = value.len().saturating_add(escaped.saturating_mul(2));
    if len > most {
        return Err(HttpError::HeadTooLong);
    }
    let mut out = String::with_capacity(len);
    for &byte in value {
        match byte {
            b'!'..=b'~' => out.push(char::from(byte)),
            b' ' | 0x80.. => {
                out.push('%');
                out.push_str(hex(byte >> 4));
                out.push_str(hex(byte & 15));
            }
            _ => return Err(HttpError::Location),
        }
    }
    Ok(out)
}

/// A hexadecimal digit.
fn hex(digit: u8) -> &'static str {
    let at = usize::from(digit);
    debug_assert!(at < 16, "a digit has four bits");
    "0123456789ABCDEF".get(at..=at).unwrap_or_default()
}

/// Keeps a value that may be repeated but must not differ.
fn once<T: PartialEq>(slot: &mut Option<T>, value: T, error: HttpError) -> Result<(), HttpError> {
    match slot {
        Some(old) if *old != value => return Err(error),
        Some(_) => {}
        None => *slot = Some(value),
    }
    Ok(())
}
