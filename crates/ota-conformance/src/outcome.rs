//! The result of a world.

use core::ops::Range;
use core::time::Duration;

use ota_cloud::fault::Fault;
use ota_wire::client::ClientEvent;

/// The outcome of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the device was idle before [`crate::Scenario::limit`].
    pub ended: bool,
    /// The final running version.
    pub running: String,
    /// The final content of the slot, from its start; any length.
    pub slot: Vec<u8>,
    /// All messages on the device's report topic, in the order of their arrival.
    pub reports: Vec<Report>,
    /// All requests to the firmware server, in order.
    pub requests: Vec<Request>,
    /// All faults that happened, in order.
    pub struck: Vec<Fault>,
    /// All events of the application.
    pub events: Vec<ClientEvent>,
    /// Accepted logins.
    pub sessions: u64,
    /// Restarts of the device; each costs a session.
    pub restarts: u64,
}

/// A message from the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Its time since the start of the world.
    pub at: Duration,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A request to the firmware server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The answer's status, 0 for none.
    pub status: u16,
    /// The range of the image in the answer.
    pub range: Range<u64>,
}
