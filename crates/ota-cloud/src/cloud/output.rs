//! What the cloud wants done.

use core::fmt;

use ota_proto::{Identity, Instant};

use super::record::CloudEvent;

/// What [`Cloud::poll_output`](crate::Cloud::poll_output) asks for. `Debug` shows a payload's
/// length only: an offer holds a signed URL.
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
    /// Something happened.
    Event(CloudEvent),
    /// Nothing to do before the deadline, when
    /// [`Cloud::handle_timeout`](crate::Cloud::handle_timeout) is due.
    Idle {
        /// The next deadline; `None` when there is none.
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
