//! Which memory map each program has.
#![forbid(unsafe_code)]

use std::env;
use std::path::PathBuf;

/// Each program and where it runs.
const PROGRAMS: [(&str, &str); 9] = [
    ("loader", "loader"),
    ("firmware", "firmware"),
    ("small", "small"),
    ("size-empty", "firmware"),
    ("size-proto", "firmware"),
    ("size-wire", "firmware"),
    ("size-network", "firmware"),
    ("size-embassy", "firmware"),
    ("size-tls", "firmware"),
];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    for (program, map) in PROGRAMS {
        let map = root.join("link").join(map);
        println!("cargo:rerun-if-changed={}", map.join("memory.x").display());
        println!("cargo:rustc-link-arg-bin={program}=-L{}", map.display());
        println!("cargo:rustc-link-arg-bin={program}=-Tlink.x");
        println!("cargo:rustc-link-arg-bin={program}=--nmagic");
    }
}
