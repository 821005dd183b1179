//! Line coverage of the IO-free crates of the device, by their own tests.
//!
//! rustc counts (`-C instrument-coverage`); `llvm-profdata` and `llvm-cov` of the same LLVM read
//! the counts. They come with `rustup component add llvm-tools` or with a package `llvm-N`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::metadata::Metadata;

/// The crates that are measured.
const CRATES: [&str; 2] = ["ota-proto", "ota-wire"];
/// The minimum of covered lines, in hundredths of a percent.
const LEAST: usize = 9_500;
/// The loop that the adapters share. Their test suites run it, not those of its own crate.
const APART: &str = "crates/ota-wire/src/adapter/";

/// Prints the figures; fails if one is too low. `all` also lists each line that is not covered.
pub(crate) fn run(all: bool) -> Result<(), String> {
    let root = Metadata::load_members()?.root().to_owned();
    let tools = tools()?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = target.join("coverage");
    let raw = target.join("raw");
    // Counts of another build would not fit.
    let _ = fs::remove_dir_all(&raw);
    let binaries = test(&target, &raw)?;
    let merged = target.join("merged.profdata");
    let mut merge = Command::new(tools.join("llvm-profdata"));
    merge.args(["merge", "-sparse", "-o"]).arg(&merged).arg(&raw);
    output(&mut merge)?;
    let mut export = Command::new(tools.join("llvm-cov"));
    export.args(["export", "--format=lcov"]).arg(format!("--instr-profile={}", merged.display()));
    for binary in &binaries {
        export.arg("--object").arg(binary);
    }
    let mut lines = lines(&output(&mut export)?, &root);
    lines.retain(|(file, _), _| !file.starts_with(APART));
    let mut low = Vec::new();
    for name in CRATES {
        let source = format!("crates/{name}/src/");
        let counts = || lines.iter().filter(|((file, _), _)| file.starts_with(&source));
        let (covered, of) = (counts().filter(|(_, hit)| **hit).count(), counts().count());
        let percent = covered.saturating_mul(10_000).checked_div(of).unwrap_or(0);
        let shown = format!("{}.{:02} %", percent / 100, percent % 100);
        println!("{name}: {covered} of {of} lines covered, {shown}");
        if percent < LEAST {
            low.push(format!("{name}: {shown} of the lines, at least {} %", LEAST / 100));
        }
        if all {
            for ((file, line), _) in counts().filter(|(_, hit)| !**hit) {
                println!("{file}:{line}");
            }
        }
    }
    crate::faults("covered too little", &low)
}

/// Builds the tests with counters and runs them; returns the binaries.
fn test(target: &Path, raw: &Path) -> Result<Vec<String>, String> {
    let mut tests = crate::cargo();
    tests.args(["test", "--locked", "--lib", "--tests", "--message-format=json"]);
    for name in CRATES {
        tests.args(["-p", name]);
    }
    tests.env("CARGO_TARGET_DIR", target);
    tests.env("RUSTFLAGS", "-C instrument-coverage");
    tests.env("LLVM_PROFILE_FILE", raw.join("%p-%m.profraw"));
    let text = output(&mut tests)?;
    let messages = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let binaries = messages.filter(|message| message["profile"]["test"] == true);
    Ok(binaries.filter_map(|message| Some(message["executable"].as_str()?.to_owned())).collect())
}

/// The folder of llvm-profdata and llvm-cov.
fn tools() -> Result<PathBuf, String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(Command::new(&rustc).arg("-vV"))?;
    let field = |name: &str| version.lines().find_map(|line| line.strip_prefix(name));
    let host = field("host: ").ok_or("rustc names no host")?;
    let llvm = field("LLVM version: ").and_then(|text| text.split('.').next());
    let llvm = llvm.ok_or("rustc names no LLVM")?;
    let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let places = [
        Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin"),
        PathBuf::from(format!("/usr/lib/llvm-{llvm}/bin")),
    ];
    places.into_iter().find(|place| place.join("llvm-profdata").is_file()).ok_or_else(|| {
        format!("no llvm-profdata: `rustup component add llvm-tools`, or a package llvm-{llvm}")
    })
}

fn output(command: &mut Command) -> Result<String, String> {
    let shown = crate::show(command);
    let shown = shown.split(" --object").next().unwrap_or_default();
    let done = command.output().map_err(|error| format!("`{shown}` did not start: {error}"))?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    if done.status.success() {
        return Ok(text);
    }
    let said = text.lines().filter(|line| !line.starts_with('{')).collect::<Vec<_>>().join("\n");
    Err(format!("`{shown}`: {}\n{said}\n{}", done.status, String::from_utf8_lossy(&done.stderr)))
}

/// Every line with code of an lcov report, and whether it ran in any of the builds.
fn lines(lcov: &str, root: &Path) -> BTreeMap<(String, u32), bool> {
    let mut lines = BTreeMap::new();
    let mut file = String::new();
    for record in lcov.lines() {
        if let Some(path) = record.strip_prefix("SF:") {
            let path = Path::new(path);
            file = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        } else if let Some((line, count)) =
            record.strip_prefix("DA:").and_then(|text| text.split_once(','))
        {
            let hit = count != "0";
            if let Ok(line) = line.parse() {
                *lines.entry((file.clone(), line)).or_insert(false) |= hit;
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_covered_when_it_ran_in_one_of_the_builds() {
        let lcov = "SF:/w/crates/a/src/lib.rs\nDA:1,0\nDA:2,3\nDA:10,0\nend_of_record\n\
                    SF:/w/crates/a/src/lib.rs\nDA:1,7\nDA:2,0\nend_of_record\n\
                    SF:/elsewhere/b.rs\nDA:1,1\nend_of_record\n";
        let found = lines(lcov, Path::new("/w"));
        let hit = |file: &str, line| found.get(&(file.to_owned(), line)).copied();
        assert_eq!(hit("crates/a/src/lib.rs", 1), Some(true));
        assert_eq!(hit("crates/a/src/lib.rs", 2), Some(true));
        assert_eq!(hit("crates/a/src/lib.rs", 10), Some(false));
        assert_eq!(hit("/elsewhere/b.rs", 1), Some(true));
        assert_eq!(found.len(), 4);
    }
}
