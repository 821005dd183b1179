//! An endpoint behind a relay, seen from the device.

use ota_proto::Instant;

use super::{Connection, End, Relay};
use crate::endpoint;

/// An [`endpoint::Connection`] with or without a relay in front, with one interface for both.
#[derive(Debug)]
pub struct Line {
    /// The endpoint: for logins, events and messages. Call [`Line::pump`] afterwards.
    pub endpoint: endpoint::Connection,
    relay: Option<Connection>,
}

impl Line {
    /// Makes a connection that was just opened; `faulty` if the relay must act on it.
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

    /// Whether bytes of the device are accepted now.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        let line = self.relay.as_ref().is_none_or(|line| line.wants_read(End::Device));
        line && self.endpoint.wants_read()
    }

    /// Moves bytes between the endpoint and the relay. This may cause events.
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

    /// Reports that `n` bytes of [`Line::unsent`] were sent.
    pub fn handle_sent(&mut self, now: Instant, n: usize) {
        match &mut self.relay {
            None => self.endpoint.handle_sent(now, n),
            Some(line) => line.handle_sent(End::Device, n),
        }
    }

    /// The time of the next [`Line::handle_timeout`].
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let line = self.relay.as_ref().and_then(Connection::deadline);
        self.endpoint.deadline().into_iter().chain(line).min()
    }

    /// Handles passed time.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        if let Some(line) = &mut self.relay {
            line.handle_timeout(now);
        }
    }

    /// Whether a fault closes the connection, once [`Line::unsent`] is sent.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.relay.as_ref().is_some_and(Connection::is_closing)
    }
}
