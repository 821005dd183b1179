//! Batches under `/api/v1`, as people and scripts begin them.

use serde_json::{Value, json};
use tokio::time::timeout;

use crate::devices::Device;
use crate::{PATIENCE, Site};

const SECRET: &str = "MDEyMzQ1Njc4OWFiY2RlZg==";

/// A product with a firmware 1.0.0 and these devices, each with a tag `line` and its secret.
async fn plant(site: &Site, devices: &[(&str, &str)]) {
    site.product("A", &[]).await;
    for (name, line) in devices {
        let new = json!({ "name": name, "secret": SECRET, "tags": { "line": line } });
        site.call("POST", "/products/A/devices", &new.to_string()).await.expect(201);
    }
    let headers = format!("Authorization: Bearer {}\r\n", site.key);
    site.raw("POST", "/products/A/firmware/1.0.0", &headers, b"firmware").await.expect(201);
}

async fn begin(site: &Site, body: Value) -> crate::Answer {
    site.call("POST", "/products/A/batches", &body.to_string()).await
}

/// The devices of a batch and what their tasks say, page by page.
async fn rows(site: &Site, batch: u64) -> Vec<(String, String, String)> {
    let (mut rows, mut after) = (Vec::new(), 0);
    loop {
        let path = format!("/products/A/batches/{batch}/devices?limit=2&after={after}");
        let page = site.get(&path).await.expect(200);
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        for row in page["devices"].as_array().unwrap() {
            rows.push((text(row, "device"), text(row, "status"), text(row, "text")));
        }
        let Some(next) = page["next"].as_u64() else { return rows };
        after = next;
    }
}

async fn until(site: &Site, batch: u64, fits: impl Fn(&Value) -> bool) -> Value {
    let path = format!("/products/A/batches/{batch}");
    let asked = async {
        loop {
            let shown = site.get(&path).await.expect(200);
            if fits(&shown) {
                return shown;
            }
        }
    };
    timeout(PATIENCE, asked).await.unwrap()
}

#[tokio::test]
async fn a_batch_is_for_those_that_are_named_or_match_when_it_begins() {
    let site = Site::new().await;
    let all = [("a1", "7"), ("a2", "8"), ("b1", "7"), ("b2", "8"), ("b3", "7")];
    plant(&site, &all).await;
    let mut devices = Vec::new();
    for (name, runs) in [("a1", "0.1.0"), ("a2", "0.2.0"), ("b1", "0.2.0"), ("b2", "1.0.0")] {
        devices.push(Device::start(&site, name, SECRET, runs).await);
    }
    for (choice, by, wanted) in [
        (json!({ "devices": ["b1", "a1"] }), "devices", vec!["b1", "a1"]),
        (json!({ "from_versions": ["0.1.0"] }), "from-versions", vec!["a1"]),
        (json!({ "from_versions": ["0.2.0", "0.1.0"] }), "from-versions", vec!["a1", "a2", "b1"]),
        (json!({ "tag": "line:7" }), "filter", vec!["a1", "b1", "b3"]),
        (json!({ "prefix": "b" }), "filter", vec!["b1", "b2", "b3"]),
        (json!({ "prefix": "b", "tag": "line:7" }), "filter", vec!["b1", "b3"]),
        (json!({ "tag": "line:8", "from_versions": ["0.2.0"] }), "filter", vec!["a2"]),
        (json!({ "all": true }), "from-versions", vec!["a1", "a2", "b1", "b2", "b3"]),
    ] {
        let mut body = choice.clone();
        body["version"] = json!("1.0.0");
        body["override"] = json!(true);
        let made = begin(&site, body).await.expect(201);
        let by = if choice["all"] == true { "filter" } else { by };
        assert_eq!((&made["by"], &made["version"]), (&json!(by), &json!("1.0.0")), "{choice}");
        assert_eq!(made["devices"], wanted.len(), "{choice}");
        let batch = made["batch"].as_u64().unwrap();
        until(&site, batch, |shown| shown["waiting"] == 0).await;
        let rows = rows(&site, batch).await;
        let names: Vec<&str> = rows.iter().map(|row| row.0.as_str()).collect();
        assert_eq!(names, wanted, "{choice}");
        for (name, status, text) in &rows {
            if name == "b2" {
                assert_eq!(
                    (status.as_str(), text.as_str()),
                    ("failed", "firmware no need update.")
                );
            }
        }
    }
    let listed = site.get("/products/A/batches?limit=3").await.expect(200);
    let numbers = |page: &Value| -> Vec<u64> {
        page["batches"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["batch"].as_u64().unwrap())
            .collect()
    };
    assert_eq!((numbers(&listed), &listed["next"]), (vec![8, 7, 6], &json!(6)));
    for _ in 0..3 {
        begin(&site, json!({ "version": "1.0.0", "devices": ["a1"] })).await.expect(201);
    }
    // None is lost or doubled where a page, or a piece that is read, ends.
    for limit in 1..=12 {
        let (mut found, mut path) = (Vec::new(), format!("/products/A/batches?limit={limit}"));
        loop {
            let page = site.get(&path).await.expect(200);
            found.extend(numbers(&page));
            let Some(next) = page["next"].as_u64() else { break };
            path = format!("/products/A/batches?limit={limit}&after={next}");
        }
        assert_eq!(found, (1..=11).rev().collect::<Vec<_>>(), "{limit}");
    }
}

#[tokio::test]
async fn a_device_that_is_removed_holds_no_batch_open() {
    let site = Site::new().await;
    plant(&site, &[("d1", "7"), ("d2", "7")]).await;
    begin(&site, json!({ "version": "1.0.0", "all": true })).await.expect(201);
    until(&site, 1, |shown| shown["waiting"] == 0).await;
    site.call("DELETE", "/products/A/devices/d1", "").await.expect(204);
    let row = rows(&site, 1).await.swap_remove(0);
    assert_eq!(row, ("d1".into(), "failed".into(), "the device was removed".into()));
    site.call("DELETE", "/products/A/devices/d2", "").await.expect(204);
    until(&site, 1, |shown| shown["status"] == "finished").await;
    let over = site.call("POST", "/products/A/batches/1/cancel", "").await;
    assert_eq!(over.problem(409), "wrong-state");
}

#[tokio::test]
async fn a_product_waits_for_one_step_of_each_batch_of_another_and_no_more() {
    let site = Site::new().await;
    plant(&site, &[("d1", "7")]).await;
    let many: Vec<String> = (0..450).map(|n| format!("m{n}")).collect();
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: text/csv\r\n", site.key);
    site.raw("POST", "/products/A/devices", &headers, many.join("\n").as_bytes()).await.expect(201);
    site.product("B", &["b1"]).await;
    let image = format!("Authorization: Bearer {}\r\n", site.key);
    site.raw("POST", "/products/B/firmware/1.0.0", &image, b"firmware").await.expect(201);
    for _ in 0..3 {
        let all = json!({ "version": "1.0.0", "devices": many, "override": true });
        begin(&site, all).await.expect(201);
    }
    let body = json!({ "version": "1.0.0", "devices": ["b1"] }).to_string();
    site.call("POST", "/products/B/batches", &body).await.expect(201);
    let asked =
        async { while site.get("/products/B/batches/1").await.expect(200)["waiting"] != 0 {} };
    timeout(PATIENCE, asked).await.unwrap();
    until(&site, 3, |shown| shown["waiting"] == 0).await;
}

#[tokio::test]
async fn what_cannot_be_a_batch_is_refused_with_its_field_and_leaves_nothing() {
    let site = Site::new().await;
    plant(&site, &[("d1", "7"), ("d2", "7")]).await;
    let many: Vec<String> = (0..100_001).map(|n| format!("d{n}")).collect();
    for (body, status, code) in [
        (json!({ "version": "1.0.0" }), 400, "invalid"),
        (json!({ "version": "1.0.0", "devices": [] }), 404, "unknown-device"),
        (json!({ "version": "1.0.0", "prefix": "x" }), 404, "unknown-device"),
        // What a script has left empty.
        (json!({ "version": "1.0.0", "prefix": "" }), 400, "invalid"),
        (json!({ "version": "1.0.0", "tag": ":" }), 400, "invalid"),
        (json!({ "version": "1.0.0", "tag": "line" }), 400, "invalid"),
        (json!({ "version": "1.0.0", "devices": ["d1", "d1"] }), 400, "invalid"),
        (json!({ "version": "1.0.0", "devices": ["d1", "d 2"] }), 400, "invalid"),
        (json!({ "version": "1.0.0", "devices": ["d1", "d9"] }), 404, "unknown-device"),
        (json!({ "version": "1.0.0", "devices": ["d1"], "all": true }), 400, "invalid"),
        (json!({ "version": "1.0.0", "devices": ["d1"], "prefix": "" }), 400, "invalid"),
        (json!({ "version": "1.0.0", "devices": many }), 413, "too-large"),
        (json!({ "version": "9.9.9", "devices": ["d1"] }), 404, "unknown-firmware"),
        (json!({ "version": "1/0", "devices": ["d1"] }), 400, "invalid"),
        (json!({ "version": "1.0.0", "devices": ["d1"], "timeout": 1 }), 400, "invalid"),
        (json!({ "version": "1.0.0", "device": ["d1"] }), 400, "invalid"),
    ] {
        assert_eq!(begin(&site, body.clone()).await.problem(status), code, "{body}");
    }
    let draft = format!("Authorization: Bearer {}\r\n", site.key);
    site.raw("POST", "/products/A/firmware/2.0.0?state=draft", &draft, b"draft").await.expect(201);
    let body = json!({ "version": "2.0.0", "devices": ["d1"] });
    assert_eq!(begin(&site, body).await.problem(409), "wrong-state");
    assert_eq!(site.get("/products/A/batches").await.expect(200)["batches"], json!([]));
    for path in ["1", "0", "4294967296", "99999999999999999999", "x"] {
        let status =
            if path.len() > 10 && path.starts_with('9') || path == "x" { 400 } else { 404 };
        site.get(&format!("/products/A/batches/{path}")).await.problem(status);
    }
}

#[tokio::test]
async fn a_batch_that_is_cancelled_ends_and_named_again_is_the_same() {
    let site = Site::new().await;
    plant(&site, &[("d1", "7"), ("d2", "7")]).await;
    let headers = format!("Authorization: Bearer {}\r\nIdempotency-Key: night-1\r\n", site.key);
    let body = json!({ "version": "1.0.0", "all": true }).to_string();
    for _ in 0..2 {
        let made = site.raw("POST", "/products/A/batches", &headers, body.as_bytes()).await;
        assert_eq!(made.expect(201)["batch"], 1);
    }
    until(&site, 1, |shown| shown["waiting"] == 0).await;
    // Whoever has an open task keeps it, unless the batch overrides.
    let second = begin(&site, json!({ "version": "1.0.0", "devices": ["d1"] })).await.expect(201);
    assert_eq!(second["batch"], 2);
    let shown = until(&site, 2, |shown| shown["status"] == "finished").await;
    assert_eq!(shown["counts"], json!({ "failed": 1 }));
    let viewer = site.key("viewer", "A").await;
    let refused = site.call_as(&viewer, "POST", "/products/A/batches/1/cancel", "").await;
    assert_eq!(refused.problem(403), "forbidden");
    for _ in 0..2 {
        let ended = site.call("POST", "/products/A/batches/1/cancel", "").await.expect(200);
        assert_eq!((&ended["cancelled"], &ended["waiting"]), (&json!(true), &json!(0)));
    }
    let shown = until(&site, 1, |shown| shown["counts"] == json!({ "failed": 2 })).await;
    assert_eq!(shown["status"], "cancelled");
    for name in ["d1", "d2"] {
        let device = site.get(&format!("/products/A/devices/{name}")).await.expect(200);
        assert_eq!(device["task"]["how"], "cancelled");
    }
    assert_eq!(
        site.call("POST", "/products/A/batches/9/cancel", "").await.problem(404),
        "unknown-batch"
    );
}
