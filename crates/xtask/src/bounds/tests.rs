use std::fs;
use std::path::Path;

use super::{Measured, check, measure, page, table};

fn package(name: &str, files: &[(&str, String)]) -> Measured {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("crates").join(name);
    for (path, text) in files {
        let path = dir.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    measure(root.path(), name, &dir, vec![dir.join("src/lib.rs")]).unwrap()
}

fn statements(count: usize) -> String {
    "    drop(1);\n".repeat(count)
}

const GOOD: &str = "#![no_std]\n#![forbid(unsafe_code)]\n";

#[test]
fn a_package_within_its_bounds_has_no_faults() {
    let function = format!("fn f() {{\n{}}}\n", statements(68));
    let found = package("ota-host", &[("src/lib.rs", format!("{GOOD}{function}"))]);
    assert_eq!(check(&found), Vec::<String>::new());
}

#[test]
fn a_package_that_is_to_be_tested_well_has_as_many_lines_of_tests() {
    let lib = ("src/lib.rs", format!("{GOOD}{}", "const A: u8 = 1;\n".repeat(20)));
    let tests = |lines: usize| ("tests/a.rs", "const A: u8 = 1;\n".repeat(lines));
    let found = check(&package("ota-wire", &[lib.clone(), tests(21)]));
    assert_eq!(found, ["ota-wire: 21 lines of tests for 22 of code"]);
    assert_eq!(check(&package("ota-wire", &[lib.clone(), tests(22)])), Vec::<String>::new());
    assert_eq!(check(&package("ota-cloud", &[lib])), Vec::<String>::new());
}

#[test]
fn a_function_of_71_lines_is_named_with_its_place() {
    let function = format!("fn f() {{\n{}}}\n", statements(69));
    let found = package("ota-host", &[("src/lib.rs", format!("{GOOD}{function}"))]);
    assert_eq!(check(&found), ["crates/ota-host/src/lib.rs:3: `f`: 71 lines, at most 70"]);
}

#[test]
fn roots_without_their_attributes_are_named() {
    let tests = ("tests/a.rs", "fn f() {}\n".to_owned());
    let found = package("ota-proto", &[("src/lib.rs", "fn f() {}\n".to_owned()), tests]);
    assert_eq!(
        check(&found),
        [
            "crates/ota-proto/src/lib.rs: `#![forbid(unsafe_code)]` is missing",
            "crates/ota-proto/src/lib.rs: an unconditional `#![no_std]` is missing",
        ]
    );
}

#[test]
fn an_adapter_is_bounded_as_a_whole_and_its_flash_apart() {
    let half = "const A: u8 = 1;\n".repeat(201);
    let files = |second: &str| {
        [("src/lib.rs", GOOD.to_owned()), ("src/a.rs", half.clone()), (second, half.clone())]
            .map(|(path, text)| (path.to_owned(), text))
    };
    let check = |name: &str, second: &str| {
        let files = files(second);
        let files: Vec<_> = files.iter().map(|(p, t)| (p.as_str(), t.clone())).collect();
        check(&package(name, &files))
    };
    assert_eq!(check("ota-tokio", "src/b.rs"), ["ota-tokio: 404 lines of code, at most 400"]);
    assert_eq!(check("ota-embassy", "src/flash.rs"), Vec::<String>::new());
    assert_eq!(check("ota-host", "src/b.rs"), Vec::<String>::new());
}

#[test]
fn files_of_test_modules_are_tests() {
    let lib = format!("{GOOD}mod a;\n#[cfg(test)]\nmod tests;\n");
    let a = "const A: u8 = 1;\n#[cfg(test)]\nmod more;\n".to_owned();
    let line = "const A: u8 = 1;\n".to_owned();
    let found = package(
        "ota-wire",
        &[
            ("src/lib.rs", lib),
            ("src/a.rs", a),
            ("src/a/more.rs", line.clone()),
            ("src/tests.rs", line.clone()),
            ("src/tests/deep.rs", line.clone()),
            ("tests/t.rs", line),
        ],
    );
    // Two attributes, `mod a;`, one constant; four test files and twice `cfg(test) mod …;`.
    assert_eq!((found.code(|_| true), found.tests()), (4, 8));
    assert!(table(&[found]).contains("| ota-wire | 4 | 8 | 2.00 | 5 | 0 |"));
}

#[test]
fn a_file_that_does_not_parse_is_named() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("src")).unwrap();
    fs::write(root.path().join("src/lib.rs"), "fn {").unwrap();
    let error = measure(root.path(), "x", root.path(), Vec::new()).err().unwrap();
    assert!(error.starts_with("src/lib.rs: line 1"), "{error}");
    assert!(measure(Path::new("/"), "x", &root.path().join("none"), Vec::new()).is_err());
}

#[test]
fn the_page_names_every_limit() {
    let page = page("T");
    assert!(page.contains("| 400 |") && page.contains("| 70 |"));
}
