//! Pending acknowledgements: a message is acknowledged once it is durable, and the standard
//! requires the order of the messages (MQTT-4.6.0-2).

use std::collections::VecDeque;

/// Unacknowledged messages at QoS 1 of one connection, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acks(VecDeque<(u16, bool)>);

impl Acks {
    /// Adds a message; `done` if nothing has to become durable for it.
    pub(crate) fn take(&mut self, id: u16, done: bool) {
        self.0.push_back((id, done));
    }

    /// Marks the first pending message with this id as done.
    pub(crate) fn done(&mut self, id: u16) {
        if let Some(message) = self.0.iter_mut().find(|message| **message == (id, false)) {
            message.1 = true;
        }
    }

    /// Returns the next id to acknowledge.
    pub(crate) fn next(&mut self) -> Option<u16> {
        let (id, _) = *self.0.front().filter(|(_, done)| *done)?;
        self.0.pop_front();
        Some(id)
    }

    /// The number of pending messages.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
