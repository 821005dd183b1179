//! Operations of slot and journal, and their answers.

use crate::code::Reason;
use crate::config::Timing;
use crate::error::StorageError;
use crate::input::SlotState;
use crate::journal::{Phase, Record};
use crate::output::{Done, Event, OpId, SlotAction};
use crate::time::{Instant, Micros};

use super::Updater;
use super::attempt::Attempt;
use super::attempt::stage::Stage;
use super::job::{SlotJob, SlotTask};
use super::result::Owing;

/// This many bytes of an image extend the slot's time limit by a second, for operations on the
/// whole image.
const SECOND: u64 = 65_536;

impl Updater {
    /// Begins an operation of the slot.
    pub(super) fn begin_job(&mut self, task: SlotTask) -> OpId {
        let op = self.next_op();
        let size = self.update.as_ref().map_or(0, |attempt| attempt.image.size);
        let all = Micros::from_secs(size.checked_div(SECOND).unwrap_or(0));
        let limit = self.now + self.cfg.timing.install + all;
        self.job = Some(SlotJob { op, task, limit, orphan: false });
        op
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck_at().is_some_and(|at| at <= self.now)
    }

    /// Gives up waiting for a slot or journal that does not answer.
    pub(super) fn give_up_storage(&mut self) {
        match self.update.as_mut().map(|attempt| &mut attempt.stage) {
            Some(Stage::Restarting(_))
                if matches!(
                    &self.job,
                    Some(SlotJob { task: SlotTask::Slot(SlotAction::Activate), orphan: false, .. })
                ) =>
            {
                self.activated();
            }
            Some(Stage::Trial(_)) => self.rolled_back(),
            _ => self.fail(Reason::Storage),
        }
    }

    /// Handles the end of a slot operation.
    pub(super) fn on_done(&mut self, op: OpId, result: Done) {
        let Some(task) = self.take_job(op) else { return };
        self.resume_deadlines();
        match (task, result) {
            (SlotTask::Slot(action), result) => self.on_slot(action, result.map(|_| ())),
            (_, Err(error)) => self.fail(reason_of(error)),
            (SlotTask::Digest { upto }, Ok(Some(digest))) => self.on_digest(upto, digest),
            // Repeating it would get the same answer, forever.
            (SlotTask::Digest { .. }, Ok(None)) => self.fail(Reason::Storage),
            (task, Ok(_)) => self.on_task(task),
        }
    }

    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(super) fn on_persisted(&mut self, op: OpId, result: Result<(), StorageError>) {
        let Some(written) = self.ledger.complete(op, result) else { return };
        let Err((failures, error)) = written else { return self.resume_deadlines() };
        let timing = &self.cfg.timing;
        let before = u32::from(failures.saturating_sub(1));
        let factor = 1_u32.checked_shl(before).unwrap_or(u32::MAX);
        let pause = timing.journal_retry.times(factor).min(timing.report_cap);
        self.ledger.retry(self.now + pause);
        self.events.push(Event::StorageTrouble(error));
    }

    /// Whether the slot may be erased and written: every record that a reset may find names this
    /// image and claims none of the bytes to be erased, no result is owed, and no roll-back needs
    /// the slot (O1, O2, O13, O15).
    pub(super) fn may_write(&self, attempt: &Attempt) -> bool {
        let fits = |record: &Record| {
            record.phase == Phase::Fetching
                && record.target.is_some_and(|target| {
                    attempt.image.is(&target) && target.offset <= attempt.stored
                })
        };
        self.ledger.is_sure(fits)
            && self.owing == Owing::None
            && !matches!(self.slot, SlotState::Trial | SlotState::Armed)
    }

    /// The next multiple of the erase unit above `offset`, at most the slot's end.
    pub(super) fn erase_end(&self, offset: u64) -> u64 {
        let unit = u64::from(self.storage.erase);
        self.round_down(offset).saturating_add(unit).min(self.storage.capacity)
    }

    fn take_job(&mut self, op: OpId) -> Option<SlotTask> {
        let job = self.job.take_if(|job| job.op == op)?;
        (!job.orphan).then_some(job.task)
    }

    fn on_task(&mut self, task: SlotTask) {
        let Some(attempt) = &mut self.update else { return };
        match task {
            SlotTask::Erase { end } => attempt.erased = end,
            SlotTask::Write { end } => {
                let before = attempt.percent();
                attempt.stored = end;
                let percent = attempt.percent();
                if percent > before {
                    self.events.push(Event::Progress { percent });
                }
                self.note_progress();
            }
            SlotTask::Sync { upto } => {
                attempt.synced = upto;
                attempt.checkpoint_at = self.now;
                let offset = if upto >= attempt.image.size { upto } else { self.round_down(upto) };
                self.checkpoint(offset);
            }
            SlotTask::Digest { .. } | SlotTask::Slot(_) => {}
        }
    }

    /// Whether a checkpoint is due: enough bytes wait for it, or some wait long enough, or an erase
    /// unit waits and the server sends nothing (rule 11).
    pub(super) fn is_checkpoint_due(&self, attempt: &Attempt) -> bool {
        let waits = self.stopping || !matches!(attempt.stage, Stage::Fetching(_));
        let least = if waits { 1 } else { self.checkpoint_interval(attempt) };
        self.gained(attempt) >= least || self.checkpoint_at().is_some_and(|at| at <= self.now)
    }

    /// When the waiting bytes need a checkpoint.
    pub(super) fn checkpoint_at(&self) -> Option<Instant> {
        let attempt = self.update.as_ref()?;
        let fetching = matches!(attempt.stage, Stage::Fetching(_) | Stage::Backoff(_));
        let ready = fetching && self.job.is_none() && self.gained(attempt) > 0;
        if !ready {
            return None;
        }
        let wait = self.cfg.timing.checkpoint.part(attempt.checkpoint_divisor());
        Some(attempt.checkpoint_at + wait)
    }

    /// The bytes of whole erase units since the last checkpoint.
    pub(super) fn gained(&self, attempt: &Attempt) -> u64 {
        let claimed = self.ledger.wanted.target.map_or(0, |target| target.offset);
        self.round_down(attempt.stored).saturating_sub(claimed)
    }

    /// Whether the download must wait for the journal: a due checkpoint is not durable yet, so a
    /// reset would lose its bytes, and must not lose more. A failing journal does not stop the
    /// download.
    pub(super) fn outruns_journal(&self, attempt: &Attempt) -> bool {
        let durable = self.ledger.durable().target.map_or(0, |target| target.offset);
        let gained = self.round_down(attempt.stored).saturating_sub(durable);
        gained >= self.checkpoint_interval(attempt) && !self.is_journal_failing()
    }

    // Not inlined: each copy costs flash.
    #[inline(never)]
    fn checkpoint_interval(&self, attempt: &Attempt) -> u64 {
        let unit = u64::from(self.storage.erase);
        let cap = self.cfg.timing.checkpoint_cap.max(unit);
        let checkpoint_divisor = u64::from(attempt.checkpoint_divisor());
        attempt.image.size.div_ceil(checkpoint_divisor.saturating_mul(32)).clamp(unit, cap)
    }

    /// Whether the journal's last write failed, or has no answer for so long that a link would be
    /// given up.
    pub(super) fn is_journal_failing(&self) -> bool {
        let Timing { patience, unread, .. } = self.cfg.timing;
        let since = self.now + patience.less(unread);
        self.ledger.is_failing() || self.ledger.limit().is_some_and(|limit| limit <= since)
    }

    /// Records a checkpoint: these bytes are durable (O1).
    fn checkpoint(&mut self, offset: u64) {
        let Some(attempt) = &mut self.update else { return };
        let wanted = &mut self.ledger.wanted;
        if wanted.phase == Phase::Fetching {
            // An earlier checkpoint keeps the count of this start.
            wanted.starts = core::mem::take(&mut attempt.short);
            wanted.target = Some(attempt.target(offset));
        }
    }

    fn on_slot(&mut self, action: SlotAction, result: Result<(), StorageError>) {
        let again = self.now + self.cfg.timing.ask_again;
        if let Err(error) = result {
            self.events.push(Event::StorageTrouble(error));
        }
        match action {
            SlotAction::Activate => self.on_activated(result),
            SlotAction::Confirm => self.on_confirmed(result),
            SlotAction::RollBack => self.on_rolled_back(result),
            SlotAction::ClearMark => {
                let left = self.mark.map_or(0, |(left, _)| left.saturating_sub(1));
                self.mark = (result.is_err() && left > 0).then_some((left, again));
            }
        }
    }
}

fn reason_of(error: StorageError) -> Reason {
    match error {
        StorageError::NoSpace => Reason::NoSpace,
        StorageError::NoSecondSpace => Reason::NoSecondSpace,
        StorageError::ReadOnly => Reason::ReadOnly,
        _ => Reason::Storage,
    }
}
