//! Many devices in memory: a thin map over [`Device`].

mod output;
mod record;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ota_proto::{Identity, Instant};

use crate::catalog::{Catalog, Firmware};
use crate::device::{
    self, CloudConfig, Context, Device, DeviceInput, Effect, EventKind, MAX_PAYLOAD, Task, TaskId,
};
use crate::error::{CatalogError, CloudError, TaskError};
use crate::options::{Rollout, TaskOptions};

pub use output::Output;
pub use record::{CloudEvent, DeviceRecord, LogEntry, Secret};

/// The cloud half of the protocol as a state machine without sockets and clock.
///
/// [`Device`] decides about each device. The loop is: apply one input, take outputs until
/// [`Output::Idle`], then wait for the next input or the deadline. Every input is legal in every
/// state and without draining. A time before the last one counts as the last one. A refused command
/// changes nothing except what is due by then; a refused message changes nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Cloud {
    config: CloudConfig,
    now: Instant,
    allow_unknown: bool,
    catalog: Catalog,
    index: BTreeMap<Identity, u32>,
    devices: Vec<DeviceRecord>,
    events: VecDeque<CloudEvent>,
    /// Devices with a pending reply, and the version reported last.
    replies: BTreeMap<u32, String>,
    /// Offers by due time.
    offers: BTreeSet<(Instant, u32)>,
    /// Time-outs of tasks by due time.
    timeouts: BTreeSet<(Instant, u32)>,
}

/// The effect of an input on a device.
struct Turned {
    answer: Result<(), TaskError>,
    /// An offer of this task must be sent.
    offer: Option<TaskId>,
}

impl Cloud {
    /// The largest payload from a device, in bytes (docs/protocol.md, The cloud's side).
    pub const MAX_PAYLOAD: usize = MAX_PAYLOAD;

    /// Makes a cloud without devices and firmware.
    #[must_use]
    pub fn new(config: CloudConfig) -> Self {
        Self {
            config,
            now: Instant::ZERO,
            allow_unknown: false,
            catalog: Catalog::default(),
            index: BTreeMap::new(),
            devices: Vec::new(),
            events: VecDeque::new(),
            replies: BTreeMap::new(),
            offers: BTreeSet::new(),
            timeouts: BTreeSet::new(),
        }
    }

    /// Registers a device, or changes the secret of a registered one. `secret` is the raw bytes.
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

    /// Sets whether unregistered devices are accepted, and get a record at first sight. Such a
    /// device has no secret. Off at first.
    pub fn allow_unknown(&mut self, allow: bool) {
        self.allow_unknown = allow;
    }

    /// Whether unregistered devices are accepted.
    #[must_use]
    pub fn allows_unknown(&self) -> bool {
        self.allow_unknown
    }

    /// A device's secret, for checking its password.
    #[must_use]
    pub fn secret(&self, identity: &Identity) -> Option<&Secret> {
        self.device(identity)?.secret.as_ref()
    }

    /// Adds an image to the catalogue.
    ///
    /// # Errors
    /// [`CatalogError`], by what is wrong with it; nothing is added.
    pub fn add_firmware(&mut self, firmware: Firmware) -> Result<(), CatalogError> {
        self.catalog.add(firmware, self.config.max_firmware)
    }

    /// Stops the offers of an image, for the reason that its devices' events then contain. Returns
    /// whether the image exists. Tasks for it stay, without offers.
    pub fn withdraw_firmware(&mut self, firmware: &Firmware, why: &str) -> bool {
        let Firmware { product_id, version, .. } = firmware;
        self.catalog.withdraw(product_id, &firmware.module(), version, why)
    }

    /// Whether an image is no longer offered.
    #[must_use]
    pub fn is_withdrawn(&self, firmware: &Firmware) -> bool {
        let Firmware { product_id, version, .. } = firmware;
        self.catalog.withdrawn(product_id, &firmware.module(), version).is_some()
    }

    /// All images, by product, module and version.
    pub fn firmware(&self) -> impl Iterator<Item = &Firmware> {
        self.catalog.iter()
    }

    /// The image that [`Cloud::poll_output`] offers next, if an offer is due.
    #[must_use]
    pub fn next_offer(&self) -> Option<&Firmware> {
        let (at, device) = self.offers.first()?;
        let record = self.record(*device).filter(|_| *at <= self.now)?;
        record.device.firmware(&self.context())
    }

    /// Starts a task: pushed at once to a connected device, to another one after its next
    /// `report_version`.
    ///
    /// # Errors
    /// [`TaskError`] names the reason; nothing is changed.
    pub fn start_task(
        &mut self,
        now: Instant,
        identity: &Identity,
        version: &str,
        options: &TaskOptions,
    ) -> Result<TaskId, TaskError> {
        self.advance(now);
        let device = *self.index.get(identity).ok_or(TaskError::DeviceNotExist)?;
        self.turn(device, DeviceInput::Start { target: version, options }).answer?;
        let task = self.record(device).and_then(|record| record.task.as_ref());
        task.map(|task| task.id).ok_or(TaskError::DeviceNotExist)
    }

    /// Sets the product's standing rule: each of its devices that reports, or has reported, another
    /// version of the rule's module gets a task. `None` ends all rules of the product; their tasks
    /// stay.
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
            self.catalog.end_rules(product_id);
            return Ok(());
        };
        let module = rollout.module.clone();
        self.catalog.set_rule(product_id, rollout)?;
        self.advance(now);
        for device in self.of_product(product_id) {
            self.turn(device, DeviceInput::RuleSet(&module));
        }
        Ok(())
    }

    /// Resets the number of tasks of the standing rules, so that devices that have used up their
    /// attempts are tried again, connected ones at once.
    pub fn try_again(&mut self, now: Instant) {
        self.advance(now);
        let devices: Vec<u32> = self.index.values().copied().collect();
        for device in devices {
            self.turn(device, DeviceInput::TryAgain);
        }
    }

    /// Cancels a device's open task. The device is not told: the protocol has no such message.
    ///
    /// # Errors
    /// [`TaskError::DeviceFirmwareTaskNotExist`] or [`TaskError::DeviceFirmwareTaskAlreadDone`].
    pub fn cancel_task(&mut self, now: Instant, task: TaskId) -> Result<(), TaskError> {
        self.command(now, task, DeviceInput::Cancel(task))
    }

    /// Starts the next attempt of a device's last task, which ended without success.
    ///
    /// # Errors
    /// [`TaskError::DeviceFirmwareTaskNotExist`] when it is not the device's last task,
    /// [`TaskError::DeviceOtaTaskInProgress`] when it is not over,
    /// [`TaskError::DeviceFirmwareTaskAlreadDone`] when it succeeded.
    pub fn retry_task(&mut self, now: Instant, task: TaskId) -> Result<(), TaskError> {
        self.command(now, task, DeviceInput::Retry(task))
    }

    /// Confirms a task that was started with [`TaskOptions::confirm`]: it is pushed.
    ///
    /// # Errors
    /// [`TaskError::DeviceFirmwareTaskNotExist`] or [`TaskError::NotAwaitingConfirm`].
    pub fn confirm_task(&mut self, now: Instant, task: TaskId) -> Result<(), TaskError> {
        self.command(now, task, DeviceInput::Confirm(task))
    }

    /// Reports that the device connected and subscribed to its update topic. Each call is a new
    /// session.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`] or [`CloudError::TooManyDevices`]; the state is unchanged.
    pub fn handle_connected(
        &mut self,
        now: Instant,
        identity: &Identity,
    ) -> Result<(), CloudError> {
        let device = self.find(identity)?;
        self.advance(now);
        let device = self.admit(identity, device)?;
        self.replies.remove(&device);
        self.turn(device, DeviceInput::Connected);
        Ok(())
    }

    /// Reports that the device disconnected: nothing more is sent to it. Unknown devices are
    /// ignored.
    pub fn handle_disconnected(&mut self, now: Instant, identity: &Identity) {
        self.advance(now);
        if let Some(device) = self.index.get(identity).copied() {
            self.replies.remove(&device);
            self.turn(device, DeviceInput::Disconnected);
        }
    }

    /// Handles a message that a device published.
    ///
    /// The topic identifies the device: the caller must check that this device may publish there.
    ///
    /// # Errors
    /// [`CloudError`], by what is wrong; the state is unchanged.
    pub fn handle_message(
        &mut self,
        now: Instant,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), CloudError> {
        let identity = device::sender(topic)?;
        let device = self.find(&identity)?;
        let message = device::read_message(payload)?;
        self.advance(now);
        let device = self.admit(&identity, device)?;
        self.turn(device, DeviceInput::Message(&message));
        Ok(())
    }

    /// Handles passed time: a deadline of [`Output::Idle`] may be due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// Returns the next output; [`Output::Idle`] if there is nothing before its deadline. Events of
    /// an input come before the messages that it causes; [`EventKind::Offered`] follows its
    /// message.
    pub fn poll_output(&mut self, now: Instant) -> Output {
        self.advance(now);
        loop {
            if let Some(event) = self.events.pop_front() {
                return Output::Event(event);
            }
            if let Some((device, version)) = self.replies.pop_first() {
                if let Some(output) = self.send(device, device::reply(&version)) {
                    return output;
                }
                continue;
            }
            match self.offers.first() {
                Some((at, device)) if *at <= self.now => {
                    let device = *device;
                    if let Some(output) = self.offer(device) {
                        return output;
                    }
                }
                offer => {
                    let offer = offer.map(|(at, _)| *at);
                    let timeout = self.timeouts.first().map(|(at, _)| *at);
                    let deadline = offer.into_iter().chain(timeout).min();
                    return Output::Idle { deadline };
                }
            }
        }
    }

    /// A device's record.
    #[must_use]
    pub fn device(&self, identity: &Identity) -> Option<&DeviceRecord> {
        self.record(*self.index.get(identity)?)
    }

    /// All devices' records, in the order of registration.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceRecord> {
        self.devices.iter()
    }

    fn context(&self) -> Context<'_> {
        Context { config: &self.config, catalog: &self.catalog }
    }

    fn record(&self, device: u32) -> Option<&DeviceRecord> {
        self.devices.get(usize::try_from(device).ok()?)
    }

    fn record_mut(&mut self, device: u32) -> Option<&mut DeviceRecord> {
        self.devices.get_mut(usize::try_from(device).ok()?)
    }

    fn of_product(&self, product_id: &str) -> Vec<u32> {
        let known = self.index.iter().filter(|(known, _)| known.product_id() == product_id);
        known.map(|(_, device)| *device).collect()
    }

    /// The device's index, or `None` if it is unknown and may be admitted.
    fn find(&self, identity: &Identity) -> Result<Option<u32>, CloudError> {
        match self.index.get(identity) {
            Some(device) => Ok(Some(*device)),
            None if !self.allow_unknown => Err(CloudError::UnknownDevice),
            None if self.devices.len() >= self.config.max_devices as usize => {
                Err(CloudError::TooManyDevices)
            }
            None => Ok(None),
        }
    }

    fn admit(&mut self, identity: &Identity, device: Option<u32>) -> Result<u32, CloudError> {
        if let Some(device) = device {
            return Ok(device);
        }
        let device = self.register(identity)?;
        self.turn(device, DeviceInput::Registered);
        Ok(device)
    }

    fn register(&mut self, identity: &Identity) -> Result<u32, CloudError> {
        let device = u32::try_from(self.devices.len()).map_err(|_| CloudError::TooManyDevices)?;
        if device >= self.config.max_devices {
            return Err(CloudError::TooManyDevices);
        }
        self.devices.push(DeviceRecord::new(Device::new(identity.clone(), device)));
        self.index.insert(identity.clone(), device);
        Ok(device)
    }

    /// Advances the clock and ends timed-out tasks.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        while let Some((at, device)) = self.timeouts.first().copied() {
            if at > self.now {
                break;
            }
            // This ends its time-out.
            self.turn(device, DeviceInput::Woken);
            self.timeouts.remove(&(at, device));
        }
    }

    fn command(
        &mut self,
        now: Instant,
        task: TaskId,
        input: DeviceInput<'_>,
    ) -> Result<(), TaskError> {
        self.advance(now);
        if self.record(task.device()).is_none() {
            return Err(TaskError::DeviceFirmwareTaskNotExist);
        }
        self.turn(task.device(), input).answer
    }

    /// Applies an input to a device, and schedules its effects.
    fn turn(&mut self, device: u32, input: DeviceInput<'_>) -> Turned {
        let context = Context { config: &self.config, catalog: &self.catalog };
        let record = usize::try_from(device).ok().and_then(|at| self.devices.get_mut(at));
        let Some(record) = record else {
            return Turned { answer: Err(TaskError::DeviceNotExist), offer: None };
        };
        let (offer, timeout) = (record.device.offer_at(), record.device.timeout_at());
        let change = record.device.apply(self.now, &context, input);
        plan(&mut self.offers, device, offer, record.device.offer_at());
        plan(&mut self.timeouts, device, timeout, record.device.timeout_at());
        remember(record, change.replaced, self.config.max_history);
        for kind in change.events {
            self.emit(device, kind);
        }
        let mut turned = Turned { answer: change.answer, offer: None };
        for effect in change.effects {
            match effect {
                Effect::Reply { version } => drop(self.replies.insert(device, version)),
                Effect::Offer(task) => turned.offer = Some(task),
            }
        }
        turned
    }

    /// Adds an event to the device's log and returns it as an output.
    fn emit(&mut self, device: u32, kind: EventKind) {
        let at = self.now;
        let (max_log, max_events) = (self.config.max_log, self.config.max_events);
        let Some(record) = self.record_mut(device) else { return };
        record.log.push_back(LogEntry { at, kind: kind.clone() });
        while record.log.len() > max_log {
            record.log.pop_front();
        }
        let device = record.identity.clone();
        self.events.push_back(CloudEvent { device, at, kind });
        while self.events.len() > max_events {
            self.events.pop_front();
        }
    }

    /// Claims the device's offer and returns it as an output.
    fn offer(&mut self, device: u32) -> Option<Output> {
        let task = self.turn(device, DeviceInput::Woken).offer?;
        let payload = self.record(device)?.device.offer(self.now, &self.context());
        let output = self.send(device, payload);
        self.turn(device, DeviceInput::Offered(task));
        output
    }

    fn send(&self, device: u32, payload: Option<Vec<u8>>) -> Option<Output> {
        let record = self.record(device).filter(|record| record.online)?;
        let topic = record.identity.update_topic().to_owned();
        Some(Output::Send { device: record.identity.clone(), topic, payload: payload? })
    }
}

/// Moves a device in a schedule.
fn plan(
    schedule: &mut BTreeSet<(Instant, u32)>,
    device: u32,
    from: Option<Instant>,
    to: Option<Instant>,
) {
    if from != to {
        from.map(|at| schedule.remove(&(at, device)));
        to.map(|at| schedule.insert((at, device)));
    }
}

/// Keeps a task that a new one replaced.
fn remember(record: &mut DeviceRecord, task: Option<Task>, most: usize) {
    record.history.extend(task);
    while record.history.len() > most {
        record.history.pop_front();
    }
}
