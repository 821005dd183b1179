//! Formatting, lints and documentation, warnings denied.

use std::process::Command;

use crate::bounds::outside;
use crate::metadata::{Metadata, Package};
use crate::{cargo, execute};

/// Crates where input of a peer may never panic, with the features of their IO-free part. The
/// simulator is not among them: finding a violation, it stops with its trace, and that is a panic.
const IO_FREE: [(&str, &str); 3] = [
    ("ota-cloud", "--no-default-features"),
    ("ota-proto", "--all-features"),
    ("ota-wire", "--all-features"),
];

/// Forbidden there, so that no `allow` can lift them one by one. Tests are not held to them.
const STRICT: [&str; 10] = [
    "arithmetic_side_effects",
    "expect_used",
    "indexing_slicing",
    "panic",
    "string_slice",
    "todo",
    "unimplemented",
    "unreachable",
    "unwrap_in_result",
    "unwrap_used",
];

/// rustfmt, clippy, the strict lints, rustdoc; stops at the first failure.
pub(crate) fn run() -> Result<(), String> {
    let metadata = Metadata::load_members()?;
    execute(cargo().args(["fmt", "--all", "--check"]))?;
    let clippy = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-Dwarnings"];
    execute(cargo().args(clippy))?;
    for (name, features) in IO_FREE {
        if metadata.member(name).is_some() {
            execute(&mut strict(name, features))?;
        }
    }
    for dir in outside(metadata.root()) {
        let manifest = dir.join("Cargo.toml");
        execute(cargo().args(["fmt", "--check", "--manifest-path"]).arg(&manifest))?;
        // The fuzz targets build with their own flags only. A board's firmware builds for its board
        // only, and can be looked at without being built.
        if !dir.ends_with("fuzz") {
            for features in ["--no-default-features", "--all-features"] {
                let clippy = ["clippy", "--quiet", "--all-targets", features, "--manifest-path"];
                execute(cargo().args(clippy).arg(&manifest).args(["--", "-Dwarnings"]))?;
            }
        }
    }
    let doc = ["doc", "--quiet", "--workspace", "--no-deps"];
    execute(cargo().args(doc).env("RUSTDOCFLAGS", "-Dwarnings"))
}

/// Every library with no feature, each of its features alone, and all of them.
pub(crate) fn features() -> Result<(), String> {
    let metadata = Metadata::load_members()?;
    for package in metadata.members().filter(|package| package.has_lib()) {
        for set in feature_sets(package) {
            let clippy = ["clippy", "--quiet", "--lib", "--package", &package.name];
            execute(cargo().args(clippy).args(set).args(["--", "-Dwarnings"]))?;
        }
    }
    Ok(())
}

fn feature_sets(package: &Package) -> Vec<Vec<String>> {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let mut sets = vec![set(&["--no-default-features"])];
    for feature in package.features.keys().filter(|feature| *feature != "default") {
        sets.push(set(&["--no-default-features", "--features", feature]));
    }
    if sets.len() > 2 {
        sets.push(set(&["--all-features"]));
    }
    sets
}

fn strict(name: &str, features: &str) -> Command {
    let mut command = cargo();
    command.args(["clippy", "--quiet", "--no-deps", "--lib", "--package", name, features, "--"]);
    command.arg("-Dwarnings").args(STRICT.map(|lint| format!("-Fclippy::{lint}")));
    command
}
