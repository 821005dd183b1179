//! The firmware server.

use std::io::Write as _;
use std::time::{Duration, SystemTime};

use mqttbytes::QoS;
use ota_cloud::fault::{Fault, FaultPlan, Rule};
use ota_cloud::sign::UrlSigner;
use ota_cloud::{CatalogError, EventKind, Firmware, NotOffered, Rollout, TaskError, TaskOptions};
use ota_proto::url::Url;
use ota_server::{HandleError, NewFirmware, Running, ServiceConfig, What};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{Client, Io, PATIENCE, PRODUCT, device, start_with};

pub(crate) const KEY: &[u8] = b"the key of the tests";

/// An answer: its status, its head as sent, its body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").expect("a head") + 4;
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head, body: bytes[end..].to_vec() }
    }

    /// The value of a header whose name is written exactly so.
    fn header(&self, name: &str) -> Option<&str> {
        self.head.split("\r\n").find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// Reads to the end of the stream.
pub(crate) async fn read_all(mut stream: impl Io) -> Vec<u8> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.unwrap().unwrap();
    bytes
}

async fn request(method: &str, url: &str, headers: &str) -> Answer {
    let parsed = Url::parse(url).unwrap();
    let stream = TcpStream::connect((parsed.host, parsed.port)).await.unwrap();
    request_on(stream, method, url, headers).await
}

/// Asks on a connection that is there.
pub(crate) async fn request_on(
    mut stream: impl Io,
    method: &str,
    url: &str,
    headers: &str,
) -> Answer {
    let url = Url::parse(url).unwrap();
    let head = format!(
        "{method} {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
        url.target, url.host
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    Answer::parse(&read_all(stream).await)
}

pub(crate) async fn get(url: &str, headers: &str) -> Answer {
    request("GET", url, headers).await
}

pub(crate) fn unix() -> u64 {
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now();
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

struct Site {
    running: Running,
    signer: UrlSigner,
}

impl Site {
    /// A service with 1,000 bytes as version 1.0.0.
    async fn new() -> Self {
        let config = ServiceConfig { url_key: Some(KEY.to_vec()), ..Default::default() };
        let running = start_with(config).await;
        let base = format!("http://{}", running.http_addr());
        let signer = UrlSigner::new(base, KEY, Duration::from_secs(3600));
        let new = NewFirmware::memory(PRODUCT, "1.0.0", image());
        running.handle().add_firmware(new).await.unwrap();
        Self { running, signer }
    }

    fn url(&self, path: &str) -> String {
        self.signer.sign(path, unix())
    }

    fn good(&self) -> String {
        self.url("/TESTPROD01_1.0.0")
    }
}

fn image() -> Vec<u8> {
    (0..1000_u32).map(|i| (i % 251) as u8).collect()
}

#[tokio::test]
async fn the_whole_image() {
    let site = Site::new().await;
    let answer = get(&site.good(), "Accept-Encoding: gzip, deflate\r\n").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, image());
    // The vendor's C devices look for exactly this case.
    assert_eq!(answer.header("Content-Length"), Some("1000"));
    assert_eq!(answer.header("Accept-Ranges"), Some("bytes"));
    assert_eq!(answer.header("Content-Encoding"), None);
    assert_eq!(answer.header("Transfer-Encoding"), None);
    let mut digester = ota_proto::Digester::new();
    digester.update(&image());
    assert_eq!(answer.header("ETag"), Some(format!("\"{}\"", digester.finish()).as_str()));
}

#[tokio::test]
async fn ranges() {
    let site = Site::new().await;
    for (range, from, to) in [
        ("bytes=0-9", 0, 10),
        ("bytes=990-", 990, 1000),
        ("bytes=400-1000", 400, 1000),
        ("bytes=-7", 993, 1000),
    ] {
        let answer = get(&site.good(), &format!("Range: {range}\r\n")).await;
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(answer.body, image()[from..to]);
        let expected = format!("bytes {from}-{}/1000", to - 1);
        assert_eq!(answer.header("Content-Range"), Some(expected.as_str()));
        assert_eq!(answer.header("Content-Length"), Some((to - from).to_string().as_str()));
    }
    let answer = get(&site.good(), "Range: bytes=1000-\r\n").await;
    assert_eq!(answer.status, 416);
    assert_eq!(answer.header("Content-Range"), Some("bytes */1000"));
    for header in ["Range: bytes=0-1,5-6\r\n", "Range: bytes=0-1\r\nRange: bytes=3-4\r\n"] {
        assert_eq!(get(&site.good(), header).await.status, 200);
    }
}

#[tokio::test]
async fn if_range_guards_a_resume() {
    let site = Site::new().await;
    let etag = get(&site.good(), "").await.header("ETag").unwrap().to_owned();
    let same = get(&site.good(), &format!("Range: bytes=5-\r\nIf-Range: {etag}\r\n")).await;
    assert_eq!((same.status, same.body.len()), (206, 995));
    let other = get(&site.good(), "Range: bytes=5-\r\nIf-Range: \"x\"\r\n").await;
    assert_eq!((other.status, other.body.len()), (200, 1000));
}

#[tokio::test]
async fn head_has_the_head_only() {
    let site = Site::new().await;
    let answer = request("HEAD", &site.good(), "").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.header("Content-Length"), Some("1000"));
}

#[tokio::test]
async fn refusals_have_a_length() {
    let site = Site::new().await;
    let good = site.good();
    let plain = good.split('?').next().unwrap().to_owned();
    let lapsed = site.signer.sign("/TESTPROD01_1.0.0", unix() - 3602);
    let forged = UrlSigner::new(site.signer.base(), &b"another key"[..], UrlSigner::LIFE)
        .sign("/TESTPROD01_1.0.0", unix());
    for (method, url, status) in [
        ("GET", &plain, 403),
        ("GET", &lapsed, 403),
        ("GET", &forged, 403),
        ("GET", &good.replace("_1.0.0", "_1.0.1"), 403),
        ("GET", &site.url("/TESTPROD01_2.0.0"), 404),
        ("GET", &site.url("/../../../etc/passwd"), 404),
        ("GET", &site.url("//etc/passwd"), 404),
        ("POST", &good, 405),
    ] {
        let answer = request(method, url, "").await;
        assert_eq!(answer.status, status, "{url}");
        let length: usize = answer.header("Content-Length").unwrap().parse().unwrap();
        assert_eq!(answer.body.len(), length);
        assert!(!String::from_utf8_lossy(&answer.body).contains("sign="));
    }
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let site = Site::new().await;
    let good = site.good();
    let url = Url::parse(&good).unwrap();
    let mut stream = TcpStream::connect(site.running.http_addr()).await.unwrap();
    for (range, last) in [("0-49", ""), ("50-99", ""), ("100-149", "Connection: close\r\n")] {
        let head =
            format!("GET {} HTTP/1.1\r\nHost: x\r\nRange: bytes={range}\r\n{last}\r\n", url.target);
        stream.write_all(head.as_bytes()).await.unwrap();
    }
    let bytes = read_all(stream).await;
    assert_eq!(String::from_utf8_lossy(&bytes).matches("206 Partial Content").count(), 3);
    assert!(bytes.ends_with(&image()[100..150]));
}

#[tokio::test]
async fn an_image_in_a_file() {
    let site = Site::new().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..700_001_u32).map(|i| (i % 241) as u8).collect();
    file.write_all(&bytes).unwrap();
    file.flush().unwrap();
    let handle = site.running.handle();
    let firmware: Firmware =
        handle.add_firmware(NewFirmware::file(PRODUCT, "2.0.0", file.path())).await.unwrap();
    assert_eq!(firmware.size, 700_001);
    let url = site.url(&firmware.path);
    let whole = get(&url, "").await;
    assert_eq!((whole.status, whole.body == bytes), (200, true));
    let part = get(&url, "Range: bytes=131071-\r\n").await;
    assert_eq!((part.status, part.body == bytes[131_071..]), (206, true));

    // An image that no longer is what was offered is not served.
    file.write_all(b"more").unwrap();
    file.flush().unwrap();
    assert_eq!(get(&url, "").await.status, 500);
    std::fs::remove_file(file.path()).unwrap();
    assert_eq!(get(&url, "").await.status, 500);
}

/// Reads one answer of a connection that stays, in small pieces.
async fn one(stream: &mut TcpStream) -> Answer {
    let (mut bytes, mut piece) = (Vec::new(), vec![0; 10_007]);
    let whole = |bytes: &[u8]| {
        bytes.windows(4).any(|w| w == b"\r\n\r\n").then(|| Answer::parse(bytes)).filter(|answer| {
            answer.header("Content-Length") == Some(answer.body.len().to_string().as_str())
        })
    };
    loop {
        if let Some(answer) = whole(&bytes) {
            return answer;
        }
        let n = timeout(PATIENCE, stream.read(&mut piece)).await.unwrap().unwrap();
        assert!(n > 0, "it ended within an answer");
        bytes.extend_from_slice(&piece[..n]);
    }
}

#[tokio::test]
async fn ranges_of_a_file_on_one_connection_are_its_bytes_wherever_they_come_from() {
    let site = Site::new().await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let bytes: Vec<u8> = (0..300_001_u32).map(|i| (i % 241) as u8).collect();
    file.write_all(&bytes).unwrap();
    file.flush().unwrap();
    let new = NewFirmware::file(PRODUCT, "2.0.0", file.path());
    let path = site.running.handle().add_firmware(new).await.unwrap().path;
    let target = Url::parse(&site.url(&path)).unwrap().target.to_owned();
    let mut stream = TcpStream::connect(site.running.http_addr()).await.unwrap();
    for (from, to) in [(0, 300_000), (5, 5), (65_530, 140_000), (0, 65_535), (299_999, 300_000)] {
        let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\nRange: bytes={from}-{to}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = one(&mut stream).await;
        assert_eq!(answer.status, 206);
        assert!(answer.body == bytes[from..=to], "{from}-{to}");
    }
}

/// A peer that reads slowly, while the file changes: it never gets bytes of another image as if
/// they were of this one.
#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_breaks_the_answer_off() {
    let site = Site::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let size = 32 << 20;
    file.as_file().set_len(size).unwrap();
    let new = NewFirmware::file(PRODUCT, "2.0.0", file.path());
    let path = site.running.handle().add_firmware(new).await.unwrap().path;
    let target = Url::parse(&site.url(&path)).unwrap().target.to_owned();
    let mut stream = TcpStream::connect(site.running.http_addr()).await.unwrap();
    let head = format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut begin = vec![0; 300_000];
    timeout(PATIENCE, stream.read_exact(&mut begin)).await.unwrap().unwrap();
    file.as_file().set_len(size - 1).unwrap();
    let mut rest = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    assert!(ended.is_err() || (rest.len() as u64) < size - 300_000, "{}", rest.len());
}

/// What a device would get is not what the offer states.
#[tokio::test]
async fn an_image_that_changed_on_disk_is_offered_no_more() {
    let running = start_with(ServiceConfig::default()).await;
    let handle = running.handle();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"image").unwrap();
    file.flush().unwrap();
    handle.add_firmware(NewFirmware::file(PRODUCT, "1.0.0", file.path())).await.unwrap();
    handle.set_rollout(PRODUCT, Some(Rollout::new("1.0.0"))).await.unwrap();
    file.write_all(b" and more").unwrap();
    file.flush().unwrap();
    let mut log = handle.log();
    let mut client = Client::device(&running, "dev001").await;
    let topic = device("dev001").report_topic().to_owned();
    client.publish(&topic, QoS::AtMostOnce, VERSION.as_bytes()).await;
    let (mut withdrawn, mut reason) = (false, false);
    while !(withdrawn && reason) {
        match log.next().await.unwrap().what {
            What::Withdrawn { version, why, .. } => {
                assert_eq!(version, "1.0.0");
                assert!(why.contains("changed"), "{why}");
                withdrawn = true;
            }
            What::Event(EventKind::NotOffered { why, .. }) => {
                assert!(matches!(why, NotOffered::Withdrawn { .. }), "{why}");
                reason = true;
            }
            What::Event(EventKind::Offered { .. }) => panic!("it was offered"),
            _ => {}
        }
    }
    // And from now on without looking.
    let none = handle.start_task(&device("dev001"), "1.0.0", TaskOptions::default()).await;
    let withdrawn = matches!(none, Err(HandleError::Task(TaskError::FirmwareWithdrawn)));
    assert!(withdrawn, "{none:?}");
}

const VERSION: &str = r#"{"type":"report_version","report":{"version":"0.1.0"}}"#;

async fn raw(running: &Running, request: &str) -> Answer {
    let mut stream = TcpStream::connect(running.http_addr()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    Answer::parse(&read_all(stream).await)
}

/// RFC 9112, 3.2.
#[tokio::test]
async fn http_1_1_without_a_host_is_refused_with_a_plan_and_without() {
    let faults = FaultPlan::new(1).with(Rule::new(Fault::Gone));
    for faults in [FaultPlan::new(0), faults] {
        let running = start_with(ServiceConfig { faults, ..Default::default() }).await;
        let mut log = running.handle().log();
        for (request, status) in [
            ("GET /x HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
            ("GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n", 400),
            ("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 403),
            ("GET /x HTTP/1.0\r\n\r\n", 403),
            ("BREW /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 405),
        ] {
            assert_eq!(raw(&running, request).await.status, status, "{request}");
            // The log has the method and what is wrong.
            let What::Request { method, status: told, why, .. } = log.next().await.unwrap().what
            else {
                panic!()
            };
            assert!(request.starts_with(&format!("{method} ")) && told == status, "{method}");
            assert!(!why.is_empty());
        }
    }
}

#[tokio::test]
async fn firmware_that_is_refused() {
    let site = Site::new().await;
    let handle = site.running.handle();
    let again = handle.add_firmware(NewFirmware::memory(PRODUCT, "1.0.0", &b"other"[..])).await;
    assert!(matches!(again, Err(HandleError::Catalog(CatalogError::FirmwareAlreadyExist))));
    assert_eq!(get(&site.good(), "").await.body, image());
    let empty = handle.add_firmware(NewFirmware::memory(PRODUCT, "3", &b""[..])).await;
    assert!(matches!(empty, Err(HandleError::Catalog(CatalogError::BadSize))));
    let missing = handle.add_firmware(NewFirmware::file(PRODUCT, "3", "no/such/file")).await;
    let text = missing.unwrap_err().to_string();
    assert!(text.contains("no/such/file"), "{text}");
    let directory = std::env::temp_dir();
    assert!(handle.add_firmware(NewFirmware::file(PRODUCT, "3", directory)).await.is_err());
    // Its paths could be those of the product that begins its id.
    let clash = handle.add_firmware(NewFirmware::memory("TESTPROD01_1", "0.0", &b"x"[..])).await;
    assert!(matches!(clash, Err(HandleError::ProductAmbiguous)));
    let mut module = NewFirmware::memory("TESTPROD01", "0.0", &b"x"[..]);
    module.fw_type = Some("1".into());
    handle.add_firmware(module).await.unwrap();
    let clash = handle.add_firmware(NewFirmware::memory("TESTPROD01", "1_0.0", &b"x"[..])).await;
    assert!(matches!(clash, Err(HandleError::PathTaken(_))));
}
