//! The devices of a client.

use alloc::vec::Vec;
use core::mem;

use ota_proto::{Instant, MessageError, State, Updater};

use super::DeviceIndex;
use crate::mqtt::SubId;

/// All devices, in the order they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Devices(Vec<Device>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Device {
    updater: Updater,
    /// The subscription of its update topic.
    sub: SubId,
    up: bool,
}

impl Devices {
    pub(super) fn add(&mut self, updater: Updater, sub: SubId) -> DeviceIndex {
        let index = DeviceIndex(self.0.len());
        self.0.push(Device { updater, sub, up: false });
        index
    }

    pub(super) fn indices(&self) -> impl Iterator<Item = DeviceIndex> + use<> {
        (0..self.0.len()).map(DeviceIndex)
    }

    pub(super) fn get(&self, device: DeviceIndex) -> Option<&Updater> {
        self.0.get(device.0).map(|device| &device.updater)
    }

    pub(super) fn get_mut(&mut self, device: DeviceIndex) -> Option<&mut Updater> {
        self.0.get_mut(device.0).map(|device| &mut device.updater)
    }

    /// The subscription is a device's.
    pub(super) fn owns(&self, sub: SubId) -> bool {
        self.0.iter().any(|device| device.sub == sub)
    }

    /// The subscription stands: its device is online. `false` when it is nobody's.
    pub(super) fn subscribed(&mut self, now: Instant, sub: SubId) -> bool {
        let Some(device) = self.0.iter_mut().find(|device| device.sub == sub) else { return false };
        device.up = true;
        device.updater.handle_session(now, true);
        true
    }

    /// All devices are offline.
    pub(super) fn offline(&mut self, now: Instant) {
        for device in &mut self.0 {
            if mem::take(&mut device.up) {
                device.updater.handle_session(now, false);
            }
        }
    }

    /// Gives a message to the device whose topic it came on; `None` when it is nobody's.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        topic: &str,
        payload: &[u8],
    ) -> Option<(DeviceIndex, Result<(), MessageError>)> {
        let is_its = |device: &Device| device.updater.config().identity.update_topic() == topic;
        let index = DeviceIndex(self.0.iter().position(is_its)?);
        Some((index, self.get_mut(index)?.handle_message(now, topic, payload)))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.0.iter_mut().for_each(|device| device.updater.handle_timeout(now));
    }

    /// An update is open or owed: the cloud's time-out runs.
    pub(super) fn are_busy(&self) -> bool {
        self.0.iter().any(|Device { updater, .. }| {
            updater.state() != State::Idle || updater.owed().is_some()
        })
    }
}
