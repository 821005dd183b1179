//! Inputs of a client, as values.

use alloc::borrow::Cow;
use alloc::boxed::Box;

use ota_proto::{
    Boot, Command, Done, Instant, Misuse, OpId, Peer, QoS, SlotInfo, SlotState, TransportError,
};

use super::{Client, DeviceIndex, Link, Output, Received};
use crate::mqtt::{AckId, ConnectLogin, SubId};

/// One call of a method of [`Client`] that may change it; [`Client::handle`] makes it.
///
/// `B` holds received bytes and `P` published ones: the bytes themselves, or what a recording keeps
/// of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Input<'a, B = &'a [u8], P = B> {
    /// [`Client::poll`].
    Poll,
    /// [`Client::handle_timeout`].
    Timeout,
    /// [`Client::handle_sent`].
    Sent {
        /// The link.
        link: Link,
        /// The number of sent bytes.
        count: usize,
    },
    /// [`Client::handle_received`].
    Received {
        /// The link.
        link: Link,
        /// The received bytes.
        bytes: B,
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
        /// The reason.
        error: TransportError,
    },
    /// [`Client::handle_closed`].
    Closed {
        /// The link.
        link: Link,
        /// Whether it was closed as its protocol requires.
        clean: bool,
    },
    /// An input of a device's machine.
    Device {
        /// The device.
        device: DeviceIndex,
        /// The input of its machine.
        input: DeviceInput,
    },
    /// [`Client::add_device`].
    AddDevice(#[cfg_attr(feature = "record", serde(borrow))] Box<Added<'a>>),
    /// [`Client::publish`].
    Publish {
        /// The topic.
        topic: &'a str,
        /// The payload.
        payload: P,
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
    SetLogin(ConnectLogin),
    /// [`Client::disconnect`].
    Disconnect,
    /// [`Client::prepare_stop`].
    PrepareStop,
}

/// An added device: its configuration, and its state at boot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Added<'a> {
    /// Its configuration.
    pub config: Cow<'a, ota_proto::Config>,
    /// The running version.
    pub running: &'a str,
    /// The state of its slot.
    pub slot: SlotState,
    /// The journal's newest record.
    pub journal: Option<&'a [u8]>,
    /// The slot for updates.
    pub storage: SlotInfo,
}

impl<'a, B, P> Input<'a, B, P> {
    /// Adds a device with this configuration and state at boot.
    #[must_use]
    pub fn add_device(config: &'a ota_proto::Config, boot: Boot<'a>) -> Self {
        let Boot { running, slot, journal, storage } = boot;
        let (config, journal) = (Cow::Borrowed(config), journal.map(|record| record.as_slice()));
        Self::AddDevice(Box::new(Added { config, running, slot, journal, storage }))
    }
}

/// One call of a method of [`Updater`](ota_proto::Updater): the end of an operation, a
/// certificate, or a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum DeviceInput {
    /// [`ota_proto::Updater::handle_done`].
    Done(OpId, Done),
    /// [`ota_proto::Updater::handle_certificate`].
    Certificate(Peer, u64),
    /// [`ota_proto::Updater::command`].
    Command(Command),
}

/// The effect of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect<'a> {
    /// An output.
    Output(Output<'a>),
    /// The content of received bytes.
    Received(Received),
    /// The input was accepted.
    Taken,
    /// The input was refused, without effect.
    Refused,
}

impl Client {
    /// Makes the call of an input. The separate methods return more: why a publication was refused,
    /// or its id.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) -> Effect<'_> {
        let taken = |taken| if taken { Effect::Taken } else { Effect::Refused };
        match input {
            Input::Poll => return Effect::Output(self.poll(now)),
            Input::Received { link, bytes } => {
                return Effect::Received(self.handle_received(now, link, bytes));
            }
            Input::Device { device, input } => {
                return taken(self.handle_device(now, device, input).is_ok());
            }
            Input::AddDevice(added) => {
                let Added { config, running, slot, journal, storage } = *added;
                let journal = journal.and_then(|record| record.try_into().ok());
                let boot = Boot { running, slot, journal, storage };
                return taken(self.add_device(now, config.into_owned(), boot).is_ok());
            }
            Input::Publish { topic, payload, qos } => {
                return taken(self.publish(now, topic, payload, qos).is_ok());
            }
            Input::Subscribe { filter, qos } => {
                return taken(self.subscribe(now, filter, qos).is_ok());
            }
            Input::Unsubscribe(id) => return taken(self.unsubscribe(now, id)),
            Input::Acknowledge(ack) => return taken(self.acknowledge(now, ack)),
            Input::SetLogin(login) => return taken(self.set_login(login).is_ok()),
            Input::Timeout => self.handle_timeout(now),
            Input::Sent { link, count } => self.handle_sent(now, link, count),
            Input::Connected { link } => self.handle_connected(now, link),
            Input::ConnectFailed { link, error } => self.handle_connect_failed(now, link, error),
            Input::Closed { link, clean } => self.handle_closed(now, link, clean),
            Input::Disconnect => self.disconnect(now),
            Input::PrepareStop => self.prepare_stop(now),
        }
        Effect::Taken
    }

    fn handle_device(
        &mut self,
        now: Instant,
        device: DeviceIndex,
        input: DeviceInput,
    ) -> Result<(), Misuse> {
        let updater = self.updater_mut(device).ok_or(Misuse)?;
        match input {
            DeviceInput::Done(op, result) => updater.handle_done(now, op, result),
            DeviceInput::Certificate(peer, from) => updater.handle_certificate(peer, from),
            DeviceInput::Command(command) => return updater.command(now, command),
        }
        Ok(())
    }
}
