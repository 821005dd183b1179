//! The new image runs: it is confirmed, or rolled back.

use crate::code::Reason;
use crate::error::StorageError;
use crate::input::{InstallFault, SlotState};
use crate::journal::{Outcome, Owed};
use crate::output::{Event, SlotAction, State, Timer};
use crate::time::Instant;
use crate::updater::Updater;

use super::Stage;

/// How often a roll-back is asked for again before the restart is.
const ROLL_BACKS: u8 = 3;

/// A new image that runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Trial {
    /// When it is rolled back; none for an image that we did not install.
    pub(in crate::updater) limit: Option<Instant>,
    /// When the event is raised again, or a failed slot operation is tried again.
    pub(in crate::updater) ask: Instant,
    /// The application confirmed.
    pub(in crate::updater) confirmed: bool,
    /// This machine cannot tell whether the image works: told since the application was asked last.
    pub(in crate::updater) unable: Option<InstallFault>,
    /// The roll-back began; the slot was told.
    pub(in crate::updater) back: Option<bool>,
}

impl Trial {
    /// We installed it, and owe its result.
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
    // Its copies would cost flash.
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
                    // The application's word is there: it is the slot that does not take it.
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

    /// The next word to the slot.
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

    /// The cloud has not answered the version that runs, and must before it stays.
    fn waits_for_word(&self) -> bool {
        self.cfg.confirm_needs_reply && !self.version_answered
    }

    /// The application's word that the image works.
    pub(in crate::updater) fn confirm(&mut self) {
        let waits = self.waits_for_word();
        let limit = self.now + self.cfg.timing.patience;
        debug_assert!(self.is_in(State::Trial), "the word is taken in no other stage");
        let Some(trial) = self.trial() else { return };
        if waits && !trial.confirmed {
            // From here on only the cloud is waited for, which is no fault of the image.
            trial.limit = trial.limit.map(|_| limit);
        }
        trial.confirmed = true;
        self.events.drop_kind(&Event::Trial);
    }

    /// The new image goes: first the reason (O11), then the slot, then the restart.
    pub(in crate::updater) fn begin_roll_back(&mut self, reason: Reason) {
        self.job_faults = 0;
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

    /// The slot was told that the new image goes, or cannot be told: the reset brings the old one
    /// back either way, for nothing was confirmed.
    pub(in crate::updater) fn rolled_back(&mut self) {
        let ask = self.now + self.cfg.timing.ask_again;
        self.job_faults = 0;
        if let Some(trial) = self.trial() {
            trial.back = Some(true);
            trial.ask = ask;
            self.events.push(Event::Restart);
        }
    }

    /// The word to the slot failed: it is said again.
    fn retry_slot(&mut self) {
        self.job_faults = self.job_faults.saturating_add(1);
        self.job_retry = Some(self.now + self.cfg.timing.ask_again);
    }
}
