//! A driver with one device, and its nested events as flat ones.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ota_proto::{Command, Instant, Misuse, Offer, State, Updater, Version};
use ota_wire::adapter;
use ota_wire::client::DeviceIndex;
use ota_wire::mqtt::AckId;
use ota_wire::updates::{self, Status};

use super::Event;
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

/// A [`Driver`] with its one device.
pub struct OneDevice<R: Runtime> {
    driver: Driver<R>,
    /// The last login does not expire, and no event has reported that.
    lasting: Arc<AtomicBool>,
    /// The message that the application was given last.
    taken: Option<AckId>,
}

impl<R: Runtime> OneDevice<R> {
    pub(super) fn new(driver: Driver<R>, lasting: Arc<AtomicBool>) -> Self {
        Self { driver, lasting, taken: None }
    }

    /// The next event. Cancel-safe: a future that is dropped loses nothing.
    ///
    /// # Errors
    /// [`EngineError::Lost`] if the runtime shuts down.
    pub async fn next(&mut self) -> Result<Event, EngineError> {
        // The application is back: it has taken what it was given.
        if let Some(ack) = self.taken.take() {
            self.driver.control_mut().acknowledge(ack);
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
        self.driver.control_mut().command(DeviceIndex::FIRST, command)
    }

    /// The current time, for commands.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.driver.control().clock().now()
    }

    /// The state of the update.
    #[must_use]
    pub fn status(&self) -> Status {
        Self::added(Status::of(self.driver.control().client(), DeviceIndex::FIRST))
    }

    /// The version that runs.
    #[must_use]
    pub fn running(&self) -> Version {
        self.updater().running()
    }

    /// The offer that the update is about.
    #[must_use]
    pub fn offer(&self) -> Option<Offer<'_>> {
        self.updater().offer()
    }

    fn updater(&self) -> &Updater {
        Self::added(self.driver.control().updater(DeviceIndex::FIRST))
    }

    #[expect(clippy::expect_used, reason = "`Builder::open` adds the device")]
    fn added<T>(found: Option<T>) -> T {
        found.expect("the device")
    }

    /// The driver, for everything besides commands.
    pub fn driver(&mut self) -> &mut Driver<R> {
        &mut self.driver
    }

    /// The verified image, while it waits for approval or is installed.
    #[must_use]
    pub fn image(&self) -> Option<NewImage> {
        let updater = self.updater();
        if !matches!(updater.state(), State::Ready | State::Installing) {
            return None;
        }
        self.new_image(updates::NewImage::of(updater.offer()?))
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
        let image = self.driver.control().image(DeviceIndex::FIRST)?;
        image.take_removed().map(|bytes| Event::ImageRemoved { bytes })
    }

    /// Translates the driver's event; `None` for an event that this version does not know.
    fn flat(&mut self, event: adapter::DriverEvent) -> Option<Event> {
        if let adapter::DriverEvent::Message { ack, .. } = &event {
            self.taken = *ack;
        }
        let image = |what| self.new_image(what);
        Event::of(event, self.driver.control().client(), self.now(), image)
    }

    fn new_image(&self, what: updates::NewImage) -> Option<NewImage> {
        Some(NewImage::new(self.driver.control().image(DeviceIndex::FIRST)?.clone(), what))
    }
}

impl<R: Runtime> fmt::Debug for OneDevice<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OneDevice").field("driver", &self.driver).finish_non_exhaustive()
    }
}
