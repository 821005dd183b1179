//! Updates of one device.

use ota_cloud::api::{NewUpdate, Op, Problem, TaskFilter, TaskView};
use ota_cloud::{Device, Task, TaskId};
use ota_store::{Filter, Query};
use serde_json::{Value, json};

use super::reply::Reply;
use super::{Api, Asked, Failed, audit, once};
use crate::cycle::{CommandError, Input, Rider};
use crate::hub::Hub;

pub(super) async fn start(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let (target, options) = NewUpdate::read(&asked.body)?;
    let input = Input::Start { target, options };
    let task = api.ask(move |hub, _| tell(hub, &asked, input)).await?;
    Ok(Reply::json(201, &task))
}

pub(super) async fn act(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let task: TaskId = asked.call.name("task").parse().map_err(Problem::from)?;
    let input = match asked.call.operation().op {
        Op::Cancel => Input::Cancel(task),
        Op::Retry => Input::Retry(task),
        Op::Confirm => Input::Confirm(task),
        _ => Input::Push(task),
    };
    let task = api.ask(move |hub, _| tell(hub, &asked, input)).await?;
    Ok(Reply::json(200, &task))
}

/// The most rows read for one page. A filter that few rows match may end with `next` early.
const MOST_PAGES: usize = 10;
const PAGE: usize = 100;

pub(super) async fn list(api: &Api, asked: Asked) -> Result<Reply, Problem> {
    let filter = TaskFilter::read(&asked.query)?;
    let (limit, mut after) = (asked.query.limit()?, asked.query.after()?);
    let devices = Filter {
        task: filter.status.map(|status| Some(status.number())),
        prefix: filter.prefix.clone(),
        ..Filter::product(asked.grant.product())
    };
    let (mut tasks, mut pages) = (Vec::new(), 0_usize);
    // One page at a time, in turn with other long reads.
    let next = loop {
        let query = Query { filter: devices.clone(), after, limit: PAGE };
        let page = api.walk(move |read| read.list(&query)).await?;
        for row in page.rows {
            let Ok(device) = Device::from_bytes(&row.state) else { continue };
            let Some(task) = device.task.as_ref().filter(|task| filter.lets(task)) else {
                continue;
            };
            tasks.push(shown(&row.key.name, task));
            if tasks.len() == limit {
                return Ok(page_of(&tasks, Some(&row.key.name)));
            }
        }
        (after, pages) = (page.next, pages.saturating_add(1));
        if after.is_none() || pages == MOST_PAGES {
            break after;
        }
    };
    Ok(page_of(&tasks, next.as_deref()))
}

fn page_of(tasks: &[Value], next: Option<&str>) -> Reply {
    Reply::json(200, &json!({ "tasks": tasks, "next": next }))
}

fn shown(device: &str, task: &Task) -> Value {
    let mut shown = json!(TaskView::new(task));
    if let Value::Object(fields) = &mut shown {
        fields.insert("device".into(), device.into());
    }
    shown
}

/// Passes an input to a device, and returns its task.
fn tell(hub: &mut Hub, asked: &Asked, input: Input) -> Result<Value, Failed> {
    let (now, name) = (hub.now(), asked.call.name("name"));
    let device = asked.grant.device(name)?;
    let mut rider = Rider::default();
    rider.audit.push(audit(now, asked, name));
    once::mount(hub, asked, &mut rider, None)?;
    let outcome = hub.cloud.turn_with(now, &[(device.clone(), input)], rider)?;
    if let Some(Err(why)) = outcome.answers.first() {
        let why = CommandError::Refused(why.clone());
        hub.registered(outcome);
        return Err(why.into());
    }
    hub.registered(outcome);
    let task = once::task(hub, &device)?;
    once::after(hub, asked, &task);
    Ok(task)
}
