//! A device between its row and a turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ota_cloud::device::{BadState, Write};
use ota_cloud::{Device, EventKind};
use ota_proto::{Identity, Instant};
use ota_store::{DeviceKey, DeviceRow, NewEvent};

/// How long progress that nobody acknowledges may stay unwritten.
const LATER: Duration = Duration::from_secs(10);

pub(crate) fn key(identity: &Identity) -> DeviceKey {
    DeviceKey::new(identity.product_id(), identity.device_name())
}

pub(crate) fn identity(key: &DeviceKey) -> Option<Identity> {
    Identity::new(&key.product, &key.name).ok()
}

/// A device in memory, as its row is or newer.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The row as it is stored, without the state.
    row: DeviceRow,
    pub(crate) device: Device,
    /// Since when it has news that are not in the row.
    unsaved: Option<Instant>,
}

impl Kept {
    pub(crate) const fn new(row: DeviceRow, device: Device) -> Self {
        Self { row, device, unsaved: None }
    }

    pub(crate) fn read(mut row: DeviceRow, online: &BTreeSet<DeviceKey>) -> Result<Self, BadState> {
        let mut device = Device::from_bytes(&row.state)?;
        row.state = Vec::new();
        device.online = online.contains(&row.key);
        Ok(Self::new(row, device))
    }

    pub(crate) const fn is_unsaved(&self) -> bool {
        self.unsaved.is_some()
    }

    /// When its news have waited long enough.
    pub(crate) fn write_at(&self) -> Option<Instant> {
        self.unsaved.map(|since| since + LATER)
    }

    /// The row from now on: the plain columns are a copy of what the device says.
    pub(crate) fn written(&mut self) -> Result<DeviceRow, BadState> {
        let device = &self.device;
        self.row.wake = device.wake().map(Instant::as_micros);
        self.row.task = device.task.as_ref().map(|task| task.status.number());
        let versions = device.modules.iter();
        let versions =
            versions.map(|known| (known.module.as_str().to_owned(), known.version.clone()));
        self.row.versions = versions.collect::<BTreeMap<_, _>>();
        Ok(DeviceRow { state: device.to_bytes()?, ..self.row.clone() })
    }
}

/// A device within a turn.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) kept: Kept,
    pub(crate) write: Write,
    /// Its wake-up had come.
    pub(crate) woken: bool,
    writes: bool,
}

impl Work {
    pub(crate) const fn new(kept: Kept) -> Self {
        Self { kept, write: Write::None, woken: false, writes: false }
    }

    /// Whether the row is written in this turn: there are news that cannot wait, or the row
    /// would go on asking for a turn that was had.
    pub(crate) fn must_write(&mut self, now: Instant) -> bool {
        let moved =
            self.woken && self.kept.row.wake != self.kept.device.wake().map(Instant::as_micros);
        self.writes =
            self.write == Write::Now || moved || self.kept.write_at().is_some_and(|at| at <= now);
        self.writes
    }

    /// What is kept once the commit is durable.
    pub(crate) fn done(mut self, now: Instant) -> Kept {
        if self.writes {
            self.kept.row.rev = self.kept.row.rev.saturating_add(1);
            self.kept.unsaved = None;
        } else if self.write == Write::Later {
            self.kept.unsaved = self.kept.unsaved.or(Some(now));
        }
        self.kept
    }
}

/// A line of the journal: the event as JSON, and its name.
pub(crate) fn journal(now: Instant, identity: &Identity, event: &EventKind) -> Option<NewEvent> {
    let value = serde_json::to_value(event).ok()?;
    Some(NewEvent {
        at: now.as_micros(),
        product: identity.product_id().to_owned(),
        name: identity.device_name().to_owned(),
        kind: value.get("kind")?.as_str()?.to_owned(),
        body: serde_json::to_vec(&value).ok()?,
    })
}
