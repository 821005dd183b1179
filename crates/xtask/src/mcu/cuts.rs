//! Power cuts at random times. After each the board must start a valid image, continue, and end on
//! 2.0.0, with one result per attempt.
//!
//! The boot loader rolls back an image that loses its power on trial: that attempt ends with `fail
//! -5`, and the cloud makes another. Other cuts do not appear in the results.

use super::lines::From;
use super::runs::{Images, PATIENCE};
use super::story::Story;
use super::tools::Programs;
use super::world::World;

/// The most boards: each is updated once.
const BOARDS: usize = 100;

/// Microseconds of an erase: a swap lasts about a second, a download half of one.
const ERASE: u32 = 5_000;

/// The board's lines at the end of an attempt.
const ENDS: [&str; 3] = ["firmware: Done", "firmware: Failed", "firmware: RolledBack"];

/// The phase of an update in which the power is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Download,
    Swap,
    Confirm,
    TakeBack,
}

impl Phase {
    /// The most cuts of one board in each phase, in their order. One before the confirmation ends
    /// an attempt, and the cloud makes three.
    const MOST: [u32; 4] = [1, 2, 2, 1];

    /// Seconds from its beginning within which the power is cut.
    fn seconds(self) -> f64 {
        match self {
            Self::Download => 0.5,
            Self::Swap | Self::TakeBack => 0.9,
            Self::Confirm => 0.1,
        }
    }

    /// About how many flash operations it has.
    fn operations(self) -> u64 {
        match self {
            Self::Download => 200,
            Self::Swap | Self::TakeBack => 2_000,
            Self::Confirm => 16,
        }
    }
}

/// The state of the board over all its lives, read from its lines.
#[derive(Default)]
struct Watch {
    /// Activated, and not swapped yet.
    swap_due: bool,
    /// Swapped, and not confirmed yet.
    on_trial: bool,
    /// Trials that ended by a cut.
    taken_back: usize,
    /// The phase that began last.
    phase: Option<Phase>,
    /// Results that a new session followed.
    followed: usize,
}

impl Watch {
    /// Reads a line; returns the phase that begins with it.
    fn hear(&mut self, from: From, line: &str) -> Option<Phase> {
        let begins = match (from, line) {
            (From::Cloud, line) if line.contains("\"request\"") => Some(Phase::Download),
            (From::Board, "loader: power") if self.swap_due => Some(Phase::Swap),
            (From::Board, "loader: power") if self.on_trial => Some(Phase::TakeBack),
            (From::Board, "firmware: 2.0.0") if self.on_trial => Some(Phase::Confirm),
            _ => None,
        };
        match (from, line) {
            (From::Board, "firmware: Restart") => self.swap_due = true,
            (From::Board, "loader: swapped" | "loader: taken back") => {
                (self.swap_due, self.on_trial) = (false, true);
            }
            // In any case the trial is over.
            (From::Board, "firmware: 1.0.0") => {
                self.taken_back += usize::from(self.on_trial);
                self.on_trial = false;
            }
            (From::Board, line) if ENDS.iter().any(|end| line.starts_with(end)) => {
                self.on_trial = false;
            }
            _ => {}
        }
        self.phase = begins.or(self.phase);
        begins
    }

    /// Whether an attempt is over and reported, and whether it was the last.
    fn ended(&self, story: &Story) -> Option<bool> {
        let last = story.results.last().filter(|_| story.settled)?;
        let done = last.state == "done";
        (done || story.results.len() > self.followed).then_some(done)
    }
}

/// The counts of all cuts.
#[derive(Default)]
struct Tally {
    cuts: [u32; 4],
    torn: u32,
    boards: usize,
    attempts: usize,
}

/// At least `count` cuts, of which about half tear an operation of the flash and the others come
/// between any two instructions.
pub(super) fn run(programs: &Programs, count: u32, seed: u64) -> Result<(), String> {
    println!("cuts: seed {seed}");
    let images = Images::build(programs)?;
    let mut world = World::new(programs, &images.new, BOARDS, false)?;
    let mut chance = Chance(seed);
    let mut tally = Tally::default();
    while tally.cuts.iter().sum::<u32>() < count {
        if tally.boards == BOARDS {
            return Err("the boards are used up".to_owned());
        }
        world.new_board(tally.boards, &images.old)?;
        world.flash()?.set_erase_time(ERASE)?;
        board(&mut world, &images, &mut chance, &mut tally)
            .map_err(|error| format!("seed {seed}, board {}: {error}", tally.boards))?;
        tally.boards += 1;
    }
    let [download, swap, confirm, back] = tally.cuts;
    println!(
        "cuts: {} power cuts of {} boards: {download} in the download, {swap} in the swap, \
         {confirm} before the confirmation, {back} while it was taken back; {} tore an operation \
         of the flash\n      all came back on a good image and ended on {}, {} attempts with one \
         result each",
        download + swap + confirm + back,
        tally.boards,
        tally.torn,
        images.new.version,
        tally.attempts
    );
    Ok(())
}

/// Cuts one board's update as often as it may be, then lets it finish.
fn board(
    world: &mut World,
    images: &Images,
    chance: &mut Chance,
    tally: &mut Tally,
) -> Result<(), String> {
    let mut watch = Watch::default();
    let mut left = Phase::MOST;
    world.power_on()?;
    while let Some(phase) = reach(world, &mut watch, &left)? {
        left[phase as usize] -= 1;
        let torn = chance.below(2) == 0 && tear(world, &mut watch, phase, chance)?;
        world.flash()?.cut_after(0, 0)?;
        if watch.ended(&world.story).is_some() {
            continue;
        }
        if !torn {
            let seconds = phase.seconds() * chance.below(1_000) as f64 / 1_000.0;
            world.let_go_on(seconds, &mut |from, line| {
                watch.hear(from, line);
            })?;
        }
        world.power_off();
        // The cut may have come in a later phase than intended.
        tally.cuts[watch.phase.unwrap_or(phase) as usize] += 1;
        tally.torn += u32::from(torn);
        world.power_on()?;
    }
    tally.attempts += world.story.results.len();
    check(world, images, &watch)
}

/// Waits until a phase begins of which cuts are left; none when the update is over. A failed
/// attempt that was reported is followed by the next one in a new session.
fn reach(world: &mut World, watch: &mut Watch, left: &[u32; 4]) -> Result<Option<Phase>, String> {
    loop {
        if watch.ended(&world.story) == Some(true) {
            return Ok(None);
        }
        let (mut begun, mut over) = (None, None);
        world.wait_for("the next phase, or the end", PATIENCE, |story, from, line| {
            begun = watch.hear(from, line).filter(|phase| left[*phase as usize] > 0);
            over = watch.ended(story);
            begun.is_some() || over.is_some()
        })?;
        if begun.is_some() {
            return Ok(begun);
        }
        if over == Some(false) {
            watch.followed = world.story.results.len();
            world.power_on()?;
        }
    }
}

/// Cuts the power in the middle of an operation; `false` if there were too few operations.
fn tear(
    world: &mut World,
    watch: &mut Watch,
    phase: Phase,
    chance: &mut Chance,
) -> Result<bool, String> {
    let after = 1 + chance.below(phase.operations()) as u32;
    world.flash()?.cut_after(after, chance.next() as u32)?;
    let mut torn = false;
    world.wait_for("a torn operation", PATIENCE, |story, from, line| {
        watch.hear(from, line);
        torn = from == From::Board && line == "the power is gone";
        torn || watch.ended(story).is_some()
    })?;
    Ok(torn)
}

/// `fail -5` for each trial that was cut, then `done`; and the new image runs.
fn check(world: &World, images: &Images, watch: &Watch) -> Result<(), String> {
    let results = &world.story.results;
    let (done, failed) = results.split_last().ok_or_else(|| world.failure("no result"))?;
    let right = done.state == "done"
        && done.version == images.new.version
        && failed.iter().all(|result| result.state == "fail" && result.code == "-5")
        && failed.len() == watch.taken_back;
    if !right {
        let due = format!("{} times fail -5, then done were due: {results:?}", watch.taken_back);
        return Err(world.failure(&due));
    }
    if !world.flash()?.runs(&images.new.bytes)? {
        return Err(world.failure("done was reported, but the active partition is another"));
    }
    Ok(())
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
