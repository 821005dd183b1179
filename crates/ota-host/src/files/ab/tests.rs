//! The power is cut at every operation, and whatever was not synced may be there or not.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::{Mutex, MutexGuard};

use rustix::io::Errno;

use super::*;

/// Starts of an image on trial.
const STARTS: u8 = 2;

type Names = BTreeMap<String, String>;

#[derive(Clone, Debug)]
enum Op {
    Put(String, String),
    Rename(String, String),
}

impl Op {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Put(name, text) => drop(names.insert(name.clone(), text.clone())),
            Self::Rename(from, to) => {
                if let Some(text) = names.remove(from) {
                    names.insert(to.clone(), text);
                }
            }
        }
    }
}

/// A folder whose names last only after a sync. Texts and links alike are strings.
#[derive(Debug, Default)]
struct Medium {
    durable: Names,
    pending: Vec<Op>,
    /// Operations before the cut.
    left: usize,
    /// Operations before one that fails; whether it is done all the same.
    error: Option<(usize, bool)>,
}

#[derive(Debug, Default)]
struct Model(Mutex<Medium>);

impl Model {
    fn lock(&self) -> MutexGuard<'_, Medium> {
        self.0.lock().unwrap()
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let medium = self.lock();
        let mut names = medium.durable.clone();
        medium.pending.iter().for_each(|op| op.apply(&mut names));
        names.remove(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn act(&self, op: Option<Op>) -> io::Result<()> {
        let mut medium = self.lock();
        let error = medium.error.take();
        medium.error = error.filter(|(left, _)| *left > 0).map(|(left, done)| (left - 1, done));
        let failed = error.filter(|(left, _)| *left == 0);
        if let Some((_, false)) = failed {
            return Err(Errno::IO.into());
        }
        if medium.left == 0 {
            // It may have been in progress.
            if let Some(Op::Put(name, text)) = op {
                medium.pending.push(Op::Put(name, text[..text.len() / 2].to_owned()));
            } else if let Some(op) = op {
                medium.pending.push(op);
            }
            return Err(io::Error::other("cut"));
        }
        medium.left -= 1;
        match op {
            Some(op) => medium.pending.push(op),
            None => {
                let done = std::mem::take(&mut medium.pending);
                done.iter().for_each(|op| op.apply(&mut medium.durable));
            }
        }
        failed.map_or(Ok(()), |_| Err(Errno::IO.into()))
    }
}

impl Files for Model {
    fn read(&self, name: &str) -> io::Result<String> {
        Self::read(self, name)
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        self.act(Some(Op::Put(name.to_owned(), text.to_owned())))
    }

    fn read_link(&self, name: &str) -> io::Result<String> {
        Self::read(self, name)
    }

    fn link(&self, name: &str, to: &str) -> io::Result<()> {
        self.act(Some(Op::Put(name.to_owned(), to.to_owned())))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.act(Some(Op::Rename(from.to_owned(), to.to_owned())))
    }

    fn sync(&self) -> io::Result<()> {
        self.act(None)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Act(SlotAction),
    Start,
}

use SlotAction::{Activate, ClearMark, Confirm, RollBack};
use Step::{Act, Start};

/// What the slots are driven through; the first has a good image, the others a bad one.
const STORIES: [&[Step]; 3] = [
    &[Act(Activate), Start, Start, Act(Confirm)],
    &[Act(Activate), Start, Start, Start, Act(ClearMark)],
    &[Act(Activate), Start, Act(RollBack), Start, Act(ClearMark)],
];

/// A folder of slots with both images, at what the medium kept.
struct World<'a> {
    folder: &'a Path,
    slots: AbSlots,
    model: Arc<Model>,
    /// How often the new image was started without having been confirmed.
    tries: usize,
}

/// A folder that holds what every world has: the new image's version.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("b")).unwrap();
    std::fs::write(folder.path().join("b/version"), "2").unwrap();
    folder
}

impl<'a> World<'a> {
    fn new(folder: &'a Path) -> Self {
        let durable = Names::from([(LINK.to_owned(), "a".to_owned())]);
        let (slots, model) = mount(folder, durable, usize::MAX);
        Self { folder, slots, model, tries: 0 }
    }

    /// Another life after a cut: of what was not synced, what the mask says is there.
    fn reboot(&mut self, mask: usize, left: usize) {
        let names = {
            let medium = self.model.lock();
            let mut names = medium.durable.clone();
            for (i, op) in medium.pending.iter().enumerate() {
                if mask >> i & 1 == 1 {
                    op.apply(&mut names);
                }
            }
            names
        };
        (self.slots, self.model) = mount(self.folder, names, left);
    }

    /// Whether it was done; not when the power was cut.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Act(action) => self.slots.act(action).is_ok(),
            Start => {
                let done = self.slots.start("").is_ok();
                // A cut may come when the image is as good as started.
                if done && self.link() == "b" && self.mark() != Mark::Confirmed {
                    self.tries += 1;
                }
                done
            }
        }
    }

    fn link(&self) -> String {
        self.model.read(LINK).unwrap()
    }

    fn mark(&self) -> Mark {
        self.slots.look().unwrap().0.mark
    }
}

fn mount(path: &Path, durable: Names, left: usize) -> (AbSlots, Arc<Model>) {
    let model =
        Arc::new(Model(Mutex::new(Medium { durable, pending: Vec::new(), left, error: None })));
    let dir = File::open(path).unwrap();
    (AbSlots::new(path.to_owned(), dir, model.clone(), STARTS), model)
}

/// What must hold at every boot, when `asked` is all that was ever asked for.
fn check(world: &World<'_>, asked: &[Step]) {
    let running = world.slots.running().unwrap();
    let (state, link) = world.slots.look().unwrap();
    let confirmed = asked.contains(&Act(Confirm));
    assert!(link == Side::A || asked.contains(&Start), "switched before a start: {asked:?}");
    assert!(
        link == Side::A || confirmed || state.mark != Mark::Confirmed,
        "stays without a word: {asked:?}"
    );
    assert!(
        running.slot != SlotState::Confirmed || running.side == Side::A || confirmed,
        "{asked:?} gave {running:?}"
    );
    assert!(usize::from(STARTS) >= world.tries, "started {} times: {asked:?}", world.tries);
}

/// Goes on after the cuts as the core would, to the story's end.
fn finish(world: &mut World<'_>, story: &[Step]) {
    let good = story.contains(&Act(Confirm));
    for _ in 0..10 {
        let running = world.slots.running().unwrap();
        let step = match running.slot {
            SlotState::Armed => Start,
            SlotState::Trial if good => Act(Confirm),
            // It hangs, and the machine is started again.
            SlotState::Trial => Start,
            SlotState::RolledBack if running.side.name() != world.link() => Start,
            SlotState::RolledBack => Act(ClearMark),
            _ if world.mark() == Mark::Confirmed && running.side == Side::A && good => {
                Act(Activate)
            }
            _ => break,
        };
        assert!(world.step(step), "{step:?} at {running:?}");
        check(world, &[story, &[step]].concat());
    }
    let running = world.slots.running().unwrap();
    assert_eq!(running.slot, SlotState::Confirmed);
    let trials = usize::from(good && world.tries >= usize::from(STARTS));
    // A good image that used up its starts in cuts may have been taken back.
    assert!(trials == 1 || running.side == if good { Side::B } else { Side::A }, "{running:?}");
    assert_eq!(world.link(), running.side.name());
}

/// The number of operations that the steps take.
fn operations(folder: &Path, story: &[Step]) -> usize {
    let mut world = World::new(folder);
    for step in story {
        assert!(world.step(*step), "{step:?}");
    }
    usize::MAX - world.model.lock().left
}

/// Runs the story until the power is cut after this many operations; what was asked for.
fn run(world: &mut World<'_>, story: &[Step]) -> Vec<Step> {
    let mut asked = Vec::new();
    for step in story {
        asked.push(*step);
        if !world.step(*step) {
            break;
        }
    }
    asked
}

#[test]
fn o6_o15_a_cut_at_any_operation_leaves_a_whole_image_and_the_right_evidence() {
    let (folder, mut cuts) = (folder(), 0);
    let folder = folder.path();
    for story in STORIES {
        let most = operations(folder, story);
        for first in 0..most {
            for mask in 0..16 {
                let mut world = World::new(folder);
                world.model.lock().left = first;
                let asked = run(&mut world, story);
                world.reboot(mask, usize::MAX);
                check(&world, &asked);
                finish(&mut world, story);
                cuts += 1;
                // And a second cut, when the story goes on.
                for second in 0..6 {
                    let mut world = World::new(folder);
                    world.model.lock().left = first;
                    let mut asked = run(&mut world, story);
                    world.reboot(mask, second);
                    let rest = match world.slots.running().unwrap().slot {
                        SlotState::Trial if story.contains(&Act(Confirm)) => Act(Confirm),
                        SlotState::Confirmed => Act(Activate),
                        _ => Start,
                    };
                    asked.push(rest);
                    let _ = world.step(rest);
                    world.reboot(mask, usize::MAX);
                    check(&world, &asked);
                    cuts += 1;
                }
            }
        }
    }
    assert!(cuts > 2_000, "{cuts} cuts");
}

#[test]
fn an_image_that_never_comes_up_is_taken_back_after_its_starts() {
    let folder = folder();
    let mut world = World::new(folder.path());
    assert!(world.step(Act(Activate)));
    for _ in 0..STARTS {
        assert!(world.step(Start));
        assert_eq!(world.link(), "b");
    }
    assert!(world.step(Start));
    assert_eq!(world.link(), "a");
    let running = world.slots.running().unwrap();
    assert_eq!((running.side, running.slot), (Side::A, SlotState::RolledBack));
    assert!(!world.step(Act(Confirm)), "too late");
}

#[test]
fn an_error_anywhere_around_a_switch_ends_on_the_new_image_after_one_more_try() {
    let folder = folder();
    let story = &[Act(Activate), Start, Act(Confirm)];
    let errors = operations(folder.path(), story);
    assert!(2 * errors >= 22, "{errors}");
    for (n, done) in (0..errors).flat_map(|n| [(n, false), (n, true)]) {
        let mut world = World::new(folder.path());
        world.model.lock().error = Some((n, done));
        let mut failed = 0;
        for step in story {
            if !world.step(*step) {
                failed += 1;
                assert!(world.step(*step), "{step:?} again, after error {n}, done: {done}");
            }
            check(&world, story);
        }
        assert_eq!(failed, 1, "error {n}, done: {done}");
        let running = world.slots.running().unwrap();
        assert_eq!((running.side, running.slot), (Side::B, SlotState::Confirmed));
        assert_eq!(world.link(), "b");
    }
}

#[test]
fn the_state_says_whether_an_activation_that_failed_was_made() {
    let folder = folder();
    for (n, done) in
        (0..operations(folder.path(), &[Act(Activate)])).flat_map(|n| [(n, false), (n, true)])
    {
        let mut world = World::new(folder.path());
        world.model.lock().error = Some((n, done));
        assert!(!world.step(Act(Activate)), "error {n}");
        let said = Switch::state(&mut world.slots.clone());
        assert_eq!(said == SlotState::Armed, world.mark() == Mark::Armed, "error {n}");
        assert!(world.step(Start));
        assert_eq!(world.link() == "b", said == SlotState::Armed, "error {n}, done: {done}");
    }
}

#[test]
fn the_machine_counts_once_in_each_of_its_runs() {
    let folder = folder();
    let mut world = World::new(folder.path());
    assert!(world.step(Act(Activate)));
    assert!(world.slots.start("run1").unwrap());
    for (boot, moved) in [("run1", false), ("run2", false), ("run2", false), ("run3", true)] {
        assert_eq!(world.slots.machine_started(boot).unwrap(), moved, "{boot}");
    }
    assert_eq!(world.link(), "a");
}

#[test]
fn a_restart_is_due_until_it_was_done_or_the_machine_was_started() {
    let folder = folder();
    for (last, due) in [("run1", true), ("run2", false)] {
        let mut world = World::new(folder.path());
        assert!(world.step(Act(Activate)));
        assert!(world.slots.restart("run1").unwrap());
        assert!(world.slots.is_due().unwrap());
        for _ in 0..2 {
            assert_eq!(world.slots.machine_started(last).unwrap(), due);
        }
        assert_eq!(world.slots.look().unwrap().0.starts, 1, "that start was counted");
        world.slots.restarted(last).unwrap();
        assert!(!world.slots.machine_started(last).unwrap());
        // So is the one back; and telling the cloud of it does not make it done.
        assert!(world.step(Act(RollBack)));
        assert!(world.slots.restart(last).unwrap());
        assert!(world.step(Act(ClearMark)));
        assert!(world.slots.machine_started(last).unwrap());
        world.slots.restarted(last).unwrap();
        assert!(!world.slots.machine_started(last).unwrap());
    }
}

#[test]
fn a_state_that_nobody_wrote_says_nothing() {
    let good = AbState { mark: Mark::Trial, side: Side::B, starts: 2, boot: "x".into(), due: true };
    let text = good.to_text();
    assert_eq!(AbState::from_text(&text), Some(good));
    let second = text.replace("ota-slots 1", "ota-slots 2");
    for bad in ["", "\n", "ota-slots 1\n", &second] {
        assert_eq!(AbState::from_text(bad), None, "{bad:?}");
    }
    for end in 0..text.len() {
        assert_eq!(AbState::from_text(&text[..end]), None, "cut at {end}");
    }
    assert_eq!(AbState::from_text(&format!("{text}more\n")), None);
    for (length, fits) in [(0, true), (64, true), (65, false)] {
        let long = text.replace("boot x", &format!("boot {}", "x".repeat(length)));
        assert_eq!(AbState::from_text(&long).is_some(), fits, "{length}");
    }
    assert_eq!(AbState::from_text(&text.replace("starts 2", "starts 256")), None);
    assert_eq!(AbState::from_text(&text.replace("trial b", "trial c")), None);
}

#[test]
fn a_change_waits_for_that_of_another_process_and_not_forever() {
    let folder = folder();
    let mut world = World::new(folder.path());
    world.slots.patience = Duration::from_millis(60);
    let held = lock::take(&world.slots.dir, Duration::ZERO).unwrap();
    let want = folder.path().join("switch.lock");
    for done in [world.slots.start("").map(drop), world.slots.restarted("")] {
        match done {
            Err(HostError::Waited { lock, time }) if lock == want => {
                assert!(time >= world.slots.patience, "{time:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(!world.step(Act(Activate)));
    // What a child has between its fork and its program keeps nobody out.
    let copy = held.file().unwrap().try_clone().unwrap();
    drop(held);
    assert!(world.step(Act(Activate)) && world.step(Start));
    drop(copy);
}

#[test]
fn whether_the_lock_can_be_had_is_known_before_a_download() {
    let folder = folder();
    let mut world = World::new(folder.path());
    world.slots.patience = Duration::from_millis(60);
    let lock = folder.path().join("switch.lock");
    for side in ["a", "b"] {
        std::fs::create_dir_all(folder.path().join(side)).unwrap();
        std::fs::write(folder.path().join(side).join("version"), "1.0.0").unwrap();
    }
    let names = || std::fs::read_dir(folder.path()).unwrap().count();
    let before = names();
    world.slots.check(false).unwrap();
    assert_eq!(names(), before, "nothing is left");
    Switch::reserve(&mut world.slots).unwrap();
    assert!(lock.exists());
    let held = lock::take(&world.slots.dir, Duration::ZERO).unwrap();
    assert!(matches!(world.slots.check(false), Err(HostError::Waited { .. })));
    drop(held);
    world.slots.check(false).unwrap();
    std::fs::remove_file(&lock).unwrap();
    std::fs::create_dir(&lock).unwrap();
    let why = world.slots.check(false).unwrap_err();
    assert!(matches!(why, HostError::NoLock { .. }), "{why}");
    assert_eq!(why.storage(), StorageError::ReadOnly);
}

#[test]
fn the_lock_is_one_that_only_those_hold_who_may_change_the_slots() {
    let folder = folder();
    let (at, lock) = (folder.path(), folder.path().join("switch.lock"));
    let open = |mode| std::fs::set_permissions(at, Permissions::from_mode(mode)).unwrap();
    let world = World::new(at);
    let mode = || lock.metadata().unwrap().permissions().mode() & 0o777;
    for (folder, want) in
        [(0o755, 0o600), (0o775, 0o660), (0o700, 0o600), (0o757, 0o606), (0o750, 0o600)]
    {
        open(folder);
        world.slots.start("").unwrap();
        assert_eq!(mode(), want, "{folder:o}");
    }
    // What somebody else has put there is neither followed, held, changed nor removed.
    let victim = at.join("victim");
    std::fs::write(&victim, "precious").unwrap();
    std::fs::set_permissions(&victim, Permissions::from_mode(0o640)).unwrap();
    let pipe =
        || assert!(std::process::Command::new("mkfifo").arg(&lock).status().unwrap().success());
    let makes: [(&str, &dyn Fn()); 4] = [
        ("a link", &|| std::os::unix::fs::symlink("victim", &lock).unwrap()),
        ("a loose link", &|| std::os::unix::fs::symlink("nothing", &lock).unwrap()),
        ("a folder", &|| std::fs::create_dir(&lock).unwrap()),
        ("a pipe", &pipe),
    ];
    std::fs::remove_file(&lock).unwrap();
    for (what, make) in makes {
        make();
        match world.slots.start("") {
            Err(HostError::NoLock { path }) => assert_eq!(path, lock, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        assert!(!at.join("nothing").exists());
        let _ = std::fs::remove_file(&lock).or_else(|_| std::fs::remove_dir(&lock));
    }
    std::fs::hard_link(&victim, &lock).unwrap();
    let _ = world.slots.start("");
    assert_eq!(mode(), 0o640, "another name of a file");
    assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    // Nobody's user.
    std::fs::remove_file(&lock).unwrap();
    std::fs::write(&lock, "").unwrap();
    if std::os::unix::fs::chown(&lock, Some(65_534), None).is_ok() {
        assert!(matches!(world.slots.start(""), Err(HostError::NoLock { .. })));
        // It is the folder's owner's: their service may start the image.
        std::os::unix::fs::chown(at, Some(65_534), Some(65_534)).unwrap();
        std::fs::remove_file(&lock).unwrap();
        world.slots.start("").unwrap();
        let found = lock.metadata().unwrap();
        assert_eq!((found.uid(), found.gid(), mode()), (65_534, 65_534, 0o600));
        world.slots.start("").unwrap();
    }
}
