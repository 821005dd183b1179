//! The firmware server with faults, over sockets.

use std::time::Duration;

use ota_cloud::fault::{Fault, FaultPlan, Rule};
use ota_cloud::sign::UrlSigner;
use ota_server::{Log, NewFirmware, Running, ServiceConfig, What};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{PATIENCE, PRODUCT, http, start_with};

struct Site {
    running: Running,
    log: Log,
    /// A request for the image.
    get: String,
}

fn image() -> Vec<u8> {
    (0..300_000_u32).map(|i| (i % 251) as u8).collect()
}

impl Site {
    async fn new(fault: Fault, http_patience: Duration) -> Self {
        let mut rule = Rule::new(fault);
        rule.times = 1;
        let faults = FaultPlan::new(1).with(rule);
        let url_key = Some(http::KEY.to_vec());
        let config = ServiceConfig { faults, url_key, http_patience, ..Default::default() };
        let running = start_with(config).await;
        let new = NewFirmware::memory(PRODUCT, "1.0.0", image());
        let path = running.handle().add_firmware(new).await.unwrap().path;
        let target = UrlSigner::new("", http::KEY, UrlSigner::LIFE).sign(&path, http::unix());
        let log = running.handle().log();
        Self { running, log, get: format!("GET {target} HTTP/1.1\r\nHost: x\r\n") }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.running.http_addr()).await.unwrap()
    }

    /// The next request or fault of the log.
    async fn told(&mut self) -> What {
        timeout(PATIENCE, self.log.next()).await.unwrap().unwrap().what
    }
}

/// A head in two pieces, then three requests in one: each is answered once, in order.
#[tokio::test]
async fn requests_in_pieces_and_several_in_one_are_answered() {
    let mut site = Site::new(Fault::Gone, PATIENCE).await;
    let mut stream = site.connect().await;
    let get = site.get.clone();
    let (first, rest) = get.split_at(20);
    stream.write_all(first.as_bytes()).await.unwrap();
    tokio::task::yield_now().await;
    let last = "Connection: close\r\n\r\n";
    let more =
        format!("{rest}\r\n{get}Range: bytes=0-9\r\n\r\n{get}Range: bytes=299990-\r\n{last}");
    stream.write_all(more.as_bytes()).await.unwrap();
    let bytes = http::read_all(stream).await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 404 "), "{text}");
    assert_eq!(text.matches("HTTP/1.1 206 ").count(), 2);
    assert!(bytes.ends_with(&image()[299_990..]));
    assert!(matches!(site.told().await, What::Fault { fault: Fault::Gone }));
    for (wanted, bytes) in [(404, 0..0), (206, 0..10), (206, 299_990..300_000)] {
        let What::Request { method, status, range, .. } = site.told().await else { panic!() };
        assert_eq!((method.as_str(), status, range), ("GET", wanted, bytes));
    }
}

#[tokio::test]
async fn a_large_image_arrives_whole() {
    let site = Site::new(Fault::Gone, PATIENCE).await;
    let mut bytes = Vec::new();
    for _ in 0..2 {
        let mut stream = site.connect().await;
        let request = format!("{}Connection: close\r\n\r\n", site.get);
        stream.write_all(request.as_bytes()).await.unwrap();
        bytes = http::read_all(stream).await;
    }
    assert!(bytes.starts_with(b"HTTP/1.1 200 ") && bytes.ends_with(&image()));
}

#[tokio::test]
async fn a_client_that_sends_nothing_is_closed_in_time() {
    let site = Site::new(Fault::Gone, Duration::from_millis(50)).await;
    for sent in [&b""[..], b"GET /x"] {
        let mut stream = site.connect().await;
        stream.write_all(sent).await.unwrap();
        http::read_all(stream).await;
    }
}

#[tokio::test]
async fn a_reset_is_one() {
    let site = Site::new(Fault::Reset, PATIENCE).await;
    let mut stream = site.connect().await;
    stream.write_all(format!("{}\r\n", site.get).as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(bytes.len() < 300_000);
}
