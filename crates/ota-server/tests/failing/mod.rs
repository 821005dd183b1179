//! A store in memory whose commits fail when a test wants it.

use ota_store::audit::AuditKey;
use ota_store::seal::KeyId;
use ota_store::{
    Commit, Committed, DeviceKey, DeviceRow, Kind, Memory, Micros, Read, Store, StoreError,
};

/// How the next commits fail.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) error: StoreError,
    pub(crate) times: usize,
    /// What was committed is stored all the same: only the word of it is lost.
    pub(crate) stored: bool,
}

impl Fault {
    /// The disk is full, for so many commits.
    pub(crate) fn full(times: usize) -> Self {
        Self { error: StoreError::Full { why: "a test".into() }, times, stored: false }
    }
}

#[derive(Debug)]
pub(crate) struct Failing {
    pub(crate) inner: Memory,
    pub(crate) fault: Option<Fault>,
}

impl Store for Failing {
    fn read(&self) -> &dyn Read {
        self.inner.read()
    }

    fn reader(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        self.inner.reader()
    }

    fn load(&mut self, keys: &[DeviceKey]) -> Result<Vec<Option<DeviceRow>>, StoreError> {
        self.inner.load(keys)
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        let Some(fault) = self.fault.as_mut().filter(|fault| fault.times > 0) else {
            return self.inner.commit(commit);
        };
        fault.times -= 1;
        if fault.stored {
            self.inner.commit(commit)?;
        }
        Err(fault.error.clone())
    }

    fn due(&mut self, now: Micros, limit: usize) -> Result<Vec<DeviceKey>, StoreError> {
        self.inner.due(now, limit)
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
