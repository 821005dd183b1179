//! Slot, switch and journal as jobs: what an adapter hands to its runtime's blocking pool.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(any(test, feature = "test-faults"))]
use std::sync::{Arc, Mutex, PoisonError};

use ota_proto::{Digester, Journal, Md5, OpId, SlotAction, SlotInfo, SlotState, StorageError};

use ota_wire::adapter::Answer;

use crate::accept::Image;
use crate::journal::JournalFile;
use crate::slot::FileSlot;
use crate::switch::Switch;

/// One operation of the core. `T` names it: [`OpId`], or a device's index with it; it comes back
/// in [`Done`] as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job<T = OpId> {
    /// The operation.
    pub op: T,
    /// What to do.
    pub work: Work,
}

/// What a job does: the storage outputs of the core, with buffers that can move to another thread.
#[derive(Clone, PartialEq, Eq)]
pub enum Work {
    /// Make ready to write a range: [`FileSlot::erase`].
    Erase {
        /// Bytes from the slot's start.
        range: Range<u64>,
        /// The whole image in bytes, as offered, so that room for all of it is taken before the
        /// first byte; 0 when not known.
        size: u64,
    },
    /// Write a span of a buffer. The buffer comes back in [`Done`].
    Write {
        /// Where in the slot, in bytes from its start.
        at: u64,
        /// The received bytes.
        buf: Vec<u8>,
        /// Which of them; a span outside of `buf` is refused.
        span: Range<usize>,
    },
    /// Make all stored bytes durable.
    Sync,
    /// Digest everything from 0 to the end of this range, reading only the range when it begins
    /// where the last one ended.
    Digest {
        /// Bytes from the slot's start.
        range: Range<u64>,
        /// The digest that the image is to have, when it ends with this range. An image that has
        /// it is given to [`crate::Image`] before the answer.
        whole: Option<Md5>,
    },
    /// Do this to the switch.
    Slot {
        /// What to do.
        action: SlotAction,
    },
    /// Write the record to the journal.
    Persist {
        /// The record.
        record: [u8; Journal::LEN],
    },
}

impl fmt::Debug for Work {
    /// Without the bytes of an image or a record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Erase { range, size } => write!(f, "Erase({range:?} of {size})"),
            Self::Write { at, span, .. } => write!(f, "Write({at}+{})", span.len()),
            Self::Sync => f.write_str("Sync"),
            Self::Digest { range, .. } => write!(f, "Digest({range:?})"),
            Self::Slot { action } => write!(f, "Slot({action:?})"),
            Self::Persist { .. } => f.write_str("Persist"),
        }
    }
}

/// A finished job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done<T = OpId> {
    /// The operation, as it was given.
    pub op: T,
    /// The completion that the core waits for.
    pub answer: Answer,
    /// The buffer of a [`Work::Write`], for the next read.
    pub buf: Option<Vec<u8>>,
}

/// The slot, its switch and the journal. One job at a time: [`Storage::run`] blocks.
/// [`crate::Lanes`] runs the journal's jobs beside the slot's.
#[derive(Debug)]
pub struct Storage {
    pub(crate) slot: SlotHalf,
    pub(crate) journal: JournalHalf,
}

impl Storage {
    /// Joins them.
    #[must_use]
    pub fn new(slot: FileSlot, journal: JournalFile, switch: Box<dyn Switch + Send>) -> Self {
        let (digest, faults) = (Running::default(), Faults::none());
        Self {
            slot: SlotHalf { slot, switch, digest, faults: faults.clone() },
            journal: JournalHalf { journal, faults },
        }
    }

    /// The slot's capacity and units, for [`ota_proto::Boot`].
    #[must_use]
    pub fn info(&self) -> SlotInfo {
        self.slot.slot.info()
    }

    /// The switch's word on the running image, for [`ota_proto::Boot`]. May block.
    pub fn slot_state(&mut self) -> SlotState {
        self.slot.switch.state()
    }

    /// The newest journal record, for [`ota_proto::Boot`]. Blocks.
    #[must_use]
    pub fn record(&self) -> Option<[u8; Journal::LEN]> {
        self.journal.journal.load()
    }

    /// The verified image, for an installer.
    #[must_use]
    pub fn image(&self) -> Image {
        self.slot.slot.image()
    }

    /// Does the job; blocks. Every job has an answer: a panic of the switch is a failure too.
    pub fn run<T>(&mut self, job: Job<T>) -> Done<T> {
        match job.work {
            Work::Persist { .. } => self.journal.run(job),
            _ => self.slot.run(job),
        }
    }

    /// Asks this before every job, for tests.
    #[cfg(any(test, feature = "test-faults"))]
    pub fn inject(&mut self, hook: FaultHook) {
        let shared = Faults(Some(Arc::new(Mutex::new(hook))));
        self.slot.faults = shared.clone();
        self.journal.faults = shared;
    }
}

/// How a job is made to fail.
#[cfg(any(test, feature = "test-faults"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done.
    Before(StorageError),
    /// It is done, and said to have failed.
    After(StorageError),
}

/// Decides for each job whether it fails.
#[cfg(any(test, feature = "test-faults"))]
pub type FaultHook = Box<dyn FnMut(&Work) -> Option<Fault> + Send>;

#[derive(Debug)]
pub(crate) struct JournalHalf {
    journal: JournalFile,
    faults: Faults,
}

impl JournalHalf {
    pub(crate) fn run<T>(&mut self, job: Job<T>) -> Done<T> {
        let Job { op, work } = job;
        let journal = &mut self.journal;
        let result = guarded(&self.faults, &work, || match &work {
            Work::Persist { record } => journal.persist(record),
            _ => Err(StorageError::Failed),
        });
        done(op, work, result.map(|()| None))
    }
}

pub(crate) struct SlotHalf {
    slot: FileSlot,
    switch: Box<dyn Switch + Send>,
    digest: Running,
    faults: Faults,
}

impl fmt::Debug for SlotHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotHalf").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl SlotHalf {
    pub(crate) fn run<T>(&mut self, job: Job<T>) -> Done<T> {
        let Job { op, work } = job;
        let Self { slot, switch, digest, faults } = self;
        let mut act = || {
            guarded(faults, &work, || match &work {
                Work::Erase { range, size } => {
                    digest.forget_from(range.start);
                    if range.start == 0 {
                        switch.reserve()?;
                    }
                    slot.erase(range.clone(), *size).map(|()| None)
                }
                Work::Write { at, buf, span } => {
                    digest.forget_from(*at);
                    let data = buf.get(span.clone()).ok_or(StorageError::Failed)?;
                    slot.write_at(*at, data).map(|()| None)
                }
                Work::Sync => slot.sync().map(|()| None),
                Work::Digest { range, whole } => {
                    let found = digest.extend(slot, range)?;
                    if *whole == Some(found) {
                        slot.verified(range.end)?;
                    }
                    Ok(Some(found))
                }
                Work::Slot { action } => act_on(&mut **switch, *action).map(|()| None),
                Work::Persist { .. } => Err(StorageError::Failed),
            })
        };
        let result = match act() {
            // A disk that failed once may do it now, and a download is worth a second try. What a
            // failed sync lost is not, and a switch has tries of its own.
            Err(StorageError::Failed) if !matches!(work, Work::Slot { .. }) => act(),
            result => result,
        };
        done(op, work, result)
    }
}

/// Has the switch do it. The core asks for all but an activation again by itself. That one is
/// tried a second time, for an error on its last step leaves it done and perhaps not lasting. What
/// is armed then was not refused: the next start decides, and nothing that it will contradict is
/// told to the cloud.
fn act_on(switch: &mut dyn Switch, action: SlotAction) -> Result<(), StorageError> {
    let first = switch.act(action);
    if action != SlotAction::Activate || first.is_ok() {
        return first;
    }
    match switch.act(action) {
        Err(_) if switch.state() == SlotState::Armed => Ok(()),
        second => second,
    }
}

/// The digest of the slot from 0 to `end`.
#[derive(Clone, Debug, Default)]
struct Running {
    digester: Digester,
    end: u64,
}

impl Running {
    /// The digest to the end of the range. What lies before it is hashed too where it has not
    /// been, so that the answer never depends on what was asked before.
    fn extend(&mut self, slot: &FileSlot, range: &Range<u64>) -> Result<Md5, StorageError> {
        if range.start > range.end {
            return Err(StorageError::Failed);
        }
        let mut next = std::mem::take(self);
        if range.start != next.end {
            next = Self::default();
        }
        slot.digest(next.end..range.end, &mut next.digester)?;
        next.end = range.end;
        *self = next.clone();
        Ok(next.digester.finish())
    }

    /// Bytes from here on change: a hash of them is of no use any more.
    fn forget_from(&mut self, at: u64) {
        if at < self.end {
            *self = Self::default();
        }
    }
}

/// What a test wants to fail; nothing and no bytes otherwise.
#[cfg(not(any(test, feature = "test-faults")))]
#[derive(Clone, Debug)]
struct Faults;

#[cfg(not(any(test, feature = "test-faults")))]
impl Faults {
    const fn none() -> Self {
        Self
    }
}

#[cfg(any(test, feature = "test-faults"))]
#[derive(Clone)]
struct Faults(Option<Arc<Mutex<FaultHook>>>);

#[cfg(any(test, feature = "test-faults"))]
impl Faults {
    const fn none() -> Self {
        Self(None)
    }
}

#[cfg(any(test, feature = "test-faults"))]
impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faults(..)")
    }
}

/// Does the work. Without this a panic on a pool thread would leave the core without an answer.
fn guarded<R>(
    faults: &Faults,
    work: &Work,
    act: impl FnOnce() -> Result<R, StorageError>,
) -> Result<R, StorageError> {
    let act = || catch_unwind(AssertUnwindSafe(act)).unwrap_or(Err(StorageError::Failed));
    #[cfg(any(test, feature = "test-faults"))]
    if let Some(hook) = &faults.0 {
        let fault = (hook.lock().unwrap_or_else(PoisonError::into_inner))(work);
        return match fault {
            None => act(),
            Some(Fault::Before(why)) => Err(why),
            Some(Fault::After(why)) => act().and(Err(why)),
        };
    }
    let _ = (faults, work);
    act()
}

fn done<T>(op: T, work: Work, result: Result<Option<Md5>, StorageError>) -> Done<T> {
    let unit = result.map(|_| ());
    let mut back = None;
    let answer = match work {
        Work::Erase { .. } => Answer::Erased(unit),
        Work::Write { buf, .. } => {
            back = Some(buf);
            Answer::Stored(unit)
        }
        Work::Sync => Answer::Synced(unit),
        Work::Digest { .. } => {
            Answer::Digest(result.and_then(|md5| md5.ok_or(StorageError::Failed)))
        }
        Work::Slot { .. } => Answer::Slot(unit),
        Work::Persist { .. } => Answer::Persisted(unit),
    };
    Done { op, answer, buf: back }
}

#[cfg(test)]
mod tests;
