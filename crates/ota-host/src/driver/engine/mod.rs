//! The engine of `ota-wire` with storage and a clock. An adapter adds sockets, a timer and a pool,
//! and decides nothing.
//!
//! The loop of an adapter, each turn:
//! 1. [`Engine::poll`] until [`Step::Wait`], doing what each step says;
//! 2. wait for the first of: an opening link; an open link that takes [`Engine::transmit`], where
//!    that is not empty; an open link that has bytes for [`Engine::receive_buffer`], where that
//!    is not empty; a job; the deadline;
//! 3. tell the engine.
//!
//! Nothing here blocks, awaits or spawns. An adapter that keeps its sockets, its jobs and its timer
//! in fields loses nothing when its `next` is dropped, because everything else is here.

mod buffers;
mod control;
mod types;

use std::fmt;

use ota_proto::{Instant, TransportError};
use ota_wire::adapter::{self, DriverEvent};
use ota_wire::client::{self, Disconnect, Link, LinkKind};

use crate::driver::clock::Clock;
use crate::driver::lanes::Finished;
use crate::files::storage::Job;

use buffers::Heap;
pub use control::Control;
pub use types::{EngineError, Operation, Options, SignIn, Step};

/// The part of an adapter that does not depend on its runtime.
pub struct Engine {
    /// The application's side, for use between two turns.
    pub control: Control,
    deadline: Option<Instant>,
    sign_in: Option<SignIn>,
}

impl Engine {
    /// Makes an engine without devices. A host has enough memory, so the limits are raised to
    /// [`client::ClientConfig::enlarge`].
    ///
    /// # Errors
    /// [`EngineError`] if no session can work with the configuration.
    pub fn new(mut config: client::ClientConfig, options: Options) -> Result<Self, EngineError> {
        config.enlarge();
        if config.tls && cfg!(not(feature = "tls")) {
            return Err(EngineError::NoTls);
        }
        let store = options.store_buffer.max(config.http.line);
        let buffers = Heap::new(config.mqtt.limits.packet, store);
        let control = Control::new(config, options.record, buffers)?;
        Ok(Self { control, deadline: None, sign_in: options.sign_in })
    }

    /// Returns the next step.
    pub fn poll(&mut self) -> Step {
        let now = self.control.clock.now();
        if self.deadline.take().is_some_and(|at| at <= now) {
            self.control.engine.handle_timeout(now);
        }
        loop {
            if let Some(task) = self.control.start() {
                return Step::Run(task);
            }
            match self.control.engine.poll(self.control.clock.now()) {
                adapter::Step::Connect(target) => return Step::Connect(target),
                adapter::Step::Close(link) => return Step::Close(link),
                adapter::Step::Work(device, op, work) => {
                    let whole = self.control.whole(device, &work);
                    self.control.push(Job { op: (device, op), work, whole });
                }
                adapter::Step::Event(event) => {
                    self.note_refusal(&event);
                    return Step::Event(event);
                }
                adapter::Step::Wait(deadline) => {
                    self.deadline = deadline;
                    return Step::Wait(deadline.and_then(|at| self.control.clock.to_std(at)));
                }
            }
        }
    }

    /// Reports that a link is open. `valid_from` is the start of validity of the accepted peer
    /// certificate, in Unix seconds.
    pub fn handle_connected(&mut self, link: Link, valid_from: Option<u64>) {
        let now = self.control.clock.now();
        if let Some(from) = valid_from {
            self.control.engine.handle_certificate(now, link, from);
        }
        if link.kind == LinkKind::Broker {
            self.sign_in();
        }
        self.control.engine.handle_connected(now, link);
    }

    /// Reports that a link could not be opened, or that the peer has refused us since.
    pub fn handle_connect_failed(&mut self, link: Link, error: TransportError) {
        let now = self.control.clock.now();
        self.control.engine.handle_connect_failed(now, link, error);
    }

    /// Returns the bytes to write to an open link; empty if there are none. They stay until
    /// [`Engine::handle_sent`].
    #[must_use]
    pub fn transmit(&self, link: Link) -> &[u8] {
        self.control.engine.transmit(link)
    }

    /// Reports that the link has taken this many bytes from the front of [`Engine::transmit`].
    pub fn handle_sent(&mut self, link: Link, count: usize) {
        let now = self.control.clock.now();
        self.control.engine.handle_sent(now, link, count);
    }

    /// Returns the buffer to receive into from an open link; empty while the link must not be read.
    pub fn receive_buffer(&mut self, link: Link) -> &mut [u8] {
        self.control.engine.room(link)
    }

    /// Reports that this many bytes were received into [`Engine::receive_buffer`].
    pub fn handle_received(&mut self, link: Link, count: usize) {
        self.control.engine.handle_received(link, count);
    }

    /// Reports that the peer closed an open link. `clean` means that the stream ended as its
    /// protocol says: not by a reset, and with `close_notify` in TLS. Bytes that were received
    /// before are handled first.
    pub fn handle_closed(&mut self, link: Link, clean: bool) {
        self.control.engine.handle_closed(link, clean);
    }

    /// Takes a finished job.
    pub fn handle_finished(&mut self, finished: Finished<Operation>) {
        self.control.finish(finished);
    }

    /// Makes the login of this connection.
    fn sign_in(&mut self) {
        let Some(sign_in) = &mut self.sign_in else { return };
        let least = self.control.engine.earliest_time(LinkKind::Broker);
        let unix = Clock::unix_time().filter(|unix| *unix >= least);
        // A login that no session can use is the caller's fault; the previous one stays.
        let _ = self.control.set_login((sign_in.make)(sign_in.expiry.next(unix)));
    }

    fn note_refusal(&mut self, event: &DriverEvent) {
        let DriverEvent::Client(client::ClientEvent::Disconnected {
            cause: Disconnect::Session(why),
            ..
        }) = event
        else {
            return;
        };
        if let Some(sign_in) = self.sign_in.as_mut().filter(|_| why.is_login_refused()) {
            sign_in.expiry.refused();
        }
    }
}

/// Without received bytes.
impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("control", &self.control).finish_non_exhaustive()
    }
}
