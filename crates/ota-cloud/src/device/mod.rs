//! One device as a value: its modules, its open task, and its next action.

mod config;
mod event;
mod task;
mod turn;

use ota_proto::message::{CloudMessage, DeviceMessage, OfferMessage};
use ota_proto::{Identity, Instant, Topic, TopicKind, Version};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

use crate::campaign::{BatchRef, Slot};
use crate::catalog::{Catalog, Firmware};
use crate::error::{BadState, CloudError, TaskError};
use crate::module::Module;
use crate::options::{TaskOptions, offer_text};
use turn::Turn;

pub use config::{CloudConfig, TimeoutFrom};
pub use event::{Counters, EventKind, NotOffered, Reported};
pub use task::{Finish, Silence, Status, Task, TaskId};

/// The largest payload from a device, in bytes (docs/protocol.md, The cloud's side).
pub const MAX_PAYLOAD: usize = 16 * 1_024;

/// The most modules per device.
pub const MAX_MODULES: usize = 8;

/// One device. It has no clock, no random source and no log; only [`Device::apply`] changes it.
///
/// Its serialised form has a few hundred bytes, whatever the device sends. It does not include the
/// presence: a process that starts has no sessions, so a device that was read is absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Device {
    /// Its identity.
    pub identity: Identity,
    /// Connected and subscribed.
    #[serde(skip)]
    pub online: bool,
    /// The versions that its modules reported last, by module; at most [`MAX_MODULES`].
    #[serde(default)]
    pub modules: Vec<Reported>,
    /// Its open task, or its last.
    #[serde(default)]
    pub task: Option<Task>,
    /// Its counters.
    #[serde(default)]
    pub counters: Counters,
    /// Why its latest report drew no offer; `None` when it did.
    #[serde(default)]
    pub not_offered: Option<NotOffered>,
    /// Its number in its cloud, a part of its tasks' names.
    number: u32,
    /// The number of its tasks so far.
    #[serde(default)]
    tasks: u32,
    /// When the next offer is due.
    #[serde(default)]
    offer: Option<Instant>,
    /// When the task times out.
    #[serde(default)]
    timeout: Option<Instant>,
    /// When its silence becomes news for the batch of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    silent: Option<Instant>,
    /// The number of the session in which the latest task ended.
    #[serde(default)]
    ended_in: u64,
}

/// The data for decisions about a device, besides the device.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The configuration of the cloud.
    pub config: &'a CloudConfig,
    /// The firmware and the standing rules.
    pub catalog: &'a Catalog,
}

/// Inputs of a device.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum DeviceInput<'a> {
    /// It was accepted at first sight.
    Registered,
    /// It connected and subscribed to its update topic. Each time is a new session.
    Connected,
    /// It disconnected.
    Disconnected,
    /// A message, as [`read_message`] returns it.
    Message(&'a DeviceMessage<'a>),
    /// Time has passed: [`Device::wake`] may be due.
    Woken,
    /// The offer of [`Effect::Offer`] was given to its connection.
    Offered(TaskId),
    /// The offer of [`Effect::Offer`] cannot be sent in this state: decide again.
    NotOffered(TaskId),
    /// Begin a task.
    Start {
        /// The target version.
        target: &'a str,
        /// Its options.
        options: &'a TaskOptions,
    },
    /// Cancel the open task.
    Cancel(TaskId),
    /// Begin the next attempt of the last task.
    Retry(TaskId),
    /// A person confirms the task.
    Confirm(TaskId),
    /// Push the offer of the open task again now.
    Push(TaskId),
    /// A standing rule was set for this module.
    RuleSet(&'a Module),
    /// Reset the number of tasks of the standing rules.
    TryAgain,
}

/// What [`Device::apply`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
#[non_exhaustive]
pub struct Change {
    /// Events, in order.
    pub events: Vec<EventKind>,
    /// Effects to perform once the change is durable, in order.
    pub effects: Vec<Effect>,
    /// Changes of the numbers of tasks by state.
    pub counts: Vec<(Status, i8)>,
    /// Changes of the counts of batches. An ended device counts there forever.
    pub of_batches: Vec<(BatchRef, Slot, i8)>,
    /// The task that a new one replaced.
    pub replaced: Option<Task>,
    /// How soon the change must be durable.
    pub write: Write,
    /// Whether the events belong in the journal. Progress without news does not, nor does a
    /// repeated version report.
    pub journal: bool,
    /// Whether a command was accepted.
    pub answer: Result<(), TaskError>,
    /// The latest time of the next [`DeviceInput::Woken`].
    pub wake: Option<Instant>,
}

/// An effect for a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Effect {
    /// Publish [`reply`] for this version.
    Reply {
        /// The version that was reported.
        version: String,
    },
    /// Publish [`Device::offer`], then report [`DeviceInput::Offered`].
    Offer(TaskId),
}

/// How soon a change must be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Write {
    /// Nothing has changed.
    None,
    /// Within 10 s: progress without news, which nobody acknowledges.
    Later,
    /// Before anything is acknowledged.
    Now,
}

impl Device {
    /// Makes a device without a past. `number` is its own in its cloud.
    #[must_use]
    pub fn new(identity: Identity, number: u32) -> Self {
        Self {
            identity,
            online: false,
            modules: Vec::new(),
            task: None,
            counters: Counters::default(),
            not_offered: None,
            number,
            tasks: 0,
            offer: None,
            timeout: None,
            silent: None,
            ended_in: 0,
        }
    }

    /// Applies an input at a time that is not before the last one.
    pub fn apply(&mut self, now: Instant, context: &Context<'_>, input: DeviceInput<'_>) -> Change {
        let mut change = Turn::run(self, now, context, input);
        change.wake = self.wake();
        change
    }

    /// The latest time of the next [`DeviceInput::Woken`].
    #[must_use]
    pub fn wake(&self) -> Option<Instant> {
        self.offer.into_iter().chain(self.timeout).chain(self.silent).min()
    }

    /// The name of its next task.
    #[must_use]
    pub const fn next_task(&self) -> TaskId {
        TaskId { device: self.number, number: self.tasks.saturating_add(1) }
    }

    /// When its next offer is due.
    #[must_use]
    pub fn offer_at(&self) -> Option<Instant> {
        self.offer
    }

    /// When its open task times out.
    #[must_use]
    pub fn timeout_at(&self) -> Option<Instant> {
        self.timeout
    }

    /// The last reported version of a module.
    #[must_use]
    pub fn reported(&self, module: &Module) -> Option<&Reported> {
        self.modules.iter().find(|reported| reported.module == *module)
    }

    /// The last reported version of the device's own module.
    #[must_use]
    pub fn runs(&self) -> Option<&str> {
        self.reported(&Module::default()).map(|reported| reported.version.as_str())
    }

    /// Whether it has an open task.
    #[must_use]
    pub fn has_open_task(&self) -> bool {
        self.task.as_ref().is_some_and(|task| task.finished.is_none())
    }

    /// Whether its task is proved and it still runs the target.
    #[must_use]
    pub fn is_proved(&self) -> bool {
        let Some(task) = self.task.as_ref().filter(|task| task.is_proved()) else { return false };
        self.reported(&task.module).is_some_and(|reported| reported.version == task.target)
    }

    /// Whether its task is proved and it has reported `done`: no further report is expected.
    #[must_use]
    pub fn is_claimed_and_proved(&self) -> bool {
        self.is_proved() && self.task.as_ref().is_some_and(|task| task.claimed.is_some())
    }

    /// The changes of counts of batches when it is removed: its open task ends.
    #[must_use]
    pub fn leave(&self) -> Vec<(BatchRef, Slot, i8)> {
        let open = self.task.as_ref().filter(|task| task.finished.is_none());
        let Some((task, of)) = open.and_then(|task| Some((task, task.batch?))) else {
            return Vec::new();
        };
        let mut counts =
            vec![(of, Slot::Status(task.status), -1), (of, Slot::Status(Status::Failed), 1)];
        counts.extend(task.slots().map(|slot| (of, slot, -1)));
        counts
    }

    /// The firmware of its open task.
    #[must_use]
    pub fn firmware<'a>(&self, context: &Context<'a>) -> Option<&'a Firmware> {
        let task = self.task.as_ref().filter(|task| task.finished.is_none())?;
        context.catalog.get(self.identity.product_id(), &task.module, &task.target)
    }

    /// The offer of its open task, with a URL that is signed now.
    #[must_use]
    pub fn offer(&self, now: Instant, context: &Context<'_>) -> Option<Vec<u8>> {
        let firmware = self.firmware(context)?;
        let text = self.task.as_ref().and_then(|task| task.user_defined.as_deref());
        let CloudConfig { signer, unix_at_zero, .. } = context.config;
        let unix = unix_at_zero.saturating_add(now.as_micros() / 1_000_000);
        let url = match &firmware.url {
            Some(url) => Cow::Borrowed(url.as_str()),
            None => Cow::Owned(signer.sign(&firmware.path, unix)),
        };
        encode(&CloudMessage::Offer(OfferMessage {
            version: Cow::Borrowed(&firmware.version),
            url,
            md5sum: Some(firmware.md5),
            file_size: Some(firmware.size),
            user_defined: offer_text(firmware.user_defined.as_deref(), text),
            fw_type: firmware.fw_type.as_deref().map(Cow::Borrowed),
        }))
    }

    /// The stored form of the device: JSON, whose later versions only add fields.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadState> {
        BadState::write(self)
    }

    /// Reads the stored form of a device.
    ///
    /// # Errors
    /// [`BadState`] when these are not the bytes of a device.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        let device: Self = BadState::read(bytes)?;
        if device.modules.len() > MAX_MODULES {
            return Err(BadState::new("more modules than a device has"));
        }
        Ok(device)
    }
}

/// The answer to a version report.
#[must_use]
pub fn reply(version: &str) -> Option<Vec<u8>> {
    encode(&CloudMessage::VersionReply {
        result_code: 0,
        result_msg: Cow::Borrowed("success"),
        version: Some(Cow::Borrowed(version)),
    })
}

/// The device of this topic. The caller must check that this device may publish there.
///
/// # Errors
/// [`CloudError::ForeignTopic`].
pub fn sender(topic: &str) -> Result<Identity, CloudError> {
    let topic = Topic::parse(topic).filter(|topic| topic.kind == TopicKind::Report);
    topic
        .and_then(|topic| Identity::new(topic.product_id, topic.device_name).ok())
        .ok_or(CloudError::ForeignTopic)
}

/// Checks a device's message.
///
/// # Errors
/// [`CloudError`] names the fault.
pub fn read_message(payload: &[u8]) -> Result<DeviceMessage<'_>, CloudError> {
    if payload.len() > MAX_PAYLOAD {
        return Err(CloudError::TooLarge);
    }
    let message = DeviceMessage::decode(payload).map_err(CloudError::Malformed)?;
    if let DeviceMessage::ReportVersion { version, .. } = &message {
        Version::new(version).map_err(|_| CloudError::BadVersion)?;
    }
    Ok(message)
}

fn encode(message: &CloudMessage<'_>) -> Option<Vec<u8>> {
    // The buffer size that is enough for most messages. Messages are copied out, so that pending
    // ones use only their length.
    let mut payload = [0; 512];
    let needed = match message.encode(&mut payload) {
        Ok(len) => return payload.get(..len).map(<[u8]>::to_vec),
        Err(small) => small.needed,
    };
    // The cloud chooses the texts, and the catalogue limits their lengths.
    let mut payload = vec![0; needed];
    let len = message.encode(&mut payload).ok()?;
    payload.truncate(len);
    Some(payload)
}
