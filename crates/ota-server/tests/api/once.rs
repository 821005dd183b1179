//! Calls that are sent twice.

use ota_store::{Commit, DataFolder, Item, Kind, Sqlite, Store as _};

use crate::{Answer, Site};

const DEVICES: &str = "/products/A/devices";

async fn named(site: &Site, key: &str, name: &str, path: &str, body: &str) -> Answer {
    let header = format!("Authorization: Bearer {key}\r\nIdempotency-Key: {name}\r\n");
    site.raw("POST", path, &header, body.as_bytes()).await
}

#[tokio::test]
async fn a_call_that_is_sent_again_happens_once_and_has_the_same_answer_after_a_restart_too() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    let key = site.key.clone();
    let mut calls = vec![
        ("p", "/products", r#"{"id":"A"}"#),
        ("d", DEVICES, r#"{"name":"d1","tags":{"line":"7"}}"#),
        ("k", "/keys", r#"{"name":"k","role":"viewer","product":"A"}"#),
    ];
    let mut first = Vec::new();
    for (name, path, body) in &calls {
        first.push(named(&site, &key, name, path, body).await);
    }
    let version = "/products/A/firmware/1.0.0";
    site.call("POST", version, "image").await.expect(201);
    let update = ("u", "/products/A/devices/d1/updates", r#"{"version":"1.0.0"}"#);
    first.push(named(&site, &key, update.0, update.1, update.2).await);
    calls.push(update);
    let secret = first[1].expect(201)["secret"].as_str().unwrap().to_owned();
    for again in 0..2 {
        for ((name, path, body), first) in calls.iter().zip(&first) {
            first.expect(201);
            let answer = named(&site, &key, name, path, body).await;
            assert_eq!((answer.status, &answer.body), (201, &first.body), "{path} {again}");
            assert!(answer.head.contains("idempotent-replayed: true"), "{}", answer.head);
            assert!(!first.head.contains("idempotent-replayed"), "{}", first.head);
        }
    }
    let site = Site::durable(site.end().await).await;
    for ((name, path, body), first) in calls.iter().zip(&first) {
        let answer = named(&site, &key, name, path, body).await;
        assert_eq!((answer.status, &answer.body), (201, &first.body), "{path}");
    }
    // Without the name it is another call.
    assert_eq!(site.call("POST", DEVICES, calls[1].2).await.problem(409), "exists");
    assert_eq!(site.get("/keys").await.expect(200)["keys"].as_array().unwrap().len(), 2);
    let shown = site.get("/products/A/devices/d1").await.expect(200);
    assert_eq!(shown["tags"]["line"], "7");
    // What was answered is sealed.
    for file in ["cloud.db", "cloud.db-wal"] {
        let bytes = std::fs::read(site.path("data").join(file)).unwrap_or_default();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()), "{file}");
    }
}

#[tokio::test]
async fn a_name_is_of_one_call_of_one_key() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let key = site.key.clone();
    named(&site, &key, "n", DEVICES, r#"{"name":"d1"}"#).await.expect(201);
    let other = named(&site, &key, "n", DEVICES, r#"{"name":"d2"}"#).await;
    assert_eq!(other.problem(422), "key-reused");
    assert_eq!(other.json()["field"], "Idempotency-Key");
    let other = named(&site, &key, "n", "/products", r#"{"name":"d1"}"#).await;
    assert_eq!(other.problem(422), "key-reused");
    let operator = site.key("operator", "A").await;
    named(&site, &operator, "n", DEVICES, r#"{"name":"d2"}"#).await.expect(201);
    // A call that was refused has changed nothing, and may be sent again in its right form.
    named(&site, &key, "m", DEVICES, r#"{"name":"d1"}"#).await.problem(409);
    named(&site, &key, "m", DEVICES, r#"{"name":"d3"}"#).await.expect(201);
    for bad in ["", "a b", &"x".repeat(129), "\u{e4}"] {
        let refused = named(&site, &key, bad, DEVICES, r#"{"name":"d9"}"#).await;
        assert_eq!(refused.expect(400)["field"], "Idempotency-Key", "{bad}");
    }
    let upload = named(&site, &key, "n", "/products/A/firmware/1.0.0", "image").await;
    assert_eq!(upload.expect(400)["field"], "Idempotency-Key");
    let header = format!("Authorization: Bearer {key}\r\nIdempotency-Key: n\r\n");
    assert_eq!(site.raw("GET", DEVICES, &header, b"").await.problem(400), "invalid");
}

#[tokio::test]
async fn of_two_at_the_same_moment_one_happens() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let body = r#"{"name":"k","role":"viewer","product":"A"}"#;
    let call = || named(&site, &site.key, "n", "/keys", body);
    let (a, b, c) = tokio::join!(call(), call(), call());
    let good: Vec<_> = [a, b, c].into_iter().filter(|answer| answer.status == 201).collect();
    assert!(!good.is_empty() && good.iter().all(|answer| answer.body == good[0].body));
    assert_eq!(site.get("/keys").await.expect(200)["keys"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn an_answer_is_kept_for_an_hour() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    site.product("A", &[]).await;
    let key = site.key.clone();
    for name in ["n", "m"] {
        let body = format!(r#"{{"name":"{name}"}}"#);
        named(&site, &key, name, DEVICES, &body).await.expect(201);
    }
    let folder = site.end().await;
    // The hour has passed.
    let age = |folder: &tempfile::TempDir| {
        let folder = DataFolder::open(folder.path().join("data")).unwrap();
        let mut store = Sqlite::open(&folder).unwrap();
        let items = store.read().items(Kind::IDEMPOTENCY, "", None, 100).unwrap();
        let old = items.iter().map(|item| Item { wake: Some(1), ..item.clone() }).collect();
        store.commit(&Commit { items: old, ..Commit::default() }).unwrap();
        items.len()
    };
    assert_eq!(age(&folder), 2);
    let site = Site::durable(folder).await;
    named(&site, &key, "n", DEVICES, r#"{"name":"d2"}"#).await.expect(201);
    let again = named(&site, &key, "n", DEVICES, r#"{"name":"d2"}"#).await;
    again.expect(201);
    // The other one went with it.
    assert_eq!(age(&site.end().await), 1);
}

/// The rows of answers that are kept, in order.
fn kept(folder: &std::path::Path) -> Vec<String> {
    let data = DataFolder::open(folder.join("data")).unwrap();
    let store = Sqlite::open(&data).unwrap();
    let (mut kept, mut after) = (Vec::new(), None::<String>);
    loop {
        let page = store.read().items(Kind::IDEMPOTENCY, "", after.as_deref(), 100).unwrap();
        let Some(last) = page.last() else { return kept };
        after = Some(last.id.clone());
        kept.extend(page.into_iter().map(|item| item.id));
    }
}

#[tokio::test]
async fn a_key_has_a_thousand_answers_and_the_oldest_goes() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    let id = site.key.split('.').nth(1).unwrap().to_owned();
    let folder = site.end().await;
    let far = 4_000_000_000_000_000;
    let items = (0..1_000).map(|n| {
        let mut item = Item::new(Kind::IDEMPOTENCY, format!("{id}/{n:064}"), Vec::new());
        // The last ones are the oldest.
        item.wake = Some(far - n);
        item
    });
    let commit = Commit { items: items.collect(), ..Commit::default() };
    {
        let data = DataFolder::open(folder.path().join("data")).unwrap();
        Sqlite::open(&data).unwrap().commit(&commit).unwrap();
    }
    let site = Site::durable(folder).await;
    for product in ["A", "B"] {
        let header =
            format!("Authorization: Bearer {}\r\nIdempotency-Key: {product}\r\n", site.key);
        let body = format!(r#"{{"id":"{product}"}}"#);
        for _ in 0..2 {
            site.raw("POST", "/products", &header, body.as_bytes()).await.expect(201);
        }
    }
    let kept = kept(site.end().await.path());
    assert_eq!(kept.len(), 1_000);
    assert!(!kept.contains(&format!("{id}/{:064}", 999)));
    assert!(kept.contains(&format!("{id}/{:064}", 998)), "the first answer is the oldest by then");
}

#[tokio::test]
async fn what_was_done_to_a_product_that_is_gone_is_done_again() {
    let site = Site::new().await;
    let key = site.key.clone();
    let product = r#"{"id":"A"}"#;
    let device = r#"{"name":"d1"}"#;
    let mut secrets = Vec::new();
    for round in 0..3 {
        let made = named(&site, &key, "p", "/products", product).await;
        made.expect(201);
        assert!(!made.head.contains("idempotent-replayed"), "{round}");
        let made = named(&site, &key, "d", DEVICES, device).await;
        secrets.push(made.expect(201)["secret"].clone());
        for (name, path, body) in [("p", "/products", product), ("d", DEVICES, device)] {
            let again = named(&site, &key, name, path, body).await;
            assert!(again.head.contains("idempotent-replayed: true"), "{round} {path}");
        }
        site.get("/products/A/devices/d1").await.expect(200);
        // A name is still of one call.
        let other = named(&site, &key, "p", "/products", r#"{"id":"B"}"#).await;
        assert_eq!(other.problem(422), "key-reused");
        site.call("DELETE", "/products/A/devices/d1", "").await.expect(204);
        site.call("DELETE", "/products/A", "").await.expect(204);
    }
    secrets.dedup();
    assert_eq!(secrets.len(), 3, "each device has its own secret");
}
