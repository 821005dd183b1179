//! Outputs of a client.

use alloc::vec::Vec;

use ota_proto::{
    Config as DeviceConfig, Fetch, Gate, Idle, Instant, Output as Device, Publish, TransportError,
};

use super::broker::{earlier, longest_report};
use super::{Client, ClientEvent, DeviceIndex, Link, LinkKind, Output, Owner, Timer};
use crate::mqtt::{Outgoing, Purpose};

/// The result of a turn over the devices.
enum Turn {
    Done(Output<'static>),
    /// Something changed internally: check again.
    Again,
    /// The device is idle until then.
    Idle(Option<(Instant, Timer)>, bool),
}

impl Client {
    /// Returns the next output. Call it after every input until it returns [`Output::Idle`].
    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    pub fn poll(&mut self, now: Instant) -> Output<'_> {
        loop {
            let silent = self.broker.session.is_held_long(now);
            if self.broker.session.is_held() && self.devices.are_settled(silent) {
                self.broker.session.release(now);
            }
            // The session may have ended by itself: then its link ends too.
            if let Some(cause) = self.broker.verdict() {
                self.end_broker(now, cause);
            }
            if let Some(link) = self.broker.poll_close().or_else(|| self.store.poll_close()) {
                return Output::Close { link };
            }
            if !self.events.is_empty() {
                return Output::Event(self.events.remove(0));
            }
            // An idle client keeps no memory for events.
            self.events = Vec::new();
            if self.broker.is_due(now) {
                let link = Link::next(&mut self.epoch, LinkKind::Broker);
                return self.broker.open(now, link);
            }
            if self.store.is_due() {
                break;
            }
            match self.poll_published(now).unwrap_or_else(|| self.poll_devices(now)) {
                Turn::Done(output) => return output,
                Turn::Again => {}
                Turn::Idle(device, read) => return self.idle(device, read),
            }
        }
        self.store.open(now).unwrap_or(NEVER)
    }

    /// Completed publications are reported to their owners.
    fn poll_published(&mut self, now: Instant) -> Option<Turn> {
        let done = self.broker.session.poll_published()?;
        Some(match done.owner {
            Owner::Application => Turn::Done(Output::Event(if done.given_up {
                ClientEvent::GivenUp(done.handle)
            } else {
                ClientEvent::Published(done.handle)
            })),
            Owner::Device(device, id) => {
                self.devices.published(now, device, id);
                Turn::Again
            }
        })
    }

    fn poll_devices(&mut self, now: Instant) -> Turn {
        let mut earliest = None;
        let mut read_store = false;
        for device in self.devices.indices() {
            match self.poll_device(now, device) {
                Turn::Idle(at, read) => {
                    read_store |= read;
                    earliest = earlier(earliest, at);
                }
                turn => return turn,
            }
        }
        Turn::Idle(earliest, read_store)
    }

    // Not inlined: that would widen the caller's stack frame and cost flash.
    #[inline(never)]
    fn poll_device(&mut self, now: Instant, device: DeviceIndex) -> Turn {
        let mut payload = [0; DeviceConfig::buffer_len()];
        let room = self.broker.session.room(Purpose::Ota);
        let Some(updater) = self.devices.get_mut(device) else { return Turn::Idle(None, false) };
        let longest = longest_report(updater.config());
        updater.set_gate(Gate { publish: room >= longest, fetch: self.store.is_free() });
        let Ok(output) = updater.poll(now, &mut payload) else { return Turn::Again };
        match output {
            Device::Publish(Publish { id, topic, qos, payload }) => {
                let message = Outgoing { kind: Purpose::Ota, qos, topic, payload };
                // The gate has ensured room. If this fails anyway, the machine's own timers handle
                // it like any lost message.
                let _ = self.broker.session.publish(now, message, Owner::Device(device, id));
                Turn::Again
            }
            Device::Fetch(Fetch { op, url, from, fresh }) => {
                let link = Link::next(&mut self.epoch, LinkKind::Store);
                if !self.store.begin(link, (device, op), url, from, fresh) {
                    updater.handle_fetch_failed(now, op, TransportError::BadUrl);
                }
                Turn::Again
            }
            Device::CancelFetch(op) => {
                self.store.cancel(device, op);
                Turn::Again
            }
            Device::Idle(Idle { deadline, timer, read_body }) => {
                let at = deadline.zip(timer).map(|(at, why)| (at, Timer::Device(device, why)));
                Turn::Idle(at, read_body)
            }
            Device::Do(op, work) => {
                let work = work.map(|bytes| 0..bytes.len());
                Turn::Done(Output::Do { device, op, work })
            }
            Device::Event(event) => {
                Turn::Done(Output::Event(ClientEvent::Device { device, event }))
            }
            _ => Turn::Again,
        }
    }

    fn idle(&self, device: Option<(Instant, Timer)>, read_body: bool) -> Output<'static> {
        let links = earlier(self.broker.deadline(), self.store.deadline());
        let (deadline, timer) = earlier(device, links).unzip();
        let read_broker = self.broker.session.wants_read();
        let read_store = self.store.is_open() && read_body;
        Output::Idle { deadline, timer, read_broker, read_store }
    }
}

const NEVER: Output<'static> =
    Output::Idle { deadline: None, timer: None, read_broker: false, read_store: false };
