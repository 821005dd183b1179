//! The devices of a client. The first one is stored inline, so that a client of one device needs no
//! heap for its machine.

use alloc::vec::Vec;
use core::mem;

use ota_proto::{Instant, PubId, State, Updater};

use super::{ClientEvent, DeviceIndex};
use crate::mqtt::{Purpose, SubId};

/// All devices, in the order they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Devices {
    first: Option<ManagedDevice>,
    /// The sub-devices. Empty without a first one.
    others: Vec<ManagedDevice>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
struct ManagedDevice {
    updater: Updater,
    /// The subscription of its update topic.
    sub: SubId,
    up: bool,
    /// Whether a retained message was reported in this session.
    retained: bool,
}

impl Devices {
    pub(super) fn add(&mut self, updater: Updater, sub: SubId) -> DeviceIndex {
        let index = DeviceIndex(self.len());
        let device = ManagedDevice { updater, sub, up: false, retained: false };
        if self.first.is_none() {
            self.first = Some(device);
        } else {
            self.others.push(device);
        }
        index
    }

    /// How the next device's topic is subscribed: only a refusal for the first one ends the
    /// session. A sub-device that its gateway has not brought online yet must not affect the
    /// others.
    pub(super) fn next_kind(&self) -> Purpose {
        if self.first.is_none() { Purpose::Ota } else { Purpose::SubDevice }
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = DeviceIndex> + use<> {
        (0..self.len()).map(DeviceIndex)
    }

    pub(super) fn get(&self, device: DeviceIndex) -> Option<&Updater> {
        self.iter().nth(device.0).map(|device| &device.updater)
    }

    // Not inlined: each copy costs flash.
    #[inline(never)]
    pub(super) fn get_mut(&mut self, device: DeviceIndex) -> Option<&mut Updater> {
        self.iter_mut().nth(device.0).map(|device| &mut device.updater)
    }

    /// Whether the subscription is a device's.
    pub(super) fn owns(&self, sub: SubId) -> bool {
        self.iter().any(|device| device.sub == sub)
    }

    /// Reports an active subscription: its device is online. `false` if it is not a device's.
    pub(super) fn subscribed(&mut self, now: Instant, sub: SubId) -> bool {
        let Some(device) = self.iter_mut().find(|device| device.sub == sub) else { return false };
        device.up = true;
        device.updater.handle_session(now, true);
        true
    }

    /// Takes all devices offline.
    pub(super) fn offline(&mut self, now: Instant) {
        for device in self.iter_mut() {
            device.retained = false;
            if mem::take(&mut device.up) {
                device.updater.handle_session(now, false);
            }
        }
    }

    /// Passes a message to the device of its topic, or `None` for a retained one. Returns `None` if
    /// it is not a device's, otherwise the event about it.
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub(super) fn receive(
        &mut self,
        now: Instant,
        topic: &str,
        payload: Option<&[u8]>,
    ) -> Option<Option<ClientEvent>> {
        let is_its =
            |device: &ManagedDevice| device.updater.config().identity.update_topic() == topic;
        let index = DeviceIndex(self.iter().position(is_its)?);
        let device = self.iter_mut().nth(index.0)?;
        Some(match payload {
            Some(payload) => {
                let result = device.updater.handle_message(now, topic, payload);
                result.err().map(|error| ClientEvent::BadMessage { device: index, error })
            }
            None if mem::replace(&mut device.retained, true) => None,
            None => Some(ClientEvent::Retained { device: index }),
        })
    }

    /// Reports that a device's publication is complete.
    pub(super) fn published(&mut self, now: Instant, device: DeviceIndex, id: PubId) {
        if let Some(updater) = self.get_mut(device) {
            updater.handle_published(now, id);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.iter_mut().for_each(|device| device.updater.handle_timeout(now));
    }

    pub(super) fn prepare_stop(&mut self, now: Instant) {
        self.iter_mut().for_each(|device| device.updater.prepare_stop(now));
    }

    pub(super) fn are_stopped(&self) -> bool {
        self.iter().all(|device| device.updater.is_stopped())
    }

    /// Whether every online device has its reply, or the cloud is `silent`, and nothing in progress
    /// waits for more.
    pub(super) fn are_settled(&self, silent: bool) -> bool {
        self.first.as_ref().is_none_or(|device| device.up)
            && self.iter().filter(|device| device.up).all(|ManagedDevice { updater, .. }| {
                use State as S;
                (silent || updater.is_settled())
                    && matches!(updater.state(), S::Idle | S::Offered | S::Deferred | S::Ready)
            })
    }

    /// Whether an update is open or owed: the cloud's time-out is running.
    pub(super) fn are_busy(&self) -> bool {
        self.iter().any(|ManagedDevice { updater, .. }| {
            updater.state() != State::Idle || updater.owed().is_some()
        })
    }

    fn len(&self) -> usize {
        self.others.len().saturating_add(usize::from(self.first.is_some()))
    }

    fn iter(&self) -> impl Iterator<Item = &ManagedDevice> {
        self.first.iter().chain(&self.others)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut ManagedDevice> {
        self.first.iter_mut().chain(&mut self.others)
    }
}
