//! The conditions of every step, each stated once.
//!
//! The ordering table of docs/architecture.md, seen from outside (O16 is the client's):
//!
//! * **O1** a record claims only bytes that are synced and right, on an erase boundary;
//! * **O2** every record that may be on the medium claims none of the bytes that an erase or a
//!   write touches, and names the image that is being written;
//! * **O3** at most one slot operation is in progress;
//! * **O4** the whole image is hashed only when all of it is synced;
//! * **O5** `Install` only when the digest was right, the journal says `Installing` with one more
//!   try, and `burning` was handed over or 5 s have passed;
//! * **O6** activation only when the journal says `Switching`;
//! * **O7** `Restart` only after a durable activation or roll-back, and `burning` acknowledged or
//!   5 s;
//! * **O8** confirm only after the application's confirm and a reply to the report of what runs;
//! * **O9** `done` only when the new version runs for good and the journal owes `done`;
//! * **O10** `fail` only when the journal owes exactly that;
//! * **O11** roll-back only when the journal has the reason;
//! * **O12** no version report while a result is owed;
//! * **O13** no attempt begins while the journal owes a result;
//! * **O14** the journal stops owing only after the acknowledgement, in this session, of a
//!   publication of the result;
//! * **O15** nothing is erased or written while an image is on trial or a result is owed.
//!
//! And beside it:
//!
//! * one result per attempt, identical copies only;
//! * no progress and no fetch while a result is owed;
//! * progress never falls within a boot and an attempt, and is at most 99 before the digest;
//! * progress and checkpoints are no more than [`crate::counts`] allows;
//! * after `handle_timeout` the next deadline is later than now;
//! * nothing is fetched once an orderly stop was asked for;
//! * an image that is right on the medium is not blamed for one bit that was read wrongly, which
//!   costs a second hash and no download;
//! * the journal's last known time never falls, whatever the clock of the day says.

use core::time::Duration;

use ota_proto::journal::{Outcome, Owed, Phase, Record};
use ota_proto::{Event, Instant, OpId, PubId, SlotAction, SlotState};

use crate::counts::Counts;
use crate::setup::Setup;
use crate::storage::Storage;
use crate::trace::{Heard, Said, What};
use crate::trouble::Kind;

/// The checker. It sees what an observer sees, and looks into the storage.
#[derive(Clone, Debug, Default)]
pub struct Invariants {
    broken: Vec<String>,
    seen: Seen,
    /// The latest result of this attempt, over reboots.
    result: Option<Said>,
}

/// Observations since the device's program began.
#[derive(Clone, Debug, Default)]
struct Seen {
    up: bool,
    /// The device waits or has died: the next deadline must be later.
    woken: bool,
    job: Option<OpId>,
    persisting: Option<(OpId, Record)>,
    /// Writes with an unknown result: they failed, or did not end.
    doubt: Option<Record>,
    tries: u8,
    /// A digest of the whole image was right, and nothing was written since.
    verified: bool,
    digesting: Option<(OpId, u64)>,
    percent: i64,
    /// The version of `percent`.
    of: String,
    counts: Counts,
    burning: Option<(PubId, Instant)>,
    acknowledged: bool,
    slotting: Option<(OpId, SlotAction)>,
    /// When it was requested.
    slotting_since: Option<Instant>,
    /// Roll-backs that the slot refused.
    refused: u8,
    /// Since when a wanted record has not become durable.
    unsaved: Option<Instant>,
    switched: bool,
    rolled_back: bool,
    installed: Option<Instant>,
    confirmed: bool,
    reported: bool,
    answered: bool,
    stopping: bool,
    /// A bit was read wrongly, and nothing was hashed or offered since.
    misread: bool,
    /// The image in progress was offered before the hashed one.
    hashing_ours: bool,
    /// Publications of the result in this session.
    results: Vec<PubId>,
    result_acknowledged: bool,
}

const BURNING: Duration = Duration::from_secs(5);
/// The limit for an action of the slot.
const SLOT: Duration = Duration::from_secs(600);
/// The limit for a record of the journal.
const JOURNAL: Duration = Duration::from_secs(1_800);
/// Refused roll-backs before another attempt.
const REFUSED: u8 = 3;

impl Invariants {
    /// The violations, in order.
    #[must_use]
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    pub(crate) fn break_rule(&mut self, what: String) {
        self.broken.push(what);
    }

    fn must(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.broken.push(what());
        }
    }

    /// Checks one event. `storage` is the state just before it, except for ends of operations.
    pub(crate) fn observe(&mut self, now: Instant, what: &What, setup: &Setup, storage: &Storage) {
        match what {
            What::Boot { record, slot, .. } => {
                let tries = record.as_ref().map_or(0, |record| record.tries);
                // An image that was armed before the program ended is switched.
                let switched = *slot == SlotState::Armed;
                let counts = Counts::new(now);
                self.seen = Seen { percent: -1, tries, switched, counts, ..Seen::default() };
            }
            What::Off(_) => self.seen = Seen::default(),
            What::Session(up) => {
                self.seen.up = *up;
                if *up {
                    self.seen.counts.session();
                }
                self.seen.results.clear();
                self.seen.burning = None;
            }
            What::Publish(id, said) => self.on_publish(now, *id, said, setup, storage),
            What::Published(id) => self.on_published(*id),
            What::Heard(heard) => self.on_heard(heard, storage),
            What::Timeout => self.seen.woken = true,
            What::Idle(deadline, timer) => {
                let late = self.seen.woken && deadline.is_some_and(|at| at <= now);
                self.must(!late, || format!("deadline {deadline:?} {timer:?} is not after {now}"));
                self.seen.woken = false;
            }
            What::Erase(op, range) | What::Write(op, range) => {
                self.begin_job(*op);
                self.on_touch(range.start, setup, storage);
            }
            What::Sync(op) => self.begin_job(*op),
            What::Digest(op, range) => {
                (self.seen.misread, self.seen.hashing_ours) = (false, true);
                self.on_digest(*op, range.end, setup, storage);
            }
            What::Slot(op, action) => {
                self.seen.slotting_since = Some(now);
                self.on_slot(*op, *action, setup, storage);
            }
            What::Done(op, ok) => self.on_done(*op, *ok, setup, storage),
            What::Persist(op, record) => {
                self.seen.unsaved.get_or_insert(now);
                self.broken.extend(self.seen.counts.record(now, record));
                self.on_persist(*op, record, setup, storage);
            }
            What::Persisted(op, ok) => {
                if let Some((_, record)) = self.seen.persisting.take_if(|(at, _)| at == op) {
                    self.seen.doubt = (!ok).then_some(record);
                    self.seen.unsaved.take_if(|_| *ok);
                }
            }
            What::Fetch(..) => self.on_fetch(storage),
            What::Event(event) => self.on_event(now, event, storage),
            What::Met(Kind::MovedImage) => self.seen.verified = false,
            What::Met(Kind::FlippedBit) => self.on_misread(setup, storage),
            What::Command("stop") => self.seen.stopping = true,
            What::Command("confirm") => self.seen.confirmed = true,
            What::Command("installed") => self.seen.installed = Some(now),
            _ => {}
        }
        if !matches!(what, What::Timeout | What::Idle(..)) {
            // The state changed: a deadline may be overdue until it is handled.
            self.seen.woken = false;
        }
    }

    fn begin_job(&mut self, op: OpId) {
        let busy = self.seen.job.replace(op);
        self.must(busy.is_none(), || "O3: two slot operations at once".into());
    }

    /// The first wrong digest of a complete image costs a second hash and no download.
    fn on_misread(&mut self, setup: &Setup, storage: &Storage) {
        let image = target_image(setup, storage).unwrap_or_default();
        let holds = storage.target().surely_holds(image, image.len() as u64);
        let ours = self.seen.hashing_ours;
        self.seen.misread = storage.misreads.flipped == 1 && holds && ours;
    }

    fn on_fetch(&mut self, storage: &Storage) {
        self.seen.counts.fetch();
        let stopping = self.seen.stopping;
        self.must(!stopping, || "a fetch after an orderly stop was asked for".into());
        let misread = self.seen.misread;
        self.must(!misread, || "fetched again for one wrongly read bit".into());
        let owed = owes(storage).is_some();
        self.must(!owed, || "O13: a fetch while a result is owed".into());
    }

    fn on_digest(&mut self, op: OpId, end: u64, setup: &Setup, storage: &Storage) {
        self.begin_job(op);
        self.seen.digesting = Some((op, end));
        let size = target_image(setup, storage).map_or(0, <[u8]>::len) as u64;
        let synced = storage.target().is_synced();
        self.must(end < size || synced, || "O4: hashed before it was synced".into());
    }

    fn on_touch(&mut self, start: u64, setup: &Setup, storage: &Storage) {
        self.seen.verified = false;
        let durable = storage.journal.record();
        let md5 = durable.as_ref().and_then(|record| record.target).map(|target| target.md5);
        let known = md5.is_some_and(|md5| setup.image_of(md5).is_some());
        self.must(known, || "O2: the journal names an unknown image".into());
        let fits = |record: &Record| {
            record.phase == Phase::Fetching
                && record.target.is_some_and(|t| Some(t.md5) == md5 && t.offset <= start)
        };
        let told = durable.as_ref().is_some_and(fits);
        self.must(told, || format!("O2: the journal claims {durable:?}, touched at {start}"));
        let under = self.seen.persisting.as_ref().map(|(_, record)| record);
        let under = under.or(self.seen.doubt.as_ref()).cloned();
        let safe = under.as_ref().is_none_or(fits);
        self.must(safe, || format!("O2: {under:?} may become durable, touched at {start}"));
        self.must(!storage.loader.is_trial(), || "O15: the roll-back target is written".into());
        self.must(owes(storage).is_none(), || "O15: written while a result is owed".into());
    }

    fn on_slot(&mut self, op: OpId, action: SlotAction, setup: &Setup, storage: &Storage) {
        self.begin_job(op);
        self.seen.slotting = Some((op, action));
        let record = storage.journal.record().unwrap_or_default();
        match action {
            SlotAction::Activate => {
                self.must(record.phase == Phase::Switching, || "O6: not journalled".into());
                let image = record.target.and_then(|target| setup.image_of(target.md5));
                let whole = image.is_some_and(|image| {
                    storage.target().surely_holds(&image.bytes, image.bytes.len() as u64)
                });
                self.must(whole, || "another image than the offered one is activated".into());
            }
            SlotAction::Confirm => {
                let (confirmed, answered) = (self.seen.confirmed, self.seen.answered);
                let heard = answered || !setup.device.confirm_needs_reply;
                self.must(confirmed, || "O8: the application did not confirm".into());
                self.must(heard, || "O8: the cloud did not answer".into());
            }
            SlotAction::RollBack => {
                let ours = matches!(record.phase, Phase::Installing | Phase::Switching);
                let reason = matches!(record.owed, Some(Owed { result: Outcome::Failed(_), .. }));
                self.must(!ours || reason, || "O11: no reason in the journal".into());
            }
            _ => {}
        }
    }

    fn on_done(&mut self, op: OpId, ok: bool, setup: &Setup, storage: &Storage) {
        self.seen.job.take_if(|job| *job == op);
        if let Some((_, end)) = self.seen.digesting.take_if(|(at, _)| *at == op) {
            self.seen.verified = target_image(setup, storage).is_some_and(|image| {
                let whole = end >= image.len() as u64;
                ok && whole && storage.target().bytes().get(..image.len()) == Some(image)
            });
        }
        if let Some((_, action)) = self.seen.slotting.take_if(|(at, _)| *at == op) {
            let refused = action == SlotAction::RollBack && !ok;
            self.seen.refused = self.seen.refused.saturating_add(u8::from(refused));
            let switch = matches!(action, SlotAction::Activate | SlotAction::RollBack);
            self.seen.switched |= switch && ok;
            self.seen.rolled_back |= action == SlotAction::RollBack && ok;
        }
    }

    fn on_persist(&mut self, op: OpId, record: &Record, setup: &Setup, storage: &Storage) {
        let busy = self.seen.persisting.is_some();
        self.must(!busy, || "two journal writes at once".into());
        let before = storage.journal.record().unwrap_or_default();
        if before.phase == Phase::Owed && record.phase != Phase::Owed {
            let told = self.seen.result_acknowledged;
            self.must(told, || "O14: the result goes before it is acknowledged".into());
            self.result = None;
        }
        if let Some(target) = record.target.filter(|target| target.offset > 0) {
            let whole = target.offset == target.size;
            let unit = u64::from(setup.erase);
            self.must(whole || target.offset % unit == 0, || "O1: off the boundary".into());
            let image = setup.image_of(target.md5);
            let holds = image
                .is_some_and(|i| storage.target().surely_holds(&i.bytes, target.offset))
                || storage.loader.running() == target.version.as_str();
            // Detecting a wrong byte of the server is the digest's task.
            let honest = self.seen.verified || !setup.lying_server;
            self.must(!honest || holds, || format!("O1: {} claimed", target.offset));
        }
        let blamed = record.phase == Phase::Owed
            && before.phase != Phase::Owed
            && record.owed.is_some_and(|owed| owed.result.code() == -4);
        if blamed {
            let image = target_image(setup, storage).unwrap_or_default();
            let holds = storage.target().surely_holds(image, image.len() as u64);
            let misread = storage.misreads.flipped;
            self.must(!holds || misread > 1, || format!("{misread} flipped bits are blamed on it"));
        }
        if record.phase == Phase::Installing && before.phase != Phase::Installing {
            let counted = record.tries == before.tries.saturating_add(1);
            self.must(counted, || "O5: the try is not counted".into());
        }
        let later = record.valid_from[0] >= before.valid_from[0];
        self.must(later, || "the floor of the clock falls".into());
        self.seen.tries = record.tries;
        self.seen.persisting = Some((op, *record));
    }

    fn on_publish(&mut self, now: Instant, id: PubId, said: &Said, setup: &Setup, st: &Storage) {
        let owed = owes(st);
        match said {
            Said::Version(version) => {
                let runs = version == st.loader.running();
                self.must(runs, || format!("reported {version}, {} runs", st.loader.running()));
                self.must(owed.is_none(), || "O12: a version report, a result is owed".into());
                self.seen.reported = true;
            }
            Said::Downloading(version, percent) => {
                self.must(owed.is_none(), || "progress while a result is owed".into());
                if self.seen.of != *version {
                    // Another attempt: its first report may come before its event.
                    self.seen.of.clone_from(version);
                    self.seen.percent = -1;
                }
                let (last, verified) = (self.seen.percent, self.seen.verified);
                let timing = &setup.device.timing;
                self.broken.extend(self.seen.counts.report(now, last < 0, timing));
                self.must(*percent >= last, || format!("progress fell from {last} to {percent}"));
                self.must(*percent <= 99 || verified, || "100 before the digest".into());
                self.seen.percent = *percent;
            }
            Said::Burning(_) => {
                self.must(owed.is_none(), || "burning while a result is owed".into());
                self.seen.burning = Some((id, now));
            }
            Said::Done(version) => {
                let runs = st.loader.running() == version && !st.loader.is_trial();
                self.must(runs, || "O9: done before the new version runs for good".into());
                let journalled = matches!(owed, Some(Owed { result: Outcome::Done, .. }));
                self.must(journalled, || "O9: done is not in the journal".into());
            }
            Said::Fail(_, code, text) => {
                let same = owed.is_some_and(|owed| {
                    owed.result != Outcome::Done
                        && i64::from(owed.result.code()) == *code
                        && owed.to_string() == *text
                });
                self.must(same, || format!("O10: {said:?} is not in the journal: {owed:?}"));
            }
        }
        if said.is_result() {
            let before = self.result.replace(said.clone());
            let same = before.as_ref().is_none_or(|before| before == said);
            self.must(same, || format!("two results: {before:?}, {said:?}"));
            self.seen.results.push(id);
            self.seen.result_acknowledged = false;
            self.seen.percent = -1;
        }
    }

    fn on_published(&mut self, id: PubId) {
        self.seen.result_acknowledged |= self.seen.results.contains(&id);
        self.seen.acknowledged |= self.seen.burning.is_some_and(|(burning, _)| burning == id);
    }

    fn on_heard(&mut self, heard: &Heard, storage: &Storage) {
        let answer = match heard {
            Heard::Reply(version) => version == storage.loader.running(),
            Heard::Offer(_) => {
                // It may be of another image, which is fetched whatever the result of the hash.
                (self.seen.misread, self.seen.hashing_ours) = (false, false);
                true
            }
            Heard::Other => false,
        };
        self.seen.answered |= answer && self.seen.reported;
    }

    fn on_event(&mut self, now: Instant, event: &Event, storage: &Storage) {
        let record = storage.journal.record().unwrap_or_default();
        let spoken = self.seen.burning;
        match event {
            Event::Started { .. } => {
                self.must(record.phase != Phase::Owed, || "O13: a result is owed".into());
                self.seen.percent = -1;
            }
            // What comes next is another attempt.
            Event::Superseded | Event::Withdrawn => self.seen.percent = -1,
            Event::Install { .. } => {
                let verified = self.seen.verified;
                self.must(verified, || "O5: the digest was not right".into());
                let phase = record.phase == Phase::Installing && record.tries > 0;
                self.must(phase, || "O5: not journalled".into());
                // Without a session the machine waits, but not forever.
                let told = spoken.is_some() || !self.seen.up || self.waited(now);
                self.must(told, || "O5: burning was not handed over".into());
            }
            Event::Restart => {
                let switched = self.seen.switched || self.is_left_to_the_start(now, storage);
                self.must(switched, || "O7: nothing was switched".into());
                let long = self.seen.installed.is_none_or(|at| now.since(at) >= BURNING);
                let told = self.seen.acknowledged || long || self.seen.rolled_back;
                self.must(told, || "O7: burning is not acknowledged".into());
            }
            _ => {}
        }
    }

    /// A slot or journal that has not answered within its limit is left to the next start, and so
    /// is a roll-back that the slot refuses: nothing was confirmed.
    fn is_left_to_the_start(&self, now: Instant, storage: &Storage) -> bool {
        let trial = storage.loader.is_trial();
        let asked =
            self.seen.slotting.filter(|(_, action)| trial || *action == SlotAction::Activate);
        let since = self.seen.slotting_since.filter(|_| asked.is_some());
        let unsaved = self.seen.unsaved.filter(|_| trial);
        since.is_some_and(|since| now.since(since) >= SLOT)
            || unsaved.is_some_and(|since| now.since(since) >= JOURNAL)
            || (trial && self.seen.refused > REFUSED)
    }

    /// `burning` was sent 5 s ago.
    fn waited(&self, now: Instant) -> bool {
        self.seen.burning.is_none_or(|(_, at)| now.since(at) >= BURNING)
    }
}

/// The image in the journal.
fn target_image<'a>(setup: &'a Setup, storage: &Storage) -> Option<&'a [u8]> {
    let target = storage.journal.record()?.target?;
    Some(&setup.image_of(target.md5)?.bytes)
}

/// The owed result in the journal.
fn owes(storage: &Storage) -> Option<Owed> {
    let record = storage.journal.record()?;
    record.owed.filter(|_| record.phase == Phase::Owed)
}
