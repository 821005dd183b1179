//! Client, storage and receive buffers behind one surface: an adapter has sockets, a timer and a
//! pool, and decides nothing.
//!
//! The loop of an adapter, each turn:
//! 1. [`Engine::poll`] until [`Step::Wait`], doing what each step says;
//! 2. wait for the first of: an opening link; an open link that takes [`Engine::transmit`], where
//!    that is not empty; an open link that has bytes for [`Engine::receive_buffer`], where that
//!    is not empty; a job; the deadline;
//! 3. tell the engine.
//!
//! Nothing here blocks, awaits or spawns. An adapter that keeps its sockets, its jobs and its
//! timer in fields loses nothing when its `next` is dropped: all else is here.

mod control;
mod types;

use std::fmt;
use std::ops::{Deref, DerefMut, Range};

use ota_proto::{Instant, TransportError};
use ota_wire::adapter::{Event, Inboxes, Look, Piece};
use ota_wire::client::{self, Disconnect, Input, Link, LinkKind, Output};

use crate::clock::Clock;
use crate::lanes::Finished;
use crate::storage::{Job, Work};

pub use control::Control;
pub use types::{EngineError, Operation, Options, SignIn, Step, transport_error};

/// Everything of an adapter that is the same on every runtime. What an application may do is in
/// [`Control`], to which it dereferences.
pub struct Engine {
    control: Control,
    inboxes: Inboxes<Vec<u8>>,
    /// The second buffer of the firmware server's link, while it is not being written.
    spare: Option<Vec<u8>>,
    broker_buffer: usize,
    store_buffer: usize,
    /// The broker's link is worth reading.
    read_broker: bool,
    deadline: Option<Instant>,
    sign_in: Option<SignIn>,
}

impl Engine {
    /// An engine without devices. A host has memory to spare: the limits are raised to
    /// [`client::Config::enlarge`].
    ///
    /// # Errors
    /// [`EngineError`], when nothing could ever work with the configuration.
    pub fn new(mut config: client::Config, options: Options) -> Result<Self, EngineError> {
        config.enlarge();
        if config.tls && cfg!(not(feature = "tls")) {
            return Err(EngineError::NoTls);
        }
        Ok(Self {
            inboxes: Inboxes::default(),
            spare: None,
            sign_in: options.sign_in,
            broker_buffer: config.mqtt.limits.packet,
            store_buffer: options.store_buffer.max(config.http.line),
            read_broker: false,
            deadline: None,
            control: Control::new(config, options.record)?,
        })
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Step {
        let now = self.control.clock.now();
        if self.deadline.take().is_some_and(|at| at <= now) {
            self.control.client.handle(now, Input::Timeout);
        }
        loop {
            let now = self.control.clock.now();
            if let Some(step) = self.turn(now) {
                return step;
            }
        }
    }

    /// A link is open. `valid_from`: the peer's own certificate was accepted, and is valid from
    /// this Unix second on.
    pub fn handle_connected(&mut self, link: Link, valid_from: Option<u64>) {
        let now = self.control.clock.now();
        if let Some(from) = valid_from {
            self.control.tell_certificate(link.kind.peer(), from);
        }
        if link.kind == LinkKind::Broker {
            self.sign_in();
        }
        self.control.client.handle(now, Input::Connected { link });
    }

    /// A link could not be opened, or the peer refuses us after all.
    pub fn handle_connect_failed(&mut self, link: Link, error: TransportError) {
        let now = self.control.clock.now();
        self.control.client.handle(now, Input::ConnectFailed { link, error });
    }

    /// Bytes to be written to an open link, empty when there are none. They stay until
    /// [`Engine::handle_sent`].
    #[must_use]
    pub fn transmit(&self, link: Link) -> &[u8] {
        self.inboxes.transmit(&self.control.client, link)
    }

    /// The link took so many bytes from the front of [`Engine::transmit`].
    pub fn handle_sent(&mut self, link: Link, count: usize) {
        let now = self.control.clock.now();
        self.control.client.handle(now, Input::Sent { link, count });
    }

    /// Where to receive into from an open link; empty when it is not to be read now.
    pub fn receive_buffer(&mut self, link: Link) -> &mut [u8] {
        self.inboxes.room(link, self.read_broker)
    }

    /// So many bytes were received into [`Engine::receive_buffer`].
    pub fn handle_received(&mut self, link: Link, count: usize) {
        self.inboxes.handle_received(link, count);
    }

    /// The peer closed an open link. `clean`: the stream ended as its protocol says; one that
    /// was reset, or a TLS stream without `close_notify`, did not. What was received before is
    /// seen to first.
    pub fn handle_closed(&mut self, link: Link, clean: bool) {
        self.inboxes.handle_closed(link, clean);
    }

    /// A job has run.
    pub fn handle_finished(&mut self, finished: Finished<Operation>) {
        let buf = self.control.finish(finished);
        if self.spare.is_none() && self.inboxes.store().link().is_some() {
            self.spare = buf;
        }
    }
}

impl Deref for Engine {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.control
    }
}

impl DerefMut for Engine {
    fn deref_mut(&mut self) -> &mut Control {
        &mut self.control
    }
}

/// Without received bytes.
impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("control", &self.control)
            .field("inboxes", &self.inboxes)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// One output of the client, or one piece of what was received. `None`: look again.
    fn turn(&mut self, now: Instant) -> Option<Step> {
        if let Some(task) = self.control.start() {
            return Some(Step::Run(task));
        }
        match self.control.client.poll(now) {
            Output::Connect { link, host, port, tls } => {
                let host = host.to_owned();
                self.prepare(link);
                return Some(Step::Connect { link, host, port, tls });
            }
            Output::Close { link } => {
                if let Some(inbox) = self.inboxes.of_link(link) {
                    inbox.close();
                }
                if link.kind == LinkKind::Store {
                    self.spare = None;
                }
                return Some(Step::Close { link });
            }
            Output::Do { device, op, work } => {
                let whole = self.control.whole(device, &work);
                let work = work.map(|span| self.lend(span));
                self.control.push(Job { op: (device, op), work, whole });
            }
            Output::Event(event) => {
                self.note_refusal(&event);
                return Some(Step::Event(Event::Client(event)));
            }
            Output::Idle { deadline, read_broker, read_store, .. } => {
                self.read_broker = read_broker;
                return self.idle(now, deadline, read_store);
            }
            _ => {}
        }
        None
    }

    /// A login of its own for the connection that is made now.
    fn sign_in(&mut self) {
        let Some(sign_in) = &mut self.sign_in else { return };
        let least = self.control.least_time(LinkKind::Broker);
        let unix = Clock::unix_time().filter(|unix| *unix >= least);
        // One that no session can work with is the caller's fault, and the one before stays.
        let _ = self.control.set_login((sign_in.make)(sign_in.expiry.next(unix)));
    }

    fn note_refusal(&mut self, event: &client::Event) {
        let client::Event::Disconnected { cause: Disconnect::Session(why), .. } = event else {
            return;
        };
        if let Some(sign_in) = self.sign_in.as_mut().filter(|_| why.is_login_refused()) {
            sign_in.expiry.refused();
        }
    }

    /// Buffers for a new link.
    fn prepare(&mut self, link: Link) {
        let len = match link.kind {
            LinkKind::Broker => self.broker_buffer,
            LinkKind::Store => self.store_buffer,
        };
        if link.kind == LinkKind::Store {
            self.spare = Some(vec![0; len]);
        }
        self.inboxes.of(link.kind).open(link, vec![0; len]);
    }

    /// The store's buffer, for a write of this span; another one is received into meanwhile.
    fn lend(&mut self, span: Range<usize>) -> Piece<Vec<u8>> {
        // Both are away only when a device's write outlives its fetch.
        let next = self.spare.take().unwrap_or_else(|| vec![0; self.store_buffer]);
        Piece { buf: self.inboxes.store().swap(next), span }
    }

    /// The client has nothing to do: look at what was received.
    fn idle(&mut self, now: Instant, deadline: Option<Instant>, read_store: bool) -> Option<Step> {
        match self.inboxes.look(&mut self.control.client, now, read_store) {
            Look::Again => None,
            Look::Event(event) => Some(Step::Event(event)),
            Look::Write { device, op, at, span } => {
                let work = Work::Write { at, bytes: self.lend(span) };
                self.control.push(Job::new((device, op), work));
                None
            }
            Look::Nothing => {
                self.deadline = deadline;
                let deadline = deadline.and_then(|at| self.control.clock.to_std(at));
                Some(Step::Wait { deadline })
            }
        }
    }
}
