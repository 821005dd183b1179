//! The document of the API says what is taken and what is answered: each call is made, with every
//! field that its body may have, and its answer has no field that the document does not name.

use std::collections::BTreeSet;

use ota_cloud::api::{OPERATIONS, Op};
use serde_json::{Value, json};

use crate::devices::Device;
use crate::{Answer, Site};

struct Document(Value);

impl Document {
    fn operation(&self, op: Op) -> &Value {
        let row = OPERATIONS.iter().find(|row| row.op == op).unwrap();
        &self.0["paths"][row.path][row.method.to_ascii_lowercase()]
    }

    fn schema<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(name) => &self.0["components"]["schemas"][name.rsplit('/').next().unwrap()],
            None => schema,
        }
    }

    /// Why a value is not of a schema, whose fields are all that there are.
    fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.schema(schema);
        if let Some(these) = schema["oneOf"].as_array() {
            let fits = these.iter().filter(|one| self.check(one, value).is_ok()).count();
            return (fits == 1).then_some(()).ok_or(format!("{fits} fit {value}"));
        }
        let kinds = match &schema["type"] {
            Value::Array(kinds) => kinds.clone(),
            kind => vec![kind.clone()],
        };
        let is = |kind: &Value| match kind.as_str().unwrap() {
            "null" => value.is_null(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "boolean" => value.is_boolean(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            other => panic!("{other}"),
        };
        if !kinds.iter().any(is) {
            return Err(format!("{value} is no {kinds:?}"));
        }
        if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
            return Err(format!("{value} is not one of {}", schema["enum"]));
        }
        for item in value.as_array().into_iter().flatten() {
            self.check(&schema["items"], item)?;
        }
        for name in schema["required"].as_array().into_iter().flatten() {
            if value.get(name.as_str().unwrap()).is_none() {
                return Err(format!("{name} is missing in {value}"));
            }
        }
        if schema["properties"].is_null() && schema["additionalProperties"].is_null() {
            // Of what is in it nothing is said.
            return Ok(());
        }
        for (name, field) in value.as_object().into_iter().flatten() {
            let more = &schema["additionalProperties"];
            match schema["properties"].get(name) {
                Some(of) => self.check(of, field)?,
                None if more.is_object() => self.check(more, field)?,
                None if *more == json!(true) => {}
                None => return Err(format!("{name} is not named: {value}")),
            }
        }
        Ok(())
    }
}

/// Calls, and which were made.
struct Calls<'a> {
    site: &'a Site,
    document: Document,
    made: BTreeSet<Op>,
}

impl Calls<'_> {
    /// Makes a call with a body that has every field there is, and holds the answer against the
    /// document.
    async fn make(&mut self, op: Op, path: &str, body: Value) -> Value {
        let row = OPERATIONS.iter().find(|row| row.op == op).unwrap();
        let described = self.document.operation(op);
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let content = &described["requestBody"]["content"]["application/json"]["schema"];
        if !content.is_null() {
            let schema = self.document.schema(content);
            self.document.check(schema, &body).unwrap_or_else(|why| panic!("{op:?}: {why}"));
            let names = |of: &Value| -> BTreeSet<String> {
                of.as_object().unwrap().keys().cloned().collect()
            };
            assert_eq!(names(&body), names(&schema["properties"]), "{op:?}");
            let unknown = self.site.call(row.method, path, r#"{"unknown":1}"#).await;
            assert_eq!(unknown.problem(400), "invalid", "{op:?}");
        }
        let answer = self.site.call(row.method, path, &sent).await;
        self.hold(op, &answer)
    }

    fn hold(&mut self, op: Op, answer: &Answer) -> Value {
        let row = OPERATIONS.iter().find(|row| row.op == op).unwrap();
        let value = answer.expect(row.status);
        let done = &self.document.operation(op)["responses"][row.status.to_string()];
        match done["content"]["application/json"].get("schema") {
            Some(schema) => {
                let fits = self.document.check(schema, &value);
                fits.unwrap_or_else(|why| panic!("{op:?}: {why}"));
            }
            None => assert_eq!(value, Value::Null, "{op:?}"),
        }
        self.made.insert(op);
        value
    }

    async fn products(&mut self) {
        let new = json!({ "id": "A", "name": "lamp", "description": "of glass" });
        self.make(Op::AddProduct, "/products", new).await;
        self.get(Op::Product, "/products/A").await;
        self.get(Op::Registration, "/products/A/registration").await;
        let change = json!({ "mode": "any", "limit": 7, "secret": "ABCDEFGHIJKLMNOPQRSTUVWX" });
        self.make(Op::ChangeRegistration, "/products/A/registration", change).await;
        let new = json!({ "module": "bms", "name": "battery", "description": "by S" });
        self.make(Op::AddModule, "/products/A/modules", new).await;
        self.get(Op::Modules, "/products/A/modules").await;
        let change = json!({ "name": "cells", "description": null });
        let changed = self.make(Op::ChangeModule, "/products/A/modules/bms", change).await;
        assert_eq!((&changed["name"], &changed["description"]), (&json!("cells"), &json!("by S")));
        self.get(Op::RemoveModule, "/products/A/modules/bms").await;
        self.site.product("GONE", &[]).await;
        self.get(Op::RemoveProduct, "/products/GONE").await;
    }

    async fn batches(&mut self) {
        let batch = json!({ "version": "1.0.0", "module": null, "timeout": 60, "confirm": false,
            "override": true, "devices": null, "from_versions": ["0.1.0"], "tag": "line:7",
            "prefix": "d", "all": true, "dynamic": true, "user_defined": "text", "comment": "first", "retries": 1, "retry_pause": 60,
            "starts": null, "ends": null, "windows": [],
            "waves": [{ "gate": { "person": true }, "stop": { "failures": 1 } }] });
        self.make(Op::RehearseBatch, "/products/A/batches/rehearse", batch.clone()).await;
        self.make(Op::StartBatch, "/products/A/batches", batch).await;
        self.get(Op::Batches, "/products/A/batches").await;
        self.get(Op::Batch, "/products/A/batches/1").await;
        self.get(Op::BatchDevices, "/products/A/batches/1/devices").await;
        let change = |comment: &str| json!({ "rev": null, "let_run": false, "comment": comment });
        self.make(Op::ChangeBatch, "/products/A/batches/1", change("for the hall")).await;
        let shown = self.get(Op::Batch, "/products/A/batches/1").await;
        assert_eq!(shown["comment"], "for the hall");
        for (op, word) in
            [(Op::PauseBatch, "pause"), (Op::ResumeBatch, "resume"), (Op::CancelBatch, "cancel")]
        {
            self.make(op, &format!("/products/A/batches/1/{word}"), change("")).await;
        }
        let other = json!({ "version": "1.0.0", "comment": "once more" });
        let made = self.make(Op::CloneBatch, "/products/A/batches/1/clone", other).await;
        assert_eq!((&made["batch"], &made["comment"]), (&json!(2), &json!("once more")));
        self.make(Op::CancelBatch, "/products/A/batches/2/cancel", change("")).await;
    }

    async fn people(&mut self) {
        let roles = json!({ "A": "viewer" });
        self.make(Op::AddPerson, "/people", json!({ "name": "ann", "roles": roles })).await;
        let change = json!({ "disabled": true, "roles": roles, "invite": true });
        self.make(Op::ChangePerson, "/people/ann", change).await;
        self.get(Op::People, "/people").await;
        self.get(Op::RemovePerson, "/people/ann").await;
        self.get(Op::Audit, "/audit").await;
    }

    async fn get(&mut self, op: Op, path: &str) -> Value {
        self.make(op, path, Value::Null).await
    }

    async fn webhooks(&mut self) {
        let hook = json!({ "url": "http://127.0.0.1:9/", "product": "A", "kinds": ["proved"],
            "plain_text": true });
        let hook = self.make(Op::AddWebhook, "/webhooks", hook).await;
        let hook = format!("/webhooks/{}", hook["id"].as_str().unwrap());
        self.get(Op::Webhooks, "/webhooks").await;
        self.get(Op::Settings, "/settings").await;
        self.get(Op::TestWebhook, &format!("{hook}/test")).await;
        self.get(Op::RemoveWebhook, &hook).await;
    }
}

/// What is left are bytes, streams, and calls that need another state.
fn bytes_and_streams(calls: &Calls<'_>) {
    let rest = OPERATIONS.iter().filter(|row| !calls.made.contains(&row.op)).map(|row| row.op);
    let wanted = [Op::Events, Op::Rekey, Op::BatchResults, Op::NextWave, Op::RetryBatch, Op::Image];
    assert_eq!(rest.collect::<Vec<_>>(), wanted);
    for (op, kind) in [
        (Op::Events, "text/event-stream"),
        (Op::BatchResults, "text/csv"),
        (Op::Image, "application/octet-stream"),
    ] {
        let content = &calls.document.operation(op)["responses"]["200"]["content"];
        assert!(content.get(kind).is_some(), "{op:?}");
    }
}

#[tokio::test]
async fn every_call_takes_and_answers_what_the_document_says() {
    let site = Site::new().await;
    let document = Document(site.get("/openapi.json").await.expect(200));
    let mut calls = Calls { site: &site, document, made: BTreeSet::new() };
    calls.get(Op::Describe, "/openapi.json").await;
    calls.products().await;
    calls.get(Op::Products, "/products").await;
    let key = json!({ "name": "k", "role": "viewer", "product": "A" });
    let key = calls.make(Op::AddKey, "/keys", key).await;
    calls.get(Op::Keys, "/keys").await;
    calls.get(Op::RemoveKey, &format!("/keys/{}", key["id"].as_str().unwrap())).await;

    calls.people().await;
    calls.webhooks().await;

    let secret = "MDEyMzQ1Njc4OWFiY2RlZg==";
    let new = json!({ "name": "d1", "secret": secret, "certificate": null, "disabled": false,
        "tags": { "line": "7" } });
    calls.make(Op::AddDevices, "/products/A/devices", new).await;
    let csv = format!("Authorization: Bearer {}\r\nContent-Type: text/csv\r\n", site.key);
    let many = site.raw("POST", "/products/A/devices", &csv, b"d1\nd2,,line=8,true\n").await;
    calls.hold(Op::AddDevices, &many);
    let image = format!("Authorization: Bearer {}\r\n", site.key);
    let one = "/products/A/firmware/1.0.0";
    let added = site.raw("POST", &format!("{one}?user_defined=t"), &image, b"firmware").await;
    calls.hold(Op::AddFirmware, &added);
    calls.get(Op::FirmwareList, "/products/A/firmware").await;
    calls.get(Op::Firmware, one).await;
    let change = json!({ "state": "released", "name": "n", "description": "d", "needs": "0.1.0" });
    calls.make(Op::ChangeFirmware, one, change).await;

    let mut device = Device::start(&site, "d1", secret, "0.1.0").await;
    let update = json!({ "version": "1.0.0", "module": null, "timeout": 60, "confirm": true,
        "from_versions": ["0.1.0"] });
    let task = calls.make(Op::StartUpdate, "/products/A/devices/d1/updates", update).await;
    let task = format!("/products/A/devices/d1/updates/{}", task["id"].as_str().unwrap());
    calls.get(Op::Confirm, &format!("{task}/confirm")).await;
    crate::firmware::offer(&mut device).await;
    for (op, word) in [(Op::Push, "push"), (Op::Cancel, "cancel"), (Op::Retry, "retry")] {
        calls.get(op, &format!("{task}/{word}")).await;
    }
    calls.get(Op::Tasks, "/products/A/tasks").await;
    calls.batches().await;
    calls.get(Op::Devices, "/products/A/devices").await;
    calls.get(Op::Device, "/products/A/devices/d1").await;
    calls.get(Op::History, "/products/A/devices/d1/history").await;
    let (_, refused) = Device::log_in(&site, "d9", secret).await;
    assert_eq!(refused, 5);
    calls.get(Op::Refused, "/products/A/refused").await;
    let change = json!({ "disabled": false, "tags": { "line": "8" } });
    calls.make(Op::ChangeDevice, "/products/A/devices/d2", change).await;
    calls.get(Op::RemoveDevice, "/products/A/devices/d2").await;
    let spare = site.raw("POST", "/products/A/firmware/2", &image, b"another").await;
    calls.hold(Op::AddFirmware, &spare);
    calls.get(Op::RemoveFirmware, "/products/A/firmware/2").await;

    bytes_and_streams(&calls);
    let image = site.get(&format!("{one}/image")).await;
    assert!(image.head.contains("content-type: application/octet-stream"), "{}", image.head);
}
