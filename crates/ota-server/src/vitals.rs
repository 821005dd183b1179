//! What the service counts of itself, and whether it is well. Everything that is in the log is
//! counted as it is written there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ota_cloud::EventKind;
use ota_cloud::alert::Alert;
use ota_cloud::device::Status;
use ota_cloud::endpoint::Refusal;
use ota_proto::Instant;
use ota_store::StoreError;

use crate::exposition::Text;
use crate::log::What;

/// The upper bounds of commits' durations, each in microseconds and as a label.
const BOUNDS: [(u64, &str); 10] = [
    (1_000, "0.001"),
    (2_500, "0.0025"),
    (5_000, "0.005"),
    (10_000, "0.01"),
    (25_000, "0.025"),
    (50_000, "0.05"),
    (100_000, "0.1"),
    (250_000, "0.25"),
    (1_000_000, "1"),
    (5_000_000, "5"),
];

/// A number that others may read meanwhile.
#[derive(Debug, Default)]
pub(crate) struct Number(AtomicU64);

impl Number {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    Mqtt,
    Http,
    Api,
}

impl Listener {
    const ALL: [Self; 3] = [Self::Mqtt, Self::Http, Self::Api];

    const fn name(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Http => "http",
            Self::Api => "api",
        }
    }
}

/// The state of something that should be up; 0 if there is no such thing.
mod state {
    pub(super) const UP: u8 = 1;
    pub(super) const DOWN: u8 = 2;
}

/// The calls of the API that were answered, by method, path and status.
type Calls = BTreeMap<(&'static str, &'static str, &'static str), u64>;

/// Counters and states. They begin with the process.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    /// Devices that are logged in.
    pub(crate) sessions: Number,
    /// Messages that wait for the broker.
    pub(crate) held: Number,
    pub(crate) reports: Number,
    reports_refused: Number,
    logins: Number,
    logins_refused: [Number; Refusal::ALL.len()],
    offers: Number,
    claimed: Number,
    proved: Number,
    failed: Number,
    timed_out: Number,
    turned_away: Number,
    firmware_requests: [Number; CLASSES.len()],
    firmware_bytes: Number,
    calls: Mutex<Calls>,
    commits: [Number; BOUNDS.len()],
    commits_all: Number,
    commit_micros: Number,
    commits_failed: Number,
    /// The time of the last commit that succeeded; 0 before the first.
    committed: Number,
    /// Why the store refuses, in a word.
    refuses: Mutex<Option<&'static str>>,
    listeners: [AtomicU8; 3],
    connections: [Number; 3],
    broker: AtomicU8,
    alerts: [Number; Alert::ALL.len()],
    /// When the certificate ends, in seconds since 1970; 0 without one.
    pub(crate) certificate_end: Number,
}

const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

fn class(status: u16) -> usize {
    usize::from(status / 100).min(CLASSES.len().saturating_sub(1))
}

impl Vitals {
    /// Counts an entry of the log.
    pub(crate) fn note(&self, what: &What) {
        match what {
            What::LoggedIn { .. } => self.logins.add(1),
            What::LoginRefused { why, .. } => {
                let at = Refusal::ALL.iter().position(|reason| reason == why);
                if let Some(number) = at.and_then(|at| self.logins_refused.get(at)) {
                    number.add(1);
                }
            }
            What::Refused { .. } => self.reports_refused.add(1),
            What::TurnedAway { .. } => self.turned_away.add(1),
            What::Event(kind) => self.event(kind),
            What::Called { method, path, status, .. } => {
                let class = CLASSES.get(class(*status)).copied().unwrap_or("none");
                let (mut calls, key) = (lock(&self.calls), (*method, *path, class));
                let count = calls.entry(key).or_default();
                *count = count.saturating_add(1);
            }
            What::BrokerJoined { .. } => self.broker.store(state::UP, Ordering::Relaxed),
            What::BrokerLost { .. } => self.broker.store(state::DOWN, Ordering::Relaxed),
            _ => {}
        }
    }

    fn event(&self, kind: &EventKind) {
        match kind {
            EventKind::Offered { .. } => self.offers.add(1),
            EventKind::Claimed { .. } => self.claimed.add(1),
            EventKind::Proved { .. } => self.proved.add(1),
            EventKind::Status { to: Status::Failed, .. } => self.failed.add(1),
            EventKind::Status { to: Status::TimedOut, .. } => self.timed_out.add(1),
            _ => {}
        }
    }

    /// Counts an answer of the firmware server, whether or not it is logged.
    pub(crate) fn firmware(&self, what: &What) {
        let What::Request { status, range, .. } = what else { return };
        if let Some(number) = self.firmware_requests.get(class(*status)) {
            number.add(1);
        }
        self.firmware_bytes.add(range.end.saturating_sub(range.start));
    }

    /// Counts a commit that took so long.
    pub(crate) fn committed(&self, now: Instant, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let fits = BOUNDS.iter().zip(&self.commits).filter(|((bound, _), _)| micros <= *bound);
        fits.for_each(|(_, number)| number.add(1));
        self.commits_all.add(1);
        self.commit_micros.add(micros);
        self.committed.set(now.as_micros().max(1));
        *lock(&self.refuses) = None;
    }

    /// Notes why a store refuses. A conflict and an invalid request are not its fault.
    pub(crate) fn refused(&self, why: &StoreError) {
        if matches!(why, StoreError::Conflict(_) | StoreError::Invalid { .. }) {
            return;
        }
        self.commits_failed.add(1);
        // In a word: the error's own text may name a path.
        *lock(&self.refuses) = Some(match why {
            StoreError::Full { .. } => "the disk is full",
            StoreError::ReadOnly { .. } => "it cannot be written",
            StoreError::Corrupt { .. } => "it is damaged",
            _ => "it does not answer",
        });
    }

    /// Why the store refuses; `None` if its last commit succeeded.
    pub(crate) fn store_trouble(&self) -> Option<&'static str> {
        *lock(&self.refuses)
    }

    /// How long ago a commit succeeded; `None` before the first.
    pub(crate) fn since_commit(&self, now: Instant) -> Option<Duration> {
        let at = Some(self.committed.get()).filter(|at| *at > 0)?;
        Some(now.since(Instant::from_micros(at)))
    }

    pub(crate) fn alert(&self, alert: Alert, raised: bool) {
        if let Some(number) = self.alerts.get(alert as usize) {
            number.set(u64::from(raised));
        }
    }

    /// Says that this listener will be there.
    pub(crate) fn expect(&self, listener: Listener) {
        self.set(listener, state::DOWN);
    }

    pub(crate) fn expect_broker(&self) {
        self.broker.store(state::DOWN, Ordering::Relaxed);
    }

    /// Marks a listener as up while the result lives.
    pub(crate) fn up(&self, listener: Listener) -> Up<'_> {
        self.set(listener, state::UP);
        Up(self, listener)
    }

    fn set(&self, listener: Listener, to: u8) {
        if let Some(state) = self.listeners.get(listener as usize) {
            state.store(to, Ordering::Relaxed);
        }
    }

    /// The open connections of a listener.
    pub(crate) fn connections(&self, listener: Listener) -> Option<&Number> {
        self.connections.get(listener as usize)
    }

    /// What keeps devices or callers out, in words.
    pub(crate) fn down(&self) -> Vec<String> {
        let down = Listener::ALL.into_iter().zip(&self.listeners);
        let down = down.filter(|(_, state)| state.load(Ordering::Relaxed) == state::DOWN);
        let mut why: Vec<_> =
            down.map(|(of, _)| format!("the listener {} is down", of.name())).collect();
        if self.broker.load(Ordering::Relaxed) == state::DOWN {
            why.push("there is no connection to the broker".to_owned());
        }
        why
    }

    /// Writes all counters.
    pub(crate) fn write(&self, text: &mut Text) {
        let connected = "Devices that are logged in.";
        text.one("ota_devices_connected", "gauge", connected, self.sessions.get());
        text.family("ota_connections", "gauge", "Open connections, by listener.");
        for (listener, number) in Listener::ALL.into_iter().zip(&self.connections) {
            text.sample("ota_connections", &[("listener", listener.name())], number.get());
        }
        let away = "Connections that were closed at once, because too many were open.";
        text.one("ota_connections_refused_total", "counter", away, self.turned_away.get());
        text.one("ota_logins_total", "counter", "Logins of devices.", self.logins.get());
        let name = "ota_logins_refused_total";
        text.family(name, "counter", "Refused logins of devices, by reason.");
        for (reason, number) in Refusal::ALL.iter().zip(&self.logins_refused) {
            text.sample(name, &[("reason", reason.name())], number.get());
        }
        text.one("ota_reports_total", "counter", "Reports of devices.", self.reports.get());
        let refused = self.reports_refused.get();
        text.one("ota_reports_refused_total", "counter", "Invalid reports.", refused);
        text.one("ota_offers_total", "counter", "Offers that were sent.", self.offers.get());
        if let end @ 1.. = self.certificate_end.get() {
            let help = "When the listeners' certificate ends, since 1970.";
            text.one("ota_certificate_end_seconds", "gauge", help, end);
        }
        text.family("ota_alert", "gauge", "Whether an operator should act, by alert.");
        for (alert, number) in Alert::ALL.iter().zip(&self.alerts) {
            text.sample("ota_alert", &[("alert", alert.name())], number.get());
        }
        self.write_results(text);
        self.write_commits(text);
        self.write_answers(text);
    }

    fn write_results(&self, text: &mut Text) {
        let name = "ota_results_total";
        let help = "What updates came to. An update that is claimed may also be proved.";
        text.family(name, "counter", help);
        for (outcome, number) in [
            ("claimed", &self.claimed),
            ("failed", &self.failed),
            ("proved", &self.proved),
            ("timed-out", &self.timed_out),
        ] {
            text.sample(name, &[("outcome", outcome)], number.get());
        }
    }

    fn write_commits(&self, text: &mut Text) {
        text.family("ota_commit_duration_seconds", "histogram", "Durations of commits.");
        let all = self.commits_all.get();
        let bounds = BOUNDS.iter().zip(&self.commits).map(|((_, le), number)| (*le, number.get()));
        for (le, count) in bounds.chain([("+Inf", all)]) {
            // The numbers are read one by one while others count.
            text.sample("ota_commit_duration_seconds_bucket", &[("le", le)], count.min(all));
        }
        let seconds = Duration::from_micros(self.commit_micros.get()).as_secs_f64();
        text.sample("ota_commit_duration_seconds_sum", &[], seconds);
        text.sample("ota_commit_duration_seconds_count", &[], all);
        let failed = "Reads and commits that the store refused.";
        text.one("ota_store_errors_total", "counter", failed, self.commits_failed.get());
        let works = u8::from(self.store_trouble().is_none());
        text.one("ota_store_up", "gauge", "Whether the last commit succeeded.", works);
    }

    fn write_answers(&self, text: &mut Text) {
        let name = "ota_firmware_requests_total";
        text.family(name, "counter", "Answers of the firmware server, by class of their status.");
        for (class, number) in CLASSES.iter().zip(&self.firmware_requests) {
            text.sample(name, &[("class", class)], number.get());
        }
        let bytes = "Bytes of images that answers announced; an answer may be cut.";
        text.one("ota_firmware_bytes_total", "counter", bytes, self.firmware_bytes.get());
        let name = "ota_api_calls_total";
        let help = "Calls of the API by method, route and class of the status. Without a route: no \
                    call of the API. Those of the vendor's API are always 2xx.";
        text.family(name, "counter", help);
        for ((method, route, class), count) in lock(&self.calls).iter() {
            let labels = [("method", *method), ("route", *route), ("class", *class)];
            text.sample(name, &labels, count);
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A listener that is up.
pub(crate) struct Up<'a>(&'a Vitals, Listener);

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.set(self.1, state::DOWN);
    }
}
