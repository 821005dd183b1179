//! The runs: an update, roll-backs, faults of the network and of the image.

use std::collections::BTreeMap;
use std::fs;

use super::flash::Wear;
use super::lines::From;
use super::story::{Outcome, Story};
use super::tools::{Image, Programs, SelfTest};
use super::world::World;

/// The time limit of a run in seconds.
pub(super) const PATIENCE: f64 = 60.0;
/// Microseconds of an erase that make a download last longer than a second.
const SLOW: u32 = 90_000;

/// Reads a firmware line with memory figures, and keeps the maximum of each.
pub(super) fn said_of_memory(line: &str, most: &mut BTreeMap<String, u64>) {
    let words: Vec<&str> = line.strip_prefix("memory: ").unwrap_or_default().split(' ').collect();
    for pair in words.chunks_exact(2) {
        let place = most.entry(pair[0].to_owned()).or_default();
        *place = pair[1].parse().unwrap_or(0).max(*place);
    }
}

/// The image that runs before the update, and the offered one.
pub(super) struct Images {
    pub(super) old: Image,
    pub(super) new: Image,
}

impl Images {
    /// 1.0.0 and 2.0.0.
    pub(super) fn build(programs: &Programs) -> Result<Self, String> {
        let old = programs.firmware("1.0.0", SelfTest::Passes)?;
        Ok(Self { old, new: programs.firmware("2.0.0", SelfTest::Passes)? })
    }
}

/// 1.0.0 updates itself to 2.0.0.
pub(super) fn update(programs: &Programs) -> Result<(), String> {
    let images = Images::build(programs)?;
    let mut world = World::new(programs, &images.new, 1, true)?;
    world.new_board(0, &images.old)?;
    world.power_on()?;
    settled(&mut world, &images.new.version)?;
    check_done(&world, &images.new)?;
    let [firmware, loader] = world.flash()?.wear()?;
    println!("\nerases by the firmware and by the loader, most of one block and in all");
    for (name, part) in ["slot", "journal", "loader's state"].iter().zip(0..) {
        let show = |wear: Wear| format!("{} / {}", wear.most, wear.sum);
        println!("  {name:16} {:>9} {:>9}", show(firmware[part]), show(loader[part]));
    }
    println!("messages of the device: {}", world.story.messages);
    if firmware[0].most > 1 {
        return Err("a block of the slot was erased twice".to_owned());
    }
    println!("update: 1.0.0 became 2.0.0, confirmed and reported");
    Ok(())
}

/// Rolls back two versions: one is never confirmed, one does not start.
pub(super) fn rollback(programs: &Programs) -> Result<(), String> {
    let old = programs.firmware("1.0.0", SelfTest::Passes)?;
    for (test, words) in
        [(SelfTest::Fails, "is never confirmed"), (SelfTest::Panics, "does not start")]
    {
        let new = programs.firmware("2.0.0", test)?;
        let mut world = World::new(programs, &new, 1, true)?;
        world.new_board(0, &old)?;
        world.power_on()?;
        failed(&mut world, "-5")?;
        check_kept(&world, &old)?;
        println!("rollback: a 2.0.0 that {words} was taken back, and reported as failed (-5)\n");
    }
    Ok(())
}

/// Faults that leave the old version running.
pub(super) fn faults(programs: &Programs) -> Result<(), String> {
    let images = Images::build(programs)?;
    wrong_signature(programs, &images)?;
    wrong_digest(programs, &images)?;
    link_down(programs, &images)?;
    cloud_restarted(programs, &images)
}

fn wrong_signature(programs: &Programs, images: &Images) -> Result<(), String> {
    let mut bytes = images.new.bytes.clone();
    let at = bytes.len() - 1;
    bytes[at] ^= 1;
    let forged = programs.image("forged", "2.0.0", bytes)?;
    let mut world = World::new(programs, &forged, 1, false)?;
    world.new_board(0, &images.old)?;
    world.power_on()?;
    failed(&mut world, "-5")?;
    check_kept(&world, &images.old)?;
    println!("faults: one bit of the signature wrong: {}", last(&world));
    Ok(())
}

fn wrong_digest(programs: &Programs, images: &Images) -> Result<(), String> {
    let mut world = with_wrong_digest(programs, &images.new)?;
    world.new_board(0, &images.old)?;
    world.power_on()?;
    failed(&mut world, "-4")?;
    check_kept(&world, &images.old)?;
    println!("faults: one bit of the image wrong: {}", last(&world));
    Ok(())
}

/// A cloud whose image changes by one bit after its digest was computed, as on a bad disk.
pub(super) fn with_wrong_digest(programs: &Programs, image: &Image) -> Result<World, String> {
    let changing = programs.image("changing", &image.version, image.bytes.clone())?;
    let when = fs::metadata(&changing.path).and_then(|file| file.modified());
    let world = World::new(programs, &changing, 1, false)?;
    let mut bytes = image.bytes.clone();
    bytes[1_000] ^= 1;
    let changed = programs.image("changing", &image.version, bytes)?;
    let file = fs::OpenOptions::new().write(true).open(&changed.path);
    let kept = file.and_then(|file| file.set_modified(when?));
    kept.map_err(|error| format!("{}: {error}", changed.path.display()))?;
    Ok(world)
}

/// A board whose slow download has just begun.
fn downloading(programs: &Programs, images: &Images) -> Result<World, String> {
    let mut world = World::new(programs, &images.new, 1, false)?;
    world.new_board(0, &images.old)?;
    world.flash()?.set_erase_time(SLOW)?;
    world.power_on()?;
    world.wait_for("the download", PATIENCE, |_, from, line| {
        from == From::Cloud && line.contains("\"request\"")
    })?;
    Ok(world)
}

/// The cable is unplugged for some seconds during the download; then the update continues.
fn link_down(programs: &Programs, images: &Images) -> Result<(), String> {
    let mut world = downloading(programs, images)?;
    world.set_link(false)?;
    world.let_go_on(3.0, &mut |_, _| {})?;
    if !world.flash()?.runs(&images.old.bytes)? {
        return Err(world.failure("the cable was out, and the old version runs no more"));
    }
    world.set_link(true)?;
    settled(&mut world, &images.new.version)?;
    check_done(&world, &images.new)?;
    println!("faults: cable out for 3 s in the download: {}", last(&world));
    Ok(())
}

/// The cloud ends during the download and starts again without its state.
fn cloud_restarted(programs: &Programs, images: &Images) -> Result<(), String> {
    let mut world = downloading(programs, images)?;
    world.stop_cloud();
    world.let_go_on(2.0, &mut |_, _| {})?;
    if !world.flash()?.runs(&images.old.bytes)? {
        return Err(world.failure("the cloud was gone, and the old version runs no more"));
    }
    world.start_cloud()?;
    settled(&mut world, &images.new.version)?;
    check_done(&world, &images.new)?;
    println!("faults: cloud gone for 2 s in the download: {}", last(&world));
    Ok(())
}

/// Waits until the new version has reported its version, its result, and its version again.
pub(super) fn settled(world: &mut World, version: &str) -> Result<(), String> {
    let wanted = version.to_owned();
    let is_settled = move |story: &Story| {
        let done = story.results.last().is_some_and(|result| result.state == "done");
        done && story.settled && story.versions.last() == Some(&wanted)
    };
    world.wait_for("done, and the version after it", PATIENCE, |story, _, _| is_settled(story))
}

/// Waits until a failure was reported, and then the old version.
pub(super) fn failed(world: &mut World, code: &str) -> Result<(), String> {
    let failed = |result: &Outcome| result.state == "fail";
    world.wait_for("fail, and the version after it", PATIENCE, |story, _, _| {
        story.settled && story.results.last().is_some_and(failed)
    })?;
    let results = &world.story.results;
    if results.len() != 1 || results.iter().any(|result| result.code != code) {
        return Err(world.failure(&format!("one result with {code} was due: {results:?}")));
    }
    Ok(())
}

/// Checks for one result, `done`, and the new image in the active partition.
pub(super) fn check_done(world: &World, new: &Image) -> Result<(), String> {
    let results = &world.story.results;
    let right = results.len() == 1
        && results.iter().all(|result| result.state == "done" && result.version == new.version);
    if !right {
        return Err(world.failure(&format!("one result, done, was due: {results:?}")));
    }
    if !world.flash()?.runs(&new.bytes)? {
        return Err(world.failure("done was reported, but the active partition is another"));
    }
    Ok(())
}

/// Checks that the old image is in the active partition and reported its version last.
fn check_kept(world: &World, old: &Image) -> Result<(), String> {
    if world.story.versions.last() != Some(&old.version) || !world.flash()?.runs(&old.bytes)? {
        return Err(world.failure("the old version does not run any more"));
    }
    Ok(())
}

pub(super) fn last(world: &World) -> String {
    world.story.results.last().map_or_else(String::new, |result| {
        format!(
            "{} {} ({}), {} runs",
            result.state,
            result.code,
            result.text,
            world.story.versions.last().map_or("nothing", String::as_str)
        )
    })
}
