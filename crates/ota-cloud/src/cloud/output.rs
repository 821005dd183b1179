//! Outputs of the cloud.

use core::fmt;

use ota_proto::{Identity, Instant};

use super::record::CloudEvent;

/// An output of [`Cloud::poll_output`](crate::Cloud::poll_output). `Debug` shows only a payload's
/// length: an offer contains a signed URL.
#[derive(Clone, PartialEq, Eq, Hash)]
#[must_use]
pub enum Output {
    /// Publish at QoS 0 to one device.
    Send {
        /// The device.
        device: Identity,
        /// Its `$ota/update/…` topic.
        topic: String,
        /// The message, under 16 KiB.
        payload: Vec<u8>,
    },
    /// An event.
    Event(CloudEvent),
    /// Nothing to do before the deadline, when
    /// [`Cloud::handle_timeout`](crate::Cloud::handle_timeout) is due.
    Idle {
        /// The next deadline; `None` without one.
        deadline: Option<Instant>,
    },
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send { topic, payload, .. } => {
                f.debug_struct("Send").field("topic", topic).field("bytes", &payload.len()).finish()
            }
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
            Self::Idle { deadline } => f.debug_struct("Idle").field("deadline", deadline).finish(),
        }
    }
}
