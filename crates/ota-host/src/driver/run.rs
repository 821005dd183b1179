//! The loop of the std adapters. An adapter brings a [`Runtime`], which has sockets, a timer and a
//! blocking pool, and decides nothing.

use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ota_proto::TransportError;
use ota_wire::adapter::{self, DriverEvent, LinkTarget};
use ota_wire::client::{ClientConfig, Link, LinkKind};

use crate::driver::engine::{Control, Engine, EngineError, Options, Step};
use crate::driver::open::{Reach, open};
use crate::driver::runtime::Runtime;
use crate::driver::socket::{Opening, Socket};
use crate::driver::stream::Later;
use crate::driver::tls::Trust;

/// The longest wait for the last checkpoint.
const LAST_NOTE: Duration = Duration::from_secs(2);

/// The longest wait for the broker to take DISCONNECT.
const DISCONNECT: Duration = Duration::from_secs(1);

/// The longest wait for running storage jobs.
const LAST_JOBS: Duration = Duration::from_secs(10);

/// The most steps and waits of one poll, so that other tasks can run.
const TURN: usize = 64;

/// One connection to the cloud, for one device and its sub-devices, on the runtime that polls it.
/// Between two calls of [`Driver::next`] an application may add devices, give commands, publish and
/// subscribe: [`Driver::control_mut`].
///
/// The driver works only inside [`Driver::next`]: call it in a loop, beside whatever else the
/// application waits for. Dropping the driver closes the links; a running storage job still ends.
///
/// Its time is that of [`crate::Clock`], which does not stand still when a runtime's is paused.
pub struct Driver<R: Runtime> {
    pub(super) engine: Engine,
    broker: Socket,
    store: Socket,
    trust: Trust,
    reach: Reach,
    runtime: R,
}

impl<R: Runtime> Driver<R> {
    /// A driver without devices.
    ///
    /// # Errors
    /// [`EngineError`] if no session can work with the configuration.
    pub fn new(config: ClientConfig) -> Result<Self, EngineError> {
        Self::with_options(config, Options::default())
    }

    /// As [`Driver::new`], with other options.
    ///
    /// # Errors
    /// As [`Driver::new`].
    pub fn with_options(config: ClientConfig, options: Options) -> Result<Self, EngineError> {
        Ok(Self {
            trust: options.trust(),
            reach: Arc::new(Mutex::new(adapter::Reach::new(options.public_store_only))),
            engine: Engine::new(config, options)?,
            broker: Socket::Closed,
            store: Socket::Closed,
            runtime: R::default(),
        })
    }

    /// What an application may do between two calls of [`Driver::next`].
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.engine.control
    }

    /// As [`Driver::control`], for what changes something.
    pub fn control_mut(&mut self) -> &mut Control {
        &mut self.engine.control
    }

    /// Checks now, and not only before the next connection, whether the trusted certificates have
    /// changed: see [`Options`].
    pub fn renew_trust(&mut self) {
        self.trust.renew();
    }

    /// Waits for the next event. Cancel-safe: dropping the future loses nothing.
    ///
    /// # Errors
    /// [`EngineError::Lost`] if the runtime shuts down; the driver is then unusable.
    ///
    /// # Panics
    /// On tokio, outside of a runtime with IO and time.
    pub async fn next(&mut self) -> Result<DriverEvent, EngineError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Stops: makes the stored bytes of an image durable, disconnects from the broker, waits for
    /// the running storage jobs, so that the data folder is free, and closes the links. An update
    /// in progress resumes after the next start.
    ///
    /// Waits at most two seconds for the last checkpoint, one for the broker, and ten for the disk.
    /// A storage job that has not ended by then is left to itself, and the folder stays in use
    /// until it ends.
    pub async fn stop(mut self) {
        self.engine.control.prepare_stop();
        let mut limit = R::sleep(LAST_NOTE);
        poll_fn(|cx| self.poll_last_note(cx, &mut limit)).await;
        if matches!(self.broker, Socket::Open(..)) {
            self.engine.control.disconnect();
            let mut limit = R::sleep(DISCONNECT);
            poll_fn(|cx| self.poll_disconnect(cx, &mut limit)).await;
        }
        let mut limit = R::sleep(LAST_JOBS);
        let jobs = |cx: &mut Context<'_>| loop {
            match self.runtime.poll_finished(cx) {
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return Poll::Ready(()),
                Poll::Pending => return limit.as_mut().poll(cx),
            }
        };
        poll_fn(jobs).await;
    }

    /// Ready once everything is durable, or nothing more can be expected.
    fn poll_last_note(&mut self, cx: &mut Context<'_>, limit: &mut Later<()>) -> Poll<()> {
        loop {
            if self.engine.control.is_stopped() {
                return Poll::Ready(());
            }
            match self.poll_next(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return limit.as_mut().poll(cx),
            }
        }
    }

    /// Ready once the broker's link is closed, or nothing more can be expected.
    fn poll_disconnect(&mut self, cx: &mut Context<'_>, limit: &mut Later<()>) -> Poll<()> {
        loop {
            match self.poll_next(cx) {
                Poll::Ready(Ok(_)) if matches!(self.broker, Socket::Open(..)) => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return limit.as_mut().poll(cx),
            }
        }
    }
}

impl<R: Runtime> fmt::Debug for Driver<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("engine", &self.engine)
            .field("broker", &self.broker)
            .field("store", &self.store)
            .field("runtime", &self.runtime)
            .finish()
    }
}

impl<R: Runtime> Driver<R> {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<DriverEvent, EngineError>> {
        for _ in 0..TURN {
            match self.engine.poll() {
                Step::Connect(target) => {
                    let link = target.link;
                    match self.open(target) {
                        Ok(opening) => *self.socket(link) = Socket::Opening(link, opening),
                        Err(why) => self.engine.handle_connect_failed(link, why),
                    }
                }
                Step::Close(link) => self.socket(link).close(cx),
                Step::Run(task) => self.runtime.spawn(task),
                Step::Event(event) => return Poll::Ready(Ok(event)),
                Step::Wait(deadline) => {
                    if !self.poll_waits(cx, deadline)? {
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Returns whether anything happened. If nothing did, every possible event wakes the task.
    fn poll_waits(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<Instant>,
    ) -> Result<bool, EngineError> {
        let mut happened = false;
        if let Poll::Ready(Some(finished)) = self.runtime.poll_finished(cx) {
            self.engine.handle_finished(finished?);
            happened = true;
        }
        happened |= self.broker.poll(cx, &mut self.engine);
        happened |= self.store.poll(cx, &mut self.engine);
        let due = |at| self.runtime.poll_timer(cx, at).is_ready();
        Ok(happened || deadline.is_some_and(due))
    }

    fn open(&mut self, target: LinkTarget) -> Result<Opening, TransportError> {
        let LinkTarget { link: Link { kind, .. }, host, port, tls, earliest_time } = target;
        let secure = if tls {
            self.trust.renew();
            Some(self.trust.secure(kind, &host, earliest_time).map_err(TransportError::Tls)?)
        } else {
            None
        };
        Ok(Box::pin(open::<R>(kind, Arc::clone(&self.reach), (host, port), secure)))
    }

    fn socket(&mut self, link: Link) -> &mut Socket {
        match link.kind {
            LinkKind::Broker => &mut self.broker,
            LinkKind::Store => &mut self.store,
        }
    }
}
