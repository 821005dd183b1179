//! Measures the crates on a microcontroller: flash as differences of linked programs, memory and
//! wear during an update in the emulator. The page is `docs/footprint.md`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use super::lines::From;
use super::runs::{Images, PATIENCE, said_of_memory, settled};
use super::tools::{Compiler, Profile, Programs};
use super::world::World;
use super::{elf, flash, small};
use crate::kept::Kept;

const KEPT: Kept = Kept {
    page: "docs/footprint.md",
    command: "cargo xtask mcu footprint --write",
    heads: ["what", "bytes or times"],
    growth: 5,
};

type Rows = Vec<(String, u64)>;

/// Measures everything; compares it with the page, or writes it there.
pub(super) fn run(programs: &Programs, write: bool) -> Result<(), String> {
    // Sizes of different compilers cannot be compared: the table uses Debian's.
    let pinned = |profile| Ok::<_, String>(programs.with(Compiler::debian()?, profile));
    let mut rows = flash(&pinned(Profile::Default)?)?;
    let [default, small, tls] = [Profile::Default, Profile::Small, Profile::Tls].map(pinned);
    rows.extend(memory(&default?, &small?, &tls?)?);
    let made_with =
        format!("{}, thumbv7m-none-eabi, opt-level \"s\", fat LTO.", Compiler::Debian.version()?);
    KEPT.run(programs.root(), &made_with, &rows, write)
}

/// Flash: each program minus the one below it, and the share of each crate.
fn flash(programs: &Programs) -> Result<Rows, String> {
    let mut sizes = BTreeMap::new();
    let mut shares = BTreeMap::new();
    for name in ["empty", "proto", "wire", "network", "embassy", "tls"] {
        let path = programs.program(&format!("size-{name}"), &[])?;
        let file = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let (_, image) = elf::image(&file)?;
        sizes.insert(name, image.len() as u64);
        if ["proto", "wire", "embassy"].contains(&name) {
            shares.insert(name, code(&path, &elf::section(&file, ".text")?)?);
        }
    }
    let less = |above: &str, below: &str| sizes[above].saturating_sub(sizes[below]);
    let share = |program: &str, parts: &[&str]| -> u64 { share(&shares[program], parts) };
    let row = |name: &str, bytes| (name.to_owned(), bytes);
    let (json, messages) = (share("proto", JSON), share("proto", MESSAGES));
    let (urls, journal) = (share("proto", URLS), share("proto", JOURNAL));
    let machine = share("proto", &["ota-proto"]).saturating_sub(messages + urls + journal);
    Ok(vec![
        row("flash: `ota-proto` with all it needs", less("proto", "empty")),
        row("flash: of it the machine", machine),
        row("flash: of it messages", messages.saturating_sub(json)),
        row("flash: of it JSON", json),
        row("flash: of it URLs", urls),
        row("flash: of it the journal", journal),
        row("flash: of it MD5", share("proto", MD5)),
        row("flash: `ota-proto` and `ota-wire` with all they need", less("wire", "empty")),
        row("flash: of it `ota-wire`", share("wire", &["ota-wire"])),
        row("flash: of it Rust's core, alloc and arithmetic", share("wire", RUST)),
        row("flash: `ota-embassy` with all it needs, network deducted", less("embassy", "network")),
        row("flash: of it `ota-embassy`", share("embassy", &["ota-embassy", "embassy-boot"])),
        row("flash: TLS 1.3 beside it, with all it needs", less("tls", "embassy")),
    ])
}

const MESSAGES: &[&str] = &["ota-proto/message"];
const JSON: &[&str] = &["ota-proto/message/json.rs"];
const URLS: &[&str] = &["ota-proto/url.rs"];
const JOURNAL: &[&str] = &["ota-proto/journal"];
const MD5: &[&str] = &["md-5", "digest", "block-buffer", "crypto-common", "hybrid-array"];
const RUST: &[&str] = &["core", "alloc", "compiler-builtins"];

/// Sums the code of these crates, folders and files.
fn share(code: &BTreeMap<String, u64>, parts: &[&str]) -> u64 {
    let of = |place: &str, part: &str| {
        place.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let counted = code.iter().filter(|(place, _)| parts.iter().any(|part| of(place, part)));
    counted.map(|(_, bytes)| bytes).sum()
}

/// Bytes of code per file, named by [`place`]: an instruction counts for the innermost function
/// that it was inlined from, but for Rust's own only without another around it.
fn code(program: &Path, text: &elf::Section) -> Result<BTreeMap<String, u64>, String> {
    const TOOL: &str = "arm-none-eabi-addr2line";
    let mut child = Command::new(TOOL)
        .args(["--inlines", "--addresses", "--exe"])
        .arg(program)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{TOOL}: {error}"))?;
    let mut input = child.stdin.take().ok_or("no input")?;
    let addresses = (text.address..text.address + text.length).step_by(2);
    let list: String = addresses.map(|address| format!("{address:#x}\n")).collect();
    let feeder = thread::spawn(move || input.write_all(list.as_bytes()));
    let output = child.wait_with_output().map_err(|error| format!("{TOOL}: {error}"))?;
    let _ = feeder.join();
    let mut bytes = BTreeMap::new();
    for frames in String::from_utf8_lossy(&output.stdout).split("0x").skip(1) {
        let places: Vec<String> = frames.lines().skip(1).map(place).collect();
        let rust = |place: &String| place.starts_with("core/") || place.starts_with("alloc/");
        if let Some(name) = places.iter().find(|place| !rust(place)).or(places.last()) {
            *bytes.entry(name.clone()).or_default() += 2;
        }
    }
    Ok(bytes)
}

/// The crate of a source file, and the file in it.
fn place(path: &str) -> String {
    let (path, _) = path.rsplit_once(':').unwrap_or((path, ""));
    let (dir, file) = path.rsplit_once("/src/").unwrap_or((path, ""));
    let dir = dir.rsplit('/').next().unwrap_or_default();
    // In the registry a crate's folder has its version.
    let versioned = dir.rsplit_once('-');
    let name = versioned.filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()));
    format!("{}/{file}", name.map_or(dir, |(name, _)| name))
}

/// Memory and wear of an update, and the differences in the small profile and with TLS.
fn memory(programs: &Programs, small_programs: &Programs, tls: &Programs) -> Result<Rows, String> {
    let (said, [slot, journal, _]) = update(programs)?;
    let (small, _) = update(small_programs)?;
    let (tls, _) = update(tls)?;
    let mut rows: Rows = NAMES
        .iter()
        .map(|(key, name)| (format!("memory: {name}"), said.get(*key).copied().unwrap_or(0)))
        .collect();
    rows.push(("memory: all of it".to_owned(), all(&said)));
    rows.push(("memory: all of it in the small profile".to_owned(), all(&small)));
    for (key, name) in TLS {
        rows.push((format!("memory with TLS: {name}"), tls.get(key).copied().unwrap_or(0)));
    }
    rows.push(("memory with TLS: all of it".to_owned(), all(&tls)));
    rows.extend(small::Figures::measure(small_programs, false)?.rows());
    let wear = |name: &str, times: u32| (format!("wear: {name}"), u64::from(times));
    rows.push(wear("erases of the slot's most erased block", slot.most));
    rows.push(wear("erases of journal pages", journal.sum));
    Ok(rows)
}

fn all(said: &BTreeMap<String, u64>) -> u64 {
    let parts = ["task", "peak", "stack", "sockets", "received", "records"].iter();
    parts.map(|name| said.get(*name).copied().unwrap_or(0)).sum()
}

/// The maximum of each memory figure that the firmware prints during an update, and its erases.
fn update(programs: &Programs) -> Result<(BTreeMap<String, u64>, [flash::Wear; 3]), String> {
    let images = Images::build(programs)?;
    let mut world = World::new(programs, &images.new, 1, false)?;
    world.new_board(0, &images.old)?;
    world.power_on()?;
    let mut most: BTreeMap<String, u64> = BTreeMap::new();
    // The figures of the old firmware at its restart belong to the download.
    for said in ["firmware: Restart", "firmware: Reported"] {
        world.wait_for(said, PATIENCE, |_, from, line| {
            if from == From::Board {
                said_of_memory(line, &mut most);
            }
            from == From::Board && line.starts_with(said)
        })?;
    }
    settled(&mut world, &images.new.version)?;
    let [firmware, _] = world.flash()?.wear()?;
    Ok((most, firmware))
}

/// The words in the firmware's line, and their names in the table.
const NAMES: [(&str, &str); 7] = [
    ("updater", "`Updater`, in `Client`"),
    ("client", "`Client`, in the heap"),
    ("task", "the task's future"),
    ("peak", "heap at peak"),
    ("stack", "deepest stack of the adapter and below"),
    ("sockets", "two sockets' buffers"),
    ("received", "two receive buffers"),
];

const TLS: [(&str, &str); 3] = [
    ("records", "records, two of 16,640 and two of 1,024"),
    ("peak", "heap at peak"),
    ("stack", "deepest stack of the adapter and below"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_file_has_its_place() {
        for (path, expected) in [
            ("/x/crates/ota-proto/src/updater/mod.rs:12", "ota-proto/updater/mod.rs"),
            ("/x/registry/src/y/serde_json-1.0.154/src/de.rs:9", "serde_json/de.rs"),
            ("/x/registry/src/y/md-5-0.11.0/src/lib.rs:9", "md-5/lib.rs"),
            ("/usr/lib/rustlib/src/rust/library/core/src/fmt/mod.rs:1", "core/fmt/mod.rs"),
        ] {
            assert_eq!(place(path), expected);
        }
    }

    #[test]
    fn a_share_is_of_whole_names() {
        let code = BTreeMap::from(
            [("a/url.rs", 1), ("a/url/b.rs", 2), ("a/c.rs", 4), ("ab/c.rs", 8)]
                .map(|(place, bytes)| (place.to_owned(), bytes)),
        );
        assert_eq!(share(&code, &["a"]), 7);
        assert_eq!(share(&code, &["a/url.rs", "a/url"]), 3);
        assert_eq!(share(&code, &["ab", "c"]), 8);
    }
}
