//! `ota cloud load`: many devices at once, each with its own connection and client.

mod device;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ota_cloud::broker::Broker;
use ota_host::Clock;
use ota_proto::Instant;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant as Moment, sleep, timeout_at};

use crate::args::Load;
use crate::failure::Failure;
use crate::open_files;
use crate::print;
use device::Device;

/// The phase of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Connect, report once, and wait.
    Rest,
    /// Report again after each answer of the cloud.
    Report,
    Stop,
}

/// The shared counters.
#[derive(Debug, Default)]
struct Counters {
    /// Devices with an answer to their first report.
    ready: AtomicU64,
    /// Answers while [`Phase::Report`] lasted.
    answers: AtomicU64,
    /// Connections that were lost or could not be opened.
    lost: AtomicU64,
}

/// Runs to the end.
pub(crate) fn run(args: &Load) -> Result<(), Failure> {
    open_files::allow("--devices", u64::from(args.devices))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("cannot start: {error}")))?;
    runtime.block_on(load(args))
}

async fn load(args: &Load) -> Result<(), Failure> {
    let broker = Broker::from_url(&args.broker).map_err(|why| {
        Failure::usage(format!("--broker: {why}; write it like mqtt://host:1883"))
    })?;
    if broker.is_secure() {
        return Err(Failure::usage("--broker: the load comes without TLS; write mqtt://"));
    }
    let clock = Clock::start();
    let counters = Arc::new(Counters::default());
    let (phase, follow) = watch::channel(Phase::Rest);
    let before = Usage::of(args)?;
    let mut tasks = JoinSet::new();
    for number in 0..args.devices {
        let device = Device::new(&broker, number, args.spread, clock)?;
        tasks.spawn(device.run(Arc::clone(&counters), follow.clone()));
    }
    drop(follow);
    let count = u64::from(args.devices);
    let connected = all_ready(args, &counters, &mut tasks).await?;
    let (rest, began) = (Usage::of(args)?, clock.now());
    phase.send_replace(Phase::Report);
    sleep(args.time).await;
    phase.send_replace(Phase::Stop);
    let (spent, answers) = (clock.now().since(began), counters.answers.load(Ordering::Relaxed));
    let loaded = Usage::of(args)?;
    let mut latencies: Vec<Duration> = Vec::new();
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done.map_err(|why| Failure::failed(why.to_string()))??);
    }
    latencies.sort_unstable();
    let lost = counters.lost.load(Ordering::Relaxed);
    let each = |after: Option<Usage>| Some(after?.memory.saturating_sub(before?.memory) / count);
    let core = rest.zip(loaded).map(|(rest, loaded)| loaded.core - rest.core);
    Summary {
        devices: count,
        connected,
        spent,
        answers,
        median: part(&latencies, 50),
        slow: part(&latencies, 99),
        lost,
        core,
        rest: each(rest),
        loaded: each(loaded),
    }
    .print(args.json);
    if lost > 0 {
        return Err(Failure::failed(format!("{lost} connections were lost or could not be made")));
    }
    Ok(())
}

/// Waits until each device has an answer to its first report; returns the duration.
async fn all_ready(
    args: &Load,
    counters: &Counters,
    tasks: &mut JoinSet<Result<Vec<Duration>, Failure>>,
) -> Result<Duration, Failure> {
    let began = Moment::now();
    let deadline = began + args.spread + PATIENCE;
    loop {
        let ready = counters.ready.load(Ordering::Relaxed);
        if ready >= u64::from(args.devices) {
            return Ok(began.elapsed());
        }
        if Moment::now() >= deadline {
            let lost = counters.lost.load(Ordering::Relaxed);
            return Err(Failure::failed(format!(
                "only {ready} of {} devices were answered, and {lost} connections were lost: does \
                 the cloud run with --anonymous, --max-devices and --max-connections?",
                args.devices
            )));
        }
        // A device ends by itself only after an error.
        let tick = Moment::now() + Duration::from_millis(10);
        if let Ok(Some(ended)) = timeout_at(tick, tasks.join_next()).await {
            ended.map_err(|why| Failure::failed(why.to_string()))??;
        }
    }
}

/// How long after the spread the last device may get its answer.
const PATIENCE: Duration = Duration::from_secs(60);

struct Summary {
    devices: u64,
    connected: Duration,
    spent: Duration,
    answers: u64,
    median: Duration,
    slow: Duration,
    lost: u64,
    /// The cloud's CPU seconds for them.
    core: Option<f64>,
    rest: Option<u64>,
    loaded: Option<u64>,
}

impl Summary {
    fn print(&self, json: bool) {
        let rate = self.answers as f64 / self.spent.as_secs_f64();
        let number = |bytes: Option<u64>| bytes.map_or("null".to_owned(), |n| n.to_string());
        let (devices, answers, lost) = (self.devices, self.answers, self.lost);
        let [connected, spent, median, slow] =
            [self.connected, self.spent, self.median, self.slow].map(|span| span.as_secs_f64());
        if json {
            return print::out(&format!(
                "{{\"devices\":{devices},\"connected\":{connected:.3},\"seconds\":{spent:.3},\
                 \"reports\":{answers},\"rate\":{rate:.0},\"median\":{median:.4},\
                 \"p99\":{slow:.4},\"lost\":{lost},\"core_seconds\":{},\"rest_bytes\":{},\
                 \"loaded_bytes\":{}}}",
                self.core.map_or("null".to_owned(), |core| format!("{core:.2}")),
                number(self.rest),
                number(self.loaded)
            ));
        }
        print::out(&format!(
            "{devices} devices connected, subscribed and answered in {connected:.1} s\n\
             {answers} reports answered in {spent:.1} s: {rate:.0} a second, after {:.0} ms at the \
             median, {:.0} ms at 99 %; {lost} connections lost",
            median * 1e3,
            slow * 1e3
        ));
        if let (Some(core), Some(rest), Some(loaded)) = (self.core, self.rest, self.loaded) {
            let rate = answers as f64 / core.max(0.01);
            print::out(&format!(
                "the cloud took {core:.1} s of a core for them: {rate:.0} reports for each\n\
                 its memory a device: {rest} bytes at rest, {loaded} after the load"
            ));
        }
    }
}

/// The value that `percent` of the sorted values do not exceed.
fn part(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// The resource usage of the watched process.
#[derive(Clone, Copy)]
struct Usage {
    /// Anonymous memory in bytes.
    memory: u64,
    /// CPU seconds so far.
    core: f64,
}

impl Usage {
    fn of(args: &Load) -> Result<Option<Self>, Failure> {
        let Some(pid) = args.pid else { return Ok(None) };
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{pid}/{name}"))
                .map_err(|why| Failure::usage(format!("--pid: cannot read what {pid} uses: {why}")))
        };
        let (status, stat) = (read("status")?, read("stat")?);
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        // The name in parentheses may have spaces; user and system time are the 12th and 13th
        // fields after it.
        let ticks = stat.rsplit_once(')').and_then(|(_, rest)| {
            let mut times = rest.split_whitespace().skip(11).map(str::parse::<u64>);
            Some(times.next()?.ok()? + times.next()?.ok()?)
        });
        let (Some(kib), Some(ticks)) = (kib, ticks) else {
            return Err(Failure::environment("--pid: the system does not say what it uses"));
        };
        let second = rustix::param::clock_ticks_per_second() as f64;
        Ok(Some(Self { memory: kib * 1024, core: ticks as f64 / second }))
    }
}

/// Converts a time of the clock to the runtime's.
fn moment(clock: Clock, at: Instant) -> Option<Moment> {
    clock.to_std(at).map(Moment::from_std)
}
