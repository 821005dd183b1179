//! Batches under `/api/v1`.

use std::collections::BTreeMap;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use ota_cloud::api::{
    BatchChange, BatchDeviceView, BatchProgress, BatchView, Choice, CloneBatch, Code, NewBatch, Op,
    Problem,
};
use ota_cloud::batch::{Batch, BatchStatus};
use ota_cloud::campaign::CampaignPlan;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{Act, Walk, act_on, add, all_known, find, note, target};
use crate::api::devices::filter_of;
use crate::api::reply::Reply;
use crate::api::{Api, Asked, Failed, audit, once};
use crate::cycle::Rider;
use crate::pieces::Pieces;

/// Devices of a piece of results.
const ROWS: usize = 500;

/// The batch of a request with its devices, which nothing stores yet.
pub(super) async fn planned(api: &Api, asked: &Asked) -> Result<Batch, Problem> {
    let product = asked.grant.product();
    let now = api.0.journal.clock.unix_micros();
    let (mut batch, choice, plan) = NewBatch::read(product, &asked.body, now)?;
    // What it is for costs less than whom.
    let wanted = batch.clone();
    api.ask(move |hub, _| Ok(target(&hub.cloud, &wanted)?)).await?;
    match choice {
        Choice::Matching(filters) => {
            let filters = filters.into_iter().map(|filter| filter_of(product, filter));
            batch.wait_for(walk_of(api, asked)?.matching(filters).await?)?;
        }
        Choice::Names(names) => {
            batch.wait_for(names)?;
            all_known(api, &asked.grant, &batch.waiting).await?;
        }
        // A choice of a later ota-cloud.
        _ => {}
    }
    arrange(api, asked, &mut batch, plan).await?;
    Ok(batch)
}

/// Gives the devices of a batch to the waves of a plan.
async fn arrange(
    api: &Api,
    asked: &Asked,
    batch: &mut Batch,
    plan: CampaignPlan,
) -> Result<(), Problem> {
    let tags = if plan.needs_tags() {
        walk_of(api, asked)?.tags(&batch.product, &batch.waiting).await?
    } else {
        BTreeMap::new()
    };
    batch.arrange(plan, &tags)
}

pub(in crate::api) async fn start(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let batch = planned(api, &asked).await?;
    begin(api, asked, batch).await
}

/// Begins a batch once more.
pub(in crate::api) async fn again(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let change = CloneBatch::read(&asked.body)?;
    let mut walk = walk_of(api, &asked)?;
    let old = named(api, &asked).await?;
    let devices = walk.entries(&old, 0..old.all, |_| true).await?;
    let names = devices.into_iter().map(|(at, entry)| (at, entry.name));
    let known = walk.known(names.collect()).await?;
    drop(walk);
    let (mut batch, plan) = old.again(known)?;
    change.change(&mut batch);
    arrange(api, &asked, &mut batch, plan).await?;
    begin(api, asked, batch).await
}

async fn begin(api: &Api, asked: Asked, mut batch: Batch) -> Result<Reply, Problem> {
    let shown = api
        .ask(move |hub, _| {
            let now = hub.now();
            target(&hub.cloud, &batch)?;
            let mut rider = Rider::default();
            add(hub, now, &mut batch, &mut rider)?;
            rider.audit.push(audit(now, &asked, &format!("batch {}", batch.number)));
            let shown = json!(BatchView::new(&batch));
            once::mount(hub, &asked, &mut rider, Some(&shown))?;
            hub.cloud.put_rider(rider)?;
            batch.refused.clear();
            note(hub, now, &batch)?;
            Ok(shown)
        })
        .await?;
    Ok(Reply::json(201, &shown))
}

pub(in crate::api) async fn list(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let (limit, after) = (asked.query.limit()?, asked.query.number("after")?);
    let mut walk = walk_of(api, &asked)?;
    if let Some(after) = after {
        walk.behind(u32::try_from(after).unwrap_or(u32::MAX));
    }
    // Of each only what is shown: its devices are many.
    let mut shown: Vec<(u32, Value)> = Vec::new();
    while shown.len() <= limit {
        let piece = walk.batches().await?;
        if piece.is_empty() {
            break;
        }
        shown.extend(piece.iter().map(|batch| (batch.number, json!(BatchView::new(batch)))));
    }
    let more = shown.len() > limit;
    shown.truncate(limit);
    let next = shown.last().filter(|_| more).map(|(last, _)| *last);
    let views: Vec<Value> = shown.into_iter().map(|(_, view)| view).collect();
    Ok(Reply::json(200, &json!({ "batches": views, "next": next })))
}

pub(in crate::api) async fn show(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let mut walk = walk_of(api, &asked)?;
    let batch = named(api, &asked).await?;
    let now = api.0.journal.clock.unix_micros();
    // The counts are read last: when all devices of a batch have ended, so have its waves.
    let shown = if batch.is_large() {
        let reasons = walk.reasons(&batch).await?;
        let tallies = walk.tallies(&batch).await?;
        json!(BatchProgress::large(&batch, reasons, &tallies, now))
    } else {
        let lines = walk.all(&batch).await?;
        let tallies = walk.tallies(&batch).await?;
        json!(BatchProgress::new(&batch, &lines, &tallies, now))
    };
    Ok(Reply::json(200, &shown))
}

pub(in crate::api) async fn devices(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let (limit, after) = (asked.query.limit()?, asked.query.number("after")?);
    let from = usize::try_from(after.unwrap_or(0)).unwrap_or(usize::MAX);
    let mut walk = walk_of(api, &asked)?;
    let batch = named(api, &asked).await?;
    let lines = walk.some(&batch, from, limit).await?;
    let end = from.saturating_add(lines.len());
    let views: Vec<BatchDeviceView<'_>> = lines.iter().map(BatchDeviceView::new).collect();
    let next = (end < batch.all).then_some(end);
    Ok(Reply::json(200, &json!({ "devices": views, "next": next })))
}

/// Sends the results of all devices as a table, and reads them meanwhile. It ends early if a row cannot
/// be read, or if the client reads nothing for too long.
pub(in crate::api) async fn results(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let mut walk = walk_of(api, &asked)?;
    let batch = named(api, &asked).await?;
    let file = format!("attachment; filename=\"batch-{}-{}.csv\"", batch.product, batch.number);
    let (pieces, come) = mpsc::channel(1);
    let patience = api.patience();
    tokio::spawn(async move {
        let mut piece = Ok(Bytes::from_static(BatchDeviceView::HEADING.as_bytes()));
        let mut from = 0;
        loop {
            let is_bad = piece.is_err();
            let sent = timeout(patience, pieces.send(piece)).await;
            if is_bad || !matches!(sent, Ok(Ok(()))) || from >= batch.all {
                return;
            }
            walk.renew();
            let lines = walk.some(&batch, from, ROWS).await;
            piece = lines.map_err(std::io::Error::other).map(|lines| {
                let rows = lines.iter().map(|line| BatchDeviceView::new(line).to_csv());
                rows.collect::<String>().into()
            });
            from = from.saturating_add(ROWS);
        }
    });
    let mut response = Response::new(Body::new(Pieces(come)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    if let Ok(file) = HeaderValue::from_str(&file) {
        headers.insert(header::CONTENT_DISPOSITION, file);
    }
    Ok(Reply::whole(response))
}

pub(in crate::api) async fn cancel(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let number = number(&asked)?;
    let mut walk = walk_of(api, &asked)?;
    let batch = named(api, &asked).await?;
    if batch.cancelled {
        return Ok(Reply::json(200, &json!(BatchView::new(&batch))));
    }
    if walk.status(&batch).await? == BatchStatus::Finished {
        let what = "the batch is finished: every device of it has ended";
        return Err(Problem::new(Code::WrongState, what));
    }
    let change = BatchChange::read(&asked.body)?;
    let act = Act::Cancel { let_run: change.let_run };
    perform(api, asked, number, act, change.rev).await
}

/// Pauses a batch, resumes it, opens its next wave, or repeats its failed devices.
pub(in crate::api) async fn operate(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let change = BatchChange::read(&asked.body)?;
    let act = match asked.call.operation().op {
        Op::PauseBatch => Act::Pause,
        Op::ResumeBatch => Act::Resume,
        Op::NextWave => Act::Next,
        _ => Act::Retry,
    };
    let number = number(&asked)?;
    perform(api, asked, number, act, change.rev).await
}

pub(in crate::api) async fn change(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let change = BatchChange::read(&asked.body)?;
    let number = number(&asked)?;
    perform(api, asked, number, Act::Comment(change.comment), change.rev).await
}

async fn perform(
    api: &Api,
    asked: Asked,
    number: u64,
    act: Act,
    rev: Option<u64>,
) -> Result<Reply, Problem> {
    let shown = api
        .ask(move |hub, now| {
            let mut rider = Rider::default();
            rider.audit.push(audit(now, &asked, &format!("batch {number}")));
            let product = asked.grant.product();
            let batch =
                act_on(hub, now, (product, number), (&act, rev), rider, |hub, batch, rider| {
                    let shown = json!(BatchView::new(batch));
                    once::mount(hub, &asked, rider, Some(&shown))
                })?;
            Ok(json!(BatchView::new(&batch)))
        })
        .await?;
    Ok(Reply::json(200, &shown))
}

fn walk_of(api: &Api, asked: &Asked) -> Result<Walk, Problem> {
    Walk::begin(api, asked.grant.caller().id(), asked.grant.product())
}

/// The batch that the path names.
async fn named(api: &Api, asked: &Asked) -> Result<Batch, Problem> {
    let (product, number) = (asked.grant.product().to_owned(), number(asked)?);
    let found = api.walk(move |read| match find(read, &product, number) {
        Ok((batch, _)) => Ok(Ok(batch)),
        Err(Failed::Refused(why)) => Ok(Err(why)),
        Err(Failed::Store(why)) => Err(why),
    });
    found.await?
}

fn number(asked: &Asked) -> Result<u64, Problem> {
    let text = asked.call.name("batch");
    // As it is shown: each batch has one path.
    let number = text.parse().ok().filter(|number: &u64| number.to_string() == text);
    number.ok_or_else(|| Problem::field("batch", "it is a number"))
}
