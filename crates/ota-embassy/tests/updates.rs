//! Whole updates of one device with [`ota_embassy::Updates`] and its flat events.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use ota_cloud::fault::FaultPlan;
use ota_embassy::{Disconnect, Event, Installed, Misuse, Outcome, QoS, Reason, State};
use world::desk::{OWN, UNIX};
use world::link::Weather;
use world::{End, FROM, FlatApp, Ota, TO, World};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

/// What the program at the top of the crate's page does.
fn act(ota: &mut Ota, event: &Event) {
    match event {
        Event::Install(_) => ota.installed(Installed::NeedsRestart).unwrap(),
        Event::Trial => ota.confirm().unwrap(),
        _ => {}
    }
}

type Command = fn(&mut Ota) -> Result<(), Misuse>;

type Seen = Rc<RefCell<Vec<Event>>>;

/// A world with this application, and what it is told.
fn world(act: fn(&mut Ota, &Event)) -> (World, Seen) {
    let mut world = World::new(Weather::FAIR, FaultPlan::new(0), 1);
    let told = Seen::default();
    world.device.flat = Some(FlatApp {
        secret: SECRET,
        unix_time: || None,
        keep_alive: Duration::from_secs(60),
        act,
        told: Rc::clone(&told),
    });
    (world, told)
}

/// Boots until the application is told so.
fn boot_until(world: &mut World, told: &Seen, wanted: fn(&Event) -> bool) -> End {
    told.borrow_mut().clear();
    let told = Rc::clone(told);
    world.boot(4_000_000_000, move |_, _| told.borrow().iter().any(wanted))
}

fn is_reported(event: &Event) -> bool {
    matches!(event, Event::Reported(_))
}

/// What was told but the progress, in words.
fn words(told: &Seen) -> Vec<String> {
    let mut events = told.borrow().clone();
    events.retain(|event| !matches!(event, Event::Progress { .. }));
    events.iter().map(Event::to_string).collect()
}

#[test]
fn a_whole_update_is_told_in_flat_events() {
    let (mut world, told) = world(act);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Restart);
    let size = world.device.new.len();
    let expected = [
        "connected to the broker".into(),
        "the cloud knows which version runs".into(),
        "the download starts".into(),
        "the image is verified".into(),
        format!("to be installed: version {TO} ({size} bytes)"),
        "a restart is needed to continue the update".into(),
    ];
    assert_eq!(words(&told), expected);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Over);
    let expected = [
        "the new version runs on trial",
        "connected to the broker",
        "the cloud knows which version runs",
        &format!("the update to version {TO} succeeded"),
        "the cloud knows that the update is done",
    ];
    assert_eq!(words(&told), expected);
    world.check();
    assert_eq!(world.device.running(), TO);
    assert_eq!(world.device.desk.borrow().results().len(), 1);
    // Started once more, there is nothing to do.
    let version_reported = |event: &Event| *event == Event::VersionReported;
    assert_eq!(boot_until(&mut world, &told, version_reported), End::Over);
    assert_eq!(world.device.desk.borrow().requests.len(), 1);
}

#[test]
fn the_keep_alive_of_the_builder_is_that_of_connect() {
    let (mut world, told) = world(act);
    for seconds in [60, 240] {
        world.device.flat.as_mut().unwrap().keep_alive = Duration::from_secs(seconds);
        let connected = |event: &Event| *event == Event::Connected;
        assert_eq!(boot_until(&mut world, &told, connected), End::Over);
        let sent = world.device.desk.borrow().keep_alive;
        assert_eq!(sent.map(u64::from), Some(seconds));
    }
}

/// The word of the application is not enough: a version that cannot reach the cloud could not be
/// replaced.
#[test]
fn a_confirmed_version_stays_only_when_the_cloud_has_answered() {
    fn confirm_unheard(ota: &mut Ota, event: &Event) {
        act(ota, event);
        if *event == Event::Trial {
            assert_eq!(ota.status().state, State::Trial);
            assert_eq!(ota.roll_back().and_then(|()| ota.confirm()), Err(Misuse));
        }
    }
    let (mut world, told) = world(act);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Restart);
    // Nobody hears the new version. It waits for half an hour, then goes back.
    world.cut_off = true;
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Restart);
    assert!(world::clock::now() > 1_800_000_000, "{}", world::clock::now());
    assert!(!told.borrow().iter().any(|event| matches!(event, Event::Done { .. })));
    world.cut_off = false;
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Over);
    assert_eq!(world.device.running(), FROM);
    let reason = Reason::NoAnswer;
    let ended = Event::Reported(Outcome::Failed(reason));
    assert!(told.borrow().contains(&ended), "{:?}", told.borrow());
    world.check();

    // Without a word, or with the other one, it goes back as well.
    let (mut world, told) = self::world(confirm_unheard);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Restart);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Restart);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Over);
    let ended = Event::Reported(Outcome::Failed(Reason::RolledBack));
    assert!(told.borrow().contains(&ended), "{:?}", told.borrow());
}

#[test]
fn after_a_cut_the_download_resumes() {
    let (mut world, told) = world(act);
    let halfway = |event: &Event| matches!(event, Event::Progress { percent: 60.. });
    assert_eq!(boot_until(&mut world, &told, halfway), End::Over);
    let at = world.device.chip.operations();
    world.device.chip.cut_at(at + 1);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Cut);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Restart);
    let resumed = |event: &Event| matches!(event, Event::Downloading { from: 1.. });
    assert!(told.borrow().iter().any(resumed), "{:?}", told.borrow());
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Over);
    assert_eq!(world.device.running(), TO);
    world.check();
}

#[test]
fn a_wrong_secret_is_told_with_what_to_check() {
    let (mut world, told) = world(act);
    world.device.flat.as_mut().unwrap().secret = "d3Jvbmc=";
    let lost = |event: &Event| matches!(event, Event::Disconnected { .. });
    assert_eq!(boot_until(&mut world, &told, lost), End::Over);
    let told = told.borrow();
    let [event @ Event::Disconnected { cause: Disconnect::Session(why), .. }] = &told[..] else {
        panic!("{told:?}")
    };
    assert!(why.is_login_refused());
    assert!(event.to_string().contains("the device name, and the secret"), "{event}");
}

/// A login by a clock that is two days late has lapsed for the cloud; the next one is valid
/// forever. What is before this code was built is no time at all.
#[test]
fn a_clock_that_is_wrong_costs_one_login() {
    const LATE: fn() -> Option<u64> = || Some(UNIX - 2 * 86_400);
    const RIGHT: fn() -> Option<u64> = || Some(UNIX);
    const UNSET: fn() -> Option<u64> = || Some(0);
    for (unix_time, refusals) in [(LATE, 1), (RIGHT, 0), (UNSET, 0)] {
        let (mut world, told) = world(act);
        world.device.flat.as_mut().unwrap().unix_time = unix_time;
        assert_eq!(boot_until(&mut world, &told, |event| *event == Event::Connected), End::Over);
        let told = told.borrow();
        let lost = told.iter().filter(|event| matches!(event, Event::Disconnected { .. }));
        assert_eq!(lost.count(), refusals, "{told:?}");
    }
}

#[test]
fn own_topics_have_the_same_connection() {
    fn topics(ota: &mut Ota, event: &Event) {
        act(ota, event);
        match event {
            Event::VersionReported => {
                ota.subscribe("TESTPROD01/dev001/control", QoS::AtLeastOnce).unwrap();
                ota.publish("TESTPROD01/dev001/event", b"hello", QoS::AtMostOnce).unwrap();
                assert!(ota.publish("$ota/report/x", b"", QoS::AtMostOnce).is_err());
            }
            Event::Message(_) => assert_eq!(ota.running().as_str(), FROM),
            _ => {}
        }
    }
    let (mut world, told) = world(topics);
    let subscribed = |event: &Event| matches!(event, Event::Subscribed(_));
    told.borrow_mut().clear();
    let until = Rc::clone(&told);
    let told_at = move |desk: &world::desk::Desk| {
        let told = until.borrow();
        let letter = told.iter().any(|event| matches!(event, Event::Message(_)));
        letter && desk.letters_taken > 0
    };
    let topic = b"TESTPROD01/dev001/control";
    let mut letter = vec![0x32, 6 + topic.len() as u8, 0, topic.len() as u8];
    letter.extend_from_slice(topic);
    letter.extend_from_slice(&OWN);
    letter.extend_from_slice(b"on");
    world.device.letter_after = Some((subscribed, letter));
    let end = world.boot(60_000_000, move |desk, _| told_at(desk));
    assert_eq!(end, End::Over, "{:?}", told.borrow());
    let told = told.borrow();
    assert!(told.iter().any(|event| matches!(event, Event::Published(_))), "{told:?}");
    let message = told.iter().find_map(|event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    });
    let message = message.unwrap();
    assert_eq!((message.topic.as_bytes(), &message.payload[..]), (&topic[..], &b"on"[..]));
    assert!(!format!("{message:?}").contains("111"), "no payload: {message:?}");
    assert_eq!(world.device.desk.borrow().letters_taken, 1);
}

/// An application that waits for something else all the time drops each future of `next` early.
#[test]
fn futures_that_are_dropped_lose_nothing() {
    let (mut world, told) = world(act);
    world.device.impatience = Some(900);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Restart);
    let first = words(&told);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Over);
    assert_eq!((first.len(), words(&told).len()), (6, 5));
    let desk = world.device.desk.borrow();
    assert_eq!((desk.requests.len(), desk.sessions, desk.results().len()), (1, 2, 1));
}

#[test]
fn a_command_out_of_its_state_is_a_misuse_without_effect() {
    fn misuse(ota: &mut Ota, event: &Event) {
        if *event == Event::Connected {
            let commands: [Command; 13] = [
                Ota::accept,
                Ota::refuse,
                Ota::cancel,
                Ota::approve,
                Ota::veto,
                Ota::install,
                Ota::confirm,
                Ota::roll_back,
                Ota::forgive,
                Ota::report_now,
                |ota| ota.defer(Duration::from_secs(1)),
                |ota| ota.installed(Installed::Running),
                |ota| ota.unable(ota_embassy::InstallFault::NoSpace),
            ];
            assert!(commands.iter().all(|command| command(ota) == Err(Misuse)));
            assert_eq!((ota.status().state, ota.offer()), (State::Idle, None));
        }
        if *event == Event::VersionReported {
            assert_eq!(ota.report_now(), Ok(()));
        }
        act(ota, event);
    }
    let (mut world, told) = world(misuse);
    assert_eq!(boot_until(&mut world, &told, is_reported), End::Restart);
}
