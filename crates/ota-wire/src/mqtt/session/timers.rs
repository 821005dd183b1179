//! Deadlines.

use ota_proto::{Instant, Micros};

use super::Session;
use super::state::{Delivery, Ping, SubState};
use super::tx::What;
use super::types::{Deadline, SessionError, SessionPhase, SessionTimer};
use crate::mqtt::packet::Request;

/// The earliest deadline so far.
#[derive(Default)]
struct First(Option<Deadline>);

impl First {
    // Not inlined: each copy costs flash, and so would a chain of iterators.
    #[inline(never)]
    fn after(&mut self, start: Option<Instant>, wait: Micros, timer: SessionTimer) {
        let Some(start) = start else { return };
        let next = Deadline { at: start + wait, timer };
        if self.0.is_none_or(|first| next < first) {
            self.0 = Some(next);
        }
    }
}

impl<O: Copy> Session<O> {
    /// Returns when to call [`Self::handle_timeout`], and for what; `None` without a connection. It
    /// stays the same until an input changes it.
    ///
    /// Time-outs of answers are suspended while [`Self::wants_read`] is `false` because of missing
    /// acknowledgements: the server is not late then.
    #[must_use]
    pub fn deadline(&self) -> Option<Deadline> {
        let timing = &self.config.timing;
        let mut first = First::default();
        match self.phase {
            SessionPhase::Down | SessionPhase::Ended(_) => return None,
            // With an empty buffer there is nothing to wait for: the caller closes now.
            SessionPhase::Closing => {
                let since = self.tx.since().unwrap_or(self.since);
                first.after(Some(since), timing.write, SessionTimer::Write);
                return first.0;
            }
            SessionPhase::Connecting | SessionPhase::Up => {
                first.after(self.tx.since(), timing.write, SessionTimer::Write);
            }
        }
        if self.phase == SessionPhase::Connecting {
            first.after(Some(self.since), timing.connack, SessionTimer::ConnAck);
            return first.0;
        }
        first.after(self.quiet_since(), timing.keep_alive, SessionTimer::KeepAlive);
        if self.blocked.is_some() {
            first.after(self.blocked, timing.blocked, SessionTimer::Blocked);
            return first.0;
        }
        for flight in &self.flights {
            if let Delivery::Handed(at) = flight.progress {
                first.after(Some(at), timing.puback, SessionTimer::PubAck);
            }
        }
        for sub in &self.subs {
            match sub.state {
                SubState::Asked { handed, .. } => {
                    first.after(handed, timing.suback, SessionTimer::SubAck);
                }
                SubState::Refused(at) => {
                    first.after(Some(at), timing.resubscribe, SessionTimer::Subscribe);
                }
                SubState::Idle | SubState::Active => {}
            }
        }
        if self.held && self.held_until() > self.now {
            first.after(Some(self.since), timing.blocked, SessionTimer::Subscribe);
        }
        if let Ping::Awaited(at) = self.ping {
            first.after(Some(at), timing.pingresp, SessionTimer::PingResp);
        }
        first.0
    }

    /// The time of [`Self::deadline`] may have come. Sends the PINGREQ that is due.
    ///
    /// # Errors
    /// [`SessionError::TimedOut`]: something is overdue and the session is over.
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), SessionError> {
        let now = self.clock(now);
        while let Some(Deadline { at, timer }) = self.deadline() {
            if at > now {
                break;
            }
            match timer {
                SessionTimer::KeepAlive => {}
                SessionTimer::Subscribe => {
                    self.ask_again(now);
                    continue;
                }
                _ => return Err(self.end(SessionError::TimedOut(timer))),
            }
            self.ping = Ping::Buffered;
            let limit = self.config.limits.tx;
            let done = self.tx.push(now, &Request::PingReq, What::PingReq, limit);
            debug_assert!(done, "there is a reserve for it");
        }
        Ok(())
    }

    /// The earliest end of the time without the application's subscriptions: an offer follows its
    /// reply.
    pub(super) fn held_until(&self) -> Instant {
        self.since + self.config.timing.blocked
    }

    /// Repeats refused subscriptions after a while: a gateway may have brought a sub-device online.
    fn ask_again(&mut self, now: Instant) {
        let wait = self.config.timing.resubscribe;
        for sub in &mut self.subs {
            if matches!(sub.state, SubState::Refused(at) if at + wait <= now) {
                sub.state = SubState::Idle;
            }
        }
        self.pump(now);
    }

    /// Suspends the time-outs of answers when nothing more can be taken, and resumes them.
    pub(super) fn watch_blocking(&mut self, now: Instant) {
        if self.phase == SessionPhase::Up && self.inbound_full() {
            self.blocked.get_or_insert(now);
            return;
        }
        let Some(since) = self.blocked.take() else { return };
        let shift = |at: &mut Instant| *at = *at + now.past(since.max(*at));
        for flight in &mut self.flights {
            if let Delivery::Handed(at) = &mut flight.progress {
                shift(at);
            }
        }
        for sub in &mut self.subs {
            if let SubState::Asked { handed: Some(at), .. } = &mut sub.state {
                shift(at);
            }
        }
        if let Ping::Awaited(at) = &mut self.ping {
            shift(at);
        }
    }

    /// Since when a PINGREQ was not needed; `None` while one is in progress.
    ///
    /// Nothing received counts, too: a connection that died while only messages of QoS 0 are sent
    /// would not be noticed otherwise. While we do not read, the answer to the last PINGREQ may
    /// be in the pipe, and the next one must go out all the same.
    fn quiet_since(&self) -> Option<Instant> {
        match self.ping {
            Ping::None => Some(self.last_sent.min(self.last_received)),
            Ping::Awaited(_) if self.blocked.is_some() => Some(self.last_sent),
            Ping::Awaited(_) | Ping::Buffered => None,
        }
    }
}
