//! One direction of a connection: bytes in progress, and how they arrive.

use std::collections::VecDeque;

use core::time::Duration;

use ota_proto::{Instant, Rng};

/// How a stream is split into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Chunks {
    /// All available bytes.
    Whole,
    /// This many bytes at a time.
    Of(usize),
    /// All available bytes, but never across this byte of the stream.
    Split(u64),
    /// From 1 byte up to this many, at random.
    Random(usize),
}

impl Chunks {
    /// How many of `there` bytes come at once, after `passed` earlier ones.
    pub(super) fn next(self, there: usize, passed: u64, rng: &mut Rng) -> usize {
        match self {
            Self::Whole => there,
            Self::Of(size) => there.min(size.max(1)),
            Self::Split(at) => {
                let left = at.checked_sub(passed).filter(|left| *left > 0);
                there.min(left.and_then(|left| usize::try_from(left).ok()).unwrap_or(usize::MAX))
            }
            Self::Random(most) => {
                let size = rng.below(most.max(1) as u64).saturating_add(1);
                there.min(usize::try_from(size).unwrap_or(1))
            }
        }
    }
}

/// How the far end of a pipe was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct End {
    pub(super) clean: bool,
}

/// One direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Pipe {
    segments: VecDeque<(Instant, Vec<u8>)>,
    /// Bytes of the first segment that were taken.
    used: usize,
    under_way: usize,
    end: Option<(Instant, End)>,
}

impl Pipe {
    /// The number of bytes that fit in.
    pub(super) fn room(&self, window: usize) -> usize {
        window.saturating_sub(self.under_way)
    }

    /// Puts bytes in.
    pub(super) fn send(&mut self, now: Instant, latency: Duration, bytes: &[u8]) {
        self.under_way = self.under_way.saturating_add(bytes.len());
        self.segments.push_back((now + latency, bytes.to_vec()));
    }

    /// Closes the sender's end.
    pub(super) fn close(&mut self, now: Instant, latency: Duration, end: End) {
        self.end.get_or_insert((now + latency, end));
    }

    /// Whether the sender has closed.
    pub(super) fn is_closed(&self) -> bool {
        self.end.is_some()
    }

    /// When the next bytes arrive.
    pub(super) fn next(&self) -> Option<Instant> {
        let end = self.end.as_ref().map(|(at, _)| *at);
        self.segments.front().map(|(at, _)| *at).or(end)
    }

    /// Bytes that have arrived.
    pub(super) fn arrived(&self, now: Instant) -> usize {
        let there = self.segments.iter().take_while(|(at, _)| *at <= now);
        there.map(|(_, bytes)| bytes.len()).sum::<usize>().saturating_sub(self.used)
    }

    /// The end, if it has arrived and no bytes are before it.
    pub(super) fn ended(&self, now: Instant) -> Option<End> {
        let (at, end) = self.end?;
        (self.segments.is_empty() && at <= now).then_some(end)
    }

    /// Takes this many of the bytes that have arrived.
    pub(super) fn take(&mut self, mut count: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(count);
        while let (1.., Some((_, segment))) = (count, self.segments.front()) {
            let rest = segment.get(self.used..).unwrap_or_default();
            let part = rest.get(..count).unwrap_or(rest);
            all.extend_from_slice(part);
            count = count.saturating_sub(part.len());
            self.used = self.used.saturating_add(part.len());
            if self.used >= segment.len() {
                self.segments.pop_front();
                self.used = 0;
            }
        }
        self.under_way = self.under_way.saturating_sub(all.len());
        all
    }
}
