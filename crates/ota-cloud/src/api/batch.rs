//! Batches in requests and answers.

use std::collections::BTreeMap;

use core::time::Duration;

use ota_proto::{Identity, Instant};
use serde::{Deserialize, Serialize};

use super::call::DeviceFilter;
use super::firmware::{check_version, task_options};
use super::input::{read_json, text};
use super::problem::Problem;
use super::view::slug;
use crate::batch::{Batch, BatchStatus, Joins, Line, Mode};
#[cfg(feature = "table")]
use crate::calendar::date_time;
use crate::campaign::{
    CampaignPlan, CampaignState, CloseReason, Gate, Hold, Pace, PauseReason, Point, Slot, StopRule,
    Tally, Waits, Wave, Who, Window,
};
use crate::catalog::Firmware;
use crate::device::Status;
use crate::options::Retries;
#[cfg(feature = "table")]
use crate::table::{escaped, line, quoted};

/// A requested batch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct NewBatch {
    /// The target version.
    pub version: String,
    module: Option<String>,
    timeout: Option<u64>,
    confirm: bool,
    /// Cancel open tasks of its devices first.
    #[serde(rename = "override")]
    overrides: bool,
    /// These devices.
    devices: Option<Vec<String>>,
    /// Devices that run one of these.
    from_versions: Vec<String>,
    /// Devices with this tag, `NAME:VALUE`.
    tag: Option<String>,
    /// Devices whose names begin with this.
    prefix: Option<String>,
    /// All devices of the product.
    all: bool,
    /// Devices that match later join it.
    dynamic: bool,
    /// Its waves, in order.
    waves: Vec<NewWave>,
    /// When it begins and ends, in microseconds since 1970.
    starts: Option<u64>,
    ends: Option<u64>,
    /// When its devices start and get offers.
    windows: Vec<Window>,
    /// Attempts that begin by themselves, and the first pause in seconds.
    retries: u32,
    retry_pause: Option<u64>,
    /// A text for the devices, in their offers.
    user_defined: Option<String>,
    /// A text for people.
    comment: String,
}

/// A requested wave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct NewWave {
    count: Option<u64>,
    percent: Option<u8>,
    tag: Option<String>,
    devices: Option<Vec<String>>,
    pace: Pace,
    gate: Gate,
    stop: StopRule,
}

impl NewWave {
    fn wave(self) -> Result<Wave, Problem> {
        let Self { count, percent, tag, devices, pace, gate, stop } = self;
        let who = match (count, percent, tag, devices) {
            (None, None, None, None) => Who::Rest,
            (Some(count), None, None, None) => Who::Count(count),
            (None, Some(percent), None, None) => Who::Percent(percent),
            (None, None, Some(tag), None) => match tag.split_once(':') {
                Some((name, value)) if !name.is_empty() => {
                    Who::Tag(name.to_owned(), value.to_owned())
                }
                _ => return Err(Problem::field("waves", "write a tag as NAME:VALUE")),
            },
            (None, None, None, Some(devices)) => Who::Devices(devices),
            _ => {
                let what = "a wave has one of `count`, `percent`, `tag` and `devices`";
                return Err(Problem::field("waves", what));
            }
        };
        Ok(Wave { who, size: 0, pace, gate, stop })
    }
}

/// A person's change of a batch, and the revision that the person saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct BatchChange {
    /// Only if the batch still has this revision.
    pub rev: Option<u64>,
    /// Devices with an offer continue, of a cancelled batch.
    pub let_run: bool,
    /// The text for people.
    pub comment: String,
}

impl BatchChange {
    /// The longest text for people in bytes.
    const MAX_COMMENT: usize = 1_024;

    /// Parses a body, which may be empty.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid).
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let change: Self = read_json(body)?;
        text("comment", &change.comment, Self::MAX_COMMENT)?;
        Ok(change)
    }
}

/// What differs in a batch that is begun once more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct CloneBatch {
    version: Option<String>,
    comment: Option<String>,
}

impl CloneBatch {
    /// Parses a body, which may be empty.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid).
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        if body.is_empty() {
            return Ok(Self::default());
        }
        let change: Self = read_json(body)?;
        if let Some(version) = &change.version {
            check_version(version)?;
        }
        text("comment", change.comment.as_deref().unwrap_or(""), BatchChange::MAX_COMMENT)?;
        Ok(change)
    }

    /// Changes a batch that is not begun.
    pub fn change(self, batch: &mut Batch) {
        if let Some(version) = self.version {
            batch.version = version;
        }
        if let Some(comment) = self.comment {
            batch.comment = comment;
        }
    }
}

/// The devices of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Choice {
    /// These.
    Names(Vec<String>),
    /// Devices that match one of these when the batch begins.
    Matching(Vec<DeviceFilter>),
}

impl NewBatch {
    /// Parses a body: a batch of the product without devices, and the selection of its devices.
    ///
    /// # Errors
    /// [`Code::Invalid`](super::Code::Invalid).
    pub fn read(
        product: &str,
        body: &[u8],
        now: Instant,
    ) -> Result<(Batch, Choice, CampaignPlan), Problem> {
        let mut new: Self = read_json(body)?;
        let plan = new.plan(now)?;
        let mut options =
            task_options(&new.version, new.module, new.timeout, new.confirm, new.from_versions)?;
        options.retries = retries(new.retries, new.retry_pause)?;
        text(
            "user_defined",
            new.user_defined.as_deref().unwrap_or(""),
            Firmware::MAX_USER_DEFINED,
        )?;
        options.user_defined = new.user_defined.take();
        text("comment", &new.comment, BatchChange::MAX_COMMENT)?;
        let filters = new.tag.is_some() || new.prefix.is_some();
        // An empty value, for example from a script, must not select all devices.
        if new.prefix.as_ref().is_some_and(String::is_empty) {
            return Err(Problem::field("prefix", "it is empty: all devices are \"all\": true"));
        }
        if new
            .tag
            .as_ref()
            .is_some_and(|tag| tag.split_once(':').is_none_or(|(tag, _)| tag.is_empty()))
        {
            return Err(Problem::field("tag", "write NAME:VALUE"));
        }
        let (mode, choice) = match new.devices {
            Some(_) if filters || new.all => {
                let what = "`devices` does not go with `tag`, `prefix` or `all`";
                return Err(Problem::field("devices", what));
            }
            Some(names) => {
                if let Some(at) = names.iter().position(|name| Identity::new("P", name).is_err()) {
                    let at = at.saturating_add(1);
                    let what = format!("number {at} of the list is not a valid device name");
                    return Err(Problem::field("devices", what));
                }
                (Mode::DeviceNames, Choice::Names(names))
            }
            None if !filters && options.from_versions.is_empty() && !new.all => {
                let what = "say which: devices, from_versions, tag or prefix; or \"all\": true";
                return Err(Problem::field("devices", what));
            }
            None => {
                let base = DeviceFilter::of(new.tag.as_deref(), new.prefix.as_deref())?;
                let of = |version: &String| DeviceFilter {
                    version: Some((options.module.clone(), version.clone())),
                    ..base.clone()
                };
                let mut each: Vec<DeviceFilter> = options.from_versions.iter().map(of).collect();
                if each.is_empty() {
                    each.push(base);
                }
                let by_version = !filters && !options.from_versions.is_empty();
                let mode = if by_version { Mode::OriginalVersion } else { Mode::Filter };
                (mode, Choice::Matching(each))
            }
        };
        let joins = joins_of(new.dynamic, &choice, &options.from_versions)?;
        let mut batch = Batch::new(product, &new.version, mode, options);
        (batch.overrides, batch.joins) = (new.overrides, joins);
        batch.comment = new.comment;
        Ok((batch, choice, plan))
    }

    fn plan(&mut self, now: Instant) -> Result<CampaignPlan, Problem> {
        let waves = core::mem::take(&mut self.waves).into_iter().map(NewWave::wave);
        let plan = CampaignPlan {
            starts: self.starts.map(Instant::from_micros),
            ends: self.ends.map(Instant::from_micros),
            windows: core::mem::take(&mut self.windows),
            waves: waves.collect::<Result<_, _>>()?,
            joins: self.dynamic,
        };
        plan.check(now).map_err(|(field, what)| Problem::field(field, what))?;
        Ok(plan)
    }
}

/// A batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchView<'a> {
    /// Its number in its product.
    pub batch: u32,
    /// The module that is updated.
    pub module: &'a str,
    /// The target version.
    pub version: &'a str,
    /// How its devices were selected.
    pub by: &'static str,
    /// When it was begun.
    pub made: u64,
    /// A person cancelled it.
    pub cancelled: bool,
    /// The number of its devices.
    pub devices: usize,
    /// How many of them have no task yet.
    pub waiting: usize,
    /// One more for each command and each change of its state or wave.
    pub rev: u64,
    /// `running`, `paused` or `closed`.
    pub state: &'static str,
    /// Why: `asked`, `stop-rule`, `complete`, `ended`, `cancelled`.
    pub why: Option<&'static str>,
    /// The number of the wave whose devices start, from 1.
    pub wave: usize,
    /// Whether devices that match later join it.
    pub dynamic: bool,
    /// The text for people.
    pub comment: &'a str,
}

impl<'a> BatchView<'a> {
    /// The view of a batch.
    #[must_use]
    pub fn new(batch: &'a Batch) -> Self {
        Self {
            batch: batch.number,
            module: batch.options.module.as_str(),
            version: &batch.version,
            by: batch.mode.word(),
            made: batch.made,
            cancelled: batch.cancelled,
            devices: usize::try_from(batch.devices()).unwrap_or(usize::MAX),
            waiting: batch.waits(),
            rev: batch.campaign.rev(),
            state: state(batch.campaign.state()),
            why: why(batch.campaign.state()),
            wave: batch.campaign.wave().saturating_add(1),
            dynamic: batch.joins.is_some(),
            comment: &batch.comment,
        }
    }
}

/// A batch and its progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchProgress<'a> {
    /// The batch.
    #[serde(flatten)]
    pub what: BatchView<'a>,
    /// `creating`, `running`, `paused`, `finished` or `cancelled`.
    pub status: &'static str,
    /// How many of its devices are in each state.
    pub counts: BTreeMap<String, u64>,
    /// Its waves.
    pub waves: Vec<WaveView>,
    /// What the next wave waits for: `devices`, `soak` or `person`.
    pub waits: Option<&'static str>,
    /// When the soak time is over.
    pub soaks_until: Option<u64>,
    /// Why no device gets an offer: `paused` or `window`.
    pub held: Option<&'static str>,
    /// When it begins and ends.
    pub starts: Option<u64>,
    /// When it ends.
    pub ends: Option<u64>,
    /// How many devices have an offer and an open task: they cannot be stopped any more.
    pub unstoppable: u64,
    /// How many devices failed for each reason, the most frequent first.
    pub reasons: Vec<ReasonView>,
    /// The commands that its state allows: `pause`, `resume`, `next`, `retry`, `cancel`.
    pub commands: Vec<&'static str>,
    /// The numbers of devices that had ended, over time: at most 120 points.
    pub course: &'a [Point],
}

/// A wave of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WaveView {
    /// Its number, from 1.
    pub wave: usize,
    /// How its devices were selected, in words.
    pub who: String,
    /// The number of its devices.
    pub devices: u64,
    /// `waiting`, `running` or `over`.
    pub state: &'static str,
    /// How many of them have no task yet.
    pub waiting: u64,
    /// How many of them are in each state.
    pub counts: BTreeMap<String, u64>,
    /// How many make no progress since two minutes.
    pub silent: u64,
    /// How many of them freed their places.
    pub stalled: u64,
    /// How many are open after an attempt that failed.
    pub again: u64,
    /// How fast they start.
    pub pace: Pace,
    /// What opens the next wave.
    pub gate: Gate,
    /// How many successes that needs.
    pub needed: Option<u64>,
    /// What stops the batch.
    pub stop: StopRule,
}

/// A reason of failures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReasonView {
    /// The result's code.
    pub code: i64,
    /// The text.
    pub text: String,
    /// The number of devices.
    pub devices: u64,
}

/// The word for a state.
const fn state(state: CampaignState) -> &'static str {
    match state {
        CampaignState::Running => "running",
        CampaignState::Paused(_) => "paused",
        CampaignState::Closed(_) => "closed",
    }
}

const fn why(state: CampaignState) -> Option<&'static str> {
    Some(match state {
        CampaignState::Running => return None,
        CampaignState::Paused(PauseReason::Asked) => "asked",
        CampaignState::Paused(PauseReason::StopRule)
        | CampaignState::Closed(CloseReason::StopRule) => "stop-rule",
        CampaignState::Closed(CloseReason::Complete) => "complete",
        CampaignState::Closed(CloseReason::Ended) => "ended",
        CampaignState::Closed(CloseReason::Cancelled) => "cancelled",
    })
}

/// Which devices join a dynamic batch later: those that its choice selects.
fn joins_of(
    dynamic: bool,
    choice: &Choice,
    from_versions: &[String],
) -> Result<Option<Joins>, Problem> {
    match choice {
        _ if !dynamic => Ok(None),
        Choice::Matching(filters) => {
            let base = filters.first().cloned().unwrap_or_default();
            let from_versions = from_versions.to_vec();
            Ok(Some(Joins { from_versions, prefix: base.prefix, tag: base.tag }))
        }
        Choice::Names(_) => {
            Err(Problem::field("dynamic", "it goes with `from_versions`, `tag`, `prefix` or `all`"))
        }
    }
}

fn retries(most: u32, pause: Option<u64>) -> Result<Option<Retries>, Problem> {
    let pause = pause.unwrap_or(60);
    if most > 10 {
        return Err(Problem::field("retries", "at most 10"));
    }
    if !(1..=86_400).contains(&pause) {
        return Err(Problem::field("retry_pause", "1 to 86,400 seconds"));
    }
    Ok((most > 0).then_some(Retries { most, pause: Duration::from_secs(pause) }))
}

impl WaveView {
    /// The views of a batch's waves, by their counts.
    #[must_use]
    pub fn of_batch(batch: &Batch, tallies: &[Tally]) -> Vec<Self> {
        let mut waves = batch.campaign.plan().waves.clone();
        if waves.is_empty() {
            waves.push(Wave { size: batch.devices(), ..Wave::default() });
        }
        let waiting = batch.waiting_by_wave();
        let none = Tally::default();
        let views = waves.into_iter().enumerate().map(|(at, wave)| {
            let tally = tallies.get(at).unwrap_or(&none);
            let waiting = waiting.get(at).copied().unwrap_or(0);
            let open = tally.counts(waiting);
            let state = if open.waiting == 0 && open.open == 0 {
                "over"
            } else if at > batch.campaign.wave() {
                "waiting"
            } else {
                "running"
            };
            let counts = tally.statuses().map(|(status, count)| (slug(status), count));
            Self {
                wave: at.saturating_add(1),
                who: who(&wave.who),
                devices: wave.size,
                state,
                waiting,
                counts: counts.collect(),
                silent: tally.of(Slot::Silent),
                stalled: tally.of(Slot::Stalled),
                again: tally.of(Slot::Again),
                pace: wave.pace,
                gate: wave.gate,
                needed: wave.needed(),
                stop: wave.stop,
            }
        });
        views.collect()
    }
}

fn who(who: &Who) -> String {
    match who {
        Who::Count(count) => format!("the first {count}"),
        Who::Percent(percent) => format!("{percent} %"),
        Who::Tag(name, value) => format!("tag {name}:{value}"),
        Who::Devices(_) => "named".to_owned(),
        Who::Rest => "the rest".to_owned(),
    }
}

/// How many devices failed.
fn failed(tallies: &[Tally]) -> u64 {
    tallies.iter().map(|tally| tally.counts(0).failed).fold(0, u64::saturating_add)
}

/// How many devices failed for each reason.
fn reasons(lines: &[Line]) -> BTreeMap<(i64, String), u64> {
    let mut reasons: BTreeMap<(i64, String), u64> = BTreeMap::new();
    for line in lines {
        if matches!(line.status, Status::Failed | Status::TimedOut) {
            let count = reasons.entry((line.code, line.text.clone())).or_default();
            *count = count.saturating_add(1);
        }
    }
    reasons
}

/// The most frequent reasons first.
fn most_frequent(reasons: BTreeMap<(i64, String), u64>) -> Vec<ReasonView> {
    let views = reasons.into_iter();
    let mut views: Vec<ReasonView> =
        views.map(|((code, text), devices)| ReasonView { code, text, devices }).collect();
    views.sort_by_key(|view| core::cmp::Reverse(view.devices));
    views.truncate(20);
    views
}

impl<'a> BatchProgress<'a> {
    /// The view of a batch whose devices have these states, and whose waves these counts.
    #[must_use]
    pub fn new(batch: &'a Batch, lines: &[Line], tallies: &[Tally], now: Instant) -> Self {
        let mut counts = BTreeMap::new();
        for line in lines {
            let count: &mut u64 = counts.entry(slug(line.status)).or_default();
            *count = count.saturating_add(1);
        }
        let status = batch.status(lines.iter().map(|line| line.status));
        Self {
            status: status.word(),
            counts,
            reasons: most_frequent(reasons(lines)),
            ..Self::live(batch, tallies, now)
        }
    }

    /// The same of a batch with many devices, from its counts. The reasons that were read are those
    /// of some failed devices, by code and text.
    #[must_use]
    pub fn large(
        batch: &'a Batch,
        mut reasons: BTreeMap<(i64, String), u64>,
        tallies: &[Tally],
        now: Instant,
    ) -> Self {
        let failed = failed(tallies);
        let read = reasons.values().copied().fold(0, u64::saturating_add);
        if failed > read {
            reasons.insert((0, "others".to_owned()), failed.saturating_sub(read));
        }
        Self { reasons: most_frequent(reasons), ..Self::live(batch, tallies, now) }
    }

    /// The same from the counts alone, without the reasons of failures: it reads no device.
    #[must_use]
    pub fn live(batch: &'a Batch, tallies: &[Tally], now: Instant) -> Self {
        let waves = WaveView::of_batch(batch, tallies);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for (status, some) in waves.iter().flat_map(|wave| &wave.counts) {
            let count = counts.entry(status.clone()).or_default();
            *count = count.saturating_add(*some);
        }
        let waiting = waves.iter().map(|wave| wave.waiting).fold(0, u64::saturating_add);
        if waiting > 0 {
            let count = counts.entry(slug(Status::Pending)).or_default();
            *count = count.saturating_add(waiting);
        }
        let under_way =
            [Status::Delivered, Status::Downloading, Status::Downloaded, Status::Burning];
        let open = |statuses: &[Status]| {
            let of = tallies
                .iter()
                .flat_map(|tally| statuses.iter().map(|s| tally.of(Slot::Status(*s))));
            of.fold(0, u64::saturating_add)
        };
        let all_open =
            tallies.iter().map(|tally| tally.counts(0).open).fold(0, u64::saturating_add);
        let status = if all_open > 0 { Status::Pending } else { Status::Complete };
        let status: BatchStatus = batch.status([status]);
        let campaign = &batch.campaign;
        let (waits, soaks_until) = match campaign.waits(now) {
            None => (None, None),
            Some(Waits::Devices) => (Some("devices"), None),
            Some(Waits::Soak(until)) => (Some("soak"), Some(until.as_micros())),
            Some(Waits::Person) => (Some("person"), None),
        };
        let held = campaign.hold(now).map(|hold| match hold {
            Hold::Paused => "paused",
            Hold::Window => "window",
        });
        let plan = campaign.plan();
        Self {
            what: BatchView::new(batch),
            status: status.word(),
            counts,
            waves,
            waits,
            soaks_until,
            held,
            starts: plan.starts.map(Instant::as_micros),
            ends: plan.ends.map(Instant::as_micros),
            unstoppable: open(&under_way),
            reasons: Vec::new(),
            commands: batch.commands(status, failed(tallies)),
            course: batch.course.points(),
        }
    }
}

/// A device of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct BatchDeviceView<'a> {
    /// Its name.
    pub device: &'a str,
    /// The version that it ran when its task began; empty if unknown.
    pub from: &'a str,
    /// The state of its task, as a word.
    pub status: String,
    /// 0 to 100.
    pub percent: Option<u8>,
    /// The latest result's code, 0 before one.
    pub code: i64,
    /// The device's text, or the reason why it got no task.
    pub text: &'a str,
    /// The time of its last message; `null` for never.
    pub at: Option<u64>,
    /// 1, and one more for each retry.
    pub attempt: u32,
}

impl<'a> BatchDeviceView<'a> {
    /// The view of a device of a batch.
    #[must_use]
    pub fn new(line: &'a Line) -> Self {
        Self {
            device: &line.name,
            from: &line.from,
            status: slug(line.status),
            percent: line.percent,
            code: line.code,
            text: &line.text,
            at: (line.at > 0).then_some(line.at),
            attempt: line.retries.saturating_add(1),
        }
    }

    /// The first line of a table of these.
    #[cfg(feature = "table")]
    pub const HEADING: &'static str = "device,from,status,percent,code,text,at,attempt\n";

    /// A line of a table, with its end. No cell begins like a formula.
    #[cfg(feature = "table")]
    #[must_use]
    pub fn to_csv(&self) -> String {
        let device = escaped(self.device);
        let (from, text) = (escaped(self.from), escaped(self.text));
        let percent = self.percent.map(|percent| percent.to_string()).unwrap_or_default();
        let at = self.at.map(|at| date_time(at / 1_000_000)).unwrap_or_default();
        let (code, attempt) = (self.code.to_string(), self.attempt.to_string());
        let cells: [&str; 8] =
            [&device, &from, &self.status, &percent, &code, &text, &at, &attempt];
        // Programs that split at `;` would make cells of a text.
        let line = if text.contains(';') { quoted(&cells) } else { line(&cells) };
        line.map(|line| line + "\n").unwrap_or_default()
    }
}
