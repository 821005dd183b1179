//! `ota cloud device …`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Client, part, query, split, table};
use crate::args::DeviceCommand;
use crate::day;
use crate::failure::Failure;
use crate::print::{clean, out};

pub(crate) fn run(command: &DeviceCommand) -> Result<(), Failure> {
    match command {
        DeviceCommand::List { product, filters, remote } => {
            list(&Client::new(remote)?, product, filters)
        }
        DeviceCommand::Show { device, remote } => show(&Client::new(remote)?, device),
        DeviceCommand::Add { device, secret_file, certificate_file, remote } => {
            let files = [("secret", secret_file), ("certificate", certificate_file)];
            add(&Client::new(remote)?, device, files)
        }
        DeviceCommand::Disable { device, remote } => able(&Client::new(remote)?, device, true),
        DeviceCommand::Enable { device, remote } => able(&Client::new(remote)?, device, false),
        DeviceCommand::Remove { device, remote } => {
            Client::new(remote)?.delete(&path(device)?)?;
            Ok(())
        }
        DeviceCommand::History { device, remote } => history(&Client::new(remote)?, device),
        DeviceCommand::Refused { product, remote } => refused(&Client::new(remote)?, product),
    }
}

/// The path of a device.
pub(super) fn path(device: &str) -> Result<String, Failure> {
    let (product, name) = split(device)?;
    Ok(format!("/products/{}/devices/{}", part(product), part(name)))
}

fn list(client: &Client, product: &str, filters: &[String]) -> Result<(), Failure> {
    let base = format!("/products/{}/devices?limit=100{}", part(product), query(filters)?);
    let mut rows = Vec::new();
    client.pages(&base, "devices", |device| rows.push(row(device)))?;
    if !client.json {
        table::write(&["NAME", "STATE", "VERSION", "TASK", "NOTHING OFFERED"], &rows);
    }
    Ok(())
}

fn row(device: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let state = match (&device["disabled"], &device["online"]) {
        (Value::Bool(true), _) => "disabled",
        (_, Value::Bool(true)) => "online",
        _ => "away",
    };
    vec![
        text(&device["name"]),
        state.to_owned(),
        text(&device["modules"]["default"]["version"]),
        task(&device["task"]),
        text(&device["not_offered"]["code"]),
    ]
}

/// Summarises a task.
pub(super) fn task(task: &Value) -> String {
    let Some(version) = task["version"].as_str() else { return "-".to_owned() };
    let status = task["status"].as_str().unwrap_or("?");
    match task["percent"].as_u64().filter(|_| status == "downloading") {
        Some(percent) => format!("{version} {status} {percent} %"),
        None => format!("{version} {status}"),
    }
}

fn show(client: &Client, device: &str) -> Result<(), Failure> {
    let shown = client.get(&path(device)?)?;
    client.show(&shown, |shown| {
        table::write(&["NAME", "STATE", "VERSION", "TASK", "NOTHING OFFERED"], &[row(shown)]);
        if let Some(why) = shown["not_offered"]["detail"].as_str() {
            out(&format!("nothing is offered: {}", clean(why)));
        }
        if let Some(words) = shown["task"]["text"].as_str().filter(|words| !words.is_empty()) {
            out(&format!("the device said: {} {}", shown["task"]["code"], clean(words)));
        }
    });
    Ok(())
}

fn add(client: &Client, device: &str, files: [(&str, &Option<PathBuf>); 2]) -> Result<(), Failure> {
    let (product, name) = split(device)?;
    let mut body = json!({ "name": name });
    for (field, path) in files {
        if let (Some(path), Value::Object(fields)) = (path, &mut body) {
            let text = std::fs::read_to_string(path);
            let text = text.map_err(|why| Failure::usage(format!("--{field}-file: {why}")))?;
            fields.insert(field.into(), text.trim().into());
        }
    }
    let made = client.post(&format!("/products/{}/devices", part(product)), &body)?;
    client.show(&made, |made| match made["secret"].as_str() {
        // Shown only this once.
        Some(secret) => out(secret),
        None => out(&format!("{}: added", clean(device))),
    });
    Ok(())
}

fn able(client: &Client, device: &str, disabled: bool) -> Result<(), Failure> {
    let shown = client.patch(&path(device)?, &json!({ "disabled": disabled }))?;
    client.show(&shown, |_| {});
    Ok(())
}

pub(super) fn time(micros: &Value) -> String {
    micros.as_u64().map_or_else(|| "-".into(), |micros| day::date_time(micros / 1_000_000))
}

fn history(client: &Client, device: &str) -> Result<(), Failure> {
    let path = path(device)?;
    let mut after = 0;
    loop {
        let page = client.get(&format!("{path}/history?limit=100&after={after}"))?;
        for event in page["events"].as_array().into_iter().flatten() {
            client.show(event, |event| {
                out(&clean(&format!("{}  {}", time(&event["at"]), happened(event))));
            });
        }
        let Some(next) = page["next"].as_u64() else { return Ok(()) };
        after = next;
    }
}

/// Summarises an event: its kind and its fields.
pub(super) fn happened(event: &Value) -> String {
    let rest = event.as_object().into_iter().flatten();
    let known = ["seq", "at", "product", "device", "kind"];
    let rest = rest.filter(|(name, _)| !known.contains(&name.as_str()));
    let rest = rest.map(|(name, value)| match value.as_str() {
        Some(word) if !word.is_empty() && !word.contains(char::is_whitespace) => {
            format!("{name}={word}")
        }
        _ => format!("{name}={value}"),
    });
    let rest: Vec<String> = rest.collect();
    format!("{}  {}", event["kind"].as_str().unwrap_or("?"), rest.join(" "))
}

fn refused(client: &Client, product: &str) -> Result<(), Failure> {
    let list = client.get(&format!("/products/{}/refused", part(product)))?;
    client.show(&list, |list| {
        let rows = list["refused"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let rows: Vec<Vec<String>> = rows
            .map(|row| {
                let (id, why) = (text(&row["client_id"]), text(&row["why"]));
                vec![time(&row["at"]), id, row["times"].to_string(), why, text(&row["peer"])]
            })
            .collect();
        table::write(&["LAST", "CLIENT ID", "TIMES", "WHY", "FROM"], &rows);
    });
    Ok(())
}
