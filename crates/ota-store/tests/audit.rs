//! The chain of the audit, on both stores: what is changed behind its back is found.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use ota_store::audit::{self, AuditError};
use ota_store::seal::{MasterKey, Ring};
use ota_store::{Commit, DataFolder, Memory, NewAudit, Sqlite, Store};
use rusqlite::Connection;

fn ring() -> Ring {
    Ring::new(MasterKey::new([1; 32]))
}

fn append(store: &mut dyn Store, lines: u64) {
    let line = |at| NewAudit { at, body: format!("line {at}").into_bytes() };
    let audit = (0..lines).map(line).collect();
    store.commit(&Commit { audit, ..Commit::default() }).unwrap();
}

#[test]
fn the_chain_verifies_and_goes_on_after_pruning() {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Sqlite::open(&DataFolder::open(dir.path()).unwrap()).unwrap();
    let stores: [Box<dyn Store>; 2] = [Box::new(Memory::new()), Box::new(sqlite)];
    for mut store in stores {
        let store = &mut *store;
        store.set_audit_key(ring().audit_key());
        append(store, 700);
        let head = audit::verify(store.read(), &ring()).unwrap();
        assert_eq!(head.seq, 700);
        assert_eq!(store.prune_audit(400, 150).unwrap(), 150);
        assert_eq!(store.prune_audit(400, 1_000).unwrap(), 250);
        assert_eq!(store.read().audit_anchor().unwrap().0, 400);
        assert_eq!(audit::verify(store.read(), &ring()).unwrap(), head);
        // All of it gone: numbers and links go on.
        assert_eq!(store.prune_audit(u64::MAX, 1_000).unwrap(), 300);
        assert_eq!(audit::verify(store.read(), &ring()).unwrap(), head);
        append(store, 1);
        assert_eq!(audit::verify(store.read(), &ring()).unwrap().seq, 701);
        let other = Ring::new(MasterKey::new([2; 32]));
        let error = audit::verify(store.read(), &other).unwrap_err();
        assert!(matches!(error, AuditError::UnknownKey { seq: 701, .. }), "{error:?}");
    }
}

#[test]
fn every_change_behind_its_back_is_found_at_its_line() {
    for (change, wanted) in [
        ("UPDATE audit SET body = x'00' WHERE seq = 5", AuditError::Changed { seq: 5 }),
        ("UPDATE audit SET at = 99 WHERE seq = 5", AuditError::Changed { seq: 5 }),
        ("UPDATE audit SET link = zeroblob(32) WHERE seq = 5", AuditError::Changed { seq: 5 }),
        ("DELETE FROM audit WHERE seq = 5", AuditError::Missing { seq: 6 }),
        ("DELETE FROM audit WHERE seq <= 5", AuditError::Missing { seq: 6 }),
        (
            "DELETE FROM audit WHERE seq = 5; UPDATE audit SET seq = seq - 1 WHERE seq > 5",
            AuditError::Changed { seq: 5 },
        ),
        (
            "INSERT INTO audit SELECT 11, at, body, key, link FROM audit WHERE seq = 10",
            AuditError::Changed { seq: 11 },
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(dir.path()).unwrap();
        let mut store = Sqlite::open(&folder).unwrap();
        store.set_audit_key(ring().audit_key());
        append(&mut store, 10);
        Connection::open(folder.database()).unwrap().execute_batch(change).unwrap();
        assert_eq!(audit::verify(store.read(), &ring()).unwrap_err(), wanted, "{change}");
    }
}

#[test]
fn lines_without_a_key_are_refused_with_the_whole_commit() {
    let mut store = Memory::new();
    let audit = vec![NewAudit { at: 1, body: Vec::new() }];
    let counts = [("n".to_owned(), 1)].into();
    assert!(store.commit(&Commit { audit, counts, ..Commit::default() }).is_err());
    assert!(store.read().counts("").unwrap().is_empty());
}
