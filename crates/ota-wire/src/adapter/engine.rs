//! A client with its receive buffers: everything in an adapter except sockets, a timer and storage.
//!
//! The loop of an adapter, each turn:
//! 1. [`Engine::poll`] until [`Step::Wait`], doing what each step says;
//! 2. wait for the first of: an opening link; an open link that takes [`Engine::transmit`], where
//!    that is not empty; an open link that has bytes for [`Engine::room`], where that is not
//!    empty; a storage operation; the application; the deadline;
//! 3. tell the engine.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use core::fmt;
use core::ops::Range;

use ota_proto::{
    BUILT, Boot, Command, Done, Instant, Misuse, OpId, StorageError, TransportError, Work,
};

use super::{Buffers, DriverEvent, Inboxes, Look, Noted, Spare};
use crate::client::{
    AddError, Client, ClientConfig, DeviceIndex, DeviceInput, Input, Link, LinkKind, Output,
};
use crate::mqtt;

/// A client and its receive buffers `B`, which come from `P`. On a microcontroller a buffer is a
/// `&mut [u8]`, one per kind of link.
#[derive(Debug)]
pub struct Engine<B, C = Client, P = Spare<B>> {
    client: C,
    inboxes: Inboxes<B>,
    buffers: P,
    /// Whether to read from the broker's link.
    read_broker: bool,
}

/// The target of a link.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LinkTarget {
    /// The link.
    pub link: Link,
    /// Host name or address, an IPv6 one without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// With TLS, the certificate checked against `host`.
    pub tls: bool,
    /// The earliest plausible time in Unix seconds, from what any device's machine knows of this
    /// peer: a clock with an earlier time must not judge a certificate.
    pub earliest_time: u64,
}

impl LinkTarget {
    /// Whether it is the same peer, for any link: an attempt to connect may continue for another
    /// link.
    #[must_use]
    pub fn is_same_peer(&self, other: &Self) -> bool {
        (&self.host, self.port, self.tls) == (&other.host, other.port, other.tls)
    }
}

/// The next task of an adapter.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Step<B> {
    /// Open this link; answer with [`Engine::handle_connected`] or
    /// [`Engine::handle_connect_failed`]. The previous link of its kind was closed.
    Connect(LinkTarget),
    /// Close this link, or stop opening it. Needs no answer.
    Close(Link),
    /// Perform this after all earlier work of the device; answer with [`Engine::finish`].
    Work(DeviceIndex, OpId, Work<Piece<B>>),
    /// Pass this event to the application.
    Event(DriverEvent),
    /// Wait for a link, an operation, the application or the deadline, whichever comes first. At
    /// the deadline call [`Engine::handle_timeout`].
    Wait(Option<Instant>),
}

/// A piece of an image, in the receive buffer that a write borrows.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece<B> {
    /// The received bytes.
    pub buf: B,
    /// The span of the bytes.
    pub span: Range<usize>,
}

impl<B: AsRef<[u8]>> Piece<B> {
    /// The bytes to write.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.buf.as_ref().get(self.span.clone()).unwrap_or_default()
    }
}

/// A [`Work`] that has ended.
#[derive(Debug)]
pub struct Ended<B> {
    /// The operation.
    pub op: OpId,
    /// Its result.
    pub result: Done,
    /// The buffer that a write borrowed.
    pub buf: Option<B>,
}

/// Errors of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum EngineError {
    /// The caller's fault: no MQTT session can work with the configuration.
    Session(mqtt::ConfigError),
    /// The caller's fault: the device cannot be added.
    Device(AddError),
    /// The caller's fault: the broker requires TLS, but the adapter has none.
    NoTls,
    /// The caller's fault: a receive buffer is too short.
    Buffer {
        /// The required number of bytes.
        needed: usize,
    },
    /// The environment's fault: the state at boot cannot be read. Try again.
    Storage(StorageError),
}

impl<B: Default + AsRef<[u8]> + AsMut<[u8]>> Engine<B> {
    /// Makes an engine without devices. `broker` holds at least the longest MQTT packet, `store`
    /// the longest line of a response head that matters; firmware is written to the slot from
    /// `store`.
    ///
    /// # Errors
    /// [`EngineError`] if the configuration or the buffers can never work.
    pub fn new(
        now: Instant,
        config: ClientConfig,
        broker: B,
        store: B,
    ) -> Result<Self, EngineError> {
        let needs = [(config.mqtt.limits.packet, &broker), (config.http.line, &store)];
        for (needed, buffer) in needs {
            if buffer.as_ref().len() < needed {
                return Err(EngineError::Buffer { needed });
            }
        }
        let client = Client::new(now, config).map_err(EngineError::Session)?;
        Ok(Self::with(client, Spare::new(broker, store)))
    }
}

impl<B: Default + AsRef<[u8]> + AsMut<[u8]>, C: Noted, P: Buffers<B>> Engine<B, C, P> {
    /// Makes an engine of this client, which must have no devices yet. The buffers have the lengths
    /// of [`Engine::new`].
    pub fn with(client: C, buffers: P) -> Self {
        Self { client, inboxes: Inboxes::default(), buffers, read_broker: false }
    }

    /// Adds a device; the first one has the login of the connection.
    ///
    /// # Errors
    /// [`EngineError::Device`]; nothing changed.
    pub fn add_device(
        &mut self,
        now: Instant,
        config: ota_proto::Config,
        boot: Boot<'_>,
    ) -> Result<DeviceIndex, EngineError> {
        let client = self.client.note(now, || Input::add_device(&config, boot));
        client.add_device(now, config, boot).map_err(EngineError::Device)
    }

    /// The client: devices, and the application's own messages.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.client.client()
    }

    /// The client, or the one that records its inputs.
    #[must_use]
    pub fn noted(&self) -> &C {
        &self.client
    }

    /// The client, for commands. Only the engine may use links, operations and time.
    pub fn client_mut(&mut self) -> &mut C {
        &mut self.client
    }

    /// Sends a command to a device's machine.
    ///
    /// # Errors
    /// [`Misuse`], without effect, if the command does not fit the state or the device is unknown.
    pub fn command(
        &mut self,
        now: Instant,
        device: DeviceIndex,
        command: Command,
    ) -> Result<(), Misuse> {
        let input = DeviceInput::Command(command);
        let client = self.client.note(now, || Input::Device { device, input });
        client.updater_mut(device).ok_or(Misuse)?.command(now, command)
    }

    /// Returns the next step.
    // Not inlined: on a microcontroller the caller's frame would contain this one's too, while it
    // polls the rest.
    #[inline(never)]
    pub fn poll(&mut self, now: Instant) -> Step<B> {
        loop {
            let (device, op, work) = match self.client.note(now, || Input::Poll).poll(now) {
                Output::Connect { link, host, port, tls } => {
                    let host = host.to_owned();
                    let earliest_time = self.earliest_time(link.kind);
                    let target = LinkTarget { link, host, port, tls, earliest_time };
                    self.open(link);
                    return Step::Connect(target);
                }
                Output::Close { link } => {
                    let old = self.inboxes.of_link(link).map(super::Inbox::close);
                    self.keep(link.kind, old, false);
                    return Step::Close(link);
                }
                Output::Event(event) => return Step::Event(DriverEvent::Client(event)),
                Output::Idle { deadline, read_broker, read_store, .. } => {
                    self.read_broker = read_broker;
                    match self.inboxes.look(&mut self.client, now, read_store) {
                        Look::Again => continue,
                        Look::Event(event) => return Step::Event(event),
                        Look::Nothing => return Step::Wait(deadline),
                        Look::Write { device, op, at, span } => {
                            (device, op, Work::Write { at, bytes: span })
                        }
                    }
                }
                Output::Do { device, op, work } => (device, op, work),
            };
            let store = self.inboxes.store();
            let work = work.map(|span| {
                let buf = match self.buffers.second() {
                    Some(next) => store.swap(next),
                    None => store.lend(),
                };
                Piece { buf, span }
            });
            return Step::Work(device, op, work);
        }
    }

    /// Handles the deadline of the last [`Step::Wait`].
    pub fn handle_timeout(&mut self, now: Instant) {
        self.client.note(now, || Input::Timeout).handle_timeout(now);
    }

    /// Reports that a link is open, after TLS.
    pub fn handle_connected(&mut self, now: Instant, link: Link) {
        self.client.note(now, || Input::Connected { link }).handle_connected(now, link);
    }

    /// Reports that the peer's own certificate was accepted for the right host, and is valid from
    /// this Unix second on. Every machine keeps that with its next record, and
    /// [`LinkTarget::earliest_time`] returns it from then on, also after a reset.
    pub fn handle_certificate(&mut self, now: Instant, link: Link, valid_from: u64) {
        let peer = link.kind.peer();
        for device in self.client.client().devices() {
            let input = DeviceInput::Certificate(peer, valid_from);
            let client = self.client.note(now, || Input::Device { device, input });
            if let Some(updater) = client.updater_mut(device) {
                updater.handle_certificate(peer, valid_from);
            }
        }
    }

    /// Reports that a link could not be opened.
    pub fn handle_connect_failed(&mut self, now: Instant, link: Link, error: TransportError) {
        let client = self.client.note(now, || Input::ConnectFailed { link, error });
        client.handle_connect_failed(now, link, error);
    }

    /// Returns the bytes to write to an open link, empty if there are none. They stay until
    /// [`Engine::handle_sent`].
    #[must_use]
    pub fn transmit(&self, link: Link) -> &[u8] {
        self.inboxes.transmit(self.client.client(), link)
    }

    /// Reports that the link took this many bytes from the front of [`Engine::transmit`].
    pub fn handle_sent(&mut self, now: Instant, link: Link, count: usize) {
        self.client.note(now, || Input::Sent { link, count }).handle_sent(now, link, count);
    }

    /// Returns the room to receive into from an open link; empty if it must not be read now.
    pub fn room(&mut self, link: Link) -> &mut [u8] {
        self.inboxes.room(link, self.read_broker)
    }

    /// Reports that this many bytes were received into [`Engine::room`].
    pub fn handle_received(&mut self, link: Link, count: usize) {
        self.inboxes.handle_received(link, count);
    }

    /// Reports the end of a read from an open link into [`Engine::room`]: the number of received
    /// bytes, none at the end of the stream, or that the link broke.
    pub fn handle_read<E>(&mut self, link: Link, read: Result<usize, E>) {
        match read {
            Ok(0) => self.handle_closed(link, true),
            Ok(count) => self.handle_received(link, count),
            Err(_) => self.handle_closed(link, false),
        }
    }

    /// See [`Inboxes::handle_closed`].
    pub fn handle_closed(&mut self, link: Link, clean: bool) {
        self.inboxes.handle_closed(link, clean);
    }

    /// Reports the end of an operation.
    pub fn finish(&mut self, now: Instant, device: DeviceIndex, ended: Ended<B>) {
        let Ended { op, result, buf } = ended;
        if let Some(buf) = buf {
            let store = self.inboxes.store();
            let back = store.give_back(buf);
            let open = store.link().is_some();
            self.keep(LinkKind::Store, back, open);
        }
        let input = DeviceInput::Done(op, result);
        let client = self.client.note(now, || Input::Device { device, input });
        if let Some(updater) = client.updater_mut(device) {
            updater.handle_done(now, op, result);
        }
    }

    /// The value of [`LinkTarget::earliest_time`] for a link of this kind.
    pub fn earliest_time(&self, kind: LinkKind) -> u64 {
        let client = self.client.client();
        let machines = client.devices().filter_map(|device| client.updater(device));
        machines.map(|updater| updater.earliest_time(kind.peer())).max().unwrap_or(BUILT)
    }

    /// Makes a link. It has no room until a write of the previous one has returned the buffer.
    fn open(&mut self, link: Link) {
        let buf = self.buffers.first(link.kind).unwrap_or_default();
        let old = self.inboxes.of(link.kind).open(link, buf);
        self.keep(link.kind, Some(old), true);
    }

    fn keep(&mut self, kind: LinkKind, buf: Option<B>, open: bool) {
        if let Some(buf) = buf.filter(|buf| !buf.as_ref().is_empty()) {
            self.buffers.keep(kind, buf, open);
        }
    }
}

/// Hides the bytes.
impl<B> fmt::Debug for Piece<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({:?})", self.span)
    }
}

/// Hides the bytes.
#[cfg(feature = "defmt")]
impl<B> defmt::Format for Piece<B> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "Piece({})", self.span);
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Session(why) => why.fmt(f),
            Self::Device(why) => why.fmt(f),
            Self::NoTls => f.write_str("there is no TLS: use a plain broker, or wrap the network"),
            Self::Buffer { needed } => write!(f, "a buffer needs {needed} bytes"),
            Self::Storage(why) => write!(f, "the state at boot cannot be read: {why}"),
        }
    }
}

impl core::error::Error for EngineError {}
