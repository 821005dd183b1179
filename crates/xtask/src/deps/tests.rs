use std::collections::BTreeSet;

use super::{Deny, RULES, closures, direct, licensed, numbers, own, reached, third_party};
use crate::metadata::{Dependency, Metadata, Package};

#[test]
fn this_workspace_keeps_the_rule() {
    let metadata = Metadata::load_members().unwrap();
    assert_eq!(own(&metadata), Vec::<String>::new());
    assert_eq!(closures(&metadata).unwrap(), Vec::<String>::new());
}

fn normal(name: &str) -> Dependency {
    Dependency {
        name: name.to_owned(),
        kind: None,
        optional: false,
        uses_default_features: false,
        features: Vec::new(),
    }
}

fn faults(name: &str, dependency: Dependency) -> Vec<String> {
    let members: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
    direct(name, &[dependency], &members)
}

#[test]
fn own_crates_follow_the_table() {
    assert!(faults("ota-wire", normal("ota-proto")).is_empty());
    assert_eq!(faults("ota-cloud", normal("ota-wire")), ["ota-cloud must not depend on ota-wire"]);
    assert_eq!(faults("ota-proto", normal("ota-wire")), ["ota-proto must not depend on ota-wire"]);
    assert_eq!(faults("ota-new", normal("serde")).len(), 1);
}

#[test]
fn dev_dependencies_are_free_but_for_adapters() {
    let dev = |name| Dependency { kind: Some("dev".to_owned()), ..normal(name) };
    assert!(faults("ota-cloud", dev("ota-wire")).is_empty());
    assert!(faults("ota-proto", dev("proptest")).is_empty());
    assert_eq!(faults("ota-smol", dev("ota-tokio")).len(), 1);
    assert_eq!(faults("ota-smol", normal("ota-tokio")).len(), 1);
}

#[test]
fn third_parties_of_the_core_are_listed() {
    assert!(faults("ota-proto", normal("md-5")).is_empty());
    assert_eq!(
        faults("ota-proto", normal("hmac")),
        ["ota-proto must not depend on hmac without a feature"]
    );
    assert!(faults("ota-proto", Dependency { optional: true, ..normal("hmac") }).is_empty());
    assert_eq!(faults("ota-wire", normal("bytes")).len(), 1);
    assert_eq!(faults("ota-cloud", normal("tokio")).len(), 1);
    assert_eq!(faults("ota-cloud", Dependency { optional: true, ..normal("tokio") }).len(), 1);
    assert!(faults("ota-server", normal("tokio")).is_empty());
}

#[test]
fn the_core_asks_for_no_std_of_nobody() {
    let with_default = Dependency { uses_default_features: true, ..normal("md-5") };
    assert_eq!(faults("ota-proto", with_default).len(), 1);
    let with_std = Dependency { features: vec!["std".to_owned()], ..normal("md-5") };
    assert_eq!(faults("ota-proto", with_std).len(), 1);
}

#[test]
fn forbidden_crates_are_found_far_down() {
    let host = RULES.iter().find(|rule| rule.name == "ota-host").unwrap();
    assert!(reached(host, "ota-host v0.1.0 (/x)\ntokio-util v0.7.0\n").is_empty());
    assert_eq!(reached(host, "ota-host v0.1.0 (/x)\ntokio v1.54.0\n").len(), 1);
}

const DENY: &str = r#"
[licenses]
allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"]
[bans]
deny = [{ crate = "openssl", reason = "rustls only" }]
[sources]
allow-registry = ["https://github.com/rust-lang/crates.io-index"]
"#;

#[test]
fn licence_expressions_are_evaluated() {
    let deny: Deny = toml::from_str(DENY).unwrap();
    let allowed = |text| licensed(&deny.licenses.allow, Some(text));
    assert!(allowed("MIT OR GPL-3.0-only"));
    assert!(allowed("MIT/Apache-2.0"));
    assert!(allowed("Apache-2.0 WITH LLVM-exception OR ISC"));
    assert!(!allowed("(MIT OR ISC) AND GPL-3.0-only"));
    assert!(!allowed("GPL-3.0-only"));
    assert!(!allowed("nonsense"));
    assert!(!licensed(&deny.licenses.allow, None));
}

#[test]
fn bans_and_sources_are_checked() {
    let deny: Deny = toml::from_str(DENY).unwrap();
    let package = |name: &str, source: &str| Package {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        license: Some("MIT".to_owned()),
        source: Some(source.to_owned()),
        ..Package::default()
    };
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    assert!(third_party(&deny, &package("serde", registry)).is_empty());
    assert_eq!(
        third_party(&deny, &package("openssl", registry)),
        ["openssl 1.0.0 is banned: rustls only"]
    );
    assert_eq!(third_party(&deny, &package("serde", "git+https://example.invalid/x")).len(), 1);
}

#[test]
fn rust_versions_compare_as_numbers() {
    assert_eq!(numbers("1.85"), numbers("1.85.0"));
    assert!(numbers("1.9") < numbers("1.85"));
}
