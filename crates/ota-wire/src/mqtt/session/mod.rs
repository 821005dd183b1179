//! One device's MQTT connection as a state machine.

mod receive;
#[cfg(feature = "record")]
mod recorded;
mod state;
mod timers;
mod tx;
mod types;

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use ota_proto::{Instant, QoS};

use super::config::{ConfigError, ConnectLogin, SessionConfig};
use super::packet::{PacketId, Publish, Request};
use super::topic::{filter_is_valid, topic_is_valid};
use state::{Delivery, Flight, Inbound, Ping, Skip, Sub, SubState};
use tx::{Hidden, Tx, What};
pub use types::{
    AckId, Deadline, Outgoing, PublishError, PublishHandle, Published, Purpose, SessionError,
    SessionFound, SessionPhase, SessionReceived, SessionTimer, SubId, SubscribeError,
};

/// One device's MQTT connection, and the state that survives it: the subscriptions, and the
/// application's unacknowledged messages of QoS 1.
///
/// `O` is the caller's tag of a publication, returned with its completion.
///
/// The loop: write [`transmit`](Self::transmit) and report it with
/// [`handle_sent`](Self::handle_sent); read while [`wants_read`](Self::wants_read) and pass the
/// bytes to [`handle_received`](Self::handle_received) until it needs more; call
/// [`poll_published`](Self::poll_published); sleep until [`deadline`](Self::deadline) and call
/// [`handle_timeout`](Self::handle_timeout). Report written bytes before bytes that were read after
/// them. If one of these returns an error, or [`phase`](Self::phase) is [`SessionPhase::Ended`], close the
/// connection and call [`handle_closed`](Self::handle_closed).
///
/// Every input is legal in every state. Memory is bounded by [`super::SessionLimits`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub struct Session<O> {
    config: SessionConfig,
    /// The latest known time: time does not run backwards.
    now: Instant,
    phase: SessionPhase,
    /// When the current phase began.
    since: Instant,
    last_sent: Instant,
    last_received: Instant,
    ping: Ping,
    blocked: Option<Instant>,
    /// The application's subscriptions are left out: see [`Self::is_held`].
    held: bool,
    tx: Tx,
    skip: Option<Skip>,
    subs: Vec<Sub>,
    flights: Vec<Flight<O>>,
    inbound: Vec<Inbound>,
    last_packet_id: u16,
    last_unique: u64,
}

impl<O: Copy> Session<O> {
    /// Makes a session without a connection.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn new(config: SessionConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self {
            config,
            now: Instant::ZERO,
            phase: SessionPhase::Down,
            since: Instant::ZERO,
            last_sent: Instant::ZERO,
            last_received: Instant::ZERO,
            ping: Ping::None,
            blocked: None,
            held: false,
            tx: Tx::default(),
            skip: None,
            subs: Vec::new(),
            flights: Vec::new(),
            inbound: Vec::new(),
            last_packet_id: 0,
            last_unique: 0,
        })
    }

    /// Replaces the login from the next connection on.
    ///
    /// # Errors
    /// [`ConfigError::Login`]; the old one stays.
    pub fn set_login(&mut self, login: ConnectLogin) -> Result<(), ConfigError> {
        login.check(self.config.limits.tx, self.config.timing.keep_alive)?;
        self.config.login = login;
        Ok(())
    }

    /// The transport is connected (after TLS): queues CONNECT.
    pub fn handle_connected(&mut self, now: Instant) {
        self.handle_closed(now);
        let now = self.clock(now);
        self.enter(SessionPhase::Connecting);
        (self.last_sent, self.last_received) = (now, now);
        let SessionConfig { login, limits, timing } = &self.config;
        let connect = Request::Connect(login.connect(timing.keep_alive));
        let done = self.tx.push(now, &connect, What::Connect, limits.tx);
        debug_assert!(done, "checked with the configuration");
    }

    /// The transport took `n` more bytes from the front of [`Self::transmit`].
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn handle_sent(&mut self, now: Instant, n: usize) {
        let now = self.clock(now);
        let mut n = self.tx.drop_front(now, n);
        if n > 0 {
            self.last_sent = now;
        }
        while let Some(what) = self.tx.next_done(&mut n) {
            self.handed_over(now, what);
        }
        self.pump(now);
        self.watch_blocking(now);
    }

    /// The transport is closed, by either side. Keeps only the subscriptions, the application's
    /// messages of QoS 1, and completions not polled yet.
    pub fn handle_closed(&mut self, now: Instant) {
        self.clock(now);
        self.enter(SessionPhase::Down);
        self.tx = Tx::default();
        self.skip = None;
        self.ping = Ping::None;
        self.blocked = None;
        self.inbound.clear();
        self.flights.retain(Flight::survives);
        let tries = self.config.limits.tries;
        self.flights.iter_mut().for_each(|flight| flight.requeue(tries));
        self.subs.retain(|sub| !sub.leaving);
        for sub in &mut self.subs {
            (sub.state, sub.refused) = (SubState::Idle, false);
        }
    }

    /// Returns the bytes for the transport, empty if there are none. They stay until
    /// [`Self::handle_sent`]; never more than [`super::SessionLimits::tx`].
    #[must_use]
    pub fn transmit(&self) -> &[u8] {
        self.tx.bytes()
    }

    /// Returns the limits.
    #[must_use]
    pub const fn limits(&self) -> super::SessionLimits {
        self.config.limits
    }

    /// Returns the state of the session.
    #[must_use]
    pub const fn phase(&self) -> SessionPhase {
        self.phase
    }

    /// Whether to read from the transport. `false` without a connection, and while the
    /// application has [`super::SessionLimits::inbound`] messages to acknowledge.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        self.is_live() && !self.inbound_full()
    }

    /// Takes a completed publication; `None` if there is none. Until then it counts towards
    /// [`super::SessionLimits::window`].
    #[must_use]
    pub fn poll_published(&mut self) -> Option<Published<O>> {
        let at = self.flights.iter().position(Flight::is_over)?;
        let flight = self.flights.remove(at);
        Some(Published {
            handle: flight.handle,
            owner: flight.owner,
            given_up: flight.progress == Delivery::GivenUp,
        })
    }

    /// Returns the longest PUBLISH packet in bytes, header included, that fits into the buffer now;
    /// 0 if none does. A packet is its topic, its payload, and at most 9 bytes.
    ///
    /// [`Self::publish`] accepts messages that fit, except the application's messages of QoS 1,
    /// which wait outside the buffer, within [`super::SessionLimits::kept`].
    #[must_use]
    pub fn room(&self, kind: Purpose) -> usize {
        if self.phase != SessionPhase::Up || self.flights.len() >= self.window(kind) {
            return 0;
        }
        self.tx_limit(kind).saturating_sub(self.tx.bytes().len())
    }

    /// Publishes a message. [`Self::poll_published`] returns its completion, unless the connection
    /// ends before (but see [`Purpose::Application`]).
    ///
    /// # Errors
    /// [`PublishError`]; nothing changed.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn publish(
        &mut self,
        now: Instant,
        message: Outgoing<'_>,
        owner: O,
    ) -> Result<PublishHandle, PublishError> {
        let limit = self.tx_limit(message.kind);
        let len = self.check_publish(&message, limit)?;
        let qos1 = message.qos == QoS::AtLeastOnce;
        let id = if qos1 { self.free_packet_id() } else { None };
        if qos1 != id.is_some() {
            return Err(PublishError::WindowFull);
        }
        let now = self.clock(now);
        self.last_packet_id = id.map_or(self.last_packet_id, PacketId::get);
        let handle = PublishHandle(self.unique());
        let mut flight =
            Flight { handle, owner, id, progress: Delivery::Buffered, tries: 0, copy: None };
        let request = Request::Publish(Publish::new(message.topic, id, message.payload));
        if is_kept(&message) {
            let mut copy = alloc::vec![0; len];
            request.encode(&mut copy).map_err(|_| PublishError::TooLong)?;
            flight.copy = Some(Hidden(copy));
            flight.progress = Delivery::Queued;
        } else {
            let done = self.tx.push(now, &request, What::Publish(handle), limit);
            debug_assert!(done, "checked before");
        }
        self.flights.push(flight);
        self.pump(now);
        Ok(handle)
    }

    /// The application took the message: queues its PUBACK. Returns `false`, without effect, if the
    /// message is of an earlier connection or already acknowledged.
    pub fn acknowledge(&mut self, now: Instant, ack: AckId) -> bool {
        let now = self.clock(now);
        let Some(at) = self.inbound.iter().position(|inbound| inbound.ack == ack) else {
            return false;
        };
        let Inbound { id, .. } = self.inbound.remove(at);
        self.push_puback(now, id);
        self.watch_blocking(now);
        true
    }

    /// Subscribes to a filter, now or once there is a session, and again in each later one.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing changed.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn subscribe(
        &mut self,
        now: Instant,
        kind: Purpose,
        filter: &str,
        qos: QoS,
    ) -> Result<SubId, SubscribeError> {
        if !filter_is_valid(filter) {
            return Err(SubscribeError::BadFilter);
        }
        let request = Request::Subscribe { id: PacketId::MIN, filter, qos };
        match request.encoded_len() {
            Ok(len) if len <= self.tx_limit(kind) => {}
            _ => return Err(SubscribeError::TooLong),
        }
        if self.subs.iter().any(|sub| sub.filter == filter) {
            return Err(SubscribeError::Duplicate);
        }
        if self.subs.len() >= self.config.limits.subscriptions {
            return Err(SubscribeError::Full);
        }
        let now = self.clock(now);
        let id = SubId(self.unique());
        let filter = String::from(filter);
        let state = SubState::Idle;
        self.subs.push(Sub { id, kind, filter, qos, leaving: false, refused: false, state });
        self.pump(now);
        Ok(id)
    }

    /// Removes a subscription. Returns `false`, without effect, if this id is unknown.
    /// [`SessionFound::Unsubscribed`] follows when the server had it, and nothing otherwise.
    pub fn unsubscribe(&mut self, now: Instant, id: SubId) -> bool {
        let now = self.clock(now);
        let Some(at) = self.subs.iter().position(|sub| sub.id == id && !sub.leaving) else {
            return false;
        };
        if let Some(sub) = self.subs.get_mut(at) {
            sub.leaving = true;
        }
        self.subs.retain(|sub| !sub.is_gone());
        self.pump(now);
        true
    }

    /// Leaves the application's subscriptions out after a session that ended because the
    /// application did not take its messages ([`SessionTimer::Blocked`]); otherwise messages for a device
    /// would wait behind them again, forever. They stay out for at least [`super::SessionTiming::blocked`]
    /// from CONNACK, and until [`Self::release`].
    #[must_use]
    pub const fn is_held(&self) -> bool {
        self.held
    }

    /// The longest time that they are left out is five times as long: a device that has not heard
    /// from the cloud by then is not waited for.
    #[must_use]
    pub fn is_held_long(&self, now: Instant) -> bool {
        let long = self.config.timing.blocked.times(5);
        self.held && self.phase == SessionPhase::Up && self.since + long <= now
    }

    /// The devices have their replies: the application's subscriptions return. Has no effect before
    /// their minimum time.
    pub fn release(&mut self, now: Instant) {
        let now = self.clock(now);
        if self.held && self.phase == SessionPhase::Up && self.held_until() <= now {
            self.held = false;
            self.pump(now);
        }
    }

    /// Queues DISCONNECT after all waiting packets, and nothing after it. The phase becomes
    /// [`SessionPhase::Closing`]. Has no effect without an open session.
    pub fn disconnect(&mut self, now: Instant) {
        let now = self.clock(now);
        if self.phase == SessionPhase::Up {
            let limit = self.config.limits.tx;
            let done = self.tx.push(now, &Request::Disconnect, What::Disconnect, limit);
            debug_assert!(done, "there is a reserve for it");
            self.enter(SessionPhase::Closing);
            self.blocked = None;
        }
    }
}

impl<O: Copy> Session<O> {
    /// Whether the message can be accepted now, with at most this many bytes in the buffer, and the
    /// length of its packet in bytes.
    fn check_publish(&self, message: &Outgoing<'_>, limit: usize) -> Result<usize, PublishError> {
        if !topic_is_valid(message.topic) {
            return Err(PublishError::BadTopic);
        }
        let id = (message.qos == QoS::AtLeastOnce).then_some(PacketId::MIN);
        let request = Request::Publish(Publish::new(message.topic, id, message.payload));
        let len = request.encoded_len().map_err(|_| PublishError::TooLong)?;
        if len > limit || (is_kept(message) && len > self.config.limits.kept) {
            return Err(PublishError::TooLong);
        }
        if self.phase != SessionPhase::Up {
            return Err(PublishError::NotUp);
        }
        if self.flights.len() >= self.window(message.kind) {
            return Err(PublishError::WindowFull);
        }
        let fits = if is_kept(message) {
            let kept = self.flights.iter().map(Flight::kept).fold(len, usize::saturating_add);
            kept <= self.config.limits.kept
        } else {
            self.tx.fits(len, limit)
        };
        if fits { Ok(len) } else { Err(PublishError::BufferFull) }
    }
}

/// Whether the session keeps a copy until PUBACK, across connections.
fn is_kept(message: &Outgoing<'_>) -> bool {
    message.kind == Purpose::Application && message.qos == QoS::AtLeastOnce
}

/// The text in a span of `rx`, which [`Session::handle_received`] reported as a topic. Empty if the
/// span is not within `rx`.
#[must_use]
pub fn text<'a>(rx: &'a [u8], span: &Range<usize>) -> &'a str {
    rx.get(span.clone()).and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or_default()
}
