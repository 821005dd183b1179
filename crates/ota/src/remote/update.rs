//! `ota cloud update` and `ota cloud task …`.

use std::time::Duration;

use serde_json::{Value, json};

use super::device::{path, task as words, time};
use super::watch::Watch;
use super::{Client, part, query, table};
use crate::args::{TaskCommand, Update};
use crate::failure::{Code, Failure};
use crate::print::{clean, out};

/// Updates a device, and waits for its proof if requested.
pub(crate) fn run(args: &Update) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let device = path(&args.device)?;
    let mut body = json!({ "version": args.to, "confirm": args.confirm });
    if let (Some(module), Value::Object(fields)) = (&args.module, &mut body) {
        fields.insert("module".into(), module.as_str().into());
    }
    let task = client.post(&format!("{device}/updates"), &body)?;
    let Some(wait) = args.wait else {
        client.show(&task, |task| out(&clean(&words(task))));
        return Ok(());
    };
    super::runtime()?.block_on(watch(&client, &device, &task["id"], wait))
}

async fn watch(client: &Client, device: &str, id: &Value, wait: Duration) -> Result<(), Failure> {
    let mut watch = Watch::new(client, device, wait, "the update")?;
    loop {
        let shown = watch.get().await?;
        let task = &shown["task"];
        if task["id"] != *id {
            return Err(Failure::failed("another task has taken the place of this one"));
        }
        watch.show(task, words(task));
        if !task["proved"].is_null() && task["status"] == "complete" {
            return Ok(());
        }
        // `done` is only a claim of the device, so this waits for its version.
        if !task["ended"].is_null() && task["how"] != "done" {
            let why = task["text"].as_str().filter(|text| !text.is_empty());
            let how = task["how"].as_str().unwrap_or("ended");
            return Err(Failure::failed(format!("{how}: {}", why.unwrap_or("without a reason"))));
        }
        watch.again("not proved in time").await?;
    }
}

fn list(client: &Client, product: &str, filters: &[String]) -> Result<(), Failure> {
    let base = format!("/products/{}/tasks?limit=100{}", part(product), query(filters)?);
    let mut rows = Vec::new();
    client.pages(&base, "tasks", |task| rows.push(row(task)))?;
    if !client.json {
        let heads = ["DEVICE", "MODULE", "TASK", "ATTEMPT", "BEGAN", "THE DEVICE SAID"];
        table::write(&heads, &rows);
    }
    Ok(())
}

fn row(task: &Value) -> Vec<String> {
    let text = |name: &str| task[name].as_str().unwrap_or("-").to_owned();
    let (attempt, began) = (task["attempt"].to_string(), time(&task["began"]));
    vec![text("device"), text("module"), words(task), attempt, began, text("text")]
}

/// Runs a command on the task of a device.
pub(crate) fn act(command: &TaskCommand) -> Result<(), Failure> {
    let (device, remote, act) = match command {
        TaskCommand::List { product, filters, remote } => {
            return list(&Client::new(remote)?, product, filters);
        }
        TaskCommand::Cancel { device, remote } => (device, remote, "cancel"),
        TaskCommand::Retry { device, remote } => (device, remote, "retry"),
        TaskCommand::Confirm { device, remote } => (device, remote, "confirm"),
        TaskCommand::Push { device, remote } => (device, remote, "push"),
    };
    let client = Client::new(remote)?;
    let path = path(device)?;
    let shown = client.get(&path)?;
    let id = shown["task"]["id"].as_str().ok_or_else(|| Failure {
        code: Code::Misuse,
        message: "the device has no task".to_owned(),
    })?;
    let task = client.call(
        "POST",
        &format!("{path}/updates/{}/{act}", part(id)),
        super::Sent::Bytes("application/json", b""),
    )?;
    client.show(&task, |task| out(&clean(&words(task))));
    Ok(())
}
