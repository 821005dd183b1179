//! The operator changes the task at any time; the device does not learn it.

use ota_sim::{Cut, Image, Outcome, Setup, World};

fn setup(seed: u64) -> Setup {
    let mut setup = Setup::new(20_000, seed);
    setup.images.push(Image::new("2.0.0", 17_000, 9));
    setup
}

/// A copy from every step, with its number.
fn fork(mut world: World, mut act: impl FnMut(World, u64)) {
    let mut step = 0;
    while world.outcome().is_none() {
        world.step();
        act(world.clone(), step);
        step += 1;
    }
}

#[test]
fn another_task_at_any_moment_is_proved() {
    fork(World::new(setup(1)), |mut world, step| {
        if world.record().task.is_none() {
            return;
        }
        assert!(world.change_task("2.0.0"));
        world.must_prove(&format!("changed at step {step}"));
    });
}

#[test]
fn another_task_and_then_a_power_cut() {
    let mut rng = ota_proto::Rng::new(5);
    fork(World::new(setup(2)), |mut world, step| {
        if world.record().task.is_none() || step % 3 > 0 {
            return;
        }
        assert!(world.change_task("2.0.0"));
        for _ in 0..4 {
            let mut world = world.clone();
            for _ in 0..rng.below(120) {
                if world.outcome().is_none() {
                    world.step();
                }
            }
            if world.outcome().is_none() {
                world.power_cut([Cut::Torn, Cut::Before, Cut::After][rng.below(3) as usize]);
            }
            world.must_end(&format!("changed at step {step}, then cut"));
        }
    });
}

#[test]
fn another_task_and_back_again() {
    fork(World::new(setup(3)), |mut world, step| {
        if world.record().task.is_none() {
            return;
        }
        assert!(world.change_task("2.0.0"));
        for _ in 0..(step % 60) {
            if world.outcome().is_none() {
                world.step();
            }
        }
        if world.change_task("1.0.0") {
            world.must_prove(&format!("changed twice from step {step}"));
        }
    });
}

#[test]
fn a_cancelled_task_leaves_the_device_idle_or_updated() {
    fork(World::new(setup(4)), |mut world, step| {
        let Some(task) = world.record().task.as_ref().map(|task| task.id) else { return };
        if world.cloud.cancel_task(world.now, task).is_err() {
            return;
        }
        match world.run() {
            Ok(Outcome::Proved | Outcome::Ended) => {}
            Err(why) => panic!("cancelled at step {step}: {why}"),
        }
    });
}
