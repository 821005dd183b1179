//! `ota cloud module …`.

use serde_json::{Map, Value, json};

use super::device::time;
use super::{Client, part, split, table};
use crate::args::ModuleCommand;
use crate::failure::Failure;
use crate::print::{clean, out};

pub(crate) fn run(command: &ModuleCommand) -> Result<(), Failure> {
    match command {
        ModuleCommand::List { product, remote } => list(&Client::new(remote)?, product),
        ModuleCommand::Add { module, name, description, remote } => {
            let (product, id) = split(module)?;
            let body = json!({ "module": id, "name": name, "description": description });
            let client = Client::new(remote)?;
            let made = client.post(&modules(product), &body)?;
            client.show(&made, |_| out(&format!("{}: added", clean(module))));
            Ok(())
        }
        ModuleCommand::Change { module, name, description, remote } => {
            let mut change = Map::new();
            for (field, text) in [("name", name), ("description", description)] {
                if let Some(text) = text {
                    change.insert(field.to_owned(), text.as_str().into());
                }
            }
            let client = Client::new(remote)?;
            let changed = client.patch(&path(module)?, &Value::Object(change))?;
            client.show(&changed, |_| {});
            Ok(())
        }
        ModuleCommand::Remove { module, remote } => {
            Client::new(remote)?.delete(&path(module)?)?;
            Ok(())
        }
    }
}

fn modules(product: &str) -> String {
    format!("/products/{}/modules", part(product))
}

fn path(module: &str) -> Result<String, Failure> {
    let (product, id) = split(module)?;
    Ok(format!("{}/{}", modules(product), part(id)))
}

fn list(client: &Client, product: &str) -> Result<(), Failure> {
    let list = client.get(&modules(product))?;
    client.show(&list, |list| {
        let rows = list["modules"].as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        let row = |row: &Value| {
            let [module, name, description] =
                ["module", "name", "description"].map(|field| text(&row[field]));
            vec![module, name, time(&row["made"]), description]
        };
        let rows: Vec<Vec<String>> = rows.map(row).collect();
        table::write(&["MODULE", "NAME", "MADE", "DESCRIPTION"], &rows);
    });
    Ok(())
}
