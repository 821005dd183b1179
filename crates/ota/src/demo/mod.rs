//! `ota demo`: a whole update in one process.

mod fleet;
mod verdict;

use std::time::Duration;

use ota_cloud::Rollout;
use ota_host::{Clock, DataDir, FileSlot, JournalFile, MemorySwitch, SlotOptions, Storage};
use ota_proto::credentials::{APP_ID, Secret};
use ota_proto::{
    Command, Downgrade, Event, Hold, Identity, Installed, Instant, Outcome, Reason, Rng, Version,
};
use ota_server::{Handle, Log, NewFirmware, Running, Service, ServiceConfig};
use ota_tokio::driver::{DeviceIndex, Driver};
use ota_wire::client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::args::Demo;
use crate::device::{self, Account, Setup};
use crate::failure::{Code, Failure};
use crate::faults;
use crate::print::{self, Line, Printer};
use crate::size::Bytes;
use crate::{open_files, stop};

const OLD: &str = "0.1.0";
const NEW: &str = "1.0.0";
/// The platform's minimum interval between two connections.
const SPACING: Duration = Duration::from_secs(5);
/// The longest pause in a demo of a fault: replaces a day after a lost push, and five minutes after
/// a refusal.
const MINUTE: Duration = Duration::from_secs(60);
/// Divides all times of the device in a fast demo of a fault.
const HURRY: u32 = 20;

/// The most files and sockets that a device and its cloud have open at once.
const DESCRIPTORS: usize = 48;

/// Runs the demo.
pub(crate) fn run(args: &Demo) -> Result<(), Failure> {
    if args.size() == 0 {
        return Err(Failure::usage("--size: a firmware has at least one byte"));
    }
    if let Some(devices) = args.fleet {
        return fleet::run(args, devices);
    }
    open_files::try_some(DESCRIPTORS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let folder = TempDir::with_prefix("ota-demo-")
            .map_err(|why| Failure::environment(format!("no temporary folder: {why}")))?;
        let patience = patience(args);
        let late =
            |_| Err(Failure::failed(format!("the update took more than {} s", patience.as_secs())));
        let mut stop = stop::Signals::new()?;
        let ended = tokio::select! {
            ended = timeout(patience, play(args, &folder)) => ended.unwrap_or_else(late),
            signal = stop.next() => Err(signal),
        };
        if let (Err(why), true) = (&ended, args.json) {
            let text = Value::from(why.to_string());
            let result = if why.code == Code::NoOffer { "withdrawn" } else { "failed" };
            print::out(&format!("{{\"result\":\"{result}\",\"reason\":{text}}}"));
        }
        ended
    })
}

/// The time limit of the demo: a minute, and a second per MiB. With a fault the device may need
/// many attempts, each as slow as the slowest server.
fn patience(args: &Demo) -> Duration {
    if args.faults.is_empty() {
        return Duration::from_secs(60 + (args.size() >> 20));
    }
    Duration::from_secs(900 + (args.size() >> 10))
}

/// The demo's device, which asks for no consent.
fn setup(args: &Demo, account: Account, spacing: Duration) -> Setup {
    Setup {
        account,
        login_valid: Duration::from_secs(86_400),
        allow_http: true,
        public_store_only: false,
        trailing_digest: false,
        downgrade: Downgrade::Allow,
        consent: Hold::Auto,
        approval: Hold::Auto,
        install: Hold::Auto,
        spacing,
        spread: Duration::ZERO,
        install_limit: Duration::from_secs(600),
        trial: None,
        confirm_needs_reply: true,
        longest_pause: Some(MINUTE).filter(|_| !args.faults.is_empty()),
        hurry: if args.fast && !args.faults.is_empty() { HURRY } else { 1 },
        record: 0,
        seed: args.seed,
    }
}

async fn play(args: &Demo, folder: &TempDir) -> Result<(), Failure> {
    let mut printer = Printer::new(args.json, args.show_secrets, true);
    let firmware = firmware(args.seed, args.size())?;
    let identity = Identity::new("DEMOPROD01", "device-1").map_err(unexpected)?;
    let secret = secret(args.seed)?;
    let spacing = if args.fast { Duration::ZERO } else { SPACING };
    let config = ServiceConfig {
        connect_spacing: Some(spacing).filter(|spacing| !spacing.is_zero()),
        faults: faults::plan(args.seed, &args.faults)?,
        ..ServiceConfig::default()
    };
    let cloud = cloud(config, &identity, &secret, firmware.clone()).await?;
    let mut log = cloud.handle().log();
    let clock = same_clock(&cloud.handle());
    let (mqtt, http) = (cloud.mqtt_addr(), cloud.http_addr());
    let text = format!("the cloud listens: mqtt {mqtt}, http {http}");
    let line = Line::new(clock.now(), "listening", text).with("mqtt", mqtt.to_string());
    printer.line(&line.with("http", http.to_string()));
    let account = Account {
        identity: identity.clone(),
        secret: Some(secret),
        app_id: APP_ID.to_owned(),
        host: mqtt.ip().to_string(),
        port: mqtt.port(),
        secure: false,
        tls: None,
        renewal: None,
    };
    let setup = setup(args, account, spacing);
    let board = MemorySwitch::default();
    let ending = loop {
        let mut life = Life::boot(&setup, folder, &board, clock, &printer)?;
        let ending = life.live(&mut printer, &mut log, args.size()).await?;
        let connected = life.end().await;
        if ending != Ending::Restart {
            break ending;
        }
        // The next run does not know of this run's connection.
        let left = spacing.saturating_sub(clock.now().since(connected));
        pass(&printer, &mut log, sleep(left)).await;
    };
    let handle = cloud.handle();
    let verdict = match ending {
        Ending::Failed(why) => Err(verdict::failed(&handle, &identity, why).await?),
        Ending::Withdrawn => Err(verdict::withdrawn(&handle, &identity).await?),
        _ => verdict::judge(&handle, &identity, folder, &firmware).await,
    };
    cloud.shutdown().await;
    while let Some(entry) = log.next().await {
        printer.entry(&entry);
    }
    verdict::summary(args, &printer, clock.now(), &verdict?);
    Ok(())
}

/// The cloud with one device and one firmware. It enforces the interval between connections.
async fn cloud(
    config: ServiceConfig,
    device: &Identity,
    secret: &Secret,
    firmware: Vec<u8>,
) -> Result<Running, Failure> {
    let running =
        Service::start(config).await.map_err(|why| Failure::environment(why.to_string()))?;
    let cloud = running.handle();
    let product = device.product_id();
    cloud.add_device(device, secret).await.map_err(unexpected)?;
    let new = NewFirmware::memory(product, NEW, firmware);
    cloud.add_firmware(new).await.map_err(unexpected)?;
    cloud.set_rollout(product, Some(Rollout::new(NEW))).await.map_err(unexpected)?;
    Ok(running)
}

/// A clock with the cloud's origin, so that the lines of both sides have comparable times.
fn same_clock(cloud: &Handle) -> Clock {
    let ours = Clock::start();
    let ahead = cloud.now().since(ours.now());
    let origin = ours.to_std(Instant::ZERO).and_then(|origin| origin.checked_sub(ahead));
    origin.map_or(ours, Clock::anchored)
}

/// One run of the device, from a start to the next.
struct Life {
    driver: Driver,
    device: DeviceIndex,
    clock: Clock,
    connected: Instant,
    done: bool,
}

/// The end of a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The new version is installed and must be started.
    Restart,
    /// The cloud has the result and the new version.
    Reported,
    /// The cloud has the result, which failed for this reason.
    Failed(Reason),
    /// The cloud no longer offers the update.
    Withdrawn,
}

impl Life {
    fn boot(
        setup: &Setup,
        folder: &TempDir,
        board: &MemorySwitch,
        clock: Clock,
        printer: &Printer,
    ) -> Result<Self, Failure> {
        let dir = DataDir::open(folder.path())?;
        let slot = FileSlot::open(&dir, SlotOptions::default())?;
        let journal = JournalFile::open(&dir)?;
        let storage = Storage::new(slot, journal, Box::new(board.clone()));
        let running = if board.boot() { NEW } else { OLD };
        printer.line(
            &Line::new(clock.now(), "boot", format!("* the device starts with {running}"))
                .with("version", running),
        );
        let version = Version::new(running).map_err(unexpected)?;
        let (driver, device) = setup.driver(version, storage)?;
        Ok(Self { driver, device, clock, connected: Instant::ZERO, done: false })
    }

    async fn live(
        &mut self,
        printer: &mut Printer,
        log: &mut Log,
        size: u64,
    ) -> Result<Ending, Failure> {
        loop {
            tokio::select! {
                // Prints in the order of events, as far as it is known.
                biased;
                Some(entry) = log.next() => printer.entry(&entry),
                event = self.driver.next() => {
                    let ota_tokio::driver::DriverEvent::Client(event) = event.map_err(unexpected)? else { continue };
                    // Earlier lines of the cloud come first.
                    pass(printer, log, std::future::ready(())).await;
                    self.print(&event, printer, size);
                    if let Some(ending) = self.take(&event)? {
                        printer.end_progress();
                        return Ok(ending);
                    }
                }
            }
        }
    }

    fn print(&self, event: &client::ClientEvent, printer: &mut Printer, size: u64) {
        match event {
            client::ClientEvent::Device { event: Event::Progress { percent }, .. } => {
                return printer.progress(size, *percent);
            }
            client::ClientEvent::Device { event: Event::Ready, .. } => printer.end_progress(),
            _ => {}
        }
        if let Some(line) = device::line(self.clock.now(), event) {
            printer.line(&line);
        }
    }

    /// Handles an event; returns the end of the run if it is one.
    fn take(&mut self, event: &client::ClientEvent) -> Result<Option<Ending>, Failure> {
        let event = match event {
            client::ClientEvent::Device { event, .. } => event,
            client::ClientEvent::Connected => {
                self.connected = self.clock.now();
                return Ok(None);
            }
            _ => return Ok(None),
        };
        match event {
            Event::Install { .. } => {
                let told = Installed::NeedsRestart;
                self.driver.command(self.device, Command::Installed(told)).map_err(unexpected)?;
            }
            Event::Trial => {
                self.driver.command(self.device, Command::Confirm).map_err(unexpected)?
            }
            Event::Restart => return Ok(Some(Ending::Restart)),
            Event::Reported { outcome: Outcome::Failed(why) } => {
                return Ok(Some(Ending::Failed(*why)));
            }
            Event::Withdrawn => return Ok(Some(Ending::Withdrawn)),
            Event::Reported { outcome: Outcome::Done } => self.done = true,
            Event::VersionAccepted if self.done => return Ok(Some(Ending::Reported)),
            _ => {}
        }
        Ok(None)
    }

    /// Ends like a power cut, once the data folder is free; returns when the device was connected.
    async fn end(self) -> Instant {
        self.driver.stop().await;
        self.connected
    }
}

/// Prints the cloud's log until this future ends.
async fn pass(printer: &Printer, log: &mut Log, over: impl Future<Output = ()>) {
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            Some(entry) = log.next() => printer.entry(&entry),
            () = &mut over => return,
        }
    }
}

/// The firmware: bytes generated from the seed.
fn firmware(seed: u64, size: u64) -> Result<Vec<u8>, Failure> {
    let too_large = || Failure::usage(format!("--size: {} do not fit into memory", Bytes(size)));
    let len = usize::try_from(size).map_err(|_| too_large())?;
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(len).map_err(|_| too_large())?;
    let mut rng = Rng::new(seed);
    while bytes.len() < len {
        let word = rng.next_u64().to_le_bytes();
        bytes.extend(word.iter().take(len - bytes.len()));
    }
    Ok(bytes)
}

/// The device's secret: 16 bytes generated from the seed. It protects only the demo.
fn secret(seed: u64) -> Result<Secret, Failure> {
    let mut rng = Rng::new(!seed);
    let words = [rng.next_u64().to_le_bytes(), rng.next_u64().to_le_bytes()];
    Secret::from_bytes(words.as_flattened()).map_err(unexpected)
}

/// An error that the user cannot have caused.
fn unexpected(why: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the demo broke: {why}"))
}
