//! Power cuts: whatever operation of the flash they meet, the device ends on the new version and
//! the cloud hears one result.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use ota_cloud::fault::FaultPlan;
use ota_proto::Rng;
use world::link::Weather;
use world::{FROM, TO, World};

/// A cut while the new version runs on trial makes embassy-boot swap back, as any reset does
/// then: the cloud is told of the failure, and an operator tries again. Returns whether it was so.
fn ends_well(mut world: World, what: &str) -> bool {
    let failed = world.device.running() == FROM;
    if failed {
        let results = world.device.desk.borrow().results();
        assert_eq!(results.len(), 1, "{what}: {results:?}");
        assert!(results[0].contains("\"-5\"") && results[0].contains("rolled back"), "{results:?}");
        world.device.desk.borrow_mut().retry();
        world.device.events.borrow_mut().clear();
        world.update();
    }
    assert_eq!(world.device.running(), TO, "{what}");
    let results = world.device.desk.borrow().results();
    assert_eq!(results.len(), 1 + usize::from(failed), "{what}: {results:?}");
    assert!(results.last().unwrap().contains("\"done\""), "{what}: {results:?}");
    failed
}

/// Operations of a clean update, those of the boot loader among them.
fn operations() -> u64 {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 5);
    world.update();
    world.device.chip.operations()
}

#[test]
fn one_cut_anywhere() {
    let all = operations();
    let mut swapped_back = 0;
    for at in 1..=all {
        let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 5);
        world.device.chip.cut_at(at);
        world.update();
        swapped_back += u32::from(ends_well(world, &format!("cut at {at}")));
    }
    println!("{all} cuts, {swapped_back} of them in a trial");
    assert!(all > 300 && (1..10).contains(&swapped_back), "{all} {swapped_back}");
}

#[test]
fn many_cuts_by_chance() {
    let mut cuts = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut world = World::new(Weather::FAIR, FaultPlan::new(0), seed);
        cuts += world.update_with_cuts(|| 1 + rng.below(80), 12);
        ends_well(world, &format!("seed {seed}"));
    }
    println!("{cuts} cuts");
    assert!(cuts > 300, "{cuts}");
}
