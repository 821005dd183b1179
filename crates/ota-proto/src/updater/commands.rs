//! What the application wants. A command outside its state is a [`Misuse`] without effect.

use crate::code::Reason;
use crate::error::Misuse;
use crate::input::{InstallFault, Installed};
use crate::journal::{Outcome, Phase};
use crate::output::Event;
use crate::time::Instant;

use super::Updater;
use super::attempt::{Stage, Started};

impl Updater {
    /// Takes the offer ([`Event::Offered`]), or ends its deferral early.
    ///
    /// # Errors
    /// [`Misuse`] when no offer waits.
    pub fn accept(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| match machine.stage()? {
            Stage::Offered { .. } | Stage::Deferred { .. } => {
                machine.news.drop_kind(&Event::Offered);
                machine.start_attempt();
                Some(())
            }
            _ => None,
        })
    }

    /// Puts the offer or the verified image off. At `until` the version is reported, and what the
    /// cloud then offers counts. The same offer in between is silent, a different one ends it.
    ///
    /// # Errors
    /// [`Misuse`] when neither an offer nor a verified image waits.
    pub fn defer(&mut self, now: Instant, until: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| match machine.stage()? {
            stage @ (Stage::Offered { .. } | Stage::Deferred { .. } | Stage::Ready { .. }) => {
                *stage = Stage::Deferred { until };
                machine.ledger.wanted.accepted = None;
                machine.news.drop_kind(&Event::Offered);
                machine.news.drop_kind(&Event::Ready);
                Some(())
            }
            _ => None,
        })
    }

    /// Refuses the offer: the cloud is told −5.
    ///
    /// # Errors
    /// [`Misuse`] when no offer waits.
    pub fn refuse(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| match machine.stage()? {
            Stage::Offered { .. } | Stage::Deferred { .. } => {
                let image = machine.update.as_ref()?.image;
                machine.refuse_image(image, Reason::Refused);
                Some(())
            }
            _ => None,
        })
    }

    /// Refuses the offer because this machine could not install it ([`InstallFault::Machine`],
    /// [`InstallFault::NoSpace`]): known before its first byte, and told as −5 in the words of the
    /// fault. The image is not blamed.
    ///
    /// On trial ([`Event::Trial`]) it says that this machine cannot find out whether the image works.
    /// The trial goes on; an image that is not confirmed in time is rolled back with this fault,
    /// unless the event was raised once more since.
    ///
    /// # Errors
    /// [`Misuse`] when no offer waits, and no image is on trial that was not confirmed.
    pub fn unable(&mut self, now: Instant, fault: InstallFault) -> Result<(), Misuse> {
        self.command(now, |machine| match machine.stage()? {
            Stage::Offered { .. } | Stage::Deferred { .. } => {
                let image = machine.update.as_ref()?.image;
                machine.refuse_image(image, fault.into());
                Some(())
            }
            Stage::Trial(trial) if trial.back.is_none() && !trial.confirmed => {
                trial.unable = Some(fault);
                Some(())
            }
            _ => None,
        })
    }

    /// Ends the update: the cloud is told −5.
    ///
    /// # Errors
    /// [`Misuse`] when there is none, or the installer may have begun.
    pub fn cancel(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| {
            let open = machine.update.as_ref().filter(|attempt| !attempt.is_past_return())?;
            let image = open.image;
            if matches!(open.stage, Stage::Offered { .. } | Stage::Deferred { .. }) {
                machine.refuse_image(image, Reason::Cancelled);
            } else {
                machine.fail(Reason::Cancelled);
            }
            Some(())
        })
    }

    /// Approves the verified image ([`Event::Ready`]).
    ///
    /// # Errors
    /// [`Misuse`] when none waits for approval.
    pub fn approve(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| match machine.stage()? {
            Stage::Ready { approved, since, .. } if !*approved => {
                *approved = true;
                *since = now;
                Some(())
            }
            _ => None,
        })
    }

    /// Does not approve the verified image: the cloud is told −5.
    ///
    /// # Errors
    /// [`Misuse`] when none waits.
    pub fn veto(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| match machine.stage()? {
            Stage::Ready { .. } => {
                machine.fail(Reason::Vetoed);
                Some(())
            }
            _ => None,
        })
    }

    /// Lets the verified image be installed ([`Event::Ready`]).
    ///
    /// # Errors
    /// [`Misuse`] when none waits for that word.
    pub fn install(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| match machine.stage()? {
            Stage::Ready { go, since, .. } if !*go => {
                *go = true;
                *since = now;
                Some(())
            }
            _ => None,
        })
    }

    /// What became of the installation ([`Event::Install`]). After [`Event::StopInstall`] say so
    /// only when the installer has really ended.
    ///
    /// # Errors
    /// [`Misuse`] when none is under way.
    pub fn installed(&mut self, now: Instant, what: Installed) -> Result<(), Misuse> {
        self.command(now, |machine| {
            let moment = machine.now;
            let Stage::Installing { started: Some(started), .. } = machine.stage()? else {
                return None;
            };
            let Started { late, .. } = *started;
            match what {
                Installed::Failed(InstallFault::Image) if late => {
                    machine.fail(Reason::InstallTimeout);
                }
                Installed::Failed(why) => machine.fail(why.into()),
                Installed::NeedsRestart => {
                    *machine.stage()? =
                        Stage::Restarting { since: moment, active: false, ask: None, ours: true };
                    machine.ledger.wanted.phase = Phase::Switching;
                }
                Installed::Running => {
                    let attempt = machine.update.as_ref()?;
                    let target = attempt.target(attempt.image.size);
                    machine.running = target.version;
                    machine.proved = false;
                    machine.finish(target, Outcome::Done);
                    // Unlike a confirmed slot, what was installed in place may be lost with the
                    // power: the result is marked when it is about to leave, and not before.
                    if let Some(owed) = &mut machine.ledger.wanted.owed {
                        owed.sent = false;
                    }
                }
            }
            machine.news.drop_kind(&Event::StopInstall);
            Some(())
        })
    }

    /// The new image works ([`Event::Trial`]). It is made to stay as soon as the cloud has
    /// answered its version report, too (unless configured otherwise).
    ///
    /// # Errors
    /// [`Misuse`] when none is on trial.
    pub fn confirm(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| {
            let waits = machine.waits_for_word();
            let limit = machine.now + machine.cfg.timing.patience;
            let trial = machine.trial().filter(|trial| trial.back.is_none())?;
            if waits && !trial.confirmed {
                // From here on only the cloud is waited for, which is no fault of the image.
                trial.limit = trial.limit.map(|_| limit);
            }
            trial.confirmed = true;
            machine.news.drop_kind(&Event::Trial);
            Some(())
        })
    }

    /// The new image does not work: back to the old one.
    ///
    /// # Errors
    /// [`Misuse`] when none is on trial.
    pub fn roll_back(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| {
            machine.trial().filter(|trial| trial.back.is_none())?;
            machine.begin_roll_back(Reason::RolledBack);
            Some(())
        })
    }

    /// Forgets what is held against images: that one failed here, what was refused in this session,
    /// and how many attempts there were. The version is reported, so that the cloud offers what it has.
    ///
    /// # Errors
    /// [`Misuse`] when nothing is remembered.
    pub fn forgive(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| {
            let guard = machine.ledger.wanted.guard.take().is_some();
            let failed = machine.failed.take().is_some();
            let refused = match &mut machine.session {
                super::Session::Up(up) => !core::mem::take(&mut up.refused).is_empty(),
                super::Session::Down => false,
            };
            let held = machine.budget_at().is_some_and(|at| at > machine.now);
            let any = guard || failed || refused || held;
            if any {
                machine.budget = machine.now;
                machine.session.report_now(machine.now);
            }
            any.then_some(())
        })
    }

    /// Reports the version soon: the cloud then offers what it has.
    ///
    /// # Errors
    /// [`Misuse`] when no session is up; the next one reports by itself.
    pub fn report_now(&mut self, now: Instant) -> Result<(), Misuse> {
        self.command(now, |machine| {
            let moment = machine.now;
            machine.session.is_up().then(|| machine.session.report_now(moment))
        })
    }

    fn command(
        &mut self,
        now: Instant,
        act: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Result<(), Misuse> {
        let before = self.now;
        self.enter(now);
        if act(self).is_none() {
            self.now = before;
            return Err(Misuse);
        }
        self.advance();
        Ok(())
    }

    fn stage(&mut self) -> Option<&mut Stage> {
        self.update.as_mut().map(|attempt| &mut attempt.stage)
    }
}
