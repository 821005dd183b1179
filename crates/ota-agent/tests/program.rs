//! The program `ota-agent` by itself. Its updates are tested with `ota`, which has the same agent
//! and a cloud.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// What it writes to standard output and standard error, and what it ends with.
fn run(args: &[&str]) -> (String, String, Option<i32>) {
    let out = Command::new(env!("CARGO_BIN_EXE_ota-agent")).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&out.stdout), text(&out.stderr), out.status.code())
}

/// A configuration in this folder.
fn config(folder: &Path) -> String {
    fs::create_dir(folder.join("data")).unwrap();
    fs::write(folder.join("version"), "0.1.0\n").unwrap();
    let lines = "product_id = \"TESTPROD01\"\ndevice_name = \"dev001\"\n\
                 device_secret = \"MDEyMzQ1Njc4OWFiY2RlZg==\"\nbroker = \"mqtt://127.0.0.1:9\"\n\
                 data_dir = \"data\"\nversion_file = \"version\"\nconnect_spacing = 0\n";
    fs::write(folder.join("agent.toml"), lines).unwrap();
    folder.join("agent.toml").to_str().unwrap().to_owned()
}

#[test]
fn it_uses_its_own_name() {
    let (help, _, code) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(help.contains("Usage: ota-agent [OPTIONS] [COMMAND]"), "{help}");
    assert!(help.contains("Example:\n  ota-agent --config /etc/ota/agent.toml"), "{help}");
    assert!(!help.contains("ota agent"), "{help}");
    let (version, _, code) = run(&["--version"]);
    assert_eq!((version.trim(), code), (concat!("ota-agent ", env!("CARGO_PKG_VERSION")), Some(0)));
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (_, why, code) = run(&["status", "--config", &config]);
    assert!(why.starts_with("ota-agent: no agent runs on "), "{why}");
    assert!(why.trim().ends_with(&format!("start it with ota-agent --config {config}")), "{why}");
    assert_eq!(code, Some(5));
}

#[test]
fn it_looks_at_the_machine_and_says_that_there_is_no_cloud() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let (out, why, code) = run(&["check-config", "--config", &config]);
    assert_eq!(code, Some(0), "{out}{why}");
    let (out, why, code) = run(&["--config", &config, "--once", "--wait", "1", "--json"]);
    assert!(out.contains("\"event\":\"started\""), "{out}");
    assert_eq!(code, Some(8), "{out}{why}");
    let (_, why, code) = run(&["--config", "/nowhere/agent.toml"]);
    assert!(why.starts_with("ota-agent: "), "{why}");
    assert_eq!(code, Some(5));
    assert_eq!(run(&["--wait", "3"]).2, Some(2));
}
