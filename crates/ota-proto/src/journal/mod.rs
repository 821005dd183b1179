//! The journal record: all state that survives a reset, in one fixed-size block.
//!
//! A record is written whole to one of two places in turn; the newest valid one counts. A torn,
//! foreign or empty place is not a record. It contains no secret: no URL, no credential.
//!
//! ```
//! use ota_proto::journal::{Journal, Record};
//!
//! // Two places; power fails while the second one is written.
//! let old = Record { tries: 1, ..Record::default() };
//! let new = Record { tries: 2, ..old };
//! let (mut first, mut second) = (old.encode(7), new.encode(8));
//! assert_ne!(Journal::place(&first), Journal::place(&second));
//! second[100] ^= 1;
//! let newest = Journal::newest([&first, &second]).unwrap();
//! assert_eq!(Record::decode(newest)?, (7, old));
//! first[0] = 0xff;
//! assert_eq!(Journal::newest([&first, &second]), None);
//! # Ok::<(), ota_proto::journal::JournalError>(())
//! ```

mod codec;
mod log;

use alloc::string::String;
use core::fmt;

use crate::code::Reason;
use crate::digest::Md5;
use crate::response::Answer;
use crate::version::Version;

pub use log::{Entry, Log, Newest, Scan};

/// The state that survives a reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Record {
    /// The phase of the update.
    pub phase: Phase,
    /// How often the installation of `target` was started.
    pub tries: u8,
    /// How many attempts counted towards the limit when this was written, 0 to 8. The time without
    /// power is unknown and does not reduce it.
    pub attempts: u8,
    /// How many starts in a row, up to 3, took no checkpoint in time: the next start takes its
    /// first one sooner.
    pub starts: u8,
    /// The image that is partly in the slot, or that is being installed.
    pub target: Option<Target>,
    /// The running version when the attempt began.
    pub from: Option<Version>,
    /// The result that the cloud must still get, or the reason of a roll-back in progress.
    pub owed: Option<Owed>,
    /// The image that failed here, and how often.
    pub guard: Option<Guard>,
    /// For the broker and for the firmware server: the latest start of validity, in Unix seconds,
    /// of the certificates that were accepted; 0 for none. A clock that shows an earlier time is
    /// wrong. The record does not keep the clock's own time: a clock that was once too far ahead
    /// would disable TLS until that time has come.
    pub valid_from: [u32; 2],
    /// Digest of the texts (`user_defined`, `fw_type`) with which the application accepted the
    /// current attempt; `None` if it was not asked, or the attempt is over.
    pub accepted: Option<Md5>,
    /// The owner of the record: a hash of product and device name, 0 in records of older builds.
    pub device: u32,
}

/// The durable part of the update's state (docs/rules.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Phase {
    /// No attempt.
    #[default]
    None,
    /// The slot holds `target.offset` bytes of `target`.
    Fetching,
    /// The installer may have begun.
    Installing,
    /// The switch to `target` may have happened.
    Switching,
    /// The cloud must get `owed`.
    Owed,
}

/// An image, and the part of it in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Target {
    /// Its version.
    pub version: Version,
    /// Its digest.
    pub md5: Md5,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that are durable in the slot: a multiple of the erase unit, or `size`.
    pub offset: u64,
    /// Hash of the server's ETag, 0 for none.
    pub etag: u32,
}

/// A result for the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Owed {
    /// The result.
    pub result: Outcome,
    /// It may have been sent: it must not be replaced.
    pub sent: bool,
    /// The server's answer, if it explains the result.
    pub answer: Option<Answer>,
}

/// The text for `result_msg`: the reason's, and the answer. At most 105 bytes of ASCII without
/// quotes and backslashes; empty for a success.
impl fmt::Display for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut done = Ok(());
        self.each_part(&mut |part| done = done.and_then(|()| f.write_str(part)));
        done
    }
}

impl Owed {
    /// The text, without `core::fmt`.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        self.each_part(&mut |part| text.push_str(part));
        text
    }

    fn each_part(&self, put: &mut dyn FnMut(&str)) {
        if let Outcome::Failed(reason) = self.result {
            put(reason.text());
            if let Some(answer) = &self.answer {
                put(": ");
                answer.each_part(put);
            }
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// The new version runs and is confirmed.
    Done,
    /// The attempt failed.
    Failed(Reason),
}

impl Outcome {
    /// The code for the cloud: 0, or −1 to −5.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Done => 0,
            Self::Failed(reason) => reason.code().number(),
        }
    }
}

/// An image that failed on this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Guard {
    /// Its digest.
    pub md5: Md5,
    /// Hash of its version.
    pub version: u32,
    /// The number of its strikes.
    pub count: u8,
}

/// Why a block is not a record. A torn write looks like [`JournalError::Checksum`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum JournalError {
    /// The magic number is wrong: the block is empty, erased or foreign.
    Magic,
    /// A format of another release.
    Format,
    /// The checksum is wrong.
    Checksum,
    /// The checksum is right, but a field is invalid: a bug of ours, or a forgery.
    Field,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic => "not a journal record",
            Self::Format => "the journal record has an unknown format",
            Self::Checksum => "the journal record is torn or damaged",
            Self::Field => "the journal record is inconsistent",
        })
    }
}

impl core::error::Error for JournalError {}

/// The journal's format and its two places.
#[derive(Clone, Copy, Debug)]
pub struct Journal;

impl Journal {
    /// The length of a record in bytes; a multiple of 32, the largest write unit in use.
    pub const LEN: usize = 192;

    /// How often a place is read before it counts as torn.
    pub const READINGS: usize = 3;

    /// Whether one reading of a place is enough: it is a record, or blank. Anything else may be a
    /// record with one wrongly read bit, which writing over the place would lose. Read it again,
    /// [`Journal::READINGS`] times in all.
    #[must_use]
    pub fn is_believed(block: &[u8; Self::LEN]) -> bool {
        is_blank(block) || Record::decode(block).is_ok()
    }

    /// Reads a place until the reading [is believed](Journal::is_believed), at most
    /// [`Journal::READINGS`] times. `read` returns `None` if it fails. Returns the last reading.
    pub fn read_place(
        mut read: impl FnMut() -> Option<[u8; Self::LEN]>,
    ) -> Option<[u8; Self::LEN]> {
        let mut last = None;
        for _ in 0..Self::READINGS {
            last = read();
            if last.as_ref().is_some_and(Self::is_believed) {
                break;
            }
        }
        last
    }

    /// The newest valid record among blocks in any order, by sequence number with wrap-around.
    /// Among blocks with the same number the first counts. All valid blocks must lie within half
    /// the range of numbers, 2³¹ writes; two places in turn always do.
    #[must_use]
    pub fn newest<'a>(
        blocks: impl IntoIterator<Item = &'a [u8; Self::LEN]>,
    ) -> Option<&'a [u8; Self::LEN]> {
        let mut newest: Option<(u32, &'a [u8; Self::LEN])> = None;
        for block in blocks {
            let Ok((sequence, _)) = Record::decode(block) else { continue };
            if newest.is_none_or(|(best, _)| is_after(sequence, best)) {
                newest = Some((sequence, block));
            }
        }
        newest.map(|(_, block)| block)
    }

    /// Which of the two places this block must be written to, 0 or 1: by its sequence number, so
    /// that the block before it stays whole.
    #[must_use]
    pub fn place(block: &[u8; Self::LEN]) -> usize {
        usize::from(codec::sequence(block) % 2 == 1)
    }
}

impl Record {
    /// The highest counted number of installations of one image.
    pub const TRIES: u8 = 63;
    /// The highest counted number of starts without a checkpoint.
    pub const STARTS: u8 = 3;
    /// The number of attempts that may begin at once.
    pub const ATTEMPTS: u8 = 8;

    /// Whether the parts agree with the phase and with each other; otherwise [`Record::decode`]
    /// returns [`JournalError::Field`].
    ///
    /// Every phase except `None` and `Owed` needs a target, `Switching` the previous version,
    /// `Owed` a result. `None` and `Fetching` have no result. A target has a size above zero, and
    /// at most that many stored bytes.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let parts = match self.phase {
            Phase::None => self.owed.is_none(),
            Phase::Fetching => self.target.is_some() && self.owed.is_none(),
            Phase::Installing => self.target.is_some(),
            Phase::Switching => self.target.is_some() && self.from.is_some(),
            Phase::Owed => self.owed.is_some(),
        };
        let counts = self.tries <= Self::TRIES
            && self.starts <= Self::STARTS
            && self.attempts <= Self::ATTEMPTS;
        parts && counts && self.target.is_none_or(|t| t.size > 0 && t.offset <= t.size)
    }
}

/// All ones, or all zeros: some flash erases to zeros, and a file begins with zeros.
fn is_blank(block: &[u8; Journal::LEN]) -> bool {
    [0xff, 0].iter().any(|value| block.iter().all(|byte| byte == value))
}

/// Serial-number order: `a` is after `b` if it is less than half the range ahead.
fn is_after(a: u32, b: u32) -> bool {
    let ahead = a.wrapping_sub(b);
    ahead != 0 && ahead < 1 << 31
}
