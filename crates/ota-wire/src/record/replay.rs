//! Writes, reads and replays the file.
//!
//! | bytes | what |
//! |---|---|
//! | 6 | `OTAREC` |
//! | 2 | the format, little-endian: 2 |
//! | 1 + n | the version of this crate: another one's machine may decide otherwise |
//! | n | the client before the first input |
//! | n | the inputs, each with its length before it |
//! | 4 | CRC-32 of all before it, little-endian |
//!
//! Values are in the encoding of `postcard`.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use ota_proto::Instant;
use serde::{Deserialize, Serialize};

use super::kept::KeptInput;
use crate::client::{Client, Effect};

const MAGIC: &[u8; 6] = b"OTAREC";
const FORMAT: u16 = 2;
const VERSION: &str = env!("CARGO_PKG_VERSION");
const CRC: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);

/// No clock reaches that time, and beyond it sums saturate: a wait would never end.
const LATEST: Instant = Instant::from_micros(u64::MAX >> 1);

/// A client that has handled all inputs before the first recorded one.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Base {
    pub(super) client: Client,
    /// The time of its latest input.
    pub(super) at: Instant,
    /// The number of its inputs.
    pub(super) dropped: u64,
}

impl Base {
    /// Handles an input.
    pub(super) fn take(&mut self, entry: &[u8], scratch: &mut Vec<u8>) {
        if let Some((at, input)) = decode(self.at, entry) {
            self.at = at;
            input.give(&mut self.client, at, scratch);
        }
        self.dropped = self.dropped.saturating_add(1);
    }
}

/// Encodes an input after the one at `last`: the time between them, which may be negative, and the
/// call, with a length prefix. `None` if it cannot be written.
pub(super) fn encode(last: Instant, now: Instant, input: &KeptInput<'_>) -> Option<Vec<u8>> {
    let delta = now.as_micros().wrapping_sub(last.as_micros()) as i64;
    let body = postcard::to_allocvec(&(delta, input)).ok()?;
    postcard::to_allocvec(body.as_slice()).ok()
}

/// Removes the length prefix.
pub(super) fn body(entry: &[u8]) -> &[u8] {
    postcard::from_bytes(entry).unwrap_or_default()
}

/// Removes the oldest entry.
pub(super) fn pop(ring: &mut VecDeque<u8>) -> Vec<u8> {
    let (mut len, mut shift) = (0_usize, 0_u32);
    while let Some(byte) = ring.pop_front() {
        len |= usize::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift = shift.saturating_add(7);
        if byte & 0x80 == 0 {
            break;
        }
    }
    ring.drain(..len.min(ring.len())).collect()
}

fn decode(last: Instant, entry: &[u8]) -> Option<(Instant, KeptInput<'_>)> {
    let (delta, input): (i64, KeptInput<'_>) = postcard::from_bytes(entry).ok()?;
    let at = Instant::from_micros(last.as_micros().wrapping_add_signed(delta));
    (at <= LATEST && input.is_bounded()).then_some((at, input))
}

impl Client {
    /// Whether the state is possible, as far as this code relies on it.
    fn is_sound(&self) -> bool {
        let mut devices = self.devices().filter_map(|device| self.updater(device));
        devices
            .all(|updater| updater.config().timing.is_sound() && updater.config().limits.is_sound())
            && self.broker.session.is_sound()
    }
}

/// Makes the file of this base and these entries.
pub(super) fn write(base: &Base, front: &[u8], back: &[u8]) -> Option<Vec<u8>> {
    let mut file = Vec::from(MAGIC);
    file.extend_from_slice(&FORMAT.to_le_bytes());
    let mut file = postcard::to_extend(VERSION, file).ok()?;
    file = postcard::to_extend(base, file).ok()?;
    file.extend_from_slice(front);
    file.extend_from_slice(back);
    file.extend_from_slice(&CRC.checksum(&file).to_le_bytes());
    Some(file)
}

/// A recording that was read and checked.
#[derive(Clone, Debug)]
pub struct Recording<'a> {
    base: Base,
    entries: &'a [u8],
}

impl<'a> Recording<'a> {
    /// Parses a file of [`super::Recorder::recording`].
    ///
    /// # Errors
    /// [`RecordingError`].
    pub fn read(file: &'a [u8]) -> Result<Self, RecordingError> {
        let rest = file.strip_prefix(MAGIC).ok_or(RecordingError::Foreign)?;
        let (format, rest) = rest.split_first_chunk().ok_or(RecordingError::Damaged)?;
        let (rest, _) = rest.split_last_chunk::<4>().ok_or(RecordingError::Damaged)?;
        let (all, sum) = file.split_last_chunk::<4>().ok_or(RecordingError::Damaged)?;
        if CRC.checksum(all) != u32::from_le_bytes(*sum) {
            return Err(RecordingError::Damaged);
        }
        if u16::from_le_bytes(*format) != FORMAT {
            return Err(RecordingError::Version);
        }
        let damaged = |_| RecordingError::Damaged;
        let (version, rest): (&str, _) = postcard::take_from_bytes(rest).map_err(damaged)?;
        if version != VERSION {
            return Err(RecordingError::Version);
        }
        let (base, entries): (Base, _) = postcard::take_from_bytes(rest).map_err(damaged)?;
        let recording = Self { base, entries };
        let client = &recording.base.client;
        let mut replay = recording.replay();
        while replay.next_input().is_some() {}
        if !client.is_sound() || !replay.rest.is_empty() {
            return Err(RecordingError::Damaged);
        }
        Ok(recording)
    }

    /// The number of inputs before the first recorded one.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.base.dropped
    }

    /// Replays it from the start.
    #[must_use]
    pub fn replay(&self) -> Replay<'a> {
        let Base { client, at, .. } = self.base.clone();
        Replay { client, at, rest: self.entries, scratch: Vec::new() }
    }
}

/// A running replay.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    client: Client,
    at: Instant,
    rest: &'a [u8],
    scratch: Vec<u8>,
}

/// One input and its effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayStep<'a> {
    /// Its time.
    pub at: Instant,
    /// The input.
    pub input: KeptInput<'a>,
    /// Its effect.
    pub effect: Effect<'a>,
}

impl<'a> Replay<'a> {
    /// The client after the last step.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The time of the last step.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.at
    }

    /// Replays the next input; `None` at the end.
    pub fn step(&mut self) -> Option<ReplayStep<'_>> {
        let (at, input) = self.next_input()?;
        let effect = input.clone().give(&mut self.client, at, &mut self.scratch);
        Some(ReplayStep { at, input, effect })
    }

    fn next_input(&mut self) -> Option<(Instant, KeptInput<'a>)> {
        let (entry, rest): (&[u8], _) = postcard::take_from_bytes(self.rest).ok()?;
        let (at, input) = decode(self.at, entry)?;
        (self.at, self.rest) = (at, rest);
        Some((at, input))
    }
}

/// Why a file cannot be replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RecordingError {
    /// It is not a recording.
    Foreign,
    /// It was made by another version, whose machine may decide otherwise: play it with that one.
    Version,
    /// It was changed or cut since it was made.
    Damaged,
}

impl fmt::Display for RecordingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Foreign => "not a recording",
            Self::Version => "made by another version: replay it with that version",
            Self::Damaged => "damaged: it was cut or changed since it was made",
        })
    }
}

impl core::error::Error for RecordingError {}
