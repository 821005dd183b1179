//! Checks published packages: metadata, required files, and a build of each package from its own
//! content.

use std::fs::DirEntry;
use std::path::{Path, PathBuf};

use crate::metadata::{Metadata, Package};
use crate::{cargo, execute};

/// Files of every published package.
const FILES: [&str; 4] = ["CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT", "README.md"];
/// The most keywords and categories that the registry accepts.
const MOST: usize = 5;

/// Checks all published packages, then packages and builds them.
pub(crate) fn run() -> Result<(), String> {
    let metadata = Metadata::load_members()?;
    let (published, kept): (Vec<_>, Vec<_>) = metadata.members().partition(|p| p.is_published());
    let list: Vec<_> = published.iter().flat_map(|package| check(package)).collect();
    crate::faults("not ready to publish", &list)?;
    let mut command = cargo();
    command.args(["package", "--quiet", "--locked", "--allow-dirty", "--workspace"]);
    for package in &kept {
        command.args(["--exclude", &package.name]);
    }
    forget(&published);
    forget_builds(&metadata.target_directory, &published);
    execute(&mut command)?;
    let names: Vec<_> = published.iter().map(|package| package.name.as_str()).collect();
    println!("{} packages build from what they hold: {}", names.len(), names.join(", "));
    Ok(())
}

/// Removes unpacked packages: Cargo keeps them in its home as if they came from a registry, and
/// would use an older one of the same version.
fn forget(published: &[&Package]) {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let Some(sources) = home.map(|home| home.join("registry/src")) else { return };
    let nameless = |entry: &DirEntry| entry.file_name().to_string_lossy().starts_with('-');
    for registry in std::fs::read_dir(sources).into_iter().flatten().flatten().filter(nameless) {
        for Package { name, version, .. } in published {
            // It may not be there.
            let _ = std::fs::remove_dir_all(registry.path().join(format!("{name}-{version}")));
        }
    }
}

/// Removes what was built from unpacked packages: Cargo takes the sources of a registry for
/// unchanged, and would use the build of an older one of the same version.
fn forget_builds(target: &Path, published: &[&Package]) {
    let debug = target.join("debug");
    for entry in std::fs::read_dir(debug.join("deps")).into_iter().flatten().flatten() {
        let path = entry.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let Some((of, hash)) = stem.rsplit_once('-') else { continue };
        let package = published.iter().find(|package| package.name.replace('-', "_") == of);
        let (Some(package), true) = (package, path.extension().is_some_and(|is| is == "d")) else {
            continue;
        };
        if std::fs::read_to_string(&path).is_ok_and(|text| text.contains("registry/src/-")) {
            let fingerprint = format!("{}-{hash}", package.name);
            let _ = std::fs::remove_dir_all(debug.join(".fingerprint").join(fingerprint));
        }
    }
}

fn check(package: &Package) -> Vec<String> {
    let Package { name, description, keywords, categories, documentation, .. } = package;
    let mut list = Vec::new();
    let mut want = |right: bool, what: &str| {
        if !right {
            list.push(format!("{name}: {what}"));
        }
    };
    want(
        description.as_ref().is_some_and(|text| text.len() >= 40),
        "the description is missing or too short",
    );
    want((1..=MOST).contains(&keywords.len()), "1 to 5 keywords");
    want((1..=MOST).contains(&categories.len()), "1 to 5 categories");
    want(package.license.is_some(), "no licence");
    want(package.rust_version.is_some(), "no rust-version");
    want(documentation.is_some(), "no address of its documentation");
    for file in FILES {
        want(package.dir().join(file).is_file(), &format!("{file} is missing"));
    }
    let log = std::fs::read_to_string(package.dir().join("CHANGELOG.md")).unwrap_or_default();
    let heading = format!("## {}", package.version);
    want(log.contains(&heading), &format!("CHANGELOG.md has no \"{heading}\""));
    let readme = std::fs::read_to_string(package.dir().join("README.md")).unwrap_or_default();
    for feature in package.features.keys().filter(|feature| *feature != "default") {
        want(
            readme.contains(&format!("| `{feature}` |")),
            &format!("README.md has no row for the feature {feature}"),
        );
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_package_lacks_is_named() {
        let bare = Package { name: "bare".to_owned(), ..Package::default() };
        let list = check(&bare);
        for lack in ["description", "keywords", "licence", "rust-version", "README.md is missing"] {
            assert!(list.iter().any(|fault| fault.contains(lack)), "{lack}: {list:?}");
        }
    }

    #[test]
    fn an_empty_list_of_registries_is_not_published() {
        let package = |publish| Package { publish, ..Package::default() };
        assert!(package(None).is_published());
        assert!(!package(Some(Vec::new())).is_published());
    }
}
