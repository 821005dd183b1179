//! What comes out: derived from the state, the result first, then the session, then the update.

use alloc::borrow::Cow;

use crate::config::{Timing, Verify};
use crate::error::BufferTooSmall;
use crate::journal::{Outcome, Owed, Phase};
use crate::message::{DeviceMessage, Progress, ProgressState};
use crate::output::{Fetch, Idle, Output, PubId, Publish, QoS, SlotAction, Work};
use crate::time::Instant;
use crate::version::Version;

use super::Updater;
use super::attempt::{Attempt, Net, Stage, Trial};
use super::meter::Say;
use super::result::Owing;
use super::session::Session;
use super::storage::{Job, Task};

impl Updater {
    /// What is to be done next. Call it after every input until it answers [`Output::Idle`].
    /// `buf` holds a message's payload while the output lives; [`crate::Config::buffer_len`]
    /// bytes always suffice.
    ///
    /// # Errors
    /// [`BufferTooSmall`]: the state is unchanged.
    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    pub fn poll<'b>(
        &'b mut self,
        now: Instant,
        buf: &'b mut [u8],
    ) -> Result<Output<'b>, BufferTooSmall> {
        let now = self.now.max(now);
        if let Some(op) = self.cancel.take() {
            return Ok(Output::CancelFetch(op));
        }
        if self.ledger.due(now) {
            return Ok(self.persist());
        }
        if let Some((version, told)) = self.next_message(now) {
            let length = told.message(&version).encode(buf)?;
            self.enter(now);
            let (id, qos) = self.publish(told);
            self.advance();
            let payload = buf.get(..length).unwrap_or_default();
            let topic = self.cfg.identity.report_topic();
            return Ok(Output::Publish(Publish { id, topic, qos, payload }));
        }
        self.enter(now);
        if let Some(task) = self.next_task() {
            return Ok(self.begin_task(task));
        }
        if self.is_fetch_due() {
            return Ok(self.begin_fetch());
        }
        if let Some(event) = self.news.pop() {
            return Ok(Output::Event(event));
        }
        let (deadline, timer) = self.deadline().unzip();
        Ok(Output::Idle(Idle { deadline, timer, read_body: self.is_reading() }))
    }

    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    fn persist(&mut self) -> Output<'static> {
        let op = self.next_op();
        self.ledger.wanted.attempts = self.attempts();
        self.ledger.issue(op, self.now + self.cfg.timing.patience);
        Output::Do(op, Work::Persist(*self.ledger.block()))
    }

    /// The message that is due, result first, then version, then progress (O12).
    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    fn next_message(&self, now: Instant) -> Option<(Version, Told)> {
        if !self.gate.publish {
            return None;
        }
        if self.is_result_due(now) {
            let (version, owed) = self.owed_report()?;
            return Some((version, Told::Result(owed)));
        }
        if self.owing != Owing::None {
            return None;
        }
        if self.session.is_report_due(now) {
            return Some((self.running, Told::Version));
        }
        if self.say_at().is_some_and(|at| at <= now) {
            let say = self.say()?;
            let version = self.update.as_ref()?.image.version;
            return Some((version, Told::Progress(say)));
        }
        None
    }

    /// Notes that a message was handed out.
    fn publish(&mut self, told: Told) -> (PubId, QoS) {
        let now = self.now;
        let id = self.next_pub();
        let mut qos = QoS::AtLeastOnce;
        match told {
            Told::Result(_) => {
                let deadline = now + self.cfg.timing.puback;
                self.owing.published(id, deadline);
            }
            Told::Version => {
                self.asked = Some(now);
                if let Session::Up(up) = &mut self.session {
                    up.reported(now, id, &self.cfg.timing, &mut self.rng);
                }
            }
            Told::Progress(say) => {
                if matches!(say, Say::Downloading(_)) {
                    qos = QoS::AtMostOnce;
                }
                if let Some(attempt) = &mut self.update {
                    attempt.meter.said(now, say, id);
                }
            }
        }
        (id, qos)
    }

    /// The slot operation that is due: one at a time, and none of a new attempt before the last
    /// one of the old has ended (O3).
    fn next_task(&self) -> Option<Task> {
        if self.job.is_some() {
            return None;
        }
        self.next_slot_action().map(Task::Slot).or_else(|| self.next_storage())
    }

    fn next_slot_action(&self) -> Option<SlotAction> {
        // What the update needs goes before the mark of one that is over.
        let action = self.next_switch().or_else(|| {
            let (_, at) = self.mark?;
            let armed = self.update.as_ref().is_some_and(|attempt| {
                matches!(attempt.stage, Stage::Restarting { active: true, .. })
            });
            let due = self.owing != Owing::Saving && at <= self.now && !armed;
            due.then_some(SlotAction::ClearMark)
        })?;
        self.ledger.settled().then_some(action)
    }

    fn next_switch(&self) -> Option<SlotAction> {
        let attempt = self.update.as_ref().filter(|_| self.job_retry.is_none())?;
        match &attempt.stage {
            Stage::Restarting { active: false, .. } => {
                let journalled = self.ledger.durable().phase == Phase::Switching;
                journalled.then_some(SlotAction::Activate)
            }
            Stage::Trial(Trial { back: Some(false), .. }) => Some(SlotAction::RollBack),
            Stage::Trial(Trial { back: None, confirmed: true, .. }) => {
                let heard = self.proved || !self.cfg.confirm_needs_reply;
                heard.then_some(SlotAction::Confirm)
            }
            _ => None,
        }
    }

    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    pub(super) fn next_storage(&self) -> Option<Task> {
        let attempt = self.update.as_ref()?;
        let size = attempt.image.size;
        match &attempt.stage {
            Stage::Verifying if attempt.synced < size => Some(Task::Sync { upto: size }),
            Stage::Verifying => Some(Task::Digest { upto: size }),
            Stage::Recall(_) => {
                self.is_checkpoint_due(attempt).then_some(Task::Sync { upto: attempt.stored })
            }
            Stage::Fetching(_) | Stage::Backoff { .. } => {
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
                let needs = attempt.stored < size && attempt.erased <= attempt.stored;
                (open && needs && self.may_write(attempt))
                    .then(|| Task::Erase { end: self.erase_end(attempt.stored) })
            }
            _ => None,
        }
    }

    /// Enough new bytes, or old enough ones, wait to be made durable; or an erase unit does, and
    /// nothing comes for a while (rule 11).
    fn is_checkpoint_due(&self, attempt: &Attempt) -> bool {
        let waits = self.stopping || !matches!(attempt.stage, Stage::Fetching(_));
        let least = if waits { 1 } else { self.checkpoint_interval(attempt) };
        self.gained(attempt) >= least || self.checkpoint_at().is_some_and(|at| at <= self.now)
    }

    /// Bytes in whole erase units that no checkpoint claims.
    pub(super) fn gained(&self, attempt: &Attempt) -> u64 {
        let claimed = self.ledger.wanted.target.map_or(0, |target| target.offset);
        self.floor(attempt.stored).saturating_sub(claimed)
    }

    /// A checkpoint that is due is not durable yet: a reset now costs its bytes, and must not cost
    /// more. A journal that fails does not hold up the download.
    pub(super) fn outruns_journal(&self, attempt: &Attempt) -> bool {
        let durable = self.ledger.durable().target.map_or(0, |target| target.offset);
        let gained = self.floor(attempt.stored).saturating_sub(durable);
        gained >= self.checkpoint_interval(attempt) && !self.is_journal_failing()
    }

    // Its copies would cost flash.
    #[inline(never)]
    fn checkpoint_interval(&self, attempt: &Attempt) -> u64 {
        let unit = u64::from(self.storage.erase);
        let cap = self.cfg.timing.checkpoint_cap.max(unit);
        let hurry = u64::from(attempt.hurry());
        attempt.image.size.div_ceil(hurry.saturating_mul(32)).clamp(unit, cap)
    }

    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    fn begin_task(&mut self, task: Task) -> Output<'static> {
        let op = self.begin_job(task);
        // What is under way stops the reading: the network's deadlines stand still.
        self.advance();
        let (stored, hashed, size) = self
            .update
            .as_ref()
            .map_or((0, 0, 0), |attempt| (attempt.stored, attempt.hashed, attempt.image.size));
        let work = match task {
            Task::Erase { end } => Work::Erase { range: stored..end, size },
            Task::Digest { upto } => Work::Digest { range: hashed..upto },
            Task::Slot(action) => Work::Slot(action),
            // A write never begins here: it comes with a piece of body.
            Task::Sync { .. } | Task::Write { .. } => Work::Sync,
        };
        Output::Do(op, work)
    }

    /// The last write of the journal failed, or is not answered for so long that a link is given up
    /// for it.
    fn is_journal_failing(&self) -> bool {
        let Timing { patience, unread, .. } = self.cfg.timing;
        let since = self.now + patience.less(unread);
        self.ledger.is_failing() || self.ledger.limit().is_some_and(|limit| limit <= since)
    }

    /// A fetch is due. While the journal fails it must be sure that its body could be stored: a link
    /// that nobody reads keeps other devices from theirs.
    fn is_fetch_due(&self) -> bool {
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
    fn begin_fetch(&mut self) -> Output<'_> {
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
}

/// What a message tells.
#[derive(Clone, Copy, Debug)]
enum Told {
    Result(Owed),
    Version,
    Progress(Say),
}

impl Told {
    /// The message about this version.
    fn message(self, version: &Version) -> DeviceMessage<'_> {
        let version = Cow::Borrowed(version.as_str());
        let (state, percent, owed) = match self {
            Self::Version => return DeviceMessage::ReportVersion { version, fw_type: None },
            Self::Progress(Say::Downloading(percent)) => {
                (ProgressState::Downloading, Some(i64::from(percent)), None)
            }
            Self::Progress(Say::Burning) => (ProgressState::Burning, None, None),
            Self::Result(owed) if owed.result == Outcome::Done => (ProgressState::Done, None, None),
            Self::Result(owed) => (ProgressState::Fail, None, Some(owed)),
        };
        let progress = Progress {
            state,
            percent,
            result_code: owed.map_or(0, |owed| i64::from(owed.result.code())),
            result_msg: owed.map_or(Cow::Borrowed(""), |owed| Cow::Owned(owed.words())),
        };
        DeviceMessage::ReportProgress { version, progress, fw_type: None }
    }
}
