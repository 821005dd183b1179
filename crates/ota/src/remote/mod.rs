//! `ota cloud …` as a client of the API of a running cloud.

mod batch;
mod device;
mod events;
mod export;
mod firmware;
mod import;
mod module;
mod product;
mod progress;
mod pull;
mod rekey;
mod table;
mod update;
mod watch;
mod webhook;

use std::cell::Cell;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, SendBody};

use crate::args::Remote;
use crate::failure::{Code, Failure};
use crate::print;

pub(crate) use batch::run as batch;
pub(crate) use device::run as device;
pub(crate) use events::run as events;
pub(crate) use export::run as export;
pub(crate) use firmware::run as firmware;
pub(crate) use module::run as module;
pub(crate) use product::run as product;
pub(crate) use rekey::run as rekey;
pub(crate) use update::{act, run as update};
pub(crate) use webhook::run as webhook;

/// Takes devices over, from a table or from another cloud.
pub(crate) fn import(args: &crate::args::Import) -> Result<(), Failure> {
    args.from.as_ref().map_or_else(|| import::run(args), |url| pull::run(args, url))
}

/// The longest accepted answer.
const MAX_ANSWER: u64 = 64 << 20;
/// The time limit for a connection, and for the head of an answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest key file.
const MAX_KEY: u64 = 1_024;

/// The connection to a cloud.
pub(crate) struct Client {
    agent: Agent,
    base: String,
    key: String,
    json: bool,
    /// It has answered.
    heard: Cell<bool>,
}

/// A body to send.
pub(crate) enum Sent<'a> {
    Nothing,
    Bytes(&'static str, &'a [u8]),
    Stream(&'a mut dyn Read, u64),
}

/// An answer other than a refusal.
struct Answer {
    body: Vec<u8>,
    /// Whether it repeats the answer to an earlier call with the same idempotency key.
    again: bool,
}

impl Answer {
    fn json(&self) -> Result<Value, Failure> {
        if self.body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&self.body)
            .map_err(|_| Failure::environment("the answer is not JSON"))
    }
}

/// Why there is no answer, for callers that continue.
struct Refusal {
    /// 0 without an answer.
    status: u16,
    /// The API's error code.
    code: String,
    /// `Retry-After`.
    retry_after: Option<u64>,
    failure: Failure,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { status: 0, code: String::new(), retry_after: None, failure }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        refusal.failure
    }
}

impl Client {
    pub(crate) fn new(args: &Remote) -> Result<Self, Failure> {
        let url = args.url.clone().or_else(|| std::env::var("OTA_CLOUD_URL").ok());
        let url = url.ok_or_else(|| {
            Failure::usage("which cloud? Give --url, or OTA_CLOUD_URL, like http://127.0.0.1:8081")
        })?;
        let base = url.trim_end_matches('/').to_owned();
        check_url("--url", &base, args.plain_text)?;
        let agent = agent(args.ca_file.as_deref())?;
        Ok(Self { agent, base, key: key(args)?, json: args.json, heard: Cell::new(false) })
    }

    pub(crate) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.call("GET", path, Sent::Nothing)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call("POST", path, Sent::Bytes("application/json", body.to_string().as_bytes()))
    }

    fn patch(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.call("PATCH", path, Sent::Bytes("application/json", body.to_string().as_bytes()))
    }

    fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.call("DELETE", path, Sent::Nothing)
    }

    pub(crate) fn call(&self, method: &str, path: &str, body: Sent<'_>) -> Result<Value, Failure> {
        self.ask(method, path, body, None)?.json()
    }

    /// A call, with its idempotency key if it has one.
    fn ask(
        &self,
        method: &str,
        path: &str,
        body: Sent<'_>,
        once: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let mut answer = self.run(method, path, body, once)?;
        let again = answer.headers().contains_key("idempotent-replayed");
        let body = answer.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        Ok(Answer { body: body.map_err(|why| lost(&why))?, again })
    }

    /// Sends a call and returns an answer other than a refusal.
    fn send(&self, method: &str, path: &str, body: Sent<'_>) -> Result<Response<Body>, Failure> {
        Ok(self.run(method, path, body, None)?)
    }

    fn run(
        &self,
        method: &str,
        path: &str,
        body: Sent<'_>,
        once: Option<&str>,
    ) -> Result<Response<Body>, Refusal> {
        let mut request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}/api/v1{path}", self.base))
            .header("authorization", format!("Bearer {}", self.key));
        if let Some(once) = once {
            request = request.header("idempotency-key", once);
        }
        let wrong = |_| Failure::usage("the URL cannot be used");
        let sent = match body {
            Sent::Nothing => self.agent.run(request.body(()).map_err(wrong)?),
            Sent::Bytes(kind, bytes) => {
                self.agent.run(request.header("content-type", kind).body(bytes).map_err(wrong)?)
            }
            Sent::Stream(reader, size) => {
                let request = request
                    .header("content-type", "application/octet-stream")
                    .header("content-length", size.to_string());
                self.agent.run(request.body(SendBody::from_reader(reader)).map_err(wrong)?)
            }
        };
        let mut answer = sent.map_err(|why| lost(&why))?;
        self.heard.set(true);
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let retry_after = answer.headers().get("retry-after");
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let text = answer.body_mut().with_config().limit(MAX_KEY * 64).read_to_vec();
        let problem = text.ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        let problem = problem.unwrap_or_default();
        let code = problem["code"].as_str().unwrap_or_default().to_owned();
        Err(Refusal { status, code, retry_after, failure: refused(status, &problem) })
    }

    /// Prints the rows of all pages of a list, whose path already has a query.
    fn pages(&self, base: &str, name: &str, mut row: impl FnMut(&Value)) -> Result<(), Failure> {
        let mut after = String::new();
        loop {
            let page = self.get(&format!("{base}{after}"))?;
            for value in page[name].as_array().into_iter().flatten() {
                self.show(value, &mut row);
            }
            after = match &page["next"] {
                Value::String(next) => format!("&after={}", part(next)),
                Value::Number(next) => format!("&after={next}"),
                _ => return Ok(()),
            };
        }
    }

    /// Prints a value for programs, or a text for people.
    fn show(&self, value: &Value, words: impl FnOnce(&Value)) {
        if self.json {
            print::out(&print::safe_json(&value.to_string()));
        } else {
            words(value);
        }
    }
}

/// Makes requests to one server only, without a proxy.
fn agent(ca_file: Option<&Path>) -> Result<Agent, Failure> {
    let mut tls = TlsConfig::builder();
    if let Some(path) = ca_file {
        tls = tls.root_certs(roots(path)?);
    }
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .tls_config(tls.build())
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_per_read(Some(PATIENCE))
        .timeout_per_write(Some(PATIENCE))
        .build();
    Ok(config.new_agent())
}

/// The cloud's refusal, in its own words.
fn refused(status: u16, problem: &Value) -> Failure {
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    let (title, field) = (text("title"), text("field"));
    let title = if title.is_empty() { format!("the server answers {status}") } else { title };
    let message = if field.is_empty() { title } else { format!("{field}: {title}") };
    let code = match status {
        400 | 413 | 415 => Code::Usage,
        401..=499 if status != 429 => Code::Misuse,
        _ => Code::Environment,
    };
    Failure { code, message }
}

fn lost(why: &ureq::Error) -> Failure {
    Failure { code: Code::NoConnection, message: format!("no answer from the cloud: {why}") }
}

/// Protects a key from being sent in plain text by accident.
fn check_url(of: &str, base: &str, plain: bool) -> Result<(), Failure> {
    let shape = || Failure::usage(format!("{of}: write it like https://cloud.lan:8081"));
    let uri: Uri = base.parse().map_err(|_| shape())?;
    let host = uri.host().ok_or_else(shape)?;
    if uri.path().len() > 1 || uri.query().is_some() || base.contains('@') {
        return Err(shape());
    }
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let here = bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if here || plain => Ok(()),
        Some("http") => Err(Failure::usage(format!(
            "{of}: plain http shows secrets to the network; write https, or give --plain-text"
        ))),
        _ => Err(shape()),
    }
}

fn roots(path: &Path) -> Result<RootCerts, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("--ca-file {}: {why}", path.display()))
    };
    let pem = std::fs::read(path).map_err(|why| wrong(&why))?;
    let items: Result<Vec<_>, _> = parse_pem(&pem).collect();
    let certificates: Vec<Certificate<'static>> = items
        .map_err(|why| wrong(&why))?
        .into_iter()
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(wrong(&"it contains no certificate"));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The key, from a file or the environment. Never an argument, because the system shows those.
fn key(args: &Remote) -> Result<String, Failure> {
    let path = args
        .key_file
        .clone()
        .or_else(|| std::env::var_os("OTA_CLOUD_KEY_FILE").map(std::path::PathBuf::from));
    let text = match path {
        Some(path) => {
            let file = std::fs::File::open(&path);
            let mut text = String::new();
            let read = file.and_then(|file| file.take(MAX_KEY).read_to_string(&mut text));
            read.map_err(|why| Failure::usage(format!("the key {}: {why}", path.display())))?;
            text
        }
        None => std::env::var("OTA_CLOUD_KEY").map_err(|_| {
            Failure::usage("no key: give --key-file, OTA_CLOUD_KEY_FILE or OTA_CLOUD_KEY")
        })?,
    };
    let key = ota_cloud::api::KeyText::parse(text.trim());
    key.map(|key| key.reveal()).ok_or_else(|| Failure::usage("the given key is empty"))
}

/// Waits.
fn pause(time: Duration) -> Result<(), Failure> {
    let runtime = runtime()?;
    runtime.block_on(async { tokio::time::sleep(time).await });
    Ok(())
}

/// Parses `PRODUCT/NAME`.
fn split(text: &str) -> Result<(&str, &str), Failure> {
    let parts = text.split_once('/').filter(|(a, b)| !a.is_empty() && !b.is_empty());
    parts.ok_or_else(|| Failure::usage("write PRODUCT/NAME, or PRODUCT/VERSION of a firmware"))
}

/// Escapes a part of a path or a query.
fn part(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'.') {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// Runs a future to its end.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|why| Failure::environment(format!("cannot start: {why}")))
}

/// Formats the filters of a list as the rest of a query.
fn query(filters: &[String]) -> Result<String, Failure> {
    let mut query = String::new();
    for filter in filters {
        let (name, value) = filter.split_once('=').ok_or_else(|| {
            Failure::usage("a filter is written like version=1.0.0 or task=failed")
        })?;
        query.push_str(&format!("&{}={}", part(name), part(value)));
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_not_shown_to_a_network_by_accident() {
        for good in
            ["https://cloud.lan", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost"]
        {
            assert!(check_url("--url", good, false).is_ok(), "{good}");
        }
        for bad in
            ["http://cloud.lan", "ftp://127.0.0.1", "cloud.lan", "https://u:p@h", "https://h/x", ""]
        {
            let why = check_url("--url", bad, false).unwrap_err();
            assert_eq!(why.code, Code::Usage, "{bad}");
            assert!(!why.message.contains("u:p"), "{why}");
        }
        assert!(check_url("--url", "http://cloud.lan", true).is_ok());
    }

    #[test]
    fn parts_of_a_path_are_escaped() {
        assert_eq!(part("a:b/../ü\u{1b}"), "a%3Ab%2F..%2F%C3%BC%1B");
    }
}
