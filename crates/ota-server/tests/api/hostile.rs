//! Requests that nobody means.

use crate::Site;

fn bearer(site: &Site) -> String {
    format!("Authorization: Bearer {}\r\n", site.key)
}

#[tokio::test]
async fn bodies_that_are_too_long_too_deep_or_no_json_change_nothing() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(10_000_000));
    assert_eq!(site.call("POST", "/products/A/devices", &long).await.problem(413), "too-large");
    let deep = "[".repeat(60_000);
    for body in [deep.as_str(), "", "null", "{", r#"{"name":["d"]}"#, "\u{1b}[2J\u{202e}"] {
        let refused = site.call("POST", "/products/A/devices", body).await;
        assert_eq!(refused.problem(400), "invalid");
        assert!(refused.body.is_ascii());
    }
    for name in ["a/b", "..", "a\\nb", "\\u001b[2J", "\\u202e"] {
        let body = format!(r#"{{"name":"{name}"}}"#);
        let refused = site.call("POST", "/products/A/devices", &body).await;
        if name == ".." {
            // Dots are letters of a name; it never is a path.
            refused.expect(201);
            site.call("DELETE", "/products/A/devices/..", "").await.expect(204);
            continue;
        }
        assert_eq!(refused.expect(400)["field"], "name");
    }
    let list = site.get("/products/A/devices").await.expect(200);
    assert_eq!(list["devices"].as_array().unwrap().len(), 0);
}

#[tokio::test]
async fn paths_methods_and_queries_that_are_not_there() {
    let site = Site::new().await;
    site.product("A", &["a1"]).await;
    for path in ["/", "/nothing", "/products/A/x", "/products/A/devices/a1/x"] {
        assert_eq!(site.get(path).await.problem(404), "unknown-path", "{path}");
    }
    assert_eq!(site.call("PUT", "/products", "").await.problem(405), "bad-method");
    for path in ["/products/%1b/devices", "/products/a%2Fb/devices", "/products/%E2%80%AE/devices"]
    {
        assert_eq!(site.get(path).await.problem(404), "unknown-product", "{path}");
    }
    for name in ["a%0a1", "a%2F1", "..%2Fa1", "%E2%80%AE", &"x".repeat(5_000)] {
        let path = format!("/products/A/devices/{name}");
        assert_eq!(site.get(&path).await.problem(404), "unknown-device", "{path}");
    }
    for query in ["limit=0", "limit=1e3", "after=a%0a", "nosuch=1", "task=x", "version=%ff"] {
        let refused = site.get(&format!("/products/A/devices?{query}")).await;
        assert_eq!(refused.problem(400), "invalid", "{query}");
    }
}

#[tokio::test]
async fn what_is_no_request_ends_its_connection_and_costs_nobody_else() {
    let site = Site::new().await;
    let answer = site.send(b"GET / HTTP/9\r\n\r\n").await;
    assert!(matches!(answer.status, 400 | 505), "{}", answer.status);
    let header = format!("{}X: {}\r\n", bearer(&site), "x".repeat(40_000));
    let answer = site.raw("GET", "/products", &header, b"").await;
    assert!(matches!(answer.status, 400 | 431), "{}", answer.status);
    site.get("/products").await.expect(200);
}

#[tokio::test]
async fn no_request_is_written_to_the_log_as_it_came() {
    let site = Site::new().await;
    let mut log = site.running.handle().log();
    site.get("/products/evil%1b/devices").await.problem(404);
    loop {
        let entry = log.next().await.unwrap();
        let text = format!("{entry:?}");
        assert!(!text.contains("evil") && !text.contains(&site.key), "{text}");
        if text.contains("/api/v1/products/{product}/devices") {
            break;
        }
    }
}

#[tokio::test]
async fn a_body_of_another_type_is_refused_and_one_that_says_nothing_is_json() {
    let site = Site::new().await;
    site.product("A", &[]).await;
    let call = |path: &'static str, kind: &'static str, body: &'static str| {
        let header = format!("{}Content-Type: {kind}\r\n", bearer(&site));
        let site = &site;
        async move { site.raw("POST", path, &header, body.as_bytes()).await }
    };
    let device = r#"{"name":"d1"}"#;
    for bad in
        ["text/plain", "text/html", "application/xml", "multipart/form-data; boundary=x", "?"]
    {
        let refused = call("/products/A/devices", bad, device).await;
        assert_eq!(refused.problem(415), "bad-type", "{bad}");
    }
    assert_eq!(call("/products", "text/csv", "id\nB").await.problem(415), "bad-type");
    let form = "multipart/form-data; boundary=x";
    let image = call("/products/A/firmware/1.0.0", form, "--x").await;
    assert_eq!(image.problem(415), "bad-type");
    call("/products/A/devices", "Application/JSON; charset=utf-8", device).await.expect(201);
    // As `curl -d` says it.
    let curl = "application/x-www-form-urlencoded";
    call("/products/A/devices", curl, r#"{"name":"d2"}"#).await.expect(201);
    call("/products/A/devices", "text/csv; charset=utf-8", "d3").await.expect(201);
    call("/products/A/firmware/1.0.0", "text/plain", "image").await.expect(201);
}
