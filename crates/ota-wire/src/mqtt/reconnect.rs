//! Decides when the next connection may be opened (rule 10 of docs/rules.md).

use ota_proto::{Instant, Micros, Rng};

/// The intervals of [`Reconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ReconnectConfig {
    /// Minimum interval between two CONNECTs: the platform's limit (docs/protocol.md, Connection).
    /// Default 5 s.
    pub min_interval: Micros,
    /// Range of the jitter after the first failure; it doubles with each further one. Default 5 s.
    pub base: Micros,
    /// Longest wait. Default 5 min.
    pub cap: Micros,
    /// Longest wait while an update is open. Default 30 s.
    pub cap_open: Micros,
    /// A session of this length resets the count of failures. Default 60 s.
    pub stable: Micros,
    /// The first connection after boot starts within this time. Default 5 s.
    pub spread: Micros,
    /// Three sessions that the peer ended within this time are reported ([`Attempt::kicked`]).
    /// Default 60 s.
    pub kick_window: Micros,
}

impl Default for ReconnectConfig {
    fn default() -> Self {
        Self {
            min_interval: Micros::from_secs(5),
            base: Micros::from_secs(5),
            cap: Micros::from_secs(300),
            cap_open: Micros::from_secs(30),
            stable: Micros::from_secs(60),
            spread: Micros::from_secs(5),
            kick_window: Micros::from_secs(60),
        }
    }
}

impl ReconnectConfig {
    /// Sets the minimum interval between two connections, and the longest wait before the first one.
    /// With an interval below [`ReconnectConfig::base`], failures wait less, too, but never under
    /// 200 ms: without any back-off they would cause a busy loop.
    pub fn set_spacing(&mut self, min_interval: Micros, spread: Micros) {
        (self.min_interval, self.spread) = (min_interval, spread);
        self.base = self.base.min(min_interval.max(Micros::from_millis(200)));
    }
}

/// How an attempt to open a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AttemptEnd {
    /// There was no session (not connected, no CONNACK, the service was unavailable), or we ended
    /// an open one because of an error, such as a time-out.
    Failed,
    /// The server rejects the login ([`super::SessionError::is_login_refused`]).
    LoginRefused,
    /// The peer or the network ended an open session.
    Lost,
    /// We ended it because the application did not take its messages. It counts as a failure, and
    /// however long it was, it resets no count.
    Blocked,
    /// We ended it on purpose. Only the minimum interval applies.
    Planned,
}

/// The next attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Attempt {
    /// The earliest time of the attempt.
    pub at: Instant,
    /// The third session was lost within [`ReconnectConfig::kick_window`]: most likely another
    /// client uses this login (the platform keeps the newer connection). Reported once for every
    /// three.
    pub kicked: bool,
}

/// Decides when to connect again: exponential back-off with full jitter from a seed, a minimum
/// interval between CONNECTs, and a cap.
///
/// ```
/// use core::time::Duration;
/// use ota_proto::Instant;
/// use ota_wire::mqtt::{AttemptEnd, Reconnect, ReconnectConfig};
///
/// let mut reconnect = Reconnect::new(ReconnectConfig::default(), 7, Instant::ZERO);
/// let now = Instant::from_secs(10);
/// reconnect.handle_connect(now);
/// let next = reconnect.handle_ended(now, AttemptEnd::Failed, false);
/// assert!(next.at >= now + Duration::from_secs(5), "the platform's limit");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Reconnect {
    config: ReconnectConfig,
    rng: Rng,
    next: Instant,
    /// The latest time at which a CONNECT may have been sent.
    last: Option<Instant>,
    up: Option<Instant>,
    failures: u32,
    /// The times of the last two losses, newest first.
    losses: [Option<Instant>; 2],
}

impl Reconnect {
    /// Starts at boot; the first attempt is spread over [`ReconnectConfig::spread`].
    #[must_use]
    pub fn new(config: ReconnectConfig, seed: u64, now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let next = now + rng.up_to(config.spread);
        Self { config, rng, next, last: None, up: None, failures: 0, losses: [None; 2] }
    }

    /// Returns the time of the next attempt.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// Reports that an attempt begins, or that the transport is connected and CONNECT is sent. Call
    /// it at both: the minimum interval counts from the later one.
    pub fn handle_connect(&mut self, now: Instant) {
        self.last = self.last.max(Some(now));
        self.next = self.next.max(now + self.config.min_interval);
    }

    /// Reports that the server accepted the login.
    pub fn handle_up(&mut self, now: Instant) {
        self.up = Some(now);
    }

    /// Reports the end of the attempt or session; decides about the next. `open`: an update is
    /// open, so the cloud's time-out is running.
    pub fn handle_ended(&mut self, now: Instant, how: AttemptEnd, open: bool) -> Attempt {
        let config = self.config;
        let up_for = self.up.take().map_or(Micros::ZERO, |up| now.past(up));
        if up_for >= config.stable && how != AttemptEnd::Blocked {
            self.failures = 0;
        }
        let cap = if open { config.cap_open } else { config.cap };
        let wait = match how {
            AttemptEnd::Planned => Micros::ZERO,
            // A refused login gets the longest pause at once, with jitter.
            AttemptEnd::LoginRefused => config.cap.less(self.rng.up_to(config.cap.part(4))),
            AttemptEnd::Failed | AttemptEnd::Lost | AttemptEnd::Blocked => {
                let factor = 1_u32.checked_shl(self.failures);
                let range = factor.map_or(cap, |factor| config.base.times(factor).min(cap));
                self.rng.up_to(range)
            }
        };
        if how != AttemptEnd::Planned {
            self.failures = self.failures.saturating_add(1);
        }
        let earliest = self.last.map_or(now, |last| now.max(last + config.min_interval));
        let latest = match how {
            AttemptEnd::LoginRefused => earliest.max(now + config.cap),
            _ => earliest.max(now + cap),
        };
        self.next = (earliest + wait).min(latest);
        Attempt { at: self.next, kicked: how == AttemptEnd::Lost && self.count_loss(now) }
    }

    /// Records a lost session; `true` if it is the third within the window.
    fn count_loss(&mut self, now: Instant) -> bool {
        let [newer, older] = self.losses;
        let third = older.is_some_and(|older| now.past(older) <= self.config.kick_window);
        self.losses = if third { [None; 2] } else { [Some(now), newer] };
        third
    }
}
