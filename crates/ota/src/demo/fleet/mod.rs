//! `ota demo --fleet`: a batch in waves, with many devices. The cloud decides when which device
//! starts, and each device what it does; the demo only starts them and shows what they tell.

mod board;
mod device;
mod operator;
mod show;

use std::time::Duration;

use ota_host::Clock;
use ota_proto::{Identity, InstallFault, Rng};
use ota_server::{ApiConfig, Running, Service, ServiceConfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{SPACING, firmware, same_clock, secret, unexpected};
use crate::args::Demo;
use crate::failure::{Code, Failure};
use crate::print::{self, Line, Printer};
use crate::{open_files, stop};

use device::{Far, Made};
use operator::Operator;
use show::{Screen, Summary, Wave, words};

/// Ten characters, like the platform's.
const PRODUCT: &str = "DEMOPROD01";
/// Descriptors for each device: both ends of its two connections.
const DESCRIPTORS: u64 = 4;
/// The pause before the batch is looked at again.
const PAUSE: Duration = Duration::from_millis(100);
/// How installations fail, in turn.
const FAULTS: [InstallFault; 3] =
    [InstallFault::Image, InstallFault::NoSpace, InstallFault::Machine];

/// Runs the demo with this many devices.
pub(super) fn run(args: &Demo, devices: u32) -> Result<(), Failure> {
    if args.size() > board::CAPACITY {
        return Err(Failure::usage("--size: with --fleet a firmware has at most 1MiB"));
    }
    open_files::allow("--fleet", u64::from(devices) * DESCRIPTORS)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start: {error}")))?;
    runtime.block_on(async {
        let folder = TempDir::with_prefix("ota-demo-")
            .map_err(|why| Failure::environment(format!("no temporary folder: {why}")))?;
        let mut stop = stop::Signals::new()?;
        let fleet = Fleet::start(args, devices, &folder).await?;
        let ended = fleet.play(args, devices, &mut stop).await;
        fleet.cloud.shutdown().await;
        ended
    })
}

/// The time limit of the batch.
fn patience(devices: u32) -> Duration {
    Duration::from_secs(60 + u64::from(devices) / 5)
}

/// A cloud and what it needs to know about its devices.
struct Fleet {
    cloud: Running,
    clock: Clock,
    operator: Operator,
    made: Vec<Made>,
    /// Of them so many fail.
    failing: u64,
    printer: Printer,
}

impl Fleet {
    async fn start(args: &Demo, devices: u32, folder: &TempDir) -> Result<Self, Failure> {
        let spacing = if args.fast { Duration::ZERO } else { SPACING };
        let key_file = folder.path().join("key");
        let mut api = ApiConfig::new(([127, 0, 0, 1], 0).into());
        api.key_file = Some(key_file.clone());
        let mut config = ServiceConfig {
            connect_spacing: Some(spacing).filter(|spacing| !spacing.is_zero()),
            api: Some(api),
            log_messages: false,
            ..ServiceConfig::default()
        };
        config.cloud.max_devices = config.cloud.max_devices.max(devices);
        let cloud =
            Service::start(config).await.map_err(|why| Failure::environment(why.to_string()))?;
        let clock = same_clock(&cloud.handle());
        let made = make(args, devices, &cloud, spacing)?;
        let api = cloud.api_addr().ok_or_else(|| unexpected("there is no API"))?;
        let operator = Operator::new(&format!("http://{api}"), &key_file)?;
        operator.prepare(&made, &firmware(args.seed, args.size())?)?;
        let failing = made.iter().filter(|made| made.fault.is_some()).count() as u64;
        let printer = Printer::new(args.json, false, true);
        let (mqtt, http) = (cloud.mqtt_addr(), cloud.http_addr());
        let text = format!(
            "the cloud listens: mqtt {mqtt}, http {http}, api {api}; {devices}, of which \
             {failing} will fail",
            devices = words(devices.into())
        );
        let line = Line::new(clock.now(), "listening", text).with("mqtt", mqtt.to_string());
        let line = line.with("http", http.to_string()).with("api", api.to_string());
        printer.line(&line.with("devices", devices).with("failing", failing));
        Ok(Self { cloud, clock, operator, made, failing, printer })
    }

    /// Runs the batch, and keeps the console open after it if that is wanted. No device outlives it.
    async fn play(
        &self,
        args: &Demo,
        devices: u32,
        stop: &mut stop::Signals,
    ) -> Result<(), Failure> {
        if args.console {
            self.greet();
        }
        let (far, follow) = watch::channel(Far::default());
        let mut lives = JoinSet::new();
        for made in &self.made {
            lives.spawn(device::live(made.clone(), self.clock, far.clone()));
        }
        let patience = patience(devices);
        let late =
            |_| Err(Failure::failed(format!("the batch took more than {} s", patience.as_secs())));
        let ended = tokio::select! {
            ended = timeout(patience, self.update(args, devices, follow)) => {
                ended.unwrap_or_else(late)
            }
            why = broken(&mut lives) => Err(why),
            signal = stop.next() => Err(signal),
        };
        if let (Err(why), true) = (&ended, args.json) {
            let text = Value::from(why.to_string());
            print::out(&format!("{{\"result\":\"failed\",\"reason\":{text}}}"));
        }
        let is_stopped = |why: &Failure| matches!(why.code, Code::Interrupted | Code::Terminated);
        if args.console && !ended.as_ref().is_err_and(is_stopped) {
            let text = "the batch is over; the cloud and its console stay until Ctrl-C";
            self.printer.line(&Line::new(self.clock.now(), "open", text));
            tokio::select! {
                why = broken(&mut lives) => return Err(why),
                _ = stop.next() => {}
            }
        }
        lives.shutdown().await;
        ended
    }

    /// Tells how to look at the batch in a browser.
    fn greet(&self) {
        let Some(link) = self.cloud.first_link() else { return };
        let text = format!("for an hour, the first admin of the console joins at {link}");
        self.printer.line(&Line::new(self.clock.now(), "console", text).with("link", link));
    }

    /// Runs the batch to its end.
    async fn update(
        &self,
        args: &Demo,
        devices: u32,
        mut follow: watch::Receiver<Far>,
    ) -> Result<(), Failure> {
        let lost = |_| unexpected("no device lives");
        follow.wait_for(|far| far.ready >= devices).await.map_err(lost)?;
        let text = format!("connected: {}; the batch begins", words(devices.into()));
        let line = Line::new(self.clock.now(), "connected", text).with("devices", devices);
        self.printer.line(&line);
        let began = self.clock.now();
        let path = self.operator.start(devices)?;
        let mut screen = Screen::new(&self.printer, args.json);
        let batch = loop {
            let batch = self.operator.look(&path)?;
            let waves = Wave::all(&batch);
            let is_over = is_over(&batch, &waves);
            screen.show(self.clock.now(), waves);
            if is_over {
                break batch;
            }
            sleep(PAUSE).await;
        };
        drop(screen);
        let at = self.clock.now();
        let summary = Summary::of(&batch, at.since(began).as_secs_f64(), args.seed);
        self.judge(&batch, &summary)?;
        // A batch counts what devices claim. They prove it with their next report.
        let updated = u64::from(devices) - self.failing;
        follow.wait_for(|far| u64::from(far.updated) >= updated).await.map_err(lost)?;
        summary.print(at, &self.printer, args.json, "ended");
        Ok(())
    }

    /// Whether exactly the devices that were to fail have failed.
    fn judge(&self, batch: &Value, summary: &Summary) -> Result<(), Failure> {
        let Summary { devices, done, failed, .. } = summary;
        let numbers = format!("{done} of {devices} devices were updated, and {failed} failed");
        if batch["state"] == "paused" {
            let wave = batch["wave"].as_u64().unwrap_or(0);
            let text = format!("the stop rule of wave {wave} has stopped the batch: {numbers}");
            return Err(Failure::failed(text));
        }
        if *failed != self.failing || done + failed != *devices {
            let text = format!("{numbers}, but {} were to fail", self.failing);
            return Err(Failure::failed(text));
        }
        Ok(())
    }
}

/// Whether nothing moves any more. The cloud reads waves and devices one after the other, so the last
/// device may have ended between them: then the next look has both.
fn is_over(batch: &Value, waves: &[Wave]) -> bool {
    match (batch["state"].as_str(), batch["status"].as_str()) {
        (Some("paused"), _) => batch["why"] == "stop-rule",
        (_, Some("finished")) => waves.iter().all(Wave::is_over),
        (_, status) => status == Some("cancelled"),
    }
}

/// A device ends by itself only after an error.
async fn broken(lives: &mut JoinSet<Result<(), Failure>>) -> Failure {
    match lives.join_next().await {
        Some(Ok(Err(why))) => why,
        Some(Err(why)) => unexpected(why),
        Some(Ok(Ok(()))) | None => std::future::pending().await,
    }
}

/// The devices. The seed decides which of them fail.
fn make(
    args: &Demo,
    devices: u32,
    cloud: &Running,
    spacing: Duration,
) -> Result<Vec<Made>, Failure> {
    let failing = chosen(args.seed, devices, args.fail.unwrap_or(Demo::FAIL));
    let mqtt = cloud.mqtt_addr();
    let mut made = Vec::new();
    for number in 0..devices {
        let seed = args.seed.wrapping_add(u64::from(number));
        let place = failing.iter().position(|failing| *failing == number);
        // A fleet is not of one speed.
        let takes = Duration::from_millis(500 + Rng::new(seed).next_u64() % 2_000);
        made.push(Made {
            identity: Identity::new(PRODUCT, &format!("device-{:04}", number + 1))
                .map_err(unexpected)?,
            secret: secret(seed)?,
            host: mqtt.ip().to_string(),
            port: mqtt.port(),
            spacing,
            takes: if args.fast { Duration::ZERO } else { takes },
            fault: place.and_then(|place| FAULTS.get(place % FAULTS.len()).copied()),
            seed,
        });
    }
    Ok(made)
}

/// Chooses this percentage of the devices, to the nearest number.
fn chosen(seed: u64, devices: u32, percent: u8) -> Vec<u32> {
    let count = (devices * u32::from(percent) + 50) / 100;
    let (mut rng, mut left) = (Rng::new(seed), (0..devices).collect::<Vec<u32>>());
    let mut chosen = Vec::new();
    while chosen.len() < count as usize && !left.is_empty() {
        let place = usize::try_from(rng.next_u64() % left.len() as u64).unwrap_or(0);
        chosen.push(left.swap_remove(place));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_batch_is_over_when_its_waves_say_so_too() {
        let batch = |status: &str, state: &str, why: &str, wave: &str| {
            let waves = json!([{ "wave": 1, "state": "over" }, { "wave": 2, "state": wave }]);
            let batch = json!({ "status": status, "state": state, "why": why, "waves": waves });
            is_over(&batch, &Wave::all(&batch))
        };
        assert!(batch("finished", "closed", "", "over"));
        assert!(!batch("finished", "closed", "", "running"));
        assert!(!batch("running", "running", "", "over"));
        assert!(batch("paused", "paused", "stop-rule", "running"));
        assert!(!batch("paused", "paused", "person", "running"));
        assert!(batch("cancelled", "closed", "", "running"));
    }

    #[test]
    fn a_seed_chooses_the_same_devices_and_each_once() {
        let mut some = chosen(1, 200, 3);
        assert_eq!(some, chosen(1, 200, 3));
        assert_ne!(some, chosen(2, 200, 3));
        some.sort_unstable();
        some.dedup();
        assert_eq!(some.len(), 6);
        assert_eq!((chosen(1, 20, 3).len(), chosen(1, 16, 3).len()), (1, 0));
        assert_eq!(chosen(1, 1_000, 100).len(), 1_000);
    }
}
