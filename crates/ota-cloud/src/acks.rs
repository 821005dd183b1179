//! Acknowledgements that wait: a message is acknowledged once it is durable, and the standard wants
//! them in the order of the messages (MQTT-4.6.0-2).

use std::collections::VecDeque;

/// Messages at QoS 1 of one connection, in their order, that were not acknowledged yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct Acks(VecDeque<(u16, bool)>);

impl Acks {
    /// A message has come; `done` when nobody has to do anything about it.
    pub(crate) fn take(&mut self, id: u16, done: bool) {
        self.0.push_back((id, done));
    }

    /// The first message with this id that was not yet done is done.
    pub(crate) fn done(&mut self, id: u16) {
        if let Some(message) = self.0.iter_mut().find(|message| **message == (id, false)) {
            message.1 = true;
        }
    }

    /// The next id to acknowledge.
    pub(crate) fn next(&mut self) -> Option<u16> {
        let (id, _) = *self.0.front().filter(|(_, done)| *done)?;
        self.0.pop_front();
        Some(id)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
