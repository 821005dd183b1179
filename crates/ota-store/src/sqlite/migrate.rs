//! The schema and its migrations. A released migration never changes.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::fault::refused;
use crate::error::StoreError;

/// The application id in the file's header: "OTAs".
const APPLICATION: i32 = 0x4f54_4173;

/// Migrations from schema n to n + 1.
pub(super) const MIGRATIONS: [&str; 2] =
    [include_str!("migrations/0001.sql"), include_str!("migrations/0002.sql")];

/// The schema that this program writes.
pub(super) const LATEST: u32 = MIGRATIONS.len() as u32;

/// Returns a file's schema without changing it; 0 for a new one.
pub(super) fn schema(connection: &Connection, path: &Path) -> Result<u32, StoreError> {
    let number = |sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(refused);
    let application = number("PRAGMA application_id")?;
    let found = number("PRAGMA user_version")?;
    let foreign = || StoreError::Foreign { path: path.display().to_string() };
    if application == 0 && found == 0 {
        let tables = number("SELECT count(*) FROM sqlite_schema")?;
        return if tables == 0 { Ok(0) } else { Err(foreign()) };
    }
    if application != i64::from(APPLICATION) {
        return Err(foreign());
    }
    let found = u32::try_from(found).map_err(|_| foreign())?;
    if found > LATEST {
        return Err(StoreError::Newer { found, known: LATEST });
    }
    Ok(found)
}

/// Runs the missing migrations up to `to`, each in its own transaction.
pub(super) fn run(connection: &mut Connection, from: u32, to: u32) -> Result<(), StoreError> {
    for (number, sql) in (1..=LATEST).zip(MIGRATIONS) {
        if number <= from || number > to {
            continue;
        }
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(refused)?;
        transaction.execute_batch(sql).map_err(refused)?;
        transaction.pragma_update(None, "application_id", APPLICATION).map_err(refused)?;
        transaction.pragma_update(None, "user_version", number).map_err(refused)?;
        transaction.commit().map_err(refused)?;
    }
    Ok(())
}
