//! The update machine's state: one attempt, from the offer to the trial. What is particular to where
//! it stands is in [`super::stage`].

use alloc::string::String;

use crate::code::Reason;
use crate::config::Timing;
use crate::digest::{Digester, Md5};
use crate::input::{Answer, Coding};
use crate::journal::Target;
use crate::time::{Instant, Micros};
use crate::url::SecretUrl;
use crate::version::Version;
use crate::word::same_word;

use super::progress::Progress;
use super::stage::{Net, Silence, Stage};

/// What makes two offers the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Image {
    pub(super) version: Version,
    pub(super) md5: Md5,
    pub(super) size: u64,
}

impl Image {
    /// The journal speaks of this image.
    pub(super) fn is(&self, target: &Target) -> bool {
        self.version == target.version && self.md5 == target.md5 && self.size == target.size
    }

    /// The image that the journal speaks of.
    pub(super) fn of(target: &Target) -> Self {
        Self { version: target.version, md5: target.md5, size: target.size }
    }
}

/// An image whose attempts failed, and not by its own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Failed {
    image: Image,
    /// When an offer that a report of ours drew may begin the next one.
    until: Instant,
    pause: Micros,
}

impl Failed {
    /// One more failed attempt: the pause doubles while it is the same image.
    pub(super) fn after(before: Option<Self>, image: Image, now: Instant, timing: &Timing) -> Self {
        let same = before.filter(|failed| failed.image == image);
        let pause = same.map_or(timing.after_failure, |failed| failed.pause.times(2));
        let pause = pause.min(timing.retry_after_cap);
        Self { image, until: now + pause, pause }
    }

    /// When the next attempt of this image may begin, if it is the one that failed.
    pub(super) fn free_at(&self, image: &Image) -> Option<Instant> {
        (self.image == *image).then_some(self.until)
    }
}

/// Where an image is, and what the application may see of its offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Source {
    /// Empty while only the journal speaks of the attempt.
    pub(super) url: SecretUrl,
    pub(super) user_defined: Option<String>,
    pub(super) fw_type: Option<String>,
    pub(super) offered_at: Instant,
}

impl Source {
    /// Both say the same to the application; where the image is does not matter.
    pub(super) fn has_same_texts(&self, other: &Self) -> bool {
        self.user_defined == other.user_defined && self.fw_type == other.fw_type
    }

    /// What is said to the application, as a digest that nobody can forge by chance or by will.
    pub(super) fn texts_digest(&self) -> Md5 {
        let mut digest = Digester::new();
        for text in [&self.user_defined, &self.fw_type] {
            let text = text.as_deref();
            digest.update(&text.map_or(u64::MAX, |text| text.len() as u64).to_le_bytes());
            digest.update(text.unwrap_or_default().as_bytes());
        }
        digest.finish()
    }

    /// The offer's URL is plain http.
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
    /// Bytes surely on the medium.
    pub(super) synced: u64,
    /// Bytes in the running hash (trailing verification).
    pub(super) hashed: u64,
    /// These bytes were hashed a second time.
    pub(super) rehashed: bool,
    /// The highest `stored` since the last restart from zero: what counts as progress.
    pub(super) high: u64,
    /// Hash of the ETag of what is stored, 0 for none.
    pub(super) etag: u32,
    /// What the server called the body with which the image began.
    pub(super) coding: Option<Coding>,
    /// What the server answered last.
    pub(super) answer: Option<Answer>,
    /// When the last checkpoint was taken, or the first byte after a start.
    pub(super) checkpoint_at: Instant,
    /// How many starts before this one brought no checkpoint, until one is taken.
    pub(super) short: u8,
    /// Only the journal knows of it: this start of the device is not counted yet.
    pub(super) found: bool,
    pub(super) faults: Faults,
    pub(super) patience: Patience,
    /// Replies that came without the offer while one is waited for.
    pub(super) silence: Silence,
    pub(super) progress: Progress,
}

/// What went wrong so far, against the bounds of rules 8 and 9 (docs/rules.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Faults {
    /// Failed fetches without 4 KiB of progress: the back-off's exponent.
    pub(super) streak: u8,
    /// What all of them are, as the cloud would be told; none when they differ.
    pub(super) cause: Option<Reason>,
    /// Protocol violations among them (TLS, redirects, contradictions), counted only while the cloud
    /// can be told.
    pub(super) violations: u8,
    /// Asks for a fresh offer since the last new byte: for a URL that is refused, and for one
    /// without an object.
    pub(super) rounds: u8,
    pub(super) gone: u8,
    /// How long the last body was that told no length over plain http and ended early.
    pub(super) short: Option<u64>,
    /// Restarts from zero for an answer that did not fit.
    pub(super) restarts: u8,
    /// The one clean download that a wrong digest is granted has begun.
    pub(super) digest: bool,
    /// Body bytes taken in all.
    pub(super) received: u64,
}

/// What counts as progress, in bytes: a power of two.
pub(super) const PROGRESS: u64 = 4_096;

/// Time without progress (rule 9 of docs/rules.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Patience {
    /// Where the progress that is waited for begins.
    base: u64,
    /// The time that has run, and since when it runs on: a moment to come while the server has
    /// asked for a pause.
    spent: Micros,
    since: Option<Instant>,
    /// The pauses that the server has asked for in all.
    pub(super) asked: Micros,
    /// `spent` when something else was answered over plain http for the first time.
    pub(super) first_violation: Option<Micros>,
}

impl Patience {
    /// Time that has run by now.
    pub(super) fn spent(&self, now: Instant) -> Micros {
        self.spent.plus(self.since.map_or(Micros::ZERO, |since| now.past(since)))
    }

    /// When it is over, if it runs.
    pub(super) fn over_at(&self, limit: Micros) -> Option<Instant> {
        self.since.map(|since| since + limit.less(self.spent))
    }

    /// It runs from this moment on, or not at all.
    pub(super) fn run(&mut self, now: Instant, from: Option<Instant>) {
        if self.since.is_some() != from.is_some() {
            self.spent = self.spent(now);
            self.since = from;
        }
    }

    /// Bytes were stored; whether that is progress. Where it is noted does not depend on the
    /// pieces that the bytes came in.
    pub(super) fn progress(&mut self, now: Instant, high: u64) -> bool {
        let gained = high.saturating_sub(self.base);
        if gained < PROGRESS {
            return false;
        }
        self.base = high.saturating_sub(gained & (PROGRESS - 1));
        self.begin_again(now);
        true
    }

    /// The image begins anew: what was progress does not count.
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
    /// A new attempt that holds `kept` bytes already.
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
            progress: Progress::default(),
        }
    }

    /// Percent of the download, 0 to 99 until the digest holds; 99 again while a wrong one has it
    /// fetched once more. Not inlined: a processor without a 64-bit division carries it out of
    /// line anyway.
    #[inline(never)]
    pub(super) fn percent(&self) -> u8 {
        if self.faults.digest {
            return 99;
        }
        let size = self.image.size;
        let percent = match self.stored.checked_mul(100) {
            Some(scaled) => scaled.checked_div(size),
            // An image of 2^57 bytes or more: its hundredth is exact enough.
            None => self.stored.checked_div(size / 100),
        };
        u8::try_from(percent.unwrap_or(0)).unwrap_or(99).min(99)
    }

    /// The journal's words for it, with this many bytes surely there.
    // Its copies would cost flash.
    #[inline(never)]
    pub(super) fn target(&self, offset: u64) -> Target {
        let Image { version, md5, size } = self.image;
        let etag = if offset == 0 { 0 } else { self.etag };
        Target { version, md5, size, offset, etag }
    }

    /// By how much the first checkpoint of this start comes sooner.
    pub(super) fn checkpoint_divisor(&self) -> u32 {
        match self.short {
            0 => 1,
            1 => 2,
            2 => 4,
            _ => 12,
        }
    }

    /// Fetch from what is stored on, or verify when nothing is missing.
    // Its copies would cost flash.
    #[inline(never)]
    pub(super) fn resume(&mut self) {
        self.stage = if self.stored >= self.image.size {
            // What was hashed before a pause proves nothing now.
            self.hashed = 0;
            self.rehashed = false;
            Stage::Verifying
        } else {
            Stage::Fetching(Net::Due { hop: None, hops: 0 })
        };
    }
}
