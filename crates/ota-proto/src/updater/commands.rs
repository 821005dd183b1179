//! Commands of the application.

use crate::code::Reason;
use crate::error::Misuse;
use crate::input::Command;
use crate::output::Event;
use crate::time::Instant;

use super::Updater;
use super::attempt::stage::{Deferred, Ready, Stage};

impl Updater {
    /// Handles a command of the application.
    ///
    /// # Errors
    /// [`Misuse`] if the machine does not wait for it; nothing changed.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn command(&mut self, now: Instant, command: Command) -> Result<(), Misuse> {
        let before = self.now;
        self.enter(now);
        if self.obey(command).is_none() {
            self.now = before;
            return Err(Misuse);
        }
        self.advance();
        Ok(())
    }

    /// Returns `None`, without effect, if the command does not fit the state.
    fn obey(&mut self, command: Command) -> Option<()> {
        let now = self.now;
        match (command, self.update.as_mut().map(|attempt| &mut attempt.stage)) {
            (Command::Forgive, _) => return self.forgive(),
            (Command::ReportNow, _) if self.session.is_up() => self.session.report_now(now),
            (Command::Cancel, Some(_)) => return self.cancel(),
            (Command::Installed(what), Some(_)) => return self.on_installed(what),
            (Command::Accept, Some(Stage::Offered(_) | Stage::Deferred(_))) => {
                self.events.drop_kind(&Event::Offered);
                self.start_attempt();
            }
            (Command::Refuse, Some(Stage::Offered(_) | Stage::Deferred(_))) => {
                return self.refuse(Reason::Refused);
            }
            (Command::Unable(fault), Some(Stage::Offered(_) | Stage::Deferred(_))) => {
                return self.refuse(fault.into());
            }
            (
                Command::Defer(until),
                Some(stage @ (Stage::Offered(_) | Stage::Deferred(_) | Stage::Ready(_))),
            ) => {
                *stage = Stage::Deferred(Deferred { until });
                self.ledger.wanted.accepted = None;
                self.events.drop_kind(&Event::Offered);
                self.events.drop_kind(&Event::Ready);
            }
            (Command::Approve, Some(Stage::Ready(Ready { approved: word @ false, since, .. })))
            | (Command::Install, Some(Stage::Ready(Ready { go: word @ false, since, .. }))) => {
                (*word, *since) = (true, now);
            }
            (Command::Veto, Some(Stage::Ready(_))) => self.fail(Reason::Vetoed),
            (Command::Unable(fault), Some(Stage::Trial(trial)))
                if trial.back.is_none() && !trial.confirmed =>
            {
                trial.unable = Some(fault);
            }
            (Command::Confirm, Some(Stage::Trial(trial))) if trial.back.is_none() => self.confirm(),
            (Command::RollBack, Some(Stage::Trial(trial))) if trial.back.is_none() => {
                self.begin_roll_back(Reason::RolledBack);
            }
            _ => return None,
        }
        Some(())
    }

    fn refuse(&mut self, reason: Reason) -> Option<()> {
        let image = self.update.as_ref()?.image;
        self.refuse_image(image, reason);
        Some(())
    }

    fn cancel(&mut self) -> Option<()> {
        let open = self.update.as_ref().filter(|attempt| !attempt.stage.is_past_return())?;
        if matches!(open.stage, Stage::Offered(_) | Stage::Deferred(_)) {
            return self.refuse(Reason::Cancelled);
        }
        self.fail(Reason::Cancelled);
        Some(())
    }

    fn forgive(&mut self) -> Option<()> {
        let guard = self.ledger.wanted.guard.take().is_some();
        let failed = self.failed.take().is_some();
        let refused = match &mut self.session {
            super::Session::Up(up) => !core::mem::take(&mut up.refused).is_empty(),
            super::Session::Down => false,
        };
        let held = self.budget_at().is_some_and(|at| at > self.now);
        let any = guard || failed || refused || held;
        if any {
            self.budget = self.now;
            self.session.report_now(self.now);
        }
        any.then_some(())
    }
}
