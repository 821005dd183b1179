//! The small world when nothing goes wrong, and when one thing does.

use ota_sim::{Cut, MessageFault, Setup, Step, World};

fn world() -> World {
    World::new(Setup::new(20_000, 7))
}

#[test]
fn an_update_without_faults_is_proved() {
    let mut world = world();
    world.must_prove("no faults");
    assert_eq!(world.record().counters.stray, 0);
    assert_eq!(world.record().counters.results, 1);
    assert!(world.trace.said().count() <= 25, "{}", world.trace);
}

/// Runs a copy from every step at which the device has just put something out.
fn fork_at_every_output(mut world: World, mut act: impl FnMut(World, usize)) -> usize {
    let mut outputs = 0;
    while world.outcome().is_none() {
        if world.step() == Step::Output {
            act(world.clone(), outputs);
            outputs += 1;
        }
    }
    outputs
}

#[test]
fn every_single_message_lost_doubled_swapped_or_late() {
    let mut calm = world();
    calm.must_prove("no faults");
    let packets = calm.packets();
    assert!(packets > 12, "{packets}");
    for packet in 0..packets {
        let faults = [
            MessageFault::Lost,
            MessageFault::Doubled,
            MessageFault::Swapped,
            MessageFault::Late(500),
            MessageFault::Late(12_000),
            MessageFault::Late(70_000),
        ];
        for fault in faults {
            let mut world = world();
            world.plan(packet, fault);
            world.must_prove(&format!("packet {packet} {fault:?}"));
        }
    }
}

#[test]
fn the_program_dies_between_any_two_outputs() {
    let outputs = fork_at_every_output(world(), |mut fork, i| {
        fork.kill();
        fork.must_prove(&format!("killed after output {i}"));
    });
    assert!(outputs > 50, "{outputs}");
}

#[test]
fn power_is_cut_between_any_two_outputs() {
    for cut in [Cut::Before, Cut::Torn, Cut::After] {
        let outputs = fork_at_every_output(world(), |mut fork, i| {
            // An image that was not confirmed does not survive a reset: that is a failure, told.
            let trial = fork.storage.loader.is_trial();
            fork.power_cut(cut);
            let what = format!("cut {cut:?} after output {i}");
            if trial {
                fork.must_end(&what);
            } else {
                fork.must_prove(&what);
            }
        });
        assert!(outputs > 50, "{outputs}");
    }
}

#[test]
fn the_link_breaks_between_any_two_outputs() {
    fork_at_every_output(world(), |mut fork, i| {
        fork.drop_link();
        fork.must_prove(&format!("link dropped after output {i}"));
    });
}
