//! Instructions of one step of the device, counted by callgrind and held against
//! `docs/performance.md`.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::metadata::Metadata;
use crate::{cargo, execute, show};

const PAGE: &str = "docs/performance.md";
const BEGIN: &str = "<!-- instructions: written by `cargo xtask instructions --write` -->\n";
const END: &str = "<!-- end of instructions -->\n";
/// Per cent that a count may grow before it is a fault.
const GROWTH: u64 = 10;

/// Counts each case, prints the table, and holds it against the page, or writes it there. Counts
/// of another compiler are shown and not held against each other.
pub(crate) fn run(write: bool) -> Result<(), String> {
    let root = Metadata::load_members()?.workspace_root;
    let path = root.join(PAGE);
    let page = fs::read_to_string(&path).map_err(|error| format!("{PAGE}: {error}"))?;
    let (before, old, after) = section(&page).ok_or(format!("{PAGE}: no {}", BEGIN.trim_end()))?;
    let counts = count_all(&root)?;
    let new = table(&compiler()?, &counts);
    println!("{new}");
    if write {
        let page = [before, BEGIN, &new, END, after].concat();
        return fs::write(&path, page).map_err(|error| format!("{PAGE}: {error}"));
    }
    if old.lines().next() != new.lines().next() {
        println!("the page has counts of another compiler: not compared");
        return Ok(());
    }
    crate::faults("more instructions than before", &grown(old, &counts))
}

fn section(page: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (old, after) = rest.split_once(END)?;
    Some((before, old, after))
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

/// Where cargo put the bench: it says so in its messages.
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

fn output(command: &mut Command) -> Result<String, String> {
    let run = command.output().map_err(|error| format!("`{}`: {error}", show(command)))?;
    if !run.status.success() {
        return Err(format!("`{}`: {}", show(command), String::from_utf8_lossy(&run.stderr)));
    }
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

fn table(compiler: &str, counts: &[(String, u64)]) -> String {
    let mut text =
        format!("Compiler: {compiler}, x86-64.\n\n| step | instructions |\n|---|---:|\n");
    for (case, count) in counts {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "| `{case}` | {count} |");
    }
    text
}

/// The cases that cost more than the old table allows, and those that it does not have.
fn grown(old: &str, counts: &[(String, u64)]) -> Vec<String> {
    let mut faults = Vec::new();
    for (case, count) in counts {
        let row = old.lines().find_map(|line| line.strip_prefix(&format!("| `{case}` | ")));
        let was: Option<u64> = row.and_then(|row| row.trim_end_matches(" |").parse().ok());
        match was {
            None => faults.push(format!("{case}: not in {PAGE}; write it with --write")),
            Some(was) if count.saturating_mul(100) > was.saturating_mul(100 + GROWTH) => {
                faults.push(format!("{case}: {count}, was {was}"));
            }
            Some(_) => {}
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_per_cent_more_is_allowed_and_no_more() {
        let row = |count| vec![("decode".to_owned(), count)];
        let old = table("cargo 1.0", &row(100));
        assert!(grown(&old, &row(110)).is_empty());
        assert_eq!(grown(&old, &row(111)), ["decode: 111, was 100"]);
        assert_eq!(grown("", &row(1)).len(), 1);
    }

    #[test]
    fn the_section_is_found_between_its_marks() {
        let page = format!("a\n{BEGIN}table\n{END}b\n");
        assert_eq!(section(&page), Some(("a\n", "table\n", "b\n")));
        assert_eq!(section("a"), None);
    }
}
