//! The calls that bring a table into a cloud.

use core::fmt;
use core::ops::Range;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ota_proto::credentials::Secret;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::read::{Row, Table};
use crate::api::{Code, MAX_ROWS, certificate_line, hex};

/// The first line of each call.
const HEAD: &str = "name,secret,tags,disabled,certificate\n";
/// The longest body of a call. A cloud takes 256 KiB.
const MAX_BODY: usize = 240 * 1024;
/// How often in a row a cloud is waited for.
const MAX_WAITS: u32 = 20;
/// How often in a row a call that nobody answers is made again.
const MAX_LOSSES: u32 = 4;
/// What is waited where a cloud does not say how long, and the longest that is waited at once.
const WAIT: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(300));

/// A `POST` to be made.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Behind `/api/v1`.
    pub path: String,
    /// The type of the body.
    pub kind: &'static str,
    /// May hold secrets.
    pub body: Vec<u8>,
    /// The call's idempotency key: it is the same whenever the same table is sent again.
    pub key: String,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Request({}, {} bytes)", self.path, self.body.len())
    }
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// Its line.
    pub line: u64,
    /// Its product.
    pub product: String,
    /// Its name.
    pub name: String,
    /// What.
    pub what: What,
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The device was made, with the secret that was made for it if the table had none.
    Made(Option<Secret>),
    /// The device was there, and is as it was.
    There,
    /// It was refused, and why in the cloud's words.
    Refused(String),
}

impl What {
    /// A word for programs.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Made(_) => "made",
            Self::There => "there",
            Self::Refused(_) => "refused",
        }
    }
}

/// The server answered what no cloud answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadAnswer;

impl fmt::Display for BadAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is not from a cloud")
    }
}

impl std::error::Error for BadAnswer {}

/// How many rows became what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Devices that were made.
    pub made: usize,
    /// Devices that an earlier run with the same table made.
    pub earlier: usize,
    /// Devices that were there.
    pub there: usize,
    /// Rows that were refused.
    pub refused: usize,
    /// Rows of which nothing is known: they were not sent, or their answer did not come.
    pub left: usize,
}

/// A table on its way into a cloud: one call after the other, each with its answer.
#[derive(Clone, Debug)]
pub struct Import {
    /// Those of a product side by side.
    rows: Vec<Row>,
    digest: String,
    /// Products that are there.
    known: BTreeSet<String>,
    /// What is to be sent, each of one product.
    queue: VecDeque<Range<usize>>,
    counts: Counts,
}

#[derive(Deserialize)]
struct Answer {
    devices: Vec<Made>,
}

#[derive(Deserialize)]
struct Made {
    name: String,
    made: bool,
    secret: Option<String>,
}

impl Import {
    /// Begins. `products` are those that the cloud has.
    pub fn new(table: Table, products: impl IntoIterator<Item = String>) -> Self {
        let Table { mut rows, digest } = table;
        let mut order: BTreeMap<String, usize> = BTreeMap::new();
        for row in &rows {
            let next = order.len();
            order.entry(row.product.clone()).or_insert(next);
        }
        rows.sort_by_key(|row| order.get(&row.product).copied());
        let counts = Counts { left: rows.len(), ..Counts::default() };
        let queue = chunks(&rows);
        Self { rows, digest, known: products.into_iter().collect(), queue, counts }
    }

    /// How many rows became what so far.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// What is to be sent now; none at the end.
    #[must_use]
    pub fn request(&self) -> Option<Request> {
        let rows = self.rows.get(self.queue.front()?.clone())?;
        let product = &rows.first()?.product;
        let (path, kind, body) = if self.known.contains(product) {
            let body: String =
                core::iter::once(HEAD.to_owned()).chain(rows.iter().map(sent)).collect();
            (format!("/products/{}/devices", escaped(product)), "text/csv", body)
        } else {
            ("/products".to_owned(), "application/json", json!({ "id": product }).to_string())
        };
        let key = Sha256::new()
            .chain_update(&self.digest)
            .chain_update(&path)
            .chain_update([0])
            .chain_update(&body);
        Some(Request { path, kind, body: body.into_bytes(), key: hex(&key.finalize()) })
    }

    /// The answer to [`Import::request`]; `again` when it is that of an earlier run. Secrets in
    /// what became of the rows are to be kept before the next call is made.
    ///
    /// # Errors
    /// [`BadAnswer`] if it is not an answer to that call.
    pub fn answered(&mut self, answer: &[u8], again: bool) -> Result<Vec<Outcome>, BadAnswer> {
        let Some(range) = self.queue.front().cloned() else { return Err(BadAnswer) };
        let rows = self.rows.get(range).ok_or(BadAnswer)?;
        let product = &rows.first().ok_or(BadAnswer)?.product;
        if self.known.insert(product.clone()) {
            return Ok(Vec::new());
        }
        let Answer { devices } = serde_json::from_slice(answer).map_err(|_| BadAnswer)?;
        if devices.len() != rows.len() {
            return Err(BadAnswer);
        }
        let pairs = rows.iter().zip(devices);
        let outcomes: Result<Vec<Outcome>, BadAnswer> =
            pairs.map(|(row, made)| Ok(outcome(row, what(row, made)?))).collect();
        let outcomes = outcomes?;
        self.queue.pop_front();
        self.count(&outcomes, again);
        Ok(outcomes)
    }

    /// [`Import::request`] was refused, with a code and words. Where that is for a row's sake, what
    /// became of rows; with none of them, the rows are sent in smaller parts, until it is known
    /// which one it is. `None`: it is not for a row's sake, and all ends here.
    pub fn refused(&mut self, code: &str, words: &str) -> Option<Vec<Outcome>> {
        let codes = [Code::Exists, Code::Invalid, Code::TooLarge];
        if !codes.iter().any(|one| one.word() == code) {
            return None;
        }
        let range = self.queue.pop_front()?;
        let product = self.rows.get(range.start)?.product.clone();
        let mut gone = range.clone();
        if !self.known.contains(&product) {
            // None of it can be made.
            while let Some(next) = self.queue.front() {
                if self.rows.get(next.start).is_none_or(|row| row.product != product) {
                    break;
                }
                gone.end = next.end;
                self.queue.pop_front();
            }
        } else if range.len() > 1 {
            let half = range.start.saturating_add(range.len() / 2);
            self.queue.push_front(half..range.end);
            self.queue.push_front(range.start..half);
            return Some(Vec::new());
        }
        let rows = self.rows.get(gone).unwrap_or(&[]);
        let refused = || What::Refused(words.to_owned());
        let outcomes: Vec<Outcome> = rows.iter().map(|row| outcome(row, refused())).collect();
        self.count(&outcomes, false);
        Some(outcomes)
    }

    fn count(&mut self, outcomes: &[Outcome], again: bool) {
        let counts = &mut self.counts;
        for outcome in outcomes {
            let count = match outcome.what {
                What::Made(_) if again => &mut counts.earlier,
                What::Made(_) => &mut counts.made,
                What::There => &mut counts.there,
                What::Refused(_) => &mut counts.refused,
            };
            *count = count.saturating_add(1);
            counts.left = counts.left.saturating_sub(1);
        }
    }
}

fn outcome(row: &Row, what: What) -> Outcome {
    let (product, name) = (row.product.clone(), row.device.name.clone());
    Outcome { line: row.line, product, name, what }
}

/// A device that came without a secret and was made has one now.
fn what(row: &Row, made: Made) -> Result<What, BadAnswer> {
    if made.name != row.device.name {
        return Err(BadAnswer);
    }
    match (made.made, made.secret, row.is_bare()) {
        (false, ..) => Ok(What::There),
        (true, None, false) => Ok(What::Made(None)),
        (true, Some(secret), true) => {
            Ok(What::Made(Some(Secret::from_base64(&secret).map_err(|_| BadAnswer)?)))
        }
        (true, ..) => Err(BadAnswer),
    }
}

/// Rows of one product each, no more than a call takes.
fn chunks(rows: &[Row]) -> VecDeque<Range<usize>> {
    let mut chunks: VecDeque<Range<usize>> = VecDeque::new();
    let mut bytes = 0_usize;
    let mut product = "";
    for (at, row) in rows.iter().enumerate() {
        let length = sent(row).len();
        bytes = bytes.saturating_add(length);
        let end = at.saturating_add(1);
        match chunks.back_mut() {
            Some(last) if product == row.product && last.len() < MAX_ROWS && bytes <= MAX_BODY => {
                last.end = end;
            }
            _ => {
                chunks.push_back(at..end);
                (bytes, product) = (HEAD.len().saturating_add(length), &row.product);
            }
        }
    }
    chunks
}

/// A row as a call has it.
fn sent(row: &Row) -> String {
    let device = &row.device;
    let tags = device.tags.iter();
    let tags = tags.map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    let tags = tags.collect::<Vec<_>>().join(";");
    // It was read before.
    let secret = device.given().ok().flatten();
    let secret = secret.map(|secret| secret.expose_base64()).unwrap_or_default();
    let certificate = device.certificate.as_deref().and_then(certificate_line);
    let certificate = certificate.unwrap_or_default();
    format!("{},{secret},{tags},{},{certificate}\n", device.name, device.disabled)
}

fn escaped(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// How long a cloud that asks to wait is waited for.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    waits: u32,
    losses: u32,
}

impl Patience {
    /// A call was refused, with a status, a code, and the seconds of `Retry-After`: how long to
    /// wait before the same call is made again. `None`: repeating it is useless, or was done too
    /// often.
    pub fn after(&mut self, status: u16, code: &str, seconds: Option<u64>) -> Option<Duration> {
        let wait = match status {
            429 | 503 => seconds.map_or(WAIT.0, Duration::from_secs),
            409 if code == Code::Conflict.word() => Duration::from_secs(1),
            _ => return None,
        };
        self.waits = self.waits.saturating_add(1);
        let wait = wait.clamp(Duration::from_secs(1), WAIT.1);
        (self.waits <= MAX_WAITS).then_some(wait)
    }

    /// Nobody answered a call that may be made twice: how long to wait before it is. `None`: that
    /// was too often in a row. A server that starts again is waited for, 15 s in all.
    pub fn lost(&mut self) -> Option<Duration> {
        let wait = Duration::from_secs(1_u64.checked_shl(self.losses)?);
        self.losses = self.losses.saturating_add(1);
        (self.losses <= MAX_LOSSES).then_some(wait)
    }

    /// A call was answered.
    pub const fn answered(&mut self) {
        (self.waits, self.losses) = (0, 0);
    }
}
