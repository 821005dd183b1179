//! A machine on a bench: inputs at literal milliseconds, outputs as short lines.

use ota_proto::journal::Record;
use ota_proto::{
    Boot, Command, Config, ContentRange, Digester, Fetch, FetchError, Identity, Idle, Installed,
    Instant, Journal, Md5, OpId, Output, PubId, Publish, ResponseHead, SlotInfo, SlotState,
    StorageError, Timer, TransportError, Updater, Work,
};

use crate::lines::{persisted, said};

pub(crate) const SIZE: u64 = 10_000;
pub(crate) const UPDATE: &str = "$ota/update/TESTPROD01/dev001";
pub(crate) const STORAGE: SlotInfo = SlotInfo { capacity: 65_536, erase: 4_096, write: 1 };

pub(crate) fn at(ms: u64) -> Instant {
    Instant::from_millis(ms)
}

pub(crate) fn config() -> Config {
    Config::new(Identity::new("TESTPROD01", "dev001").unwrap(), 1)
}

pub(crate) fn image() -> Vec<u8> {
    (0..SIZE).map(|i| u8::try_from(i % 251).unwrap()).collect()
}

pub(crate) fn md5() -> Md5 {
    let mut digester = Digester::new();
    digester.update(&image());
    digester.finish()
}

pub(crate) fn offer_text(version: &str, url: &str) -> String {
    format!(
        r#"{{"file_size":{SIZE},"md5sum":"{}","type":"update_firmware","url":"{url}","version":"{version}"}}"#,
        md5()
    )
}

/// What an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Fetch,
    Erase,
    Write,
    Sync,
    Digest,
    Slot,
    Persist,
}

/// The machine, and what it asked for and did not get yet.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) machine: Updater,
    pub(crate) open: Vec<(Kind, OpId)>,
    pub(crate) pubs: Vec<PubId>,
    pub(crate) record: Option<[u8; Journal::LEN]>,
    pub(crate) idle: (Option<Instant>, Option<Timer>, bool),
    /// Bytes of the image given so far, or asked for.
    pub(crate) at: u64,
    /// The last fetch goes past all caches.
    pub(crate) fresh: bool,
    /// Of this URL.
    pub(crate) url: String,
    /// The last moment of an output.
    last: u64,
}

impl Bench {
    pub(crate) fn new(config: Config) -> Self {
        Self::boot(config, "0.1.0", SlotState::Confirmed, None)
    }

    pub(crate) fn boot(
        config: Config,
        running: &str,
        slot: SlotState,
        record: Option<&Record>,
    ) -> Self {
        Self::boot_on(STORAGE, config, running, slot, record)
    }

    pub(crate) fn boot_on(
        storage: SlotInfo,
        config: Config,
        running: &str,
        slot: SlotState,
        record: Option<&Record>,
    ) -> Self {
        let block = record.map(|record| record.encode(1));
        let boot = Boot { running, slot, journal: block.as_ref(), storage };
        Self {
            machine: Updater::new(at(0), config, boot).unwrap(),
            open: Vec::new(),
            pubs: Vec::new(),
            record: block,
            idle: (None, None, false),
            at: 0,
            fresh: false,
            url: String::new(),
            last: 0,
        }
    }

    /// Online at 0 ms, the version reported and answered.
    pub(crate) fn online(config: Config) -> Self {
        let mut bench = Self::new(config);
        bench.machine.handle_session(at(0), true);
        assert_eq!(bench.out(0), ["report 0.1.0"]);
        bench.ack(0);
        bench.reply(0, "0.1.0");
        assert_eq!(bench.out(0), ["event VersionAccepted"]);
        bench
    }

    /// The download of 1.0.0 asked for at 1,000 ms, its journal record durable.
    pub(crate) fn fetching(config: Config) -> Self {
        let mut bench = Self::online(config);
        bench.offer(1_000, "1.0.0");
        assert_eq!(
            bench.out(1_000),
            ["persist Fetching 1.0.0@0", "downloading 0", "fetch 0", "event Started { from: 0 }"]
        );
        bench.done(1_000, Kind::Persist);
        bench
    }

    /// All outputs at this moment, as lines; storage is left in progress.
    pub(crate) fn out(&mut self, ms: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..200 {
            let Some(line) = self.one(ms) else { return lines };
            lines.push(line);
        }
        panic!("livelock: {lines:?}");
    }

    /// All outputs at this moment; storage answers at once, and QoS 1 is acknowledged. The lines
    /// are those that are not storage, and the state at each persist.
    pub(crate) fn auto(&mut self, ms: u64) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..500 {
            if let Some(line) = self.one(ms) {
                let quiet = ["erase", "sync", "digest", "persist", "cancel"];
                if !quiet.iter().any(|word| line.starts_with(word)) {
                    lines.push(line);
                }
            } else if let Some(kind) = self.open.iter().map(|(k, _)| *k).find(|k| *k != Kind::Fetch)
            {
                self.done(ms, kind);
            } else if self.pubs.is_empty() {
                return lines;
            }
            for id in std::mem::take(&mut self.pubs) {
                self.machine.handle_published(at(ms), id);
            }
        }
        panic!("livelock: {lines:?}");
    }

    fn one(&mut self, ms: u64) -> Option<String> {
        let mut buf = [0; Config::buffer_len()];
        self.last = ms;
        Some(match self.machine.poll(at(ms), &mut buf).unwrap() {
            Output::Idle(Idle { deadline, timer, read_body }) => {
                self.idle = (deadline, timer, read_body);
                return None;
            }
            Output::Publish(Publish { id, payload, topic, .. }) => {
                assert_eq!(topic, "$ota/report/TESTPROD01/dev001");
                self.pubs.push(id);
                said(payload)
            }
            Output::Fetch(Fetch { op, from, fresh, url }) => {
                self.open.retain(|(kind, _)| *kind != Kind::Fetch);
                self.open.push((Kind::Fetch, op));
                (self.at, self.fresh) = (from, fresh);
                url.clone_into(&mut self.url);
                format!("fetch {from}")
            }
            Output::CancelFetch(op) => {
                self.open.retain(|(_, open)| *open != op);
                "cancel".into()
            }
            Output::Do(op, Work::Erase { range, .. }) => {
                self.open.push((Kind::Erase, op));
                format!("erase {range:?}")
            }
            Output::Do(op, Work::Sync) => {
                self.open.push((Kind::Sync, op));
                "sync".into()
            }
            Output::Do(op, Work::Digest { range }) => {
                self.open.push((Kind::Digest, op));
                format!("digest {range:?}")
            }
            Output::Do(op, Work::Slot(action)) => {
                self.open.push((Kind::Slot, op));
                format!("slot {action:?}")
            }
            Output::Do(op, Work::Persist(record)) => {
                self.open.push((Kind::Persist, op));
                self.record = Some(record);
                persisted(&Record::decode(&record).unwrap().1)
            }
            Output::Event(event) => format!("event {event:?}"),
            other => panic!("{other:?}"),
        })
    }

    /// Takes the operation of this kind that is in progress.
    pub(crate) fn take(&mut self, kind: Kind) -> OpId {
        let place = self.open.iter().position(|(open, _)| *open == kind);
        let place = place.unwrap_or_else(|| panic!("no {kind:?} in {:?}", self.open));
        self.open.remove(place).1
    }

    /// The operation of this kind succeeds; a digest is right.
    pub(crate) fn done(&mut self, ms: u64, kind: Kind) {
        let op = self.take(kind);
        self.end(ms, kind, op, Ok(()));
    }

    pub(crate) fn error(&mut self, ms: u64, kind: Kind, error: StorageError) {
        let op = self.take(kind);
        self.end(ms, kind, op, Err(error));
    }

    fn end(&mut self, ms: u64, kind: Kind, op: OpId, result: Result<(), StorageError>) {
        let (machine, now) = (&mut self.machine, at(ms));
        assert!(kind != Kind::Fetch, "a fetch has no single end");
        machine.handle_done(now, op, result.map(|()| (kind == Kind::Digest).then(md5)));
    }

    pub(crate) fn ack(&mut self, ms: u64) {
        for id in std::mem::take(&mut self.pubs) {
            self.machine.handle_published(at(ms), id);
        }
    }

    pub(crate) fn message(&mut self, ms: u64, text: &str) {
        self.machine.handle_message(at(ms), UPDATE, text.as_bytes()).unwrap();
    }

    pub(crate) fn reply(&mut self, ms: u64, version: &str) {
        self.message(
            ms,
            &format!(
                r#"{{"result_code":0,"result_msg":"success","type":"report_version_rsp","version":"{version}"}}"#
            ),
        );
    }

    pub(crate) fn offer(&mut self, ms: u64, version: &str) {
        self.message(ms, &offer_text(version, "https://cos.example/a?sign=1"));
    }

    pub(crate) fn offer_at(&mut self, ms: u64, version: &str, url: &str) {
        self.message(ms, &offer_text(version, url));
    }

    pub(crate) fn fetch_op(&self) -> OpId {
        self.open.iter().find(|(kind, _)| *kind == Kind::Fetch).expect("a fetch").1
    }

    /// The answer's head.
    pub(crate) fn head(&mut self, ms: u64, head: &ResponseHead<'_>) -> Result<(), FetchError> {
        let op = self.fetch_op();
        self.machine.handle_response(at(ms), op, head)
    }

    pub(crate) fn status(&mut self, ms: u64, status: u16) -> Result<(), FetchError> {
        self.head(ms, &ResponseHead { status, ..ResponseHead::default() })
    }

    /// The right answer to what was asked.
    pub(crate) fn good_head(&mut self, ms: u64) {
        let from = self.at;
        self.head(ms, &good(from)).unwrap();
    }

    pub(crate) fn fetch_failed(&mut self, ms: u64, error: TransportError) {
        let op = self.take(Kind::Fetch);
        self.machine.handle_fetch_failed(at(ms), op, error);
    }

    /// Gives the body up to this byte, storage answering at once; the lines in between.
    pub(crate) fn body(&mut self, ms: u64, upto: u64) -> Vec<String> {
        let mut lines = self.auto(ms);
        while self.at < upto {
            if !self.piece(ms, upto) {
                panic!("not reading at {}: {lines:?} {:?}", self.at, self.machine);
            }
            if let Some((_, op)) = self.open.iter().find(|(kind, _)| *kind == Kind::Write) {
                let op = *op;
                self.open.retain(|(_, open)| *open != op);
                self.machine.handle_done(at(ms), op, Ok(None));
            }
            lines.extend(self.auto(ms));
        }
        lines
    }

    /// Gives one piece of body, up to this byte; whether it was taken.
    pub(crate) fn piece(&mut self, ms: u64, upto: u64) -> bool {
        let op = self.fetch_op();
        let image = image();
        let data = &image[usize::try_from(self.at).unwrap()..usize::try_from(upto).unwrap()];
        let body = self.machine.handle_body(at(ms), op, data).unwrap();
        if let Some((op, _)) = body.work {
            self.open.push((Kind::Write, op));
        }
        self.at += body.consumed as u64;
        body.consumed > 0
    }

    /// Time passes: the deadlines up to this moment are served, storage answering at once. The
    /// lines, each with its time.
    pub(crate) fn until(&mut self, ms: u64) -> Vec<String> {
        let mut lines = Vec::new();
        let last = self.last;
        for line in self.auto(last) {
            lines.push(format!("{last} {line}"));
        }
        while let Some(next) = self.idle.0.filter(|next| *next <= at(ms)) {
            self.machine.handle_timeout(next);
            for line in self.auto(next.as_millis()) {
                lines.push(format!("{} {line}", next.as_millis()));
            }
            assert!(self.idle.0.is_none_or(|at| at > next), "rule 16: {:?}", self.idle);
        }
        lines
    }

    /// Serves deadlines until a fetch is asked for; its moment, or none when the attempt ended.
    pub(crate) fn next_fetch(&mut self) -> Option<u64> {
        self.next_fetch_lines(&mut Vec::new())
    }

    /// The same, and the lines on the way.
    pub(crate) fn next_fetch_lines(&mut self, lines: &mut Vec<String>) -> Option<u64> {
        let mut ms = self.last;
        for _ in 0..1_000 {
            lines.extend(self.auto(ms));
            if self.open.iter().any(|(kind, _)| *kind == Kind::Fetch) {
                return Some(ms);
            }
            self.machine.progress()?;
            ms = self.idle.0?.as_millis() + 1;
            self.machine.handle_timeout(at(ms));
        }
        panic!("no fetch: {:?}", self.machine);
    }

    /// From `fetching` to the word to install.
    pub(crate) fn installing(config: Config) -> Self {
        let mut bench = Self::fetching(config);
        bench.good_head(1_100);
        let lines = bench.body(1_200, SIZE);
        assert!(lines.contains(&"event Install { size: 10000 }".into()), "{lines:?}");
        bench
    }

    /// From `installing` to the restart, the journal saying `Switching`.
    pub(crate) fn restarting(config: Config) -> Self {
        let mut bench = Self::installing(config);
        bench.machine.command(at(2_000), Command::Installed(Installed::NeedsRestart)).unwrap();
        assert_eq!(bench.auto(2_000), ["slot Activate", "event Restart"]);
        bench
    }

    pub(crate) fn journal(&self) -> Record {
        Record::decode(&self.record.expect("a record")).unwrap().1
    }
}

/// The right answer to a request from this byte on.
pub(crate) fn good(from: u64) -> ResponseHead<'static> {
    let whole = from == 0;
    ResponseHead {
        status: if whole { 200 } else { 206 },
        content_length: Some(SIZE - from),
        content_range: (!whole)
            .then_some(ContentRange { span: Some((from, SIZE - 1)), total: Some(SIZE) }),
        etag: Some(b"\"1\""),
        ..ResponseHead::default()
    }
}
