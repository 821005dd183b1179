//! Atomic changes and their limits.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::StoreError;
use crate::row::{
    DeviceKey, DeviceRow, Item, Kind, MAX_EACH, MAX_NUMBER, NewAudit, NewEvent, Sealed, SecretId,
};

/// The longest body or state, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// The longest product, device, module, tag, table or column, in bytes.
const MAX_NAME: usize = 64;
/// The longest version, tag value, item id or row of a secret, in bytes.
const MAX_TEXT: usize = 256;

/// The most events of a commit: a device may cause several.
const MAX_EVENTS: usize = 10_000;

/// A set of changes that is applied completely or not at all. At most 1,000 of each kind, but
/// 10,000 events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// New device rows, each with the loaded revision.
    pub devices: Vec<DeviceRow>,
    /// Removed device rows, with the loaded revision.
    pub gone_devices: Vec<(DeviceKey, u64)>,
    /// New items, each with the loaded revision.
    pub items: Vec<Item>,
    /// Removed items, with the loaded revision.
    pub gone_items: Vec<(Kind, String, u64)>,
    /// Secrets. They have no revision of their own: their owner's row has one.
    pub secrets: Vec<SecretWrite>,
    /// Events, in order.
    pub events: Vec<NewEvent>,
    /// Differences of counts, by name (1 to 256 bytes). A count of 0 is removed.
    pub counts: BTreeMap<String, i64>,
    /// Lines of the audit, in order. They need [`Store::set_audit_key`](crate::Store).
    pub audit: Vec<NewAudit>,
}

/// A change of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretWrite {
    /// Set it to this.
    Put(SecretId, Sealed),
    /// Remove it, if it exists.
    Remove(SecretId),
}

/// The result of a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// The number of the latest event, of this or an earlier commit.
    pub last_event: u64,
    /// The number of the latest line of the audit.
    pub last_audit: u64,
}

impl Commit {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks that do not depend on stored data. All stores use them first.
    pub(crate) fn check(&self, has_audit_key: bool) -> Result<(), StoreError> {
        let counts = [
            self.devices.len(),
            self.gone_devices.len(),
            self.items.len(),
            self.gone_items.len(),
            self.secrets.len(),
            self.counts.len(),
            self.audit.len(),
        ];
        need(counts.iter().all(|count| *count <= MAX_EACH), "more than 1,000 rows of a sort")?;
        need(self.events.len() <= MAX_EVENTS, "more than 10,000 events")?;
        self.check_devices()?;
        self.check_items()?;
        self.check_secrets()?;
        for event in &self.events {
            need(event.at <= MAX_NUMBER, "a moment after 2^63 µs")?;
            need(event.product.len() <= MAX_NAME, "an event's product of over 64 bytes")?;
            need(event.name.len() <= MAX_NAME, "an event's device of over 64 bytes")?;
            text(&event.kind, MAX_NAME, "an event's kind")?;
            need(event.body.len() <= MAX_BYTES, "an event of over 1 MiB")?;
        }
        for name in self.counts.keys() {
            text(name, MAX_TEXT, "a count's name")?;
        }
        need(has_audit_key || self.audit.is_empty(), "lines of the audit without its key")?;
        for line in &self.audit {
            need(line.at <= MAX_NUMBER, "a moment after 2^63 µs")?;
            need(line.body.len() <= MAX_BYTES, "a line of the audit of over 1 MiB")?;
        }
        Ok(())
    }

    fn check_devices(&self) -> Result<(), StoreError> {
        let gone = self.gone_devices.iter().map(|(key, rev)| (key, *rev));
        let mut seen = BTreeSet::new();
        for (key, rev) in self.devices.iter().map(|row| (&row.key, row.rev)).chain(gone) {
            text(&key.product, MAX_NAME, "a product")?;
            text(&key.name, MAX_NAME, "a device's name")?;
            need(rev < MAX_NUMBER, "a revision above 2^63")?;
            need(seen.insert(key), "a device that is named twice")?;
        }
        for row in &self.devices {
            need(row.wake.is_none_or(|wake| wake <= MAX_NUMBER), "a moment after 2^63 µs")?;
            need(row.state.len() <= MAX_BYTES, "a device's state of over 1 MiB")?;
            for (module, version) in &row.versions {
                text(module, MAX_NAME, "a module")?;
                text(version, MAX_TEXT, "a version")?;
            }
            for (tag, value) in &row.tags {
                text(tag, MAX_NAME, "a tag")?;
                need(value.len() <= MAX_TEXT, "a tag's value of over 256 bytes")?;
            }
        }
        Ok(())
    }

    fn check_items(&self) -> Result<(), StoreError> {
        let put = self.items.iter().map(|item| (item.kind, &item.id, item.rev));
        let gone = self.gone_items.iter().map(|(kind, id, rev)| (*kind, id, *rev));
        let mut seen = BTreeSet::new();
        for (kind, id, rev) in put.chain(gone) {
            text(id, MAX_TEXT, "an item's id")?;
            need(rev < MAX_NUMBER, "a revision above 2^63")?;
            need(seen.insert((kind, id)), "an item that is named twice")?;
        }
        for item in &self.items {
            need(item.wake.is_none_or(|wake| wake <= MAX_NUMBER), "a moment after 2^63 µs")?;
            need(item.body.len() <= MAX_BYTES, "an item of over 1 MiB")?;
        }
        Ok(())
    }

    fn check_secrets(&self) -> Result<(), StoreError> {
        let mut seen = BTreeSet::new();
        for write in &self.secrets {
            let (SecretWrite::Put(id, _) | SecretWrite::Remove(id)) = write;
            text(&id.table, MAX_NAME, "a secret's table")?;
            text(&id.column, MAX_NAME, "a secret's column")?;
            text(&id.row, MAX_TEXT, "a secret's row")?;
            need(seen.insert(id), "a secret that is named twice")?;
            if let SecretWrite::Put(_, sealed) = write {
                need(sealed.bytes.len() <= MAX_BYTES, "a secret of over 1 MiB")?;
            }
        }
        Ok(())
    }
}

/// Checks that every store accepts a load of this size.
pub(crate) fn check_load(keys: &[DeviceKey]) -> Result<(), StoreError> {
    need(keys.len() <= MAX_EACH, "a load of more than 1,000 devices")
}

/// A count after a commit.
pub(crate) fn add(name: &str, stored: i64, difference: i64) -> Result<i64, StoreError> {
    let what = || StoreError::Invalid { what: format!("the count {name:?} beyond 2^63") };
    stored.checked_add(difference).ok_or_else(what)
}

fn need(holds: bool, what: &'static str) -> Result<(), StoreError> {
    if holds { Ok(()) } else { Err(StoreError::Invalid { what: what.into() }) }
}

fn text(text: &str, most: usize, what: &str) -> Result<(), StoreError> {
    if (1..=most).contains(&text.len()) {
        return Ok(());
    }
    Err(StoreError::Invalid { what: format!("{what} of {} bytes, 1 to {most} fit", text.len()) })
}
