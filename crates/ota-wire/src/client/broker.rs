//! The link to the broker: an MQTT session, and when to have the next one. It knows nothing of the
//! other link, of devices or of the application.

use alloc::string::String;
use core::mem;

use ota_proto::{Instant, Micros, QoS, TlsError, TransportError};

use super::{AddError, Config, Disconnect, Link, Output, Owner, Timer};
use crate::mqtt::{
    self, Ended, Found, Kind, Outgoing, Phase, PublishError, PublishHandle, Received, Reconnect,
    Session, SubId, SubscribeError,
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
    /// When the opening of the link must have succeeded.
    opening: Option<Instant>,
    /// The server took the login over this link.
    accepted: bool,
    reconnect: Reconnect,
    closing: Option<Link>,
}

/// How a link ended, and when the next one comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    pub(super) cause: Disconnect,
    pub(super) next: mqtt::Attempt,
}

impl BrokerLink {
    pub(super) fn new(now: Instant, config: Config) -> Result<Self, mqtt::ConfigError> {
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

    /// Whether a device's messages fit the session's bounds, both ways.
    pub(super) fn check_room(&self, device: &ota_proto::Config) -> Result<(), AddError> {
        let mqtt::Limits { ota_tx, packet, .. } = self.session.limits();
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

    /// The next link is due.
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

    /// What was received; `None` when the session is over: [`Self::verdict`] says why.
    pub(super) fn receive(&mut self, now: Instant, rx: &[u8]) -> Option<Received> {
        let received = self.session.handle_received(now, rx).ok()?;
        if received.found == Found::Accepted {
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

    /// Subscribes to a filter of the application's.
    pub(super) fn subscribe(
        &mut self,
        now: Instant,
        filter: &str,
        qos: QoS,
    ) -> Result<SubId, SubscribeError> {
        if is_ours(filter) {
            return Err(SubscribeError::BadFilter);
        }
        self.session.subscribe(now, Kind::Application, filter, qos)
    }

    /// A deadline may have come. The session's end shows in [`Self::verdict`].
    pub(super) fn tick(&mut self, now: Instant) -> Option<Disconnect> {
        let _ = self.session.handle_timeout(now);
        let overdue = self.opening.is_some_and(|deadline| deadline <= now);
        overdue.then_some(Disconnect::Transport(TransportError::TimedOut))
    }

    /// What the session says of its own end.
    pub(super) fn verdict(&self) -> Option<Disconnect> {
        match self.session.phase() {
            Phase::Ended(error) => Some(Disconnect::Session(error)),
            Phase::Closing if self.session.transmit().is_empty() => Some(Disconnect::Planned),
            _ => None,
        }
    }

    /// The link is gone or goes; decides when the next one comes. `busy`: an update is open.
    pub(super) fn end(&mut self, now: Instant, cause: Disconnect, busy: bool) -> Option<Ending> {
        let link = self.link.take()?;
        // What the session says itself comes before what became of its link afterwards.
        let cause = match self.session.phase() {
            Phase::Ended(error) => Disconnect::Session(error),
            Phase::Closing => Disconnect::Planned,
            _ => cause,
        };
        let was_up = mem::take(&mut self.accepted);
        self.opening = None;
        self.session.handle_closed(now);
        let how = match cause {
            Disconnect::Planned => Ended::Planned,
            Disconnect::Session(error) if error.is_login_refused() => Ended::LoginRefused,
            // A clock may be set any moment, and no peer is bothered until then.
            Disconnect::Transport(TransportError::Tls(TlsError::ClockNotSet)) => Ended::Failed,
            // A certificate does not change in a second.
            Disconnect::Transport(TransportError::Tls(_)) => Ended::LoginRefused,
            Disconnect::Session(mqtt::SessionError::TimedOut(mqtt::Timer::Blocked)) => {
                Ended::Blocked
            }
            // We ended it, whatever the cause: no sign of another client.
            Disconnect::Session(_) => Ended::Failed,
            _ if was_up => Ended::Lost,
            _ => Ended::Failed,
        };
        self.closing = Some(link);
        Some(Ending { cause, next: self.reconnect.handle_ended(now, how, busy) })
    }

    /// The link that is to be closed.
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
// Its copies would cost flash.
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

/// Bytes of the longest PUBLISH of a device's: its topic and payload; header, length, topic length
/// and identifier.
pub(super) fn longest_report(device: &ota_proto::Config) -> usize {
    let topic = device.identity.report_topic().len();
    topic.saturating_add(ota_proto::Config::buffer_len()).saturating_add(9)
}

/// Bytes of a short offer beside its topic: what a device that takes less would never hear.
const OFFER: usize = 512;

/// The update's own topics are not the application's.
fn is_ours(topic: &str) -> bool {
    topic == "$ota" || topic.starts_with("$ota/")
}
