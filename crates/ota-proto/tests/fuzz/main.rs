//! Replays the corpora of the fuzz targets `message`, `journal` and `url`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail")]

mod targets;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ota_proto::journal::Record;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    entries
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

fn replay(target: &str, body: fn(&[u8])) -> BTreeMap<String, Vec<u8>> {
    let corpus = files(&root().join("fuzz/corpus").join(target));
    assert!(corpus.len() >= 10, "{target} has lost its corpus");
    for (name, data) in &corpus {
        // The name is shown when the body panics.
        println!("{target}/{name}");
        body(data);
    }
    corpus
}

#[test]
fn messages() {
    let corpus = replay("message", targets::message);
    // The vendor's messages seed the fuzzer, too.
    for kind in ["device", "cloud", "malformed"] {
        let fixtures = root().join("crates/ota-proto/tests/fixtures/messages").join(kind);
        for (name, data) in files(&fixtures) {
            let name = format!("{kind}-{}", name.trim_end_matches(".json"));
            assert!(corpus.get(&name) == Some(&data), "{name} is missing in the corpus or differs");
        }
    }
}

#[test]
fn journals() {
    let corpus = replay("journal", targets::journal);
    // These were written by another program than ours, from the layout alone.
    for name in ["none", "none-guard", "fetching", "installing", "switching", "owed-fail-sent"] {
        let block = corpus[name].as_slice().try_into().unwrap();
        assert!(Record::decode(block).is_ok(), "{name}");
    }
}

#[test]
fn urls() {
    replay("url", targets::url);
}
