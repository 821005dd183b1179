//! The API as an OpenAPI document, generated from [`OPERATIONS`].

use serde_json::{Map, Value, json};

use super::call::{OPERATIONS, Operation, Scope};
use super::schema;

/// The document, OpenAPI 3.1, as JSON in lines.
#[must_use]
pub fn describe() -> String {
    let mut paths = Map::new();
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(methods) = path {
            methods.insert(operation.method.to_ascii_lowercase(), described(operation));
        }
    }
    let document = json!({
        "openapi": "3.1.0",
        "info": { "title": "ota cloud", "version": "1" },
        "security": [{ "key": [] }],
        "components": {
            "securitySchemes": { "key": { "type": "http", "scheme": "bearer" } },
            "schemas": schema::schemas(),
        },
        "paths": paths,
    });
    let mut text = format!("{document:#}");
    text.push('\n');
    text
}

fn described(operation: &Operation) -> Value {
    let in_path = operation.path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(json!({
            "name": name, "in": "path", "required": true, "schema": { "type": "string" },
        }))
    });
    let in_query = operation
        .query
        .iter()
        .map(|name| json!({ "name": name, "in": "query", "schema": { "type": "string" } }));
    let parameters: Vec<Value> = in_path.chain(in_query).collect();
    let scope = match operation.scope {
        Scope::Product => "the product",
        Scope::Service => "all products",
        Scope::Anybody => "any product",
    };
    let mut done = json!({ "description": "Done" });
    if let (Value::Object(done), Some(content)) = (&mut done, schema::answer(operation.op)) {
        done.insert("content".to_owned(), content);
    }
    let mut described = json!({
        "operationId": format!("{:?}", operation.op),
        "summary": operation.summary,
        "description": format!("Needs the role {} for {scope}.", operation.right.role().word()),
        "parameters": parameters,
        "responses": {
            operation.status.to_string(): done,
            "default": {
                "description": "Refused",
                "content": { "application/problem+json": {
                    "schema": { "$ref": "#/components/schemas/Problem" },
                } },
            },
        },
    });
    if let (Value::Object(described), Some(body)) = (&mut described, schema::body(operation.op)) {
        described.insert("requestBody".to_owned(), body);
    }
    described
}
