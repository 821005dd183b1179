//! Checks of this workspace, one subcommand each. `.ci/run` calls them; you can too.
#![forbid(unsafe_code)]

mod bench;
mod bounds;
mod builds;
mod count;
mod coverage;
mod deps;
mod docs;
mod instructions;
mod kept;
mod lint;
mod mcu;
mod metadata;
mod package;
mod words;

use std::process::{Command, ExitCode};

const USAGE: &str =
    "usage: cargo xtask bench [MIB ROUNDS] | bounds [--write] | builds | coverage [--all] | deps | docs [--list] | features | instructions [--write] | lint | mcu [WORD…] | package
  bench     the agent against curl, sync and md5sum, for an image of MIB (256), ROUNDS (5) in
            turn, and its memory; needs curl
  bounds    lines of code, lengths of functions and files, `forbid(unsafe_code)`, `no_std`;
            --write also refreshes docs/bounds.md
  builds    packages and seconds of a build from nothing, for each published crate
  coverage  line coverage of ota-proto and ota-wire by their own tests, at least 95 % of each; needs
            llvm-cov of rustc's LLVM; --all names each line that is not covered
  deps      who may depend on whom; licences, bans and sources of deny.toml; Rust versions
  docs      runs the commands of README.md and docs/ marked `sh ci`, checks relative links;
            --list runs nothing
  features  builds each library with no feature, each feature alone, and all of them
  instructions
            instructions of one step of the device, by callgrind, against docs/performance.md;
            --write refreshes the page
  lint      the word list, rustfmt, clippy, the strict lints of the IO-free crates, rustdoc
  mcu       the firmware of examples/embassy-mcu on an emulated board: an update and roll-backs;
            `cargo xtask mcu help` says what else
  package   what each published crate must have, and a build from its package alone";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["bench"] => bench::run(256, 5),
        ["bench", mib, rounds] => match (mib.parse(), rounds.parse()) {
            (Ok(mib), Ok(rounds)) => bench::run(mib, rounds),
            _ => Err(USAGE.to_owned()),
        },
        ["bounds"] => bounds::run(false),
        ["bounds", "--write"] => bounds::run(true),
        ["builds"] => builds::run(),
        ["coverage"] => coverage::run(false),
        ["coverage", "--all"] => coverage::run(true),
        ["deps"] => deps::run(),
        ["docs"] => docs::run(false),
        ["docs", "--list"] => docs::run(true),
        ["features"] => lint::features(),
        ["instructions"] => instructions::run(false),
        ["instructions", "--write"] => instructions::run(true),
        ["lint"] => lint::run(),
        ["mcu", rest @ ..] => mcu::run(rest),
        ["package"] => package::run(),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the command, runs it, and turns a failure into one line that names it.
fn execute(command: &mut Command) -> Result<(), String> {
    let shown = show(command);
    println!("+ {shown}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{shown}`: {status}")),
        Err(error) => Err(format!("`{shown}` did not start: {error}")),
    }
}

/// The `cargo` that runs this program: no toolchain manager is needed.
fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    words.join(" ")
}

/// Formats one line per fault under a heading; `Ok` without faults.
fn faults(heading: &str, list: &[String]) -> Result<(), String> {
    if list.is_empty() {
        return Ok(());
    }
    Err(format!("{heading}:\n  {}", list.join("\n  ")))
}
