//! The cloud's data of a device besides the device itself.

use std::collections::VecDeque;
use std::ops::Deref;

use core::fmt;

use ota_proto::{Identity, Instant};

use crate::device::{Device, EventKind, Task};

/// A device secret: the raw bytes, after Base64. `Debug` hides them.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Makes it from the raw bytes.
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

/// A device with its history. Bounded, whatever the device sends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct DeviceRecord {
    /// The device; its fields are accessible from the record.
    pub device: Device,
    /// The tasks before its last, oldest first.
    pub history: VecDeque<Task>,
    /// Its events, oldest first.
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
    /// The time.
    pub at: Instant,
    /// The event.
    pub kind: EventKind,
}

/// An event of a device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CloudEvent {
    /// The device.
    pub device: Identity,
    /// The time.
    pub at: Instant,
    /// The event.
    pub kind: EventKind,
}
