//! Long-lasting trouble: short lives, an absent firmware server, alternating offers, an installer
//! that moves the image, a slot with read errors.

use core::time::Duration;

use ota_proto::{Instant, Rng, TransportError};

use crate::trace::What;
use crate::trouble::Kind;
use crate::{
    Cut, FetchFault, Image, Install, Mode, Outcome, Step, Storage, Tear, Unreadable, World,
};

use super::{below, pick};

/// The most steps; more count as endless.
const STEPS: u32 = 400_000;

/// The remaining trouble of a world.
#[derive(Debug)]
pub(super) struct Field {
    rng: Rng,
    first: bool,
    /// The number of coming lives, and the most seconds of each.
    lives: (u32, u64),
    /// The number of coming alternating offers.
    turns: u32,
    /// The most power cuts directly after an image is moved.
    cuts: u32,
}

impl Field {
    /// Draws the trouble of the world with a generator of its own, so that the rest of the world
    /// does not change.
    pub(super) fn draw(world: &mut World, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0xf1e1d);
        let mut field = Self { first: rng.below(2) == 0, lives: (0, 0), turns: 0, cuts: 0, rng };
        let rng = &mut field.rng;
        if rng.below(6) == 0 {
            field.lives = short_lives(world, rng);
        }
        if rng.below(6) == 0 {
            away(world, rng);
        }
        if rng.below(6) == 0 {
            field.turns = turns(world, rng);
        }
        if rng.below(8) == 0 {
            field.cuts = 2;
            world.setup.moves_image = true;
            if world.setup.app.install == Install::NeedsRestart {
                world.setup.app.install = Install::Running;
            }
        }
        if rng.below(5) == 0 {
            misreads(&mut world.storage, world.setup.image.len() as u64, rng);
        }
        journal_misreads(&mut world.storage, seed);
        field
    }

    pub(super) fn is_first(&self) -> bool {
        self.first
    }

    /// Runs until no trouble is left, or the run is over.
    pub(super) fn play(&mut self, world: &mut World) -> Result<(), String> {
        let mut until = self.life(world.now);
        let mut turn = below(&mut self.rng, 600);
        for _ in 0..STEPS {
            let over = world.outcome();
            let left = self.lives.0 > 0 || self.turns > 0 || self.cuts > 0;
            if !left || over == Some(Outcome::Proved) {
                return Ok(());
            }
            let may_turn = self.turns > 0 && (turn == 0 || over.is_some());
            if may_turn && world.turn_task() {
                self.turns = self.turns.saturating_sub(1);
                turn = below(&mut self.rng, 600);
            } else if over.is_some() {
                return Ok(());
            }
            turn = turn.saturating_sub(1);
            if self.lives.0 > 0 && world.now >= until {
                self.lives.0 = self.lives.0.saturating_sub(1);
                world.met(Kind::ShortLives);
                end_life(world, &mut self.rng);
                until = self.life(world.now);
            }
            if world.step() == Step::Dead {
                return Err(format!("nothing will ever happen again\n{}", world.trace));
            }
            self.cut_behind_the_move(world);
        }
        Err(format!("no end of what was drawn\n{}", world.trace))
    }

    fn life(&mut self, now: Instant) -> Instant {
        now + Duration::from_millis(500 + self.rng.below(self.lives.1.saturating_mul(1_000).max(1)))
    }

    fn cut_behind_the_move(&mut self, world: &mut World) {
        let last = world.trace.iter().next_back().map(|(_, what)| what);
        if self.cuts > 0 && last == Some(&What::Met(Kind::MovedImage)) {
            self.cuts = self.cuts.saturating_sub(1);
            if self.rng.below(2) == 0 {
                world.power_cut(pick(&mut self.rng, &[Cut::Before, Cut::Torn, Cut::After]));
            }
        }
    }
}

/// A download that takes minutes, with lives that are shorter.
fn short_lives(world: &mut World, rng: &mut Rng) -> (u32, u64) {
    let setup = &mut world.setup;
    setup.chunk = pick(rng, &[16, 60, 200]);
    setup.pace = Duration::from_millis(200 + rng.below(800));
    setup.device.timing.min_rate = 1;
    (pick(rng, &[3, 8, 24]), pick(rng, &[5, 20, 60]))
}

/// Cuts the power, kills the program, or asks it to stop.
fn end_life(world: &mut World, rng: &mut Rng) {
    match rng.below(6) {
        0 => world.power_cut(Cut::Before),
        1 => world.power_cut(Cut::Torn),
        2 => world.power_cut(Cut::After),
        3 => world.kill(),
        4 => world.stop(),
        _ => tear(world, rng),
    }
}

/// Cuts the power during work in progress.
pub(super) fn tear(world: &mut World, rng: &mut Rng) {
    let length = world.storage.bytes_under_way();
    let tear = Tear { mode: pick(rng, &Mode::ALL), byte: below(rng, length) };
    if length > 0 && matches!(tear.mode, Mode::Half | Mode::Weak) {
        world.met(Kind::HalfDone);
    }
    world.power_cut_at(tear);
}

/// The firmware server is absent from some moment on, for minutes, hours or a day.
fn away(world: &mut World, rng: &mut Rng) {
    let faults = [
        FetchFault::Status(503, None),
        FetchFault::Status(500, None),
        FetchFault::Status(503, Some(100)),
        FetchFault::Status(404, None),
        FetchFault::Fails(TransportError::Resolve),
        FetchFault::Fails(TransportError::Refused),
        FetchFault::Silent,
        FetchFault::Closes(0),
    ];
    let fault = faults.get(below(rng, faults.len())).cloned().unwrap_or(FetchFault::Silent);
    let from = Instant::from_secs(rng.below(4));
    let length = pick(rng, &[120, 300, 1_500, 7_200, 86_400]);
    world.layer.server.away = Some((fault, from..from + Duration::from_secs(length)));
}

/// This many alternations between two images.
fn turns(world: &mut World, rng: &mut Rng) -> u32 {
    if world.setup.images.len() < 2 {
        world.add_image(Image::new("2.0.0", 17_000, 9));
    }
    1 + u32::try_from(rng.below(4)).unwrap_or(0)
}

/// One-time read errors, mostly of one bit, or unreadable words.
pub(super) fn misreads(storage: &mut Storage, size: u64, rng: &mut Rng) {
    let misreads = &mut storage.misreads;
    if rng.below(3) > 0 {
        misreads.flips = pick(rng, &[1, 1, 1, 2, 9]);
        misreads.one_in = pick(rng, &[1, 1, 2]);
        return;
    }
    let start = rng.below(size.max(1));
    let range = start..start.saturating_add(pick(rng, &[4, 16, 32]));
    misreads.unreadable = Some(Unreadable { range, until_erased: rng.below(2) == 0 });
}

/// Read errors of the journal, at one start or at several. Drawn with a generator of its own.
pub(super) fn journal_misreads(storage: &mut Storage, seed: u64) {
    let mut rng = Rng::new(seed ^ 0x10a4);
    if rng.below(4) == 0 {
        storage.misreads.journal = pick(&mut rng, &[1, 2, 4, 9]);
    }
}
