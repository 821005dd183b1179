//! Receive buffers that exist only while they are needed.

use std::fmt;

use ota_wire::adapter::Buffers;
use ota_wire::client::LinkKind;

/// A buffer for the broker's link while there is one, and two for the firmware server's: one
/// receives while the other is written to the slot.
pub(super) struct Heap {
    broker: usize,
    store: usize,
    /// The second of the firmware server's link, while it is not being written.
    spare: Option<Vec<u8>>,
}

impl Heap {
    /// Buffers of these lengths.
    pub(super) const fn new(broker: usize, store: usize) -> Self {
        Self { broker, store, spare: None }
    }
}

impl Buffers<Vec<u8>> for Heap {
    fn first(&mut self, kind: LinkKind) -> Option<Vec<u8>> {
        if kind == LinkKind::Broker {
            return Some(vec![0; self.broker]);
        }
        self.spare = Some(vec![0; self.store]);
        Some(vec![0; self.store])
    }

    fn second(&mut self) -> Option<Vec<u8>> {
        // Both are in use only if a device's write outlives its fetch.
        Some(self.spare.take().unwrap_or_else(|| vec![0; self.store]))
    }

    fn keep(&mut self, kind: LinkKind, buf: Vec<u8>, open: bool) {
        if kind == LinkKind::Store {
            let spare = self.spare.take().unwrap_or(buf);
            self.spare = open.then_some(spare);
        }
    }
}

/// Without the bytes.
impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heap").field("spare", &self.spare.is_some()).finish_non_exhaustive()
    }
}
