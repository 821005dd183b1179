//! What a world gives back.

use core::ops::Range;
use core::time::Duration;

use ota_cloud::fault::Fault;
use ota_wire::client::Event;

/// What became of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The device came to rest before [`crate::Scenario::limit`].
    pub ended: bool,
    /// The version that runs at the end.
    pub running: String,
    /// What the slot holds at the end, from its start; as long as the world likes.
    pub slot: Vec<u8>,
    /// Every message on the device's report topic, in the order in which the cloud took them.
    pub reports: Vec<Report>,
    /// Every request that the firmware server took, in order.
    pub requests: Vec<Request>,
    /// Every fault that struck, in order.
    pub struck: Vec<Fault>,
    /// Every event that the application was told.
    pub events: Vec<Event>,
    /// Logins that the cloud took.
    pub sessions: u64,
    /// Restarts of the device; each of them costs a session.
    pub restarts: u64,
}

/// A message from the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// When, since the world began.
    pub at: Duration,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// A request to the firmware server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The answer's status, 0 for none.
    pub status: u16,
    /// The bytes of the image that the answer had.
    pub range: Range<u64>,
}
