//! `cargo xtask mcu`: the firmware of `examples/embassy-mcu`, built, and run on an emulated board
//! against `ota cloud serve`.

mod board;
mod cloud;
mod cuts;
mod elf;
mod flash;
mod footprint;
mod lines;
mod runs;
mod small;
mod story;
mod tools;
mod world;

use std::path::{Path, PathBuf};

use crate::metadata::Metadata;

const USAGE: &str = "\
usage: cargo xtask mcu [build] [update] [rollback] [faults] [cuts] [small] [footprint] [OPTION…]
  build     boot loader and firmware
  update    1.0.0 updates itself to 2.0.0
  rollback  versions that must not stay are taken back
  faults    cable out, cloud restarted, wrong digest, wrong signature
  cuts      the power goes at random moments; --count 50, --seed of the clock's choice
  small     a board with 64 KiB of memory downloads and verifies
  footprint flash, memory and wear against docs/footprint.md; --write refreshes the page
without a word: update and rollback
OTA=PROGRAM is the program `ota` to serve with; without it, it is built";

/// Runs the named steps in order.
pub(crate) fn run(words: &[&str]) -> Result<(), String> {
    let words = Words::parse(words)?;
    let root = Metadata::load_members()?.workspace_root;
    let programs = tools::Programs::build(&root)?;
    for part in &words.parts {
        match part.as_str() {
            "build" => programs.firmware("1.0.0", tools::SelfTest::Passes).map(|_| ())?,
            "update" => runs::update(&programs)?,
            "rollback" => runs::rollback(&programs)?,
            "faults" => runs::faults(&programs)?,
            "small" => small::run(&programs)?,
            "footprint" => footprint::run(&programs, words.write)?,
            _ => cuts::run(&programs, words.count, words.seed.unwrap_or_else(lines::any_number))?,
        }
    }
    Ok(())
}

/// The command line.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    parts: Vec<String>,
    count: u32,
    seed: Option<u64>,
    write: bool,
}

impl Words {
    fn parse(words: &[&str]) -> Result<Self, String> {
        let mut parsed = Self { parts: Vec::new(), count: 50, seed: None, write: false };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || words.next().and_then(|number| number.parse().ok());
            match *word {
                "build" | "update" | "rollback" | "faults" | "cuts" | "small" | "footprint" => {
                    parsed.parts.push((*word).to_owned());
                }
                "--write" => parsed.write = true,
                "--count" => parsed.count = number().ok_or(USAGE)? as u32,
                "--seed" => parsed.seed = Some(number().ok_or(USAGE)?),
                _ => return Err(USAGE.to_owned()),
            }
        }
        if parsed.parts.is_empty() {
            parsed.parts = ["update", "rollback"].map(str::to_owned).into();
        }
        Ok(parsed)
    }
}

/// The folder for all output.
fn place(root: &Path) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| root.join("target")).join("mcu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_options_are_told_apart() {
        let parsed = Words::parse(&["faults", "cuts", "--count", "7"]).unwrap();
        assert_eq!((parsed.parts, parsed.count), (vec!["faults".into(), "cuts".into()], 7));
        assert_eq!(Words::parse(&[]).unwrap().parts, ["update", "rollback"]);
        assert!(Words::parse(&["--seed"]).is_err() && Words::parse(&["fly"]).is_err());
    }
}
