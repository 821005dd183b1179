//! Slot and journal on a flash that enforces its rules.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use ota_embassy::{
    BootSwitch, FlashError, FlashJournal, FlashSlot, FlashStorage, NoSwitch, Storage, Switch,
};
use ota_proto::journal::Record;
use ota_proto::{Digester, Journal, Md5, Rng, SlotAction, SlotState, StorageError};
use world::chip::{ACTIVE, Chip, DFU, JOURNAL, PAGE, Region, STATE};
use world::clock;
use world::image;

type Slot<'d> = FlashStorage<'d, Region, Region, NoSwitch>;

fn storage<'d>(chip: &Chip, unit: &'d mut [u8]) -> Slot<'d> {
    let slot = FlashSlot::new(chip.region(DFU), ACTIVE.len(), unit).unwrap();
    FlashStorage::new(slot, FlashJournal::new(chip.region(JOURNAL)).unwrap(), NoSwitch)
}

fn md5(data: &[u8]) -> Md5 {
    let mut digester = Digester::new();
    digester.update(data);
    digester.finish()
}

#[test]
fn pieces_of_any_length_are_stored_and_hashed_at_any_time() {
    for seed in 0..20 {
        let mut rng = Rng::new(seed);
        let new = image(usize::try_from(20_000 + rng.below(20_000)).unwrap(), seed);
        let chip = Chip::new(&[], seed);
        let mut unit = [0; 8];
        let mut storage = storage(&chip, &mut unit);
        clock::finish(async {
            let (size, mut at) = (new.len(), 0);
            while at < size {
                if at % PAGE == 0 {
                    let range = at as u64..(at + PAGE).min(size) as u64;
                    storage.erase(range, size as u64).await.unwrap();
                }
                let rest = (PAGE - at % PAGE).min(size - at) as u64;
                let end = at + (1 + rng.below(rest.min(600))) as usize;
                storage.write(at as u64, &new[at..end]).await.unwrap();
                if rng.below(10) == 0 {
                    storage.sync().await.unwrap();
                    let digest = storage.digest(0..end as u64).await;
                    assert_eq!(digest, Ok(md5(&new[..end])), "seed {seed}, {end}");
                }
                at = end;
            }
            storage.sync().await.unwrap();
            assert_eq!(storage.digest(0..size as u64).await, Ok(md5(&new)), "seed {seed}");
        });
        assert_eq!(chip.read(DFU)[..new.len()], new);
        assert_eq!(chip.broken(), Vec::<String>::new());
    }
}

#[test]
fn a_write_out_of_turn_or_beyond_the_slot_is_refused() {
    let chip = Chip::new(&[], 1);
    let mut unit = [0; 8];
    let mut storage = storage(&chip, &mut unit);
    clock::finish(async {
        storage.erase(0..100, 100).await.unwrap();
        storage.write(0, &[1; 11]).await.unwrap();
        assert_eq!(storage.write(12, &[1; 4]).await, Err(StorageError::Failed));
        assert_eq!(storage.write(3, &[1; 4]).await, Err(StorageError::Failed));
        let beyond = ACTIVE.len() as u64;
        assert_eq!(storage.write(beyond, &[1]).await, Err(StorageError::NoSpace));
        assert_eq!(storage.write(u64::MAX - 9, &[1; 4]).await, Err(StorageError::NoSpace));
        assert_eq!(storage.erase(beyond..beyond + 1, 9).await, Err(StorageError::NoSpace));
        assert_eq!(storage.digest(0..beyond + 1).await, Err(StorageError::NoSpace));
    });
    assert_eq!(chip.broken(), Vec::<String>::new());
}

#[test]
fn what_does_not_fit_is_the_callers_fault() {
    let chip = Chip::new(&[], 1);
    let region = || chip.region(DFU);
    let slot = |capacity, len| FlashSlot::new(region(), capacity, Vec::leak(vec![0; len])).err();
    assert_eq!(slot(ACTIVE.len(), 8), None);
    assert_eq!(slot(ACTIVE.len(), 7), Some(FlashError::Buffer { needed: 8 }));
    assert_eq!(slot(DFU.len() + PAGE, 8), Some(FlashError::Region));
    assert_eq!(slot(PAGE + 1, 8), Some(FlashError::Region));
    let journal = |len: usize| FlashJournal::new(chip.region(JOURNAL.start..JOURNAL.start + len));
    assert!(journal(2 * PAGE).is_ok());
    assert_eq!(journal(PAGE).err(), Some(FlashError::Region));
}

/// What is written anew was hashed before, from its first byte or in its middle.
#[test]
fn a_hash_of_bytes_that_changed_is_forgotten() {
    let (old, new) = (image(3 * PAGE, 1), image(3 * PAGE, 2));
    for from in [0, PAGE, 2 * PAGE] {
        let chip = Chip::new(&[], 1);
        let mut unit = [0; 8];
        let mut storage = storage(&chip, &mut unit);
        let (size, start) = (old.len() as u64, from as u64);
        clock::finish(async {
            storage.erase(0..size, size).await.unwrap();
            storage.write(0, &old).await.unwrap();
            assert_eq!(storage.digest(0..size).await, Ok(md5(&old)));
            storage.erase(start..size, size).await.unwrap();
            storage.write(start, &new[from..]).await.unwrap();
            let mixed = [&old[..from], &new[from..]].concat();
            assert_eq!(storage.digest(size..size).await, Ok(md5(&mixed)), "from {from}");
        });
        assert_eq!(chip.broken(), Vec::<String>::new());
    }
}

/// What is behind what changed keeps its hash: nothing but the new bytes is read.
#[test]
fn a_hash_of_bytes_before_those_that_changed_is_kept() {
    let new = image(3 * PAGE, 2);
    let chip = Chip::new(&[], 1);
    let mut unit = [0; 8];
    let mut storage = storage(&chip, &mut unit);
    let size = new.len() as u64;
    clock::finish(async {
        storage.erase(0..size, size).await.unwrap();
        storage.write(0, &new[..PAGE]).await.unwrap();
        assert_eq!(storage.digest(0..PAGE as u64).await, Ok(md5(&new[..PAGE])));
        storage.write(PAGE as u64, &new[PAGE..]).await.unwrap();
        // A bit of the first page would be read wrongly.
        chip.misread(DFU.start + 100);
        assert_eq!(storage.digest(PAGE as u64..size).await, Ok(md5(&new)));
        assert_eq!(storage.digest(size..size).await, Ok(md5(&new)), "all of it is known");
        assert_ne!(storage.digest(0..size).await, Ok(md5(&new)), "it was read");
        assert_eq!(storage.digest(0..size).await, Ok(md5(&new)));
        // What was hashed goes beyond what is asked for.
        let page = PAGE as u64;
        assert_eq!(storage.digest(page..page).await, Ok(md5(&new[..PAGE])));
    });
}

/// embassy-boot's state on flash that erases to ones, and to zeros: the mark, and its progress in
/// the third unit.
#[test]
fn a_trial_is_told_from_what_starts_next_whatever_erased_bytes_read_as() {
    for erased in [0xff, 0x00] {
        let chip = Chip::new(&[], 1);
        let state = |mark: u8, progress: u8| {
            chip.set(STATE, erased);
            chip.set(STATE.start..STATE.start + 8, mark);
            chip.set(STATE.start + 16..STATE.start + 24, progress);
            let mut aligned = [0; 8];
            let mut switch = BootSwitch::new(chip.region(STATE), &mut aligned).unwrap();
            clock::finish(switch.state()).unwrap()
        };
        assert_eq!(state(0xf0, erased), SlotState::Armed, "{erased:#x}");
        assert_eq!(state(0xf0, !erased), SlotState::Trial, "{erased:#x}");
        assert_eq!(state(0xc0, erased), SlotState::RolledBack, "{erased:#x}");
        assert_eq!(state(0xd0, erased), SlotState::Confirmed, "{erased:#x}");
        assert_eq!(state(erased, erased), SlotState::Confirmed, "{erased:#x}");
    }
}

/// One bit of any place, the newest record's among them, and of what is blank.
#[test]
fn a_bit_of_the_journal_that_is_read_wrongly_at_a_start_takes_no_record_back() {
    let record = |time: u32| Record { valid_from: [time, 0], ..Record::default() };
    let found = |block: Option<[u8; Journal::LEN]>| block.map(|b| Record::decode(&b).unwrap().1);
    for place in 0..8 {
        let chip = Chip::new(&[], 1);
        let journal = || FlashJournal::new(chip.region(JOURNAL)).unwrap();
        clock::finish(async {
            let mut first = journal();
            assert_eq!(first.boot().await, None);
            // The first takes four places, and the others one each.
            for time in 1..=3 {
                first.persist(&record(time).encode(0)).await.unwrap();
            }
            chip.misread(JOURNAL.start + place * Journal::LEN + 20);
            assert_eq!(found(journal().boot().await), Some(record(3)), "place {place}");
            assert_eq!(found(journal().boot().await), Some(record(3)), "place {place}, later");
        });
        assert_eq!(chip.broken(), Vec::<String>::new());
    }
}

/// Its first activations fail, done or not.
struct Unsure {
    failures: u8,
    done: bool,
    armed: bool,
}

impl Switch for Unsure {
    async fn state(&mut self) -> Result<SlotState, StorageError> {
        Ok(if self.armed { SlotState::Armed } else { SlotState::Confirmed })
    }

    async fn act(&mut self, _: SlotAction) -> Result<(), StorageError> {
        let fails = self.failures > 0;
        self.failures = self.failures.saturating_sub(1);
        self.armed |= self.done || !fails;
        if fails { Err(StorageError::Failed) } else { Ok(()) }
    }
}

#[test]
fn an_activation_fails_only_when_the_next_start_is_the_old_images() {
    let fails = Err(StorageError::Failed);
    for (failures, done, action, answer) in [
        (1, false, SlotAction::Activate, Ok(())),
        (1, true, SlotAction::Activate, Ok(())),
        (2, true, SlotAction::Activate, Ok(())),
        (2, false, SlotAction::Activate, fails),
        // The core itself asks for these again.
        (1, true, SlotAction::Confirm, fails),
        (1, true, SlotAction::RollBack, fails),
    ] {
        let (chip, mut unit) = (Chip::new(&[], 1), [0; 8]);
        let slot = FlashSlot::new(chip.region(DFU), ACTIVE.len(), &mut unit).unwrap();
        let journal = FlashJournal::new(chip.region(JOURNAL)).unwrap();
        let switch = Unsure { failures, done, armed: false };
        let mut storage = FlashStorage::new(slot, journal, switch);
        let told = clock::finish(storage.switch(action));
        assert_eq!(told, answer, "{action:?} after {failures} failures");
    }
}
