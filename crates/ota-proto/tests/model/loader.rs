//! The boot loader: two slots, or one that nobody can be asked about.

use ota_proto::{SlotAction, SlotState};

use crate::ops::Fate;

pub(crate) struct Loader {
    /// It knows of trials.
    knows: bool,
    pub(crate) running: &'static str,
    old: &'static str,
    state: SlotState,
    /// What the next reset starts.
    armed: Option<&'static str>,
}

impl Loader {
    pub(crate) fn new(knows: bool) -> Self {
        Self { knows, running: "0.1.0", old: "0.1.0", state: SlotState::Confirmed, armed: None }
    }

    /// What it says to a program that starts.
    pub(crate) fn state(&self) -> SlotState {
        match (self.knows, self.armed) {
            (false, _) => SlotState::Unknown,
            (true, Some(_)) => SlotState::Armed,
            (true, None) => self.state,
        }
    }

    /// This is durable.
    pub(crate) fn acts(&mut self, action: SlotAction, target: &'static str) {
        match action {
            SlotAction::Activate => self.armed = Some(target),
            SlotAction::Confirm | SlotAction::ClearMark => self.state = SlotState::Confirmed,
            // The next reset does that anyway: nothing was confirmed.
            _ => {}
        }
    }

    /// The running program has replaced itself.
    pub(crate) fn in_place(&mut self, version: &'static str) {
        self.running = version;
    }

    pub(crate) fn reset(&mut self, fate: Fate) {
        if let Some(target) = self.armed.take() {
            self.old = self.running;
            match fate {
                Fate::DoesNotStart => self.state = SlotState::RolledBack,
                Fate::Runs | Fate::HasAnotherName => {
                    let named = fate == Fate::Runs || !self.knows;
                    self.running = if named { target } else { "9.9.9" };
                    self.state = SlotState::Trial;
                }
            }
        } else if self.state == SlotState::Trial && self.knows {
            // Not confirmed, or told to go.
            (self.running, self.state) = (self.old, SlotState::RolledBack);
        }
    }
}
