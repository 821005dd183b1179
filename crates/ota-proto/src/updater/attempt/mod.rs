//! The state of one attempt, from the offer to the trial. [`stage`] has the state that belongs to a
//! single stage.

pub(super) mod stage;

use alloc::string::String;

use crate::code::Reason;
use crate::digest::{Digester, Md5};
use crate::journal::Target;
use crate::response::{Answer, Coding};
use crate::time::{Instant, Micros};
use crate::url::SecretUrl;
use crate::word::same_word;

use super::image::Image;
use super::progress::LastReport;
use stage::{Net, Silence, Stage};

/// Where to fetch an image, and the texts of its offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Source {
    /// Empty while only the journal knows the attempt.
    pub(super) url: SecretUrl,
    pub(super) user_defined: Option<String>,
    pub(super) fw_type: Option<String>,
    pub(super) offered_at: Instant,
}

impl Source {
    /// Whether both show the application the same texts. The URL does not matter.
    pub(super) fn has_same_texts(&self, other: &Self) -> bool {
        self.user_defined == other.user_defined && self.fw_type == other.fw_type
    }

    /// The digest of the texts, for the journal: consent holds only for the same texts.
    pub(super) fn texts_digest(&self) -> Md5 {
        let mut digest = Digester::new();
        for text in [&self.user_defined, &self.fw_type] {
            let text = text.as_deref();
            digest.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
            digest.update(text.unwrap_or_default().as_bytes());
        }
        digest.finish()
    }

    /// Whether the offer's URL is plain http.
    pub(super) fn is_plain(&self) -> bool {
        self.url.0.as_bytes().get(..5).is_some_and(|scheme| same_word(scheme, b"http:"))
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Attempt {
    pub(super) image: Image,
    pub(super) source: Source,
    pub(super) stage: Stage,
    /// Bytes written from the slot's start.
    pub(super) stored: u64,
    /// End of the erased area; the next erase begins here.
    pub(super) erased: u64,
    /// Durable bytes.
    pub(super) synced: u64,
    /// Bytes already hashed (trailing verification).
    pub(super) hashed: u64,
    /// Whether the image was hashed a second time.
    pub(super) rehashed: bool,
    /// The highest `stored` since the last restart from zero. Progress is measured by it.
    pub(super) high: u64,
    /// Hash of the stored bytes' ETag, 0 for none.
    pub(super) etag: u32,
    /// The content coding of the body that brought the image's first byte.
    pub(super) coding: Option<Coding>,
    /// The server's latest answer.
    pub(super) answer: Option<Answer>,
    /// The time of the last checkpoint, or of the first byte after a start.
    pub(super) checkpoint_at: Instant,
    /// The number of earlier starts without a checkpoint; 0 once this start has one.
    pub(super) short: u8,
    /// Found in the journal at boot; this start of the device is not counted yet.
    pub(super) found: bool,
    pub(super) faults: Faults,
    pub(super) patience: Patience,
    /// Replies without the awaited offer.
    pub(super) silence: Silence,
    pub(super) progress: LastReport,
}

/// Counts of faults, which rules 8 and 9 of docs/rules.md limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Faults {
    /// Failed fetches without 4 KiB of progress: the back-off's exponent.
    pub(super) streak: u8,
    /// The common reason of these failures, as reported to the cloud; `None` if they differ.
    pub(super) cause: Option<Reason>,
    /// Protocol violations among them (TLS, redirects, contradictions), counted only in a session.
    pub(super) violations: u8,
    /// Requests for a fresh offer since the last new byte, after a refused URL (`rounds`) and after
    /// a missing object (`gone`).
    pub(super) rounds: u8,
    pub(super) gone: u8,
    /// The length of the last body over plain http that declared no length and ended early.
    pub(super) short: Option<u64>,
    /// Restarts from zero after an answer that did not fit the stored bytes.
    pub(super) restarts: u8,
    /// A wrong digest allows one clean download, and it has begun.
    pub(super) digest: bool,
    /// All body bytes taken.
    pub(super) received: u64,
}

/// The number of new bytes that count as progress: a power of two.
pub(super) const PROGRESS: u64 = 4_096;

/// Time without progress (rule 9 of docs/rules.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Patience {
    /// The offset from which new bytes count towards the next progress.
    base: u64,
    /// The time without progress up to `since`. The clock runs from `since` on, which is in the
    /// future while the server has asked for a pause.
    spent: Micros,
    since: Option<Instant>,
    /// The sum of the pauses that the server asked for.
    pub(super) asked: Micros,
    /// The value of `spent` at the first violation over plain http.
    pub(super) first_violation: Option<Micros>,
}

impl Patience {
    /// The time without progress until now.
    pub(super) fn spent(&self, now: Instant) -> Micros {
        self.spent.plus(self.since.map_or(Micros::ZERO, |since| now.past(since)))
    }

    /// When the limit is reached; `None` while the clock stands.
    pub(super) fn over_at(&self, limit: Micros) -> Option<Instant> {
        self.since.map(|since| since + limit.less(self.spent))
    }

    /// Runs the clock from this time on, or stops it.
    pub(super) fn run(&mut self, now: Instant, from: Option<Instant>) {
        if self.since.is_some() != from.is_some() {
            self.spent = self.spent(now);
            self.since = from;
        }
    }

    /// Notes stored bytes; returns whether they are progress. The result does not depend on how the
    /// bytes were split into pieces.
    pub(super) fn progress(&mut self, now: Instant, high: u64) -> bool {
        let gained = high.saturating_sub(self.base);
        if gained < PROGRESS {
            return false;
        }
        self.base = high.saturating_sub(gained & (PROGRESS - 1));
        self.begin_again(now);
        true
    }

    /// The download restarts from zero: earlier progress does not count.
    pub(super) fn restart(&mut self, now: Instant) {
        self.base = 0;
        self.begin_again(now);
    }

    fn begin_again(&mut self, now: Instant) {
        self.spent = Micros::ZERO;
        self.first_violation = None;
        self.since = self.since.map(|since| since.max(now));
    }
}

impl Attempt {
    /// A new attempt that already has `kept` bytes.
    pub(super) fn new(image: Image, source: Source, stage: Stage, kept: u64, etag: u32) -> Self {
        let at = source.offered_at;
        Self {
            image,
            source,
            stage,
            stored: kept,
            erased: kept,
            synced: kept,
            hashed: 0,
            rehashed: false,
            high: kept,
            etag,
            coding: None,
            answer: None,
            checkpoint_at: at,
            short: 0,
            found: false,
            faults: Faults::default(),
            patience: Patience { base: kept, ..Patience::default() },
            silence: Silence::default(),
            progress: LastReport::default(),
        }
    }

    /// Percent of the download, 0 to 99. It stays 99 while the image is fetched again after a wrong
    /// digest. Not inlined, because a processor without a 64-bit division calls a function anyway.
    #[inline(never)]
    pub(super) fn percent(&self) -> u8 {
        if self.faults.digest {
            return 99;
        }
        let size = self.image.size;
        let percent = match self.stored.checked_mul(100) {
            Some(scaled) => scaled.checked_div(size),
            // An image of 2^57 bytes or more: dividing by a hundredth of its size is exact enough.
            None => self.stored.checked_div(size / 100),
        };
        u8::try_from(percent.unwrap_or(0)).unwrap_or(99).min(99)
    }

    /// The journal's target for it, with this many durable bytes.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(super) fn target(&self, offset: u64) -> Target {
        let Image { version, md5, size } = self.image;
        let etag = if offset == 0 { 0 } else { self.etag };
        Target { version, md5, size, offset, etag }
    }

    /// Divides the time to the first checkpoint of this start: a device that resets often must take
    /// one before the next reset.
    pub(super) fn checkpoint_divisor(&self) -> u32 {
        match self.short {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => 12,
        }
    }

    /// Fetches the missing bytes, or verifies if there are none.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(super) fn resume(&mut self) {
        self.stage = if self.stored >= self.image.size {
            // Bytes hashed before a pause may have changed since.
            self.hashed = 0;
            self.rehashed = false;
            Stage::Verifying
        } else {
            Stage::Fetching(Net::Due { hop: None, hops: 0 })
        };
    }
}
