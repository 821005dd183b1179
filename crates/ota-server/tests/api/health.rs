//! Health, readiness and metrics.

use std::collections::BTreeMap;
use std::time::Duration;

use ota_server::ServiceConfig;
use serde_json::Value;

use crate::vendor::{HUB, Sent, now, signed};
use crate::{Answer, Site};

impl Site {
    /// A request at a path beside `/api/v1`.
    pub(crate) async fn beside(&self, method: &str, path: &str, headers: &str) -> Answer {
        let head =
            format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{headers}Connection: close\r\n\r\n");
        self.send(head.as_bytes()).await
    }

    /// The metrics, by name with labels.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let header = format!("Authorization: Bearer {}\r\n", self.key);
        let answer = self.beside("GET", "/metrics", &header).await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
        parse(&String::from_utf8(answer.body).unwrap())
    }
}

/// Parses the text format strictly: each sample belongs to the family above it.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let (mut found, mut families) = (BTreeMap::new(), BTreeMap::new());
    let mut last = String::new();
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            assert!(!help.is_empty() && families.insert(name.to_owned(), "").is_none(), "{line}");
            last = name.to_owned();
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind) && name == last, "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
        } else {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let bare = name.split_once('{').map_or(name, |(bare, labels)| {
                assert!(labels.ends_with("\"}"), "{line}");
                bare
            });
            let of =
                ["_bucket", "_sum", "_count"].into_iter().find_map(|end| bare.strip_suffix(end));
            assert!(bare == last || of == Some(last.as_str()), "{line}");
            assert!(bare.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
            assert!(found.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{line}");
        }
    }
    found
}

#[tokio::test]
async fn a_probe_needs_no_key_and_leaves_no_line() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    let mut log = site.running.handle().log();
    for path in ["/healthz", "/readyz"] {
        let answer = site.beside("GET", path, "").await;
        let value = answer.expect(200);
        assert!(value["alive"] == true || value["ready"] == true, "{value}");
        assert_eq!(site.beside("HEAD", path, "").await.body, b"");
        assert_eq!(site.beside("POST", path, "").await.problem(405), "bad-method");
    }
    assert!(log.try_next().is_none());
    let metrics = site.metrics().await;
    assert_eq!(metrics["ota_store_up"], 1.0);
    site.end().await;
}

#[tokio::test]
#[ignore = "takes seconds of real time: the gate runs it in a step of its own"]
async fn a_store_that_refuses_is_not_ready_until_it_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let (data, alert_check) = (Some(folder.path().join("data")), Duration::from_millis(20));
    let config = ServiceConfig { data, alert_check, ..ServiceConfig::default() };
    let site = Site::with(config, folder).await;
    assert_eq!(site.beside("GET", "/readyz", "").await.status, 200);
    let database = rusqlite::Connection::open(site.path("data/cloud.db")).unwrap();
    database
        .execute_batch(
            "CREATE TRIGGER broken BEFORE INSERT ON item BEGIN SELECT RAISE(ABORT, 'x'); END;
             CREATE TRIGGER worse BEFORE INSERT ON count BEGIN SELECT RAISE(ABORT, 'x'); END;",
        )
        .unwrap();
    assert_ne!(site.call("POST", "/products", r#"{"id":"P2"}"#).await.status, 201);
    let answer = site.beside("GET", "/readyz", "").await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let value = answer.expect(503);
    assert_eq!(value["ready"], false);
    assert!(text.contains("the store refuses"), "{text}");
    assert!(!text.contains("cloud.db") && !text.contains("trigger"), "{text}");
    assert_eq!(site.metrics().await["ota_store_up"], 0.0);
    let alert = r#"ota_alert{alert="store"}"#;
    while site.metrics().await[alert] != 1.0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // It still turns: to start it again would not help.
    assert_eq!(site.beside("GET", "/healthz", "").await.status, 200);
    database.execute_batch("DROP TRIGGER broken; DROP TRIGGER worse").unwrap();
    // Nobody writes but the probe.
    while site.beside("GET", "/readyz", "").await.status != 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Both are events of the time when they happened, written once that was possible.
    let sql = "SELECT body FROM event WHERE kind = 'alert' ORDER BY seq";
    let told = loop {
        let mut rows = database.prepare(sql).unwrap();
        let told = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
        let told: Vec<Value> =
            told.map(|body| serde_json::from_slice(&body.unwrap()).unwrap()).collect();
        if told.len() == 2 {
            break told;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for (told, raised) in told.iter().zip([true, false]) {
        assert_eq!(told["alert"], "store");
        assert_eq!(told["raised"], raised);
    }
    assert_eq!(site.metrics().await[alert], 0.0);
    site.end().await;
}

#[tokio::test]
async fn metrics_are_for_keys_of_all_products_and_do_not_grow_with_the_fleet() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    site.product("PRODUCT001", &["d1", "d2"]).await;
    let before = site.metrics().await;
    assert_eq!(before["ota_devices"], 2.0);
    assert_eq!(before[r#"ota_tasks{status="pending"}"#], 0.0);
    assert_eq!(before[r#"ota_connections{listener="api"}"#], 1.0);
    let route = r#"ota_api_calls_total{method="POST",route="/api/v1/products",class="2xx"}"#;
    assert_eq!(before[route], 1.0);
    for name in ["ota_commit_duration_seconds_count", "ota_store_bytes", "ota_disk_free_bytes"] {
        assert!(before[name] > 0.0, "{name}");
    }
    let bucket = r#"ota_commit_duration_seconds_bucket{le="+Inf"}"#;
    assert_eq!(before[bucket], before["ota_commit_duration_seconds_count"]);
    site.product("PRODUCT002", &["d1", "d2", "d3"]).await;
    let after = site.metrics().await;
    assert_eq!(after["ota_devices"], 5.0);
    // The scrape itself is a call.
    let grown: Vec<_> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!(grown, [r#"ota_api_calls_total{method="GET",route="/metrics",class="2xx"}"#]);

    assert_eq!(site.beside("GET", "/metrics", "").await.problem(401), "no-key");
    let (one, all) = (site.key("admin", "PRODUCT001").await, site.viewer().await);
    let header = |key: &str| format!("Authorization: Bearer {key}\r\n");
    assert_eq!(site.beside("GET", "/metrics", &header(&one)).await.problem(403), "forbidden");
    assert_eq!(site.beside("GET", "/metrics", &header(&all)).await.status, 200);
    site.end().await;
}

impl Site {
    /// A key that may read everything.
    async fn viewer(&self) -> String {
        let made = self.call("POST", "/keys", r#"{"name":"k","role":"viewer"}"#).await.expect(201);
        made["key"].as_str().unwrap().to_owned()
    }
}

/// The last line of the audit, as it is stored.
fn audited(site: &Site) -> serde_json::Value {
    let database = rusqlite::Connection::open(site.path("data/cloud.db")).unwrap();
    let sql = "SELECT body FROM audit ORDER BY seq DESC LIMIT 1";
    let body: Vec<u8> = database.query_row(sql, [], |row| row.get(0)).unwrap();
    serde_json::from_slice(&body).unwrap()
}

#[tokio::test]
async fn a_request_has_one_id_in_its_answer_its_log_line_and_its_audit_line() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    let mut log = site.running.handle().log();
    let called = |log: &mut ota_server::Log| {
        std::iter::from_fn(|| log.try_next()).find_map(|entry| match entry.what {
            ota_server::What::Called { request, .. } => Some(request),
            _ => None,
        })
    };
    let last = || site.last_id.lock().unwrap().clone();
    site.product("PRODUCT001", &[]).await;
    assert_eq!(audited(&site)["call"], "AddProduct");
    assert_eq!(audited(&site)["request"], last());
    assert_eq!(called(&mut log), Some(last()));
    let first = last();
    // A refused call has one, too.
    site.call("POST", "/products", r#"{"id":"PRODUCT001"}"#).await.problem(409);
    assert_ne!(first, last());
    assert_eq!(called(&mut log), Some(last()));
    // The vendor's API says it in its answer, as well.
    let body = serde_json::json!({ "ProductId": "PRODUCT001", "FwType": "bms" }).to_string();
    let sent = Sent { key: &site.key, version: HUB, at: now(), more: "" };
    let answer = site.vendor(&signed("CreateOtaModule", &body, &sent)).await;
    assert_eq!(answer["RequestId"], last(), "{answer}");
    assert_eq!(audited(&site)["request"], last());
    assert_eq!(called(&mut log), Some(last()));
    // While the cloud uses the folder.
    let data = site.path("data");
    let head = ota_store::verify_audit(&data, &data.join("master.key")).unwrap();
    assert!(head.seq >= 2);
    site.end().await;
}
