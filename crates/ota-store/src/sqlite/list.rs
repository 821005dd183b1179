//! Pages of devices: the query follows one index and checks the other filters for each row.

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::columns::{COLUMNS, device_of};
use super::fault::refused;
use super::range::Range;
use crate::error::StoreError;
use crate::store::{Filter, MAX_PAGE, Page, Query, VersionFilter};

/// A statement and its parameters.
struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    /// Adds a parameter and returns its name.
    fn add(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("?{}", self.values.len())
    }
}

pub(super) fn page(connection: &Connection, query: &Query) -> Result<Page, StoreError> {
    let limit = query.limit.clamp(1, MAX_PAGE);
    let mut sql = filtered(COLUMNS, &query.filter, query.after.as_deref());
    // One extra row shows whether there is a next page.
    let most = sql.add(limit.saturating_add(1) as i64);
    sql.text.push_str(&format!(" ORDER BY s.name LIMIT {most}"));
    let mut statement = connection.prepare_cached(&sql.text).map_err(refused)?;
    let mut found = statement.query(params_from_iter(sql.values)).map_err(refused)?;
    let mut rows = Vec::new();
    while let Some(row) = found.next().map_err(refused)? {
        if rows.len() == limit {
            let next = rows.last().map(|row: &crate::row::DeviceRow| row.key.name.clone());
            return Ok(Page { rows, next });
        }
        rows.push(device_of(row)?);
    }
    Ok(Page { rows, next: None })
}

pub(super) fn count(connection: &Connection, filter: &Filter, cap: u64) -> Result<u64, StoreError> {
    let mut sql = filtered("1", filter, None);
    let most = sql.add(i64::try_from(cap).unwrap_or(i64::MAX));
    let text = format!("SELECT count(*) FROM ({} LIMIT {most})", sql.text);
    let mut statement = connection.prepare_cached(&text).map_err(refused)?;
    statement.query_row(params_from_iter(sql.values), |row| row.get(0)).map_err(refused)
}

/// `s` is the table with the index, `d` the device. `CROSS JOIN` keeps this order.
fn filtered(columns: &str, filter: &Filter, after: Option<&str>) -> Sql {
    let mut sql = Sql { text: String::new(), values: Vec::new() };
    let product = sql.add(filter.product.clone());
    let mut holds = vec![format!("s.product = {product}")];
    let mut from = None;
    if let Some(version) = &filter.version {
        let (module, version) = match version {
            VersionFilter::Is { module, version } => (module.clone(), version.clone()),
            VersionFilter::Unreported => (String::new(), String::new()),
        };
        let (module, version) = (sql.add(module), sql.add(version));
        holds.push(format!("s.module = {module} AND s.version = {version}"));
        from = Some("device_version s");
    }
    if let Some((tag, value)) = &filter.tag {
        let (tag, value) = (sql.add(tag.clone()), sql.add(value.clone()));
        if from.is_none() {
            holds.push(format!("s.tag = {tag} AND s.value = {value}"));
            from = Some("device_tag s");
        } else {
            holds.push(format!(
                "EXISTS (SELECT 1 FROM device_tag t WHERE t.product = {product} \
                 AND t.tag = {tag} AND t.value = {value} AND t.name = s.name)"
            ));
        }
    }
    let joined = from.is_some();
    if let Some(task) = filter.task {
        let task = sql.add(task.map_or(Value::Null, |task| Value::from(i64::from(task))));
        holds.push(format!("{}.task IS {task}", if joined { "d" } else { "s" }));
    }
    let Range { low, high } = Range::new(&filter.prefix, after);
    let (low, high) = (sql.add(low), sql.add(high));
    holds.push(format!("s.name >= {low} AND s.name < {high}"));
    let from = match from {
        Some(table) => {
            format!("{table} CROSS JOIN device d ON d.product = s.product AND d.name = s.name")
        }
        None if filter.task.is_some() => "device s INDEXED BY device_task".to_owned(),
        None => "device s INDEXED BY device_key".to_owned(),
    };
    let columns = if joined { columns.to_owned() } else { columns.replace("d.", "s.") };
    sql.text = format!("SELECT {columns} FROM {from} WHERE {}", holds.join(" AND "));
    sql
}

#[cfg(test)]
pub(super) fn text(filter: &Filter) -> (String, Vec<Value>) {
    let sql = filtered(COLUMNS, filter, Some("x"));
    (format!("{} ORDER BY s.name", sql.text), sql.values)
}
