//! The effect of one input to a device.

use core::time::Duration;

use ota_proto::Instant;
use ota_proto::message::{DeviceMessage, Progress, ProgressState};

use super::event::{EventKind, NotOffered, Reported};
use super::task::{Finish, Silence, Status, Task, TaskId};
use super::{Change, Context, Device, DeviceInput, Effect, MAX_MODULES, TimeoutFrom, Write};
use crate::campaign::{Hold, Slot};
use crate::error::TaskError;
use crate::module::Module;
use crate::options::{Rollout, TaskOptions};

/// The longest stored texts of a device's message, in bytes.
const MAX_MSG: usize = 128;
const MAX_VERSION: usize = 64;

/// How long the publication of a claimed offer may take; then the offer is due again.
const LEASE: Duration = Duration::from_secs(10);

/// How long a device of a batch may be silent before it counts as one without progress.
const SILENT: Duration = Duration::from_secs(120);

pub(super) struct Turn<'a> {
    device: &'a mut Device,
    now: Instant,
    context: &'a Context<'a>,
    change: Change,
}

impl<'a> Turn<'a> {
    pub(super) fn run(
        device: &'a mut Device,
        now: Instant,
        context: &'a Context<'a>,
        input: DeviceInput<'_>,
    ) -> Change {
        let change = Change {
            events: Vec::new(),
            effects: Vec::new(),
            counts: Vec::new(),
            of_batches: Vec::new(),
            replaced: None,
            write: Write::None,
            journal: true,
            answer: Ok(()),
            wake: None,
        };
        let mut turn = Self { device, now, context, change };
        turn.expire();
        turn.take(input);
        turn.change.journal &= turn.change.write == Write::Now;
        turn.change
    }

    fn take(&mut self, input: DeviceInput<'_>) {
        let answer = match input {
            DeviceInput::Woken => {
                self.claim_offer();
                return;
            }
            DeviceInput::Message(DeviceMessage::ReportProgress { version, progress, fw_type }) => {
                self.presume();
                self.progress_reported(version, progress, fw_type.as_deref());
                return;
            }
            DeviceInput::Message(message) => {
                self.presume();
                // A message kind of a later protocol crate: well formed, but not used.
                if let DeviceMessage::ReportVersion { version, fw_type } = message {
                    self.version_reported(version, fw_type.as_deref());
                }
                Ok(())
            }
            DeviceInput::Registered => {
                self.emit(EventKind::Registered);
                Ok(())
            }
            DeviceInput::Connected => {
                self.set_offline();
                self.set_online();
                Ok(())
            }
            DeviceInput::Disconnected => {
                self.set_offline();
                Ok(())
            }
            DeviceInput::Offered(task) => {
                self.offered(task);
                Ok(())
            }
            DeviceInput::NotOffered(task) => {
                let (now, device) = (self.now, &mut *self.device);
                let is_open = device.task.as_ref().is_some_and(|open| open.id == task);
                if let Some(lease) = device.offer.as_mut().filter(|_| is_open) {
                    *lease = now;
                }
                Ok(())
            }
            DeviceInput::Start { target, options } => self.start(target, options),
            DeviceInput::Cancel(task) => self.cancel(task),
            DeviceInput::Retry(task) => self.retry(task),
            DeviceInput::Confirm(task) => self.confirm(task),
            DeviceInput::Push(task) => self.push_again(task),
            DeviceInput::RuleSet(module) => {
                let _ = self.roll_out(module, self.now);
                Ok(())
            }
            DeviceInput::TryAgain => {
                // A whole fleet is processed, and most devices have used nothing up.
                if !self.try_again() {
                    return;
                }
                Ok(())
            }
        };
        if answer.is_ok() {
            self.change.write = Write::Now;
        }
        self.change.answer = answer;
    }

    /// Ends timed-out tasks.
    fn expire(&mut self) {
        if self.device.timeout.is_some_and(|at| at <= self.now) {
            let timeout = self.open_task().map(|task| task.timeout);
            self.device.timeout = timeout.and_then(|time| self.unheard(time));
            if self.device.timeout.is_none() {
                self.finish(Finish::TimedOut, Status::TimedOut);
            }
        }
        if self.device.silent.is_some_and(|at| at <= self.now) {
            self.device.silent = self.unheard(SILENT);
            if self.device.silent.is_none() {
                self.be_silent();
            }
        }
    }

    /// The end of a silence that must last this long, if the device could not be heard all the
    /// time: after a long stop, or when the clock is ahead after a restart, silence is no news.
    fn unheard(&self, time: Duration) -> Option<Instant> {
        let end = self.context.config.serves_since + time;
        (end > self.now).then_some(end)
    }

    /// The silence of a batch's device becomes news.
    fn be_silent(&mut self) {
        let stalled = self.context.config.stalled_after.saturating_sub(SILENT);
        let Some(task) = self.open_task() else { return };
        let (next, slot) = match task.silence {
            Silence::None => (Silence::Silent, Slot::Silent),
            _ => (Silence::Stalled, Slot::Stalled),
        };
        task.silence = next;
        self.change.write = Write::Now;
        self.count_slot(slot, 1);
        if next == Silence::Silent {
            self.device.silent = Some(self.now + stalled);
        }
    }

    /// The device of a batch's open task is heard, or gets an offer.
    fn break_silence(&mut self) {
        let Some(task) = self.open_task().filter(|task| task.batch.is_some()) else { return };
        let was = core::mem::take(&mut task.silence);
        self.uncount(was);
        if was != Silence::None {
            self.change.write = Write::Now;
        }
        self.device.silent = Some(self.now + SILENT);
    }

    fn uncount(&mut self, was: Silence) {
        for (least, slot) in [(Silence::Silent, Slot::Silent), (Silence::Stalled, Slot::Stalled)] {
            if was >= least {
                self.count_slot(slot, -1);
            }
        }
    }

    fn count_slot(&mut self, slot: Slot, by: i8) {
        let batch = self.device.task.as_ref().and_then(|task| task.batch);
        self.change.of_batches.extend(batch.map(|of| (of, slot, by)));
    }

    /// A cloud that is a client of a broker does not see connects.
    fn presume(&mut self) {
        if self.context.config.presume_connected && !self.device.online {
            self.set_online();
        }
    }

    fn set_online(&mut self) {
        let counters = &mut self.device.counters;
        counters.sessions = counters.sessions.saturating_add(1);
        self.device.online = true;
        self.emit(EventKind::Connected);
    }

    fn set_offline(&mut self) {
        let was = std::mem::take(&mut self.device.online);
        let undelivered = self.device.task.as_ref().is_some_and(|t| t.status == Status::Pending);
        self.device.offer = None;
        if was {
            self.emit(EventKind::Disconnected);
        }
        if undelivered {
            self.set_status(Status::Offline);
        }
    }

    fn version_reported(&mut self, version: &str, fw_type: Option<&str>) {
        let module = Module::new(fw_type);
        let (before, quiet) = (self.device.not_offered.clone(), self.change.events.is_empty());
        let known = module.as_ref().and_then(|module| self.device.reported(module));
        let again = quiet && known.is_some_and(|known| known.version == version);
        self.emit(EventKind::Version { version: version.into(), module: module.clone() });
        let counters = &mut self.device.counters;
        counters.received = counters.received.saturating_add(1);
        counters.versions = counters.versions.saturating_add(1);
        if self.device.online {
            counters.replies = counters.replies.saturating_add(1);
            self.change.effects.push(Effect::Reply { version: version.into() });
        }
        self.hear();
        let kept = module.filter(|module| self.keep(module, version));
        let drawn = match &kept {
            Some(module) => self.draw(module, version),
            None => Err(NotOffered::UnknownModule),
        };
        self.device.not_offered = drawn.clone().err();
        if let Err(why) = drawn {
            self.emit(EventKind::NotOffered { module: kept.unwrap_or_default(), why });
        }
        // The version, and why it draws no offer.
        let told = 1_usize.saturating_add(usize::from(self.device.not_offered.is_some()));
        let same = before == self.device.not_offered && self.change.events.len() == told;
        self.change.journal = !(again && same);
    }

    /// Stores a module's report, while there is room.
    fn keep(&mut self, module: &Module, version: &str) -> bool {
        let modules = &mut self.device.modules;
        match modules.binary_search_by(|known| known.module.cmp(module)) {
            Ok(at) => {
                if let Some(known) = modules.get_mut(at) {
                    known.version = version.into();
                    known.at = self.now;
                }
            }
            Err(_) if modules.len() >= MAX_MODULES => return false,
            Err(at) => {
                let (module, version) = (module.clone(), version.into());
                modules.insert(at, Reported { module, version, at: self.now, rule: None });
            }
        }
        true
    }

    /// Decides what a version report causes: proof, an offer, or no offer for a reason.
    fn draw(&mut self, module: &Module, version: &str) -> Result<(), NotOffered> {
        let push_at = self.now + self.context.config.reply_gap;
        let open = self.device.has_open_task();
        let Some(task) = &mut self.device.task else { return self.roll_out(module, push_at) };
        let hold = task.batch.filter(|_| open);
        if task.module != *module {
            return if open {
                Err(NotOffered::OtherModule)
            } else {
                self.roll_out(module, push_at)
            };
        }
        if task.target == version {
            if self.prove() {
                return Ok(());
            }
            // The task's target runs, and a rule that was set later may require more.
            return match self.roll_out(module, push_at) {
                Err(NotOffered::NoRule) => Err(NotOffered::UpToDate),
                drawn => drawn,
            };
        }
        if !open {
            return self.roll_out(module, push_at);
        }
        if task.status == Status::AwaitingConfirm {
            return Err(NotOffered::AwaitingConfirm);
        }
        let (module, target) = (task.module.clone(), task.target.clone());
        self.check_firmware(&module, &target)?;
        if let Some(batch) = hold {
            self.check_hold(batch.number)?;
        }
        let paused = task_pause(self.device, self.now);
        self.make_due(push_at);
        if paused {
            return Err(NotOffered::WaitsForRetry);
        }
        if self.device.online { Ok(()) } else { Err(NotOffered::NotSubscribed) }
    }

    /// The task's target was reported, which ends the task whatever was reported before. Returns
    /// whether this is the first such report.
    fn prove(&mut self) -> bool {
        self.device.offer = None;
        let Some(task) = &mut self.device.task else { return false };
        let (id, first) = (task.id, task.proved.is_none());
        task.late |= task.finished.is_some_and(|(_, how)| is_otherwise(how));
        task.proved = task.proved.or(Some(self.now));
        let how = if task.pushed.is_none() { Finish::AlreadyThere } else { Finish::Proved };
        if first {
            self.emit(EventKind::Proved { task: id });
        }
        self.finish(how, Status::Complete);
        first
    }

    fn progress_reported(&mut self, version: &str, progress: &Progress<'_>, fw_type: Option<&str>) {
        let result = matches!(progress.state, ProgressState::Done | ProgressState::Fail);
        // A report without a valid module counts for the open task.
        let fits = |task: &Task| {
            fw_type.is_none() || Module::new(fw_type).is_some_and(|module| module == task.module)
        };
        let task = self.device.task.as_ref();
        let task = task.filter(|task| task.target == version && fits(task));
        // Before the first push of an attempt only `done` can belong to it: everything else is left
        // over from the previous attempt.
        let stray = task.is_none_or(|task| {
            task.finished.is_none()
                && task.pushed.is_none()
                && progress.state != ProgressState::Done
        });
        let counters = &mut self.device.counters;
        counters.received = counters.received.saturating_add(1);
        counters.progress = counters.progress.saturating_add(1);
        counters.results = counters.results.saturating_add(u64::from(result));
        counters.stray = counters.stray.saturating_add(u64::from(stray));
        self.change.write = self.change.write.max(if result { Write::Now } else { Write::Later });
        self.emit(EventKind::Progress {
            version: cut(version, MAX_VERSION),
            state: progress.state,
            percent: progress.percent,
            result_code: progress.result_code,
            result_msg: cut(&progress.result_msg, MAX_MSG),
            stray,
        });
        if stray {
            return;
        }
        self.hear();
        match progress.state {
            ProgressState::Downloading => self.downloading(progress.percent),
            ProgressState::Burning => self.working(Status::Burning),
            ProgressState::Done => self.done(progress),
            ProgressState::Fail => self.failed(progress),
            // A state of a later protocol crate.
            _ => {}
        }
    }

    fn downloading(&mut self, percent: Option<i64>) {
        let Some(task) = self.open_task() else { return };
        if let Some(percent) = percent {
            // Clamped, so it fits.
            task.percent = u8::try_from(percent.clamp(0, 100)).ok();
        }
        let whole = percent == Some(100);
        self.working(if whole { Status::Downloaded } else { Status::Downloading });
    }

    fn working(&mut self, status: Status) {
        if self.device.has_open_task() {
            self.set_status(status);
        }
    }

    fn done(&mut self, progress: &Progress<'_>) {
        let Some(task) = &mut self.device.task else { return };
        let (id, first) = (task.id, task.claimed.is_none());
        let late = task.finished.is_some_and(|(_, how)| is_otherwise(how));
        task.claimed = task.claimed.or(Some(self.now));
        task.late |= late;
        task.retcode = progress.result_code;
        task.err_msg = cut(&progress.result_msg, MAX_MSG);
        if first {
            self.emit(EventKind::Claimed { task: id, late });
        }
        self.finish(Finish::Done, Status::Complete);
    }

    fn failed(&mut self, progress: &Progress<'_>) {
        let Some(task) = &mut self.device.task else { return };
        // A task that is both claimed and proved stays done. One that is only proved does not: an
        // image on trial also reports its version and may be rolled back.
        if (task.claimed.is_some() && task.proved.is_some())
            || matches!(task.finished, Some((_, Finish::AlreadyThere)))
        {
            return;
        }
        task.late |= matches!(task.finished, Some((_, Finish::TimedOut | Finish::Cancelled)));
        task.retcode = progress.result_code;
        task.err_msg = cut(&progress.result_msg, MAX_MSG);
        self.finish(Finish::Failed, Status::Failed);
    }

    fn start(&mut self, target: &str, options: &TaskOptions) -> Result<(), TaskError> {
        let product = self.device.identity.product_id();
        if self.context.catalog.get(product, &options.module, target).is_none() {
            return Err(TaskError::FirmwareNotExist);
        }
        if self.context.catalog.withdrawn(product, &options.module, target).is_some() {
            return Err(TaskError::FirmwareWithdrawn);
        }
        if self.context.catalog.is_draft(product, &options.module, target) {
            return Err(TaskError::FirmwareIsDraft);
        }
        if self.device.has_open_task() {
            return Err(TaskError::DeviceRunningOtherOtaTask);
        }
        let runs = self.device.reported(&options.module).map(|known| known.version.as_str());
        if runs == Some(target) {
            return Err(TaskError::DeviceFirmwareIsUpdated);
        }
        options.check_source(runs)?;
        self.context.catalog.check_needs((product, &options.module, target), runs)?;
        self.begin(&options.module, target, options, false, self.now);
        Ok(())
    }

    fn cancel(&mut self, task: TaskId) -> Result<(), TaskError> {
        if self.current(task)?.finished.is_some() {
            return Err(TaskError::DeviceFirmwareTaskAlreadDone);
        }
        self.finish(Finish::Cancelled, Status::Failed);
        Ok(())
    }

    fn retry(&mut self, task: TaskId) -> Result<(), TaskError> {
        let began = self.now;
        let current = self.current(task)?;
        if current.status == Status::Complete {
            return Err(TaskError::DeviceFirmwareTaskAlreadDone);
        }
        if current.finished.is_none() {
            return Err(TaskError::DeviceOtaTaskInProgress);
        }
        let module = current.module.clone();
        let mut next = Task::new(task, module, &current.target, current.timeout, began);
        next.attempt = current.attempt.saturating_add(1);
        next.by_rollout = current.by_rollout;
        next.batch = current.batch;
        next.retries = current.retries;
        next.status = current.status;
        *current = next;
        self.make_due(began);
        self.break_silence();
        Ok(())
    }

    /// Begins the next attempt of a task that has just failed, after its pause.
    fn retry_later(&mut self) {
        let now = self.now;
        let Some(task) = self.device.task.as_mut() else { return };
        let pause = task.retries.and_then(|retries| retries.pause_after(task.attempt));
        let Some(pause) = pause else { return };
        let mut next = Task::new(task.id, task.module.clone(), &task.target, task.timeout, now);
        next.attempt = task.attempt.saturating_add(1);
        next.by_rollout = task.by_rollout;
        (next.batch, next.retries) = (task.batch, task.retries);
        (next.retcode, next.err_msg) = (task.retcode, core::mem::take(&mut task.err_msg));
        (next.status, next.not_before, next.again) = (task.status, Some(now + pause), true);
        *task = next;
        self.count_slot(Slot::Again, 1);
        self.make_due(now);
        self.device.silent = Some(now + pause + SILENT).filter(|_| self.is_of_batch());
    }

    fn is_of_batch(&self) -> bool {
        self.device.task.as_ref().is_some_and(|task| task.batch.is_some())
    }

    fn confirm(&mut self, task: TaskId) -> Result<(), TaskError> {
        if self.current(task)?.status != Status::AwaitingConfirm {
            return Err(TaskError::NotAwaitingConfirm);
        }
        self.make_due(self.now);
        Ok(())
    }

    fn push_again(&mut self, task: TaskId) -> Result<(), TaskError> {
        let current = self.current(task)?;
        if current.finished.is_some() {
            return Err(TaskError::DeviceFirmwareTaskAlreadDone);
        }
        if current.status == Status::AwaitingConfirm {
            return Err(TaskError::AwaitingConfirm);
        }
        current.not_before = None;
        self.make_due(self.now);
        Ok(())
    }

    /// Returns whether anything has changed.
    fn try_again(&mut self) -> bool {
        let modules: Vec<Module> =
            self.device.modules.iter().map(|known| known.module.clone()).collect();
        let used = self.device.modules.iter().any(|known| known.rule.is_some());
        for known in &mut self.device.modules {
            known.rule = None;
        }
        for module in modules {
            let drawn = self.roll_out(&module, self.now);
            if drawn.is_ok() {
                self.device.not_offered = None;
            }
        }
        used || !self.change.events.is_empty()
    }

    /// The device's task, if it is this one.
    fn current(&mut self, task: TaskId) -> Result<&mut Task, TaskError> {
        let current = self.device.task.as_mut().filter(|current| current.id == task);
        current.ok_or(TaskError::DeviceFirmwareTaskNotExist)
    }

    /// The device's task, if it is open.
    fn open_task(&mut self) -> Option<&mut Task> {
        self.device.task.as_mut().filter(|task| task.finished.is_none())
    }

    /// Creates a task; the device has no open one.
    fn begin(
        &mut self,
        module: &Module,
        target: &str,
        options: &TaskOptions,
        by_rollout: bool,
        push_at: Instant,
    ) {
        let timeout = options.timeout.unwrap_or(self.context.config.timeout_interval);
        let device = &mut *self.device;
        device.tasks = device.tasks.saturating_add(1);
        let id = TaskId { device: device.number, number: device.tasks };
        let mut task = Task::new(id, module.clone(), target, timeout, self.now);
        task.by_rollout = by_rollout;
        (task.batch, task.retries) = (options.batch, options.retries);
        task.user_defined.clone_from(&options.user_defined);
        if options.confirm {
            task.status = Status::AwaitingConfirm;
        } else if device.online {
            task.status = Status::Pending;
        }
        self.change.counts.push((task.status, 1));
        let of = options.batch.map(|of| (of, Slot::Status(task.status), 1));
        self.change.of_batches.extend(of);
        self.change.replaced = device.task.replace(task);
        // Only tasks in rows count, and a row has one.
        let gone = self.change.replaced.as_ref().map(|task| (task.status, -1));
        self.change.counts.extend(gone);
        self.emit(EventKind::Began { task: id, version: target.into() });
        if !options.confirm {
            self.make_due(push_at);
        }
        self.break_silence();
    }

    /// Begins a task if the module's standing rule requires one.
    fn roll_out(&mut self, module: &Module, push_at: Instant) -> Result<(), NotOffered> {
        let product = self.device.identity.product_id();
        let rule = self.context.catalog.rule(product, module);
        let rule = rule.ok_or_else(|| self.why_no_rule(module))?;
        let known = self.device.reported(module).ok_or(NotOffered::NoRule)?;
        let made = match &known.rule {
            Some((target, made)) if *target == rule.version => *made,
            _ => 0,
        };
        let (runs, online) = (known.version.clone(), self.device.online);
        self.check_rule(rule, &runs, made)?;
        self.check_firmware(module, &rule.version)?;
        if let Some(known) = self.device.modules.iter_mut().find(|known| known.module == *module) {
            known.rule = Some((rule.version.clone(), made.saturating_add(1)));
        }
        self.begin(module, &rule.version, &rule.options, true, push_at);
        if rule.options.confirm {
            return Err(NotOffered::AwaitingConfirm);
        }
        if online { Ok(()) } else { Err(NotOffered::NotSubscribed) }
    }

    /// Why a device without a task and a rule gets nothing: its wave may not have begun.
    fn why_no_rule(&self, module: &Module) -> NotOffered {
        let batch = self.context.catalog.waits(&self.device.identity, module);
        batch.map_or(NotOffered::NoRule, |batch| NotOffered::HeldByWave { batch })
    }

    /// Whether the devices of a batch may get offers.
    fn check_hold(&self, batch: u32) -> Result<(), NotOffered> {
        match self.context.catalog.hold(self.device.identity.product_id(), batch) {
            None => Ok(()),
            Some(Hold::Paused) => Err(NotOffered::BatchPaused { batch }),
            Some(Hold::Window) => Err(NotOffered::WindowClosed { batch }),
        }
    }

    /// Whether a rule may create the next task for a device that runs this version.
    fn check_rule(&self, rule: &Rollout, runs: &str, made: u32) -> Result<(), NotOffered> {
        let attempts = rule.attempts.max(1);
        if self.device.has_open_task() {
            Err(NotOffered::OtherModule)
        } else if runs == rule.version {
            Err(NotOffered::UpToDate)
        } else if rule.options.check_source(Some(runs)).is_err() {
            Err(NotOffered::OtherVersion)
        } else if made >= attempts {
            Err(NotOffered::AttemptsUsed { attempts })
        } else if made > 0 && self.device.counters.sessions <= self.device.ended_in {
            Err(NotOffered::WaitsForSession)
        } else {
            Ok(())
        }
    }

    /// Whether a firmware can be offered.
    fn check_firmware(&self, module: &Module, version: &str) -> Result<(), NotOffered> {
        let (catalog, product) = (self.context.catalog, self.device.identity.product_id());
        if catalog.get(product, module, version).is_none() {
            return Err(NotOffered::NoFirmware);
        }
        if let Some(why) = catalog.withdrawn(product, module, version) {
            return Err(NotOffered::Withdrawn { why: why.into() });
        }
        let runs = self.device.reported(module).map(|known| known.version.as_str());
        let needs = catalog.needs(product, module, version).unwrap_or("");
        catalog
            .check_needs((product, module, version), runs)
            .map_err(|_| NotOffered::NeedsVersion { least: needs.into() })
    }

    /// Schedules an offer for the open task, or waits until the device is back.
    fn make_due(&mut self, at: Instant) {
        let online = self.device.online;
        let Some(task) = self.open_task() else { return };
        let delivered = task.pushed.is_some();
        let at = task.not_before.map_or(at, |pause| pause.max(at));
        if online {
            let sooner = self.device.offer.map_or(at, |planned| planned.min(at));
            self.device.offer = Some(sooner);
        }
        if !delivered {
            self.set_status(if online { Status::Pending } else { Status::Offline });
        }
    }

    /// Claims an offer that is due.
    fn claim_offer(&mut self) {
        if self.device.offer.is_none_or(|at| at > self.now) {
            return;
        }
        self.change.write = Write::Now;
        self.device.offer = None;
        let Some(task) = self.open_task() else { return };
        let (id, module, target, batch) =
            (task.id, task.module.clone(), task.target.clone(), task.batch);
        if !self.device.online {
            return self.make_due(self.now);
        }
        let hold = batch.map_or(Ok(()), |batch| self.check_hold(batch.number));
        match self.check_firmware(&module, &target).and(hold) {
            Ok(()) => {
                self.device.offer = Some(self.now + LEASE);
                self.change.effects.push(Effect::Offer(id));
            }
            Err(why) => {
                self.device.not_offered = Some(why.clone());
                self.emit(EventKind::NotOffered { module, why });
            }
        }
    }

    /// An offer was published.
    fn offered(&mut self, task: TaskId) {
        let now = self.now;
        let Some(task) = self.open_task().filter(|open| open.id == task) else { return };
        task.pushed = task.pushed.or(Some(now));
        task.last_push = Some(now);
        task.pushes = task.pushes.saturating_add(1);
        let first = matches!(task.status, Status::Pending | Status::Offline);
        let (id, version) = (task.id, task.target.clone());
        self.device.offer = None;
        self.device.not_offered = None;
        let counters = &mut self.device.counters;
        counters.offers = counters.offers.saturating_add(1);
        self.emit(EventKind::Offered { task: id, version });
        // A repeated offer is no news of the device: its state stays.
        if first {
            self.set_status(Status::Delivered);
        }
        self.watch();
        self.break_silence();
    }

    /// Ends the device's task, or records a late result of an ended one.
    fn finish(&mut self, how: Finish, status: Status) {
        let Some(task) = &mut self.device.task else { return };
        let first = task.finished.is_none();
        if first {
            self.device.ended_in = self.device.counters.sessions;
        }
        let (silence, again) =
            (core::mem::take(&mut task.silence), core::mem::take(&mut task.again));
        task.finished = task.finished.or(Some((self.now, how)));
        self.device.offer = None;
        self.device.timeout = None;
        self.device.silent = None;
        self.change.write = Write::Now;
        self.uncount(silence);
        if again {
            self.count_slot(Slot::Again, -1);
        }
        self.set_status(status);
        if first && matches!(how, Finish::Failed | Finish::TimedOut) {
            self.retry_later();
        }
    }

    fn set_status(&mut self, to: Status) {
        let Some(task) = &mut self.device.task else { return };
        let (id, from) = (task.id, task.status);
        task.status = to;
        if from == to {
            return;
        }
        let text = match (to, task.finished) {
            (Status::TimedOut, _) => format!("no result within {} s", task.timeout.as_secs()),
            (Status::Failed, Some((_, Finish::Cancelled))) if task.err_msg.is_empty() => {
                "cancelled".into()
            }
            _ => task.err_msg.clone(),
        };
        let code = task.retcode;
        self.change.write = Write::Now;
        let batch = task.batch;
        self.change.counts.extend([(from, -1), (to, 1)]);
        let both = [(from, -1), (to, 1)];
        let of = batch.map(|of| both.map(|(status, by)| (of, Slot::Status(status), by)));
        self.change.of_batches.extend(of.into_iter().flatten());
        self.emit(EventKind::Status { task: id, from, to, code, text });
    }

    /// Records a message of the device, which may delay its time-out.
    fn hear(&mut self) {
        let now = self.now;
        if let Some(task) = self.open_task() {
            task.heard = Some(now);
            self.watch();
            self.break_silence();
        }
    }

    /// Schedules the time-out of the open task. One that was never pushed has none.
    fn watch(&mut self) {
        let from = self.context.config.timeout_from;
        let Some(task) = self.open_task() else { return };
        let timeout = task.timeout;
        let since = task.pushed.map(|first| match from {
            TimeoutFrom::Push => first,
            TimeoutFrom::LastReport => {
                first.max(task.last_push.unwrap_or(first)).max(task.heard.unwrap_or(first))
            }
        });
        // A moment in the future is of a clock that was set back.
        self.device.timeout = since.map(|since| since.min(self.now) + timeout);
    }

    fn emit(&mut self, kind: EventKind) {
        self.change.events.push(kind);
    }
}

/// Whether the pause before this attempt of the device's task is not over.
fn task_pause(device: &Device, now: Instant) -> bool {
    let pause = device.task.as_ref().and_then(|task| task.not_before);
    pause.is_some_and(|pause| pause > now)
}

/// Whether a task that ended like this was considered lost.
fn is_otherwise(how: Finish) -> bool {
    matches!(how, Finish::Failed | Finish::TimedOut | Finish::Cancelled)
}

/// The first `max` bytes of a text, or slightly fewer so that no character is split.
fn cut(text: &str, max: usize) -> String {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or("").into()
}
