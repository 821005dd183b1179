//! `ota cloud webhook …`.

use serde_json::{Value, json};

use super::{Client, part, table};
use crate::args::WebhookCommand;
use crate::failure::Failure;
use crate::print::{clean, err, out};

pub(crate) fn run(command: &WebhookCommand) -> Result<(), Failure> {
    match command {
        WebhookCommand::Add { to, product, kinds, http, remote } => {
            let body = json!({ "url": to, "product": product, "kinds": kinds, "plain_text": http });
            let client = Client::new(remote)?;
            let made = client.post("/webhooks", &body)?;
            client.show(&made, |made| {
                let text = |name: &str| clean(made[name].as_str().unwrap_or("?"));
                err(&format!("webhook {}: its secret is printed this once", text("id")));
                out(&text("secret"));
            });
        }
        WebhookCommand::List { remote } => {
            let client = Client::new(remote)?;
            let list = client.get("/webhooks")?;
            client.show(&list, |list| {
                let rows = list["webhooks"].as_array().into_iter().flatten().map(row);
                let heads = ["WEBHOOK", "STATE", "EVENT", "PRODUCT", "URL", "ERROR"];
                table::write(&heads, &rows.collect::<Vec<_>>());
            });
        }
        WebhookCommand::Remove { id, remote } => {
            Client::new(remote)?.delete(&format!("/webhooks/{}", part(id)))?;
        }
        WebhookCommand::Test { id, remote } => {
            let client = Client::new(remote)?;
            let tried = client.post(&format!("/webhooks/{}/test", part(id)), &json!({}))?;
            client.show(&tried, |tried| {
                if let Some(status) = tried["status"].as_u64() {
                    out(&format!("delivered: {status}"));
                }
            });
            if let Some(why) = tried["error"].as_str() {
                return Err(Failure::failed(clean(why)));
            }
        }
    }
    Ok(())
}

fn row(hook: &Value) -> Vec<String> {
    let text = |name: &str| hook[name].as_str().unwrap_or("-").to_owned();
    let state = match (hook["off"] == true, hook["failures"].as_u64()) {
        (true, _) => "off",
        (_, Some(1..)) => "failing",
        _ => "on",
    };
    let cursor = hook["cursor"].to_string();
    vec![text("id"), state.to_owned(), cursor, text("product"), text("url"), text("error")]
}
