//! An IO-free HTTP/1.1 server for firmware images, with faults on demand.
//!
//! [`Origin`] is shared by all connections; [`Connection`] is one of them. Supports GET and HEAD,
//! one range, keep-alive and pipelining; every response has an exact `Content-Length` unless a
//! fault removes it (docs/protocol.md, The cloud's side).

mod connection;
mod content;
mod reply;
mod request;
mod respond;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use core::ops::Range;
use core::time::Duration;

use ota_proto::{Instant, Md5};

pub use connection::{Closing, Connection, Wanted};
pub use content::Content;
pub use request::Span;

use crate::fault::{Fault, FaultPlan, Kind, Rule};
use crate::sign::UrlSigner;
use content::File;

/// The most URLs that a fault keeps refusing; the oldest are dropped.
const MAX_EXPIRED: usize = 64;

/// The settings of an [`Origin`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OriginConfig {
    /// Checks the URLs; without it every path is open.
    pub signer: Option<UrlSigner>,
    /// The Unix time in seconds of the clock's origin, for the lifetime of URLs.
    pub unix_at_zero: u64,
    /// How long a connection may be silent between requests, and how long a request head may take.
    /// 60 s by default.
    pub idle: Duration,
    /// How long an answer may stay unread before the connection is reset. No limit by default.
    pub unread: Option<Duration>,
}

impl OriginConfig {
    /// The defaults.
    #[must_use]
    pub const fn new(signer: Option<UrlSigner>, unix_at_zero: u64) -> Self {
        Self { signer, unix_at_zero, idle: Duration::from_secs(60), unread: None }
    }
}

/// The images, the plan of faults and the counters, which all connections share.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    config: OriginConfig,
    files: BTreeMap<String, Arc<File>>,
    plan: FaultPlan,
    /// How often each rule has applied.
    used: Vec<u32>,
    /// Requests that the plan has counted.
    seen: u32,
    /// Targets that a fault has expired.
    expired: VecDeque<String>,
    counters: OriginCounters,
}

/// Counters of an [`Origin`]. They saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct OriginCounters {
    /// Requests with a complete head, without malformed ones.
    pub requests: u64,
    /// Requests for a range.
    pub ranges: u64,
    /// Requests refused with 403.
    pub refused: u64,
    /// Faults that happened.
    pub faults: u64,
    /// Bytes of images that were given out for sending.
    pub body_bytes: u64,
}

/// A request that was answered, or will never be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Served {
    /// The method, cut to 16 letters. The client chooses it: escape it for a screen.
    pub method: String,
    /// The raw path, without its query.
    pub path: String,
    /// The status; 0 if a fault suppresses the answer.
    pub status: u16,
    /// The range of the image in the answer.
    pub range: Range<u64>,
    /// The error as a text; empty if the image, or a fault's answer, is sent.
    pub why: String,
    /// The faults that happened.
    pub faults: Vec<Fault>,
}

impl Origin {
    /// Makes a server without images and faults.
    #[must_use]
    pub const fn new(config: OriginConfig) -> Self {
        Self {
            config,
            files: BTreeMap::new(),
            plan: FaultPlan::new(0),
            used: Vec::new(),
            seen: 0,
            expired: VecDeque::new(),
            counters: OriginCounters {
                requests: 0,
                ranges: 0,
                refused: 0,
                faults: 0,
                body_bytes: 0,
            },
        }
    }

    /// Adds an image at a path (from `/`, not percent-encoded), replacing an existing one, and
    /// returns its digest. Responses in progress keep the old one. Its `ETag` is its digest.
    pub fn add_file(&mut self, path: impl Into<String>, content: impl Into<Content>) -> Md5 {
        let file = File::new(content.into());
        let md5 = file.md5;
        self.files.insert(path.into(), Arc::new(file));
        md5
    }

    /// Removes an image.
    pub fn remove_file(&mut self, path: &str) {
        self.files.remove(path);
    }

    /// Sets the plan of faults; its counters start at zero.
    pub fn set_faults(&mut self, plan: FaultPlan) {
        self.used = vec![0; plan.rules.len()];
        self.plan = plan;
        self.seen = 0;
        self.expired.clear();
    }

    /// The counters.
    #[must_use]
    pub const fn counters(&self) -> OriginCounters {
        self.counters
    }

    const fn idle(&self) -> Duration {
        self.config.idle
    }

    const fn unread(&self) -> Option<Duration> {
        self.config.unread
    }

    const fn count_body(&mut self, n: u64) {
        self.counters.body_bytes = self.counters.body_bytes.saturating_add(n);
    }

    fn unix(&self, now: Instant) -> u64 {
        self.config.unix_at_zero.saturating_add(now.as_micros() / 1_000_000)
    }

    /// The rules that apply to this request, and its number. `resumed`: it has an offset above
    /// zero; `hop`: how often it was redirected.
    fn strike(&mut self, resumed: bool, hop: u32) -> (Vec<Rule>, u32) {
        let seen = self.seen;
        self.seen = seen.saturating_add(1);
        let due = |rule: &Rule, used: u32| {
            let fits = rule.fault.kind() != Kind::Resume || resumed;
            let first = hop == 0 || !respond::is_single_redirect(rule.fault);
            fits && first && seen >= rule.skip && used < rule.times
        };
        let mut struck = Vec::new();
        for kind in [[Kind::Instead; 2], [Kind::Shape, Kind::Resume]] {
            for (rule, used) in self.plan.rules.iter().zip(&mut self.used) {
                let alone = kind.contains(&Kind::Instead);
                if !kind.contains(&rule.fault.kind())
                    || !due(rule, *used)
                    || (alone && !struck.is_empty())
                {
                    continue;
                }
                *used = used.saturating_add(1);
                self.counters.faults = self.counters.faults.saturating_add(1);
                struck.push(rule.clone());
            }
            if !struck.is_empty() {
                break;
            }
        }
        (struck, seen)
    }

    /// Refuses this target from now on.
    fn expire(&mut self, target: &str) {
        self.expired.push_back(target.into());
        if self.expired.len() > MAX_EXPIRED {
            self.expired.pop_front();
        }
    }
}
