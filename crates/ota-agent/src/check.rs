//! Finds what would make every update fail on this machine, before a download starts.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ota_host::{AbSlots, VersionFile, free_room};
use rustix::fs::{Access, access};

use super::config::{Config, Consent, Restart, Running, Slots, Target};
use crate::failure::Failure;
use crate::print::{clean, out, safe_json};
use crate::size::Bytes;

/// `ota agent check-config`.
pub(super) fn run(path: &Path, json: bool) -> Result<(), Failure> {
    let config = Config::read(path)?;
    let mut found = find(&config);
    found.extend(folder(&config.data_dir));
    found.extend(room(&config));
    if json {
        let line = serde_json::json!({"ok": found.is_empty(), "found": found}).to_string();
        out(&safe_json(&line));
    } else {
        found.iter().for_each(|why| out(&clean(why)));
    }
    match found.len() {
        0 if json => Ok(()),
        0 => {
            out(&format!("{}: no problem found", path.display()));
            Ok(())
        }
        1 => Err(Failure::environment("an update would fail on this machine: 1 problem found")),
        count => Err(Failure::environment(format!(
            "an update would fail on this machine: {count} problems found"
        ))),
    }
}

/// Returns all problems, each with its key. Changes nothing.
pub(super) fn find(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    let command = |key: &str, words: Option<&Vec<String>>| {
        words.and_then(|words| program(words)).map(|why| format!("{key}: {why}"))
    };
    let policy = &config.policy;
    if let Consent::Command(words) = &policy.consent {
        found.extend(command("consent", Some(words)));
    }
    found.extend(command("verify", policy.verify.as_ref()));
    // Every command gets the path of the image, which must still be the verified file.
    let told = match &config.target {
        Target::File(_) => false,
        Target::Command { .. } => true,
        Target::Slots(slots) => {
            slots.fill.is_some() || slots.health.is_some() || words(&slots.restart).is_some()
        }
    };
    let asks = matches!(policy.consent, Consent::Command(_));
    if told || asks || policy.verify.is_some() {
        found.extend(config.exposure().err().map(|why| why.to_string()));
    }
    match &config.target {
        Target::File(file) => found.extend(version_file(file)),
        Target::Command { running, install, restart, .. } => {
            found.extend(command("install", Some(install)));
            found.extend(command("restart", words(restart)));
            if let Running::File(file) = running {
                found.extend(file.read().err().map(|why| format!("version_file: {why}")));
            }
        }
        Target::Slots(Slots { path, starts, fill, restart, health, .. }) => {
            found.extend(command("install", fill.as_ref()));
            found.extend(command("restart", words(restart)));
            found.extend(command("health", health.as_ref()));
            let slots = AbSlots::open(path, *starts);
            let slots = slots.and_then(|slots| slots.version().map(|_| slots));
            let why = match (slots, writable(path)) {
                (Err(why), unwritable) => {
                    found.push(format!("slots: {why}"));
                    unwritable
                }
                (Ok(slots), None) => slots.check(fill.is_none()).err().map(|why| why.to_string()),
                (Ok(_), unwritable) => unwritable,
            };
            found.extend(why.map(|why| format!("slots: {why}")));
        }
    }
    found
}

fn words(restart: &Restart) -> Option<&Vec<String>> {
    match restart {
        Restart::Command(words) => Some(words),
        _ => None,
    }
}

/// Returns why a command's program cannot be started.
fn program(words: &[String]) -> Option<String> {
    let name = words.first()?;
    if name.starts_with('{') {
        // The program comes with the image.
        return None;
    }
    if name.contains('/') {
        return startable(Path::new(name)).err().map(|why| format!("cannot start {name}: {why}"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|folder| folder.join(name));
    if places.any(|place| startable(&place).is_ok()) {
        return None;
    }
    let path = path.to_string_lossy();
    Some(format!("{name} is not in PATH ({path})"))
}

fn startable(path: &Path) -> Result<(), io::Error> {
    if path.metadata()?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(access(path, Access::EXEC_OK)?)
}

/// Returns why the agent could not replace the version file.
fn version_file(file: &VersionFile) -> Option<String> {
    let path = file.path();
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(why) => return Some(format!("version_file: cannot read {}: {why}", path.display())),
    };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if is_mounted(&mounts, &real) {
        return Some(format!(
            "version_file: {} is mounted by itself, so no other file can take its place: mount its \
             folder",
            path.display()
        ));
    }
    let folder = real.parent().unwrap_or(Path::new("/"));
    let why = writable(folder).or_else(|| file.check().err().map(|why| why.to_string()));
    why.map(|why| format!("version_file: {why}"))
}

/// Whether this path is a mount point: `proc_pid_mountinfo(5)`.
fn is_mounted(mounts: &str, path: &Path) -> bool {
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(unescape).any(|point| point == path)
}

/// The system writes blanks, tabs, line ends and backslashes of a path as three octal digits.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStrExt as _;
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('\\') {
        bytes.extend_from_slice(before.as_bytes());
        let digits = behind.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(digits.unwrap_or(b'\\'));
        rest = if digits.is_some() { behind.get(3..).unwrap_or("") } else { behind };
    }
    bytes.extend_from_slice(rest.as_bytes());
    PathBuf::from(OsStr::from_bytes(&bytes))
}

/// Returns why the data folder could not be used or created.
fn folder(path: &Path) -> Option<String> {
    if path.exists() {
        return writable(path).map(|why| format!("data_dir: {why}"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    if !parent.exists() {
        let parent = parent.display();
        return Some(format!("data_dir: there is no {parent}: is its disk mounted?"));
    }
    writable(parent).map(|why| format!("data_dir: {why}"))
}

/// Returns why there is no room for a second image of the accepted one's size, if both are kept.
/// The size of the next image is not known yet.
fn room(config: &Config) -> Option<String> {
    if !config.keep_accepted {
        return None;
    }
    let dir = &config.data_dir;
    let accepted = dir.join("slot.img").metadata().ok()?.len();
    let free = free_room(File::open(dir).ok()?).ok()?;
    // The next download reuses the room of a partial one.
    let part = dir.join("slot.part").metadata().map_or(0, |found| found.blocks());
    let part = part.saturating_mul(512);
    let needed = accepted.saturating_add(config.slot().keep_free);
    missing(free, part, needed).map(|free| {
        format!(
            "keep_accepted: there is no room for a second image of {} in {}: {} are free, and {} \
             are needed",
            Bytes(accepted),
            dir.display(),
            Bytes(free),
            Bytes(needed)
        )
    })
}

/// Returns the free bytes if there are too few; `None` if the file system does not report them.
fn missing(free: Option<u64>, part: u64, needed: u64) -> Option<u64> {
    free.map(|free| free.saturating_add(part)).filter(|free| *free < needed)
}

fn writable(folder: &Path) -> Option<String> {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    let why = io::Error::from(access(folder, wanted).err()?);
    Some(format!("cannot write to {}: {why}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_looked_for_where_a_start_would() {
        let words = |name: &str| vec![name.to_owned()];
        assert_eq!(program(&words("sh")), None);
        assert_eq!(program(&words("/bin/sh")), None);
        assert_eq!(program(&words("{slot}/install")), None);
        for (name, why) in [
            ("no-such-program", "is not in PATH"),
            ("/nowhere/install", "cannot start /nowhere/install: No such file"),
            ("/etc/passwd", "cannot start /etc/passwd: Permission denied"),
            ("/etc", "cannot start /etc: is a directory"),
        ] {
            let found = program(&words(name)).unwrap();
            assert!(found.contains(why), "{found}");
        }
    }

    #[test]
    fn a_disk_that_does_not_say_what_is_free_lacks_nothing() {
        for (free, part, needed, want) in [
            (None, 0, u64::MAX, None),
            (Some(0), 0, 1, Some(0)),
            (Some(5), 4, 10, Some(9)),
            (Some(6), 4, 10, None),
            (Some(u64::MAX), u64::MAX, u64::MAX, None),
        ] {
            assert_eq!(missing(free, part, needed), want, "{free:?} and {part} for {needed}");
        }
    }

    #[test]
    fn a_file_that_is_a_mount_is_seen() {
        let mounts = "22 1 0:20 / /proc rw - proc proc rw\n\
                      61 22 8:1 /v /etc/a\\040b/version rw - ext4 /dev/sda1 rw\n";
        assert!(is_mounted(mounts, Path::new("/etc/a b/version")));
        assert!(!is_mounted(mounts, Path::new("/etc/a b")));
        assert!(!is_mounted("", Path::new("/")));
    }
}
