//! The download: the state of its connection, its deadlines, and the slot's work.
//! [`super::answers`] handles the server's answers.

use crate::code::Reason;
use crate::config::{Timing, Verify};
use crate::output::{Fetch, OpId, Output, State};
use crate::time::Instant;
use crate::updater::Updater;
use crate::updater::attempt::Attempt;
use crate::updater::job::{SlotJob, SlotTask};
use crate::updater::result::Owing;
use crate::url::SecretUrl;

use super::{Stage, Why};

/// The state of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) enum Net {
    /// A fetch is due: of this redirect target, or of the offer's URL.
    Due { hop: Option<SecretUrl>, hops: u8 },
    /// Waits for the head.
    Asked { op: OpId, from: u64, deadline: Instant, url: Option<SecretUrl>, hops: u8 },
    /// The body is being received.
    Body(Stream),
}

/// A body that is being received.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Stream {
    pub(in crate::updater) op: OpId,
    /// Bytes to skip, because the server sends the whole image in answer to a range request.
    pub(in crate::updater) skip: u64,
    /// Whether the answer declared its length, and the right one.
    pub(in crate::updater) declared: bool,
    /// The bytes stored before it.
    pub(in crate::updater) begun: u64,
    /// When the next byte is overdue.
    pub(in crate::updater) idle: Instant,
    /// The end of the window of the minimum rate.
    pub(in crate::updater) window: Instant,
    pub(in crate::updater) bytes: u64,
    /// Since when *we* do not read: the deadlines are paused.
    pub(in crate::updater) paused: Option<Instant>,
    /// The body has ended; a write may still be in progress.
    pub(in crate::updater) end: Option<BodyEnd>,
}

impl Stream {
    /// How long the link is kept while we do not read.
    pub(super) fn unread_until(&self, timing: &Timing) -> Option<Instant> {
        let since = self.paused.filter(|_| self.end.is_none())?;
        Some(since + timing.unread)
    }
}

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) enum BodyEnd {
    /// As its framing requires.
    Clean,
    /// Early.
    Failed(Reason),
}

impl Net {
    /// When the server is too late, or we have not read for too long.
    pub(super) fn deadline(&self, timing: &Timing) -> Option<Instant> {
        match self {
            Self::Asked { deadline, .. } => Some(*deadline),
            Self::Body(stream) if stream.end.is_none() => {
                let unread = stream.unread_until(timing);
                Some(unread.unwrap_or(stream.idle.min(stream.window)))
            }
            Self::Due { .. } | Self::Body(_) => None,
        }
    }
}

impl Attempt {
    /// The current fetch, if any.
    pub(in crate::updater) fn fetch_op(&self) -> Option<OpId> {
        match &self.stage {
            Stage::Fetching(Net::Asked { op, .. }) => Some(*op),
            Stage::Fetching(Net::Body(stream)) if stream.end.is_none() => Some(stream.op),
            _ => None,
        }
    }
}

impl Updater {
    /// Whether body bytes can be taken now.
    pub(in crate::updater) fn is_reading(&self) -> bool {
        let Some(attempt) = &self.update else { return false };
        match &attempt.stage {
            _ if self.stopping => false,
            Stage::Fetching(Net::Asked { .. }) => true,
            Stage::Fetching(Net::Body(stream)) => {
                let room = stream.skip > 0
                    || attempt.stored >= attempt.image.size
                    || (attempt.erased > attempt.stored
                        && self.may_write(attempt)
                        && !self.outruns_journal(attempt));
                room && self.job.is_none()
            }
            _ => false,
        }
    }

    /// Whether a fetch is due. If the journal fails, the slot must be writable already: a link that
    /// nobody reads would block other devices.
    pub(in crate::updater) fn is_fetch_due(&self) -> bool {
        let due = self.update.as_ref().is_some_and(|attempt| {
            matches!(attempt.stage, Stage::Fetching(Net::Due { .. }))
                && (!self.is_journal_failing() || self.may_write(attempt))
                && self.stuck_at().is_none_or(|at| at > self.now)
        });
        // The bytes of an earlier answer are counted first.
        let writing =
            matches!(&self.job, Some(SlotJob { task: SlotTask::Write { .. }, orphan: false, .. }));
        due && !self.stopping && self.gate.fetch && self.owing == Owing::None && !writing
    }

    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(in crate::updater) fn begin_fetch(&mut self) -> Output<'_> {
        debug_assert!(self.is_fetch_due(), "it is asked for only then");
        let op = self.next_op();
        let deadline = self.now + self.cfg.timing.response;
        let Some(attempt) = &mut self.update else { return Output::CancelFetch(op) };
        let (from, fresh) = (attempt.stored, attempt.faults.digest);
        let (url, hops) = match &mut attempt.stage {
            Stage::Fetching(Net::Due { hop, hops }) => (hop.take(), *hops),
            _ => (None, 0),
        };
        attempt.stage = Stage::Fetching(Net::Asked { op, from, deadline, url, hops });
        self.run_patience();
        let url = match &self.update {
            Some(Attempt { stage: Stage::Fetching(Net::Asked { url: Some(url), .. }), .. }) => url,
            Some(attempt) => &attempt.source.url,
            None => return Output::CancelFetch(op),
        };
        Output::Fetch(Fetch { op, url: &url.0, from, fresh })
    }

    /// Requests a fresh offer if the current one is too old to use its URL.
    pub(super) fn refresh_stale_offer(&mut self) {
        let Some(attempt) = &self.update else { return };
        let due = matches!(&attempt.stage, Stage::Fetching(Net::Due { hops: 0, .. }));
        if due && self.now.past(attempt.source.offered_at) >= self.cfg.timing.offer_life {
            self.ask_for_url(Why::Stale);
        }
    }

    pub(super) fn tick_fetch(&mut self) {
        let now = self.now;
        let timing = &self.cfg.timing;
        debug_assert!(self.is_in(State::Fetching), "the stage's own time");
        let Some(attempt) = &mut self.update else { return };
        match &mut attempt.stage {
            Stage::Fetching(Net::Body(stream))
                if stream.unread_until(timing).is_some_and(|at| at <= now) =>
            {
                self.cancel = Some(stream.op);
                stream.end = Some(BodyEnd::Failed(Reason::Network));
            }
            Stage::Fetching(Net::Asked { deadline, .. }) if *deadline <= now => {
                self.fetch_fault(Reason::Network, None);
            }
            Stage::Fetching(Net::Body(stream))
                if stream.paused.is_none() && stream.end.is_none() =>
            {
                let least = u64::from(timing.min_rate).saturating_mul(timing.rate_window.as_secs());
                let slow = stream.window <= now && stream.bytes < least;
                if slow || stream.idle <= now {
                    self.cancel = Some(stream.op);
                    stream.end = Some(BodyEnd::Failed(Reason::Network));
                } else if stream.window <= now {
                    stream.window = now + timing.rate_window;
                    stream.bytes = 0;
                }
            }
            _ => {}
        }
    }

    /// Pauses the network's deadlines while we do not read.
    pub(super) fn pause_deadlines(&mut self) {
        if self.is_reading() {
            return self.resume_deadlines();
        }
        let now = self.now;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Fetching(Net::Body(stream)) = &mut attempt.stage else { return };
        stream.paused.get_or_insert(now);
    }

    /// Resumes the deadlines when we read again, and restarts their pause when slot or journal have
    /// answered: a slow one is not stuck.
    pub(in crate::updater) fn resume_deadlines(&mut self) {
        let now = self.now;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Fetching(Net::Body(stream)) = &mut attempt.stage else { return };
        if let Some(since) = stream.paused.take() {
            let stood = now.past(since);
            stream.idle = stream.idle + stood;
            stream.window = stream.window + stood;
        }
    }

    /// The slot's next work during a download or a pause: sync stored bytes, hash them with
    /// trailing verification, and erase the next unit.
    pub(super) fn next_of_download(&self, attempt: &Attempt) -> Option<SlotTask> {
        if self.is_checkpoint_due(attempt) {
            return Some(SlotTask::Sync { upto: attempt.stored });
        }
        let trailing = self.cfg.verify == Verify::Trailing;
        if trailing && attempt.synced > attempt.hashed {
            return Some(SlotTask::Digest { upto: attempt.synced });
        }
        let open = !self.stopping
            && matches!(&attempt.stage,
            Stage::Fetching(Net::Body(stream)) if stream.skip == 0 && stream.end.is_none());
        let needs = attempt.stored < attempt.image.size && attempt.erased <= attempt.stored;
        (open && needs && self.may_write(attempt))
            .then(|| SlotTask::Erase { end: self.erase_end(attempt.stored) })
    }
}
