//! One device: its client, its medium, its application.

use core::time::Duration;

use ota_proto::{
    Boot, Command, Digester, Event, Installed, Instant, OpId, SlotAction, SlotInfo, Updater, Work,
};
use ota_wire::Client;
use ota_wire::client::{ClientEvent, DeviceIndex};

use crate::flash::FlashOp;
use crate::journal::JournalPlaces;
use crate::loader::Loader;
use crate::storage::{Block, Job};
use crate::wire::device::{Idle, Out, client_config, own};

use super::links::Links;
use super::{FROM, Hub, identity};

const DEVICE: DeviceIndex = DeviceIndex::FIRST;
const ERASE: u32 = 4_096;
/// No write crosses an erase unit: the next one is not erased yet.
const BLANK: [u8; ERASE as usize] = [0xff; ERASE as usize];
const CAPACITY: u64 = 128 * 1_024;
/// The interval between pings of an idle device; the platform accepts up to 900 s.
const KEEP_ALIVE: Duration = Duration::from_secs(300);
/// The duration of an operation of the medium.
const JOB: Duration = Duration::from_millis(2);
/// The most steps of a device in one turn; more count as stuck.
const STUCK: u32 = 10_000;

/// The actions of an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    PowerOn,
    Installed,
    Confirm,
    Reset,
}

/// A journal write in progress.
type Writing = (Instant, OpId, Block);

/// One device.
#[derive(Debug)]
pub(super) struct Node {
    index: u32,
    /// The time of its next event.
    pub(super) due: Instant,
    /// Its earliest entry in the queue.
    pub(super) queued: Instant,
    /// Whether its task is claimed and proved.
    pub(super) over: bool,
    boots: u32,
    client: Option<Box<Client>>,
    links: Links,
    idle: Idle,
    journal: JournalPlaces,
    loader: Loader,
    /// The slot for updates; empty while nothing is stored.
    slot: Vec<u8>,
    job: Option<Box<(Instant, OpId, Job)>>,
    persist: Option<Writing>,
    act: Option<(Instant, Act)>,
}

impl Node {
    pub(super) fn new(index: u32, on: Instant) -> Self {
        Self {
            index,
            due: on,
            queued: on,
            over: false,
            boots: 0,
            client: None,
            links: Links::default(),
            idle: Idle::default(),
            journal: JournalPlaces::default(),
            loader: Loader::new(FROM),
            slot: Vec::new(),
            job: None,
            persist: None,
            act: Some((on, Act::PowerOn)),
        }
    }

    /// The running version.
    pub(super) fn runs(&self) -> &str {
        self.loader.running()
    }

    /// The cloud sends a message.
    pub(super) fn hear(&mut self, topic: &str, payload: Vec<u8>) {
        self.links.publish(topic, payload);
    }

    /// Does everything that is due; returns the time of the next event.
    pub(super) fn turn(&mut self, now: Instant, hub: &mut Hub) -> Instant {
        let mut woken = false;
        for _ in 0..STUCK {
            if self.end_jobs(now, hub) || self.act(now, hub) {
                woken = false;
                continue;
            }
            let polled = self.poll(now, hub);
            let moved = self
                .client
                .as_mut()
                .is_some_and(|client| self.links.turn(now, client, self.index, hub));
            let took = self.read(now, hub);
            if polled || moved || took {
                woken = false;
                continue;
            }
            if self.client.is_some() && self.idle.deadline.is_some_and(|at| at <= now) {
                if woken {
                    hub.broken = Some(format!("device {}: a deadline is stale", self.index));
                    return Instant::MAX;
                }
                woken = true;
                if let Some(client) = &mut self.client {
                    client.handle_timeout(now);
                }
                self.links.touched();
                continue;
            }
            return self.next(now);
        }
        hub.broken = Some(format!("device {} is stuck at {now}", self.index));
        Instant::MAX
    }

    fn next(&self, now: Instant) -> Instant {
        let job = self.job.as_ref().map(|job| job.0);
        let persist = self.persist.as_ref().map(|(at, ..)| *at);
        let act = self.act.map(|(at, _)| at);
        let idle = self.idle.deadline.filter(|_| self.client.is_some());
        let links = self.links.next(now, &self.idle);
        [job, persist, act, idle, links].into_iter().flatten().min().unwrap_or(Instant::MAX)
    }

    /// Handles all outputs; `false` if there were none.
    fn poll(&mut self, now: Instant, hub: &mut Hub) -> bool {
        let mut any = false;
        loop {
            let Some(client) = &mut self.client else { return any };
            match own(client.poll(now)) {
                Out::Idle(idle, _) => {
                    self.idle = idle;
                    return any;
                }
                Out::Connect(link) => self.links.open(now, link, self.index, hub),
                Out::Close(link) => self.links.close(now, link, self.index, hub),
                Out::Do(op, work) => self.begin(now, op, work),
                Out::Event(ClientEvent::Device { event, .. }) => self.told(now, &event),
                Out::Event(ClientEvent::BadMessage { error, .. }) => {
                    hub.broken = Some(format!("a message of the cloud was refused: {error}"));
                }
                Out::Event(_) => {}
                Out::Unknown(what) => hub.broken = Some(what),
            }
            self.links.touched();
            any = true;
        }
    }

    /// Passes received bytes to the client.
    fn read(&mut self, now: Instant, hub: &mut Hub) -> bool {
        let Some(client) = &mut self.client else { return false };
        let (any, write) = self.links.read(now, client, &self.idle, self.index, hub);
        if let Some((op, at, bytes)) = write {
            self.begin(now, op, Work::Write { at, bytes });
        }
        any
    }

    fn begin(&mut self, now: Instant, op: OpId, work: Work<Vec<u8>>) {
        match Job::of(op, work) {
            Ok((job, _)) => self.job = Some(Box::new((now + JOB, op, job))),
            Err(block) => self.persist = Some((now + JOB, op, block)),
        }
    }

    fn told(&mut self, now: Instant, event: &Event) {
        let (after, act) = match event {
            Event::Install { .. } => (500, Act::Installed),
            Event::Restart => (100, Act::Reset),
            Event::Trial => (300, Act::Confirm),
            _ => return,
        };
        self.act = Some((now + Duration::from_millis(after), act));
    }

    fn updater(&mut self) -> Option<&mut Updater> {
        self.client.as_mut()?.updater_mut(DEVICE)
    }

    fn act(&mut self, now: Instant, hub: &mut Hub) -> bool {
        let Some((_, act)) = self.act.take_if(|(at, _)| *at <= now) else { return false };
        self.links.touched();
        match act {
            Act::PowerOn => self.power_on(now, hub),
            // A command that no longer fits has no effect.
            Act::Installed => {
                let _ = self
                    .updater()
                    .map(|it| it.command(now, Command::Installed(Installed::NeedsRestart)));
            }
            Act::Confirm => {
                let _ = self.updater().map(|it| it.command(now, Command::Confirm));
            }
            Act::Reset => {
                self.client = None;
                (self.job, self.persist, self.idle) = (None, None, Idle::default());
                self.links.drop_all(now, self.index, hub);
                self.loader.reset(true);
                self.act = Some((now + Duration::from_millis(100), Act::PowerOn));
            }
        }
        true
    }

    fn power_on(&mut self, now: Instant, hub: &mut Hub) {
        let seed = hub.rng.next_u64();
        let identity = identity(self.index);
        let mut config = client_config(&identity, seed);
        config.mqtt.timing.keep_alive = KEEP_ALIVE.into();
        let storage = SlotInfo { capacity: CAPACITY, erase: ERASE, write: 1 };
        let running = self.loader.running().to_owned();
        let boot = Boot {
            running: &running,
            slot: self.loader.state(),
            journal: self.journal.newest(),
            storage,
        };
        self.boots = self.boots.saturating_add(1);
        self.client = Client::new(now, config).ok().and_then(|mut client| {
            client.add_device(now, ota_proto::Config::new(identity, seed), boot).ok()?;
            Some(Box::new(client))
        });
        if self.client.is_none() {
            hub.broken = Some("the client does not start".into());
        }
    }

    fn end_jobs(&mut self, now: Instant, hub: &mut Hub) -> bool {
        if let Some((_, op, block)) = self.persist.take_if(|(at, ..)| *at <= now) {
            self.journal.write(&block);
            if let Some(device) = self.updater() {
                device.handle_done(now, op, Ok(None));
            }
            self.links.touched();
            return true;
        }
        let Some(job) = self.job.take_if(|job| job.0 <= now) else { return false };
        let (_, op, job) = *job;
        let digest = match &job {
            Job::Digest(end) => self.digest(*end),
            _ => [0; 16],
        };
        if let Err(why) = self.apply(&job, hub) {
            hub.broken = Some(format!("device {}: {why}", self.index));
        }
        self.links.touched();
        let Some(device) = self.updater() else { return true };
        let digest = matches!(job, Job::Digest(_)).then_some(ota_proto::Md5(digest));
        device.handle_done(now, op, Ok(digest));
        true
    }

    fn digest(&self, end: u64) -> [u8; 16] {
        let mut digester = Digester::new();
        let end = usize::try_from(end).unwrap_or(usize::MAX).min(self.slot.len());
        digester.update(self.slot.get(..end).unwrap_or_default());
        digester.finish().0
    }

    fn apply(&mut self, job: &Job, hub: &Hub) -> Result<(), String> {
        match job {
            Job::Flash(FlashOp::Erase(range)) => {
                let place = self.place(range.start, range.end)?;
                place.fill(0xff);
            }
            Job::Flash(FlashOp::Write(at, bytes)) => {
                let place = self.place(*at, at.saturating_add(bytes.len() as u64))?;
                if *place != BLANK[..place.len().min(BLANK.len())] {
                    return Err(format!("a write to unerased bytes at {at}"));
                }
                place.copy_from_slice(bytes);
            }
            Job::Slot(action) => {
                let record = self.journal.record().and_then(|record| record.target);
                let version = record.map(|target| target.version.to_string()).unwrap_or_default();
                let image = &hub.image.bytes[..];
                if *action == SlotAction::Activate && self.slot.get(..image.len()) != Some(image) {
                    return Err("another image than the offered one is activated".into());
                }
                self.loader.apply(*action, &version);
                if *action == SlotAction::Confirm {
                    // Checked when it was activated. A thousand devices need not keep it.
                    self.slot = Vec::new();
                }
            }
            Job::Sync | Job::Digest(_) => {}
        }
        Ok(())
    }

    fn place(&mut self, start: u64, end: u64) -> Result<&mut [u8], String> {
        if end > CAPACITY {
            return Err("outside the slot".into());
        }
        let (start, end) = (usize::try_from(start), usize::try_from(end));
        let (Ok(start), Ok(end)) = (start, end) else { return Err("outside the slot".into()) };
        if self.slot.len() < end {
            self.slot.resize(end, 0);
        }
        self.slot.get_mut(start..end).ok_or_else(|| "a range that ends before it begins".into())
    }
}
