//! Devices through the API.

use bytes::BytesMut;
use mqttbytes::QoS;
use mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use ota_proto::Identity;
use ota_proto::credentials::{APP_ID, Algorithm, Login, Secret};
use ota_server::ServiceConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use ota_store::{Commit, DataFolder, Item, Kind, Sqlite, Store as _};

use crate::{PATIENCE, Site};

/// A device of a few lines.
pub(crate) struct Device {
    stream: TcpStream,
    rx: BytesMut,
    who: Identity,
}

impl Device {
    /// Logs in; also the CONNACK's code.
    pub(crate) async fn log_in(site: &Site, name: &str, secret: &str) -> (Self, u8) {
        let who = Identity::new("A", name).unwrap();
        let secret = Secret::from_base64(secret).unwrap();
        let login =
            Login::new(&who, &secret, Algorithm::HmacSha256, APP_ID, "AbC12", 4_102_444_800);
        let login = login.unwrap();
        let mut connect = Connect::new(login.client_id);
        connect.set_login(login.username, login.password);
        let mut packet = BytesMut::new();
        connect.write(&mut packet).unwrap();
        let stream = TcpStream::connect(site.running.mqtt_addr()).await.unwrap();
        let mut device = Self { stream, rx: BytesMut::new(), who };
        device.stream.write_all(&packet).await.unwrap();
        let Some(Packet::ConnAck(ack)) = device.next().await else { panic!("no CONNACK") };
        (device, ack.code as u8)
    }

    /// Logs in, subscribes and reports a version.
    pub(crate) async fn start(site: &Site, name: &str, secret: &str, version: &str) -> Self {
        let (mut device, code) = Self::log_in(site, name, secret).await;
        assert_eq!(code, 0);
        let mut subscribe = Subscribe::new(device.who.update_topic(), QoS::AtLeastOnce);
        subscribe.pkid = 3;
        let mut packet = BytesMut::new();
        subscribe.write(&mut packet).unwrap();
        device.stream.write_all(&packet).await.unwrap();
        assert!(matches!(device.next().await, Some(Packet::SubAck(_))));
        device.report(version).await;
        device
    }

    /// Reports a version, until that is acknowledged.
    pub(crate) async fn report(&mut self, version: &str) {
        self.say(&format!(r#"{{"type":"report_version","report":{{"version":"{version}"}}}}"#))
            .await;
    }

    /// Publishes a report, until that is acknowledged.
    pub(crate) async fn say(&mut self, payload: &str) {
        let mut publish = Publish::new(self.who.report_topic(), QoS::AtLeastOnce, payload);
        publish.pkid = 9;
        let mut packet = BytesMut::new();
        publish.write(&mut packet).unwrap();
        self.stream.write_all(&packet).await.unwrap();
        while !matches!(self.next().await, Some(Packet::PubAck(_))) {}
    }

    /// The next packet; `None` when the connection is closed.
    pub(crate) async fn next(&mut self) -> Option<Packet> {
        loop {
            match mqttbytes::v4::read(&mut self.rx, 1 << 20) {
                Ok(packet) => return Some(packet),
                Err(mqttbytes::Error::InsufficientBytes(_)) => {}
                Err(error) => panic!("{error:?}"),
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.rx)).await.unwrap();
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }
}

pub(crate) async fn made(site: &Site, name: &str) -> String {
    let body = format!(r#"{{"name":"{name}"}}"#);
    let made = site.call("POST", "/products/A/devices", &body).await.expect(201);
    made["secret"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_device_that_was_added_logs_in_with_the_secret_shown_once_and_says_why_nothing_comes() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let secret = made(&site, "d1").await;
    let again = site.call("POST", "/products/A/devices", r#"{"name":"d1"}"#).await;
    assert_eq!(again.problem(409), "exists");
    let before = site.get("/products/A/devices/d1").await.expect(200);
    assert_eq!((&before["online"], &before["modules"]), (&false.into(), &serde_json::json!({})));
    assert!(!before.to_string().contains(&secret));
    let _device = Device::start(&site, "d1", &secret, "0.1.0").await;
    let shown = site.get("/products/A/devices/d1").await.expect(200);
    assert_eq!(shown["online"], true);
    assert_eq!(shown["modules"]["default"]["version"], "0.1.0");
    assert_eq!(shown["not_offered"]["code"], "no-rule");
    let history = site.get("/products/A/devices/d1/history?limit=2").await.expect(200);
    let kinds = |page: &serde_json::Value| {
        let events = page["events"].as_array().unwrap().clone();
        events.iter().map(|event| event["kind"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&history), ["registered", "connected"]);
    let rest = format!("/products/A/devices/d1/history?after={}", history["next"]);
    let rest = site.get(&rest).await.expect(200);
    assert_eq!(
        (kinds(&rest), &rest["next"]),
        (vec!["version".into(), "not-offered".into()], &serde_json::Value::Null)
    );
    let why = &rest["events"][1];
    assert_eq!((&why["why"], &why["module"]), (&"no-rule".into(), &"default".into()));
    assert!(why["text"].as_str().is_some_and(|text| text.contains(' ')), "{why}");
}

#[tokio::test]
async fn a_given_secret_is_taken_and_not_repeated() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let body = r#"{"name":"d1","secret":"MDEyMzQ1Njc4OWFiY2RlZg==","tags":{"line":"3"}}"#;
    let added = site.call("POST", "/products/A/devices", body).await.expect(201);
    assert_eq!(added.get("secret"), None);
    let (_, code) = Device::log_in(&site, "d1", "MDEyMzQ1Njc4OWFiY2RlZg==").await;
    assert_eq!(code, 0);
    let tagged = site.get("/products/A/devices?tag=line:3").await.expect(200);
    assert_eq!(tagged["devices"][0]["name"], "d1");
}

#[tokio::test]
async fn a_disabled_device_is_sent_away_and_let_in_again() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let secret = made(&site, "d1").await;
    let mut device = Device::start(&site, "d1", &secret, "0.1.0").await;
    let path = "/products/A/devices/d1";
    let shown = site.call("PATCH", path, r#"{"disabled":true}"#).await.expect(200);
    assert_eq!((&shown["disabled"], &shown["online"]), (&true.into(), &false.into()));
    device.closed().await;
    let (_, code) = Device::log_in(&site, "d1", &secret).await;
    assert_eq!(code, 5);
    let refused = site.get("/products/A/refused").await.expect(200);
    assert_eq!(refused["refused"][0]["client_id"], "Ad1");
    assert_eq!(refused["refused"][0]["why"], "the device is disabled");
    site.call("PATCH", path, r#"{"disabled":false,"tags":{"a":"b"}}"#).await.expect(200);
    let (_, code) = Device::log_in(&site, "d1", &secret).await;
    assert_eq!(code, 0);
    let history = site.get("/products/A/devices/d1/history").await.expect(200);
    let text = history.to_string();
    assert!(
        text.contains(r#""kind":"disabled""#) && text.contains(r#""kind":"enabled""#),
        "{text}"
    );
}

#[tokio::test]
async fn a_removed_device_is_sent_away_and_its_name_is_free_again() {
    let site = Site::with(config_of(1), tempfile::tempdir().unwrap()).await;
    site.product("A", &[]).await;
    let secret = made(&site, "d1").await;
    let more = site.call("POST", "/products/A/devices", r#"{"name":"d2"}"#).await;
    assert_eq!(more.problem(507), "full");
    let mut device = Device::start(&site, "d1", &secret, "0.1.0").await;
    site.call("DELETE", "/products/A/devices/d1", "").await.expect(204);
    device.closed().await;
    let gone = site.call("DELETE", "/products/A/devices/d1", "").await;
    assert_eq!(gone.problem(404), "unknown-device");
    assert_eq!(site.get("/products/A/devices/d1").await.problem(404), "unknown-device");
    let (_, code) = Device::log_in(&site, "d1", &secret).await;
    assert_eq!(code, 5);
    // The room is free, and the old secret is good for nothing.
    let new = made(&site, "d1").await;
    assert_ne!(new, secret);
    let (_, code) = Device::log_in(&site, "d1", &secret).await;
    assert_eq!(code, 4);
    let fresh = site.get("/products/A/devices/d1").await.expect(200);
    assert_eq!(fresh["modules"], serde_json::json!({}));
}

fn config_of(max_devices: u32) -> ServiceConfig {
    let mut config = ServiceConfig::default();
    config.cloud.max_devices = max_devices;
    config
}

#[tokio::test]
async fn many_by_csv_in_one_commit_are_there_after_a_restart_as_are_their_columns() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    site.product("A", &["d0"]).await;
    let csv = "name,secret\nd0\nd1\nd2,MDEyMzQ1Njc4OWFiY2RlZg==\n";
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: text/csv\r\n", site.key);
    let added = site.raw("POST", "/products/A/devices", &headers, csv.as_bytes()).await.expect(201);
    let made: Vec<_> =
        added["devices"].as_array().unwrap().iter().map(|d| d["made"] == true).collect();
    assert_eq!(made, [false, true, true]);
    let secret = added["devices"][1]["secret"].as_str().unwrap().to_owned();
    let bad = site.raw("POST", "/products/A/devices", &headers, b"d8\nd9/x\n").await;
    assert_eq!(bad.problem(400), "invalid");
    site.call("PATCH", "/products/A/devices/d2", r#"{"disabled":true}"#).await.expect(200);
    site.call("DELETE", "/products/A/devices/d0", "").await.expect(204);

    let site = Site::durable(site.end().await).await;
    let list = site.get("/products/A/devices").await.expect(200);
    let names: Vec<_> =
        list["devices"].as_array().unwrap().iter().map(|d| d["name"].clone()).collect();
    assert_eq!(names, ["d1", "d2"]);
    let (_, code) = Device::log_in(&site, "d1", &secret).await;
    assert_eq!(code, 0);
    let (_, code) = Device::log_in(&site, "d2", "MDEyMzQ1Njc4OWFiY2RlZg==").await;
    assert_eq!(code, 5, "it is still disabled");
}

#[tokio::test]
async fn pages_by_key_and_filters() {
    let site = Site::new().await;
    let names: Vec<String> = (0..7).map(|n| format!("d{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    site.product("A", &names).await;
    let mut seen = Vec::new();
    let mut path = "/products/A/devices?limit=3".to_owned();
    loop {
        let page = site.get(&path).await.expect(200);
        let rows = page["devices"].as_array().unwrap();
        assert!(rows.len() <= 3);
        seen.extend(rows.iter().map(|row| row["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/products/A/devices?limit=3&after={next}");
        // What is added behind the page moves nothing.
        site.call("POST", "/products/A/devices", r#"{"name":"a"}"#).await;
    }
    assert_eq!(seen, names);
    let secret = made(&site, "e1").await;
    let _device = Device::start(&site, "e1", &secret, "0.1.0").await;
    for (query, found) in [
        ("version=0.1.0", 1),
        ("version=0.2.0", 0),
        ("version=0.1.0&module=bms", 0),
        ("unreported=true&prefix=d", 7),
        ("prefix=e", 1),
        ("task=none&prefix=d", 7),
        ("task=complete", 0),
        ("tag=line:3", 0),
    ] {
        let page = site.get(&format!("/products/A/devices?{query}")).await.expect(200);
        assert_eq!(page["devices"].as_array().unwrap().len(), found, "{query}");
    }
    let online = site.get("/products/A/devices?prefix=e").await.expect(200);
    assert_eq!(online["devices"][0]["online"], true);
}

#[tokio::test]
async fn whose_login_was_refused_is_told_to_its_product_only() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    site.product("A", &["d1"]).await;
    let folder = site.end().await;
    {
        // One product's id begins the other's: none is made so any more.
        let data = DataFolder::open(folder.path().join("data")).unwrap();
        let product = ota_cloud::Product::default().to_bytes().unwrap();
        let items = vec![Item::new(Kind::PRODUCT, "Ad", product)];
        let commit = Commit { items, ..Commit::default() };
        Sqlite::open(&data).unwrap().commit(&commit).unwrap();
    }
    let site = Site::durable(folder).await;
    let wrong = "d3Jvbmd3cm9uZ3dyb25n";
    let (_, code) = Device::log_in(&site, "x1", wrong).await;
    assert_eq!(code, 5);
    let (_, code) = Device::log_in(&site, "d1", wrong).await;
    assert_eq!(code, 4);
    let (_, code) = Device::log_in(&site, "d1", wrong).await;
    assert_eq!(code, 4);
    let of = |product: &'static str| {
        let site = &site;
        async move {
            site.get(&format!("/products/{product}/refused")).await.expect(200)["refused"].clone()
        }
    };
    let (a, ad) = (of("A").await, of("Ad").await);
    // `Ad1` may be the device `d1` of `A` and the device `1` of `Ad`.
    assert_eq!((a.as_array().unwrap().len(), ad.as_array().unwrap().len()), (1, 1));
    assert_eq!((&a[0]["client_id"], &a[0]["why"]), (&"Ax1".into(), &"no such device".into()));
    assert_eq!((&ad[0]["client_id"], &ad[0]["times"]), (&"Ad1".into(), &2.into()));
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn a_device_with_a_certificate_has_no_password_and_needs_a_real_one() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let pem = rcgen::generate_simple_self_signed(["d1".to_owned()]).unwrap().cert.pem();
    let add = |body: serde_json::Value| {
        let body = body.to_string();
        let site = &site;
        async move { site.call("POST", "/products/A/devices", &body).await }
    };
    let secret = "MDEyMzQ1Njc4OWFiY2RlZg==";
    for body in [
        serde_json::json!({ "name": "d1", "certificate": "no PEM" }),
        serde_json::json!({ "name": "d1", "certificate": pem, "secret": secret }),
    ] {
        let refused = add(body).await;
        assert_eq!(refused.json()["field"], "certificate");
        assert_eq!(refused.problem(400), "invalid");
    }
    let added = add(serde_json::json!({ "name": "d1", "certificate": pem })).await.expect(201);
    assert_eq!((&added["made"], &added["secret"]), (&true.into(), &serde_json::Value::Null));
    let (_, code) = Device::log_in(&site, "d1", secret).await;
    assert_ne!(code, 0);
    // It is public: it is shown, in a list where it is asked for, and goes into another cloud.
    let line: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let csv = format!("name,secret,tags,disabled,certificate\nd2,,,,{line}\nd3,{secret}\n");
    let headers = format!("Authorization: Bearer {}\r\nContent-Type: text/csv\r\n", site.key);
    site.raw("POST", "/products/A/devices", &headers, csv.as_bytes()).await.expect(201);
    let bytes = |shown: &serde_json::Value| {
        let pem = shown["certificate"].as_str().unwrap_or("");
        pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()
    };
    assert_eq!(bytes(&site.get("/products/A/devices/d2").await.expect(200)), line);
    let list = site.get("/products/A/devices?certificates=true").await.expect(200);
    let shown: Vec<String> = list["devices"].as_array().unwrap().iter().map(bytes).collect();
    assert_eq!(shown, [line.clone(), line, String::new()]);
    let list = site.get("/products/A/devices").await.expect(200);
    assert!(list["devices"][0].get("certificate").is_none(), "{list}");
}
