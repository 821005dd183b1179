use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ota_proto::Digester;

use super::*;
use crate::{FileSlot, Job, JournalFile, NoSwitch, SlotOptions, Storage, Work};

fn version(text: &str) -> Version {
    Version::new(text).unwrap()
}

/// A folder where a switch from 1.0.0 to 2.0.0 was cut between the two names.
struct Cut {
    folder: tempfile::TempDir,
    dir: DataDir,
    file: VersionFile,
}

impl Cut {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path().join("data")).unwrap();
        let file = VersionFile::new(folder.path().join("version"));
        file.write(&version("1.0.0")).unwrap();
        let cut = Self { folder, dir, file };
        cut.put(OLD, "1.0.0");
        cut.put(IMAGE, "2.0.0");
        let inode = fs::metadata(cut.at(IMAGE)).unwrap().ino();
        cut.note(inode, true);
        cut
    }

    fn note(&self, inode: u64, had: bool) {
        let (version, before) = (version("2.0.0"), self.file.find().unwrap());
        self.put(NOTE, &Pending { version, before, inode, had }.to_string());
    }

    fn at(&self, name: &'static str) -> PathBuf {
        self.dir.join(name)
    }

    fn put(&self, name: &'static str, text: &str) {
        fs::write(self.at(name), text).unwrap();
    }

    fn prepared(&self) -> PathBuf {
        self.folder.path().join(".version.new")
    }

    /// The version, and the files of the data folder but for the lock.
    fn found(&self) -> String {
        let text = |path: &Path| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let mut found = text(self.file.path());
        for name in [IMAGE, NEW, OLD, NOTE] {
            if self.at(name).exists() {
                found += &format!(", {name} {}", text(&self.at(name)));
            }
        }
        found
    }

    fn settled(&self) -> String {
        settle(&self.dir, &self.file).unwrap();
        self.found()
    }
}

#[test]
fn a_note_says_what_it_was_told() {
    let (new, old) = (version("2.0.0"), Some(version("first")));
    for (before, inode, had) in [(old, 7, true), (None, u64::MAX, false), (old, 0, false)] {
        let pending = Pending { version: new, before, inode, had };
        assert_eq!(Pending::parse(&pending.to_string()), Some(pending));
    }
    for text in ["", "\n", "2.0.0 next\n", "2.0.0 7 next 1.0.0", "2.0.0 7 last\n", "2 7 next 1 0\n"]
    {
        assert_eq!(Pending::parse(text), None, "{text:?}");
    }
}

#[test]
fn a_switch_cut_between_its_names_goes_forward_where_all_was_ready() {
    let cut = Cut::new();
    fs::write(cut.prepared(), "2.0.0\n").unwrap();
    assert_eq!(cut.settled(), "2.0.0, slot.img 2.0.0");
    assert!(!cut.prepared().exists());
    // And back where the next version is not whole, or is another one.
    for text in [None, Some("2.0.0\n\0\0"), Some("3.0.0\n")] {
        let cut = Cut::new();
        text.inspect(|text| fs::write(cut.prepared(), text).unwrap());
        assert_eq!(cut.settled(), "1.0.0, slot.img 1.0.0, slot.new 2.0.0");
        assert_eq!(cut.settled(), "1.0.0, slot.img 1.0.0, slot.new 2.0.0");
    }
}

#[test]
fn an_agent_that_has_said_which_version_runs_goes_back() {
    let cut = Cut::new();
    fs::write(cut.prepared(), "2.0.0\n").unwrap();
    Image::new(&cut.dir, NEW).reserve(&cut.file, &VersionRoom::default()).unwrap();
    assert_eq!(cut.found(), "1.0.0, slot.img 1.0.0, slot.new 2.0.0");
}

#[test]
fn what_somebody_else_has_put_there_is_left_alone() {
    let cut = Cut::new();
    fs::write(cut.prepared(), "2.0.0\n").unwrap();
    cut.file.write(&version("3.0.0")).unwrap();
    cut.put(IMAGE, "3.0.0");
    assert_eq!(cut.settled(), "3.0.0, slot.img 3.0.0");

    let cut = Cut::new();
    fs::write(cut.prepared(), "2.0.0\n").unwrap();
    cut.put(NEW, "another 1.0.0");
    fs::rename(cut.at(NEW), cut.at(IMAGE)).unwrap();
    assert_eq!(cut.settled(), "1.0.0, slot.img another 1.0.0");

    let cut = Cut::new();
    cut.put(NOTE, "2.0.0 next\n");
    assert_eq!(cut.settled(), "1.0.0, slot.img 2.0.0");
}

#[test]
fn the_only_image_is_not_removed() {
    let cut = Cut::new();
    fs::remove_file(cut.at(IMAGE)).unwrap();
    assert_eq!(cut.settled(), "1.0.0, slot.old 1.0.0");
    sweep(&cut.dir, true).unwrap();
    assert_eq!(cut.found(), "1.0.0, slot.old 1.0.0");
    cut.put(IMAGE, "2.0.0");
    sweep(&cut.dir, true).unwrap();
    assert_eq!(cut.found(), "1.0.0, slot.img 2.0.0");
}

#[test]
fn a_first_image_that_goes_back_leaves_none() {
    let cut = Cut::new();
    cut.note(fs::metadata(cut.at(IMAGE)).unwrap().ino(), false);
    fs::remove_file(cut.at(OLD)).unwrap();
    assert_eq!(cut.settled(), "1.0.0, slot.new 2.0.0");
}

#[test]
fn without_second_names_the_new_image_stays() {
    let cut = Cut::new();
    fs::remove_file(cut.at(OLD)).unwrap();
    assert_eq!(cut.settled(), "1.0.0, slot.img 2.0.0");
}

/// An image that was verified in this folder, and is empty.
fn verified(dir: &DataDir, accepts: bool) -> Image {
    let options = SlotOptions { keep_free: 0, accepts, ..SlotOptions::default() };
    let slot = FileSlot::open(dir, options).unwrap();
    let mut storage = Storage::new(slot, JournalFile::open(dir).unwrap(), Box::new(NoSwitch));
    let whole = Some(Digester::new().finish());
    storage.run(Job::new(0, Work::Erase { range: 0..1, size: 0 }));
    storage.run(Job { whole, ..Job::new(1, Work::Digest { range: 0..0 }) });
    storage.image()
}

#[test]
fn another_switch_waits_for_the_end_of_the_one_before() {
    let cut = Cut::new();
    let image = verified(&cut.dir, true);
    // It cannot be undone while this is no file.
    let (old, aside) = (cut.at(OLD), cut.folder.path().join("aside"));
    fs::rename(&old, &aside).unwrap();
    fs::create_dir(&old).unwrap();
    let accept = || image.accept(&cut.file, &VersionRoom::default(), &version("3.0.0"));
    for _ in 0..2 {
        accept().unwrap_err();
        assert!(cut.found().starts_with("1.0.0, slot.img 2.0.0, slot.new"), "{}", cut.found());
        assert!(cut.at(NOTE).exists() && image.path().ends_with(NEW));
    }
    fs::remove_dir(&old).unwrap();
    fs::rename(&aside, &old).unwrap();
    accept().unwrap();
    assert_eq!(cut.found(), "3.0.0, slot.img ");
}

#[test]
fn images_that_need_no_version_file_sweep_what_was_left() {
    let cut = Cut::new();
    verified(&cut.dir, false);
    assert_eq!(cut.found(), "1.0.0, slot.img ");
}
