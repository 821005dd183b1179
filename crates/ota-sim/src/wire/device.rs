//! The device's program: the outputs of the client, and the application.

use ota_proto::journal::Record;
use ota_proto::{Boot, Command, Event, Instant, OpId, SlotInfo, StorageError, Work};
use ota_wire::client::{
    ClientConfig, ClientEvent, DeviceIndex, DeviceInput, Found, Input, LinkKind, Output,
};
use ota_wire::mqtt::ConnectLogin;
use ota_wire::record::Recorder;

use crate::app::{Act, Verdict};
use crate::field::Kind;
use crate::flash::FlashOp;
use crate::trace::What;
use crate::world::{Cut, Job};

use super::{Due, World};

const DEVICE: DeviceIndex = DeviceIndex::FIRST;

/// The client's last idle output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Idle {
    pub(super) deadline: Option<Instant>,
    pub(super) read_broker: bool,
    pub(super) read_store: bool,
    /// Whether a time-out was handled without an input since: the next deadline must be later.
    pub(super) woken: bool,
}

/// An output, owned.
pub(super) enum Out {
    Connect(ota_wire::client::Link),
    Close(ota_wire::client::Link),
    Job(OpId, Job, Box<What>),
    Persist(OpId, Box<[u8; ota_proto::Journal::LEN]>),
    Event(ClientEvent),
    Idle(Idle, Option<ota_wire::client::Timer>),
    Unknown(String),
}

impl World {
    /// Handles one output; `false` if the device is idle or off.
    pub(super) fn step_device(&mut self) -> bool {
        let Some(client) = &mut self.client else { return false };
        let output = client.poll(self.now);
        self.lives.note(&output);
        match own(output) {
            Out::Idle(idle, timer) => {
                let late = self.idle.woken && idle.deadline.is_some_and(|at| at <= self.now);
                if late {
                    self.broken.push(format!("deadline {:?} {timer:?} is stale", idle.deadline));
                }
                self.idle = Idle { woken: self.idle.woken, ..idle };
                return false;
            }
            Out::Connect(link) => self.open(link),
            Out::Close(link) => self.close(link),
            Out::Job(op, job, what) => self.begin_job(op, job, *what),
            Out::Persist(op, block) => {
                if let Ok((_, record)) = Record::decode(&block) {
                    self.note(What::Persist(op, record));
                }
                self.storage.persist = Some((op, block));
                self.at(self.now + self.setup.job, Due::Persist(op));
            }
            Out::Event(ClientEvent::Device { event, .. }) => {
                self.note(What::Event(event.clone()));
                self.hear(&event);
            }
            Out::Event(ClientEvent::BadMessage { error, .. }) => {
                self.broken.push(format!("a message of the cloud was refused: {error}"));
            }
            Out::Event(event) => self.fault(format!("{event:?}")),
            Out::Unknown(what) => self.broken.push(what),
        }
        self.idle.woken = false;
        true
    }

    pub(super) fn wake_device(&mut self) {
        let now = self.now;
        if let Some(client) = &mut self.client {
            client.handle(now, Input::Timeout);
        }
        self.touched();
        self.idle.woken = true;
    }

    /// Something arrived: the client may take bytes now that it refused before.
    pub(super) fn touched(&mut self) {
        self.idle.woken = false;
        if let Some(wire) = &mut self.broker {
            wire.offered = false;
        }
        if let Some(wire) = &mut self.store {
            wire.offered = false;
        }
    }

    /// Passes bytes to the client like an adapter.
    pub(super) fn feed(&mut self, kind: LinkKind, bytes: &[u8]) {
        let (link, mut rx) = match (kind, &mut self.broker, &mut self.store) {
            (LinkKind::Broker, Some(wire), _) => (wire.link, core::mem::take(&mut wire.rx)),
            (LinkKind::Store, _, Some(wire)) => (wire.link, core::mem::take(&mut wire.rx)),
            _ => return,
        };
        rx.extend_from_slice(bytes);
        let mut progress = false;
        loop {
            let Some(client) = &mut self.client else { return };
            let received = client.handle_received(self.now, link, &rx);
            self.lives.note(&received);
            let more = received.consumed > 0 || received.found.is_some();
            match received.found {
                Some(Found::Write { op, at, span, .. }) => {
                    let span = rx.get(span).unwrap_or_default().to_vec();
                    let what = What::Write(op, at..at.saturating_add(span.len() as u64));
                    self.begin_job(op, Job::Flash(FlashOp::Write(at, span)), what);
                }
                Some(other) => self.broken.push(format!("for the application: {other:?}")),
                None => {}
            }
            rx.drain(..received.consumed.min(rx.len()));
            if !more {
                break;
            }
            progress = true;
        }
        if progress {
            self.touched();
        }
        match (kind, &mut self.broker, &mut self.store) {
            (LinkKind::Broker, Some(wire), _) => (wire.rx, wire.offered) = (rx, true),
            (LinkKind::Store, _, Some(wire)) => (wire.rx, wire.offered) = (rx, true),
            _ => {}
        }
    }

    fn begin_job(&mut self, op: OpId, job: Job, what: What) {
        self.note(what);
        if self.storage.job.is_some() {
            self.broken.push("two slot operations at once (O3)".into());
        }
        self.storage.job = Some((op, job));
        self.at(self.now + self.setup.job, Due::Job(op));
    }

    pub(super) fn end_job(&mut self, op: OpId) {
        let Some((_, job)) = self.storage.job.take_if(|(under, _)| *under == op) else { return };
        let flipped = self.storage.misreads.flipped;
        let unreadable = self.storage.is_unreadable(&job);
        let digest = match self.storage.finish_job(&job, &mut self.rng) {
            Ok(digest) => digest,
            Err(why) => return self.broken.push(why),
        };
        if unreadable {
            self.met(Kind::UnreadableWords);
        }
        if self.storage.misreads.flipped > flipped {
            self.met(Kind::FlippedBit);
        }
        self.note(What::Done(op, !unreadable));
        self.touched();
        let result = if unreadable { Err(StorageError::Failed) } else { Ok(digest) };
        self.tell(DeviceInput::Done(op, result));
    }

    pub(super) fn end_persist(&mut self, op: OpId) {
        let Some((_, block)) = self.storage.persist.take_if(|(under, _)| *under == op) else {
            return;
        };
        self.storage.journal.write(&block);
        self.touched();
        self.tell(DeviceInput::Done(op, Ok(None)));
    }

    fn tell(&mut self, input: DeviceInput) {
        if let Some(client) = &mut self.client {
            client.handle(self.now, Input::Device { device: DEVICE, input });
        }
    }

    /// Passes the certificate's time to the client when a connection is open.
    pub(super) fn tell_time(&mut self) {
        let Some(unix) = self.setup.clock(self.now) else { return };
        self.tell(DeviceInput::Certificate(ota_proto::Peer::Broker, unix));
        self.met(Kind::ClockSteps);
    }

    pub(super) fn power_on(&mut self) {
        let identity = &self.setup.device.identity;
        let id = format!("{}{}", identity.product_id(), identity.device_name());
        let user = format!("{id};21010406;AbC12;4102444800");
        let seed = self.setup.seed.wrapping_add(u64::from(self.boot));
        let login = ConnectLogin::new(id, user, "not checked here".into());
        let config = ClientConfig::new("broker.example".into(), 8_883, true, login, seed);
        let running = self.storage.loader.running().to_owned();
        let slot = self.storage.loader.state();
        let storage = SlotInfo { capacity: self.setup.capacity, erase: self.setup.erase, write: 1 };
        if self.setup.settles_journal {
            match self.storage.read_journal(&mut self.rng) {
                Ok(0) => {}
                Ok(_) => self.met(Kind::MisreadJournal),
                Err(lost) => self.broken.push(lost),
            }
        }
        let journal = self.storage.journal.newest().copied();
        let record = self.storage.journal.record();
        let boot = Boot { running: &running, slot, journal: journal.as_ref(), storage };
        let client =
            Recorder::new(self.now, config, self.lives.ring).ok().and_then(|mut client| {
                client.add_device(self.now, self.setup.device.clone(), boot).ok()?;
                Some(client)
            });
        if client.is_none() {
            self.broken.push("the client does not start".into());
        }
        self.client = client;
        self.note(What::Boot { running, slot, record });
    }

    /// Cuts the power, which returns after 100 ms.
    pub fn power_cut(&mut self, cut: Cut) {
        self.note(What::Off("power cut"));
        self.storage.cut(cut, &mut self.rng);
        self.storage.loader.reset(self.setup.app.bootable);
        self.boot = self.boot.saturating_add(1);
        self.end_life();
        self.idle = Idle::default();
        self.drop_wires();
        self.at(self.now + core::time::Duration::from_millis(100), Due::PowerOn);
    }

    /// Asks the program to stop. It has two seconds for the work before its end.
    ///
    /// # Errors
    /// The trace, if there was a violation.
    pub fn stop(&mut self) -> Result<(), String> {
        self.met(Kind::OrderlyStop);
        if let Some(client) = &mut self.client {
            client.handle(self.now, Input::PrepareStop);
        }
        self.touched();
        let (boot, until) = (self.boot, self.now + core::time::Duration::from_secs(2));
        while self.now < until && self.boot == boot && !self.is_stopped() {
            self.run_until(self.now + core::time::Duration::from_millis(50))?;
        }
        if self.boot == boot {
            self.power_cut(Cut::Before);
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        self.client.as_ref().is_none_or(|client| client.is_stopped())
    }

    /// Ends the program and keeps its recording.
    pub(crate) fn end_life(&mut self) {
        self.lives.end(self.client.take());
    }

    /// The application gets an event and answers later. Only the world of messages asks it for
    /// consent.
    fn hear(&mut self, event: &Event) {
        let asked = matches!(event, Event::Offered | Event::Ready);
        if let Some((after, act)) = self.setup.app.answer(event).filter(|_| !asked) {
            self.at(self.now + after, Due::Act(act));
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        self.touched();
        if act == Act::Reset {
            return self.power_cut(Cut::After);
        }
        let command = match act {
            Act::Installed(what) => Command::Installed(what),
            Act::Judge(Verdict::Confirm) => Command::Confirm,
            Act::Judge(Verdict::RollBack) => Command::RollBack,
            Act::Judge(Verdict::Silent)
            | Act::Accept
            | Act::Defer(_)
            | Act::ApproveAndInstall
            | Act::Reset => return,
        };
        // A command that no longer fits has no effect.
        self.tell(DeviceInput::Command(command));
    }
}

/// An output that borrows nothing.
pub(super) fn own(output: Output<'_>) -> Out {
    match output {
        Output::Connect { link, .. } => Out::Connect(link),
        Output::Close { link } => Out::Close(link),
        Output::Do { op, work: Work::Erase { range, .. }, .. } => {
            let what = What::Erase(op, range.clone());
            Out::Job(op, Job::Flash(FlashOp::Erase(range)), Box::new(what))
        }
        Output::Do { op, work: Work::Sync, .. } => {
            Out::Job(op, Job::Sync, Box::new(What::Sync(op)))
        }
        Output::Do { op, work: Work::Digest { range, .. }, .. } => {
            Out::Job(op, Job::Digest(range.end), Box::new(What::Digest(op, range)))
        }
        Output::Do { op, work: Work::Slot(action), .. } => {
            Out::Job(op, Job::Slot(action), Box::new(What::Slot(op, action)))
        }
        Output::Do { op, work: Work::Persist(record), .. } => Out::Persist(op, Box::new(record)),
        Output::Event(event) => Out::Event(event),
        Output::Idle { deadline, timer, read_broker, read_store } => {
            Out::Idle(Idle { deadline, read_broker, read_store, woken: false }, timer)
        }
        other => Out::Unknown(format!("an output that no adapter knows: {other:?}")),
    }
}
