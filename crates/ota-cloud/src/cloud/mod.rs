//! Devices, firmware and update tasks: the cloud's side of the four messages.

mod config;
mod error;
mod firmware;
mod input;
mod output;
mod record;
mod schedule;
mod task;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ota_proto::{Identity, Instant};

pub use config::{CloudConfig, TimeoutFrom};
pub use error::{CatalogError, CloudError, TaskError};
pub use firmware::Firmware;
pub use output::Output;
pub use record::{CloudEvent, Counters, DeviceRecord, EventKind, LogEntry, Reported, Secret};
pub use task::{Finish, Rollout, Status, Task, TaskId, TaskOptions};

/// The cloud half of the protocol as a state machine without sockets and clock.
///
/// The loop is: feed one input, then take outputs until [`Output::Idle`], then wait for the next
/// input or the deadline. Every input is legal in every state and without draining. A moment
/// before the last one counts as the last one. A command that is refused changes nothing but what
/// time has changed by then; a message that is refused changes nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cloud {
    config: CloudConfig,
    now: Instant,
    allow_unknown: bool,
    firmware: BTreeMap<(String, String), Firmware>,
    rollouts: BTreeMap<String, Rollout>,
    index: BTreeMap<Identity, u32>,
    devices: Vec<DeviceRecord>,
    events: VecDeque<CloudEvent>,
    /// Devices that a reply is due for.
    replies: BTreeSet<u32>,
    /// Offers by when they are due.
    offers: BTreeSet<(Instant, u32)>,
    /// Time-outs of tasks by when they are due.
    timeouts: BTreeSet<(Instant, u32)>,
}

impl Cloud {
    /// The largest payload from a device, in bytes (docs/protocol.md, The cloud's side).
    pub const MAX_PAYLOAD: usize = 16 * 1_024;

    /// A cloud without devices and firmware.
    #[must_use]
    pub fn new(config: CloudConfig) -> Self {
        Self {
            config,
            now: Instant::ZERO,
            allow_unknown: false,
            firmware: BTreeMap::new(),
            rollouts: BTreeMap::new(),
            index: BTreeMap::new(),
            devices: Vec::new(),
            events: VecDeque::new(),
            replies: BTreeSet::new(),
            offers: BTreeSet::new(),
            timeouts: BTreeSet::new(),
        }
    }

    /// Registers a device, or gives a known one another secret. `secret` is the raw bytes.
    ///
    /// # Errors
    /// [`CloudError::TooManyDevices`].
    pub fn add_device(&mut self, identity: &Identity, secret: Secret) -> Result<(), CloudError> {
        let device = match self.index.get(identity) {
            Some(device) => *device,
            None => self.register(identity)?,
        };
        if let Some(record) = self.record_mut(device) {
            record.secret = Some(secret);
        }
        Ok(())
    }

    /// Whether devices that are not registered are taken, and get a record at first sight. Such a
    /// device has no secret. Off at first.
    pub fn allow_unknown(&mut self, allow: bool) {
        self.allow_unknown = allow;
    }

    /// Whether devices that are not registered are taken.
    #[must_use]
    pub fn allows_unknown(&self) -> bool {
        self.allow_unknown
    }

    /// A device's secret, to check its password with.
    #[must_use]
    pub fn secret(&self, identity: &Identity) -> Option<&Secret> {
        self.device(identity)?.secret.as_ref()
    }

    /// Adds an image to the catalogue.
    ///
    /// # Errors
    /// [`CatalogError`], by what is wrong with it; nothing is added.
    pub fn add_firmware(&mut self, firmware: Firmware) -> Result<(), CatalogError> {
        firmware.check()?;
        let key = (firmware.product_id.clone(), firmware.version.clone());
        if self.firmware.contains_key(&key) {
            return Err(CatalogError::FirmwareAlreadyExist);
        }
        if self.firmware.len() >= self.config.max_firmware {
            return Err(CatalogError::FirmwareExceedLimit);
        }
        self.firmware.insert(key, firmware);
        Ok(())
    }

    /// Every image, by product and version.
    pub fn firmware(&self) -> impl Iterator<Item = &Firmware> {
        self.firmware.values()
    }

    /// Starts a task: pushed at once to a connected device, on its next `report_version` to
    /// another.
    ///
    /// # Errors
    /// [`TaskError`], by what is in the way; nothing is changed.
    pub fn start_task(
        &mut self,
        now: Instant,
        identity: &Identity,
        version: &str,
        options: &TaskOptions,
    ) -> Result<TaskId, TaskError> {
        self.advance(now);
        let device = *self.index.get(identity).ok_or(TaskError::DeviceNotExist)?;
        if !self.firmware.contains_key(&(identity.product_id().into(), version.into())) {
            return Err(TaskError::FirmwareNotExist);
        }
        let record = self.record(device).ok_or(TaskError::DeviceNotExist)?;
        if record.has_open_task() {
            return Err(TaskError::DeviceRunningOtherOtaTask);
        }
        let runs = record.reported.as_ref().map(|reported| reported.version.as_str());
        if runs == Some(version) {
            return Err(TaskError::DeviceFirmwareIsUpdated);
        }
        options.check_source(runs)?;
        let push_at = self.now;
        self.begin(device, version, options, push_at).ok_or(TaskError::DeviceNotExist)
    }

    /// Sets the product's standing rule: each of its devices that reports, or has reported,
    /// another version gets a task. `None` ends the rule; its tasks stay.
    ///
    /// # Errors
    /// [`TaskError::FirmwareNotExist`]; nothing is changed.
    pub fn set_rollout(
        &mut self,
        now: Instant,
        product_id: &str,
        rollout: Option<Rollout>,
    ) -> Result<(), TaskError> {
        let Some(rollout) = rollout else {
            self.rollouts.remove(product_id);
            return Ok(());
        };
        if !self.firmware.contains_key(&(product_id.into(), rollout.version.clone())) {
            return Err(TaskError::FirmwareNotExist);
        }
        self.advance(now);
        self.rollouts.insert(product_id.into(), rollout);
        let push_at = self.now;
        let devices: Vec<u32> = self
            .index
            .iter()
            .filter(|(identity, _)| identity.product_id() == product_id)
            .map(|(_, device)| *device)
            .collect();
        for device in devices {
            self.roll_out(device, push_at);
        }
        Ok(())
    }

    /// Ends a device's unfinished task. The device is not told: the protocol has no such message.
    ///
    /// # Errors
    /// [`TaskError::DeviceFirmwareTaskNotExist`] or [`TaskError::DeviceFirmwareTaskAlreadDone`].
    pub fn cancel_task(&mut self, now: Instant, task: TaskId) -> Result<(), TaskError> {
        self.advance(now);
        if self.current(task)?.finished.is_some() {
            return Err(TaskError::DeviceFirmwareTaskAlreadDone);
        }
        self.finish(task.device, Finish::Cancelled, Status::Failed);
        Ok(())
    }

    /// Begins the next attempt of a device's last task, which ended without `done`.
    ///
    /// # Errors
    /// [`TaskError::DeviceFirmwareTaskNotExist`] when it is not the device's last task,
    /// [`TaskError::DeviceOtaTaskInProgress`] when it is not over,
    /// [`TaskError::DeviceFirmwareTaskAlreadDone`] when it succeeded.
    pub fn retry_task(&mut self, now: Instant, task: TaskId) -> Result<(), TaskError> {
        self.advance(now);
        let current = self.current(task)?;
        if current.status == Status::Complete {
            return Err(TaskError::DeviceFirmwareTaskAlreadDone);
        }
        if current.finished.is_none() {
            return Err(TaskError::DeviceOtaTaskInProgress);
        }
        let began = self.now;
        let Some(current) = self.record_mut(task.device).and_then(|r| r.task.as_mut()) else {
            return Err(TaskError::DeviceFirmwareTaskNotExist);
        };
        let mut next = Task::new(task, &current.target, current.timeout, began);
        next.attempt = current.attempt.saturating_add(1);
        next.by_rollout = current.by_rollout;
        next.status = current.status;
        *current = next;
        self.make_due(task.device, began);
        Ok(())
    }

    /// A person agrees to a task started with [`TaskOptions::confirm`]: it is pushed.
    ///
    /// # Errors
    /// [`TaskError::DeviceFirmwareTaskNotExist`] or [`TaskError::NotAwaitingConfirm`].
    pub fn confirm_task(&mut self, now: Instant, task: TaskId) -> Result<(), TaskError> {
        self.advance(now);
        if self.current(task)?.status != Status::AwaitingConfirm {
            return Err(TaskError::NotAwaitingConfirm);
        }
        let push_at = self.now;
        self.make_due(task.device, push_at);
        Ok(())
    }

    /// A device's record.
    #[must_use]
    pub fn device(&self, identity: &Identity) -> Option<&DeviceRecord> {
        self.record(*self.index.get(identity)?)
    }

    /// Every device's record, in the order of registration.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceRecord> {
        self.devices.iter()
    }

    fn record(&self, device: u32) -> Option<&DeviceRecord> {
        self.devices.get(usize::try_from(device).ok()?)
    }

    fn record_mut(&mut self, device: u32) -> Option<&mut DeviceRecord> {
        self.devices.get_mut(usize::try_from(device).ok()?)
    }

    /// The device's task, when it is this one.
    fn current(&self, task: TaskId) -> Result<&Task, TaskError> {
        self.record(task.device)
            .and_then(|record| record.task.as_ref())
            .filter(|current| current.id == task)
            .ok_or(TaskError::DeviceFirmwareTaskNotExist)
    }

    fn register(&mut self, identity: &Identity) -> Result<u32, CloudError> {
        let device = u32::try_from(self.devices.len()).map_err(|_| CloudError::TooManyDevices)?;
        if device >= self.config.max_devices {
            return Err(CloudError::TooManyDevices);
        }
        self.devices.push(DeviceRecord::new(identity.clone()));
        self.index.insert(identity.clone(), device);
        Ok(device)
    }
}
