//! What happens to the machine.

use std::time::Duration;

use ota_proto::journal::{Journal, Phase, Record};
use ota_proto::{
    Boot, Coding, Command, Gate, Installed, Instant, Md5, OpId, Peer, ResponseHead, SlotAction,
    SlotState, StorageError, TransportError, Updater, Work,
};

use super::cloud::TOPIC;
use super::slot::INFO;
use super::slot::VERSIONS;
use super::world::{Block, Job, World, same};
use crate::input::Input;

impl World {
    pub(super) fn wait_to_deadline(&mut self) {
        let end = Instant::from_micros(u64::MAX >> 1);
        if let Some(deadline) = self.idle.deadline.filter(|deadline| *deadline < end) {
            self.now = deadline;
        } else {
            self.now = self.now + Duration::from_secs(3_600);
        }
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.jump(self.now + time);
    }

    pub(super) fn jump(&mut self, now: Instant) {
        // The end of time is far beyond any deadline.
        self.now = now.min(Instant::from_micros(u64::MAX >> 4));
    }

    pub(super) fn session(&mut self, up: bool) {
        self.up = up;
        self.pubs.clear();
        self.machine.handle_session(self.now, up);
    }

    pub(super) fn message(&mut self, payload: &str) {
        let before = self.machine.clone();
        if self.machine.handle_message(self.now, TOPIC, payload.as_bytes()).is_err() {
            same(&self.machine, &before, "a refused message");
        }
    }

    pub(super) fn published(&mut self, place: Option<usize>) {
        if let Some(place) = place {
            let id = self.pubs[place];
            self.machine.handle_published(self.now, id);
        }
    }

    fn op(&self, stale: bool) -> Option<OpId> {
        if stale { self.old_ops.first().copied() } else { self.fetch.as_ref().map(|f| f.op) }
    }

    pub(super) fn head(&mut self, head: &ResponseHead<'_>, stale: bool) {
        let Some(op) = self.op(stale) else { return };
        let result = self.machine.handle_response(self.now, op, head);
        if let Some(fetch) = self.fetch.as_mut().filter(|fetch| fetch.op == op) {
            if result.is_ok() {
                assert!(!fetch.answered, "two answers to one request");
                fetch.answered = true;
                fetch.at = if head.status == 206 { fetch.from } else { 0 };
                assert!(matches!(head.status, 200 | 206));
                let size = self.machine.offer().map_or(0, |offer| offer.size);
                let total = head.content_range.and_then(|range| range.total);
                let sized = [head.content_length, total].contains(&Some(size));
                assert!(sized || !head.coding.is_some_and(Coding::is_real), "compressed");
            }
        }
    }

    pub(super) fn body(&mut self, data: &[u8], stale: bool) {
        let Some(op) = self.op(stale) else { return };
        let Ok(body) = self.machine.handle_body(self.now, op, data) else { return };
        let fetch = self.fetch.as_mut().filter(|fetch| fetch.op == op && fetch.answered);
        let fetch = fetch.expect("a body is taken only after its head");
        assert!(body.consumed <= data.len());
        if let Some((op, Work::Write { at, bytes })) = body.work {
            assert_eq!((at, bytes), (fetch.at, &data[..body.consumed]));
            assert!(body.consumed > 0, "an empty write");
            fetch.at += body.consumed as u64;
            self.begin(op, Job::Write(at, bytes.to_vec()));
        } else {
            fetch.at += body.consumed as u64;
        }
    }

    pub(super) fn body_end(&mut self, stale: bool) {
        if let Some(op) = self.op(stale) {
            self.machine.handle_body_end(self.now, op);
            self.fetch.take_if(|fetch| fetch.op == op);
        }
    }

    pub(super) fn fetch_failed(&mut self, error: TransportError, stale: bool) {
        if let Some(op) = self.op(stale) {
            self.machine.handle_fetch_failed(self.now, op, error);
            self.fetch.take_if(|fetch| fetch.op == op);
        }
    }

    /// The slot's operation ends, or else the journal's; a failed write may be on the medium.
    pub(super) fn complete(&mut self, result: Result<(), StorageError>, input: &mut Input<'_>) {
        if input.flag() && self.persist.is_some() || self.job.is_none() {
            self.complete_persist(result, input);
        } else if let Some((op, job)) = self.job.take() {
            self.complete_job(op, &job, result);
        }
    }

    pub(super) fn complete_persist(
        &mut self,
        result: Result<(), StorageError>,
        input: &mut Input<'_>,
    ) {
        let Some((op, block)) = self.persist.take() else { return };
        match result {
            Ok(()) => {
                self.places[Journal::place(&block)] = Some(block);
                self.durable = Record::decode(&block).unwrap().1;
                self.told.durable(&self.durable);
                self.saving = None;
            }
            Err(_) => self.tear(&block, input),
        }
        self.machine.handle_done(self.now, op, result.map(|()| None));
    }

    /// What a write that did not end well leaves: nothing, all of it, or a torn record.
    fn tear(&mut self, block: &Block, input: &mut Input<'_>) {
        match input.byte() % 3 {
            0 => {}
            1 => self.places[Journal::place(block)] = Some(*block),
            _ => self.places[Journal::place(block)] = None,
        }
    }

    fn complete_job(&mut self, op: OpId, job: &Job, result: Result<(), StorageError>) {
        let good = result.is_ok();
        let mut digest = None;
        match job {
            Job::Erase(range) if good => self.slot.end_erase(range),
            Job::Write(at, bytes) => self.slot.write(*at, bytes, good),
            Job::Sync if good => self.slot.sync(),
            Job::Digest(upto) => {
                digest = Some(self.slot.digest(*upto));
                if good {
                    self.verified = digest;
                }
            }
            Job::Slot(action) => {
                if good {
                    self.switched |= matches!(action, SlotAction::Activate | SlotAction::RollBack);
                    self.refused = 0;
                    if *action == SlotAction::Confirm {
                        self.running.insert(self.machine.running().as_str().into());
                    }
                } else if *action == SlotAction::RollBack {
                    self.refused += 1;
                }
            }
            _ => {}
        }
        self.machine.handle_done(self.now, op, result.map(|()| digest));
    }

    /// An answer to an operation that is not in progress: no effect but that of time.
    pub(super) fn stale_completion(&mut self, input: &mut Input<'_>) {
        let Some(place) = input.place(self.old_ops.len()) else { return };
        let op = self.old_ops[place];
        let current = [
            self.job.as_ref().map(|(op, _)| *op),
            self.persist.as_ref().map(|(op, _)| *op),
            self.fetch.as_ref().map(|fetch| fetch.op),
        ];
        if current.contains(&Some(op)) {
            return;
        }
        let result = if input.flag() { Ok(()) } else { Err(StorageError::Failed) };
        let (now, machine) = (self.now, &mut self.machine);
        // Time has its effect with any input.
        let mut before = machine.clone();
        before.handle_body_end(now, op);
        // As many kinds as there were when the inputs were found.
        let digest = (input.byte() % 6 == 3).then_some(Md5([0; 16]));
        machine.handle_done(now, op, result.map(|()| digest));
        same(machine, &before, "an answer to nothing");
    }

    pub(super) fn command(&mut self, command: Command) -> bool {
        let before = self.machine.clone();
        let done = self.machine.command(self.now, command).is_ok();
        if !done {
            same(&self.machine, &before, "a misuse");
        }
        done
    }

    pub(super) fn confirm(&mut self) {
        self.confirmed |= self.command(Command::Confirm);
    }

    pub(super) fn installed(&mut self, what: Installed) -> bool {
        let done = self.command(Command::Installed(what));
        if done && what == Installed::Running {
            self.running.insert(self.machine.running().as_str().into());
        }
        done
    }

    pub(super) fn gate(&mut self, gate: Gate) {
        self.open = gate == Gate::OPEN;
        self.machine.set_gate(gate);
    }

    pub(super) fn certificate(&mut self, from: u64) {
        let peer = if from % 2 == 0 { Peer::Broker } else { Peer::Store };
        self.machine.handle_certificate(peer, from);
    }

    /// The power is cut, and comes back to any version in any state.
    pub(super) fn reboot(&mut self, input: &mut Input<'_>) {
        if let Some((_, block)) = self.persist.take() {
            self.tear(&block, input);
        }
        let slot = input.pick(&[
            SlotState::Confirmed,
            SlotState::Trial,
            SlotState::RolledBack,
            SlotState::Unknown,
        ]);
        let running = match input.byte() % 4 {
            0 | 1 => self.machine.running().as_str().into(),
            2 => self.target().unwrap_or_else(|| VERSIONS[0].into()),
            _ => String::from(input.pick(&VERSIONS)),
        };
        self.boot(&running, slot);
    }

    /// The version in the journal.
    pub(super) fn target(&self) -> Option<String> {
        let newest = Journal::newest(self.places.iter().flatten())?;
        Some(Record::decode(newest).unwrap().1.target?.version.as_str().into())
    }

    pub(super) fn boot(&mut self, running: &str, slot: SlotState) {
        self.slot.cut();
        let journal = Journal::newest(self.places.iter().flatten());
        let found = journal.map(|block| Record::decode(block).unwrap());
        self.sequence = found.as_ref().map(|(sequence, _)| *sequence);
        self.durable = found.map(|(_, record)| record).unwrap_or_default();
        self.told.durable(&self.durable);
        self.told.forget_progress();
        let boot = Boot { running, slot, journal, storage: INFO };
        self.machine = Updater::new(self.now, self.config.clone(), boot).unwrap();
        (self.job, self.persist, self.fetch) = (None, None, None);
        (self.saving, self.refused) = (None, 0);
        self.pubs.clear();
        self.old_ops.clear();
        self.latest = self.now;
        (self.up, self.open) = (false, true);
        (self.confirmed, self.switched, self.restart, self.unanswered) =
            (false, false, false, false);
        self.verified = None;
        let target = self.durable.target.map(|target| target.version);
        let came = target.is_some_and(|version| version.as_str() == running);
        // A whole image that is fetched again after its installation was begun may be switched to
        // late: the boot loader's mark was half written.
        let again = self.durable.phase == Phase::Fetching
            && self.durable.tries > 0
            && self.durable.from.is_some()
            && self.durable.target.is_some_and(|target| target.offset == target.size);
        let begun = again || matches!(self.durable.phase, Phase::Installing | Phase::Switching);
        // A boot loader's mark of a roll-back that nobody asked for is no evidence against what runs.
        let unasked = slot == SlotState::RolledBack && self.durable.owed.is_none();
        if came && begun && (unasked || matches!(slot, SlotState::Confirmed | SlotState::Unknown)) {
            // It runs, and nothing can take it back.
            self.running.insert(running.into());
        }
    }
}
