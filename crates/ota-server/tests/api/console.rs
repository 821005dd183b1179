//! The console without a browser: forms, cookies, sessions, and what pages contain.

use ota_server::{Service, ServiceConfig};

use crate::{Answer, Site};

const PASSWORD: &str = "correct horse";

/// A browser with its cookies, and nothing else.
struct Browser<'a> {
    site: &'a Site,
    cookies: Vec<(String, String)>,
}

/// A form: its fields as they would be sent.
fn encoded(fields: &[(&str, &str)]) -> String {
    let text = |text: &str| -> String {
        text.bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(b).to_string(),
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    fields
        .iter()
        .map(|(name, value)| format!("{}={}", text(name), text(value)))
        .collect::<Vec<_>>()
        .join("&")
}

/// The value of the first hidden field of this name.
fn hidden(page: &str, name: &str) -> String {
    let mark = format!("name=\"{name}\" value=\"");
    let at = page.find(&mark).unwrap_or_else(|| panic!("no {name} in {page}")) + mark.len();
    page[at..].split('"').next().unwrap().to_owned()
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

fn location(answer: &Answer) -> &str {
    let line = answer.head.lines().find_map(|line| line.strip_prefix("location: "));
    line.unwrap_or_else(|| panic!("{} {}", answer.head, String::from_utf8_lossy(&answer.body)))
}

impl<'a> Browser<'a> {
    fn new(site: &'a Site) -> Self {
        Self { site, cookies: Vec::new() }
    }

    async fn send(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let cookies: Vec<String> =
            self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: h\r\n{headers}");
        if !cookies.is_empty() {
            head.push_str(&format!("Cookie: {}\r\n", cookies.join("; ")));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("Connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend(body);
        let answer = self.site.send(&bytes).await;
        for line in answer.head.lines() {
            let Some(cookie) = line.strip_prefix("set-cookie: ") else { continue };
            assert!(cookie.contains("; HttpOnly; SameSite=Strict"), "{cookie}");
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.cookies.retain(|(known, _)| known != name);
            if !value.is_empty() {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        answer
    }

    async fn get(&mut self, path: &str) -> Answer {
        self.send("GET", path, "", b"").await
    }

    async fn page(&mut self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {} {}", answer.head, text(&answer));
        check(path, &answer);
        text(&answer)
    }

    /// Sends a form of a page, with its token and from its origin.
    async fn form(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let page = text(&self.get(path).await);
        let (token, once) = (hidden(&page, "token"), hidden(&page, "once"));
        let mut all = vec![("token", token.as_str()), ("once", once.as_str())];
        all.extend(fields);
        self.post(path, "http://h", &all).await
    }

    async fn post(&mut self, path: &str, origin: &str, fields: &[(&str, &str)]) -> Answer {
        let origin =
            if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        let body = encoded(fields);
        self.send("POST", path, &format!("{origin}{kind}"), body.as_bytes()).await
    }

    /// The first admin.
    async fn admin(site: &'a Site) -> Self {
        let mut browser = Self::new(site);
        let link = site.running.first_link().unwrap().to_owned();
        let code = link.split_once('#').unwrap().1;
        let fields = [("code", code), ("name", "root"), ("password", PASSWORD)];
        let answer = browser.form("/console/first", &fields).await;
        assert_eq!(location(&answer), "/console/products");
        browser
    }

    /// A person with a role, who has joined.
    async fn person(&mut self, name: &str, role: &str, product: &str) -> Browser<'a> {
        let fields = [("do", "invite"), ("name", name), ("role", role), ("product", product)];
        let page = text(&self.form("/console/people", &fields).await);
        let code = page.split("/console/join#").nth(1).unwrap().split('"').next().unwrap();
        let mut browser = Browser::new(self.site);
        let answer = browser.form("/console/join", &[("code", code), ("password", PASSWORD)]).await;
        assert_eq!(location(&answer), "/console/products");
        browser
    }
}

/// What holds of every page.
fn check(path: &str, answer: &Answer) {
    let (head, page) = (&answer.head, text(answer));
    for line in [
        "content-security-policy: default-src 'none'; style-src 'self'; script-src 'self'",
        "x-content-type-options: nosniff",
        "referrer-policy: same-origin",
        "cache-control: no-store",
        "content-type: text/html; charset=utf-8",
    ] {
        assert!(head.contains(line), "{path}: {line} is not in {head}");
    }
    assert!(page.len() < 60_000, "{path}: {} bytes", page.len());
    assert_eq!(page.matches("<h1>").count(), 1, "{path}");
    assert!(page.starts_with("<!DOCTYPE html><html lang=\"") && page.contains("<title>"), "{path}");
    for word in [" style=", "<style", "javascript:", " onclick", "{}"] {
        assert!(!page.contains(word), "{path}: {word}");
    }
    assert_eq!(page.matches("<script").count(), page.matches("<script src=\"/console/").count());
    // Every field that is seen has a label around it, every form a token.
    for (at, _) in page.match_indices("<input ") {
        let rest = page[at..].split('>').next().unwrap();
        let before = &page[..at];
        let in_label = before.rfind("<label") > before.rfind("</label>");
        assert!(rest.contains("type=\"hidden\"") || in_label, "{path}: {rest}");
    }
    for form in page.split("<form").skip(1) {
        let form = form.split("</form>").next().unwrap();
        assert!(form.contains("method=\"get\"") || form.contains("name=\"token\""), "{path}");
    }
    let ids: Vec<&str> = page.split(" id=\"").skip(1).collect();
    assert_eq!(ids.len(), 1, "{path}");
}

#[tokio::test]
async fn a_first_admin_joins_by_the_link_of_the_start_and_only_once() {
    let site = Site::durable(tempfile::tempdir().unwrap()).await;
    let mut stranger = Browser::new(&site);
    assert!(location(&stranger.get("/console").await).starts_with("/console/sign-in"));
    let answer = stranger.get("/console/products").await;
    assert_eq!(location(&answer), "/console/sign-in?to=%2Fconsole%2Fproducts");
    assert!(stranger.page("/console/sign-in").await.contains("ota cloud admin link"));
    let mut admin = Browser::admin(&site).await;
    assert!(admin.page("/console/products").await.contains("Make the first one"));
    let code = site.running.first_link().unwrap().split_once('#').unwrap().1.to_owned();
    let again = [("code", code.as_str()), ("name", "mallory"), ("password", PASSWORD)];
    assert_eq!(stranger.form("/console/first", &again).await.status, 401);
    // Sessions and people outlive a restart, and no further link is made.
    let cookies = admin.cookies.clone();
    let folder = site.end().await;
    let site = Site::durable(folder).await;
    assert_eq!(site.running.first_link(), None);
    let mut admin = Browser { site: &site, cookies };
    admin.page("/console/people").await;
    // Whoever may read the master key makes another link, while the service runs.
    let code = ota_server::admin_link(&site.path("data")).unwrap();
    let mut other = Browser::new(&site);
    let fields = [("code", code.as_str()), ("name", "root"), ("password", "another password")];
    assert_eq!(other.form("/console/first", &fields).await.status, 303);
    assert_eq!(other.form("/console/first", &fields).await.status, 401);
    other.page("/console/people").await;
    // The lost password's sessions have ended.
    assert_eq!(admin.get("/console/people").await.status, 303);
}

#[tokio::test]
async fn a_form_counts_only_with_its_token_and_from_its_own_page() {
    let site = Site::new().await;
    let mut admin = Browser::admin(&site).await;
    let page = admin.page("/console/products").await;
    let token = hidden(&page, "token");
    let new = |token: &'static str, id: &'static str| [("token", token), ("do", "add"), ("id", id)];
    for (origin, token) in [
        ("", token.clone()),
        ("null", token.clone()),
        ("http://evil.example", token.clone()),
        ("http://h.evil.example", token.clone()),
        ("http://h", String::new()),
        ("http://h", "0".repeat(64)),
    ] {
        let token: &'static str = token.leak();
        let answer = admin.post("/console/products", origin, &new(token, "A")).await;
        assert_eq!(answer.status, 403, "{origin} {token}");
    }
    // A token of before the sign-in is no token of the session.
    let mut stranger = Browser::new(&site);
    let other = hidden(&stranger.page("/console/sign-in").await, "token").leak();
    assert_eq!(admin.post("/console/products", "http://h", &new(other, "A")).await.status, 403);
    assert!(!admin.page("/console/products").await.contains("/console/products/A"));
    let token: &'static str = token.leak();
    let answer = admin.post("/console/products", "http://h", &new(token, "A")).await;
    assert_eq!(location(&answer), "/console/products/A");

    // REST takes the cookie only with the token, and the token without the cookie is nothing.
    assert_eq!(admin.get("/api/v1/products").await.status, 401);
    let with = format!("X-Form-Token: {token}\r\n");
    assert_eq!(admin.send("GET", "/api/v1/products", &with, b"").await.status, 200);
    assert_eq!(stranger.send("GET", "/api/v1/products", &with, b"").await.status, 401);
    // A wrong key is not made good by a cookie.
    let key = format!("{with}Authorization: Bearer ota1.x\r\n");
    assert_eq!(admin.send("GET", "/api/v1/products", &key, b"").await.status, 401);
}

#[tokio::test]
async fn a_form_that_is_sent_twice_is_one_call() {
    let site = Site::new().await;
    let mut admin = Browser::admin(&site).await;
    let page = admin.page("/console/keys").await;
    let (token, once) = (hidden(&page, "token"), hidden(&page, "once"));
    let mut fields = vec![("token", token.as_str()), ("once", &once), ("do", "add")];
    fields.extend([("name", "<b>\"ci\"</b>"), ("role", "viewer"), ("product", "*")]);
    let key = |answer: &Answer| {
        let page = text(answer);
        page.split("value=\"ota1.").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let first = admin.post("/console/keys", "http://h", &fields).await;
    let again = admin.post("/console/keys", "http://h", &fields).await;
    assert_eq!(key(&first), key(&again));
    fields[3].1 = "other";
    let other = admin.post("/console/keys", "http://h", &fields).await;
    assert_eq!(other.status, 422);
    assert!(text(&other).contains("sent before"));
    let page = admin.page("/console/keys").await;
    assert_eq!(page.matches("&lt;b&gt;").count(), 1, "{page}");
    assert!(!page.contains("<b>\""));
}

#[tokio::test]
async fn after_five_failed_attempts_a_name_and_an_address_wait() {
    let site = Site::new().await;
    let mut admin = Browser::admin(&site).await;
    let mut guesser = Browser::new(&site);
    for _ in 0..5 {
        let fields = [("name", "root"), ("password", "wrong password")];
        let answer = guesser.form("/console/sign-in", &fields).await;
        assert_eq!(answer.status, 401);
        assert!(text(&answer).contains("name or password is wrong"));
    }
    let right = [("name", "root"), ("password", PASSWORD)];
    let answer = guesser.form("/console/sign-in", &right).await;
    assert_eq!(answer.status, 429);
    assert!(answer.head.contains("retry-after") || text(&answer).contains("wait"));
    // Who is signed in is not disturbed, and sees the attempts.
    assert_eq!(admin.page("/console/audit").await.matches("SignInRefused").count(), 5);
}

#[tokio::test]
async fn who_is_disabled_is_out_at_once_and_an_admin_is_left() {
    let site = Site::new().await;
    let mut admin = Browser::admin(&site).await;
    site.product("A", &["d1"]).await;
    let mut viewer = admin.person("vera", "viewer", "A").await;
    viewer.page("/console/products/A/devices/d1").await;
    let answer = admin.form("/console/people", &[("do", "disable"), ("name", "vera")]).await;
    assert_eq!(location(&answer), "/console/people");
    assert!(location(&viewer.get("/console/products").await).starts_with("/console/sign-in"));
    let sign_in = [("name", "vera"), ("password", PASSWORD)];
    assert_eq!(viewer.form("/console/sign-in", &sign_in).await.status, 401);
    admin.form("/console/people", &[("do", "enable"), ("name", "vera")]).await;
    assert_eq!(viewer.form("/console/sign-in", &sign_in).await.status, 303);
    let own = [("do", "password"), ("old", PASSWORD), ("password", "a new password")];
    assert_eq!(location(&viewer.form("/console/me", &own).await), "/console/me?done=password");
    viewer.page("/console/me").await;
    let answer = admin.form("/console/people", &[("do", "disable"), ("name", "root")]).await;
    assert_eq!(answer.status, 409);
    check("/console/people", &answer);
    let answer = admin.form("/console/people", &[("do", "remove"), ("name", "vera")]).await;
    assert_eq!(answer.status, 400, "the box is not checked");
    let remove = [("do", "remove"), ("name", "vera"), ("sure", "yes")];
    assert_eq!(admin.form("/console/people", &remove).await.status, 303);
    assert!(location(&viewer.get("/console/products").await).starts_with("/console/sign-in"));
    let page = text(&viewer.get("/console/sign-in").await);
    let fields = [("token", hidden(&page, "token"))];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(a, b)| (*a, b.as_str())).collect();
    assert_eq!(viewer.post("/console/sign-out", "http://h", &fields).await.status, 303);
}

#[tokio::test]
async fn a_viewer_sees_no_button_and_another_product_not_at_all() {
    let site = Site::new().await;
    let mut admin = Browser::admin(&site).await;
    site.product("A", &["d1"]).await;
    site.product("B", &["d1"]).await;
    let key = format!("Authorization: Bearer {}\r\n", site.key);
    site.raw("POST", "/products/A/firmware/1.0.0", &key, b"firmware").await.expect(201);
    site.call("POST", "/products/A/batches", r#"{"version":"1.0.0","all":true}"#).await.expect(201);
    let mut viewer = admin.person("vera", "viewer", "A").await;
    let pages = [
        "/console/products",
        "/console/products/A",
        "/console/products/A/devices",
        "/console/products/A/devices/d1",
        "/console/products/A/firmware",
        "/console/products/A/firmware/1.0.0",
        "/console/products/A/batches",
        "/console/products/A/batches/1",
        "/console/products/A/refused",
    ];
    for path in pages {
        let page = viewer.page(path).await;
        let content = page.split("<main").nth(1).unwrap();
        assert!(!content.contains("method=\"post\""), "{path}: {content}");
        assert!(!page.contains("/console/people"), "{path}");
        admin.page(path).await;
    }
    let forbidden = [
        (
            "/console/people",
            vec![("do", "invite"), ("name", "eve"), ("role", "admin"), ("product", "*")],
        ),
        ("/console/products", vec![("do", "add"), ("id", "C")]),
        ("/console/products/A/devices/d1", vec![("do", "disable")]),
        ("/console/products/A/batches/1", vec![("do", "cancel"), ("sure", "yes")]),
    ];
    let token = hidden(&viewer.page("/console/products").await, "token");
    for (path, mut fields) in forbidden {
        fields.push(("token", &token));
        assert_eq!(viewer.post(path, "http://h", &fields).await.status, 403, "{path}");
    }
    for rest in
        ["", "/devices", "/devices/d1", "/firmware", "/batches", "/batches/1", "/batches/1/live"]
    {
        let foreign = viewer.get(&format!("/console/products/B{rest}")).await;
        let unknown = viewer.get(&format!("/console/products/Z{rest}")).await;
        assert_eq!((foreign.status, unknown.status), (404, 404), "{rest}");
        assert_eq!(
            text(&foreign).replace("products%2FB", "products%2FZ"),
            text(&unknown),
            "{rest}"
        );
    }
    assert_eq!(viewer.get("/console/people").await.status, 403);
    assert_eq!(viewer.get("/console/products/A/batches/new").await.status, 403);
}

#[tokio::test]
async fn from_a_product_to_a_batch_by_forms() {
    let site = Site::new().await;
    let mut admin = Browser::admin(&site).await;
    admin.form("/console/products", &[("do", "add"), ("id", "A"), ("name", "lamp")]).await;
    let add = [("do", "add"), ("name", "d1"), ("tags", "line=7\r\nplace=<hall>")];
    let made = admin.form("/console/products/A/devices", &add).await;
    assert_eq!(made.status, 200);
    assert!(text(&made).contains("not shown again"));
    let again = admin.form("/console/products/A/devices", &add).await;
    assert_eq!(again.status, 409);
    assert!(text(&again).contains("value=\"d1\"") && text(&again).contains("place=&lt;hall&gt;"));
    check("again", &again);

    let page = admin.page("/console/products/A/firmware").await;
    let token = hidden(&page, "token");
    let upload = |token: &str, version: &str, end: &str| {
        let field = |name: &str, value: &str| {
            format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
        };
        let file = "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.bin\"\r\n";
        let (token, version) = (field("token", token), field("version", version));
        format!("{token}{version}{file}Content-Type: application/octet-stream\r\n\r\nfirmware{end}")
    };
    let kind = "Origin: http://h\r\nContent-Type: multipart/form-data; boundary=x\r\n";
    let path = "/console/products/A/firmware";
    let end = "\r\n--x--\r\n";
    for (body, status) in [
        (upload("0", "1.0.0", end), 403),
        (upload(&token, "no version", end), 400),
        (upload(&token, "1.0.0", ""), 400),
        (upload(&token, "1.0.0", end), 303),
        (upload(&token, "1.0.0", end), 409),
    ] {
        let answer = admin.send("POST", path, kind, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{}", text(&answer));
    }
    let firmware = site.get("/products/A/firmware/1.0.0").await.expect(200);
    assert_eq!((&firmware["size"], &firmware["state"]), (&8.into(), &"released".into()));
    admin.page("/console/products/A/firmware/1.0.0").await;

    let mut batch = vec![("do", "batch"), ("firmware", "1.0.0 mcu"), ("whom", "filter")];
    batch.extend([("tag", "line:7"), ("step", "2"), ("go", "next")]);
    let preview = admin.form("/console/products/A/batches/new", &batch).await;
    let look = text(&preview);
    assert!(look.contains("Devices that match now: 1") && look.contains("d1"), "{look}");
    assert!(look.contains("does not stop it") && look.contains("10 %"), "{look}");
    check("preview", &preview);
    batch[5].1 = "start";
    let started = admin.form("/console/products/A/batches/new", &batch).await;
    assert_eq!(location(&started), "/console/products/A/batches/1");
    let page = admin.page("/console/products/A/batches/1").await;
    assert!(page.contains("data-live=\"/console/products/A/batches/1/live\""));
    let batch = "/console/products/A/batches/1";
    assert_eq!(admin.form(batch, &[("do", "pause")]).await.status, 303);
    let page = admin.page(batch).await;
    assert!(page.contains("Resume") && page.contains("paused"), "{page}");
    // What somebody else has changed meanwhile is shown first.
    let old = admin.form(batch, &[("do", "resume"), ("rev", "0")]).await;
    assert_eq!(old.status, 409);
    let rev = hidden(&page, "rev");
    assert_eq!(admin.form(batch, &[("do", "resume"), ("rev", &rev)]).await.status, 303);
    let cancel = [("do", "cancel"), ("sure", "yes")];
    assert_eq!(admin.form(batch, &cancel).await.status, 303);
    assert!(admin.page("/console/products/A/batches").await.contains("cancelled"));
    assert!(admin.page("/console/audit").await.contains("CancelBatch"));
}

/// The fields of the form of a new batch, as a browser would send them again.
fn carried(page: &str) -> Vec<(String, String)> {
    let form = page.split("<ol class=\"wizard\">").nth(1).unwrap();
    let fields = form.split("<input ").skip(1).filter_map(|rest| {
        let rest = rest.split('>').next()?;
        let of = |name: &str| rest.split(&format!("{name}=\"")).nth(1)?.split('"').next();
        let is_box = rest.contains("checkbox") || rest.contains("radio");
        let is_off = is_box && !rest.contains(" checked");
        let value = of("value")?.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
        (!is_off).then_some((of("name")?.to_owned(), value))
    });
    fields.collect()
}

/// Where a new batch is made.
const NEW_BATCH: &str = "/console/products/A/batches/new";

/// Posts the form of a page with these fields instead of its own.
async fn step(admin: &mut Browser<'_>, page: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = carried(page);
    fields.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    fields.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let fields: Vec<(&str, &str)> = fields.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    let answer = admin.post(NEW_BATCH, "http://h", &fields).await;
    if answer.status != 303 {
        check("step", &answer);
    }
    answer
}

/// The page has these words beside this field, which is marked for a screen reader.
fn says_beside(page: &str, field: &str, words: &str) {
    let rest = page.split(&format!("name=\"{field}\"")).nth(1).unwrap();
    let label = rest.split("</label>").next().unwrap();
    assert!(label.contains(words) && label.contains("aria-invalid=\"true\""), "{field}: {label}");
}

#[tokio::test]
async fn a_new_batch_in_three_steps_says_beside_each_field_what_is_wrong() {
    let site = Site::new().await;
    let mut admin = Browser::admin(&site).await;
    site.product("A", &["d1", "d2", "d3"]).await;
    let key = format!("Authorization: Bearer {}\r\n", site.key);
    site.raw("POST", "/products/A/firmware/1.0.0", &key, b"firmware").await.expect(201);
    let first = admin.page(NEW_BATCH).await;
    assert!(first.contains("Which devices") && !first.contains("Stop rule"));
    // The first step.
    let chosen = [("firmware", "1.0.0 mcu"), ("go", "next"), ("comment", "<spring>")];
    let mut bad = chosen.to_vec();
    bad.push(("whom", "filter"));
    let answer = step(&mut admin, &first, &bad).await;
    assert_eq!(answer.status, 400);
    assert!(text(&answer).contains("Give at least one condition"), "{}", text(&answer));
    let second = text(&step(&mut admin, &first, &chosen).await);
    assert!(second.contains("Wave 1") && second.contains("value=\"&lt;spring&gt;\""), "{second}");
    // Three waves.
    let second = text(&step(&mut admin, &second, &[("go", "add-wave")]).await);
    let second = text(&step(&mut admin, &second, &[("go", "add-wave"), ("w1-who", "count")]).await);
    assert!(second.contains("Wave 3") && second.contains("Before the next wave"));
    // Every bad input at once.
    let bad = [
        ("w1-who", "count"),
        ("w1-some", "0"),
        ("w2-who", "percent"),
        ("w2-some", "101"),
        ("w3-who", "rest"),
        ("starts", "2099-01-02T00:00"),
        ("ends", "2099-01-01T00:00"),
        ("retries", "11"),
        ("go", "next"),
    ];
    let answer = step(&mut admin, &second, &bad).await;
    assert_eq!(answer.status, 400);
    let page = text(&answer);
    for (field, words) in [
        ("w1-some", "A wave needs at least one device."),
        ("w2-some", "A percentage is 1 to 100."),
        ("ends", "It would end before it starts."),
        ("retries", "This must be 0 to 10."),
    ] {
        says_beside(&page, field, words);
    }
    // What only the API knows: three waves, of which the second has no device.
    let good =
        [("w1-some", "3"), ("w2-some", "30"), ("ends", ""), ("starts", ""), ("retries", "1")];
    let mut fields = bad.to_vec();
    fields.retain(|(name, _)| good.iter().all(|(other, _)| other != name));
    fields.extend(good);
    let answer = step(&mut admin, &second, &fields).await;
    assert_eq!(answer.status, 400);
    assert!(text(&answer).contains("wave 2 has no device"), "{}", text(&answer));
    // The look, back, the look again, and the start.
    let at = fields.iter().position(|(name, _)| *name == "w1-some").unwrap();
    fields[at].1 = "1";
    let look = text(&step(&mut admin, &second, &fields).await);
    assert!(look.contains("Devices that match now: 3") && look.contains("stop"), "{look}");
    assert!(site.get("/products/A/batches").await.expect(200)["batches"][0].is_null());
    let back = text(&step(&mut admin, &look, &[("go", "back")]).await);
    assert!(back.contains("value=\"30\"") && back.contains("Wave 3"), "{back}");
    let started = step(&mut admin, &look, &[("go", "start")]).await;
    assert_eq!(location(&started), "/console/products/A/batches/1");
    let batch = site.get("/products/A/batches/1").await.expect(200);
    assert_eq!(batch["waves"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&batch["waves"][0]["who"], &batch["comment"]),
        (&"the first 1".into(), &"<spring>".into())
    );
}

#[tokio::test]
async fn every_page_is_in_both_languages_and_small() {
    let site = Site::new().await;
    let mut admin = Browser::admin(&site).await;
    site.product("A", &["d1"]).await;
    let answer = admin.get("/console/language/zh?to=%2Fconsole%2Fproducts%2FA").await;
    assert_eq!(location(&answer), "/console/products/A");
    for path in ["products", "people", "keys", "audit", "me", "products/A/devices"] {
        let page = admin.page(&format!("/console/{path}")).await;
        assert!(page.contains("lang=\"zh-Hans\"") && page.contains("产品"), "{path}");
    }
    let elsewhere = admin.get("/console/language/en?to=https%3A%2F%2Fevil.example").await;
    assert_eq!(location(&elsewhere), "/console/products");
    // The first page with all that it loads.
    let mut stranger = Browser::new(&site);
    let page = stranger.page("/console/sign-in").await;
    let mut all = page.len();
    for mark in ["href=\"/console/style/", "src=\"/console/script/", "href=\"/console/icon"] {
        let at = page.find(mark).unwrap();
        let path = page[at..].split('"').nth(1).unwrap();
        let file = stranger.get(path).await;
        assert_eq!(file.status, 200);
        assert!(
            file.head.contains("immutable") && !file.head.contains("set-cookie"),
            "{}",
            file.head
        );
        all += file.body.len();
    }
    assert!(all < 100_000, "{all} bytes");
    assert_eq!(stranger.get("/console/style/0.css").await.status, 404);
    assert_eq!(stranger.get("/console/nothing").await.status, 404);
}

#[tokio::test]
async fn the_console_is_not_on_the_devices_port() {
    let running = Service::start(ServiceConfig::default()).await.unwrap();
    assert_eq!(running.first_link(), None);
}
