//! The relevant part of an HTTP answer.

use core::fmt;
use core::num::NonZeroU16;
use core::time::Duration;

use crate::decimal::{Decimal, number, seconds};
use crate::url::Redacted;
use crate::word::same_word;

/// The relevant part of the head of an HTTP answer. [`ResponseHead::new`] makes it from the raw
/// headers.
///
/// `Debug` hides the query of `location`, which may be a signed URL.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ResponseHead<'a> {
    /// The status, 100 to 999.
    pub status: u16,
    /// `Content-Length` in bytes; absent with chunked bodies.
    pub content_length: Option<u64>,
    /// `Content-Range`, if it is valid.
    pub content_range: Option<ContentRange>,
    /// `ETag` as sent.
    pub etag: Option<&'a [u8]>,
    /// `Location` as sent.
    pub location: Option<&'a str>,
    /// `Retry-After` if it is in seconds.
    pub retry_after: Option<Duration>,
    /// `Content-Encoding`, unless it is `identity`.
    pub coding: Option<Coding>,
    /// `Content-Type`, for reports.
    pub media: Media,
}

impl<'a> ResponseHead<'a> {
    /// Makes a head from the status and all headers of an HTTP client. Names may have any case.
    ///
    /// The client must have checked the framing. An unreadable value is omitted, and of a header
    /// that may occur only once the first counts.
    ///
    /// ```
    /// use ota_proto::ResponseHead;
    ///
    /// let headers: [(&str, &[u8]); 2] =
    ///     [("Content-Range", b"bytes 4096-9999/10000"), ("ETag", b"\"5f1\"")];
    /// let head = ResponseHead::new(206, headers);
    /// assert_eq!(head.content_range.and_then(|range| range.total), Some(10_000));
    /// assert_eq!(head.content_length, None);
    /// ```
    pub fn new(status: u16, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut head = Self { status, ..Self::default() };
        for (name, value) in headers {
            head.add(name.as_bytes(), value.trim_ascii());
        }
        head
    }

    fn add(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |known: &[u8]| same_word(name, known);
        if is(b"content-length") {
            self.content_length = self.content_length.or_else(|| number(value));
        } else if is(b"content-range") && matches!(self.status, 206 | 416) {
            self.content_range = self.content_range.or_else(|| ContentRange::parse(value));
        } else if is(b"etag") {
            self.etag = self.etag.or(Some(value));
        } else if is(b"location") && matches!(self.status, 300..=399) {
            self.location = self.location.or_else(|| core::str::from_utf8(value).ok());
        } else if is(b"retry-after") {
            let seconds = seconds(value).map(|seconds| Duration::from_secs(seconds.into()));
            self.retry_after = self.retry_after.max(seconds);
        } else if is(b"content-encoding") {
            self.coding = self.coding.max(Coding::of_value(value));
        } else if is(b"content-type") {
            self.media = Media::new(value);
        }
    }
}

impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .field("content_length", &self.content_length)
            .field("content_range", &self.content_range)
            .field("etag", &self.etag)
            .field("location", &self.location.map(Redacted))
            .field("retry_after", &self.retry_after)
            .field("coding", &self.coding)
            .field("media", &self.media.as_str())
            .finish()
    }
}

/// A short `Content-Type`: the part before its parameters, at most [`Media::MAX`] bytes of letters,
/// digits, `/`, `+`, `-` and `.`. Everything from another byte on is dropped, so it can be printed
/// anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Media([u8; Media::MAX]);

impl Media {
    /// The maximum length in bytes.
    pub const MAX: usize = 18;

    /// The type at the start of a header's value.
    #[must_use]
    pub fn new(value: &[u8]) -> Self {
        let told = |byte: &&u8| byte.is_ascii_alphanumeric() || b"/+-.".contains(byte);
        let mut media = Self::default();
        let bytes = value.iter().take_while(told);
        media.0.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        media
    }

    /// The type; empty if there is none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::MAX);
        let text = self.0.get(..end).map(core::str::from_utf8);
        text.and_then(Result::ok).unwrap_or_default()
    }
}

/// A server's answer in brief, to explain a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Answer {
    /// With [`COMPRESSED`] if the body was labelled so. Never 0: four records have room for one.
    status: NonZeroU16,
    length: u32,
    media: Media,
}

/// A bit that no status has.
const COMPRESSED: u16 = 1 << 15;
/// The length is unknown.
const NO_LENGTH: u32 = u32::MAX;

impl Answer {
    /// Makes an answer of this status, with the length of the body if the head has one (4 GiB at
    /// most) and this type, labelled as compressed or not. `None` if the status is not one of HTTP.
    #[must_use]
    pub fn new(status: u16, length: Option<u64>, media: Media, compressed: bool) -> Option<Self> {
        let flag = if compressed { COMPRESSED } else { 0 };
        let told = length.map(|length| u32::try_from(length).unwrap_or(NO_LENGTH));
        let told = told.map(|length| length.min(NO_LENGTH.saturating_sub(1)));
        let status = NonZeroU16::new(status | flag).filter(|_| matches!(status, 100..=999))?;
        Some(Self { status, length: told.unwrap_or(NO_LENGTH), media })
    }

    /// Makes an answer from a head.
    pub(crate) fn of(head: &ResponseHead<'_>) -> Option<Self> {
        let compressed = head.coding.is_some_and(Coding::is_real);
        Self::new(head.status, head.content_length, head.media, compressed)
    }

    /// The status, 100 to 999.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status.get() & !COMPRESSED
    }

    /// The length of the body, if known.
    #[must_use]
    pub fn length(&self) -> Option<u32> {
        Some(self.length).filter(|length| *length != NO_LENGTH)
    }

    /// The type of the body.
    #[must_use]
    pub const fn media(&self) -> Media {
        self.media
    }

    /// Whether the body was labelled as compressed.
    #[must_use]
    pub const fn is_compressed(&self) -> bool {
        self.status.get() & COMPRESSED != 0
    }

    /// The stored form: status, length and type.
    pub(crate) const fn parts(&self) -> (u16, u32, &[u8; Media::MAX]) {
        (self.status.get(), self.length, &self.media.0)
    }

    /// Reads the stored form.
    pub(crate) fn of_parts(status: u16, length: u32, media: &[u8; Media::MAX]) -> Option<Self> {
        let told = Some(length).filter(|length| *length != NO_LENGTH).map(u64::from);
        Self::new(status & !COMPRESSED, told, Media::new(media), status & COMPRESSED != 0)
    }
}

impl Answer {
    /// The parts of its text, without `core::fmt`.
    pub(crate) fn each_part(&self, put: &mut dyn FnMut(&str)) {
        put(Decimal::new(self.status().into()).as_str());
        if let Some(length) = self.length() {
            put(", ");
            put(Decimal::new(length.into()).as_str());
            put(" bytes");
        }
        for word in [self.media.as_str(), if self.is_compressed() { "compressed" } else { "" }] {
            if !word.is_empty() {
                put(", ");
                put(word);
            }
        }
    }
}

/// `200, 1532 bytes, text/html`
impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut done = Ok(());
        self.each_part(&mut |part| done = done.and_then(|()| f.write_str(part)));
        done
    }
}

/// The `Content-Encoding` of a body. Servers also label files that are sent as they are stored, so
/// the length decides whether the label is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Coding {
    /// A label that is not an HTTP coding.
    Other,
    /// `aws-chunked`, a coding of uploads.
    AwsChunked,
    /// `compress`, `x-compress`.
    Compress,
    /// `deflate`.
    Deflate,
    /// `gzip`, `x-gzip`.
    Gzip,
    /// `br`.
    Brotli,
    /// `zstd`.
    Zstd,
}

impl Coding {
    /// Parses a header's value, a list of labels; of several codings the one that changes the body
    /// most counts.
    #[must_use]
    pub fn of_value(value: &[u8]) -> Option<Self> {
        value
            .split(|&byte| byte == b',')
            .filter_map(|label| Self::of_label(label.trim_ascii()))
            .max()
    }

    /// Parses a label; `None` for `identity`, and without a label.
    #[must_use]
    pub fn of_label(label: &[u8]) -> Option<Self> {
        const ALL: [(&str, Option<Coding>); 10] = [
            ("", None),
            ("identity", None),
            ("aws-chunked", Some(Coding::AwsChunked)),
            ("compress", Some(Coding::Compress)),
            ("x-compress", Some(Coding::Compress)),
            ("deflate", Some(Coding::Deflate)),
            ("gzip", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("br", Some(Coding::Brotli)),
            ("zstd", Some(Coding::Zstd)),
        ];
        let known = ALL.iter().find(|(name, _)| same_word(label, name.as_bytes()));
        known.map_or(Some(Self::Other), |(_, coding)| *coding)
    }

    /// Whether a body of this coding has other bytes than the file.
    #[must_use]
    pub fn is_real(self) -> bool {
        self >= Self::Compress
    }
}

/// `Content-Range: bytes first-last/total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ContentRange {
    /// First and last byte; `None` for `bytes */total`.
    pub span: Option<(u64, u64)>,
    /// Length of the whole; `None` for `…/*`.
    pub total: Option<u64>,
}

impl ContentRange {
    /// Parses a header's value: `bytes first-last/total`, `bytes first-last/*` or `bytes */total`.
    /// `None` if it has another form, or contradicts itself.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (unit, rest) = value.split_at_checked(6)?;
        if !same_word(unit, b"bytes ") {
            return None;
        }
        let (span, total) = split(rest, b'/')?;
        if span == b"*" {
            return Some(Self { span: None, total: Some(number(total)?) });
        }
        let (first, last) = split(span, b'-')?;
        let (first, last) = (number(first)?, number(last)?);
        let total = if total == b"*" { None } else { Some(number(total)?) };
        if first > last || total.is_some_and(|total| last >= total) {
            return None;
        }
        Some(Self { span: Some((first, last)), total })
    }
}

/// Splits the bytes at the first of these.
fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = bytes.splitn(2, |&byte| byte == at);
    Some((parts.next()?, parts.next()?))
}
