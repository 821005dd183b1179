//! `ota demo`: the whole story in one process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ota_cloud::Rollout;
use ota_cloud::service::{Handle, Log, NewFirmware, Running, Service, ServiceConfig};
use ota_host::{Clock, DataDir, FileSlot, JournalFile, SlotOptions, Storage, Switch};
use ota_proto::credentials::{APP_ID, Secret};
use ota_proto::journal::Record;
use ota_proto::{
    Event, Hold, Identity, Installed, Instant, Outcome, Rng, SlotAction, SlotState, StorageError,
    Version,
};
use ota_tokio::{DeviceIndex, Driver};
use ota_wire::client;
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use crate::args::Demo;
use crate::device::{self, Setup};
use crate::failure::Failure;
use crate::print::{self, Line, Printer};
use crate::size::Bytes;
use crate::stop;

const OLD: &str = "0.1.0";
const NEW: &str = "1.0.0";
/// The platform's least time between two connections.
const SPACING: Duration = Duration::from_secs(5);
/// The demo is over by then, one way or the other: a minute, and a second for each MiB.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo.
pub(crate) fn run(args: &Demo) -> Result<(), Failure> {
    if args.size == 0 {
        return Err(Failure::usage("--size: a firmware has at least one byte"));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let folder = TempDir::with_prefix("ota-demo-")
            .map_err(|why| Failure::environment(format!("no temporary folder: {why}")))?;
        let patience = PATIENCE + Duration::from_secs(args.size >> 20);
        let late =
            |_| Err(Failure::failed(format!("the update took more than {} s", patience.as_secs())));
        let mut stop = stop::Signals::new()?;
        let ended = tokio::select! {
            ended = timeout(patience, play(args, &folder)) => ended.unwrap_or_else(late),
            signal = stop.next() => Err(signal),
        };
        if let (Err(why), true) = (&ended, args.json) {
            let text = Value::from(why.to_string());
            print::out(&format!("{{\"result\":\"failed\",\"reason\":{text}}}"));
        }
        ended
    })
}

async fn play(args: &Demo, folder: &TempDir) -> Result<(), Failure> {
    let mut printer = Printer::new(args.json, args.show_secrets, true);
    let firmware = firmware(args.seed, args.size)?;
    let identity = Identity::new("DEMOPROD01", "device-1").map_err(unexpected)?;
    let secret = secret(args.seed)?;
    let spacing = if args.fast { Duration::ZERO } else { SPACING };
    let cloud = cloud(&identity, &secret, firmware.clone(), spacing).await?;
    let mut log = cloud.handle().log();
    let clock = same_clock(&cloud.handle()).await?;
    let (mqtt, http) = (cloud.mqtt_addr(), cloud.http_addr());
    let text = format!("the cloud listens: mqtt {mqtt}, http {http}");
    let line = Line::new(clock.now(), "listening", text).with("mqtt", mqtt.to_string());
    printer.line(&line.with("http", http.to_string()));
    let setup = Setup {
        identity: identity.clone(),
        secret: Some(secret),
        app_id: APP_ID.to_owned(),
        host: mqtt.ip().to_string(),
        port: mqtt.port(),
        secure: false,
        tls: None,
        allow_http: true,
        trailing_digest: false,
        consent: Hold::Auto,
        approval: Hold::Auto,
        install: Hold::Auto,
        spacing,
        spread: Duration::ZERO,
        install_limit: Duration::from_secs(600),
        trial: None,
        record: 0,
        seed: args.seed,
    };
    let board = Board::default();
    let mut first = Life::boot(&setup, folder, &board, clock, &printer)?;
    first.live(&mut printer, &mut log, args.size, Ending::Restart).await?;
    let connected = first.end().await;
    // The second life knows nothing of the first one's connection.
    let left = spacing.saturating_sub(clock.now().since(connected));
    pass(&printer, &mut log, sleep(left)).await;
    let mut second = Life::boot(&setup, folder, &board, clock, &printer)?;
    second.live(&mut printer, &mut log, args.size, Ending::Told).await?;
    second.end().await;
    let verdict = judge(&cloud.handle(), &identity, folder, &firmware).await;
    cloud.shutdown().await;
    while let Some(entry) = log.next().await {
        printer.entry(&entry);
    }
    summary(args, &printer, clock.now(), &verdict?);
    Ok(())
}

/// The cloud with one device and one firmware. It holds devices to the spacing.
async fn cloud(
    device: &Identity,
    secret: &Secret,
    firmware: Vec<u8>,
    spacing: Duration,
) -> Result<Running, Failure> {
    let connect_spacing = Some(spacing).filter(|spacing| !spacing.is_zero());
    let config = ServiceConfig { connect_spacing, ..ServiceConfig::default() };
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

/// A clock with the cloud's origin, so that both sides' lines have the same times.
async fn same_clock(cloud: &Handle) -> Result<Clock, Failure> {
    let ours = Clock::start();
    let ahead = cloud.with(move |_, now| now.since(ours.now())).await.map_err(unexpected)?;
    let origin = ours.to_std(Instant::ZERO).and_then(|origin| origin.checked_sub(ahead));
    Ok(origin.map_or(ours, Clock::anchored))
}

/// The device from one start to the next.
struct Life {
    driver: Driver,
    device: DeviceIndex,
    clock: Clock,
    connected: Instant,
    done: bool,
}

/// What a life ends with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The new version is installed and wants to be started.
    Restart,
    /// The cloud has the result and the new version.
    Told,
}

impl Life {
    fn boot(
        setup: &Setup,
        folder: &TempDir,
        board: &Board,
        clock: Clock,
        printer: &Printer,
    ) -> Result<Self, Failure> {
        let dir = DataDir::open(folder.path())?;
        let slot = FileSlot::open(&dir, SlotOptions::default())?;
        let journal = JournalFile::open(&dir)?;
        let storage = Storage::new(slot, journal, Box::new(board.clone()));
        let running = board.boot();
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
        ending: Ending,
    ) -> Result<(), Failure> {
        loop {
            tokio::select! {
                // In the order in which things happened, as far as that can be told.
                biased;
                Some(entry) = log.next() => printer.entry(&entry),
                event = self.driver.next() => {
                    let ota_tokio::Event::Client(event) = event.map_err(unexpected)? else { continue };
                    // What the cloud said before this comes before it.
                    pass(printer, log, std::future::ready(())).await;
                    self.print(&event, printer, size);
                    if self.take(&event)? == Some(ending) {
                        printer.end_progress();
                        return Ok(());
                    }
                }
            }
        }
    }

    fn print(&self, event: &client::Event, printer: &mut Printer, size: u64) {
        if let client::Event::Device { event: Event::Progress { percent }, .. } = event {
            return printer.progress(size, *percent);
        }
        if let Some(line) = device::line(self.clock.now(), event) {
            printer.line(&line);
        }
    }

    /// Does what the event asks for; says what has come to its end.
    fn take(&mut self, event: &client::Event) -> Result<Option<Ending>, Failure> {
        let event = match event {
            client::Event::Device { event, .. } => event,
            client::Event::Connected => {
                self.connected = self.clock.now();
                return Ok(None);
            }
            _ => return Ok(None),
        };
        match event {
            Event::Install { .. } => {
                let told = Installed::NeedsRestart;
                self.driver
                    .command(self.device, |updater, now| updater.installed(now, told))
                    .map_err(unexpected)?;
            }
            Event::Trial => self
                .driver
                .command(self.device, |updater, now| updater.confirm(now))
                .map_err(unexpected)?,
            Event::Restart => return Ok(Some(Ending::Restart)),
            Event::Finished { outcome: Outcome::Failed(why), .. } => {
                return Err(Failure::failed(format!("the update failed: {why}")));
            }
            Event::Reported { outcome: Outcome::Done } => self.done = true,
            Event::VersionAccepted if self.done => return Ok(Some(Ending::Told)),
            _ => {}
        }
        Ok(None)
    }

    /// Ends as a power switch does, once the data folder is free; says when it was connected.
    async fn end(self) -> Instant {
        self.driver.stop().await;
        self.connected
    }
}

/// The board's boot loader, with two places for an image.
#[derive(Clone, Debug, Default)]
struct Board(Arc<Mutex<Banks>>);

#[derive(Clone, Copy, Debug, Default)]
struct Banks {
    /// The next start takes the new image.
    new: bool,
    /// The new image has started.
    started: bool,
    confirmed: bool,
}

impl Board {
    /// Starts; says which version runs.
    fn boot(&self) -> &'static str {
        let mut banks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        banks.started = banks.new;
        if banks.new { NEW } else { OLD }
    }
}

impl Switch for Board {
    fn state(&mut self) -> SlotState {
        let banks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if banks.started && !banks.confirmed { SlotState::Trial } else { SlotState::Confirmed }
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        let mut banks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match action {
            SlotAction::Activate => banks.new = true,
            SlotAction::Confirm => banks.confirmed = true,
            SlotAction::RollBack => banks.new = false,
            _ => {}
        }
        Ok(())
    }
}

/// What the cloud and the disk say in the end.
struct Verdict {
    messages: u64,
    checkpoints: u32,
    sessions: u64,
}

/// Asks the cloud's record and reads the slot: nobody's word is taken for it.
async fn judge(
    cloud: &Handle,
    device: &Identity,
    folder: &TempDir,
    firmware: &[u8],
) -> Result<Verdict, Failure> {
    let record = cloud.device(device).await.map_err(unexpected)?;
    let record = record.ok_or_else(|| Failure::failed("the cloud does not know the device"))?;
    if !record.is_proved() {
        let task = record.task.as_ref();
        let (claimed, proved) = (
            task.is_some_and(|task| task.claimed.is_some()),
            task.is_some_and(|task| task.proved.is_some()),
        );
        return Err(Failure::failed(format!(
            "the cloud's record does not say proved: claimed {claimed}, proved {proved}"
        )));
    }
    let dir = DataDir::open(folder.path())?;
    let slot = FileSlot::open(&dir, SlotOptions::default())?;
    let stored = std::fs::read(slot.path())
        .map_err(|why| Failure::environment(format!("cannot read the slot: {why}")))?;
    if stored != firmware {
        return Err(Failure::failed("the slot does not hold the firmware's bytes"));
    }
    // Each record has the number of the one before it and one.
    let journal = JournalFile::open(&dir)?.load();
    let (checkpoints, _) = journal
        .and_then(|block| Record::decode(&block).ok())
        .ok_or_else(|| Failure::failed("the device left no journal"))?;
    let counters = record.counters;
    Ok(Verdict { messages: counters.received, checkpoints, sessions: counters.sessions })
}

/// Prints what the cloud has said, and what it says until this is over.
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

fn summary(args: &Demo, printer: &Printer, at: Instant, verdict: &Verdict) {
    let Verdict { messages, checkpoints, sessions } = *verdict;
    let seconds = at.since(Instant::ZERO).as_secs_f64();
    let (size, seed) = (args.size, args.seed);
    if args.json {
        print::out(&format!(
            "{{\"result\":\"proved\",\"version\":\"{NEW}\",\"claimed\":true,\"proved\":true,\
             \"messages\":{messages},\"checkpoints\":{checkpoints},\"bytes\":{size},\
             \"sessions\":{sessions},\"seconds\":{seconds:.3},\"seed\":{seed}}}"
        ));
        return;
    }
    let text = format!(
        "proved: {NEW} runs, and the slot holds the firmware's {}\n           \
         {seconds:.2} s, {messages} messages from the device, {checkpoints} journal records",
        Bytes(size)
    );
    printer.line(&Line::new(at, "proved", text));
}

/// The firmware: bytes from the seed.
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

/// The device's secret: 16 bytes from the seed. It guards nothing but the demo.
fn secret(seed: u64) -> Result<Secret, Failure> {
    let mut rng = Rng::new(!seed);
    let words = [rng.next_u64().to_le_bytes(), rng.next_u64().to_le_bytes()];
    Secret::from_bytes(words.as_flattened()).map_err(unexpected)
}

/// Nothing that the user did can be the reason.
fn unexpected(why: impl std::fmt::Display) -> Failure {
    Failure::failed(format!("the demo broke: {why}"))
}
