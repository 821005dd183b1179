//! A device's machine behind a recorder.

use core::ops::Deref;

use ota_proto::{Command, Done, Instant, Misuse, OpId, Peer, Updater};

use super::input::{Act, Input};
use super::tape::Tape;
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
    /// See [`Updater::handle_done`].
    pub fn handle_done(&mut self, now: Instant, op: OpId, result: Done) {
        let _ = self.give(now, Act::Done(op, result));
    }

    /// See [`Updater::handle_certificate`].
    pub fn handle_certificate(&mut self, peer: Peer, valid_from: u64) {
        let now = self.tape.as_ref().map_or(Instant::ZERO, |tape| tape.last());
        let _ = self.give(now, Act::Certificate(peer, valid_from));
    }
}

/// Commands.
impl Machine<'_> {
    /// See [`Updater::command`].
    ///
    /// # Errors
    /// As there.
    pub fn command(&mut self, now: Instant, command: Command) -> Result<(), Misuse> {
        self.give(now, Act::Command(command))
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
