//! JSON Schemas of requests and answers. Tests compare them with the parsed bodies and with the
//! service's answers.

use serde_json::{Map, Value, json};

use super::call::Op;
use super::product::Registration;
use crate::batch::Batch;
use crate::catalog::Firmware;

/// An object of a request, without further fields.
fn taken(required: &[&str], fields: Value) -> Value {
    json!({
        "type": "object", "required": required, "properties": fields,
        "additionalProperties": false,
    })
}

/// An object of an answer, to which fields may be added.
fn shown(required: &[&str], fields: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": fields })
}

/// A list in an answer, with the start of the next page.
fn page(name: &str, of: &str, next: Option<&str>) -> Value {
    let mut fields = json!({ name: { "type": "array", "items": of_name(of) } });
    let mut required = vec![name];
    if let (Value::Object(fields), Some(next)) = (&mut fields, next) {
        fields.insert("next".to_owned(), or_null(next));
        required.push("next");
    }
    shown(&required, fields)
}

fn of_name(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn of(kind: &str) -> Value {
    json!({ "type": kind })
}

fn or_null(kind: &str) -> Value {
    json!({ "type": [kind, "null"] })
}

fn map_of(value: Value) -> Value {
    json!({ "type": "object", "additionalProperties": value })
}

fn one_of(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

const ROLES: &[&str] = &["viewer", "operator", "publisher", "admin"];
const STATES: &[&str] = &["draft", "released", "withdrawn"];

/// All named schemas.
pub(super) fn schemas() -> Value {
    let mut all = Map::new();
    let batches = [new_batches(), batches(), waves()];
    let rest = [common(), people(), devices(), tasks(), firmware(), webhooks()];
    for part in batches.into_iter().chain(rest) {
        if let Value::Object(part) = part {
            all.extend(part);
        }
    }
    Value::Object(all)
}

fn common() -> Value {
    let key = json!({
        "id": of("string"), "name": of("string"), "roles": map_of(one_of(ROLES)),
        "made": of("integer"),
    });
    let mut made = key.clone();
    if let Value::Object(made) = &mut made {
        made.insert("key".to_owned(), of("string"));
    }
    json!({
        "Problem": shown(&["status", "code", "title"], json!({
            "status": of("integer"), "code": of("string"), "title": of("string"),
            "field": of("string"),
        })),
        "NewProduct": taken(&["id"], json!({
            "id": of("string"), "name": of("string"), "description": of("string"),
        })),
        "Product": shown(&["id"], json!({
            "id": of("string"), "name": of("string"), "description": of("string"),
            "made": of("integer"),
        })),
        "ChangeRegistration": taken(&[], json!({
            "mode": { "type": ["string", "null"], "enum": ["off", "known", "any", null] },
            "limit": { "type": ["integer", "null"], "minimum": 0, "maximum": Registration::MOST },
            "secret": or_null("string"),
        })),
        "Registration": shown(&["mode", "limit", "secret"], json!({
            "mode": one_of(&["off", "known", "any"]), "limit": of("integer"),
            "secret": or_null("string"),
        })),
        "Products": page("products", "Product", None),
        "NewModule": taken(&["module"], json!({
            "module": of("string"), "name": of("string"), "description": of("string"),
        })),
        "ChangeModule": taken(&[], json!({
            "name": or_null("string"), "description": or_null("string"),
        })),
        "NamedModule": shown(&["module", "name", "description", "made"], json!({
            "module": of("string"), "name": of("string"), "description": of("string"),
            "made": of("integer"),
        })),
        "NamedModules": page("modules", "NamedModule", None),
        "NewKey": taken(&["name", "role"], json!({
            "name": of("string"), "role": one_of(ROLES), "product": or_null("string"),
        })),
        "Key": shown(&["id", "name", "roles", "made"], key),
        "MadeKey": shown(&["id", "name", "roles", "made", "key"], made),
        "Keys": page("keys", "Key", None),
        "Rekeyed": shown(&["sealed", "more"], json!({
            "sealed": of("integer"), "more": of("boolean"),
        })),
        "AuditLine": shown(&["seq", "at", "key", "call", "product", "of", "request", "from"], json!({
            "seq": of("integer"), "at": of("integer"), "key": of("string"), "call": of("string"),
            "product": of("string"), "of": of("string"), "request": of("string"),
            "from": of("string"),
        })),
        "AuditLines": page("lines", "AuditLine", Some("integer")),
        "Event": {
            "type": "object",
            "required": ["seq", "at", "product", "device"],
            "properties": {
                "seq": of("integer"), "at": of("integer"), "product": of("string"),
                "device": of("string"), "kind": of("string"),
            },
            "additionalProperties": true,
        },
        "Events": page("events", "Event", Some("integer")),
    })
}

fn people() -> Value {
    let required = ["name", "roles", "made", "disabled", "joined", "invited_until"];
    let person = json!({
        "name": of("string"), "roles": map_of(one_of(ROLES)), "made": of("integer"),
        "disabled": of("boolean"), "joined": of("boolean"), "invited_until": or_null("integer"),
        "invitation": of("string"),
    });
    json!({
        "NewPerson": taken(&["name", "roles"], json!({
            "name": of("string"), "roles": map_of(one_of(ROLES)),
        })),
        "ChangePerson": taken(&[], json!({
            "disabled": or_null("boolean"), "invite": of("boolean"),
            "roles": { "type": ["object", "null"], "additionalProperties": one_of(ROLES) },
        })),
        "Person": shown(&required, person),
        "People": page("people", "Person", None),
    })
}

fn webhooks() -> Value {
    let kinds = || json!({ "type": "array", "items": of("string"), "maxItems": 32 });
    let required =
        ["id", "url", "product", "kinds", "made", "cursor", "failures", "since", "error", "off"];
    let hook = json!({
        "id": of("string"), "url": of("string"), "product": or_null("string"), "kinds": kinds(),
        "made": of("integer"), "cursor": of("integer"), "failures": of("integer"),
        "since": or_null("integer"), "error": or_null("string"), "off": of("boolean"),
    });
    let mut made = hook.clone();
    if let Value::Object(made) = &mut made {
        made.insert("secret".to_owned(), of("string"));
    }
    let with_secret: Vec<&str> = required.iter().copied().chain(["secret"]).collect();
    json!({
        "NewWebhook": taken(&["url"], json!({
            "url": of("string"), "product": or_null("string"), "kinds": kinds(),
            "plain_text": of("boolean"),
        })),
        "Webhook": shown(&required, hook),
        "MadeWebhook": shown(&with_secret, made),
        "Webhooks": page("webhooks", "Webhook", None),
        "Settings": settings(),
        "TriedWebhook": shown(&["status", "error"], json!({
            "status": or_null("integer"), "error": or_null("string"),
        })),
    })
}

fn settings() -> Value {
    let all = json!({
        "version": of("string"), "mqtt": or_null("string"), "broker": or_null("string"),
        "http": of("string"), "public_url": of("string"), "api": of("string"),
        "api_public_url": or_null("string"), "tls": of("boolean"), "stored": of("boolean"),
        "anonymous": of("boolean"), "old_signatures": of("boolean"),
        "open_metrics": of("boolean"), "trusted_proxies": of("integer"),
        "max_connections": of("integer"), "keep_events": of("integer"),
        "max_events": of("integer"), "keep_audit": of("integer"), "timeout": of("integer"),
        "url_life": of("integer"),
    });
    let names: Vec<&str> = all.as_object().into_iter().flatten().map(|(name, _)| &**name).collect();
    shown(&names, all.clone())
}

fn devices() -> Value {
    let tags = || map_of(of("string"));
    json!({
        "NewDevice": taken(&["name"], json!({
            "name": of("string"), "secret": or_null("string"),
            "certificate": or_null("string"), "tags": tags(), "disabled": of("boolean"),
        })),
        "MadeDevice": shown(&["product", "name", "made"], json!({
            "product": of("string"), "name": of("string"), "made": of("boolean"),
            "secret": of("string"),
        })),
        "MadeDevices": page("devices", "MadeDevice", None),
        "ChangeDevice": taken(&[], json!({
            "disabled": or_null("boolean"),
            "tags": { "type": ["object", "null"], "additionalProperties": of("string") },
        })),
        // An unreadable row has `unreadable` instead of the other fields.
        "Device": shown(&["product", "name"], json!({
            "product": of("string"), "name": of("string"), "online": of("boolean"),
            "disabled": of("boolean"), "tags": tags(), "modules": map_of(of_name("Module")),
            "task": { "oneOf": [of_name("Task"), of("null")] },
            "not_offered": { "oneOf": [of_name("NotOffered"), of("null")] },
            "counters": map_of(of("integer")), "unreadable": of("boolean"),
            // Of a device that has one, where it is asked for.
            "certificate": of("string"),
        })),
        "Module": shown(&["version", "at"], json!({
            "version": of("string"), "at": of("integer"),
        })),
        "NotOffered": shown(&["code", "detail"], json!({
            "code": of("string"), "detail": of("string"),
        })),
        "Devices": page("devices", "Device", Some("string")),
        "Refused": shown(&["client_id", "at", "peer", "why", "times"], json!({
            "client_id": of("string"), "at": of("integer"), "peer": of("string"),
            "why": of("string"), "times": of("integer"),
        })),
        "Refusals": page("refused", "Refused", None),
    })
}

fn tasks() -> Value {
    let required = [
        "id", "module", "version", "attempt", "status", "number", "percent", "code", "text",
        "began", "pushed", "claimed", "proved", "ended", "how", "by_rule",
    ];
    let task = json!({
        "id": of("string"), "module": of("string"), "version": of("string"),
        "attempt": of("integer"), "status": of("string"), "number": of("integer"),
        "percent": or_null("integer"), "code": of("integer"), "text": of("string"),
        "began": of("integer"), "pushed": or_null("integer"), "claimed": or_null("integer"),
        "proved": or_null("integer"), "ended": or_null("integer"), "how": or_null("string"),
        "by_rule": of("boolean"),
    });
    let mut of_device = task.clone();
    if let Value::Object(of_device) = &mut of_device {
        of_device.insert("device".to_owned(), of("string"));
    }
    let with_device: Vec<&str> = required.iter().copied().chain(["device"]).collect();
    json!({
        "NewUpdate": taken(&["version"], json!({
            "version": of("string"), "module": or_null("string"),
            "timeout": { "type": ["integer", "null"], "minimum": 60, "maximum": 3_600 },
            "confirm": of("boolean"),
            "from_versions": { "type": "array", "items": of("string"), "maxItems": 50 },
        })),
        "Task": shown(&required, task),
        "TaskOfDevice": shown(&with_device, of_device),
        "Tasks": page("tasks", "TaskOfDevice", Some("string")),
    })
}

fn batches() -> Value {
    let required = [
        "batch",
        "module",
        "version",
        "by",
        "made",
        "cancelled",
        "devices",
        "waiting",
        "rev",
        "state",
        "why",
        "wave",
        "dynamic",
        "comment",
    ];
    let batch = json!({
        "batch": of("integer"), "module": of("string"), "version": of("string"),
        "by": one_of(&["devices", "file", "filter", "from-versions"]), "made": of("integer"),
        "cancelled": of("boolean"), "devices": of("integer"), "waiting": of("integer"),
        "rev": of("integer"), "state": one_of(&["running", "paused", "closed"]),
        "why": or_null("string"), "wave": of("integer"), "dynamic": of("boolean"),
        "comment": of("string"),
    });
    let mut progress = batch.clone();
    if let Value::Object(progress) = &mut progress {
        let words = ["creating", "running", "paused", "finished", "cancelled"];
        progress.insert("status".to_owned(), one_of(&words));
        progress.insert("counts".to_owned(), map_of(of("integer")));
        for (name, schema) in [
            ("waves", json!({ "type": "array", "items": of_name("Wave") })),
            ("waits", or_null("string")),
            ("soaks_until", or_null("integer")),
            ("held", or_null("string")),
            ("starts", or_null("integer")),
            ("ends", or_null("integer")),
            ("unstoppable", of("integer")),
            ("reasons", json!({ "type": "array", "items": of_name("Reason") })),
            ("commands", json!({ "type": "array", "items": of("string") })),
            ("course", json!({ "type": "array", "items": of_name("Point") })),
        ] {
            progress.insert(name.to_owned(), schema);
        }
    }
    let more = [
        "status",
        "counts",
        "waves",
        "waits",
        "held",
        "unstoppable",
        "reasons",
        "commands",
        "course",
    ];
    let with_progress: Vec<&str> = required.iter().copied().chain(more).collect();
    let device = ["device", "from", "status", "percent", "code", "text", "at", "attempt"];
    json!({
        "Batch": shown(&required, batch),
        "Batches": page("batches", "Batch", Some("integer")),
        "BatchProgress": shown(&with_progress, progress),
        "BatchDevice": shown(&device, json!({
            "device": of("string"), "from": of("string"), "status": of("string"),
            "percent": or_null("integer"), "code": of("integer"), "text": of("string"),
            "at": or_null("integer"), "attempt": of("integer"),
        })),
        "BatchDevices": page("devices", "BatchDevice", Some("integer")),
    })
}

/// The request of a batch, and a change of one.
fn new_batches() -> Value {
    json!({
        "NewBatch": taken(&["version"], json!({
            "version": of("string"), "module": or_null("string"),
            "timeout": { "type": ["integer", "null"], "minimum": 60, "maximum": 3_600 },
            "confirm": of("boolean"), "override": of("boolean"),
            "devices": { "type": ["array", "null"], "items": of("string"), "maxItems": Batch::MOST },
            "from_versions": { "type": "array", "items": of("string"), "maxItems": 50 },
            "tag": or_null("string"), "prefix": or_null("string"), "all": of("boolean"),
            "dynamic": of("boolean"),
            "user_defined": { "type": ["string", "null"], "maxLength": Firmware::MAX_USER_DEFINED },
            "waves": { "type": "array", "items": of_name("NewWave"), "maxItems": 20 },
            "starts": or_null("integer"), "ends": or_null("integer"),
            "windows": { "type": "array", "items": of_name("Window"), "maxItems": 20 },
            "retries": { "type": "integer", "minimum": 0, "maximum": 10 },
            "retry_pause": { "type": ["integer", "null"], "minimum": 1, "maximum": 86_400 },
            "comment": of("string"),
        })),
        "NewWave": taken(&[], json!({
            "count": or_null("integer"), "percent": or_null("integer"), "tag": or_null("string"),
            "devices": { "type": ["array", "null"], "items": of("string") },
            "pace": of_name("Pace"), "gate": of_name("Gate"), "stop": of_name("StopRule"),
        })),
        "Pace": taken(&[], json!({
            "per_minute": of("integer"), "at_once": of("integer"),
            "bytes_per_second": of("integer"),
        })),
        "Gate": taken(&[], json!({
            "successes": or_null("integer"), "success_percent": or_null("integer"),
            "soak": of("integer"), "person": of("boolean"),
        })),
        "StopRule": taken(&[], json!({
            "failures": or_null("integer"), "percent": or_null("integer"),
            "of_at_least": of("integer"), "silent": or_null("integer"), "cancel": of("boolean"),
        })),
        "Window": taken(&["days", "from", "until"], json!({
            "days": of("integer"), "from": of("integer"), "until": of("integer"),
            "offset": of("integer"),
        })),
        "ChangeBatch": taken(&[], json!({
            "rev": or_null("integer"), "let_run": of("boolean"), "comment": of("string"),
        })),
        "CloneBatch": taken(&[], json!({
            "version": or_null("string"), "comment": or_null("string"),
        })),
    })
}

/// Waves in answers, of a batch and of a rehearsal, and how a batch went over time.
fn waves() -> Value {
    json!({
        "Point": shown(&["at", "succeeded", "failed"], json!({
            "at": of("integer"), "succeeded": of("integer"), "failed": of("integer"),
        })),
        "Wave": shown(&["wave", "who", "devices", "state", "waiting", "counts"], json!({
            "wave": of("integer"), "who": of("string"), "devices": of("integer"),
            "state": one_of(&["waiting", "running", "over"]), "waiting": of("integer"),
            "counts": map_of(of("integer")), "silent": of("integer"), "stalled": of("integer"),
            "again": of("integer"), "pace": of_name("Pace"), "gate": of_name("Gate"),
            "needed": or_null("integer"), "stop": of_name("StopRule"),
        })),
        "Rehearsal": shown(&["devices", "versions", "never", "runs"], json!({
            "devices": of("integer"), "versions": map_of(of("integer")),
            "never": { "type": "array", "items": of("string") },
            "runs": { "type": "array", "items": of_name("Rehearsed") },
        })),
        "Rehearsed": shown(&["fail_per_mille", "waves", "ends", "stopped", "never"], json!({
            "fail_per_mille": of("integer"), "ends": or_null("integer"), "never": of("integer"),
            "peak_bytes_per_second": of("integer"),
            "stopped": { "type": ["array", "null"], "items": of("integer") },
            "waves": { "type": "array", "items": of_name("RehearsedWave") },
        })),
        "RehearsedWave": shown(&["wave", "devices", "begins", "ends"], json!({
            "wave": of("integer"), "devices": of("integer"), "begins": or_null("integer"),
            "ends": or_null("integer"), "succeeded": of("integer"), "failed": of("integer"),
            "left": of("integer"),
        })),
        "Reason": shown(&["code", "text", "devices"], json!({
            "code": of("integer"), "text": of("string"), "devices": of("integer"),
        })),
    })
}

fn firmware() -> Value {
    let required = [
        "product",
        "version",
        "module",
        "state",
        "why",
        "size",
        "md5",
        "sha256",
        "name",
        "description",
        "user_defined",
        "needs",
    ];
    json!({
        "ChangeFirmware": taken(&[], json!({
            "state": { "type": ["string", "null"], "enum": ["draft", "released", "withdrawn", null] },
            "name": or_null("string"), "description": or_null("string"),
            "needs": or_null("string"),
        })),
        "Firmware": shown(&required, json!({
            "product": of("string"), "version": of("string"), "module": of("string"),
            "state": one_of(STATES), "why": or_null("string"), "size": of("integer"),
            "md5": of("string"), "sha256": or_null("string"), "name": of("string"),
            "description": of("string"), "user_defined": or_null("string"),
            "needs": or_null("string"),
        })),
        "FirmwareList": page("firmware", "Firmware", None),
    })
}

/// The body of a call; `None` without one.
pub(super) fn body(op: Op) -> Option<Value> {
    let json = |schema: &str| json!({ "application/json": { "schema": of_name(schema) } });
    let content = match op {
        Op::AddProduct => json("NewProduct"),
        Op::ChangeRegistration => json("ChangeRegistration"),
        Op::AddModule => json("NewModule"),
        Op::ChangeModule => json("ChangeModule"),
        Op::AddKey => json("NewKey"),
        Op::AddPerson => json("NewPerson"),
        Op::ChangePerson => json("ChangePerson"),
        Op::AddWebhook => json("NewWebhook"),
        Op::AddDevices => json!({
            "application/json": { "schema": of_name("NewDevice") },
            "text/csv": { "schema": of("string") },
        }),
        Op::ChangeDevice => json("ChangeDevice"),
        Op::StartUpdate => json("NewUpdate"),
        Op::StartBatch | Op::RehearseBatch => json("NewBatch"),
        Op::CloneBatch => json("CloneBatch"),
        Op::ChangeBatch
        | Op::CancelBatch
        | Op::PauseBatch
        | Op::ResumeBatch
        | Op::NextWave
        | Op::RetryBatch => json("ChangeBatch"),
        Op::AddFirmware => json!({
            "application/octet-stream": { "schema": { "type": "string", "format": "binary" } },
        }),
        Op::ChangeFirmware => json("ChangeFirmware"),
        _ => return None,
    };
    let is_needed = !matches!(
        op,
        Op::CancelBatch
            | Op::PauseBatch
            | Op::ResumeBatch
            | Op::NextWave
            | Op::RetryBatch
            | Op::CloneBatch
    );
    Some(json!({ "required": is_needed, "content": content }))
}

/// The answer of a call; `None` if it is empty.
pub(super) fn answer(op: Op) -> Option<Value> {
    let json = |schema: Value| json!({ "application/json": { "schema": schema } });
    Some(match op {
        Op::Describe => json(of("object")),
        Op::Products => json(of_name("Products")),
        Op::AddProduct | Op::Product => json(of_name("Product")),
        Op::Registration | Op::ChangeRegistration => json(of_name("Registration")),
        Op::Modules => json(of_name("NamedModules")),
        Op::AddModule | Op::ChangeModule => json(of_name("NamedModule")),
        Op::Keys => json(of_name("Keys")),
        Op::AddKey => json(of_name("MadeKey")),
        Op::People => json(of_name("People")),
        Op::AddPerson | Op::ChangePerson => json(of_name("Person")),
        Op::Audit => json(of_name("AuditLines")),
        Op::Settings => json(of_name("Settings")),
        Op::Webhooks => json(of_name("Webhooks")),
        Op::AddWebhook => json(of_name("MadeWebhook")),
        Op::TestWebhook => json(of_name("TriedWebhook")),
        Op::Devices => json(of_name("Devices")),
        Op::AddDevices => json(json!({ "oneOf": [of_name("MadeDevice"), of_name("MadeDevices")] })),
        Op::Device | Op::ChangeDevice => json(of_name("Device")),
        Op::History => json(of_name("Events")),
        Op::Refused => json(of_name("Refusals")),
        Op::Tasks => json(of_name("Tasks")),
        Op::StartUpdate | Op::Cancel | Op::Retry | Op::Confirm | Op::Push => json(of_name("Task")),
        Op::Batches => json(of_name("Batches")),
        Op::StartBatch
        | Op::CloneBatch
        | Op::CancelBatch
        | Op::ChangeBatch
        | Op::PauseBatch
        | Op::ResumeBatch
        | Op::NextWave
        | Op::RetryBatch => json(of_name("Batch")),
        Op::Batch => json(of_name("BatchProgress")),
        Op::RehearseBatch => json(of_name("Rehearsal")),
        Op::Rekey => json(of_name("Rekeyed")),
        Op::BatchDevices => json(of_name("BatchDevices")),
        Op::BatchResults => json!({ "text/csv": { "schema": of("string") } }),
        Op::FirmwareList => json(of_name("FirmwareList")),
        Op::AddFirmware | Op::Firmware | Op::ChangeFirmware => json(of_name("Firmware")),
        Op::Image => json!({
            "application/octet-stream": { "schema": { "type": "string", "format": "binary" } },
        }),
        Op::Events => json!({ "text/event-stream": { "schema": of("string") } }),
        Op::RemoveProduct
        | Op::RemoveKey
        | Op::RemovePerson
        | Op::RemoveWebhook
        | Op::RemoveDevice
        | Op::RemoveModule
        | Op::RemoveFirmware => return None,
    })
}
