//! Runs every file of every corpus through the body of its fuzz target.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use ota_proto::journal::Record;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

fn corpus(target: &str) -> BTreeMap<String, Vec<u8>> {
    files(&root().join("fuzz/corpus").join(target))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().into()
}

#[test]
fn every_corpus_is_replayed() {
    for (target, body) in ota_fuzz::TARGETS {
        let corpus = corpus(target);
        assert!(corpus.len() >= 10, "{target} has lost its corpus");
        for (name, data) in corpus {
            // Shown when the body panics.
            println!("{target}/{name}");
            assert!(data.len() <= 6_000, "{target}/{name} is too long to be kept");
            body(&data);
        }
    }
}

/// A target is at home in four places: the table, its wrapper, the manifest and the page.
#[test]
fn every_target_is_complete() {
    let fuzz = root().join("fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    let page = fs::read_to_string(fuzz.join("README.md")).unwrap();
    for (target, _) in ota_fuzz::TARGETS {
        let path = format!("fuzz_targets/{target}.rs");
        let wrapper = fs::read_to_string(fuzz.join(&path)).unwrap_or_default();
        assert!(wrapper.contains(&format!("ota_fuzz::{target}(data)")), "{target}");
        assert!(manifest.contains(&format!("path = \"{path}\"")), "{target}");
        assert!(page.contains(&format!("\n| `{target}` |")), "{target}");
    }
    let folders = fs::read_dir(fuzz.join("corpus")).unwrap();
    let folders = folders.map(|entry| name(&entry.unwrap().path()));
    let folders: BTreeSet<String> = folders.filter(|name| !name.starts_with('.')).collect();
    let names = ota_fuzz::TARGETS.iter().map(|(name, _)| String::from(*name)).collect();
    assert_eq!(folders, names);
}

#[test]
fn the_vendors_messages_seed_the_fuzzer() {
    let corpus = corpus("message");
    for kind in ["device", "cloud", "malformed"] {
        let fixtures = root().join("crates/ota-proto/tests/fixtures/messages").join(kind);
        for (name, data) in files(&fixtures) {
            let name = format!("{kind}-{}", name.trim_end_matches(".json"));
            assert!(corpus.get(&name) == Some(&data), "{name} is missing in the corpus or differs");
        }
    }
}

/// These were written by another program than ours, from the layout alone.
#[test]
fn foreign_journals_are_read() {
    let corpus = corpus("journal");
    for name in ["none", "none-guard", "fetching", "installing", "switching", "owed-fail-sent"] {
        let block = corpus[name].as_slice().try_into().unwrap();
        assert!(Record::decode(block).is_ok(), "{name}");
    }
}
