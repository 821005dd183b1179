//! A commit: checks all revisions first, then writes everything.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::columns::texts;
use super::fault::{corrupt, refused};
use super::read::searched_versions;
use crate::chain::{self, AuditKey};
use crate::commit::{self, Commit, SecretWrite};
use crate::error::{Conflict, StoreError};
use crate::row::{DeviceKey, DeviceRow, Item, Kind, Link};

/// The numbers of events and audit.
pub(super) struct Numbers {
    pub(super) last_event: u64,
    pub(super) head: (u64, Link),
}

/// The stored device: enough to change it and its search keys.
struct Stored {
    id: i64,
    rev: u64,
    versions: String,
    tags: String,
}

pub(super) fn run(
    connection: &mut Connection,
    commit: &Commit,
    numbers: Numbers,
    key: Option<&AuditKey>,
) -> Result<Numbers, StoreError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(refused)?;
    let mut conflict = Conflict::default();
    let put = commit.devices.iter().map(|row| (&row.key, row.rev));
    let gone = commit.gone_devices.iter().map(|(key, rev)| (key, *rev));
    let mut stored = Vec::with_capacity(commit.devices.len());
    for (key, rev) in put.chain(gone) {
        let found = find(&transaction, key)?;
        if found.as_ref().map_or(0, |stored| stored.rev) != rev {
            conflict.devices.push(key.clone());
        }
        stored.push(found);
    }
    let put = commit.items.iter().map(|item| (item.kind, &item.id, item.rev));
    let gone = commit.gone_items.iter().map(|(kind, id, rev)| (*kind, id, *rev));
    for (kind, id, rev) in put.chain(gone) {
        if item_rev(&transaction, kind, id)? != rev {
            conflict.items.push((kind, id.clone()));
        }
    }
    if !conflict.is_empty() {
        return Err(StoreError::Conflict(conflict));
    }
    let (put, gone) = stored.split_at(commit.devices.len().min(stored.len()));
    put_counts(&transaction, &commit.counts)?;
    for (row, stored) in commit.devices.iter().zip(put) {
        put_device(&transaction, row, stored.as_ref())?;
    }
    for ((key, _), stored) in commit.gone_devices.iter().zip(gone) {
        remove_device(&transaction, key, stored.as_ref())?;
    }
    for item in &commit.items {
        put_item(&transaction, item)?;
    }
    for (kind, id, _) in &commit.gone_items {
        execute(&transaction, "DELETE FROM item WHERE kind = ?1 AND id = ?2", params![kind.0, id])?;
    }
    put_secrets(&transaction, &commit.secrets)?;
    let numbers = append(&transaction, commit, numbers, key)?;
    transaction.commit().map_err(refused)?;
    Ok(numbers)
}

fn execute(
    transaction: &Transaction<'_>,
    sql: &str,
    values: impl rusqlite::Params,
) -> Result<usize, StoreError> {
    transaction.prepare_cached(sql).and_then(|mut s| s.execute(values)).map_err(refused)
}

fn find(transaction: &Transaction<'_>, key: &DeviceKey) -> Result<Option<Stored>, StoreError> {
    let sql = "SELECT id, rev, versions, tags FROM device WHERE product = ?1 AND name = ?2";
    let mut statement = transaction.prepare_cached(sql).map_err(refused)?;
    let row = statement.query_row([&key.product, &key.name], |row| {
        Ok(Stored { id: row.get(0)?, rev: row.get(1)?, versions: row.get(2)?, tags: row.get(3)? })
    });
    row.optional().map_err(refused)
}

fn item_rev(transaction: &Transaction<'_>, kind: Kind, id: &str) -> Result<u64, StoreError> {
    let sql = "SELECT rev FROM item WHERE kind = ?1 AND id = ?2";
    let mut statement = transaction.prepare_cached(sql).map_err(refused)?;
    let row = statement.query_row(params![kind.0, id], |row| row.get(0));
    Ok(row.optional().map_err(refused)?.unwrap_or(0))
}

fn json(texts: &BTreeMap<String, String>) -> Result<String, StoreError> {
    serde_json::to_string(texts).map_err(|why| StoreError::Invalid { what: why.to_string() })
}

fn put_device(
    transaction: &Transaction<'_>,
    row: &DeviceRow,
    stored: Option<&Stored>,
) -> Result<(), StoreError> {
    let (versions, tags) = (json(&row.versions)?, json(&row.tags)?);
    let key = &row.key;
    if let Some(stored) = stored {
        let changed = execute(
            transaction,
            "UPDATE device SET rev = rev + 1, wake = ?3, task = ?4, disabled = ?5, versions = ?6, \
             tags = ?7, state = ?8 WHERE id = ?1 AND rev = ?2",
            params![
                stored.id,
                row.rev,
                row.wake,
                row.task,
                row.disabled,
                versions,
                tags,
                row.state
            ],
        )?;
        if changed != 1 {
            return Err(corrupt("a device that changed within a transaction"));
        }
    } else {
        execute(
            transaction,
            "INSERT INTO device (product, name, rev, wake, task, disabled, versions, tags, state) \
             VALUES (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                key.product,
                key.name,
                row.wake,
                row.task,
                row.disabled,
                versions,
                tags,
                row.state
            ],
        )?;
    }
    if stored.is_none_or(|stored| stored.versions != versions) {
        let old = stored.map(|stored| texts(&stored.versions)).transpose()?;
        let before = old.as_ref().map(searched_versions).into_iter().flatten();
        search_by(transaction, &VERSION, key, before, searched_versions(&row.versions))?;
    }
    if stored.is_none_or(|stored| stored.tags != tags) {
        let old = stored.map(|stored| texts(&stored.tags)).transpose()?;
        search_by(transaction, &TAG, key, pairs(old.as_ref()), pairs(Some(&row.tags)))?;
    }
    Ok(())
}

fn remove_device(
    transaction: &Transaction<'_>,
    key: &DeviceKey,
    stored: Option<&Stored>,
) -> Result<(), StoreError> {
    let Some(stored) = stored else { return Ok(()) };
    let versions = texts(&stored.versions)?;
    let tags = texts(&stored.tags)?;
    search_by(transaction, &VERSION, key, searched_versions(&versions), [].into_iter())?;
    search_by(transaction, &TAG, key, pairs(Some(&tags)), [].into_iter())?;
    execute(transaction, "DELETE FROM device WHERE id = ?1", [stored.id])?;
    Ok(())
}

/// The statements of a search table: insert, delete.
struct Searched([&'static str; 2]);

const VERSION: Searched = Searched([
    "INSERT INTO device_version (product, name, module, version) VALUES (?1, ?2, ?3, ?4)",
    "DELETE FROM device_version WHERE product = ?1 AND name = ?2 AND module = ?3 AND version = ?4",
]);
const TAG: Searched = Searched([
    "INSERT INTO device_tag (product, name, tag, value) VALUES (?1, ?2, ?3, ?4)",
    "DELETE FROM device_tag WHERE product = ?1 AND name = ?2 AND tag = ?3 AND value = ?4",
]);

fn pairs(texts: Option<&BTreeMap<String, String>>) -> impl Iterator<Item = (&str, &str)> {
    texts.into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()))
}

fn search_by<'a>(
    transaction: &Transaction<'_>,
    Searched([insert, delete]): &Searched,
    key: &DeviceKey,
    before: impl Iterator<Item = (&'a str, &'a str)>,
    after: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), StoreError> {
    let before: BTreeMap<_, _> = before.collect();
    let after: BTreeMap<_, _> = after.collect();
    for (first, second) in before.iter().filter(|(name, old)| after.get(*name) != Some(*old)) {
        execute(transaction, delete, [&key.product, &key.name, *first, *second])?;
    }
    for (first, second) in after.iter().filter(|(name, new)| before.get(*name) != Some(*new)) {
        execute(transaction, insert, [&key.product, &key.name, *first, *second])?;
    }
    Ok(())
}

fn put_item(transaction: &Transaction<'_>, item: &Item) -> Result<(), StoreError> {
    execute(
        transaction,
        "INSERT INTO item (kind, id, rev, wake, body) VALUES (?1, ?2, 1, ?3, ?4) \
         ON CONFLICT (kind, id) \
         DO UPDATE SET rev = rev + 1, wake = excluded.wake, body = excluded.body",
        params![item.kind.0, item.id, item.wake, item.body],
    )?;
    Ok(())
}

fn put_counts(
    transaction: &Transaction<'_>,
    counts: &BTreeMap<String, i64>,
) -> Result<(), StoreError> {
    for (name, difference) in counts {
        let sql = "SELECT number FROM count WHERE name = ?1";
        let mut statement = transaction.prepare_cached(sql).map_err(refused)?;
        let stored = statement.query_row([name], |row| row.get(0)).optional().map_err(refused)?;
        let number = commit::add(name, stored.unwrap_or(0), *difference)?;
        if number == 0 {
            execute(transaction, "DELETE FROM count WHERE name = ?1", [name])?;
        } else {
            execute(
                transaction,
                "INSERT INTO count (name, number) VALUES (?1, ?2) \
                 ON CONFLICT (name) DO UPDATE SET number = excluded.number",
                params![name, number],
            )?;
        }
    }
    Ok(())
}

fn put_secrets(transaction: &Transaction<'_>, secrets: &[SecretWrite]) -> Result<(), StoreError> {
    for write in secrets {
        match write {
            SecretWrite::Put(id, sealed) => execute(
                transaction,
                "INSERT INTO secret (table_name, column_name, row, key, nonce, bytes) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (table_name, column_name, row) \
                 DO UPDATE SET key = excluded.key, nonce = excluded.nonce, bytes = excluded.bytes",
                params![
                    id.table,
                    id.column,
                    id.row,
                    sealed.key.number(),
                    sealed.nonce,
                    sealed.bytes
                ],
            ),
            SecretWrite::Remove(id) => execute(
                transaction,
                "DELETE FROM secret WHERE table_name = ?1 AND column_name = ?2 AND row = ?3",
                [&id.table, &id.column, &id.row],
            ),
        }?;
    }
    Ok(())
}

/// Numbers the events and audit lines.
fn append(
    transaction: &Transaction<'_>,
    commit: &Commit,
    mut numbers: Numbers,
    key: Option<&AuditKey>,
) -> Result<Numbers, StoreError> {
    for event in &commit.events {
        numbers.last_event = numbers.last_event.saturating_add(1);
        execute(
            transaction,
            "INSERT INTO event (seq, at, product, name, kind, body) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                numbers.last_event,
                event.at,
                event.product,
                event.name,
                event.kind,
                event.body
            ],
        )?;
    }
    let Some(key) = key else { return Ok(numbers) };
    for what in &commit.audit {
        let line = chain::next(key, numbers.head, what);
        execute(
            transaction,
            "INSERT INTO audit (seq, at, body, key, link) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![line.seq, what.at, what.body, line.key.number(), line.link],
        )?;
        numbers.head = (line.seq, line.link);
    }
    Ok(numbers)
}
