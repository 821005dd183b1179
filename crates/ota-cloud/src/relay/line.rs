//! An endpoint behind a relay, seen from the device.

use ota_proto::Instant;

use super::{Connection, End, Relay};
use crate::endpoint;

/// An [`endpoint::Connection`] behind a relay, or without one: whoever has its socket need not
/// care.
#[derive(Debug)]
pub struct Line {
    /// The endpoint: for logins, events and messages. Call [`Line::pump`] after.
    pub endpoint: endpoint::Connection,
    relay: Option<Connection>,
}

impl Line {
    /// A line that has just been opened; `faulty` when there is something to act on.
    #[must_use]
    pub fn new(endpoint: endpoint::Connection, faulty: bool) -> Self {
        Self { endpoint, relay: faulty.then(Connection::new) }
    }

    /// Takes bytes from the device.
    pub fn handle_received(&mut self, relay: &mut Relay, now: Instant, data: &[u8]) {
        match &mut self.relay {
            None => self.endpoint.handle_received(data),
            Some(line) => line.handle_received(relay, now, End::Device, data),
        }
    }

    /// Whether bytes of the device can be taken.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        let line = self.relay.as_ref().is_none_or(|line| line.wants_read(End::Device));
        line && self.endpoint.wants_read()
    }

    /// Moves bytes between the endpoint and the relay. There may be events after it.
    pub fn pump(&mut self, relay: &mut Relay, now: Instant) {
        let Some(line) = &mut self.relay else { return };
        line.handle_timeout(now);
        while line.wants_read(End::Broker) && !self.endpoint.unsent().is_empty() {
            let unsent = self.endpoint.unsent();
            let n = unsent.len();
            line.handle_received(relay, now, End::Broker, unsent);
            self.endpoint.handle_sent(now, n);
        }
        if self.endpoint.wants_read() {
            let data = line.transmit(End::Broker);
            let n = data.len();
            self.endpoint.handle_received(data);
            line.handle_sent(End::Broker, n);
        }
    }

    /// Bytes for the device.
    #[must_use]
    pub fn unsent(&self) -> &[u8] {
        match &self.relay {
            None => self.endpoint.unsent(),
            Some(line) => line.transmit(End::Device),
        }
    }

    /// `n` bytes of [`Line::unsent`] have left.
    pub fn handle_sent(&mut self, now: Instant, n: usize) {
        match &mut self.relay {
            None => self.endpoint.handle_sent(now, n),
            Some(line) => line.handle_sent(End::Device, n),
        }
    }

    /// When to call [`Line::handle_timeout`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let line = self.relay.as_ref().and_then(Connection::deadline);
        self.endpoint.deadline().into_iter().chain(line).min()
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        if let Some(line) = &mut self.relay {
            line.handle_timeout(now);
        }
    }

    /// A fault closes the line, once [`Line::unsent`] has left.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.relay.as_ref().is_some_and(Connection::is_closing)
    }
}
