//! Trouble from the field: a firmware server that is away for long, alternating offers, texts that
//! change, a clock that steps, an installer that moves the image away.

use core::time::Duration;

use ota_proto::{Event, Hold, Instant, State};
use ota_sim::{Cut, FetchFault, Image, Install, Outcome, Said, Setup, Step, What, World};

fn setup(seed: u64) -> Setup {
    let mut setup = Setup::new(20_000, seed);
    setup.clock_jumps = true;
    setup
}

fn results(world: &World) -> Vec<Instant> {
    let told = world
        .trace
        .iter()
        .filter(|(_, what)| matches!(what, What::Delivered(Said::Fail(..) | Said::Done(_))));
    told.map(|(at, _)| *at).collect()
}

/// Steps until this holds.
fn until(world: &mut World, what: &str, holds: impl Fn(&World) -> bool) {
    for _ in 0..400_000 {
        if holds(world) {
            return;
        }
        assert_ne!(world.step(), Step::Dead, "{what}");
        assert!(world.invariants.broken().is_empty(), "{what}: {:?}", world.invariants.broken());
    }
    panic!("{what}: never\n{}", world.trace);
}

#[test]
fn a_store_that_is_away_for_long_is_waited_for_and_not_forever() {
    for seed in 0..8 {
        let mut world = World::new(setup(seed));
        world.layer.server.plan.extend((0..9).map(|_| Some(FetchFault::Status(503, None))));
        world.must_prove("away for some minutes");
        let mut world = World::new(setup(seed));
        world.layer.server.plan.extend((0..200).map(|_| Some(FetchFault::Status(503, None))));
        assert_eq!(world.must_end("away for a day"), Outcome::Ended);
        assert!(world.now >= Instant::from_secs(1_800), "{}", world.now);
        assert!(world.layer.server.fetches < 60, "{} fetches", world.layer.server.fetches);
    }
}

/// Each update fails, and the other one is offered as soon as the cloud has heard so.
#[test]
fn failing_images_in_turn_end_with_eight_results_in_ten_minutes() {
    for seed in 0..4 {
        let mut setup = setup(seed);
        setup.images.push(Image::new("2.0.0", 17_000, 9));
        setup.app.install = Install::Failed;
        let mut world = World::new(setup);
        let mut all = Vec::new();
        let mut last = 0;
        let end = Instant::from_secs(7_200);
        while world.now < end {
            until(&mut world, "an end", |world| world.now >= end || world.outcome().is_some());
            let found = results(&world);
            all.extend(found.get(last..).unwrap_or_default().iter().copied());
            last = found.len();
            let next = if world.setup.to == "1.0.0" { "2.0.0" } else { "1.0.0" };
            world.change_task(next);
            until(&mut world, "a step", |world| world.outcome().is_none() || world.now >= end);
        }
        all.extend(results(&world).get(last..).unwrap_or_default().iter().copied());
        let first = all.first().copied().expect("a result");
        let early = all.iter().filter(|at| at.since(first) < Duration::from_secs(600)).count();
        assert!(early <= 8 && all.len() <= 20, "{all:?}");
        assert!(all.len() >= 12, "held back forever: {all:?}");
    }
}

/// Another text at any moment, and then a cut: what runs in the end was accepted with its text,
/// which the worlds' watch sees to.
#[test]
fn another_text_at_any_moment_and_a_cut_behind_it() {
    let mut base = setup(5);
    base.device.consent = Hold::Ask;
    let mut world = World::new(base);
    for step in 0_u32.. {
        if world.outcome().is_some() {
            break;
        }
        world.step();
        if step % 7 > 0 {
            continue;
        }
        let mut fork = world.clone();
        fork.change_text("other");
        for _ in 0..step % 40 {
            if fork.outcome().is_none() {
                fork.step();
            }
        }
        if fork.outcome().is_none() {
            fork.power_cut([Cut::Before, Cut::Torn, Cut::After][step as usize % 3]);
        }
        fork.must_end(&format!("another text at step {step}"));
    }
}

/// The installer moves the image away and power goes before it says that it has: the journal names
/// an image that is not there.
#[test]
fn an_installer_that_moves_the_image_and_a_cut_end_with_a_clean_download() {
    for seed in 0..8 {
        for cut in [Cut::Before, Cut::Torn, Cut::After] {
            let mut setup = setup(seed);
            setup.lying_server = true;
            setup.app.install = Install::Running;
            let mut world = World::new(setup);
            until(&mut world, "an installation", |world| {
                let asked = |(_, what): &(Instant, What)| {
                    matches!(what, What::Event(Event::Install { .. }))
                };
                world.trace.iter().next_back().is_some_and(asked)
            });
            for flash in 0..2 {
                if world.storage.loader.other() == flash {
                    world.storage.flash[flash].fill(&[0xa5; 20_000]);
                }
            }
            assert_eq!(world.device().map(ota_proto::Updater::state), Some(State::Installing));
            world.power_cut(cut);
            world.must_prove("moved away");
            assert!(world.layer.server.fetches >= 2, "it was fetched again");
        }
    }
}
