//! The loop.

use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};

use embassy_time::{Instant as Ticks, Timer};
use ota_proto::{Boot, Instant, Misuse, Updater};
use ota_wire::Client;
use ota_wire::adapter::{Engine, EngineError, Event, Step};
use ota_wire::client::{Config, DeviceIndex, LinkKind};

use crate::flash::{Buf, Found, Storage, Worker};
use crate::network::Network;
use crate::socket::Socket;
use crate::time::{now, to_ticks};

/// Steps and waits of one turn; then other tasks have theirs.
const TURN: usize = 16;

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
/// else the application waits for. Dropping the driver is as good as a reset.
pub struct Driver<'d, N: Network> {
    network: N,
    engine: Engine<Buf<'d>>,
    broker: Socket<'d, N>,
    store: Socket<'d, N>,
    devices: Vec<(DeviceIndex, Worker<'d>)>,
    timer: Option<(Ticks, Timer)>,
}

impl<'d, N: Network + 'd> Driver<'d, N> {
    /// A driver without devices.
    ///
    /// # Errors
    /// [`EngineError`], when nothing could ever work with the configuration or the buffers.
    pub fn new(network: N, config: Config, buffers: Buffers<'d>) -> Result<Self, EngineError> {
        if config.tls && !N::TLS {
            return Err(EngineError::NoTls);
        }
        let engine = Engine::new(now(), config, buffers.broker, buffers.store)?;
        let (broker, store) = (Socket::Closed, Socket::Closed);
        Ok(Self { network, engine, broker, store, devices: Vec::new(), timer: None })
    }

    /// Adds a device that runs this version; the first is the one whose login the connection has.
    ///
    /// # Errors
    /// [`EngineError::Storage`] or [`EngineError::Device`]; nothing changed, and the storage is gone.
    #[allow(clippy::manual_async_fn, reason = "an `async fn` would hold its arguments twice")]
    pub fn add_device(
        &mut self,
        config: ota_proto::Config,
        running: &str,
        mut storage: impl Storage + 'd,
    ) -> impl Future<Output = Result<DeviceIndex, EngineError>> {
        async move {
            let Found { slot, record } = storage.boot().await.map_err(EngineError::Storage)?;
            let journal = record.as_ref();
            let boot = Boot { running, slot, journal, storage: storage.info() };
            let device = self.engine.add_device(now(), config, boot)?;
            self.devices.push((device, Worker::new(storage)));
            Ok(device)
        }
    }

    /// Runs until there is something to tell. Cancel-safe: a future that is dropped loses
    /// nothing, the next one goes on.
    ///
    /// # Errors
    /// None yet; the shape is that of all adapters.
    pub async fn next(&mut self) -> Result<Event, EngineError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// A device's machine: its state, progress and offer. `None` when there is no such device.
    #[must_use]
    pub fn updater(&self, device: DeviceIndex) -> Option<&Updater> {
        self.engine.client().updater(device)
    }

    /// Gives a command to a device's machine:
    /// `driver.command(device, |updater, now| updater.accept(now))`. A moment to come is
    /// `now + duration`.
    ///
    /// # Errors
    /// [`Misuse`] when the command does not fit the state or there is no such device; nothing
    /// changed.
    pub fn command(
        &mut self,
        device: DeviceIndex,
        act: impl FnOnce(&mut Updater, Instant) -> Result<(), Misuse>,
    ) -> Result<(), Misuse> {
        self.engine.command(now(), device, act)
    }

    /// The client and the time of its inputs, for the application's own messages: publish,
    /// subscribe, acknowledge, disconnect. Links and operations are the driver's.
    pub fn client(&mut self) -> (&mut Client, Instant) {
        (self.engine.client_mut(), now())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, EngineError>> {
        for _ in 0..TURN {
            match self.engine.poll(now()) {
                Step::Connect(target) => {
                    let network = self.network;
                    self.socket(target.link.kind).open(network, target);
                }
                Step::Close(link) => {
                    let network = self.network;
                    self.socket(link.kind).close(network);
                }
                Step::Work(device, op, work) => {
                    if let Some((_, worker)) = self.devices.get(device.get()) {
                        worker.push(op, work);
                    }
                }
                Step::Event(event) => return Poll::Ready(Ok(event)),
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

    /// Whether anything happened. If not, whatever can happen wakes the task.
    // In one frame with what the engine needs the stack would have to hold both.
    #[inline(never)]
    fn poll_waits(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let mut happened = false;
        for (device, worker) in &mut self.devices {
            if let Some(done) = worker.poll(cx) {
                self.engine.finish(now(), *device, done);
                happened = true;
            }
        }
        let network = self.network;
        happened |= self.broker.poll(cx, network, &mut self.engine);
        happened |= self.store.poll(cx, network, &mut self.engine);
        happened || self.poll_timer(cx, deadline)
    }

    /// Whether the deadline has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> bool {
        let Some(at) = deadline.map(to_ticks) else { return false };
        if self.timer.as_ref().is_none_or(|(set, _)| *set != at) {
            self.timer = Some((at, Timer::at(at)));
        }
        let Some((_, timer)) = &mut self.timer else { return false };
        // The clock is compared first: a timer that is new waits once in any case.
        if Ticks::now() < at && Pin::new(timer).poll(cx).is_pending() {
            return false;
        }
        self.timer = None;
        self.engine.handle_timeout(now());
        true
    }

    fn socket(&mut self, kind: LinkKind) -> &mut Socket<'d, N> {
        match kind {
            LinkKind::Broker => &mut self.broker,
            LinkKind::Store => &mut self.store,
        }
    }
}

impl<N: Network> fmt::Debug for Driver<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("engine", &self.engine).finish_non_exhaustive()
    }
}
