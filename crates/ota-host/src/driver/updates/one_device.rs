//! A driver with one device, and its nested events as flat ones.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ota_proto::{Command, Instant, Misuse, Offer, Outcome, State, Updater, Version};
use ota_wire::adapter;
use ota_wire::client::{self, DeviceIndex};
use ota_wire::mqtt::AckId;

use super::event::{Event, Message};
use super::image::NewImage;
use crate::driver::engine::EngineError;
use crate::driver::run::Driver;
use crate::driver::runtime::Runtime;

/// What [`Builder::open`](crate::updates::Builder::open) returns: an adapter's `Updates`.
/// [`crate::updates!`] implements it.
pub trait Open: Sized {
    /// The adapter's runtime.
    type Runtime: Runtime;

    /// Wraps the device.
    fn from_device(device: OneDevice<Self::Runtime>) -> Self;
}

/// The state of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The version that runs.
    pub running: Version,
    /// What the update is doing.
    pub state: State,
    /// The version on offer, if there is one.
    pub offered: Option<Version>,
    /// How many bytes of how many are stored.
    pub stored: Option<(u64, u64)>,
    /// The result of an update that the cloud does not know yet.
    pub owed: Option<Outcome>,
    /// The broker has accepted the login.
    pub connected: bool,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Idle => "no update",
            State::Offered => "an offer waits for an answer",
            State::Deferred => "the offer is deferred",
            State::Fetching => "downloading",
            State::Waiting => "waiting to go on with the download",
            State::Verifying => "verifying",
            State::Ready => "verified",
            State::Installing => "installing",
            State::Restarting => "restarting",
            State::Trial => "on trial",
            _ => "updating",
        };
        let link = if self.connected { "connected" } else { "not connected" };
        write!(f, "version {}, {link}; {state}", self.running)?;
        if let Some(version) = self.offered {
            write!(f, ", version {version}")?;
        }
        let downloads = matches!(self.state, State::Fetching | State::Waiting);
        if let Some((stored, size)) = self.stored.filter(|_| downloads) {
            write!(f, ", {stored} of {size} bytes")?;
        }
        Ok(())
    }
}

/// A [`Driver`] with its one device.
pub struct OneDevice<R: Runtime> {
    driver: Driver<R>,
    /// The version that was started.
    started: Version,
    /// Host and port, for [`Event::Disconnected`].
    broker: String,
    /// The last login does not expire, and no event has reported that.
    lasting: Arc<AtomicBool>,
    /// The message that the application was given last.
    taken: Option<AckId>,
    connected: bool,
}

impl<R: Runtime> OneDevice<R> {
    pub(super) fn new(
        driver: Driver<R>,
        started: Version,
        broker: String,
        lasting: Arc<AtomicBool>,
    ) -> Self {
        Self { driver, started, broker, lasting, taken: None, connected: false }
    }

    /// The next event. Cancel-safe: a future that is dropped loses nothing.
    ///
    /// # Errors
    /// [`EngineError::Lost`] if the runtime shuts down.
    pub async fn next(&mut self) -> Result<Event, EngineError> {
        // The application is back: it has taken what it was given.
        if let Some(ack) = self.taken.take() {
            self.driver.acknowledge(ack);
        }
        loop {
            if let Some(event) = self.noted() {
                return Ok(event);
            }
            let event = self.driver.next().await?;
            if let Some(event) = self.flat(event) {
                return Ok(event);
            }
        }
    }

    /// Gives the device a command.
    ///
    /// # Errors
    /// [`Misuse`] if it does not fit the state; nothing changed.
    pub fn command(&mut self, command: Command) -> Result<(), Misuse> {
        self.driver.command(DeviceIndex::FIRST, command)
    }

    /// The current time, for commands.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.driver.clock().now()
    }

    /// The state of the update.
    #[must_use]
    pub fn status(&self) -> Status {
        let updater = self.updater();
        Status {
            running: self.running(),
            state: updater.map_or(State::Idle, Updater::state),
            offered: self.offer().map(|offer| offer.version),
            stored: updater.and_then(Updater::progress),
            owed: updater.and_then(Updater::owed),
            connected: self.connected,
        }
    }

    /// The version that runs.
    #[must_use]
    pub fn running(&self) -> Version {
        self.updater().map_or(self.started, Updater::running)
    }

    /// The offer that the update is about.
    #[must_use]
    pub fn offer(&self) -> Option<Offer<'_>> {
        self.updater()?.offer()
    }

    /// The device's state machine; `Builder::open` has added it.
    fn updater(&self) -> Option<&Updater> {
        let found = self.driver.updater(DeviceIndex::FIRST);
        debug_assert!(found.is_some(), "a driver without its device");
        found
    }

    /// The driver, for everything besides commands.
    pub fn driver(&mut self) -> &mut Driver<R> {
        &mut self.driver
    }

    /// The verified image, while it waits for approval or is installed.
    #[must_use]
    pub fn image(&self) -> Option<NewImage> {
        let state = self.updater().map(Updater::state);
        state.filter(|state| matches!(state, State::Ready | State::Installing))?;
        self.new_image()
    }

    /// See [`Driver::stop`].
    pub async fn stop(self) {
        self.driver.stop().await;
    }

    /// Returns an event that does not come from the driver.
    fn noted(&mut self) -> Option<Event> {
        if self.lasting.swap(false, Ordering::Relaxed) {
            return Some(Event::LastingLogin);
        }
        let image = self.driver.image(DeviceIndex::FIRST)?;
        image.take_removed().map(|bytes| Event::ImageRemoved { bytes })
    }

    /// Maps the driver's event; `None` for an event that this version does not know.
    fn flat(&mut self, event: adapter::DriverEvent) -> Option<Event> {
        let event = match event {
            adapter::DriverEvent::Client(event) => event,
            adapter::DriverEvent::Message { topic, payload, ack } => {
                self.taken = ack;
                return Some(Event::Message(Message { topic, payload }));
            }
            _ => return None,
        };
        let now = self.driver.clock().now();
        match event {
            client::ClientEvent::Device { event, .. } => self.of_update(event, now),
            event => {
                match event {
                    client::ClientEvent::Connected => self.connected = true,
                    client::ClientEvent::Disconnected { .. } => self.connected = false,
                    _ => {}
                }
                Event::of_client(event, &self.broker, now)
            }
        }
    }

    fn of_update(&self, event: ota_proto::Event, now: Instant) -> Option<Event> {
        use ota_proto::Event as E;
        Some(match event {
            E::Offered => {
                let offer = self.offer()?;
                Event::Offered { version: offer.version, size: offer.size }
            }
            E::Started { from } => Event::Downloading { from },
            E::Progress { percent } => Event::Progress { percent },
            E::Retry { cause } => {
                let answer =
                    self.updater().and_then(Updater::answer).filter(|_| cause.is_explained());
                Event::Retrying { reason: cause, answer }
            }
            E::Ready => Event::Ready,
            E::Install { .. } => {
                let image = self.new_image();
                debug_assert!(image.is_some(), "an installation without an offer");
                Event::Install(image?)
            }
            E::StopInstall => Event::StopInstall,
            E::Restart => Event::Restart,
            E::Trial => Event::Trial,
            E::Finished { version, outcome, answer } => Event::of_end(version, outcome, answer),
            E::Reported { outcome } => Event::Reported(outcome),
            E::VersionAccepted => Event::VersionReported,
            E::VersionRefused { code } => Event::VersionRefused { code },
            E::Superseded => Event::Superseded,
            E::Withdrawn => Event::Withdrawn,
            E::Banned => Event::Banned,
            E::HeldBack { until } => Event::HeldBack { wait: until.since(now) },
            E::StorageTrouble(why) => Event::StorageTrouble(why),
            _ => return None,
        })
    }

    /// The image of the offer: an attempt that installs has one.
    fn new_image(&self) -> Option<NewImage> {
        let image = self.driver.image(DeviceIndex::FIRST)?.clone();
        let offer = self.offer()?;
        Some(NewImage { image, version: offer.version, size: offer.size, md5: offer.md5 })
    }
}

impl<R: Runtime> fmt::Debug for OneDevice<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneDevice")
            .field("broker", &self.broker)
            .field("driver", &self.driver)
            .finish_non_exhaustive()
    }
}
