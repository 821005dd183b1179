//! Formatting, lints and documentation, warnings denied.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use crate::bounds::outside;
use crate::metadata::Metadata;
use crate::{cargo, execute};

/// Crates in which input of a peer must never panic, with their features. The simulator is not one
/// of them: it reports a violation with its trace by a panic.
const IO_FREE: [(&str, &str); 4] = [
    ("ota-cloud", "--all-features"),
    ("ota-proto", "--all-features"),
    ("ota-register", "--all-features"),
    ("ota-wire", "--all-features"),
];

/// Lints that are forbidden there, so that no `allow` can disable them. They do not apply to tests.
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

/// The word list, rustfmt, clippy, the strict lints, rustdoc; stops at the first failure.
pub(crate) fn run() -> Result<(), String> {
    let metadata = Metadata::load_members()?;
    crate::words::run(metadata.root())?;
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
        // The fuzz targets build only with their own flags. A board's firmware builds only for its
        // board, but can be checked without a build.
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

/// Checks every library with every set of its features.
pub(crate) fn features() -> Result<(), String> {
    let metadata = Metadata::load_members()?;
    let mut count = 0;
    for package in metadata.members().filter(|package| package.has_lib()) {
        for set in feature_sets(&package.features) {
            let list: Vec<&str> = set.into_iter().collect();
            let list = list.join(",");
            println!("{} with {}", package.name, if list.is_empty() { "none" } else { &list });
            let clippy = ["clippy", "--quiet", "--lib", "--package", &package.name];
            let set = ["--no-default-features", "--features", &list, "--", "-Dwarnings"];
            execute(cargo().args(clippy).args(set))?;
            count += 1;
        }
    }
    println!("{count} sets of features");
    Ok(())
}

/// All sets of features, each once, including the features that others enable.
fn feature_sets(features: &BTreeMap<String, Vec<String>>) -> BTreeSet<BTreeSet<&str>> {
    let mut sets = BTreeSet::from([BTreeSet::new()]);
    for feature in features.keys().filter(|feature| *feature != "default") {
        let larger: Vec<_> = sets
            .iter()
            .map(|set| {
                let mut set: BTreeSet<&str> = set.clone();
                add(features, feature, &mut set);
                set
            })
            .collect();
        sets.extend(larger);
    }
    sets
}

fn add<'a>(
    features: &'a BTreeMap<String, Vec<String>>,
    name: &'a str,
    set: &mut BTreeSet<&'a str>,
) {
    // The rest are dependencies and their features.
    let Some((name, others)) = features.get_key_value(name) else { return };
    if set.insert(name) {
        others.iter().for_each(|other| add(features, other, set));
    }
}

fn strict(name: &str, features: &str) -> Command {
    let mut command = cargo();
    command.args(["clippy", "--quiet", "--no-deps", "--lib", "--package", name, features, "--"]);
    command.arg("-Dwarnings").args(STRICT.map(|lint| format!("-Fclippy::{lint}")));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_is_there_once() {
        let list = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let features = BTreeMap::from([
            ("default".to_owned(), list("a")),
            ("a".to_owned(), list("dep:x y/z")),
            ("b".to_owned(), list("a")),
            ("c".to_owned(), list("")),
        ]);
        let sets = feature_sets(&features);
        let sets: Vec<Vec<&str>> = sets.into_iter().map(|set| set.into_iter().collect()).collect();
        let expected: [&[&str]; 6] =
            [&[], &["a"], &["a", "b"], &["a", "b", "c"], &["a", "c"], &["c"]];
        assert_eq!(sets, expected);
    }
}
