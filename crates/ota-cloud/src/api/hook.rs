//! Webhooks: what is sent where, and what a failure means. The caller has sockets and clock.

use core::net::IpAddr;
use core::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use ota_proto::Instant;
use ota_proto::url::Url;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::Sha256;

use super::input::{check_product, read_json};
use super::json::to_json;
use super::key::hex;
use super::problem::Problem;
use super::view::EventView;
use crate::error::BadState;

/// The longest URL in bytes.
const MAX_URL: usize = 1_024;
/// The most kinds of events that a webhook names.
const MAX_KINDS: usize = 32;
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(3_600);
/// How long a delivery is tried.
const TRIED: Duration = Duration::from_secs(86_400);
/// The largest head of an answer in bytes.
pub const MAX_HEAD: usize = 65_536;

/// A requested webhook.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NewHook {
    /// Where events are sent.
    pub url: String,
    /// Only events of this product; otherwise of all.
    #[serde(default)]
    pub product: Option<String>,
    /// Only events of these kinds; empty: of all.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Whether the URL may be `http`.
    #[serde(default)]
    pub plain_text: bool,
}

impl NewHook {
    /// The most webhooks.
    pub const MOST: usize = 32;

    /// Reads a body.
    ///
    /// # Errors
    /// [`super::Code::Invalid`].
    pub fn read(body: &[u8]) -> Result<Self, Problem> {
        let new: Self = read_json(body)?;
        let url = Url::parse(&new.url).ok().filter(|_| new.url.len() <= MAX_URL);
        let url = url.ok_or_else(|| {
            Problem::field("url", "an https:// URL without a user, of at most 1,024 bytes")
        })?;
        if !url.tls && !new.plain_text {
            let what =
                "https is wanted; `plain_text` allows http, where others can read the events";
            return Err(Problem::field("url", what));
        }
        new.product.as_deref().map_or(Ok(()), |product| check_product("product", product))?;
        let is_kind = |kind: &String| {
            let letters = kind.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            letters && (1..=32).contains(&kind.len())
        };
        if new.kinds.len() > MAX_KINDS || !new.kinds.iter().all(is_kind) {
            return Err(Problem::field("kinds", "at most 32 kinds of events"));
        }
        Ok(new)
    }
}

/// A webhook. Its URL may contain a secret: `Debug` hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Hook {
    /// Its id.
    pub id: String,
    /// Where events are sent.
    pub url: String,
    /// Only events of this product.
    pub product: Option<String>,
    /// Only events of these kinds; empty: of all.
    pub kinds: Vec<String>,
    /// When it was made, in microseconds since 1970.
    pub made: u64,
    /// The last event that was delivered or not wanted.
    pub cursor: u64,
    /// When the next try is due, in microseconds since 1970.
    pub next: u64,
    /// The failures since the last success.
    pub failures: u32,
    /// The first of them.
    pub since: Option<u64>,
    /// The last one, in words.
    pub error: Option<String>,
    /// Whether nothing is sent any more: it failed for 24 hours.
    pub off: bool,
}

/// A delivery: a request with an id, a time and a signature over both and the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The same for each try.
    pub id: String,
    /// The request as bytes.
    pub request: Vec<u8>,
}

impl Hook {
    /// Makes one that begins after the event with this number.
    #[must_use]
    pub fn make(bytes: [u8; 8], new: NewHook, now: Instant, cursor: u64) -> Self {
        let NewHook { url, product, kinds, .. } = new;
        let (made, next) = (now.as_micros(), 0);
        let (failures, since, error, off) = (0, None, None, false);
        let id = hex(&bytes);
        Self { id, url, product, kinds, made, cursor, next, failures, since, error, off }
    }

    /// Its bytes, as they are stored.
    ///
    /// # Errors
    /// [`BadState`] if it cannot be written; no such case is known.
    pub fn to_bytes(&self) -> Result<Vec<u8>, BadState> {
        BadState::write(self)
    }

    /// From its bytes.
    ///
    /// # Errors
    /// [`BadState`] if these are not its bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadState> {
        BadState::read(bytes)
    }

    /// Whether a try is due.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        !self.off && self.next <= now.as_micros()
    }

    /// Whether it wants an event.
    #[must_use]
    pub fn wants(&self, product: &str, kind: &str) -> bool {
        self.product.as_deref().is_none_or(|wanted| wanted == product)
            && (self.kinds.is_empty() || self.kinds.iter().any(|wanted| wanted == kind))
    }

    /// Everything up to this event was delivered or is not wanted.
    pub fn delivered(&mut self, upto: u64) {
        self.cursor = self.cursor.max(upto);
        (self.next, self.failures, self.since, self.error, self.off) = (0, 0, None, None, false);
    }

    /// A delivery failed: the pause doubles, and after 24 hours nothing is sent any more. Returns
    /// whether this was the last try.
    pub fn failed(&mut self, now: Instant, pause: Duration, why: &str) -> bool {
        let since = *self.since.get_or_insert(now.as_micros());
        let doubled = pause.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1).min(31);
        self.next = (now + doubled.min(LONGEST)).as_micros();
        self.error = Some(why.to_owned());
        let over = now.since(Instant::from_micros(since)) >= TRIED;
        let last = over && !self.off;
        self.off |= over;
        last
    }

    /// The request that delivers events, all of which it wants. `secret` signs it.
    ///
    /// # Errors
    /// The URL is none any more: it was checked when it was made.
    pub fn delivery(
        &self,
        secret: &[u8],
        unix: u64,
        events: &[EventView<'_>],
    ) -> Result<Delivery, &'static str> {
        let url = Url::parse(&self.url).map_err(|_| "its URL is invalid")?;
        let last = events.last().map_or(0, |event| event.seq);
        let id = format!("{}-{}-{last}", self.id, events.first().map_or(0, |event| event.seq));
        let body = to_json(&json!({ "webhook": self.id, "events": events }));
        let signature = sign(secret, &id, unix, &body);
        let slash = if url.target.starts_with('/') { "" } else { "/" };
        let colons = url.host.contains(':');
        let (open, close) = if colons { ("[", "]") } else { ("", "") };
        let head = format!(
            "POST {slash}{target} HTTP/1.1\r\nHost: {open}{host}{close}:{port}\r\n\
             User-Agent: ota-cloud\r\nContent-Type: application/json\r\nContent-Length: {len}\r\n\
             Connection: close\r\nX-Ota-Id: {id}\r\nX-Ota-Timestamp: {unix}\r\n\
             X-Ota-Signature: v1={signature}\r\n\r\n",
            target = url.target,
            host = url.host,
            port = url.port,
            len = body.len(),
        );
        Ok(Delivery { id, request: [head.into_bytes(), body].concat() })
    }
}

impl core::fmt::Debug for Hook {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Hook({}, after {})", self.id, self.cursor)
    }
}

impl core::fmt::Debug for NewHook {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "NewHook(of {:?})", self.product)
    }
}

impl core::fmt::Debug for Delivery {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Delivery({})", self.id)
    }
}

/// HMAC-SHA256 over `ID.TIMESTAMP.BODY`, in hexadecimal.
#[must_use]
pub fn sign(secret: &[u8], id: &str, unix: u64, body: &[u8]) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    mac.update(format!("{id}.{unix}.").as_bytes());
    mac.update(body);
    hex(&mac.finalize().into_bytes())
}

/// The status of an answer; `None` while its head is incomplete.
///
/// # Errors
/// It is no HTTP.
pub fn status(bytes: &[u8]) -> Result<Option<u16>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut response = httparse::Response::new(&mut headers);
    match response.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => Ok(response.code),
        Ok(httparse::Status::Partial) => Ok(None),
        Err(_) => Err("the answer is no HTTP"),
    }
}

/// A network, as `192.168.0.0/16`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Net {
    base: IpAddr,
    bits: u8,
}

impl Net {
    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (base, bits) = match text.split_once('/') {
            Some((base, bits)) => (base, Some(bits.parse::<u8>().ok()?)),
            None => (text, None),
        };
        let base: IpAddr = base.parse::<IpAddr>().ok()?.to_canonical();
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(most);
        (bits <= most).then_some(Self { base, bits })
    }

    /// Whether an address is in it.
    #[must_use]
    pub fn has(&self, of: IpAddr) -> bool {
        let mask = |width: u32| {
            let rest = width.saturating_sub(u32::from(self.bits));
            u128::MAX.checked_shl(rest).unwrap_or(0)
        };
        match (self.base, of) {
            (IpAddr::V4(base), IpAddr::V4(of)) => {
                u128::from(base.to_bits() ^ of.to_bits()) & mask(32) == 0
            }
            (IpAddr::V6(base), IpAddr::V6(of)) => (base.to_bits() ^ of.to_bits()) & mask(128) == 0,
            _ => false,
        }
    }
}

/// What is no address of the public internet: this machine, private networks, links, what
/// providers share, tests, and what leads to an address of the other kind.
const INSIDE: [&str; 26] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    // A cloud provider answers its machines there.
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/96",
    // Translated to IPv4 (RFC 2765).
    "::ffff:0:0:0/96",
    "64:ff9b::/32",
    "100::/64",
    "2001::/23",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
];

/// Whether events may be sent to an address: a public one, or one that is listed.
#[must_use]
pub fn may_reach(address: IpAddr, listed: &[Net]) -> bool {
    let address = address.to_canonical();
    let inside = INSIDE.iter().filter_map(|net| Net::parse(net)).any(|net| net.has(address));
    !inside || listed.iter().any(|net| net.has(address))
}

/// A webhook, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HookView<'a> {
    /// Its id.
    pub id: &'a str,
    /// Where events are sent.
    pub url: &'a str,
    /// Only events of this product.
    pub product: Option<&'a str>,
    /// Only events of these kinds; empty: of all.
    pub kinds: &'a [String],
    /// When it was made.
    pub made: u64,
    /// The last event that was delivered.
    pub cursor: u64,
    /// The failures since the last success, at most 31.
    pub failures: u32,
    /// When they began.
    pub since: Option<u64>,
    /// The last one, for people.
    pub error: Option<&'a str>,
    /// Whether nothing is sent any more.
    pub off: bool,
}

impl<'a> HookView<'a> {
    /// The view of a webhook.
    #[must_use]
    pub fn new(hook: &'a Hook) -> Self {
        Self {
            id: &hook.id,
            url: &hook.url,
            product: hook.product.as_deref(),
            kinds: &hook.kinds,
            made: hook.made,
            cursor: hook.cursor,
            failures: hook.failures,
            since: hook.since,
            error: hook.error.as_deref(),
            off: hook.off,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(text: &str) -> Result<NewHook, Option<&'static str>> {
        NewHook::read(text.as_bytes()).map_err(|why| why.field)
    }

    fn hook() -> Hook {
        let new = new(r#"{"url":"https://[2600::1]:8443?a=b"}"#).unwrap();
        Hook::make([7; 8], new, Instant::from_micros(5), 3)
    }

    #[test]
    fn a_url_is_https_unless_plain_text_is_meant() {
        assert!(new(r#"{"url":"https://h/p?token=1","product":"P","kinds":["proved"]}"#).is_ok());
        assert!(new(r#"{"url":"http://h","plain_text":true}"#).is_ok());
        for bad in [
            r#"{"url":"http://h"}"#.to_owned(),
            r#"{"url":"ftp://h"}"#.to_owned(),
            r#"{"url":"https://u:p@h"}"#.to_owned(),
            r#"{"url":"https://h/a b"}"#.to_owned(),
            format!(r#"{{"url":"https://h/{}"}}"#, "x".repeat(1_024)),
        ] {
            assert_eq!(new(&bad).unwrap_err(), Some("url"), "{bad}");
        }
        assert_eq!(new(r#"{"url":"https://h","kinds":["A"]}"#).unwrap_err(), Some("kinds"));
        assert_eq!(new(r#"{"url":"https://h","product":"a/b"}"#).unwrap_err(), Some("product"));
        assert_eq!(new(r#"{"url":"https://h","uri":1}"#).unwrap_err(), None);
    }

    #[test]
    fn nothing_inside_is_reached_unless_it_is_listed() {
        let reach = |text: &str, listed: &[Net]| may_reach(text.parse().unwrap(), listed);
        assert!(INSIDE.iter().all(|net| Net::parse(net).is_some()));
        for outside in ["1.1.1.1", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
        {
            assert!(reach(outside, &[]), "{outside}");
        }
        for inside in [
            "127.0.0.1",
            "0.0.0.0",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::7f00:1",
            "64:ff9b::a00:1",
            "168.63.129.16",
            "::ffff:0:7f00:1",
            "2002:7f00:1::",
        ] {
            assert!(!reach(inside, &[]), "{inside}");
        }
        let listed = [Net::parse("10.1.0.0/16").unwrap(), Net::parse("::1").unwrap()];
        assert!(reach("10.1.2.3", &listed) && reach("::ffff:10.1.2.3", &listed));
        assert!(reach("::1", &listed) && !reach("10.2.0.1", &listed) && !reach("::2", &listed));
        for bad in ["10.0.0.0/33", "::/129", "x", "10.0.0.0/", "/8"] {
            assert_eq!(Net::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn pauses_grow_and_a_day_of_failures_is_the_end() {
        let (mut hook, pause) = (hook(), Duration::from_secs(10));
        let mut now = Instant::from_micros(1_000_000);
        let (start, mut pauses) = (now, Vec::new());
        while !hook.failed(now, pause, "no") {
            assert!(!hook.is_due(now));
            let next = Instant::from_micros(hook.next);
            pauses.push(next.since(now).as_secs());
            now = next;
            assert!(hook.is_due(now));
        }
        assert_eq!(pauses.get(..4), Some(&[10, 20, 40, 80][..]));
        assert!(pauses.iter().all(|pause| *pause <= 3_600));
        assert!(now.since(start) >= TRIED && now.since(start) < TRIED + LONGEST);
        assert!(hook.off && !hook.is_due(now + LONGEST));
        assert!(!hook.failed(now, pause, "no"), "it is told once");
        hook.delivered(9);
        assert!(!hook.off && hook.is_due(now) && hook.error.is_none() && hook.cursor == 9);
        let again = Hook::from_bytes(&hook.to_bytes().unwrap()).unwrap();
        assert_eq!(again, hook);
    }

    #[test]
    fn a_delivery_is_signed_over_its_id_its_time_and_its_body() {
        let hook = hook();
        let events = [EventView::new(4, 9, ("P", "d"), br#"{"kind":"proved"}"#)];
        let made = hook.delivery(b"secret", 77, &events).unwrap();
        let text = String::from_utf8(made.request).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /?a=b HTTP/1.1\r\nHost: [2600::1]:8443\r\n"), "{head}");
        let id = "0707070707070707-4-4";
        assert_eq!(made.id, id);
        assert!(head.contains(&format!("\r\nX-Ota-Id: {id}\r\nX-Ota-Timestamp: 77\r\n")));
        assert!(head.ends_with(&sign(b"secret", id, 77, body.as_bytes())));
        assert_ne!(sign(b"secret", id, 78, body.as_bytes()), sign(b"secret", id, 77, b""));
        let value: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&value["webhook"], &value["events"][0]["seq"]), (&hook.id.into(), &4.into()));
    }

    #[test]
    fn the_status_of_an_answer() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n\r\n"), Ok(Some(204)));
        assert_eq!(status(b"HTTP/1.1 302 Found\r\nLocation: /\r\n"), Ok(None));
        assert!(status(b"SSH-2.0-x\r\n").is_err());
        assert_eq!(status(b""), Ok(None));
    }

    #[test]
    fn an_event_is_wanted_by_product_and_kind() {
        let mut hook = hook();
        assert!(hook.wants("P", "proved") && hook.wants("", "alert"));
        (hook.product, hook.kinds) = (Some("P".to_owned()), vec!["proved".to_owned()]);
        assert!(hook.wants("P", "proved") && !hook.wants("P", "status"));
        assert!(!hook.wants("Q", "proved"));
    }
}
