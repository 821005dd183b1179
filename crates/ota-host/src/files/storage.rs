//! Slot, switch and journal as jobs for a runtime's blocking pool.

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
#[cfg(any(test, feature = "test-faults"))]
use std::sync::{Arc, Mutex, PoisonError};

use ota_proto::{
    Digester, Done, Journal, Md5, OpId, SlotAction, SlotInfo, SlotState, StorageError,
};
use ota_wire::adapter::Piece;

use crate::files::accept::Image;
use crate::files::journal::JournalFile;
use crate::files::slot::FileSlot;
use crate::files::switch::Switch;

/// One operation of the core. `T` identifies it: [`OpId`], or a device's index with it; [`Ended`]
/// returns it unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job<T = OpId> {
    /// The operation.
    pub op: T,
    /// The work.
    pub work: Work,
    /// The expected digest of the image, if a [`Work::Digest`] ends where the image does. An image
    /// that has it is passed to [`crate::Image`] before the answer.
    pub whole: Option<Md5>,
}

/// The work of a job, with bytes that can move to another thread. A span outside its buffer is
/// refused.
pub type Work = ota_proto::Work<Piece<Vec<u8>>>;

impl<T> Job<T> {
    /// Makes a job without the digest of a whole image.
    #[must_use]
    pub const fn new(op: T, work: Work) -> Self {
        Self { op, work, whole: None }
    }
}

/// A finished job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended<T = OpId> {
    /// The operation, unchanged.
    pub op: T,
    /// Its result, for the core.
    pub result: Done,
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
        let (digest, faults) = (RunningDigest::default(), Faults::none());
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

    /// The switch's state of the running image, for [`ota_proto::Boot`]. May block.
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

    /// Runs the job; blocks. Every job gets an answer: a panic of the switch is a failure too.
    pub fn run<T>(&mut self, job: Job<T>) -> Ended<T> {
        match job.work {
            Work::Persist(_) => self.journal.run(job),
            _ => self.slot.run(job),
        }
    }

    /// Calls this before every job, for tests.
    #[cfg(any(test, feature = "test-faults"))]
    pub fn inject(&mut self, hook: FaultHook) {
        let shared = Faults(Some(Arc::new(Mutex::new(hook))));
        self.slot.faults = shared.clone();
        self.journal.faults = shared;
    }
}

/// How a test makes a job fail.
#[cfg(any(test, feature = "test-faults"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done.
    Before(StorageError),
    /// The work is done, but reported as failed.
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
    pub(crate) fn run<T>(&mut self, job: Job<T>) -> Ended<T> {
        let Job { op, work, .. } = job;
        let journal = &mut self.journal;
        let result = guarded(&self.faults, &work, || match &work {
            Work::Persist(record) => journal.persist(record),
            _ => Err(StorageError::Failed),
        });
        ended(op, work, result.map(|()| None))
    }
}

pub(crate) struct SlotHalf {
    slot: FileSlot,
    switch: Box<dyn Switch + Send>,
    digest: RunningDigest,
    faults: Faults,
}

impl fmt::Debug for SlotHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotHalf").field("slot", &self.slot).finish_non_exhaustive()
    }
}

impl SlotHalf {
    /// Calls this before every job of the slot.
    #[cfg(test)]
    pub(crate) fn inject(&mut self, hook: FaultHook) {
        self.faults = Faults(Some(Arc::new(Mutex::new(hook))));
    }

    pub(crate) fn run<T>(&mut self, job: Job<T>) -> Ended<T> {
        let Job { op, work, whole } = job;
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
                Work::Write { at, bytes: Piece { buf, span } } => {
                    digest.forget_from(*at);
                    let data = buf.get(span.clone()).ok_or(StorageError::Failed)?;
                    slot.write_at(*at, data).map(|()| None)
                }
                Work::Sync => slot.sync().map(|()| None),
                Work::Digest { range } => {
                    let found = digest.extend(slot, range)?;
                    if whole == Some(found) {
                        slot.verified(range.end)?;
                    }
                    Ok(Some(found))
                }
                Work::Slot(action) => act_on(&mut **switch, *action).map(|()| None),
                Work::Persist(_) => Err(StorageError::Failed),
            })
        };
        let result = match act() {
            // A disk that failed once may work now, and a download is worth a second attempt. Lost
            // bytes of a failed sync are not recovered by that, and a switch has its own attempts.
            Err(StorageError::Failed) if !matches!(work, Work::Slot(_)) => act(),
            result => result,
        };
        ended(op, work, result)
    }
}

/// Runs an action of the switch. The core repeats every action except an activation. This one is
/// tried a second time, because an error of its last step leaves it done but possibly not durable.
/// If the slot is then armed, the activation counts as done: the next start decides, and the cloud
/// gets no report that it would contradict.
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
struct RunningDigest {
    digester: Digester,
    end: u64,
}

impl RunningDigest {
    /// Returns the digest to the end of the range. The bytes before it are hashed too if they have
    /// not been, so that the answer never depends on earlier requests.
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

    /// Bytes from here on change, so hashes of them are invalid.
    fn forget_from(&mut self, at: u64) {
        if at < self.end {
            *self = Self::default();
        }
    }
}

/// The failure that a test wants; otherwise none and 0 bytes.
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

/// Runs the work. Without this, a panic on a pool thread would leave the core without an answer.
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

fn ended<T>(op: T, work: Work, result: Done) -> Ended<T> {
    let buf = match work {
        Work::Write { bytes, .. } => Some(bytes.buf),
        _ => None,
    };
    Ended { op, result, buf }
}

#[cfg(test)]
mod tests;
