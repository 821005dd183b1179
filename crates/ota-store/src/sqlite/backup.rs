//! Copies of the database, and their checks.

use std::fs::{self, File};
use std::path::Path;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::fault::{corrupt, refused};
use super::read::Reader;
use super::{connect, make_private, migrate};
use crate::audit::{self, AuditError, Head};
use crate::error::StoreError;
use crate::folder::{DataFolder, publish};
use crate::seal::{Ring, SealError};
use crate::store::Read as _;

/// The content of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Held {
    /// Its schema.
    pub schema: u32,
    /// Devices.
    pub devices: u64,
    /// The number of its latest event.
    pub last_event: u64,
}

const READ_ONLY: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// Copies the database of a data folder, which another process may be using, to a new file. The
/// copy does not contain the master key and the images.
///
/// # Errors
/// [`StoreError`]; the file does not exist then.
pub fn backup(folder: &Path, to: &Path) -> Result<Held, StoreError> {
    let database = DataFolder::database_in(folder);
    // Opening it would create one.
    fs::metadata(&database).map_err(|why| StoreError::io("read", &database, &why))?;
    run(&database, to)
}

pub(super) fn run(from: &Path, to: &Path) -> Result<Held, StoreError> {
    if to.exists() {
        return Err(StoreError::Exists { path: to.display().to_string() });
    }
    let mut name = to.as_os_str().to_owned();
    name.push(".part");
    let part = Path::new(&name);
    let _ = fs::remove_file(part);
    let held = copy(from, part).and_then(|()| check_backup(part)).and_then(|held| {
        let synced = File::open(part).and_then(|file| file.sync_all());
        synced.map_err(|why| StoreError::io("sync", part, &why))?;
        publish(part, to, false)?;
        Ok(held)
    });
    if held.is_err() {
        let _ = fs::remove_file(part);
    }
    held
}

/// Verifies the audit of a data folder, which another process may be using.
///
/// # Errors
/// [`AuditError`] by the first line that does not fit, or why it cannot be read.
pub fn verify_audit(folder: &Path, master_key: &Path) -> Result<Head, AuditError> {
    let database = DataFolder::database_in(folder);
    // Opening it would create one.
    fs::metadata(&database).map_err(|why| StoreError::io("read", &database, &why))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = connect(&database, flags)?;
    if migrate::schema(&connection, &database)? != migrate::LATEST {
        let what = "a folder of an older version: start the cloud once, then verify";
        return Err(StoreError::Invalid { what: what.to_owned() }.into());
    }
    // One moment, so that lines which a cloud removes meanwhile are not missed.
    connection.execute_batch("BEGIN").map_err(refused)?;
    let reader = Reader::new(connection);
    let Some(wanted) = reader.master_key()? else { return Ok(Head { seq: 0, link: [0; 32] }) };
    let path = master_key.display().to_string();
    let ring = Ring::read(master_key).map_err(AuditError::Seal)?;
    let ring = ring.ok_or(AuditError::Seal(SealError::MissingKey { path, wanted }))?;
    audit::verify(&reader, &ring)
}

/// All pages in one step, of one moment of the database. Commits continue in the log.
fn copy(from: &Path, part: &Path) -> Result<(), StoreError> {
    let source =
        connect(from, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    make_private(part)?;
    let mut target = Connection::open(part).map_err(refused)?;
    {
        let backup = Backup::new(&source, &mut target).map_err(refused)?;
        match backup.step(-1).map_err(refused)? {
            StepResult::Done => {}
            _ => return Err(StoreError::Locked { path: from.display().to_string(), holder: None }),
        }
    }
    // A copy is one file, which can be opened on read-only media.
    target.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(())).map_err(refused)?;
    target.close().map_err(|(_, why)| refused(why))
}

/// Checks a copy of the database: its pages, its schema, its rows. Writes nothing. Of a copy with
/// an older schema only the pages are checked: opening it upgrades it.
///
/// # Errors
/// [`StoreError`] names the fault.
pub fn check_backup(path: &Path) -> Result<Held, StoreError> {
    let connection = connect(path, READ_ONLY)?;
    let schema = migrate::schema(&connection, path)?;
    let reader = Reader::new(connection);
    if schema == 0 {
        return Err(corrupt("it is empty"));
    }
    if schema == migrate::LATEST {
        reader.check()?;
    } else {
        let said: String = reader
            .connection()
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(refused)?;
        if said != "ok" {
            return Err(corrupt(&said));
        }
    }
    let devices = reader
        .connection()
        .query_row("SELECT count(*) FROM device", [], |row| row.get(0))
        .map_err(refused)?;
    Ok(Held { schema, devices, last_event: reader.last_event()? })
}
