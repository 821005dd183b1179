//! Who may call what.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use ota_cloud::api::{NewKey, OPERATIONS, Role, Scope};
use ota_server::{ApiConfig, KeyError, Service, ServiceConfig, StartError, add_key};

use crate::Site;

#[tokio::test]
async fn without_a_good_key_nothing_is_told() {
    let site = Site::new().await;
    site.product("A", &["a1"]).await;
    let forged = format!("{}{}", &site.key[..site.key.len() - 4], "0000");
    for header in [
        String::new(),
        "Authorization: Basic eDp4\r\n".to_owned(),
        "Authorization: Bearer x\r\n".to_owned(),
        format!("Authorization: Bearer {forged}\r\n"),
    ] {
        let there = site.raw("GET", "/products/A/devices/a1", &header, b"").await;
        assert_eq!(there.problem(401), "no-key");
        assert!(there.head.contains("www-authenticate: Bearer"), "{}", there.head);
        let other = site.raw("GET", "/nothing", &header, b"").await;
        assert_eq!(other.body, there.body);
    }
}

#[tokio::test]
async fn whoever_shows_no_good_key_too_often_waits_and_a_good_key_from_there_does_not() {
    let site = Site::new().await;
    for _ in 0..20 {
        site.raw("GET", "/products", "", b"").await.problem(401);
    }
    let refused = site.raw("GET", "/products", "", b"").await;
    assert_eq!(refused.problem(429), "too-many");
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    site.get("/products").await.expect(200);
}

#[tokio::test]
async fn a_key_has_its_role_for_its_product_until_it_is_removed() {
    let site = Site::new().await;
    site.product("A", &["a1"]).await;
    let viewer = site.key("viewer", "A").await;
    site.call_as(&viewer, "GET", "/products/A/devices/a1", "").await.expect(200);
    let refused = site.call_as(&viewer, "DELETE", "/products/A/devices/a1", "").await;
    assert_eq!(refused.problem(403), "forbidden");
    assert_eq!(site.call_as(&viewer, "GET", "/keys", "").await.problem(403), "forbidden");
    let keys = site.get("/keys").await.expect(200);
    let list = keys["keys"].as_array().unwrap();
    assert_eq!(list.len(), 2);
    assert!(!keys.to_string().contains(viewer.rsplit('.').next().unwrap()));
    let id = viewer.split('.').nth(1).unwrap();
    site.call("DELETE", &format!("/keys/{id}"), "").await.expect(204);
    site.call_as(&viewer, "GET", "/products/A/devices/a1", "").await.problem(401);
    assert_eq!(site.call("DELETE", &format!("/keys/{id}"), "").await.problem(404), "unknown-key");
}

/// What is at a path for a key of product `A`, with ids of `B` that are there and with ids that
/// are not.
#[tokio::test]
async fn ids_of_another_product_are_unknown_ones_byte_for_byte() {
    let site = Site::new().await;
    site.product("A", &["a1"]).await;
    site.product("B", &["b1"]).await;
    let keys = [site.key("admin", "A").await, site.key("viewer", "A").await];
    let bodies = [r#"{"name":"x"}"#, "{}", "evil", ""];
    let mut walked = 0;
    for operation in OPERATIONS.iter().filter(|row| row.path.contains("{product}")) {
        let path = operation.path.strip_prefix("/api/v1").unwrap();
        let path = |product: &str, name: &str| {
            path.replace("{product}", product)
                .replace("{name}", name)
                .replace("{task}", "0-1")
                .replace("{version}", "1.0.0")
                .replace("{batch}", "1")
                .replace("{module}", "bms")
        };
        for (key, body) in keys.iter().zip(bodies).chain(keys.iter().zip(["evil", ""])) {
            let method = operation.method;
            let foreign = site.call_as(key, method, &path("B", "b1"), body).await;
            let unknown = site.call_as(key, method, &path("NOSUCH", "b1"), body).await;
            match operation.scope {
                Scope::Service => assert_eq!(foreign.problem(403), "forbidden"),
                _ => assert_eq!(foreign.problem(404), "unknown-product"),
            }
            let undated = |head: &str| {
                let lines = head.lines().filter(|line| !line.starts_with("date: "));
                lines.collect::<Vec<_>>().join("\n")
            };
            assert_eq!(
                undated(&foreign.head),
                undated(&unknown.head),
                "{method} {}",
                operation.path
            );
            assert_eq!(foreign.body, unknown.body, "{method} {}", operation.path);
            walked += 1;
        }
    }
    assert!(walked >= 4 * 28, "{walked}");
    for query in ["product", "device=b1&product"] {
        let path = |of: &str| format!("/events?{query}={of}");
        let foreign = site.call_as(&keys[0], "GET", &path("B"), "").await;
        let unknown = site.call_as(&keys[0], "GET", &path("NOSUCH"), "").await;
        assert_eq!(foreign.problem(404), "unknown-product");
        assert_eq!(foreign.body, unknown.body);
    }
    // Nothing of it had an effect.
    site.get("/products/B/devices/b1").await.expect(200);
    let seen = site.call_as(&keys[0], "GET", "/products", "").await.expect(200);
    assert_eq!(seen, serde_json::json!({ "products": [{ "id": "A" }] }));
}

#[tokio::test]
async fn the_first_key_is_made_once_and_keys_outlive_a_restart() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    let first = site.key.clone();
    let file = site.running.first_key().unwrap().to_owned();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    site.product("A", &["a1"]).await;
    let folder = site.end().await;
    let data = folder.path().join("data");
    let new = NewKey::new("ci", Role::Viewer, Some("A")).unwrap();
    let added = add_key(&data, &new).unwrap().reveal();

    let site = Site::durable(folder).await;
    assert_eq!(site.running.first_key(), None);
    site.call_as(&first, "GET", "/products/A/devices/a1", "").await.expect(200);
    site.call_as(&added, "GET", "/products/A/devices/a1", "").await.expect(200);
    site.call_as(&added, "GET", "/keys", "").await.problem(403);
    let busy = add_key(&data, &new).unwrap_err();
    assert!(matches!(busy, KeyError::Data(_)), "{busy}");
}

#[tokio::test]
async fn the_last_key_for_everything_stays_and_a_removed_first_key_does_not_come_back() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    let first = site.key.clone();
    let path = format!("/keys/{}", first.split('.').nth(1).unwrap());
    site.product("A", &[]).await;
    site.key("admin", "A").await;
    assert_eq!(site.call("DELETE", &path, "").await.problem(409), "in-use");
    let made = site.call("POST", "/keys", r#"{"name":"k","role":"admin"}"#).await.expect(201);
    let other = made["key"].as_str().unwrap();
    site.call_as(other, "DELETE", &path, "").await.expect(204);
    // The file of the first key is still there.
    let site = Site::durable(site.end().await).await;
    assert_eq!(site.key, first);
    site.get("/products").await.problem(401);
    site.call_as(other, "GET", "/products", "").await.expect(200);
}

#[tokio::test]
async fn a_key_file_that_others_may_read_and_plain_text_from_elsewhere_end_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "ota1.x").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let start = |api: ApiConfig| async {
        Service::start(ServiceConfig { api: Some(api), ..ServiceConfig::default() }).await
    };
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut api = ApiConfig::new(any);
    api.key_file = Some(file.clone());
    assert!(matches!(start(api.clone()).await, Err(StartError::ApiKey(KeyError::Unfit { .. }))));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(start(api).await, Err(StartError::ApiKey(KeyError::Unfit { .. }))));
    let none = start(ApiConfig::new(any)).await;
    assert!(matches!(none, Err(StartError::ApiKey(KeyError::NoFile))));
    let mut api = ApiConfig::new(SocketAddr::from(([0, 0, 0, 0], 0)));
    api.key_file = Some(folder.path().join("other"));
    assert!(matches!(start(api.clone()).await, Err(StartError::PlainApi)));
    api.plain = true;
    start(api).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_key_file_that_is_an_open_link_a_pipe_or_another_users_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let why = |name: &'static str| {
        let mut api = ApiConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        api.key_file = Some(at(name));
        async move {
            match Service::start(ServiceConfig { api: Some(api), ..ServiceConfig::default() }).await
            {
                Err(StartError::ApiKey(KeyError::Unfit { why, .. })) => why,
                Err(other) => panic!("{name}: {other}"),
                Ok(_) => panic!("{name}: it starts"),
            }
        }
    };
    let site = Site::new().await;
    std::fs::copy(site.path("key"), at("key")).unwrap();
    // Others could have laid what a link of this folder leads to.
    let rights = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::create_dir(at("open")).unwrap();
    std::fs::set_permissions(at("open"), rights(0o777)).unwrap();
    std::os::unix::fs::symlink(at("key"), at("open/link")).unwrap();
    assert!(why("open/link").await.contains("symbolic link"));
    std::fs::create_dir(at("folder")).unwrap();
    assert!(why("folder").await.contains("regular file"));
    rustix::fs::mkfifoat(rustix::fs::CWD, at("pipe"), rustix::fs::Mode::RUSR).unwrap();
    assert!(why("pipe").await.contains("regular file"));
    // Only root can give a file away.
    if std::os::unix::fs::chown(at("key"), Some(12_345), None).is_ok() {
        assert!(why("key").await.contains("another user"));
    }
}

#[tokio::test]
async fn a_product_whose_id_begins_anothers_is_refused() {
    let site = Site::new().await;
    site.product("AB", &["d"]).await;
    for id in ["A", "ABC", "AB_1"] {
        let body = format!(r#"{{"id":"{id}"}}"#);
        let refused = site.call("POST", "/products", &body).await;
        assert_eq!(refused.problem(409), "exists", "{id}");
    }
    for id in ["B", "AC", "BA", "b"] {
        let body = format!(r#"{{"id":"{id}"}}"#);
        let made = site.call("POST", "/products", &body).await;
        assert_eq!(made.status == 201, id != "BA", "{id}");
    }
    let device = ota_proto::Identity::new("ABC", "d").unwrap();
    let handle = site.running.handle();
    let refused = handle.add_device_without_secret(&device).await.unwrap_err();
    assert!(matches!(refused, ota_server::HandleError::ProductAmbiguous), "{refused}");
    let firmware = ota_server::NewFirmware::memory("A", "1", &b"x"[..]);
    let refused = handle.add_firmware(firmware).await.unwrap_err();
    assert!(matches!(refused, ota_server::HandleError::ProductAmbiguous), "{refused}");
}
