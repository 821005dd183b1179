//! Whole updates over real TCP, with embassy-boot, on a virtual clock.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use ota_cloud::fault::FaultPlan;
use ota_proto::{Instant, TransportError};
use ota_wire::client::{ClientEvent, Disconnect};
use world::chip::{DFU, JOURNAL};
use world::link::Weather;
use world::seal::{Authority, Tls, params};
use world::{App, End, FROM, Leave, TO, World};

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

/// Each address has its share of the 10 s, and the one that answers is the third.
#[test]
fn dead_addresses_of_a_name_cost_their_shares_of_a_try() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 6);
    world.device.config.host = "three.example".into();
    world.update();
    assert_eq!(world.device.running(), TO);
    let desk = world.device.desk.borrow();
    // The first connection is spread over 5 s.
    assert!(desk.reports[0].0 < Instant::from_millis(15_000), "{:?}", desk.reports_as_text());
}

/// smoltcp gives a name server 10 s, as long as a try has: the look-up outlives the first one.
#[test]
fn a_dead_name_server_costs_one_try() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 6);
    world.device.config.host = "cloud.example".into();
    world.device.names = vec![8, 1];
    world.update();
    assert_eq!(world.device.running(), TO);
    let events = world.device.events.borrow();
    let lost = |event: &&ClientEvent| matches!(event, ClientEvent::Disconnected { .. });
    assert!(events.iter().filter(lost).count() <= 2, "one a boot: {events:?}");
}

/// One bit that was read wrongly is not the image's fault.
#[test]
fn a_bit_that_is_read_wrongly_once_while_hashing_ends_no_update() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 8);
    world.device.chip.misread(DFU.start + 5_000);
    world.update();
    assert_eq!(world.device.running(), TO);
    let desk = world.device.desk.borrow();
    assert_eq!(desk.requests.len(), 1, "nothing was fetched again");
    assert!(desk.results().len() == 1 && desk.results()[0].contains("\"done\""));
}

#[test]
fn a_name_that_does_not_exist_is_told() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 6);
    world.device.config.host = "nowhere.example".into();
    let end = world.boot(60_000_000, |_, events| !events.is_empty());
    assert_eq!(end, End::Over);
    let events = world.device.events.borrow();
    let cause = Disconnect::Transport(TransportError::Resolve);
    let [ClientEvent::Disconnected { cause: why, .. }] = &events[..] else { panic!("{events:?}") };
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

/// Where the download goes on when the program ended after 20,480 bytes.
fn resumed_at(leave: Leave, tls: bool) -> u64 {
    let tls = tls.then(|| Tls::new(&Authority::new("ours"), params()));
    let mut world = World::over(Weather::FAIR, FaultPlan::new(0), 8, tls);
    world.device.impatience = Some(500);
    world.device.leave = Some(leave);
    assert_eq!(world.boot(600_000_000, |_, _| false), End::Restart);
    let Leave { orderly, unheard, .. } = leave;
    assert_eq!(world.device.desk.borrow().good_byes, u64::from(orderly && !unheard));
    if let Some(micros) = world.device.stopped_in.get() {
        let most = if unheard { 3_000_000 } else { 100_000 };
        assert!(micros <= most, "{micros} µs");
    }
    world.device.leave = None;
    world.update();
    assert_eq!(world.device.running(), TO);
    world.device.desk.borrow().requests[1].1.start
}

#[test]
fn an_orderly_stop_saves_what_a_reset_loses_and_says_good_bye() {
    let leave = Leave { at: 20_480, orderly: true, unheard: false };
    for tls in [false, true] {
        let (saved, lost) =
            (resumed_at(leave, tls), resumed_at(Leave { orderly: false, ..leave }, tls));
        assert!(saved >= 20_480 && lost < 20_480, "{saved} {lost} {tls}");
    }
}

#[test]
fn an_orderly_stop_ends_in_three_seconds_though_nobody_hears_it() {
    let leave = Leave { at: 20_480, orderly: true, unheard: true };
    assert!(resumed_at(leave, false) >= 20_480);
}

#[test]
fn a_driver_that_has_nothing_to_save_stops_at_once() {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 8);
    world.device.leave = Some(Leave { at: 0, orderly: true, unheard: false });
    assert_eq!(world.boot(600_000_000, |_, _| false), End::Restart);
    assert_eq!(world.device.stopped_in.get(), Some(0));
}

/// The broker's own address is exempt; whoever is behind an offer or a redirect is not.
#[test]
fn a_store_of_this_network_is_refused_where_that_is_asked_for() {
    let elsewhere = "http://10.0.0.9:8080/inside";
    for (to, refused) in [(None, false), (Some(elsewhere), true)] {
        let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 9);
        world.device.public_store_only = true;
        world.device.desk.borrow_mut().elsewhere = to.map(str::to_owned);
        world.update();
        assert_eq!(world.device.running(), if refused { FROM } else { TO });
        let results = world.device.desk.borrow().results();
        assert_eq!(results.len(), 1);
        let words = "\"-5\"";
        assert_eq!(
            results[0].contains(words) && results[0].contains("public"),
            refused,
            "{results:?}"
        );
    }
}
