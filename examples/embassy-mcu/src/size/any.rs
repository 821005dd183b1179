//! What the programs of the size table share: a heap, an end, and values the compiler cannot
//! guess, so that nothing is left out.

use core::hint::black_box;

use embassy_mcu::program::halt;
use ota_proto::{
    Boot, Config, Hold, Identity, Installed, Instant, Journal, SlotInfo, SlotState, Updater,
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

/// Gives any command, looks at everything.
pub fn command(machine: &mut Updater, now: Instant) {
    let installed = match number() {
        0 => Installed::Running,
        1 => Installed::NeedsRestart,
        _ => Installed::Failed(ota_proto::InstallFault::Image),
    };
    let done = match number() {
        0 => machine.accept(now),
        1 => machine.defer(now, Instant::from_micros(number())),
        2 => machine.refuse(now),
        3 => machine.cancel(now),
        4 => machine.approve(now),
        5 => machine.veto(now),
        6 => machine.install(now),
        7 => machine.installed(now, installed),
        8 => machine.confirm(now),
        9 => machine.roll_back(now),
        10 => machine.forgive(now),
        _ => machine.report_now(now),
    };
    black_box((done.is_ok(), machine.state(), machine.progress(), machine.owed()));
    black_box(machine.offer());
}
