//! Updates of one device.

use ota_cloud::TaskId;
use ota_cloud::api::{NewUpdate, Op, Problem};
use serde_json::Value;

use super::devices::seen;
use super::reply::Reply;
use super::{Api, Asked, Failed, audit};
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

/// Gives a device an input, and shows its task.
fn tell(hub: &mut Hub, asked: &Asked, input: Input) -> Result<Value, Failed> {
    let (now, name) = (hub.now(), asked.call.name("name"));
    let device = asked.grant.device(name)?;
    let mut rider = Rider::default();
    rider.audit.push(audit(now, asked, name));
    let outcome = hub.cloud.turn_with(now, &[(device.clone(), input)], rider)?;
    if let Some(Err(why)) = outcome.answers.first() {
        let why = CommandError::Refused(why.clone());
        hub.registered(outcome);
        return Err(why.into());
    }
    hub.registered(outcome);
    Ok(seen(hub, &device)?.get("task").cloned().unwrap_or_default())
}
