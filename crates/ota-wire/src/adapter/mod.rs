//! The shared part of adapters: the receive buffers of both links, and the order in which their
//! content is handled.
//!
//! An adapter has sockets, a timer and storage. All decisions about received bytes are here.

mod buffers;
#[doc(hidden)]
pub mod commands;
mod engine;
mod inbox;
mod reach;

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use ota_proto::{Instant, OpId};

use crate::client::{self, Client, DeviceIndex, Found, Input, Link, LinkKind, Received};
use crate::mqtt::{self, AckId};

pub use buffers::{Buffers, Spare};
pub use engine::{Ended, Engine, EngineError, LinkTarget, Piece, Step};
pub use inbox::Inbox;
pub use reach::{Reach, is_public};

/// Events for the application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DriverEvent {
    /// An event of an update, the connection, or the application's publications and subscriptions.
    Client(client::ClientEvent),
    /// A message on one of the application's own topics.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload.
        payload: Vec<u8>,
        /// For [`Client::acknowledge`], if it was sent at QoS 1.
        ack: Option<AckId>,
    },
}

/// Hides the content of a message, which belongs to the application.
#[cfg(feature = "defmt")]
impl defmt::Format for DriverEvent {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Client(event) => defmt::write!(f, "Client({})", event),
            Self::Message { topic, payload, ack } => defmt::write!(
                f,
                "Message {{ topic: {=str}, payload_len: {=usize}, ack: {} }}",
                topic.as_str(),
                payload.len(),
                ack,
            ),
        }
    }
}

/// A [`Client`], or one that records its inputs.
pub trait Noted {
    /// The client.
    fn client(&self) -> &Client;

    /// Records an input, and returns the client, which must get exactly that input.
    fn note<'a>(&mut self, now: Instant, input: impl FnOnce() -> Input<'a>) -> &mut Client;
}

impl Noted for Client {
    fn client(&self) -> &Client {
        self
    }

    fn note<'a>(&mut self, _: Instant, _: impl FnOnce() -> Input<'a>) -> &mut Client {
        self
    }
}

/// The receiver of received bytes: a client, with or without a recorder.
pub trait Links {
    /// See [`Client::handle_received`].
    fn handle_received(&mut self, now: Instant, link: Link, rx: &[u8]) -> Received;

    /// See [`Client::handle_closed`].
    fn handle_closed(&mut self, now: Instant, link: Link, clean: bool);
}

impl<C: Noted> Links for C {
    fn handle_received(&mut self, now: Instant, link: Link, bytes: &[u8]) -> Received {
        self.note(now, || Input::Received { link, bytes }).handle_received(now, link, bytes)
    }

    fn handle_closed(&mut self, now: Instant, link: Link, clean: bool) {
        self.note(now, || Input::Closed { link, clean }).handle_closed(now, link, clean);
    }
}

/// The receive buffers of both links of a [`Client`].
#[derive(Debug, Default)]
pub struct Inboxes<B> {
    broker: Inbox<B>,
    store: Inbox<B>,
}

/// The content of received bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[must_use]
pub enum Look {
    /// Only content that waits for more bytes or for storage: wait.
    Nothing,
    /// The client took something: poll it again.
    Again,
    /// Pass this to the application; then poll the client again.
    Event(DriverEvent),
    /// Write these bytes of [`Inboxes::store`]'s buffer to a device's slot: lend the buffer, or
    /// swap it.
    Write {
        /// The device.
        device: DeviceIndex,
        /// The operation.
        op: OpId,
        /// Where in the slot, in bytes from its start.
        at: u64,
        /// The span of the buffer.
        span: Range<usize>,
    },
}

impl<B: Default + AsRef<[u8]> + AsMut<[u8]>> Inboxes<B> {
    /// The inbox of the firmware server's link.
    pub fn store(&mut self) -> &mut Inbox<B> {
        &mut self.store
    }

    /// The inbox of the links of a kind.
    pub fn of(&mut self, kind: LinkKind) -> &mut Inbox<B> {
        match kind {
            LinkKind::Broker => &mut self.broker,
            LinkKind::Store => &mut self.store,
        }
    }

    /// The inbox of a link, unless another link has replaced it.
    pub fn of_link(&mut self, link: Link) -> Option<&mut Inbox<B>> {
        Some(self.of(link.kind)).filter(|inbox| inbox.link() == Some(link))
    }

    /// Returns the bytes to write to an open link, empty if there are none. They stay until
    /// [`Client::handle_sent`].
    #[must_use]
    pub fn transmit<'c>(&self, client: &'c Client, link: Link) -> &'c [u8] {
        let inbox = if link.kind == LinkKind::Broker { &self.broker } else { &self.store };
        if inbox.is_closed() { &[] } else { client.transmit(link) }
    }

    /// Returns the room to receive into from an open link; empty if it must not be read now. The
    /// firmware server's link is read ahead of the client, as far as the buffer allows;
    /// `read_broker` comes from the client.
    pub fn room(&mut self, link: Link, read_broker: bool) -> &mut [u8] {
        let wanted = link.kind == LinkKind::Store || read_broker;
        match self.of_link(link) {
            Some(inbox) if wanted && !inbox.is_closed() => inbox.room(),
            _ => &mut [],
        }
    }

    /// Reports that this many bytes were received into [`Inboxes::room`].
    pub fn handle_received(&mut self, link: Link, count: usize) {
        if let Some(inbox) = self.of_link(link) {
            inbox.received(count);
        }
    }

    /// Reports that the peer closed an open link. `clean`: the stream ended as its protocol
    /// requires, not by a reset or a TLS stream without `close_notify`. The client gets this once
    /// all earlier bytes are handled.
    pub fn handle_closed(&mut self, link: Link, clean: bool) {
        if let Some(inbox) = self.of_link(link) {
            inbox.set_closed(clean);
        }
    }

    /// Handles received bytes when the client is idle, the broker's first. `read_store`: the client
    /// accepts body bytes.
    pub fn look(&mut self, client: &mut impl Links, now: Instant, read_store: bool) -> Look {
        for inbox in [&mut self.broker, &mut self.store] {
            let Some(link) = inbox.link() else { continue };
            let received = client.handle_received(now, link, inbox.unread());
            match received.found {
                Some(Found::Message { topic, payload, ack }) => {
                    let topic = mqtt::text(inbox.unread(), &topic).to_owned();
                    let payload = inbox.unread().get(payload).unwrap_or_default().to_vec();
                    inbox.consume(received.consumed);
                    return Look::Event(DriverEvent::Message { topic, payload, ack });
                }
                Some(Found::Write { device, op, at, span }) => {
                    let span = inbox.span(&span);
                    inbox.consume(received.consumed);
                    return Look::Write { device, op, at, span };
                }
                None if received.consumed > 0 => {
                    inbox.consume(received.consumed);
                    return Look::Again;
                }
                None => {}
            }
            // Bytes that wait for storage are handled before the end of the firmware server's link.
            let waits = link.kind == LinkKind::Store && !read_store && inbox.holds_any();
            let closed = if waits { None } else { inbox.take_closed() };
            if let Some(clean) = closed {
                client.handle_closed(now, link, clean);
                return Look::Again;
            }
        }
        Look::Nothing
    }
}
