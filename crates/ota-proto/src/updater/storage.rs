//! The slot's and the journal's answers.

use crate::code::Reason;
use crate::config::Hold;
use crate::digest::Md5;
use crate::error::StorageError;
use crate::input::SlotState;
use crate::journal::{Outcome, Phase, Record};
use crate::output::{Done, Event, OpId, SlotAction};
use crate::time::{Instant, Micros};

use super::Updater;
use super::attempt::{Attempt, Recall, Stage, Trial, Why};

/// How often a roll-back is asked for again before the restart is.
const ROLL_BACKS: u8 = 3;

/// The one slot operation under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Job {
    pub(super) op: OpId,
    pub(super) task: Task,
    /// When whoever waits for it has waited long enough.
    pub(super) limit: Instant,
    /// The attempt that asked for it is gone: its end only frees the slot (O3).
    pub(super) orphan: bool,
}

/// The [`crate::Work`] of the slot that is under way, as the state that its success brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Task {
    Erase { end: u64 },
    Write { end: u64 },
    Sync { upto: u64 },
    Digest { upto: u64 },
    Slot(SlotAction),
}

/// So many bytes of an image add a second to what its slot may take, for whatever is done to all
/// of them at once.
const SECOND: u64 = 65_536;

impl Updater {
    /// Begins an operation of the slot.
    pub(super) fn begin_job(&mut self, task: Task) -> OpId {
        let op = self.next_op();
        let size = self.update.as_ref().map_or(0, |attempt| attempt.image.size);
        let all = Micros::from_secs(size.checked_div(SECOND).unwrap_or(0));
        let limit = self.now + self.cfg.timing.install + all;
        self.job = Some(Job { op, task, limit, orphan: false });
        op
    }

    /// When the attempt has waited long enough for its slot, or for the journal.
    pub(super) fn stuck_at(&self) -> Option<Instant> {
        let attempt = self.update.as_ref()?;
        let (slot, journal) = match &attempt.stage {
            Stage::Fetching(_)
            | Stage::Backoff { .. }
            | Stage::Recall(Recall { why: Why::Paused, .. }) => (true, !self.may_write(attempt)),
            Stage::Verifying => (true, false),
            Stage::Installing { started: None, .. } | Stage::Restarting { active: false, .. } => {
                (true, true)
            }
            // The reason first (O11).
            Stage::Trial(Trial { back: Some(false), .. }) => (self.ledger.settled(), true),
            _ => return None,
        };
        let slot = self.job.as_ref().filter(|_| slot).map(|job| job.limit);
        let journal = self.ledger.limit().filter(|_| journal);
        slot.into_iter().chain(journal).min()
    }

    pub(super) fn is_stuck(&self) -> bool {
        self.stuck_at().is_some_and(|at| at <= self.now)
    }

    /// Slot or journal never answer: what is under way is nobody's from now on. What a restart
    /// decides by the evidence is left to the restart.
    pub(super) fn give_storage_up(&mut self) {
        match self.update.as_mut().map(|attempt| &mut attempt.stage) {
            Some(Stage::Restarting { active, .. })
                if matches!(
                    &self.job,
                    Some(Job { task: Task::Slot(SlotAction::Activate), orphan: false, .. })
                ) =>
            {
                *active = true;
            }
            Some(Stage::Trial(_)) => self.rolled_back(),
            _ => self.fail(Reason::Storage),
        }
    }

    /// An operation of the slot ended.
    pub(super) fn on_done(&mut self, op: OpId, result: Done) {
        let Some(task) = self.take_job(op) else { return };
        self.resume_deadlines();
        match (task, result) {
            (Task::Slot(action), result) => self.on_slot(action, result.map(|_| ())),
            (_, Err(error)) => self.fail(reason_of(error)),
            (Task::Digest { upto }, Ok(Some(digest))) => self.on_digest(upto, digest),
            // Asked for again it would be answered alike, without an end.
            (Task::Digest { .. }, Ok(None)) => self.fail(Reason::Storage),
            (task, Ok(_)) => self.on_task(task),
        }
    }

    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    fn on_digest(&mut self, upto: u64, digest: Md5) {
        let Some(attempt) = &mut self.update else { return };
        attempt.hashed = upto;
        if upto < attempt.image.size {
            return;
        }
        // One bit that was read wrongly is no fault of the image: the medium is read once more.
        if digest != attempt.image.md5 && !attempt.rehashed {
            attempt.rehashed = true;
            attempt.hashed = 0;
            return;
        }
        // A body of undeclared length may still be open: nothing of it is wanted any more.
        self.cancel_fetch();
        let Some(attempt) = &mut self.update else { return };
        if digest == attempt.image.md5 {
            let timing = &self.cfg.timing;
            attempt.stage = Stage::Ready {
                approved: self.cfg.approval == Hold::Auto,
                go: self.cfg.install == Hold::Auto,
                since: self.now,
                ask: self.now + timing.ask_again,
            };
            self.news.push(Event::Ready);
            return;
        }
        // Bytes of two answers may not belong together, and a copy on the way may be damaged: the
        // image is fetched anew once, past all caches, before it is blamed.
        if attempt.faults.digest {
            let coding = attempt.coding;
            return self.fail(Reason::wrong_digest(coding));
        }
        attempt.faults.digest = true;
        self.restart();
        if let Some(attempt) = &mut self.update {
            attempt.resume();
        }
    }

    // Inlined it would widen its caller's frame, and cost flash.
    #[inline(never)]
    pub(super) fn on_persisted(&mut self, op: OpId, result: Result<(), StorageError>) {
        let Some(written) = self.ledger.complete(op, result) else { return };
        let Err((failures, error)) = written else { return self.resume_deadlines() };
        let timing = &self.cfg.timing;
        let before = u32::from(failures.saturating_sub(1));
        let factor = 1_u32.checked_shl(before).unwrap_or(u32::MAX);
        let pause = timing.journal_retry.times(factor).min(timing.report_cap);
        self.ledger.retry(self.now + pause);
        self.news.push(Event::StorageTrouble(error));
    }

    /// Bytes may be erased and written: every record that a reset may find speaks of this image and
    /// claims none of the bytes that will go, no result is owed, and the other slot is not needed
    /// to roll back to (O1, O2, O13, O15).
    pub(super) fn may_write(&self, attempt: &Attempt) -> bool {
        let fits = |record: &Record| {
            record.phase == Phase::Fetching
                && record.target.is_some_and(|target| {
                    attempt.image.is(&target) && target.offset <= attempt.stored
                })
        };
        self.ledger.is_sure(fits)
            && self.owing == super::Owing::None
            && !matches!(self.slot, SlotState::Trial | SlotState::Armed)
    }

    /// The next multiple of the erase unit above `offset`, at most the slot's end.
    pub(super) fn erase_end(&self, offset: u64) -> u64 {
        let unit = u64::from(self.storage.erase);
        self.floor(offset).saturating_add(unit).min(self.storage.capacity)
    }

    fn take_job(&mut self, op: OpId) -> Option<Task> {
        let job = self.job.take_if(|job| job.op == op)?;
        (!job.orphan).then_some(job.task)
    }

    fn on_task(&mut self, task: Task) {
        let Some(attempt) = &mut self.update else { return };
        match task {
            Task::Erase { end } => attempt.erased = end,
            Task::Write { end } => {
                let before = attempt.percent();
                attempt.stored = end;
                let percent = attempt.percent();
                if percent > before {
                    self.news.push(Event::Progress { percent });
                }
                self.note_progress();
            }
            Task::Sync { upto } => {
                attempt.synced = upto;
                attempt.checkpoint_at = self.now;
                let offset = if upto >= attempt.image.size { upto } else { self.floor(upto) };
                self.checkpoint(offset);
            }
            Task::Digest { .. } | Task::Slot(_) => {}
        }
    }

    /// The journal may claim this much: it is on the medium (O1).
    fn checkpoint(&mut self, offset: u64) {
        let Some(attempt) = &mut self.update else { return };
        let wanted = &mut self.ledger.wanted;
        if wanted.phase == Phase::Fetching {
            // One that came sooner leaves the count as this start found it.
            wanted.starts = core::mem::take(&mut attempt.short);
            wanted.target = Some(attempt.target(offset));
        }
    }

    fn on_slot(&mut self, action: SlotAction, result: Result<(), StorageError>) {
        let again = self.now + self.cfg.timing.ask_again;
        if let Err(error) = result {
            self.news.push(Event::StorageTrouble(error));
        }
        match (action, result) {
            (SlotAction::Activate, Ok(())) => {
                if let Some(Attempt { stage: Stage::Restarting { active, .. }, .. }) =
                    &mut self.update
                {
                    *active = true;
                }
            }
            (SlotAction::Activate, Err(_)) => self.fail(Reason::Activate),
            (SlotAction::Confirm, Ok(())) => self.on_confirmed(),
            (SlotAction::ClearMark, Ok(())) => self.mark = None,
            (SlotAction::ClearMark, Err(_)) => {
                let left = self.mark.map_or(0, |(left, _)| left.saturating_sub(1));
                self.mark = (left > 0).then_some((left, again));
            }
            (SlotAction::RollBack, Err(_)) if self.job_faults >= ROLL_BACKS => self.rolled_back(),
            (SlotAction::RollBack, Ok(())) => self.rolled_back(),
            (_, Err(_)) => {
                self.job_faults = self.job_faults.saturating_add(1);
                self.job_retry = Some(again);
            }
        }
    }

    /// The slot was told that the new image goes, or cannot be told: the reset brings the old one
    /// back either way, for nothing was confirmed.
    fn rolled_back(&mut self) {
        let ask = self.now + self.cfg.timing.ask_again;
        self.job_faults = 0;
        if let Some(trial) = self.trial() {
            trial.back = Some(true);
            trial.ask = ask;
            self.news.push(Event::Restart);
        }
    }

    fn on_confirmed(&mut self) {
        self.job_faults = 0;
        self.slot = SlotState::Confirmed;
        let Some(attempt) = &self.update else { return };
        let ours = matches!(&attempt.stage, Stage::Trial(Trial { limit: Some(_), .. }));
        let target = attempt.target(attempt.image.size);
        if ours {
            self.finish(target, Outcome::Done);
        } else {
            self.drop_attempt();
            self.session.report_now(self.now);
        }
    }

    // Its copies would cost flash.
    #[inline(never)]
    pub(super) fn trial(&mut self) -> Option<&mut Trial> {
        match &mut self.update.as_mut()?.stage {
            Stage::Trial(trial) => Some(trial),
            _ => None,
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
