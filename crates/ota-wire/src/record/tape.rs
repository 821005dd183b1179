//! The ring of inputs, and the file made of it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use ota_proto::Instant;

use super::kept::KeptInput;
use super::replay::{self, Base};
use crate::client::Client;

/// The latest inputs, and a client that has handled all earlier ones.
#[derive(Clone)]
pub(super) struct Tape {
    base: Base,
    /// The time of the latest input.
    last: Instant,
    /// The inputs, each with its length before it.
    ring: VecDeque<u8>,
    limit: usize,
    /// Whether an input could not be encoded, so that the recording is useless.
    lost: bool,
    scratch: Vec<u8>,
}

impl Tape {
    pub(super) fn new(now: Instant, client: Client, limit: usize) -> Self {
        Self {
            base: Base { client, at: now, dropped: 0 },
            last: now,
            ring: VecDeque::with_capacity(limit),
            limit,
            lost: false,
            scratch: Vec::new(),
        }
    }

    /// Records an input. The base handles the oldest ones to make room.
    pub(super) fn push(&mut self, now: Instant, input: &KeptInput<'_>) {
        let Some(entry) = replay::encode(self.last, now, input).filter(|_| input.is_bounded())
        else {
            self.lost = true;
            return;
        };
        let over = |ring: &VecDeque<u8>| ring.len().saturating_add(entry.len()) > self.limit;
        while over(&self.ring) && !self.ring.is_empty() {
            let entry = replay::pop(&mut self.ring);
            self.base.take(&entry, &mut self.scratch);
        }
        self.last = now;
        if entry.len() > self.limit {
            self.base.take(replay::body(&entry), &mut self.scratch);
        } else {
            self.ring.extend(entry);
        }
        // A large buffer is not kept.
        self.scratch = Vec::new();
    }

    /// The file; `None` if an input could not be encoded.
    pub(super) fn file(&self) -> Option<Vec<u8>> {
        if self.lost {
            return None;
        }
        let (front, back) = self.ring.as_slices();
        replay::write(&self.base, front, back)
    }
}

/// Hides the inputs.
impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").field("bytes", &self.ring.len()).finish_non_exhaustive()
    }
}
