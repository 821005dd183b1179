//! A fleet: many real clients, one cloud, one firmware server, one clock, one core.
//!
//! Each device exchanges real bytes: MQTT with a broker of another codec, HTTP with
//! [`ota_cloud::origin`]. No device is polled: a heap holds the next event of each device, its
//! connections and its operations, and an idle device costs one ping in five minutes. The operator
//! keeps a limited number of tasks open and starts the next when one ends; a task that failed or
//! timed out is tried again.

mod links;
mod node;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use core::time::Duration;

use ota_cloud::origin::{Origin, OriginConfig};
use ota_cloud::{
    Cloud, CloudConfig, DeviceRecord, EventKind, Finish, Firmware, Output as CloudOutput, Secret,
    Status, TaskOptions,
};
use ota_proto::{Identity, Instant, Rng};

use crate::setup::Image;
use crate::world::{UNIX, signer};
use node::Node;

/// The setup of a fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FleetSetup {
    /// The number of devices.
    pub devices: u32,
    /// The image's bytes.
    pub image: usize,
    /// Tasks that may be open at once.
    pub in_flight: u32,
    /// How many of 1,000 MQTT packets, in either direction, are lost, and how many of 1,000
    /// connections to the firmware server break within the body.
    pub loss: u16,
    /// The seed of all random numbers.
    pub seed: u64,
}

impl FleetSetup {
    /// A 64 KiB image, 1,000 tasks at once, 1 % loss.
    #[must_use]
    pub const fn new(devices: u32, seed: u64) -> Self {
        Self { devices, image: 65_536, in_flight: 1_000, loss: 10, seed }
    }
}

/// The results of a fleet. The same setup gives the same numbers everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FleetReport {
    /// Devices that run the new image's bytes and whose task the cloud considers proved.
    pub updated: u32,
    /// The most tasks that were open at once.
    pub most_in_flight: u32,
    /// Attempts after the first of a task.
    pub retries: u32,
    /// MQTT packets that were lost.
    pub lost: u64,
    /// Connections to the broker after a device's first.
    pub reconnects: u64,
    /// Connections to the firmware server that broke.
    pub broken_fetches: u64,
    /// Messages from devices.
    pub messages: u64,
    /// Image bytes that the firmware server sent.
    pub body_bytes: u64,
    /// Turns of devices: how often one had something to do.
    pub turns: u64,
    /// Virtual time from the first power-on to the last update.
    pub took: Duration,
}

/// The shared part of all devices.
#[derive(Debug)]
struct Hub {
    setup: FleetSetup,
    cloud: Cloud,
    origin: Origin,
    image: Image,
    rng: Rng,
    report: FleetReport,
    broken: Option<String>,
}

/// The fleet.
#[derive(Debug)]
pub struct Fleet {
    now: Instant,
    hub: Hub,
    nodes: Vec<Node>,
    /// The next event of each device: one entry per device, and some stale ones.
    queue: BinaryHeap<Reverse<(Instant, u32)>>,
    /// The next device without a task.
    next: u32,
    open: u32,
    over: u32,
}

const PRODUCT: &str = "TESTPROD01";
const FROM: &str = "0.1.0";
const TO: &str = "1.0.0";
/// The devices are switched on over this time.
const POWER_ON: Duration = Duration::from_secs(60);
/// When the first batch begins: all devices are idle by then.
const BEGIN: Instant = Instant::from_secs(120);
/// The task of a device that is silent for this long is tried again: the platform's shortest
/// time-out.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Fleet {
    /// Makes the fleet, switched off.
    ///
    /// # Panics
    /// Never: the cloud has room for the devices of the setup.
    #[must_use]
    pub fn new(setup: FleetSetup) -> Self {
        let signer = signer();
        let mut config = CloudConfig::new(signer.clone(), UNIX);
        config.max_devices = setup.devices;
        config.max_log = 2;
        config.max_history = 1;
        let mut cloud = Cloud::new(config);
        let image = Image::new(TO, setup.image, setup.seed);
        let firmware = Firmware::new(PRODUCT, TO, image.md5, image.bytes.len() as u64);
        let mut origin = Origin::new(OriginConfig::new(Some(signer), UNIX));
        origin.add_file(firmware.path.clone(), image.bytes.to_vec());
        cloud.add_firmware(firmware).expect("a good firmware");
        let mut rng = Rng::new(setup.seed);
        let mut queue = BinaryHeap::with_capacity(setup.devices as usize);
        let mut nodes = Vec::with_capacity(setup.devices as usize);
        for index in 0..setup.devices {
            cloud.add_device(&identity(index), Secret::new(*b"0123456789abcdef")).expect("room");
            let on = Instant::ZERO + rng.up_to(POWER_ON.into());
            nodes.push(Node::new(index, on));
            queue.push(Reverse((on, index)));
        }
        let report = FleetReport::default();
        let hub = Hub { setup, cloud, origin, image, rng, report, broken: None };
        Self { now: Instant::ZERO, hub, nodes, queue, next: 0, open: 0, over: 0 }
    }

    /// Switches all devices on and waits until they are idle.
    ///
    /// # Errors
    /// The violation.
    pub fn power_on(&mut self) -> Result<(), String> {
        while self.now < BEGIN {
            self.step(BEGIN)?;
        }
        Ok(())
    }

    /// Updates all of them.
    ///
    /// # Errors
    /// The violation.
    pub fn roll_out(&mut self) -> Result<FleetReport, String> {
        while self.over < self.hub.setup.devices {
            while self.open < self.hub.setup.in_flight && self.next < self.hub.setup.devices {
                self.start()?;
            }
            self.step(Instant::MAX)?;
        }
        let report = &mut self.hub.report;
        report.took = self.now.since(Instant::ZERO);
        report.body_bytes = self.hub.origin.counters().body_bytes;
        report.messages = self.hub.cloud.devices().map(|record| record.counters.received).sum();
        let sessions: u64 = self.hub.cloud.devices().map(|record| record.counters.sessions).sum();
        report.reconnects = sessions.saturating_sub(u64::from(self.hub.setup.devices));
        let proved = self.hub.cloud.devices().filter(|record| is_updated(record)).count();
        let runs = self.nodes.iter().filter(|node| node.runs() == TO).count();
        report.updated = u32::try_from(proved.min(runs)).unwrap_or(0);
        Ok(*report)
    }

    fn start(&mut self) -> Result<(), String> {
        let who = identity(self.next);
        let options = TaskOptions { timeout: Some(TIMEOUT), ..TaskOptions::default() };
        let started = self.hub.cloud.start_task(self.now, &who, TO, &options);
        started.map_err(|error| format!("no task for {}: {error:?}", self.next))?;
        self.next = self.next.saturating_add(1);
        self.open = self.open.saturating_add(1);
        let most = &mut self.hub.report.most_in_flight;
        *most = self.open.max(*most);
        self.serve_cloud()
    }

    /// Advances to the next event, at most to `limit`, and handles it.
    fn step(&mut self, limit: Instant) -> Result<(), String> {
        let CloudOutput::Idle { deadline } = self.hub.cloud.poll_output(self.now) else {
            return Err("the cloud is not idle".into());
        };
        let device = self.queue.peek().map(|Reverse((at, _))| *at);
        let next = device.into_iter().chain(deadline).chain([limit]).min().unwrap_or(limit);
        if next == Instant::MAX {
            return Err("nothing will ever happen again".into());
        }
        self.now = self.now.max(next);
        if deadline.is_some_and(|at| at <= self.now) {
            self.hub.cloud.handle_timeout(self.now);
            self.serve_cloud()?;
        }
        if device.is_some_and(|at| at <= self.now) {
            if let Some(Reverse((at, index))) = self.queue.pop() {
                self.turn(at, index);
                self.serve_cloud()?;
            }
        }
        self.hub.broken.take().map_or(Ok(()), Err)
    }

    /// Does a device's turn, and schedules the next one.
    fn turn(&mut self, at: Instant, index: u32) {
        let Some(node) = self.nodes.get_mut(index as usize) else { return };
        if at != node.queued {
            // A newer entry replaced it.
            return;
        }
        if node.due <= self.now {
            self.hub.report.turns = self.hub.report.turns.saturating_add(1);
            node.due = node.turn(self.now, &mut self.hub).max(self.now);
        }
        node.queued = node.due;
        if node.due < Instant::MAX {
            self.queue.push(Reverse((node.due, index)));
        }
    }

    /// Handles the cloud's outputs.
    fn serve_cloud(&mut self) -> Result<(), String> {
        loop {
            match self.hub.cloud.poll_output(self.now) {
                CloudOutput::Send { device, topic, payload } => {
                    let Some(index) = index(&device) else { continue };
                    let Some(node) = self.nodes.get_mut(index as usize) else { continue };
                    node.hear(&topic, payload);
                    node.due = node.due.min(self.now);
                    if node.due < node.queued {
                        node.queued = node.due;
                        self.queue.push(Reverse((node.due, index)));
                    }
                }
                CloudOutput::Event(event) => match event.kind {
                    EventKind::Status { .. } | EventKind::Proved { .. } => {
                        self.judge(&event.device)?;
                    }
                    _ => {}
                },
                CloudOutput::Idle { .. } => return Ok(()),
            }
        }
    }

    /// Handles a change of a device's task.
    fn judge(&mut self, who: &Identity) -> Result<(), String> {
        let Some(record) = self.hub.cloud.device(who) else { return Ok(()) };
        let Some(node) = index(who).and_then(|index| self.nodes.get_mut(index as usize)) else {
            return Ok(());
        };
        if node.over {
            return Ok(());
        }
        if is_updated(record) {
            node.over = true;
            self.open = self.open.saturating_sub(1);
            self.over = self.over.saturating_add(1);
            return Ok(());
        }
        let Some(task) = record.task.as_ref().filter(|task| task.finished.is_some()) else {
            return Ok(());
        };
        // `done` came; the version report follows.
        if task.status == Status::Complete {
            return Ok(());
        }
        if task.attempt > 20 {
            return Err(format!("{} is never updated: {task:?}", who.device_name()));
        }
        let id = task.id;
        self.hub.report.retries = self.hub.report.retries.saturating_add(1);
        let again = self.hub.cloud.retry_task(self.now, id);
        again.map_err(|error| format!("{}: no retry: {error:?}", who.device_name()))
    }
}

/// Whether the task is claimed and proved, or a retry found that the device already runs the
/// version.
fn is_updated(record: &DeviceRecord) -> bool {
    let there = record.task.as_ref().is_some_and(|task| {
        matches!(task.finished, Some((_, Finish::AlreadyThere))) && task.proved.is_some()
    });
    there || record.is_proved()
}

fn identity(index: u32) -> Identity {
    Identity::new(PRODUCT, &format!("d{index:06}")).expect("a good identity")
}

fn index(identity: &Identity) -> Option<u32> {
    identity.device_name().strip_prefix('d')?.parse().ok()
}
