//! A device between its row and a turn.

use std::collections::BTreeMap;
use std::time::Duration;

use ota_cloud::BadState;
use ota_cloud::device::Write;
use ota_cloud::{Device, EventKind};
use ota_proto::{Identity, Instant};
use ota_store::{DeviceKey, DeviceRow, NewEvent};

/// How long unacknowledged progress may stay unwritten.
const LATER: Duration = Duration::from_secs(10);

pub(crate) fn key(identity: &Identity) -> DeviceKey {
    DeviceKey::new(identity.product_id(), identity.device_name())
}

pub(crate) fn identity(key: &DeviceKey) -> Option<Identity> {
    Identity::new(&key.product, &key.name).ok()
}

/// A device in memory, the same as its row or newer, with the row's columns that the device does
/// not decide.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) rev: u64,
    /// The same as the row.
    wake: Option<u64>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) disabled: bool,
    pub(crate) device: Device,
    /// Since when it has unwritten changes.
    unsaved: Option<Instant>,
}

impl Kept {
    /// A device without a row.
    pub(crate) const fn new(device: Device) -> Self {
        let tags = BTreeMap::new();
        Self { rev: 0, wake: None, tags, disabled: false, device, unsaved: None }
    }

    pub(crate) fn read(row: DeviceRow, is_online: bool) -> Result<Self, BadState> {
        let mut device = Device::from_bytes(&row.state)?;
        device.online = is_online;
        let DeviceRow { rev, wake, tags, disabled, .. } = row;
        Ok(Self { rev, wake, tags, disabled, device, unsaved: None })
    }

    pub(crate) const fn is_unsaved(&self) -> bool {
        self.unsaved.is_some()
    }

    /// When its changes must be written.
    pub(crate) fn write_at(&self) -> Option<Instant> {
        self.unsaved.map(|since| since + LATER)
    }

    /// Makes the row: the plain columns are a copy of the device's data.
    fn written(&mut self, identity: &Identity) -> Result<DeviceRow, BadState> {
        let device = &self.device;
        self.wake = device.wake().map(Instant::as_micros);
        let versions = device.modules.iter();
        let versions =
            versions.map(|known| (known.module.as_str().to_owned(), known.version.clone()));
        Ok(DeviceRow {
            key: key(identity),
            rev: self.rev,
            wake: self.wake,
            task: device.task.as_ref().map(|task| task.status.number()),
            versions: versions.collect(),
            tags: self.tags.clone(),
            disabled: self.disabled,
            state: device.to_bytes()?,
        })
    }
}

/// A device within a turn. It is moved out of memory and not copied: if the turn fails, its changes
/// are dropped with it, and the row is read again.
#[derive(Debug)]
pub(crate) struct Work {
    identity: Identity,
    kept: Box<Kept>,
    /// What remains, after a failed turn, of a device with unwritten changes.
    before: Option<Box<Kept>>,
    touched: bool,
    was_online: bool,
    was_late: Option<Instant>,
    write: Write,
    /// Whether it was due.
    woken: bool,
    writes: bool,
}

impl Work {
    pub(crate) fn new(identity: Identity, kept: Box<Kept>) -> Self {
        let (was_online, was_late) = (kept.device.online, kept.write_at());
        let (touched, write, woken, writes) = (false, Write::None, false, false);
        Self { identity, kept, before: None, touched, was_online, was_late, write, woken, writes }
    }

    pub(crate) const fn device(&self) -> &Device {
        &self.kept.device
    }

    /// The device with the columns of its row.
    pub(crate) const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// The device, for changes.
    pub(crate) fn device_mut(&mut self) -> &mut Device {
        &mut self.kept_mut().device
    }

    /// The device with the columns of its row, for changes.
    pub(crate) fn kept_mut(&mut self) -> &mut Kept {
        if !self.touched {
            self.touched = true;
            self.before = self.kept.is_unsaved().then(|| self.kept.clone());
        }
        &mut self.kept
    }

    /// How soon its latest change must be written.
    pub(crate) fn note(&mut self, write: Write) {
        self.write = self.write.max(write);
    }

    /// Marks that it is due.
    pub(crate) const fn wake(&mut self) {
        self.woken = true;
    }

    /// The row, when it is written in this turn: there are news that cannot wait, or the row would
    /// go on asking for a turn that was had.
    pub(crate) fn row(&mut self, now: Instant) -> Option<Result<DeviceRow, BadState>> {
        let moved = self.woken && self.kept.wake != self.kept.device.wake().map(Instant::as_micros);
        self.writes =
            self.write == Write::Now || moved || self.kept.write_at().is_some_and(|at| at <= now);
        self.writes.then(|| self.kept.written(&self.identity))
    }

    /// What is kept once the commit is durable.
    pub(crate) fn done(mut self, now: Instant) -> Done {
        if self.writes {
            self.kept.rev = self.kept.rev.saturating_add(1);
            self.kept.unsaved = None;
        } else if self.write == Write::Later {
            self.kept.unsaved = self.kept.unsaved.or(Some(now));
        }
        let (online, late) = (self.kept.device.online, self.kept.write_at());
        Done {
            came_or_went: (online != self.was_online).then_some(online),
            late: (late != self.was_late).then_some((self.was_late, late)),
            identity: self.identity,
            kept: self.kept,
        }
    }

    /// What is kept when nothing of the turn has happened: without it the row is read again.
    pub(crate) fn undone(self) -> Option<(Identity, Box<Kept>)> {
        let kept = if self.touched { self.before } else { Some(self.kept) };
        kept.map(|kept| (self.identity, kept))
    }
}

/// What remains of a device after a turn.
pub(crate) struct Done {
    pub(crate) identity: Identity,
    pub(crate) kept: Box<Kept>,
    /// Whether it is there now, if that is new.
    pub(crate) came_or_went: Option<bool>,
    /// By when its news must be written: before, and now, if that is new.
    pub(crate) late: Option<(Option<Instant>, Option<Instant>)>,
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
