//! The new image runs, until it is confirmed or rolled back.

use crate::code::Reason;
use crate::error::StorageError;
use crate::input::{InstallFault, SlotState};
use crate::journal::{Outcome, Owed};
use crate::output::{Event, SlotAction, State, Timer};
use crate::time::Instant;
use crate::updater::Updater;

use super::Stage;

/// How often a failed roll-back is repeated before the restart.
const ROLL_BACKS: u8 = 3;

/// The state of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Trial {
    /// When it is rolled back; `None` for an image that another program installed.
    pub(in crate::updater) limit: Option<Instant>,
    /// When the event is raised again.
    pub(in crate::updater) ask: Instant,
    /// Whether the application confirmed it.
    pub(in crate::updater) confirmed: bool,
    /// The fault of a [`crate::Command::Unable`] since the application was last asked: this machine
    /// cannot find out whether the image works.
    pub(in crate::updater) unable: Option<InstallFault>,
    /// The roll-back has begun; `true` once the slot was told.
    pub(in crate::updater) back: Option<bool>,
}

impl Trial {
    /// Whether this device installed it and owes its result.
    pub(super) fn is_ours(&self) -> bool {
        self.limit.is_some()
    }

    pub(super) fn deadline(&self) -> Option<(Instant, Timer)> {
        match self.back {
            None => {
                let ask = (!self.confirmed).then_some((self.ask, Timer::Application));
                let limit = self.limit.map(|limit| (limit, Timer::Limit));
                ask.into_iter().chain(limit).min_by_key(|(at, _)| *at)
            }
            Some(true) => Some((self.ask, Timer::Application)),
            Some(false) => None,
        }
    }
}

impl Updater {
    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(in crate::updater) fn trial(&mut self) -> Option<&mut Trial> {
        match &mut self.update.as_mut()?.stage {
            Stage::Trial(trial) => Some(trial),
            _ => None,
        }
    }

    pub(super) fn tick_trial(&mut self, again: Instant) {
        debug_assert!(self.is_in(State::Trial), "the stage's own time");
        let (now, waits) = (self.now, self.waits_for_word());
        let Some(trial) = self.trial() else { return };
        match trial.back {
            None if trial.limit.is_some_and(|limit| limit <= now) => {
                let why = match trial.confirmed {
                    false => trial.unable.map_or(Reason::NotConfirmed, Reason::from),
                    true if waits => Reason::NoAnswer,
                    // The application has confirmed it, but the slot fails.
                    true => Reason::Storage,
                };
                self.begin_roll_back(why);
            }
            None if trial.ask <= now && !trial.confirmed => {
                (trial.ask, trial.unable) = (again, None);
                self.events.push(Event::Trial);
            }
            Some(true) if trial.ask <= now => {
                trial.ask = again;
                self.events.push(Event::Restart);
            }
            _ => {}
        }
    }

    /// The next switch of the slot.
    pub(super) fn next_of_trial(&self, trial: &Trial) -> Option<SlotAction> {
        match trial {
            Trial { back: Some(false), .. } => Some(SlotAction::RollBack),
            Trial { back: None, confirmed: true, .. } => {
                let heard = self.version_answered || !self.cfg.confirm_needs_reply;
                heard.then_some(SlotAction::Confirm)
            }
            _ => None,
        }
    }

    /// Whether the cloud must still answer the report of the running version.
    fn waits_for_word(&self) -> bool {
        self.cfg.confirm_needs_reply && !self.version_answered
    }

    /// Handles the application's confirmation.
    pub(in crate::updater) fn confirm(&mut self) {
        let waits = self.waits_for_word();
        let limit = self.now + self.cfg.timing.patience;
        debug_assert!(self.is_in(State::Trial), "the word is taken in no other stage");
        let Some(trial) = self.trial() else { return };
        if waits && !trial.confirmed {
            // From now on only the cloud's answer is missing, which is not the image's fault.
            trial.limit = trial.limit.map(|_| limit);
        }
        trial.confirmed = true;
        self.events.drop_kind(&Event::Trial);
    }

    /// Begins the roll-back: first the reason (O11), then the slot, then the restart.
    pub(in crate::updater) fn begin_roll_back(&mut self, reason: Reason) {
        self.job_faults = 0;
        debug_assert!(self.is_in(State::Trial), "only a trial is rolled back");
        let Some(trial) = self.trial() else { return };
        trial.back = Some(false);
        if trial.limit.is_some() {
            let result = Outcome::Failed(reason);
            self.ledger.wanted.owed = Some(Owed { result, sent: false, answer: None });
        }
        self.events.drop_kind(&Event::Trial);
    }

    /// The slot's answer to [`SlotAction::Confirm`].
    pub(in crate::updater) fn on_confirmed(&mut self, result: Result<(), StorageError>) {
        if result.is_err() {
            return self.retry_slot();
        }
        self.job_faults = 0;
        self.slot = SlotState::Confirmed;
        let Some(attempt) = &self.update else { return };
        let ours = matches!(&attempt.stage, Stage::Trial(trial) if trial.is_ours());
        let target = attempt.target(attempt.image.size);
        if ours {
            self.finish(target, Outcome::Done);
        } else {
            self.drop_attempt();
            self.session.report_now(self.now);
        }
    }

    /// The slot's answer to [`SlotAction::RollBack`].
    pub(in crate::updater) fn on_rolled_back(&mut self, result: Result<(), StorageError>) {
        if result.is_err() && self.job_faults < ROLL_BACKS {
            return self.retry_slot();
        }
        self.rolled_back();
    }

    /// The slot was told to roll back, or cannot be told. The reset restores the old image in both
    /// cases, because the new one was not confirmed.
    pub(in crate::updater) fn rolled_back(&mut self) {
        let ask = self.now + self.cfg.timing.ask_again;
        self.job_faults = 0;
        if let Some(trial) = self.trial() {
            trial.back = Some(true);
            trial.ask = ask;
            self.events.push(Event::Restart);
        }
    }

    /// Repeats a failed switch of the slot later.
    fn retry_slot(&mut self) {
        self.job_faults = self.job_faults.saturating_add(1);
        self.job_retry = Some(self.now + self.cfg.timing.ask_again);
    }
}
