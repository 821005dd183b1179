//! The columns of rows.

use std::collections::BTreeMap;

use rusqlite::Row;
use rusqlite::types::FromSql;

use super::fault::{corrupt, refused};
use crate::error::StoreError;
use crate::row::{DeviceKey, DeviceRow};

/// The columns of a device, in the order of [`device_of`].
pub(super) const COLUMNS: &str =
    "d.product, d.name, d.rev, d.wake, d.task, d.disabled, d.versions, d.tags, d.state";

pub(super) fn texts(json: &str) -> Result<BTreeMap<String, String>, StoreError> {
    serde_json::from_str(json).map_err(|_| corrupt("versions or tags that are not JSON"))
}

pub(super) fn get<T: FromSql>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    row.get(column).map_err(refused)
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, StoreError> {
    let value = row.get_ref(column).map_err(refused)?;
    value.as_str().map_err(|_| corrupt("bytes where a text belongs"))
}

pub(super) fn device_of(row: &Row<'_>) -> Result<DeviceRow, StoreError> {
    Ok(DeviceRow {
        key: DeviceKey { product: get(row, 0)?, name: get(row, 1)? },
        rev: get(row, 2)?,
        wake: get(row, 3)?,
        task: get(row, 4)?,
        disabled: get(row, 5)?,
        versions: texts(text(row, 6)?)?,
        tags: texts(text(row, 7)?)?,
        state: get(row, 8)?,
    })
}
