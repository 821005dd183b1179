//! Carries out the outputs of the device's program, at once or later.

use ota_proto::{
    Body, Config, Fetch, Idle, Instant, OpId, Output, PubId, Publish, QoS, Timer, Work,
};

use crate::link::Packet;
use crate::server::Next;
use crate::trace::{Said, What};
use crate::trouble::Kind;
use crate::world::Step;

use super::World;

/// An output, owned.
enum Out {
    Publish(PubId, QoS, Vec<u8>),
    Fetch(OpId, String, u64),
    Cancel(OpId),
    Do(OpId, Work<Vec<u8>>),
    Event(ota_proto::Event),
    Idle(Option<Instant>, Option<Timer>, bool),
}

impl World {
    /// Takes one output of the device; `None` when it is idle or off.
    pub(super) fn step_device(&mut self) -> Option<Step> {
        match self.poll()? {
            Out::Idle(deadline, timer, read_body) => {
                self.layer.reading = read_body;
                let idle = What::Idle(deadline, timer);
                if self.trace.iter().next_back().is_none_or(|(_, last)| *last != idle) {
                    self.note(idle);
                }
                return None;
            }
            Out::Publish(id, qos, payload) => self.publish(id, qos, payload),
            Out::Fetch(op, url, from) => {
                self.note(What::Fetch(op, from));
                let round = self.setup.latency + self.setup.latency;
                let path = url.split_once('?').map_or(url.as_str(), |(path, _)| path);
                let mut images = self.setup.images.iter();
                // The target of a redirect serves the same image as the task's URL.
                let found = images.find(|image| path.ends_with(image.version));
                let image = found.map_or(&self.setup.image, |image| &image.bytes).clone();
                if self.layer.server.begin(op, image, from, self.now + round) {
                    self.note(What::Met(Kind::StoreAway));
                }
            }
            Out::Cancel(op) => {
                self.note(What::Cancel(op));
                self.layer.server.cancel(op);
            }
            Out::Do(op, work) => {
                if let Work::Persist(_) = work {
                    self.layer.consent.persist();
                }
                self.begin(op, work);
            }
            Out::Event(event) => {
                self.note(What::Event(event.clone()));
                self.hear(&event);
            }
        }
        Some(Step::Output)
    }

    fn poll(&mut self) -> Option<Out> {
        let mut buf = [0; Config::buffer_len()];
        let now = self.now;
        let output = match self.layer.device.as_mut()?.poll(now, &mut buf) {
            Ok(output) => output,
            Err(error) => {
                self.invariants.break_rule(format!("{error}"));
                return None;
            }
        };
        Some(match output {
            Output::Publish(Publish { id, qos, payload, .. }) => {
                Out::Publish(id, qos, payload.to_vec())
            }
            Output::Fetch(Fetch { op, url, from, .. }) => Out::Fetch(op, url.to_owned(), from),
            Output::CancelFetch(op) => Out::Cancel(op),
            Output::Do(op, work) => Out::Do(op, work.map(<[u8]>::to_vec)),
            Output::Event(event) => Out::Event(event),
            Output::Idle(Idle { deadline, timer, read_body }) => {
                Out::Idle(deadline, timer, read_body)
            }
            other => {
                self.invariants.break_rule(format!("an output that no adapter knows: {other:?}"));
                return None;
            }
        })
    }

    pub(super) fn idle_deadline(&mut self) -> Option<Instant> {
        match self.poll()? {
            Out::Idle(deadline, ..) => deadline,
            _ => None,
        }
    }

    pub(super) fn wake_device(&mut self) {
        let now = self.now;
        if let Some(device) = &mut self.layer.device {
            device.handle_timeout(now);
        }
        self.note(What::Timeout);
    }

    fn publish(&mut self, id: PubId, qos: QoS, payload: Vec<u8>) {
        match Said::read(&payload) {
            Some(said) => self.note(What::Publish(id, said)),
            None => self.invariants.break_rule(format!("no message: {payload:?}")),
        }
        if !self.layer.link.up {
            self.invariants.break_rule("a publication without a session".into());
        }
        self.send(Packet::Report { id, qos, payload });
        match qos {
            QoS::AtMostOnce => self.published(id),
            QoS::AtLeastOnce => {
                self.layer.link.unacked.insert(id, self.now + self.setup.puback);
            }
        }
    }

    pub(super) fn published(&mut self, id: PubId) {
        self.note(What::Published(id));
        if let Some(device) = &mut self.layer.device {
            device.handle_published(self.now, id);
        }
    }

    /// The firmware server's next part arrives.
    pub(super) fn serve(&mut self) {
        let now = self.now;
        let Some(op) = self.layer.server.current.as_ref().map(|fetch| fetch.op) else { return };
        let next = self.layer.server.next(self.setup.chunk, self.setup.pace);
        if let Next::Head(head) = &next {
            self.note(What::Head(op, head.status));
        }
        let Some(device) = &mut self.layer.device else { return };
        match next {
            Next::Head(head) => {
                // The result does not matter: the updater has decided already.
                let _ = device.handle_response(now, op, &head.view());
            }
            Next::Body(bytes) => {
                let body = device.handle_body(now, op, &bytes);
                if let Ok(Body { consumed, work }) = body {
                    self.layer.server.consumed(consumed);
                    if let Some((op, work)) = work {
                        self.begin(op, work.map(<[u8]>::to_vec));
                    }
                }
            }
            Next::End => {
                device.handle_body_end(now, op);
                self.layer.server.cancel(op);
            }
            Next::Fail(error) => {
                device.handle_fetch_failed(now, op, error);
                self.layer.server.cancel(op);
            }
            Next::Nothing => {}
        }
    }
}
