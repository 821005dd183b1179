//! The store in memory, and the model for testing the others: plain maps.

mod journal;
mod row;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::chain::{self, AuditKey};
use crate::commit::{Commit, Committed, SecretWrite};
use crate::error::{Conflict, StoreError};
use crate::row::{
    AuditLine, DeviceKey, DeviceRow, Event, Item, KeyId, Kind, Link, MAX_EACH, Micros, Sealed,
    SecretId,
};
use crate::store::{
    CountFault, Counting, EventQuery, Filter, MAX_PAGE, Page, Query, Read, Store, VersionFilter,
    compare_counts,
};

use journal::Journal;
use row::MemoryRow;

/// State in memory. Clones and readers share it.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    state: Arc<RwLock<State>>,
    audit_key: Option<AuditKey>,
}

#[derive(Debug, Default)]
struct State {
    devices: BTreeMap<DeviceKey, MemoryRow>,
    wakes: BTreeSet<(Micros, DeviceKey)>,
    items: BTreeMap<(Kind, String), Item>,
    item_wakes: BTreeSet<(Kind, Micros, String)>,
    events: Journal,
    counts: BTreeMap<String, i64>,
    secrets: BTreeMap<SecretId, Sealed>,
    audit: BTreeMap<u64, AuditLine>,
    anchor: (u64, Link),
    master_key: Option<KeyId>,
}

impl Memory {
    /// Makes an empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn conflicts(&self, commit: &Commit) -> Conflict {
        let mut conflict = Conflict::default();
        let stored = |key: &DeviceKey| self.devices.get(key).map_or(0, |row| row.rev);
        let put = commit.devices.iter().map(|row| (&row.key, row.rev));
        let gone = commit.gone_devices.iter().map(|(key, rev)| (key, *rev));
        let devices = put.chain(gone).filter(|(key, rev)| stored(key) != *rev);
        conflict.devices.extend(devices.map(|(key, _)| key.clone()));
        let put = commit.items.iter().map(|item| (item.kind, &item.id, item.rev));
        let gone = commit.gone_items.iter().map(|(kind, id, rev)| (*kind, id, *rev));
        for (kind, id, rev) in put.chain(gone) {
            let key = (kind, id.clone());
            if self.items.get(&key).map_or(0, |item| item.rev) != rev {
                conflict.items.push(key);
            }
        }
        conflict
    }

    fn put_device(&mut self, row: &DeviceRow) {
        self.remove_device(&row.key);
        self.wakes.extend(row.wake.map(|wake| (wake, row.key.clone())));
        self.devices.insert(row.key.clone(), MemoryRow::new(row));
    }

    fn remove_device(&mut self, key: &DeviceKey) {
        if let Some(MemoryRow { wake: Some(wake), .. }) = self.devices.remove(key) {
            self.wakes.remove(&(wake, key.clone()));
        }
    }

    fn put_item(&mut self, item: &Item) {
        self.remove_item(item.kind, &item.id);
        let item = Item { rev: item.rev.saturating_add(1), ..item.clone() };
        self.item_wakes.extend(item.wake.map(|wake| (item.kind, wake, item.id.clone())));
        self.items.insert((item.kind, item.id.clone()), item);
    }

    fn remove_item(&mut self, kind: Kind, id: &str) {
        if let Some(Item { wake: Some(wake), .. }) = self.items.remove(&(kind, id.to_owned())) {
            self.item_wakes.remove(&(kind, wake, id.to_owned()));
        }
    }

    fn head(&self) -> (u64, Link) {
        self.audit.last_key_value().map_or(self.anchor, |(seq, line)| (*seq, line.link))
    }

    fn matching<'a>(
        &'a self,
        filter: &'a Filter,
        after: &str,
    ) -> impl Iterator<Item = (&'a DeviceKey, &'a MemoryRow)> {
        let from = DeviceKey::new(filter.product.as_str(), after);
        self.devices
            .range((Bound::Excluded(from), Bound::Unbounded))
            .take_while(|(key, _)| key.product == filter.product)
            .filter(|(key, row)| matches(filter, key, row))
    }
}

fn matches(filter: &Filter, key: &DeviceKey, row: &MemoryRow) -> bool {
    let version = match &filter.version {
        None => true,
        Some(VersionFilter::Unreported) => row.is_silent(),
        Some(VersionFilter::Is { module, version }) => row.version(module) == Some(version),
    };
    let tag = filter.tag.as_ref().is_none_or(|(tag, value)| row.tag(tag) == Some(value));
    let task = filter.task.is_none_or(|task| row.task == task);
    version && tag && task && key.name.starts_with(&filter.prefix)
}

impl Read for Memory {
    fn device(&self, key: &DeviceKey) -> Result<Option<DeviceRow>, StoreError> {
        Ok(self.state().devices.get(key).map(|row| row.row(key)))
    }

    fn list(&self, query: &Query) -> Result<Page, StoreError> {
        let limit = query.limit.clamp(1, MAX_PAGE);
        let state = self.state();
        let mut found = state.matching(&query.filter, query.after.as_deref().unwrap_or(""));
        let rows: Vec<_> = found.by_ref().take(limit).map(|(key, row)| row.row(key)).collect();
        let more = found.next().is_some();
        let next = rows.last().filter(|_| more).map(|row| row.key.name.clone());
        Ok(Page { rows, next })
    }

    fn count_devices(&self, filter: &Filter, cap: u64) -> Result<u64, StoreError> {
        let cap = usize::try_from(cap).unwrap_or(usize::MAX);
        Ok(self.state().matching(filter, "").take(cap).count() as u64)
    }

    fn item(&self, kind: Kind, id: &str) -> Result<Option<Item>, StoreError> {
        Ok(self.state().items.get(&(kind, id.to_owned())).cloned())
    }

    fn items(
        &self,
        kind: Kind,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let state = self.state();
        let items = state.items.range((kind, String::new())..).map(|(_, item)| item);
        let items = items
            .take_while(|item| item.kind == kind)
            .filter(|item| item.id.starts_with(prefix) && item.id.as_str() > after.unwrap_or(""));
        Ok(items.take(limit.min(MAX_PAGE)).cloned().collect())
    }

    fn events(&self, query: &EventQuery, limit: usize) -> Result<Vec<Event>, StoreError> {
        let state = self.state();
        let found = state.events.after(query.after, query.device.as_ref());
        Ok(found.take(limit.min(MAX_EACH)).collect())
    }

    fn last_event(&self) -> Result<u64, StoreError> {
        Ok(self.state().events.last())
    }

    fn counts(&self, prefix: &str) -> Result<BTreeMap<String, i64>, StoreError> {
        let state = self.state();
        let found = state.counts.iter().filter(|(name, _)| name.starts_with(prefix));
        Ok(found.map(|(name, count)| (name.clone(), *count)).collect())
    }

    fn check_counts(
        &self,
        prefix: &str,
        counting: &mut Counting<'_>,
    ) -> Result<Vec<CountFault>, StoreError> {
        let mut counted = BTreeMap::new();
        for (key, row) in &self.state().devices {
            counting(&row.row(key), &mut |name, number| {
                let count = counted.entry(name.to_owned()).or_insert(0_i64);
                *count = count.saturating_add(number);
            });
        }
        Ok(compare_counts(prefix, self.counts(prefix)?, counted))
    }

    fn secret(&self, id: &SecretId) -> Result<Option<Sealed>, StoreError> {
        Ok(self.state().secrets.get(id).cloned())
    }

    fn secrets_not_under(
        &self,
        key: KeyId,
        limit: usize,
    ) -> Result<Vec<(SecretId, Sealed)>, StoreError> {
        let state = self.state();
        let found = state.secrets.iter().filter(|(_, sealed)| sealed.key != key);
        let found = found.map(|(id, sealed)| (id.clone(), sealed.clone()));
        Ok(found.take(limit.min(MAX_EACH)).collect())
    }

    fn secret_keys(&self) -> Result<Vec<KeyId>, StoreError> {
        let keys: BTreeSet<KeyId> = self.state().secrets.values().map(|one| one.key).collect();
        Ok(keys.into_iter().collect())
    }

    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditLine>, StoreError> {
        let state = self.state();
        let found = state.audit.range((Bound::Excluded(after), Bound::Unbounded));
        Ok(found.map(|(_, line)| line.clone()).take(limit.min(MAX_EACH)).collect())
    }

    fn audit_anchor(&self) -> Result<(u64, Link), StoreError> {
        Ok(self.state().anchor)
    }

    fn master_key(&self) -> Result<Option<KeyId>, StoreError> {
        Ok(self.state().master_key)
    }
}

impl Store for Memory {
    fn read(&self) -> &dyn Read {
        self
    }

    fn reader(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    fn load(&mut self, keys: &[DeviceKey]) -> Result<Vec<Option<DeviceRow>>, StoreError> {
        crate::commit::check_load(keys)?;
        let state = self.state();
        Ok(keys.iter().map(|key| state.devices.get(key).map(|row| row.row(key))).collect())
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        commit.check(self.audit_key.is_some())?;
        let mut guard = self.state_mut();
        let state = &mut *guard;
        let conflict = state.conflicts(commit);
        if !conflict.is_empty() {
            return Err(StoreError::Conflict(conflict));
        }
        let mut counts = BTreeMap::new();
        for (name, difference) in &commit.counts {
            let stored = state.counts.get(name).copied().unwrap_or(0);
            counts.insert(name.clone(), crate::commit::add(name, stored, *difference)?);
        }
        commit.devices.iter().for_each(|row| state.put_device(row));
        commit.gone_devices.iter().for_each(|(key, _)| state.remove_device(key));
        commit.items.iter().for_each(|item| state.put_item(item));
        commit.gone_items.iter().for_each(|(kind, id, _)| state.remove_item(*kind, id));
        for write in &commit.secrets {
            match write {
                SecretWrite::Put(id, sealed) => {
                    state.secrets.insert(id.clone(), sealed.clone());
                }
                SecretWrite::Remove(id) => {
                    state.secrets.remove(id);
                }
            }
        }
        state.counts.extend(counts);
        state.counts.retain(|_, count| *count != 0);
        commit.events.iter().for_each(|what| state.events.push(what));
        if let Some(key) = &self.audit_key {
            for what in &commit.audit {
                let line = chain::next(key, state.head(), what);
                state.audit.insert(line.seq, line);
            }
        }
        Ok(Committed { last_event: state.events.last(), last_audit: state.head().0 })
    }

    fn due(&mut self, now: Micros, limit: usize) -> Result<Vec<DeviceKey>, StoreError> {
        let state = self.state();
        let due = state.wakes.iter().take_while(|(wake, _)| *wake <= now);
        Ok(due.map(|(_, key)| key.clone()).take(limit.min(MAX_EACH)).collect())
    }

    fn next_wake(&mut self) -> Result<Option<Micros>, StoreError> {
        Ok(self.state().wakes.first().map(|(wake, _)| *wake))
    }

    fn due_items(
        &mut self,
        kind: Kind,
        now: Micros,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let state = self.state();
        let due = state.item_wakes.range((kind, 0, String::new())..);
        let due = due.take_while(|(of, wake, _)| *of == kind && *wake <= now);
        Ok(due.map(|(_, _, id)| id.clone()).take(limit.min(MAX_EACH)).collect())
    }

    fn prune_events(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError> {
        Ok(self.state_mut().events.prune(upto, limit as u64))
    }

    fn prune_audit(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError> {
        let mut state = self.state_mut();
        let mut gone = 0;
        while gone < limit as u64
            && let Some(oldest) = state.audit.first_entry()
            && *oldest.key() <= upto
        {
            let (seq, line) = oldest.remove_entry();
            state.anchor = (seq, line.link);
            gone = gone.saturating_add(1);
        }
        Ok(gone)
    }

    fn set_audit_key(&mut self, key: AuditKey) {
        self.audit_key = Some(key);
    }

    fn set_master_key(&mut self, key: KeyId) -> Result<(), StoreError> {
        self.state_mut().master_key = Some(key);
        Ok(())
    }
}
