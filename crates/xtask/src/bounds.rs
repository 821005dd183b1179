//! Measures the size bounds of this workspace.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use crate::count::{FileCount, count};
use crate::metadata::Metadata;

/// Lines of any function, signature and closing brace included. Clippy's `too_many_lines` counts
/// neither the signature nor comments nor empty lines: with the same number it allows more.
const FUNCTION_LINES: usize = 70;
/// Lines of code of an adapter.
const ADAPTER_CODE: usize = 400;

/// Packages with at least as many lines of tests as of code.
const TESTED: [&str; 2] = ["ota-proto", "ota-wire"];

/// Adapters, each with the parts that are counted separately: storage and `Updates`, which
/// `ota-host` contains for the others.
const ADAPTERS: [(&str, &[&str]); 3] =
    [("ota-tokio", &[]), ("ota-smol", &[]), ("ota-embassy", &["src/flash", "src/updates"])];
/// Crates with an unconditional `#![no_std]`.
const NO_STD: [&str; 5] =
    ["ota-embassy", "ota-embassy-tls", "ota-proto", "ota-register", "ota-wire"];
/// Roots without `#![forbid(unsafe_code)]`: path and reason.
const UNSAFE_ROOTS: [(&str, &str); 0] = [];

/// Prints the table; fails with the violations. `write` updates `docs/bounds.md`.
pub(crate) fn run(write: bool) -> Result<(), String> {
    let metadata = Metadata::load_members()?;
    let mut packages = Vec::new();
    for member in metadata.members() {
        let roots = member.targets.iter();
        let roots = roots.filter(|t| t.kind.iter().any(|kind| kind == "lib" || kind == "bin"));
        let roots = roots.map(|target| target.src_path.clone()).collect();
        packages.push(measure(metadata.root(), &member.name, member.dir(), roots)?);
    }
    for dir in outside(metadata.root()) {
        let name = relative(metadata.root(), &dir);
        packages.push(measure(metadata.root(), &name, &dir, Vec::new())?);
    }
    let table = table(&packages);
    println!("{table}");
    if write {
        let path = metadata.root().join("docs/bounds.md");
        fs::write(&path, page(&table)).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    crate::faults("bounds broken", &packages.iter().flat_map(check).collect::<Vec<_>>())
}

struct Measured {
    name: String,
    /// Path from the workspace's root, whether all of it is test code, and its counts.
    files: Vec<(String, bool, FileCount)>,
    roots: Vec<String>,
}

impl Measured {
    fn code(&self, of: impl Fn(&str) -> bool) -> usize {
        let files = self.files.iter().filter(|(path, test, _)| !test && of(path));
        files.map(|(_, _, file)| file.code).sum()
    }

    fn tests(&self) -> usize {
        let lines = |(_, test, file): &(String, bool, FileCount)| {
            file.test + if *test { file.code } else { 0 }
        };
        self.files.iter().map(lines).sum()
    }

    fn longest_file(&self) -> usize {
        self.files.iter().map(|(_, _, file)| file.lines).max().unwrap_or(0)
    }

    fn longest_function(&self) -> usize {
        let functions = self.files.iter().flat_map(|(_, _, file)| &file.functions);
        functions.map(|function| function.lines).max().unwrap_or(0)
    }
}

/// The packages outside the workspace: every example, and the fuzz targets.
pub(crate) fn outside(root: &Path) -> Vec<PathBuf> {
    let examples = fs::read_dir(root.join("examples")).into_iter().flatten().flatten();
    let mut dirs: Vec<PathBuf> = examples.map(|entry| entry.path()).collect();
    dirs.push(root.join("fuzz"));
    dirs.retain(|dir| dir.join("Cargo.toml").is_file());
    dirs.sort();
    dirs
}

fn measure(root: &Path, name: &str, dir: &Path, roots: Vec<PathBuf>) -> Result<Measured, String> {
    let mut paths = Vec::new();
    walk(dir, &mut paths)?;
    let mut files = Vec::new();
    let mut test_modules = Vec::new();
    for path in paths {
        let shown = relative(root, &path);
        let text = fs::read_to_string(&path).map_err(|e| format!("{shown}: {e}"))?;
        let found = count(&text).map_err(|e| format!("{shown}: {e}"))?;
        let place = module_dir(&path);
        test_modules.extend(found.test_modules.iter().map(|module| place.join(module)));
        files.push((path, found));
    }
    let is_test = |path: &Path| {
        let inside = relative(dir, path);
        let source = inside.starts_with("src/") || inside.starts_with("fuzz_targets/");
        let plain = path.with_extension("");
        !source || test_modules.iter().any(|m| plain.starts_with(m))
    };
    let files =
        files.into_iter().map(|(path, found)| (relative(root, &path), is_test(&path), found));
    Ok(Measured {
        name: name.to_owned(),
        files: files.collect(),
        roots: roots.iter().map(|path| relative(root, path)).collect(),
    })
}

/// The folder of a module's children.
fn module_dir(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(Path::new(""));
    match path.file_stem().and_then(|stem| stem.to_str()) {
        None | Some("lib" | "main" | "mod") => parent.to_owned(),
        Some(stem) => parent.join(stem),
    }
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned()
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), String> {
    let fail = |error| format!("{}: {error}", dir.display());
    let mut entries: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        entries.push(entry.map_err(fail)?.path());
    }
    entries.sort();
    for path in entries {
        if path.is_dir() {
            if !path.ends_with("target") {
                walk(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

fn check(package: &Measured) -> Vec<String> {
    let mut faults = Vec::new();
    for (path, _, file) in &package.files {
        for function in file.functions.iter().filter(|f| f.lines > FUNCTION_LINES) {
            let (name, line, lines) = (&function.name, function.line, function.lines);
            faults
                .push(format!("{path}:{line}: `{name}`: {lines} lines, at most {FUNCTION_LINES}"));
        }
        if package.roots.contains(path) {
            faults.extend(check_root(&package.name, path, file));
        }
    }
    if let Some((name, apart)) = ADAPTERS.iter().find(|(name, _)| *name == package.name) {
        let code = package.code(|path| !apart.iter().any(|apart| path.contains(apart)));
        if code > ADAPTER_CODE {
            faults.push(format!("{name}: {code} lines of code, at most {ADAPTER_CODE}"));
        }
    }
    let (code, tests) = (package.code(|_| true), package.tests());
    if TESTED.contains(&package.name.as_str()) && tests < code {
        faults.push(format!("{}: {tests} lines of tests for {code} of code", package.name));
    }
    faults
}

fn check_root(package: &str, path: &str, file: &FileCount) -> Vec<String> {
    let has = |wanted: &str| file.attributes.iter().any(|attribute| attribute == wanted);
    let mut faults = Vec::new();
    let excepted = UNSAFE_ROOTS.iter().any(|(root, _)| *root == path);
    if !excepted && !has("forbid(unsafe_code)") {
        faults.push(format!("{path}: `#![forbid(unsafe_code)]` is missing"));
    }
    if NO_STD.contains(&package) && !has("no_std") {
        faults.push(format!("{path}: an unconditional `#![no_std]` is missing"));
    }
    faults
}

fn table(packages: &[Measured]) -> String {
    let mut text = String::from(
        "| package | code | tests | tests/code | longest file | longest function |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    let mut row = |name: &str, code: usize, tests: usize, file: usize, function: usize| {
        // Hundredths without floats.
        let ratio = tests.saturating_mul(100).checked_div(code).unwrap_or(0);
        let ratio = format!("{}.{:02}", ratio / 100, ratio % 100);
        let _ = writeln!(text, "| {name} | {code} | {tests} | {ratio} | {file} | {function} |");
    };
    for package in packages {
        let (code, tests) = (package.code(|_| true), package.tests());
        row(&package.name, code, tests, package.longest_file(), package.longest_function());
    }
    let code = packages.iter().map(|package| package.code(|_| true)).sum();
    let tests = packages.iter().map(Measured::tests).sum();
    let file = packages.iter().map(Measured::longest_file).max().unwrap_or(0);
    let function = packages.iter().map(Measured::longest_function).max().unwrap_or(0);
    row("**all**", code, tests, file, function);
    text
}

fn page(table: &str) -> String {
    format!(
        "# Size bounds\n\n\
         Written by `cargo xtask bounds --write`; the gate runs the same check.\n\
         A line of code holds at least one token; comments, documentation and tests are not code.\n\n\
         | bound | limit |\n|---|---:|\n\
         | lines of a function, signature to closing brace | {FUNCTION_LINES} |\n\
         | lines of code of an adapter | {ADAPTER_CODE} |\n\n\
         `ota-proto` and `ota-wire` have at least as many lines of tests as of code.\n\n{table}"
    )
}

#[cfg(test)]
mod tests;
