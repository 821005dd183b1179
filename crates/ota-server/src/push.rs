//! What the hub sends to one connection.

use bytes::Bytes;
use mqttbytes::QoS;

/// A message or an acknowledgement for a device.
#[derive(Clone, Debug)]
pub(super) enum Push {
    /// A message on the device's update topic. If it has a report's id, that report is durable, and
    /// its acknowledgement leaves with the message.
    Update { payload: Bytes, ack: Option<u16> },
    /// A message on another topic.
    Message(Box<Message>),
    /// The acknowledgement of the report with this id.
    Ack(u16),
}

/// A message of the cloud.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: QoS,
}
