//! The recorded form of an input.

use alloc::vec::Vec;

use ota_proto::Instant;
use serde::{Deserialize, Serialize};

use crate::client::{Client, Effect, Input, Link};

/// A recorded input: the relevant received bytes, and of a publication its length.
pub type KeptInput<'a> = Input<'a, KeptBytes<'a>, usize>;

/// The recorded form of received bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptBytes<'a> {
    /// The relevant bytes, with secrets replaced.
    pub front: &'a [u8],
    /// The number of further bytes.
    pub more: usize,
}

impl KeptBytes<'_> {
    /// The number of bytes.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.front.len().saturating_add(self.more)
    }
}

/// The most received or published bytes of one input.
pub(super) const BYTES: usize = 1 << 20;

impl<'a, B, P> Input<'a, B, P> {
    /// Maps the bytes of the input.
    pub(super) fn map<C, Q>(
        self,
        bytes: impl FnOnce(Link, B) -> C,
        payload: impl FnOnce(P) -> Q,
    ) -> Input<'a, C, Q> {
        match self {
            Self::Received { link, bytes: all } => {
                Input::Received { link, bytes: bytes(link, all) }
            }
            Self::Publish { topic, payload: all, qos } => {
                Input::Publish { topic, payload: payload(all), qos }
            }
            Self::Poll => Input::Poll,
            Self::Timeout => Input::Timeout,
            Self::Sent { link, count } => Input::Sent { link, count },
            Self::Connected { link } => Input::Connected { link },
            Self::ConnectFailed { link, error } => Input::ConnectFailed { link, error },
            Self::Closed { link, clean } => Input::Closed { link, clean },
            Self::Device { device, input } => Input::Device { device, input },
            Self::AddDevice(added) => Input::AddDevice(added),
            Self::Subscribe { filter, qos } => Input::Subscribe { filter, qos },
            Self::Unsubscribe(id) => Input::Unsubscribe(id),
            Self::Acknowledge(ack) => Input::Acknowledge(ack),
            Self::SetLogin(login) => Input::SetLogin(login),
            Self::Disconnect => Input::Disconnect,
            Self::PrepareStop => Input::PrepareStop,
        }
    }
}

impl<'a> KeptInput<'a> {
    /// Whether its numbers are plausible, so that they require no excessive memory.
    pub(super) fn is_bounded(&self) -> bool {
        self.bytes().count() <= BYTES
    }

    /// Passes it to a client. `scratch` holds its bytes.
    pub(super) fn give<'c>(
        self,
        client: &'c mut Client,
        now: Instant,
        scratch: &mut Vec<u8>,
    ) -> Effect<'c> {
        let kept = self.bytes();
        scratch.clear();
        scratch.extend_from_slice(kept.front);
        scratch.resize(kept.count(), 0);
        client.handle(now, self.map(|_, _| scratch.as_slice(), |_| scratch.as_slice()))
    }

    fn bytes(&self) -> KeptBytes<'a> {
        match self {
            Self::Received { bytes, .. } => *bytes,
            Self::Publish { payload, .. } => KeptBytes { more: *payload, ..KeptBytes::default() },
            _ => KeptBytes::default(),
        }
    }
}
