//! Slot and journal on a flash that holds them to its rules.
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod world;

use ota_embassy::{FlashError, FlashJournal, FlashSlot, FlashStorage, NoSwitch, Storage};
use ota_proto::{Digester, Md5, Rng, StorageError};
use world::chip::{ACTIVE, Chip, DFU, JOURNAL, PAGE, Region};
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
