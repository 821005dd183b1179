//! The machine and the model side by side: both get the same inputs, and the machine's messages
//! must be the model's.

use ota_proto::journal::Record;
use ota_proto::{
    Boot, Command, Config, Downgrade, Event, Fetch, Hold, Identity, Idle, Instant, Journal, Md5,
    OpId, Order, Output, PubId, Publish, QoS, SlotInfo, StorageError, Updater, Work,
};

use crate::loader::Loader;
use crate::ops::{Cut, Ends, Fate, Kind};
use crate::spec::{CAPACITY, ERASE, Job, Note, Offered, Policy, S, Spec};

pub(crate) const UPDATE: &str = "$ota/update/TESTPROD01/dev001";
const STORAGE: SlotInfo = SlotInfo { capacity: CAPACITY, erase: ERASE as u32, write: 1 };

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) policy: Policy,
    config: Config,
    pub(crate) machine: Updater,
    pub(crate) spec: Spec,
    pub(crate) loader: Loader,
    pub(crate) fetch: Option<OpId>,
    pub(crate) job: Option<(Job, OpId)>,
    persist: Option<(OpId, [u8; Journal::LEN])>,
    disk: Option<[u8; Journal::LEN]>,
    /// A record whose write failed.
    doubt: Option<[u8; Journal::LEN]>,
    pub(crate) pubs: Vec<PubId>,
    pub(crate) unheard: Vec<u32>,
    pub(crate) up: bool,
    pub(crate) reading: bool,
    deadline: Option<u64>,
    /// What the server has still to send of the body in progress.
    pub(crate) left: u64,
    /// The sizes of the pieces that bodies come in, less one.
    pub(crate) pieces: Vec<u16>,
    /// What the application was asked for and has not done.
    pub(crate) install: bool,
    pub(crate) restart: bool,
    /// A version report waits for its answer.
    pub(crate) report: bool,
    /// The operator's task.
    pub(crate) task: Option<Kind>,
    /// What was said: when, and what.
    pub(crate) said: Vec<(u64, String)>,
}

impl World {
    pub(crate) fn new(policy: Policy, trailing: bool, knows: bool, seed: u64) -> Self {
        let mut config = Config::new(Identity::new("TESTPROD01", "dev001").unwrap(), seed);
        let hold = |ask: bool| if ask { Hold::Ask } else { Hold::Auto };
        config.consent = hold(policy.ask_consent);
        config.approval = hold(policy.ask_approval);
        config.install = hold(policy.ask_install);
        config.allow_http = policy.http;
        config.confirm_needs_reply = policy.needs_reply;
        if policy.no_downgrade {
            config.downgrade = Downgrade::Refuse(Order::SemVer);
        }
        if trailing {
            config.verify = ota_proto::Verify::Trailing;
        }
        let loader = Loader::new(knows);
        let machine = start(0, &config, &loader, None);
        let spec = Spec::boot(policy, 0, Note::default(), loader.running, loader.state());
        let mut world = Self {
            now: 0,
            policy,
            config,
            machine,
            spec,
            loader,
            fetch: None,
            job: None,
            persist: None,
            disk: None,
            doubt: None,
            pubs: Vec::new(),
            unheard: Vec::new(),
            up: false,
            reading: false,
            deadline: None,
            left: 0,
            pieces: Vec::new(),
            install: false,
            restart: false,
            report: false,
            task: None,
            said: Vec::new(),
        };
        world.drain();
        world
    }

    pub(crate) fn at(&self) -> Instant {
        Instant::from_micros(self.now)
    }

    /// Takes all outputs; each must be what the model expects.
    pub(crate) fn drain(&mut self) {
        for _ in 0..300 {
            if self.one() {
                assert_eq!(self.machine.running().as_str(), self.spec.running());
                assert_eq!(self.machine.owed().is_some(), self.spec.owes(), "a result is owed");
                let stored = self.machine.progress().map(|(stored, _)| stored);
                assert_eq!(stored, self.spec.stored(), "what is stored");
                return;
            }
        }
        panic!("the outputs do not end");
    }

    /// One output; whether it was the last.
    fn one(&mut self) -> bool {
        let mut buf = [0; Config::buffer_len()];
        let now = self.at();
        match self.machine.poll(now, &mut buf).unwrap() {
            Output::Idle(Idle { deadline, read_body, .. }) => {
                (self.reading, self.deadline) = (read_body, deadline.map(Instant::as_micros));
                self.spec.idle(read_body, self.deadline);
                return true;
            }
            Output::Publish(Publish { id, qos, payload, topic }) => {
                assert_eq!(topic, "$ota/report/TESTPROD01/dev001");
                let number = u32::try_from(self.pubs.len()).unwrap();
                self.pubs.push(id);
                self.unheard.push(number);
                let text = String::from_utf8(payload.to_vec()).unwrap();
                self.report |= text.contains("report_version");
                self.spec.said(number, u8::from(qos == QoS::AtLeastOnce), payload);
                self.said.push((self.now, text));
            }
            Output::Fetch(Fetch { op, from, .. }) => {
                (self.fetch, self.left) = (Some(op), 0);
                self.spec.fetch(from);
            }
            Output::CancelFetch(op) => {
                self.fetch.take_if(|fetch| *fetch == op);
            }
            Output::Do(op, Work::Erase { .. }) => self.begin(op, Job::Erase),
            Output::Do(op, Work::Sync) => {
                let upto = self.spec.stored().expect("an attempt");
                self.begin(op, Job::Sync { upto });
            }
            Output::Do(op, Work::Digest { range }) => {
                self.begin(op, Job::Digest { upto: range.end })
            }
            Output::Do(op, Work::Slot(action)) => self.begin(op, Job::Slot(action)),
            Output::Do(op, Work::Persist(record)) => {
                self.persist = Some((op, record));
                self.spec.persist(&Record::decode(&record).unwrap().1);
            }
            Output::Event(event) => self.event(&event),
            other => panic!("{other:?}"),
        }
        false
    }

    fn begin(&mut self, op: OpId, job: Job) {
        self.job = Some((job, op));
        self.spec.job(job);
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::Install { .. } => {
                self.install = true;
                self.spec.install_asked();
            }
            Event::Restart => {
                self.restart = true;
                self.spec.restart_asked();
            }
            Event::Reported { .. } => self.task = None,
            _ => {}
        }
    }

    pub(crate) fn session(&mut self, up: bool) {
        (self.up, self.report) = (up, false);
        self.machine.handle_session(self.at(), up);
        self.spec.session(up);
        self.drain();
    }

    pub(crate) fn heard(&mut self, number: u32) {
        self.unheard.retain(|open| *open != number);
        let id = self.pubs[usize::try_from(number).unwrap()];
        self.machine.handle_published(self.at(), id);
        self.spec.heard(number);
        self.drain();
    }

    pub(crate) fn message(&mut self, text: &str) {
        let now = self.at();
        self.machine.handle_message(now, UPDATE, text.as_bytes()).unwrap();
    }

    pub(crate) fn reply(&mut self, code: i64, version: Option<&str>) {
        let version = version.map(|version| format!(r#","version":"{version}""#));
        let version = version.unwrap_or_default();
        // A number or a string: both are understood.
        let code_text = if version.is_empty() { format!("\"{code}\"") } else { code.to_string() };
        self.message(&format!(
            r#"{{"result_code":{code_text},"result_msg":"","type":"report_version_rsp"{version}}}"#
        ));
        let named = version.split('"').nth(3);
        self.spec.reply(code, named);
        self.drain();
    }

    pub(crate) fn offer(&mut self, kind: Kind, url: u8) {
        let offer = self.offered(kind, url);
        let md5 = offer.md5.map_or(String::new(), |md5| {
            let text = Md5([md5; 16]).to_string();
            let text = if url == 1 { text.to_uppercase() } else { text };
            format!(r#""md5sum":"{text}","#)
        });
        let size = offer.size.map_or(String::new(), |size| match url {
            2 => format!(r#""file_size":"{size}","#),
            _ => format!(r#""file_size":{size},"#),
        });
        let text = "x".repeat(offer.text);
        let (address, version) = (&offer.url, offer.version);
        self.message(&format!(
            r#"{{{size}{md5}"type":"update_firmware","url":"{address}","user_defined":"{text}","version":"{version}"}}"#
        ));
        self.report = false;
        self.spec.offer(&offer);
        self.drain();
    }

    fn offered(&self, kind: Kind, url: u8) -> Offered {
        let good = Offered {
            version: "1.0.0",
            md5: Some(1),
            size: Some(10_000),
            url: format!("https://cos.example/{kind:?}?sign={url}"),
            text: 10,
            newer: "1.0.0" > self.loader.running,
        };
        match kind {
            Kind::A => good,
            Kind::B => {
                let newer = "2.0.0" > self.loader.running;
                Offered { version: "2.0.0", md5: Some(2), size: Some(20_000), newer, ..good }
            }
            Kind::OtherDigest => Offered { md5: Some(3), ..good },
            Kind::Running => Offered { version: self.spec.running(), newer: false, ..good },
            Kind::NoDigest => Offered { md5: None, ..good },
            Kind::NoSize => Offered { size: None, ..good },
            Kind::TooLarge => Offered { size: Some(CAPACITY + 1), ..good },
            Kind::BadUrl => Offered { url: "ftp://cos.example/a".into(), ..good },
            Kind::Plain => Offered { url: format!("http://cos.example/a?{url}"), ..good },
            Kind::LongText => Offered { text: 1_537, ..good },
            Kind::OtherText => {
                let url = format!("https://cos.example/{:?}?sign={url}", Kind::A);
                Offered { text: 11, url, ..good }
            }
            Kind::Older => Offered { version: "0.0.9", newer: false, ..good },
        }
    }

    pub(crate) fn job_ends(&mut self, ends: Ends) {
        let Some((job, op)) = self.job.take() else { return };
        let result = match ends {
            Ends::Well | Ends::WrongDigest => Ok(()),
            Ends::NoSpace => Err(StorageError::NoSpace),
            Ends::Failed => Err(StorageError::Failed),
        };
        let now = self.at();
        let mut digest = None;
        match job {
            Job::Digest { .. } => {
                let md5 = self.machine.offer().map_or(0, |offer| offer.md5.0[0]);
                digest = Some(Md5([if ends == Ends::WrongDigest { 99 } else { md5 }; 16]));
            }
            Job::Slot(action) if result.is_ok() => self.loader.acts(action, self.target()),
            _ => {}
        }
        self.machine.handle_done(now, op, result.map(|()| digest));
        self.spec.job_ended(result.map(|()| ends != Ends::WrongDigest));
        self.drain();
    }

    /// The version that the slot's job is about.
    fn target(&self) -> &'static str {
        self.spec.durable().image.map_or("", |image| image.version)
    }

    pub(crate) fn persist_ends(&mut self, ok: bool) {
        let Some((op, record)) = self.persist.take() else { return };
        let result = if ok { Ok(()) } else { Err(StorageError::Failed) };
        if ok {
            (self.disk, self.doubt) = (Some(record), None);
        } else {
            self.doubt = Some(record);
        }
        let now = self.at();
        self.machine.handle_done(now, op, result.map(|()| None));
        self.spec.persisted(ok);
        self.drain();
    }

    pub(crate) fn is_persisting(&self) -> bool {
        self.persist.is_some()
    }

    pub(crate) fn command(&mut self, command: Command) {
        let command = match command {
            Command::Defer(after) => {
                Command::Defer(Instant::from_micros(self.now + after.as_micros()))
            }
            command => command,
        };
        let done = self.machine.command(self.at(), command);
        assert_eq!(done.is_ok(), self.spec.command(command), "{command:?} is taken");
        self.install &= !matches!(command, Command::Installed(_)) || done.is_err();
        if done.is_ok() && command == Command::Installed(ota_proto::Installed::Running) {
            self.loader.in_place(self.spec.running());
        }
        self.drain();
    }

    /// Time passes, each deadline served. A pause that ends at random is slept through.
    pub(crate) fn sleep(&mut self, micros: u64) {
        let wanted = self.now + micros;
        for _ in 0..3_000 {
            let until = wanted.max(self.spec.vague_until());
            let next = self.deadline.filter(|deadline| *deadline <= until).unwrap_or(until);
            self.late(next.saturating_sub(self.now));
            if next == until && until >= self.spec.vague_until() {
                return;
            }
        }
        panic!("time stands still at {} µs: {:?}", self.now, self.deadline);
    }

    /// Time passes in one piece.
    pub(crate) fn late(&mut self, micros: u64) {
        self.now += micros;
        self.machine.handle_timeout(self.at());
        self.spec.tick(self.now);
        self.drain();
        assert!(self.deadline.is_none_or(|at| at > self.now), "a stale deadline (rule 16)");
    }

    pub(crate) fn until_deadline(&mut self) {
        let next = self.deadline.unwrap_or(self.now + S).max(self.now + 1);
        self.sleep(next - self.now);
    }

    /// Power goes, or the program dies; then it starts again.
    pub(crate) fn cut(&mut self, cut: Cut) {
        let mut note = self.spec.durable().clone();
        if cut.landed {
            if let Some((Job::Slot(action), _)) = self.job {
                let target = self.target();
                self.loader.acts(action, target);
            }
            if let Some(found) = self.spec.may_be_found() {
                note = found.clone();
                self.disk = self.persist.map(|(_, record)| record).or(self.doubt);
            }
        }
        if !cut.process {
            self.loader.reset(cut.fate);
        }
        let (running, slot) = (self.loader.running, self.loader.state());
        self.machine = start(self.now, &self.config, &self.loader, self.disk.as_ref());
        self.spec = Spec::boot(self.policy, self.now, note, running, slot);
        (self.fetch, self.job, self.persist, self.doubt) = (None, None, None, None);
        (self.install, self.restart, self.up, self.report) = (false, false, false, false);
        self.pubs.clear();
        self.unheard.clear();
        self.drain();
    }

    pub(crate) fn restart_as_asked(&mut self) {
        self.cut(Cut { landed: false, process: false, fate: Fate::Runs });
    }
}

fn start(now: u64, config: &Config, loader: &Loader, disk: Option<&[u8; Journal::LEN]>) -> Updater {
    let boot =
        Boot { running: loader.running, slot: loader.state(), journal: disk, storage: STORAGE };
    Updater::new(Instant::from_micros(now), config.clone(), boot).unwrap()
}
