//! Bytes are on their way: the connection's side, its deadlines, and what the slot has to do
//! meanwhile. The server's answers are in [`super::answers`].

use crate::code::Reason;
use crate::config::{Timing, Verify};
use crate::output::{Fetch, OpId, Output, State};
use crate::time::Instant;
use crate::updater::Updater;
use crate::updater::attempt::Attempt;
use crate::updater::result::Owing;
use crate::updater::storage::{Job, Task};
use crate::url::SecretUrl;

use super::{Stage, Why};

/// The connection's side of a fetch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) enum Net {
    /// A fetch is due, of this redirect target or of the offer's URL.
    Due { hop: Option<SecretUrl>, hops: u8 },
    /// Waits for the head.
    Asked { op: OpId, from: u64, deadline: Instant, url: Option<SecretUrl>, hops: u8 },
    /// The body comes in.
    Body(Stream),
}

/// A body on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Stream {
    pub(in crate::updater) op: OpId,
    /// Bytes to pass over: a whole image in answer to a range request.
    pub(in crate::updater) skip: u64,
    /// The answer declared its length, and it is the right one.
    pub(in crate::updater) declared: bool,
    /// What was stored before it.
    pub(in crate::updater) begun: u64,
    /// When the next byte must have come.
    pub(in crate::updater) idle: Instant,
    /// When the least rate is judged, and the bytes since.
    pub(in crate::updater) window: Instant,
    pub(in crate::updater) bytes: u64,
    /// Since when *we* do not read: deadlines stand still.
    pub(in crate::updater) paused: Option<Instant>,
    /// The network's side is over; a write may still be under way.
    pub(in crate::updater) end: Option<End>,
}

impl Stream {
    /// While we do not read: until when the link is kept.
    pub(super) fn unread_until(&self, timing: &Timing) -> Option<Instant> {
        let since = self.paused.filter(|_| self.end.is_none())?;
        Some(since + timing.unread)
    }
}

/// How the network's side of a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) enum End {
    /// As the framing says.
    Clean,
    /// Early.
    Failed(Reason),
}

impl Net {
    /// When the server has taken too long, or we have.
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
    /// The fetch under way, if there is one.
    pub(in crate::updater) fn fetch_op(&self) -> Option<OpId> {
        match &self.stage {
            Stage::Fetching(Net::Asked { op, .. }) => Some(*op),
            Stage::Fetching(Net::Body(stream)) if stream.end.is_none() => Some(stream.op),
            _ => None,
        }
    }
}

impl Updater {
    /// Body bytes are wanted now: the network is to be read.
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

    /// A fetch is due. While the journal fails it must be sure that its body could be stored: a link
    /// that nobody reads keeps other devices from theirs.
    pub(in crate::updater) fn is_fetch_due(&self) -> bool {
        let due = self.update.as_ref().is_some_and(|attempt| {
            matches!(attempt.stage, Stage::Fetching(Net::Due { .. }))
                && (!self.is_journal_failing() || self.may_write(attempt))
                && self.stuck_at().is_none_or(|at| at > self.now)
        });
        // What an answer before brought is counted first.
        let writing =
            matches!(&self.job, Some(Job { task: Task::Write { .. }, orphan: false, .. }));
        due && !self.stopping && self.gate.fetch && self.owing == Owing::None && !writing
    }

    // Inlined it would widen its caller's frame, and cost flash.
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

    /// An offer that lived too long is refreshed before its URL is used.
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
                stream.end = Some(End::Failed(Reason::Network));
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
                    stream.end = Some(End::Failed(Reason::Network));
                } else if stream.window <= now {
                    stream.window = now + timing.rate_window;
                    stream.bytes = 0;
                }
            }
            _ => {}
        }
    }

    /// Deadlines of the network stand still while we are the ones who do not read.
    pub(super) fn pause_deadlines(&mut self) {
        if self.is_reading() {
            return self.resume_deadlines();
        }
        let now = self.now;
        let Some(attempt) = &mut self.update else { return };
        let Stage::Fetching(Net::Body(stream)) = &mut attempt.stage else { return };
        stream.paused.get_or_insert(now);
    }

    /// We read, or slot or journal have answered: those who are slow are not stuck.
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

    /// The slot's next work while an image comes in, or during a pause: what is stored is made
    /// durable, hashed if that is to follow, and the next erase unit is made ready.
    pub(super) fn next_of_download(&self, attempt: &Attempt) -> Option<Task> {
        if self.is_checkpoint_due(attempt) {
            return Some(Task::Sync { upto: attempt.stored });
        }
        let trailing = self.cfg.verify == Verify::Trailing;
        if trailing && attempt.synced > attempt.hashed {
            return Some(Task::Digest { upto: attempt.synced });
        }
        let open = !self.stopping
            && matches!(&attempt.stage,
            Stage::Fetching(Net::Body(stream)) if stream.skip == 0 && stream.end.is_none());
        let needs = attempt.stored < attempt.image.size && attempt.erased <= attempt.stored;
        (open && needs && self.may_write(attempt))
            .then(|| Task::Erase { end: self.erase_end(attempt.stored) })
    }
}
