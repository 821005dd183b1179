//! What goes into the machine beside messages.

use core::fmt;
use core::num::NonZeroU16;
use core::time::Duration;

use crate::code::Reason;
use crate::decimal::{Decimal, number};
use crate::journal::Journal;
#[allow(unused_imports, reason = "for the documentation")]
use crate::output::Event;
use crate::time::Instant;
use crate::url::Redacted;
use crate::word::same_word;

/// What the boot loader or installer says of the image that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SlotState {
    /// It runs for good.
    Confirmed,
    /// It runs on trial: the next reset brings the old one back unless it is confirmed.
    Trial,
    /// It runs, but the next reset starts the other image: activated and not restarted into.
    Armed,
    /// It is the old one, back after a trial failed.
    RolledBack,
    /// There is nobody to ask.
    Unknown,
}

/// The slot that an update is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SlotInfo {
    /// Bytes that it can hold.
    pub capacity: u64,
    /// Its erase unit in bytes, at least 1. Checkpoints and resumes are multiples of it.
    pub erase: u32,
    /// Its write unit in bytes. Alignment to it is the slot's own business; it is here for the
    /// application to see.
    pub write: u32,
}

/// Whom a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Peer {
    /// The MQTT broker.
    Broker,
    /// The server that keeps firmware.
    Store,
}

/// What is known at boot.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// The version that runs now.
    pub running: &'a str,
    /// The state of its slot.
    pub slot: SlotState,
    /// The newest valid journal record ([`Journal::newest`]) of places that were read with
    /// [`Journal::read_place`], written once more before the machine
    /// acts on it: its own write may have been cut, and may read differently next time.
    pub journal: Option<&'a [u8; Journal::LEN]>,
    /// The slot that an update is written to.
    pub storage: SlotInfo,
}

impl<'a> Boot<'a> {
    /// A device without a boot loader to ask and, as yet, without a record: the slot holds
    /// `capacity` bytes and is erased in units of `erase` bytes, for a file say 64 KiB.
    ///
    /// ```
    /// use ota_proto::{Boot, Journal};
    ///
    /// # let places = [[0xff; Journal::LEN]; 2];
    /// let boot = Boot { journal: Journal::newest(&places), ..Boot::new("1.0.0", 1 << 30, 1 << 16) };
    /// # assert!(boot.journal.is_none());
    /// ```
    #[must_use]
    pub const fn new(running: &'a str, capacity: u64, erase: u32) -> Self {
        let storage = SlotInfo { capacity, erase, write: 1 };
        Self { running, slot: SlotState::Unknown, journal: None, storage }
    }
}

/// The head of an HTTP answer, as far as it matters here. [`ResponseHead::new`] makes it of the
/// headers as they came.
///
/// `Debug` hides the query of `location`, which may be a signed URL.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ResponseHead<'a> {
    /// The status, 100 to 999.
    pub status: u16,
    /// `Content-Length` in bytes; absent with chunked bodies.
    pub content_length: Option<u64>,
    /// `Content-Range`, when it could be read.
    pub content_range: Option<ContentRange>,
    /// `ETag` as sent.
    pub etag: Option<&'a [u8]>,
    /// `Location` as sent.
    pub location: Option<&'a str>,
    /// `Retry-After` when given in seconds.
    pub retry_after: Option<Duration>,
    /// `Content-Encoding` other than `identity`.
    pub coding: Option<Coding>,
    /// `Content-Type`, as far as it is told on.
    pub media: Media,
}

impl<'a> ResponseHead<'a> {
    /// A head of its status and all its headers, names and values, from an HTTP client. Names may
    /// be written in any case.
    ///
    /// The client has judged the framing already. A value that cannot be read is left out, and of a
    /// header that may come once only the first counts.
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
            self.retry_after = self.retry_after.max(seconds(value));
        } else if is(b"content-encoding") {
            for label in value.split(|&byte| byte == b',') {
                self.coding = self.coding.max(Coding::of_label(label.trim_ascii()));
            }
        } else if is(b"content-type") {
            self.media = Media::new(value);
        }
    }
}

/// A `Content-Type` in brief: what comes before its parameters, at most [`Media::MAX`] bytes of
/// letters, digits, `/`, `+`, `-` and `.`. What follows another byte is left out, so it can be
/// printed anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Media([u8; Media::MAX]);

impl Media {
    /// Most bytes that are kept.
    pub const MAX: usize = 18;

    /// The type that a header's value begins with.
    #[must_use]
    pub fn new(value: &[u8]) -> Self {
        let told = |byte: &&u8| byte.is_ascii_alphanumeric() || b"/+-.".contains(byte);
        let mut media = Self::default();
        let bytes = value.iter().take_while(told);
        media.0.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        media
    }

    /// The type; empty when there is none.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(Self::MAX);
        let text = self.0.get(..end).map(core::str::from_utf8);
        text.and_then(Result::ok).unwrap_or_default()
    }
}

/// What a server answered, in brief: it goes with a result that says no more than that the answer
/// was of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Answer {
    /// With [`COMPRESSED`] when the body was called so. Never 0: four records have room for one.
    status: NonZeroU16,
    length: u32,
    media: Media,
}

/// No status has this bit.
const COMPRESSED: u16 = 1 << 15;
/// The length was not told.
const NO_LENGTH: u32 = u32::MAX;

impl Answer {
    /// An answer of this status, with this length of the body if the head told it (4 GiB at most)
    /// and this type, called compressed or not. `None` for what is no status of HTTP.
    #[must_use]
    pub fn new(status: u16, length: Option<u64>, media: Media, compressed: bool) -> Option<Self> {
        let flag = if compressed { COMPRESSED } else { 0 };
        let told = length.map(|length| u32::try_from(length).unwrap_or(NO_LENGTH));
        let told = told.map(|length| length.min(NO_LENGTH.saturating_sub(1)));
        let status = NonZeroU16::new(status | flag).filter(|_| matches!(status, 100..=999))?;
        Some(Self { status, length: told.unwrap_or(NO_LENGTH), media })
    }

    /// Of a head.
    pub(crate) fn of(head: &ResponseHead<'_>) -> Option<Self> {
        let compressed = head.coding.is_some_and(Coding::is_real);
        Self::new(head.status, head.content_length, head.media, compressed)
    }

    /// The status, 100 to 999.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status.get() & !COMPRESSED
    }

    /// The length of the body, if it was told.
    #[must_use]
    pub fn length(&self) -> Option<u32> {
        Some(self.length).filter(|length| *length != NO_LENGTH)
    }

    /// The type of the body.
    #[must_use]
    pub const fn media(&self) -> Media {
        self.media
    }

    /// The body was called compressed.
    #[must_use]
    pub const fn is_compressed(&self) -> bool {
        self.status.get() & COMPRESSED != 0
    }

    /// As it is kept: status, length and type.
    pub(crate) const fn parts(&self) -> (u16, u32, &[u8; Media::MAX]) {
        (self.status.get(), self.length, &self.media.0)
    }

    /// What was kept.
    pub(crate) fn of_parts(status: u16, length: u32, media: &[u8; Media::MAX]) -> Option<Self> {
        let told = Some(length).filter(|length| *length != NO_LENGTH).map(u64::from);
        Self::new(status & !COMPRESSED, told, Media::new(media), status & COMPRESSED != 0)
    }
}

impl Answer {
    /// Its words in parts, without `core::fmt`.
    pub(crate) fn tell(&self, put: &mut dyn FnMut(&str)) {
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
        self.tell(&mut |part| done = done.and_then(|()| f.write_str(part)));
        done
    }
}

/// What a `Content-Encoding` calls the body. Servers say such things of files that are sent as they
/// are stored, so the length decides whether it is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Coding {
    /// A label that is no coding of HTTP.
    Other,
    /// `aws-chunked`, which is one of uploads.
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
    /// What a label means; `None` for `identity`, and for none.
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

    /// Whether a body of that coding has other bytes than the file.
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
    /// First and last byte; absent in `bytes */total`.
    pub span: Option<(u64, u64)>,
    /// Length of the whole; absent in `…/*`.
    pub total: Option<u64>,
}

impl ContentRange {
    /// A header's value: `bytes first-last/total`, `bytes first-last/*` or `bytes */total`. `None`
    /// if it is another, or contradicts itself.
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

/// `Retry-After` as a number; a date is left out, for there is no clock here. What is too large to
/// count is very long: asking again at once would turn its meaning around.
fn seconds(value: &[u8]) -> Option<Duration> {
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    is_number.then(|| Duration::from_secs(number(value).unwrap_or(u32::MAX.into())))
}

/// Parts the bytes at the first of these.
fn split(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let mut parts = bytes.splitn(2, |&byte| byte == at);
    Some((parts.next()?, parts.next()?))
}

/// What the application wants; see [`crate::Updater::command`]. Each is taken only while the machine
/// waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Command {
    /// Take the offer ([`Event::Offered`]), or end its deferral early.
    Accept,
    /// Put the offer or the verified image off until then. At that moment the version is reported,
    /// and what the cloud then offers counts. The same offer in between is silent, a different one
    /// ends the deferral.
    Defer(Instant),
    /// Refuse the offer: the cloud is told −5.
    Refuse,
    /// Refuse the offer because this machine could not install it ([`InstallFault::Machine`],
    /// [`InstallFault::NoSpace`]): known before its first byte, and told as −5 in the words of the
    /// fault. The image is not blamed.
    ///
    /// On trial ([`Event::Trial`]) it says that this machine cannot find out whether the image
    /// works. The trial goes on; an image that is not confirmed in time is rolled back with this
    /// fault, unless the event was raised once more since.
    Unable(InstallFault),
    /// End the update before the installer may have begun: the cloud is told −5.
    Cancel,
    /// Approve the verified image ([`Event::Ready`]).
    Approve,
    /// Do not approve the verified image: the cloud is told −5.
    Veto,
    /// Let the verified image be installed ([`Event::Ready`]).
    Install,
    /// What became of the installation ([`Event::Install`]). After [`Event::StopInstall`] say so
    /// only when the installer has really ended.
    Installed(Installed),
    /// The new image works ([`Event::Trial`]). It is made to stay as soon as the cloud has
    /// answered its version report, too (unless configured otherwise).
    Confirm,
    /// The new image does not work ([`Event::Trial`]): go back to the old one.
    RollBack,
    /// Forget what is held against images: that one failed here, what was refused in this session,
    /// and how many attempts there were. The version is reported, so that the cloud offers what it
    /// has. Refused when nothing is remembered.
    Forgive,
    /// Report the version soon: the cloud then offers what it has. Refused when no session is up;
    /// the next one reports by itself.
    ReportNow,
}

/// What the installer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Installed {
    /// The new version runs already; no restart is needed.
    Running,
    /// The new version runs after a switch of slots and a restart.
    NeedsRestart,
    /// It failed; the old version stays.
    Failed(InstallFault),
}

impl From<Installed> for Command {
    fn from(what: Installed) -> Self {
        Self::Installed(what)
    }
}

/// Why an installation failed, and so whose fault it is. Each is told as −5 in its own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum InstallFault {
    /// The installer ran and did not take the image. Counts against the image.
    Image,
    /// The installer succeeded, and what it left behind is not the offered version. Counts against
    /// the image.
    WrongVersion,
    /// There is no room on this machine to install it. The image is not blamed.
    NoSpace,
    /// The installer could not be started, or this machine failed it. The image is not blamed.
    Machine,
}

impl From<InstallFault> for Reason {
    fn from(fault: InstallFault) -> Self {
        match fault {
            InstallFault::Image => Self::Install,
            InstallFault::WrongVersion => Self::WrongVersion,
            InstallFault::NoSpace => Self::NoSpace,
            InstallFault::Machine => Self::Machine,
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
