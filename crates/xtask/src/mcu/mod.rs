//! `cargo xtask mcu`: the firmware of `examples/embassy-mcu`, built, and run on an emulated board
//! against `ota cloud serve`.

mod board;
mod cloud;
mod cuts;
mod elf;
mod flash;
mod lines;
mod runs;
mod story;
mod tools;
mod world;

use std::path::{Path, PathBuf};

use crate::metadata::Metadata;

const USAGE: &str = "\
usage: cargo xtask mcu [build | update | rollback | faults | cuts [--count N] [--seed S]]
  build     boot loader and firmware
  update    1.0.0 updates itself to 2.0.0
  rollback  versions that must not stay are taken back
  faults    cable out, cloud restarted, wrong digest, wrong signature
  cuts      the power goes at random moments, 50 times unless told otherwise
without a word: update and rollback";

/// Runs what the words say.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let root = Metadata::load_members()?.workspace_root;
    match words {
        [] => runs::update(&root).and_then(|()| runs::rollback(&root)),
        ["build"] => {
            let programs = tools::Programs::build(&root)?;
            programs.firmware("1.0.0", tools::SelfTest::Passes).map(|_| ())
        }
        ["update"] => runs::update(&root),
        ["rollback"] => runs::rollback(&root),
        ["faults"] => runs::faults(&root),
        ["cuts", options @ ..] => {
            let count = option(options, "--count")?.unwrap_or(50);
            let seed = option(options, "--seed")?.unwrap_or_else(lines::any_number);
            cuts::run(&root, count as u32, seed)
        }
        ["help"] => {
            println!("{USAGE}");
            Ok(())
        }
        _ => Err(USAGE.to_owned()),
    }
}

/// The number after an option.
fn option(words: &[&str], name: &str) -> Result<Option<u64>, String> {
    let known = words.chunks(2).all(|pair| ["--count", "--seed"].contains(&pair[0]));
    let Some(at) = words.iter().position(|word| *word == name) else {
        return if known { Ok(None) } else { Err(USAGE.to_owned()) };
    };
    let value = words.get(at + 1).and_then(|word| word.parse().ok());
    value.map(Some).ok_or_else(|| format!("{name} needs a number"))
}

/// Where everything of this goes.
fn place(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| root.join("target")).join("mcu")
}
