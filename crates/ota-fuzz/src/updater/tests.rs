//! The checks themselves: what they allow, and from which moment on.

use std::time::Duration;

use ota_proto::{
    Command, ContentRange, Installed, Micros, ResponseHead, SlotAction, SlotState, State,
    StorageError,
};

use super::cloud::{digest, image_byte};
use super::slot::{SIZES, VERSIONS};
use super::world::{Job, World};
use crate::input::Input;

/// The version of one byte.
const SMALL: usize = 3;

/// All goes well up to the switch, which is asked for and not answered.
fn switching() -> World {
    let mut world = World::new(&mut Input::new(&[]));
    world.session(true);
    world.settle();
    let (size, md5, version) = (SIZES[SMALL], digest(SMALL), VERSIONS[SMALL]);
    world.message(&format!(
        r#"{{"file_size":{size},"md5sum":"{md5}","type":"update_firmware","url":"https://h/a","version":"{version}"}}"#
    ));
    for _ in 0..60 {
        world.settle();
        match &world.job {
            Some((_, Job::Slot(SlotAction::Activate))) => return world,
            Some(_) => world.complete(Ok(()), &mut Input::new(&[])),
            None if world.persist.is_some() => world.complete(Ok(()), &mut Input::new(&[])),
            None if world.machine.state() == State::Installing => {
                world.installed(Installed::NeedsRestart);
            }
            None => answer(&mut world, size),
        }
    }
    panic!("it never switches: {:?}", world.machine);
}

/// The new image is on trial, and the application wants the old one back; the reason is not in the
/// journal yet.
fn rolling_back() -> World {
    let mut world = switching();
    world.complete(Ok(()), &mut Input::new(&[]));
    world.settle();
    world.boot(VERSIONS[SMALL], SlotState::Trial);
    world.settle();
    assert!(world.command(Command::RollBack));
    world.settle();
    world
}

/// What is in progress on the links is answered.
fn answer(world: &mut World, size: u64) {
    if !world.pubs.is_empty() {
        world.published(Some(0));
        world.pubs.remove(0);
    } else if let Some(fetch) = world.fetch.clone() {
        let span = Some((0, size - 1));
        let content_range = Some(ContentRange { span, total: Some(size) });
        let head = ResponseHead { status: 206, content_range, ..ResponseHead::default() };
        if fetch.answered {
            world.body(&[image_byte(SMALL, fetch.at)], false);
        } else {
            world.head(&ResponseHead { status: 200, content_length: Some(size), ..head }, false);
        }
    } else {
        world.wait_to_deadline();
    }
}

#[test]
fn a_restart_may_be_asked_for_when_the_limit_of_the_switch_has_passed_and_not_before() {
    let mut world = switching();
    let asked = world.now;
    let limit = world.config.timing.install;
    while world.now < asked + limit {
        assert!(!world.restart && !world.is_left_to_the_restart(), "{}", world.now);
        if !world.pubs.is_empty() {
            world.published(Some(0));
            world.pubs.remove(0);
        }
        world.now = world.idle.deadline.unwrap_or(asked + limit).min(asked + limit);
        world.settle();
    }
    assert!(world.is_left_to_the_restart());
    assert!(world.restart, "{:?}", world.machine);
}

#[test]
fn a_restart_may_be_asked_for_when_the_fourth_roll_back_is_refused_and_not_before() {
    let mut world = rolling_back();
    world.complete(Ok(()), &mut Input::new(&[]));
    for _ in 0..4 {
        assert!(!world.restart && !world.is_left_to_the_restart());
        world.settle();
        while world.job.is_none() {
            world.wait_to_deadline();
            world.settle();
        }
        let job = world.job.as_ref().map(|(_, job)| job);
        assert!(matches!(job, Some(Job::Slot(SlotAction::RollBack))), "{job:?}");
        world.complete(Err(StorageError::Failed), &mut Input::new(&[]));
    }
    world.settle();
    assert!(world.restart, "{:?}", world.machine);
}

#[test]
fn a_restart_may_be_asked_for_when_no_record_becomes_durable_for_so_long() {
    let mut world = rolling_back();
    assert!(world.persist.is_some());
    let limit = world.config.timing.patience;
    world.wait(limit.less(Micros::from_millis(1)).into());
    world.settle();
    assert!(!world.restart && !world.is_left_to_the_restart());
    world.wait(Duration::from_millis(1));
    world.settle();
    assert!(world.restart, "{:?}", world.machine);
}
