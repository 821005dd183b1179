//! Webhooks: who gets what, signed, at least once, and never an address inside.

use std::net::SocketAddr;
use std::time::Duration;

use ota_cloud::api::hook::{Hook, Net, sign};
use ota_server::ServiceConfig;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{PATIENCE, Site};

/// What a receiver got: the head, and the body.
struct Got(String, Vec<u8>);

impl Got {
    fn header(&self, name: &str) -> &str {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
    }

    fn seqs(&self) -> Vec<u64> {
        let body: Value = serde_json::from_slice(&self.1).unwrap();
        body["events"].as_array().unwrap().iter().map(|one| one["seq"].as_u64().unwrap()).collect()
    }
}

/// Answers with these, and then with 204.
async fn receiver(answers: &'static [&str]) -> (SocketAddr, mpsc::UnboundedReceiver<Got>) {
    receive(TcpListener::bind("127.0.0.1:0").await.unwrap(), answers)
}

fn receive(
    listener: TcpListener,
    answers: &'static [&str],
) -> (SocketAddr, mpsc::UnboundedReceiver<Got>) {
    let addr = listener.local_addr().unwrap();
    let (told, got) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in answers.iter().copied().chain(std::iter::repeat("204 No Content")) {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if !matches!(stream.read_line(&mut head).await, Ok(1..)) {
                    return;
                }
            }
            let mut got = Got(head, Vec::new());
            got.1 = vec![0; got.header("Content-Length").parse().unwrap()];
            stream.read_exact(&mut got.1).await.unwrap();
            let _ = told.send(got);
            let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (addr, got)
}

async fn add(site: &Site, url: &str) -> Value {
    let body = json!({ "url": url, "plain_text": true, "kinds": ["registered"] }).to_string();
    site.call("POST", "/webhooks", &body).await.expect(201)
}

#[tokio::test]
async fn events_come_signed_and_again_until_they_are_taken() {
    let (addr, mut got) = receiver(&["500 No", "302 Found\r\nLocation: http://127.0.0.1:1/"]).await;
    let mut config = ServiceConfig::default();
    config.webhooks.allow = vec![Net::parse("127.0.0.0/8").unwrap()];
    config.webhooks.pause = Duration::from_millis(10);
    let site = Site::with(config, tempfile::tempdir().unwrap()).await;
    site.product("PRODUCT001", &["before"]).await;
    let made = add(&site, &format!("http://{addr}/in?token=1")).await;
    let secret = made["secret"].as_str().unwrap();
    site.product("PRODUCT002", &["d1"]).await;

    let mut next = async || timeout(PATIENCE, got.recv()).await.unwrap().unwrap();
    let tries = [next().await, next().await, next().await];
    for one in &tries {
        assert!(one.0.starts_with("POST /in?token=1 HTTP/1.1\r\n"), "{}", one.0);
        assert_eq!(one.header("X-Ota-Id"), tries[0].header("X-Ota-Id"));
        assert_eq!(one.seqs(), tries[0].seqs());
        let unix = one.header("X-Ota-Timestamp").parse().unwrap();
        let mark = sign(secret.as_bytes(), one.header("X-Ota-Id"), unix, &one.1);
        assert_eq!(one.header("X-Ota-Signature"), format!("v1={mark}"));
    }
    // What was there before it is not sent, and nothing is left out.
    let first = tries[0].seqs();
    assert_eq!(first.len(), 1);
    site.call("POST", "/products/PRODUCT002/devices", r#"{"name":"d2"}"#).await.expect(201);
    let after = next().await;
    assert!(after.seqs().iter().all(|seq| *seq > first[0]));
    assert_ne!(after.header("X-Ota-Id"), tries[0].header("X-Ota-Id"));
    let list = site.get("/webhooks").await.expect(200);
    assert!(!list.to_string().contains(secret));
    let path = format!("/webhooks/{}", made["id"].as_str().unwrap());
    let tried = site.call("POST", &format!("{path}/test"), "").await.expect(200);
    assert_eq!(tried, json!({ "status": 204, "error": null }));
    site.call("DELETE", &path, "").await.expect(204);
    let gone = site.call("POST", &format!("{path}/test"), "").await;
    assert_eq!(gone.problem(404), "unknown-webhook");
    assert_eq!(site.get("/webhooks").await.expect(200), json!({ "webhooks": [] }));
}

#[tokio::test]
async fn an_address_inside_is_not_reached_unless_it_is_listed() {
    let (addr, mut got) = receiver(&[]).await;
    let site = Site::new().await;
    for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        let made = add(&site, &format!("http://{host}:{}/", addr.port())).await;
        let path = format!("/webhooks/{}/test", made["id"].as_str().unwrap());
        let tried = site.call("POST", &path, "").await.expect(200);
        assert_eq!(tried["status"], Value::Null);
        let why = tried["error"].as_str().unwrap();
        assert!(why.contains("inside"), "{host}: {why}");
    }
    assert!(got.try_recv().is_err());
    let refused = site.call("POST", "/webhooks", r#"{"url":"http://h"}"#).await;
    assert_eq!(refused.problem(400), "invalid");
    site.product("PRODUCT001", &[]).await;
    let one = site.key("admin", "PRODUCT001").await;
    assert_eq!(site.call_as(&one, "GET", "/webhooks", "").await.problem(403), "forbidden");
}

/// A configuration that reaches loopback and does not wait long.
fn near() -> ServiceConfig {
    let mut config = ServiceConfig::default();
    config.webhooks.allow = vec![Net::parse("127.0.0.0/8").unwrap()];
    config.webhooks.pause = Duration::from_millis(5);
    config.webhooks.patience = Duration::from_millis(200);
    config.alert_check = Duration::from_millis(20);
    config
}

/// What a webhook's state says of its last failure, once there is one.
async fn failure(site: &Site, id: &str) -> String {
    loop {
        let list = site.get("/webhooks").await.expect(200);
        let hook = list["webhooks"].as_array().unwrap().iter().find(|hook| hook["id"] == id);
        if let Some(why) = hook.unwrap()["error"].as_str() {
            return why.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Answers every connection with these bytes, again and again while somebody reads.
async fn flood(head: &'static [u8], more: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut sent = stream.write_all(head).await;
                while sent.is_ok() && !more.is_empty() {
                    sent = stream.write_all(more).await;
                }
                // A slow receiver: it holds the connection and says nothing.
                let _ = stream.read_to_end(&mut Vec::new()).await;
            });
        }
    });
    addr
}

#[tokio::test]
async fn a_redirect_to_this_machine_is_a_failure_and_is_not_followed() {
    let (trap, mut caught) = receiver(&[]).await;
    let answer = format!("307 Temporary Redirect\r\nLocation: http://{trap}/");
    let answers: &[&str] = &[Box::leak(answer.into_boxed_str())];
    let (addr, mut got) = receiver(Box::leak(answers.to_vec().into_boxed_slice())).await;
    let site = Site::with(near(), tempfile::tempdir().unwrap()).await;
    let made = add(&site, &format!("http://{addr}/")).await;
    let path = format!("/webhooks/{}/test", made["id"].as_str().unwrap());
    let tried = site.call("POST", &path, "").await.expect(200);
    assert_eq!(tried, json!({ "status": null, "error": "the answer is 307" }));
    assert!(got.recv().await.is_some());
    assert!(caught.try_recv().is_err());
}

#[tokio::test]
async fn a_slow_or_a_huge_answer_ends_and_keeps_no_other_webhook_waiting() {
    let slow = flood(b"", b"").await;
    let heads = flood(b"HTTP/1.1 200 OK\r\n", &[b'a'; 4_096]).await;
    let body = flood(b"HTTP/1.1 200 OK\r\n\r\n", &[b'a'; 4_096]).await;
    let (addr, mut got) = receiver(&[]).await;
    let site = Site::with(near(), tempfile::tempdir().unwrap()).await;
    let (slow, heads) = (
        add(&site, &format!("http://{slow}/")).await,
        add(&site, &format!("http://{heads}/")).await,
    );
    let body = add(&site, &format!("http://{body}/")).await;
    add(&site, &format!("http://{addr}/")).await;
    site.product("PRODUCT001", &["d1"]).await;
    assert_eq!(timeout(PATIENCE, got.recv()).await.unwrap().unwrap().seqs().len(), 1);
    let id = |made: &Value| made["id"].as_str().unwrap().to_owned();
    assert_eq!(failure(&site, &id(&slow)).await, "no answer within 200ms");
    let why = failure(&site, &id(&heads)).await;
    assert!(why.contains("no HTTP") || why.contains("incomplete"), "{why}");
    let path = format!("/webhooks/{}/test", id(&body));
    assert_eq!(site.call("POST", &path, "").await.expect(200)["status"], 200);
    site.end().await;
}

#[tokio::test]
async fn a_receiver_without_a_trusted_certificate_gets_nothing() {
    let (addr, mut got) = receiver(&[]).await;
    let site = Site::with(near(), tempfile::tempdir().unwrap()).await;
    let body = json!({ "url": format!("https://127.0.0.1:{}/", addr.port()) }).to_string();
    let made = site.call("POST", "/webhooks", &body).await.expect(201);
    let path = format!("/webhooks/{}/test", made["id"].as_str().unwrap());
    let tried = site.call("POST", &path, "").await.expect(200);
    assert_eq!(tried["status"], Value::Null, "{tried}");
    assert!(got.try_recv().is_err());
    site.end().await;
}

/// A receiver that is away loses nothing, over a restart; after a day nothing is sent, which is an
/// alert until a test succeeds.
#[tokio::test]
async fn a_receiver_that_is_away_gets_everything_later_and_after_a_day_nobody_calls() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    let folder = tempfile::tempdir().unwrap();
    let data = Some(folder.path().join("data"));
    let site = Site::with(ServiceConfig { data: data.clone(), ..near() }, folder).await;
    let made = add(&site, &format!("http://{addr}/")).await;
    let id = made["id"].as_str().unwrap().to_owned();
    site.product("PRODUCT001", &[]).await;
    let names: String = (0..120).map(|at| format!("d{at}\n")).collect();
    let csv = format!("Authorization: Bearer {}\r\nContent-Type: text/csv\r\n", site.key);
    site.raw("POST", "/products/PRODUCT001/devices", &csv, names.as_bytes()).await.expect(201);
    assert!(failure(&site, &id).await.contains("no connection"));
    let folder = site.end().await;

    // It has failed for a day and more.
    let database = rusqlite::Connection::open(folder.path().join("data/cloud.db")).unwrap();
    let row = "kind = 14 AND id = ?1";
    let body: Vec<u8> = database
        .query_row(&format!("SELECT body FROM item WHERE {row}"), [&id], |row| row.get(0))
        .unwrap();
    let mut hook = Hook::from_bytes(&body).unwrap();
    assert!(hook.failures > 0 && !hook.off);
    (hook.since, hook.next) = (Some(1), 0);
    let body = hook.to_bytes().unwrap();
    let change = format!("UPDATE item SET body = ?2 WHERE {row}");
    database.execute(&change, rusqlite::params![id, body]).unwrap();
    drop(database);
    let site = Site::with(ServiceConfig { data, ..near() }, folder).await;
    let off = async |wanted: bool| loop {
        let list = site.get("/webhooks").await.expect(200);
        let metrics = site.metrics().await;
        let alert = metrics[r#"ota_alert{alert="webhook"}"#];
        if list["webhooks"][0]["off"] == wanted && (alert > 0.0) == wanted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    off(true).await;

    // It is back.
    let (_, mut got) = receive(TcpListener::bind(addr).await.unwrap(), &[]);
    let tried = site.call("POST", &format!("/webhooks/{id}/test"), "").await.expect(200);
    assert_eq!(tried["status"], 204, "{tried}");
    off(false).await;
    let mut next = async || timeout(PATIENCE, got.recv()).await.unwrap().unwrap().seqs();
    next().await;
    let all = [next().await, next().await, next().await];
    assert_eq!(all.each_ref().map(Vec::len), [50, 50, 20]);
    let all = all.concat();
    assert!(all.windows(2).all(|two| two[0] < two[1]));
    let told: Vec<(String, bool)> = events(&site).await;
    assert_eq!(told, [("webhook".to_owned(), true), ("webhook".to_owned(), false)]);
    site.end().await;
}

/// The alerts of the journal.
async fn events(site: &Site) -> Vec<(String, bool)> {
    let database = rusqlite::Connection::open(site.path("data/cloud.db")).unwrap();
    let sql = "SELECT body FROM event WHERE kind = 'alert' ORDER BY seq";
    let mut rows = database.prepare(sql).unwrap();
    let rows = rows.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    rows.map(|body| {
        let told: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        (told["alert"].as_str().unwrap().to_owned(), told["raised"] == true)
    })
    .collect()
}
