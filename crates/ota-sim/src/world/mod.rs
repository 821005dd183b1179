//! The world: one device, the cloud, one clock, and a medium that loses power.
//!
//! Both levels share it. A [`Layer`] adds the form of the device's program and what is between it
//! and the cloud: [`Messages`](crate::messages::Messages) or [`Bytes`](crate::wire::Bytes).

mod layer;

use std::collections::BTreeMap;

use core::time::Duration;

use ota_cloud::sign::UrlSigner;
use ota_cloud::{Cloud, CloudConfig, DeviceRecord, Output as CloudOutput, Secret, TaskOptions};
use ota_proto::journal::Record;
use ota_proto::{Instant, OpId, Rng, State, StorageError, Updater, Work};

use crate::app::Act;
use crate::invariants::Invariants;
use crate::setup::{Image, Setup};
use crate::storage::{Block, Cut, Job, Storage};
use crate::tear::Tear;
use crate::trace::{Trace, What};
use crate::trouble::Kind;

pub use self::layer::Layer;

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
#[derive(Clone, Debug)]
enum Due<E> {
    /// A slot operation or a journal write ends.
    Done(OpId),
    /// The application acts.
    Act(Act),
    /// Power comes back.
    PowerOn,
    /// The task begins.
    Task,
    /// An event of the layer, which no restart removes.
    Layer(E),
}

/// The scheduled events by time and number, each with the number of the program.
type Queue<E> = BTreeMap<(Instant, u64), (u32, Due<E>)>;

/// One device, the cloud, and everything between them.
#[derive(Clone, Debug)]
pub struct World<L: Layer> {
    /// Its setup.
    pub setup: Setup,
    /// The virtual clock.
    pub now: Instant,
    /// The cloud.
    pub cloud: Cloud,
    /// The device's program and its connection to the cloud.
    pub layer: L,
    /// The storage, which outlives the program.
    pub storage: Storage,
    /// The trace.
    pub trace: Trace,
    /// The invariants, and the violations so far.
    pub invariants: Invariants,
    /// The errors of the next slot operations and journal writes, by their number.
    pub broken: BTreeMap<u64, StorageError>,
    /// The number of slot operations and journal writes so far.
    pub jobs: u64,
    /// The number of the device's program; events for an earlier one are dropped.
    pub(crate) boot: u32,
    pub(crate) rng: Rng,
    queue: Queue<L::Event>,
    sequence: u64,
    standing: u32,
}

/// The most steps at one moment; more count as a livelock.
const STANDING: u32 = 20_000;
/// The most steps of a run; more count as endless.
const STEPS: u32 = 1_000_000;
/// The longest time for a task: an idle device that lost its push asks again after a day.
const TASK: Duration = Duration::from_secs(3 * 86_400);
/// The time of the cloud's clock at the start, in seconds since 1970.
pub(crate) const UNIX: u64 = 1_700_000_000;
/// From a loss of power to its return.
const OFF: Duration = Duration::from_millis(100);

/// The signer of the firmware server's URLs.
pub(crate) fn signer() -> UrlSigner {
    UrlSigner::new("https://cos.example", *b"key", UrlSigner::LIFE)
}

impl<L: Layer> World<L> {
    /// A new world: the device is off, and its task has not begun.
    ///
    /// # Panics
    /// If the cloud rejects the setup.
    pub(crate) fn of(setup: Setup, layer: L) -> Self {
        let mut cloud = Cloud::new(CloudConfig::new(signer(), UNIX));
        let identity = setup.device.identity.clone();
        cloud.add_device(&identity, Secret::new(*b"0123456789abcdef")).expect("room for one");
        for image in &setup.images {
            cloud.add_firmware(setup.firmware(image)).expect("a good firmware");
        }
        let mut rng = Rng::new(setup.seed);
        let mut world = Self {
            now: Instant::ZERO,
            cloud,
            layer,
            storage: Storage::new(&setup, &mut rng),
            trace: Trace::default(),
            invariants: Invariants::default(),
            broken: BTreeMap::new(),
            jobs: 0,
            boot: 0,
            rng,
            queue: BTreeMap::new(),
            sequence: 0,
            standing: 0,
            setup,
        };
        world.at(Instant::ZERO, Due::PowerOn);
        world.at(Instant::ZERO + world.setup.task_at, Due::Task);
        world
    }

    /// Adds another image that may be offered.
    ///
    /// # Panics
    /// If the cloud rejects it.
    pub fn add_image(&mut self, image: Image) {
        self.cloud.add_firmware(self.setup.firmware(&image)).expect("a good firmware");
        self.setup.images.push(image);
    }

    pub(crate) fn start_task(&mut self, version: &str) -> bool {
        let options = TaskOptions { timeout: Some(TASK), ..TaskOptions::default() };
        let identity = self.setup.device.identity.clone();
        let started = self.cloud.start_task(self.now, &identity, version, &options);
        self.fault(format!("task to {version}: {}", started.is_ok()));
        started.is_ok()
    }

    /// Sets the seed of the world's further random choices.
    pub fn reseed(&mut self, seed: u64) {
        self.rng = Rng::new(seed);
    }

    /// The device's updater; `None` while the program is off.
    #[must_use]
    pub fn device(&self) -> Option<&Updater> {
        self.layer.updater()
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
        let device = self.device()?;
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
    /// The violation and the trace; also if the run does not end.
    pub fn run(&mut self) -> Result<Outcome, String> {
        for _ in 0..STEPS {
            self.check()?;
            if let Some(outcome) = self.outcome() {
                return self.check_end(outcome);
            }
            self.step_on()?;
        }
        Err(format!("no end\n{}", self.trace))
    }

    /// Runs up to this time.
    ///
    /// # Errors
    /// The violation and the trace.
    pub fn run_until(&mut self, at: Instant) -> Result<(), String> {
        while self.now < at {
            self.step_on()?;
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        let broken = self.invariants.broken().first();
        broken.map_or(Ok(()), |broken| Err(format!("{broken}\n{}", self.trace)))
    }

    fn step_on(&mut self) -> Result<(), String> {
        if self.step() == Step::Dead {
            return Err(format!("nothing will ever happen again\n{}", self.trace));
        }
        if self.standing > STANDING {
            return Err(format!("livelock\n{}", self.trace));
        }
        Ok(())
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
        L::check_end(self, outcome).map_err(|why| format!("{why}\n{}", self.trace))?;
        Ok(outcome)
    }

    /// Does one step.
    pub fn step(&mut self) -> Step {
        self.standing = self.standing.saturating_add(1);
        if let Some(step) = L::step(self) {
            return step;
        }
        loop {
            match self.cloud.poll_output(self.now) {
                CloudOutput::Send { topic, payload, .. } => {
                    L::send(self, &topic, payload);
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
        let next = [queued, L::next(self), cloud].into_iter().flatten().min();
        let Some(next) = next else { return Step::Dead };
        if next > self.now {
            self.now = next;
            self.standing = 0;
            if L::JUMPS {
                return Step::Jump;
            }
        }
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= self.now);
        let cloud = due(cloud);
        if due(queued) {
            if let Some((_, (boot, what))) = self.queue.pop_first() {
                self.happen(boot, what);
            }
        } else if !L::wake(self, cloud) {
            self.cloud.handle_timeout(self.now);
        }
        Step::Input
    }

    fn at(&mut self, at: Instant, due: Due<L::Event>) {
        self.sequence = self.sequence.saturating_add(1);
        self.queue.insert((at, self.sequence), (self.boot, due));
    }

    /// Schedules an event of the layer.
    pub(crate) fn schedule(&mut self, at: Instant, event: L::Event) {
        self.at(at, Due::Layer(event));
    }

    /// The application acts after this time, if the program still runs.
    pub(crate) fn act_after(&mut self, after: Duration, act: Act) {
        self.at(self.now + after, Due::Act(act));
    }

    fn happen(&mut self, boot: u32, due: Due<L::Event>) {
        match due {
            Due::Layer(event) => L::arrive(self, event),
            Due::Task => {
                self.start_task(self.setup.to);
            }
            _ if boot != self.boot => {}
            Due::PowerOn => self.power_on(),
            Due::Done(op) => {
                if let Some((_, job)) = self.storage.job.take_if(|(under, _)| *under == op) {
                    self.end_job(op, &job);
                } else if let Some((_, block)) =
                    self.storage.persist.take_if(|(under, _)| *under == op)
                {
                    self.end_persist(op, &block);
                }
            }
            Due::Act(Act::Reset) => self.reset(),
            Due::Act(act) => L::act(self, act),
        }
    }

    /// Begins the work that the device's program asks for.
    pub(crate) fn begin(&mut self, op: OpId, work: Work<Vec<u8>>) {
        match self.storage.begin(op, work) {
            Ok(what) => self.note(what),
            Err(wrong) => self.invariants.break_rule(wrong),
        }
        self.at(self.now + self.setup.job, Due::Done(op));
    }

    /// The planned error of the operation that ends now.
    fn next_error(&mut self) -> Option<StorageError> {
        let number = self.jobs;
        self.jobs = number.saturating_add(1);
        self.broken.remove(&number)
    }

    fn end_job(&mut self, op: OpId, job: &Job) {
        let mut error = self.next_error();
        if self.storage.is_unreadable(job) {
            self.met(Kind::UnreadableWords);
            error = error.or(Some(StorageError::Failed));
        }
        let flipped = self.storage.misreads.flipped;
        let digest = match error {
            Some(_) => None,
            None => match self.storage.finish_job(job, &mut self.rng) {
                Ok(digest) => digest,
                Err(why) => return self.invariants.break_rule(why),
            },
        };
        let misread = self.storage.misreads.flipped > flipped;
        if misread {
            self.met(Kind::FlippedBit);
        }
        self.note(What::Done(op, error.is_none() && !misread));
        L::done(self, op, error.map_or(Ok(digest), Err));
    }

    fn end_persist(&mut self, op: OpId, block: &Block) {
        let error = self.next_error();
        let before = self.storage.journal.record();
        // A failed write may still have reached the medium.
        if error.is_none() || self.rng.below(2) == 0 {
            self.storage.journal.write(block);
        }
        if error.is_none() {
            let record = Record::decode(block).map(|(_, record)| record).unwrap_or_default();
            self.layer.persisted(before, &record);
        }
        L::done(self, op, error.map_or(Ok(None), Err));
        self.note(What::Persisted(op, error.is_none()));
    }

    fn power_on(&mut self) {
        if self.setup.settles_journal {
            match self.storage.read_journal(&mut self.rng) {
                Ok(0) => {}
                Ok(_) => self.met(Kind::MisreadJournal),
                Err(lost) => self.invariants.break_rule(lost),
            }
        }
        let found = self.storage.find(&self.setup);
        L::start(self, found.boot());
        self.note(found.into());
    }

    /// Cuts the power, which returns after 100 ms.
    pub fn power_cut(&mut self, cut: Cut) {
        self.note(What::Off("power cut"));
        self.storage.cut(cut, &mut self.rng);
        self.restart();
    }

    /// Cuts the power at a byte of the latest slot operation or journal write in progress; it
    /// returns after 100 ms.
    pub fn power_cut_at(&mut self, tear: Tear) {
        self.note(What::Off("power cut"));
        self.storage.tear(tear, &mut self.rng);
        self.restart();
    }

    /// Kills the device's program, which starts again after 100 ms. Its storage keeps its state.
    pub fn kill(&mut self) {
        self.note(What::Off("killed"));
        self.storage.abandon(&mut self.rng);
        self.end_program();
    }

    /// Resets the device.
    fn reset(&mut self) {
        self.note(What::Off("reset"));
        self.storage.cut(Cut::After, &mut self.rng);
        self.restart();
    }

    fn restart(&mut self) {
        self.storage.reread(&mut self.rng);
        self.storage.loader.reset(self.setup.app.bootable);
        self.end_program();
    }

    fn end_program(&mut self) {
        self.boot = self.boot.saturating_add(1);
        L::end(self);
        self.at(self.now + OFF, Due::PowerOn);
    }

    /// Counts trouble of a kind.
    pub(crate) fn met(&mut self, kind: Kind) {
        self.note(What::Met(kind));
    }

    /// Notes a fault.
    pub(crate) fn fault(&mut self, what: impl Into<String>) {
        self.note(What::Fault(what.into()));
    }

    pub(crate) fn note(&mut self, what: What) {
        if L::WATCHED {
            self.invariants.observe(self.now, &what, &self.setup, &self.storage);
        }
        self.trace.push(self.now, what);
    }
}
