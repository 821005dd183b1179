//! Cuts the power at every byte of every write and erase of an update, and prints the number of
//! cuts.
//!
//! `cuts [--full] [--stride N] [--seed N]`: every byte, or every N-th; `--full` also pairs cuts,
//! and makes every byte of the next seed.
//! `cuts --seed N --at POINT` replays one run with its trace.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::time::Instant;

use ota_sim::Mode;
use ota_sim::cuts::{Counts, Depth, Point, Scenario, replay, sweep};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the rate is for people; no run sees the time")]
fn run() -> Result<(), String> {
    let (mut depth, mut seed) = (Depth { stride: 1, again: true, pairs: 0 }, 1);
    let mut at = None::<Point>;
    let mut args = std::env::args().skip(1);
    let usage = "cuts [--full] [--stride N] [--seed N] [--at SCENARIO:OP:MODE:BYTE[:OP:MODE:BYTE]]";
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(usage);
        match arg.as_str() {
            "--full" => depth.pairs = 24,
            "--stride" => depth.stride = value()?.parse().map_err(|_| usage)?,
            "--seed" => seed = value()?.parse().map_err(|_| usage)?,
            "--at" => at = Some(value()?.parse().map_err(|()| usage)?),
            _ => return Err(usage.into()),
        }
    }
    if let Some(point) = at {
        let world = replay(seed, point).map_err(|failure| failure.to_string())?;
        print!("{}", world.trace);
        return Ok(());
    }
    let began = Instant::now();
    let mut total = table(seed, depth)?;
    if depth.pairs > 0 {
        total += table(seed.wrapping_add(1), Depth { pairs: 0, ..depth })?;
    }
    let seconds = began.elapsed().as_secs_f64();
    let rate = total as f64 / seconds;
    println!("{total} power cuts in {seconds:.1} s ({rate:.0} a second): 0 devices lost");
    Ok(())
}

fn table(seed: u64, depth: Depth) -> Result<u64, String> {
    let mut all = Counts::default();
    println!("seed {seed}");
    head();
    for scenario in Scenario::ALL {
        let counts = sweep(scenario, seed, depth).map_err(|failure| failure.to_string())?;
        row(&scenario.to_string(), &counts);
        all.add(&counts);
    }
    row("all", &all);
    Ok(all.total())
}

fn head() {
    print!("{:<12} {:>4}", "update", "ops");
    for again in ["", "2:"] {
        for mode in Mode::ALL {
            print!(" {:>9}", format!("{again}{}", mode.name()));
        }
    }
    println!(" {:>9} {:>9}", "new image", "old image");
}

fn row(name: &str, counts: &Counts) {
    print!("{name:<12} {:>4}", counts.operations);
    for count in counts.single.iter().chain(&counts.double) {
        print!(" {count:>9}");
    }
    println!(" {:>9} {:>9}", counts.proved, counts.failed);
}
