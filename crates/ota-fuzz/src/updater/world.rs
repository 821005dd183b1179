//! Everything around the machine, and what must hold whenever it asks for something.

use std::collections::BTreeSet;
use std::ops::Range;

use ota_proto::journal::{Phase, Record};
use ota_proto::url::Url;
use ota_proto::{
    Boot, Config, Downgrade, Event, Hold, Identity, Instant, Journal, Md5, Micros, OpId, Order,
    Outcome, Output, PubId, Publish, SlotAction, SlotState, State, Timer, Updater, Verify, Work,
};

use super::slot::{INFO, Slot, VERSIONS};
use super::told::Reports;
use crate::input::Input;

pub(super) type Block = [u8; Journal::LEN];

/// A slot operation in progress.
#[derive(Clone, Debug)]
pub(super) enum Job {
    Erase(Range<u64>),
    Write(u64, Vec<u8>),
    Sync,
    Digest(u64),
    Slot(SlotAction),
}

/// The fetch in progress.
#[derive(Clone, Debug)]
pub(super) struct Fetch {
    pub(super) op: OpId,
    pub(super) from: u64,
    /// Where the next body byte belongs.
    pub(super) at: u64,
    pub(super) answered: bool,
}

/// What the machine said last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Idle {
    pub(super) deadline: Option<Instant>,
    #[allow(dead_code, reason = "shown when a check fails")]
    pub(super) timer: Option<Timer>,
}

/// Refused roll-backs that are followed by another one.
const REFUSED: u8 = 3;

pub(super) struct World {
    pub(super) now: Instant,
    /// The latest moment that the machine was told.
    pub(super) latest: Instant,
    pub(super) config: Config,
    pub(super) machine: Updater,
    pub(super) slot: Slot,
    /// The two places of the journal, and a record on its way to one of them.
    pub(super) places: [Option<Block>; 2],
    pub(super) persist: Option<(OpId, Block)>,
    /// What the machine may take for durable.
    pub(super) durable: Record,
    pub(super) sequence: Option<u32>,
    pub(super) job: Option<(OpId, Job)>,
    /// When that was asked for.
    job_since: Instant,
    /// Since when no record has become durable that was to.
    pub(super) saving: Option<Instant>,
    /// Roll-backs that the slot refused, one after the other.
    pub(super) refused: u8,
    pub(super) fetch: Option<Fetch>,
    pub(super) pubs: Vec<PubId>,
    pub(super) old_ops: Vec<OpId>,
    pub(super) up: bool,
    pub(super) open: bool,
    pub(super) idle: Idle,
    pub(super) told: Reports,
    /// The digest that was found right last.
    pub(super) verified: Option<Md5>,
    pub(super) confirmed: bool,
    /// The slot was switched, or switched back: a restart makes sense.
    pub(super) switched: bool,
    /// The machine asked for a restart.
    pub(super) restart: bool,
    /// A version report that nobody has answered.
    pub(super) unanswered: bool,
    pub(super) running: BTreeSet<String>,
}

impl World {
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let mut config = Config::new(Identity::new("TESTPROD01", "dev001").unwrap(), 7);
        let shape = input.byte();
        let hold = |bit: u8| if shape & bit == 0 { Hold::Auto } else { Hold::Ask };
        (config.consent, config.approval, config.install) = (hold(1), hold(2), hold(4));
        config.allow_http = shape & 8 != 0;
        config.confirm_needs_reply = shape & 16 == 0;
        config.verify = if shape & 32 == 0 { Verify::ReadBack } else { Verify::Trailing };
        if shape & 64 != 0 {
            config.downgrade = Downgrade::Refuse(Order::SemVer);
        }
        let boot =
            Boot { running: VERSIONS[0], slot: SlotState::Confirmed, journal: None, storage: INFO };
        Self {
            now: Instant::ZERO,
            latest: Instant::ZERO,
            machine: Updater::new(Instant::ZERO, config.clone(), boot).unwrap(),
            config,
            slot: Slot::new(),
            places: [None; 2],
            persist: None,
            durable: Record::default(),
            sequence: None,
            job: None,
            job_since: Instant::ZERO,
            saving: None,
            refused: 0,
            fetch: None,
            pubs: Vec::new(),
            old_ops: Vec::new(),
            up: false,
            open: true,
            idle: Idle::default(),
            told: Reports::default(),
            verified: None,
            confirmed: false,
            switched: false,
            restart: false,
            unanswered: false,
            running: BTreeSet::new(),
        }
    }

    /// Takes outputs until there are none; when the deadline is there, serves it.
    pub(super) fn settle(&mut self) {
        self.latest = self.latest.max(self.now);
        self.aim();
        self.drain();
        if self.idle.deadline.is_some_and(|deadline| deadline <= self.latest) {
            self.machine.handle_timeout(self.now);
            self.drain();
            assert!(
                self.idle.deadline.is_none_or(|deadline| deadline > self.latest),
                "a stale deadline at {}: {:?}",
                self.latest,
                self.idle
            );
        }
        let waits = self.up && self.open && self.job.is_none() && self.persist.is_none();
        assert!(!waits || self.idle.deadline.is_some(), "it waits forever");
        if matches!(self.machine.state(), State::Idle | State::Offered | State::Deferred) {
            self.told.forget_progress();
        }
        if !matches!(self.machine.state(), State::Restarting | State::Trial) {
            // The next restart needs a reason of its own.
            (self.switched, self.restart) = (false, false);
        }
    }

    fn drain(&mut self) {
        for _ in 0..100 {
            let before = self.machine.clone();
            let needed = match self.machine.poll(self.now, &mut []) {
                Ok(_) => 0,
                Err(error) => error.needed,
            };
            if needed > 0 {
                same(&self.machine, &before, "a small buffer");
                let mut short = vec![0; needed - 1];
                let error = self.machine.poll(self.now, &mut short).unwrap_err();
                assert_eq!(error.needed, needed);
                assert!(needed <= Config::buffer_len());
            }
            // The same state asks for the same.
            let mut machine = before;
            let mut buf = vec![0; needed];
            let output = machine.poll(self.now, &mut buf).unwrap();
            let idle = self.handle(&output);
            self.machine = machine;
            self.trim(idle);
            if idle {
                return;
            }
        }
        panic!("it never comes to an end: {:?}", self.machine);
    }

    fn aim(&mut self) {
        let image = self.machine.offer().map(|offer| (offer.md5, offer.size));
        self.told.aim(image);
    }

    /// Forgets the oldest names.
    fn trim(&mut self, idle: bool) {
        if idle && self.old_ops.len() > 16 {
            self.old_ops.drain(..8);
        }
        if self.pubs.len() > 16 {
            self.pubs.drain(..8);
        }
    }

    /// Notes what is asked for, and checks that it may be asked for now; whether it is `Idle`.
    fn handle(&mut self, output: &Output<'_>) -> bool {
        match output {
            Output::Publish(Publish { id, topic, qos, payload }) => {
                assert_eq!(*topic, "$ota/report/TESTPROD01/dev001");
                assert!(self.up, "published without a session");
                self.aim();
                let done = &self.running;
                let report = self.told.publish(&self.durable, done, self.verified, *qos, payload);
                self.unanswered |= report;
                self.pubs.push(*id);
            }
            Output::Fetch(ota_proto::Fetch { op, url, from, .. }) => {
                let url = Url::parse(url).expect("a URL");
                assert!(url.tls || self.config.allow_http, "plain http was not allowed");
                assert!(self.slot.is_written(*from), "it goes on behind a hole");
                self.fetch = Some(Fetch { op: *op, from: *from, at: *from, answered: false });
                self.old_ops.push(*op);
            }
            Output::CancelFetch(op) => {
                self.fetch.take_if(|fetch| fetch.op == *op);
            }
            Output::Do(op, Work::Erase { range, size }) => {
                assert!((range.end..=INFO.capacity.max(range.end)).contains(size) || *size > 0);
                self.check_claims(range);
                self.slot.begin_erase(range);
                self.begin(*op, Job::Erase(range.clone()));
            }
            Output::Do(op, Work::Sync) => self.begin(*op, Job::Sync),
            Output::Do(op, Work::Digest { range }) => {
                assert!(self.slot.is_durable(range.end), "a hash of what is not on the medium");
                self.begin(*op, Job::Digest(range.end));
            }
            Output::Do(op, Work::Slot(action)) => {
                self.check_action(*action);
                self.begin(*op, Job::Slot(*action));
            }
            Output::Do(op, Work::Persist(record)) => self.check_record(*op, record),
            Output::Event(event) => self.check_event(event),
            Output::Idle(ota_proto::Idle { deadline, timer, read_body }) => {
                assert!(!read_body || self.fetch.is_some(), "it wants a body and fetches none");
                assert_eq!(deadline.is_some(), timer.is_some());
                self.idle = Idle { deadline: *deadline, timer: *timer };
                return true;
            }
            other => panic!("unknown: {other:?}"),
        }
        false
    }

    pub(super) fn begin(&mut self, op: OpId, job: Job) {
        assert!(self.job.is_none(), "{job:?} beside {:?}", self.job);
        self.job = Some((op, job));
        self.job_since = self.latest;
        self.old_ops.push(op);
    }

    /// No record that a reset may find claims bytes that go (O2).
    fn check_claims(&self, range: &Range<u64>) {
        let newest = Journal::newest(self.places.iter().flatten());
        for block in newest.into_iter().chain(self.persist.as_ref().map(|(_, block)| block)) {
            let (_, record) = Record::decode(block).unwrap();
            let offset = record.target.map_or(0, |target| target.offset);
            assert!(offset <= range.start, "{record:?} claims what {range:?} erases");
        }
    }

    fn check_record(&mut self, op: OpId, block: &Block) {
        assert!(self.persist.is_none(), "two records at a time");
        let (sequence, record) = Record::decode(block).expect("it can be read again");
        let after = self.sequence.is_none_or(|last| sequence.wrapping_sub(last) < 2);
        assert!(after, "{sequence} after {:?}", self.sequence);
        if let Some(newest) = Journal::newest(self.places.iter().flatten()) {
            let known = Record::decode(newest).unwrap().0;
            assert!(Journal::place(newest) != Journal::place(block) || known == sequence);
        }
        if let Some(target) = record.target.filter(|_| record.phase != Phase::None) {
            assert!(self.slot.is_durable(target.offset), "{record:?} claims a hole");
        }
        self.sequence = Some(sequence);
        self.persist = Some((op, *block));
        self.saving.get_or_insert(self.latest);
        self.old_ops.push(op);
    }

    fn check_action(&self, action: SlotAction) {
        match action {
            SlotAction::Activate => assert_eq!(self.durable.phase, Phase::Switching),
            SlotAction::Confirm => assert!(self.confirmed, "nobody confirmed it"),
            // An image that somebody else installed has no result.
            SlotAction::RollBack if matches!(self.durable.phase, Phase::None | Phase::Fetching) => {
            }
            SlotAction::RollBack => {
                let why = self.durable.owed.map(|owed| owed.result);
                assert!(matches!(why, Some(Outcome::Failed(_))), "rolled back without a reason");
            }
            _ => {}
        }
    }

    fn check_event(&mut self, event: &Event) {
        match event {
            Event::Install { size } => {
                let record = &self.durable;
                assert!(record.phase == Phase::Installing && record.tries > 0, "{record:?}");
                assert!(self.slot.is_durable(*size), "the image is not on the medium");
                let target = record.target.unwrap();
                assert_eq!((target.size, target.md5), (*size, self.slot.digest(*size)));
            }
            Event::Restart => {
                let told = self.switched || self.restart;
                assert!(told || self.is_left_to_the_restart(), "a restart into nothing");
                self.restart = true;
            }
            _ => {}
        }
    }

    /// A slot or journal that has not answered within its limit is left to the next start, which
    /// looks at it; so is a slot that does not take the roll-back.
    pub(super) fn is_left_to_the_restart(&self) -> bool {
        let timing = &self.config.timing;
        // A second for each 64 KiB of the slot.
        let limit = timing.install.plus(Micros::from_secs(INFO.capacity / 65_536));
        let late = self.latest.past(self.job_since) >= limit;
        let job = self.job.as_ref().filter(|_| late).map(|(_, job)| job);
        match self.machine.state() {
            State::Restarting => matches!(job, Some(Job::Slot(SlotAction::Activate))),
            State::Trial => {
                let unsaved = self.saving.map(|since| self.latest.past(since));
                matches!(job, Some(Job::Slot(_)))
                    || self.refused > REFUSED
                    || unsaved.is_some_and(|unsaved| unsaved >= timing.patience)
            }
            _ => false,
        }
    }
}

/// What had to be without effect was.
pub(super) fn same(now: &Updater, before: &Updater, what: &str) {
    if now != before {
        let (now, before) = (format!("{now:?}"), format!("{before:?}"));
        let equal = now.bytes().zip(before.bytes()).take_while(|(a, b)| a == b).count();
        let from = equal.saturating_sub(60);
        let [now, before] = [now, before].map(|text| text.chars().skip(from).take(200).collect());
        let (now, before): (String, String) = (now, before);
        panic!("{what} had an effect: …{now}… in place of …{before}…");
    }
}
