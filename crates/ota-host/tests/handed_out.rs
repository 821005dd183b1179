//! A taken image is never written again, whatever its taker did with it; and what was
//! accepted stays until the next image is.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ota_host::{
    DataDir, FileSlot, HostError, Job, JournalFile, NoSwitch, Piece, SlotOptions, Storage,
    VersionFile, VersionRoom, Work,
};
use ota_proto::{Digester, Done, Md5, StorageError, Version};
use tempfile::TempDir;

const SIZE: u64 = 300_000;

fn options() -> SlotOptions {
    SlotOptions { erase: 4096, keep_free: 0, ..SlotOptions::default() }
}

fn open(folder: &Path, options: SlotOptions) -> Storage {
    let dir = DataDir::open(folder).unwrap();
    let slot = FileSlot::open(&dir, options).unwrap();
    Storage::new(slot, JournalFile::open(&dir).unwrap(), Box::new(NoSwitch))
}

fn image(seed: u8) -> Vec<u8> {
    (0..SIZE).map(|i| (i as u8) ^ seed).collect()
}

fn md5(data: &[u8]) -> Md5 {
    let mut digester = Digester::new();
    digester.update(data);
    digester.finish()
}

fn run(storage: &mut Storage, work: Work) -> Done {
    storage.run(Job::new((), work)).result
}

/// The digest of the whole image, which is to be this one.
fn digest(storage: &mut Storage, range: Range<u64>, whole: Option<Md5>) -> Done {
    storage.run(Job { whole, ..Job::new((), Work::Digest { range }) }).result
}

/// Receives an image as the core would have it done; the answer to its digest.
fn receive(storage: &mut Storage, image: &[u8], want: Md5) -> Done {
    receive_from(storage, 0, image, want)
}

fn receive_from(storage: &mut Storage, from: usize, image: &[u8], want: Md5) -> Done {
    let size = image.len() as u64;
    for (at, part) in image.chunks(4096).enumerate().skip(from / 4096) {
        let at = at as u64 * 4096;
        let end = at + part.len() as u64;
        let erased = run(storage, Work::Erase { range: at..end, size });
        assert_eq!(erased, Ok(None));
        let write = Work::Write { at, bytes: Piece { buf: part.to_vec(), span: 0..part.len() } };
        assert_eq!(run(storage, write), Ok(None));
    }
    assert_eq!(run(storage, Work::Sync), Ok(None));
    digest(storage, 0..size, Some(want))
}

/// A good image, handed out.
fn good(storage: &mut Storage, seed: u8) -> PathBuf {
    let image = image(seed);
    assert_eq!(receive(storage, &image, md5(&image)), Ok(Some(md5(&image))));
    storage.image().check().unwrap();
    assert_eq!(fs::read(storage.image().path()).unwrap(), image);
    storage.image().path()
}

/// The same bytes come, and another digest was offered.
fn bad(storage: &mut Storage, seed: u8) {
    let image = image(seed);
    let answer = receive(storage, &image, md5(b"another"));
    assert_eq!(answer, Ok(Some(md5(&image))));
    assert!(storage.image().check().is_err(), "nothing is verified");
}

/// The names in the folder, but for those of the journal and the lock.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.starts_with("slot."));
    names.sort();
    names
}

#[test]
fn what_was_moved_or_linked_keeps_its_bytes_over_a_refused_download() {
    type Take = fn(&Path, &Path);
    let ways: [(&str, Take); 4] = [
        ("mv", |from, to| fs::rename(from, to).unwrap()),
        ("ln", |from, to| fs::hard_link(from, to).unwrap()),
        ("ln -s", |from, to| symlink(from, to).unwrap()),
        ("cp", |from, to| assert_eq!(fs::copy(from, to).unwrap(), SIZE)),
    ];
    for restart in [false, true] {
        for (name, take) in ways {
            let temp = tempfile::tempdir().unwrap();
            let data = temp.path().join("data");
            let app = temp.path().join("app");
            let mut storage = open(&data, options());
            take(&good(&mut storage, 1), &app);
            if restart {
                drop(storage);
                storage = open(&data, options());
            }
            bad(&mut storage, 2);
            assert!(fs::read(&app).unwrap() == image(1), "{name}, restarted: {restart}");
            bad(&mut storage, 3);
            assert!(fs::read(&app).unwrap() == image(1), "{name}, restarted: {restart}");
            let before = fs::metadata(&app).unwrap().ino();
            let next = good(&mut storage, 4);
            assert_ne!(fs::metadata(next).unwrap().ino(), before, "a file of its own");
            if name != "ln -s" {
                assert!(fs::read(&app).unwrap() == image(1), "{name}");
            }
        }
    }
}

#[test]
fn an_image_can_be_run_and_is_not_held_open_for_writing() {
    let temp = tempfile::tempdir().unwrap();
    let mut storage = open(&temp.path().join("data"), options());
    let cat = fs::read("/bin/cat").unwrap();
    let _ = receive(&mut storage, &cat, md5(&cat));
    let program = storage.image().path();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    // It maps the file, and waits for its input.
    let mut command = Command::new(&program);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = loop {
        match command.spawn() {
            // A child of another test has all files of this process until it runs its program.
            Err(why) if why.kind() == ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            child => break child.unwrap(),
        }
    };
    bad(&mut storage, 2);
    drop(child.stdin.take());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "its pages are what they were");
}

#[test]
fn an_image_that_is_mounted_keeps_its_bytes() {
    let temp = tempfile::tempdir().unwrap();
    let (disk, at) = (temp.path().join("disk"), temp.path().join("at"));
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&disk).arg("4096").output();
    if !made.is_ok_and(|made| made.status.success()) {
        eprintln!("skipped: no mkfs.ext4 here");
        return;
    }
    let mut storage = open(&temp.path().join("data"), options());
    let bytes = fs::read(&disk).unwrap();
    let _ = receive(&mut storage, &bytes, md5(&bytes));
    fs::create_dir(&at).unwrap();
    let image = storage.image().path();
    let mounted = Command::new("mount").args(["-o", "loop,ro"]).arg(&image).arg(&at).output();
    if !mounted.is_ok_and(|mounted| mounted.status.success()) {
        eprintln!("skipped: no loop mounts here");
        return;
    }
    bad(&mut storage, 2);
    let found = at.join("lost+found").exists();
    Command::new("umount").arg(&at).status().unwrap();
    assert!(found);
}

#[test]
fn a_folder_in_the_place_of_the_image_is_left_alone_and_said_before_the_first_byte() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let mut storage = open(&data, options());
    let place = good(&mut storage, 1);
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    fs::write(place.join("precious"), "x").unwrap();
    let answer = run(&mut storage, Work::Erase { range: 0..4096, size: SIZE });
    assert_eq!(answer, Err(StorageError::Failed));
    assert!(place.join("precious").exists());
    drop(storage);
    let dir = DataDir::open(&data).unwrap();
    assert!(matches!(FileSlot::open(&dir, options()), Err(HostError::NotAFile { .. })));
}

#[test]
fn an_image_that_was_handed_out_is_verified_again_after_a_restart_and_goes_on_in_a_copy() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let mut storage = open(&data, options());
    let place = good(&mut storage, 1);
    fs::hard_link(&place, temp.path().join("app")).unwrap();
    drop(storage);
    let mut storage = open(&data, options());
    assert!(storage.image().check().is_err(), "nobody has looked at it in this life");
    let whole = Some(md5(&image(1)));
    let again = digest(&mut storage, 0..SIZE, whole);
    assert_eq!(again, Ok(Some(md5(&image(1)))));
    storage.image().check().unwrap();
    drop(storage);
    // The last checkpoint was before its end: the rest comes again, into another file.
    let mut storage = open(&data, options());
    let from = 100 * 4096 / 2;
    let answer = receive_from(&mut storage, from, &image(1), md5(&image(1)));
    assert_eq!(answer, Ok(Some(md5(&image(1)))));
    let (here, there) = (storage.image().path(), temp.path().join("app"));
    assert_ne!(fs::metadata(here).unwrap().ino(), fs::metadata(&there).unwrap().ino());
    assert!(fs::read(there).unwrap() == image(1));
}

#[test]
fn a_download_goes_on_after_a_restart_and_begins_anew_when_its_file_is_gone() {
    let half = &image(1)[..131_072];
    for gone in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("data");
        let mut storage = open(&data, options());
        let _ = receive(&mut storage, half, md5(b"more to come"));
        drop(storage);
        if gone {
            fs::remove_file(data.join("slot.part")).unwrap();
        }
        let mut storage = open(&data, options());
        // With a trailing digest the first thing asked for is that of what was stored.
        let stored = run(&mut storage, Work::Digest { range: 0..131_072 });
        let want = if gone { md5(&[0; 131_072]) } else { md5(half) };
        assert_eq!(stored, Ok(Some(want)), "gone: {gone}");
        let answer = receive_from(&mut storage, 131_072, &image(1), md5(&image(1)));
        // Then the digest is wrong, and the core begins anew.
        assert_eq!(answer == Ok(Some(md5(&image(1)))), !gone);
        good(&mut storage, 1);
    }
}

fn accepting(temp: &TempDir, keep_before: bool) -> Storage {
    open(&temp.path().join("data"), SlotOptions { accepts: true, keep_before, ..options() })
}

/// Accepts what was verified, as this version.
fn accept(temp: &TempDir, storage: &Storage, version: &str) -> Result<(), HostError> {
    let file = VersionFile::new(temp.path().join("version"));
    let version = Version::new(version).unwrap();
    storage.image().accept(&file, &VersionRoom::default(), &version)
}

#[test]
fn an_accepted_image_stays_until_another_one_is_accepted() {
    let temp = tempfile::tempdir().unwrap();
    let accepted = temp.path().join("data/slot.img");
    let mut storage = accepting(&temp, true);
    assert!(accept(&temp, &storage, "1.0.0").is_err(), "there is none");
    assert_eq!(good(&mut storage, 1), temp.path().join("data/slot.new"));
    accept(&temp, &storage, "1.0.0").unwrap();
    accept(&temp, &storage, "1.0.0").unwrap();
    assert_eq!(storage.image().path(), accepted);
    for restart in [false, true] {
        if restart {
            drop(storage);
            storage = accepting(&temp, true);
        }
        bad(&mut storage, 2);
        assert!(accept(&temp, &storage, "2.0.0").is_err());
        assert!(fs::read(&accepted).unwrap() == image(1));
        // One that the application refuses after it was verified.
        good(&mut storage, 3);
        assert!(fs::read(&accepted).unwrap() == image(1));
        assert_eq!(fs::read(temp.path().join("version")).unwrap(), b"1.0.0\n");
    }
    good(&mut storage, 4);
    accept(&temp, &storage, "4.0.0").unwrap();
    assert!(fs::read(&accepted).unwrap() == image(4));
    assert_eq!(names(&temp.path().join("data")), ["slot.img"]);
    // The accepted one is offered again, with another version: it is looked at where it is.
    drop(storage);
    let mut storage = accepting(&temp, true);
    let whole = Some(md5(&image(4)));
    let _ = digest(&mut storage, 0..SIZE, whole);
    assert_eq!(storage.image().path(), accepted);
    accept(&temp, &storage, "5.0.0").unwrap();
    assert!(fs::read(&accepted).unwrap() == image(4));
    assert_eq!(fs::read(temp.path().join("version")).unwrap(), b"5.0.0\n");
}

#[test]
fn a_folder_in_the_place_of_the_accepted_image_is_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let mut storage = accepting(&temp, true);
    good(&mut storage, 1);
    fs::create_dir(temp.path().join("data/slot.img")).unwrap();
    assert!(accept(&temp, &storage, "1.0.0").is_err());
    assert!(temp.path().join("data/slot.img").is_dir());
    assert!(!temp.path().join("version").exists());
    fs::remove_dir(temp.path().join("data/slot.img")).unwrap();
    accept(&temp, &storage, "1.0.0").unwrap();
    assert_eq!(names(&temp.path().join("data")), ["slot.img"]);
}

#[test]
fn a_file_that_takes_the_place_of_the_verified_one_is_noticed() {
    let temp = tempfile::tempdir().unwrap();
    for accepts in [false, true] {
        let mut storage = open(&temp.path().join("data"), SlotOptions { accepts, ..options() });
        let place = good(&mut storage, 1);
        let other = temp.path().join("other");
        fs::write(&other, image(1)).unwrap();
        fs::rename(&other, &place).unwrap();
        for result in [storage.image().check(), accept(&temp, &storage, "1.0.0")] {
            let why = result.unwrap_err();
            assert!(matches!(&why, HostError::Replaced { path } if *path == place), "{why}");
        }
        fs::remove_file(&place).unwrap();
        symlink("/etc/hostname", &place).unwrap();
        assert!(storage.image().check().is_err(), "a link");
        fs::remove_file(&place).unwrap();
        assert!(storage.image().check().is_err(), "nothing");
    }
}
