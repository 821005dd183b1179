//! What the cloud keeps of a device besides the device itself.

use std::collections::VecDeque;
use std::ops::Deref;

use core::fmt;

use ota_proto::{Identity, Instant};

use crate::device::{Device, EventKind, Task};

/// A device secret: the raw bytes, after Base64. `Debug` hides them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the raw bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A device with its past. Bounded whatever the device sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeviceRecord {
    /// The device; its fields can be read from the record itself.
    pub device: Device,
    /// The tasks before its last, oldest first.
    pub history: VecDeque<Task>,
    /// What happened, oldest first.
    pub log: VecDeque<LogEntry>,
    pub(super) secret: Option<Secret>,
}

impl DeviceRecord {
    pub(super) const fn new(device: Device) -> Self {
        Self { device, history: VecDeque::new(), log: VecDeque::new(), secret: None }
    }
}

impl Deref for DeviceRecord {
    type Target = Device;

    fn deref(&self) -> &Device {
        &self.device
    }
}

/// A line of a device's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LogEntry {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}

/// Something that happened to a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CloudEvent {
    /// The device.
    pub device: Identity,
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EventKind,
}
