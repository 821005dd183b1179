//! What comes out of a client.

use ota_proto::{Config as DeviceConfig, Gate, Instant, Output as Device};

use super::store::StoreState;
use super::types::Owner;
use super::{Client, DeviceIndex, Event, LinkKind, Output, Timer};
use crate::mqtt::{Kind, Outgoing};

/// What a turn over the devices came to.
enum Turn {
    Done(Output<'static>),
    /// Something changed inside: look again.
    Again,
    /// The device is idle until then.
    Idle(Option<(Instant, Timer)>, bool),
}

impl Client {
    /// What is to be done next. Call it after every input until it answers [`Output::Idle`].
    pub fn poll_output(&mut self, now: Instant) -> Output<'_> {
        loop {
            self.settle_session(now);
            if let Some(link) = self.closing.pop() {
                return Output::Close { link };
            }
            if let Some(event) = self.news.pop_front() {
                return Output::Event(event);
            }
            if self.broker.due().is_some_and(|at| at <= now) {
                return self.connect_broker(now);
            }
            if self.store.as_ref().is_some_and(|store| store.state == StoreState::Due) {
                return self.connect_store(now);
            }
            match self.poll_published(now).unwrap_or_else(|| self.poll_devices(now)) {
                Turn::Done(output) => return output,
                Turn::Again => {}
                Turn::Idle(device, read) => return self.idle(device, read),
            }
        }
    }

    fn connect_broker(&mut self, now: Instant) -> Output<'_> {
        let link = self.new_link(LinkKind::Broker);
        self.broker.open(now, link, now + self.config.connect);
        let super::Config { host, port, tls, .. } = &self.config;
        Output::Connect { link, host, port: *port, tls: *tls }
    }

    fn connect_store(&mut self, now: Instant) -> Output<'_> {
        let deadline = now + self.config.connect;
        let Some(store) = &mut self.store else { return idle_forever() };
        store.state = StoreState::Opening(deadline);
        Output::Connect { link: store.link, host: &store.host, port: store.port, tls: store.tls }
    }

    /// Completed publications go to their owners.
    fn poll_published(&mut self, now: Instant) -> Option<Turn> {
        let done = self.session.poll_published()?;
        Some(match done.owner {
            Owner::Application => Turn::Done(Output::Event(Event::Published(done.handle))),
            Owner::Device(device, id) => {
                if let Some(updater) = self.updater_mut(device) {
                    updater.handle_published(now, id);
                }
                Turn::Again
            }
        })
    }

    fn poll_devices(&mut self, now: Instant) -> Turn {
        let mut earliest = None;
        let mut read_store = false;
        for index in 0..self.devices.len() {
            match self.poll_device(now, DeviceIndex(index)) {
                Turn::Idle(at, read) => {
                    read_store |= read;
                    earliest = [earliest, at].into_iter().flatten().min();
                }
                turn => return turn,
            }
        }
        Turn::Idle(earliest, read_store)
    }

    fn poll_device(&mut self, now: Instant, device: DeviceIndex) -> Turn {
        let mut payload = [0; DeviceConfig::buffer_len()];
        let room = self.session.room(Kind::Ota);
        let Some(entry) = self.devices.get_mut(device.0) else { return Turn::Idle(None, false) };
        let updater = &mut entry.updater;
        let topic = updater.config().identity.report_topic().len();
        let longest = topic.saturating_add(payload.len()).saturating_add(PUBLISH_FRAME);
        updater.set_gate(Gate { publish: room >= longest, fetch: self.store.is_none() });
        let Ok(output) = updater.poll_output(now, &mut payload) else { return Turn::Again };
        let done = match output {
            Device::Publish { id, topic, qos, payload } => {
                let message = Outgoing { kind: Kind::Ota, qos, topic, payload };
                // The gate made room. Should it fail all the same, the machine's own timers see
                // to it as to any lost message.
                let _ = self.session.publish(now, message, Owner::Device(device, id));
                return Turn::Again;
            }
            Device::Fetch { op, url, from } => {
                let url = alloc::string::String::from(url);
                self.begin_fetch(device, op, &url, from);
                return Turn::Again;
            }
            Device::CancelFetch { op } => {
                self.cancel_fetch(device, op);
                return Turn::Again;
            }
            Device::Idle { deadline, timer, read_body } => {
                let at = deadline.zip(timer).map(|(at, why)| (at, Timer::Device(device, why)));
                return Turn::Idle(at, read_body);
            }
            Device::Erase { op, range, size } => Output::Erase { device, op, range, size },
            Device::Sync { op } => Output::Sync { device, op },
            Device::Digest { op, range } => Output::Digest { device, op, range },
            Device::Persist { op, record } => Output::Persist { device, op, record: *record },
            Device::Slot { op, action } => Output::Slot { device, op, action },
            Device::Event(event) => Output::Event(Event::Device { device, event }),
            _ => return Turn::Again,
        };
        Turn::Done(done)
    }

    fn idle(&self, device: Option<(Instant, Timer)>, read_body: bool) -> Output<'static> {
        let session = self.session.deadline();
        let opening = self.store.as_ref().and_then(super::Store::deadline);
        let first = [
            device,
            session.map(|deadline| (deadline.at, Timer::Mqtt(deadline.timer))),
            self.broker.due().map(|at| (at, Timer::Reconnect)),
            self.broker.deadline().map(|at| (at, Timer::Connect)),
            opening.map(|at| (at, Timer::Connect)),
        ];
        let (deadline, timer) = first.into_iter().flatten().min().unzip();
        let open = self.store.as_ref().is_some_and(super::Store::is_open);
        Output::Idle {
            deadline,
            timer,
            read_broker: self.session.wants_read(),
            read_store: open && read_body,
        }
    }
}

/// Bytes of a PUBLISH around topic and payload, at most: header, length, topic length, id.
const PUBLISH_FRAME: usize = 9;

fn idle_forever() -> Output<'static> {
    Output::Idle { deadline: None, timer: None, read_broker: false, read_store: false }
}
