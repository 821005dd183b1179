//! `ota cloud product …`.

use serde_json::{Map, Value, json};

use super::device::time;
use super::{Client, part, table};
use crate::args::{ProductCommand, Registration};
use crate::failure::Failure;
use crate::print::{clean, out};

pub(crate) fn run(command: &ProductCommand) -> Result<(), Failure> {
    match command {
        ProductCommand::Add { product, name, description, remote } => {
            let body = json!({ "id": product, "name": name, "description": description });
            let client = Client::new(remote)?;
            let made = client.post("/products", &body)?;
            client.show(&made, |_| out(&format!("{}: made", clean(product))));
        }
        ProductCommand::List { remote } => {
            let client = Client::new(remote)?;
            let list = client.get("/products")?;
            client.show(&list, |list| {
                for product in list["products"].as_array().into_iter().flatten() {
                    out(&clean(product["id"].as_str().unwrap_or("?")));
                }
            });
        }
        ProductCommand::Show { product, remote } => show(&Client::new(remote)?, product)?,
        ProductCommand::Remove { product, remote } => {
            Client::new(remote)?.delete(&path(product))?;
        }
        ProductCommand::Registration(args) => registration(args)?,
    }
    Ok(())
}

fn path(product: &str) -> String {
    format!("/products/{}", part(product))
}

fn show(client: &Client, product: &str) -> Result<(), Failure> {
    let shown = client.get(&path(product))?;
    client.show(&shown, |shown| {
        let text = |name: &str| shown[name].as_str().unwrap_or("-").to_owned();
        let made = match shown["made"].as_u64() {
            Some(1..) => time(&shown["made"]),
            _ => "-".to_owned(),
        };
        let row = vec![text("id"), text("name"), made, text("description")];
        table::write(&["PRODUCT", "NAME", "MADE", "DESCRIPTION"], &[row]);
    });
    Ok(())
}

/// Shows how devices may register themselves, after the arguments changed it.
fn registration(args: &Registration) -> Result<(), Failure> {
    let client = Client::new(&args.remote)?;
    let path = format!("{}/registration", path(&args.product));
    let mut change = Map::new();
    if let Some(mode) = &args.mode {
        change.insert("mode".into(), mode.as_str().into());
    }
    if let Some(limit) = args.limit {
        change.insert("limit".into(), limit.into());
    }
    if let Some(file) = &args.secret_file {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|why| Failure::usage(format!("--secret-file: {why}")))?;
        change.insert("secret".into(), text.trim().into());
    }
    let mut shown = match change.is_empty() {
        true => client.get(&path)?,
        false => client.patch(&path, &Value::Object(change))?,
    };
    if args.secret {
        let none = || Failure::usage("the product has no secret, or this key may not see it");
        out(shown["secret"].as_str().ok_or_else(none)?);
        return Ok(());
    }
    if let Value::Object(fields) = &mut shown {
        // Shown only on request.
        fields.remove("secret");
    }
    client.show(&shown, |shown| {
        let mode = shown["mode"].as_str().unwrap_or("?").to_owned();
        table::write(&["DEVICES", "LIMIT"], &[vec![mode, shown["limit"].to_string()]]);
    });
    Ok(())
}
