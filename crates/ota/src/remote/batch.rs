//! `ota cloud batch …`.

use std::io::{BufRead as _, Read as _};
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::device::time;
use super::watch::Watch;
use super::{Client, part, table};
use crate::args::{BatchAct, BatchCommand, BatchStart};
use crate::failure::Failure;
use crate::print::{clean, out};

/// The longest file of names in bytes.
const MAX_FILE: u64 = 64 << 20;
/// The most devices of a batch.
const MOST: usize = 100_000;

/// Starts, shows and cancels batches.
pub(crate) fn run(command: &BatchCommand) -> Result<(), Failure> {
    match command {
        BatchCommand::Start(args) => start(args),
        BatchCommand::Rehearse(args) => rehearse(args),
        BatchCommand::List { product, remote } => list(&Client::new(remote)?, product),
        BatchCommand::Show { batch, wait, remote } => {
            let (client, path) = (Client::new(remote)?, path(batch)?);
            match wait {
                Some(wait) => follow(&client, &path, *wait),
                None => show(&client, &path),
            }
        }
        BatchCommand::Results { batch, remote } => results(&Client::new(remote)?, batch),
        BatchCommand::Clone { batch, to, comment, remote } => {
            let client = Client::new(remote)?;
            let mut body = Map::new();
            body.extend(to.as_ref().map(|to| ("version".to_owned(), json!(to))));
            body.extend(comment.as_ref().map(|text| ("comment".to_owned(), json!(text))));
            let made = client.post(&format!("{}/clone", path(batch)?), &Value::Object(body))?;
            client.show(&made, |made| out(&clean(&words(made))));
            Ok(())
        }
        BatchCommand::Pause(args) => act(args, "pause"),
        BatchCommand::Resume(args) => act(args, "resume"),
        BatchCommand::Next(args) => act(args, "next"),
        BatchCommand::Retry(args) => act(args, "retry"),
        BatchCommand::Cancel { batch, let_run, remote } => {
            let client = Client::new(remote)?;
            let body = if *let_run { r#"{"let_run":true}"# } else { "" };
            let bytes = super::Sent::Bytes("application/json", body.as_bytes());
            let batch = client.call("POST", &format!("{}/cancel", path(batch)?), bytes)?;
            client.show(&batch, |batch| out(&clean(&words(batch))));
            Ok(())
        }
    }
}

/// Copies the table while it comes. A terminal gets no control characters of devices.
fn results(client: &Client, batch: &str) -> Result<(), Failure> {
    let path = format!("{}/results", path(batch)?);
    let mut answer = client.send("GET", &path, super::Sent::Nothing)?;
    let lines = std::io::BufReader::new(answer.body_mut().as_reader()).lines();
    for line in lines {
        let line = line.map_err(|why| {
            Failure::environment(format!("the table was broken off, it is not complete: {why}"))
        })?;
        out(&clean(&line));
    }
    Ok(())
}

/// A command to a batch that runs.
fn act(args: &BatchAct, word: &str) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let body = args.rev.map(|rev| json!({ "rev": rev }));
    let path = format!("{}/{word}", path(&args.batch)?);
    let batch = client.post(&path, &body.unwrap_or_else(|| json!({})))?;
    client.show(&batch, |batch| out(&clean(&words(batch))));
    Ok(())
}

/// Reads the waves of a file.
fn waves_of(path: &Path) -> Result<Value, Failure> {
    let wrong =
        |why: &dyn std::fmt::Display| Failure::usage(format!("--waves {}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|why| wrong(&why))?;
    let waves = serde_json::from_reader(file.take(MAX_FILE)).map_err(|why| wrong(&why))?;
    if matches!(waves, Value::Array(_)) { Ok(waves) } else { Err(wrong(&"it is not a list")) }
}

/// The path of `PRODUCT/NUMBER`.
fn path(batch: &str) -> Result<String, Failure> {
    let parts = batch.split_once('/').filter(|(_, number)| number.parse::<u32>().is_ok());
    let (product, number) =
        parts.ok_or_else(|| Failure::usage("a batch is written PRODUCT/NUMBER"))?;
    Ok(format!("/products/{}/batches/{number}", part(product)))
}

/// The request of a batch.
fn body(args: &BatchStart) -> Result<Value, Failure> {
    let mut body = Map::new();
    body.insert("version".into(), json!(args.to));
    let mut names = args.devices.clone();
    if let Some(file) = &args.devices_from {
        names.extend(names_of(file)?);
    }
    if !names.is_empty() {
        body.insert("devices".into(), json!(names));
    }
    if let Some(file) = &args.waves {
        body.insert("waves".into(), waves_of(file)?);
    }
    for (name, value) in [
        ("tag", &args.tag),
        ("prefix", &args.prefix),
        ("module", &args.module),
        ("comment", &args.comment),
        ("user_defined", &args.user_defined),
    ] {
        if let Some(value) = value {
            body.insert(name.into(), json!(value));
        }
    }
    for (name, is) in [
        ("all", args.all),
        ("dynamic", args.dynamic),
        ("confirm", args.confirm),
        ("override", args.overrides),
    ] {
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
    Ok(Value::Object(body))
}

fn rehearse(args: &BatchStart) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let path = format!("/products/{}/batches/rehearse", part(&args.product));
    let played = client.post(&path, &body(args)?)?;
    client.show(&played, |played| {
        let versions = played["versions"].as_object().into_iter().flatten();
        let versions: Vec<String> = versions.map(|(name, n)| running(name, n)).collect();
        out(&clean(&format!("{} devices: {}", played["devices"], versions.join(", "))));
        for run in played["runs"].as_array().into_iter().flatten() {
            out(&clean(&run_words(run)));
        }
        let never = played["never"].as_array().into_iter().flatten();
        let never: Vec<&str> = never.filter_map(Value::as_str).collect();
        if !never.is_empty() {
            out(&clean(&format!("not expected to connect: {}", never.join(", "))));
        }
    });
    Ok(())
}

/// How many run a version. An empty one stands for devices that never reported any.
fn running(version: &str, devices: &Value) -> String {
    match version {
        "" => format!("{devices} never said what they run"),
        version => format!("{devices} run {version}"),
    }
}

/// A run of a rehearsal in a line.
fn run_words(run: &Value) -> String {
    let failed = run["fail_per_mille"].as_u64().unwrap_or(0) / 10;
    let waves = run["waves"].as_array().into_iter().flatten();
    let waves: Vec<String> = waves
        .map(|wave| match (wave["begins"].as_u64(), wave["ends"].as_u64()) {
            (_, Some(seconds)) => format!("wave {} ends after {seconds} s", wave["wave"]),
            (Some(_), None) => format!("wave {} does not end, {} left", wave["wave"], wave["left"]),
            (None, None) => format!("wave {} does not begin", wave["wave"]),
        })
        .collect();
    let stopped = match (run["stopped"][0].as_u64(), run["stopped"][1].as_u64()) {
        (Some(wave), Some(seconds)) => format!("; stopped in wave {wave} after {seconds} s"),
        _ => String::new(),
    };
    let peak = &run["peak_bytes_per_second"];
    format!("if {failed} % fail: {}{stopped}; at most {peak} bytes a second", waves.join(", "))
}

fn start(args: &BatchStart) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let batches = format!("/products/{}/batches", part(&args.product));
    let made = client.post(&batches, &body(args)?)?;
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
        return Err(wrong(&"it has more than 64 MiB"));
    }
    let names = text.trim_start_matches('\u{feff}').lines().enumerate();
    let names: Vec<String> = names
        .map(|(at, line)| (at, line.split(',').next().unwrap_or("").trim().trim_matches('"')))
        .filter(|(at, name)| !name.is_empty() && (*at > 0 || *name != "name"))
        .map(|(_, name)| name.to_owned())
        .collect();
    match names.len() {
        0 => Err(wrong(&"it contains no name")),
        many if many > MOST => {
            Err(wrong(&format!("it has {many} names, a batch has at most {MOST} devices")))
        }
        _ => Ok(names),
    }
}

/// Its number, its target and its number of devices.
fn words(batch: &Value) -> String {
    let text = |name: &str| batch[name].as_str().unwrap_or("-").to_owned();
    let ended = if batch["cancelled"] == true { ", cancelled" } else { "" };
    let (number, devices) = (&batch["batch"], &batch["devices"]);
    let paused = match (batch["state"].as_str(), batch["why"].as_str()) {
        (Some("paused"), Some("stop-rule")) => ", paused by its stop rule",
        (Some("paused"), _) => ", paused",
        _ => "",
    };
    let (version, module) = (text("version"), text("module"));
    format!("batch {number} to {version} of {module}: {devices} devices{ended}{paused}")
}

/// How many of its devices are in each state.
fn counts(batch: &Value) -> String {
    let counts = batch["counts"].as_object().into_iter().flatten();
    let counts: Vec<String> = counts.map(|(status, count)| format!("{count} {status}")).collect();
    format!("{}: {}", batch["status"].as_str().unwrap_or("-"), counts.join(", "))
}

/// Whether a pace or a stop rule limits a wave.
fn is_limited(wave: &Value) -> bool {
    let set = |name: &str| {
        let rules = wave[name].as_object().into_iter().flatten();
        rules.filter(|(_, value)| value.as_u64().is_some_and(|value| value > 0)).count() > 0
    };
    set("pace") || set("stop")
}

/// A line for each wave, if there are several or it is limited.
fn waves(batch: &Value) {
    let list = batch["waves"].as_array().map_or(&[][..], Vec::as_slice);
    let one = list.len() == 1 && batch["waits"].is_null() && !is_limited(&list[0]);
    for wave in list.iter().filter(|_| !one) {
        let (number, who) = (&wave["wave"], wave["who"].as_str().unwrap_or("-"));
        let state = wave["state"].as_str().unwrap_or("-");
        let counts = wave["counts"].as_object().into_iter().flatten();
        let counts: Vec<String> =
            counts.map(|(status, count)| format!("{count} {status}")).collect();
        let (waiting, counts) = (&wave["waiting"], counts.join(", "));
        out(&clean(&format!("wave {number}, {who}, {state}: {waiting} waiting; {counts}")));
    }
    if let Some(waits) = batch["waits"].as_str() {
        out(&clean(&format!("the next wave waits for: {waits}; revision {}", batch["rev"])));
    }
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
        waves(batch);
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
