//! The log's lines, several at a time.

use std::time::Duration;

use ota_cloud::{EventKind, Status};
use ota_server::{Entry, What};

use crate::print::{Printer, out};

/// Lines of the log on their way out.
pub(super) struct Lines {
    printer: Printer,
    /// Only trouble is printed.
    quiet: bool,
    text: String,
}

impl Lines {
    /// How long lines wait for more of them after some were written.
    pub(super) const PAUSE: Duration = Duration::from_millis(20);

    /// The most entries between two looks at whether the cloud is to stop.
    pub(super) const MOST: usize = 1024;

    pub(super) fn new(printer: Printer, quiet: bool) -> Self {
        Self { printer, quiet, text: String::new() }
    }

    pub(super) fn add(&mut self, entry: &Entry) {
        if self.quiet && !is_trouble(&entry.what) {
            return;
        }
        if let Some(line) = self.printer.text(entry) {
            if !self.text.is_empty() {
                self.text.push('\n');
            }
            self.text.push_str(&line);
        }
        if self.text.len() >= MANY {
            self.write();
        }
    }

    pub(super) fn write(&mut self) {
        if !self.text.is_empty() {
            out(&self.text);
            self.text.clear();
        }
    }
}

/// The bytes of lines that are written at once.
const MANY: usize = 64 * 1024;

/// Whether it is printed with --quiet.
fn is_trouble(what: &What) -> bool {
    match what {
        What::Alert { .. }
        | What::BrokerLost { .. }
        | What::Certificate { why: Some(_) }
        | What::Foreign { .. }
        | What::LoginRefused { .. }
        | What::Lost(_)
        | What::Refused { .. }
        | What::Store { .. }
        | What::TurnedAway { .. }
        | What::Withdrawn { .. } => true,
        What::Event(EventKind::Status { to, .. }) => {
            matches!(to, Status::Failed | Status::TimedOut)
        }
        What::Event(EventKind::NotOffered { why, .. }) => why.is_trouble(),
        What::Request { status, .. } | What::Called { status, .. } => *status >= 500,
        _ => false,
    }
}
