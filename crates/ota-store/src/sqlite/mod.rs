//! The state in one file.

mod backup;
mod columns;
mod fault;
mod list;
mod migrate;
mod range;
mod read;
mod write;

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, TransactionBehavior, params};

use crate::chain::AuditKey;
use crate::commit::{Commit, Committed, check_load};
use crate::error::StoreError;
use crate::folder::{DataFolder, sync_parent};
use crate::row::{DeviceKey, DeviceRow, KeyId, Kind, Link, MAX_EACH, Micros};
use crate::store::{Read, Store};
pub use backup::{Held, backup, check_backup, verify_audit};
use fault::{corrupt, refused};

/// The number of prepared statements: all of the store's, including lists by filter.
const STATEMENTS: usize = 96;
/// KiB of page cache, of the writer and of each reader.
const WRITER_CACHE: i64 = 64 * 1_024;
const READER_CACHE: i64 = 8 * 1_024;
/// Pages in the log before a checkpoint.
const CHECKPOINT: i64 = 4_000;
/// How long to wait for a lock of another program.
const PATIENCE: Duration = Duration::from_secs(5);

/// The state in the data folder's database. Holds the folder's lock.
#[derive(Debug)]
pub struct Sqlite {
    reader: read::Reader,
    folder: DataFolder,
    audit_key: Option<AuditKey>,
    last_event: u64,
    head: (u64, Link),
    /// The schema, before the first commit into a new log.
    new_log: Option<u32>,
}

impl Sqlite {
    /// Opens the database of a data folder, creates it if there is none, and upgrades its schema.
    ///
    /// # Errors
    /// [`StoreError`]; a foreign or newer file is not changed.
    pub fn open(folder: &DataFolder) -> Result<Self, StoreError> {
        Self::open_at(folder, migrate::LATEST)
    }

    fn open_at(folder: &DataFolder, schema: u32) -> Result<Self, StoreError> {
        let path = folder.database();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        make_private(&path)?;
        let is_log_new = log_of(&path).metadata().map_or(true, |log| log.len() == 0);
        let mut connection = connect(&path, flags)?;
        let found = migrate::schema(&connection, &path)?;
        tune(&connection, WRITER_CACHE)?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT).map_err(refused)?;
        migrate::run(&mut connection, found, schema)?;
        // Not at each start, of which it was a quarter: SQLite syncs the folder with the first bytes
        // of a log, so before the first commit is acknowledged.
        if found < schema {
            sync_parent(&path).map_err(|why| StoreError::io("sync", &path, &why))?;
        }
        let reader = read::Reader::new(connection);
        let mut store = Self {
            reader,
            folder: folder.clone(),
            audit_key: None,
            last_event: 0,
            head: (0, Link::default()),
            new_log: (found == schema && is_log_new).then_some(found),
        };
        if schema == migrate::LATEST {
            store.last_event = store.reader.last_event()?;
            store.head = store.reader.audit_head()?;
        }
        Ok(store)
    }

    /// Checks every page, and that the search tables match the rows. Slow.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] with the first fault, or the system's error.
    pub fn check(&self) -> Result<(), StoreError> {
        self.reader.check()
    }

    /// Copies the present database to a new file, while commits continue. The copy does not contain
    /// the master key and the images.
    ///
    /// # Errors
    /// [`StoreError`]; the file does not exist then.
    pub fn backup(&self, to: &Path) -> Result<Held, StoreError> {
        backup::run(&self.folder.database(), to)
    }

    const fn connection(&self) -> &Connection {
        self.reader.connection()
    }

    /// Removes the oldest rows of a table up to a number.
    fn prune(&mut self, table: &str, upto: u64, limit: usize) -> Result<u64, StoreError> {
        let upto = i64::try_from(upto).unwrap_or(i64::MAX);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let transaction = self.reader.connection_mut();
        let transaction = transaction
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(refused)?;
        let sql = format!("SELECT seq FROM {table} WHERE seq <= ?1 ORDER BY seq LIMIT ?2");
        let sql = format!("SELECT max(seq), count(*) FROM ({sql})");
        let found = transaction.query_row(&sql, [upto, limit], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, i64>(1)?))
        });
        let (Some(last), count) = found.map_err(refused)? else { return Ok(0) };
        let link = format!("SELECT {} FROM {table} WHERE seq = ?1", link_of(table));
        let link: Option<Vec<u8>> =
            transaction.query_row(&link, [last], |row| row.get(0)).map_err(refused)?;
        transaction
            .execute(
                "INSERT INTO meta (name, number, bytes) VALUES (?1, ?2, ?3) \
                 ON CONFLICT (name) DO UPDATE SET number = excluded.number, bytes = excluded.bytes",
                params![format!("pruned {table}"), last, link],
            )
            .map_err(refused)?;
        let delete = format!("DELETE FROM {table} WHERE seq <= ?1");
        transaction.execute(&delete, [last]).map_err(refused)?;
        transaction.commit().map_err(refused)?;
        u64::try_from(count).map_err(|_| corrupt("a negative number of rows"))
    }
}

fn link_of(table: &str) -> &'static str {
    if table == "audit" { "link" } else { "NULL" }
}

/// The path of SQLite's log.
fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Begins a new log with an unchanged number and without a sync. SQLite would sync the log's head
/// before the first commit, for old pages behind it, which a new log does not have. The first
/// commit syncs all of the log before it is acknowledged, so it waits once less for the disk. A disk
/// that refuses this is told by that commit.
fn begin_log(connection: &Connection, schema: u32) -> Result<(), StoreError> {
    connection.pragma_update(None, "synchronous", "OFF").map_err(refused)?;
    let _ = connection.pragma_update(None, "user_version", schema);
    connection.pragma_update(None, "synchronous", "FULL").map_err(refused)
}

/// Creates an empty file with mode 0600 if there is none; SQLite's log gets the same mode.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    match options.write(true).create_new(true).mode(0o600).open(path) {
        Err(why) if why.kind() != ErrorKind::AlreadyExists => {
            Err(StoreError::io("make", path, &why))
        }
        _ => Ok(()),
    }
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags).map_err(refused)?;
    connection.busy_timeout(PATIENCE).map_err(refused)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

fn tune(connection: &Connection, cache: i64) -> Result<(), StoreError> {
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .map_err(refused)?;
    if mode != "wal" {
        return Err(StoreError::Io { why: format!("the database has journal mode {mode}") });
    }
    connection.pragma_update(None, "synchronous", "FULL").map_err(refused)?;
    connection.pragma_update(None, "cache_size", -cache).map_err(refused)?;
    connection.pragma_update(None, "temp_store", "MEMORY").map_err(refused)?;
    connection.pragma_update(None, "journal_size_limit", 64_i64 << 20).map_err(refused)
}

impl Store for Sqlite {
    fn read(&self) -> &dyn Read {
        &self.reader
    }

    fn reader(&self) -> Result<Box<dyn Read + Send>, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = connect(&self.folder.database(), flags)?;
        tune(&connection, READER_CACHE)?;
        connection.pragma_update(None, "query_only", true).map_err(refused)?;
        Ok(Box::new(read::Reader::of(connection, self.folder.clone())))
    }

    fn load(&mut self, keys: &[DeviceKey]) -> Result<Vec<Option<DeviceRow>>, StoreError> {
        check_load(keys)?;
        keys.iter().map(|key| self.reader.device(key)).collect()
    }

    fn commit(&mut self, commit: &Commit) -> Result<Committed, StoreError> {
        commit.check(self.audit_key.is_some())?;
        // Not at the start: one that ends because of a missing key has changed nothing.
        if let Some(schema) = self.new_log.take() {
            begin_log(self.connection(), schema)?;
        }
        let start = write::Numbers { last_event: self.last_event, head: self.head };
        let key = self.audit_key.as_ref();
        let numbers = write::run(self.reader.connection_mut(), commit, start, key)?;
        (self.last_event, self.head) = (numbers.last_event, numbers.head);
        Ok(Committed { last_event: self.last_event, last_audit: self.head.0 })
    }

    fn due(&mut self, now: Micros, limit: usize) -> Result<Vec<DeviceKey>, StoreError> {
        let mut statement = self
            .connection()
            .prepare_cached(
                "SELECT product, name FROM device WHERE wake <= ?1 \
                 ORDER BY wake, product, name LIMIT ?2",
            )
            .map_err(refused)?;
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let rows = statement
            .query_map(params![now, limit.min(MAX_EACH)], |row| {
                Ok(DeviceKey { product: row.get(0)?, name: row.get(1)? })
            })
            .map_err(refused)?;
        rows.collect::<Result<_, _>>().map_err(refused)
    }

    fn next_wake(&mut self) -> Result<Option<Micros>, StoreError> {
        let sql = "SELECT wake FROM device WHERE wake IS NOT NULL ORDER BY wake LIMIT 1";
        let mut statement = self.connection().prepare_cached(sql).map_err(refused)?;
        statement.query_row([], |row| row.get(0)).optional().map_err(refused)
    }

    fn due_items(
        &mut self,
        kind: Kind,
        now: Micros,
        limit: usize,
    ) -> Result<Vec<String>, StoreError> {
        let mut statement = self
            .connection()
            .prepare_cached(
                "SELECT id FROM item WHERE kind = ?1 AND wake <= ?2 ORDER BY wake, id LIMIT ?3",
            )
            .map_err(refused)?;
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let rows = statement
            .query_map(params![kind.0, now, limit.min(MAX_EACH)], |row| row.get(0))
            .map_err(refused)?;
        rows.collect::<Result<_, _>>().map_err(refused)
    }

    fn prune_events(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError> {
        self.prune("event", upto, limit)
    }

    fn prune_audit(&mut self, upto: u64, limit: usize) -> Result<u64, StoreError> {
        self.prune("audit", upto, limit)
    }

    fn set_audit_key(&mut self, key: AuditKey) {
        self.audit_key = Some(key);
    }

    fn set_master_key(&mut self, key: KeyId) -> Result<(), StoreError> {
        self.connection()
            .execute(
                "INSERT INTO meta (name, number) VALUES ('master key', ?1) \
                 ON CONFLICT (name) DO UPDATE SET number = excluded.number",
                [i64::try_from(key.number()).unwrap_or(i64::MAX)],
            )
            .map(|_| ())
            .map_err(refused)
    }
}

/// A row of `meta`.
fn meta(connection: &Connection, name: &str) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    let row = connection
        .query_row("SELECT number, bytes FROM meta WHERE name = ?1", [name], |row| {
            Ok((row.get(0)?, row.get::<_, Option<Vec<u8>>>(1)?.unwrap_or_default()))
        })
        .optional()
        .map_err(refused)?;
    Ok(row)
}

#[cfg(test)]
mod tests;
