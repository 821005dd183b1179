//! The two traits, in the units of the loop that uses them.

use std::collections::BTreeMap;

use crate::chain::AuditKey;
use crate::commit::{Commit, Committed};
use crate::error::StoreError;
use crate::row::{
    AuditLine, DeviceKey, DeviceRow, Event, Item, KeyId, Kind, Link, Micros, Sealed, SecretId,
};

/// The most rows of a page.
pub(crate) const MAX_PAGE: usize = 100;

/// Selects devices of a product. All given filters must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The product.
    pub product: String,
    /// By reported version.
    pub version: Option<VersionFilter>,
    /// With this tag and value.
    pub tag: Option<(String, String)>,
    /// With a task in this state, or `Some(None)`: without a task.
    pub task: Option<Option<u8>>,
    /// With names that begin with this.
    pub prefix: String,
}

impl Filter {
    /// All devices of a product.
    #[must_use]
    pub fn product(product: impl Into<String>) -> Self {
        Self { product: product.into(), ..Self::default() }
    }
}

/// Selects by reported version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionFilter {
    /// This one of this module.
    Is {
        /// The module.
        module: String,
        /// The version.
        version: String,
    },
    /// No version, of any module.
    Unreported,
}

/// A request for a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The selection.
    pub filter: Filter,
    /// The page begins after this name.
    pub after: Option<String>,
    /// Rows, 1 to 100; larger numbers count as 100.
    pub limit: usize,
}

/// A page, in order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<DeviceRow>,
    /// The start of the next page; `None` at the end.
    pub next: Option<String>,
}

/// Selects events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Numbers above this one.
    pub after: u64,
    /// Only of this device.
    pub device: Option<DeviceKey>,
}

/// A count that differs from the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountFault {
    /// Its name.
    pub name: String,
    /// The stored value.
    pub stored: i64,
    /// The value of the rows.
    pub counted: i64,
}

/// Visits the names under which a device counts, with a number each.
pub type Counting<'a> = dyn FnMut(&DeviceRow, &mut dyn FnMut(&str, i64)) + 'a;

/// The reading half. Each call sees one moment.
pub trait Read {
    /// One device.
    ///
    /// # Errors
    /// The system's errors; see [`StoreError`]. The same for all below.
    fn device(&self, key: &DeviceKey) -> Result<Option<DeviceRow>, StoreError>;

    /// A page of a product's devices.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn list(&self, query: &Query) -> Result<Page, StoreError>;

    /// Counts devices, up to `cap`.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn count_devices(&self, filter: &Filter, cap: u64) -> Result<u64, StoreError>;

    /// One item.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn item(&self, kind: Kind, id: &str) -> Result<Option<Item>, StoreError>;

    /// Items whose ids begin with `prefix`, after the id `after`, in order of ids; at most 100.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn items(
        &self,
        kind: Kind,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError>;

    /// Events in order; at most 1,000.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn events(&self, query: &EventQuery, limit: usize) -> Result<Vec<Event>, StoreError>;

    /// The number of the latest event, which may be pruned; 0 before the first.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn last_event(&self) -> Result<u64, StoreError>;

    /// The counts whose names begin with `prefix`.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn counts(&self, prefix: &str) -> Result<BTreeMap<String, i64>, StoreError>;

    /// Counts all devices again and compares the counts whose names begin with `prefix`. `counting`
    /// returns what a device counts under. Reads every device: do not call it often.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn check_counts(
        &self,
        prefix: &str,
        counting: &mut Counting<'_>,
    ) -> Result<Vec<CountFault>, StoreError>;

    /// A sealed secret.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn secret(&self, id: &SecretId) -> Result<Option<Sealed>, StoreError>;

    /// Secrets that are sealed under another key, in order; at most 1,000.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn secrets_not_under(
        &self,
        key: KeyId,
        limit: usize,
    ) -> Result<Vec<(SecretId, Sealed)>, StoreError>;

    /// The keys that some secret is sealed under.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn secret_keys(&self) -> Result<Vec<KeyId>, StoreError>;

    /// Lines of the audit with numbers above `after`, in order; at most 1,000.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditLine>, StoreError>;

    /// The number and link of the last line that was pruned; 0 and zeros before the first.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn audit_anchor(&self) -> Result<(u64, Link), StoreError>;

    /// The master key under which the secrets are sealed; `None` before the first.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn master_key(&self) -> Result<Option<KeyId>, StoreError>;
}

/// The state of a cloud. Its one owner is the only writer.
pub trait Store: Send {
    /// Its reading half.
    fn read(&self) -> &dyn Read;

    /// Opens another reader, for another thread. Each call sees what was committed when it begins.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn reader(&self) -> Result<Box<dyn Read + Send>, StoreError>;

    /// Loads the rows of these devices, in this order, with `None` for missing ones.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for more than 1,000 keys, or the system's error.
    fn load(&mut self, keys: &[DeviceKey]) -> Result<Vec<Option<DeviceRow>>, StoreError>;

    /// Applies all changes or none. Once it returns `Ok`, they survive a kill and a power cut.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if a row does not have the loaded revision: load again.
    /// [`StoreError::Invalid`] for invalid requests. Otherwise the system's error.
    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError>;

    /// Devices that are due at `now`, by wake-up, product and name; at most 1,000.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn due(&mut self, now: Micros, limit: usize) -> Result<Vec<DeviceKey>, StoreError>;

    /// The earliest wake-up of any device; `None` without one.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn next_wake(&mut self) -> Result<Option<Micros>, StoreError>;

    /// The same for items of a kind: their ids, by wake-up and id.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn due_items(
        &mut self,
        kind: Kind,
        now: Micros,
        limit: usize,
    ) -> Result<Vec<String>, StoreError>;

    /// Removes the oldest events up to the number `upto`, at most `limit`. Returns how many were
    /// removed.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn prune_events(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError>;

    /// The same for the audit; the last removed link is kept.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn prune_audit(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError>;

    /// Sets the key for linking later audit lines. It is not stored.
    fn set_audit_key(&mut self, key: AuditKey);

    /// Records the master key under which secrets are sealed.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn set_master_key(&mut self, key: KeyId) -> Result<(), StoreError>;
}

/// A store that is selected at run time.
impl<S: Store + ?Sized> Store for Box<S> {
    fn read(&self) -> &dyn Read {
        (**self).read()
    }

    fn reader(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        (**self).reader()
    }

    fn load(&mut self, keys: &[DeviceKey]) -> Result<Vec<Option<DeviceRow>>, StoreError> {
        (**self).load(keys)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        (**self).commit(commit)
    }

    fn due(&mut self, now: Micros, limit: usize) -> Result<Vec<DeviceKey>, StoreError> {
        (**self).due(now, limit)
    }

    fn next_wake(&mut self) -> Result<Option<Micros>, StoreError> {
        (**self).next_wake()
    }

    fn due_items(
        &mut self,
        kind: Kind,
        now: Micros,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        (**self).due_items(kind, now, limit)
    }

    fn prune_events(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError> {
        (**self).prune_events(upto, limit)
    }

    fn prune_audit(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError> {
        (**self).prune_audit(upto, limit)
    }

    fn set_audit_key(&mut self, key: AuditKey) {
        (**self).set_audit_key(key);
    }

    fn set_master_key(&mut self, key: KeyId) -> Result<(), StoreError> {
        (**self).set_master_key(key)
    }
}

/// The counts under `prefix` that differ.
pub(crate) fn compare_counts(
    prefix: &str,
    stored: BTreeMap<String, i64>,
    mut counted: BTreeMap<String, i64>,
) -> Vec<CountFault> {
    counted.retain(|name, _| name.starts_with(prefix));
    for name in stored.keys() {
        counted.entry(name.clone()).or_insert(0);
    }
    let pairs = counted.into_iter().map(|(name, counted)| CountFault {
        stored: stored.get(&name).copied().unwrap_or(0),
        name,
        counted,
    });
    pairs.filter(|fault| fault.stored != fault.counted).collect()
}
