//! Power cuts and deaths in the middle of everything, twice, and with other policies.

use ota_sim::{Cut, FetchFault, Install, Outcome, Setup, Step, Verdict, World};

const CUTS: [Cut; 3] = [Cut::Before, Cut::Torn, Cut::After];

/// Runs a copy from every step that leaves a slot operation or a journal write in progress.
fn fork_while_storing(mut world: World, mut act: impl FnMut(World, &str)) -> u32 {
    let mut forks = 0;
    let mut step = 0;
    while world.outcome().is_none() {
        let did = world.step();
        assert!(world.invariants.broken().is_empty(), "{:?}\n{}", world.invariants, world.trace);
        if did != Step::Jump && world.is_storing() {
            act(world.clone(), &format!("step {step}"));
            forks += 1;
        }
        step += 1;
    }
    forks
}

fn cut(mut world: World, cut: Cut, what: &str) -> World {
    let trial = world.storage.loader.is_trial();
    world.power_cut(cut);
    let what = format!("{what}, {cut:?}");
    if trial {
        world.must_end(&what);
    } else {
        world.must_prove(&what);
    }
    world
}

#[test]
fn power_is_cut_at_every_persist_erase_and_write() {
    for seed in 0..8 {
        let forks = fork_while_storing(World::new(Setup::new(20_000, seed)), |world, what| {
            for mode in CUTS {
                cut(world.clone(), mode, what);
            }
        });
        assert!(forks > 30, "{forks}");
    }
}

#[test]
fn power_is_cut_again_during_the_recovery() {
    let mut rng = ota_proto::Rng::new(1);
    fork_while_storing(World::new(Setup::new(20_000, 3)), |mut world, what| {
        world.power_cut(Cut::Torn);
        for _ in 0..8 {
            let mut again = world.clone();
            let steps = rng.below(250);
            for _ in 0..steps {
                if again.outcome().is_none() {
                    again.step();
                }
            }
            if again.outcome().is_none() {
                again.power_cut(CUTS[usize::try_from(rng.below(3)).unwrap()]);
            }
            again.must_end(&format!("{what}, again after {steps} steps"));
        }
    });
}

#[test]
fn the_program_is_killed_at_every_step() {
    let mut world = World::new(Setup::new(20_000, 4));
    while world.outcome().is_none() {
        world.step();
        let mut fork = world.clone();
        fork.kill();
        fork.must_prove("killed");
    }
}

#[test]
fn cuts_while_an_image_is_installed_in_place() {
    let mut setup = Setup::new(9_000, 5);
    setup.app.install = Install::Running;
    World::new(setup.clone()).must_prove("in place");
    fork_while_storing(World::new(setup), |world, what| {
        for mode in CUTS {
            cut(world.clone(), mode, what);
        }
    });
}

#[test]
fn a_trial_that_is_not_confirmed_is_rolled_back_and_told() {
    for (verdict, bootable) in
        [(Verdict::RollBack, true), (Verdict::Silent, true), (Verdict::Confirm, false)]
    {
        let mut setup = Setup::new(9_000, 6);
        setup.app.verdict = verdict;
        setup.app.bootable = bootable;
        let mut world = World::new(setup.clone());
        assert_eq!(world.must_end("not confirmed"), Outcome::Ended);
        fork_while_storing(World::new(setup), |world, what| {
            for mode in CUTS {
                let mut world = world.clone();
                world.power_cut(mode);
                assert_eq!(world.must_end(what), Outcome::Ended);
            }
        });
    }
}

#[test]
fn an_installer_that_fails_or_hangs_is_told() {
    for install in [Install::Failed, Install::Hangs] {
        let mut setup = Setup::new(9_000, 6);
        setup.app.install = install;
        fork_while_storing(World::new(setup), |world, what| {
            for mode in CUTS {
                let mut world = world.clone();
                world.power_cut(mode);
                assert_eq!(world.must_end(what), Outcome::Ended);
            }
        });
    }
}

#[test]
fn cuts_of_a_download_with_faults() {
    let faults = [
        FetchFault::Closes(5_000),
        FetchFault::Etag("\"2\""),
        FetchFault::Whole,
        FetchFault::Status(416, None),
        FetchFault::Status(403, None),
        FetchFault::Wrong(100),
    ];
    for fault in faults {
        let mut setup = Setup::new(20_000, 8);
        setup.lying_server = true;
        let mut world = World::new(setup);
        world.layer.server.plan = [Some(FetchFault::Closes(9_000)), Some(fault.clone())].into();
        fork_while_storing(world, |world, what| {
            for mode in CUTS {
                if fault == FetchFault::Wrong(100) {
                    // In one piece the image itself is to blame.
                    let mut world = world.clone();
                    world.power_cut(mode);
                    world.must_end(what);
                } else {
                    cut(world.clone(), mode, &format!("{what} {fault:?}"));
                }
            }
        });
    }
}
