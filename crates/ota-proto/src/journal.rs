//! The journal record: all that survives a reset, in one fixed-size block.
//!
//! A record is written whole to one of two places in turn; the newest valid one counts. A torn,
//! foreign or empty place is no record. Nothing in it is a secret: no URL, no credential.

use crate::code::Reason;
use crate::digest::Md5;
use crate::version::Version;

/// What survives a reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Where the update stands.
    pub phase: Phase,
    /// How often the installation of `target` was begun.
    pub tries: u8,
    /// The image that the slot holds a part of, or that is being installed.
    pub target: Option<Target>,
    /// The version that ran when the attempt began.
    pub from: Option<Version>,
    /// The result that the cloud must still hear, or the reason of a roll-back under way.
    pub owed: Option<Owed>,
    /// The image that failed here, and how often.
    pub guard: Option<Guard>,
    /// The last known time in Unix seconds, 0 for none: a floor for a clock that was lost.
    pub last_time: u64,
}

/// The durable part of the update's state (design.md §2.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// `owed` must reach the cloud.
    Owed,
}

/// An image, and how much of it the slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its version.
    pub version: Version,
    /// Its digest.
    pub md5: Md5,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes that are surely in the slot: a multiple of the erase unit, or `size`.
    pub offset: u64,
    /// Hash of the server's ETag, 0 for none.
    pub etag: u32,
}

/// A result that the cloud must hear.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owed {
    /// What the result is.
    pub result: Outcome,
    /// It may have been handed to a connection: it must not be replaced.
    pub sent: bool,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The new version runs and is confirmed.
    Done,
    /// The attempt failed.
    Failed(Reason),
}

/// An image that failed on this device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Guard {
    /// Its digest.
    pub md5: Md5,
    /// Hash of its version string.
    pub version: u32,
    /// How often it failed by its own fault.
    pub count: u8,
}

/// Why a block is no record. A torn write looks like [`JournalError::Checksum`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JournalError {
    /// Not our magic number: empty, erased or foreign.
    Magic,
    /// A format of another release.
    Format,
    /// The checksum is wrong.
    Checksum,
    /// The checksum holds but a field makes no sense: our own bug, or a forger.
    Field,
}

/// The journal's format and its two places.
#[derive(Clone, Copy, Debug)]
pub struct Journal;

impl Journal {
    /// The length of a record in bytes; a multiple of 32, the largest write unit in use.
    pub const LEN: usize = 192;
}

impl Record {
    /// The record as a block, with this sequence number and a checksum.
    #[must_use]
    pub fn encode(&self, sequence: u32) -> [u8; Journal::LEN] {
        let _ = sequence;
        [0; Journal::LEN]
    }

    /// The sequence number and the record of a block.
    ///
    /// # Errors
    /// [`JournalError`], by what is wrong. Never panics, whatever the bytes.
    pub fn decode(block: &[u8; Journal::LEN]) -> Result<(u32, Self), JournalError> {
        let _ = block;
        Err(JournalError::Magic)
    }
}

impl Journal {
    /// The newest valid record among blocks in any order, by sequence number with wrap-around.
    #[must_use]
    pub fn newest<'a>(
        blocks: impl IntoIterator<Item = &'a [u8; Self::LEN]>,
    ) -> Option<&'a [u8; Self::LEN]> {
        let _ = blocks;
        None
    }

    /// Which of the two places this block must be written to, 0 or 1: by its sequence number, so
    /// that the block before it stays whole.
    #[must_use]
    pub fn place(block: &[u8; Self::LEN]) -> usize {
        let _ = block;
        0
    }
}
