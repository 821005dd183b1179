//! Jobs that fail.

use std::fs;

use ota_proto::journal::Record;

use super::*;
use crate::{DataDir, NoSwitch, SlotOptions};

fn storage(switch: Box<dyn Switch + Send>) -> (tempfile::TempDir, Storage) {
    let temp = tempfile::tempdir().unwrap();
    let dir = DataDir::open(temp.path()).unwrap();
    let options = SlotOptions {
        capacity: Some(1 << 20),
        erase: 4096,
        keep_free: 0,
        ..SlotOptions::default()
    };
    let slot = FileSlot::open(&dir, options).unwrap();
    let journal = JournalFile::open(&dir).unwrap();
    (temp, Storage::new(slot, journal, switch))
}

fn job(op: u32, work: Work) -> Job<u32> {
    Job::new(op, work)
}

fn write(at: u64, data: &[u8]) -> Work {
    Work::Write { at, bytes: Piece { buf: data.to_vec(), span: 0..data.len() } }
}

fn persist(sequence: u32) -> Work {
    Work::Persist(Record::default().encode(sequence))
}

fn md5(data: &[u8]) -> Md5 {
    let mut digester = Digester::new();
    digester.update(data);
    digester.finish()
}

#[test]
fn an_answer_names_its_operation_and_brings_the_buffer_back() {
    let (temp, mut storage) = storage(Box::new(NoSwitch));
    let buf = b"..image..".to_vec();
    let work = Work::Write { at: 3, bytes: Piece { buf: buf.clone(), span: 2..7 } };
    let done = storage.run(job(9, work));
    assert_eq!(done, Ended { op: 9, result: Ok(None), buf: Some(buf) });
    assert_eq!(fs::read(temp.path().join("slot.part")).unwrap(), b"\0\0\0image");
    let outside = Work::Write { at: 0, bytes: Piece { buf: vec![1], span: 1..3 } };
    let done = storage.run(job(1, outside));
    assert_eq!(done.result, Err(StorageError::Failed));
    assert_eq!(done.buf, Some(vec![1]));
}

#[test]
fn every_kind_of_job_can_fail_before_and_after_its_effect() {
    let (temp, mut storage) = storage(Box::new(NoSwitch));
    let part = temp.path().join("slot.part");
    let full = StorageError::NoSpace;
    let works = [
        Work::Erase { range: 0..10, size: 10 },
        write(0, b"0123456789"),
        Work::Sync,
        Work::Digest { range: 0..10 },
        Work::Slot(SlotAction::Activate),
        persist(1),
    ];
    for fault in [Fault::Before(full), Fault::After(full)] {
        storage.inject(Box::new(move |_| Some(fault)));
        for work in &works {
            assert_eq!(storage.run(job(0, work.clone())).result, Err(full), "{work:?} {fault:?}");
        }
        let stored = matches!(fault, Fault::After(_));
        assert_eq!(storage.record().is_some(), stored);
        assert_eq!(fs::read(&part).is_ok_and(|found| found == b"0123456789"), stored);
    }
    storage.inject(Box::new(|_| None));
    let done = storage.run(job(0, Work::Digest { range: 0..10 }));
    assert_eq!(done.result, Ok(Some(md5(b"0123456789"))));
}

#[test]
fn a_disk_that_fills_up_in_the_middle_stops_the_image_but_not_the_journal() {
    let (_temp, mut storage) = storage(Box::new(NoSwitch));
    let mut room = 2;
    storage.inject(Box::new(move |work| match work {
        Work::Write { .. } if room == 0 => Some(Fault::Before(StorageError::NoSpace)),
        Work::Write { .. } => {
            room -= 1;
            None
        }
        _ => None,
    }));
    let answers: Vec<_> =
        (0..3).map(|i| storage.run(job(i, write(u64::from(i) * 4, b"data"))).result).collect();
    assert_eq!(answers[1], Ok(None));
    assert_eq!(answers[2], Err(StorageError::NoSpace));
    assert_eq!(storage.run(job(4, persist(1))).result, Ok(None));
}

#[test]
fn a_digest_goes_on_where_the_last_one_ended() {
    let (_temp, mut storage) = storage(Box::new(NoSwitch));
    let image: Vec<u8> = (0..300_000_u32).map(|i| (i >> 3) as u8).collect();
    storage.run(job(0, write(0, &image)));
    let mut digest = |range: Range<u64>| storage.run(job(0, Work::Digest { range })).result;
    assert_eq!(digest(0..100_000), Ok(Some(md5(&image[..100_000]))));
    assert_eq!(digest(100_000..100_000), Ok(Some(md5(&image[..100_000]))));
    assert_eq!(digest(100_000..300_000), Ok(Some(md5(&image))));
    let more = [&image[..], &[0]].concat();
    assert_eq!(digest(300_000..300_001), Ok(Some(md5(&more))), "zeros behind the end");
    assert_eq!(digest(0..1 << 21), Err(StorageError::Failed));
    assert_eq!(digest(7..8), Ok(Some(md5(&image[..8]))), "from 0, whatever came before");
    assert_eq!(digest(0..300_000), Ok(Some(md5(&image))));
}

#[test]
fn a_digest_reads_only_what_is_new_and_forgets_what_is_overwritten() {
    let (temp, mut storage) = storage(Box::new(NoSwitch));
    storage.run(job(0, write(0, b"aaaabbbb")));
    let image = temp.path().join("slot.part");
    let digest = |storage: &mut Storage, range| storage.run(job(0, Work::Digest { range })).result;
    let _ = digest(&mut storage, 0..4);
    // Behind our back: a hash that goes on does not look back.
    fs::write(&image, b"XXXXbbbb").unwrap();
    assert_eq!(digest(&mut storage, 4..8), Ok(Some(md5(b"aaaabbbb"))));
    storage.run(job(0, write(4, b"cccc")));
    assert_eq!(digest(&mut storage, 8..8), Ok(Some(md5(b"XXXXcccc"))));
}

struct Broken;

impl Switch for Broken {
    fn state(&mut self) -> SlotState {
        SlotState::Confirmed
    }

    fn act(&mut self, action: SlotAction) -> Result<(), StorageError> {
        match action {
            SlotAction::Activate => Err(StorageError::ReadOnly),
            _ => panic!("a mistake in the application's switch"),
        }
    }
}

#[test]
fn a_switch_that_fails_or_panics_has_an_answer() {
    let (_temp, mut storage) = storage(Box::new(Broken));
    assert_eq!(storage.slot_state(), SlotState::Confirmed);
    let done = storage.run(job(1, Work::Slot(SlotAction::Activate)));
    assert_eq!(done.result, Err(StorageError::ReadOnly));
    let done = storage.run(job(2, Work::Slot(SlotAction::Confirm)));
    assert_eq!(done.result, Err(StorageError::Failed));
    assert_eq!(storage.run(job(3, Work::Sync)).result, Ok(None));
}

/// Its first activations fail, done or not.
struct Unsure {
    failures: u8,
    done: bool,
    armed: bool,
}

impl Switch for Unsure {
    fn state(&mut self) -> SlotState {
        if self.armed { SlotState::Armed } else { SlotState::Confirmed }
    }

    fn act(&mut self, _: SlotAction) -> Result<(), StorageError> {
        let fails = self.failures > 0;
        self.failures = self.failures.saturating_sub(1);
        self.armed |= self.done || !fails;
        if fails { Err(StorageError::NoSpace) } else { Ok(()) }
    }
}

#[test]
fn an_activation_fails_only_when_the_next_start_is_the_old_images() {
    let fails = Err(StorageError::NoSpace);
    for (failures, done, action, answer) in [
        (1, false, SlotAction::Activate, Ok(())),
        (1, true, SlotAction::Activate, Ok(())),
        (2, true, SlotAction::Activate, Ok(())),
        (2, false, SlotAction::Activate, fails),
        // The core itself asks for these again.
        (1, true, SlotAction::Confirm, fails),
        (1, true, SlotAction::RollBack, fails),
    ] {
        let switch = Unsure { failures, done, armed: false };
        let (_temp, mut storage) = storage(Box::new(switch));
        let done = storage.run(job(1, Work::Slot(action)));
        assert_eq!(done.result, answer.map(|()| None), "{action:?} after {failures} failures");
    }
}

#[test]
fn a_disk_that_fails_once_is_asked_again_and_one_that_fails_twice_has_failed() {
    let (_temp, mut storage) = storage(Box::new(NoSwitch));
    let image = b"0123456789";
    let works = || {
        [
            Work::Erase { range: 0..10, size: 10 },
            write(0, image),
            Work::Sync,
            Work::Digest { range: 0..10 },
        ]
    };
    for fault in [Fault::Before(StorageError::Failed), Fault::After(StorageError::Failed)] {
        for (times, works_out) in [(1, true), (2, false)] {
            for work in works() {
                let mut left = 0;
                storage.inject(Box::new(move |_| {
                    left += 1;
                    (left <= times).then_some(fault)
                }));
                let digest = matches!(work, Work::Digest { .. }).then(|| md5(image));
                let whole = digest;
                let good = storage.run(Job { whole, ..job(0, work.clone()) }).result == Ok(digest);
                assert_eq!(good, works_out, "{work:?} {fault:?} {times}");
            }
        }
    }
    // What is clear at once is not asked again.
    let mut asked = 0;
    storage.inject(Box::new(move |_| {
        asked += 1;
        assert_eq!(asked, 1);
        Some(Fault::Before(StorageError::NoSpace))
    }));
    storage.run(job(0, Work::Sync));
}

struct Full;

impl Switch for Full {
    fn state(&mut self) -> SlotState {
        SlotState::Confirmed
    }

    fn reserve(&mut self) -> Result<(), StorageError> {
        Err(StorageError::NoSpace)
    }

    fn act(&mut self, _: SlotAction) -> Result<(), StorageError> {
        Ok(())
    }
}

#[test]
fn an_update_whose_notes_have_no_room_is_refused_before_its_first_byte() {
    let (temp, mut storage) = storage(Box::new(Full));
    let erase = |range| Work::Erase { range, size: 8192 };
    let first = storage.run(job(1, erase(0..4096))).result;
    assert_eq!(first, Err(StorageError::NoSpace));
    assert!(!temp.path().join("slot.part").exists());
    assert_eq!(storage.run(job(2, erase(4096..8192))).result, Ok(None));
}
