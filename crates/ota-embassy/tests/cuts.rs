//! Power cuts: whatever operation of the flash they meet, the device ends on the new version and
//! the cloud hears one result.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use ota_cloud::fault::FaultPlan;
use ota_proto::Rng;
use world::chip::Geometry;
use world::link::Weather;
use world::{TO, World};

/// Operations of a clean update, those of the boot loader among them.
fn operations(geometry: Geometry) -> u64 {
    let mut world = World::on(geometry, 5);
    world.update();
    world.device.chip.operations()
}

#[test]
fn one_cut_anywhere() {
    let all = operations(Geometry::DEFAULT);
    let mut swapped_back = 0;
    for at in 1..=all {
        let mut world = World::on(Geometry::DEFAULT, 5);
        world.device.chip.cut_at(at);
        world.update();
        swapped_back += u32::from(world.ends_well(&format!("cut at {at}")));
    }
    println!("{all} cuts, {swapped_back} of them in a trial");
    assert!(all > 300 && (1..20).contains(&swapped_back), "{all} {swapped_back}");
}

#[test]
fn many_cuts_at_random() {
    let mut cuts = 0;
    for seed in 0..100 {
        let mut rng = Rng::new(seed);
        let mut world = World::new(Weather::FAIR, FaultPlan::new(0), seed);
        cuts += world.update_with_cuts(|| 1 + rng.below(80), 12);
        world.ends_well(&format!("seed {seed}"));
    }
    println!("{cuts} cuts");
    assert!(cuts > 300, "{cuts}");
}

/// Each flash that the guide names: one cut, and a second one soon after it. `OTA_CUTS` is how
/// many on each, or `all`.
#[test]
fn cuts_on_each_flash() {
    let wanted = std::env::var("OTA_CUTS").unwrap_or_else(|_| "10".into());
    for geometry in Geometry::ALL {
        let all = operations(geometry);
        let count = wanted.parse().unwrap_or(all).min(all);
        let mut swapped_back = 0;
        for cut in 0..count {
            let at = 1 + cut * all / count;
            let mut rng = Rng::new(at);
            for second in [None, Some(1 + rng.below(12))] {
                let mut world = World::on(geometry, at);
                let mut next = [Some(at), second].into_iter().flatten();
                let most = 1 + u32::from(second.is_some());
                world.update_with_cuts(|| next.next().unwrap(), most);
                let what = format!("{}, cut at {at} and {second:?} later", geometry.name);
                swapped_back += u32::from(world.ends_well(&what));
            }
        }
        println!("{}: {count} of {all} operations cut, {swapped_back} in a trial", geometry.name);
    }
}

#[test]
fn each_flash_takes_a_clean_update_and_no_page_of_the_slot_is_erased_twice() {
    for geometry in Geometry::ALL {
        let name = geometry.name;
        let mut world = World::on(geometry, 1);
        assert_eq!(world.boot(600_000_000, |_, _| false), world::End::Restart, "{name}");
        world.check();
        let erases = world.device.chip.erases(geometry.dfu());
        let pages = geometry.image.div_ceil(geometry.erase);
        assert!(erases[..pages].iter().all(|count| *count == 1), "{name}: {erases:?}");
        assert!(erases[pages..].iter().all(|count| *count == 0), "{name}: {erases:?}");
        world.update();
        assert_eq!(world.device.running(), TO, "{name}");
        let journal: u32 = world.device.chip.erases(geometry.journal()).iter().sum();
        println!("{name}: {journal} pages of the journal erased");
    }
}
