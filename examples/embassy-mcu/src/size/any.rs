//! What the programs of the size table share: a heap, an end, and values the compiler cannot
//! guess, so that nothing is left out.

use core::hint::black_box;

use embassy_mcu::program::halt;
use ota_proto::{
    Boot, Command, Config, Hold, Identity, Installed, Instant, Journal, SlotInfo, SlotState,
    Updater,
};

/// Bytes that could be anything.
#[must_use]
pub fn bytes() -> &'static [u8] {
    black_box(&[])
}

/// A text that could be anything.
#[must_use]
pub fn text() -> &'static str {
    black_box("")
}

/// A number that could be anything.
#[must_use]
pub fn number() -> u64 {
    black_box(0)
}

/// A device's configuration and boot, of values that could be any.
pub fn boot<R>(start: impl FnOnce(Config, Boot<'_>) -> R) -> R {
    let Ok(identity) = Identity::new(text(), text()) else { halt() };
    let mut config = Config::new(identity, number());
    if number() == 0 {
        (config.consent, config.approval, config.install) = (Hold::Ask, Hold::Ask, Hold::Ask);
    }
    let storage = SlotInfo { capacity: number(), erase: number() as u32, write: 8 };
    let slot = match number() {
        0 => SlotState::Confirmed,
        1 => SlotState::Trial,
        2 => SlotState::Armed,
        _ => SlotState::RolledBack,
    };
    let pages = [bytes().try_into().ok(), bytes().try_into().ok()];
    let journal = Journal::newest(pages.into_iter().flatten());
    start(config, Boot { running: text(), slot, journal, storage })
}

/// Any command.
#[must_use]
pub fn command() -> Command {
    let installed = match number() {
        0 => Installed::Running,
        1 => Installed::NeedsRestart,
        _ => Installed::Failed(ota_proto::InstallFault::Image),
    };
    match number() {
        0 => Command::Accept,
        1 => Command::Defer(Instant::from_micros(number())),
        2 => Command::Refuse,
        3 => Command::Cancel,
        4 => Command::Approve,
        5 => Command::Veto,
        6 => Command::Install,
        7 => Command::Installed(installed),
        8 => Command::Confirm,
        9 => Command::RollBack,
        10 => Command::Forgive,
        _ => Command::ReportNow,
    }
}

/// Looks at everything.
pub fn look(machine: &Updater) {
    black_box((machine.state(), machine.progress(), machine.owed()));
    black_box(machine.offer());
}
