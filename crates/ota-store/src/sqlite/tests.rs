//! The file: schemas, refusals, plans.

use std::collections::BTreeMap;
use std::fs;

use rusqlite::Connection;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::row::{Event, Item, NewAudit, NewEvent, Sealed, SecretId};
use crate::seal::{KeyId, MasterKey, Ring};
use crate::store::{EventQuery, Filter, Query, VersionFilter};
use crate::{SecretWrite, images::ImageName};

fn folder() -> (tempfile::TempDir, DataFolder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = DataFolder::open(dir.path()).unwrap();
    (dir, folder)
}

fn device(name: &str, state: usize) -> DeviceRow {
    DeviceRow { state: vec![7; state], ..DeviceRow::new(DeviceKey::new("TESTPROD01", name)) }
}

fn put(devices: Vec<DeviceRow>) -> Commit {
    Commit { devices, ..Commit::default() }
}

#[test]
fn a_released_migration_never_changes() {
    let hashes = migrate::MIGRATIONS.map(|sql| {
        assert!(!sql.contains('\r'), "line ends are pinned");
        ImageName::new(Sha256::digest(sql).into()).to_string()
    });
    let known: Vec<_> = include_str!("migrations/hashes").lines().collect();
    assert_eq!(hashes.as_slice(), known, "add a migration; do not touch an old one");
}

/// Rows that each schema can hold, in words of its own time.
const ROWS: [&str; 2] = [
    "INSERT INTO device (product, name, rev, wake, task, disabled, versions, tags, state) \
     VALUES ('P', 'd1', 3, 50, 2, 0, '{\"mcu\":\"1.0.0\"}', '{\"room\":\"4\"}', x'0102'); \
     INSERT INTO device_version VALUES ('P', 'mcu', '1.0.0', 'd1'); \
     INSERT INTO device_tag VALUES ('P', 'room', '4', 'd1'); \
     INSERT INTO item VALUES (2, 'P/1.0.0', 1, NULL, x'03'); \
     INSERT INTO event VALUES (1, 5, 'P', 'd1', 'done', x'04'); \
     INSERT INTO count VALUES ('P/devices', 1);",
    "INSERT INTO secret VALUES ('device', 'psk', 'P/d1', 9, zeroblob(24), x'05');",
];

#[test]
fn rows_of_every_schema_are_there_after_the_last_migration() {
    for schema in 1..=migrate::LATEST {
        let (_dir, folder) = folder();
        drop(Sqlite::open_at(&folder, schema).unwrap());
        let raw = Connection::open(folder.database()).unwrap();
        for rows in &ROWS[..schema as usize] {
            raw.execute_batch(rows).unwrap();
        }
        drop(raw);
        let mut store = Sqlite::open(&folder).unwrap();
        store.check().unwrap();
        let key = DeviceKey::new("P", "d1");
        let row = store.load(std::slice::from_ref(&key)).unwrap().remove(0).unwrap();
        assert_eq!((row.rev, row.wake, row.task), (3, Some(50), Some(2)));
        assert_eq!(row.versions["mcu"], "1.0.0");
        assert_eq!(store.due(50, 10).unwrap(), [key]);
        assert_eq!(store.read().item(Kind(2), "P/1.0.0").unwrap().unwrap().body, [3]);
        assert_eq!(store.read().counts("P/").unwrap()["P/devices"], 1);
        assert_eq!(store.commit(&Commit::default()).unwrap().last_event, 1);
        let secret = store.read().secret(&SecretId::new("device", "psk", "P/d1")).unwrap();
        assert_eq!(secret.is_some(), schema >= 2);
    }
}

#[test]
fn a_fresh_schema_is_the_sum_of_the_migrations() {
    let schema = |folder: &DataFolder| {
        let raw = Connection::open(folder.database()).unwrap();
        let mut list = raw.prepare("SELECT sql FROM sqlite_schema ORDER BY name").unwrap();
        let rows = list.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    let (_a, at_once) = folder();
    drop(Sqlite::open(&at_once).unwrap());
    let (_b, in_steps) = folder();
    for step in 1..=migrate::LATEST {
        drop(Sqlite::open_at(&in_steps, step).unwrap());
    }
    assert_eq!(schema(&at_once), schema(&in_steps));
}

#[test]
fn a_newer_schema_is_refused_with_both_numbers_and_stays_as_it_is() {
    let (_dir, folder) = folder();
    drop(Sqlite::open(&folder).unwrap());
    let raw = Connection::open(folder.database()).unwrap();
    raw.pragma_update(None, "user_version", 77).unwrap();
    drop(raw);
    let before = fs::read(folder.database()).unwrap();
    let error = Sqlite::open(&folder).unwrap_err();
    assert_eq!(error, StoreError::Newer { found: 77, known: migrate::LATEST });
    assert!(error.to_string().contains("run the version that wrote it"));
    assert_eq!(fs::read(folder.database()).unwrap(), before);
    assert_eq!(check_backup(&folder.database()).unwrap_err(), error);
}

#[test]
fn another_programs_database_is_refused_and_stays_as_it_is() {
    let (_dir, folder) = folder();
    let raw = Connection::open(folder.database()).unwrap();
    raw.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
    drop(raw);
    let before = fs::read(folder.database()).unwrap();
    assert!(matches!(Sqlite::open(&folder), Err(StoreError::Foreign { .. })));
    assert_eq!(fs::read(folder.database()).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing beside it and the lock");
}

#[test]
fn what_is_no_database_or_was_cut_is_corrupt() {
    let (_dir, folder) = folder();
    fs::write(folder.database(), vec![b'x'; 8_192]).unwrap();
    assert!(matches!(Sqlite::open(&folder), Err(StoreError::Corrupt { .. })));

    let (_dir, folder) = self::folder();
    let mut store = Sqlite::open(&folder).unwrap();
    store.commit(&put((0..400).map(|n| device(&format!("d{n}"), 500)).collect())).unwrap();
    drop(store);
    let mut bytes = fs::read(folder.database()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 12_000].fill(0x5a);
    fs::write(folder.database(), bytes).unwrap();
    let error = Sqlite::open(&folder).and_then(|store| store.check()).unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("restore a backup"));
}

#[test]
fn rows_that_only_another_hand_can_have_written_are_corrupt_and_no_panic() {
    for fault in [
        "UPDATE device SET versions = 'no JSON'",
        "UPDATE device SET tags = '[1]'",
        "UPDATE device SET rev = -1",
        "UPDATE device SET wake = -5",
        "UPDATE device SET task = 999",
        "DELETE FROM device_version",
        "DELETE FROM device_tag",
        "INSERT INTO device_tag VALUES ('TESTPROD01', 'x', 'y', 'ghost')",
    ] {
        let (_dir, folder) = folder();
        let mut store = Sqlite::open(&folder).unwrap();
        let mut row = device("d1", 3);
        row.tags.insert("room".into(), "4".into());
        store.commit(&put(vec![row])).unwrap();
        store.connection().execute_batch(fault).unwrap();
        let error = store.check().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{fault}: {error:?}");
        let _ = store.load(&[DeviceKey::new("TESTPROD01", "d1")]);
        let _ = store.commit(&put(vec![DeviceRow { rev: 1, ..device("d1", 1) }]));
    }
}

#[test]
fn a_full_disk_loses_nothing_and_the_next_commit_goes_on() {
    let (_dir, folder) = folder();
    let mut store = Sqlite::open(&folder).unwrap();
    store.commit(&put(vec![device("d1", 10)])).unwrap();
    let pages: i64 =
        store.connection().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    store.connection().pragma_update(None, "max_page_count", pages + 3).unwrap();
    let mut big = put((0..50).map(|n| device(&format!("n{n}"), 4_000)).collect());
    big.events.push(NewEvent {
        at: 1,
        product: String::new(),
        name: String::new(),
        kind: "full".into(),
        body: Vec::new(),
    });
    let error = store.commit(&big).unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("make room"));
    assert_eq!(store.read().count_devices(&Filter::product("TESTPROD01"), 9).unwrap(), 1);
    store.connection().pragma_update(None, "max_page_count", 1_000_000).unwrap();
    assert_eq!(store.commit(&big).unwrap().last_event, 1, "no number was lost");
    store.check().unwrap();
}

#[test]
fn what_cannot_be_written_is_read_only() {
    let (_dir, folder) = folder();
    let mut store = Sqlite::open(&folder).unwrap();
    store.connection().pragma_update(None, "query_only", true).unwrap();
    let error = store.commit(&put(vec![device("d1", 1)])).unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }), "{error:?}");
    store.connection().pragma_update(None, "query_only", false).unwrap();
    store.commit(&put(vec![device("d1", 1)])).unwrap();

    let (_dir, folder) = self::folder();
    fs::create_dir(folder.database()).unwrap();
    assert!(matches!(Sqlite::open(&folder), Err(StoreError::ReadOnly { .. })));
}

#[test]
fn a_lock_of_another_program_is_named_and_waited_out() {
    let (_dir, folder) = folder();
    let mut store = Sqlite::open(&folder).unwrap();
    store.connection().busy_timeout(Duration::ZERO).unwrap();
    let other = Connection::open(folder.database()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let error = store.commit(&put(vec![device("d1", 1)])).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    other.execute_batch("ROLLBACK").unwrap();
    store.commit(&put(vec![device("d1", 1)])).unwrap();
}

#[test]
fn one_process_has_the_folder_as_long_as_anything_of_it_is_open() {
    let (dir, folder) = folder();
    let ours = Some(std::process::id());
    let locked = || {
        let error = DataFolder::open(dir.path()).err();
        matches!(error, Some(StoreError::Locked { holder, .. }) if holder == ours)
    };
    let store = Sqlite::open(&folder).unwrap();
    drop(folder);
    assert!(locked());
    let reader = store.reader().unwrap();
    drop(store);
    assert!(locked(), "a reader holds it, too");
    drop(reader);
    assert!(!locked());
}

#[test]
fn the_file_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, folder) = folder();
    let mut store = Sqlite::open(&folder).unwrap();
    store.commit(&put(vec![device("d1", 1)])).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{:?}", entry.path());
    }
}

#[test]
fn every_commit_is_synced() {
    let (_dir, folder) = folder();
    drop(Sqlite::open(&folder).unwrap());
    assert!(!log_of(&folder.database()).exists());
    let mut store = Sqlite::open(&folder).unwrap();
    let log = || log_of(&folder.database()).metadata().map_or(0, |log| log.len());
    assert_eq!(log(), 0, "a start changes nothing");
    // The first commit begins a log.
    let counts = BTreeMap::from([("n".to_owned(), 1)]);
    store.commit(&Commit { counts, ..Commit::default() }).unwrap();
    assert!(log() > 0);
    let pragma = |name: &str| -> String {
        let sql = format!("PRAGMA {name}");
        let value = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
        format!("{:?}", store.connection().query_row(&sql, [], value).unwrap())
    };
    assert_eq!(pragma("journal_mode"), "Text(\"wal\")");
    assert_eq!(pragma("synchronous"), "Integer(2)");
}

/// No list, whatever its filters, reads a whole table or sorts.
#[test]
fn every_list_follows_an_index_in_order() {
    let (_dir, folder) = folder();
    let store = Sqlite::open(&folder).unwrap();
    let version = VersionFilter::Is { module: "mcu".into(), version: "1".into() };
    let versions = [None, Some(VersionFilter::Unreported), Some(version)];
    for version in versions {
        for tag in [None, Some(("room".to_owned(), "4".to_owned()))] {
            for task in [None, Some(None), Some(Some(2))] {
                for prefix in ["", "dev"] {
                    let filter = Filter {
                        product: "P".into(),
                        version: version.clone(),
                        tag: tag.clone(),
                        task,
                        prefix: prefix.into(),
                    };
                    let (sql, values) = list::text(&filter);
                    plan_is_good(store.connection(), &sql, values.len());
                }
            }
        }
    }
    for (sql, values) in [
        ("SELECT product, name FROM device WHERE wake <= ?1 ORDER BY wake, product, name", 1),
        ("SELECT id FROM item WHERE kind = ?1 AND wake <= ?2 ORDER BY wake, id", 2),
        ("SELECT seq FROM event WHERE product = ?1 AND name = ?2 AND seq > ?3 ORDER BY seq", 3),
        ("SELECT seq FROM audit WHERE seq > ?1 ORDER BY seq", 1),
    ] {
        plan_is_good(store.connection(), sql, values);
    }
}

/// The cost of a page is that of its rows, wherever in the table they stand.
#[test]
fn a_page_under_a_prefix_reads_nothing_that_comes_before_or_after_it() {
    let (_dir, folder) = folder();
    let mut store = Sqlite::open(&folder).unwrap();
    for first in (0..5000).step_by(1000) {
        let mut commit =
            put((first..first + 1000).map(|n| device(&format!("d{n:04}"), 1)).collect());
        let ids = (first..first + 1000).map(|n| format!("P/{n:04}"));
        commit.items = ids.map(|id| Item::new(Kind::FIRMWARE, id, *b"fw")).collect();
        store.commit(&commit).unwrap();
    }
    let names = |prefix: &str, after: Option<&str>| -> Vec<String> {
        let filter =
            Filter { product: "TESTPROD01".into(), prefix: prefix.into(), ..Filter::default() };
        let page = store.reader.list(&Query { filter, after: after.map(str::to_owned), limit: 50 });
        page.unwrap().rows.into_iter().map(|row| row.key.name).collect()
    };
    assert_eq!(names("d249", None).len(), 10);
    assert_eq!(names("d249", Some("d2497")), ["d2498", "d2499"]);
    assert_eq!(names("d249", Some("d1")).len(), 10);
    assert_eq!(names("d249", Some("d25")).len(), 0);

    let steps = |sql: &str, values: Vec<rusqlite::types::Value>| {
        let mut statement = store.connection().prepare(sql).unwrap();
        let rows =
            statement.query_map(rusqlite::params_from_iter(values), |_| Ok(())).unwrap().count();
        (rows, statement.get_status(rusqlite::StatementStatus::VmStep))
    };
    let filter =
        Filter { product: "TESTPROD01".into(), prefix: "d249".into(), ..Filter::default() };
    let (sql, mut values) = list::text(&filter);
    values[1] = "d249".to_owned().into();
    let (rows, cost) = steps(&sql, values);
    assert!(rows == 10 && cost < 500, "{rows} rows, {cost} steps");
    let range = |prefix| {
        let range = range::Range::new(prefix, None);
        (rusqlite::types::Value::from(range.low), range.high)
    };
    let (low, high) = range("P/249");
    let kind = i64::from(Kind::FIRMWARE.0).into();
    let (rows, cost) = steps(read::ITEMS, vec![kind, low, high, 100.into()]);
    assert!(rows == 10 && cost < 500, "{rows} rows, {cost} steps");
    let (low, high) = range("no such count");
    let (rows, cost) = steps(read::COUNTS, vec![low, high]);
    assert!(rows == 0 && cost < 500, "{rows} rows, {cost} steps");
}

fn plan_is_good(connection: &Connection, sql: &str, values: usize) {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let none = vec![rusqlite::types::Value::Integer(1); values];
    let rows = statement.query_map(rusqlite::params_from_iter(none), |row| row.get(3)).unwrap();
    let plan: Vec<String> = rows.collect::<Result<_, _>>().unwrap();
    let bad = |step: &String| step.starts_with("SCAN") || step.contains("TEMP B-TREE");
    assert!(!plan.iter().any(bad), "{sql}\n{plan:#?}");
}

#[test]
fn a_backup_made_while_commits_go_on_is_one_moment_and_restores_elsewhere() {
    let (_dir, folder) = folder();
    let mut store = Sqlite::open(&folder).unwrap();
    let ring = Ring::new(MasterKey::new([3; 32]));
    store.set_audit_key(ring.audit_key());
    let mut commit = put((0..100).map(|n| device(&format!("d{n:03}"), 100)).collect());
    commit.items.push(Item::new(Kind::FIRMWARE, "TESTPROD01/1.0.0", *b"fw"));
    let event = NewEvent {
        at: 4,
        product: "TESTPROD01".into(),
        name: "d001".into(),
        kind: "offered".into(),
        body: vec![1],
    };
    commit.events.push(event.clone());
    commit.audit.push(NewAudit { at: 4, body: vec![2] });
    let id = SecretId::new("device", "psk", "TESTPROD01/d001");
    let sealed = Sealed { key: KeyId::new(4), nonce: [0; 24], bytes: vec![9] };
    commit.secrets.push(SecretWrite::Put(id.clone(), sealed.clone()));
    store.commit(&commit).unwrap();

    let elsewhere = tempfile::tempdir().unwrap();
    let to = elsewhere.path().join("cloud.db");
    let held = store.backup(&to).unwrap();
    assert_eq!((held.schema, held.devices, held.last_event), (migrate::LATEST, 100, 1));
    assert!(matches!(store.backup(&to), Err(StoreError::Exists { .. })), "never overwritten");
    // What comes later is not in it.
    store.commit(&put(vec![device("late", 1)])).unwrap();
    assert_eq!(check_backup(&to).unwrap(), held);
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "one file");

    let restored = DataFolder::open(elsewhere.path()).unwrap();
    let mut restored = Sqlite::open(&restored).unwrap();
    restored.check().unwrap();
    assert_eq!(restored.read().count_devices(&Filter::product("TESTPROD01"), 999).unwrap(), 100);
    assert_eq!(restored.read().secret(&id).unwrap(), Some(sealed));
    let events = restored.read().events(&EventQuery::default(), 10).unwrap();
    assert_eq!(events, [Event { seq: 1, what: event }]);
    assert_eq!(crate::audit::verify(restored.read(), &ring).unwrap().seq, 1);
    assert_eq!(restored.commit(&put(vec![device("late", 1)])).unwrap().last_audit, 1);
}

#[test]
fn a_damaged_backup_is_found() {
    let (_dir, folder) = folder();
    let mut store = Sqlite::open(&folder).unwrap();
    store.commit(&put((0..400).map(|n| device(&format!("d{n}"), 500)).collect())).unwrap();
    let to = folder.path().join("copy");
    store.backup(&to).unwrap();
    let mut bytes = fs::read(&to).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 9_000].fill(0);
    fs::write(&to, &bytes).unwrap();
    assert!(matches!(check_backup(&to), Err(StoreError::Corrupt { .. })));
    fs::write(&to, b"").unwrap();
    assert!(matches!(check_backup(&to), Err(StoreError::Corrupt { .. })));
    fs::remove_file(&to).unwrap();
    assert!(check_backup(&to).is_err());
}

#[test]
fn a_reader_sees_what_was_committed_and_writes_nothing() {
    let (_dir, folder) = folder();
    let mut store = Sqlite::open(&folder).unwrap();
    let reader = store.reader().unwrap();
    let query = Query { filter: Filter::product("TESTPROD01"), after: None, limit: 10 };
    assert!(reader.list(&query).unwrap().rows.is_empty());
    store.commit(&put(vec![device("d1", 1)])).unwrap();
    assert_eq!(reader.list(&query).unwrap().rows.len(), 1);
}
