//! Random lives of the loop over the memory store: the process dies before and after commits and
//! between what it publishes, disks refuse, messages are lost, clocks step over a restart;
//! people tag devices, and remove them.
//! What was acknowledged is in a row, no task has two successes, and in the end none is open.
//! `OTA_CLOUD_WORLDS` says how many (40), `OTA_SEED` runs one.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

mod failing;

use std::collections::BTreeMap;

use ota_cloud::sign::UrlSigner;
use ota_cloud::{CloudConfig, Device, EventKind, Firmware, Rollout, Status, TaskId};
use ota_proto::message::CloudMessage;
use ota_proto::{Identity, Instant, Md5};
use ota_server::cycle::{CommandError, Edit, Engine, Input, Outcome, Rider};
use ota_store::{DeviceKey, DeviceRow, EventQuery, Memory, Store as _};

use failing::{Failing, Fault};

const PRODUCT: &str = "TESTPROD01";
const SECOND: u64 = 1_000_000;

/// What becomes of the next commit.
const GOOD: u8 = 0;
/// The disk is full.
const REFUSED: u8 = 1;
/// The process is gone before it.
const BEFORE: u8 = 2;
/// The process is gone after it: nobody was told.
const AFTER: u8 = 3;

/// A device, over all lives of the cloud.
#[derive(Clone, Debug, Default)]
struct Node {
    runs: u32,
    connected: bool,
    offer: Option<u32>,
    /// Acknowledged reports.
    versions: u64,
    results: u64,
    /// The tag that was set last, and one of which nobody knows whether it was.
    tag: u64,
    maybe: Option<u64>,
}

/// What an acknowledgement of an input is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Version(usize),
    Done(usize, u32),
    Fail(usize),
    Other,
}

struct World {
    seed: u64,
    random: u64,
    memory: Memory,
    engine: Option<Engine<Failing>>,
    nodes: Vec<Node>,
    target: u32,
    now: u64,
    /// Since when the present process runs.
    since: u64,
    inputs: Vec<(Identity, Input)>,
    sent: Vec<Sent>,
    deaths: u32,
}

fn identity(n: usize) -> Identity {
    Identity::new(PRODUCT, &format!("dev{n}")).unwrap()
}

fn version(n: u32) -> String {
    format!("{n}.0.0")
}

fn open(memory: &Memory, now: u64) -> Engine<Failing> {
    let signer = UrlSigner::new("http://127.0.0.1", *b"key", UrlSigner::LIFE);
    let store = Failing { inner: memory.clone(), fault: None };
    let serves_since = Instant::from_micros(now);
    let config = CloudConfig { serves_since, ..CloudConfig::new(signer, 0) };
    let mut engine = Engine::new(store, config).unwrap();
    engine.allow_unknown(true);
    engine
}

/// The whole turn fails alike.
fn fault_of(fate: u8) -> Option<Fault> {
    (fate != GOOD).then(|| Fault { stored: fate == AFTER, ..Fault::full(usize::MAX) })
}

fn progress(state: &str, of: u32) -> Input {
    let percent = if state == "downloading" { r#""percent":"7","# } else { "" };
    let version = version(of);
    Input::Message(
        format!(
            r#"{{"type":"report_progress","report":{{"progress":{{"state":"{state}",{percent}"result_code":"0","result_msg":""}},"version":"{version}"}}}}"#
        )
        .into_bytes(),
    )
}

impl World {
    fn new(seed: u64) -> Self {
        let (memory, now) = (Memory::new(), 1_700_000_000 * SECOND);
        let mut world = Self {
            seed,
            random: seed,
            engine: Some(open(&memory, now)),
            memory,
            nodes: Vec::new(),
            target: 0,
            now,
            since: now,
            inputs: Vec::new(),
            sent: Vec::new(),
            deaths: 0,
        };
        world.nodes = vec![Node::default(); 1 + world.below(4) as usize];
        world.next_firmware();
        world
    }

    /// Splitmix.
    fn below(&mut self, end: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }

    fn engine(&mut self) -> &mut Engine<Failing> {
        let now = self.now;
        if self.engine.is_none() {
            self.since = now;
        }
        self.engine.get_or_insert_with(|| open(&self.memory, now))
    }

    fn next_firmware(&mut self) {
        self.target += 1;
        let target = version(self.target);
        let firmware = Firmware::new(PRODUCT, &target, Md5([7; 16]), 9);
        self.engine().add_firmware(firmware, None).unwrap();
        let online = self.engine().set_rule(PRODUCT, Some(Rollout::new(&target))).unwrap();
        for device in online {
            self.inputs.push((device, Input::RuleSet(ota_cloud::Module::default())));
            self.sent.push(Sent::Other);
        }
    }

    fn put(&mut self, n: usize, input: Input, sent: Sent) {
        self.inputs.push((identity(n), input));
        self.sent.push(sent);
    }

    fn report(&mut self, n: usize) {
        let text = version(self.nodes[n].runs);
        let text = format!(r#"{{"type":"report_version","report":{{"version":"{text}"}}}}"#);
        self.put(n, Input::Message(text.into_bytes()), Sent::Version(n));
    }

    fn connect(&mut self, n: usize) {
        self.nodes[n].connected = true;
        self.put(n, Input::Connected, Sent::Other);
        self.report(n);
    }

    /// A device does something.
    fn act(&mut self, n: usize) {
        if !self.nodes[n].connected {
            return self.connect(n);
        }
        match (self.below(10), self.nodes[n].offer) {
            (0, _) => {
                self.nodes[n].connected = false;
                self.put(n, Input::Disconnected, Sent::Other);
            }
            (1..=3, _) | (_, None) => self.report(n),
            (4, Some(of)) => self.put(n, progress("fail", of), Sent::Fail(n)),
            (5 | 6, Some(of)) => self.put(n, progress("downloading", of), Sent::Other),
            (7, Some(of)) => self.put(n, progress("burning", of), Sent::Other),
            (_, Some(of)) => self.put(n, progress("done", of), Sent::Done(n, of)),
        }
    }

    /// Takes a turn; what was in it is told to the devices, as far as the fate lets it.
    fn turn(&mut self, fate: u8, lossy: bool) {
        let (inputs, sent) = (std::mem::take(&mut self.inputs), std::mem::take(&mut self.sent));
        self.engine().store_mut().fault = fault_of(fate);
        let now = Instant::from_micros(self.now);
        let came = self.engine().turn(now, &inputs);
        self.engine().store_mut().fault = None;
        match came {
            Ok(outcome) => {
                let is_late = |event: &EventKind| {
                    matches!(event, EventKind::Status { to: Status::TimedOut, .. })
                };
                let late = outcome.events.iter().any(|(_, event)| is_late(event));
                let seed = self.seed;
                let heard = self.now >= self.since + 600 * SECOND;
                assert!(!late || heard, "seed {seed}: late while nobody could be heard");
                self.hand_out(outcome, &sent, lossy);
            }
            Err(_) if fate == REFUSED => {
                // Connections whose reports were in it are closed: nobody is told anything.
                for sent in sent {
                    if let Sent::Version(n) | Sent::Done(n, _) | Sent::Fail(n) = sent {
                        self.close(n);
                    }
                }
                // What nobody says again is kept by the service.
                for (device, input) in inputs {
                    if matches!(input, Input::Disconnected | Input::Offered(_) | Input::RuleSet(_))
                    {
                        self.inputs.push((device, input));
                        self.sent.push(Sent::Other);
                    }
                }
            }
            Err(_) => self.die(),
        }
    }

    /// A person tags a device or removes it, between two turns.
    fn command(&mut self, n: usize, fate: u8) {
        let (device, now) = (identity(n), Instant::from_micros(self.now));
        let (tag, removes) = (self.below(1_000_000) + 1, self.below(3) == 0);
        let mut edit = Edit::default();
        edit.tags = Some([("n".to_owned(), tag.to_string())].into());
        let there = self.stored(n).is_some();
        self.engine().store_mut().fault = fault_of(fate);
        let came = match removes {
            true => self.engine().remove(now, &device, Rider::default()),
            false => self.engine().edit(now, &device, edit, Rider::default()),
        };
        self.engine().store_mut().fault = None;
        let refused = matches!(came, Err(CommandError::Refused(_)));
        let seed = self.seed;
        assert_eq!(refused, !there, "seed {seed}: {n}: {came:?}");
        assert!(refused || came.is_ok() == (fate == GOOD), "seed {seed}: {n}: {came:?}");
        let runs = self.nodes[n].runs;
        match came {
            Ok(_) if removes => {
                self.close(n);
                self.nodes[n] = Node { runs, ..Node::default() };
            }
            Ok(_) => (self.nodes[n].tag, self.nodes[n].maybe) = (tag, None),
            Err(_) if refused || fate == REFUSED => {}
            // Nobody was told: it is so, or it is not.
            Err(_) if removes => {
                let connected = self.nodes[n].connected;
                let (tag, maybe) = (self.nodes[n].tag, Some(0));
                self.nodes[n] = Node { runs, connected, tag, maybe, ..Node::default() };
                self.die();
            }
            Err(_) => {
                self.nodes[n].maybe = Some(tag);
                self.die();
            }
        }
        self.tag(n);
    }

    /// What a device is tagged with is what was set.
    fn tag(&mut self, n: usize) {
        let seen = self.engine().seen(&identity(n)).unwrap();
        let tag = seen.as_ref().and_then(|seen| seen.tags.get("n"));
        let tag = tag.map_or(0, |tag| tag.parse().unwrap());
        let node = &mut self.nodes[n];
        // One that is not there begins without.
        let fits = seen.is_none() || tag == node.tag || Some(tag) == node.maybe;
        assert!(fits, "seed {}: {n}: {tag} {node:?}", self.seed);
        (node.tag, node.maybe) = (tag, None);
    }

    fn close(&mut self, n: usize) {
        if std::mem::take(&mut self.nodes[n].connected) {
            self.put(n, Input::Disconnected, Sent::Other);
        }
    }

    fn hand_out(&mut self, outcome: Outcome, sent: &[Sent], lossy: bool) {
        for (answer, sent) in outcome.answers.iter().zip(sent) {
            // Who was never stored may be gone all the same.
            let good = *sent == Sent::Other || answer.is_ok();
            assert!(good, "seed {}: {answer:?}", self.seed);
            match *sent {
                Sent::Version(n) => self.nodes[n].versions += 1,
                Sent::Fail(n) => self.nodes[n].results += 1,
                Sent::Done(n, of) => {
                    self.nodes[n].results += 1;
                    self.nodes[n].runs = of;
                }
                Sent::Other => {}
            }
        }
        for publish in outcome.publish {
            if lossy && self.below(40) == 0 {
                // Some were told, some not, and nothing of it is noted.
                return self.die();
            }
            let n = (0..self.nodes.len()).find(|n| identity(*n) == publish.device).unwrap();
            if let Some(task) = publish.offer {
                self.put(n, Input::Offered(task), Sent::Other);
            }
            let lost = lossy && self.below(5) == 0;
            let came = CloudMessage::decode(&publish.payload).unwrap();
            if let (CloudMessage::Offer(offer), false) = (came, lost) {
                let of = offer.version.split('.').next().unwrap().parse().unwrap();
                self.nodes[n].offer = Some(of);
            }
        }
    }

    /// The process is gone: the next one knows what is stored, and by another clock maybe.
    fn die(&mut self) {
        self.engine = None;
        self.inputs.clear();
        self.sent.clear();
        self.deaths += 1;
        for node in &mut self.nodes {
            node.connected = false;
        }
        match self.below(8) {
            0 | 1 => self.now -= self.below(3_600) * SECOND,
            2 => self.now += self.below(86_400) * SECOND,
            _ => {}
        }
        self.check();
    }

    fn stored(&self, n: usize) -> Option<(DeviceRow, Device)> {
        let key = DeviceKey::new(PRODUCT, identity(n).device_name());
        let row = self.memory.read().device(&key).unwrap()?;
        let device = Device::from_bytes(&row.state).unwrap();
        Some((row, device))
    }

    fn check(&self) {
        let seed = self.seed;
        for (n, node) in self.nodes.iter().enumerate() {
            let Some((row, device)) = self.stored(n) else {
                assert_eq!((node.versions, node.results), (0, 0), "seed {seed}: {n} has no row");
                continue;
            };
            let counters = device.counters;
            assert!(counters.versions >= node.versions, "seed {seed}: {n}: {counters:?} {node:?}");
            assert!(counters.results >= node.results, "seed {seed}: {n}: {counters:?} {node:?}");
            let open = device.task.as_ref().filter(|task| task.finished.is_none());
            let waits = open.is_none_or(|task| task.pushed.is_none() || row.wake.is_some());
            assert!(waits, "seed {seed}: {n}: {open:?}");
        }
        let mut query = EventQuery::default();
        let (mut proved, mut claimed) = (BTreeMap::new(), BTreeMap::new());
        loop {
            let events = self.memory.read().events(&query, 1_000).unwrap();
            if events.is_empty() {
                break;
            }
            for event in events {
                query.after += 1;
                assert_eq!(event.seq, query.after, "seed {seed}: a gap");
                match serde_json::from_slice(&event.what.body).unwrap() {
                    EventKind::Proved { task } => *proved.entry(task).or_insert(0) += 1,
                    EventKind::Claimed { task, .. } => *claimed.entry(task).or_insert(0) += 1,
                    _ => {}
                }
            }
        }
        let once = |counts: &BTreeMap<TaskId, u32>| counts.values().all(|count| *count == 1);
        assert!(once(&proved) && once(&claimed), "seed {seed}: {proved:?} {claimed:?}");
        let faults = self.memory.read().check_counts("TESTPROD01/task/", &mut |row, add| {
            if let Some(task) = row.task {
                add(&format!("{}/task/{task}", row.key.product), 1);
            }
        });
        assert_eq!(faults.unwrap(), [], "seed {seed}");
    }

    fn troubles(&mut self) {
        for _ in 0..60 {
            if self.below(6) == 0 {
                let n = self.below(self.nodes.len() as u64) as usize;
                let fate = [GOOD, GOOD, REFUSED, BEFORE, AFTER][self.below(5) as usize];
                self.command(n, fate);
            }
            for _ in 0..self.below(4) {
                let n = self.below(self.nodes.len() as u64) as usize;
                self.act(n);
            }
            let fate = match self.below(12) {
                0 => REFUSED,
                1 => BEFORE,
                2 => AFTER,
                _ => GOOD,
            };
            self.turn(fate, true);
            self.now += match self.below(8) {
                0 => self.below(1_200) * SECOND,
                1 | 2 => self.below(15) * SECOND,
                _ => self.below(100_000),
            };
            if self.below(30) == 0 && self.target < 4 {
                self.next_firmware();
            }
        }
    }

    /// Nothing goes wrong any more: every device ends on the target.
    fn heal(&mut self) {
        self.die();
        // Devices that used their attempts up are tried again, as SIGHUP does.
        for n in 0..self.nodes.len() {
            self.connect(n);
            self.put(n, Input::TryAgain, Sent::Other);
        }
        for _ in 0..30 {
            self.turn(GOOD, false);
            self.now += 10 * SECOND;
            for n in 0..self.nodes.len() {
                let Some(of) = self.nodes[n].offer.take() else { continue };
                if self.nodes[n].runs != of {
                    self.put(n, progress("downloading", of), Sent::Other);
                    self.put(n, progress("done", of), Sent::Done(n, of));
                }
            }
            self.turn(GOOD, false);
            for n in 0..self.nodes.len() {
                self.report(n);
            }
        }
        self.turn(GOOD, false);
        self.die();
        for n in 0..self.nodes.len() {
            self.tag(n);
            let (_, device) = self.stored(n).unwrap();
            let (task, seed) = (&device.task, self.seed);
            assert!(!device.has_open_task(), "seed {seed}: {n}: {task:?}");
            assert_eq!(device.runs(), Some(version(self.target).as_str()), "seed {seed}: {n}");
        }
    }
}

#[test]
fn random_lives_lose_nothing_double_nothing_and_leave_nothing_open() {
    let number = |name| std::env::var(name).ok().map(|text: String| text.parse().unwrap());
    let seeds = match number("OTA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("OTA_CLOUD_WORLDS").unwrap_or(40),
    };
    let mut deaths = 0;
    for seed in seeds.clone() {
        let mut world = World::new(seed);
        world.troubles();
        world.heal();
        deaths += world.deaths;
    }
    println!("{} worlds, {deaths} deaths", seeds.end - seeds.start);
    assert!(u64::from(deaths) > 4 * (seeds.end - seeds.start), "they live too well");
}
