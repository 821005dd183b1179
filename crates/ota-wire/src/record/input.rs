//! The inputs of a client as values.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;

use ota_proto::{
    Boot, Command, Done, Instant, Misuse, OpId, Peer, QoS, SlotInfo, SlotState, TransportError,
    Updater,
};
use serde::{Deserialize, Serialize};

use crate::client::{Client, DeviceIndex, Link, Output, Received};
use crate::mqtt::{AckId, Login, SubId};

/// One call of a method of [`Client`] that may change it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Input<'a> {
    /// [`Client::poll`].
    Poll,
    /// [`Client::handle_timeout`].
    Timeout,
    /// [`Client::handle_sent`].
    Sent {
        /// The link.
        link: Link,
        /// Bytes that left.
        count: usize,
    },
    /// [`Client::handle_received`].
    Received {
        /// The link.
        link: Link,
        /// The bytes that steer the machine, secrets replaced.
        front: &'a [u8],
        /// How many more there were.
        more: usize,
    },
    /// [`Client::handle_connected`].
    Connected {
        /// The link.
        link: Link,
    },
    /// [`Client::handle_connect_failed`].
    ConnectFailed {
        /// The link.
        link: Link,
        /// Why.
        error: TransportError,
    },
    /// [`Client::handle_closed`].
    Closed {
        /// The link.
        link: Link,
        /// As its protocol says.
        clean: bool,
    },
    /// A call of a device's machine.
    Device {
        /// The device.
        device: DeviceIndex,
        /// The call.
        act: Act,
    },
    /// [`Client::add_device`].
    AddDevice(#[serde(borrow)] Box<Added<'a>>),
    /// [`Client::publish`]. Of the payload only the length counts.
    Publish {
        /// The topic.
        topic: &'a str,
        /// Bytes of the payload.
        len: usize,
        /// The quality of service.
        qos: QoS,
    },
    /// [`Client::subscribe`].
    Subscribe {
        /// The filter.
        filter: &'a str,
        /// The quality of service.
        qos: QoS,
    },
    /// [`Client::unsubscribe`].
    Unsubscribe(SubId),
    /// [`Client::acknowledge`].
    Acknowledge(AckId),
    /// [`Client::set_login`].
    SetLogin(Login),
    /// [`Client::disconnect`].
    Disconnect,
    /// See [`Client::prepare_stop`](crate::Client::prepare_stop).
    PrepareStop,
}

/// A device that is added: its configuration, and what is known at boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Added<'a> {
    /// Its configuration.
    pub config: Cow<'a, ota_proto::Config>,
    /// The version that runs.
    pub running: &'a str,
    /// The state of its slot.
    pub slot: SlotState,
    /// The journal's newest record.
    pub journal: Option<&'a [u8]>,
    /// The slot that an update is written to.
    pub storage: SlotInfo,
}

/// One call of a method of [`Updater`]: the end of an operation, a certificate, or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Act {
    /// [`Updater::handle_done`].
    Done(OpId, Done),
    /// [`Updater::handle_certificate`].
    Certificate(Peer, u64),
    /// [`Updater::command`].
    Command(Command),
}

impl Act {
    /// Does it.
    pub(super) fn give(self, updater: &mut Updater, now: Instant) -> Result<(), Misuse> {
        match self {
            Self::Done(op, result) => updater.handle_done(now, op, result),
            Self::Certificate(peer, from) => updater.handle_certificate(peer, from),
            Self::Command(command) => return updater.command(now, command),
        }
        Ok(())
    }
}

/// What an input came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect<'a> {
    /// What is to be done, or told.
    Output(Output<'a>),
    /// What was found in received bytes.
    Received(Received),
    /// It was taken.
    Taken,
    /// It was refused, without effect.
    Refused,
}

impl Input<'_> {
    /// Most received or published bytes of one input.
    pub(super) const BYTES: usize = 1 << 20;

    /// Whether its numbers ask for no more memory than there is.
    pub(super) fn is_bounded(&self) -> bool {
        match self {
            Self::Received { front, more, .. } => front.len().saturating_add(*more) <= Self::BYTES,
            Self::Publish { len, .. } => *len <= Self::BYTES,
            _ => true,
        }
    }

    /// Makes the call. `scratch` is where its bytes are put together.
    pub(super) fn give<'c>(
        &self,
        client: &'c mut Client,
        now: Instant,
        scratch: &mut Vec<u8>,
    ) -> Effect<'c> {
        let taken = |taken| if taken { Effect::Taken } else { Effect::Refused };
        let mut bytes = |front: &[u8], more: usize| {
            scratch.clear();
            scratch.extend_from_slice(front);
            scratch.resize(front.len().saturating_add(more), 0);
        };
        match self {
            Self::Poll => return Effect::Output(client.poll(now)),
            Self::Received { link, front, more } => {
                bytes(front, *more);
                return Effect::Received(client.handle_received(now, *link, scratch));
            }
            Self::Publish { topic, len, qos } => {
                bytes(&[], *len);
                return taken(client.publish(now, topic, scratch, *qos).is_ok());
            }
            Self::AddDevice(added) => {
                let Added { config, running, slot, journal, storage } = added.as_ref().clone();
                let journal = journal.and_then(|record| record.try_into().ok());
                let boot = Boot { running, slot, journal, storage };
                return taken(client.add_device(now, config.into_owned(), boot).is_ok());
            }
            Self::Device { device, act } => {
                let updater = client.updater_mut(*device);
                return taken(updater.is_some_and(|updater| act.give(updater, now).is_ok()));
            }
            Self::Subscribe { filter, qos } => {
                return taken(client.subscribe(now, filter, *qos).is_ok());
            }
            Self::Unsubscribe(id) => return taken(client.unsubscribe(now, *id)),
            Self::Acknowledge(ack) => return taken(client.acknowledge(now, *ack)),
            Self::SetLogin(login) => return taken(client.set_login(login.clone()).is_ok()),
            Self::Timeout => client.handle_timeout(now),
            Self::Sent { link, count } => client.handle_sent(now, *link, *count),
            Self::Connected { link } => client.handle_connected(now, *link),
            Self::ConnectFailed { link, error } => {
                client.handle_connect_failed(now, *link, *error);
            }
            Self::Closed { link, clean } => client.handle_closed(now, *link, *clean),
            Self::Disconnect => client.disconnect(now),
            Self::PrepareStop => client.prepare_stop(now),
        }
        Effect::Taken
    }
}
