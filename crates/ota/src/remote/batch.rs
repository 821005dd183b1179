//! `ota cloud batch …`.

use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::device::time;
use super::watch::Watch;
use super::{Client, part, table};
use crate::args::{BatchCommand, BatchStart};
use crate::failure::Failure;
use crate::print::{clean, out};

/// The longest file of names in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Starts, shows and cancels batches.
pub(crate) fn run(command: &BatchCommand) -> Result<(), Failure> {
    match command {
        BatchCommand::Start(args) => start(args),
        BatchCommand::List { product, remote } => list(&Client::new(remote)?, product),
        BatchCommand::Show { batch, wait, remote } => {
            let (client, path) = (Client::new(remote)?, path(batch)?);
            match wait {
                Some(wait) => follow(&client, &path, *wait),
                None => show(&client, &path),
            }
        }
        BatchCommand::Cancel { batch, remote } => {
            let client = Client::new(remote)?;
            let bytes = super::Sent::Bytes("application/json", b"");
            let batch = client.call("POST", &format!("{}/cancel", path(batch)?), bytes)?;
            client.show(&batch, |batch| out(&clean(&words(batch))));
            Ok(())
        }
    }
}

/// The path of `PRODUCT/NUMBER`.
fn path(batch: &str) -> Result<String, Failure> {
    let parts = batch.split_once('/').filter(|(_, number)| number.parse::<u32>().is_ok());
    let (product, number) =
        parts.ok_or_else(|| Failure::usage("a batch is written PRODUCT/NUMBER"))?;
    Ok(format!("/products/{}/batches/{number}", part(product)))
}

fn start(args: &BatchStart) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let mut body = Map::new();
    body.insert("version".into(), json!(args.to));
    let mut names = args.devices.clone();
    if let Some(file) = &args.devices_from {
        names.extend(names_of(file)?);
    }
    if !names.is_empty() {
        body.insert("devices".into(), json!(names));
    }
    for (name, value) in [("tag", &args.tag), ("prefix", &args.prefix), ("module", &args.module)] {
        if let Some(value) = value {
            body.insert(name.into(), json!(value));
        }
    }
    for (name, is) in [("all", args.all), ("confirm", args.confirm), ("override", args.overrides)] {
        if is {
            body.insert(name.into(), json!(true));
        }
    }
    if !args.from_versions.is_empty() {
        body.insert("from_versions".into(), json!(args.from_versions));
    }
    if let Some(timeout) = args.timeout {
        body.insert("timeout".into(), json!(timeout.as_secs()));
    }
    let batches = format!("/products/{}/batches", part(&args.product));
    let made = client.post(&batches, &Value::Object(body))?;
    client.show(&made, |made| out(&clean(&words(made))));
    match args.wait {
        None => Ok(()),
        Some(wait) => {
            let number = made["batch"].as_u64();
            let number =
                number.ok_or_else(|| Failure::environment("the answer describes no batch"))?;
            follow(&client, &format!("{batches}/{number}"), wait)
        }
    }
}

/// Reads the names of a file: one per line, of which the first CSV field counts.
fn names_of(path: &Path) -> Result<Vec<String>, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("--devices-from {}: {why}", path.display()))
    };
    let file = std::fs::File::open(path).map_err(|why| wrong(&why))?;
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(|why| wrong(&why))?;
    if text.len() as u64 > MAX_FILE {
        return Err(wrong(&"it has more than 1 MiB"));
    }
    let names = text.trim_start_matches('\u{feff}').lines().enumerate();
    let names: Vec<String> = names
        .map(|(at, line)| (at, line.split(',').next().unwrap_or("").trim().trim_matches('"')))
        .filter(|(at, name)| !name.is_empty() && (*at > 0 || *name != "name"))
        .map(|(_, name)| name.to_owned())
        .collect();
    if names.is_empty() { Err(wrong(&"it contains no name")) } else { Ok(names) }
}

/// Its number, its target and its number of devices.
fn words(batch: &Value) -> String {
    let text = |name: &str| batch[name].as_str().unwrap_or("-").to_owned();
    let ended = if batch["cancelled"] == true { ", cancelled" } else { "" };
    let (number, devices) = (&batch["batch"], &batch["devices"]);
    format!("batch {number} to {} of {}: {devices} devices{ended}", text("version"), text("module"))
}

/// How many of its devices are in each state.
fn counts(batch: &Value) -> String {
    let counts = batch["counts"].as_object().into_iter().flatten();
    let counts: Vec<String> = counts.map(|(status, count)| format!("{count} {status}")).collect();
    format!("{}: {}", batch["status"].as_str().unwrap_or("-"), counts.join(", "))
}

fn list(client: &Client, product: &str) -> Result<(), Failure> {
    let base = format!("/products/{}/batches?limit=100", part(product));
    let mut rows = Vec::new();
    client.pages(&base, "batches", |batch| {
        let text = |name: &str| batch[name].as_str().unwrap_or("-").to_owned();
        let ended = if batch["cancelled"] == true { "cancelled" } else { "" }.to_owned();
        let numbers = [&batch["batch"], &batch["devices"], &batch["waiting"]];
        let [number, devices, waiting] = numbers.map(Value::to_string);
        rows.push(vec![
            number,
            text("version"),
            text("module"),
            text("by"),
            devices,
            waiting,
            time(&batch["made"]),
            ended,
        ]);
    })?;
    if !client.json {
        let heads = ["BATCH", "VERSION", "MODULE", "BY", "DEVICES", "WAITING", "BEGAN", ""];
        table::write(&heads, &rows);
    }
    Ok(())
}

fn show(client: &Client, path: &str) -> Result<(), Failure> {
    let batch = client.get(path)?;
    client.show(&batch, |batch| {
        out(&clean(&words(batch)));
        out(&clean(&counts(batch)));
    });
    let mut rows = Vec::new();
    client.pages(&format!("{path}/devices?limit=100"), "devices", |device| {
        let text = |name: &str| {
            device[name].as_str().filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
        };
        let status = match device["percent"].as_u64() {
            Some(percent) if percent < 100 => format!("{} {percent}%", text("status")),
            _ => text("status"),
        };
        rows.push(vec![text("device"), text("from"), status, time(&device["at"]), text("text")]);
    })?;
    if !client.json {
        table::write(&["DEVICE", "FROM", "STATUS", "HEARD", "IN WORDS"], &rows);
    }
    Ok(())
}

/// Prints each change until every device has ended.
fn follow(client: &Client, path: &str, wait: Duration) -> Result<(), Failure> {
    super::runtime()?.block_on(watch(client, path, wait))
}

async fn watch(client: &Client, path: &str, wait: Duration) -> Result<(), Failure> {
    let mut watch = Watch::new(client, path, wait, "the batch")?;
    loop {
        let batch = watch.get().await?;
        let (Some(all), true) = (batch["devices"].as_u64(), batch["counts"].is_object()) else {
            return Err(Failure::environment("the answer describes no batch"));
        };
        watch.show(&batch, counts(&batch));
        let of = |status: &str| batch["counts"][status].as_u64().unwrap_or(0);
        if of("complete") + of("failed") + of("timed-out") >= all {
            let good = of("complete");
            return if good == all {
                Ok(())
            } else {
                Err(Failure::failed(format!("{good} of {all} devices were updated")))
            };
        }
        watch.again("not finished in time").await?;
    }
}
