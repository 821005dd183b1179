//! The world: one device, the cloud, and everything between them.

mod actions;
mod device;
mod storage;

use std::collections::BTreeMap;

use core::time::Duration;

use ota_cloud::sign::UrlSigner;
use ota_cloud::{
    Cloud, CloudConfig, DeviceRecord, Firmware, Output as CloudOutput, Secret, TaskOptions,
};
use ota_proto::{Instant, OpId, Rng, SlotState, State, Updater};

use crate::field::Kind;
use crate::invariants::Invariants;
use crate::link::{Link, MessageFault, Packet};
use crate::server::Server;
use crate::setup::{Image, Setup};
use crate::trace::{Trace, What};

pub(crate) use self::storage::Job;
pub use self::storage::{Misreads, Storage, Unreadable};

/// What a power cut does to work in progress and to unsynced data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// None of it takes effect.
    Before,
    /// A random part of it takes effect.
    Torn,
    /// All of it takes effect, but the program does not learn of it.
    After,
}

/// The result of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The device returned an output.
    Output,
    /// The device or the cloud received an input.
    Input,
    /// The clock jumped.
    Jump,
    /// Nothing can happen any more.
    Dead,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The cloud considers the device's task claimed and proved.
    Proved,
    /// The task ended in another way, and the device is idle.
    Ended,
}

/// A scheduled event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Due {
    /// A packet arrives.
    Arrive(u32, Packet),
    /// A held packet is sent.
    Release(u32, crate::link::Direction),
    /// A slot operation ends.
    Job(OpId),
    /// A journal write ends.
    Persist(OpId),
    /// The application acts.
    Act(crate::app::Act),
    /// Power comes back.
    PowerOn,
    /// The task begins.
    Task,
}

/// One device, the cloud, and everything between them.
#[derive(Clone, Debug)]
pub struct World {
    /// Its setup.
    pub setup: Setup,
    /// The virtual clock.
    pub now: Instant,
    /// The cloud.
    pub cloud: Cloud,
    /// The device's program; `None` while power is off.
    pub device: Option<Updater>,
    /// The storage, which outlives the program.
    pub storage: Storage,
    /// The firmware server.
    pub server: Server,
    /// The trace.
    pub trace: Trace,
    /// The invariants.
    pub invariants: Invariants,
    /// The errors of the next slot operations and journal writes.
    pub broken: BTreeMap<u64, ota_proto::StorageError>,
    /// The number of slot operations and journal writes so far.
    pub jobs: u64,
    link: Link,
    queue: BTreeMap<(Instant, u64), (u32, Due)>,
    sequence: u64,
    /// The number of the device's program; events for an earlier one are dropped.
    boot: u32,
    reading: bool,
    rng: Rng,
    standing: u32,
    /// The text of the offer that the application accepted, while that attempt lasts. After a
    /// restart also the previous text, if the journal may not have recorded the newer one.
    accepted: Vec<Option<String>>,
    /// The same for attempts that ended, until the journal records the end: a restart may bring
    /// them back.
    ended: Vec<Option<String>>,
}

/// The most steps at one moment; more count as a livelock.
const STANDING: u32 = 5_000;
/// The most steps of a run; more count as endless.
const STEPS: u32 = 400_000;
/// The longest time for a task: an idle device that lost its push asks again after a day.
const TASK: Duration = Duration::from_secs(3 * 86_400);

impl World {
    /// A new world: the device is off, and its task has not begun.
    ///
    /// # Panics
    /// If the cloud rejects the setup.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let signer = UrlSigner::new("https://cos.example", *b"key", UrlSigner::LIFE);
        let mut cloud = Cloud::new(CloudConfig::new(signer, 1_700_000_000));
        let identity = setup.device.identity.clone();
        cloud.add_device(&identity, Secret::new(*b"0123456789abcdef")).expect("room for one");
        for Image { version, bytes, md5 } in &setup.images {
            let size = bytes.len() as u64;
            let firmware = Firmware::new(identity.product_id(), version, *md5, size);
            cloud.add_firmware(firmware).expect("a good firmware");
        }
        let mut rng = Rng::new(setup.seed);
        let mut world = Self {
            now: Instant::ZERO,
            cloud,
            device: None,
            storage: Storage::new(&setup, &mut rng),
            server: Server::default(),
            trace: Trace::default(),
            invariants: Invariants::default(),
            broken: BTreeMap::new(),
            jobs: 0,
            link: Link::default(),
            queue: BTreeMap::new(),
            sequence: 0,
            boot: 0,
            reading: false,
            rng,
            standing: 0,
            accepted: Vec::new(),
            ended: Vec::new(),
            setup,
        };
        world.at(Instant::ZERO, Due::PowerOn);
        world.at(Instant::ZERO + world.setup.task_at, Due::Task);
        world
    }

    /// Sets the fault of the packet with this number. Packets count from 0, both directions
    /// together.
    pub fn plan(&mut self, packet: u64, fault: MessageFault) {
        self.link.plan.insert(packet, fault);
    }

    /// Cancels the task, which the device does not learn, and begins one to another image. Returns
    /// `false` if the cloud refuses because the device has reported that version.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn change_task(&mut self, version: &str) -> bool {
        if let Some(task) = self.record().task.as_ref().map(|task| task.id) {
            let over = self.cloud.cancel_task(self.now, task);
            self.note(What::Fault(format!("task cancelled: {}", over.is_ok())));
        }
        if !self.start_task(version) {
            return false;
        }
        let mut images = self.setup.images.iter();
        let image = images.find(|image| image.version == version).expect("an image").clone();
        self.setup.to = image.version;
        self.setup.image = image.bytes;
        true
    }

    /// Does the same as [`World::change_task`] between the first and the second image, but only if
    /// the device runs its old version and no other can start by itself.
    pub fn turn_task(&mut self) -> bool {
        let next = if self.setup.to == "1.0.0" { "2.0.0" } else { "1.0.0" };
        let early = self.device.as_ref().is_some_and(|device| {
            use State::{Deferred, Fetching, Idle, Offered, Ready, Verifying, Waiting};
            let (at, owed) = (device.state(), device.owed());
            let early = [Idle, Offered, Deferred, Waiting, Fetching, Verifying, Ready];
            early.contains(&at) && owed.is_none()
        });
        let loader = &self.storage.loader;
        let settled = matches!(loader.state(), SlotState::Confirmed | SlotState::RolledBack);
        if !early || !settled || loader.running() != self.setup.from || !self.change_task(next) {
            return false;
        }
        self.note(What::Met(Kind::OffersInTurn));
        true
    }

    /// The cloud offers the image in progress again, with this text.
    pub fn change_text(&mut self, text: &str) {
        let Some(offer) = self.device.as_ref().and_then(Updater::offer) else { return };
        let payload = format!(
            r#"{{"file_size":{},"md5sum":"{}","type":"update_firmware","url":"{}","user_defined":"{text}","version":"{}"}}"#,
            offer.size, offer.md5, offer.url, offer.version
        );
        self.note(What::Met(Kind::ChangedText));
        self.send(Packet::Message(payload.into_bytes()));
    }

    /// Adds another image that may be offered.
    ///
    /// # Panics
    /// If the cloud rejects it.
    pub fn add_image(&mut self, image: Image) {
        let size = image.bytes.len() as u64;
        let product = self.setup.device.identity.product_id();
        let firmware = Firmware::new(product, image.version, image.md5, size);
        self.cloud.add_firmware(firmware).expect("a good firmware");
        self.setup.images.push(image);
    }

    /// Counts trouble of a kind.
    pub(crate) fn met(&mut self, kind: Kind) {
        self.note(What::Met(kind));
    }

    fn start_task(&mut self, version: &str) -> bool {
        let options = TaskOptions { timeout: Some(TASK), ..TaskOptions::default() };
        let identity = self.setup.device.identity.clone();
        let started = self.cloud.start_task(self.now, &identity, version, &options);
        self.note(What::Fault(format!("task to {version}: {}", started.is_ok())));
        started.is_ok()
    }

    /// Packets sent so far, both ways.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.link.packets
    }

    /// Whether a slot operation or a journal write is in progress.
    #[must_use]
    pub fn is_storing(&self) -> bool {
        self.storage.job.is_some() || self.storage.persist.is_some()
    }

    /// The latest slot operation or journal write in progress, with the number of boots before it.
    #[must_use]
    pub fn storing(&self) -> Option<(u32, OpId)> {
        Some((self.boot, self.storage.latest()?))
    }

    /// The cloud's record of the device.
    ///
    /// # Panics
    /// Never: the device is registered.
    #[must_use]
    pub fn record(&self) -> &DeviceRecord {
        self.cloud.device(&self.setup.device.identity).expect("registered")
    }

    /// Whether the task is over and the device idle: nothing is owed, on trial or in progress.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let device = self.device.as_ref()?;
        let settled = device.is_settled() && device.state() == State::Idle && !self.is_storing();
        let over = self.record().task.as_ref().is_some_and(|task| task.finished.is_some());
        if !settled || !over || self.storage.loader.is_trial() {
            return None;
        }
        Some(if self.record().is_proved() { Outcome::Proved } else { Outcome::Ended })
    }

    /// Runs until the end.
    ///
    /// # Errors
    /// The trace, if an invariant is violated or the run does not end.
    pub fn run(&mut self) -> Result<Outcome, String> {
        for _ in 0..STEPS {
            if let Some(outcome) = self.outcome() {
                return self.check_end(outcome);
            }
            let step = self.step();
            if let Some(broken) = self.invariants.broken().first() {
                return Err(format!("{broken}\n{}", self.trace));
            }
            if step == Step::Dead {
                return Err(format!("nothing will ever happen again\n{}", self.trace));
            }
            if self.standing > STANDING {
                return Err(format!("livelock\n{}", self.trace));
            }
        }
        Err(format!("no end\n{}", self.trace))
    }

    /// Runs until the end. The cloud must consider the task proved, and the new image must run.
    ///
    /// # Panics
    /// With the seed and the trace on any other end.
    pub fn must_prove(&mut self, what: &str) {
        let seed = self.setup.seed;
        match self.run() {
            Ok(Outcome::Proved) => {}
            Ok(Outcome::Ended) => panic!("{what}, seed {seed}: not proved\n{}", self.trace),
            Err(why) => panic!("{what}, seed {seed}: {why}"),
        }
    }

    /// Runs until the end. The cloud's record must be true: proved, or reported as failed by `fail`
    /// while the old image runs.
    ///
    /// # Panics
    /// With the seed and the trace on any other end.
    pub fn must_end(&mut self, what: &str) -> Outcome {
        let seed = self.setup.seed;
        self.end().unwrap_or_else(|why| panic!("{what}, seed {seed}: {why}"))
    }

    /// Does the same as [`World::must_end`].
    ///
    /// # Errors
    /// The violation, and the trace.
    pub fn end(&mut self) -> Result<Outcome, String> {
        let outcome = self.run()?;
        let task = self.record().task.as_ref();
        let failed = task.is_some_and(|task| task.status == ota_cloud::Status::Failed);
        let proved = outcome == Outcome::Proved;
        let told = proved || failed;
        if !told || proved != (self.storage.loader.running() == self.setup.to) {
            return Err(format!("the cloud was not told\n{}", self.trace));
        }
        Ok(outcome)
    }

    fn check_end(&self, outcome: Outcome) -> Result<Outcome, String> {
        let running = self.storage.loader.running();
        let mut images = self.setup.images.iter();
        let image = images.find(|image| image.version == running);
        let image = image.map_or(&self.setup.old, |image| &image.bytes);
        let whole = self.storage.running().surely_holds(image, image.len() as u64);
        let in_place = self.setup.app.install == crate::app::Install::Running;
        let right = outcome == Outcome::Ended || running == self.setup.to;
        if !right || !(whole || in_place) {
            return Err(format!("{outcome:?}, but {running} runs, whole: {whole}\n{}", self.trace));
        }
        Ok(outcome)
    }

    /// Does one step.
    pub fn step(&mut self) -> Step {
        self.standing = self.standing.saturating_add(1);
        if let Some(step) = self.step_device() {
            return step;
        }
        loop {
            match self.cloud.poll_output(self.now) {
                CloudOutput::Send { payload, .. } => {
                    self.send(Packet::Message(payload));
                    return Step::Input;
                }
                CloudOutput::Event(_) => {}
                CloudOutput::Idle { deadline } => return self.advance(deadline),
            }
        }
    }

    /// Advances the clock to the next event, or handles a due event.
    fn advance(&mut self, cloud: Option<Instant>) -> Step {
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let device = self.idle_deadline();
        let server = self.server.deadline(self.reading);
        let link = self.link.deadline();
        let next = [queued, device, server, link, cloud].into_iter().flatten().min();
        let Some(next) = next else { return Step::Dead };
        if next > self.now {
            self.now = next;
            self.standing = 0;
            return Step::Jump;
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        if due(queued) {
            if let Some((_, (boot, what))) = self.queue.pop_first() {
                self.happen(boot, what);
            }
        } else if due(link) {
            self.wake_link();
        } else if due(server) {
            self.serve();
        } else if due(device) {
            self.wake_device();
        } else {
            self.cloud.handle_timeout(self.now);
        }
        Step::Input
    }

    fn at(&mut self, at: Instant, due: Due) {
        self.sequence = self.sequence.saturating_add(1);
        self.queue.insert((at, self.sequence), (self.boot, due));
    }

    fn happen(&mut self, boot: u32, due: Due) {
        match due {
            Due::Arrive(epoch, packet) if epoch == self.link.epoch => self.arrive(packet),
            Due::Release(epoch, direction) if epoch == self.link.epoch => {
                if let Some(packet) = self.link.held.remove(&direction) {
                    self.arrive(packet);
                }
            }
            Due::Arrive(..) | Due::Release(..) => {}
            Due::Task => {
                self.start_task(self.setup.to);
            }
            Due::PowerOn if boot == self.boot => self.power_on(),
            Due::Job(op) if boot == self.boot => self.end_job(op),
            Due::Persist(op) if boot == self.boot => self.end_persist(op),
            Due::Act(act) if boot == self.boot => self.act(act),
            Due::PowerOn | Due::Job(_) | Due::Persist(_) | Due::Act(_) => {}
        }
    }

    fn note(&mut self, what: What) {
        self.invariants.observe(self.now, &what, &self.setup, &self.storage);
        self.trace.push(self.now, what);
    }
}
