//! Events that wait for the application.

use alloc::vec::Vec;
use core::mem::discriminant;

use crate::output::Event;

/// Events that were not polled yet: the newest of each kind, so that an application that does not
/// poll costs a bounded amount of memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "snapshot", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Events(Vec<Event>);

impl Events {
    /// Adds an event and removes an older one of the same kind.
    pub(super) fn push(&mut self, event: Event) {
        self.drop_kind(&event);
        self.0.push(event);
    }

    /// Removes an event that is no longer true.
    pub(super) fn drop_kind(&mut self, like: &Event) {
        self.0.retain(|event| discriminant(event) != discriminant(like));
    }

    /// Removes the events of an attempt in progress.
    pub(super) fn drop_attempt(&mut self) {
        self.0.retain(|event| {
            !matches!(
                event,
                Event::Offered
                    | Event::Started { .. }
                    | Event::Progress { .. }
                    | Event::Retry { .. }
                    | Event::Ready
                    | Event::Install { .. }
                    | Event::StopInstall
                    | Event::Restart
                    | Event::Trial
            )
        });
    }

    /// Takes the oldest event.
    pub(super) fn pop(&mut self) -> Option<Event> {
        if self.0.is_empty() {
            // An idle machine keeps no memory for events.
            self.0 = Vec::new();
            return None;
        }
        Some(self.0.remove(0))
    }
}
