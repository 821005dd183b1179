//! Whole updates over real TCP, with embassy-boot, on a virtual clock.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use ota_cloud::fault::FaultPlan;
use ota_proto::TransportError;
use ota_wire::client::{Disconnect, Event};
use world::chip::{DFU, JOURNAL};
use world::link::Weather;
use world::{App, End, FROM, TO, World};

#[test]
fn a_clean_update_ends_on_the_new_version_and_erases_no_block_twice() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 1);
    assert_eq!(world.boot(600_000_000, |_, _| false), End::Restart);
    world.check();
    let pages = world.device.new.len().div_ceil(4_096);
    let erases = world.device.chip.erases(DFU);
    assert!(erases[..pages].iter().all(|count| *count == 1), "{erases:?}");
    assert!(erases[pages..].iter().all(|count| *count == 0), "{erases:?}");
    world.update();
    assert_eq!(world.device.running(), TO);
    let desk = world.device.desk.borrow();
    assert_eq!(desk.results().len(), 1);
    assert!(desk.results()[0].contains("\"done\""));
    assert!(desk.reports.len() <= 25, "{:#?}", desk.reports_as_text());
    let journal = world.device.chip.erases(JOURNAL);
    println!("journal pages erased {journal:?}, {} boots", world.device.boots);
    // One as it begins, and one at the boot that finds something new.
    assert!(journal.iter().sum::<u32>() <= 2, "{journal:?}");
}

#[test]
fn frames_lost_doubled_and_late_change_nothing_but_the_time() {
    for seed in 0..10 {
        let mut world = World::new(Weather::FOUL, FaultPlan::new(0), seed);
        world.update();
        assert_eq!(world.device.running(), TO, "seed {seed}");
        assert_eq!(world.device.desk.borrow().results().len(), 1, "seed {seed}");
        assert!(world.lost() > 0);
    }
}

/// An application that waits for something else all the time drops each future of `next` early.
#[test]
fn futures_that_are_dropped_lose_nothing() {
    for micros in [37, 900, 7_001] {
        let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 3);
        world.device.impatience = Some(micros);
        world.update();
        assert_eq!(world.device.running(), TO, "{micros} µs");
        let desk = world.device.desk.borrow();
        assert_eq!(desk.results().len(), 1);
        assert_eq!(desk.requests.len(), 1, "no fetch was lost");
        assert_eq!(desk.sessions, 2);
    }
}

#[test]
fn a_version_that_never_confirms_is_swapped_back_and_reported() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 4);
    world.device.app = App::Silent;
    world.update();
    assert_eq!(world.device.running(), FROM);
    let results = world.device.desk.borrow().results();
    assert_eq!(results.len(), 1);
    assert!(results[0].contains("\"fail\"") && results[0].contains("\"-5\""), "{results:?}");
}

#[test]
fn the_broker_is_found_by_its_name() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 6);
    world.device.config.host = "cloud.example".into();
    world.update();
    assert_eq!(world.device.running(), TO);
}

#[test]
fn a_name_that_does_not_exist_is_told() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 6);
    world.device.config.host = "nowhere.example".into();
    let end = world.boot(60_000_000, |_, events| !events.is_empty());
    assert_eq!(end, End::Over);
    let events = world.device.events.borrow();
    let cause = Disconnect::Transport(TransportError::Resolve);
    let [Event::Disconnected { cause: why, .. }] = &events[..] else { panic!("{events:?}") };
    assert_eq!(*why, cause);
}

/// Streams of TLS hold back what is written, and a write of theirs must not be dropped halfway.
#[test]
fn an_own_network_is_flushed_and_its_writes_are_never_cancelled() {
    for impatience in [None, Some(37)] {
        let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 7);
        world.device.wrapped = true;
        world.device.impatience = impatience;
        world.update();
        assert_eq!(world.device.running(), TO);
        let desk = world.device.desk.borrow();
        assert_eq!((desk.requests.len(), desk.sessions), (1, 2), "{impatience:?}");
    }
}
