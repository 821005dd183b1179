//! Batches with waves over the loop, without sockets: when devices start, and when nothing may
//! leave any more.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that fails may panic")]

mod fleet;

use std::time::Duration;

use ota_cloud::alert::Alert;
use ota_cloud::batch::{BatchStatus, Joins, Mode};
use ota_cloud::campaign::{
    CampaignPlan, CampaignState, CloseReason, Gate, Pace, PauseReason, Slot, StopRule, Wave, Who,
    Window,
};
use ota_cloud::sign::UrlSigner;
use ota_cloud::{CloudConfig, Firmware, Listed, NotOffered, Retries, Status, TaskOptions};
use ota_proto::{Identity, Md5};
use ota_store::{DataFolder, EventQuery, Memory, Sqlite, Store};

use super::*;
use crate::batches::{Pages, add, go_on};
use crate::cycle::{Engine, Input, tallies};

const PRODUCT: &str = "TESTPROD01";
const SECOND: u64 = 1_000_000;

fn at(seconds: u64) -> Instant {
    Instant::from_micros((1_700_000_000 + seconds) * SECOND)
}

fn name(n: usize) -> String {
    format!("dev{n:03}")
}

fn identity(n: usize) -> Identity {
    Identity::new(PRODUCT, &name(n)).unwrap()
}

fn version(version: &str) -> Input {
    let text = format!(r#"{{"type":"report_version","report":{{"version":"{version}"}}}}"#);
    Input::Message(text.into_bytes())
}

fn progress(state: &str) -> Input {
    let text = format!(
        r#"{{"type":"report_progress","report":{{"progress":{{"state":"{state}","result_code":"-4","result_msg":"no room"}},"version":"2.0.0"}}}}"#
    );
    Input::Message(text.into_bytes())
}

/// A cloud whose devices are connected.
struct World {
    cloud: Cloud,
    turn: u64,
}

fn open(store: Box<dyn Store>) -> Cloud {
    let signer = UrlSigner::new("http://127.0.0.1", *b"key", UrlSigner::LIFE);
    let mut config = CloudConfig::new(signer, 0);
    config.reply_gap = Duration::ZERO;
    config.max_devices = 1_000_000;
    let mut cloud = Engine::new(store, config).unwrap();
    cloud.allow_unknown(true);
    cloud
}

impl World {
    fn new(devices: usize) -> Self {
        Self::over(Box::new(Memory::new()), devices)
    }

    fn over(store: Box<dyn Store>, devices: usize) -> Self {
        let mut cloud = open(store);
        cloud.add_firmware(Firmware::new(PRODUCT, "2.0.0", Md5([7; 16]), 9), None).unwrap();
        let mut world = Self { cloud, turn: 0 };
        for n in 0..devices {
            world.put(0, vec![(n, Input::Connected), (n, version("1.0.0"))]);
        }
        world
    }

    /// A turn, with all steps of batches that are due; the devices that got offers.
    fn put(&mut self, seconds: u64, inputs: Vec<(usize, Input)>) -> Vec<usize> {
        let now = at(seconds);
        let inputs: Vec<_> = inputs.into_iter().map(|(n, input)| (identity(n), input)).collect();
        let mut outcome = self.cloud.turn(now, &inputs).unwrap();
        let mut offered = Vec::new();
        loop {
            let published = std::mem::take(&mut outcome.publish);
            let offers = published.into_iter().filter_map(|one| Some((one.device, one.offer?)));
            let offers: Vec<_> = offers.map(|(of, task)| (of, Input::Offered(task))).collect();
            for (device, _) in &offers {
                offered.push(device.device_name()[3..].parse().unwrap());
            }
            if !offers.is_empty() {
                outcome = self.cloud.turn(now, &offers).unwrap();
                continue;
            }
            self.turn += 1;
            match go_on(&mut self.cloud, (now, self.turn)).unwrap() {
                Some(next) => outcome = next,
                None => break,
            }
        }
        offered.sort_unstable();
        offered
    }

    fn start(&mut self, seconds: u64, devices: std::ops::Range<usize>, plan: CampaignPlan) -> u32 {
        self.start_with(seconds, devices, plan, TaskOptions::default())
    }

    fn start_with(
        &mut self,
        seconds: u64,
        devices: std::ops::Range<usize>,
        plan: CampaignPlan,
        options: TaskOptions,
    ) -> u32 {
        self.begin(seconds, planned(devices, "2.0.0", plan, options))
    }

    /// Stores a batch, and returns its number.
    fn begin(&mut self, seconds: u64, mut batch: Batch) -> u32 {
        let (mut rider, now) = (Rider::default(), at(seconds));
        self.turn += 1;
        add(&self.cloud, (now, self.turn), &mut batch, &mut rider).unwrap();
        self.cloud.put_rider(rider).unwrap();
        self.cloud.note_batch(now, &batch, 0).unwrap();
        batch.number
    }

    fn act(&mut self, seconds: u64, number: u32, act: Act) -> Result<(), Failed> {
        self.turn += 1;
        let (mut rider, now) = (Rider::default(), at(seconds));
        let of = (PRODUCT, u64::from(number));
        let batch = act::apply(&self.cloud, (now, self.turn), of, (&act, None), &mut rider)?;
        self.cloud.put_rider(rider)?;
        Ok(self.cloud.note_batch(now, &batch, self.turn)?)
    }

    fn batch(&self, number: u32) -> Batch {
        find(self.cloud.store().read(), PRODUCT, u64::from(number)).ok().unwrap().0
    }

    fn state(&self, number: u32) -> CampaignState {
        self.batch(number).campaign.state()
    }

    fn why(&mut self, n: usize) -> Option<NotOffered> {
        self.cloud.device(&identity(n)).unwrap().unwrap().not_offered
    }

    /// Each device is in exactly one state, and the counts are those of the rows.
    fn counts_fit(&mut self, number: u32) {
        let batch = self.batch(number);
        let counted = tallies(self.cloud.store().read(), &batch).unwrap();
        let mut wanted = vec![std::collections::BTreeMap::<Status, u64>::new(); counted.len()];
        let pages = Pages::read(self.cloud.store().read(), &batch, 0..batch.all).unwrap();
        for at in 0..batch.all - batch.waits() {
            let entry = pages.get(at).unwrap();
            let status = match batch.line(at, entry) {
                Some(line) => line.status,
                None => {
                    let device = Identity::new(PRODUCT, &entry.name).unwrap();
                    self.cloud.device(&device).unwrap().unwrap().task.unwrap().status
                }
            };
            *wanted[batch.campaign.wave_at(at as u64)].entry(status).or_default() += 1;
        }
        let counted: Vec<_> = counted.iter().map(|tally| tally.statuses().collect()).collect();
        assert_eq!(wanted, counted);
    }
}

/// A batch that nothing stores yet.
fn planned(
    devices: std::ops::Range<usize>,
    to: &str,
    plan: CampaignPlan,
    options: TaskOptions,
) -> Batch {
    let mut batch = Batch::new(PRODUCT, to, Mode::DeviceNames, options);
    batch.wait_for(devices.map(name).collect()).unwrap();
    plan.check(at(0)).unwrap();
    batch.arrange(plan, &Default::default()).unwrap();
    batch
}

fn wave(who: Who) -> Wave {
    Wave { who, ..Wave::default() }
}

fn plan(waves: Vec<Wave>) -> CampaignPlan {
    CampaignPlan { waves, ..CampaignPlan::default() }
}

fn done(devices: std::ops::Range<usize>) -> Vec<(usize, Input)> {
    devices.flat_map(|n| [(n, version("2.0.0")), (n, progress("done"))]).collect()
}

#[test]
fn a_batch_of_three_waves_goes_from_wave_to_wave() {
    fn run(store: Box<dyn Store>) {
        let mut world = World::over(store, 20);
        let first = Wave {
            gate: Gate { successes: Some(2), soak: 60, ..Gate::default() },
            ..wave(Who::Count(3))
        };
        let second = Wave {
            gate: Gate { person: true, ..Gate::default() },
            pace: Pace { at_once: 3, ..Pace::default() },
            ..wave(Who::Count(5))
        };
        let number = world.start(1, 0..20, plan(vec![first, second, wave(Who::Rest)]));
        assert_eq!(world.put(1, vec![]), [0, 1, 2]);
        // A device of a later wave is told why.
        world.put(2, vec![(9, version("1.0.0"))]);
        assert_eq!(world.why(9), Some(NotOffered::HeldByWave { batch: number }));
        assert!(world.put(10, done(0..2)).is_empty());
        assert!(world.put(69, vec![]).is_empty());
        assert_eq!(world.cloud.deadline().unwrap(), Some(at(70)));
        assert_eq!(world.put(70, vec![]), [3, 4]);
        assert_eq!(world.put(80, done(3..5)), [5, 6]);
        assert_eq!(world.put(90, done(5..7)), [7]);
        assert!(world.put(100, done(7..8)).is_empty());
        world.act(200, number, Act::Next).ok().unwrap();
        assert_eq!(world.put(200, vec![]), (8..20).collect::<Vec<_>>());
        world.counts_fit(number);
        world.put(210, done(8..20));
        assert_eq!(world.state(number), CampaignState::Running);
        world.put(220, vec![(2, progress("fail"))]);
        assert_eq!(world.state(number), CampaignState::Closed(CloseReason::Complete));
        world.counts_fit(number);
        assert!(world.act(221, number, Act::Next).is_err());
        // The failed one is tried again.
        world.act(230, number, Act::Retry).ok().unwrap();
        assert_eq!(world.put(230, vec![]), [2]);
        world.put(240, done(2..3));
        assert_eq!(world.state(number), CampaignState::Closed(CloseReason::Complete));
        world.counts_fit(number);
    }
    run(Box::new(Memory::new()));
    let dir = tempfile::tempdir().unwrap();
    run(Box::new(Sqlite::open(&DataFolder::open(dir.path()).unwrap()).unwrap()));
}

/// A batch that takes in devices of `1.0.0` later.
fn dynamic(
    world: &mut World,
    seconds: u64,
    devices: std::ops::Range<usize>,
    plan: CampaignPlan,
) -> u32 {
    let mut batch = Batch::new(PRODUCT, "2.0.0", Mode::OriginalVersion, TaskOptions::default());
    batch.joins = Some(Joins { from_versions: vec!["1.0.0".into()], ..Joins::default() });
    batch.wait_for(devices.map(name).collect()).unwrap();
    batch.arrange(plan, &Default::default()).unwrap();
    world.begin(seconds, batch)
}

#[test]
fn devices_that_report_later_join_the_last_wave_of_a_dynamic_batch_once() {
    fn run(store: Box<dyn Store>, folder: Option<&std::path::Path>) {
        let mut world = World::over(store, 3);
        let first = Wave { gate: Gate { person: true, ..Gate::default() }, ..wave(Who::Count(2)) };
        let number = dynamic(&mut world, 1, 0..3, plan(vec![first, wave(Who::Rest)]));
        assert_eq!(world.put(1, vec![]), [0, 1]);
        // New ones wait for the last wave, whatever they report; one with another version does not join.
        let news = |n| vec![(n, Input::Connected), (n, version("1.0.0"))];
        assert!(world.put(2, news(3)).is_empty());
        assert!(world.put(3, vec![(4, Input::Connected), (4, version("1.5.0"))]).is_empty());
        world.put(4, vec![(3, version("1.0.0"))]);
        assert_eq!(world.why(3), Some(NotOffered::HeldByWave { batch: number }));
        assert_eq!((world.batch(number).all, world.batch(number).waits()), (4, 2));
        if let Some(folder) = folder {
            // The process starts again.
            world.cloud = open(Box::new(Memory::new()));
            world.cloud = open(sqlite(folder));
            world.put(5, (0..5).map(|n| (n, Input::Connected)).collect());
        }
        world.put(10, done(0..2));
        world.act(11, number, Act::Next).ok().unwrap();
        assert_eq!(world.put(11, vec![]), [2, 3]);
        world.put(12, done(2..4));
        world.counts_fit(number);
        // All have ended, and it goes on: the next one is offered at once, and nobody joins twice.
        assert_eq!(world.state(number), CampaignState::Running);
        let batch = world.batch(number);
        assert_eq!(batch.status([Status::Complete]), BatchStatus::Running);
        assert_eq!(world.put(20, news(5)), [5]);
        world.put(21, vec![(5, progress("fail"))]);
        assert!(world.put(22, vec![(5, version("1.0.0")), (2, version("1.0.0"))]).is_empty());
        assert_eq!(world.batch(number).all, 5);
        // A paused one takes devices in, and offers nothing.
        world.act(30, number, Act::Pause).ok().unwrap();
        assert!(world.put(30, news(6)).is_empty());
        assert_eq!(world.batch(number).all, 6);
        world.act(31, number, Act::Resume).ok().unwrap();
        assert_eq!(world.put(31, vec![]), [6]);
        world.counts_fit(number);
        world.act(40, number, Act::Cancel { let_run: false }).ok().unwrap();
        world.put(40, news(7));
        assert_eq!((world.batch(number).all, world.why(7)), (6, Some(NotOffered::NoRule)));
        world.counts_fit(number);
    }
    fn sqlite(folder: &std::path::Path) -> Box<dyn Store> {
        Box::new(Sqlite::open(&DataFolder::open(folder).unwrap()).unwrap())
    }
    run(Box::new(Memory::new()), None);
    let dir = tempfile::tempdir().unwrap();
    run(sqlite(dir.path()), Some(dir.path()));
}

/// A device that cannot have the firmware now joins when it can.
#[test]
fn a_device_joins_when_the_firmware_is_for_it_again() {
    let mut world = World::new(0);
    let number = dynamic(&mut world, 1, 0..0, plan(Vec::new()));
    let reports = vec![(0, Input::Connected), (0, version("1.0.0"))];
    let firmware = Firmware::new(PRODUCT, "2.0.0", Md5([7; 16]), 9);
    world.cloud.withdraw(&firmware, "bad").unwrap();
    assert!(world.put(2, reports).is_empty());
    assert_eq!(world.batch(number).all, 0);
    world.cloud.change_listed(&Listed::new(firmware, None), Rider::default()).unwrap();
    assert_eq!(world.put(3, vec![(0, version("1.0.0"))]), [0]);
    world.counts_fit(number);
}

/// More than a row takes, and one that has room for all but some.
#[test]
fn many_devices_join_row_by_row_up_to_the_limit() {
    let mut world = World::new(0);
    let number = dynamic(&mut world, 1, 0..0, plan(Vec::new()));
    let reports = |range: std::ops::Range<usize>| -> Vec<_> {
        range.flat_map(|n| [(n, Input::Connected), (n, version("1.0.0"))]).collect()
    };
    assert_eq!(world.put(2, reports(0..450)), (0..450).collect::<Vec<_>>());
    assert_eq!(world.put(3, reports(450..451)), [450]);
    world.put(4, done(0..451));
    world.counts_fit(number);
    let mut batch = world.batch(number);
    assert_eq!((batch.all, batch.waits(), batch.room(7)), (451, 0, 7));
    batch.all = Batch::MOST - 3;
    assert_eq!(batch.room(7), 3);
}

/// The reports that trip the rules of `OTA_STOP_BATCHES` batches, 20 by default, come in one turn, with reports that would draw
/// offers in the same one, and others are claimed already.
#[test]
fn after_the_report_that_trips_a_stop_rule_nobody_starts_and_nothing_is_offered() {
    let all = std::env::var("OTA_STOP_BATCHES").map_or(20, |n| n.parse().unwrap());
    let mut world = World::new(all * 10);
    let stop = StopRule { failures: Some(2), ..StopRule::default() };
    let pace = Pace { at_once: 5, ..Pace::default() };
    let numbers: Vec<u32> = (0..all)
        .map(|n| {
            let one = Wave { stop, pace, ..wave(Who::Rest) };
            world.start(1, n * 10..n * 10 + 10, plan(vec![one]))
        })
        .collect();
    assert_eq!(world.put(1, vec![]).len(), all * 5);
    let mut inputs = Vec::new();
    for first in (0..all * 10).step_by(10) {
        // These ask again, before and after the report that trips the rule.
        inputs.push((first + 2, version("1.0.0")));
        inputs.extend([(first, progress("fail")), (first + 1, progress("fail"))]);
        inputs.push((first + 3, version("1.0.0")));
    }
    let after = world.cloud.store().read().last_event().unwrap();
    assert!(world.put(2, inputs).is_empty());
    for number in &numbers {
        assert_eq!(world.state(*number), CampaignState::Paused(PauseReason::StopRule));
    }
    // An operator is told of each, once, by an event in the commit that stops it.
    let told = world.cloud.take_told();
    assert!(told.iter().all(|news| news.alert == Alert::Batch && news.raised), "{told:?}");
    assert_eq!(told.len(), numbers.len());
    let query = EventQuery { after, device: None };
    let events = world.cloud.store().read().events(&query, 10_000).unwrap();
    let alerts = events.iter().filter(|event| event.what.kind == "alert");
    assert!(alerts.clone().all(|event| event.what.product == PRODUCT));
    assert_eq!(alerts.count(), numbers.len());
    assert!(world.cloud.is_batch_stopped());
    // Neither later reports nor time draw an offer.
    for seconds in [3, 10, 20, 100] {
        let inputs = (0..all * 10).step_by(10).map(|first| (first + 4, version("1.0.0")));
        assert!(world.put(seconds, inputs.collect()).is_empty(), "{seconds}");
    }
    assert_eq!(world.why(4), Some(NotOffered::BatchPaused { batch: numbers[0] }));
    // A process that starts anew holds them as well.
    assert!(world.act(101, numbers[0], Act::Pause).is_err());
    world.act(101, numbers[0], Act::Resume).ok().unwrap();
    let told = world.cloud.take_told();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].text, format!("batch {} of {PRODUCT} goes on", numbers[0]));
    assert!(!told[0].raised);
    // Open offers are pushed at once, and two start for the two that failed.
    assert_eq!(world.put(101, vec![]), [2, 3, 4, 5, 6]);
}

#[test]
fn a_start_of_the_process_holds_what_was_held() {
    let memory = Memory::new();
    let mut world = World::over(Box::new(memory.clone()), 4);
    let number = world.start(
        1,
        0..4,
        plan(vec![Wave {
            pace: Pace { at_once: 2, ..Pace::default() },
            stop: StopRule { failures: Some(1), ..StopRule::default() },
            ..wave(Who::Rest)
        }]),
    );
    assert_eq!(world.put(1, vec![]), [0, 1]);
    // The report is durable, and the process ends before the batch's own step.
    world.cloud.turn(at(2), &[(identity(0), progress("fail"))]).unwrap();
    let mut world = World { cloud: open(Box::new(memory)), turn: 1_000 };
    let back = vec![(1, Input::Connected), (1, version("1.0.0"))];
    assert!(world.put(3, back).is_empty());
    assert_eq!(world.state(number), CampaignState::Paused(PauseReason::StopRule));
    assert!(world.put(60, vec![]).is_empty());
}

#[test]
fn a_silent_device_frees_its_place_and_is_counted() {
    let mut world = World::new(3);
    let pace = Pace { at_once: 1, ..Pace::default() };
    let options =
        TaskOptions { timeout: Some(Duration::from_secs(3_600)), ..TaskOptions::default() };
    let number = world.start_with(0, 0..3, plan(vec![Wave { pace, ..wave(Who::Rest) }]), options);
    assert_eq!(world.put(0, vec![]), [0]);
    assert!(world.put(119, vec![]).is_empty());
    let silent = |world: &World| {
        let batch = world.batch(number);
        let tallies = tallies(world.cloud.store().read(), &batch).unwrap();
        let counts = tallies[0].counts(0);
        (counts.silent, counts.stalled)
    };
    assert_eq!(silent(&world), (0, 0));
    assert!(world.put(120, vec![]).is_empty());
    assert_eq!(silent(&world), (1, 0));
    assert_eq!(world.put(300, vec![]), [1]);
    assert_eq!(silent(&world), (1, 1));
    // It is heard again.
    world.put(301, vec![(0, progress("burning"))]);
    assert_eq!(silent(&world), (0, 0));
    world.put(302, done(0..1));
    assert_eq!(world.put(303, done(1..2)), [2]);
    world.counts_fit(number);
}

#[test]
fn pause_offers_nothing_and_resume_pushes_at_once() {
    let mut world = World::new(3);
    let number = world.start(0, 0..3, CampaignPlan::default());
    assert_eq!(world.put(0, vec![]), [0, 1, 2]);
    world.put(1, done(0..1));
    world.act(2, number, Act::Pause).ok().unwrap();
    assert!(world.put(3, vec![(1, Input::Disconnected)]).is_empty());
    assert!(world.put(4, vec![(1, Input::Connected), (1, version("1.0.0"))]).is_empty());
    assert_eq!(world.why(1), Some(NotOffered::BatchPaused { batch: number }));
    // Started devices may end meanwhile.
    world.put(5, done(2..3));
    world.act(6, number, Act::Resume).ok().unwrap();
    assert_eq!(world.put(6, vec![]), [1]);
    assert!(world.act(7, number, Act::Resume).is_err());
}

#[test]
fn a_cancel_may_let_devices_with_an_offer_go_on() {
    let mut world = World::new(4);
    world.put(0, vec![(1, Input::Disconnected)]);
    let pace = Pace { at_once: 3, ..Pace::default() };
    let number = world.start(1, 0..4, plan(vec![Wave { pace, ..wave(Who::Rest) }]));
    assert_eq!(world.put(1, vec![]), [0, 2]);
    world.act(2, number, Act::Cancel { let_run: true }).ok().unwrap();
    assert!(world.put(2, vec![]).is_empty());
    // The absent one has no offer, and the last has no task.
    let end = |world: &mut World, n| {
        world.cloud.device(&identity(n)).unwrap().unwrap().task.map(|task| task.finished.is_some())
    };
    let ends: Vec<_> = (0..4).map(|n| end(&mut world, n)).collect();
    assert_eq!(ends, [Some(false), Some(true), Some(false), None]);
    world.put(3, done(0..1));
    world.counts_fit(number);
    assert!(world.act(4, number, Act::Cancel { let_run: false }).is_err());
}

#[test]
fn retries_begin_by_themselves_after_growing_pauses() {
    let mut world = World::new(1);
    let retries = Some(Retries { most: 2, pause: Duration::from_secs(60) });
    let options = TaskOptions { retries, ..TaskOptions::default() };
    let number = world.start_with(0, 0..1, CampaignPlan::default(), options);
    assert_eq!(world.put(0, vec![]), [0]);
    assert!(world.put(10, vec![(0, progress("fail"))]).is_empty());
    // A report does not shorten the pause.
    assert!(world.put(20, vec![(0, version("1.0.0"))]).is_empty());
    assert_eq!(world.why(0), Some(NotOffered::WaitsForRetry));
    assert_eq!(world.put(70, vec![]), [0]);
    assert!(world.put(80, vec![(0, progress("fail"))]).is_empty());
    assert!(world.put(199, vec![]).is_empty());
    assert_eq!(world.put(200, vec![]), [0]);
    assert_eq!(world.state(number), CampaignState::Running);
    world.put(210, vec![(0, progress("fail"))]);
    assert_eq!(world.state(number), CampaignState::Closed(CloseReason::Complete));
    world.counts_fit(number);
}

#[test]
fn a_closed_window_holds_devices_and_offers_and_its_opening_pushes() {
    let mut world = World::new(2);
    // Second 0 is on a Tuesday, at 22:13:20.
    let window = Window { days: 2, from: 22 * 60, until: 22 * 60 + 15, offset: 0 };
    let pace = Pace { at_once: 1, ..Pace::default() };
    let plan =
        CampaignPlan { windows: vec![window], ..plan(vec![Wave { pace, ..wave(Who::Rest) }]) };
    let options = TaskOptions {
        timeout: Some(Duration::from_secs(8 * 24 * 3_600)),
        ..TaskOptions::default()
    };
    let number = world.start_with(0, 0..2, plan, options);
    assert_eq!(world.put(0, vec![]), [0]);
    assert!(world.put(120, vec![(0, version("1.0.0"))]).is_empty());
    assert_eq!(world.why(0), Some(NotOffered::WindowClosed { batch: number }));
    let week = 7 * 24 * 3_600 - 800;
    for seconds in [241, 500] {
        assert!(world.put(seconds, vec![]).is_empty());
    }
    assert!(world.put(week - 1, vec![]).is_empty());
    // Its place was free for days: the other one starts too.
    assert_eq!(world.put(week, vec![]), [0, 1]);
}

#[test]
fn two_operators_do_not_overwrite_each_other_and_a_deleted_firmware_starts_nothing() {
    let mut world = World::new(2);
    let number = world.start(0, 0..2, CampaignPlan::default());
    world.put(0, vec![]);
    let seen = world.batch(number).campaign.rev();
    world.act(1, number, Act::Pause).ok().unwrap();
    let of = (PRODUCT, u64::from(number));
    let act = (&Act::Cancel { let_run: false }, Some(seen));
    let refused = act::apply(&world.cloud, (at(2), 9), of, act, &mut Rider::default());
    let Err(Failed::Refused(problem)) = refused else { panic!("it is taken") };
    assert_eq!(problem.code, Code::Conflict);
    let firmware = world.cloud.catalog().iter().next().unwrap().clone();
    assert!(world.cloud.is_used(&firmware).unwrap());
    world.cloud.withdraw(&firmware, "it is bad").unwrap();
    assert!(world.act(3, number, Act::Resume).is_err());
    assert_eq!(world.state(number), CampaignState::Paused(PauseReason::Asked));
}

#[test]
fn a_removed_device_ends_in_its_batch() {
    let mut world = World::new(2);
    let number = world.start(0, 0..2, CampaignPlan::default());
    world.put(0, vec![]);
    world.put(1, done(0..1));
    world.cloud.remove(at(2), &identity(1), Rider::default()).unwrap();
    world.put(3, vec![]);
    assert_eq!(world.state(number), CampaignState::Closed(CloseReason::Complete));
}

/// Splitmix.
fn below(state: &mut u64, end: u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)) % end
}

/// A random life of a batch: devices come, fail, succeed and go, people pause and resume, and the
/// process ends between a commit and what follows it.
struct Life {
    seed: u64,
    random: u64,
    memory: Memory,
    world: World,
    number: u32,
    now: u64,
    /// Which devices have an offer.
    offered: Vec<bool>,
}

impl Life {
    fn new(seed: u64) -> Self {
        let (mut random, memory) = (seed, Memory::new());
        let devices = 2 + below(&mut random, 8);
        let world = World::over(Box::new(memory.clone()), usize::try_from(devices).unwrap());
        let first = Wave {
            gate: Gate { soak: below(&mut random, 90), ..Gate::default() },
            stop: StopRule { failures: Some(1 + below(&mut random, 3)), ..StopRule::default() },
            ..wave(Who::Count(1 + below(&mut random, devices - 1)))
        };
        let at_once = u32::try_from(below(&mut random, 4)).unwrap();
        let pace = Pace { at_once, per_minute: 5, ..Pace::default() };
        let stop = StopRule { silent: Some(2), ..StopRule::default() };
        let second = Wave { pace, stop, ..wave(Who::Rest) };
        let offered = vec![false; usize::try_from(devices).unwrap()];
        let mut life = Self { seed, random, memory, world, number: 0, now: 1, offered };
        let retries = Some(Retries { most: 1, pause: Duration::from_secs(30) });
        let options = TaskOptions {
            retries: retries.filter(|_| seed.is_multiple_of(2)),
            ..TaskOptions::default()
        };
        let all = 0..life.offered.len();
        life.number = life.world.start_with(1, all, plan(vec![first, second]), options);
        life
    }

    fn below(&mut self, end: u64) -> u64 {
        below(&mut self.random, end)
    }

    /// Takes a turn. A paused batch offers nothing in it.
    fn put(&mut self, inputs: Vec<(usize, Input)>) {
        let paused = matches!(self.world.state(self.number), CampaignState::Paused(_));
        for n in self.world.put(self.now, inputs) {
            assert!(!paused, "seed {}: {n} gets an offer at {}", self.seed, self.now);
            self.offered[n] = true;
        }
    }

    fn step(&mut self) {
        self.now += self.below(40);
        let n = usize::try_from(self.below(self.offered.len() as u64)).unwrap();
        let inputs = match (self.below(12), self.offered[n]) {
            (0, _) => vec![(n, Input::Disconnected)],
            (1 | 2, _) => vec![(n, Input::Connected), (n, version("1.0.0"))],
            (3, true) => vec![(n, progress("fail"))],
            (4 | 5, true) => done(n..n + 1),
            (6, true) => vec![(n, progress("burning"))],
            (7, _) => {
                let act = match self.below(4) {
                    0 => Act::Pause,
                    1 => Act::Next,
                    2 => Act::Retry,
                    _ => Act::Resume,
                };
                // It may not be possible now.
                let _ = self.world.act(self.now, self.number, act);
                Vec::new()
            }
            (8, _) => {
                let report = [(identity(n), progress("fail"))];
                self.world.cloud.turn(at(self.now), &report).unwrap();
                self.world.cloud = open(Box::new(self.memory.clone()));
                Vec::new()
            }
            _ => vec![(n, version("1.0.0"))],
        };
        self.put(inputs);
    }

    /// From now on everything works.
    fn heal(&mut self) {
        for _ in 0..300 {
            if matches!(self.world.state(self.number), CampaignState::Closed(_)) {
                return;
            }
            self.now += 61;
            for act in [Act::Resume, Act::Next] {
                let _ = self.world.act(self.now, self.number, act);
            }
            let mut inputs = Vec::new();
            for n in 0..self.offered.len() {
                inputs.push((n, Input::Connected));
                if self.offered[n] {
                    inputs.extend(done(n..n + 1));
                } else {
                    inputs.push((n, version("1.0.0")));
                }
            }
            self.put(inputs);
        }
        panic!("seed {}: {:?}", self.seed, self.world.batch(self.number));
    }
}

#[test]
fn random_lives_of_batches_offer_nothing_while_paused_and_end() {
    for seed in 0..20 {
        let mut life = Life::new(seed);
        for _ in 0..120 {
            life.step();
        }
        life.heal();
        life.world.counts_fit(life.number);
        assert_eq!(life.world.cloud.due_batch(at(life.now)), None, "seed {seed}");
    }
}
