//! Which crates may depend on which, and which third parties are allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;

use crate::metadata::{Dependency, Metadata, Package};

/// One row of the dependency rule (docs/architecture.md). Dev-dependencies are free, except that
/// adapters never depend on each other.
struct Rule {
    name: &'static str,
    /// Crates of this workspace that it may use.
    own: &'static [&'static str],
    /// Third parties that it may always use; `None` is any.
    always: Option<&'static [&'static str]>,
    /// Third parties that it may use behind a feature; `None` is any.
    behind: Option<&'static [&'static str]>,
    /// Crates that its default build must not contain, directly or indirectly.
    never: &'static [&'static str],
    no_std: bool,
}

const ADAPTERS: [&str; 3] = ["ota-embassy", "ota-smol", "ota-tokio"];
const RUNTIMES: &[&str] = &["async-io", "axum", "embassy-executor", "mqttbytes", "smol", "tokio"];
const HASHES: &[&str] = &["base64ct", "defmt", "hmac", "serde", "sha1", "sha2"];
const REGISTER: &[&str] =
    &["aes", "base16ct", "base64ct", "cbc", "hmac", "serde", "serde_json", "sha1", "sha2"];
const CLOUD: &[&str] =
    &["base16ct", "bytes", "hmac", "httparse", "percent-encoding", "serde", "serde_json", "sha1"];
const STORE: &[&str] =
    &["chacha20poly1305", "hmac", "md-5", "rusqlite", "rustix", "serde_json", "sha2", "zeroize"];
/// Crates that a device's program must not contain: the cloud's, and another runtime.
const BESIDE_THE_DEVICE: &[&str] =
    &["axum", "hyper", "mqttbytes", "ota-cloud", "ota-server", "ota-store", "rusqlite", "smol"];

const fn rule(name: &'static str, own: &'static [&'static str]) -> Rule {
    Rule { name, own, always: None, behind: None, never: &[], no_std: false }
}

const RULES: [Rule; 17] = [
    Rule {
        always: Some(&["base16ct", "crc", "md-5"]),
        behind: Some(HASHES),
        never: RUNTIMES,
        no_std: true,
        ..rule("ota-proto", &[])
    },
    Rule {
        always: Some(REGISTER),
        behind: Some(&["defmt"]),
        never: RUNTIMES,
        no_std: true,
        ..rule("ota-register", &["ota-proto"])
    },
    Rule {
        always: Some(&[]),
        behind: Some(&["base64ct", "crc", "defmt", "postcard", "serde"]),
        never: RUNTIMES,
        no_std: true,
        ..rule("ota-wire", &["ota-proto"])
    },
    Rule { never: RUNTIMES, ..rule("ota-host", &["ota-proto", "ota-wire"]) },
    Rule {
        never: &["mqttbytes", "smol"],
        ..rule("ota-tokio", &["ota-host", "ota-proto", "ota-wire"])
    },
    Rule {
        never: &["mqttbytes", "tokio"],
        ..rule("ota-smol", &["ota-host", "ota-proto", "ota-wire"])
    },
    Rule {
        never: &["mqttbytes", "ota-host", "smol", "tokio"],
        no_std: true,
        ..rule("ota-embassy", &["ota-proto", "ota-wire"])
    },
    Rule {
        never: &["mqttbytes", "ota-host", "smol", "tokio"],
        no_std: true,
        ..rule("ota-embassy-tls", &["ota-embassy", "ota-proto", "ota-wire"])
    },
    Rule {
        always: Some(CLOUD),
        behind: Some(&["base64ct", "csv", "mqttbytes", "sha2"]),
        never: RUNTIMES,
        ..rule("ota-cloud", &["ota-proto"])
    },
    Rule { always: Some(STORE), never: RUNTIMES, ..rule("ota-store", &[]) },
    Rule {
        // Its broker uses mqttbytes, which is not the device's codec, and no runtime.
        never: &["async-io", "axum", "embassy-executor", "smol", "tokio"],
        ..rule("ota-sim", &["ota-cloud", "ota-proto", "ota-wire"])
    },
    Rule {
        never: &["async-io", "embassy-executor", "smol"],
        ..rule("ota-server", &["ota-cloud", "ota-proto", "ota-store"])
    },
    rule("ota-fuzz", &["ota-cloud", "ota-proto", "ota-wire"]),
    rule("ota-conformance", &["ota-cloud", "ota-host", "ota-proto", "ota-server", "ota-wire"]),
    Rule {
        never: BESIDE_THE_DEVICE,
        ..rule("ota-agent", &["ota-host", "ota-proto", "ota-tokio", "ota-wire"])
    },
    rule(
        "ota",
        &[
            "ota-agent",
            "ota-cloud",
            "ota-host",
            "ota-proto",
            "ota-server",
            "ota-store",
            "ota-tokio",
            "ota-wire",
        ],
    ),
    rule("xtask", &[]),
];

/// Checks the rule, then licences, bans, sources and Rust versions.
pub(crate) fn run() -> Result<(), String> {
    let metadata = Metadata::load()?;
    let mut list = own(&metadata);
    list.extend(closures(&metadata)?);
    let text = fs::read_to_string(metadata.root().join("deny.toml"))
        .map_err(|error| format!("deny.toml: {error}"))?;
    let deny: Deny = toml::from_str(&text).map_err(|error| format!("deny.toml: {error}"))?;
    list.extend(metadata.packages.iter().flat_map(|package| third_party(&deny, package)));
    list.extend(rust_versions(&metadata));
    crate::faults("dependency rule broken", &list)?;
    println!("{} packages: rule, licences, bans, sources, Rust versions", metadata.packages.len());
    Ok(())
}

/// Checks the direct dependencies of every member against its row.
fn own(metadata: &Metadata) -> Vec<String> {
    let members: BTreeSet<&str> = metadata.members().map(|member| member.name.as_str()).collect();
    metadata
        .members()
        .flat_map(|member| direct(&member.name, &member.dependencies, &members))
        .collect()
}

fn direct(name: &str, dependencies: &[Dependency], members: &BTreeSet<&str>) -> Vec<String> {
    let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
        return vec![format!("{name}: not in the dependency rule; add it to xtask's table")];
    };
    let mut faults = Vec::new();
    for dependency in dependencies {
        let other = dependency.name.as_str();
        let itself = other == name;
        if ADAPTERS.contains(&name) && ADAPTERS.contains(&other) && !itself {
            faults.push(format!("{name} must not see {other}: adapters are independent"));
        } else if dependency.kind.is_some() || itself {
            continue;
        } else if members.contains(other) {
            if !rule.own.contains(&other) {
                faults.push(format!("{name} must not depend on {other}"));
            }
        } else {
            faults.extend(outside(rule, dependency));
        }
    }
    faults
}

fn outside(rule: &Rule, dependency: &Dependency) -> Vec<String> {
    let (name, other) = (rule.name, dependency.name.as_str());
    let mut faults = Vec::new();
    let listed = |list: Option<&[&str]>| list.is_none_or(|list| list.contains(&other));
    if !(listed(rule.always) || dependency.optional && listed(rule.behind)) {
        let place = if dependency.optional { "" } else { " without a feature" };
        faults.push(format!("{name} must not depend on {other}{place}"));
    }
    let std = dependency.features.iter().any(|feature| feature == "std");
    if rule.no_std && (dependency.uses_default_features || std) {
        faults.push(format!("{name}: {other} needs `default-features = false` and no `std`"));
    }
    faults
}

/// `cargo tree` resolves features for one package alone, which `cargo metadata` does not.
fn closures(metadata: &Metadata) -> Result<Vec<String>, String> {
    let mut faults = Vec::new();
    for rule in RULES.iter().filter(|rule| !rule.never.is_empty()) {
        if metadata.member(rule.name).is_none() {
            continue;
        }
        let output = crate::cargo()
            .args(["tree", "--package", rule.name, "--edges=normal", "--prefix=none"])
            .args(["--format={p}"])
            .current_dir(metadata.root())
            .output()
            .map_err(|error| format!("cargo tree did not start: {error}"))?;
        if !output.status.success() {
            return Err(format!("cargo tree: {}", String::from_utf8_lossy(&output.stderr)));
        }
        faults.extend(reached(rule, &String::from_utf8_lossy(&output.stdout)));
    }
    Ok(faults)
}

fn reached(rule: &Rule, tree: &str) -> Vec<String> {
    let names: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let bad = rule.never.iter().filter(|never| names.contains(**never));
    bad.map(|never| format!("{} must not reach {never}: `cargo tree -i {never}`", rule.name))
        .collect()
}

/// The part of deny.toml that is checked here, because building cargo-deny takes longer than the
/// gate.
#[derive(Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
    sources: Sources,
}

#[derive(Deserialize)]
struct Licenses {
    allow: Vec<String>,
}

#[derive(Deserialize)]
struct Bans {
    deny: Vec<Banned>,
}

#[derive(Deserialize)]
struct Banned {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

fn third_party(deny: &Deny, package: &Package) -> Vec<String> {
    let name = format!("{} {}", package.name, package.version);
    let mut faults = Vec::new();
    if !licensed(&deny.licenses.allow, package.license.as_deref()) {
        let licence = package.license.as_deref().unwrap_or("none given");
        faults.push(format!("{name}: licence {licence} is not in deny.toml"));
    }
    if let Some(banned) = deny.bans.deny.iter().find(|banned| banned.name == package.name) {
        faults.push(format!("{name} is banned: {}", banned.reason));
    }
    if let Some(source) = &package.source {
        let registry = source.strip_prefix("registry+");
        if !registry.is_some_and(|from| deny.sources.allow_registry.iter().any(|r| r == from)) {
            faults.push(format!("{name}: source {source} is not in deny.toml"));
        }
    }
    faults
}

fn licensed(allow: &[String], licence: Option<&str>) -> bool {
    let parsed = licence.map(|text| spdx::Expression::parse_mode(text, spdx::ParseMode::LAX));
    match parsed {
        Some(Ok(expression)) => expression.evaluate(|one| allow.contains(&one.to_string())),
        _ => false,
    }
}

/// No dependency of a member may need a newer Rust than the member states.
fn rust_versions(metadata: &Metadata) -> Vec<String> {
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package)).collect();
    let nodes: BTreeMap<&str, _> = metadata
        .resolve
        .iter()
        .flat_map(|r| &r.nodes)
        .map(|node| (node.id.as_str(), node))
        .collect();
    let mut faults = Vec::new();
    for member in metadata.members() {
        let ours = member.rust_version.as_deref().map(numbers).unwrap_or_default();
        let (mut open, mut seen) = (vec![member.id.as_str()], BTreeSet::new());
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let dependencies = nodes.get(id).into_iter().flat_map(|node| &node.deps);
            let dependencies = dependencies
                .filter(|dep| dep.dep_kinds.iter().any(|k| k.kind.as_deref() != Some("dev")));
            open.extend(dependencies.map(|dep| dep.pkg.as_str()));
            let needed = packages.get(id).and_then(|package| package.rust_version.as_deref());
            if let Some(needed) = needed.filter(|needed| numbers(needed) > ours) {
                faults.push(format!("{}: {id} needs Rust {needed}", member.name));
            }
        }
    }
    faults
}

/// `1.85` and `1.85.0` are the same version.
fn numbers(version: &str) -> [u32; 3] {
    let mut numbers = [0; 3];
    for (number, text) in numbers.iter_mut().zip(version.split('.')) {
        *number = text.parse().unwrap_or(0);
    }
    numbers
}

#[cfg(test)]
mod tests;
