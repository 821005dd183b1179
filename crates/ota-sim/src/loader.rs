//! The boot loader: two slots, a trial, a roll-back.

use ota_proto::{Rng, SlotAction, SlotState};

use crate::tear::{Mode, Tear};

/// The action of the next reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Next {
    /// The same image again.
    #[default]
    Stay,
    /// The other slot, on trial.
    Switch,
    /// The other slot, for good, marked as rolled back.
    Back,
}

/// The boot loader's durable state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Loader {
    /// The running slot, 0 or 1.
    active: usize,
    /// The versions in the slots.
    versions: [String; 2],
    trial: bool,
    mark: bool,
    next: Next,
    /// A half-written mark: each reset reads it as written or not.
    flaky: Option<(SlotAction, String)>,
}

impl Loader {
    /// The length of a mark. It counts only when all of its bytes are right.
    pub(crate) const MARK: usize = 16;

    /// Slot 0 runs this version, confirmed.
    #[must_use]
    pub fn new(version: &str) -> Self {
        Self {
            active: 0,
            versions: [version.into(), String::new()],
            trial: false,
            mark: false,
            next: Next::Stay,
            flaky: None,
        }
    }

    /// The running slot.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active
    }

    /// The slot for updates.
    #[must_use]
    pub fn other(&self) -> usize {
        1 - self.active
    }

    /// The running version.
    #[must_use]
    pub fn running(&self) -> &str {
        self.versions.get(self.active).map_or("", String::as_str)
    }

    /// Whether the running image is on trial.
    #[must_use]
    pub fn is_trial(&self) -> bool {
        self.trial
    }

    /// The updater's view at boot.
    #[must_use]
    pub fn state(&self) -> SlotState {
        match (self.trial, self.mark) {
            (true, _) => SlotState::Trial,
            _ if self.next == Next::Switch => SlotState::Armed,
            (false, true) => SlotState::RolledBack,
            (false, false) => SlotState::Confirmed,
        }
    }

    /// Performs the updater's action durably. `version` is the other slot's.
    pub fn apply(&mut self, action: SlotAction, version: &str) {
        self.flaky = None;
        match action {
            SlotAction::Activate => {
                let other = self.other();
                if let Some(name) = self.versions.get_mut(other) {
                    *name = version.into();
                }
                self.next = Next::Switch;
            }
            SlotAction::Confirm => {
                self.trial = false;
                self.next = Next::Stay;
            }
            SlotAction::RollBack => self.next = Next::Back,
            SlotAction::ClearMark => self.mark = false,
            _ => {}
        }
    }

    /// Stops the write of a mark at a byte.
    pub(crate) fn tear(&mut self, action: SlotAction, version: &str, tear: Tear) {
        let last = tear.byte.saturating_add(1) >= Self::MARK;
        match tear.mode {
            Mode::After => self.apply(action, version),
            Mode::Weak => self.flaky = Some((action, version.into())),
            Mode::Half if last => self.flaky = Some((action, version.into())),
            Mode::Before | Mode::Torn | Mode::Half => {}
        }
    }

    /// Reads the marks again. The loader makes a written mark durable before it acts.
    pub(crate) fn reread(&mut self, rng: &mut Rng) {
        if self.flaky.is_some() && rng.below(2) == 0 {
            if let Some((action, version)) = self.flaky.take() {
                self.apply(action, &version);
            }
        }
    }

    /// Runs the other version at once, without a switch of slots: an installation in place.
    pub fn replace(&mut self, version: &str) {
        if let Some(name) = self.versions.get_mut(self.active) {
            *name = version.into();
        }
    }

    /// Resets the device. `bootable` tells whether the other slot's image starts at all.
    pub fn reset(&mut self, bootable: bool) {
        if self.next != Next::Stay || self.trial {
            // It writes its marks.
            self.flaky = None;
        }
        match self.next {
            Next::Switch if bootable => {
                self.active = self.other();
                self.trial = true;
                self.mark = false;
            }
            Next::Switch => self.mark = true,
            Next::Stay if !self.trial => {}
            // An unconfirmed image is not started twice.
            Next::Back | Next::Stay => {
                self.active = self.other();
                self.trial = false;
                self.mark = true;
            }
        }
        self.next = Next::Stay;
    }
}
