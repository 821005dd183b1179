//! One updater and its surroundings: the work in progress, and who may answer.

use std::fmt::Write as _;

use ota_proto::journal::Record;
use ota_proto::{
    Config, Event, Fetch, Idle, Instant, OpId, Output, PubId, Publish, QoS, Rng, State, Updater,
    Work,
};

use crate::invariants::Invariants;
use crate::setup::Setup;
use crate::storage::Storage;
use crate::trace::{Said, Trace, What};

use super::key;

/// A message to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Down {
    Ack(PubId),
    /// The answer to the report of this version.
    Reply(&'static str),
    /// The refusal of a version report.
    Refused,
    /// The offer of this version, with one of two URLs.
    Offer(&'static str, bool),
    /// An invalid offer.
    NoDigest,
    /// The offer of this version with another text.
    OtherText(&'static str),
}

/// An open question to the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Accept,
    Approve,
    Install,
    StopInstall,
    Restart,
    Judge,
}

/// A fetch in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Get {
    pub(super) op: OpId,
    /// The next byte of the image.
    pub(super) at: u64,
    /// Whether the head arrived.
    pub(super) body: bool,
}

/// A state of the walk.
#[derive(Clone, Debug)]
pub(super) struct Env {
    pub(super) now: Instant,
    pub(super) device: Option<Updater>,
    pub(super) storage: Storage,
    pub(super) watch: Invariants,
    pub(super) session: bool,
    pub(super) up: Vec<(PubId, QoS, Said)>,
    pub(super) down: Vec<Down>,
    /// Whether messages were lost together with their acknowledgement: the client will close the
    /// session.
    pub(super) lost: bool,
    pub(super) asked: Vec<Ask>,
    /// Whether an orderly stop was requested.
    pub(super) stopping: bool,
    pub(super) get: Option<Get>,
    pub(super) deadline: Option<Instant>,
    pub(super) reading: bool,
    /// The version of the cloud's task while it is open.
    pub(super) task: Option<&'static str>,
    /// Used only while a failure is replayed.
    pub(super) trace: Option<Trace>,
    pub(super) rng: Rng,
    /// The message just passed to the connection, without a request for an acknowledgement.
    handed: Option<PubId>,
}

/// All versions: the old one, the task's and another.
pub(super) const VERSIONS: [&str; 3] = ["0.1.0", "1.0.0", "2.0.0"];

/// The version with this text.
pub(super) fn version(text: &str) -> &'static str {
    VERSIONS.iter().find(|version| **version == text).copied().unwrap_or("?")
}

impl Env {
    /// A device that is off, and an open task.
    pub(super) fn new(setup: &Setup) -> Self {
        let mut rng = Rng::new(setup.seed);
        Self {
            // Late enough that time zero is long past.
            now: Instant::from_secs(1_000),
            device: None,
            storage: Storage::new(setup, &mut rng),
            watch: Invariants::default(),
            session: false,
            up: Vec::new(),
            down: Vec::new(),
            lost: false,
            asked: Vec::new(),
            stopping: false,
            get: None,
            deadline: None,
            reading: false,
            task: Some(VERSIONS[1]),
            trace: None,
            rng,
            handed: None,
        }
    }

    pub(super) fn note(&mut self, setup: &Setup, what: What) {
        self.watch.observe(self.now, &what, setup, &self.storage);
        if let Some(trace) = &mut self.trace {
            trace.push(self.now, what);
        }
    }

    /// The key of the future from here. `text` is scratch space.
    pub(super) fn key(&self, text: &mut String) -> u128 {
        text.clear();
        let Self { device, storage, watch, up, down, asked, get, deadline, task, .. } = self;
        let Storage { flash, journal, loader, job, persist, .. } = storage;
        let persist = persist.as_ref().map(|(op, block)| (op, Record::decode(block).ok()));
        let flags = (self.session, self.lost, self.reading);
        let written = write!(
            text,
            "{device:?}{flash:?}{:?}{loader:?}{job:?}{persist:?}{watch:?}{up:?}{down:?}{asked:?}{get:?}{deadline:?}{task:?}{flags:?}",
            journal.record(),
        );
        debug_assert!(written.is_ok(), "a string takes all");
        key::key(text, self.now.as_micros())
    }

    /// Whether everything is done.
    pub(super) fn is_end(&self) -> bool {
        let Some(device) = &self.device else { return false };
        let quiet = self.up.is_empty() && self.down.is_empty() && self.asked.is_empty();
        let running = self.storage.loader.running();
        quiet
            && !self.stopping
            && !self.lost
            && self.get.is_none()
            && self.storage.job.is_none()
            && self.storage.persist.is_none()
            && device.is_settled()
            && device.state() == State::Idle
            && !self.storage.loader.is_trial()
            && self.task.is_none_or(|task| task == running)
    }

    pub(super) fn boot(&mut self, setup: &Setup) {
        let found = self.storage.find(setup);
        self.device = Updater::new(self.now, setup.device.clone(), found.boot()).ok();
        self.note(setup, found.into());
    }

    pub(super) fn off(&mut self, setup: &Setup) {
        self.note(setup, What::Off("off"));
        self.device = None;
        self.hang_up();
        self.asked.clear();
        self.stopping = false;
        self.get = None;
        self.deadline = None;
        self.reading = false;
    }

    /// Messages on their way are lost with the session.
    pub(super) fn hang_up(&mut self) {
        self.session = false;
        self.up.clear();
        self.down.clear();
        self.lost = false;
    }

    /// Takes all outputs and starts the work that they ask for.
    pub(super) fn drain(&mut self, setup: &Setup) {
        for _ in 0..100 {
            let Some(mut device) = self.device.take() else { return };
            let mut buf = [0; Config::buffer_len()];
            let idle = match device.poll(self.now, &mut buf) {
                Ok(output) => self.take(setup, &output),
                Err(error) => {
                    self.watch.break_rule(error.to_string());
                    true
                }
            };
            if let Some(id) = self.handed.take() {
                self.note(setup, What::Published(id));
                device.handle_published(self.now, id);
            }
            self.device = Some(device);
            if idle {
                return;
            }
        }
        self.watch.break_rule("outputs without end".into());
    }

    /// Takes one output. Returns whether it was the last.
    fn take(&mut self, setup: &Setup, output: &Output<'_>) -> bool {
        match output {
            Output::Idle(Idle { deadline, timer, read_body }) => {
                self.deadline = *deadline;
                self.reading = *read_body;
                self.note(setup, What::Idle(*deadline, *timer));
                return true;
            }
            Output::Publish(Publish { id, qos, payload, .. }) => {
                self.publish(setup, *id, *qos, payload)
            }
            Output::Fetch(Fetch { op, from, .. }) => {
                self.note(setup, What::Fetch(*op, *from));
                self.get = Some(Get { op: *op, at: *from, body: false });
            }
            Output::CancelFetch(op) => {
                self.note(setup, What::Cancel(*op));
                self.get.take_if(|get| get.op == *op);
            }
            Output::Do(op, work) => self.begin(setup, *op, work.clone().map(<[u8]>::to_vec)),
            Output::Event(event) => {
                self.note(setup, What::Event(event.clone()));
                self.hear(event);
            }
            other => self.watch.break_rule(format!("an output that nobody knows: {other:?}")),
        }
        false
    }

    pub(super) fn begin(&mut self, setup: &Setup, op: OpId, work: Work<Vec<u8>>) {
        match self.storage.begin(op, work) {
            Ok(what) => self.note(setup, what),
            Err(wrong) => self.watch.break_rule(wrong),
        }
    }

    fn publish(&mut self, setup: &Setup, id: PubId, qos: QoS, payload: &[u8]) {
        let Some(said) = Said::read(payload) else {
            return self.watch.break_rule(format!("no message: {payload:?}"));
        };
        self.note(setup, What::Publish(id, said.clone()));
        if !self.session {
            self.watch.break_rule("a publication without a session".into());
        }
        self.handed = (qos == QoS::AtMostOnce).then_some(id);
        self.up.push((id, qos, said));
    }

    fn hear(&mut self, event: &Event) {
        let ask = match event {
            Event::Offered => Ask::Accept,
            Event::Ready => Ask::Approve,
            Event::Install { .. } => Ask::Install,
            Event::StopInstall => Ask::StopInstall,
            Event::Restart => Ask::Restart,
            Event::Trial => Ask::Judge,
            _ => return,
        };
        if !self.asked.contains(&ask) {
            self.asked.push(ask);
        }
    }
}
