//! A browser, driven through chromedriver by the WebDriver protocol. Nothing is awaited by time:
//! each step looks again until it sees what it waits for.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longer than a page takes, also on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(30);

/// A chromedriver. Dropping it ends it with its browsers.
pub(crate) struct Driver {
    child: Child,
    url: String,
    agent: ureq::Agent,
}

impl Driver {
    /// `None` where there is no chromedriver.
    pub(crate) fn start() -> Option<Self> {
        let started = Command::new("chromedriver")
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut child = started.ok()?;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            let line = line.unwrap();
            let port = line.split("on port ").nth(1)?.trim_end_matches('.').parse::<u16>();
            port.ok().filter(|port| *port != 0)
        });
        std::thread::spawn(move || lines.for_each(drop));
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(PATIENCE * 2)).build().new_agent();
        Some(Self { child, url: format!("http://127.0.0.1:{}", port.unwrap()), agent })
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let url = format!("{}{path}", self.url);
        let answer = match method {
            "GET" => self.agent.get(&url).call(),
            "DELETE" => self.agent.delete(&url).call(),
            _ => self.agent.post(&url).send(body.to_string()),
        };
        let text = answer.unwrap().body_mut().read_to_string().unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        let value = value["value"].clone();
        if value["error"].is_string() {
            return Err(format!("{}: {}", value["error"], value["message"]));
        }
        Ok(value)
    }

    /// A browser of its own, with or without scripts.
    pub(crate) fn browser(&self, folder: &Path, scripts: bool) -> Browser<'_> {
        let mut args: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--lang=en",
        ]
        .map(str::to_owned)
        .into();
        args.push(format!("--user-data-dir={}", folder.display()));
        let off = json!({ "profile.managed_default_content_settings.javascript": 2 });
        let prefs = if scripts { json!({}) } else { off };
        let asked = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": args, "prefs": prefs },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let made = self.call("POST", "/session", &asked).unwrap();
        let id = made["sessionId"].as_str().unwrap();
        Browser { driver: self, path: format!("/session/{id}") }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser with one window.
pub(crate) struct Browser<'d> {
    driver: &'d Driver,
    path: String,
}

impl Browser<'_> {
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.driver.call(method, &format!("{}{path}", self.path), body)
    }

    pub(crate) fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url })).unwrap();
    }

    fn find(&self, css: &str) -> Result<String, String> {
        let found =
            self.call("POST", "/element", &json!({ "using": "css selector", "value": css }))?;
        let id = found.as_object().and_then(|found| found.values().next()?.as_str());
        Ok(id.unwrap().to_owned())
    }

    /// Looks again until something has come out of it.
    #[track_caller]
    fn again<T>(&self, what: &str, look: impl Fn() -> Result<T, String>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match look() {
                Ok(found) => return found,
                Err(why) if Instant::now() > deadline => {
                    panic!("{what}: {why}\nthe page is:\n{}", self.text())
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Fills a field.
    #[track_caller]
    pub(crate) fn fill(&self, css: &str, text: &str) {
        self.again(css, || {
            let field = self.find(css)?;
            self.call("POST", &format!("/element/{field}/value"), &json!({ "text": text }))
        });
    }

    #[track_caller]
    pub(crate) fn click(&self, css: &str) {
        self.again(css, || {
            let button = self.find(css)?;
            self.call("POST", &format!("/element/{button}/click"), &json!({}))
        });
    }

    /// The text of the page as a person sees it.
    pub(crate) fn text(&self) -> String {
        let read = || {
            let body = self.find("body")?;
            self.call("GET", &format!("/element/{body}/text"), &Value::Null)
        };
        read().map_or_else(|why| why, |text| text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the page has these words.
    #[track_caller]
    pub(crate) fn wait_for(&self, words: &str) {
        self.again(words, || {
            self.text().contains(words).then_some(()).ok_or_else(|| "not there".to_owned())
        });
    }

    /// Waits until an element has this text.
    #[track_caller]
    pub(crate) fn wait_in(&self, css: &str, words: &str) {
        self.again(&format!("{words} in {css}"), || {
            let element = self.find(css)?;
            let text = self.call("GET", &format!("/element/{element}/text"), &Value::Null)?;
            let is = text.as_str().unwrap_or_default().contains(words);
            is.then_some(()).ok_or_else(|| text.to_string())
        });
    }

    /// The property of an element.
    #[track_caller]
    pub(crate) fn property(&self, css: &str, name: &str) -> Value {
        self.again(css, || {
            let element = self.find(css)?;
            self.call("GET", &format!("/element/{element}/property/{name}"), &Value::Null)
        })
    }

    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] })).unwrap()
    }

    pub(crate) fn size(&self, width: u32, height: u32) {
        let rect = json!({ "width": width, "height": height });
        self.call("POST", "/window/rect", &rect).unwrap();
    }

    /// Light or dark.
    pub(crate) fn scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        let command =
            json!({ "cmd": "Emulation.setEmulatedMedia", "params": { "features": features } });
        self.call("POST", "/goog/cdp/execute", &command).unwrap();
    }

    /// A picture of the window, in Base64.
    pub(crate) fn picture(&self) -> String {
        self.call("GET", "/screenshot", &Value::Null).unwrap().as_str().unwrap().to_owned()
    }

    /// What the browser complains about, also each breach of a page's policy.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", &json!({ "type": "browser" })).unwrap();
        let lines = log.as_array().unwrap().iter();
        lines.map(|line| line["message"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        let _ = self.call("DELETE", "", &Value::Null);
    }
}
