//! Webhooks: who gets what, signed, at least once, and never an address inside.

use std::net::SocketAddr;
use std::time::Duration;

use ota_cloud::api::hook::{Net, sign};
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (told, got) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        for answer in answers.iter().copied().chain(std::iter::repeat("204 No Content")) {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(stream.read_line(&mut head).await.unwrap(), 0);
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
