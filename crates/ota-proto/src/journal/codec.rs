//! The binary format of the record.
//!
//! All numbers are little-endian. Absent parts are zero, and so is the rest up to the checksum.
//! Format 1 is still read: it has no digest of the texts and no device name, and a time of day
//! instead of the certificates' times. That time is ignored, because it may be wrong. A record
//! during a trial never has an answer, so that the earlier build can read it after a roll-back.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | magic `OTAj` |
//! | 1 | format |
//! | 1 | phase (3 bits), attempts (4 bits from the fourth) |
//! | 1 | tries (6 bits), starts (2 bits) |
//! | 1 | flags of the present parts |
//! | 4 | sequence |
//! | 8 | start of validity of the certificates of broker and firmware server |
//! | 69 | target: version (length, 32 bytes), digest, size, offset, hash of the ETag |
//! | 33 | from: version |
//! | 1 | owed: reason, 0 for done |
//! | 21 | guard: digest, hash of the version, count |
//! | 16 | accepted: digest of the texts |
//! | 4 | hash of the device's name |
//! | 24 | the server's answer: status (its highest bit: compressed), length, type |
//! | 4 | CRC-32 of everything before |

use core::str;

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

use super::{Guard, Journal, JournalError, Outcome, Owed, Phase, Record, Target};
use crate::code::Reason;
use crate::digest::Md5;
use crate::response::Answer;
use crate::version::Version;

const MAGIC: [u8; 4] = *b"OTAj";
const FORMAT: u8 = 2;
/// The format of earlier builds, which a device may find after an update.
const OLD_FORMAT: u8 = 1;
const SEQUENCE_AT: usize = 8;
const SUM_AT: usize = Journal::LEN - 4;
/// Computed bit by bit: a table would take 1 KiB of flash, and few bytes are checked.
const SUM: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

const HAS_TARGET: u8 = 1;
const HAS_FROM: u8 = 2;
const HAS_OWED: u8 = 4;
const HAS_GUARD: u8 = 8;
const OWED_SENT: u8 = 16;
const HAS_ACCEPTED: u8 = 32;
const HAS_ANSWER: u8 = 64;

impl Record {
    /// Encodes the record, with this sequence number and a checksum.
    #[must_use]
    pub fn encode(&self, sequence: u32) -> [u8; Journal::LEN] {
        self.block(FORMAT, sequence)
    }

    fn block(&self, format: u8, sequence: u32) -> [u8; Journal::LEN] {
        let mut w = RecordWriter { block: [0; Journal::LEN], at: 0 };
        w.put(&MAGIC);
        let phase = phase_number(self.phase) | self.attempts << 3;
        w.put(&[format, phase, self.tries | self.starts << 6, self.parts()]);
        w.put(&sequence.to_le_bytes());
        w.put(&self.valid_from[0].to_le_bytes());
        w.put(&self.valid_from[1].to_le_bytes());
        w.version(self.target.map(|t| t.version));
        w.put(&self.target.map_or([0; 16], |t| t.md5.0));
        w.put(&self.target.map_or(0, |t| t.size).to_le_bytes());
        w.put(&self.target.map_or(0, |t| t.offset).to_le_bytes());
        w.put(&self.target.map_or(0, |t| t.etag).to_le_bytes());
        w.version(self.from);
        w.put(&[self.owed.map_or(0, |owed| outcome_number(owed.result))]);
        w.put(&self.guard.map_or([0; 16], |g| g.md5.0));
        w.put(&self.guard.map_or(0, |g| g.version).to_le_bytes());
        w.put(&[self.guard.map_or(0, |g| g.count)]);
        w.put(&self.accepted.map_or([0; 16], |texts| texts.0));
        w.put(&self.device.to_le_bytes());
        if let Some(answer) = self.answer() {
            let (status, length, media) = answer.parts();
            w.put(&status.to_le_bytes());
            w.put(&length.to_le_bytes());
            w.put(media);
        }
        w.at = SUM_AT;
        w.put(&sum(&w.block).to_le_bytes());
        w.block
    }

    /// Decodes a block to its sequence number and record.
    ///
    /// # Errors
    /// [`JournalError`] names the fault. Never panics, whatever the bytes.
    pub fn decode(block: &[u8; Journal::LEN]) -> Result<(u32, Self), JournalError> {
        let mut r = RecordReader(block);
        if r.take() != Some(MAGIC) {
            return Err(JournalError::Magic);
        }
        let Some([format @ (FORMAT | OLD_FORMAT)]) = r.take() else {
            return Err(JournalError::Format);
        };
        if block.last_chunk() != Some(&sum(block).to_le_bytes()) {
            return Err(JournalError::Checksum);
        }
        let (sequence, mut record) = r.record().ok_or(JournalError::Field)?;
        let new = record.accepted.is_some() || record.device != 0 || record.answer().is_some();
        if format == OLD_FORMAT && new {
            return Err(JournalError::Field);
        }
        // Each record has exactly one encoding: unused bytes must be as this code writes them, too.
        if !record.is_consistent() || record.block(format, sequence) != *block {
            return Err(JournalError::Field);
        }
        if format == OLD_FORMAT {
            record.valid_from = [0; 2];
        }
        Ok((sequence, record))
    }

    fn answer(&self) -> Option<&Answer> {
        self.owed.as_ref()?.answer.as_ref()
    }

    fn parts(&self) -> u8 {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        flag(self.target.is_some(), HAS_TARGET)
            | flag(self.from.is_some(), HAS_FROM)
            | flag(self.owed.is_some(), HAS_OWED)
            | flag(self.guard.is_some(), HAS_GUARD)
            | flag(self.owed.is_some_and(|owed| owed.sent), OWED_SENT)
            | flag(self.accepted.is_some(), HAS_ACCEPTED)
            | flag(self.answer().is_some(), HAS_ANSWER)
    }
}

/// The sequence number of a block, even an invalid one.
pub(super) fn sequence(block: &[u8; Journal::LEN]) -> u32 {
    let bytes = block.get(SEQUENCE_AT..).and_then(<[u8]>::first_chunk);
    bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

struct RecordWriter {
    block: [u8; Journal::LEN],
    at: usize,
}

impl RecordWriter {
    /// Drops bytes beyond the end; the layout leaves room for all fields.
    // Not inlined: each copy costs flash.
    #[inline(never)]
    fn put(&mut self, bytes: &[u8]) {
        debug_assert!(self.at.saturating_add(bytes.len()) <= Journal::LEN, "the layout has room");
        let places = self.block.iter_mut().skip(self.at);
        places.zip(bytes).for_each(|(place, byte)| *place = *byte);
        self.at = self.at.saturating_add(bytes.len());
    }

    fn version(&mut self, version: Option<Version>) {
        let text = version.as_ref().map_or("", Version::as_str);
        let end = self.at.saturating_add(1).saturating_add(Version::MAX);
        debug_assert!(text.len() <= Version::MAX, "no version is longer");
        self.put(&[u8::try_from(text.len()).unwrap_or(0)]);
        self.put(text.as_bytes());
        self.at = end;
    }
}

struct RecordReader<'a>(&'a [u8]);

impl RecordReader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn version(&mut self, there: bool) -> Option<Option<Version>> {
        let [len] = self.take()?;
        let bytes: [u8; Version::MAX] = self.take()?;
        if !there {
            return Some(None);
        }
        let text = str::from_utf8(bytes.get(..usize::from(len))?).ok()?;
        Version::new(text).ok().map(Some)
    }

    /// Everything after the format number.
    fn record(&mut self) -> Option<(u32, Record)> {
        let [phase, tries, parts] = self.take()?;
        let has = |bit: u8| parts & bit != 0;
        let (phase, attempts) = (phase_of(phase & 7)?, phase >> 3);
        let sequence = self.u32()?;
        let valid_from = [self.u32()?, self.u32()?];
        let version = self.version(has(HAS_TARGET))?;
        let md5 = Md5(self.take()?);
        let (size, offset, etag) = (self.u64()?, self.u64()?, self.u32()?);
        let target = version.map(|version| Target { version, md5, size, offset, etag });
        let from = self.version(has(HAS_FROM))?;
        let [result] = self.take()?;
        let mut owed = if has(HAS_OWED) {
            Some(Owed { result: outcome_of(result)?, sent: has(OWED_SENT), answer: None })
        } else {
            None
        };
        let guard = Guard {
            md5: Md5(self.take()?),
            version: self.u32()?,
            count: self.take().map(|[count]| count)?,
        };
        let guard = has(HAS_GUARD).then_some(guard);
        let accepted = Md5(self.take()?);
        let accepted = has(HAS_ACCEPTED).then_some(accepted);
        let device = self.u32()?;
        let status = self.take().map(u16::from_le_bytes)?;
        let (length, media) = (self.u32()?, self.take()?);
        if let (Some(owed), true) = (&mut owed, has(HAS_ANSWER)) {
            owed.answer = Answer::of_parts(status, length, &media);
        }
        let record = Record {
            phase,
            tries: tries & 63,
            attempts,
            starts: tries >> 6,
            target,
            from,
            owed,
            guard,
            valid_from,
            accepted,
            device,
        };
        Some((sequence, record))
    }
}

fn sum(block: &[u8; Journal::LEN]) -> u32 {
    SUM.checksum(block.get(..SUM_AT).unwrap_or(&[]))
}

const fn phase_number(phase: Phase) -> u8 {
    match phase {
        Phase::None => 0,
        Phase::Fetching => 1,
        Phase::Installing => 2,
        Phase::Switching => 3,
        Phase::Owed => 4,
    }
}

const fn phase_of(number: u8) -> Option<Phase> {
    match number {
        0 => Some(Phase::None),
        1 => Some(Phase::Fetching),
        2 => Some(Phase::Installing),
        3 => Some(Phase::Switching),
        4 => Some(Phase::Owed),
        _ => None,
    }
}

/// 0 is not the number of a reason.
const fn outcome_number(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Done => 0,
        Outcome::Failed(reason) => reason.number(),
    }
}

fn outcome_of(number: u8) -> Option<Outcome> {
    match number {
        0 => Some(Outcome::Done),
        _ => Reason::from_number(number).map(Outcome::Failed),
    }
}
