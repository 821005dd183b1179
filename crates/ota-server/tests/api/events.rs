//! Events as a stream.

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use ota_server::ServiceConfig;

use crate::{PATIENCE, Site};

/// A stream that is read message by message.
pub(crate) struct Feed {
    stream: TcpStream,
    text: String,
}

/// A message: its event's name, its id, its data.
type Message = (String, u64, Value);

impl Feed {
    pub(crate) async fn open(site: &Site, key: &str, query: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(site.running.api_addr().unwrap()).await.unwrap();
        let head = format!(
            "GET /api/v1/events{query} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n\
             {headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut feed = Self { stream, text: String::new() };
        let head = feed.until("\r\n\r\n").await.expect("a head");
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        // The first piece says that the stream is there: what happens from here on is in it.
        feed.until(":\n\n").await.expect("a sign of life");
        feed
    }

    /// The text before a mark; `None` at the stream's end.
    async fn until(&mut self, mark: &str) -> Option<String> {
        loop {
            if let Some((before, after)) = self.text.split_once(mark) {
                let before = before.to_owned();
                self.text = after.to_owned();
                return Some(before);
            }
            let mut buf = [0; 4_096];
            let n = timeout(PATIENCE, self.stream.read(&mut buf)).await.unwrap().unwrap_or(0);
            if n == 0 {
                return None;
            }
            self.text.push_str(std::str::from_utf8(&buf[..n]).unwrap());
        }
    }

    pub(crate) async fn next(&mut self) -> Option<Message> {
        loop {
            // Lines of chunks are between the messages.
            let text = self.until("\n\n").await?;
            let (mut event, mut id, mut data) = ("message".to_owned(), 0, None);
            for line in text.lines() {
                match line.split_once(": ") {
                    Some(("event", name)) => event = name.to_owned(),
                    Some(("id", number)) => id = number.parse().unwrap(),
                    Some(("data", json)) => data = Some(serde_json::from_str(json).unwrap()),
                    _ => {}
                }
            }
            if let Some(data) = data {
                return Some((event, id, data));
            }
        }
    }
}

async fn add(site: &Site, product: &str, name: &str) {
    let body = format!(r#"{{"name":"{name}"}}"#);
    site.call("POST", &format!("/products/{product}/devices"), &body).await.expect(201);
}

async fn two_products() -> Site {
    let site = Site::new().await;
    site.product("A", &["a1"]).await;
    site.product("B", &["b1"]).await;
    site
}

#[tokio::test]
async fn a_stream_has_the_events_of_its_key_and_goes_on_where_it_was() {
    let site = two_products().await;
    let key = site.key("viewer", "A").await;
    let mut feed = Feed::open(&site, &key, "?after=0", "").await;
    let (event, first, data) = feed.next().await.unwrap();
    assert_eq!((event.as_str(), &data["kind"]), ("message", &"registered".into()), "{data}");
    assert_eq!((&data["product"], &data["device"]), (&"A".into(), &"a1".into()));
    assert_eq!(data["seq"], first);
    // Live, and of nothing else.
    add(&site, "B", "b2").await;
    add(&site, "A", "a2").await;
    let (_, second, data) = feed.next().await.unwrap();
    assert_eq!((&data["device"], second > first + 1), (&"a2".into(), true), "{data}");
    drop(feed);
    add(&site, "A", "a3").await;
    let header = format!("Last-Event-ID: {second}\r\n");
    let mut feed = Feed::open(&site, &key, "?after=0", &header).await;
    assert_eq!(feed.next().await.unwrap().2["device"], "a3");
    // From now on.
    let mut feed = Feed::open(&site, &site.key, "?product=B&device=b3", "").await;
    add(&site, "B", "b4").await;
    add(&site, "B", "b3").await;
    assert_eq!(feed.next().await.unwrap().2["device"], "b3");
}

#[tokio::test]
async fn a_stream_ends_with_its_key_and_a_foreign_product_is_an_unknown_one() {
    let site = two_products().await;
    let key = site.key("viewer", "A").await;
    let mut feed = Feed::open(&site, &key, "", "").await;
    let foreign = site.call_as(&key, "GET", "/events?product=B", "").await;
    let unknown = site.call_as(&key, "GET", "/events?product=NOSUCH", "").await;
    assert_eq!(foreign.problem(404), "unknown-product");
    assert_eq!(foreign.body, unknown.body);
    for bad in ["?after=x", "?after=-1", "?device=a1", "?nosuch=1"] {
        let refused = site.call_as(&key, "GET", &format!("/events{bad}"), "").await;
        assert_eq!(refused.problem(400), "invalid", "{bad}");
    }
    let header = format!("Authorization: Bearer {key}\r\nLast-Event-ID: x\r\n");
    assert_eq!(site.raw("GET", "/events", &header, b"").await.problem(400), "invalid");
    let id = key.split('.').nth(1).unwrap();
    site.call("DELETE", &format!("/keys/{id}"), "").await.expect(204);
    assert_eq!(feed.next().await, None);
}

#[tokio::test]
async fn a_key_has_eight_streams_at_once() {
    let site = two_products().await;
    let mut feeds = Vec::new();
    for _ in 0..8 {
        feeds.push(Feed::open(&site, &site.key, "", "").await);
    }
    assert_eq!(site.get("/events").await.problem(429), "too-many");
    let other = site.key("viewer", "A").await;
    Feed::open(&site, &other, "", "").await;
    // The service ends all of them.
    let ended = timeout(PATIENCE, site.end());
    ended.await.unwrap();
    assert_eq!(feeds[0].next().await, None);
}

#[tokio::test]
async fn whoever_comes_for_events_that_are_gone_is_told() {
    let config = ServiceConfig { events: Some(1), ..ServiceConfig::default() };
    let site = Site::with(config, tempfile::tempdir().unwrap()).await;
    site.product("A", &[]).await;
    for part in 0..5 {
        let csv: String = (0..500).map(|n| format!("d{part}x{n}\n")).collect();
        let header = format!("Authorization: Bearer {}\r\nContent-Type: text/csv\r\n", site.key);
        let made = site.raw("POST", "/products/A/devices", &header, csv.as_bytes()).await;
        made.expect(201);
    }
    let mut feed = Feed::open(&site, &site.key, "?after=0", "").await;
    let (event, on, data) = feed.next().await.unwrap();
    assert_eq!((event.as_str(), &data["after"]), ("lost", &0.into()));
    assert_eq!(data["on"], on);
    let (event, seq, _) = feed.next().await.unwrap();
    assert_eq!((event.as_str(), seq), ("message", on + 1));
    // One device's, too: what is gone may have been of it.
    for device in ["d0x0", "d4x499"] {
        let query = format!("?product=A&device={device}&after=0");
        let mut feed = Feed::open(&site, &site.key, &query, "").await;
        let (event, of_one, data) = feed.next().await.unwrap();
        assert_eq!((event.as_str(), &data["after"]), ("lost", &0.into()), "{device}");
        assert!(of_one >= on, "{of_one}");
    }
    // A cursor of another cloud.
    let mut feed = Feed::open(&site, &site.key, "?after=99999999", "").await;
    assert_eq!(feed.next().await.unwrap().0, "lost");
}
