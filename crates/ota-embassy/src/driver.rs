//! One level down: several devices on one connection, and their own events and configurations.
//!
//! [`Updates`](crate::Updates) is a [`Driver`] with one device.

use alloc::boxed::Box;
use core::fmt;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll};

use embassy_time::{Duration, Instant as Ticks, Timer, with_timeout};
use ota_proto::{Command, Instant, Misuse, Updater};
use ota_wire::Client;
use ota_wire::adapter::{Engine, Step};
use ota_wire::client::LinkKind;

use crate::flash::{Buf, Storage, Workers};
use crate::network::Network;
use crate::socket::{CLOSING, Socket};
use crate::time::now;
use crate::updates::SignIn;

pub use crate::time::{to_core, to_ticks};
pub use ota_wire::adapter::{EngineError as Error, Event};
pub use ota_wire::client::{Config, DeviceIndex};

/// Steps and waits of one turn; then other tasks have theirs.
const TURN: usize = 16;

/// For the last checkpoint.
const LAST_NOTE: Duration = Duration::from_secs(2);

/// Receive buffers, in memory of the caller's.
#[derive(Debug)]
pub struct Buffers<'d> {
    /// At least the longest MQTT packet, `Config::mqtt.limits.packet`.
    pub broker: &'d mut [u8],
    /// At least the longest line of a response head that matters, `Config::http.line`. Firmware is
    /// written to the slot from here: its length is the longest write.
    pub store: &'d mut [u8],
}

/// One connection to the cloud, for one device and its sub-devices. What an application may do
/// beside updates (publish, subscribe) is in [`Driver::client`].
///
/// Nothing happens but in [`Driver::next`]: call it again and again, in a `select` with whatever
/// else the application waits for. Dropping the driver is as good as a reset; before one that can
/// wait a moment, [`Driver::stop`] saves what a reset loses.
pub struct Driver<'d, N: Network> {
    network: N,
    pub(crate) engine: Engine<Buf<'d>>,
    /// Of the broker and of the store.
    sockets: [Socket<'d, N>; 2],
    pub(crate) workers: Workers<'d>,
    /// Behind a pointer to a trait: who does without it has none of its code.
    pub(crate) sign_in: Option<Box<dyn SignIn + 'd>>,
}

impl<'d, N: Network + 'd> Driver<'d, N> {
    /// A driver without devices.
    ///
    /// # Errors
    /// [`Error`], when nothing could ever work with the configuration or the buffers.
    pub fn new(network: N, config: Config, buffers: Buffers<'d>) -> Result<Self, Error> {
        if config.tls && !N::TLS {
            return Err(Error::NoTls);
        }
        let engine = Engine::new(now(), config, buffers.broker, buffers.store)?;
        let sockets = [Socket::Closed, Socket::Closed];
        Ok(Self { network, engine, sockets, workers: Workers::default(), sign_in: None })
    }

    /// Adds a device that runs this version; the first is the one whose login the connection has.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Device`]; nothing changed, and the storage is gone.
    #[allow(clippy::manual_async_fn, reason = "an `async fn` would hold its arguments twice")]
    pub fn add_device(
        &mut self,
        config: ota_proto::Config,
        running: &str,
        mut storage: impl Storage + 'd,
    ) -> impl Future<Output = Result<DeviceIndex, Error>> {
        async move {
            let found = storage.boot().await.map_err(Error::Storage)?;
            self.workers.add_device(&mut self.engine, config, running, storage, found)
        }
    }

    /// Runs until there is something to tell. Cancel-safe: a future that is dropped loses
    /// nothing, the next one goes on.
    pub async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Stops: makes the stored bytes of an image durable, disconnects from the broker, and closes
    /// the links. An update in progress resumes after the next start, which also reports the events
    /// that were not delivered.
    ///
    /// The last checkpoint has two seconds, the broker one; then it is as good as a reset, which
    /// costs no more than bytes that are fetched again. Keep the network stack running until this
    /// is ready.
    pub async fn stop(mut self) {
        self.engine.client_mut().prepare_stop(now());
        self.until(LAST_NOTE, |it| it.engine.client().is_stopped()).await;
        self.engine.client_mut().disconnect(now());
        self.until(CLOSING, |it| !it.sockets.first().is_some_and(Socket::is_up)).await;
    }

    /// Runs until this holds, or until it is no use to wait.
    async fn until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) {
        let held = poll_fn(|cx| {
            // Looked at behind it: what it did may be the last, and then nothing wakes us again.
            while self.poll_next(cx).is_ready() && !holds(self) {}
            if holds(self) { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = with_timeout(limit, held).await;
    }

    /// A device's machine: its state, progress and offer. `None` when there is no such device.
    #[must_use]
    pub fn updater(&self, device: DeviceIndex) -> Option<&Updater> {
        self.engine.client().updater(device)
    }

    /// Gives a command to a device's machine:
    /// `driver.command(device, Command::Accept)`. A moment to come is
    /// `to_core(embassy_time::Instant::now()) + duration`; see [`to_core`].
    ///
    /// # Errors
    /// [`Misuse`] when the command does not fit the state or there is no such device; nothing
    /// changed.
    pub fn command(&mut self, device: DeviceIndex, command: Command) -> Result<(), Misuse> {
        self.engine.command(now(), device, command)
    }

    /// The client and the time of its inputs, for the application's own messages: publish,
    /// subscribe, acknowledge, disconnect. Links and operations are the driver's.
    pub fn client(&mut self) -> (&mut Client, Instant) {
        (self.engine.client_mut(), now())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        let network = self.network;
        for _ in 0..TURN {
            match self.engine.poll(now()) {
                Step::Connect(target) => {
                    self.sign_in(|it, client| it.connecting(client, &target));
                    self.socket(target.link.kind).open(network, target);
                }
                Step::Close(link) => self.socket(link.kind).close(network),
                Step::Work(device, op, work) => self.workers.push(device, op, work),
                Step::Event(event) => {
                    self.sign_in(|it, client| it.told(client, &event));
                    return Poll::Ready(event);
                }
                Step::Wait(deadline) => {
                    if !self.poll_waits(cx, deadline) {
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn sign_in(&mut self, act: impl FnOnce(&mut dyn SignIn, &mut Client)) {
        if let Some(it) = &mut self.sign_in {
            act(&mut **it, self.engine.client_mut());
        }
    }

    /// Whether anything happened. If not, whatever can happen wakes the task.
    // In one frame with what the engine needs the stack would have to hold both.
    #[inline(never)]
    fn poll_waits(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let mut happened = self.workers.poll(cx, &mut self.engine);
        for socket in &mut self.sockets {
            happened |= socket.poll(cx, self.network, &mut self.engine);
        }
        let at = deadline.filter(|_| !happened).map(to_ticks);
        // The clock is compared first: a timer that is new waits once in any case. It need not be
        // kept, since the time driver remembers when to wake the task.
        let due = |at| Ticks::now() >= at || pin!(Timer::at(at)).poll(cx).is_ready();
        if at.is_some_and(due) {
            self.engine.handle_timeout(now());
            happened = true;
        }
        happened
    }

    fn socket(&mut self, kind: LinkKind) -> &mut Socket<'d, N> {
        let [broker, store] = &mut self.sockets;
        if kind == LinkKind::Broker { broker } else { store }
    }
}

impl<N: Network> fmt::Debug for Driver<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("engine", &self.engine).finish_non_exhaustive()
    }
}
