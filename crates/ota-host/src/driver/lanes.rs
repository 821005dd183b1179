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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::thread;

    use ota_proto::journal::Record;
    use ota_wire::adapter::Piece;

    use super::*;
    use crate::{DataDir, FileSlot, JournalFile, NoSwitch, SlotOptions};

    #[test]
    fn a_record_is_written_while_a_write_is_held_up() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::open(temp.path()).unwrap();
        let slot = FileSlot::open(&dir, SlotOptions::default()).unwrap();
        let mut storage = Storage::new(slot, JournalFile::open(&dir).unwrap(), Box::new(NoSwitch));
        let (release, held) = mpsc::channel::<()>();
        let mut lanes = Lanes::new({
            // The slot's half alone has this hook: the journal's does not wait for its lock.
            storage.slot.inject(Box::new(move |_| {
                held.recv().ok();
                None
            }));
            storage
        });
        let (report, finished) = mpsc::channel();
        let write = |at, data: &[u8]| Work::Write {
            at,
            bytes: Piece { buf: data.to_vec(), span: 0..data.len() },
        };
        let persist = |sequence| Work::Persist(Record::default().encode(sequence));
        for work in [write(0, b"one"), write(3, b"two"), persist(1), persist(2)] {
            let op = if matches!(work, Work::Persist(_)) { 10 } else { 20 };
            lanes.push(Job::new(op, work));
        }
        let start = |lanes: &mut Lanes<u32>| {
            let mut started = 0;
            while let Some(task) = lanes.start() {
                let report = report.clone();
                thread::spawn(move || report.send(task.run()));
                started += 1;
            }
            started
        };
        assert_eq!(start(&mut lanes), 2, "one of each lane");
        for left in [1, 0] {
            let done = lanes.finish(finished.recv().unwrap());
            assert_eq!((done.op, done.result), (10, Ok(None)));
            assert_eq!(start(&mut lanes), left);
        }
        drop(release);
        for left in [1, 0] {
            let done = lanes.finish(finished.recv().unwrap());
            assert_eq!((done.op, done.result), (20, Ok(None)));
            assert_eq!(start(&mut lanes), left);
        }
        assert_eq!(fs::read(temp.path().join("slot.part")).unwrap(), b"onetwo");
        drop((lanes, dir));
        let dir = DataDir::open(temp.path()).unwrap();
        let journal = JournalFile::open(&dir).unwrap();
        assert_eq!(journal.load(), Some(Record::default().encode(2)));
    }
}
