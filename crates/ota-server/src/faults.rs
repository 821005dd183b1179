//! Faults over sockets: what the lines to the broker share of [`relay`](ota_cloud::relay).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ota_proto::Instant;

use super::journal::Journal;
use super::log::What;
use ota_cloud::endpoint::Event;
use ota_cloud::fault::FaultPlan;
use ota_cloud::relay::{Line, Relay};

/// What the broker's lines share.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    relay: Arc<Mutex<Relay>>,
    journal: Journal,
}

impl Faults {
    pub(super) fn new(plan: &FaultPlan, journal: Journal) -> Self {
        Self { relay: Arc::new(Mutex::new(Relay::new(plan))), journal }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Relay> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event of a line, when all bytes on it are where they belong.
    pub(super) fn next_event(&self, line: &mut Line, now: Instant) -> Option<Event> {
        let mut relay = self.lock();
        line.pump(&mut relay, now);
        let event = line.endpoint.poll_event(now);
        line.pump(&mut relay, now);
        while let Some(fault) = relay.next_struck() {
            self.journal.write(None, What::Fault { fault });
        }
        event
    }
}
