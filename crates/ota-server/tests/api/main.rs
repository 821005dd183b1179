//! The API over real sockets on loopback.
#![allow(clippy::unwrap_used)]

mod batches;
mod begun;
mod clock;
mod console;
mod devices;
mod events;
mod firmware;
mod health;
mod hooks;
mod hostile;
mod keys;
mod once;
mod products;
mod proxies;
mod rekey;
mod schemas;
mod strangers;
mod vendor;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use ota_server::{ApiConfig, Running, Service, ServiceConfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// No test waits this long: it is the end of one that would hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(100);

/// A service with an API, and its first key.
pub(crate) struct Site {
    pub(crate) running: Running,
    pub(crate) key: String,
    folder: TempDir,
    /// The id of the last request.
    pub(crate) last_id: std::sync::Mutex<String>,
}

/// An answer: its status, its head as sent, its body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("{why}: {} {text}", self.status))
    }

    /// The value, when the status is this.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{text}");
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// The code of the problem, when the status is this.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16) -> String {
        let value = self.expect(status);
        assert!(self.head.contains("content-type: application/problem+json"), "{}", self.head);
        assert_eq!(value["status"], status);
        value["code"].as_str().unwrap().to_owned()
    }
}

impl Site {
    /// In memory.
    pub(crate) async fn new() -> Self {
        Self::with(ServiceConfig::default(), tempfile::tempdir().unwrap()).await
    }

    /// Over a data folder, which is the given one's.
    pub(crate) async fn durable(folder: TempDir) -> Self {
        let data = Some(folder.path().join("data"));
        Self::with(ServiceConfig { data, ..ServiceConfig::default() }, folder).await
    }

    pub(crate) async fn with(config: ServiceConfig, folder: TempDir) -> Self {
        let file = folder.path().join("key");
        let (mut config, any) = (config, SocketAddr::from(([127, 0, 0, 1], 0)));
        let mut api = config.api.take().unwrap_or_else(|| ApiConfig::new(any));
        api.key_file = Some(file.clone());
        let running = Service::start(ServiceConfig { api: Some(api), ..config }).await.unwrap();
        let key = std::fs::read_to_string(file).unwrap().trim().to_owned();
        Self { running, key, folder, last_id: std::sync::Mutex::default() }
    }

    /// A file beside the service's.
    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Ends the service; its folder stays.
    pub(crate) async fn end(self) -> TempDir {
        self.running.shutdown().await;
        self.folder
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call_as(&self.key, method, path, body).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    pub(crate) async fn call_as(&self, key: &str, method: &str, path: &str, body: &str) -> Answer {
        let header = format!("Authorization: Bearer {key}\r\n");
        self.raw(method, path, &header, body.as_bytes()).await
    }

    /// A request with these headers.
    pub(crate) async fn raw(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let mut head = format!("{method} /api/v1{path} HTTP/1.1\r\nHost: h\r\n{headers}");
        if !body.is_empty() {
            write!(head, "Content-Length: {}\r\n", body.len()).unwrap();
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(body);
        self.send(&bytes).await
    }

    /// Sends bytes and reads the answer to its end. The service may answer before it has read all.
    pub(crate) async fn send(&self, bytes: &[u8]) -> Answer {
        let stream = TcpStream::connect(self.running.api_addr().unwrap()).await.unwrap();
        self.exchange(stream, bytes).await
    }

    /// The same on this connection.
    pub(crate) async fn exchange(&self, mut stream: TcpStream, bytes: &[u8]) -> Answer {
        let _ = timeout(PATIENCE, stream.write_all(bytes)).await.unwrap();
        let mut answer = Vec::new();
        let mut buf = vec![0; 4_096];
        // A reset is an end, too.
        while let Ok(n @ 1..) = timeout(PATIENCE, stream.read(&mut buf)).await.unwrap() {
            answer.extend(&buf[..n]);
        }
        let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        // It is another one each time, and no part of what an answer says. What is no request at all
        // has none.
        let head = match head.split_once("x-request-id: ") {
            Some((before, rest)) => {
                let (id, after) = rest.split_once("\r\n").unwrap();
                assert_eq!(id.len(), 36, "{id}");
                *self.last_id.lock().unwrap() = id.to_owned();
                format!("{before}{after}")
            }
            None => head,
        };
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Answer { status, head, body: answer[end..].to_vec() }
    }

    /// Looks again until an object is as it must become, with pauses that a key's budget allows.
    pub(crate) async fn until(&self, path: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let look = async {
            loop {
                let seen = self.get(path).await.expect(200);
                if fits(&seen) {
                    return seen;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, look).await.unwrap()
    }

    /// The results of a batch. HTTP 1.0 has no chunks.
    pub(crate) async fn results(&self, product: &str, batch: u32) -> String {
        let request = format!(
            "GET /api/v1/products/{product}/batches/{batch}/results HTTP/1.0\r\nHost: h\r\n\
             Authorization: Bearer {}\r\n\r\n",
            self.key
        );
        let answer = self.send(request.as_bytes()).await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: text/csv"), "{}", answer.head);
        assert!(answer.head.contains("filename=\"batch-"), "{}", answer.head);
        String::from_utf8(answer.body).unwrap()
    }

    /// Makes a key.
    pub(crate) async fn key(&self, role: &str, product: &str) -> String {
        let body = format!(r#"{{"name":"k","role":"{role}","product":"{product}"}}"#);
        let made = self.call("POST", "/keys", &body).await.expect(201);
        made["key"].as_str().unwrap().to_owned()
    }

    /// Makes a product with devices.
    pub(crate) async fn product(&self, product: &str, devices: &[&str]) {
        self.call("POST", "/products", &format!(r#"{{"id":"{product}"}}"#)).await.expect(201);
        for name in devices {
            let body = format!(r#"{{"name":"{name}"}}"#);
            self.call("POST", &format!("/products/{product}/devices"), &body).await.expect(201);
        }
    }
}
