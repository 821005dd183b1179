//! A device's machine behind a recorder.

use core::ops::Deref;

use ota_proto::{InstallFault, Installed, Instant, Misuse, OpId, Peer, Updater};

use super::input::{Act, Input};
use super::tape::Tape;
use crate::adapter::Answer;
use crate::client::DeviceIndex;

/// A device's machine: the calls of [`Updater`] that are an adapter's and an application's. What
/// only looks is reached through it.
#[derive(Debug)]
pub struct Machine<'a> {
    device: DeviceIndex,
    updater: &'a mut Updater,
    tape: Option<&'a mut Tape>,
}

/// The ends of operations, and certificates.
impl Machine<'_> {
    /// An operation ended.
    pub fn tell(&mut self, now: Instant, op: OpId, answer: Answer) {
        let _ = self.give(now, Act::Ended(op, answer));
    }

    /// See [`Updater::handle_certificate`].
    pub fn handle_certificate(&mut self, peer: Peer, valid_from: u64) {
        let now = self.tape.as_ref().map_or(Instant::ZERO, |tape| tape.last());
        let _ = self.give(now, Act::Certificate(peer, valid_from));
    }
}

/// Commands. Each is refused with [`Misuse`] outside its state.
#[allow(clippy::missing_errors_doc, reason = "stated once, above")]
impl Machine<'_> {
    /// See [`Updater::accept`].
    pub fn accept(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::Accept)
    }

    /// See [`Updater::defer`].
    pub fn defer(&mut self, now: Instant, until: Instant) -> Result<(), Misuse> {
        self.give(now, Act::Defer(until))
    }

    /// See [`Updater::refuse`].
    pub fn refuse(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::Refuse)
    }

    /// See [`Updater::unable`].
    pub fn unable(&mut self, now: Instant, fault: InstallFault) -> Result<(), Misuse> {
        self.give(now, Act::Unable(fault))
    }

    /// See [`Updater::cancel`].
    pub fn cancel(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::Cancel)
    }

    /// See [`Updater::approve`].
    pub fn approve(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::Approve)
    }

    /// See [`Updater::veto`].
    pub fn veto(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::Veto)
    }

    /// See [`Updater::install`].
    pub fn install(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::Install)
    }

    /// See [`Updater::installed`].
    pub fn installed(&mut self, now: Instant, what: Installed) -> Result<(), Misuse> {
        self.give(now, Act::Installed(what))
    }

    /// See [`Updater::confirm`].
    pub fn confirm(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::Confirm)
    }

    /// See [`Updater::roll_back`].
    pub fn roll_back(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::RollBack)
    }

    /// See [`Updater::forgive`].
    pub fn forgive(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::Forgive)
    }

    /// See [`Updater::report_now`].
    pub fn report_now(&mut self, now: Instant) -> Result<(), Misuse> {
        self.give(now, Act::ReportNow)
    }
}

impl<'a> Machine<'a> {
    pub(super) fn new(
        device: DeviceIndex,
        updater: &'a mut Updater,
        tape: Option<&'a mut Tape>,
    ) -> Self {
        Self { device, updater, tape }
    }

    fn give(&mut self, now: Instant, act: Act) -> Result<(), Misuse> {
        if let Some(tape) = &mut self.tape {
            tape.push(now, &Input::Device { device: self.device, act });
        }
        act.give(self.updater, now)
    }
}

impl Deref for Machine<'_> {
    type Target = Updater;

    fn deref(&self) -> &Updater {
        self.updater
    }
}
