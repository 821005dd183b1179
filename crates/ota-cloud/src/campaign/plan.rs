//! The plan of a batch: its waves, its times and its weekly windows.

use core::time::Duration;

use ota_proto::Instant;
use serde::{Deserialize, Serialize};

/// The plan of a batch. The default is one wave of everything, at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct CampaignPlan {
    /// Begins at this time; at once without one.
    pub starts: Option<Instant>,
    /// Ends at this time in any case; never without one.
    pub ends: Option<Instant>,
    /// The times of a week at which devices start and get offers; always without one.
    pub windows: Vec<Window>,
    /// The waves, in order. None is one wave without limits.
    pub waves: Vec<Wave>,
    /// Devices may join its last wave later: it is not complete when all its devices have ended.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub joins: bool,
}

/// One wave of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default)]
pub struct Wave {
    /// How its devices were selected.
    pub who: Who,
    /// The number of its devices.
    pub size: u64,
    /// How fast they start.
    pub pace: Pace,
    /// What opens the next wave.
    pub gate: Gate,
    /// What stops the batch.
    pub stop: StopRule,
}

/// The devices of a wave, among those that no wave before it has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Who {
    /// The first ones, this many.
    Count(u64),
    /// This percentage of the batch, in the order of a hash of the names: the same devices come
    /// first in each batch, and they have nothing in common.
    Percent(u8),
    /// Those with this tag.
    Tag(String, String),
    /// These. A stored wave has only their number.
    Devices(Vec<String>),
    /// All others.
    #[default]
    Rest,
}

/// How fast devices start. 0 means without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pace {
    /// The most devices that start per minute.
    pub per_minute: u32,
    /// The most devices in progress.
    pub at_once: u32,
    /// The average number of bytes that the started devices download per second.
    pub bytes_per_second: u64,
}

/// What opens the next wave: all of it must be true. Without a number of successes every device of
/// the wave must have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Gate {
    /// This many devices of the wave were updated.
    pub successes: Option<u64>,
    /// Or this percentage of them.
    pub success_percent: Option<u8>,
    /// So many seconds have passed since then.
    pub soak: u64,
    /// A person opened it.
    pub person: bool,
}

/// What stops a batch. It is checked for a wave as long as the batch runs, also after the next one
/// has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StopRule {
    /// This many failed devices of the wave.
    pub failures: Option<u64>,
    /// This percentage of the ended devices, once enough have ended.
    pub percent: Option<u8>,
    /// The minimum number of ended devices for `percent`.
    pub of_at_least: u64,
    /// This many devices without progress for two minutes.
    pub silent: Option<u64>,
    /// It cancels what has not begun, instead of a pause.
    pub cancel: bool,
}

impl StopRule {
    /// Whether it has a condition.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        self.failures.is_some() || self.percent.is_some() || self.silent.is_some()
    }
}

/// A part of a week, in minutes of the day at a fixed offset from UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The days, one bit each, Monday first.
    pub days: u8,
    /// The first minute.
    pub from: u16,
    /// The first minute after it, at most 1,440.
    pub until: u16,
    /// Minutes east of UTC, -840 to 840.
    #[serde(default)]
    pub offset: i16,
}

const DAY: i64 = 24 * 60;
const MINUTE: i64 = 60_000_000;

impl Window {
    /// Whether its numbers are valid.
    #[must_use]
    pub const fn is_valid(&self) -> bool {
        self.days > 0
            && self.days < 128
            && self.from < self.until
            && self.until <= 1_440
            && self.offset >= -840
            && self.offset <= 840
    }

    /// The minute of the week, and the day.
    fn local(&self, now: Instant) -> (i64, i64) {
        let minutes = i64::try_from(now.as_micros()).unwrap_or(i64::MAX).div_euclid(MINUTE);
        let minutes = minutes.saturating_add(i64::from(self.offset));
        // 1 January 1970 was a Thursday.
        let day = minutes.div_euclid(DAY).saturating_add(3).rem_euclid(7);
        (minutes.rem_euclid(DAY), day)
    }

    fn has(&self, day: i64) -> bool {
        u32::try_from(day).is_ok_and(|day| self.days.checked_shr(day).unwrap_or(0) & 1 == 1)
    }

    /// Whether a time is in it.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        let (minute, day) = self.local(now);
        self.has(day) && minute >= i64::from(self.from) && minute < i64::from(self.until)
    }

    /// The next time at which it opens or closes.
    #[must_use]
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let (minute, day) = self.local(now);
        let micros = i64::try_from(now.as_micros()).ok()?;
        let start = micros.checked_sub(micros.rem_euclid(MINUTE))?;
        let later = (0..=7_i64).filter(|ahead| self.has(day.saturating_add(*ahead).rem_euclid(7)));
        let edges = later.flat_map(|ahead| {
            [self.from, self.until].map(|edge| {
                ahead.saturating_mul(DAY).saturating_add(i64::from(edge)).saturating_sub(minute)
            })
        });
        let next = edges.filter(|minutes| *minutes > 0).min()?;
        let at = start.checked_add(next.checked_mul(MINUTE)?)?;
        u64::try_from(at).ok().map(Instant::from_micros)
    }
}

/// A number of a plan that is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanFault {
    /// Where.
    pub part: PlanPart,
    /// Why.
    pub why: PlanError,
}

/// A part of a plan. Waves and windows count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanPart {
    /// All waves.
    Waves,
    /// The end.
    Ends,
    /// A window.
    Window(usize),
    /// A wave.
    Wave(usize, WavePart),
}

/// A part of a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WavePart {
    /// Its devices.
    Who,
    /// The successes of its gate.
    Successes,
    /// The soak time of its gate.
    Soak,
    /// The failures of its stop rule.
    Failures,
    /// The percentage of its stop rule.
    StopPercent,
    /// The silent devices of its stop rule.
    Silent,
}

impl PlanPart {
    /// The field of a request.
    const fn field(self) -> &'static str {
        match self {
            Self::Waves | Self::Wave(..) => "waves",
            Self::Ends => "ends",
            Self::Window(_) => "windows",
        }
    }
}

/// Why a number of a plan is not possible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanError {
    /// More waves than a batch may have.
    TooManyWaves,
    /// The end is before the start.
    EndsFirst,
    /// The end is in the past.
    IsOver,
    /// No part of a week, or too many of them.
    Window,
    /// A wave without devices.
    NoDevices,
    /// A percentage that is not 1 to 100.
    Percent,
    /// A number and a percentage.
    TwoNumbers,
    /// Zero devices.
    Zero,
    /// A soak time over the longest.
    LongSoak,
}

impl PlanError {
    const fn text(self) -> &'static str {
        match self {
            Self::TooManyWaves => "a batch has at most 20 waves",
            Self::EndsFirst => "it ends before it starts",
            Self::IsOver => "the time is over",
            Self::Window => {
                "at most 20, each with `days` 1 to 127, `from` before `until`, at most 1,440"
            }
            Self::NoDevices => "a wave of 0 devices",
            Self::Percent => "a percentage is 1 to 100",
            Self::TwoNumbers => "a gate has `successes` or `success_percent`",
            Self::Zero => "a number of devices is 1 or more",
            Self::LongSoak => "`soak` is at most 30 days",
        }
    }
}

impl CampaignPlan {
    /// Whether its windows allow devices to start and get offers.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|window| window.is_open(now))
    }

    /// Whether it limits when its devices start.
    #[must_use]
    pub fn is_paced(&self) -> bool {
        self.starts.is_some()
            || !self.windows.is_empty()
            || self.waves.len() > 1
            || self.waves.iter().any(|wave| wave.pace != Pace::default())
    }

    /// Whether the tags of devices decide about their wave.
    #[must_use]
    pub fn needs_tags(&self) -> bool {
        self.waves.iter().any(|wave| matches!(wave.who, Who::Tag(..)))
    }

    /// Checks its numbers. The sizes of the waves are not checked here.
    ///
    /// # Errors
    /// The field at fault, and why.
    pub fn check(&self, now: Instant) -> Result<(), (&'static str, &'static str)> {
        self.faults(now).first().map_or(Ok(()), |fault| Err((fault.part.field(), fault.why.text())))
    }

    /// Every number of it that is not possible.
    #[must_use]
    pub fn faults(&self, now: Instant) -> Vec<PlanFault> {
        let mut faults = Vec::new();
        let mut add = |part, why| faults.push(PlanFault { part, why });
        if self.waves.len() > Self::MOST_WAVES {
            add(PlanPart::Waves, PlanError::TooManyWaves);
        }
        if self.ends.is_some_and(|ends| ends <= self.starts.unwrap_or(now)) {
            add(PlanPart::Ends, PlanError::EndsFirst);
        } else if self.ends.is_some_and(|ends| ends <= now) {
            add(PlanPart::Ends, PlanError::IsOver);
        }
        if self.windows.len() > Self::MOST_WINDOWS {
            add(PlanPart::Window(Self::MOST_WINDOWS), PlanError::Window);
        }
        for (at, window) in self.windows.iter().enumerate() {
            if !window.is_valid() {
                add(PlanPart::Window(at), PlanError::Window);
            }
        }
        for (at, wave) in self.waves.iter().enumerate() {
            let faults = wave.faults().into_iter().flatten();
            faults.for_each(|(part, why)| add(PlanPart::Wave(at, part), why));
        }
        faults
    }

    /// The most weekly windows of a batch.
    pub const MOST_WINDOWS: usize = 20;
    /// The most waves of a batch.
    pub const MOST_WAVES: usize = 20;
    /// The longest soak time in seconds: 30 days.
    pub const MOST_SOAK: u64 = 30 * 24 * 3_600;
}

impl Wave {
    /// What is not possible of each of its parts.
    fn faults(&self) -> [Option<(WavePart, PlanError)>; 7] {
        let percent = |part, value: Option<u8>| {
            let is_wrong = value.is_some_and(|value| !(1..=100).contains(&value));
            is_wrong.then_some((part, PlanError::Percent))
        };
        let some = |part, value: Option<u64>| (value == Some(0)).then_some((part, PlanError::Zero));
        let who = match &self.who {
            Who::Count(0) => Some((WavePart::Who, PlanError::NoDevices)),
            Who::Devices(names) if names.is_empty() => Some((WavePart::Who, PlanError::NoDevices)),
            Who::Percent(0) => Some((WavePart::Who, PlanError::NoDevices)),
            Who::Percent(share) => percent(WavePart::Who, Some(*share)),
            _ => None,
        };
        let (gate, stop) = (&self.gate, &self.stop);
        let both = gate.successes.is_some() && gate.success_percent.is_some();
        let both = both.then_some((WavePart::Successes, PlanError::TwoNumbers));
        let is_long = gate.soak > CampaignPlan::MOST_SOAK;
        [
            who,
            percent(WavePart::Successes, gate.success_percent).or(both),
            percent(WavePart::StopPercent, stop.percent),
            some(WavePart::Successes, gate.successes),
            some(WavePart::Failures, stop.failures),
            some(WavePart::Silent, stop.silent),
            is_long.then_some((WavePart::Soak, PlanError::LongSoak)),
        ]
    }

    /// How many successes its gate needs; `None` if all its devices must have ended.
    #[must_use]
    pub fn needed(&self) -> Option<u64> {
        let share = |percent: u8| {
            self.size.saturating_mul(u64::from(percent)).saturating_add(99).wrapping_div(100)
        };
        self.gate.successes.or(self.gate.success_percent.map(share))
    }
}

/// Seconds of a gate as a duration.
pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
