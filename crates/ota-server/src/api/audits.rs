//! The audit, for admins.

use ota_cloud::api::Problem;
use ota_store::{AuditLine, Read, StoreError};
use serde_json::{Value, json};

use super::reply::Reply;
use super::{Api, Asked};

pub(super) async fn list(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let limit = asked.query.limit()?;
    let before = asked.query.number("before")?;
    let lines = api
        .read(move |read| {
            let end = match before {
                Some(before) => before.saturating_sub(1),
                None => last(read)?,
            };
            let from = end.saturating_sub(limit as u64);
            let lines = read.audit(from, limit)?;
            Ok(lines.into_iter().filter(|line| line.seq <= end).collect::<Vec<_>>())
        })
        .await?;
    let next = lines.first().map(|line| line.seq).filter(|_| lines.len() == limit);
    let shown: Vec<Value> = lines.iter().rev().map(view).collect();
    Ok(Reply::json(200, &json!({ "lines": shown, "next": next })))
}

/// The number of the newest line: numbers have no gaps, so it is found by halving.
fn last(read: &dyn Read) -> Result<u64, StoreError> {
    let (mut there, _) = read.audit_anchor()?;
    let is_there =
        |seq: u64| Ok::<_, StoreError>(!read.audit(seq.saturating_sub(1), 1)?.is_empty());
    let mut step = 1_u64;
    while is_there(there.saturating_add(step))? {
        there = there.saturating_add(step);
        step = step.saturating_mul(2);
    }
    while step > 1 {
        step /= 2;
        if is_there(there.saturating_add(step))? {
            there = there.saturating_add(step);
        }
    }
    Ok(there)
}

fn view(line: &AuditLine) -> Value {
    let body: Value = serde_json::from_slice(&line.what.body).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    json!({
        "seq": line.seq, "at": line.what.at, "key": text("key"), "call": text("call"),
        "product": text("product"), "of": text("of"), "request": text("request"),
        "from": text("from"),
    })
}
