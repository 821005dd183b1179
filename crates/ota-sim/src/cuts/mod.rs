//! Makes every power cut of a whole update.
//!
//! A world runs from its task to the cloud's proof. Wherever it begins a slot operation or a
//! journal write, it is forked once per byte and [`Mode`] with a power cut there. Each fork must
//! end well: the device boots, ends on the old or the new image with the right bytes, and the cloud
//! gets exactly one, correct result. A fork may lose power again during its recovery.

mod point;
mod scenario;

use core::fmt;

use ota_proto::Rng;

use crate::messages::World;
use crate::tear::{Mode, Tear};
use crate::world::Outcome;

pub use point::{Point, Second};
pub use scenario::Scenario;

/// The extent of a sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// The distance of first cuts in bytes, always with the last byte; 1 for every byte.
    pub stride: usize,
    /// Whether each first cut gets a random second one.
    pub again: bool,
    /// After some first cuts (each operation and mode; the first, a middle and the last byte) makes
    /// second cuts at every operation of the recovery, at this distance in bytes. 0 for none.
    pub pairs: usize,
}

/// The counters of a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Runs with one cut, in the order of [`Mode::ALL`].
    pub single: [u64; 5],
    /// Runs with two cuts, by the mode of the second.
    pub double: [u64; 5],
    /// Operations with a power cut.
    pub operations: u64,
    /// Runs that ended on the new image and reported `done`.
    pub proved: u64,
    /// Runs that ended on the old image and reported `fail`.
    pub failed: u64,
}

impl Counts {
    /// All runs.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.single.iter().chain(&self.double).sum()
    }

    /// Adds the counters of another sweep.
    pub fn add(&mut self, other: &Self) {
        let both = |mine: &mut [u64; 5], theirs: &[u64; 5]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        };
        both(&mut self.single, &other.single);
        both(&mut self.double, &other.double);
        self.operations += other.operations;
        self.proved += other.proved;
        self.failed += other.failed;
    }
}

/// A run that did not end well.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed of the world.
    pub seed: u64,
    /// The position of the power cut.
    pub point: Point,
    /// The violation and the trace.
    pub why: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--seed {} --at {}: {}", self.seed, self.point, self.why)
    }
}

/// Makes every cut of one scenario.
///
/// # Errors
/// The first run that did not end well.
pub fn sweep(scenario: Scenario, seed: u64, depth: Depth) -> Result<Counts, Failure> {
    let mut sweep = Sweep { scenario, seed, depth, counts: Counts::default() };
    sweep.run()?;
    Ok(sweep.counts)
}

/// Makes one cut, or two, from the beginning.
///
/// # Errors
/// The violation and the trace.
pub fn replay(seed: u64, point: Point) -> Result<World, Failure> {
    let fail = |why: String| Failure { seed, point, why };
    let mut world = point.scenario.world(seed);
    if !to_operation(&mut world, point.op).map_err(fail)? {
        return Err(fail("no such operation".into()));
    }
    let mut trial = cut(&mut world, seed, point.op, point.tear);
    if let Some(second) = point.second {
        if to_operation(&mut world, second.op).map_err(fail)? {
            trial |= cut(&mut world, seed, second.op, second.tear);
        }
    }
    end(&mut world, point.scenario, trial).map_err(fail)?;
    Ok(world)
}

struct Sweep {
    scenario: Scenario,
    seed: u64,
    depth: Depth,
    counts: Counts,
}

impl Sweep {
    fn run(&mut self) -> Result<(), Failure> {
        let mut world = self.scenario.world(self.seed);
        let mut op = 0;
        loop {
            let first = Tear { mode: Mode::Before, byte: 0 };
            let point = Point { scenario: self.scenario, op, tear: first, second: None };
            if !self.check(point, to_operation(&mut world, 0))? {
                return Ok(());
            }
            self.counts.operations += 1;
            let bytes = world.storage.bytes_under_way();
            for tear in tears(bytes, self.depth.stride) {
                self.first(&world, Point { tear, ..point }, bytes)?;
            }
            op += 1;
        }
    }

    fn first(&mut self, world: &World, point: Point, bytes: usize) -> Result<(), Failure> {
        let mut fork = world.clone();
        let trial = cut(&mut fork, self.seed, point.op, point.tear);
        let recovery = (self.depth.again || self.depth.pairs > 0).then(|| fork.clone());
        self.finish(&mut fork, point, trial)?;
        let Some(recovery) = recovery else { return Ok(()) };
        if self.depth.again {
            self.second_at_random(&recovery, point, trial)?;
        }
        let byte = point.tear.byte;
        let chosen = byte == 0 || byte + 1 == bytes || byte == bytes / 2;
        if self.depth.pairs > 0 && chosen {
            self.pairs(recovery, point, trial)?;
        }
        Ok(())
    }

    /// Cuts again at a random byte of an operation of the recovery.
    fn second_at_random(
        &mut self,
        recovery: &World,
        point: Point,
        trial: bool,
    ) -> Result<(), Failure> {
        let mut rng = Rng::new(mix(self.seed, point.op, point.tear) ^ 1);
        let mut op = u32::try_from(rng.below(10)).unwrap_or(0);
        loop {
            let mut world = recovery.clone();
            if self.check(point, to_operation(&mut world, op))? {
                return self.tear_again(world, point, op, trial, &mut rng);
            }
            // The recovery has fewer operations: takes an earlier one, or none.
            if op == 0 {
                return Ok(());
            }
            op /= 2;
        }
    }

    fn tear_again(
        &mut self,
        mut world: World,
        point: Point,
        op: u32,
        trial: bool,
        rng: &mut Rng,
    ) -> Result<(), Failure> {
        let bytes = world.storage.bytes_under_way();
        let byte = usize::try_from(rng.below(bytes as u64)).unwrap_or(0);
        let mode = usize::try_from(rng.below(5)).ok().and_then(|at| Mode::ALL.get(at).copied());
        let mode = mode.filter(|mode| bytes > 0 || !mode.is_bytewise()).unwrap_or(Mode::Before);
        let tear = Tear { mode, byte };
        let trial = cut(&mut world, self.seed, op, tear) || trial;
        self.finish(&mut world, Point { second: Some(Second { op, tear }), ..point }, trial)
    }

    /// Cuts again at every operation of the recovery.
    fn pairs(&mut self, mut world: World, point: Point, trial: bool) -> Result<(), Failure> {
        let mut op = 0;
        while self.check(point, to_operation(&mut world, 0))? {
            for tear in tears(world.storage.bytes_under_way(), self.depth.pairs) {
                let mut fork = world.clone();
                let trial = cut(&mut fork, self.seed, op, tear) || trial;
                let second = Some(Second { op, tear });
                self.finish(&mut fork, Point { second, ..point }, trial)?;
            }
            op += 1;
        }
        Ok(())
    }

    fn finish(&mut self, world: &mut World, point: Point, trial: bool) -> Result<(), Failure> {
        let outcome = self.check(point, end(world, self.scenario, trial))?;
        let (counts, tear) = match point.second {
            Some(second) => (&mut self.counts.double, second.tear),
            None => (&mut self.counts.single, point.tear),
        };
        if let Some(count) = counts.get_mut(tear.mode as usize) {
            *count += 1;
        }
        match outcome {
            Outcome::Proved => self.counts.proved += 1,
            Outcome::Ended => self.counts.failed += 1,
        }
        Ok(())
    }

    fn check<T>(&self, point: Point, result: Result<T, String>) -> Result<T, Failure> {
        result.map_err(|why| Failure { seed: self.seed, point, why })
    }
}

/// Makes every cut of an operation that changes this many bytes, always including the last byte,
/// which completes it.
fn tears(bytes: usize, stride: usize) -> impl Iterator<Item = Tear> {
    Mode::ALL.into_iter().flat_map(move |mode| {
        let most = if mode.is_bytewise() { bytes } else { 1 };
        (0..most).rev().step_by(stride.max(1)).map(move |byte| Tear { mode, byte })
    })
}

/// Runs until the operation after this many others has just begun. `false` if the run ends before
/// it.
fn to_operation(world: &mut World, skip: u32) -> Result<bool, String> {
    let mut skip = skip;
    let mut last = world.storing();
    for _ in 0..100_000 {
        if world.outcome().is_some() {
            return Ok(false);
        }
        world.step();
        if let Some(broken) = world.invariants.broken().first() {
            return Err(format!("{broken}\n{}", world.trace));
        }
        let storing = world.storing();
        if storing > last {
            last = storing;
            if skip == 0 {
                return Ok(true);
            }
            skip -= 1;
        }
    }
    Err(format!("no end\n{}", world.trace))
}

/// Cuts the power. Returns whether an image was on trial, which will then be rolled back.
fn cut(world: &mut World, seed: u64, op: u32, tear: Tear) -> bool {
    let trial = world.storage.loader.is_trial();
    world.reseed(mix(seed, op, tear));
    world.power_cut_at(tear);
    trial
}

/// Runs to the end and checks the result.
fn end(world: &mut World, scenario: Scenario, trial: bool) -> Result<Outcome, String> {
    let outcome = world.end()?;
    let mut results = world.trace.told().filter(|said| said.is_result());
    let first = results.next();
    let one = first.is_some() && results.all(|said| Some(said) == first);
    if !one {
        return Err(format!("not one result\n{}", world.trace));
    }
    if scenario.proves() && !trial && outcome != Outcome::Proved {
        return Err(format!("a cut that is no reason to fail\n{}", world.trace));
    }
    if !scenario.proves() && outcome == Outcome::Proved {
        return Err(format!("proved, and was not confirmed\n{}", world.trace));
    }
    Ok(outcome)
}

fn mix(seed: u64, op: u32, tear: Tear) -> u64 {
    let number = (u64::from(op) << 32) | ((tear.byte as u64) << 3) | tear.mode as u64;
    Rng::new(seed ^ Rng::new(number).next_u64()).next_u64()
}
