//! `ota cloud firmware …`.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::progress::{Counted, Progress};
use super::{Client, Sent, part, split, table};
use crate::args::{FirmwareAdd, FirmwareCommand};
use crate::failure::Failure;
use crate::print::{clean, out};

pub(crate) fn run(command: &FirmwareCommand) -> Result<(), Failure> {
    match command {
        FirmwareCommand::List { product, remote } => list(&Client::new(remote)?, product),
        FirmwareCommand::Add(args) => add(&Client::new(&args.remote)?, args),
        FirmwareCommand::Release { firmware, module, remote } => {
            state(&Client::new(remote)?, &path(firmware, "", module.as_deref())?, "released")
        }
        FirmwareCommand::Withdraw { firmware, module, remote } => {
            state(&Client::new(remote)?, &path(firmware, "", module.as_deref())?, "withdrawn")
        }
        FirmwareCommand::Remove { firmware, module, remote } => {
            Client::new(remote)?.delete(&path(firmware, "", module.as_deref())?)?;
            Ok(())
        }
        FirmwareCommand::Get { firmware, file, module, remote } => {
            get(&Client::new(remote)?, &path(firmware, "/image", module.as_deref())?, file)
        }
    }
}

fn path(firmware: &str, rest: &str, module: Option<&str>) -> Result<String, Failure> {
    let (product, version) = split(firmware)?;
    let query = module.map_or_else(String::new, |module| format!("?module={}", part(module)));
    Ok(format!("/products/{}/firmware/{}{rest}{query}", part(product), part(version)))
}

fn list(client: &Client, product: &str) -> Result<(), Failure> {
    let list = client.get(&format!("/products/{}/firmware", part(product)))?;
    client.show(&list, |list| {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let rows = list["firmware"].as_array().into_iter().flatten();
        let rows: Vec<Vec<String>> = rows
            .map(|row| {
                let (version, module) = (text(&row["version"]), text(&row["module"]));
                let (state, md5) = (text(&row["state"]), text(&row["md5"]));
                vec![version, module, state, row["size"].to_string(), md5, text(&row["name"])]
            })
            .collect();
        table::write(&["VERSION", "MODULE", "STATE", "BYTES", "MD5", "NAME"], &rows);
    });
    Ok(())
}

fn add(client: &Client, args: &FirmwareAdd) -> Result<(), Failure> {
    let wrong =
        |why: std::io::Error| Failure::usage(format!("cannot read {}: {why}", args.file.display()));
    let file = File::open(&args.file).map_err(wrong)?;
    let size = file.metadata().map_err(wrong)?.len();
    let mut path = path(&args.firmware, "", None)?;
    let state = if args.draft { "draft" } else { "released" };
    path.push_str(&format!("?state={state}"));
    for (name, value) in [
        ("module", &args.module),
        ("name", &args.name),
        ("description", &args.description),
        ("user_defined", &args.user_defined),
        ("needs", &args.needs),
        ("sha256", &args.sha256),
        ("md5", &args.md5),
    ] {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", part(value)));
        }
    }
    let mut counted = Counted(file, Progress::of_bytes(size));
    let added = client.call("POST", &path, Sent::Stream(&mut counted, size))?;
    drop(counted);
    client.show(&added, |added| {
        let md5 = clean(added["md5"].as_str().unwrap_or("?"));
        out(&format!("{}: {size} bytes, MD5 {md5}, {state}", clean(&args.firmware)));
    });
    Ok(())
}

fn state(client: &Client, path: &str, state: &str) -> Result<(), Failure> {
    let shown = client.patch(path, &json!({ "state": state }))?;
    client.show(&shown, |_| {});
    Ok(())
}

fn get(client: &Client, path: &str, to: &Path) -> Result<(), Failure> {
    let mut answer = client.send("GET", path, Sent::Nothing)?;
    let wrong =
        |why: std::io::Error| Failure::environment(format!("cannot write {}: {why}", to.display()));
    let mut file = File::create_new(to).map_err(wrong)?;
    let copied = std::io::copy(&mut answer.body_mut().as_reader(), &mut file);
    copied.and_then(|_| file.flush()).map_err(wrong)
}
