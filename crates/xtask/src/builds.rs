//! Measures the build of each published crate: the number of packages, and the time of a build from
//! scratch.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::bench::{Cost, time};
use crate::cargo;
use crate::instructions::output;
use crate::metadata::{Metadata, Package};

/// Builds each published crate alone, with its default features, in an empty folder.
pub(crate) fn run() -> Result<(), String> {
    let metadata = Metadata::load_members()?;
    let root = metadata.root();
    let target = root.join("target/builds");
    println!("| crate | packages from others | seconds of a processor | on the wall |");
    println!("|---|---:|---:|---:|");
    for package in metadata.members().filter(|package| package.is_published()) {
        let others = others(root, package)?;
        let cost = build(root, &target, &package.name)?;
        let Package { name, .. } = package;
        println!("| `{name}` | {others} | {:.0} | {:.0} |", cost.cpu, cost.wall);
    }
    Ok(())
}

/// Counts the packages from a registry that are compiled, build dependencies included, each once.
fn others(root: &Path, package: &Package) -> Result<usize, String> {
    let mut command = cargo();
    command.args(["tree", "--package", &package.name, "--edges=normal,build", "--prefix=none"]);
    let tree = output(command.arg("--format={p}").current_dir(root))?;
    Ok(registry(&tree))
}

/// In the tree a member has its folder, and a package that was shown before has a star.
fn registry(tree: &str) -> usize {
    let names = tree.lines().map(|line| line.trim_end_matches(" (*)"));
    names.filter(|name| !name.is_empty() && !name.contains('/')).collect::<BTreeSet<_>>().len()
}

fn build(root: &Path, target: &Path, name: &str) -> Result<Cost, String> {
    let _ = fs::remove_dir_all(target);
    let (root, shown) = (root.display(), target.display());
    let cost = time(&format!(
        "CARGO_INCREMENTAL=0 CARGO_TARGET_DIR='{shown}' cargo build --quiet --release --locked \
         --manifest-path '{root}/Cargo.toml' --package {name} 2>/dev/null"
    ));
    let _ = fs::remove_dir_all(target);
    cost
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_repetitions_are_not_counted() {
        let tree = "ota-wire v0.1.0 (/x/crates/ota-wire)\npostcard v1.1.3\n\
                    ota-proto v0.1.0 (/x/crates/ota-proto)\ncrc v3.4.0\ncrc v3.4.0 (*)\n\
                    serde_derive v1.0.1 (proc-macro)\n";
        assert_eq!(registry(tree), 3);
    }
}
