//! The two traits, in the units of the loop that uses them.

use std::collections::BTreeMap;

use crate::audit::AuditKey;
use crate::commit::{Commit, Committed};
use crate::error::StoreError;
use crate::row::{
    AuditLine, DeviceKey, DeviceRow, Event, Item, Kind, Link, Micros, Sealed, SecretId,
};
use crate::seal::KeyId;

/// The most rows of a page.
pub(crate) const MAX_PAGE: usize = 100;
/// The most rows of a sort in one load, commit, or batch of due rows.
pub(crate) const MAX_EACH: usize = 1_000;
/// The largest number that every store holds.
pub(crate) const MAX_NUMBER: u64 = i64::MAX as u64;

/// Which devices of a product. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The product.
    pub product: String,
    /// By reported version.
    pub version: Option<VersionFilter>,
    /// Has this tag with this value.
    pub tag: Option<(String, String)>,
    /// Has a task in this state, or `Some(None)`: has none.
    pub task: Option<Option<u8>>,
    /// Its name begins with this.
    pub prefix: String,
}

impl Filter {
    /// All devices of a product.
    #[must_use]
    pub fn product(product: impl Into<String>) -> Self {
        Self { product: product.into(), ..Self::default() }
    }
}

/// Which version a device has reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionFilter {
    /// This one of this module.
    Is {
        /// The module.
        module: String,
        /// The version.
        version: String,
    },
    /// None, of no module.
    Unreported,
}

/// A page that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which devices.
    pub filter: Filter,
    /// The page begins after this name.
    pub after: Option<String>,
    /// Rows, 1 to 100; more is cut to 100.
    pub limit: usize,
}

/// A page, in order of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The rows.
    pub rows: Vec<DeviceRow>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<String>,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Numbers above this one.
    pub after: u64,
    /// Of one device only.
    pub device: Option<DeviceKey>,
}

/// A count that is not what the rows come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountFault {
    /// Its name.
    pub name: String,
    /// What is stored.
    pub stored: i64,
    /// What the rows come to.
    pub counted: i64,
}

/// What a device is counted under: a sink that takes a name and a number.
pub type Counting<'a> = dyn FnMut(&DeviceRow, &mut dyn FnMut(&str, i64)) + 'a;

/// Everything that only reads. Each call sees one moment.
pub trait Read {
    /// One device.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`]. The same for all below.
    fn device(&self, key: &DeviceKey) -> Result<Option<DeviceRow>, StoreError>;

    /// A page of a product's devices.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn list(&self, query: &Query) -> Result<Page, StoreError>;

    /// How many devices there are, counted up to `cap`.
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

    /// The number of the latest event; 0 before the first. It may be gone.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn last_event(&self) -> Result<u64, StoreError>;

    /// The counts whose names begin with `prefix`.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn counts(&self, prefix: &str) -> Result<BTreeMap<String, i64>, StoreError>;

    /// Counts all devices again and compares the counts whose names begin with `prefix`.
    /// `counting` says what a device is counted under. Reads every device: not for each minute.
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

    /// Secrets sealed under another key than this one, in order; at most 1,000.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn secrets_not_under(
        &self,
        key: KeyId,
        limit: usize,
    ) -> Result<Vec<(SecretId, Sealed)>, StoreError>;

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

    /// The master key that the secrets are sealed under; none before there is one.
    ///
    /// # Errors
    /// See [`Self::device`].
    fn master_key(&self) -> Result<Option<KeyId>, StoreError>;
}

/// The state of a cloud. One owner, who alone writes.
pub trait Store: Send {
    /// Its reading half.
    fn read(&self) -> &dyn Read;

    /// Another reader, for another thread. It sees what was committed when each call begins.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn reader(&self) -> Result<Box<dyn Read + Send>, StoreError>;

    /// The rows of these devices, in this order, `None` for one that is not there.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for more than 1,000 keys, or what the system refuses.
    fn load(&mut self, keys: &[DeviceKey]) -> Result<Vec<Option<DeviceRow>>, StoreError>;

    /// Changes all of it, or nothing. What is durable when it returns `Ok` survives a kill and a
    /// power cut.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when a row has another revision than the one loaded: load again.
    /// [`StoreError::Invalid`] for what no store takes. Otherwise what the system refuses.
    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError>;

    /// Devices whose wake-up is at `now` or before, by wake-up, product and name; at most 1,000.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn due(&mut self, now: Micros, limit: usize) -> Result<Vec<DeviceKey>, StoreError>;

    /// The earliest wake-up of any device; none when no device has one.
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

    /// Removes the oldest events up to the number `upto`, at most `limit`. Returns how many went.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn prune_events(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError>;

    /// The same for the audit; the last removed link is kept.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn prune_audit(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError>;

    /// The key that later lines of the audit are linked with. It is not stored.
    fn set_audit_key(&mut self, key: AuditKey);

    /// Notes the master key that secrets are sealed under.
    ///
    /// # Errors
    /// What the system refuses; see [`StoreError`].
    fn set_master_key(&mut self, key: KeyId) -> Result<(), StoreError>;
}

/// A store that is chosen when the program runs.
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
