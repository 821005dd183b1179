//! Firmware and updates through the API.

use std::time::Duration;

use mqttbytes::v4::Packet;
use ota_server::ServiceConfig;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::devices::{Device, made};
use crate::{PATIENCE, Site};

const ONE: &str = "/products/A/firmware/1.0.0";
/// Of other bytes.
const MD5: &str = "fc0d15cb3d04c9f1ae1fb0b0ae1b1b2e";

async fn durable() -> Site {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    site.product("A", &[]).await;
    site
}

fn images(site: &Site) -> usize {
    std::fs::read_dir(site.path("data/images")).unwrap().count()
}

async fn upload(site: &Site, path: &str, bytes: &[u8]) -> crate::Answer {
    let headers = format!("Authorization: Bearer {}\r\n", site.key);
    site.raw("POST", path, &headers, bytes).await
}

#[tokio::test]
async fn an_image_is_uploaded_listed_and_comes_back_as_it_was() {
    for site in [durable().await, {
        let site = Site::new().await;
        site.product("A", &[]).await;
        site
    }] {
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        let path = format!("{ONE}?name=The%20first&module=bms");
        let added = upload(&site, &path, &bytes).await.expect(201);
        assert_eq!((&added["size"], &added["state"]), (&200_000.into(), &"released".into()));
        assert_eq!(added["module"], "bms");
        let list = site.get("/products/A/firmware").await.expect(200);
        assert_eq!(list["firmware"], Value::Array(vec![added.clone()]));
        assert_eq!(site.get(ONE).await.problem(404), "unknown-firmware");
        let one = site.get(&format!("{ONE}?module=bms")).await.expect(200);
        assert_eq!(one, added);
        let image = site.get(&format!("{ONE}/image?module=bms")).await;
        assert!(image.head.contains("content-disposition: attachment"), "{}", image.head);
        assert!(image.head.contains("application/octet-stream"), "{}", image.head);
        assert_eq!((image.status, image.body), (200, bytes.clone()));
        let etag = image.head.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
        for (asked, status, range, part) in [
            ("bytes=10-19", 206, "bytes 10-19/200000", &bytes[10..20]),
            ("bytes=199990-", 206, "bytes 199990-199999/200000", &bytes[199_990..]),
            ("bytes=-5", 206, "bytes 199995-199999/200000", &bytes[199_995..]),
            ("bytes=200000-", 416, "bytes */200000", &bytes[..0]),
            ("bytes=0-1,3-4", 200, "", &bytes[..]),
        ] {
            let headers = format!(
                "Authorization: Bearer {}\r\nRange: {asked}\r\nIf-Range: {etag}\r\n",
                site.key
            );
            let path = format!("{ONE}/image?module=bms");
            let came = site.raw("GET", &path, &headers, b"").await;
            assert_eq!((came.status, came.body.as_slice()), (status, part), "{asked}");
            let stated = format!("content-range: {range}");
            assert_eq!(came.head.contains(&stated), !range.is_empty(), "{}", came.head);
            let other = headers.replace(etag, "\"of another image\"");
            let came = site.raw("GET", &path, &other, b"").await;
            assert_eq!((came.status, came.body.len()), (200, bytes.len()), "{asked}");
        }
        assert_eq!(upload(&site, &path, &bytes).await.problem(409), "exists");
    }
}

#[tokio::test]
async fn what_is_not_the_stated_image_leaves_nothing() {
    let site = durable().await;
    let refused = upload(&site, &format!("{ONE}?md5={MD5}"), b"firmware").await;
    assert_eq!(refused.expect(400)["field"], "md5");
    let sha = "0".repeat(64);
    let refused = upload(&site, &format!("{ONE}?sha256={sha}"), b"firmware").await;
    assert_eq!(refused.expect(400)["field"], "sha256");
    for query in
        ["md5=xx", "md5=", "sha256=00", "state=withdrawn", "module=a%20b", "name=a%0ab", "nosuch=1"]
    {
        assert_eq!(upload(&site, &format!("{ONE}?{query}"), b"x").await.problem(400), "invalid");
    }
    assert_eq!(
        upload(&site, "/products/A/firmware/a%2Fb", b"x").await.expect(400)["field"],
        "version"
    );
    let none = format!("Authorization: Bearer {}\r\nContent-Length: 0\r\n", site.key);
    assert_eq!(site.raw("POST", ONE, &none, b"").await.problem(400), "invalid");
    let much = format!("Authorization: Bearer {}\r\nContent-Length: 2147483649\r\n", site.key);
    assert_eq!(site.raw("POST", ONE, &much, b"").await.problem(413), "too-large");
    assert_eq!(images(&site), 0);
    assert_eq!(site.get(ONE).await.problem(404), "unknown-firmware");
}

#[tokio::test]
async fn an_upload_that_is_cut_leaves_nothing_and_can_be_made_again() {
    let site = durable().await;
    let head = format!(
        "POST /api/v1{ONE} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 100000\r\n\r\n",
        site.key
    );
    let mut stream = TcpStream::connect(site.running.api_addr().unwrap()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[7; 50_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap();
    // The place of the upload is given back when its file is gone.
    let added = upload(&site, ONE, &[7; 100_000]).await.expect(201);
    assert_eq!(added["size"], 100_000);
    let names = std::fs::read_dir(site.path("data/images")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, [added["sha256"].as_str().unwrap()]);
}

#[tokio::test]
async fn a_firmware_that_needs_a_version_is_for_devices_that_run_it_or_a_newer_one() {
    let site = durable().await;
    for wrong in ["nightly", "1.0%2F2", "", "1.0%E2%80%AE"] {
        let path = format!("/products/A/firmware/3.0.0?needs={wrong}");
        assert_eq!(upload(&site, &path, b"3").await.problem(400), "invalid", "{wrong}");
    }
    let path = "/products/A/firmware/3.0.0";
    let added = upload(&site, &format!("{path}?needs=2.0.0"), b"3").await.expect(201);
    assert_eq!(added["needs"], "2.0.0");
    let secret = made(&site, "d1").await;
    let update = r#"{"version":"3.0.0"}"#;
    let begin = || site.call("POST", "/products/A/devices/d1/updates", update);
    // It never said what it runs.
    assert_eq!(begin().await.problem(409), "wrong-state");
    let _device = Device::start(&site, "d1", &secret, "1.10.0").await;
    let refused = begin().await;
    assert!(String::from_utf8_lossy(&refused.body).contains("newer version"));
    assert_eq!(refused.problem(409), "wrong-state");
    let batch = r#"{"version":"3.0.0","all":true}"#;
    let batch = site.call("POST", "/products/A/batches", batch).await.expect(201);
    let rows = format!("/products/A/batches/{}/devices", batch["batch"]);
    let row = async {
        loop {
            let row = site.get(&rows).await.expect(200)["devices"][0].clone();
            if row["status"] != "pending" {
                return row;
            }
        }
    };
    let row = timeout(PATIENCE, row).await.unwrap();
    assert_eq!(row["status"], "failed");
    assert!(row["text"].as_str().unwrap().contains("newer version"), "{row}");

    let site = Site::durable(site.end().await).await;
    let wrong = site.call("PATCH", path, r#"{"needs":"x"}"#).await;
    assert_eq!(wrong.problem(400), "invalid");
    let any = site.call("PATCH", path, r#"{"needs":""}"#).await.expect(200);
    assert_eq!(any["needs"], Value::Null);
    site.call("PATCH", path, r#"{"needs":"1.9"}"#).await.expect(200);
    let _device = Device::start(&site, "d1", &secret, "1.10.0").await;
    site.call("POST", "/products/A/devices/d1/updates", update).await.expect(201);
}

#[tokio::test]
async fn an_upload_that_drips_ends_and_gives_its_place_back() {
    let folder = tempfile::tempdir().unwrap();
    let (data, http_patience) = (Some(folder.path().join("data")), Duration::from_millis(200));
    let config = ServiceConfig { data, http_patience, ..ServiceConfig::default() };
    let site = Site::with(config, folder).await;
    site.product("A", &[]).await;
    let head = format!(
        "POST /api/v1{ONE} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 100000\r\n\r\n",
        site.key
    );
    let mut stream = TcpStream::connect(site.running.api_addr().unwrap()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let drip = async {
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(http_patience / 8).await;
        }
        std::future::pending().await
    };
    let mut answer = vec![0; 4_096];
    let n = tokio::select! {
        () = drip => 0,
        n = timeout(PATIENCE, reader.read(&mut answer)) => n.unwrap().unwrap(),
    };
    let answer = String::from_utf8_lossy(&answer[..n]).into_owned();
    assert!(answer.contains("HTTP/1.1 400") && answer.contains("too slow"), "{answer}");
    assert_eq!(images(&site), 0);
}

#[tokio::test]
async fn an_upload_whose_client_goes_away_behind_the_last_byte_is_there() {
    let site = durable().await;
    let size = 4_000_000;
    let head = format!(
        "POST /api/v1{ONE} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {size}\r\n\r\n",
        site.key
    );
    let mut stream = TcpStream::connect(site.running.api_addr().unwrap()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![7; size]).await.unwrap();
    drop(stream);
    // It is there once it can be removed.
    let removed = async { while site.call("DELETE", ONE, "").await.status != 204 {} };
    timeout(PATIENCE, removed).await.unwrap();
    assert_eq!(images(&site), 0);
}

#[tokio::test]
async fn a_draft_is_for_nobody_and_what_was_released_is_withdrawn_and_removed() {
    let site = durable().await;
    made(&site, "d1").await;
    let draft = upload(&site, &format!("{ONE}?state=draft"), b"firmware").await.expect(201);
    assert_eq!(draft["state"], "draft");
    let path = "/products/A/devices/d1/updates";
    let to = r#"{"version":"1.0.0"}"#;
    assert_eq!(site.call("POST", path, to).await.problem(409), "wrong-state");
    let withdraw = r#"{"state":"withdrawn"}"#;
    assert_eq!(site.call("PATCH", ONE, withdraw).await.problem(409), "wrong-state");
    let released = site.call("PATCH", ONE, r#"{"state":"released","name":"n"}"#).await.expect(200);
    assert_eq!((&released["state"], &released["name"]), (&"released".into(), &"n".into()));
    assert_eq!(site.call("PATCH", ONE, r#"{"state":"draft"}"#).await.problem(409), "wrong-state");
    let task = site.call("POST", path, to).await.expect(201);
    assert_eq!(site.call("DELETE", ONE, "").await.problem(409), "in-use");
    let cancel = format!("{path}/{}/cancel", task["id"].as_str().unwrap());
    assert_eq!(site.call("POST", &cancel, "").await.expect(200)["how"], "cancelled");
    assert_eq!(site.call("POST", &cancel, "").await.problem(409), "wrong-state");
    site.call("PATCH", ONE, withdraw).await.expect(200);
    assert_eq!(site.call("POST", path, to).await.problem(409), "wrong-state");
    // All of it is there after a restart.
    let site = Site::durable(site.end().await).await;
    assert_eq!(site.get(ONE).await.expect(200)["state"], "withdrawn");
    assert_eq!(site.call("POST", path, to).await.problem(409), "wrong-state");
    site.call("DELETE", ONE, "").await.expect(204);
    assert_eq!(images(&site), 0);
    assert_eq!(site.call("POST", path, to).await.problem(404), "unknown-firmware");
}

#[tokio::test]
async fn a_device_is_updated_pushed_again_and_proved() {
    let site = durable().await;
    let secret = made(&site, "d1").await;
    upload(&site, ONE, b"firmware").await.expect(201);
    let mut device = Device::start(&site, "d1", &secret, "0.1.0").await;
    let path = "/products/A/devices/d1/updates";
    let task = site.call("POST", path, r#"{"version":"1.0.0"}"#).await.expect(201);
    let id = task["id"].as_str().unwrap();
    assert_eq!(site.call("POST", path, r#"{"version":"1.0.0"}"#).await.problem(409), "wrong-state");
    offer(&mut device).await;
    site.call("POST", &format!("{path}/{id}/push"), "").await.expect(200);
    offer(&mut device).await;
    for act in ["retry", "confirm"] {
        let refused = site.call("POST", &format!("{path}/{id}/{act}"), "").await;
        assert_eq!(refused.problem(409), "wrong-state");
    }
    for task in ["9-9", "x", "1-", "-1", "%2e%2e"] {
        let refused = site.call("POST", &format!("{path}/{task}/cancel"), "").await;
        assert_eq!(refused.problem(404), "unknown-task", "{task}");
    }
    device.report("1.0.0").await;
    let shown = site.get("/products/A/devices/d1").await.expect(200);
    assert_eq!(
        (&shown["task"]["how"], &shown["task"]["status"]),
        (&"proved".into(), &"complete".into())
    );
    let done = site.get("/products/A/devices?task=complete").await.expect(200);
    assert_eq!(done["devices"].as_array().unwrap().len(), 1);
    assert_eq!(site.call("POST", path, r#"{"version":"1.0.0"}"#).await.problem(409), "wrong-state");
    for body in [
        r#"{"version":"a/b"}"#,
        r#"{"version":"1","timeout":1}"#,
        r#"{"version":"1","module":"a b"}"#,
        "{}",
    ] {
        assert_eq!(site.call("POST", path, body).await.problem(400), "invalid");
    }
}

/// Reads on to an offer, and returns it.
pub(crate) async fn offer(device: &mut Device) -> Value {
    loop {
        let Some(packet) = device.next().await else { panic!("no offer") };
        if let Packet::Publish(publish) = packet
            && let Ok(message) = serde_json::from_slice::<Value>(&publish.payload)
            && message["type"] == "update_firmware"
        {
            return message;
        }
    }
}

#[tokio::test]
async fn tasks_are_listed_by_how_they_stand_and_page_by_page() {
    let site = Site::new().await;
    site.product("A", &["d1", "d2", "d3", "d4", "e1"]).await;
    site.product("B", &["d1"]).await;
    upload(&site, ONE, b"firmware").await.expect(201);
    upload(&site, "/products/A/firmware/2.0.0?module=bms", b"firmware").await.expect(201);
    let mut ids = Vec::new();
    for name in ["d1", "d2", "d4"] {
        let path = format!("/products/A/devices/{name}/updates");
        let task = site.call("POST", &path, r#"{"version":"1.0.0"}"#).await.expect(201);
        ids.push(task["id"].as_str().unwrap().to_owned());
    }
    let other = r#"{"version":"2.0.0","module":"bms"}"#;
    site.call("POST", "/products/A/devices/e1/updates", other).await.expect(201);
    let cancel = format!("/products/A/devices/d2/updates/{}/cancel", ids[1]);
    site.call("POST", &cancel, "").await.expect(200);
    for (query, names) in [
        ("", "d1 d2 d4 e1"),
        ("open=true", "d1 d4 e1"),
        ("open=false", "d2"),
        ("task=offline", "d1 d4 e1"),
        ("task=offline&version=1.0.0", "d1 d4"),
        ("module=bms", "e1"),
        ("version=9", ""),
        ("prefix=d&limit=2", "d1 d2"),
        ("prefix=d&limit=2&after=d2", "d4"),
        ("after=e1", ""),
    ] {
        let page = site.get(&format!("/products/A/tasks?{query}")).await.expect(200);
        let tasks = page["tasks"].as_array().unwrap();
        let found: Vec<_> = tasks.iter().map(|task| task["device"].as_str().unwrap()).collect();
        assert_eq!(found.join(" "), names, "{query}");
        assert_eq!(page["next"].is_null(), !query.ends_with("limit=2"), "{query}");
    }
    for bad in ["task=none", "task=x", "open=1", "module=a%20b", "limit=0", "tag=x:y"] {
        let refused = site.get(&format!("/products/A/tasks?{bad}")).await;
        assert_eq!(refused.problem(400), "invalid", "{bad}");
    }
    let none = site.get("/products/B/tasks").await.expect(200);
    assert_eq!(none["tasks"].as_array().unwrap().len(), 0);
}

/// The head of an upload whose bytes do not come, and who sends it.
async fn begun(site: &Site, product: &str, version: u32) -> TcpStream {
    begun_by(site, &site.key, product, version).await
}

async fn begun_by(site: &Site, key: &str, product: &str, version: u32) -> TcpStream {
    let mut stream = TcpStream::connect(site.running.api_addr().unwrap()).await.unwrap();
    let head = format!(
        "POST /api/v1/products/{product}/firmware/{version} HTTP/1.1\r\nHost: h\r\n\
         Authorization: Bearer {key}\r\nContent-Length: 8\r\nExpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // It is asked for the bytes once it has its place.
    let mut answer = vec![0; 25];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream
}

#[tokio::test]
async fn a_products_uploads_never_keep_another_from_its_own() {
    let site = durable().await;
    site.product("B", &[]).await;
    let mut under_way = Vec::new();
    for version in 1..=4 {
        under_way.push(begun(&site, "A", version).await);
    }
    let fifth = upload(&site, "/products/A/firmware/5", b"firmware").await;
    assert_eq!(fifth.problem(429), "too-many");
    upload(&site, "/products/B/firmware/1", b"firmware").await.expect(201);
    under_way.push(begun(&site, "B", 2).await);
    // Beyond its first one it waits as others do.
    let second = upload(&site, "/products/B/firmware/3", b"firmware").await;
    assert_eq!(second.problem(429), "too-many");
}

#[tokio::test]
async fn an_upload_whose_key_is_removed_meanwhile_leaves_nothing() {
    let site = durable().await;
    let key = site.key("publisher", "A").await;
    let mut stream = begun_by(&site, &key, "A", 1).await;
    let keys = site.get("/keys").await.expect(200);
    let is_his = |one: &&Value| key.split('.').nth(1) == one["id"].as_str();
    let his = keys["keys"].as_array().unwrap().iter().find(is_his).unwrap()["id"].clone();
    let path = format!("/keys/{}", his.as_str().unwrap());
    site.call("DELETE", &path, "").await.expect(204);
    stream.write_all(b"firmware").await.unwrap();
    let mut answer = vec![0; 12];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 401");
    assert_eq!(site.get("/products/A/firmware/1").await.problem(404), "unknown-firmware");
    assert_eq!(images(&site), 0);
}
