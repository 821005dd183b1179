//! Several devices on one connection, with their own events and configurations.
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
use ota_wire::adapter::{Engine, LinkTarget, Step};
use ota_wire::client::LinkKind;

use crate::flash::{Buf, Storage, Workers};
use crate::network::Network;
use crate::socket::{CLOSING, Socket};
use crate::time::now;

pub use crate::time::{to_core, to_ticks};
pub use ota_wire::adapter::{DriverEvent, EngineError as Error};
pub use ota_wire::client::{ClientConfig, DeviceIndex};

/// The most steps and waits per turn; then other tasks run.
const TURN: usize = 16;

/// The time limit of the last checkpoint.
const LAST_NOTE: Duration = Duration::from_secs(2);

/// Receive buffers, in the caller's memory.
#[derive(Debug)]
pub struct Buffers<'d> {
    /// At least the longest MQTT packet, `ClientConfig::mqtt.limits.packet`.
    pub broker: &'d mut [u8],
    /// At least the longest line of a response head that matters, `ClientConfig::http.line`. Firmware is
    /// written to the slot from here: its length is the longest write.
    pub store: &'d mut [u8],
}

/// One connection to the cloud, for one device and its sub-devices. [`Driver::client`] has the
/// application's other calls (publish, subscribe).
///
/// Everything happens within [`Driver::next`]: call it repeatedly, in a `select` with the
/// application's other futures. Dropping the driver acts like a reset; before a reset that can wait
/// briefly, [`Driver::stop`] saves what the reset would lose.
pub struct Driver<'d, N: Network> {
    network: N,
    pub(crate) engine: Engine<Buf<'d>>,
    /// The broker's and the firmware server's.
    sockets: [Socket<'d, N>; 2],
    pub(crate) workers: Workers<'d>,
    /// A trait object: a program without it contains none of its code.
    pub(crate) sign_in: Option<Box<dyn SignIn + 'd>>,
}

/// Makes a login for each connection.
pub(crate) trait SignIn {
    /// Called before a link opens. If it is the broker's, this makes its login.
    fn connecting(&mut self, client: &mut Client, target: &LinkTarget);

    /// Called with each event for the application.
    fn told(&mut self, client: &mut Client, event: &DriverEvent);
}

impl<'d, N: Network + 'd> Driver<'d, N> {
    /// Makes a driver without devices.
    ///
    /// # Errors
    /// [`Error`] if the configuration or the buffers can never work.
    pub fn new(network: N, config: ClientConfig, buffers: Buffers<'d>) -> Result<Self, Error> {
        if config.tls && !N::TLS {
            return Err(Error::NoTls);
        }
        let engine = Engine::new(now(), config, buffers.broker, buffers.store)?;
        let sockets = [Socket::Closed, Socket::Closed];
        Ok(Self { network, engine, sockets, workers: Workers::default(), sign_in: None })
    }

    /// Adds a device that runs this version; the first one has the login of the connection.
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Device`]; nothing changed, but the storage is consumed.
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

    /// Runs until there is an event. Cancel-safe: dropping the future loses nothing, and the next
    /// one continues.
    pub async fn next(&mut self) -> DriverEvent {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Stops: makes the stored bytes of an image durable, disconnects from the broker, and closes
    /// the links. An update in progress resumes after the next start, which also reports the events
    /// that were not delivered.
    ///
    /// The last checkpoint may take two seconds, the broker one; after that this acts like a reset,
    /// which only costs bytes that are fetched again. Keep the network stack running until this
    /// returns.
    pub async fn stop(mut self) {
        self.engine.client_mut().prepare_stop(now());
        self.until(LAST_NOTE, |it| it.engine.client().is_stopped()).await;
        self.engine.client_mut().disconnect(now());
        self.until(CLOSING, |it| !it.sockets.first().is_some_and(Socket::is_up)).await;
    }

    /// Runs until this condition is met or waiting is useless.
    async fn until(&mut self, limit: Duration, holds: impl Fn(&Self) -> bool) {
        let held = poll_fn(|cx| {
            // Checked after the turn: its change may be the last one, with no later wake-up.
            while self.poll_next(cx).is_ready() && !holds(self) {}
            if holds(self) { Poll::Ready(()) } else { Poll::Pending }
        });
        let _ = with_timeout(limit, held).await;
    }

    /// Returns a device's machine: its state, progress and offer. `None` for an unknown device.
    #[must_use]
    pub fn updater(&self, device: DeviceIndex) -> Option<&Updater> {
        self.engine.client().updater(device)
    }

    /// Sends a command to a device's machine: `driver.command(device, Command::Accept)`. For a time
    /// in the future use `to_core(embassy_time::Instant::now()) + duration`; see [`to_core`].
    ///
    /// # Errors
    /// [`Misuse`], without effect, if the command does not fit the state or the device is unknown.
    pub fn command(&mut self, device: DeviceIndex, command: Command) -> Result<(), Misuse> {
        self.engine.command(now(), device, command)
    }

    /// Returns the client and the time of its inputs, for the application's own messages: publish,
    /// subscribe, acknowledge, disconnect. Only the driver may use links and operations.
    pub fn client(&mut self) -> (&mut Client, Instant) {
        (self.engine.client_mut(), now())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<DriverEvent> {
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

    /// Returns whether anything happened. If not, every possible event wakes the task.
    // A separate function: in one frame with the engine's needs, the stack would have to hold both.
    #[inline(never)]
    fn poll_waits(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let mut happened = self.workers.poll(cx, &mut self.engine);
        for socket in &mut self.sockets {
            happened |= socket.poll(cx, self.network, &mut self.engine);
        }
        let at = deadline.filter(|_| !happened).map(to_ticks);
        // Compares the clock first, because a new timer always waits once. The timer need not be
        // kept: the time driver remembers when to wake the task.
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
