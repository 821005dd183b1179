//! Turns of the loop over both stores: what is durable, what may leave when, deaths between.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod failing;

use std::time::Duration;

use ota_cloud::sign::UrlSigner;
use ota_cloud::{
    CloudConfig, CloudError, EventKind, Finish, Firmware, Module, Rollout, Status, TaskId,
    TaskOptions,
};
use ota_proto::{Identity, Instant, Md5};
use ota_server::cycle::{self, CommandError, Edit, Engine, Input, Outcome, Refused, Rider};
use ota_store::audit;
use ota_store::seal::{MasterKey, Ring};
use ota_store::{
    Commit, Conflict, DataFolder, DeviceKey, DeviceRow, EventQuery, Filter, Memory, Sqlite, Store,
    StoreError,
};

use failing::{Failing, Fault};

const OLD: &[u8] = br#"{"type":"report_version","report":{"version":"0.1.0"}}"#;
const NEW: &[u8] = br#"{"type":"report_version","report":{"version":"1.0.0"}}"#;

fn at(millis: u64) -> Instant {
    Instant::from_millis(1_700_000_000_000 + millis)
}

fn device(n: u32) -> Identity {
    Identity::new("TESTPROD01", &format!("dev{n:03}")).unwrap()
}

fn progress(state: &str, percent: u32) -> Input {
    let percent = match state {
        "downloading" => format!(r#""percent":"{percent}","#),
        _ => String::new(),
    };
    Input::Message(
        format!(
            r#"{{"type":"report_progress","report":{{"progress":{{"state":"{state}",{percent}"result_code":"0","result_msg":""}},"version":"1.0.0"}}}}"#
        )
        .into_bytes(),
    )
}

/// An engine as a process has it after its start: firmware and rule are rows from the first on.
fn engine<S: Store>(store: S) -> Engine<S> {
    let signer = UrlSigner::new("http://127.0.0.1", *b"key", UrlSigner::LIFE);
    let mut engine = Engine::new(store, CloudConfig::new(signer, 0)).unwrap();
    let firmware = Firmware::new("TESTPROD01", "1.0.0", Md5([7; 16]), 9);
    if engine.catalog().iter().next().is_none() {
        // A store that is full from the start has no rows of them.
        let _ = engine.add_firmware(firmware, None);
        let _ = engine.set_rule("TESTPROD01", Some(Rollout::new("1.0.0")));
    }
    engine.allow_unknown(true);
    engine
}

fn turn<S: Store>(engine: &mut Engine<S>, now: u64, inputs: Vec<Input>) -> Outcome {
    let inputs: Vec<_> = inputs.into_iter().map(|input| (device(1), input)).collect();
    engine.turn(at(now), &inputs).unwrap()
}

#[test]
fn an_update_goes_from_report_to_proof_and_every_step_is_a_row() {
    fn update<S: Store>(store: S) {
        let mut engine = engine(store);
        let came = turn(&mut engine, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
        assert_eq!(came.answers, [Ok(()), Ok(())]);
        assert_eq!(came.written, 1, "two inputs of a device are one row");
        let reply = String::from_utf8(came.publish[0].payload.clone()).unwrap();
        assert!(reply.contains("report_version_rsp"), "{reply}");
        assert_eq!(came.publish.len(), 1);
        assert!(turn(&mut engine, 49, vec![]).publish.is_empty());

        let came = turn(&mut engine, 50, vec![]);
        let offer = &came.publish[0];
        assert!(String::from_utf8(offer.payload.clone()).unwrap().contains("update_firmware"));
        turn(&mut engine, 51, vec![Input::Offered(offer.offer.unwrap())]);
        let steps = vec![progress("downloading", 0), progress("downloading", 100)];
        turn(&mut engine, 100, steps);
        turn(&mut engine, 200, vec![progress("burning", 0)]);
        let came = turn(&mut engine, 300, vec![Input::Message(NEW.to_vec()), progress("done", 0)]);
        assert!(came.answers.iter().all(Result::is_ok));

        let task = engine.device(&device(1)).unwrap().unwrap().task.unwrap();
        assert_eq!((task.status, task.is_proved()), (Status::Complete, true));
        let key = DeviceKey::new("TESTPROD01", "dev001");
        let row = engine.store_mut().read().device(&key).unwrap().unwrap();
        assert_eq!(row.versions[Module::default().as_str()], "1.0.0");
        assert_eq!((row.task, row.wake), (Some(Status::Complete.number()), None));
        let counts = engine.store_mut().read().counts("TESTPROD01/task/").unwrap();
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), [("TESTPROD01/task/6".to_owned(), 1)]);
        let query = EventQuery { after: 0, device: Some(key) };
        let events = engine.store_mut().read().events(&query, 100).unwrap();
        let kinds: Vec<_> = events.iter().map(|event| event.what.kind.as_str()).collect();
        assert_eq!(kinds[..3], ["registered", "connected", "version"]);
        assert!(kinds.contains(&"offered") && kinds.contains(&"proved"));
    }
    update(Memory::new());
    let dir = tempfile::tempdir().unwrap();
    update(Sqlite::open(&DataFolder::open(dir.path()).unwrap()).unwrap());
}

#[test]
fn counts_are_what_the_rows_come_to() {
    let mut engine = engine(Memory::new());
    for n in 0..20 {
        let inputs = [(device(n), Input::Connected), (device(n), Input::Message(OLD.to_vec()))];
        engine.turn(at(u64::from(n)), &inputs).unwrap();
    }
    for now in [100, 20_000, 700_000] {
        let offers = turn(&mut engine, now, vec![]).publish;
        for offer in offers.into_iter().take(9) {
            let offered = (offer.device.clone(), Input::Offered(offer.offer.unwrap()));
            let mut inputs = vec![offered];
            if offer.device.device_name().ends_with('3') {
                inputs.push((offer.device, Input::Message(NEW.to_vec())));
            }
            engine.turn(at(now + 1), &inputs).unwrap();
        }
        counts_fit(&mut engine, &format!("at {now}"));
    }
}

/// A recount gives what is counted.
fn counts_fit<S: Store>(engine: &mut Engine<S>, when: &str) {
    let faults = engine.store_mut().read().check_counts("TESTPROD01/task/", &mut |row, add| {
        if let Some(task) = row.task {
            add(&format!("{}/task/{task}", row.key.product), 1);
        }
    });
    assert_eq!(faults.unwrap(), [], "{when}");
}

/// An engine of a device whose download is at 30 %, which is in no row, from 60 on.
fn unsaved(times: usize) -> Engine<Failing> {
    let mut one = engine(Memory::new());
    turn(&mut one, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    let offer = turn(&mut one, 50, vec![]).publish.remove(0).offer.unwrap();
    turn(&mut one, 51, vec![Input::Offered(offer), progress("downloading", 1)]);
    let mut two = engine(Failing { inner: one.store_mut().clone(), fault: None });
    turn(&mut two, 55, vec![Input::Connected]);
    assert_eq!(turn(&mut two, 60, vec![progress("downloading", 30)]).written, 0);
    two.store_mut().fault = Some(Fault::full(times));
    two
}

fn percent<S: Store>(engine: &mut Engine<S>) -> Option<u8> {
    engine.device(&device(1)).unwrap().unwrap().task.unwrap().percent
}

fn edit(disabled: Option<bool>, tag: Option<&str>) -> Edit {
    let mut edit = Edit::default();
    edit.disabled = disabled;
    edit.tags = tag.map(|tag| [("line".to_owned(), tag.to_owned())].into());
    edit
}

#[test]
fn a_removed_device_is_counted_no_more_and_owes_nothing() {
    fn remove<S: Store>(store: S) {
        let mut engine = engine(store);
        for n in 0..6 {
            let inputs = [(device(n), Input::Connected), (device(n), Input::Message(OLD.to_vec()))];
            engine.turn(at(0), &inputs).unwrap();
        }
        let offers = turn(&mut engine, 50, vec![]).publish;
        assert_eq!(offers.len(), 6);
        for offer in &offers {
            let offered = (offer.device.clone(), Input::Offered(offer.offer.unwrap()));
            engine.turn(at(51), &[offered]).unwrap();
        }
        let proved = [(device(2), Input::Message(NEW.to_vec()))];
        engine.turn(at(52), &proved).unwrap();
        turn(&mut engine, 53, vec![progress("downloading", 1)]);
        turn(&mut engine, 54, vec![progress("downloading", 30)]);
        engine.edit(at(55), &device(3), edit(Some(true), None), Rider::default()).unwrap();
        for n in 0..6 {
            let came = engine.remove(at(60), &device(n), Rider::default()).unwrap();
            assert_eq!(came.events.len(), 1);
            assert_eq!(engine.device(&device(n)).unwrap(), None);
            assert!(!engine.is_online(&device(n)));
            counts_fit(&mut engine, &format!("without {n}"));
        }
        let counts = engine.store_mut().read().counts("TESTPROD01/task/").unwrap();
        assert_eq!(counts.into_iter().collect::<Vec<_>>(), []);
        assert_eq!(engine.deadline().unwrap(), None, "nothing is left to be done");
        let gone = engine.remove(at(61), &device(1), Rider::default()).unwrap_err();
        assert_eq!(gone, CommandError::Refused(Refused::Peer(CloudError::UnknownDevice)));
        // A new one of its name begins anew, under another number.
        turn(&mut engine, 70, vec![Input::Connected]);
        assert_eq!(engine.device(&device(1)).unwrap().unwrap().task, None);
        turn(&mut engine, 71, vec![Input::Message(OLD.to_vec())]);
        let task = engine.device(&device(1)).unwrap().unwrap().task.unwrap();
        assert_eq!(task.id.to_string(), "6-1");
        assert!(!engine.is_disabled(&device(3)).unwrap());
    }
    remove(Memory::new());
    let dir = tempfile::tempdir().unwrap();
    remove(Sqlite::open(&DataFolder::open(dir.path()).unwrap()).unwrap());
}

#[test]
fn an_edit_whose_commit_fails_changes_nothing_and_costs_no_news_that_were_not_written_yet() {
    let mut engine = unsaved(1);
    let full = engine.edit(at(61), &device(1), edit(Some(true), Some("3")), Rider::default());
    assert!(matches!(full, Err(CommandError::Store(StoreError::Full { .. }))));
    let seen = engine.seen(&device(1)).unwrap().unwrap();
    assert_eq!((seen.disabled, seen.tags.len()), (false, 0));
    assert_eq!((percent(&mut engine), engine.is_disabled(&device(1)).unwrap()), (Some(30), false));
    assert_eq!(engine.deadline().unwrap(), Some(at(10_060)), "the news still wait");

    let came = engine.edit(at(62), &device(1), edit(Some(true), Some("3")), Rider::default());
    assert_eq!(came.unwrap().events.len(), 1);
    assert!(engine.is_disabled(&device(1)).unwrap());
    let stored = engine.store_mut().inner.clone();
    let mut later = self::engine(stored);
    assert_eq!(percent(&mut later), Some(30), "what waited is in the row, too");
    let seen = later.seen(&device(1)).unwrap().unwrap();
    assert_eq!((seen.disabled, seen.tags["line"].as_str()), (true, "3"));
    assert_ne!(engine.deadline().unwrap(), Some(at(10_060)));
    // What is in memory goes on from the row's revision, and keeps the columns.
    turn(&mut engine, 70, vec![progress("burning", 0)]);
    assert_eq!(engine.seen(&device(1)).unwrap().unwrap().tags["line"], "3");
    counts_fit(&mut engine, "after the edit");
}

#[test]
fn a_device_may_be_disabled_from_the_commit_on_that_makes_it_known() {
    let rider = || {
        let mut rider = Rider::default();
        rider.disabled.insert(device(1));
        rider
    };
    let inputs = [(device(1), Input::Register), (device(2), Input::Register)];
    let mut engine = engine(Failing { inner: Memory::new(), fault: None });
    engine.store_mut().fault = Some(Fault::full(1));
    engine.turn_with(at(1), &inputs, rider()).unwrap_err();
    assert!(!engine.is_disabled(&device(1)).unwrap(), "nothing has happened");
    let made = engine.turn_with(at(2), &inputs, rider()).unwrap();
    assert_eq!(made.answers, [Ok(()), Ok(())]);
    let later = self::engine(engine.store_mut().inner.clone());
    for n in 1..=2 {
        let is = n == 1;
        assert_eq!(engine.is_disabled(&device(n)).unwrap(), is);
        assert_eq!(later.is_disabled(&device(n)).unwrap(), is, "it is in the row");
        let events = later.history(&device(n), 0).unwrap();
        let kinds: Vec<_> = events.into_iter().map(|(_, _, kind)| kind).collect();
        let both = [EventKind::Registered, EventKind::Disabled];
        assert_eq!(kinds, both[..if is { 2 } else { 1 }]);
    }
    // Who is registered again is as he was.
    engine
        .turn_with(at(3), &inputs[1..], {
            let mut both = rider();
            both.disabled.insert(device(2));
            both
        })
        .unwrap();
    assert!(!engine.is_disabled(&device(2)).unwrap());
    engine.edit(at(4), &device(1), edit(Some(false), None), Rider::default()).unwrap();
    assert!(!engine.is_disabled(&device(1)).unwrap());
    counts_fit(&mut engine, "after all");
}

#[test]
fn a_device_that_nothing_is_kept_of_is_as_its_row_after_an_edit_whose_commit_fails() {
    let mut engine = unsaved(0);
    turn(&mut engine, 70, vec![progress("burning", 0)]);
    engine.store_mut().fault = Some(Fault::full(1));
    let full = engine.edit(at(71), &device(1), edit(None, Some("3")), Rider::default());
    assert!(full.is_err());
    assert!(engine.is_online(&device(1)));
    let seen = engine.seen(&device(1)).unwrap().unwrap();
    assert_eq!((seen.tags.len(), seen.device.online), (0, true));
    engine.edit(at(72), &device(1), edit(None, Some("3")), Rider::default()).unwrap();
    assert_eq!(engine.seen(&device(1)).unwrap().unwrap().tags["line"], "3");
}

#[test]
fn a_removal_whose_commit_fails_leaves_the_device_as_it_was() {
    let mut engine = unsaved(1);
    let full = engine.remove(at(61), &device(1), Rider::default());
    assert!(matches!(full, Err(CommandError::Store(StoreError::Full { .. }))));
    assert_eq!((percent(&mut engine), engine.is_online(&device(1))), (Some(30), true));
    assert_eq!(engine.deadline().unwrap(), Some(at(10_060)));
    counts_fit(&mut engine, "as before");
    engine.remove(at(62), &device(1), Rider::default()).unwrap();
    assert_eq!(engine.deadline().unwrap(), None);
}

#[test]
fn what_was_changed_behind_it_is_edited_and_removed_at_the_second_try() {
    for removes in [false, true] {
        let memory = Memory::new();
        let (mut first, mut second) = (engine(memory.clone()), engine(memory));
        turn(&mut first, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
        turn(&mut second, 1, vec![Input::Message(NEW.to_vec())]);
        // The first still holds the old revision.
        let mut run = |now| match removes {
            false => first.edit(at(now), &device(1), edit(None, Some("3")), Rider::default()),
            true => first.remove(at(now), &device(1), Rider::default()),
        };
        assert!(matches!(run(2), Err(CommandError::Store(StoreError::Conflict(_)))));
        assert_eq!(run(3).unwrap().written, 1);
        let stored = self::engine(first.store_mut().clone()).seen(&device(1)).unwrap();
        let now = stored.map(|seen| (seen.device.runs() == Some("1.0.0"), seen.tags.len()));
        assert_eq!(now, (!removes).then_some((true, 1)), "nothing of the other is lost");
        counts_fit(&mut first, "in the end");
    }
}

#[test]
fn a_task_that_another_takes_the_place_of_is_counted_no_more() {
    let mut engine = engine(Memory::new());
    let counts = |engine: &mut Engine<Memory>| {
        engine.store_mut().read().counts("TESTPROD01/task/").unwrap().into_values().sum::<i64>()
    };
    turn(&mut engine, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    let offer = turn(&mut engine, 50, vec![]).publish.remove(0).offer.unwrap();
    turn(&mut engine, 51, vec![Input::Offered(offer), Input::Message(NEW.to_vec())]);
    assert_eq!(counts(&mut engine), 1);
    engine.add_firmware(Firmware::new("TESTPROD01", "2.0.0", Md5([8; 16]), 9), None).unwrap();
    engine.set_rule("TESTPROD01", Some(Rollout::new("2.0.0"))).unwrap();
    turn(&mut engine, 60, vec![Input::Message(NEW.to_vec())]);
    let task = engine.device(&device(1)).unwrap().unwrap().task.unwrap();
    assert_eq!((task.target.as_str(), counts(&mut engine)), ("2.0.0", 1));
}

#[test]
fn a_disk_that_is_full_answers_nothing_changes_nothing_and_the_same_inputs_go_through_later() {
    let mut engine = engine(Memory::new());
    turn(&mut engine, 0, vec![Input::Connected]);
    let before = engine.device(&device(1)).unwrap();
    let inner = engine.store_mut().clone();
    let mut broken = self::engine(Failing { inner, fault: Some(Fault::full(1)) });
    let inputs = [(device(1), Input::Connected), (device(1), Input::Message(OLD.to_vec()))];
    assert!(matches!(broken.turn(at(1), &inputs), Err(StoreError::Full { .. })));
    let stored = broken.device(&device(1)).unwrap().unwrap();
    assert_eq!(stored.counters, before.unwrap().counters, "as before");
    let came = broken.turn(at(2), &inputs).unwrap();
    assert_eq!((came.answers.len(), came.publish.len()), (2, 1));
}

#[test]
fn a_commit_that_fails_costs_no_news_that_were_not_written_yet() {
    let mut one = engine(Memory::new());
    turn(&mut one, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    let offer = turn(&mut one, 50, vec![]).publish.remove(0).offer.unwrap();
    turn(&mut one, 51, vec![Input::Offered(offer), progress("downloading", 1)]);
    let mut two = engine(Failing { inner: one.store_mut().clone(), fault: None });
    let of = |engine: &mut Engine<Failing>| {
        let device = engine.device(&device(1)).unwrap().unwrap();
        (device.task.unwrap().percent, device.counters)
    };
    turn(&mut two, 60, vec![progress("downloading", 30)]);
    let before = of(&mut two);
    assert_eq!(before.0, Some(30));
    two.store_mut().fault = Some(Fault::full(1));
    let failed = two.turn(at(70), &[(device(1), Input::Message(NEW.to_vec()))]);
    assert!(failed.is_err());
    assert_eq!(of(&mut two), before, "as before, with what is in no row");
    assert_eq!(two.deadline().unwrap(), Some(at(10_060)));
    assert_eq!(turn(&mut two, 10_060, vec![]).written, 1);
}

#[test]
fn what_is_no_news_is_told_only_where_all_is() {
    let mut engine = engine(Memory::new());
    engine.set_rule("TESTPROD01", None).unwrap();
    engine.tell_all(false);
    let first = turn(&mut engine, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    assert!(first.events.len() > 2, "{:?}", first.events);
    assert_eq!(turn(&mut engine, 1, vec![Input::Message(OLD.to_vec())]).events, []);
    let came = turn(&mut engine, 2, vec![Input::Message(NEW.to_vec())]);
    assert_eq!(came.events.len(), 2, "another version is news");
}

#[test]
fn a_row_that_changed_behind_it_is_loaded_and_applied_again() {
    let memory = Memory::new();
    let mut first = engine(memory.clone());
    let mut second = engine(memory);
    turn(&mut first, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    turn(&mut second, 1, vec![Input::Message(OLD.to_vec())]);
    // The first still holds the old revision.
    let came = turn(&mut first, 2, vec![Input::Message(OLD.to_vec())]);
    assert_eq!(came.answers, [Ok(())]);
    let counters = first.device(&device(1)).unwrap().unwrap().counters;
    assert_eq!(counters.versions, 3, "no report was lost and none counted twice");
    let error = StoreError::Conflict(Conflict { devices: vec![], items: vec![] });
    let fault = Fault { error, times: usize::MAX, stored: false };
    let mut broken = engine(Failing { inner: Memory::new(), fault: Some(fault) });
    let error = broken.turn(at(0), &[(device(1), Input::Connected)]).unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "it ends");
}

/// The process dies between two turns, after each step of an update in turn; the next one is an
/// engine over the same store, and the device connects and reports again.
#[test]
fn a_death_after_any_step_leaves_no_device_stuck_and_one_success() {
    for step in 0..6 {
        let memory = Memory::new();
        let mut now = 0;
        let mut one = engine(memory.clone());
        let mut steps = vec![
            vec![Input::Connected],
            vec![Input::Message(OLD.to_vec())],
            vec![],
            vec![progress("downloading", 0)],
            vec![progress("burning", 0)],
            vec![Input::Message(NEW.to_vec())],
        ];
        let mut offered = None;
        for mut inputs in steps.drain(..=step) {
            inputs.splice(..0, offered.take().map(Input::Offered));
            let publish = turn(&mut one, now, inputs).publish;
            offered = publish.into_iter().find_map(|publish| publish.offer);
            now += 100;
        }
        drop(one);
        let mut two = engine(memory);
        turn(&mut two, now, vec![Input::Connected]);
        let proved = step == 5;
        let runs = if proved { NEW } else { OLD };
        turn(&mut two, now + 1, vec![Input::Message(runs.to_vec())]);
        if !proved {
            let offer = (now..now + 20_000).step_by(50).find_map(|moment| {
                let publish = turn(&mut two, moment, vec![]).publish;
                publish.into_iter().find_map(|publish| publish.offer)
            });
            let offer = offer.unwrap_or_else(|| panic!("step {step}: no offer again"));
            now += 20_000;
            turn(&mut two, now, vec![Input::Offered(offer)]);
            turn(&mut two, now + 1, vec![Input::Message(NEW.to_vec())]);
        }
        let task = two.device(&device(1)).unwrap().unwrap().task.unwrap();
        assert_eq!(task.status, Status::Complete, "step {step}");
        assert_eq!(task.finished.unwrap().1, Finish::Proved, "step {step}");
        let query = EventQuery::default();
        let events = two.store_mut().read().events(&query, 1_000).unwrap();
        let successes = events.iter().filter(|event| event.what.kind == "proved").count();
        assert_eq!(successes, 1, "step {step}");
    }
}

#[test]
fn an_offer_that_was_claimed_and_never_published_goes_out_again_when_its_lease_ends() {
    let mut engine = engine(Memory::new());
    turn(&mut engine, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    assert_eq!(turn(&mut engine, 50, vec![]).publish.len(), 1);
    assert!(turn(&mut engine, 9_000, vec![]).publish.is_empty());
    assert_eq!(turn(&mut engine, 10_050, vec![]).publish.len(), 1);
}

#[test]
fn progress_without_news_is_one_row_in_ten_seconds_and_no_line_of_the_journal() {
    let mut engine = engine(Memory::new());
    turn(&mut engine, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    let offer = turn(&mut engine, 50, vec![]).publish.remove(0).offer.unwrap();
    turn(&mut engine, 51, vec![Input::Offered(offer), progress("downloading", 1)]);
    let lines = |engine: &mut Engine<Memory>| {
        engine.store_mut().read().events(&EventQuery::default(), 1_000).unwrap().len()
    };
    let before = lines(&mut engine);
    let mut written = 0;
    for n in 0..60_u64 {
        let inputs = vec![progress("downloading", 2 + n as u32 / 2)];
        written += turn(&mut engine, 1_000 + n * 1_000, inputs).written;
    }
    assert!((5..=6).contains(&written), "{written} rows in 60 s");
    assert_eq!(lines(&mut engine), before);
    // Nothing comes any more: the last of it is written all the same.
    assert_eq!(turn(&mut engine, 71_000, vec![]).written, 1);
    assert_eq!(turn(&mut engine, 90_000, vec![]).written, 0);
}

#[test]
fn a_row_that_cannot_be_read_is_one_devices_fault_and_holds_nobody_up() {
    let mut memory = Memory::new();
    let mut row = DeviceRow::new(DeviceKey::new("TESTPROD01", "dev001"));
    row.state = b"no device".to_vec();
    row.wake = Some(1);
    memory.commit(&Commit { devices: vec![row], ..Commit::default() }).unwrap();
    let mut engine = engine(memory);
    let inputs = [(device(1), Input::Connected), (device(2), Input::Connected)];
    let came = engine.turn(at(0), &inputs).unwrap();
    assert!(matches!(came.answers[0], Err(Refused::Row(_))), "{:?}", came.answers);
    assert_eq!(came.answers[1], Ok(()));
    assert!(matches!(engine.device(&device(1)), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_row_that_cannot_be_read_can_be_removed() {
    let mut memory = Memory::new();
    let mut row = DeviceRow::new(DeviceKey::new("TESTPROD01", "dev001"));
    row.state = b"no device".to_vec();
    (row.wake, row.task, row.disabled) = (Some(1), Some(4), true);
    let counts = [
        ("device numbers".to_owned(), 1),
        ("devices disabled".to_owned(), 1),
        ("TESTPROD01/task/4".to_owned(), 1),
    ];
    let commit = Commit { devices: vec![row], counts: counts.into(), ..Commit::default() };
    memory.commit(&commit).unwrap();
    let mut engine = engine(memory);
    engine.turn(at(0), &[(device(1), Input::Connected)]).unwrap();
    assert!(engine.is_there(&device(1)).unwrap());
    engine.remove(at(1), &device(1), Rider::default()).unwrap();
    assert!(!engine.is_there(&device(1)).unwrap());
    counts_fit(&mut engine, "without it");
    assert!(!engine.is_disabled(&device(1)).unwrap());
    assert_eq!(engine.deadline().unwrap(), None);
    let came = engine.turn(at(2), &[(device(1), Input::Register)]).unwrap();
    assert_eq!(came.answers, [Ok(())]);
}

#[test]
fn who_is_unknown_and_what_is_no_message_is_refused_and_leaves_no_row() {
    let mut engine = engine(Memory::new());
    engine.allow_unknown(false);
    let unknown = Err(Refused::Peer(CloudError::UnknownDevice));
    let inputs = vec![Input::Connected, Input::Message(OLD.to_vec()), Input::Disconnected];
    assert_eq!(turn(&mut engine, 0, inputs).answers, [unknown.clone(), unknown.clone(), unknown]);
    let start = Input::Start { target: "1.0.0".into(), options: TaskOptions::default() };
    assert!(matches!(turn(&mut engine, 0, vec![start]).answers[0], Err(Refused::Command(_))));
    engine.allow_unknown(true);
    let came = turn(&mut engine, 0, vec![Input::Message(b"{".to_vec())]);
    assert!(matches!(came.answers[0], Err(Refused::Peer(CloudError::Malformed(_)))));
    let all = Filter::product("TESTPROD01");
    assert_eq!(engine.store_mut().read().count_devices(&all, 9).unwrap(), 0);
    assert_eq!(turn(&mut engine, 0, vec![Input::Register]).answers, [Ok(())]);
    assert_eq!(engine.store_mut().read().count_devices(&all, 9).unwrap(), 1);
}

#[test]
fn numbers_of_devices_are_not_given_twice_over_restarts() {
    let memory = Memory::new();
    let mut tasks: Vec<TaskId> = Vec::new();
    for n in 0..4 {
        let mut engine = engine(memory.clone());
        let inputs = [(device(n), Input::Connected), (device(n), Input::Message(OLD.to_vec()))];
        engine.turn(at(0), &inputs).unwrap();
        tasks.push(engine.device(&device(n)).unwrap().unwrap().task.unwrap().id);
    }
    tasks.dedup();
    assert_eq!(tasks.len(), 4, "{tasks:?}");
}

/// Gathers as the service does; the sizes of the turns.
fn sizes(waiting: usize, now: &mut dyn FnMut() -> Instant) -> Vec<usize> {
    let mut waiting = 0..waiting;
    let mut sizes = Vec::new();
    while !waiting.is_empty() {
        let mut size = 0;
        cycle::gather(now, &mut || {
            waiting.next()?;
            size += 1;
            Some(size)
        });
        sizes.push(size);
    }
    sizes
}

#[test]
fn what_waits_is_gathered_up_to_700_inputs_or_five_milliseconds() {
    assert_eq!(sizes(1_500, &mut || at(0)), [700, 700, 100]);
    let mut clock = 0;
    let mut now = || {
        clock += 1;
        at(clock)
    };
    // A millisecond for each look at the clock.
    let sizes = sizes(100, &mut now);
    assert_eq!(sizes[0], Duration::from_millis(5).as_millis() as usize);
    assert_eq!(sizes.iter().sum::<usize>(), 100);
}

#[test]
fn products_firmware_and_rules_are_there_after_a_restart() {
    let memory = Memory::new();
    let mut one = engine(memory.clone());
    let firmware = one.catalog().iter().next().unwrap().clone();
    let again = one.add_firmware(firmware.clone(), None);
    assert!(matches!(again, Err(CommandError::Refused(Refused::Catalog(_)))), "{again:?}");
    let none = one.set_rule("TESTPROD01", Some(Rollout::new("9")));
    assert!(matches!(none, Err(CommandError::Refused(Refused::Command(_)))), "{none:?}");
    one.register(at(0), &Identity::new("OTHER", "d").unwrap()).unwrap();
    one.withdraw(&firmware, "it burns").unwrap();
    let signer = UrlSigner::new("http://127.0.0.1", *b"key", UrlSigner::LIFE);
    let two = Engine::new(memory, CloudConfig::new(signer, 0)).unwrap();
    assert_eq!(two.products().collect::<Vec<_>>(), ["OTHER", "TESTPROD01"]);
    assert_eq!(two.catalog(), one.catalog());
    let module = Module::default();
    assert_eq!(two.catalog().withdrawn("TESTPROD01", &module, "1.0.0"), Some("it burns"));
    assert_eq!(two.catalog().rule("TESTPROD01", &module).unwrap().version, "1.0.0");
}

#[test]
fn an_offer_without_a_pause_is_claimed_in_the_commit_that_makes_it_and_may_be_decided_anew() {
    let mut engine = engine(Memory::new());
    engine.set_rule("TESTPROD01", None).unwrap();
    turn(&mut engine, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    let start = Input::Start { target: "1.0.0".into(), options: TaskOptions::default() };
    let publish = turn(&mut engine, 1, vec![start]).publish.remove(0);
    let firmware = publish.firmware.unwrap();
    engine.withdraw(&firmware, "its file changed").unwrap();
    let came = turn(&mut engine, 2, vec![Input::NotOffered(publish.offer.unwrap())]);
    assert_eq!(came.publish, []);
    let why = engine.device(&device(1)).unwrap().unwrap().not_offered.unwrap();
    assert!(why.to_string().contains("its file changed"), "{why}");
    assert_eq!(engine.deadline().unwrap(), None, "nothing is due any more");
}

#[test]
fn the_next_turn_is_due_when_the_earliest_wake_up_or_late_row_is() {
    let mut engine = engine(Memory::new());
    assert_eq!(engine.deadline().unwrap(), None);
    turn(&mut engine, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    assert_eq!(engine.deadline().unwrap(), Some(at(50)));
    let offer = turn(&mut engine, 50, vec![]).publish.remove(0).offer.unwrap();
    turn(&mut engine, 51, vec![Input::Offered(offer), progress("downloading", 1)]);
    turn(&mut engine, 52, vec![progress("downloading", 2)]);
    assert_eq!(engine.deadline().unwrap(), Some(at(10_052)));
    assert_eq!(turn(&mut engine, 10_052, vec![]).written, 1);
    assert_eq!(engine.deadline().unwrap(), Some(at(600_052)));
}

#[test]
fn old_events_go() {
    let mut engine = engine(Memory::new());
    engine.keep_events(100);
    for n in 0..3_000 {
        turn(&mut engine, n, vec![Input::Connected]);
    }
    let events = engine.store_mut().read().events(&EventQuery::default(), 1_000).unwrap();
    let (first, last) = (events[0].seq, engine.store_mut().commit(&Commit::default()).unwrap());
    assert!(first > 2_000 && last.last_event - first >= 100, "{first} {last:?}");
}

#[test]
fn what_was_kept_long_enough_goes_in_small_steps_and_the_audit_stays_whole() {
    const DAY: u64 = 86_400_000;
    let (dir, ring) = (tempfile::tempdir().unwrap(), Ring::new(MasterKey::new([1; 32])));
    let sqlite = Sqlite::open(&DataFolder::open(dir.path()).unwrap()).unwrap();
    let stores: [Box<dyn Store>; 2] = [Box::new(Memory::new()), Box::new(sqlite)];
    for mut store in stores {
        store.set_audit_key(ring.audit_key());
        let mut engine = engine(store);
        for day in 0..3 {
            let at = at(day * DAY).as_micros();
            let texts = ["P", "d", "k"].map(str::to_owned);
            let [product, name, kind] = texts;
            let event = ota_store::NewEvent { at, product, name, kind, body: b"{}".to_vec() };
            let line = ota_store::NewAudit { at, body: Vec::new() };
            let (events, audit) = (vec![event; 700], vec![line; 700]);
            engine.store_mut().commit(&Commit { events, audit, ..Commit::default() }).unwrap();
        }
        let head = audit::verify(engine.store().read(), &ring).unwrap();
        let keep = |days| Duration::from_millis(days * DAY);
        let keep = cycle::Keep { events: keep(1), audit: keep(2) };
        // The time is the caller's, and nothing is old enough yet.
        assert_eq!(engine.tidy(at(DAY), keep), Ok(false));
        let left = |engine: &Engine<Box<dyn Store>>| {
            let read = engine.store().read();
            let events = read.events(&EventQuery::default(), 1).unwrap();
            (events[0].seq, read.audit(0, 1).unwrap()[0].seq)
        };
        assert_eq!(left(&engine), (1, 1));
        assert_eq!(engine.tidy(at(2 * DAY + 1), keep), Ok(true));
        assert_eq!(left(&engine), (501, 501), "a step is small");
        assert_eq!(engine.tidy(at(2 * DAY + 1), keep), Ok(true));
        assert_eq!(engine.tidy(at(2 * DAY + 1), keep), Ok(false));
        assert_eq!(left(&engine), (1_401, 701));
        assert_eq!(audit::verify(engine.store().read(), &ring).unwrap(), head);
        assert_eq!(engine.store().read().audit_anchor().unwrap().0, 700);
        // All of it: numbers and links go on.
        while engine.tidy(at(9 * DAY), keep).unwrap() {}
        assert_eq!(audit::verify(engine.store().read(), &ring).unwrap(), head);
        assert_eq!(engine.store().read().last_event(), Ok(2_100));
    }
}

#[test]
fn a_version_report_that_says_what_the_last_one_said_is_a_row_and_no_line_of_the_journal() {
    let mut engine = engine(Memory::new());
    engine.set_rule("TESTPROD01", None).unwrap();
    let lines = |engine: &mut Engine<Memory>| {
        engine.store_mut().read().events(&EventQuery::default(), 1_000).unwrap().len()
    };
    turn(&mut engine, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    let before = lines(&mut engine);
    let came = turn(&mut engine, 1, vec![Input::Message(OLD.to_vec())]);
    assert_eq!((came.written, came.publish.len(), came.events.len()), (1, 1, 2));
    assert_eq!(lines(&mut engine), before);
    turn(&mut engine, 2, vec![Input::Message(NEW.to_vec())]);
    assert_eq!(lines(&mut engine), before + 2, "another version is news");
    // The same version with another reason for no offer, and one that proves a task, are, too.
    engine.set_rule("TESTPROD01", Some(Rollout::new("1.0.0"))).unwrap();
    turn(&mut engine, 3, vec![Input::Message(NEW.to_vec())]);
    assert_eq!(lines(&mut engine), before + 4);
}

#[test]
fn a_rule_that_is_set_while_an_updated_device_is_away_reaches_it_with_its_next_report() {
    let memory = Memory::new();
    let mut one = engine(memory.clone());
    turn(&mut one, 0, vec![Input::Connected, Input::Message(OLD.to_vec())]);
    let offer = turn(&mut one, 50, vec![]).publish.remove(0).offer.unwrap();
    turn(&mut one, 51, vec![Input::Offered(offer), Input::Message(NEW.to_vec())]);
    turn(&mut one, 52, vec![Input::Message(NEW.to_vec()), Input::Disconnected]);
    one.add_firmware(Firmware::new("TESTPROD01", "2.0.0", Md5([8; 16]), 9), None).unwrap();
    let online = one.set_rule("TESTPROD01", Some(Rollout::new("2.0.0"))).unwrap();
    assert_eq!(online, []);
    drop(one);
    let mut two = engine(memory);
    turn(&mut two, 60, vec![Input::Connected, Input::Message(NEW.to_vec())]);
    let publish = turn(&mut two, 110, vec![]).publish.remove(0);
    assert_eq!(publish.firmware.unwrap().version, "2.0.0");
}
