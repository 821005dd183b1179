//! The configuration of a cloud.

use core::time::Duration;

use ota_proto::Instant;

use crate::sign::UrlSigner;

/// The settings of a [`Cloud`](crate::Cloud).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CloudConfig {
    /// Signs the URL of each offer separately.
    pub signer: UrlSigner,
    /// The Unix time in seconds of [`Instant::ZERO`](ota_proto::Instant::ZERO): the cloud has no
    /// clock, and a URL's life is in Unix time.
    pub unix_at_zero: u64,
    /// How long a device may take, or be silent, before its task times out. The platform allows 60
    /// to 3,600 s (docs/protocol.md, The cloud's side). 10 min by default.
    pub timeout_interval: Duration,
    /// The start of the time-out.
    pub timeout_from: TimeoutFrom,
    /// Since when devices can be heard. Before that, for example while no process ran, nobody's
    /// silence counts: each open task has its whole time again. [`Instant::ZERO`] by default.
    pub serves_since: Instant,
    /// How long a device of a batch may be silent before another one gets its place. 5 min by
    /// default.
    pub stalled_after: Duration,
    /// The pause between the reply to `report_version` and the offer. Even if it is zero, these are
    /// two outputs, the reply first. 50 ms by default (docs/protocol.md, The cloud's side).
    pub reply_gap: Duration,
    /// A message from a device that is not connected makes it connected. For a cloud that is a
    /// client of a broker and does not see connects. Off by default.
    pub presume_connected: bool,
    /// The most devices, 10,000 by default. A hostile device costs at most about 40 KB.
    pub max_devices: u32,
    /// The most firmware of a product. 100 by default, like an account of the platform
    /// (docs/protocol.md, The cloud's side): the limit is per product, so that products do not
    /// affect each other.
    pub max_firmware: usize,
    /// The most entries in a device's log; the oldest are dropped. 128 by default.
    pub max_log: usize,
    /// The most ended tasks kept per device; the oldest are dropped. 16 by default.
    pub max_history: usize,
    /// The most pending events; the oldest are dropped. 65,536 by default.
    pub max_events: usize,
}

/// The start of a task's time-out. The platform does not document it (docs/protocol.md, The cloud's
/// side).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeoutFrom {
    /// The attempt's first push: the whole update must fit into the interval.
    Push,
    /// The latest push or report of any kind: the device must not be silent for the interval.
    LastReport,
}

impl CloudConfig {
    /// The defaults, with a signer and the Unix time in seconds of the clock's origin.
    #[must_use]
    pub const fn new(signer: UrlSigner, unix_at_zero: u64) -> Self {
        Self {
            signer,
            unix_at_zero,
            timeout_interval: Duration::from_secs(600),
            timeout_from: TimeoutFrom::LastReport,
            serves_since: Instant::ZERO,
            stalled_after: Duration::from_secs(300),
            reply_gap: Duration::from_millis(50),
            presume_connected: false,
            max_devices: 10_000,
            max_firmware: 100,
            max_log: 128,
            max_history: 16,
            max_events: 65_536,
        }
    }
}
