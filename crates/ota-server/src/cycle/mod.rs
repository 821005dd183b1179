//! The loop of docs/cloud-design.md over a store: gather, load, apply, commit once, and only then
//! perform the effects.
//!
//! [`Engine`] performs one turn, without sockets and clock; the service gathers inputs and calls
//! it. It returns the effects of a turn once its commit has succeeded, and never if the commit
//! fails.

mod batch;
mod edit;
mod gather;
mod live;
mod shelf;
mod split;
mod tidy;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use batch::{Batch, Found, Memory};
use ota_cloud::BadState;
use ota_cloud::alert::News;
use ota_cloud::campaign::count_name;
use ota_cloud::device::{self, Context, DeviceInput, Effect};
use ota_cloud::{
    CatalogError, CloudConfig, CloudError, Device, EventKind, Firmware, Module, TaskError, TaskId,
    TaskOptions,
};
use ota_proto::{Identity, Instant};
use ota_store::{Commit, DeviceKey, EventQuery, Store, StoreError};

pub(crate) use edit::alert;
pub use edit::{Edit, Rider, Seen};
pub use gather::{GATHER, MOST, gather};
pub(crate) use live::tallies;
use shelf::Shelf;
pub use tidy::Keep;
use work::{Done, Kept, Work};

/// How often a turn is repeated because a row was changed elsewhere.
const TRIES: usize = 5;
/// Devices to wake per turn.
const DUE: usize = 256;
/// Devices that stay in memory in addition to connected ones.
const KEEP: usize = 4_096;
/// Events of a device per read.
const HISTORY: usize = 1_000;
/// Events to prune at a time.
const PRUNE: usize = 2_000;
/// The pause before an unreadable row is tried again.
const BAD: Duration = Duration::from_secs(1);
/// The count of assigned device numbers.
const NUMBERS: &str = "device numbers";
/// The count of removed devices.
const GONE: &str = "device numbers gone";
/// The count of disabled devices.
const DISABLED: &str = "devices disabled";

/// Inputs of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input {
    /// It connected and subscribed to its update topic.
    Connected,
    /// It disconnected.
    Disconnected,
    /// It published this on its report topic.
    Message(Vec<u8>),
    /// The offer of this task, which an [`Outcome`] returned, was published.
    Offered(TaskId),
    /// The same offer could not be published; decide again whether there is one.
    NotOffered(TaskId),
    /// Register it.
    Register,
    /// Begin a task.
    Start {
        /// The target version.
        target: String,
        /// Its options.
        options: TaskOptions,
    },
    /// Cancel the open task.
    Cancel(TaskId),
    /// Begin the next attempt of the last task.
    Retry(TaskId),
    /// A person confirms the task.
    Confirm(TaskId),
    /// Push the offer of the open task again.
    Push(TaskId),
    /// A standing rule was set for this module.
    RuleSet(Module),
    /// Reset the number of tasks of the standing rules.
    TryAgain,
}

/// Why an input changed nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// The device is at fault.
    Peer(CloudError),
    /// The command is invalid in this state.
    Command(TaskError),
    /// The firmware is invalid.
    Catalog(CatalogError),
    /// The device's row is unreadable.
    Row(BadState),
    /// The product's id is a prefix of another's, or the reverse. Client ids and firmware paths
    /// join product and name without a separator, so one product could access the other's.
    Ambiguous,
}

/// Why a command failed; nothing is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// It is invalid in this state.
    Refused(Refused),
    /// The store's error.
    Store(StoreError),
}

impl From<Refused> for CommandError {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

impl From<StoreError> for CommandError {
    fn from(why: StoreError) -> Self {
        Self::Store(why)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => why.fmt(f),
            Self::Store(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for CommandError {}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(error) => error.fmt(f),
            Self::Command(error) => error.fmt(f),
            Self::Catalog(error) => error.fmt(f),
            Self::Row(error) => error.fmt(f),
            Self::Ambiguous => f.write_str(
                "the product's id begins another one's, or is begun by it: product and name run \
                 together in client ids",
            ),
        }
    }
}

impl std::error::Error for Refused {}

/// A message to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The device.
    pub device: Identity,
    /// The payload.
    pub payload: Vec<u8>,
    /// Set if it is the offer of this task: send [`Input::Offered`] once it is published.
    pub offer: Option<TaskId>,
    /// The firmware of the offer.
    pub firmware: Option<Firmware>,
    /// The number of the batch of the offer's task.
    pub batch: Option<u32>,
}

/// The result of a turn. All of it is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Whether each input was accepted, in order.
    pub answers: Vec<Result<(), Refused>>,
    /// Messages to publish, in order.
    pub publish: Vec<Publish>,
    /// Events, in order.
    pub events: Vec<(Identity, EventKind)>,
    /// Rows that were written.
    pub written: usize,
}

/// The cloud over a store that is chosen at the start.
pub(crate) type Cloud = Engine<Box<dyn Store>>;

/// The cloud over a store. It has no clock: each turn gets the time, which is not before that of
/// the last one; [`Instant::ZERO`] is the Unix epoch.
#[derive(Debug)]
pub struct Engine<S> {
    store: S,
    config: CloudConfig,
    shelf: Shelf,
    batches: live::LiveBatches,
    allow_unknown: bool,
    tell_all: bool,
    /// Assigned device numbers.
    numbers: u32,
    /// How many of them were removed.
    gone: u32,
    /// Disabled devices.
    disabled: u64,
    /// Additional changes for the next turn's commit.
    rider: Rider,
    /// What an operator should know and was not told yet.
    told: Vec<News>,
    kept: Memory,
    /// Those of them with changes that are not in their rows, by the deadline for writing.
    late: BTreeSet<(Instant, Identity)>,
    /// Devices with unreadable rows, which are not read again when they are due.
    bad: BTreeSet<DeviceKey>,
    /// Devices with a session of this process. Rows do not contain presence.
    online: BTreeSet<Identity>,
    /// The time of the last turn.
    now: Instant,
    /// The number of events to keep.
    keep_events: u64,
    /// The latest known pruned event.
    pruned: u64,
}

impl<S: Store> Engine<S> {
    /// Makes a cloud over a store.
    ///
    /// # Errors
    /// The store's error.
    pub fn new(store: S, config: CloudConfig) -> Result<Self, StoreError> {
        let counts = store.read().counts("device")?;
        let count = |name| counts.get(name).copied().unwrap_or(0);
        let numbers = u32::try_from(count(NUMBERS)).unwrap_or(u32::MAX);
        let mut engine = Self {
            shelf: Shelf::read(&store)?,
            batches: live::LiveBatches::default(),
            store,
            config,
            allow_unknown: false,
            tell_all: true,
            numbers,
            gone: u32::try_from(count(GONE)).unwrap_or(0),
            disabled: u64::try_from(count(DISABLED)).unwrap_or(0),
            rider: Rider::default(),
            told: Vec::new(),
            kept: Memory::default(),
            late: BTreeSet::new(),
            bad: BTreeSet::new(),
            online: BTreeSet::new(),
            now: Instant::ZERO,
            keep_events: u64::MAX,
            pruned: 0,
        };
        engine.split_batches()?;
        engine.read_batches()?;
        Ok(engine)
    }

    /// Whether unknown devices are accepted at first sight. Off at first.
    pub fn allow_unknown(&mut self, allow: bool) {
        self.allow_unknown = allow;
    }

    /// Whether [`Outcome::events`] includes repeated version reports, and progress between two
    /// states. They are never in the journal. On at first.
    pub fn tell_all(&mut self, all: bool) {
        self.tell_all = all;
    }

    /// Sets how many events are kept; older ones are pruned. All of them at first.
    pub fn keep_events(&mut self, most: u64) {
        self.keep_events = most;
    }

    /// When the next turn is due without inputs.
    ///
    /// # Errors
    /// The store's error.
    pub fn deadline(&mut self) -> Result<Option<Instant>, StoreError> {
        let wake = self.store.next_wake()?.map(Instant::from_micros);
        // More than one turn handles, or unreadable rows.
        let rest = if self.bad.is_empty() { self.now } else { self.now + BAD };
        let wake = wake.map(|wake| if wake <= self.now { rest } else { wake });
        let late = self.late.first().map(|(at, _)| *at);
        Ok(wake.into_iter().chain(late).chain(self.batch_deadline()).min())
    }

    /// The configuration.
    #[must_use]
    pub const fn config(&self) -> &CloudConfig {
        &self.config
    }

    /// The store.
    #[must_use]
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The store, for changes without devices.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// A device after the last turn.
    ///
    /// # Errors
    /// The store's error; [`StoreError::Corrupt`] for an unreadable row.
    pub fn device(&mut self, identity: &Identity) -> Result<Option<Device>, StoreError> {
        if let Some(kept) = self.kept.get(identity) {
            return Ok(Some(kept.device.clone()));
        }
        Ok(self.stored(identity)?.map(|kept| kept.device))
    }

    /// A device from its row.
    fn stored(&self, identity: &Identity) -> Result<Option<Box<Kept>>, StoreError> {
        let row = self.store.read().device(&work::key(identity))?;
        let Some(row) = row else { return Ok(None) };
        let read = Kept::read(row, self.online.contains(identity));
        read.map(|kept| Some(Box::new(kept)))
            .map_err(|why| StoreError::Corrupt { why: why.to_string() })
    }

    /// Events of a device after the event with this number, oldest first, at most 1,000, each with
    /// its number and time.
    ///
    /// # Errors
    /// The store's error; [`StoreError::Corrupt`] for an unreadable event.
    pub fn history(
        &self,
        identity: &Identity,
        after: u64,
    ) -> Result<Vec<(u64, Instant, EventKind)>, StoreError> {
        let after = after.max(self.shelf.events_after(identity.product_id()));
        let query = EventQuery { after, device: Some(work::key(identity)) };
        let events = self.store.read().events(&query, HISTORY)?.into_iter();
        let read = |event: ota_store::Event| {
            let kind = serde_json::from_slice(&event.what.body);
            let kind = kind.map_err(|why| StoreError::Corrupt { why: why.to_string() })?;
            Ok((event.seq, Instant::from_micros(event.what.at), kind))
        };
        events.map(read).collect()
    }

    /// Applies inputs in order, and wakes due devices. A turn may have at most [`MOST`] inputs.
    ///
    /// # Errors
    /// The store's error: nothing has happened, and nothing may be answered. The same inputs may be
    /// tried again.
    pub fn turn(
        &mut self,
        now: Instant,
        inputs: &[(Identity, Input)],
    ) -> Result<Outcome, StoreError> {
        let mut tries = 0_usize;
        loop {
            tries = tries.saturating_add(1);
            match self.attempt(now, inputs) {
                Err(StoreError::Conflict(conflict)) if tries < TRIES => {
                    // The copies of these devices in memory are outdated. Unwritten changes are
                    // lost with them, which are only progress reports that nobody has acknowledged.
                    for identity in conflict.devices.iter().filter_map(work::identity) {
                        self.forget_one(&identity);
                    }
                }
                other => return other,
            }
        }
    }

    fn attempt(
        &mut self,
        now: Instant,
        inputs: &[(Identity, Input)],
    ) -> Result<Outcome, StoreError> {
        self.now = now;
        // A window may have closed since.
        self.judge_due(now);
        let due = self.due(now)?;
        let mut batch = self.load(inputs, due)?;
        let mut outcome = Outcome::default();
        let mut next =
            Next { numbers: self.numbers, offers: Vec::new(), commit: Commit::default() };
        for (at, (identity, input)) in inputs.iter().enumerate() {
            let slot = batch.slot(at);
            let answer = self.take(now, identity, input, slot, &mut batch, &mut next, &mut outcome);
            outcome.answers.push(answer);
        }
        // Also handles devices that an input made due: an offer without a pause is claimed in the
        // commit that creates it.
        for (slot, of) in batch.works() {
            if of.device().wake().is_some_and(|wake| wake <= now) {
                of.wake();
                // A wake-up is no command.
                let _ = self.apply(now, slot, of, DeviceInput::Woken, &mut next, &mut outcome);
            }
        }
        let alerts = if outcome.answers.iter().all(Result::is_ok) {
            self.rider.clone().mount(&mut next.commit)
        } else {
            Vec::new()
        };
        if let Err(why) = self.write(now, &mut batch, &mut next) {
            for (identity, kept) in batch.undone() {
                self.kept.insert(identity, kept);
            }
            return Err(why);
        }
        outcome.written = next.commit.devices.len();
        // It is durable from here on.
        self.count(&next.commit);
        self.told.extend(alerts);
        self.hand_out(now, &batch, &mut next, &mut outcome);
        self.join_batches(inputs, &batch);
        self.keep(now, batch);
        Ok(outcome)
    }

    /// Devices that are due, and those whose progress must be written.
    fn due(&mut self, now: Instant) -> Result<BTreeSet<Identity>, StoreError> {
        let limit = DUE.saturating_add(self.bad.len());
        let mut due = BTreeSet::new();
        for key in self.store.due(now.as_micros(), limit)? {
            match work::identity(&key) {
                _ if self.bad.contains(&key) => {}
                Some(identity) => drop(due.insert(identity)),
                None => self.is_bad(key),
            }
        }
        let late = self.late.iter().take_while(|(at, _)| *at <= now);
        due.extend(late.map(|(_, identity)| identity.clone()).take(DUE));
        Ok(due)
    }

    /// The devices of a turn: from memory, or from the store.
    fn load(
        &mut self,
        inputs: &[(Identity, Input)],
        due: BTreeSet<Identity>,
    ) -> Result<Batch, StoreError> {
        let mut batch = Batch::new(inputs.iter().map(|(identity, _)| identity), due);
        let missing: Vec<_> =
            batch.devices().filter(|identity| !self.kept.contains_key(*identity)).collect();
        let keys: Vec<_> = missing.iter().map(|identity| work::key(identity)).collect();
        let mut rows = self.store.load(&keys)?.into_iter();
        // Nothing fails from here on: devices leave the memory for the turn.
        for at in batch.slots() {
            let Some(identity) = batch.device(at) else { continue };
            if let Some((identity, kept)) = self.kept.remove_entry(identity) {
                batch.put(at, Found::Known(Work::new(identity, kept)));
                continue;
            }
            let Some(row) = rows.next().flatten() else { continue };
            let key = row.key.clone();
            let found = match Kept::read(row, self.online.contains(identity)) {
                Ok(kept) => Found::Known(Work::new(identity.clone(), Box::new(kept))),
                Err(why) => {
                    self.is_bad(key);
                    Found::Bad(why)
                }
            };
            batch.put(at, found);
        }
        Ok(batch)
    }

    /// An unreadable row is not read again.
    fn is_bad(&mut self, key: DeviceKey) {
        if self.bad.len() < KEEP {
            self.bad.insert(key);
        }
    }

    fn take(
        &self,
        now: Instant,
        identity: &Identity,
        input: &Input,
        slot: usize,
        batch: &mut Batch,
        next: &mut Next,
        outcome: &mut Outcome,
    ) -> Result<(), Refused> {
        let message = match input {
            Input::Message(payload) => Some(device::read_message(payload).map_err(Refused::Peer)?),
            _ => None,
        };
        if batch.is_unknown(slot) {
            self.admit(input, next)?;
            let device = Device::new(identity.clone(), next.numbers);
            next.numbers = next.numbers.saturating_add(1);
            let mut of = Work::new(identity.clone(), Box::new(Kept::new(device)));
            let _ = self.apply(now, slot, &mut of, DeviceInput::Registered, next, outcome);
            if matches!(input, Input::Register) {
                self.dress(now, &mut of, &mut next.commit, outcome);
            }
            batch.put(slot, Found::Known(of));
        }
        let of = match batch.get(slot) {
            Found::Known(of) => of,
            Found::Bad(bad) => return Err(Refused::Row(bad.clone())),
            Found::Unknown => return Err(Refused::Peer(CloudError::UnknownDevice)),
        };
        let input = match input {
            Input::Message(_) => match &message {
                Some(message) => DeviceInput::Message(message),
                None => return Ok(()),
            },
            Input::Connected => DeviceInput::Connected,
            Input::Disconnected => DeviceInput::Disconnected,
            Input::Offered(task) => DeviceInput::Offered(*task),
            Input::NotOffered(task) => DeviceInput::NotOffered(*task),
            Input::Register => return Ok(()),
            Input::Start { target, options } => DeviceInput::Start { target, options },
            Input::Cancel(task) => DeviceInput::Cancel(*task),
            Input::Retry(task) => DeviceInput::Retry(*task),
            Input::Confirm(task) => DeviceInput::Confirm(*task),
            Input::Push(task) => DeviceInput::Push(*task),
            Input::RuleSet(module) => DeviceInput::RuleSet(module),
            Input::TryAgain => DeviceInput::TryAgain,
        };
        self.apply(now, slot, of, input, next, outcome).map_err(Refused::Command)
    }

    /// Whether this input creates a row for an unknown device.
    fn admit(&self, input: &Input, next: &Next) -> Result<(), Refused> {
        let taken = match input {
            Input::Register => true,
            Input::Connected | Input::Message(_) => self.allow_unknown,
            _ => false,
        };
        match input {
            _ if taken && next.numbers.saturating_sub(self.gone) < self.config.max_devices => {
                Ok(())
            }
            _ if taken => Err(Refused::Peer(CloudError::TooManyDevices)),
            Input::Connected | Input::Message(_) | Input::Disconnected => {
                Err(Refused::Peer(CloudError::UnknownDevice))
            }
            _ => Err(Refused::Command(TaskError::DeviceNotExist)),
        }
    }

    fn apply(
        &self,
        now: Instant,
        slot: usize,
        of: &mut Work,
        input: DeviceInput<'_>,
        next: &mut Next,
        outcome: &mut Outcome,
    ) -> Result<(), TaskError> {
        let context = Context { config: &self.config, catalog: &self.shelf.catalog };
        let device = of.device_mut();
        let change = device.apply(now, &context, input);
        let identity = &device.identity;
        for (status, difference) in change.counts {
            let count = next.commit.counts.entry(tasks(identity, status.number())).or_insert(0);
            *count = count.saturating_add(i64::from(difference));
        }
        for (of, slot, difference) in change.of_batches {
            let name = count_name(identity.product_id(), of, slot);
            let count = next.commit.counts.entry(name).or_insert(0);
            *count = count.saturating_add(i64::from(difference));
        }
        for event in change.events {
            // Returned as an event, but not in the journal.
            if change.journal {
                next.commit.events.extend(work::journal(now, identity, &event));
            }
            if change.journal || self.tell_all || is_trouble(&event) {
                outcome.events.push((identity.clone(), event));
            }
        }
        next.offers.extend(change.effects.into_iter().map(|effect| (slot, effect)));
        of.note(change.write);
        change.answer
    }

    /// Writes the changes that must be written.
    fn write(
        &mut self,
        now: Instant,
        batch: &mut Batch,
        next: &mut Next,
    ) -> Result<(), StoreError> {
        for (_, of) in batch.works() {
            if let Some(row) = of.row(now) {
                let row = row.map_err(|why| StoreError::Invalid { what: why.to_string() })?;
                next.commit.devices.push(row);
            }
        }
        let given = next.numbers.saturating_sub(self.numbers);
        if given > 0 {
            next.commit.counts.insert(NUMBERS.to_owned(), i64::from(given));
        }
        next.commit.counts.retain(|_, count| *count != 0);
        if !next.commit.is_empty() {
            let committed = self.store.commit(&next.commit)?;
            self.prune(committed.last_event);
        }
        self.numbers = next.numbers;
        Ok(())
    }

    /// Devices that reported join the batches that take them.
    fn join_batches(&mut self, inputs: &[(Identity, Input)], batch: &Batch) {
        if !self.is_any_open() {
            return;
        }
        for (at, (_, input)) in inputs.iter().enumerate() {
            let of = matches!(input, Input::Message(_)).then(|| batch.kept(batch.slot(at)));
            if let Some(of) = of.flatten() {
                self.let_in(&of.device, &of.tags, of.disabled);
            }
        }
    }

    /// The effects that may leave now.
    fn hand_out(&self, now: Instant, batch: &Batch, next: &mut Next, outcome: &mut Outcome) {
        let context = Context { config: &self.config, catalog: &self.shelf.catalog };
        for (slot, effect) in next.offers.drain(..) {
            let Some(device) = batch.known(slot) else { continue };
            let batch = device.task.as_ref().and_then(|task| task.batch).map(|of| of.number);
            let (payload, offer) = match effect {
                Effect::Reply { version } => (device::reply(&version), None),
                // This turn's reports may have stopped the batch. The claim ends by itself.
                Effect::Offer(_)
                    if batch.is_some_and(|batch| self.is_held(&device.identity, batch)) =>
                {
                    continue;
                }
                Effect::Offer(task) => (device.offer(now, &context), Some(task)),
                // An effect of a later ota-cloud.
                _ => continue,
            };
            let Some(payload) = payload.filter(|_| device.online) else { continue };
            let firmware = offer.and_then(|_| device.firmware(&context)).cloned();
            let device = device.identity.clone();
            let batch = batch.filter(|_| offer.is_some());
            outcome.publish.push(Publish { device, payload, offer, firmware, batch });
        }
    }

    /// Returns devices to memory.
    fn keep(&mut self, now: Instant, batch: Batch) {
        for done in batch.done(now) {
            self.keep_one(done);
        }
        self.forget();
    }

    fn keep_one(&mut self, done: Done) {
        match done.came_or_went {
            Some(true) => drop(self.online.insert(done.identity.clone())),
            Some(false) => drop(self.online.remove(&done.identity)),
            None => {}
        }
        if let Some((was, is)) = done.late {
            was.map(|at| self.late.remove(&(at, done.identity.clone())));
            is.map(|at| self.late.insert((at, done.identity.clone())));
        }
        self.kept.insert(done.identity, done.kept);
    }

    /// Prunes old events in pieces. An event that cannot be removed now is removed later.
    fn prune(&mut self, last: u64) {
        let upto = last.saturating_sub(self.keep_events);
        if upto < self.pruned.saturating_add(PRUNE as u64) {
            return;
        }
        if let Ok(gone) = self.store.prune_events(upto, PRUNE) {
            let all = gone < PRUNE as u64;
            self.pruned = if all { upto } else { self.pruned.saturating_add(gone) };
        }
    }

    fn forget_one(&mut self, identity: &Identity) {
        if let Some(at) = self.kept.remove(identity).and_then(|kept| kept.write_at()) {
            self.late.remove(&(at, identity.clone()));
        }
    }

    /// Limits memory: connected devices and those with unwritten changes stay.
    fn forget(&mut self) {
        if self.kept.len() > self.online.len().saturating_add(KEEP) {
            let online = &self.online;
            self.kept.retain(|identity, kept| online.contains(identity) || kept.is_unsaved());
        }
    }
}

/// The devices of these counts, which are all of the store.
pub(crate) fn devices_of(counts: &BTreeMap<String, i64>) -> i64 {
    let count = |name| counts.get(name).copied().unwrap_or(0);
    count(NUMBERS).saturating_sub(count(GONE))
}

/// The count of a product's tasks with this status.
fn tasks(identity: &Identity, status: u8) -> String {
    format!("{}/task/{status}", identity.product_id())
}

/// Reasons that a person must act on are reported each time.
fn is_trouble(event: &EventKind) -> bool {
    matches!(event, EventKind::NotOffered { why, .. } if why.is_trouble())
}

/// The gathered changes of a turn's commit.
struct Next {
    numbers: u32,
    offers: Vec<(usize, Effect)>,
    commit: Commit,
}
