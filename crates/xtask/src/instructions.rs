//! Counts the instructions of single steps of the device with callgrind, and compares them with
//! `docs/performance.md`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::kept::Kept;
use crate::metadata::Metadata;
use crate::{cargo, execute, show};

const KEPT: Kept = Kept {
    page: "docs/performance.md",
    command: "cargo xtask instructions --write",
    heads: ["step", "instructions"],
    growth: 10,
};

/// Counts each case, prints the table, and compares it with the page, or writes it there.
pub(crate) fn run(write: bool) -> Result<(), String> {
    let root = Metadata::load_members()?.workspace_root;
    let counts = count_all(&root)?.into_iter().map(|(case, count)| (format!("`{case}`"), count));
    let counts: Vec<_> = counts.collect();
    KEPT.run(&root, &format!("Compiler: {}, x86-64.", compiler()?), &counts, write)
}

fn compiler() -> Result<String, String> {
    let output = output(cargo().arg("--version"))?;
    Ok(output.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
}

fn count_all(root: &Path) -> Result<Vec<(String, u64)>, String> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err("no valgrind: install it (Debian: apt-get install valgrind)".to_owned());
    }
    let bench = ["bench", "--quiet", "--package", "ota-wire", "--bench", "instructions"];
    execute(cargo().args(bench).arg("--no-run").current_dir(root))?;
    let program = program(root)?;
    let list = output(&mut Command::new(&program))?;
    let rows = list.lines().filter_map(|line| line.split_once(' '));
    rows.map(|(case, rounds)| {
        let rounds: u64 = rounds.parse().map_err(|_| format!("{case}: rounds are {rounds:?}"))?;
        Ok((case.to_owned(), count(&program, case)? / rounds.max(1)))
    })
    .collect()
}

/// The path of the bench, from cargo's messages.
fn program(root: &Path) -> Result<PathBuf, String> {
    let mut command = cargo();
    command.args(["bench", "--package", "ota-wire", "--bench", "instructions", "--no-run"]);
    command.args(["--message-format", "json", "--quiet"]).current_dir(root);
    let messages = output(&mut command)?;
    let mut paths = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_bench = message.get("target")?.get("name")?.as_str()? == "instructions";
        is_bench.then(|| message.get("executable")?.as_str().map(PathBuf::from)).flatten()
    });
    paths.next_back().ok_or_else(|| "cargo did not say where the bench is".to_owned())
}

fn count(program: &Path, case: &str) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    command.args(["--collect-atstart=no", "--toggle-collect=*instructions*measured*"]);
    command.arg(program).arg(case);
    let run = command.output().map_err(|error| format!("`{}`: {error}", show(&command)))?;
    let text = String::from_utf8_lossy(&run.stderr);
    let collected = text.lines().find_map(|line| line.split_once("Collected :"));
    let number = collected.and_then(|(_, number)| number.trim().parse().ok());
    match number {
        Some(number) if run.status.success() && number > 0 => Ok(number),
        _ => Err(format!("`{}` counted nothing:\n{text}", show(&command))),
    }
}

pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let run = command.output().map_err(|error| format!("`{}`: {error}", show(command)))?;
    if !run.status.success() {
        return Err(format!("`{}`: {}", show(command), String::from_utf8_lossy(&run.stderr)));
    }
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}
