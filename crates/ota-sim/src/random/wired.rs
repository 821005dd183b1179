//! Worlds of bytes drawn from a seed.

use core::time::Duration;

use ota_cloud::fault::{Fault, FaultPlan, Place, Rule};
use ota_proto::{Instant, Rng};

use crate::trouble::Kind;
use crate::wire::{self, Break, Chunks, Stream, Wires};
use crate::{Cut, Install, Outcome, Said, Setup};

use super::{any_app, below, field, millis, pick};

/// Runs the world of this seed in bytes to its end, and returns both. Each life of the device's
/// program is recorded in a ring of this many bytes; 0 records nothing.
pub fn wired(seed: u64, ring: usize) -> (wire::World, Result<Outcome, String>) {
    let mut rng = Rng::new(seed);
    let mut setup = Setup::new(pick(&mut rng, &[1, 700, 3_000]), seed);
    setup.capacity = 4_096;
    setup.clock_jumps = true;
    setup.erase = pick(&mut rng, &[256, 1_024]);
    setup.latency = millis(&mut rng, 200);
    setup.job = millis(&mut rng, 20);
    any_app(&mut setup, &mut rng);
    // This world has no installer that continues without a restart.
    if setup.app.install == Install::Running {
        setup.app.install = Install::NeedsRestart;
    }
    let all = Fault::at(Place::Store);
    let faults = (0..rng.below(3)).filter_map(|_| all.get(below(&mut rng, all.len())));
    let names: Vec<_> = faults.map(|fault| fault.name()).collect();
    let honest = names.is_empty();
    let mut wires = Wires {
        sends: any_chunks(&mut rng),
        broker: any_chunks(&mut rng),
        store: any_chunks(&mut rng),
        window: pick(&mut rng, &[300, 2_000, 65_536]),
        qos1: rng.below(2) == 0,
        faults: FaultPlan::from_names(seed, names).unwrap_or_default(),
        breaks: any_breaks(&mut rng),
    };
    // Drawn with a generator of its own, so that the rest of the world does not change.
    let mut whims = Rng::new(seed ^ 0xf1e1d);
    let lives =
        if whims.below(6) == 0 { short_lives(&mut setup, &mut wires, &mut whims) } else { (0, 0) };
    let size = setup.image.len() as u64;
    let mut world = wire::World::new(setup, wires);
    world.layer.lives.ring = ring;
    if whims.below(6) == 0 {
        let from = Instant::from_secs(whims.below(4));
        let length = pick(&mut whims, &[120, 300, 1_500, 7_200, 86_400]);
        world.layer.away = Some(from..from + Duration::from_secs(length));
    }
    if whims.below(5) == 0 {
        field::misreads(&mut world.storage, size, &mut whims);
    }
    field::journal_misreads(&mut world.storage, seed);
    let result = live(&mut world, lives, &mut whims)
        .and_then(|()| cuts(&mut world, &mut rng))
        .and_then(|()| end(&mut world, honest));
    world.end_life();
    (world, result)
}

fn any_chunks(rng: &mut Rng) -> Chunks {
    match rng.below(4) {
        0 => Chunks::Whole,
        1 => Chunks::Of(below(rng, 100)),
        _ => Chunks::Random(below(rng, 400)),
    }
}

fn any_breaks(rng: &mut Rng) -> Vec<(Stream, u64, Break)> {
    (0..rng.below(4))
        .map(|_| {
            let stream = pick(rng, &Stream::ALL);
            let how = pick(rng, &[Break::Reset, Break::Reset, Break::HalfOpen]);
            (stream, rng.below(2_500).max(1), how)
        })
        .collect()
}

/// A firmware server that sends 16 bytes per second, and lives that are shorter than a download.
fn short_lives(setup: &mut Setup, wires: &mut Wires, rng: &mut Rng) -> (u32, u64) {
    setup.device.timing.min_rate = 1;
    wires.faults.rules.push(Rule { times: u32::MAX, ..Rule::new(Fault::Trickle) });
    (pick(rng, &[3, 8, 16]), pick(rng, &[8, 20, 60]))
}

fn live(world: &mut wire::World, (lives, most): (u32, u64), rng: &mut Rng) -> Result<(), String> {
    for _ in 0..lives {
        if world.outcome().is_some() {
            return Ok(());
        }
        let length = Duration::from_millis(500 + rng.below(most.saturating_mul(1_000)));
        world.run_until(world.now + length)?;
        world.met(Kind::ShortLives);
        match rng.below(4) {
            0 => world.stop()?,
            1 => world.power_cut(Cut::Before),
            2 => world.power_cut(Cut::Torn),
            _ => world.power_cut(Cut::After),
        }
    }
    Ok(())
}

fn cuts(world: &mut wire::World, rng: &mut Rng) -> Result<(), String> {
    for _ in 0..rng.below(4) {
        // Most interesting moments come soon after a login.
        let far = pick(rng, &[900, 900, 12_000]);
        let at = Instant::from_millis(world.now.as_millis().max(1_900) + rng.below(far));
        world.run_until(at)?;
        world.power_cut(pick(rng, &[Cut::Before, Cut::Torn, Cut::After]));
    }
    Ok(())
}

/// The end must be one true result. A correct image must not be rejected because of one wrongly
/// read bit.
fn end(world: &mut wire::World, honest: bool) -> Result<Outcome, String> {
    let outcome = world.run()?;
    let done = matches!(world.layer.results[..], [Said::Done(_)]);
    if world.layer.results.len() != 1 || done != (outcome == Outcome::Proved) {
        return Err(format!("{outcome:?}, but told {:?}\n{}", world.layer.results, world.trace));
    }
    let blamed = matches!(world.layer.results[..], [Said::Fail(_, -4, _)]);
    if blamed && honest && world.storage.misreads.flipped < 2 {
        return Err(format!("told {:?}\n{}", world.layer.results, world.trace));
    }
    Ok(outcome)
}
