//! Faulty worlds by their seeds, and a fleet.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "the seconds that a run takes are for people")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use core::ops::Range;

use ota_sim::random::{self, Level};
use ota_sim::wire::fleet::{Fleet, FleetSetup};
use ota_sim::{Kind, Met, Outcome};

const USAGE: &str = "\
usage: ota-sim [--wire] --seed N
       ota-sim [--wire] --seeds A..B
       ota-sim fleet [--devices N] [--seed N]

Faulty worlds drawn from a seed. --seed prints the trace of one, the same on every machine;
--seeds runs a range on all cores and prints the seeds that broke a rule. --wire takes the world
of bytes in place of the world of messages. fleet updates so many devices at once: 1,000,
10,000 and 100,000 when nothing is said.";

/// The requested run.
enum Wanted {
    Seed(u64),
    Seeds(Range<u64>),
    Fleet(Vec<u32>, u64),
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let level = if args.contains(&"--wire") { Level::Wire } else { Level::Messages };
    let rest: Vec<&str> = args.into_iter().filter(|arg| *arg != "--wire").collect();
    match wanted(&rest) {
        Some(Wanted::Seed(seed)) => one(seed, level),
        Some(Wanted::Seeds(seeds)) => many(seeds, level),
        Some(Wanted::Fleet(sizes, seed)) => fleets(&sizes, seed),
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn wanted(args: &[&str]) -> Option<Wanted> {
    Some(match args {
        ["--seed", seed] => Wanted::Seed(number(seed)?),
        ["--seeds", seeds] => {
            let (from, to) = seeds.split_once("..")?;
            Wanted::Seeds(number(from)?..number(to)?)
        }
        ["fleet", rest @ ..] => fleet_args(rest)?,
        _ => return None,
    })
}

fn fleet_args(args: &[&str]) -> Option<Wanted> {
    let (mut sizes, mut seed) = (vec![1_000, 10_000, 100_000], 1);
    for pair in args.chunks(2) {
        match pair {
            ["--devices", count] => sizes = vec![number(count)?.try_into().ok()?],
            ["--seed", text] => seed = number(text)?,
            _ => return None,
        }
    }
    Some(Wanted::Fleet(sizes, seed))
}

/// Parses a number, with or without groups: `100_000`.
fn number(text: &str) -> Option<u64> {
    text.replace('_', "").parse().ok()
}

fn one(seed: u64, level: Level) -> ExitCode {
    let run = random::run(seed, level);
    let (text, code) = match &run.result {
        Ok(outcome) => (format!("{}seed {seed}: {outcome:?}\n", run.trace), ExitCode::SUCCESS),
        // The trace follows the violation.
        Err(why) => (format!("{why}\nseed {seed} broke the rule above\n"), ExitCode::FAILURE),
    };
    // The reader may have closed the pipe.
    let _ = std::io::stdout().write_all(text.as_bytes());
    code
}

fn many(seeds: Range<u64>, level: Level) -> ExitCode {
    // Panics are caught and reported by seed.
    std::panic::set_hook(Box::new(|_| {}));
    let began = Instant::now();
    let (next, proved) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    let met = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let run = random::run(seed, level);
                    met.lock().map(|mut all| add(&mut all, &run.trace.met())).unwrap_or_default();
                    match run.result {
                        Ok(Outcome::Proved) => drop(proved.fetch_add(1, Ordering::Relaxed)),
                        Ok(Outcome::Ended) => {}
                        Err(why) => {
                            let why = why.lines().next().unwrap_or_default().to_owned();
                            failed.lock().map(|mut all| all.push((seed, why))).unwrap_or_default();
                        }
                    }
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap_or_default();
    failed.sort();
    let count = seeds.end.saturating_sub(seeds.start);
    let proved = proved.into_inner();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{count} seeds ({level:?}): {proved} proved, {} told as failed, {} violations; \
         {seconds:.1} s, {:.0} seeds/s",
        count.saturating_sub(proved).saturating_sub(failed.len() as u64),
        failed.len(),
        count as f64 / seconds,
    );
    let met = met.into_inner().unwrap_or_default();
    for (kind, (worlds, Met { happened, provoked })) in &met {
        println!(
            "{kind:?}: in {worlds} worlds {happened} times, and {provoked} times what follows"
        );
    }
    // In this many worlds each kind of trouble must occur and have its consequence.
    let acted = |kind| met.get(kind).is_some_and(|(_, met): &(u64, Met)| met.provoked > 0);
    let missing = Kind::of(level).iter().find(|kind| !acted(kind)).filter(|_| count >= 2_000);
    if let Some(kind) = missing {
        println!("{kind:?} was not met, or provoked nothing");
        return ExitCode::FAILURE;
    }
    for (seed, why) in failed.iter().take(10) {
        println!("seed {seed}: {why}");
    }
    let Some((first, _)) = failed.first() else { return ExitCode::SUCCESS };
    let wire = if level == Level::Wire { " --wire" } else { "" };
    println!("the first again: cargo run --release -p ota-sim --{wire} --seed {first}");
    ExitCode::FAILURE
}

/// How many worlds met each kind of trouble, and how many had its consequence.
fn add(all: &mut BTreeMap<Kind, (u64, Met)>, run: &BTreeMap<Kind, Met>) {
    for (kind, met) in run {
        let (worlds, sum) = all.entry(*kind).or_default();
        *worlds = worlds.saturating_add(1);
        sum.happened = sum.happened.saturating_add(met.happened);
        sum.provoked = sum.provoked.saturating_add(met.provoked);
    }
}

fn fleets(sizes: &[u32], seed: u64) -> ExitCode {
    for devices in sizes {
        if let Err(why) = fleet(*devices, seed) {
            println!("{devices} devices, seed {seed}: {why}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// One fleet, from power-on to the last update. The figures include earlier fleets of this process.
fn fleet(devices: u32, seed: u64) -> Result<(), String> {
    let before = memory("VmRSS");
    let (began, ticks) = (Instant::now(), ticks());
    let mut fleet = Fleet::new(FleetSetup::new(devices, seed));
    fleet.power_on()?;
    let (idle, online) = (memory("VmRSS"), began.elapsed().as_secs_f64());
    let report = fleet.roll_out()?;
    let seconds = began.elapsed().as_secs_f64();
    // On a shared machine the core's own time is more meaningful.
    let core = self::ticks().zip(ticks).map(|(now, then)| now.saturating_sub(then) as f64 / 100.0);
    let each = |now: Option<u64>| match (now, before) {
        (Some(now), Some(before)) => (now.saturating_sub(before) / u64::from(devices)).to_string(),
        _ => "?".into(),
    };
    let peak = memory("VmHWM");
    println!("{devices} devices, seed {seed}: {report:?}");
    println!(
        "{devices} devices: {seconds:.1} s ({online:.1} s to power on; {} on the core), \
         {:.0} devices a second of it, {} bytes a device idle, {} at the peak, VmHWM {} MiB",
        core.map_or_else(|| "?".into(), |core| format!("{core:.1} s")),
        f64::from(devices) / core.unwrap_or(seconds).max(0.01),
        each(idle),
        each(peak),
        peak.map_or_else(|| "?".into(), |peak| (peak / 1_048_576).to_string()),
    );
    if report.updated != devices {
        return Err(format!("only {} were updated", report.updated));
    }
    Ok(())
}

/// A number of `/proc/self/status` in bytes; `None` without such a file.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// The core time of this process in hundredths of a second.
fn ticks() -> Option<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name may contain anything; user and system time are the 12th and 13th fields after it.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    user.checked_add(fields.next()?.parse().ok()?)
}
