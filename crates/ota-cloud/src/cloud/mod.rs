//! Devices, firmware and update tasks: the cloud's side of the four messages.

mod config;
mod error;
mod firmware;
mod output;
mod record;
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
/// before the last one counts as the last one.
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
    /// Replies that are due now.
    replies: BTreeSet<u32>,
    /// Offers and time-outs, by when they are due.
    schedule: BTreeSet<(Instant, u32, Due)>,
}

/// What is scheduled for a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Due {
    Offer,
    Timeout,
}

impl Cloud {
    /// The largest payload from a device, in bytes (protocol.md §6.1).
    pub const MAX_PAYLOAD: usize = 16 * 1_024;

    /// A cloud without devices and firmware.
    #[must_use]
    pub fn new(config: CloudConfig) -> Self {
        todo!("{config:?}")
    }

    /// Registers a device, or gives a known one another secret. `secret` is the raw bytes.
    ///
    /// # Errors
    /// [`CloudError::TooManyDevices`].
    pub fn add_device(&mut self, identity: &Identity, secret: Secret) -> Result<(), CloudError> {
        todo!("{identity:?} {secret:?}")
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
        todo!("{identity:?}")
    }

    /// The signer of the offers' URLs, for example to set its base when a port is bound.
    pub fn signer_mut(&mut self) -> &mut crate::sign::UrlSigner {
        &mut self.config.signer
    }

    /// Adds an image to the catalogue.
    ///
    /// # Errors
    /// [`CatalogError`], by what is wrong with it; nothing is added.
    pub fn add_firmware(&mut self, firmware: Firmware) -> Result<(), CatalogError> {
        todo!("{firmware:?}")
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
        todo!("{now} {identity:?} {version} {options:?}")
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
        todo!("{now} {product_id} {rollout:?}")
    }

    /// Ends a device's unfinished task. The device is not told: the protocol has no such message.
    ///
    /// # Errors
    /// [`TaskError::DeviceFirmwareTaskNotExist`] or [`TaskError::DeviceFirmwareTaskAlreadDone`].
    pub fn cancel_task(&mut self, now: Instant, task: TaskId) -> Result<(), TaskError> {
        todo!("{now} {task}")
    }

    /// Begins the next attempt of a device's last task, which ended without `done`.
    ///
    /// # Errors
    /// [`TaskError::DeviceFirmwareTaskNotExist`] when it is not the device's last task,
    /// [`TaskError::DeviceOtaTaskInProgress`] when it is not over,
    /// [`TaskError::DeviceFirmwareTaskAlreadDone`] when it succeeded.
    pub fn retry_task(&mut self, now: Instant, task: TaskId) -> Result<(), TaskError> {
        todo!("{now} {task}")
    }

    /// A person agrees to a task started with [`TaskOptions::confirm`]: it is pushed.
    ///
    /// # Errors
    /// [`TaskError::DeviceFirmwareTaskNotExist`] or [`TaskError::NotAwaitingConfirm`].
    pub fn confirm_task(&mut self, now: Instant, task: TaskId) -> Result<(), TaskError> {
        todo!("{now} {task}")
    }

    /// The device has connected and subscribed to its update topic. Each call is a new session.
    ///
    /// # Errors
    /// [`CloudError::UnknownDevice`] or [`CloudError::TooManyDevices`].
    pub fn handle_connected(
        &mut self,
        now: Instant,
        identity: &Identity,
    ) -> Result<(), CloudError> {
        todo!("{now} {identity:?}")
    }

    /// The device is gone: nothing more is sent to it. Unknown devices are ignored.
    pub fn handle_disconnected(&mut self, now: Instant, identity: &Identity) {
        todo!("{now} {identity:?}")
    }

    /// Takes a message that a device published.
    ///
    /// The topic names the device: the caller has made sure that this device may publish there.
    ///
    /// # Errors
    /// [`CloudError`], by what is wrong; the state is unchanged.
    pub fn handle_message(
        &mut self,
        now: Instant,
        topic: &str,
        payload: &[u8],
    ) -> Result<(), CloudError> {
        todo!("{now} {topic} {payload:?}")
    }

    /// Time has passed: a deadline of [`Output::Idle`] may be due.
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!("{now}")
    }

    /// The next thing to do; [`Output::Idle`] when there is nothing before its deadline.
    pub fn poll_output(&mut self, now: Instant) -> Output {
        todo!("{now}")
    }

    /// A device's record.
    #[must_use]
    pub fn device(&self, identity: &Identity) -> Option<&DeviceRecord> {
        todo!("{identity:?}")
    }

    /// Every device's record, in the order of registration.
    pub fn devices(&self) -> impl Iterator<Item = &DeviceRecord> {
        self.devices.iter()
    }
}
