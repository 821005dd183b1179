//! Any sequence of jobs against a model in memory.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail the test")]

use std::ops::Range;

use ota_host::{DataDir, FileSlot, Job, JournalFile, NoSwitch, Piece, SlotOptions, Storage, Work};
use ota_proto::journal::Record;
use ota_proto::{Digester, Done, Journal, Md5, StorageError};
use proptest::prelude::*;

const CAPACITY: usize = 64 * 1024;

/// What a slot must do: bytes that were written are there, all others are zero or old.
#[derive(Default)]
struct Model {
    slot: Vec<u8>,
    fitted: usize,
    record: Option<[u8; Journal::LEN]>,
    sequence: u32,
}

#[derive(Clone, Debug)]
enum Step {
    Erase { range: Range<u64>, size: u64 },
    Write { at: u64, data: Vec<u8>, front: usize, back: usize },
    Sync,
    Digest(Range<u64>),
    Persist,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let at = prop_oneof![0..200_u64, 0..70_000_u64, Just(u64::MAX)];
    let range = (0..5_000_u64, 0..70_000_u64).prop_map(|(a, b)| a..b);
    prop_oneof![
        1 => (prop_oneof![Just(0), 0..70_000_u64], 0..9_000_u64, prop_oneof![Just(0), 0..70_000_u64])
            .prop_map(|(at, len, size)| Step::Erase { range: at..at + len, size }),
        5 => (at, prop::collection::vec(any::<u8>(), 0..6_000), 0..9_usize, 0..9_usize)
            .prop_map(|(at, data, front, back)| Step::Write { at, data, front, back }),
        1 => Just(Step::Sync),
        3 => prop_oneof![range, (0..70_000_u64).prop_map(|b| 0..b)].prop_map(Step::Digest),
        2 => Just(Step::Persist),
        1 => Just(Step::Reopen),
    ]
}

fn md5(data: &[u8]) -> Md5 {
    let mut digester = Digester::new();
    digester.update(data);
    digester.finish()
}

impl Model {
    fn work(&mut self, step: Step) -> (Work, Done) {
        match step {
            Step::Erase { range, size } => {
                let want = self.erase(&range, size);
                (Work::Erase { range, size }, want.map(|()| None))
            }
            Step::Write { at, data, front, back } => {
                let want = self.write(at, &data);
                let span = front..front + data.len();
                let buf = [vec![0xee; front], data, vec![0xee; back]].concat();
                (Work::Write { at, bytes: Piece { buf, span } }, want.map(|()| None))
            }
            Step::Digest(range) => {
                let fits = range.start <= range.end && range.end <= CAPACITY as u64;
                // Behind the end are zeros.
                let mut held = self.slot.clone();
                held.resize(range.end as usize, 0);
                let want = fits.then(|| md5(&held)).ok_or(StorageError::Failed);
                (Work::Digest { range }, want.map(Some))
            }
            Step::Persist => {
                self.sequence = self.sequence.wrapping_add(1);
                let record = Record::default().encode(self.sequence);
                self.record = Some(record);
                (Work::Persist(record), Ok(None))
            }
            Step::Sync | Step::Reopen => (Work::Sync, Ok(None)),
        }
    }

    fn erase(&mut self, range: &Range<u64>, size: u64) -> Result<(), StorageError> {
        if range.end.max(size) > CAPACITY as u64 {
            return Err(StorageError::NoSpace);
        }
        if range.start == 0 {
            self.slot.clear();
            self.fitted = 0;
        }
        if size > 0 && self.fitted != size as usize {
            self.slot.resize(size as usize, 0);
            self.fitted = size as usize;
        }
        Ok(())
    }

    fn write(&mut self, at: u64, data: &[u8]) -> Result<(), StorageError> {
        let end = at.checked_add(data.len() as u64).filter(|end| *end <= CAPACITY as u64);
        let end = end.ok_or(StorageError::NoSpace)? as usize;
        if data.is_empty() {
            return Ok(());
        }
        self.slot.resize(self.slot.len().max(end), 0);
        self.slot[at as usize..end].copy_from_slice(data);
        Ok(())
    }
}

fn open(path: &std::path::Path) -> Storage {
    let dir = DataDir::open(path).unwrap();
    let options = SlotOptions {
        capacity: Some(CAPACITY as u64),
        erase: 4096,
        keep_free: 0,
        ..SlotOptions::default()
    };
    let slot = FileSlot::open(&dir, options).unwrap();
    Storage::new(slot, JournalFile::open(&dir).unwrap(), Box::new(NoSwitch))
}

/// Each case syncs files, which takes its time; `PROPTEST_CASES` goes further.
fn settings() -> ProptestConfig {
    let default = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { 32 };
    ProptestConfig { cases, failure_persistence: None, ..default }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn storage_does_what_a_vector_does(steps in prop::collection::vec(step(), 1..40)) {
        let temp = tempfile::tempdir().unwrap();
        let mut storage = open(temp.path());
        let mut model = Model::default();
        for (op, step) in steps.into_iter().enumerate() {
            if matches!(step, Step::Reopen) {
                drop(storage);
                storage = open(temp.path());
                model.fitted = 0;
            }
            let (work, want) = model.work(step.clone());
            let done = storage.run(Job::new(op, work));
            prop_assert_eq!(done.op, op);
            prop_assert_eq!(done.result, want, "{:?}", step);
            prop_assert_eq!(storage.record(), model.record);
        }
        let part = std::fs::read(temp.path().join("slot.part")).unwrap_or_default();
        prop_assert_eq!(part, model.slot);
    }
}
