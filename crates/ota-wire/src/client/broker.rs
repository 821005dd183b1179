//! The link to the broker: an MQTT session, and the time of the next one. It does not know the
//! other link, devices or the application.

use alloc::string::String;
use core::mem;

use ota_proto::{Instant, Micros, QoS, TlsError, TransportError};

use super::{AddError, ClientConfig, Disconnect, Link, Output, Owner, Timer};
use crate::mqtt::{
    self, AttemptEnd, Outgoing, PublishError, PublishHandle, Purpose, Reconnect, Session,
    SessionFound, SessionPhase, SessionReceived, SubId, SubscribeError,
};

/// The link to the broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct BrokerLink {
    pub(crate) session: Session<Owner>,
    host: String,
    port: u16,
    tls: bool,
    connect: Micros,
    link: Option<Link>,
    /// The deadline for opening the link.
    opening: Option<Instant>,
    /// Whether the server accepted the login on this link.
    accepted: bool,
    reconnect: Reconnect,
    closing: Option<Link>,
}

/// The end of a link, and the time of the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) cause: Disconnect,
    pub(super) next: mqtt::Attempt,
}

impl BrokerLink {
    pub(super) fn new(now: Instant, config: ClientConfig) -> Result<Self, mqtt::ConfigError> {
        Ok(Self {
            session: Session::new(config.mqtt)?,
            host: config.host,
            port: config.port,
            tls: config.tls,
            connect: config.connect,
            link: None,
            opening: None,
            accepted: false,
            reconnect: Reconnect::new(config.reconnect, config.seed, now),
            closing: None,
        })
    }

    /// Checks that a device's messages fit the session's limits, in both directions.
    pub(super) fn check_room(&self, device: &ota_proto::Config) -> Result<(), AddError> {
        let mqtt::SessionLimits { ota_tx, packet, .. } = self.session.limits();
        let report = longest_report(device);
        let offer = device.identity.update_topic().len().saturating_add(OFFER);
        for (what, has, needed) in [("ota_tx", ota_tx, report), ("packet", packet, offer)] {
            if has < needed {
                return Err(AddError::Limit { what, needed });
            }
        }
        Ok(())
    }

    pub(crate) fn is(&self, link: Link) -> bool {
        self.link == Some(link)
    }

    /// Host and port.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Whether the server accepted the login on this link.
    pub(super) const fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// Whether the next link is due.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.link.is_none() && self.reconnect.next() <= now
    }

    /// Opens the next link.
    pub(super) fn open(&mut self, now: Instant, link: Link) -> Output<'_> {
        self.link = Some(link);
        self.opening = Some(now + self.connect);
        self.reconnect.handle_connect(now);
        Output::Connect { link, host: &self.host, port: self.port, tls: self.tls }
    }

    pub(super) fn opened(&mut self, now: Instant) {
        if self.opening.take().is_some() {
            self.reconnect.handle_connect(now);
            self.session.handle_connected(now);
        }
    }

    /// Handles received bytes; `None` if the session is over: [`Self::verdict`] has the reason.
    pub(super) fn receive(&mut self, now: Instant, rx: &[u8]) -> Option<SessionReceived> {
        let received = self.session.handle_received(now, rx).ok()?;
        if received.found == SessionFound::Accepted {
            self.accepted = true;
            self.reconnect.handle_up(now);
        }
        Some(received)
    }

    /// Publishes a message of the application.
    pub(super) fn publish(
        &mut self,
        now: Instant,
        message: Outgoing<'_>,
    ) -> Result<PublishHandle, PublishError> {
        if is_ours(message.topic) {
            return Err(PublishError::BadTopic);
        }
        self.session.publish(now, message, Owner::Application)
    }

    /// Subscribes to a filter of the application.
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        filter: &str,
        qos: QoS,
    ) -> Result<SubId, SubscribeError> {
        if is_ours(filter) {
            return Err(SubscribeError::BadFilter);
        }
        self.session.subscribe(now, Purpose::Application, filter, qos)
    }

    /// Handles passed time. The session's end is in [`Self::verdict`].
    pub(super) fn tick(&mut self, now: Instant) -> Option<Disconnect> {
        let _ = self.session.handle_timeout(now);
        let overdue = self.opening.is_some_and(|deadline| deadline <= now);
        overdue.then_some(Disconnect::Transport(TransportError::TimedOut))
    }

    /// The session's reason for its end.
    pub(super) fn verdict(&self) -> Option<Disconnect> {
        match self.session.phase() {
            SessionPhase::Ended(error) => Some(Disconnect::Session(error)),
            SessionPhase::Closing if self.session.transmit().is_empty() => {
                Some(Disconnect::Planned)
            }
            _ => None,
        }
    }

    /// Reports that the link is closed or closing; decides when the next one comes. `busy`: an
    /// update is open.
    pub(super) fn end(&mut self, now: Instant, cause: Disconnect, busy: bool) -> Option<Ending> {
        let link = self.link.take()?;
        // The session's own reason takes precedence over the later end of its link.
        let cause = match self.session.phase() {
            SessionPhase::Ended(error) => Disconnect::Session(error),
            SessionPhase::Closing => Disconnect::Planned,
            _ => cause,
        };
        let was_up = mem::take(&mut self.accepted);
        self.opening = None;
        self.session.handle_closed(now);
        let how = match cause {
            Disconnect::Planned => AttemptEnd::Planned,
            Disconnect::Session(error) if error.is_login_refused() => AttemptEnd::LoginRefused,
            // A clock may be set at any time, and until then no peer gets any traffic.
            Disconnect::Transport(TransportError::Tls(TlsError::ClockNotSet)) => AttemptEnd::Failed,
            // A certificate does not change within a second.
            Disconnect::Transport(TransportError::Tls(_)) => AttemptEnd::LoginRefused,
            Disconnect::Session(mqtt::SessionError::TimedOut(mqtt::SessionTimer::Blocked)) => {
                AttemptEnd::Blocked
            }
            // We ended it, for whatever reason: this is no sign of another client.
            Disconnect::Session(_) => AttemptEnd::Failed,
            _ if was_up => AttemptEnd::Lost,
            _ => AttemptEnd::Failed,
        };
        self.closing = Some(link);
        Some(Ending { cause, next: self.reconnect.handle_ended(now, how, busy) })
    }

    /// The link to close.
    pub(super) fn poll_close(&mut self) -> Option<Link> {
        self.closing.take()
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<(Instant, Timer)> {
        let session = self.session.deadline().map(|next| (next.at, Timer::Mqtt(next.timer)));
        let due = self.link.is_none().then(|| (self.reconnect.next(), Timer::Reconnect));
        let opening = self.opening.map(|at| (at, Timer::Connect));
        earlier(session, earlier(due, opening))
    }
}

/// The earlier of two deadlines.
// Not inlined: each copy costs flash.
#[inline(never)]
pub(super) fn earlier(
    one: Option<(Instant, Timer)>,
    other: Option<(Instant, Timer)>,
) -> Option<(Instant, Timer)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The longest PUBLISH of a device: its topic and payload; header, length, topic length and
/// identifier.
pub(super) fn longest_report(device: &ota_proto::Config) -> usize {
    let topic = device.identity.report_topic().len();
    topic.saturating_add(ota_proto::Config::buffer_len()).saturating_add(9)
}

/// The length of a short offer without its topic: a device with a lower limit would never get one.
const OFFER: usize = 512;

/// The application must not use the update's own topics.
fn is_ours(topic: &str) -> bool {
    topic == "$ota" || topic.starts_with("$ota/")
}
