//! Whom a request is from behind a proxy, and what is known of it afterwards.

use std::net::SocketAddr;

use ota_cloud::api::hook::Net;
use ota_server::{ApiConfig, ServiceConfig};

use crate::{Answer, Site};

async fn site(trusted: &[&str]) -> Site {
    let mut api = ApiConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)));
    api.trusted_proxies = trusted.iter().map(|net| Net::parse(net).unwrap()).collect();
    let config = ServiceConfig { api: Some(api), ..ServiceConfig::default() };
    Site::with(config, tempfile::tempdir().unwrap()).await
}

/// A call without a key.
async fn stranger(site: &Site, headers: &str) -> u16 {
    let answer: Answer = site.raw("GET", "/products", headers, b"").await;
    answer.status
}

/// Calls until the address has to wait.
async fn use_up(site: &Site, headers: &str) {
    for _ in 0..1_000 {
        if stranger(site, headers).await == 429 {
            return;
        }
    }
    panic!("nobody had to wait");
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_a_budget_and_cannot_take_another_one() {
    let site = site(&["127.0.0.0/8"]).await;
    use_up(&site, "X-Forwarded-For: 6.6.6.6\r\n").await;
    for spoofed in [
        "X-Forwarded-For: 6.6.6.6\r\n",
        "X-Forwarded-For: 1.2.3.4, 6.6.6.6\r\n",
        "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 6.6.6.6\r\n",
        "X-Forwarded-For: 6.6.6.6, 127.0.0.1\r\n",
        "Forwarded: for=6.6.6.6\r\n",
    ] {
        assert_eq!(stranger(&site, spoofed).await, 429, "{spoofed}");
    }
    assert_eq!(stranger(&site, "X-Forwarded-For: 6.6.6.6, 7.7.7.7\r\n").await, 401);
    assert_eq!(stranger(&site, "Forwarded: for=\"[2600::7]:80\"\r\n").await, 401);
    // The line of the audit has the address and the request's id.
    let headers = format!("Authorization: Bearer {}\r\nX-Forwarded-For: 7.7.7.7\r\n", site.key);
    site.raw("POST", "/products", &headers, br#"{"id":"PRODUCT001"}"#).await.expect(201);
    let id = site.last_id.lock().unwrap().clone();
    let lines = site.get("/audit").await.expect(200);
    let line = &lines["lines"][0];
    assert_eq!(line["call"], "AddProduct");
    assert_eq!(line["request"], id);
    assert_eq!(line["from"], "7.7.7.7");
    site.end().await;
}

#[tokio::test]
async fn what_a_client_says_of_itself_counts_for_nothing() {
    let site = site(&["10.0.0.0/8"]).await;
    use_up(&site, "X-Forwarded-For: 6.6.6.6\r\n").await;
    assert_eq!(stranger(&site, "X-Forwarded-For: 7.7.7.7\r\n").await, 429);
    assert_eq!(stranger(&site, "").await, 429);
    site.product("PRODUCT001", &[]).await;
    assert_eq!(site.get("/audit").await.expect(200)["lines"][0]["from"], "127.0.0.1");
    site.end().await;
}

/// The `location` of the page, in front of a site.
#[tokio::test]
async fn nginx_as_the_page_has_it_names_its_clients() {
    let site = site(&["127.0.0.1"]).await;
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cloud/proxy.md");
    let page = std::fs::read_to_string(page).unwrap();
    let location = page.lines().find(|line| line.contains("proxy_pass http://127.0.0.1:8081"));
    let api = site.running.api_addr().unwrap();
    let location = location.unwrap().replace("127.0.0.1:8081", &api.to_string());
    assert!(location.contains("X-Forwarded-For $proxy_add_x_forwarded_for"), "{location}");
    assert!(location.contains("Forwarded \"\""), "{location}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let config = format!(
        "daemon off; master_process off; pid {here}/pid; error_log {here}/log;\n\
         events {{}}\nhttp {{\n access_log off; client_body_temp_path {here}/a; proxy_temp_path \
         {here}/b; fastcgi_temp_path {here}/c; uwsgi_temp_path {here}/d; scgi_temp_path {here}/e;\n\
         server {{ listen 127.0.0.1:{port};\n{location}\n}}\n}}\n"
    );
    std::fs::write(folder.path().join("conf"), config).unwrap();
    let file = folder.path().join("conf");
    let started = std::process::Command::new("nginx").arg("-c").arg(&file).spawn();
    // The gate's machine has it for another step; elsewhere there is nothing to try.
    let Ok(mut nginx) = started else { return };
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    while tokio::net::TcpStream::connect(addr).await.is_err() {
        assert!(nginx.try_wait().unwrap().is_none(), "nginx has ended");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // Through nginx, from this machine: a made-up address is not taken.
    let head = format!(
        "POST /api/v1/products HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {}\r\n\
         X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nContent-Length: 19\r\n\
         Connection: close\r\n\r\n{{\"id\":\"PRODUCT001\"}}",
        site.key
    );
    // From another address than the proxy's own, which is trusted.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    let made = site.exchange(socket.connect(addr).await.unwrap(), head.as_bytes()).await;
    nginx.kill().unwrap();
    nginx.wait().unwrap();
    made.expect(201);
    let line = site.get("/audit").await.expect(200)["lines"][0].clone();
    assert_eq!(line["call"], "AddProduct");
    assert_eq!(line["from"], "127.0.0.2");
}
