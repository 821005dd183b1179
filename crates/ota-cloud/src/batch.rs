//! A batch of updates: its waves, its devices, and the task that each got.
//!
//! A batch is a row, and its devices are in rows of their own, a piece of them in each, with the task
//! that each got. The state of a task is in its device's row, where the REST API also reads it.

mod joins;

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};

use ota_proto::Instant;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::api::{Code, Problem};
use crate::campaign::{
    BatchRef, Campaign, CampaignChange, CampaignInput, CampaignPlan, CampaignState, CloseReason,
    Course, Point, Scale, WaveCounts, Who,
};
use crate::device::{Device, EventKind, Finish, Status, Task, TaskId};
use crate::error::{BadState, TaskError};
use crate::options::TaskOptions;

pub use joins::Joins;

/// How the devices of a batch were selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mode {
    /// All that report a version.
    OriginalVersion,
    /// By an uploaded list.
    FileName,
    /// By a list in the request.
    DeviceNames,
    /// All with a tag, or with names that begin with a prefix.
    Filter,
}

impl Mode {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::OriginalVersion => "from-versions",
            Self::FileName => "file",
            Self::DeviceNames => "devices",
            Self::Filter => "filter",
        }
    }
}

/// The state of a batch: of the vendor's numbers only 6 is published, the others are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BatchStatus {
    /// 2: some of its devices have no task yet.
    Creating,
    /// 3: a device's task is open, or a device waits for its wave.
    Running,
    /// 4: no device starts, and none gets an offer.
    Paused,
    /// 5: every device has ended.
    Finished,
    /// 6: a person cancelled it.
    Cancelled,
}

/// A person's command to a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Act {
    /// No device starts, and none gets an offer.
    Pause,
    /// It goes on: the offer of each open task is pushed at once.
    Resume,
    /// The next wave begins, whatever the gate says.
    Next,
    /// No device starts any more. Open tasks end, or only those without an offer.
    Cancel {
        /// Devices with an offer continue.
        let_run: bool,
    },
    /// Devices that failed get another attempt.
    Retry,
    /// Sets its text for people.
    Comment(String),
}

impl Act {
    /// Its word: the last part of its call's path, except for a comment.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Next => "next",
            Self::Cancel { .. } => "cancel",
            Self::Retry => "retry",
            Self::Comment(_) => "comment",
        }
    }

    /// What it tells the campaign.
    #[must_use]
    pub const fn input(&self) -> Option<CampaignInput> {
        match self {
            Self::Pause => Some(CampaignInput::Pause),
            Self::Resume => Some(CampaignInput::Resume),
            Self::Next => Some(CampaignInput::Next),
            Self::Cancel { .. } => Some(CampaignInput::Cancel),
            Self::Retry => Some(CampaignInput::Reopen),
            Self::Comment(_) => None,
        }
    }
}

impl BatchStatus {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }

    /// The vendor's number.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Creating => 2,
            Self::Running => 3,
            Self::Paused => 4,
            Self::Finished => 5,
            Self::Cancelled => 6,
        }
    }
}

/// The final state of a device of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct End {
    /// Its status.
    pub status: Status,
    /// The latest result's code, 0 before one.
    pub code: i64,
    /// The text: the device's, or ours.
    pub text: String,
    /// The time, in microseconds since 1970.
    pub at: u64,
}

/// A device of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<TaskId>,
    /// The version that it ran then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// Its final state if its row no longer has it: it got no task, or has another by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

impl Entry {
    /// A device that waits.
    #[must_use]
    pub const fn waiting(name: String) -> Self {
        Self { name, task: None, from: String::new(), end: None }
    }

    /// Whether the task of a row belongs to this entry.
    #[must_use]
    pub fn is_of(&self, task: &Task) -> bool {
        self.end.is_none() && self.task == Some(task.id)
    }

    /// The end of its task from the device's events, after the device got another task.
    #[must_use]
    pub fn end_of<'a>(
        &self,
        events: impl IntoIterator<Item = (Instant, &'a EventKind)>,
    ) -> Option<End> {
        let mut end = None;
        for (at, event) in events {
            let (status, code, text) = match event {
                EventKind::Began { task, .. } if self.task == Some(*task) => {
                    (Status::Pending, 0, String::new())
                }
                EventKind::Status { task, to, code, text, .. } if self.task == Some(*task) => {
                    (*to, *code, text.clone())
                }
                EventKind::Removed
                    if end.as_ref().is_some_and(|end: &End| !is_over(end.status)) =>
                {
                    (Status::Failed, 0, "the device was removed".to_owned())
                }
                _ => continue,
            };
            end = Some(End { status, code, text, at: at.as_micros() });
        }
        end
    }

    fn refuse(&mut self, why: String, at: u64) {
        self.end = Some(End { status: Status::Failed, code: 0, text: why, at });
        (self.task, self.from) = (None, String::new());
    }
}

/// A device of a batch with its state.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its status.
    pub status: Status,
    /// The latest result's code, 0 before one.
    pub code: i64,
    /// The text: the device's, or ours.
    pub text: String,
    /// 0 to 100.
    pub percent: Option<u8>,
    /// The version that it ran when its task began.
    pub from: String,
    /// The time of its last message, in microseconds since 1970; 0 for never.
    pub at: u64,
    /// The number of retries of its task.
    pub retries: u32,
}

impl Line {
    /// Makes it from the device's row, if the row still has the batch's task.
    #[must_use]
    pub fn of_task(entry: &Entry, task: &Task) -> Self {
        let moments = [Some(task.began), task.last_push, task.heard, task.claimed, task.proved];
        let ended = task.finished.map(|(at, _)| at);
        let at = moments.into_iter().flatten().chain(ended).max();
        let text = match task.finished {
            Some((_, Finish::Cancelled)) if task.err_msg.is_empty() => "cancelled".to_owned(),
            Some((_, Finish::TimedOut)) if task.err_msg.is_empty() => {
                format!("no result within {} s", task.timeout.as_secs())
            }
            _ => task.err_msg.clone(),
        };
        Self {
            name: entry.name.clone(),
            status: task.status,
            code: task.retcode,
            text,
            percent: task.percent,
            from: entry.from.clone(),
            at: at.map_or(0, Instant::as_micros),
            retries: task.attempt.saturating_sub(1),
        }
    }

    /// Makes it from the batch's final state.
    #[must_use]
    pub fn of_end(entry: &Entry) -> Option<Self> {
        let end = entry.end.as_ref()?;
        Some(Self {
            name: entry.name.clone(),
            status: end.status,
            code: end.code,
            text: end.text.clone(),
            percent: (end.status == Status::Complete).then_some(100),
            from: entry.from.clone(),
            at: end.at,
            retries: 0,
        })
    }

    /// Makes it for a device whose events were pruned.
    #[must_use]
    pub fn unknown(entry: &Entry) -> Self {
        Self {
            name: entry.name.clone(),
            status: Status::Failed,
            code: 0,
            text: "its result is not kept any more".to_owned(),
            percent: None,
            from: entry.from.clone(),
            at: 0,
            retries: 0,
        }
    }

    /// Makes it for a waiting device.
    #[must_use]
    pub fn waiting(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            status: Status::Pending,
            code: 0,
            text: String::new(),
            percent: None,
            from: String::new(),
            at: 0,
            retries: 0,
        }
    }

    /// Whether nothing of it is in progress.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        is_over(self.status)
    }
}

/// The action on a device for a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Begin {
    /// The task to cancel first, if the batch overrides.
    pub cancel: Option<TaskId>,
    /// What the task belongs to.
    pub batch: BatchRef,
}

/// A stored batch: JSON, whose later versions only add fields.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Batch {
    /// Its number in its product, from 1: the vendor's `TaskId`.
    pub number: u32,
    /// Its product.
    pub product: String,
    /// Its target.
    pub version: String,
    /// The options of the tasks, including the module.
    pub options: TaskOptions,
    /// How its devices were selected.
    pub mode: Mode,
    /// Whether it cancels open tasks of its devices.
    #[serde(default)]
    pub overrides: bool,
    /// Its creation time, in microseconds since 1970.
    pub made: u64,
    /// Whether a person cancelled it.
    #[serde(default)]
    pub cancelled: bool,
    /// Whether tasks of it may still be open although it is cancelled.
    #[serde(default)]
    pub ending: bool,
    /// How many of its devices have no open task of it, while it is ending.
    #[serde(default)]
    pub ended: usize,
    /// The names of its devices before it is stored. A row of an earlier version has the waiting
    /// ones here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// The other devices, in the order of their waves, in a row of an earlier version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<Entry>,
    /// The number of its devices. They are in [pieces](Self::take_pieces), in the order of their
    /// waves.
    #[serde(default)]
    pub all: usize,
    /// How many of them do not wait any more: the first ones.
    #[serde(default)]
    pub begun: usize,
    /// Why the others get no task, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<(String, u64)>,
    /// How many devices got no task, for each reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refusals: BTreeMap<String, u64>,
    /// Its waves, and which of them runs.
    #[serde(default)]
    pub campaign: Campaign,
    /// Whether its open tasks with an offer continue although it is over.
    #[serde(default)]
    pub lets_run: bool,
    /// The numbers of its devices that had ended, over time.
    #[serde(default, skip_serializing_if = "Course::is_empty")]
    pub course: Course,
    /// The next of its devices whose offer is pushed again, after a pause.
    #[serde(default)]
    pub pushed: Option<usize>,
    /// When offers were allowed again: offers since then need no push.
    #[serde(default)]
    pub released: u64,
    /// The next of its devices that gets another attempt, if it failed.
    #[serde(default)]
    pub retried: Option<usize>,
    /// Which devices join it later; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joins: Option<Joins>,
    /// A text for people.
    #[serde(default)]
    pub comment: String,
    /// How many devices of each wave got no task since the row was read.
    #[serde(skip)]
    pub refused: BTreeMap<u16, i64>,
}

impl Batch {
    /// The most devices of a batch.
    pub const MOST: usize = 100_000;
    /// The devices of a piece.
    pub const PIECE: usize = 200;
    /// The most devices that begin in one commit.
    pub const CHUNK: usize = 200;
    /// The most devices whose rows are read for the state of a batch. The state of a larger one
    /// comes from its counts.
    pub const FEW: usize = 200;
    /// The most reasons of refusals that are counted by themselves.
    const REASONS: usize = 50;
    /// How long a repeated call returns the same batch, in seconds: a client without an answer
    /// repeats it.
    pub const SAME: u64 = 300;

    /// Makes a batch without devices.
    #[must_use]
    pub fn new(product: &str, version: &str, mode: Mode, options: TaskOptions) -> Self {
        Self {
            number: 0,
            product: product.to_owned(),
            version: version.to_owned(),
            options,
            mode,
            overrides: false,
            made: 0,
            cancelled: false,
            ending: false,
            ended: 0,
            waiting: Vec::new(),
            entries: Vec::new(),
            all: 0,
            begun: 0,
            closed: None,
            refusals: BTreeMap::new(),
            campaign: Campaign::default(),
            lets_run: false,
            course: Course::default(),
            pushed: None,
            released: 0,
            retried: None,
            joins: None,
            comment: String::new(),
            refused: BTreeMap::new(),
        }
    }

    /// The id of the row of a product's batch. The newest comes first.
    #[must_use]
    pub fn id(product: &str, number: u32) -> String {
        format!("{product}/{:010}", u32::MAX.saturating_sub(number))
    }

    /// The number in the id of a row, whatever the row contains; `None` if it is not such an id.
    #[must_use]
    pub fn number_in(id: &str) -> Option<u32> {
        let (_, digits) = id.rsplit_once('/')?;
        digits.parse().ok().map(|left| u32::MAX.saturating_sub(left))
    }

    /// Checks whether a device may have a task of it, and returns what must be cancelled first.
    ///
    /// # Errors
    /// The reason against it.
    pub fn admit(&self, device: &Device, disabled: bool) -> Result<Option<TaskId>, TaskError> {
        if disabled {
            return Err(TaskError::DeviceDisabled);
        }
        let runs = device.reported(&self.options.module).map(|known| known.version.as_str());
        if runs == Some(self.version.as_str()) {
            return Err(TaskError::DeviceFirmwareIsUpdated);
        }
        self.options.check_source(runs)?;
        let open = device.task.as_ref().filter(|task| task.finished.is_none());
        match open {
            Some(_) if !self.overrides => Err(TaskError::DeviceRunningOtherOtaTask),
            open => Ok(open.map(|task| task.id)),
        }
    }

    /// The id of the row of a piece of its devices.
    #[must_use]
    pub fn piece_id(&self, piece: usize) -> String {
        format!("{}/{piece:06}", Self::id(&self.product, self.number))
    }

    /// Takes the names of its devices out of it, in pieces for rows of their own: of a new one, and
    /// of one that an earlier version stored.
    pub fn take_pieces(&mut self) -> Vec<Vec<Entry>> {
        let mut entries = core::mem::take(&mut self.entries);
        let begun = entries.len();
        entries.extend(core::mem::take(&mut self.waiting).into_iter().map(Entry::waiting));
        if entries.is_empty() {
            return Vec::new();
        }
        (self.all, self.begun) = (entries.len(), begun);
        entries.chunks(Self::PIECE).map(<[Entry]>::to_vec).collect()
    }

    /// Returns the stored form of a piece of its devices.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn piece_to_bytes(piece: &[Entry]) -> Result<Vec<u8>, BadState> {
        BadState::write(&piece)
    }

    /// Reads the stored form of a piece.
    ///
    /// # Errors
    /// [`BadState`] if these are not its bytes.
    pub fn piece_from_bytes(bytes: &[u8]) -> Result<Vec<Entry>, BadState> {
        BadState::read(bytes)
    }

    /// Handles the first waiting device. `None`: it gets no task now, because it no longer exists,
    /// is not [admitted](Self::admit), or has its task already.
    pub fn take_on(
        &mut self,
        now: Instant,
        entry: &mut Entry,
        device: Option<(&Device, bool)>,
    ) -> Option<Begin> {
        let index = self.begun;
        self.begun = self.begun.saturating_add(1);
        let from = device.and_then(|(device, _)| device.reported(&self.options.module));
        let from = from.map(|known| known.version.clone()).unwrap_or_default();
        // The process ended after the commit of the task, and before that of the batch.
        let task = device.and_then(|(device, _)| device.task.as_ref());
        let number = self.number;
        let is_own = |task: &&Task| task.batch.is_some_and(|of| of.number == number);
        if let Some(own) = task.filter(is_own) {
            (entry.task, entry.from) = (Some(own.id), from);
            return None;
        }
        let admitted = match device {
            Some((device, disabled)) => self.admit(device, disabled),
            None => Err(TaskError::DeviceNotExist),
        };
        match (admitted, device) {
            (Ok(cancel), Some((device, _))) => {
                (entry.task, entry.from) = (Some(device.next_task()), from);
                let batch = BatchRef { number, wave: self.wave_at(index) };
                Some(Begin { cancel, batch })
            }
            (Err(why), _) => {
                self.refuse(now, index, entry, refusal(why));
                if why != TaskError::DeviceFirmwareIsUpdated {
                    entry.from = from;
                }
                None
            }
            (Ok(_), None) => None,
        }
    }

    /// Takes on the first waiting device, which gets no task for this reason.
    pub fn skip(&mut self, now: Instant, entry: &mut Entry, why: String) {
        let index = self.begun;
        self.begun = self.begun.saturating_add(1);
        self.refuse(now, index, entry, why);
    }

    /// Reports that the task of a device that does not wait any more could not begin.
    pub fn refuse(&mut self, now: Instant, index: usize, entry: &mut Entry, why: String) {
        if entry.end.is_none() {
            self.count_refused(self.wave_at(index), &why, 1);
        }
        entry.refuse(why, now.as_micros());
    }

    fn wave_at(&self, index: usize) -> u16 {
        let index = u64::try_from(index).unwrap_or(u64::MAX);
        u16::try_from(self.campaign.wave_at(index)).unwrap_or(u16::MAX)
    }

    fn count_refused(&mut self, wave: u16, why: &str, by: u64) {
        let count = self.refused.entry(wave).or_default();
        *count = count.saturating_add_unsigned(by);
        let is_new = !self.refusals.contains_key(why);
        let why = if is_new && self.refusals.len() >= Self::REASONS { "others" } else { why };
        let count = self.refusals.entry(why.to_owned()).or_default();
        *count = count.saturating_add(by);
    }

    /// The number of its devices.
    #[must_use]
    pub fn devices(&self) -> u64 {
        u64::try_from(self.all.max(self.waiting.len())).unwrap_or(u64::MAX)
    }

    /// Whether its devices are so many that their rows are not all read for its state.
    #[must_use]
    pub const fn is_large(&self) -> bool {
        self.all > Self::FEW
    }

    /// How many of its devices wait.
    #[must_use]
    pub fn waits(&self) -> usize {
        if self.closed.is_some() {
            return 0;
        }
        self.all.max(self.waiting.len()).saturating_sub(self.begun)
    }

    /// The waiting devices of each wave.
    #[must_use]
    pub fn waiting_by_wave(&self) -> Vec<u64> {
        let all = self.devices();
        let begun = if self.closed.is_some() { all } else { number(self.begun) };
        self.campaign.waiting(begun, all)
    }

    /// The state of a device, unless its task says it. `index` is its place in the batch.
    #[must_use]
    pub fn line(&self, index: usize, entry: &Entry) -> Option<Line> {
        if index < self.begun {
            return Line::of_end(entry);
        }
        let Some((why, at)) = &self.closed else { return Some(Line::waiting(&entry.name)) };
        let mut entry = Entry::waiting(entry.name.clone());
        entry.refuse(why.clone(), *at);
        Line::of_end(&entry)
    }

    /// Applies an input to its campaign, and does what a closed one needs.
    pub fn step(
        &mut self,
        now: Instant,
        input: CampaignInput,
        counts: &[WaveCounts],
        scale: Scale,
    ) -> CampaignChange {
        let change = self.campaign.apply(now, input, counts, scale);
        let point = Point::of(now, counts);
        self.course.note(point, self.campaign.state() != CampaignState::Running);
        match change.moved {
            Some(CampaignState::Closed(CloseReason::Ended)) => {
                self.close(now, "the batch has ended");
            }
            Some(CampaignState::Closed(CloseReason::StopRule)) => {
                self.cancelled = true;
                self.close(now, "the batch's stop rule cancelled it");
            }
            _ => {}
        }
        if change.released {
            (self.pushed, self.released) = (Some(0), now.as_micros());
        }
        change
    }

    /// Waiting devices get no task, and open tasks without an offer end.
    fn close(&mut self, now: Instant, why: &str) {
        (self.ending, self.ended, self.lets_run) = (true, 0, true);
        self.refuse_waiting(now, why);
    }

    fn refuse_waiting(&mut self, now: Instant, why: &str) {
        for (wave, waiting) in self.waiting_by_wave().into_iter().enumerate() {
            if waiting > 0 {
                self.count_refused(u16::try_from(wave).unwrap_or(u16::MAX), why, waiting);
            }
        }
        if self.waits() > 0 {
            self.closed = Some((why.to_owned(), now.as_micros()));
        }
    }

    /// Whether the open task of one of its devices must end, now that the batch is over.
    #[must_use]
    pub const fn ends(&self, task: &Task) -> bool {
        task.finished.is_none() && (!self.lets_run || task.pushed.is_none())
    }

    /// Gives its devices, with their tags, to the waves of a plan, and puts them in this order.
    ///
    /// # Errors
    /// [`Code::Invalid`] if a wave has no device, or a device no wave.
    pub fn arrange(
        &mut self,
        mut plan: CampaignPlan,
        tags: &BTreeMap<String, BTreeMap<String, String>>,
    ) -> Result<(), Problem> {
        self.check_joins(&plan).map_err(|what| Problem::field("waves", what))?;
        plan.joins = self.joins.is_some();
        let mut left = core::mem::take(&mut self.waiting);
        let all = left.len();
        let mut order = Vec::with_capacity(all);
        for (at, wave) in plan.waves.iter_mut().enumerate() {
            let (of, rest) = choose(&self.product, &wave.who, left, all, tags)?;
            if of.is_empty() && !(plan.joins && wave.who == Who::Rest) {
                let what = format!("wave {} has no device", at.saturating_add(1));
                return Err(Problem::field("waves", what));
            }
            wave.size = u64::try_from(of.len()).unwrap_or(u64::MAX);
            if let Who::Devices(names) = &mut wave.who {
                names.clear();
            }
            if wave.gate.successes.is_some_and(|needed| needed > wave.size) {
                let what = "a gate needs more successes than its wave has devices";
                return Err(Problem::field("waves", what));
            }
            order.extend(of);
            left = rest;
        }
        if !plan.waves.is_empty() && !left.is_empty() {
            let what =
                format!("{} devices are in no wave: end with a wave of the rest", left.len());
            return Err(Problem::field("waves", what));
        }
        order.extend(left);
        self.waiting = order;
        self.campaign = Campaign::new(plan);
        Ok(())
    }

    /// The same batch once more, not begun: for those of its devices that still exist, in their order
    /// and with their places in this one. Its start and its end are not repeated.
    ///
    /// # Errors
    /// As [`Batch::wait_for`].
    pub fn again(&self, devices: Vec<(usize, String)>) -> Result<(Self, CampaignPlan), Problem> {
        let plan = self.plan_for(&devices);
        // The source versions selected the devices, which may run another version by now.
        let options = TaskOptions { from_versions: Vec::new(), ..self.options.clone() };
        let mut batch = Self::new(&self.product, &self.version, Mode::DeviceNames, options);
        batch.overrides = self.overrides;
        batch.joins.clone_from(&self.joins);
        batch.comment.clone_from(&self.comment);
        batch.wait_for(devices.into_iter().map(|(_, name)| name).collect())?;
        Ok((batch, plan))
    }

    /// Its plan for those of its devices that still exist, which are in the order of its waves.
    fn plan_for(&self, devices: &[(usize, String)]) -> CampaignPlan {
        let mut plan = self.campaign.plan().clone();
        (plan.starts, plan.ends) = (None, None);
        let mut sizes = vec![0_u64; plan.waves.len()];
        for (place, _) in devices {
            let wave = self.campaign.wave_at(number(*place));
            if let Some(size) = sizes.get_mut(wave) {
                *size = size.saturating_add(1);
            }
        }
        let are_some_gone = number(devices.len()) < self.devices();
        let (mut left, joins) = (sizes.into_iter(), plan.joins);
        plan.waves.retain_mut(|wave| {
            let size = left.next().unwrap_or(0);
            // Its devices are the next ones in order, whatever selected them.
            if matches!(wave.who, Who::Devices(_)) || are_some_gone && wave.who != Who::Rest {
                wave.who = Who::Count(size);
            }
            if size > 0 {
                wave.gate.successes = wave.gate.successes.map(|needed| needed.min(size));
            }
            size > 0 || joins && wave.who == Who::Rest
        });
        plan
    }

    /// Sets its devices: each once, in the given order.
    ///
    /// # Errors
    /// [`Code::Invalid`] for a repeated one, [`Code::TooLarge`], [`Code::UnknownDevice`] if there
    /// are none.
    pub fn wait_for(&mut self, names: Vec<String>) -> Result<(), Problem> {
        if names.is_empty() && self.joins.is_none() {
            return Err(Problem::new(Code::UnknownDevice, "no device is meant"));
        }
        if names.len() > Self::MOST {
            let what = format!("a batch has at most {} devices", Self::MOST);
            return Err(Problem::new(Code::TooLarge, what));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = names.iter().find(|name| !seen.insert(name.as_str())) {
            return Err(Problem::field("devices", format!("{twice} is named twice")));
        }
        self.waiting = names;
        Ok(())
    }

    /// A fingerprint of the call and its key, in hexadecimal. `action` is the call's name, and the
    /// batch has all its devices waiting.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn call(&self, key: &str, action: &str) -> Result<String, BadState> {
        // The devices that report a version may change between two calls.
        let waiting: &[String] =
            if self.mode == Mode::OriginalVersion { &[] } else { &self.waiting };
        let of = (&self.product, &self.version, &self.options, self.mode, self.overrides, waiting);
        let plan = self.campaign.plan();
        let bytes = if *plan == CampaignPlan::default() {
            BadState::write(&(key, action, of))?
        } else {
            BadState::write(&(key, action, of, plan, &self.joins))?
        };
        Ok(base16ct::lower::encode_string(&Sha256::digest(bytes)))
    }

    /// Returns some of its devices with possibly open tasks that must end now, at most this many.
    /// They then count as [ended](Self::ended).
    pub fn end_some(&mut self, most: usize) -> Range<usize> {
        let mut cursor = Some(self.ended);
        let some = some_of(self.begun, &mut cursor, most);
        self.ended = some.end;
        self.ending = cursor.is_some();
        some
    }

    /// Whether it has work besides its campaign: open tasks that end, or are pushed or tried again.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.ending || self.pushed.is_some() || self.retried.is_some()
    }

    /// Cancels it: waiting devices get no task. Its open tasks are [ending](Self::ending).
    pub fn cancel(&mut self, now: Instant) {
        (self.cancelled, self.ending, self.ended) = (true, true, 0);
        (self.pushed, self.retried) = (None, None);
        self.refuse_waiting(now, "cancelled");
    }

    /// Whether the offer of one of its devices' tasks is pushed again.
    #[must_use]
    pub fn pushes(&self, task: &Task) -> bool {
        let since = Instant::from_micros(self.released);
        task.finished.is_none() && task.last_push.is_none_or(|at| at < since)
    }

    /// Returns some of its devices whose offers are pushed again, at most this many.
    pub fn push_some(&mut self, most: usize) -> Range<usize> {
        some_of(self.begun, &mut self.pushed, most)
    }

    /// Returns some of its devices that get another attempt if they failed, at most this many.
    pub fn retry_some(&mut self, most: usize) -> Range<usize> {
        some_of(self.begun, &mut self.retried, most)
    }

    /// Whether a command fits its state.
    ///
    /// # Errors
    /// Why not, for people.
    pub fn check(&self, act: &Act) -> Result<(), &'static str> {
        let state = self.campaign.state();
        let is_last = self.campaign.wave().saturating_add(1) >= self.campaign.waves();
        match act {
            Act::Comment(_) => Ok(()),
            Act::Retry if state == CampaignState::Closed(CloseReason::Complete) => Ok(()),
            Act::Cancel { .. } if !self.cancelled => Ok(()),
            _ if self.campaign.is_closed() || self.cancelled => Err("the batch is over"),
            Act::Resume if state == CampaignState::Running => Err("the batch is not paused"),
            Act::Pause if state != CampaignState::Running => Err("the batch is paused already"),
            Act::Next if state != CampaignState::Running => {
                Err("the batch is paused: resume it first")
            }
            Act::Next if is_last => Err("the last wave has begun"),
            _ => Ok(()),
        }
    }

    /// The commands that fit a batch of this status with this many failed devices, by their words.
    #[must_use]
    pub fn commands(&self, status: BatchStatus, failed: u64) -> Vec<&'static str> {
        let all = [Act::Pause, Act::Resume, Act::Next, Act::Retry, Act::Cancel { let_run: false }];
        let fits = |act: &Act| match act {
            Act::Retry if failed == 0 => false,
            Act::Cancel { .. } if status == BatchStatus::Finished => false,
            act => self.check(act).is_ok(),
        };
        all.into_iter().filter(fits).map(|act| act.word()).collect()
    }

    /// Its state, from the states of its devices.
    #[must_use]
    pub fn status(&self, devices: impl IntoIterator<Item = Status>) -> BatchStatus {
        if self.cancelled {
            BatchStatus::Cancelled
        } else if matches!(self.campaign.state(), CampaignState::Paused(_)) {
            BatchStatus::Paused
        } else if self.waits() > 0 && self.campaign.plan().is_paced() {
            BatchStatus::Running
        } else if self.waits() > 0 {
            BatchStatus::Creating
        } else if self.waits_for_devices() {
            BatchStatus::Running
        } else if devices.into_iter().all(is_over) {
            BatchStatus::Finished
        } else {
            BatchStatus::Running
        }
    }

    /// Returns the stored form.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadState> {
        BadState::write(self)
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`BadState`] if these are not its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        BadState::read(bytes)
    }
}

/// Devices from a cursor on, which is moved.
fn some_of(begun: usize, cursor: &mut Option<usize>, most: usize) -> Range<usize> {
    let from = cursor.unwrap_or(0);
    let next = from.saturating_add(most).min(begun).max(from);
    *cursor = Some(next).filter(|next| *next < begun);
    from..next
}

fn number(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// The devices of a wave and the others, among those that are left of `all`.
fn choose(
    product: &str,
    who: &Who,
    mut left: Vec<String>,
    all: usize,
    tags: &BTreeMap<String, BTreeMap<String, String>>,
) -> Result<(Vec<String>, Vec<String>), Problem> {
    match who {
        Who::Count(count) => {
            let count = usize::try_from(*count).unwrap_or(usize::MAX).min(left.len());
            let rest = left.split_off(count);
            Ok((left, rest))
        }
        Who::Percent(percent) => {
            let share = all.saturating_mul(usize::from(*percent)).saturating_add(99);
            let share = share.wrapping_div(100).min(left.len());
            let mut ranked: Vec<([u8; 32], usize)> = left
                .iter()
                .enumerate()
                .map(|(at, name)| (Sha256::digest(format!("{product}/{name}")).into(), at))
                .collect();
            ranked.sort_unstable();
            let of: BTreeSet<usize> = ranked.iter().take(share).map(|(_, at)| *at).collect();
            Ok(split(left, |at, _| of.contains(&at)))
        }
        Who::Tag(tag, value) => Ok(split(left, |_, name| {
            tags.get(name).and_then(|tags| tags.get(tag)).is_some_and(|is| is == value)
        })),
        Who::Devices(names) => {
            let named: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            if named.len() < names.len() {
                return Err(Problem::field("waves", "a device is named twice"));
            }
            let (of, rest) = split(left, |_, name| named.contains(name));
            if of.len() < named.len() {
                let what = "a wave names a device that the batch has not, or an earlier wave has";
                return Err(Problem::field("waves", what));
            }
            Ok((of, rest))
        }
        Who::Rest => Ok((left, Vec::new())),
    }
}

fn split(names: Vec<String>, is_of: impl Fn(usize, &str) -> bool) -> (Vec<String>, Vec<String>) {
    let (mut of, mut rest) = (Vec::new(), Vec::new());
    for (at, name) in names.into_iter().enumerate() {
        if is_of(at, &name) { of.push(name) } else { rest.push(name) }
    }
    (of, rest)
}

/// Why a device gets no task of a batch, as a text: the platform's if it has one.
#[must_use]
pub fn refusal(why: TaskError) -> String {
    match why {
        TaskError::DeviceFirmwareIsUpdated => "firmware no need update.".into(),
        TaskError::DeviceNotExist => "there is no such device".into(),
        TaskError::DeviceHasNoFirmware => "the device never reported a version".into(),
        TaskError::DeviceRunningOtherOtaTask => "the device has an unfinished task".into(),
        TaskError::OtherVersion => {
            "the device runs another version than the one that was given".into()
        }
        why => why.to_string(),
    }
}

/// Whether a state is final: failed, complete or timed out.
pub(crate) const fn is_over(status: Status) -> bool {
    matches!(status, Status::Failed | Status::Complete | Status::TimedOut)
}
