//! The loop.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time;

use ota_host::{Control, Engine, EngineError, Event, Finished, Operation, Options, Step};
use ota_wire::client::{Config, Link, LinkKind};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::socket::Socket;

/// Steps and waits of one turn; then other tasks have theirs.
const TURN: usize = 64;

/// One connection to the cloud, for one device and its sub-devices, on the tokio runtime that
/// polls it. What an application may do is in [`Control`], to which it dereferences: add devices,
/// give commands, publish, subscribe.
///
/// Nothing happens but in [`Driver::next`]: call it again and again, in a `select!` with whatever
/// else the application waits for. Dropping the driver closes the links; a storage job that runs
/// then still ends.
///
/// Its time is that of [`ota_host::Clock`], which does not stand still under `tokio::time::pause`.
#[derive(Debug)]
pub struct Driver {
    engine: Engine,
    broker: Socket,
    store: Socket,
    jobs: JoinSet<Finished<Operation>>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Driver {
    /// A driver without devices.
    ///
    /// # Errors
    /// [`EngineError`], when nothing could ever work with the configuration.
    pub fn new(config: Config) -> Result<Self, EngineError> {
        Self::with_options(config, Options::default())
    }

    /// As [`Driver::new`], with other options.
    ///
    /// # Errors
    /// As [`Driver::new`].
    pub fn with_options(config: Config, options: Options) -> Result<Self, EngineError> {
        Ok(Self {
            engine: Engine::new(config, options)?,
            broker: Socket::Closed,
            store: Socket::Closed,
            jobs: JoinSet::new(),
            timer: None,
        })
    }

    /// Runs until there is something to tell. Cancel-safe: a future that is dropped loses
    /// nothing, the next one goes on.
    ///
    /// # Errors
    /// [`EngineError::Lost`] when the runtime shuts down; the driver is then of no more use.
    ///
    /// # Panics
    /// Outside of a tokio runtime with IO and time.
    pub async fn next(&mut self) -> Result<Event, EngineError> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Ends: waits for the storage jobs that run, so that the data folder is free, and closes the
    /// links. What was under way goes on after the next start.
    pub async fn stop(mut self) {
        while self.jobs.join_next().await.is_some() {}
    }
}

impl Deref for Driver {
    type Target = Control;

    fn deref(&self) -> &Control {
        &self.engine
    }
}

impl DerefMut for Driver {
    fn deref_mut(&mut self) -> &mut Control {
        &mut self.engine
    }
}

impl Driver {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, EngineError>> {
        for _ in 0..TURN {
            match self.engine.poll() {
                Step::Connect { link, host, port, .. } => {
                    *self.socket(link) = Socket::open(link, host, port);
                }
                Step::Close { link } => self.socket(link).close(cx),
                Step::Run(task) => {
                    self.jobs.spawn_blocking(move || task.run());
                }
                Step::Event(event) => return Poll::Ready(Ok(event)),
                Step::Wait { deadline } => {
                    if !self.poll_waits(cx, deadline)? {
                        return Poll::Pending;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether anything happened. If not, whatever can happen wakes the task.
    fn poll_waits(
        &mut self,
        cx: &mut Context<'_>,
        deadline: Option<time::Instant>,
    ) -> Result<bool, EngineError> {
        let mut happened = false;
        if let Poll::Ready(Some(job)) = self.jobs.poll_join_next(cx) {
            self.engine.handle_finished(job.map_err(|_| EngineError::Lost)?);
            happened = true;
        }
        happened |= self.broker.poll(cx, &mut self.engine);
        happened |= self.store.poll(cx, &mut self.engine);
        Ok(happened || self.poll_timer(cx, deadline))
    }

    /// Whether the deadline has come.
    fn poll_timer(&mut self, cx: &mut Context<'_>, deadline: Option<time::Instant>) -> bool {
        let Some(deadline) = deadline.map(Instant::from_std) else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx).is_ready()
    }

    fn socket(&mut self, link: Link) -> &mut Socket {
        match link.kind {
            LinkKind::Broker => &mut self.broker,
            LinkKind::Store => &mut self.store,
        }
    }
}
