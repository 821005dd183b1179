//! Power cuts at random moments: whatever happens, the board comes back on a good image, goes on
//! and ends on 2.0.0 with one result.

use std::path::Path;

use super::lines::From;
use super::runs::{Images, PATIENCE, check_done, settled};
use super::tools::Programs;
use super::world::World;

/// Boards at most: each is updated once.
const BOARDS: usize = 100;
/// Cuts of one board at most, before it is left in peace to finish.
const CUTS_EACH: u32 = 6;

/// Where in an update the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Download,
    Swap,
    Confirm,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Download, Self::Swap, Self::Confirm];

    /// The line after which the moment is chosen, and the seconds it is chosen from.
    fn begins(self) -> (From, &'static str, f64) {
        match self {
            Self::Download => (From::Cloud, "\"request\"", 0.8),
            Self::Swap => (From::Board, "loader: power", 0.15),
            Self::Confirm => (From::Board, "firmware: 2.0.0", 0.6),
        }
    }

    /// Operations of the flash in it, about.
    fn operations(self) -> u32 {
        match self {
            Self::Download => 400,
            Self::Swap => 2_400,
            Self::Confirm => 12,
        }
    }
}

/// What the cuts came to.
#[derive(Default)]
struct Tally {
    cuts: [u32; 3],
    torn: u32,
    boards: usize,
}

/// At least `count` cuts, of which about half tear an operation of the flash and the others come
/// between any two instructions.
pub(super) fn run(root: &Path, count: u32, seed: u64) -> Result<(), String> {
    println!("cuts: seed {seed}");
    let programs = Programs::build(root)?;
    let images = Images::build(&programs)?;
    let mut world = World::new(root, &programs, &images.new, BOARDS, false)?;
    let mut chance = Chance(seed);
    let mut tally = Tally::default();
    while tally.cuts.iter().sum::<u32>() < count {
        if tally.boards == BOARDS {
            return Err("the boards are used up".to_owned());
        }
        world.new_board(tally.boards, &images.old)?;
        board(&mut world, &images, &mut chance, &mut tally)
            .map_err(|error| format!("seed {seed}, board {}: {error}", tally.boards))?;
        tally.boards += 1;
    }
    let [download, swap, confirm] = tally.cuts;
    println!(
        "cuts: {} boards, {} cuts ({download} in the download, {swap} in the swap, {confirm} in \
         the confirmation; {} of them tore an operation of the flash): each came back on a good \
         image and ended on {} with one result",
        tally.boards,
        tally.cuts.iter().sum::<u32>(),
        tally.torn,
        images.new.version
    );
    Ok(())
}

/// Cuts one board's update until its share is used up, then lets it finish.
fn board(
    world: &mut World,
    images: &Images,
    chance: &mut Chance,
    tally: &mut Tally,
) -> Result<(), String> {
    for cut in 0..=CUTS_EACH {
        // In order, some more than once: a later phase is reached only by what came before.
        let phase = Phase::ALL.get(cut as usize / 2).copied();
        world.power_on()?;
        let Some(phase) = phase else { break };
        if cut_one(world, phase, chance, &mut tally.torn)? {
            tally.cuts[phase as usize] += 1;
        }
        let flash = world.flash()?;
        flash.cut_after(0, 0)?;
    }
    settled(world, &images.new.version)?;
    check_done(world, &images.new)
}

/// One cut in this phase; `false` when the update was over before.
fn cut_one(
    world: &mut World,
    phase: Phase,
    chance: &mut Chance,
    torn: &mut u32,
) -> Result<bool, String> {
    let (from, words, range) = phase.begins();
    let over = |settled: bool| settled;
    let mut ended = false;
    world.wait_for(words, PATIENCE, |story, who, line| {
        ended = over(story.settled);
        ended || who == from && line.contains(words)
    })?;
    if ended {
        return Ok(false);
    }
    if chance.below(2) == 0 {
        let after = 1 + chance.below(u64::from(phase.operations())) as u32;
        world.flash()?.cut_after(after, chance.next() as u32)?;
        let cut = "the power is gone";
        let mut reached = false;
        world.wait_for(cut, PATIENCE, |story, who, line| {
            ended = story.settled;
            reached = who == From::Board && line == cut;
            reached || ended
        })?;
        world.power_off();
        *torn += u32::from(reached);
        return Ok(reached);
    }
    world.let_go_on(range * chance.below(1_000) as f64 / 1_000.0)?;
    world.power_off();
    Ok(true)
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
