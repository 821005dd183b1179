//! The slot's and the digest's answers: rules 11 to 13, and the ordering of docs/architecture.md.

use ota_proto::{SlotAction, StorageError};

use super::book::Fact;
use super::steps::{Attempt, Job, Step};
use super::{ERASE, Note, Owing, Phase, S, Spec, Why};

impl Spec {
    /// A job begins: there is one at a time, and what it needs is durable (§2.4).
    pub(crate) fn job(&mut self, job: Job) {
        assert!(self.job.is_none(), "{job:?} while {:?}", self.job);
        let attempt = self.open.as_ref();
        match (job, attempt.map(|attempt| &attempt.step)) {
            (Job::Slot(SlotAction::Activate), Some(Step::Restart { active: false, .. })) => {
                assert_eq!(self.durable.phase, Phase::Switch, "O6");
            }
            (Job::Slot(SlotAction::Confirm), Some(Step::Trial { confirmed: true, .. })) => {
                assert!(self.proved || !self.policy.needs_reply, "O8");
            }
            (
                Job::Slot(SlotAction::RollBack),
                Some(Step::Trial { back: Some(false), limit, .. }),
            ) => {
                assert!(limit.is_none() || self.durable.outcome.is_some(), "O11");
            }
            (Job::Slot(SlotAction::ClearMark), _) => {
                assert_ne!(self.owed, Some(Owing::Saving), "the reason would be lost");
            }
            (Job::Erase | Job::Write { .. }, Some(_)) => {
                let image = attempt.map(|attempt| attempt.image);
                assert!(self.durable.image == image && self.durable.phase == Phase::Part, "O2");
                assert!(self.foreign.is_none() && self.owed.is_none(), "O15");
            }
            (Job::Sync { .. } | Job::Digest { .. }, Some(_)) => {}
            _ => panic!("nothing asks for {job:?}"),
        }
        // For what is done to all of an image at once, a second more for each 64 KiB of it.
        let size = self.open.as_ref().map_or(0, |attempt| attempt.image.size);
        self.job = Some((job, true, self.now + (600 + size / 65_536) * S));
    }

    /// When slot or journal have been waited for long enough: ten minutes, or half an hour.
    pub(super) fn stuck_at(&self) -> Option<u64> {
        let attempt = self.open.as_ref()?;
        let (slot, journal) = match attempt.step {
            Step::Due { .. } | Step::Asked { .. } | Step::Body(_) | Step::Pause { .. } => {
                (true, !self.may_write(attempt))
            }
            Step::Check => (true, false),
            Step::Install { begun: None, .. } | Step::Restart { active: false, .. } => (true, true),
            Step::Trial { back: Some(false), .. } => (self.is_durable(), true),
            _ => return None,
        };
        let slot = self.job.filter(|_| slot).map(|(.., limit)| limit);
        slot.into_iter().chain(self.write_limit.filter(|_| journal)).min()
    }

    /// Every record that a reset may find names this image, and claims no more of it than there is.
    pub(super) fn may_write(&self, attempt: &Attempt) -> bool {
        let fits = |note: &Note| {
            note.phase == Phase::Part
                && note.image == Some(attempt.image)
                && note.offset <= attempt.stored
        };
        let notes = [Some(&self.durable), self.writing.as_ref(), self.doubt.as_ref()];
        !self.doubts
            && notes.into_iter().flatten().all(fits)
            && self.owed.is_none()
            && self.foreign.is_none()
    }

    /// They never answer.
    pub(super) fn give_up(&mut self) {
        let switches = matches!(self.job, Some((Job::Slot(SlotAction::Activate), true, _)));
        let ask = self.now + 60 * S;
        match self.open.as_mut().map(|attempt| &mut attempt.step) {
            // The restart shows what the slot made of it.
            Some(Step::Restart { active, .. }) if switches => *active = true,
            Some(Step::Trial { back, ask: next, .. }) => {
                (*back, *next) = (Some(true), ask);
                self.cannot = 0;
            }
            _ => self.fail(Why::Other),
        }
    }

    /// It ended; a digest is right or not.
    pub(crate) fn job_ended(&mut self, result: Result<bool, StorageError>) {
        let (job, wanted, _) = self.job.take().expect("a job");
        if wanted {
            self.body_moves();
        }
        match (job, result) {
            (Job::Slot(SlotAction::ClearMark), _) => {}
            _ if !wanted || self.open.is_none() => {}
            (Job::Slot(SlotAction::Activate), Err(_)) => self.fail(Why::Other),
            (Job::Slot(action), Ok(_)) => self.switched(action),
            // Three more times; then the reset does it all the same.
            (Job::Slot(SlotAction::RollBack), Err(_)) if self.cannot >= 3 => {
                self.switched(SlotAction::RollBack);
            }
            // Whatever else cannot be switched is tried again.
            (Job::Slot(_), Err(_)) => self.cannot += 1,
            (_, Err(_)) => self.fail(Why::Other),
            (Job::Erase, _) => {}
            (Job::Write { end }, _) => self.wrote(end),
            (Job::Sync { upto }, _) => self.synced(upto),
            (Job::Digest { upto }, Ok(right)) => self.hashed(upto, right),
        }
        self.settle();
    }

    fn switched(&mut self, action: SlotAction) {
        let now = self.now;
        self.cannot = 0;
        let Some(attempt) = &mut self.open else { return };
        let (image, etag) = (attempt.image, attempt.etag);
        match (action, &mut attempt.step) {
            (SlotAction::Activate, Step::Restart { active, .. }) => *active = true,
            (SlotAction::RollBack, Step::Trial { back, ask, .. }) => {
                (*back, *ask) = (Some(true), now + 60 * S);
            }
            (SlotAction::Confirm, Step::Trial { limit, .. }) => {
                let ours = limit.is_some();
                self.foreign = None;
                if ours {
                    self.finish(image, (image.size, etag), Ok(()));
                } else {
                    self.drop_attempt();
                    self.fact(Fact::Asked);
                }
            }
            _ => {}
        }
    }

    fn synced(&mut self, upto: u64) {
        let Some(attempt) = &mut self.open else { return };
        if self.note.phase == Phase::Part {
            self.note.starts = std::mem::take(&mut attempt.short);
            let whole = upto >= attempt.image.size;
            self.note.offset = if whole { upto } else { upto / ERASE * ERASE };
            self.note.etag = if self.note.offset > 0 { attempt.etag } else { 0 };
        }
    }

    fn hashed(&mut self, upto: u64, right: bool) {
        let now = self.now;
        let Some(attempt) = &mut self.open else { return };
        if upto < attempt.image.size {
            return;
        }
        if right {
            let approved = !self.policy.ask_approval;
            let go = !self.policy.ask_install;
            attempt.step = Step::Ready { approved, go, since: now, ask: now + 60 * S };
            return;
        }
        // Rule 12: the same bytes are hashed once more.
        let here = self.book.since(|fact| matches!(fact, Fact::Began | Fact::Anew { .. }));
        if !here.iter().any(|(_, fact)| *fact == Fact::Mismatch) {
            return self.fact(Fact::Mismatch);
        }
        // Rule 12: one clean download.
        let before = self.book.count(|fact| *fact == Fact::Anew { digest: true });
        if before == 0 {
            self.begin_anew(true);
            self.step(Step::Due { hops: 0 });
        } else {
            self.fail(Why::Digest);
        }
    }
}
