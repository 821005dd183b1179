//! The state at boot. The slot and the running version count more than the journal (docs/rules.md).

use crate::code::Reason;
use crate::config::{Config, ConfigError};
use crate::digest::Md5;
use crate::input::{Boot, SlotState};
use crate::journal::{Outcome, Owed, Phase, Record, Target};
use crate::output::Event;
use crate::rng::Rng;
use crate::time::Instant;
use crate::version::Version;

use super::attempt::stage::{Recall, Restarting, Stage, Trial, Why};
use super::attempt::{Attempt, Source};
use super::events::Events;
use super::image::Image;
use super::ledger::Ledger;
use super::result::{Owing, hash};
use super::session::Session;
use super::{Gate, Updater};

/// How often a reset may interrupt the installation of one image.
const TRIES: u8 = 3;

/// How often the slot is asked to clear the mark of a roll-back in one boot.
const MARKS: u8 = 3;

/// What journal, slot and running version mean together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// Nothing is open.
    Nothing,
    /// The slot may hold a part of this image or all of it: wait for its offer.
    Part(Target),
    /// The image that this device installed runs on trial.
    Trial(Target),
    /// The image that this device installed starts with the next reset.
    Armed(Target),
    /// The image on trial must be rolled back, for this reason.
    Back(Target, Reason),
    /// This result is owed.
    Result(Target, Outcome),
    /// A result was owed already.
    Owed,
}

// Not inlined: that would widen the caller's stack frame and cost flash.
#[inline(never)]
pub(super) fn start(now: Instant, cfg: Config, boot: Boot<'_>) -> Result<Updater, ConfigError> {
    let running = Version::new(boot.running).map_err(|_| ConfigError::Version)?;
    if boot.storage.erase == 0 || boot.storage.capacity == 0 {
        return Err(ConfigError::Storage);
    }
    if !cfg.timing.is_sound() {
        return Err(ConfigError::Timing);
    }
    if !cfg.limits.is_sound() {
        return Err(ConfigError::Limits);
    }
    let mut found = boot.journal.and_then(|block| Record::decode(block).ok());
    let device = hash(cfg.identity.report_topic().as_bytes());
    if let Some((_, record)) = &mut found {
        // The record of another device, from a copied file system, does not count. Ours continue
        // its sequence numbers.
        if ![0, device].contains(&record.device) {
            *record = Record::default();
        }
    }
    let record = found.map(|(_, record)| record).unwrap_or_default();
    let rng = Rng::new(cfg.seed);
    let budget = now + cfg.timing.attempt.times(u32::from(record.attempts));
    let mut machine = Updater {
        cfg,
        storage: boot.storage,
        running,
        slot: boot.slot,
        mark: (boot.slot == SlotState::RolledBack).then_some((MARKS, now)),
        now,
        advanced: now,
        rng,
        last_op: 0,
        last_pub: 0,
        session: Session::Down,
        update: None,
        owing: Owing::None,
        ledger: Ledger::new(found),
        job: None,
        job_retry: None,
        job_faults: 0,
        cancel: None,
        events: Events::default(),
        last_report: None,
        superseded: None,
        failed: None,
        budget,
        stopping: false,
        recall: None,
        version_answered: false,
        gate: Gate::OPEN,
    };
    machine.ledger.wanted.device = device;
    let finding = weigh(&record, boot.slot, running);
    machine.begin(finding);
    machine.advance();
    Ok(machine)
}

/// The running version, compared with the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Runs {
    /// The version that was offered.
    New,
    /// The version before the attempt, as far as the journal knows.
    Old,
    /// A third version.
    Neither,
}

/// The table "What is found at boot" of docs/rules.md: the first row that matches counts.
// Not inlined: that would widen the caller's stack frame and cost flash.
#[inline(never)]
fn weigh(record: &Record, slot: SlotState, running: Version) -> Finding {
    use Phase::{Fetching, Installing, Switching};
    use Runs::{Neither, New, Old};
    use SlotState::{Armed, Confirmed, RolledBack, Trial, Unknown};
    // `adopt_foreign` handles a trial or an armed slot without a record.
    let Some(target) = record.target else { return Finding::Nothing };
    // The reason of a roll-back, or the owed result.
    let reason = match record.owed {
        Some(Owed { result: Outcome::Failed(reason), .. }) => Some(reason),
        _ => None,
    };
    let runs = match record.from {
        _ if running == target.version => New,
        Some(from) if from != running => Neither,
        _ => Old,
    };
    let fail = |why| Finding::Result(target, Outcome::Failed(why));
    match (phase_of(record, &target, slot, runs != New), slot, runs, reason) {
        (Phase::None, _, _, _) => Finding::Nothing,
        (Phase::Owed, _, _, _) => weigh_owed(record, target, runs != New),
        (Fetching, Trial | Armed, _, _) => Finding::Nothing,
        (Fetching, Confirmed | Unknown | RolledBack, _, _) => Finding::Part(target),
        (_, Trial, Old | Neither, _) => Finding::Back(target, Reason::WrongVersion),
        // Only the restart is missing.
        (_, Armed, Old | Neither, _) => Finding::Armed(target),
        // It runs, and the next reset may roll it back. A boot loader that loses its own progress
        // reports a trial as armed.
        (_, Trial | Armed, New, None) => Finding::Trial(target),
        // A roll-back continues that was interrupted after its reason was recorded.
        (_, Trial | Armed, New, Some(why)) => Finding::Back(target, why),
        (_, RolledBack, _, Some(why)) => fail(why),
        (_, RolledBack, Old | Neither, None) => fail(Reason::BootFailed),
        // It runs, and no reset can roll it back. A boot loader may set its mark of a roll-back
        // without having swapped, so the running version decides.
        (_, Confirmed | Unknown | RolledBack, New, _) => Finding::Result(target, Outcome::Done),
        // The boot loader restored the old image and reports it as confirmed.
        (_, Confirmed | Unknown, Old | Neither, Some(why)) => fail(why),
        (_, Confirmed | Unknown, Neither, None) => fail(Reason::WrongVersion),
        (Switching, Unknown, Old, None) => fail(Reason::NotDurable),
        // A reset interrupted the installation or the switch. It is repeated, but not forever.
        (Installing | Switching, Confirmed | Unknown, Old, None) if record.tries >= TRIES => {
            fail(Reason::InstallCut)
        }
        (Installing | Switching, Confirmed | Unknown, Old, None) => Finding::Part(target),
    }
}

/// The journal's phase, corrected by the slot. If the switch seems not to have happened, the whole
/// image is fetched again. The boot loader may still read its half-written mark as written, and
/// then switches later.
fn phase_of(record: &Record, target: &Target, slot: SlotState, old_runs: bool) -> Phase {
    let again = record.phase == Phase::Fetching
        && record.tries > 0
        && record.from.is_some()
        && target.offset == target.size;
    let switched =
        !old_runs || matches!(slot, SlotState::Trial | SlotState::Armed | SlotState::RolledBack);
    if again && switched { Phase::Switching } else { record.phase }
}

fn weigh_owed(record: &Record, target: Target, old_runs: bool) -> Finding {
    match record.owed {
        // `done` was never sent and is no longer true.
        Some(Owed { result: Outcome::Done, sent: false, .. }) if old_runs => {
            Finding::Result(target, Outcome::Failed(Reason::NotDurable))
        }
        Some(_) => Finding::Owed,
        None => Finding::Nothing,
    }
}

impl Updater {
    fn begin(&mut self, finding: Finding) {
        match finding {
            Finding::Nothing => {}
            Finding::Owed => self.owing = Owing::Owed,
            Finding::Result(target, outcome) => self.finish(target, outcome),
            Finding::Part(target) => {
                let recall = Recall::new(Why::Boot, self.now, false, &self.cfg.timing);
                self.open(target, Stage::Recall(recall), self.resume_point(&target));
                if let Some(attempt) = &mut self.update {
                    attempt.found = true;
                }
            }
            Finding::Trial(target) => self.open_trial(target, true),
            Finding::Armed(target) => self.open_armed(target, true),
            Finding::Back(target, reason) => {
                self.open_trial(target, true);
                self.begin_roll_back(reason);
            }
        }
    }

    /// Opens an attempt for an image that another program installed: it is on trial, or starts with
    /// the next reset.
    pub(super) fn open_foreign(&mut self) {
        let target =
            Target { version: self.running, md5: Md5([0; 16]), size: 1, offset: 0, etag: 0 };
        match self.slot {
            SlotState::Armed => self.open_armed(target, false),
            _ => self.open_trial(target, false),
        }
    }

    fn open_armed(&mut self, target: Target, ours: bool) {
        let armed = Restarting { since: self.now, active: true, ask: None, ours };
        self.open(target, Stage::Restarting(armed), target.size);
    }

    fn open_trial(&mut self, target: Target, ours: bool) {
        let timing = &self.cfg.timing;
        if ours && self.ledger.wanted.phase == Phase::Fetching {
            // From now on the record may hold the reason of a roll-back.
            self.ledger.wanted.phase = Phase::Switching;
        }
        let trial = Trial {
            limit: ours.then(|| self.now + timing.trial),
            ask: self.now + timing.ask_again,
            confirmed: false,
            unable: None,
            back: None,
        };
        self.open(target, Stage::Trial(trial), target.size);
        self.events.push(Event::Trial);
    }

    fn open(&mut self, target: Target, stage: Stage, kept: u64) {
        let source = Source { offered_at: self.now, ..Source::default() };
        self.update = Some(Attempt::new(Image::of(&target), source, stage, kept, target.etag));
    }
}
