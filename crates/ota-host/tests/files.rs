//! The folder and the files in it: rights, locks, links, torn and foreign contents.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::fs::{self, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink};
use std::path::Path;

use ota_host::{DataDir, FileSlot, HostError, JournalFile, SlotOptions, VersionFile, VersionRoom};
use ota_proto::journal::Record;
use ota_proto::{Digester, Journal, Md5, StorageError, Version};
use tempfile::TempDir;

const STRIDE: usize = 4096;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn data() -> (TempDir, DataDir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path().join("data")).unwrap();
    (temp, dir)
}

fn options() -> SlotOptions {
    SlotOptions { capacity: Some(1 << 20), erase: 4096, keep_free: 0, ..SlotOptions::default() }
}

fn block(sequence: u32) -> [u8; Journal::LEN] {
    let record = Record { valid_from: [sequence, 0], ..Record::default() };
    record.encode(sequence)
}

fn md5(data: &[u8]) -> Md5 {
    let mut digester = Digester::new();
    digester.update(data);
    digester.finish()
}

#[test]
fn everything_is_private_from_its_creation() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    let missing = DataDir::open(temp.path().join("a/data")).unwrap_err();
    assert!(missing.to_string().contains("cannot create"), "its parent is not mounted: {missing}");
    let dir = DataDir::open(&path).unwrap();
    FileSlot::open(&dir, options()).unwrap().write_at(0, b"x").unwrap();
    JournalFile::open(&dir).unwrap();
    assert_eq!(mode(&path), 0o700);
    for name in ["lock", "slot.part", "journal"] {
        assert_eq!(mode(&path.join(name)), 0o600, "{name}");
    }
    let names: Vec<_> = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "no temporary file stays: {names:?}");
}

/// It failed once and worked the second time: the folder was made, and its parent could not be
/// opened to make its name durable.
#[test]
fn a_parent_that_may_be_written_and_not_read_is_enough_at_the_first_start() {
    use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
    let temp = tempfile::tempdir().unwrap();
    let parent = temp.path().join("parent");
    fs::create_dir(&parent).unwrap();
    let root = rustix::process::geteuid().is_root();
    if root {
        fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
        chown(&parent, Some(65_534), Some(65_534)).unwrap();
    }
    fs::set_permissions(&parent, Permissions::from_mode(0o300)).unwrap();
    // Root may read everything: only this thread is nobody's.
    let start = || {
        let (nobody, none) = (rustix::fs::Uid::from_raw(65_534), rustix::fs::Gid::from_raw(65_534));
        if root {
            set_thread_res_gid(none, none, none).unwrap();
            set_thread_res_uid(nobody, nobody, nobody).unwrap();
        }
        assert!(fs::read_dir(&parent).is_err());
        DataDir::open(parent.join("data")).map(drop)
    };
    std::thread::scope(|scope| scope.spawn(start).join().unwrap()).unwrap();
    fs::set_permissions(&parent, Permissions::from_mode(0o700)).unwrap();
    assert_eq!(mode(&parent.join("data")), 0o700);
}

#[test]
fn a_file_that_others_could_read_is_closed_to_them() {
    let (_temp, dir) = data();
    let path = dir.path().join("slot.img");
    fs::write(&path, b"copied here").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    FileSlot::open(&dir, options()).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_second_agent_on_one_folder_is_refused_by_name() {
    let (_temp, dir) = data();
    let slot = FileSlot::open(&dir, options()).unwrap();
    let path = dir.path().to_owned();
    let why = DataDir::open(&path).unwrap_err();
    assert!(matches!(&why, HostError::Locked { dir } if *dir == path));
    assert!(why.to_string().contains(path.to_str().unwrap()), "{why}");
    drop(dir);
    assert!(DataDir::open(&path).is_err(), "the slot still needs the folder to itself");
    drop(slot);
    DataDir::open(&path).unwrap();
}

#[test]
fn an_installer_that_outlives_us_does_not_hold_the_folder() {
    let (_temp, dir) = data();
    let path = dir.path().to_owned();
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // Files are closed on exec shortly after `spawn` returns: it must have begun to run.
    child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    drop(dir);
    let again = DataDir::open(&path);
    drop(child.stdin.take());
    child.wait().unwrap();
    again.unwrap();
}

#[test]
fn links_folders_and_pipes_in_place_of_a_file_are_refused() {
    for name in ["slot.img", "slot.new", "slot.part", "journal", "lock"] {
        let temp = tempfile::tempdir().unwrap();
        let victim = temp.path().join("victim");
        fs::write(&victim, b"precious").unwrap();
        let data = temp.path().join("data");
        fs::create_dir(&data).unwrap();
        let place = data.join(name);
        let open = || {
            let dir = DataDir::open(&data)?;
            FileSlot::open(&dir, options())?;
            JournalFile::open(&dir).map(|_| ())
        };
        symlink(&victim, &place).unwrap();
        let why = open().unwrap_err();
        assert!(matches!(&why, HostError::NotAFile { path } if *path == place), "{why:?}");
        fs::remove_file(&place).unwrap();
        symlink(temp.path().join("nothing"), &place).unwrap();
        assert!(matches!(open(), Err(HostError::NotAFile { .. })), "a dangling {name}");
        fs::remove_file(&place).unwrap();
        fs::create_dir(&place).unwrap();
        assert!(matches!(open(), Err(HostError::NotAFile { .. })), "a folder {name}");
        fs::remove_dir(&place).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&place).status().unwrap();
        assert!(made.success());
        assert!(matches!(open(), Err(HostError::NotAFile { .. })), "a pipe {name}");
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(!temp.path().join("nothing").exists());
    }
}

#[test]
fn a_file_in_place_of_the_folder_is_an_error_that_names_it() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("data");
    fs::write(&path, b"").unwrap();
    let why = DataDir::open(&path).unwrap_err();
    assert!(why.to_string().contains(path.to_str().unwrap()), "{why}");
    let source = std::error::Error::source(&why).unwrap();
    assert!(why.to_string().contains(&source.to_string()), "{why}, for {source}");
}

#[test]
fn a_journal_is_written_in_full_at_once_and_alternates() {
    let (_temp, dir) = data();
    let path = dir.path().join("journal");
    let mut journal = JournalFile::open(&dir).unwrap();
    assert_eq!(fs::read(&path).unwrap(), vec![0; 2 * STRIDE]);
    assert_eq!(journal.load(), None);
    for sequence in [7, 8, 9, u32::MAX, 0] {
        journal.persist(&block(sequence)).unwrap();
        let bytes = fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 2 * STRIDE);
        let at = Journal::place(&block(sequence)) * STRIDE;
        assert_eq!(bytes[at..at + Journal::LEN], block(sequence));
    }
    assert_eq!(journal.load(), Some(block(0)), "sequence numbers wrap");
    drop(journal);
    assert_eq!(JournalFile::open(&dir).unwrap().load(), Some(block(0)));
}

#[test]
fn a_write_cut_after_any_byte_leaves_the_old_record_or_the_new_one() {
    let (_temp, dir) = data();
    let path = dir.path().join("journal");
    let mut journal = JournalFile::open(&dir).unwrap();
    for (old, new) in [(4, 5), (5, 6)] {
        journal.persist(&block(old - 1)).unwrap();
        journal.persist(&block(old)).unwrap();
        let before = fs::read(&path).unwrap();
        let at = Journal::place(&block(new)) * STRIDE;
        for cut in 0..=Journal::LEN {
            let mut torn = before.clone();
            torn[at..at + cut].copy_from_slice(&block(new)[..cut]);
            fs::write(&path, &torn).unwrap();
            let found = journal.load();
            let whole = torn[at..at + Journal::LEN] == block(new);
            assert_eq!(found, Some(block(if whole { new } else { old })), "cut at {cut}");
            // A sector that failed in the middle of its write.
            torn[at + cut.min(Journal::LEN - 1)..at + 512].fill(0xff);
            fs::write(&path, &torn).unwrap();
            assert_eq!(journal.load(), Some(block(old)), "garbage from {cut}");
        }
        fs::write(&path, &before).unwrap();
    }
}

#[test]
fn foreign_and_short_journals_are_no_record_and_no_error() {
    let (_temp, dir) = data();
    let path = dir.path().join("journal");
    for bytes in [vec![0xff; 2 * STRIDE], b"{\"not\":\"ours\"}".to_vec(), vec![], vec![7; 99_999]] {
        fs::write(&path, &bytes).unwrap();
        let mut journal = JournalFile::open(&dir).unwrap();
        assert_eq!(journal.load(), None);
        journal.persist(&block(3)).unwrap();
        journal.persist(&block(4)).unwrap();
        assert_eq!(journal.load(), Some(block(4)));
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes.len().max(2 * STRIDE) as u64);
    }
    // Cut off behind a whole record: that record counts.
    let even = [block(3), block(4)].into_iter().find(|b| Journal::place(b) == 0).unwrap();
    fs::write(&path, even).unwrap();
    let journal = JournalFile::open(&dir).unwrap();
    assert_eq!(journal.load(), Some(even));
    assert_eq!(fs::metadata(&path).unwrap().len(), 2 * STRIDE as u64);
}

#[test]
fn what_was_read_of_the_journal_reads_the_same_again() {
    // A torn place that reads as a record one day must not do so after another was acted upon.
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let mut journal = JournalFile::open(&dir).unwrap();
    journal.persist(&block(0)).unwrap();
    let mut torn = block(1);
    torn[100] ^= 1;
    journal.persist(&torn).unwrap();
    assert_eq!(journal.load(), Some(block(0)));
    let bytes = std::fs::read(temp.path().join("journal")).unwrap();
    assert!(bytes[4096..].iter().all(|byte| *byte == 0), "wiped");
    assert_eq!(journal.load(), Some(block(0)));
}

#[test]
fn the_remains_of_a_cut_creation_do_no_harm() {
    let (temp, dir) = data();
    let victim = temp.path().join("victim");
    fs::write(&victim, b"precious").unwrap();
    symlink(&victim, dir.path().join("journal.new")).unwrap();
    let journal = JournalFile::open(&dir).unwrap();
    assert_eq!(journal.load(), None);
    assert!(!dir.path().join("journal.new").exists());
    assert_eq!(fs::read(&victim).unwrap(), b"precious");
}

#[test]
fn a_file_removed_under_us_is_gone_not_stored() {
    let (_temp, dir) = data();
    let mut slot = FileSlot::open(&dir, options()).unwrap();
    let mut journal = JournalFile::open(&dir).unwrap();
    slot.write_at(0, b"x").unwrap();
    fs::remove_file(dir.path().join("slot.part")).unwrap();
    fs::remove_file(dir.path().join("journal")).unwrap();
    assert_eq!(slot.sync(), Err(StorageError::Gone));
    assert_eq!(journal.persist(&block(1)), Err(StorageError::Gone));
}

#[test]
fn a_slot_keeps_its_prefix_when_it_is_opened_again() {
    let (_temp, dir) = data();
    let mut slot = FileSlot::open(&dir, options()).unwrap();
    let image: Vec<u8> = (0..10_000_u32).map(|i| i as u8).collect();
    slot.erase(0..4096, 10_000).unwrap();
    slot.write_at(0, &image[..5000]).unwrap();
    slot.sync().unwrap();
    let path = dir.path().join("slot.part");
    drop(slot);
    fs::File::options().write(true).open(&path).unwrap().set_len(4500).unwrap();

    let mut slot = FileSlot::open(&dir, options()).unwrap();
    let mut digester = Digester::new();
    slot.digest(0..10_000, &mut digester).unwrap();
    let there = [&image[..4500], &[0; 5500]].concat();
    assert_eq!(digester.finish(), md5(&there), "what is not there counts as zeros");
    slot.erase(4096..8192, 10_000).unwrap();
    slot.write_at(4096, &image[4096..]).unwrap();
    slot.sync().unwrap();
    let mut digester = Digester::new();
    slot.digest(0..10_000, &mut digester).unwrap();
    assert_eq!(digester.finish(), md5(&image));
    assert_eq!(fs::read(&path).unwrap(), image, "the file is the image and nothing else");
}

#[test]
fn a_shorter_image_leaves_nothing_of_a_longer_one() {
    let (_temp, dir) = data();
    let mut slot = FileSlot::open(&dir, options()).unwrap();
    for size in [0, 300] {
        slot.write_at(0, &[0xaa; 9000]).unwrap();
        slot.erase(0..300, size).unwrap();
        slot.write_at(0, &[0xbb; 300]).unwrap();
        slot.sync().unwrap();
        assert_eq!(fs::read(dir.path().join("slot.part")).unwrap(), [0xbb; 300]);
    }
}

#[test]
fn the_capacity_is_a_bound() {
    let (_temp, dir) = data();
    let mut slot = FileSlot::open(&dir, options()).unwrap();
    assert_eq!(slot.info().capacity, 1 << 20);
    assert_eq!(slot.write_at((1 << 20) - 1, b"ab"), Err(StorageError::NoSpace));
    assert_eq!(slot.write_at(u64::MAX, b"a"), Err(StorageError::NoSpace));
    assert_eq!(slot.erase(0..4096, (1 << 20) + 1), Err(StorageError::NoSpace));
    assert_eq!(slot.erase(1 << 20..(1 << 20) + 1, 0), Err(StorageError::NoSpace));
    let mut digester = Digester::new();
    assert_eq!(slot.digest(0..u64::MAX, &mut digester), Err(StorageError::Failed));
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = slot.digest(5..4, &mut digester);
    assert_eq!(backwards, Err(StorageError::Failed));
    slot.write_at((1 << 20) - 1, b"a").unwrap();
    let whole = FileSlot::open(&dir, SlotOptions::default()).unwrap().info();
    assert_eq!((whole.erase, whole.write), (256 * 1024, 1));
    assert!(whole.capacity > 1 << 20, "what the file system can hold");
    for bad in
        [SlotOptions { erase: 0, ..options() }, SlotOptions { capacity: Some(0), ..options() }]
    {
        assert!(matches!(FileSlot::open(&dir, bad), Err(HostError::BadOptions)));
    }
}

#[test]
fn a_version_file_is_read_strictly_and_replaced_whole() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("version");
    let file = VersionFile::new(&path);
    assert!(file.read().unwrap_err().to_string().contains(path.to_str().unwrap()));
    file.write(&Version::new("0.1.0").unwrap()).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"0.1.0\n");
    assert_eq!(mode(&path), 0o600);
    for (bytes, want) in [
        (&b"1.2.3"[..], Some("1.2.3")),
        (b"1.2.3\r\n", Some("1.2.3")),
        (b"  1.2.3\n\n", Some("1.2.3")),
        (b"", None),
        (b"\n", None),
        (b"1.2 3\n", None),
        (b"1.2\n3\n", None),
        (b"\xff\n", None),
        (b"123456789012345678901234567890123\n", None),
    ] {
        fs::write(&path, bytes).unwrap();
        match want {
            Some(text) => assert_eq!(file.read().unwrap().as_str(), text),
            None => assert!(matches!(file.read(), Err(HostError::BadVersion { .. })), "{bytes:?}"),
        }
    }
    fs::write(&path, format!("1.0{}", " ".repeat(100_000))).unwrap();
    assert!(matches!(file.read(), Err(HostError::BadVersion { .. })), "too long to be one");
}

#[test]
fn a_version_file_keeps_its_rights_and_its_link() {
    let temp = tempfile::tempdir().unwrap();
    let real = temp.path().join("real");
    fs::write(&real, "1\n").unwrap();
    fs::set_permissions(&real, Permissions::from_mode(0o644)).unwrap();
    symlink(&real, temp.path().join("version")).unwrap();
    fs::write(temp.path().join(".real.new"), "left by a cut").unwrap();
    let file = VersionFile::new(temp.path().join("version"));
    file.write(&Version::new("2").unwrap()).unwrap();
    assert_eq!(fs::read(&real).unwrap(), b"2\n");
    assert_eq!(mode(&real), 0o644);
    assert!(temp.path().join("version").is_symlink());
    assert!(!temp.path().join(".real.new").exists());
    // Only root gives files away.
    if chown(&real, Some(65_534), Some(65_533)).is_ok() {
        file.write(&Version::new("3").unwrap()).unwrap();
        let found = fs::metadata(&real).unwrap();
        assert_eq!((found.uid(), found.gid(), mode(&real)), (65_534, 65_533, 0o644));
    }
}

#[test]
fn a_version_file_that_is_a_link_of_somebody_else_is_neither_read_nor_written() {
    let temp = tempfile::tempdir().unwrap();
    let victim = temp.path().join("victim");
    fs::write(&victim, "1\n").unwrap();
    let link = temp.path().join("version");
    symlink(&victim, &link).unwrap();
    let file = VersionFile::new(&link);
    assert_eq!(file.read().unwrap().as_str(), "1", "a link of our own");
    if lchown(&link, Some(65_534), None).is_err() {
        return; // Only root gives links away.
    }
    let two = Version::new("2").unwrap();
    for why in [file.read().unwrap_err(), file.write(&two).unwrap_err()] {
        assert!(
            matches!(&why, HostError::ForeignLink { link: found, .. } if *found == link),
            "{why}"
        );
    }
    assert_eq!(fs::read(&victim).unwrap(), b"1\n");
    // Nor by a folder on the way.
    let folder = temp.path().join("etc");
    symlink(temp.path(), &folder).unwrap();
    lchown(&folder, Some(65_534), None).unwrap();
    assert!(VersionFile::new(folder.join("victim")).write(&two).is_err());
    assert!(DataDir::open(folder.join("data")).is_err());
    assert!(!temp.path().join("data").exists());
}

#[test]
fn what_would_stop_a_version_file_is_found_without_a_trace() {
    let temp = tempfile::tempdir().unwrap();
    let at = temp.path();
    let (path, next) = (at.join("version"), at.join(".version.new"));
    let file = VersionFile::new(&path);
    file.check().unwrap();
    assert_eq!(fs::read_dir(at).unwrap().count(), 0, "it is nobody's yet");
    fs::write(&path, "1.0.0\n").unwrap();
    let before = fs::metadata(&path).unwrap();
    file.check().unwrap();
    assert_eq!(fs::read_dir(at).unwrap().count(), 1);
    let after = fs::metadata(&path).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    let room = VersionRoom::default();
    file.reserve(&room).unwrap();
    file.check().unwrap();
    assert_eq!(fs::metadata(&next).unwrap().len(), 4096, "room that was taken stays");
    fs::remove_file(&next).unwrap();
    fs::create_dir(&next).unwrap();
    for result in [file.check(), file.reserve(&room)] {
        let why = result.unwrap_err();
        assert!(matches!(&why, HostError::NotAFile { path } if *path == next), "{why}");
    }
    fs::remove_dir(&next).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(file.check(), Err(HostError::NotAFile { .. })));
    assert!(VersionFile::new(at.join("none/version")).check().is_err());
}

#[test]
fn a_version_file_that_is_a_pipe_or_a_folder_holds_nobody_up() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("version");
    let file = VersionFile::new(&path);
    let two = Version::new("2").unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    for _ in 0..2 {
        assert!(matches!(file.read(), Err(HostError::BadVersion { .. })));
        assert!(matches!(file.write(&two), Err(HostError::NotAFile { .. })));
        let _ = fs::remove_file(&path);
        let _ = fs::create_dir(&path);
    }
}
