//! Worlds with real sockets and files: the cloud's service on a separate thread, and a device with
//! a boot loader on an [`ota_host::Runtime`].

mod desk;

use std::time::Duration;

use ota_host::{
    Clock, DataDir, Driver, DriverEvent, FileSlot, JournalFile, MemorySwitch, Runtime, SlotOptions,
    Storage,
};
use ota_proto::{Command, Event as Update, Installed, State};
use ota_wire::client::{ClientEvent as Client, DeviceIndex};

use crate::{Outcome, Scenario};
use desk::Desk;

const DEVICE: DeviceIndex = DeviceIndex::FIRST;

/// Runs a scenario on an adapter, on its runtime: [`crate::World::run`] blocks on this.
///
/// # Panics
/// If the machine has no loopback or no temporary folder.
pub async fn run<R: Runtime + Default>(scenario: &Scenario) -> Outcome {
    let desk = Desk::start(scenario);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let board = MemorySwitch::default();
    let mut outcome = Outcome::default();
    let clock = Clock::start();
    let limit = clock.now() + scenario.limit();
    let mut life = Life::<R>::boot(scenario, &desk, folder.path(), &board);
    while !outcome.ended && clock.now() < limit {
        let event = tokio::select! {
            event = life.driver.next() => Some(event.expect("the runtime goes on")),
            () = desk.changed() => None,
        };
        if let Some(DriverEvent::Client(event)) = event {
            let restart = life.take(&event);
            outcome.events.push(event);
            if restart {
                outcome.restarts += 1;
                life.driver.stop().await;
                life = Life::boot(scenario, &desk, folder.path(), &board);
            }
        }
        outcome.ended = life.is_at_rest() && desk.is_over(&outcome.events);
    }
    life.driver.stop().await;
    version(&board).clone_into(&mut outcome.running);
    outcome.slot = slot(folder.path());
    desk.tell(&mut outcome);
    outcome
}

/// Starts; returns the running version.
fn version(board: &MemorySwitch) -> &'static str {
    if board.boot() { Scenario::TO } else { Scenario::FROM }
}

/// One run of the device, from a start to the next.
struct Life<R: Runtime> {
    driver: Driver<R>,
}

impl<R: Runtime + Default> Life<R> {
    fn boot(
        scenario: &Scenario,
        desk: &Desk,
        folder: &std::path::Path,
        board: &MemorySwitch,
    ) -> Self {
        let config = scenario.client_config("127.0.0.1", desk.broker().port());
        let mut driver = Driver::<R>::new(config).expect("a good configuration");
        let dir = DataDir::open(folder).expect("a folder");
        let options = SlotOptions { erase: Scenario::ERASE, ..SlotOptions::default() };
        let slot = FileSlot::open(&dir, options).expect("a slot");
        let journal = JournalFile::open(&dir).expect("a journal");
        let storage = Storage::new(slot, journal, Box::new(board.clone()));
        let added =
            driver.control_mut().add_device(scenario.device_config(), version(board), storage);
        assert_eq!(added.expect("a good device"), DEVICE);
        Self { driver }
    }

    /// Performs an application's duties; returns whether to restart.
    fn take(&mut self, event: &Client) -> bool {
        let Client::Device { event, .. } = event else { return false };
        let control = self.driver.control_mut();
        // A command that does not fit the state any more has no effect.
        let _ = match event {
            Update::Install { .. } => {
                control.command(DEVICE, Command::Installed(Installed::NeedsRestart))
            }
            Update::Trial => control.command(DEVICE, Command::Confirm),
            _ => Ok(()),
        };
        *event == Update::Restart
    }

    fn is_at_rest(&self) -> bool {
        let updater = self.driver.control().updater(DEVICE);
        updater.is_some_and(|updater| updater.is_settled() && updater.state() == State::Idle)
    }
}

/// The content of the slot: empty before an image was accepted.
fn slot(folder: &std::path::Path) -> Vec<u8> {
    let dir = DataDir::open(folder).expect("a folder");
    let slot = FileSlot::open(&dir, SlotOptions::default()).expect("a slot");
    match std::fs::read(slot.path()) {
        Ok(image) => image,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => panic!("the slot cannot be read: {error}"),
    }
}

/// The polling interval of the cloud's state.
const GLANCE: Duration = Duration::from_millis(20);
