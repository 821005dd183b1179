//! Writes the log, and counts what it writes.

use std::sync::Arc;

use ota_proto::Identity;
use tokio::sync::broadcast;

use super::ServiceConfig;
use super::clock::Clock;
use super::log::{Entry, What};
use super::vitals::Vitals;

/// The sender of log entries.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    pub(super) clock: Clock,
    pub(super) entries: broadcast::Sender<Entry>,
    /// Whether messages are logged, too.
    pub(super) messages: bool,
    pub(super) vitals: Arc<Vitals>,
}

impl Journal {
    pub(super) fn new(config: &ServiceConfig, clock: Clock) -> Self {
        let entries = broadcast::Sender::new(config.log_entries.max(1));
        Self { clock, entries, messages: config.log_messages, vitals: Arc::default() }
    }

    /// Writes an entry, whether or not anybody reads.
    pub(super) fn write(&self, device: Option<&Identity>, what: What) {
        self.vitals.note(&what);
        let entry = Entry { at: self.clock.now(), device: device.cloned(), what };
        let _ = self.entries.send(entry);
    }

    /// Logs an answered request. If messages are not logged, only a request that failed here or
    /// whose answer a fault kept back.
    pub(super) fn request(&self, status: u16, what: What) {
        self.vitals.firmware(&what);
        if self.messages || status == 0 || status >= 500 {
            self.write(None, what);
        }
    }

    /// Logs a message.
    pub(super) fn message(&self, device: &Identity, what: impl FnOnce() -> What) {
        if self.messages {
            self.write(Some(device), what());
        }
    }
}
