//! Carries out the outputs of the device's program, at once or later.

use ota_proto::journal::{Phase, Record};
use ota_proto::{
    Body, Config, Fetch, Idle, Instant, OpId, Output, PubId, Publish, QoS, Timer, Work,
};

use crate::field::Kind;
use crate::flash::FlashOp;
use crate::link::Packet;
use crate::server::Next;
use crate::trace::{Said, What};

use super::storage::Job;
use super::{Due, Step, World};

/// An output, owned.
enum Out {
    Publish(PubId, QoS, Vec<u8>),
    Fetch(OpId, String, u64),
    Cancel(OpId),
    Job(OpId, Job, Box<What>),
    Persist(OpId, Box<[u8; ota_proto::Journal::LEN]>),
    Event(ota_proto::Event),
    Idle(Option<Instant>, Option<Timer>, bool),
}

impl World {
    /// Takes one output of the device; `None` when it is idle or off.
    pub(super) fn step_device(&mut self) -> Option<Step> {
        match self.poll()? {
            Out::Idle(deadline, timer, read_body) => {
                self.reading = read_body;
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
                if self.server.begin(op, image, from, self.now + round) {
                    self.note(What::Met(Kind::StoreAway));
                }
            }
            Out::Cancel(op) => {
                self.note(What::Cancel(op));
                self.server.cancel(op);
            }
            Out::Job(op, job, what) => self.begin_job(op, job, *what),
            Out::Persist(op, block) => {
                match Record::decode(&block) {
                    Ok((_, record)) => self.note(What::Persist(op, record)),
                    Err(error) => self.invariants.break_rule(format!("bad record: {error}")),
                }
                self.storage.persist = Some((op, block));
                self.at(self.now + self.setup.job, Due::Persist(op));
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
        let output = match self.device.as_mut()?.poll(now, &mut buf) {
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
            Output::Do(op, Work::Erase { range, .. }) => {
                let what = What::Erase(op, range.clone());
                Out::Job(op, Job::Flash(FlashOp::Erase(range)), Box::new(what))
            }
            Output::Do(op, Work::Sync) => Out::Job(op, Job::Sync, Box::new(What::Sync(op))),
            Output::Do(op, Work::Digest { range }) => {
                Out::Job(op, Job::Digest(range.end), Box::new(What::Digest(op, range)))
            }
            Output::Do(op, Work::Slot(action)) => {
                Out::Job(op, Job::Slot(action), Box::new(What::Slot(op, action)))
            }
            Output::Do(op, Work::Persist(record)) => Out::Persist(op, Box::new(record)),
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
        if let Some(device) = &mut self.device {
            device.handle_timeout(now);
        }
        self.note(What::Timeout);
    }

    fn publish(&mut self, id: PubId, qos: QoS, payload: Vec<u8>) {
        match Said::read(&payload) {
            Some(said) => self.note(What::Publish(id, said)),
            None => self.invariants.break_rule(format!("no message: {payload:?}")),
        }
        if !self.link.up {
            self.invariants.break_rule("a publication without a session".into());
        }
        self.send(Packet::Report { id, qos, payload });
        match qos {
            QoS::AtMostOnce => self.published(id),
            QoS::AtLeastOnce => {
                self.link.unacked.insert(id, self.now + self.setup.puback);
            }
        }
    }

    pub(super) fn published(&mut self, id: PubId) {
        self.note(What::Published(id));
        if let Some(device) = &mut self.device {
            device.handle_published(self.now, id);
        }
    }

    fn begin_job(&mut self, op: OpId, job: Job, what: What) {
        self.note(what);
        if self.storage.job.is_some() {
            self.invariants.break_rule("two slot operations at once (O3)".into());
        }
        self.storage.job = Some((op, job));
        self.at(self.now + self.setup.job, Due::Job(op));
    }

    pub(super) fn end_job(&mut self, op: OpId) {
        let Some((_, job)) = self.storage.job.take_if(|(under, _)| *under == op) else { return };
        let number = self.jobs;
        self.jobs = number.saturating_add(1);
        let now = self.now;
        let mut error = self.broken.remove(&number);
        if self.storage.is_unreadable(&job) {
            self.note(What::Met(Kind::UnreadableWords));
            error = error.or(Some(ota_proto::StorageError::Failed));
        }
        let flipped = self.storage.misreads.flipped;
        let digest = match error {
            Some(_) => None,
            None => match self.storage.finish_job(&job, &mut self.rng) {
                Ok(digest) => digest,
                Err(why) => return self.invariants.break_rule(why),
            },
        };
        let misread = self.storage.misreads.flipped > flipped;
        if misread {
            self.note(What::Met(Kind::FlippedBit));
        }
        self.note(What::Done(op, error.is_none() && !misread));
        if let Some(device) = &mut self.device {
            device.handle_done(now, op, error.map_or(Ok(digest), Err));
        }
    }

    pub(super) fn end_persist(&mut self, op: OpId) {
        let Some((_, block)) = self.storage.persist.take_if(|(under, _)| *under == op) else {
            return;
        };
        let number = self.jobs;
        self.jobs = number.saturating_add(1);
        let error = self.broken.remove(&number);
        let before = self.storage.journal.record().and_then(|record| record.accepted);
        // A failed write may still have reached the medium.
        if error.is_none() || self.rng.below(2) == 0 {
            self.storage.journal.write(&block);
        }
        let record = Record::decode(&block).map(|(_, record)| record).unwrap_or_default();
        let learned = record.phase != Phase::Fetching
            || record.accepted.is_none()
            || record.accepted != before;
        if error.is_none() && learned {
            self.ended.clear();
        }
        let now = self.now;
        if let Some(device) = &mut self.device {
            device.handle_done(now, op, error.map_or(Ok(None), Err));
        }
        self.note(What::Persisted(op, error.is_none()));
    }

    /// The firmware server's next part arrives.
    pub(super) fn serve(&mut self) {
        let now = self.now;
        let Some(op) = self.server.current.as_ref().map(|fetch| fetch.op) else { return };
        let next = self.server.next(self.setup.chunk, self.setup.pace);
        if let Next::Head(head) = &next {
            self.note(What::Head(op, head.status));
        }
        let Some(device) = &mut self.device else { return };
        match next {
            Next::Head(head) => {
                // The result does not matter: the updater has decided already.
                let _ = device.handle_response(now, op, &head.view());
            }
            Next::Body(bytes) => {
                let body = device.handle_body(now, op, &bytes);
                if let Ok(Body { consumed, work }) = body {
                    self.server.consumed(consumed);
                    if let Some((op, Work::Write { at, bytes })) = work {
                        let end = at.saturating_add(bytes.len() as u64);
                        let job = Job::Flash(FlashOp::Write(at, bytes.to_vec()));
                        self.begin_job(op, job, What::Write(op, at..end));
                    }
                }
            }
            Next::End => {
                device.handle_body_end(now, op);
                self.server.cancel(op);
            }
            Next::Fail(error) => {
                device.handle_fetch_failed(now, op, error);
                self.server.cancel(op);
            }
            Next::Nothing => {}
        }
    }
}
