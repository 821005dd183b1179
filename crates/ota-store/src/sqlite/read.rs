//! The reading half.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Row, Rows, params};

use super::columns::{COLUMNS, device_of, get};
use super::fault::{corrupt, refused};
use super::range::Range;
use super::{list, meta};
use crate::error::StoreError;
use crate::folder::DataFolder;
use crate::row::{
    AuditLine, DeviceKey, DeviceRow, Event, Item, KeyId, Kind, Link, MAX_EACH, NewAudit, NewEvent,
    Sealed, SecretId,
};
use crate::store::{
    CountFault, Counting, EventQuery, Filter, MAX_PAGE, Page, Query, Read, compare_counts,
};

pub(super) const ITEMS: &str = "SELECT kind, id, rev, wake, body FROM item \
     WHERE kind = ?1 AND id >= ?2 AND id < ?3 ORDER BY id LIMIT ?4";
pub(super) const COUNTS: &str = "SELECT name, number FROM count WHERE name >= ?1 AND name < ?2";

/// A reading connection. The writer uses the same code.
#[derive(Debug)]
pub(super) struct Reader {
    connection: Connection,
    /// Keeps the folder locked while this reader exists.
    _folder: Option<DataFolder>,
}

impl Reader {
    pub(super) const fn new(connection: Connection) -> Self {
        Self { connection, _folder: None }
    }

    pub(super) const fn of(connection: Connection, folder: DataFolder) -> Self {
        Self { connection, _folder: Some(folder) }
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(super) const fn connection_mut(&mut self) -> &mut Connection {
        &mut self.connection
    }

    pub(super) fn audit_head(&self) -> Result<(u64, Link), StoreError> {
        let last = self
            .connection
            .query_row("SELECT seq, link FROM audit ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()
            .map_err(refused)?;
        last.map_or_else(|| self.audit_anchor(), Ok)
    }

    /// See [`Sqlite::check`](super::Sqlite::check).
    pub(super) fn check(&self) -> Result<(), StoreError> {
        let said: String = self
            .connection
            .query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
            .map_err(refused)?;
        if said != "ok" {
            return Err(corrupt(&said));
        }
        let mut rows = 0_i64;
        let mut tags = 0_i64;
        each_device(&self.connection, &mut |row| {
            let key = &row.key;
            rows = rows.saturating_add(row.versions.len().max(1) as i64);
            tags = tags.saturating_add(row.tags.len() as i64);
            for (module, version) in searched_versions(&row.versions) {
                found(&self.connection, FIND_VERSION, key, module, version)?;
            }
            for (tag, value) in &row.tags {
                found(&self.connection, FIND_TAG, key, tag, value)?;
            }
            Ok(())
        })?;
        let count = |sql| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        let stored = count("SELECT count(*) FROM device_version").map_err(refused)?;
        let stored_tags = count("SELECT count(*) FROM device_tag").map_err(refused)?;
        if (stored, stored_tags) != (rows, tags) {
            return Err(corrupt("a version or tag that no device has"));
        }
        Ok(())
    }
}

const FIND_VERSION: &str = "SELECT 1 FROM device_version \
    WHERE product = ?1 AND module = ?3 AND version = ?4 AND name = ?2";
const FIND_TAG: &str =
    "SELECT 1 FROM device_tag WHERE product = ?1 AND tag = ?3 AND value = ?4 AND name = ?2";

fn found(
    connection: &Connection,
    sql: &str,
    key: &DeviceKey,
    first: &str,
    second: &str,
) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql).map_err(refused)?;
    let there = statement.exists([&key.product, &key.name, first, second]).map_err(refused)?;
    if there { Ok(()) } else { Err(corrupt(&format!("{key} is not found by what it has"))) }
}

/// The search keys of a device; one that reported nothing has empty texts.
pub(super) fn searched_versions(
    versions: &BTreeMap<String, String>,
) -> impl Iterator<Item = (&str, &str)> {
    let none = versions.is_empty().then_some(("", ""));
    versions.iter().map(|(module, version)| (module.as_str(), version.as_str())).chain(none)
}

/// Visits all devices, in order of their keys.
fn each_device(
    connection: &Connection,
    take: &mut dyn FnMut(&DeviceRow) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM device d ORDER BY d.product, d.name");
    let mut statement = connection.prepare_cached(&sql).map_err(refused)?;
    let mut rows = statement.query([]).map_err(refused)?;
    while let Some(row) = rows.next().map_err(refused)? {
        take(&device_of(row)?)?;
    }
    Ok(())
}

fn item_of(row: &Row<'_>) -> Result<Item, StoreError> {
    Ok(Item {
        kind: Kind(get(row, 0)?),
        id: get(row, 1)?,
        rev: get(row, 2)?,
        wake: get(row, 3)?,
        body: get(row, 4)?,
    })
}

fn event_of(row: &Row<'_>) -> Result<Event, StoreError> {
    let what = NewEvent {
        at: get(row, 1)?,
        product: get(row, 2)?,
        name: get(row, 3)?,
        kind: get(row, 4)?,
        body: get(row, 5)?,
    };
    Ok(Event { seq: get(row, 0)?, what })
}

fn line_of(row: &Row<'_>) -> Result<AuditLine, StoreError> {
    Ok(AuditLine {
        seq: get(row, 0)?,
        what: NewAudit { at: get(row, 1)?, body: get(row, 2)? },
        key: KeyId::new(get(row, 3)?),
        link: get(row, 4)?,
    })
}

fn sealed_of(row: &Row<'_>, first: usize) -> Result<Sealed, StoreError> {
    Ok(Sealed {
        key: KeyId::new(get(row, first)?),
        nonce: get(row, first + 1)?,
        bytes: get(row, first + 2)?,
    })
}

fn all<T>(
    mut rows: Rows<'_>,
    of: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut list = Vec::new();
    while let Some(row) = rows.next().map_err(refused)? {
        list.push(of(row)?);
    }
    Ok(list)
}

fn one<T>(
    mut rows: Rows<'_>,
    of: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    rows.next().map_err(refused)?.map(of).transpose()
}

impl Read for Reader {
    fn device(&self, key: &DeviceKey) -> Result<Option<DeviceRow>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT d.product, d.name, d.rev, d.wake, d.task, d.disabled, d.versions, d.tags, \
                 d.state FROM device d WHERE d.product = ?1 AND d.name = ?2",
            )
            .map_err(refused)?;
        one(statement.query([&key.product, &key.name]).map_err(refused)?, device_of)
    }

    fn list(&self, query: &Query) -> Result<Page, StoreError> {
        list::page(&self.connection, query)
    }

    fn count_devices(&self, filter: &Filter, cap: u64) -> Result<u64, StoreError> {
        list::count(&self.connection, filter, cap)
    }

    fn item(&self, kind: Kind, id: &str) -> Result<Option<Item>, StoreError> {
        let sql = "SELECT kind, id, rev, wake, body FROM item WHERE kind = ?1 AND id = ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
        one(statement.query(params![kind.0, id]).map_err(refused)?, item_of)
    }

    fn items(
        &self,
        kind: Kind,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Item>, StoreError> {
        let mut statement = self.connection.prepare_cached(ITEMS).map_err(refused)?;
        let Range { low, high } = Range::new(prefix, after);
        let rows = statement.query(params![kind.0, low, high, limit.min(MAX_PAGE)]);
        all(rows.map_err(refused)?, item_of)
    }

    fn events(&self, query: &EventQuery, limit: usize) -> Result<Vec<Event>, StoreError> {
        let after = i64::try_from(query.after).unwrap_or(i64::MAX);
        let limit = limit.min(MAX_EACH);
        let Some(key) = &query.device else {
            let sql = "SELECT seq, at, product, name, kind, body FROM event WHERE seq > ?1 \
                 ORDER BY seq LIMIT ?2";
            let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
            return all(statement.query(params![after, limit]).map_err(refused)?, event_of);
        };
        let sql = "SELECT seq, at, product, name, kind, body FROM event WHERE product = ?1 \
             AND name = ?2 AND seq > ?3 ORDER BY seq LIMIT ?4";
        let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
        let rows = statement.query(params![key.product, key.name, after, limit]);
        all(rows.map_err(refused)?, event_of)
    }

    fn last_event(&self) -> Result<u64, StoreError> {
        let pruned = meta(&self.connection, "pruned event")?.map_or(0, |(number, _)| number);
        let last: Option<u64> = self
            .connection
            .query_row("SELECT max(seq) FROM event", [], |row| row.get(0))
            .map_err(refused)?;
        Ok(last.unwrap_or(0).max(pruned))
    }

    fn counts(&self, prefix: &str) -> Result<BTreeMap<String, i64>, StoreError> {
        let mut statement = self.connection.prepare_cached(COUNTS).map_err(refused)?;
        let Range { low, high } = Range::new(prefix, None);
        let rows = statement.query(params![low, high]).map_err(refused)?;
        Ok(all(rows, |row| Ok((get(row, 0)?, get(row, 1)?)))?.into_iter().collect())
    }

    fn check_counts(
        &self,
        prefix: &str,
        counting: &mut Counting<'_>,
    ) -> Result<Vec<CountFault>, StoreError> {
        // Rows and counts of the same moment.
        let moment = self.connection.unchecked_transaction().map_err(refused)?;
        let mut counted = BTreeMap::new();
        each_device(&moment, &mut |row| {
            counting(row, &mut |name, number| {
                let count = counted.entry(name.to_owned()).or_insert(0_i64);
                *count = count.saturating_add(number);
            });
            Ok(())
        })?;
        Ok(compare_counts(prefix, self.counts(prefix)?, counted))
    }

    fn secret(&self, id: &SecretId) -> Result<Option<Sealed>, StoreError> {
        let sql = "SELECT key, nonce, bytes FROM secret \
             WHERE table_name = ?1 AND column_name = ?2 AND row = ?3";
        let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
        let rows = statement.query([&id.table, &id.column, &id.row]).map_err(refused)?;
        one(rows, |row| sealed_of(row, 0))
    }

    fn secret_keys(&self) -> Result<Vec<KeyId>, StoreError> {
        // One step of the index for each key: DISTINCT would read all of it.
        let sql = "SELECT min(key) FROM secret WHERE key > ?1";
        let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
        let (mut keys, mut last) = (Vec::new(), i64::MIN);
        loop {
            let next: Option<i64> =
                statement.query_row([last], |row| row.get(0)).map_err(refused)?;
            let Some(next) = next else { return Ok(keys) };
            last = next;
            let key = u64::try_from(next).map_err(|_| corrupt("a key without an id"))?;
            keys.push(KeyId::new(key));
        }
    }

    fn secrets_not_under(
        &self,
        key: KeyId,
        limit: usize,
    ) -> Result<Vec<(SecretId, Sealed)>, StoreError> {
        // In order of names. A rotation empties this from the front, so the search stays short.
        let sql = "SELECT table_name, column_name, row, key, nonce, bytes FROM secret \
             WHERE key != ?1 ORDER BY table_name, column_name, row LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
        let key = i64::try_from(key.number()).unwrap_or(i64::MAX);
        let rows = statement.query(params![key, limit.min(MAX_EACH)]).map_err(refused)?;
        all(rows, |row| {
            let id = SecretId { table: get(row, 0)?, column: get(row, 1)?, row: get(row, 2)? };
            Ok((id, sealed_of(row, 3)?))
        })
    }

    fn audit(&self, after: u64, limit: usize) -> Result<Vec<AuditLine>, StoreError> {
        let sql = "SELECT seq, at, body, key, link FROM audit WHERE seq > ?1 ORDER BY seq LIMIT ?2";
        let mut statement = self.connection.prepare_cached(sql).map_err(refused)?;
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        all(statement.query(params![after, limit.min(MAX_EACH)]).map_err(refused)?, line_of)
    }

    fn audit_anchor(&self) -> Result<(u64, Link), StoreError> {
        let Some((seq, bytes)) = meta(&self.connection, "pruned audit")? else {
            return Ok((0, Link::default()));
        };
        let link = bytes.try_into().map_err(|_| corrupt("a link that is not 32 bytes"))?;
        Ok((seq, link))
    }

    fn master_key(&self) -> Result<Option<KeyId>, StoreError> {
        Ok(meta(&self.connection, "master key")?.map(|(number, _)| KeyId::new(number)))
    }
}
