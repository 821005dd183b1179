//! Two queues of jobs, so that a checkpoint does not wait for a write.

use std::collections::VecDeque;

use ota_proto::OpId;

use crate::files::storage::{Ended, Job, JournalHalf, SlotHalf, Storage, Work};

/// A [`Storage`] split in two: the journal's jobs run beside the slot's. Each kind runs in its
/// order, one at a time. Nothing here blocks or spawns; the adapter does:
///
/// ```
/// # use ota_host::{DataDir, FileSlot, Job, JournalFile, Lanes, NoSwitch, SlotOptions, Storage, Work};
/// # let temp = tempfile::tempdir().unwrap();
/// # let dir = DataDir::open(temp.path())?;
/// # let slot = FileSlot::open(&dir, SlotOptions::default())?;
/// # let storage = Storage::new(slot, JournalFile::open(&dir)?, Box::new(NoSwitch));
/// let mut lanes = Lanes::new(storage);
/// lanes.push(Job::new("first", Work::Sync));
/// while let Some(task) = lanes.start() {
///     // An adapter awaits its pool here.
///     let finished = std::thread::spawn(move || task.run()).join().unwrap();
///     let done = lanes.finish(finished);
///     assert_eq!(done.op, "first");
/// }
/// # Ok::<(), ota_host::HostError>(())
/// ```
#[derive(Debug)]
pub struct Lanes<T = OpId> {
    slot: Lane<SlotHalf, T>,
    journal: Lane<JournalHalf, T>,
}

/// A job with all that it needs to run on another thread. Dropping a task loses its lane, so always
/// run it.
#[derive(Debug)]
#[must_use]
pub struct Task<T = OpId>(Kind<T>);

/// A finished task: return it with [`Lanes::finish`].
#[derive(Debug)]
#[must_use]
pub struct Finished<T = OpId>(Half, Ended<T>);

impl<T> Lanes<T> {
    /// Splits the storage.
    #[must_use]
    pub fn new(storage: Storage) -> Self {
        Self { slot: Lane::new(storage.slot), journal: Lane::new(storage.journal) }
    }

    /// Adds a job to its lane. There are at most as many as the core has operations in progress.
    pub fn push(&mut self, job: Job<T>) {
        match job.work {
            Work::Persist(_) => self.journal.queue.push_back(job),
            _ => self.slot.queue.push_back(job),
        }
    }

    /// Returns the next task that can run now, at most one per lane at a time. Call it until `None`
    /// after each [`Lanes::push`] and [`Lanes::finish`].
    pub fn start(&mut self) -> Option<Task<T>> {
        if let Some((half, job)) = self.journal.start() {
            return Some(Task(Kind::Journal(half, job)));
        }
        let (half, job) = self.slot.start()?;
        Some(Task(Kind::Slot(half, job)))
    }

    /// Takes a finished task; the result is for the core.
    pub fn finish(&mut self, finished: Finished<T>) -> Ended<T> {
        let Finished(half, done) = finished;
        match half {
            Half::Slot(half) => self.slot.idle = Some(half),
            Half::Journal(half) => self.journal.idle = Some(half),
        }
        done
    }
}

impl<T> Task<T> {
    /// Runs it; blocks.
    pub fn run(self) -> Finished<T> {
        match self.0 {
            Kind::Slot(mut half, job) => {
                let done = half.run(job);
                Finished(Half::Slot(half), done)
            }
            Kind::Journal(mut half, job) => {
                let done = half.run(job);
                Finished(Half::Journal(half), done)
            }
        }
    }
}

impl<T> Finished<T> {
    /// The operation, unchanged, which identifies its lanes.
    #[must_use]
    pub const fn op(&self) -> &T {
        &self.1.op
    }
}

#[derive(Debug)]
enum Kind<T> {
    Slot(Box<SlotHalf>, Job<T>),
    Journal(Box<JournalHalf>, Job<T>),
}

#[derive(Debug)]
enum Half {
    Slot(Box<SlotHalf>),
    Journal(Box<JournalHalf>),
}

/// Boxed, so that a task moves as a pointer.
#[derive(Debug)]
struct Lane<H, T> {
    idle: Option<Box<H>>,
    queue: VecDeque<Job<T>>,
}

impl<H, T> Lane<H, T> {
    fn new(half: H) -> Self {
        Self { idle: Some(Box::new(half)), queue: VecDeque::new() }
    }

    fn start(&mut self) -> Option<(Box<H>, Job<T>)> {
        let half = self.idle.take()?;
        let Some(job) = self.queue.pop_front() else {
            self.idle = Some(half);
            return None;
        };
        Some((half, job))
    }
}
