//! The link to the broker, and what comes over it.

use core::mem::{self, discriminant};

use ota_proto::{Instant, TransportError};

use super::{Client, Config, DeviceIndex, Disconnect, Event, Found, Link, Received};
use crate::mqtt::{self, Ended, Phase, Reconnect};

/// The link to the broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Broker {
    pub(super) link: Option<Link>,
    /// When the opening of the link must have succeeded.
    opening: Option<Instant>,
    /// The server took the login over this link.
    accepted: bool,
    reconnect: Reconnect,
}

impl Broker {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        let reconnect = Reconnect::new(config.reconnect, config.seed, now);
        Self { link: None, opening: None, accepted: false, reconnect }
    }

    /// When the next link is due; `None` while there is one.
    pub(super) fn due(&self) -> Option<Instant> {
        self.link.is_none().then(|| self.reconnect.next())
    }

    /// The link is being opened.
    pub(super) fn is_opening(&self) -> bool {
        self.opening.is_some()
    }

    /// When the link must be open.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.opening
    }

    pub(super) fn open(&mut self, now: Instant, link: Link, deadline: Instant) {
        self.link = Some(link);
        self.opening = Some(deadline);
        self.reconnect.handle_connect(now);
    }

    pub(super) fn opened(&mut self, now: Instant) {
        self.opening = None;
        self.reconnect.handle_connect(now);
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.opening.is_some_and(|deadline| deadline <= now)
    }
}

impl Client {
    /// The session may have ended by itself: the link follows.
    pub(super) fn settle_session(&mut self, now: Instant) {
        match self.session.phase() {
            Phase::Ended(error) => self.end_broker(now, Disconnect::Session(error)),
            Phase::Closing if self.session.transmit().is_empty() => {
                self.end_broker(now, Disconnect::Planned);
            }
            _ => {}
        }
    }

    /// The link is gone or goes; decides when the next one comes.
    pub(super) fn end_broker(&mut self, now: Instant, cause: Disconnect) {
        let Some(link) = self.broker.link.take() else { return };
        // What the session says itself comes before what became of its link afterwards.
        let cause = match self.session.phase() {
            Phase::Ended(error) => Disconnect::Session(error),
            Phase::Closing => Disconnect::Planned,
            _ => cause,
        };
        let was_up = mem::take(&mut self.broker.accepted);
        self.broker.opening = None;
        self.session.handle_closed(now);
        for device in &mut self.devices {
            if mem::take(&mut device.up) {
                device.updater.handle_session(now, false);
            }
        }
        let how = match cause {
            Disconnect::Planned => Ended::Planned,
            Disconnect::Session(error) if error.is_login_refused() => Ended::LoginRefused,
            // A certificate does not change in a second.
            Disconnect::Transport(TransportError::Tls(_)) => Ended::LoginRefused,
            _ if was_up => Ended::Lost,
            _ => Ended::Failed,
        };
        let next = self.broker.reconnect.handle_ended(now, how, self.is_busy());
        self.closing.push(link);
        self.news.push_back(Event::Disconnected { cause, retry_at: next.at });
        if next.kicked {
            self.news.push_back(Event::Kicked);
        }
    }

    pub(super) fn receive_from_broker(&mut self, now: Instant, rx: &[u8]) -> Received {
        let Ok(mqtt::Received { consumed, found }) = self.session.handle_received(now, rx) else {
            // The session is over; the next output closes the link.
            return Received { consumed: rx.len(), found: None };
        };
        let mut application = None;
        match found {
            mqtt::Found::Accepted => {
                self.broker.accepted = true;
                self.broker.reconnect.handle_up(now);
                self.news.push_back(Event::Connected);
            }
            mqtt::Found::Subscribed(sub) => {
                match self.devices.iter_mut().find(|device| device.sub == sub) {
                    Some(device) => {
                        device.up = true;
                        device.updater.handle_session(now, true);
                    }
                    None => self.news.push_back(Event::Subscribed(sub)),
                }
            }
            mqtt::Found::Refused(sub) => self.news.push_back(Event::SubscribeRefused(sub)),
            mqtt::Found::Unsubscribed(sub) => self.news.push_back(Event::Unsubscribed(sub)),
            mqtt::Found::TooLong { len, .. } => self.complain(Event::TooLong { len }),
            mqtt::Found::Message { topic, payload, ack, .. } => {
                if self.receive_offer(now, mqtt::text(rx, &topic), rx.get(payload.clone())) {
                    // The machine has taken it (O16).
                    ack.map(|ack| self.session.acknowledge(now, ack));
                } else {
                    application = Some(Found::Message { topic, payload, ack });
                }
            }
            _ => {}
        }
        Received { consumed, found: application }
    }

    /// Gives a message to the device whose topic it came on; `false` when it is nobody's.
    fn receive_offer(&mut self, now: Instant, topic: &str, payload: Option<&[u8]>) -> bool {
        let at = |device: &super::Device| device.updater.config().identity.update_topic() == topic;
        let Some(index) = self.devices.iter().position(at) else { return false };
        let Some(device) = self.devices.get_mut(index) else { return false };
        let payload = payload.unwrap_or_default();
        if let Err(error) = device.updater.handle_message(now, topic, payload) {
            self.complain(Event::BadMessage { device: DeviceIndex(index), error });
        }
        true
    }

    /// Tells of a message of no use. A server can send many before the next output is asked for:
    /// only the latest of each kind waits.
    fn complain(&mut self, event: Event) {
        self.news.retain(|old| discriminant(old) != discriminant(&event));
        self.news.push_back(event);
    }
}
