//! A batch of updates as a value: which wave runs, how many more devices may start, and what stops
//! it.

mod course;
mod plan;
mod tally;

use core::time::Duration;

use ota_proto::Instant;
use serde::{Deserialize, Serialize};

pub use course::{Course, Point};
pub use plan::{
    CampaignPlan, Gate, Pace, PlanError, PlanFault, PlanPart, StopRule, Wave, WavePart, Who, Window,
};
pub use tally::{BatchRef, Slot, Tally, WaveCounts, count_name, count_prefix, read_count};

/// A batch. It never sees its devices. It gets the number of devices in each state of each wave and
/// returns how many more may start. The store selects them, and [`Device`](crate::Device) updates
/// each.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Campaign {
    plan: CampaignPlan,
    state: CampaignState,
    /// The index of the wave whose devices start now.
    #[serde(default)]
    wave: usize,
    /// Since when the numbers of its gate are reached.
    #[serde(default)]
    reached: Option<Instant>,
    /// When the current minute of admissions began, and the number of admitted devices.
    #[serde(default)]
    minute: Option<(Instant, u32)>,
    /// When the bytes of the admitted devices are downloaded.
    #[serde(default)]
    bytes: Option<Instant>,
    /// The failures of each wave when a person resumed the batch; these do not stop it again.
    #[serde(default)]
    forgiven: Vec<u64>,
    /// The same of silent devices.
    #[serde(default)]
    forgiven_silent: Vec<u64>,
    /// Whether its devices got no offers at the last time.
    #[serde(default)]
    held: bool,
    /// One more for each command, and for each change of its state or wave.
    #[serde(default)]
    rev: u64,
}

/// The state of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CampaignState {
    /// Devices start as the plan allows.
    Running,
    /// No device starts, and none gets an offer.
    Paused(PauseReason),
    /// It is over.
    Closed(CloseReason),
}

/// Why a batch is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PauseReason {
    /// A person's command.
    Asked,
    /// Its stop rule.
    StopRule,
}

/// Why a batch is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum CloseReason {
    /// Every device has ended.
    Complete,
    /// Its end time has come.
    Ended,
    /// A person's command.
    Cancelled,
    /// Its stop rule.
    StopRule,
}

/// Why the devices of a batch get no offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Hold {
    /// It is paused.
    Paused,
    /// Its weekly window is closed.
    Window,
}

/// What the next wave waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Waits {
    /// Devices of the wave have to end, or to succeed.
    Devices,
    /// The soak time, until this time.
    Soak(Instant),
    /// A person.
    Person,
}

/// Inputs of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CampaignInput {
    /// Counts have changed, or its wake-up is due.
    Tick,
    /// A person pauses it.
    Pause,
    /// A person resumes it. The failures so far do not stop it again.
    Resume,
    /// A person opens the next wave now, whatever its gate says.
    Next,
    /// A person ends it. Started devices continue unless the caller ends their tasks.
    Cancel,
    /// Devices that have ended start again: it is open again.
    Reopen,
}

/// What [`Campaign::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
#[non_exhaustive]
pub struct CampaignChange {
    /// This many waiting devices may start now.
    pub admit: u32,
    /// Its new state.
    pub moved: Option<CampaignState>,
    /// The wave that has begun.
    pub entered: Option<usize>,
    /// Its devices get offers again: the offers of open tasks must be pushed.
    pub released: bool,
    /// The latest time of the next [`CampaignInput::Tick`], in addition to those after changes of
    /// counts.
    pub wake: Option<Instant>,
}

/// What a batch must know besides its counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scale {
    /// The size of the image in bytes.
    pub image: u64,
    /// The most devices that may start in one step.
    pub at_most: u32,
    /// Devices that have ended are about to start again, so that it is not complete.
    pub again: bool,
}

const MINUTE: Duration = Duration::from_secs(60);

impl Default for Campaign {
    /// One wave without limits.
    fn default() -> Self {
        Self::new(CampaignPlan::default())
    }
}

impl Campaign {
    /// Makes a batch that begins as planned.
    #[must_use]
    pub const fn new(plan: CampaignPlan) -> Self {
        Self {
            plan,
            state: CampaignState::Running,
            wave: 0,
            reached: None,
            minute: None,
            bytes: None,
            forgiven: Vec::new(),
            forgiven_silent: Vec::new(),
            held: false,
            rev: 0,
        }
    }

    /// Its plan.
    #[must_use]
    pub const fn plan(&self) -> &CampaignPlan {
        &self.plan
    }

    /// Its state.
    #[must_use]
    pub const fn state(&self) -> CampaignState {
        self.state
    }

    /// The index of the wave whose devices start now.
    #[must_use]
    pub const fn wave(&self) -> usize {
        self.wave
    }

    /// One more for each command, and for each change of its state or wave: a person's command is
    /// for the revision that the person saw.
    #[must_use]
    pub const fn rev(&self) -> u64 {
        self.rev
    }

    /// Whether it is over.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, CampaignState::Closed(_))
    }

    /// The number of its waves, at least 1.
    #[must_use]
    pub fn waves(&self) -> usize {
        self.plan.waves.len().max(1)
    }

    /// The wave of the device at this index of the batch.
    #[must_use]
    pub fn wave_at(&self, index: u64) -> usize {
        let mut end = 0_u64;
        for (at, wave) in self.plan.waves.iter().enumerate() {
            end = end.saturating_add(wave.size);
            if index < end {
                return at;
            }
        }
        self.waves().saturating_sub(1)
    }

    /// Devices were added to its last wave.
    #[cfg(feature = "api")]
    pub(crate) fn grow(&mut self, by: u64) {
        if let Some(last) = self.plan.waves.last_mut() {
            last.size = last.size.saturating_add(by);
        }
    }

    /// The waiting devices of each wave, if so many have started.
    #[must_use]
    pub fn waiting(&self, started: u64, all: u64) -> Vec<u64> {
        if self.plan.waves.is_empty() {
            return vec![all.saturating_sub(started)];
        }
        let mut begin = 0_u64;
        let of = |wave: &Wave| {
            let end = begin.saturating_add(wave.size);
            let left = end.saturating_sub(started.max(begin));
            begin = end;
            left
        };
        self.plan.waves.iter().map(of).collect()
    }

    /// Why its devices get no offers of their tasks now, also no repeated ones.
    #[must_use]
    pub fn hold(&self, now: Instant) -> Option<Hold> {
        match self.state {
            CampaignState::Paused(_) => Some(Hold::Paused),
            CampaignState::Running if !self.plan.is_open(now) => Some(Hold::Window),
            _ => None,
        }
    }

    /// What the next wave waits for; `None` if there is none.
    #[must_use]
    pub fn waits(&self, now: Instant) -> Option<Waits> {
        if self.is_closed() || self.wave.saturating_add(1) >= self.waves() {
            return None;
        }
        let wave = self.plan.waves.get(self.wave)?;
        let Some(reached) = self.reached else { return Some(Waits::Devices) };
        let soaked = reached + plan::seconds(wave.gate.soak);
        Some(if soaked > now { Waits::Soak(soaked) } else { Waits::Person })
    }

    /// Applies an input at a time that is not before the last one. `counts` has the counts of each
    /// wave. Admitted devices count as started: the next call's counts must include them as open.
    pub fn apply(
        &mut self,
        now: Instant,
        input: CampaignInput,
        counts: &[WaveCounts],
        scale: Scale,
    ) -> CampaignChange {
        let (state, wave, held) = (self.state, self.wave, self.held);
        self.take(input, counts);
        self.judge(now, counts, scale.again);
        self.pass_gates(now, counts);
        let admit = self.admit(now, counts, scale);
        let moved = (self.state != state).then_some(self.state);
        let entered = (self.wave != wave).then_some(self.wave);
        if moved.is_some() || entered.is_some() || input != CampaignInput::Tick {
            self.rev = self.rev.saturating_add(1);
        }
        self.held = self.hold(now).is_some();
        let released = held && !self.held && !self.is_closed();
        let wake = self.wake(now, counts, u64::from(admit));
        CampaignChange { admit, moved, entered, released, wake }
    }

    fn take(&mut self, input: CampaignInput, counts: &[WaveCounts]) {
        match (input, self.state) {
            (CampaignInput::Reopen, CampaignState::Closed(CloseReason::Complete)) => {
                self.state = CampaignState::Running;
                self.forgive(counts);
            }
            (_, CampaignState::Closed(_)) | (CampaignInput::Tick, _) => {}
            (CampaignInput::Pause, _) => self.state = CampaignState::Paused(PauseReason::Asked),
            (CampaignInput::Resume, CampaignState::Paused(_)) => {
                self.forgive(counts);
                self.state = CampaignState::Running;
            }
            (CampaignInput::Resume, CampaignState::Running) => {}
            (CampaignInput::Next, CampaignState::Running) => self.enter(),
            (CampaignInput::Next, CampaignState::Paused(_)) => {}
            (CampaignInput::Reopen, _) => self.forgive(counts),
            (CampaignInput::Cancel, _) => {
                self.state = CampaignState::Closed(CloseReason::Cancelled)
            }
        }
    }

    fn forgive(&mut self, counts: &[WaveCounts]) {
        self.forgiven = counts.iter().map(WaveCounts::bad).collect();
        self.forgiven_silent = counts.iter().map(|wave| wave.silent).collect();
    }

    fn enter(&mut self) {
        if self.wave.saturating_add(1) < self.waves() {
            self.wave = self.wave.saturating_add(1);
            self.reached = None;
        }
    }

    /// Ends or stops it by time and counts.
    fn judge(&mut self, now: Instant, counts: &[WaveCounts], again: bool) {
        if self.is_closed() {
            return;
        }
        if self.plan.ends.is_some_and(|at| at <= now) {
            self.state = CampaignState::Closed(CloseReason::Ended);
        } else if self.state == CampaignState::Running {
            if let Some(rule) = self.stopped_by(counts) {
                self.state = if rule.cancel {
                    CampaignState::Closed(CloseReason::StopRule)
                } else {
                    CampaignState::Paused(PauseReason::StopRule)
                };
            } else if !again && !self.plan.joins && counts.iter().all(WaveCounts::is_over) {
                self.state = CampaignState::Closed(CloseReason::Complete);
            }
        }
    }

    /// The rule that is broken, of a wave that has begun.
    fn stopped_by(&self, counts: &[WaveCounts]) -> Option<StopRule> {
        let begun = self.plan.waves.iter().zip(counts).enumerate();
        let broken = begun.take(self.wave.saturating_add(1)).find(|(at, (wave, counts))| {
            let less = |of: &[u64]| of.get(*at).copied().unwrap_or(0);
            let failed = counts.bad().saturating_sub(less(&self.forgiven));
            let silent = counts.silent.saturating_sub(less(&self.forgiven_silent));
            let ended = failed.saturating_add(counts.succeeded);
            let share = u128::from(failed).saturating_mul(100);
            let rule = &wave.stop;
            rule.failures.is_some_and(|most| failed >= most.max(1))
                || rule.silent.is_some_and(|most| silent >= most.max(1))
                || rule.percent.is_some_and(|percent| {
                    failed > 0
                        && ended >= rule.of_at_least
                        && share >= u128::from(ended).saturating_mul(u128::from(percent))
                })
        });
        broken.map(|(_, (wave, _))| wave.stop)
    }

    /// Opens the next waves whose gates are open.
    fn pass_gates(&mut self, now: Instant, counts: &[WaveCounts]) {
        while self.state == CampaignState::Running && self.has_begun(now) {
            let (Some(wave), Some(counts)) =
                (self.plan.waves.get(self.wave), counts.get(self.wave))
            else {
                return;
            };
            if self.wave.saturating_add(1) >= self.waves() {
                return;
            }
            let is_reached = match wave.needed() {
                Some(needed) => counts.succeeded >= needed,
                None => counts.is_over(),
            };
            if !is_reached {
                self.reached = None;
                return;
            }
            let reached = *self.reached.get_or_insert(now);
            if wave.gate.person || reached + plan::seconds(wave.gate.soak) > now {
                return;
            }
            self.enter();
        }
    }

    fn has_begun(&self, now: Instant) -> bool {
        self.plan.starts.is_none_or(|at| at <= now)
    }

    /// The devices that wait and whose wave has begun.
    fn ready(&self, counts: &[WaveCounts]) -> u64 {
        let begun = counts.iter().take(self.wave.saturating_add(1));
        begun.map(|wave| wave.waiting).fold(0, u64::saturating_add)
    }

    fn pace(&self) -> Pace {
        self.plan.waves.get(self.wave).map(|wave| wave.pace).unwrap_or_default()
    }

    /// Returns how many may start now, and records them.
    fn admit(&mut self, now: Instant, counts: &[WaveCounts], scale: Scale) -> u32 {
        let ready = self.ready(counts);
        let open = self.state == CampaignState::Running && self.plan.is_open(now);
        if !open || !self.has_begun(now) || ready == 0 {
            return 0;
        }
        let pace = self.pace();
        let mut room = u32::try_from(ready).unwrap_or(u32::MAX).min(scale.at_most);
        if pace.at_once > 0 {
            let places = counts.iter().map(|wave| wave.open.saturating_sub(wave.stalled));
            let places = u32::try_from(places.fold(0, u64::saturating_add)).unwrap_or(u32::MAX);
            room = room.min(pace.at_once.saturating_sub(places));
        }
        if pace.per_minute > 0 {
            room = room.min(pace.per_minute.saturating_sub(self.in_minute(now).1));
        }
        room = self.pay(now, room, pace.bytes_per_second, scale.image);
        if room > 0 && pace.per_minute > 0 {
            let (began, so_far) = self.in_minute(now);
            self.minute = Some((began, so_far.saturating_add(room)));
        }
        room
    }

    fn in_minute(&self, now: Instant) -> (Instant, u32) {
        self.minute.filter(|(began, _)| now < *began + MINUTE).unwrap_or((now, 0))
    }

    /// Limits starts by the bytes that they download: each takes its time on the line.
    fn pay(&mut self, now: Instant, room: u32, per_second: u64, bytes: u64) -> u32 {
        if per_second == 0 || bytes == 0 || room == 0 {
            return room;
        }
        if self.bytes.is_some_and(|at| at > now) {
            return 0;
        }
        // As many as the line takes in a second, at least one.
        let some = per_second.checked_div(bytes).unwrap_or(0).max(1);
        let room = room.min(u32::try_from(some).unwrap_or(u32::MAX));
        let micros = u128::from(bytes).saturating_mul(u128::from(room)).saturating_mul(1_000_000);
        let micros = micros.checked_div(u128::from(per_second)).unwrap_or(0);
        let took = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX));
        self.bytes = Some(now + took);
        room
    }

    fn wake(&self, now: Instant, counts: &[WaveCounts], admitted: u64) -> Option<Instant> {
        if self.is_closed() {
            return None;
        }
        let mut times: Vec<Instant> = self.plan.ends.into_iter().collect();
        let running = self.state == CampaignState::Running;
        if running && !self.has_begun(now) {
            times.extend(self.plan.starts);
        }
        if running && self.has_begun(now) {
            times.extend(self.plan.windows.iter().filter_map(|window| window.next(now)));
            if self.ready(counts) > admitted {
                let pace = self.pace();
                let minute = self.minute.map(|(began, _)| began + MINUTE);
                times.extend(minute.filter(|_| pace.per_minute > 0));
                times.extend(self.bytes.filter(|_| pace.bytes_per_second > 0));
            }
            if let Some(Waits::Soak(until)) = self.waits(now) {
                times.push(until);
            }
        }
        times.into_iter().filter(|at| *at > now).min()
    }
}
