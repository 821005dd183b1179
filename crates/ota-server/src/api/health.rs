//! Whether the service lives and is ready, and its metrics, beside the API's own calls.

use std::collections::BTreeMap;
use std::time::Duration;

use ota_cloud::device::Status;
use ota_store::{Commit, Store as _};
use tokio::time::{Instant, timeout};

use super::*;
use crate::cycle;
use crate::disk::Disk;
use crate::exposition::{CONTENT_TYPE, Text};

/// How long the loop may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// A commit in this time shows that the store works.
const FRESH: Duration = Duration::from_secs(10);
/// The least time between two looks at the loop, however often they are asked for: they need no
/// key.
const PAUSE: Duration = Duration::from_secs(1);

/// What was found last.
#[derive(Default)]
pub(super) struct Found {
    /// Whether the loop turned, and when it was asked.
    turns: tokio::sync::Mutex<Option<(Instant, bool)>>,
    /// When a commit was tried.
    tried: tokio::sync::Mutex<Option<Instant>>,
}

/// Answers `/healthz`, `/readyz` and `/metrics`; gives other requests back.
pub(super) async fn answer(
    api: &Api,
    peer: SocketAddr,
    request: Request,
    id: &str,
) -> Result<Response, Request> {
    let path = match request.uri().path() {
        "/healthz" => "/healthz",
        "/readyz" => "/readyz",
        "/metrics" => "/metrics",
        _ => return Err(request),
    };
    let (head, _) = request.into_parts();
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let problem = Problem::new(Code::BadMethod, "the path does not take this method");
        return Ok(Reply::problem(&problem).into_response());
    }
    let reply = match path {
        "/healthz" => health(api.turns().await),
        "/readyz" => ready(&api.trouble().await),
        _ => {
            let (key, reply) = metrics(api, peer, &head.headers).await;
            let reply = reply.unwrap_or_else(|problem| Reply::problem(&problem));
            let (method, status, request) = ("GET", reply.status(), id.to_owned());
            api.0.journal.write(None, What::Called { peer, key, method, path, status, request });
            reply
        }
    };
    Ok(reply.into_response())
}

fn health(turns: bool) -> Reply {
    Reply::json(if turns { 200 } else { 503 }, &json!({ "alive": turns }))
}

fn ready(trouble: &[String]) -> Reply {
    let is = trouble.is_empty();
    Reply::json(if is { 200 } else { 503 }, &json!({ "ready": is, "why": trouble }))
}

impl Api {
    /// Whether the loop takes its turns.
    async fn turns(&self) -> bool {
        let mut found = self.0.found.turns.lock().await;
        if let Some((at, turns)) = *found
            && at.elapsed() < PAUSE
        {
            return turns;
        }
        let asked = timeout(PATIENCE, self.0.handle.ask(|_, _| ())).await;
        let turns = matches!(asked, Ok(Ok(())));
        *found = Some((Instant::now(), turns));
        turns
    }

    /// Why the service is not ready, in words without secrets and paths.
    async fn trouble(&self) -> Vec<String> {
        let vitals = &self.0.journal.vitals;
        let mut why = vitals.down();
        if !self.commits().await {
            why.push("the loop does not answer".to_owned());
        }
        if let Some(store) = vitals.store_trouble() {
            why.push(format!("the store refuses: {store}"));
        }
        why
    }

    /// Makes sure that the store was used lately: an idle cloud would not notice a full disk, and
    /// one whose disk has room again would stay not ready. Returns whether the loop answers.
    async fn commits(&self) -> bool {
        let mut tried = self.0.found.tried.lock().await;
        let (now, vitals) = (self.0.journal.clock.now(), &self.0.journal.vitals);
        let fresh = vitals.since_commit(now).is_some_and(|since| since < FRESH);
        if fresh && vitals.store_trouble().is_none()
            || tried.is_some_and(|tried| tried.elapsed() < PAUSE)
        {
            drop(tried);
            return self.turns().await;
        }
        *tried = Some(Instant::now());
        let commit = self.0.handle.ask(|hub, _| {
            let counts = BTreeMap::from([(PROBES.to_owned(), 1)]);
            // The result is in the vitals.
            let _ = hub.cloud.store_mut().commit(&Commit { counts, ..Commit::default() });
        });
        matches!(timeout(PATIENCE, commit).await, Ok(Ok(())))
    }
}

/// The count of commits that only showed that the store works.
const PROBES: &str = "probes";

/// The metrics, for a key that may read all products. Returns the id of the key, too.
async fn metrics(
    api: &Api,
    peer: SocketAddr,
    headers: &HeaderMap,
) -> (String, Result<Reply, Problem>) {
    let key = if api.0.open_metrics { Ok(String::new()) } else { may(api, peer, headers) };
    match key {
        Ok(key) => (key, gather(api).await.map(|text| Reply::text(CONTENT_TYPE, text))),
        Err(problem) => (String::new(), Err(problem)),
    }
}

fn may(api: &Api, peer: SocketAddr, headers: &HeaderMap) -> Result<String, Problem> {
    let (_, caller) = api.caller(peer, headers)?;
    if !caller.sees_all() {
        return Err(Problem::new(Code::Forbidden, "this needs a key for all products"));
    }
    Ok(caller.id().to_owned())
}

async fn gather(api: &Api) -> Result<String, Problem> {
    let mut text = Text::default();
    text.family("ota_build_info", "gauge", "The version of the service.");
    text.sample("ota_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let began = api.0.journal.clock.unix_at_zero().as_secs_f64();
    text.one("ota_start_time_seconds", "gauge", "When the service began, since 1970.", began);
    let vitals = &api.0.journal.vitals;
    vitals.write(&mut text);
    let inputs = &api.0.handle.inputs;
    text.family("ota_queue_length", "gauge", "What waits: for the loop, or for the broker.");
    let waits = inputs.max_capacity().saturating_sub(inputs.capacity());
    text.sample("ota_queue_length", &[("queue", "loop")], waits);
    text.sample("ota_queue_length", &[("queue", "broker")], vitals.held.get());
    let (counts, last) = api.read(|read| Ok((read.counts("")?, read.last_event()?))).await?;
    fleet(&mut text, &counts, last);
    if let Some(data) = &api.0.data {
        let (data, images) =
            (data.clone(), api.0.handle.folder.as_ref().map(ota_store::Images::bytes));
        let disk = tokio::task::spawn_blocking(move || Disk::read(&data));
        text.one("ota_images_bytes", "gauge", "Size of stored images.", images.unwrap_or(0));
        if let Ok(Some(disk)) = disk.await {
            let help = "Size of the database with its log.";
            text.one("ota_store_bytes", "gauge", help, disk.store);
            text.one("ota_disk_bytes", "gauge", "Size of the data folder's disk.", disk.all);
            let help = "Free bytes of it that the service may use.";
            text.one("ota_disk_free_bytes", "gauge", help, disk.free);
        }
    }
    Ok(text.into_string())
}

/// The devices and their tasks, over all products.
fn fleet(text: &mut Text, counts: &BTreeMap<String, i64>, last: u64) {
    text.one("ota_devices", "gauge", "Devices that are known.", cycle::devices_of(counts));
    let mut tasks: BTreeMap<u8, i64> = BTreeMap::new();
    for (name, count) in counts {
        let Some((_, status)) = name.split_once("/task/") else { continue };
        let Ok(status) = status.parse() else { continue };
        let all: &mut i64 = tasks.entry(status).or_default();
        *all = all.saturating_add(*count);
    }
    text.family("ota_tasks", "gauge", "Open and last tasks of devices, by status.");
    for status in Status::ALL {
        let count = tasks.get(&status.number()).copied().unwrap_or(0);
        text.sample("ota_tasks", &[("status", &status.word().replace(' ', "-"))], count);
    }
    text.one("ota_events_total", "counter", "Events in the journal, with removed ones.", last);
}
