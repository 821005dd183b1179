//! A store whose commits are counted and timed.

use std::sync::Arc;

use ota_store::audit::AuditKey;
use ota_store::seal::KeyId;
use ota_store::{Commit, Committed, DeviceKey, DeviceRow, Kind, Micros, Read, Store, StoreError};

use crate::clock::Clock;
use crate::vitals::Vitals;

#[derive(Debug)]
pub(crate) struct Watched<S> {
    inner: S,
    clock: Clock,
    vitals: Arc<Vitals>,
}

impl<S> Watched<S> {
    pub(crate) const fn new(inner: S, clock: Clock, vitals: Arc<Vitals>) -> Self {
        Self { inner, clock, vitals }
    }

    fn note<T>(&self, done: Result<T, StoreError>) -> Result<T, StoreError> {
        done.inspect_err(|why| self.vitals.refused(why))
    }
}

impl<S: Store> Store for Watched<S> {
    fn read(&self) -> &dyn Read {
        self.inner.read()
    }

    fn reader(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        self.inner.reader()
    }

    fn load(&mut self, keys: &[DeviceKey]) -> Result<Vec<Option<DeviceRow>>, StoreError> {
        let loaded = self.inner.load(keys);
        self.note(loaded)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let began = self.clock.now();
        let committed = self.inner.commit(commit);
        let now = self.clock.now();
        if committed.is_ok() {
            self.vitals.committed(now, now.since(began));
        }
        self.note(committed)
    }

    fn due(&mut self, now: Micros, limit: usize) -> Result<Vec<DeviceKey>, StoreError> {
        let due = self.inner.due(now, limit);
        self.note(due)
    }

    fn next_wake(&mut self) -> Result<Option<Micros>, StoreError> {
        self.inner.next_wake()
    }

    fn due_items(
        &mut self,
        kind: Kind,
        now: Micros,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        self.inner.due_items(kind, now, limit)
    }

    fn prune_events(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError> {
        self.inner.prune_events(upto, limit)
    }

    fn prune_audit(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError> {
        self.inner.prune_audit(upto, limit)
    }

    fn set_audit_key(&mut self, key: AuditKey) {
        self.inner.set_audit_key(key);
    }

    fn set_master_key(&mut self, key: KeyId) -> Result<(), StoreError> {
        self.inner.set_master_key(key)
    }
}
