//! The application must accept the offer, or has deferred it.

use crate::output::Event;
use crate::time::Instant;

/// Waits for the application's accept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Offered {
    /// When the event is raised again.
    pub(in crate::updater) ask: Instant,
}

impl Offered {
    pub(super) fn tick(&mut self, now: Instant, again: Instant) -> Option<Event> {
        if self.ask > now {
            return None;
        }
        self.ask = again;
        Some(Event::Offered)
    }
}

/// Deferred by the application. At the end the device requests the offer again, and then asks the
/// application.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::updater) struct Deferred {
    pub(in crate::updater) until: Instant,
}
