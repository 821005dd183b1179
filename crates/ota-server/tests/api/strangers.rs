//! What those may do who have no key: little, and at nobody's cost.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::vendor::{HUB, Sent, code, now, signed};
use crate::{PATIENCE, Site};

const LIST: &str = "ListProductOtaModules";

/// A request whose body never comes, and what it is answered.
async fn without_body(site: &Site, key: &str) -> Value {
    let sent = Sent { key, version: HUB, at: now(), more: "" };
    let bytes = signed(LIST, &"x".repeat(200_000), &sent);
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    let mut stream = TcpStream::connect(site.running.api_addr().unwrap()).await.unwrap();
    stream.write_all(&bytes[..end]).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str::<Value>(body).unwrap()["Response"].clone()
}

#[tokio::test]
async fn a_body_is_not_read_before_its_key_is_known_and_is_small_then() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let nobodys = format!("ota1.0123456789abcdef.{}", "0".repeat(64));
    let refused = without_body(&site, &nobodys).await;
    assert_eq!(code(&refused), "AuthFailure.SecretIdNotFound");
    let list = |size: usize| json!({ "ProductId": "A", "Newer": "x".repeat(size) }).to_string();
    let sent = || Sent { key: &site.key, version: HUB, at: now(), more: "" };
    assert_eq!(site.vendor(&signed(LIST, &list(200_000), &sent())).await["Error"], Value::Null);
    let large = site.vendor(&signed(LIST, &list(300_000), &sent())).await;
    assert_eq!(code(&large), "InvalidRequest");
}

#[tokio::test]
async fn strangers_pay_before_anything_is_looked_up_and_owners_of_keys_go_on() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let nobodys = format!("ota1.0123456789abcdef.{}", "0".repeat(64));
    for _ in 0..20 {
        let refused = without_body(&site, &nobodys).await;
        assert_eq!(code(&refused), "AuthFailure.SecretIdNotFound");
    }
    assert_eq!(code(&without_body(&site, &nobodys).await), "RequestLimitExceeded");
    // What is no place for bytes costs the same.
    let put = b"PUT /upload/A/default/1?token=0 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert_eq!(site.send(put).await.problem(429), "too-many");
    // Whoever has a key is no stranger, however often he asks.
    let list = json!({ "ProductId": "A" }).to_string();
    let sent = Sent { key: &site.key, version: HUB, at: now(), more: "" };
    for _ in 0..30 {
        assert_eq!(site.vendor(&signed(LIST, &list, &sent)).await["Error"], Value::Null);
    }
    site.get("/products").await.expect(200);
}

/// The id of a key is no secret: who knows it alone is stopped, and not the key elsewhere.
#[tokio::test]
async fn who_knows_the_id_of_a_key_alone_has_its_number_of_tries() {
    let site = Site::new().await;
    let id = site.key.split('.').nth(1).unwrap();
    let wrong = format!("ota1.{id}.{}", "0".repeat(64));
    let sent = Sent { key: &wrong, version: HUB, at: now(), more: "" };
    let bytes = signed(LIST, "{}", &sent);
    for _ in 0..200 {
        assert_eq!(code(&site.vendor(&bytes).await), "AuthFailure.SignatureFailure");
    }
    assert_eq!(code(&site.vendor(&bytes).await), "RequestLimitExceeded");
    site.get("/products").await.expect(200);
}

/// A connection from this address of the loopback network.
async fn connect(site: &Site, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(site.running.api_addr().unwrap()).await.unwrap()
}

#[tokio::test]
async fn whoever_holds_connections_from_one_address_leaves_some_to_others() {
    let site = Site::new().await;
    let mut held = Vec::new();
    for _ in 0..192 {
        let mut stream = connect(&site, "127.0.0.2").await;
        stream.write_all(b"GET /api/v1/").await.unwrap();
        held.push(stream);
    }
    let mut late = connect(&site, "127.0.0.2").await;
    let mut nothing = Vec::new();
    let end = timeout(PATIENCE, late.read_to_end(&mut nothing)).await.unwrap();
    assert!(end.is_err() || nothing.is_empty());
    site.get("/products").await.expect(200);
    // One that ends makes room for another one of its network.
    held.pop();
    let asked = b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answered = async {
        loop {
            let mut stream = connect(&site, "127.0.0.2").await;
            let mut answer = Vec::new();
            let asked = stream.write_all(asked).await;
            if asked.is_ok() && stream.read_to_end(&mut answer).await.is_ok() && !answer.is_empty()
            {
                return answer;
            }
        }
    };
    let answer = timeout(PATIENCE, answered).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer));
}
