//! A batch against a fleet that does not exist: the same campaign, and the same devices, at times
//! that are computed instead of waited for.

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BinaryHeap;

use ota_proto::message::{DeviceMessage, Progress, ProgressState};
use ota_proto::{Identity, Instant};
use serde::Serialize;

use crate::campaign::{
    BatchRef, Campaign, CampaignInput, CampaignPlan, CampaignState, PauseReason, Scale, Slot,
    Tally, Waits, WaveCounts,
};
use crate::catalog::{Catalog, Firmware};
use crate::device::{CloudConfig, Context, Device, DeviceInput, Effect, Status};
use crate::module::Module;
use crate::options::TaskOptions;

/// What is known of a device of the fleet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The device.
    pub identity: Identity,
    /// The version that it reported last; empty for none.
    pub version: String,
    /// When it connects; `None` for never.
    pub connects: Option<Instant>,
    /// How long its update takes from the offer on.
    pub takes: Duration,
}

impl Member {
    /// What a device's row lets expect: a connected one is there, one that reported yesterday comes
    /// at the same time of the day, and one that was silent for a week does not come. `usual` is
    /// how long an update takes of a device that never had one.
    #[must_use]
    pub fn of(device: &Device, module: &Module, now: Instant, usual: Duration) -> Self {
        let known = device.reported(module);
        let last = device.modules.iter().map(|known| known.at).max();
        let connects = match last {
            _ if device.online => Some(now),
            Some(last) if now.since(last) < DAY => Some(last + DAY),
            Some(last) if now.since(last) < DAY.saturating_mul(7) => Some(now + DAY),
            _ => None,
        };
        Self {
            identity: device.identity.clone(),
            version: known.map(|known| known.version.clone()).unwrap_or_default(),
            connects,
            takes: took(device).unwrap_or(usual),
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// How long the last update of a device took from its offer on, if it succeeded.
#[must_use]
pub fn took(device: &Device) -> Option<Duration> {
    let task = device.task.as_ref().filter(|task| task.status == Status::Complete)?;
    let (end, _) = task.finished?;
    Some(end.since(task.pushed?).max(Duration::from_secs(1)))
}

/// What is rehearsed.
#[derive(Clone, Debug)]
pub struct Rehearsal<'a> {
    /// The plan of the batch, whose waves have their sizes.
    pub plan: &'a CampaignPlan,
    /// Its devices, in the order of its waves.
    pub fleet: &'a [Member],
    /// The options of the tasks.
    pub options: &'a TaskOptions,
    /// The target.
    pub firmware: &'a Firmware,
    /// The configuration of the cloud.
    pub config: &'a CloudConfig,
    /// When it begins.
    pub now: Instant,
    /// How many of a thousand devices fail.
    pub fail_per_mille: u16,
}

/// The result of a rehearsal. Times are seconds from its begin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rehearsed {
    /// How many of a thousand devices fail.
    pub fail_per_mille: u16,
    /// Its waves.
    pub waves: Vec<RehearsedWave>,
    /// When every device has ended; `None` if devices are left.
    pub ends: Option<u64>,
    /// The wave whose rule stopped it, from 1, and when.
    pub stopped: Option<(usize, u64)>,
    /// The most bytes per second that devices download.
    pub peak_bytes_per_second: u64,
    /// The devices that do not connect.
    pub never: usize,
}

/// A wave of a rehearsal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RehearsedWave {
    /// Its number, from 1.
    pub wave: usize,
    /// The number of its devices.
    pub devices: u64,
    /// When its first device starts.
    pub begins: Option<u64>,
    /// When its last device that ends has ended.
    pub ends: Option<u64>,
    /// How many are updated.
    pub succeeded: u64,
    /// How many fail.
    pub failed: u64,
    /// How many have not ended.
    pub left: u64,
}

/// Something that comes at its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happens {
    Connect,
    Wake,
    End(u32),
    /// The download of a device ends.
    Loaded,
}

struct Stage<'a> {
    of: &'a Rehearsal<'a>,
    catalog: Catalog,
    campaign: Campaign,
    devices: Vec<Device>,
    events: BinaryHeap<Reverse<(Instant, usize, Happens)>>,
    tallies: Vec<Tally>,
    /// The wake-up that is planned for each device.
    wakes: Vec<Option<Instant>>,
    started: usize,
    rate: u64,
    result: Rehearsed,
}

/// The longest rehearsed time: 60 days.
const HORIZON: Duration = Duration::from_secs(60 * 24 * 3_600);

impl Rehearsal<'_> {
    /// Plays the batch. A person opens each gate that waits for one as soon as it does.
    #[must_use]
    pub fn play(&self) -> Rehearsed {
        let mut catalog = Catalog::default();
        // An image that the catalogue refuses was never offered.
        let _ = catalog.add(self.firmware.clone(), usize::MAX);
        // It is played with the devices that there are.
        let plan = CampaignPlan { joins: false, ..self.plan.clone() };
        let campaign = Campaign::new(plan);
        let mut stage = Stage {
            of: self,
            catalog,
            tallies: vec![Tally::default(); campaign.waves()],
            campaign,
            devices: Vec::with_capacity(self.fleet.len()),
            wakes: vec![None; self.fleet.len()],
            events: BinaryHeap::with_capacity(self.fleet.len()),
            started: 0,
            rate: 0,
            result: Rehearsed {
                fail_per_mille: self.fail_per_mille,
                never: self.fleet.iter().filter(|member| member.connects.is_none()).count(),
                waves: vec![RehearsedWave::default(); self.plan.waves.len().max(1)],
                ..Rehearsed::default()
            },
        };
        stage.gather();
        stage.run();
        stage.end()
    }

    fn member(&self, at: usize) -> Option<&Member> {
        self.fleet.get(at)
    }

    /// Whether a device fails, by its place: spread evenly, and the same in each rehearsal.
    fn fails(&self, at: usize) -> bool {
        let place = u64::try_from(at).unwrap_or(0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        place.wrapping_rem(1_000) < u64::from(self.fail_per_mille)
    }
}

impl Stage<'_> {
    fn gather(&mut self) {
        for (at, member) in self.of.fleet.iter().enumerate() {
            let number = u32::try_from(at).unwrap_or(u32::MAX);
            self.devices.push(Device::new(member.identity.clone(), number));
            if let Some(connects) = member.connects {
                self.events.push(Reverse((connects.max(self.of.now), at, Happens::Connect)));
            }
        }
    }

    fn run(&mut self) {
        let (mut now, until) = (self.of.now, self.of.now + HORIZON);
        let mut wake;
        loop {
            while let Some(Reverse((at, device, what))) = self.events.peek().copied() {
                if at > now {
                    break;
                }
                self.events.pop();
                self.event(now, device, what);
            }
            wake = self.decide(now);
            if self.campaign.state() != CampaignState::Running {
                return;
            }
            let next = self.events.peek().map(|Reverse((at, _, _))| *at);
            match next.into_iter().chain(wake).min() {
                Some(at) if at <= until => now = at.max(now),
                _ => return,
            }
        }
    }

    fn counts(&self) -> Vec<WaveCounts> {
        let started = u64::try_from(self.started).unwrap_or(u64::MAX);
        let all = u64::try_from(self.devices.len()).unwrap_or(u64::MAX);
        let waiting = self.campaign.waiting(started, all);
        self.tallies.iter().zip(waiting).map(|(tally, waiting)| tally.counts(waiting)).collect()
    }

    /// Lets the campaign decide until it has nothing more to do now.
    fn decide(&mut self, now: Instant) -> Option<Instant> {
        let scale = Scale { image: self.of.firmware.size, at_most: u32::MAX, again: false };
        loop {
            let counts = self.counts();
            let change = self.campaign.apply(now, CampaignInput::Tick, &counts, scale);
            if change.moved == Some(CampaignState::Paused(PauseReason::StopRule)) {
                let wave = self.campaign.wave().saturating_add(1);
                self.result.stopped = Some((wave, self.since(now)));
            }
            if change.moved.is_some() {
                return None;
            }
            for _ in 0..change.admit {
                self.start(now);
            }
            if change.admit == 0 && change.entered.is_none() {
                if self.campaign.waits(now) != Some(Waits::Person) {
                    return change.wake;
                }
                let next = CampaignInput::Next;
                let change = self.campaign.apply(now, next, &counts, Scale { at_most: 0, ..scale });
                if change.entered.is_none() {
                    return change.wake;
                }
            }
        }
    }

    fn since(&self, now: Instant) -> u64 {
        now.since(self.of.now).as_secs()
    }

    fn wave_of(&self, at: usize) -> usize {
        self.campaign.wave_at(u64::try_from(at).unwrap_or(u64::MAX))
    }

    /// The next device starts.
    fn start(&mut self, now: Instant) {
        let at = self.started;
        self.started = self.started.saturating_add(1);
        let wave = self.wave_of(at);
        let begins = self.since(now);
        if let Some(of) = self.result.waves.get_mut(wave) {
            of.begins = of.begins.or(Some(begins));
        }
        let mut options = self.of.options.clone();
        options.from_versions.clear();
        options.batch = Some(BatchRef { number: 1, wave: u16::try_from(wave).unwrap_or(u16::MAX) });
        let target = self.of.firmware.version.clone();
        let runs = self.of.member(at).is_some_and(|member| member.version == target);
        if runs {
            // It gets no task, which counts as failed.
            if let Some(tally) = self.tallies.get_mut(wave) {
                tally.add(Slot::Status(Status::Failed), 1);
            }
            return;
        }
        self.apply(now, at, DeviceInput::Start { target: &target, options: &options });
        self.apply(now, at, DeviceInput::Woken);
    }

    fn event(&mut self, now: Instant, at: usize, what: Happens) {
        match what {
            Happens::Connect => {
                let version = self.of.member(at).map(|member| member.version.clone());
                self.apply(now, at, DeviceInput::Connected);
                let version = version.filter(|version| !version.is_empty());
                if let Some(version) = version {
                    let report =
                        DeviceMessage::ReportVersion { version: version.into(), fw_type: None };
                    self.apply(now, at, DeviceInput::Message(&report));
                }
                self.apply(now, at, DeviceInput::Woken);
            }
            Happens::Wake => {
                if let Some(planned) = self.wakes.get_mut(at) {
                    *planned = None;
                }
                self.apply(now, at, DeviceInput::Woken);
            }
            Happens::Loaded => self.rate = self.rate.saturating_sub(self.rate_of(at)),
            Happens::End(attempt) => {
                let open = self.devices.get(at).and_then(|device| device.task.as_ref());
                if open.is_some_and(|task| task.attempt == attempt && task.finished.is_none()) {
                    self.result_of(now, at);
                }
            }
        }
    }

    /// A device reports its result.
    fn result_of(&mut self, now: Instant, at: usize) {
        let fails = self.of.fails(at);
        let state = if fails { ProgressState::Fail } else { ProgressState::Done };
        let target = self.of.firmware.version.clone();
        let progress = Progress {
            state,
            percent: None,
            result_code: if fails { -1 } else { 0 },
            result_msg: "".into(),
        };
        let report = DeviceMessage::ReportProgress {
            version: target.into(),
            progress,
            fw_type: self.of.firmware.fw_type.as_deref().map(Into::into),
        };
        self.apply(now, at, DeviceInput::Message(&report));
        let (wave, since) = (self.wave_of(at), self.since(now));
        if let Some(wave) = self.result.waves.get_mut(wave) {
            wave.ends = wave.ends.max(Some(since));
        }
    }

    fn rate_of(&self, at: usize) -> u64 {
        let takes = self.of.member(at).map_or(1, |member| member.takes.as_secs().max(1));
        self.of.firmware.size.checked_div(takes).unwrap_or(0)
    }

    fn apply(&mut self, now: Instant, at: usize, input: DeviceInput<'_>) {
        let context = Context { config: self.of.config, catalog: &self.catalog };
        let Some(device) = self.devices.get_mut(at) else { return };
        let change = device.apply(now, &context, input);
        let mut offered = None;
        for (of, slot, by) in change.of_batches {
            if let Some(tally) = self.tallies.get_mut(usize::from(of.wave)) {
                tally.add(slot, i64::from(by));
            }
        }
        for effect in change.effects {
            if let Effect::Offer(task) = effect {
                offered = Some(task);
            }
        }
        let planned = self.wakes.get_mut(at).filter(|planned| **planned != change.wake);
        if let (Some(wake), Some(planned)) = (change.wake, planned) {
            *planned = Some(wake);
            self.events.push(Reverse((wake.max(now), at, Happens::Wake)));
        }
        let Some(task) = offered else { return };
        let attempt = device.task.as_ref().map_or(1, |task| task.attempt);
        self.apply(now, at, DeviceInput::Offered(task));
        let takes = self.of.member(at).map_or(Duration::ZERO, |member| member.takes);
        self.events.push(Reverse((now + takes, at, Happens::End(attempt))));
        self.events.push(Reverse((now + takes, at, Happens::Loaded)));
        self.rate = self.rate.saturating_add(self.rate_of(at));
        self.result.peak_bytes_per_second = self.result.peak_bytes_per_second.max(self.rate);
    }

    fn end(mut self) -> Rehearsed {
        let counts = self.counts();
        for (at, counts) in counts.iter().enumerate() {
            let size = self.of.plan.waves.get(at).map(|wave| wave.size);
            let all = u64::try_from(self.devices.len()).unwrap_or(u64::MAX);
            let Some(wave) = self.result.waves.get_mut(at) else { continue };
            wave.wave = at.saturating_add(1);
            wave.devices = size.unwrap_or(all);
            (wave.succeeded, wave.failed) = (counts.succeeded, counts.failed);
            wave.left = counts.waiting.saturating_add(counts.open);
        }
        let is_whole = self.result.waves.iter().all(|wave| wave.left == 0);
        let last = self.result.waves.iter().filter_map(|wave| wave.ends).max();
        self.result.ends = last.filter(|_| is_whole);
        self.result
    }
}
