//! The device's storage: two slots, the journal, the boot loader, and the work in progress.

use core::ops::Range;

use ota_proto::journal::Record;
use ota_proto::{Boot, Digester, Journal, Md5, OpId, Rng, SlotAction, SlotInfo, SlotState, Work};

use crate::flash::{Flash, FlashOp};
use crate::journal::JournalPlaces;
use crate::loader::Loader;
use crate::setup::Setup;
use crate::tear::{Mode, Tear};
use crate::trace::What;

/// What a power cut does to work in progress and to unsynced data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    /// None of it takes effect.
    Before,
    /// A random part of it takes effect.
    Torn,
    /// All of it takes effect, but the program does not learn of it.
    After,
}

/// A block of the journal.
pub(crate) type Block = Box<[u8; Journal::LEN]>;

/// The work in progress on a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Job {
    Flash(FlashOp),
    Sync,
    /// The hash covers the bytes from the start to here.
    Digest(u64),
    Slot(SlotAction),
}

impl Job {
    /// The slot operation of this work, and its line of the trace. The error is the block of a
    /// journal write.
    pub(crate) fn of(op: OpId, work: Work<Vec<u8>>) -> Result<(Self, What), Block> {
        Ok(match work {
            Work::Erase { range, .. } => {
                (Self::Flash(FlashOp::Erase(range.clone())), What::Erase(op, range))
            }
            Work::Write { at, bytes } => {
                let end = at.saturating_add(bytes.len() as u64);
                (Self::Flash(FlashOp::Write(at, bytes)), What::Write(op, at..end))
            }
            Work::Sync => (Self::Sync, What::Sync(op)),
            Work::Digest { range } => (Self::Digest(range.end), What::Digest(op, range)),
            Work::Slot(action) => (Self::Slot(action), What::Slot(op, action)),
            Work::Persist(block) => return Err(Box::new(block)),
        })
    }
}

/// What a program finds when it starts.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    running: String,
    slot: SlotState,
    journal: Option<[u8; Journal::LEN]>,
    record: Option<Record>,
    info: SlotInfo,
}

impl Found {
    /// For the updater.
    pub(crate) fn boot(&self) -> Boot<'_> {
        let (running, journal) = (self.running.as_str(), self.journal.as_ref());
        Boot { running, slot: self.slot, journal, storage: self.info }
    }
}

impl From<Found> for What {
    fn from(found: Found) -> Self {
        Self::Boot { running: found.running, slot: found.slot, record: found.record }
    }
}

/// Unreadable words of a slot.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unreadable {
    /// Their place.
    pub range: Range<u64>,
    /// Whether an erase repairs them.
    pub until_erased: bool,
}

/// The read errors of the slot and the journal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Misreads {
    /// How many of the coming reads return a flipped bit.
    pub flips: u32,
    /// One in this many reads is affected.
    pub one_in: u64,
    /// How many reads were affected.
    pub flipped: u32,
    /// Unreadable words of the slot that is the first target of updates.
    pub unreadable: Option<Unreadable>,
    /// How many of the coming reads of journal places fail: a bit is flipped, or the place cannot
    /// be read. The number per start is so small that no place fails on every read.
    pub journal: usize,
}

/// The state that outlives the device's program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Storage {
    /// The two slots.
    pub flash: [Flash; 2],
    /// The journal.
    pub journal: JournalPlaces,
    /// The boot loader.
    pub loader: Loader,
    /// The read errors.
    pub misreads: Misreads,
    pub(crate) job: Option<(OpId, Job)>,
    pub(crate) persist: Option<(OpId, Block)>,
}

impl Storage {
    pub(crate) fn new(setup: &Setup, rng: &mut Rng) -> Self {
        let mut running = Flash::new(setup.capacity, rng);
        running.fill(&setup.old);
        Self {
            flash: [running, Flash::new(setup.capacity, rng)],
            journal: JournalPlaces::default(),
            loader: Loader::new(setup.from),
            misreads: Misreads::default(),
            job: None,
            persist: None,
        }
    }

    /// What a program finds when it starts now.
    pub(crate) fn find(&self, setup: &Setup) -> Found {
        Found {
            running: self.loader.running().to_owned(),
            slot: self.loader.state(),
            journal: self.journal.newest().copied(),
            record: self.journal.record(),
            info: SlotInfo { capacity: setup.capacity, erase: setup.erase, write: 1 },
        }
    }

    /// Begins this work. Returns its line of the trace.
    pub(crate) fn begin(&mut self, op: OpId, work: Work<Vec<u8>>) -> Result<What, String> {
        match Job::of(op, work) {
            Ok((job, what)) => match self.job.replace((op, job)) {
                Some((_, other)) => Err(format!("{what:?} beside {other:?} (O3)")),
                None => Ok(what),
            },
            Err(block) => {
                let record = Record::decode(&block);
                self.persist = Some((op, block));
                let (_, record) = record.map_err(|error| format!("bad record: {error}"))?;
                Ok(What::Persist(op, record))
            }
        }
    }

    /// The target slot of updates.
    #[must_use]
    pub fn target(&self) -> &Flash {
        let [first, second] = &self.flash;
        if self.loader.other() == 0 { first } else { second }
    }

    /// The running slot.
    #[must_use]
    pub fn running(&self) -> &Flash {
        let [first, second] = &self.flash;
        if self.loader.active() == 0 { first } else { second }
    }

    fn target_mut(&mut self) -> &mut Flash {
        let [first, second] = &mut self.flash;
        if self.loader.other() == 0 { first } else { second }
    }

    /// The version whose installation the journal records.
    #[must_use]
    pub fn installing(&self) -> String {
        let target = self.journal.record().and_then(|record| record.target);
        target.map(|target| target.version.to_string()).unwrap_or_default()
    }

    fn act(&mut self, action: SlotAction) {
        let version = self.installing();
        self.loader.apply(action, &version);
    }

    /// Does the job in progress. A digest returns an answer.
    pub(crate) fn finish_job(&mut self, job: &Job, rng: &mut Rng) -> Result<Option<Md5>, String> {
        match job {
            Job::Flash(op) => {
                if let FlashOp::Erase(range) = op {
                    self.misreads.unreadable.take_if(|words| {
                        words.until_erased
                            && range.start <= words.range.start
                            && words.range.end <= range.end
                    });
                }
                self.target_mut().apply(op)?;
            }
            Job::Sync => self.target_mut().sync(),
            Job::Digest(end) => {
                self.target_mut().reread(rng);
                let end = usize::try_from(*end).unwrap_or(usize::MAX);
                let bytes = self.target().bytes().get(..end).ok_or("digest outside the slot")?;
                let mut bytes = bytes.to_vec();
                self.misread(&mut bytes, rng);
                let mut digester = Digester::new();
                digester.update(&bytes);
                return Ok(Some(digester.finish()));
            }
            Job::Slot(action) => self.act(*action),
        }
        Ok(None)
    }

    fn misread(&mut self, bytes: &mut [u8], rng: &mut Rng) {
        let misreads = &mut self.misreads;
        if misreads.flips == 0 || rng.below(misreads.one_in.max(1)) > 0 {
            return;
        }
        let place = usize::try_from(rng.below(bytes.len() as u64)).unwrap_or(0);
        if let Some(byte) = bytes.get_mut(place) {
            *byte ^= 1 << rng.below(8);
            misreads.flips = misreads.flips.saturating_sub(1);
            misreads.flipped = misreads.flipped.saturating_add(1);
        }
    }

    /// Reads the journal at the start and makes the record lasting. Returns how many reads failed.
    pub(crate) fn read_journal(&mut self, rng: &mut Rng) -> Result<usize, String> {
        let before = self.journal.record();
        let most = self.misreads.journal.min(Journal::READINGS.saturating_sub(1));
        let mut left = most;
        let read = self.journal.blocks().map(|block| {
            Journal::read_place(|| {
                if left == 0 || rng.below(2) == 0 {
                    return Some(block);
                }
                left = left.saturating_sub(1);
                let mut wrong = block;
                let place = usize::try_from(rng.below(wrong.len() as u64)).unwrap_or(0);
                *wrong.get_mut(place)? ^= 1 << rng.below(8);
                (rng.below(3) > 0).then_some(wrong)
            })
        });
        self.journal.settle(&read);
        let wrong = most.saturating_sub(left);
        self.misreads.journal = self.misreads.journal.saturating_sub(wrong);
        if self.journal.record() == before {
            Ok(wrong)
        } else {
            Err(format!("{before:?} is lost: {wrong} readings of the journal were wrong"))
        }
    }

    /// Whether a job reads unreadable words.
    pub(crate) fn is_unreadable(&self, job: &Job) -> bool {
        let words = self.misreads.unreadable.as_ref().filter(|_| self.loader.other() == 1);
        let Job::Digest(end) = job else { return false };
        words.is_some_and(|words| words.range.start < *end)
    }

    /// Destroys the image in the target slot of updates, as a move does.
    pub(crate) fn move_away(&mut self, size: usize) {
        self.target_mut().fill(&vec![0xa5; size]);
    }

    /// Cuts the power in the middle of the work in progress.
    pub(crate) fn cut(&mut self, cut: Cut, rng: &mut Rng) {
        let half = match cut {
            Cut::Before => 0,
            Cut::Torn => 128,
            Cut::After => 255,
        };
        match self.job.take() {
            Some((_, Job::Flash(op))) => self.target_mut().cut(Some(&op), half, rng),
            Some((_, Job::Sync)) if cut == Cut::After => self.target_mut().sync(),
            Some((_, Job::Slot(action)))
                if cut == Cut::After || (cut == Cut::Torn && rng.below(2) == 0) =>
            {
                self.act(action);
            }
            _ => {}
        }
        for flash in &mut self.flash {
            flash.cut(None, half, rng);
        }
        match self.persist.take() {
            Some((_, block)) if cut == Cut::After => self.journal.write(&block),
            Some((_, block)) if cut == Cut::Torn => self.journal.tear(&block, rng),
            _ => {}
        }
    }

    /// The number of bytes that the latest operation in progress changes; for the journal by kind
    /// of medium.
    #[must_use]
    pub fn bytes_under_way(&self) -> usize {
        if self.latest_is_journal() {
            return Journal::LEN.saturating_mul(3);
        }
        match &self.job {
            Some((_, Job::Flash(op))) => op.len(),
            Some((_, Job::Slot(_))) => Loader::MARK,
            _ => 0,
        }
    }

    /// The latest operation in progress.
    #[must_use]
    pub fn latest(&self) -> Option<OpId> {
        let job = self.job.as_ref().map(|(op, _)| *op);
        job.max(self.persist.as_ref().map(|(op, _)| *op))
    }

    fn latest_is_journal(&self) -> bool {
        let persist = self.persist.as_ref().map(|(op, _)| *op);
        persist.is_some() && persist == self.latest()
    }

    /// Cuts the power at a byte of the latest operation in progress. Other work in progress and
    /// unsynced data take effect or not at random.
    pub(crate) fn tear(&mut self, tear: Tear, rng: &mut Rng) {
        let chance = match rng.below(3) {
            0 => Mode::Before,
            1 => Mode::Torn,
            _ => Mode::After,
        };
        let byte = usize::try_from(rng.below(self.bytes_under_way() as u64)).unwrap_or(0);
        let other = Tear { mode: chance, byte };
        let (job, persist) = if self.latest_is_journal() { (other, tear) } else { (tear, other) };
        let keep = match rng.below(3) {
            0 => 0,
            1 => 128,
            _ => 255,
        };
        let version = self.installing();
        match self.job.take() {
            Some((_, Job::Flash(op))) => self.target_mut().tear(Some(&op), job, keep, rng),
            Some((_, Job::Sync)) if job.mode == Mode::After => self.target_mut().sync(),
            Some((_, Job::Slot(action))) => self.loader.tear(action, &version, job),
            _ => {}
        }
        for flash in &mut self.flash {
            flash.tear(None, job, keep, rng);
        }
        match self.persist.take() {
            Some((_, block)) if persist.mode == Mode::After => self.journal.write(&block),
            Some((_, block)) if persist.mode != Mode::Before => {
                self.journal.tear_at(&block, persist, rng);
            }
            _ => {}
        }
    }

    /// A boot reads everything again.
    pub(crate) fn reread(&mut self, rng: &mut Rng) {
        for flash in &mut self.flash {
            flash.reread(rng);
        }
        self.journal.reread(rng);
        self.loader.reread(rng);
    }

    /// The program ended in an orderly way, so only a read may be in progress.
    pub(crate) fn end_program(&mut self) {
        self.job = None;
        for flash in &mut self.flash {
            flash.forget_blank();
        }
    }

    /// The program ended, but the storage continues: each operation passed to it is done completely
    /// or not at all.
    pub(crate) fn abandon(&mut self, rng: &mut Rng) {
        let began = rng.below(2) == 0;
        if let Some((_, job)) = self.job.take() {
            if began {
                let _ = self.finish_job(&job, rng);
            }
        }
        if let Some((_, block)) = self.persist.take() {
            if began {
                self.journal.write(&block);
            }
        }
        for flash in &mut self.flash {
            flash.forget_blank();
        }
    }
}
